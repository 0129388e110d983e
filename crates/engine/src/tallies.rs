//! The compact counters of the packet path: one record touches two numbers of them, or four when it
//! is a SYN, a fragment or was dropped.

use tidewall_model::{Count, TrafficClass, TrafficCounters};

/// Which of the four counters that split the total a packet belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Share {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Any other protocol.
    Other,
}

/// Classes that overlap the shares, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    const SYN: u8 = 1;
    const FRAGMENT: u8 = 2;
    const DROPPED: u8 = 4;

    /// Of a packet with these properties.
    #[inline]
    pub const fn new(syn: bool, fragment: bool, dropped: bool) -> Self {
        Self(syn as u8 | (fragment as u8) << 1 | (dropped as u8) << 2)
    }

    /// Kind of a packet that is nothing else.
    pub const PLAIN: usize = 0;
    /// Kind of a SYN.
    pub const SYN_ONLY: usize = 1;
    /// Kind of a fragment, or of what was dropped.
    pub const RARE: usize = 2;

    /// Which kind it is, the rarest one counting.
    #[inline]
    pub const fn kind(self) -> usize {
        match self.0 {
            0 => Self::PLAIN,
            Self::SYN => Self::SYN_ONLY,
            _ => Self::RARE,
        }
    }

    /// None at all?
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Counts as SYN.
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Is a fragment.
    pub const fn fragment(self) -> bool {
        self.0 & Self::FRAGMENT != 0
    }

    /// Was dropped by the router.
    pub const fn dropped(self) -> bool {
        self.0 & Self::DROPPED != 0
    }
}

/// One packet, sample or flow, as the counters see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addition {
    /// Scaled packets and bytes.
    pub count: Count,
    /// Its sampling rate.
    pub weight: u32,
    /// Its part of the total.
    pub share: Share,
    /// What else it is.
    pub marks: Marks,
}

impl Addition {
    /// TCP or UDP and nothing else: what nearly all traffic is.
    #[inline]
    pub const fn is_plain(&self) -> bool {
        self.share as u8 >> 1 | self.marks.0 == 0
    }
}

/// All classes but the total, which is the sum of the shares.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tallies {
    /// By [`Share`].
    pub shares: [Count; 4],
    /// SYN.
    pub syn: Count,
    /// Fragments.
    pub fragment: Count,
    /// Dropped.
    pub dropped: Count,
}

impl Tallies {
    /// Adds one packet, sample or flow.
    #[inline]
    pub fn add(&mut self, add: &Addition) {
        self.shares[add.share as usize] += add.count;
        if !add.marks.is_empty() {
            self.add_marked(add);
        }
    }

    #[inline(never)]
    fn add_marked(&mut self, add: &Addition) {
        if add.marks.syn() {
            self.syn += add.count;
        }
        if add.marks.fragment() {
            self.fragment += add.count;
        }
        if add.marks.dropped() {
            self.dropped += add.count;
        }
    }

    /// Is nothing counted?
    pub fn is_empty(&self) -> bool {
        self.shares.iter().all(|share| share.packets == 0 && share.bytes == 0)
    }

    /// As the model's value, without flows.
    pub fn counters(&self) -> TrafficCounters {
        let mut counters = TrafficCounters {
            tcp: self.shares[Share::Tcp as usize],
            udp: self.shares[Share::Udp as usize],
            icmp: self.shares[Share::Icmp as usize],
            other: self.shares[Share::Other as usize],
            tcp_syn: self.syn,
            fragment: self.fragment,
            dropped: self.dropped,
            ..TrafficCounters::default()
        };
        for share in self.shares {
            *counters.get_mut(TrafficClass::Total) += share;
        }
        counters
    }
}
