//! What an agent says beyond flows, in words.

use std::fmt::{self, Write};

use tidewall_wire::sflow::{CounterData, DiscardReason, InterfaceCounters};

/// The arguments as text, in a buffer that is used again.
pub(super) fn put<'a>(buffer: &'a mut String, arguments: fmt::Arguments<'_>) -> &'a str {
    buffer.clear();
    // Writing to a string does not fail.
    let _ = buffer.write_fmt(arguments);
    buffer
}

/// One group of counters.
pub(super) struct CounterWords<'a>(pub(super) &'a CounterData<'a>);

impl fmt::Display for CounterWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c: &InterfaceCounters = match self.0 {
            CounterData::Interface(counters) => counters,
            CounterData::Other { format, data } => {
                let (enterprise, format) = (format.enterprise, format.format);
                return write!(f, "counters {enterprise}:{format} of {} bytes", data.len());
            }
        };
        write!(f, "interface {}: {} bit/s", c.index, c.speed_bps)?;
        write!(f, ", in {} octets {} unicast", c.in_octets, c.in_unicast)?;
        write!(f, " {} multicast {} broadcast", c.in_multicast, c.in_broadcast)?;
        write!(f, " {} discarded {} errors", c.in_discards, c.in_errors)?;
        write!(f, ", out {} octets {} unicast", c.out_octets, c.out_unicast)?;
        write!(f, " {} multicast {} broadcast", c.out_multicast, c.out_broadcast)?;
        write!(f, " {} discarded {} errors", c.out_discards, c.out_errors)
    }
}

/// Why a packet was discarded.
pub(super) struct DiscardWords(pub(super) DiscardReason);

impl fmt::Display for DiscardWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.0 {
            DiscardReason(code @ 0..=255) => {
                return write!(f, "discarded: icmp unreachable code {code}");
            }
            DiscardReason::UNKNOWN => "unknown reason",
            DiscardReason::TTL_EXCEEDED => "ttl exceeded",
            DiscardReason::ACL => "access list",
            DiscardReason::NO_BUFFER_SPACE => "no buffer space",
            DiscardReason::RED => "random early detection",
            DiscardReason::TRAFFIC_SHAPING => "traffic shaping",
            DiscardReason::PACKET_TOO_BIG => "packet too big",
            DiscardReason(number) => return write!(f, "discarded: reason {number}"),
        };
        write!(f, "discarded: {reason}")
    }
}
