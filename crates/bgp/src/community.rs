//! Communities: standard (RFC 1997), extended (RFC 4360), of IPv6 addresses (RFC 5701) and large
//! (RFC 8092), as they stand in messages and as operators write them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// A text that is not a community.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a community: {wanted}")]
pub struct CommunityError {
    /// What was written.
    pub text: String,
    /// What it should look like.
    pub wanted: &'static str,
}

/// A standard community: four octets, written `65535:666`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// RFC 7999: drop the traffic to this prefix.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// RFC 1997: not beyond the neighbour's AS.
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// RFC 1997: not beyond the neighbour.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl FromStr for Community {
    type Err = CommunityError;

    /// `A:B` with both below 65,536, or a well-known name.
    fn from_str(text: &str) -> Result<Self, CommunityError> {
        match text {
            "blackhole" => return Ok(Self::BLACKHOLE),
            "no-export" => return Ok(Self::NO_EXPORT),
            "no-advertise" => return Ok(Self::NO_ADVERTISE),
            _ => {}
        }
        let wanted = "two numbers from 0 to 65535, as in 65535:666, or blackhole, no-export, \
                      no-advertise";
        let [high, low] = numbers::<2>(text)
            .and_then(|[high, low]| Some([u16::try_from(high).ok()?, u16::try_from(low).ok()?]))
            .ok_or_else(|| CommunityError { text: text.to_owned(), wanted })?;
        Ok(Self(u32::from(high) << 16 | u32::from(low)))
    }
}

/// A large community: three numbers of four octets, written `65010:666:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity(pub [u32; 3]);

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [global, first, second] = self.0;
        write!(f, "{global}:{first}:{second}")
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let wanted = "three numbers from 0 to 4294967295, as in 65010:666:1";
        numbers::<3>(text).map(Self).ok_or_else(|| CommunityError { text: text.to_owned(), wanted })
    }
}

/// An extended community: eight octets. What FlowSpec makes of it: [`crate::action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

/// What stands before the administrator's part of a route target or origin.
const TARGET: u8 = 2;
const ORIGIN: u8 = 3;

impl ExtendedCommunity {
    /// Type in the high octet, subtype in the low one.
    pub const fn kind(self) -> u16 {
        let [high, low, ..] = self.0;
        u16::from_be_bytes([high, low])
    }

    /// A community of a two-octet AS number: `kind`, the AS, four octets.
    pub(crate) fn two_octet(kind: u16, number: u16, value: u32) -> Self {
        let octets = u64::from(kind) << 48 | u64::from(number) << 32 | u64::from(value);
        Self(octets.to_be_bytes())
    }

    /// A community of an address or a four-octet AS number: `kind`, four octets, two octets.
    pub(crate) fn four_octet(kind: u16, number: u32, value: u16) -> Self {
        let octets = u64::from(kind) << 48 | u64::from(number) << 16 | u64::from(value);
        Self(octets.to_be_bytes())
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = u64::from_be_bytes(self.0);
        let [high, subtype] = self.kind().to_be_bytes();
        let (two, four) = ((octets >> 32) as u16, (octets >> 16) as u32);
        let name = match subtype {
            TARGET => "target",
            ORIGIN => "origin",
            _ => return write!(f, "0x{octets:016x}"),
        };
        match high {
            0 => write!(f, "{name}:{two}:{}", octets as u32),
            1 => write!(f, "{name}:{}:{}", Ipv4Addr::from(four), octets as u16),
            2 => write!(f, "{name}:{four}L:{}", octets as u16),
            _ => write!(f, "0x{octets:016x}"),
        }
    }
}

impl FromStr for ExtendedCommunity {
    type Err = CommunityError;

    /// `target:A:B` or `origin:A:B`, A an AS number or an IPv4 address; or `0x` and 16 digits.
    fn from_str(text: &str) -> Result<Self, CommunityError> {
        let wanted = "target:65001:100, target:192.0.2.1:100, target:4200000000L:100, the same \
                      with origin, or 0x and sixteen hexadecimal digits";
        extended(text).ok_or_else(|| CommunityError { text: text.to_owned(), wanted })
    }
}

