//! What flows look like in IPFIX: times as Unix time, all TCP flags, ICMP type and code as their
//! own element, and selectors as in RFC 5477, whose ids the records carry.

use tidewall_wire::netflow::{Element, Protocol};

use super::templates::Layout;

pub(super) const LAYOUT: Layout = Layout {
    protocol: Protocol::Ipfix,
    ipv4: &[
        (Element::SourceIpv4Address, 4),
        (Element::DestinationIpv4Address, 4),
        (Element::IngressInterface, 4),
        (Element::EgressInterface, 4),
        (Element::PacketDeltaCount, 8),
        (Element::OctetDeltaCount, 8),
        (Element::FlowStartMilliseconds, 8),
        (Element::FlowEndMilliseconds, 8),
        (Element::SourceTransportPort, 2),
        (Element::DestinationTransportPort, 2),
        (Element::ProtocolIdentifier, 1),
        (Element::IpClassOfService, 1),
        (Element::TcpControlBits, 2),
        (Element::IcmpTypeCodeIpv4, 2),
        (Element::VlanId, 2),
        (Element::FragmentOffset, 2),
        (Element::FragmentFlags, 1),
        (Element::MinimumTtl, 1),
        (Element::ForwardingStatus, 1),
        (Element::SelectorId, 4),
    ],
    ipv6: &[
        (Element::SourceIpv6Address, 16),
        (Element::DestinationIpv6Address, 16),
        (Element::IngressInterface, 4),
        (Element::EgressInterface, 4),
        (Element::PacketDeltaCount, 8),
        (Element::OctetDeltaCount, 8),
        (Element::FlowStartMilliseconds, 8),
        (Element::FlowEndMilliseconds, 8),
        (Element::SourceTransportPort, 2),
        (Element::DestinationTransportPort, 2),
        (Element::ProtocolIdentifier, 1),
        (Element::IpClassOfService, 1),
        (Element::TcpControlBits, 2),
        (Element::IcmpTypeCodeIpv6, 2),
        (Element::VlanId, 2),
        (Element::FragmentOffset, 2),
        (Element::FragmentFlags, 1),
        (Element::MinimumTtl, 1),
        (Element::ForwardingStatus, 1),
        (Element::SelectorId, 4),
    ],
    sampler: &[
        (Element::SelectorId, 4),
        (Element::SelectorAlgorithm, 2),
        (Element::SamplingPacketInterval, 4),
        (Element::SamplingPacketSpace, 4),
    ],
};
