//! What flows look like in NetFlow v9: times as uptimes, and a sampler table whose ids the records
//! carry. The table says the rate twice, as Cisco's IOS XR does: nfcapd, for one, learns a sampler
//! only from a table with element 34.

use tidewall_wire::netflow::{Element, Protocol};

use super::templates::Layout;

pub(super) const LAYOUT: Layout = Layout {
    protocol: Protocol::V9,
    ipv4: &[
        (Element::SourceIpv4Address, 4),
        (Element::DestinationIpv4Address, 4),
        (Element::IngressInterface, 4),
        (Element::EgressInterface, 4),
        (Element::PacketDeltaCount, 8),
        (Element::OctetDeltaCount, 8),
        (Element::FlowEndSysUpTime, 4),
        (Element::FlowStartSysUpTime, 4),
        (Element::SourceTransportPort, 2),
        (Element::DestinationTransportPort, 2),
        (Element::ProtocolIdentifier, 1),
        (Element::TcpControlBits, 1),
        (Element::IpClassOfService, 1),
        (Element::SamplerId, 1),
        (Element::VlanId, 2),
        (Element::FragmentOffset, 2),
        (Element::FragmentFlags, 1),
        (Element::MinimumTtl, 1),
        (Element::ForwardingStatus, 1),
    ],
    ipv6: &[
        (Element::SourceIpv6Address, 16),
        (Element::DestinationIpv6Address, 16),
        (Element::IngressInterface, 4),
        (Element::EgressInterface, 4),
        (Element::PacketDeltaCount, 8),
        (Element::OctetDeltaCount, 8),
        (Element::FlowEndSysUpTime, 4),
        (Element::FlowStartSysUpTime, 4),
        (Element::SourceTransportPort, 2),
        (Element::DestinationTransportPort, 2),
        (Element::ProtocolIdentifier, 1),
        (Element::TcpControlBits, 1),
        (Element::IpClassOfService, 1),
        (Element::SamplerId, 1),
        (Element::VlanId, 2),
        (Element::FragmentOffset, 2),
        (Element::FragmentFlags, 1),
        (Element::MinimumTtl, 1),
        (Element::ForwardingStatus, 1),
    ],
    sampler: &[
        (Element::ScopeSystem, 4),
        (Element::SamplerId, 1),
        (Element::SamplerMode, 1),
        (Element::SamplerRandomInterval, 4),
        (Element::SamplingInterval, 4),
    ],
};
