//! `[counting]`: which traffic is counted, and how.

use tidewall_engine::Counting;

use super::sink::Sink;
use super::table::{Typed, table};

table! {
    /// Which traffic is counted, and how.
    struct CountingTable {
        /// Count traffic towards our networks.
        #[default = "true"]
        #[example = "true"]
        incoming: bool,

        /// Count traffic from our networks to elsewhere: finds our own hosts that attack others.
        #[default = "true"]
        #[example = "false"]
        outgoing: bool,

        /// Count traffic between two of our own hosts: as outgoing of the one and incoming of the
        /// other.
        #[default = "true"]
        #[example = "false"]
        internal: bool,

        /// Count SYN+ACK packets as SYN too. Off, `tcp_syn` is the handshake's first packet only.
        #[default = "false"]
        #[example = "true"]
        syn_with_ack: bool,

        /// Count distinct flows (addresses, protocol and ports) of each host in each second.
        /// Costs memory and time; without it, `flows` limits cannot fire.
        #[default = "true"]
        #[example = "false"]
        flows: bool,
    }
}

impl CountingTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Counting {
        let get =
            |typed: &Option<Typed<bool>>, default| typed.as_ref().map_or(default, |t| t.value);
        let default = Counting::default();
        let counting = Counting {
            incoming: get(&self.incoming, default.incoming),
            outgoing: get(&self.outgoing, default.outgoing),
            internal: get(&self.internal, default.internal),
            syn_with_ack: get(&self.syn_with_ack, default.syn_with_ack),
            flows: get(&self.flows, default.flows),
        };
        if !counting.incoming
            && !counting.outgoing
            && let Some(outgoing) = &self.outgoing
        {
            let reason = "neither incoming nor outgoing traffic is counted, so nothing is detected";
            sink.warn(&outgoing.at, reason, "set one of them to true");
        }
        counting
    }
}
