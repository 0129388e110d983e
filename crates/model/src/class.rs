//! Which way traffic goes, and which counters it belongs to.

use std::fmt;

use serde::Serialize;

/// Direction relative to our networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To one of our hosts, from elsewhere.
    Incoming,
    /// From one of our hosts, to elsewhere.
    Outgoing,
    /// Between two of our hosts.
    Internal,
    /// Neither end is ours.
    #[default]
    Other,
}

impl Direction {
    /// All four, in the order of every report.
    pub const ALL: [Self; 4] = [Self::Incoming, Self::Outgoing, Self::Internal, Self::Other];

    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Outgoing => "outgoing",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a counter counts. `Tcp`, `Udp`, `Icmp` and `Other` split `Total`; the rest overlap them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficClass {
    /// Everything.
    Total,
    /// IP protocol 6.
    Tcp,
    /// TCP with SYN and without ACK (or with SYN at all: an option).
    TcpSyn,
    /// IP protocol 17.
    Udp,
    /// IP protocol 1 over IPv4, 58 over IPv6.
    Icmp,
    /// Packets of a fragmented datagram, the first one included.
    Fragment,
    /// Records that say the router dropped the traffic (forwarding status).
    Dropped,
    /// Every other IP protocol.
    Other,
}

impl TrafficClass {
    /// All classes, in the order of every report.
    pub const ALL: [Self; 8] = [
        Self::Total,
        Self::Tcp,
        Self::TcpSyn,
        Self::Udp,
        Self::Icmp,
        Self::Fragment,
        Self::Dropped,
        Self::Other,
    ];

    /// Name as in the configuration and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Tcp => "tcp",
            Self::TcpSyn => "tcp_syn",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Fragment => "fragment",
            Self::Dropped => "dropped",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for TrafficClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
