//! Address families: the numbers as they stand in messages, and the four that we announce.

use std::fmt;

use tidewall_model::Family;

/// An address family and subsequent address family as numbers (RFC 4760), known to us or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RouteFamily::try_from(*self) {
            Ok(family) => family.fmt(f),
            Err(_) => write!(f, "AFI {} SAFI {}", self.afi, self.safi),
        }
    }
}

/// The families that we announce routes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteFamily {
    /// IPv4 unicast.
    Ipv4Unicast,
    /// IPv6 unicast.
    Ipv6Unicast,
    /// IPv4 FlowSpec (RFC 8955).
    Ipv4FlowSpec,
    /// IPv6 FlowSpec (RFC 8956).
    Ipv6FlowSpec,
}

impl RouteFamily {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Self; 4] =
        [Self::Ipv4Unicast, Self::Ipv6Unicast, Self::Ipv4FlowSpec, Self::Ipv6FlowSpec];

    /// The unicast family of an IP version.
    pub const fn unicast(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4Unicast,
            Family::V6 => Self::Ipv6Unicast,
        }
    }

    /// The FlowSpec family of an IP version.
    pub const fn flow_spec(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4FlowSpec,
            Family::V6 => Self::Ipv6FlowSpec,
        }
    }

    /// The IP version of its addresses.
    pub const fn ip(self) -> Family {
        match self {
            Self::Ipv4Unicast | Self::Ipv4FlowSpec => Family::V4,
            Self::Ipv6Unicast | Self::Ipv6FlowSpec => Family::V6,
        }
    }

    /// Does it carry FlowSpec rules?
    pub const fn is_flow_spec(self) -> bool {
        matches!(self, Self::Ipv4FlowSpec | Self::Ipv6FlowSpec)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl From<RouteFamily> for AfiSafi {
    fn from(family: RouteFamily) -> Self {
        let afi = if family.ip() == Family::V4 { 1 } else { 2 };
        Self { afi, safi: if family.is_flow_spec() { 133 } else { 1 } }
    }
}

/// A family that we do not announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherFamily;

impl TryFrom<AfiSafi> for RouteFamily {
    type Error = OtherFamily;

    fn try_from(family: AfiSafi) -> Result<Self, OtherFamily> {
        Self::ALL.into_iter().find(|ours| AfiSafi::from(*ours) == family).ok_or(OtherFamily)
    }
}

impl fmt::Display for RouteFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "IPv4 unicast",
            Self::Ipv6Unicast => "IPv6 unicast",
            Self::Ipv4FlowSpec => "IPv4 FlowSpec",
            Self::Ipv6FlowSpec => "IPv6 FlowSpec",
        })
    }
}

/// A set of the families that we announce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilySet(u8);

impl FamilySet {
    /// No family.
    pub const NONE: Self = Self(0);
    /// All four.
    pub const ALL: Self = Self(0b1111);

    /// With `family` in it.
    #[must_use]
    pub const fn with(self, family: RouteFamily) -> Self {
        Self(self.0 | family.bit())
    }

    /// Without `family`.
    #[must_use]
    pub const fn without(self, family: RouteFamily) -> Self {
        Self(self.0 & !family.bit())
    }

    /// Is `family` in it?
    pub const fn contains(self, family: RouteFamily) -> bool {
        self.0 & family.bit() != 0
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Is nothing in it?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its families in the order in which they are announced.
    pub fn iter(self) -> impl Iterator<Item = RouteFamily> {
        RouteFamily::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl FromIterator<RouteFamily> for FamilySet {
    fn from_iter<I: IntoIterator<Item = RouteFamily>>(families: I) -> Self {
        families.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_registry() {
        let numbers = RouteFamily::ALL.map(AfiSafi::from).map(|f| (f.afi, f.safi));
        assert_eq!(numbers, [(1, 1), (2, 1), (1, 133), (2, 133)]);
        for family in RouteFamily::ALL {
            assert_eq!(RouteFamily::try_from(AfiSafi::from(family)), Ok(family));
        }
        let vpn = AfiSafi { afi: 1, safi: 134 };
        assert_eq!(RouteFamily::try_from(vpn), Err(OtherFamily));
        assert_eq!(vpn.to_string(), "AFI 1 SAFI 134");
    }

    #[test]
    fn sets() {
        let set: FamilySet =
            [RouteFamily::Ipv6Unicast, RouteFamily::Ipv4FlowSpec].into_iter().collect();
        assert_eq!(set.iter().count(), 2);
        assert!(!set.contains(RouteFamily::Ipv4Unicast));
        assert_eq!(set.and(FamilySet::ALL), set);
        assert!(
            set.without(RouteFamily::Ipv6Unicast).without(RouteFamily::Ipv4FlowSpec).is_empty()
        );
    }
}
