//! An IP address as the packet path carries it: 128 bits and a family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

/// IP version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Address length in bits: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An address with its family. An IPv4 address sits in the low 32 bits.
///
/// Ordered by family, then numerically, which is the order of every list we print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// IP version.
    pub family: Family,
    /// The address as a number, in host byte order.
    pub bits: u128,
}

impl Address {
    /// An IPv4 address from its number in host byte order.
    pub const fn v4(bits: u32) -> Self {
        Self { family: Family::V4, bits: bits as u128 }
    }

    /// An IPv6 address from its number in host byte order.
    pub const fn v6(bits: u128) -> Self {
        Self { family: Family::V6, bits }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Self::v4(a.to_bits()),
            IpAddr::V6(a) => Self::v6(a.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(a: Address) -> Self {
        match a.family {
            Family::V4 => Self::V4(Ipv4Addr::from_bits(a.bits as u32)),
            Family::V6 => Self::V6(Ipv6Addr::from_bits(a.bits)),
        }
    }
}

impl fmt::Display for Address {
    /// IPv4 dotted, IPv6 as RFC 5952 says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_rfc_5952() {
        for (text, want) in [
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("::", "::"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            let address = Address::from(text.parse::<IpAddr>().unwrap());
            assert_eq!(address.to_string(), want);
        }
    }
}
