//! Packets and bytes by class and direction, scaled by the sampling rate.

use std::ops::AddAssign;

use serde::Serialize;

use crate::TrafficClass;

/// Packets and bytes of one class. Sums saturate: a lie about a sampling rate cannot wrap them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Packets, times the sampling rate.
    pub packets: u64,
    /// Bytes, times the sampling rate.
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// All classes of one direction over one period, and the distinct flows in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficCounters {
    /// Everything.
    pub total: Count,
    /// TCP.
    pub tcp: Count,
    /// TCP SYN.
    pub tcp_syn: Count,
    /// UDP.
    pub udp: Count,
    /// ICMP and ICMPv6.
    pub icmp: Count,
    /// Fragments.
    pub fragment: Count,
    /// Dropped by the router.
    pub dropped: Count,
    /// Other IP protocols.
    pub other: Count,
    /// Distinct (remote address, ports, protocol) tuples, as seen: not scaled by sampling.
    pub flows: u64,
}

impl TrafficCounters {
    /// Packets and bytes of a class.
    pub const fn get(&self, class: TrafficClass) -> Count {
        match class {
            TrafficClass::Total => self.total,
            TrafficClass::Tcp => self.tcp,
            TrafficClass::TcpSyn => self.tcp_syn,
            TrafficClass::Udp => self.udp,
            TrafficClass::Icmp => self.icmp,
            TrafficClass::Fragment => self.fragment,
            TrafficClass::Dropped => self.dropped,
            TrafficClass::Other => self.other,
        }
    }

    /// Packets and bytes of a class, to be changed.
    pub const fn get_mut(&mut self, class: TrafficClass) -> &mut Count {
        match class {
            TrafficClass::Total => &mut self.total,
            TrafficClass::Tcp => &mut self.tcp,
            TrafficClass::TcpSyn => &mut self.tcp_syn,
            TrafficClass::Udp => &mut self.udp,
            TrafficClass::Icmp => &mut self.icmp,
            TrafficClass::Fragment => &mut self.fragment,
            TrafficClass::Dropped => &mut self.dropped,
            TrafficClass::Other => &mut self.other,
        }
    }
}

impl AddAssign<&Self> for TrafficCounters {
    fn add_assign(&mut self, other: &Self) {
        for class in TrafficClass::ALL {
            *self.get_mut(class) += other.get(class);
        }
        self.flows = self.flows.saturating_add(other.flows);
    }
}

/// Both directions of a host, network or group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectedCounters {
    /// Towards our side.
    pub incoming: TrafficCounters,
    /// From our side.
    pub outgoing: TrafficCounters,
}

impl AddAssign<&Self> for DirectedCounters {
    fn add_assign(&mut self, other: &Self) {
        self.incoming += &other.incoming;
        self.outgoing += &other.outgoing;
    }
}
