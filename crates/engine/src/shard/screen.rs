//! What of a record is counted: why it is left out, if so, and what it adds.

use std::sync::Arc;

use tidewall_model::{
    Count, Direction, DropReason, Family, FlowRecord, Forwarding, TcpFlags, protocol,
};

use crate::lpm::PrefixTable;
use crate::policy::{Counting, Policy};
use crate::tallies::{Addition, Marks, Share};
use crate::whitelist::Rules;

/// What is counted, and as what.
#[derive(Debug)]
pub(super) struct Screen {
    rules: Arc<Rules>,
    remotes: Option<PrefixTable>,
    pub(super) counting: Counting,
    /// Can a record between us and others be refused at all?
    pub(super) refuses: bool,
    /// The flags that are looked at for a SYN.
    syn_mask: u16,
}

impl Screen {
    pub(super) fn new(policy: &Policy, rules: &Arc<Rules>) -> Self {
        let remotes: Vec<_> = policy.whitelist.remotes.iter().map(|p| (*p, 1)).collect();
        let counting = policy.counting;
        let whitelists = !remotes.is_empty() || !policy.whitelist.rules.is_empty();
        let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
        Self {
            rules: Arc::clone(rules),
            refuses: whitelists || !counting.incoming || !counting.outgoing,
            remotes: (!remotes.is_empty()).then(|| PrefixTable::new(&remotes)),
            counting,
            syn_mask: if counting.syn_with_ack { syn } else { syn | ack },
        }
    }

    /// Why a record is not to be counted, if so.
    #[inline(never)]
    pub(super) fn refusal(&self, record: &FlowRecord, direction: Direction) -> Option<DropReason> {
        let remote = match direction {
            Direction::Incoming if !self.counting.incoming => {
                return Some(DropReason::DirectionOff);
            }
            Direction::Outgoing if !self.counting.outgoing => {
                return Some(DropReason::DirectionOff);
            }
            Direction::Incoming => record.src,
            Direction::Outgoing => record.dst,
            Direction::Internal => 0,
            Direction::Other => return None,
        };
        let listed = |table: &PrefixTable| {
            direction != Direction::Internal && table.lookup_bits(record.family, remote).is_some()
        };
        let excluded = self.remotes.as_ref().is_some_and(listed) || self.rules.matches(record);
        excluded.then_some(DropReason::Whitelisted)
    }

    /// What a record adds. Without branches: in a mix of protocols they would be guessed wrong.
    #[inline]
    pub(super) fn addition(&self, record: &FlowRecord) -> Addition {
        let shares = if record.family == Family::V4 { &SHARES[0] } else { &SHARES[1] };
        let share = shares[usize::from(record.protocol)];
        let is_tcp = record.protocol == protocol::TCP;
        let has_syn = record.tcp_flags.0 & self.syn_mask == TcpFlags::SYN;
        let syn = is_tcp & has_syn;
        let dropped = record.forwarding == Forwarding::Dropped;
        Addition {
            count: Count { packets: record.scaled_packets(), bytes: record.scaled_bytes() },
            weight: record.sampling.get(),
            share,
            marks: Marks::new(syn, record.fragment.is_fragment(), dropped),
        }
    }
}

/// The share of each protocol number over IPv4 and IPv6.
static SHARES: [[Share; 256]; 2] = [shares(protocol::ICMP), shares(protocol::ICMPV6)];

const fn shares(icmp: u8) -> [Share; 256] {
    let mut shares = [Share::Other; 256];
    shares[protocol::TCP as usize] = Share::Tcp;
    shares[protocol::UDP as usize] = Share::Udp;
    shares[icmp as usize] = Share::Icmp;
    shares
}
