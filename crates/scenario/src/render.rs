//! Records as bytes. Each medium is one [`Renderer`]: frames, sFlow datagrams, and NetFlow v5, v9
//! and IPFIX through a flow cache. All but the first hold records back until a datagram is full or
//! its time has come, which is why messages go to a sink, each with the time at which it is sent.

use thiserror::Error;
use tidewall_model::{FlowRecord, Timestamp};
use tidewall_wire::emit::EmitError;

mod cache;
mod clock;
mod exporter;
mod frame;
mod ipfix;
mod netflow_v5;
mod netflow_v9;
mod sflow;
mod templates;
mod udp;

#[cfg(test)]
mod tests;

pub use exporter::{FlowCachePlan, FlowCacheRenderer, FlowProtocol};
pub use frame::FrameRenderer;
pub use sflow::{CounterBasis, SflowPlan, SflowRenderer};
pub use udp::ExportPath;

/// The most bytes of an export datagram: what UDP over IPv6 carries in an Ethernet frame. Only v5
/// with all of its 30 records has 12 more, which over IPv4 fits.
const MAX_PAYLOAD: usize = 1452;

/// Takes messages: when each is sent, and its bytes.
pub type Sink<'s> = dyn FnMut(Timestamp, &[u8]) + 's;

/// Turns records, in order of time, into the messages of one medium.
pub trait Renderer {
    /// Takes one record. Messages that are due by its time or complete with it go to `sink`. A
    /// record that is refused leaves no trace.
    fn render(&mut self, record: &FlowRecord, sink: &mut Sink<'_>) -> Result<(), RenderError>;

    /// Time passes without a record: messages that are due go to `sink`.
    fn advance(&mut self, now: Timestamp, sink: &mut Sink<'_>);

    /// After the last record: everything that is held back goes to `sink`, at the time of the last
    /// record.
    fn finish(&mut self, sink: &mut Sink<'_>);
}

/// Why a record cannot be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RenderError {
    /// It describes no packet.
    #[error("a record of 0 packets cannot be rendered")]
    NoPackets,
    /// A sample is one packet.
    #[error("a record of {packets} packets cannot be one sample")]
    SeveralPackets {
        /// Packets of the record.
        packets: u64,
    },
    /// It is shorter than the headers that it says it has.
    #[error(
        "{length} bytes are too short for the headers of protocol {protocol} (at least {least})"
    )]
    TooShort {
        /// Length of the IP packet.
        length: u64,
        /// Bytes of its headers.
        least: u64,
        /// IP protocol.
        protocol: u8,
    },
    /// A header of this number is only a step to another one: AH, and IPv6's extension headers.
    #[error("protocol {protocol} is an extension header and cannot be a packet's own")]
    Extension {
        /// IP protocol.
        protocol: u8,
    },
    /// Packets or bytes are more than the protocol's counters hold.
    #[error("a count of {count} does not fit the protocol's counters (at most {limit})")]
    Count {
        /// Packets or bytes of the record.
        count: u64,
        /// The most that fits.
        limit: u64,
    },
    /// The sampling rate has no place in the protocol.
    #[error("a sampling rate of 1 in {rate} cannot be announced (at most {limit})")]
    Rate {
        /// N of "1 in N".
        rate: u32,
        /// The most that fits.
        limit: u32,
    },
    /// The records have more different sampling rates than an exporter announces.
    #[error("sampling at 1 in {rate} is one rate too many (at most {limit} different ones)")]
    Rates {
        /// The rate of the record.
        rate: u32,
        /// How many different ones there may be.
        limit: usize,
    },
    /// The frame cannot be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
}
