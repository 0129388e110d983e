//! What a router does with the packets of a FlowSpec rule: actions as values, as extended
//! communities (RFC 8955 §7, RFC 8956 §6, redirect drafts) and in words.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::community::{ExtendedCommunity, Ipv6ExtendedCommunity};

const RATE_BYTES: u16 = 0x8006;
const TRAFFIC_ACTION: u16 = 0x8007;
const REDIRECT_AS2: u16 = 0x8008;
const MARKING: u16 = 0x8009;
const RATE_PACKETS: u16 = 0x800c;
const REDIRECT_IPV4: u16 = 0x8108;
const REDIRECT_AS4: u16 = 0x8208;
/// draft-ietf-idr-flowspec-redirect-ip: the address is in the community.
const REDIRECT_TO_IPV4: u16 = 0x010c;
/// draft-simpson-idr-flowspec-redirect: the address is the next hop.
const REDIRECT_TO_NEXT_HOP: u16 = 0x0800;
/// The same two among the IPv6 extended communities.
const REDIRECT_TO_IPV6: u16 = 0x000c;
const REDIRECT_IPV6: u16 = 0x000d;
const SAMPLE: u8 = 0x02;
/// Set: later rules are looked at as well. Clear: this rule is the last.
const GO_ON: u8 = 0x01;
const COPY: u8 = 0x01;

/// A rate per second: finite and not negative, which is what makes it comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u32);

impl Rate {
    /// Nothing passes.
    pub const ZERO: Self = Self(0);
    /// The largest that can be told.
    pub const MAX: Self = Self(f32::MAX.to_bits());

    /// `None` for a negative, infinite or undefined rate.
    pub fn new(per_second: f32) -> Option<Self> {
        // Adding zero makes +0 of -0; of the other values the bits have the order of the numbers.
        (per_second.is_finite() && per_second >= 0.0).then(|| Self((per_second + 0.0).to_bits()))
    }

    /// Units per second.
    pub fn per_second(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.per_second().fmt(f)
    }
}

/// Which routing table a redirect leads into: the one that imports this route target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteTarget {
    /// Two-octet AS number.
    As2(u16, u32),
    /// IPv4 address.
    Ipv4(Ipv4Addr, u16),
    /// Four-octet AS number.
    As4(u32, u16),
    /// IPv6 address (RFC 8956 §6.1).
    Ipv6(Ipv6Addr, u16),
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::As2(number, value) => write!(f, "{number}:{value}"),
            Self::Ipv4(address, value) => write!(f, "{address}:{value}"),
            Self::As4(number, value) => write!(f, "{number}L:{value}"),
            Self::Ipv6(address, value) => write!(f, "[{address}]:{value}"),
        }
    }
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// At most so many octets a second; zero discards.
    RateBytes(Rate),
    /// At most so many packets a second; zero discards.
    RatePackets(Rate),
    /// Sample and log; and whether later rules are looked at as well.
    Traffic {
        /// Sample and log.
        sample: bool,
        /// Go on with later rules; otherwise this rule is terminal.
        go_on: bool,
    },
    /// Into the routing table that imports this route target.
    Redirect(RouteTarget),
    /// To an address, or a copy to it (draft-ietf-idr-flowspec-redirect-ip).
    RedirectToIp {
        /// Where to.
        address: IpAddr,
        /// Only a copy: the packet goes its way.
        copy: bool,
    },
    /// To the next hop of the route, or a copy to it: the older form of the same draft.
    RedirectToNextHop {
        /// Where to; sent as the next hop.
        address: IpAddr,
        /// Only a copy.
        copy: bool,
    },
    /// Write this DSCP, 0 to 63.
    Mark(u8),
}

/// Which kind of action: what a peer's profile lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// Rate in bytes above zero.
    RateBytes,
    /// Rate in packets above zero.
    RatePackets,
    /// Rate of zero.
    Discard,
    /// Sample, go on.
    Traffic,
    /// Redirect to a routing table.
    Redirect,
    /// Redirect or copy to an address, newer form.
    RedirectToIp,
    /// Redirect or copy to an address, older form.
    RedirectToNextHop,
    /// Mark.
    Mark,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RateBytes,
        Self::RatePackets,
        Self::Discard,
        Self::Traffic,
        Self::Redirect,
        Self::RedirectToIp,
        Self::RedirectToNextHop,
        Self::Mark,
    ];
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateBytes => "rate-limit in bytes",
            Self::RatePackets => "rate-limit in packets",
            Self::Discard => "discard",
            Self::Traffic => "sample",
            Self::Redirect => "redirect",
            Self::RedirectToIp => "redirect-to-ip",
            Self::RedirectToNextHop => "redirect-to-next-hop",
            Self::Mark => "mark",
        })
    }
}