fn extended(text: &str) -> Option<ExtendedCommunity> {
    if let Some(digits) = text.strip_prefix("0x") {
        let plain = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u64::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        return Some(ExtendedCommunity(value.to_be_bytes()));
    }
    let (name, rest) = text.split_once(':')?;
    let subtype = match name {
        "target" => u16::from(TARGET),
        "origin" => u16::from(ORIGIN),
        _ => return None,
    };
    let (administrator, value) = rest.rsplit_once(':')?;
    let value = number(value)?;
    if let Ok(address) = administrator.parse::<Ipv4Addr>() {
        let value = value.try_into().ok()?;
        return Some(ExtendedCommunity::four_octet(0x0100 | subtype, address.to_bits(), value));
    }
    let (administrator, long) = match administrator.strip_suffix('L') {
        Some(administrator) => (number(administrator)?, true),
        None => (number(administrator)?, false),
    };
    match u16::try_from(administrator) {
        Ok(short) if !long => Some(ExtendedCommunity::two_octet(subtype, short, value)),
        _ => {
            let value = value.try_into().ok()?;
            Some(ExtendedCommunity::four_octet(0x0200 | subtype, administrator, value))
        }
    }
}

/// An extended community with an IPv6 address: twenty octets (RFC 5701).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6ExtendedCommunity {
    /// Type and subtype.
    pub kind: u16,
    /// Global administrator.
    pub address: Ipv6Addr,
    /// Local administrator.
    pub value: u16,
}

impl Ipv6ExtendedCommunity {
    pub(crate) fn from_octets(octets: &[u8; 20]) -> Self {
        let [high, low, address @ .., value_high, value_low] = octets;
        Self {
            kind: u16::from_be_bytes([*high, *low]),
            address: Ipv6Addr::from(*address),
            value: u16::from_be_bytes([*value_high, *value_low]),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.kind.to_be_bytes());
        out.extend(self.address.octets());
        out.extend(self.value.to_be_bytes());
    }
}

impl fmt::Display for Ipv6ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}:{}:{}", self.kind, self.address, self.value)
    }
}

/// `N` decimal numbers with colons between them, and nothing else.
fn numbers<const N: usize>(text: &str) -> Option<[u32; N]> {
    let mut parts = text.split(':');
    let mut found = [0; N];
    for place in &mut found {
        *place = number(parts.next()?)?;
    }
    parts.next().is_none().then_some(found)
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_communities() {
        assert_eq!("65535:666".parse(), Ok(Community::BLACKHOLE));
        assert_eq!("no-export".parse::<Community>().unwrap().to_string(), "65535:65281");
        for bad in ["", "666", "65536:1", "1:65536", "1:2:3", "+1:2", "-1:2", "1: 2", "a:b", "1:"] {
            assert!(bad.parse::<Community>().is_err(), "{bad}");
        }
    }

    #[test]
    fn large_and_extended_communities_are_read_as_they_are_printed() {
        let large: LargeCommunity = "4200000000:666:1".parse().unwrap();
        assert_eq!(large.0, [4_200_000_000, 666, 1]);
        assert_eq!(large.to_string().parse(), Ok(large));
        for (text, octets) in [
            ("target:65001:100", [0, 2, 0xfd, 0xe9, 0, 0, 0, 100]),
            ("origin:65001:100", [0, 3, 0xfd, 0xe9, 0, 0, 0, 100]),
            ("target:192.0.2.1:100", [1, 2, 192, 0, 2, 1, 0, 100]),
            ("target:70000L:100", [2, 2, 0, 1, 0x11, 0x70, 0, 100]),
            ("target:5L:100", [2, 2, 0, 0, 0, 5, 0, 100]),
            ("0x8006000000000000", [0x80, 6, 0, 0, 0, 0, 0, 0]),
        ] {
            let community: ExtendedCommunity = text.parse().unwrap();
            assert_eq!(community.0, octets, "{text}");
            assert_eq!(community.to_string(), text);
        }
        assert_eq!("target:70000:1".parse::<ExtendedCommunity>().unwrap().kind(), 0x0202);
        for bad in ["target:1", "target:1:70000L", "target:192.0.2.1:70000", "0x12", "rt:1:1"] {
            assert!(bad.parse::<ExtendedCommunity>().is_err(), "{bad}");
        }
    }
}
