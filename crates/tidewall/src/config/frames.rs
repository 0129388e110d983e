//! `[frames]`: which header of a captured or sampled frame is counted, and which length.

use tidewall_wire::frame::{LengthMode, MAX_DEPTH, TunnelKind, TunnelPolicy};
use toml::de::DeValue;

use super::nearest::nearest;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{found, within, word};

table! {
    /// What is counted of a captured or sampled frame.
    struct FramesTable {
        /// Bytes of a packet: "wire" is the frame's length on the wire with its link header;
        /// "ip_header" is what the IP header says, for routers whose samples state a cut length.
        #[default = "\"wire\""]
        #[example = "\"ip_header\""]
        length: LengthMode,

        /// Tunnels that are entered, so that the packet within is counted: gre, erspan, ipip, ipv6
        /// (6in4), gtp-u, vxlan, geneve, l2tpv2, l2tpv3, mpls-in-ip, mpls-in-udp, etherip, teredo,
        /// lisp, or all. In every other tunnel the packet around it is counted.
        #[default = "[]"]
        #[example = "[\"gre\", \"gtp-u\"]"]
        inner: Vec<Typed<Tunnels>>,

        /// Tunnels within tunnels that are entered, from 1 to 8.
        #[default = "8"]
        #[example = "2"]
        depth: u32,
    }
}

/// How frames are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Which length counts.
    pub length: LengthMode,
    /// Which tunnels are entered.
    pub tunnels: TunnelPolicy,
}

/// One kind of tunnel, or all of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tunnels {
    /// Every kind.
    All,
    /// This kind.
    One(TunnelKind),
}

impl FromToml for LengthMode {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("wire", Self::Wire), ("ip_header", Self::IpHeader)], at, sink)
    }
}

impl FromToml for Tunnels {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let names = || TunnelKind::ALL.iter().map(|kind| kind.name()).chain(["all"]);
        let mut near = None;
        if let DeValue::String(text) = value {
            if text == "all" {
                return Some(Self::All);
            }
            if let Some(kind) = TunnelKind::ALL.iter().find(|kind| kind.name() == text) {
                return Some(Self::One(*kind));
            }
            near = nearest(text, names());
        }
        let fix = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("tunnels are {}", names().collect::<Vec<_>>().join(", ")),
        };
        sink.error_fix(at, format!("expected a kind of tunnel, found {}", found(value)), fix);
        None
    }
}

impl FramesTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Frames {
        let range = 1..=u32::from(MAX_DEPTH);
        let depth = within(self.depth.as_ref(), &range, "1 to 8", MAX_DEPTH.into(), sink);
        let mut tunnels = TunnelPolicy::OUTER;
        for tunnel in self.inner.iter().flat_map(|list| &list.value) {
            tunnels = match tunnel.value {
                Tunnels::All => TunnelPolicy::INNER,
                Tunnels::One(kind) => tunnels.entering(kind),
            };
        }
        Frames {
            length: self.length.as_ref().map_or(LengthMode::Wire, |typed| typed.value),
            tunnels: tunnels.with_depth(depth as u8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_names_every_tunnel() {
        let prose = FramesTable::TABLE.key("inner").unwrap().doc.concat();
        for kind in TunnelKind::ALL {
            assert!(prose.contains(kind.name()), "{}", kind.name());
        }
    }
}
