//! What is odd about a packet that is counted all the same.

use std::ops::{BitOr, BitOrAssign};

/// A set of oddities; each is a bit and a few words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Anomalies(u16);

impl Anomalies {
    /// Nothing odd.
    pub const NONE: Self = Self(0);
    /// The IPv4 total length is shorter than the header.
    pub const TOTAL_LENGTH: Self = Self(1);
    /// The frame ends inside the IPv4 options.
    pub const OPTIONS_CUT: Self = Self(1 << 1);
    /// The packet ends inside an extension header (or AH).
    pub const EXTENSION_CUT: Self = Self(1 << 2);
    /// More extension headers than are followed.
    pub const EXTENSION_LIMIT: Self = Self(1 << 3);
    /// The packet ends inside its transport header.
    pub const TRANSPORT_CUT: Self = Self(1 << 4);
    /// The TCP data offset is below 5 words.
    pub const TCP_DATA_OFFSET: Self = Self(1 << 5);
    /// The UDP length is below 8 bytes and not zero.
    pub const UDP_LENGTH: Self = Self(1 << 6);
    /// A tunnel that should have been entered holds no readable IP header.
    pub const INNER_UNREADABLE: Self = Self(1 << 7);
    /// More tunnels than the policy enters.
    pub const TUNNEL_DEPTH: Self = Self(1 << 8);

    const WORDS: [(Self, &'static str); 9] = [
        (Self::TOTAL_LENGTH, "ip total length below header"),
        (Self::OPTIONS_CUT, "ip options cut"),
        (Self::EXTENSION_CUT, "extension header cut"),
        (Self::EXTENSION_LIMIT, "too many extension headers"),
        (Self::TRANSPORT_CUT, "transport header cut"),
        (Self::TCP_DATA_OFFSET, "tcp data offset below header"),
        (Self::UDP_LENGTH, "udp length below header"),
        (Self::INNER_UNREADABLE, "tunnel payload unreadable"),
        (Self::TUNNEL_DEPTH, "tunnel depth limit"),
    ];

    /// Nothing odd?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Are all of `other` set?
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The words of each oddity, in a fixed order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, word)| word)
    }
}

impl BitOr for Anomalies {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Anomalies {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_its_words() {
        let all = Anomalies::WORDS.iter().fold(Anomalies::NONE, |all, (bit, _)| all | *bit);
        assert_eq!(all.0.count_ones() as usize, Anomalies::WORDS.len());
        assert_eq!(all.words().count(), Anomalies::WORDS.len());
        assert_eq!(Anomalies::NONE.words().count(), 0);
    }
}
