//! CIDR prefixes with the host bits always clear.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::{Address, Family};

/// A prefix of either family. Bits below `len` are zero: two equal prefixes are the same set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: Address,
    len: u8,
}

/// Why a text or a length is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// The part before the slash is not an address.
    #[error("`{0}` is not an IPv4 or IPv6 address")]
    Address(String),
    /// The part after the slash is not a number, or above 32 or 128.
    #[error("`{text}` is not a prefix length for {family} (0 to {max})")]
    Length {
        /// What was written.
        text: String,
        /// Family of the address.
        family: Family,
        /// Largest length of that family.
        max: u8,
    },
    /// The address has bits set below the length.
    #[error("`{given}` has host bits set; the network is {network}")]
    HostBits {
        /// What was written.
        given: String,
        /// The prefix with these bits cleared.
        network: Prefix,
    },
}

impl Prefix {
    /// The prefix of length `len` that contains `address`; `len` is capped at the family's bits.
    pub fn containing(address: Address, len: u8) -> Self {
        let len = len.min(address.family.bits());
        let bits = address.bits & Self::mask(address.family, len);
        Self { address: Address { family: address.family, bits }, len }
    }

    /// The single address as a /32 or /128.
    pub fn host(address: Address) -> Self {
        Self { address, len: address.family.bits() }
    }

    /// Parses `address/len`, or a bare address as a host, clearing host bits silently.
    pub fn parse_lossy(text: &str) -> Result<Self, PrefixError> {
        match Self::from_str(text) {
            Err(PrefixError::HostBits { network, .. }) => Ok(network),
            other => other,
        }
    }

    /// First address.
    pub const fn first(self) -> Address {
        self.address
    }

    /// Last address.
    pub fn last(self) -> Address {
        let family = self.address.family;
        let all = Self::mask(family, family.bits());
        let bits = self.address.bits | (all & !Self::mask(family, self.len));
        Address { family, bits }
    }

    /// Length in bits.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a size")]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// True for a prefix of length zero, the default route.
    pub const fn is_default(self) -> bool {
        self.len == 0
    }

    /// IP version.
    pub const fn family(self) -> Family {
        self.address.family
    }

    /// Is the address in this prefix?
    pub fn contains(self, address: Address) -> bool {
        address.family == self.address.family
            && address.bits & Self::mask(address.family, self.len) == self.address.bits
    }

    /// Is every address of `other` in this prefix?
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.address)
    }

    /// Number of addresses, saturating for ::/0.
    pub fn size(self) -> u128 {
        1u128.checked_shl(u32::from(self.family().bits() - self.len)).unwrap_or(u128::MAX)
    }

    /// Network mask of a family as a number.
    fn mask(family: Family, len: u8) -> u128 {
        match family {
            Family::V4 => {
                let mask = u32::MAX.checked_shl(u32::from(32 - len.min(32))).unwrap_or(0);
                u128::from(mask)
            }
            Family::V6 => u128::MAX.checked_shl(u32::from(128 - len.min(128))).unwrap_or(0),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// `address/len`, or a bare address as a host prefix. Host bits must be clear.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| PrefixError::Address(address.to_owned()))?;
        let address = Address::from(address);
        let max = address.family.bits();
        let Some(len) = len else { return Ok(Self::host(address)) };
        let wrong = || PrefixError::Length { text: len.to_owned(), family: address.family, max };
        if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let length: u8 = len.parse().ok().filter(|l| *l <= max).ok_or_else(wrong)?;
        let network = Self::containing(address, length);
        if network.address != address {
            return Err(PrefixError::HostBits { given: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn parses_and_refuses() {
        assert_eq!(p("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(p("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(p("2001:db8::/32").last().to_string(), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(p("0.0.0.0/0").size(), 1 << 32);
        assert_eq!(p("::/0").size(), u128::MAX);
        assert!(matches!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length { .. })));
        assert!(matches!("10.0.0.0/+8".parse::<Prefix>(), Err(PrefixError::Length { .. })));
        assert!(matches!("10.0.0.0/".parse::<Prefix>(), Err(PrefixError::Length { .. })));
        assert!(matches!("10.0.0/8".parse::<Prefix>(), Err(PrefixError::Address(_))));
        let bits = "10.0.0.5/24".parse::<Prefix>().unwrap_err();
        assert_eq!(bits.to_string(), "`10.0.0.5/24` has host bits set; the network is 10.0.0.0/24");
        assert_eq!(Prefix::parse_lossy("10.0.0.5/24").unwrap(), p("10.0.0.0/24"));
    }

    proptest! {
        #[test]
        fn contains_its_first_and_last_only(bits: u128, len in 0u8..=128, v4: bool) {
            let address = if v4 { Address::v4(bits as u32) } else { Address::v6(bits) };
            let prefix = Prefix::containing(address, len);
            prop_assert!(prefix.contains(address));
            prop_assert!(prefix.contains(prefix.first()) && prefix.contains(prefix.last()));
            prop_assert!(prefix.covers(Prefix::host(address)));
            prop_assert_eq!(prefix.to_string().parse::<Prefix>().unwrap(), prefix);
            if let Some(below) = prefix.first().bits.checked_sub(1) {
                let outside = Address { family: address.family, bits: below };
                prop_assert!(!prefix.contains(outside));
            }
        }
    }
}
