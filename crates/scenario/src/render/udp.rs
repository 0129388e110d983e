//! Export datagrams as frames: for captures of what an exporter sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tidewall_wire::emit::{EmitError, Frame, Packet, Payload, Transport, emit_frame};

/// From which exporter's port to which collector's; both addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportPath {
    /// Where datagrams come from.
    pub exporter: SocketAddr,
    /// Where they go.
    pub collector: SocketAddr,
}

impl ExportPath {
    /// Port of sFlow collectors.
    pub const SFLOW_PORT: u16 = 6343;
    /// Port that most NetFlow collectors listen on.
    pub const NETFLOW_PORT: u16 = 2055;
    /// Port of IPFIX collectors over UDP.
    pub const IPFIX_PORT: u16 = 4739;

    /// Between two hosts of documentation networks, to this port.
    pub const fn to_port(port: u16) -> Self {
        let exporter = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let collector = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        Self {
            exporter: SocketAddr::new(exporter, 50_000),
            collector: SocketAddr::new(collector, port),
        }
    }

    /// Replaces the contents of `out` by an Ethernet frame with the datagram.
    pub fn frame(
        &self,
        identification: u32,
        datagram: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EmitError> {
        let packet = Packet {
            source: self.exporter.ip(),
            destination: self.collector.ip(),
            ttl: 64,
            identification,
            piece: None,
            transport: Transport::Udp {
                source: self.exporter.port(),
                destination: self.collector.port(),
            },
            payload: Payload::Bytes(datagram),
        };
        let (destination, source) = ([2, 0, 0, 0, 0, 4], [2, 0, 0, 0, 0, 3]);
        emit_frame(&Frame { destination, source, tags: &[], packet }, out)
    }
}
