//! Where bytes come from: UDP sockets, AF_PACKET, AF_XDP, libpcap, pipes; and the machine's own
//! addresses.
//!
//! Every source is a plain struct that a worker's own loop drives: `open` claims what it needs,
//! `receive` hands one bounded batch to a sink and returns after its timeout with nothing,
//! `statistics` tells what was received and what was lost, and dropping the source detaches it.
//! Nothing here starts a thread, keeps a lock or knows what the bytes mean. Sources may be opened
//! on one thread and driven on another.
//!
//! This is the only crate with unsafe code. It is in the few modules below that say so; each block
//! states why it is sound.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::net::SocketAddr;

use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;

pub mod af_packet;
pub mod af_xdp;
mod affinity;
mod bpf;
mod classic_bpf;
mod clock;
mod error;
mod interface;
mod libpcap;
pub mod memory;
pub mod own_addresses;
pub mod packet_filter;
pub mod pcap_live;
pub mod pipe;
pub mod send;
mod statistics;
mod system;
pub mod udp;

pub use affinity::{PinError, online_cpus, pin_current_thread};
pub use error::{InterfaceError, OpenError, ReceiveError};
pub use libpcap::LibpcapError;
pub use statistics::SourceStatistics;

/// Receives the datagrams of a UDP source.
pub trait DatagramSink {
    /// One datagram, whole. `from` is the exporter; an IPv4 sender is given as IPv4, also when it
    /// came through a dual-stack socket. `received` is the kernel's arrival time.
    fn datagram(&mut self, from: SocketAddr, received: Timestamp, data: &[u8]);
}

/// Receives the frames of a mirror.
pub trait FrameSink {
    /// One frame. `data` is what was captured of it, `wire_length` its length on the wire (a tag
    /// that was taken off included), `vlan` the outermost VLAN tag when the network card or the
    /// kernel took it off and `data` no longer has it.
    fn frame(
        &mut self,
        link: LinkType,
        time: Timestamp,
        data: &[u8],
        wire_length: u32,
        vlan: Option<VlanTag>,
    );
}

/// A VLAN tag that travels beside the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// EtherType of the tag: 0x8100, 0x88a8 or whatever else the switch wrote.
    pub ethertype: u16,
    /// Priority, drop eligibility and VLAN identifier, as on the wire (IEEE 802.1Q).
    pub control: u16,
}

impl VlanTag {
    /// VLAN identifier, 0 to 4095.
    pub const fn id(self) -> u16 {
        self.control & 0x0fff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_may_be_driven_on_another_thread() {
        fn is_send<T: Send + 'static>() {}
        is_send::<udp::UdpSource>();
        is_send::<af_packet::AfPacketSource>();
        is_send::<af_xdp::AfXdpSource>();
        is_send::<pcap_live::PcapSource>();
        is_send::<pipe::PipeSource>();
        is_send::<own_addresses::AddressWatch>();
    }

    #[test]
    fn a_tag_has_twelve_bits_of_identifier() {
        assert_eq!(VlanTag { ethertype: 0x8100, control: 0xe02a }.id(), 42);
    }
}
