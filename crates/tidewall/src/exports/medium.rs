//! Does a capture hold the traffic itself, or export datagrams about it?

use clap::ValueEnum;
use tidewall_wire::frame::LinkType;
use tidewall_wire::{netflow, sflow};

use super::Datagram;
use crate::capture_file::CaptureFile;

/// Packets that are looked at to tell.
const LOOK_AT: usize = 64;
/// Ports that collectors listen on by custom.
const SFLOW_PORT: u16 = 6343;
const NETFLOW_PORTS: [u16; 4] = [2055, 4739, 9995, 9996];

/// What a capture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Medium {
    /// The traffic itself.
    Frames,
    /// sFlow datagrams.
    Sflow,
    /// NetFlow v5, v9 and IPFIX datagrams.
    Netflow,
    /// Export datagrams of any kind.
    Flows,
}

impl Medium {
    /// The protocol that each datagram has, where the medium says.
    pub(crate) const fn protocol(self) -> Option<FlowProtocol> {
        match self {
            Self::Sflow => Some(FlowProtocol::Sflow),
            Self::Netflow => Some(FlowProtocol::Netflow),
            Self::Frames | Self::Flows => None,
        }
    }
}

/// A family of flow protocols that one collector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowProtocol {
    /// sFlow.
    Sflow,
    /// NetFlow and IPFIX.
    Netflow,
}

/// What the capture holds, by its first packets: export datagrams when most of them are.
pub(crate) fn look(file: &mut CaptureFile) -> Medium {
    let (mut exports, mut others) = (0_usize, 0_usize);
    for packet in file.look_ahead(LOOK_AT) {
        let datagram = Datagram::of(LinkType(packet.link_type), packet.data);
        match datagram.as_ref().and_then(protocol_of) {
            Some(_) => exports += 1,
            None => others += 1,
        }
    }
    if exports > others { Medium::Flows } else { Medium::Frames }
}

/// The protocol of a datagram: by its version on a port that is known, by all of its header on
/// another one.
pub(super) fn protocol_of(datagram: &Datagram<'_>) -> Option<FlowProtocol> {
    let payload = datagram.payload;
    let known_port = datagram.port == SFLOW_PORT || NETFLOW_PORTS.contains(&datagram.port);
    match (*payload.first_chunk::<4>()?, known_port) {
        ([0, 0, 0, 2 | 4 | 5], true) => Some(FlowProtocol::Sflow),
        ([0, 5 | 9 | 10, ..], true) => Some(FlowProtocol::Netflow),
        ([0, 0, 0, _], false) if is_sflow(payload) => Some(FlowProtocol::Sflow),
        ([0, 5 | 9 | 10, ..], false) if is_netflow(payload) => Some(FlowProtocol::Netflow),
        _ => None,
    }
}

fn is_sflow(payload: &[u8]) -> bool {
    sflow::Datagram::parse(payload).is_ok_and(|datagram| {
        datagram.agent.is_some() && datagram.samples().next().is_some_and(|sample| sample.is_ok())
    })
}

/// Is every set where the one before it ends?
fn is_netflow(payload: &[u8]) -> bool {
    match netflow::parse(payload) {
        Ok(netflow::Datagram::V5(packet)) => packet.missing() == 0,
        Ok(netflow::Datagram::V9(packet)) => {
            packet.sets().next().is_some() && packet.sets().all(|set| set.is_ok())
        }
        Ok(netflow::Datagram::Ipfix(message)) => {
            message.trailing() == 0 && message.sets().all(|set| set.is_ok())
        }
        Err(_) => false,
    }
}