impl Action {
    /// Drop everything that matches.
    pub const DISCARD: Self = Self::RateBytes(Rate::ZERO);

    /// Its kind.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::RateBytes(Rate::ZERO) | Self::RatePackets(Rate::ZERO) => ActionKind::Discard,
            Self::RateBytes(_) => ActionKind::RateBytes,
            Self::RatePackets(_) => ActionKind::RatePackets,
            Self::Traffic { .. } => ActionKind::Traffic,
            Self::Redirect(_) => ActionKind::Redirect,
            Self::RedirectToIp { .. } => ActionKind::RedirectToIp,
            Self::RedirectToNextHop { .. } => ActionKind::RedirectToNextHop,
            Self::Mark(_) => ActionKind::Mark,
        }
    }

    /// What an extended community means as an action; the AS number of a rate is informational.
    pub fn from_extended(community: ExtendedCommunity) -> Option<Self> {
        let octets = u64::from_be_bytes(community.0);
        let (low, last) = (octets as u32, octets as u16);
        let (first, address) = ((octets >> 32) as u16, (octets >> 16) as u32);
        let flags = octets as u8;
        let rate = || Rate::new(f32::from_bits(low));
        Some(match community.kind() {
            RATE_BYTES => Self::RateBytes(rate()?),
            RATE_PACKETS => Self::RatePackets(rate()?),
            TRAFFIC_ACTION => {
                Self::Traffic { sample: flags & SAMPLE != 0, go_on: flags & GO_ON != 0 }
            }
            REDIRECT_AS2 => Self::Redirect(RouteTarget::As2(first, low)),
            REDIRECT_IPV4 => Self::Redirect(RouteTarget::Ipv4(address.into(), last)),
            REDIRECT_AS4 => Self::Redirect(RouteTarget::As4(address, last)),
            MARKING => Self::Mark(flags & 0x3f),
            REDIRECT_TO_IPV4 => {
                let address = Ipv4Addr::from(address).into();
                Self::RedirectToIp { address, copy: flags & COPY != 0 }
            }
            _ => return None,
        })
    }

    /// The same for a community with an IPv6 address.
    pub fn from_ipv6_extended(community: Ipv6ExtendedCommunity) -> Option<Self> {
        let Ipv6ExtendedCommunity { kind, address, value } = community;
        match kind {
            REDIRECT_TO_IPV6 => {
                let copy = value & u16::from(COPY) != 0;
                Some(Self::RedirectToIp { address: address.into(), copy })
            }
            REDIRECT_IPV6 => Some(Self::Redirect(RouteTarget::Ipv6(address, value))),
            _ => None,
        }
    }

    /// As a community of one sort or the other.
    fn community(&self) -> Result<ExtendedCommunity, Ipv6ExtendedCommunity> {
        let two = |kind, value| Ok(ExtendedCommunity::two_octet(kind, 0, value));
        match *self {
            Self::RateBytes(rate) => two(RATE_BYTES, rate.0),
            Self::RatePackets(rate) => two(RATE_PACKETS, rate.0),
            Self::Traffic { sample, go_on } => {
                let flags = if sample { SAMPLE } else { 0 } | if go_on { GO_ON } else { 0 };
                two(TRAFFIC_ACTION, flags.into())
            }
            Self::Mark(dscp) => two(MARKING, dscp.into()),
            Self::Redirect(RouteTarget::As2(number, value)) => {
                Ok(ExtendedCommunity::two_octet(REDIRECT_AS2, number, value))
            }
            Self::Redirect(RouteTarget::Ipv4(address, value)) => {
                Ok(ExtendedCommunity::four_octet(REDIRECT_IPV4, address.to_bits(), value))
            }
            Self::Redirect(RouteTarget::As4(number, value)) => {
                Ok(ExtendedCommunity::four_octet(REDIRECT_AS4, number, value))
            }
            Self::Redirect(RouteTarget::Ipv6(address, value)) => {
                Err(Ipv6ExtendedCommunity { kind: REDIRECT_IPV6, address, value })
            }
            Self::RedirectToIp { address: IpAddr::V4(address), copy } => {
                let flags = u16::from(copy) * u16::from(COPY);
                Ok(ExtendedCommunity::four_octet(REDIRECT_TO_IPV4, address.to_bits(), flags))
            }
            Self::RedirectToIp { address: IpAddr::V6(address), copy } => {
                let value = u16::from(copy) * u16::from(COPY);
                Err(Ipv6ExtendedCommunity { kind: REDIRECT_TO_IPV6, address, value })
            }
            Self::RedirectToNextHop { copy, .. } => {
                two(REDIRECT_TO_NEXT_HOP, u32::from(copy) * u32::from(COPY))
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |copy: bool| if copy { "copy" } else { "redirect" };
        match self {
            Self::RateBytes(Rate::ZERO) | Self::RatePackets(Rate::ZERO) => f.write_str("discard"),
            Self::RateBytes(rate) => write!(f, "rate-limit {rate} bytes/s"),
            Self::RatePackets(rate) => write!(f, "rate-limit {rate} packets/s"),
            Self::Traffic { sample: true, go_on: false } => f.write_str("sample"),
            Self::Traffic { sample: true, go_on: true } => f.write_str("sample and go on"),
            Self::Traffic { sample: false, go_on: true } => f.write_str("go on"),
            Self::Traffic { sample: false, go_on: false } => f.write_str("stop"),
            Self::Redirect(target) => write!(f, "redirect {target}"),
            Self::RedirectToIp { address, copy } => write!(f, "{} {address}", verb(*copy)),
            Self::RedirectToNextHop { address, copy } => {
                write!(f, "{} to next hop {address}", verb(*copy))
            }
            Self::Mark(dscp) => write!(f, "mark {dscp}"),
        }
    }
}

/// Why actions do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ActionError {
    /// A rule without action would mean "accept".
    #[error("no action: routers would accept the traffic")]
    None,
    /// Two of one sort: the router picks one.
    #[error("more than one {0}: routers take any one of them")]
    Twice(&'static str),
    /// A discarded packet goes nowhere else.
    #[error("discard together with {0}: the packet is dropped and the other has no effect")]
    DiscardAnd(ActionKind),
    /// A DSCP has six bits.
    #[error("mark {0}, where a DSCP is 0 to 63")]
    Mark(u8),
}

/// The actions of a rule: at least one, at most one rate, one redirect, one mark, one sample.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// Drop everything that matches.
    pub fn discard() -> Self {
        Self(vec![Action::DISCARD])
    }

    /// Checks that these actions go together.
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Result<Self, ActionError> {
        // A rate of zero packets is a discard that few routers know: there is the other form.
        let plain = |action| match action {
            Action::RatePackets(Rate::ZERO) => Action::DISCARD,
            other => other,
        };
        let mut actions: Vec<Action> = actions.into_iter().map(plain).collect();
        actions.sort_unstable();
        actions.dedup();
        if actions.is_empty() {
            return Err(ActionError::None);
        }
        let sort = |action: &Action| match action {
            Action::RateBytes(_) | Action::RatePackets(_) => "rate",
            Action::Traffic { .. } => "sample or go on",
            Action::Mark(_) => "mark",
            Action::Redirect(_)
            | Action::RedirectToIp { .. }
            | Action::RedirectToNextHop { .. } => "redirect",
        };
        for (index, action) in actions.iter().enumerate() {
            let name = sort(action);
            if actions.iter().skip(index + 1).any(|other| sort(other) == name) {
                return Err(ActionError::Twice(name));
            }
            if let Action::Mark(dscp) = action
                && *dscp > 63
            {
                return Err(ActionError::Mark(*dscp));
            }
        }
        if actions.iter().any(|action| action.kind() == ActionKind::Discard)
            && let Some(other) = actions
                .iter()
                .map(Action::kind)
                .find(|kind| !matches!(kind, ActionKind::Discard | ActionKind::Traffic))
        {
            return Err(ActionError::DiscardAnd(other));
        }
        Ok(Self(actions))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.0.iter()
    }

    /// Does nothing get through?
    pub fn discards(&self) -> bool {
        self.0.iter().any(|action| action.kind() == ActionKind::Discard)
    }

    /// What must stand as next hop for a redirect in the older form.
    pub fn next_hop(&self) -> Option<IpAddr> {
        self.0.iter().find_map(|action| match action {
            Action::RedirectToNextHop { address, .. } => Some(*address),
            _ => None,
        })
    }

    /// As extended communities of both sorts.
    pub fn communities(&self) -> (Vec<ExtendedCommunity>, Vec<Ipv6ExtendedCommunity>) {
        let (mut plain, mut ipv6) = (Vec::new(), Vec::new());
        for action in &self.0 {
            match action.community() {
                Ok(community) => plain.push(community),
                Err(community) => ipv6.push(community),
            }
        }
        (plain, ipv6)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.0.iter().enumerate() {
            write!(f, "{}{action}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `mitigation` practice: each was seen in the tables of at least two daemons.
    #[test]
    fn communities_have_the_bytes_of_the_registry_and_are_read_back() {
        let rate = |value| Rate::new(value).unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 1);
        for (action, bytes, words) in [
            (Action::DISCARD, "8006000000000000", "discard"),
            (Action::RateBytes(rate(125_000.0)), "8006000047f42400", "rate-limit 125000 bytes/s"),
            (Action::RatePackets(rate(1e5)), "800c000047c35000", "rate-limit 100000 packets/s"),
            (Action::Traffic { sample: true, go_on: true }, "8007000000000003", "sample and go on"),
            (Action::Traffic { sample: true, go_on: false }, "8007000000000002", "sample"),
            (
                Action::Redirect(RouteTarget::As2(65_002, 100)),
                "8008fdea00000064",
                "redirect 65002:100",
            ),
            (
                Action::Redirect(RouteTarget::Ipv4(address, 7)),
                "8108c00002010007",
                "redirect 192.0.2.1:7",
            ),
            (
                Action::Redirect(RouteTarget::As4(70_000, 7)),
                "8208000111700007",
                "redirect 70000L:7",
            ),
            (Action::Mark(46), "800900000000002e", "mark 46"),
            (
                Action::RedirectToIp { address: address.into(), copy: true },
                "010cc00002010001",
                "copy 192.0.2.1",
            ),
        ] {
            let community = action.community().unwrap();
            assert_eq!(community.to_string(), format!("0x{bytes}"), "{action}");
            assert_eq!(Action::from_extended(community), Some(action));
            assert_eq!(action.to_string(), words);
        }
        let older = Action::RedirectToNextHop { address: address.into(), copy: false };
        assert_eq!(older.community().unwrap().kind(), 0x0800);
        let ipv6 = Action::Redirect(RouteTarget::Ipv6(Ipv6Addr::LOCALHOST, 9));
        let community = ipv6.community().unwrap_err();
        assert_eq!(Action::from_ipv6_extended(community), Some(ipv6));
    }

    #[test]
    fn a_rate_is_a_number_that_can_be() {
        assert_eq!(Rate::new(-0.0), Some(Rate::ZERO));
        for bad in [f32::NAN, f32::INFINITY, -1.0] {
            assert_eq!(Rate::new(bad), None);
        }
        assert!(Rate::new(1.0) < Rate::new(1e9));
        let undefined = ExtendedCommunity([0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0]);
        assert_eq!(Action::from_extended(undefined), None);
    }

    #[test]
    fn actions_that_do_not_go_together_are_refused() {
        let limit = Action::RateBytes(Rate::new(1e6).unwrap());
        let redirect = Action::Redirect(RouteTarget::As2(65_000, 1));
        let sample = Action::Traffic { sample: true, go_on: false };
        assert_eq!(Actions::new([]), Err(ActionError::None));
        assert_eq!(Actions::new([limit, Action::DISCARD]), Err(ActionError::Twice("rate")));
        assert_eq!(
            Actions::new([redirect, Action::DISCARD]),
            Err(ActionError::DiscardAnd(ActionKind::Redirect))
        );
        assert_eq!(Actions::new([Action::Mark(64)]), Err(ActionError::Mark(64)));
        let three = Actions::new([sample, redirect, limit]).unwrap();
        assert_eq!(three.to_string(), "rate-limit 1000000 bytes/s, sample, redirect 65000:1");
        assert!(!three.discards() && Actions::new([sample, Action::DISCARD]).unwrap().discards());
    }
}
