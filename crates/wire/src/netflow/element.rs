//! The information elements that mean something to a detector of attacks, by the numbers and names
//! of IANA's registry. NetFlow v9 has the same numbers up to 127 and, in practice, above.
//!
//! An element that is added here is found in every template that has it.

/// Makes the enum and the ways between its variants, their numbers and names.
macro_rules! elements {
    ($($number:literal => $variant:ident, $name:literal;)*) => {
        /// A known information element. What is not listed is passed over in every record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Element {
            $(
                #[doc = concat!("Element ", $number, ", ", $name, ".")]
                $variant,
            )*
            /// NetFlow v9 scope 1: the exporter as a whole.
            ScopeSystem,
            /// NetFlow v9 scope 2: an interface.
            ScopeInterface,
            /// NetFlow v9 scope 3: a line card.
            ScopeLineCard,
            /// NetFlow v9 scope 4: a flow cache.
            ScopeCache,
            /// NetFlow v9 scope 5: a template.
            ScopeTemplate,
        }

        impl Element {
            /// All elements that have a number in IANA's registry or Cisco's.
            pub const NUMBERED: &[Self] = &[$(Self::$variant,)*];

            /// The element with a number in IANA's registry (or Cisco's, above 32767).
            pub const fn of(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number; of a v9 scope, the scope's type.
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::ScopeSystem => 1,
                    Self::ScopeInterface => 2,
                    Self::ScopeLineCard => 3,
                    Self::ScopeCache => 4,
                    Self::ScopeTemplate => 5,
                }
            }

            /// The name in IANA's registry; of a v9 scope, the one in RFC 3954 §6.1.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::ScopeSystem => "System",
                    Self::ScopeInterface => "Interface",
                    Self::ScopeLineCard => "Line Card",
                    Self::ScopeCache => "NetFlow Cache",
                    Self::ScopeTemplate => "Template",
                }
            }
        }
    };
}

elements! {
    1 => OctetDeltaCount, "octetDeltaCount";
    2 => PacketDeltaCount, "packetDeltaCount";
    3 => DeltaFlowCount, "deltaFlowCount";
    4 => ProtocolIdentifier, "protocolIdentifier";
    5 => IpClassOfService, "ipClassOfService";
    6 => TcpControlBits, "tcpControlBits";
    7 => SourceTransportPort, "sourceTransportPort";
    8 => SourceIpv4Address, "sourceIPv4Address";
    9 => SourceIpv4PrefixLength, "sourceIPv4PrefixLength";
    10 => IngressInterface, "ingressInterface";
    11 => DestinationTransportPort, "destinationTransportPort";
    12 => DestinationIpv4Address, "destinationIPv4Address";
    13 => DestinationIpv4PrefixLength, "destinationIPv4PrefixLength";
    14 => EgressInterface, "egressInterface";
    15 => IpNextHopIpv4Address, "ipNextHopIPv4Address";
    16 => BgpSourceAsNumber, "bgpSourceAsNumber";
    17 => BgpDestinationAsNumber, "bgpDestinationAsNumber";
    18 => BgpNextHopIpv4Address, "bgpNextHopIPv4Address";
    19 => PostMCastPacketDeltaCount, "postMCastPacketDeltaCount";
    20 => PostMCastOctetDeltaCount, "postMCastOctetDeltaCount";
    21 => FlowEndSysUpTime, "flowEndSysUpTime";
    22 => FlowStartSysUpTime, "flowStartSysUpTime";
    23 => PostOctetDeltaCount, "postOctetDeltaCount";
    24 => PostPacketDeltaCount, "postPacketDeltaCount";
    25 => MinimumIpTotalLength, "minimumIpTotalLength";
    26 => MaximumIpTotalLength, "maximumIpTotalLength";
    27 => SourceIpv6Address, "sourceIPv6Address";
    28 => DestinationIpv6Address, "destinationIPv6Address";
    29 => SourceIpv6PrefixLength, "sourceIPv6PrefixLength";
    30 => DestinationIpv6PrefixLength, "destinationIPv6PrefixLength";
    31 => FlowLabelIpv6, "flowLabelIPv6";
    32 => IcmpTypeCodeIpv4, "icmpTypeCodeIPv4";
    34 => SamplingInterval, "samplingInterval";
    35 => SamplingAlgorithm, "samplingAlgorithm";
    36 => FlowActiveTimeout, "flowActiveTimeout";
    37 => FlowIdleTimeout, "flowIdleTimeout";
    38 => EngineType, "engineType";
    39 => EngineId, "engineId";
    48 => SamplerId, "samplerId";
    49 => SamplerMode, "samplerMode";
    50 => SamplerRandomInterval, "samplerRandomInterval";
    52 => MinimumTtl, "minimumTTL";
    53 => MaximumTtl, "maximumTTL";
    54 => FragmentIdentification, "fragmentIdentification";
    55 => PostIpClassOfService, "postIpClassOfService";
    56 => SourceMacAddress, "sourceMacAddress";
    57 => PostDestinationMacAddress, "postDestinationMacAddress";
    58 => VlanId, "vlanId";
    59 => PostVlanId, "postVlanId";
    60 => IpVersion, "ipVersion";
    61 => FlowDirection, "flowDirection";
    62 => IpNextHopIpv6Address, "ipNextHopIPv6Address";
    63 => BgpNextHopIpv6Address, "bgpNextHopIPv6Address";
    70 => MplsTopLabelStackSection, "mplsTopLabelStackSection";
    80 => DestinationMacAddress, "destinationMacAddress";
    81 => PostSourceMacAddress, "postSourceMacAddress";
    82 => InterfaceName, "interfaceName";
    83 => InterfaceDescription, "interfaceDescription";
    84 => SamplerName, "samplerName";
    85 => OctetTotalCount, "octetTotalCount";
    86 => PacketTotalCount, "packetTotalCount";
    88 => FragmentOffset, "fragmentOffset";
    89 => ForwardingStatus, "forwardingStatus";
    102 => Layer2PacketSectionOffset, "layer2packetSectionOffset";
    103 => Layer2PacketSectionSize, "layer2packetSectionSize";
    104 => Layer2PacketSectionData, "layer2packetSectionData";
    130 => ExporterIpv4Address, "exporterIPv4Address";
    131 => ExporterIpv6Address, "exporterIPv6Address";
    132 => DroppedOctetDeltaCount, "droppedOctetDeltaCount";
    133 => DroppedPacketDeltaCount, "droppedPacketDeltaCount";
    134 => DroppedOctetTotalCount, "droppedOctetTotalCount";
    135 => DroppedPacketTotalCount, "droppedPacketTotalCount";
    136 => FlowEndReason, "flowEndReason";
    138 => ObservationPointId, "observationPointId";
    139 => IcmpTypeCodeIpv6, "icmpTypeCodeIPv6";
    141 => LineCardId, "lineCardId";
    142 => PortId, "portId";
    143 => MeteringProcessId, "meteringProcessId";
    144 => ExportingProcessId, "exportingProcessId";
    145 => TemplateId, "templateId";
    148 => FlowId, "flowId";
    149 => ObservationDomainId, "observationDomainId";
    150 => FlowStartSeconds, "flowStartSeconds";
    151 => FlowEndSeconds, "flowEndSeconds";
    152 => FlowStartMilliseconds, "flowStartMilliseconds";
    153 => FlowEndMilliseconds, "flowEndMilliseconds";
    154 => FlowStartMicroseconds, "flowStartMicroseconds";
    155 => FlowEndMicroseconds, "flowEndMicroseconds";
    156 => FlowStartNanoseconds, "flowStartNanoseconds";
    157 => FlowEndNanoseconds, "flowEndNanoseconds";
    158 => FlowStartDeltaMicroseconds, "flowStartDeltaMicroseconds";
    159 => FlowEndDeltaMicroseconds, "flowEndDeltaMicroseconds";
    160 => SystemInitTimeMilliseconds, "systemInitTimeMilliseconds";
    161 => FlowDurationMilliseconds, "flowDurationMilliseconds";
    162 => FlowDurationMicroseconds, "flowDurationMicroseconds";
    171 => PostOctetTotalCount, "postOctetTotalCount";
    172 => PostPacketTotalCount, "postPacketTotalCount";
    176 => IcmpTypeIpv4, "icmpTypeIPv4";
    177 => IcmpCodeIpv4, "icmpCodeIPv4";
    178 => IcmpTypeIpv6, "icmpTypeIPv6";
    179 => IcmpCodeIpv6, "icmpCodeIPv6";
    180 => UdpSourcePort, "udpSourcePort";
    181 => UdpDestinationPort, "udpDestinationPort";
    182 => TcpSourcePort, "tcpSourcePort";
    183 => TcpDestinationPort, "tcpDestinationPort";
    190 => TotalLengthIpv4, "totalLengthIPv4";
    192 => IpTtl, "ipTTL";
    197 => FragmentFlags, "fragmentFlags";
    224 => IpTotalLength, "ipTotalLength";
    225 => PostNatSourceIpv4Address, "postNATSourceIPv4Address";
    226 => PostNatDestinationIpv4Address, "postNATDestinationIPv4Address";
    227 => PostNaptSourceTransportPort, "postNAPTSourceTransportPort";
    228 => PostNaptDestinationTransportPort, "postNAPTDestinationTransportPort";
    230 => NatEvent, "natEvent";
    231 => InitiatorOctets, "initiatorOctets";
    232 => ResponderOctets, "responderOctets";
    233 => FirewallEvent, "firewallEvent";
    234 => IngressVrfId, "ingressVRFID";
    235 => EgressVrfId, "egressVRFID";
    239 => BiflowDirection, "biflowDirection";
    243 => Dot1qVlanId, "dot1qVlanId";
    245 => Dot1qCustomerVlanId, "dot1qCustomerVlanId";
    252 => IngressPhysicalInterface, "ingressPhysicalInterface";
    253 => EgressPhysicalInterface, "egressPhysicalInterface";
    254 => PostDot1qVlanId, "postDot1qVlanId";
    255 => PostDot1qCustomerVlanId, "postDot1qCustomerVlanId";
    256 => EthernetType, "ethernetType";
    258 => CollectionTimeMilliseconds, "collectionTimeMilliseconds";
    281 => PostNatSourceIpv6Address, "postNATSourceIPv6Address";
    282 => PostNatDestinationIpv6Address, "postNATDestinationIPv6Address";
    298 => InitiatorPackets, "initiatorPackets";
    299 => ResponderPackets, "responderPackets";
    301 => SelectionSequenceId, "selectionSequenceId";
    302 => SelectorId, "selectorId";
    304 => SelectorAlgorithm, "selectorAlgorithm";
    305 => SamplingPacketInterval, "samplingPacketInterval";
    306 => SamplingPacketSpace, "samplingPacketSpace";
    307 => SamplingTimeInterval, "samplingTimeInterval";
    308 => SamplingTimeSpace, "samplingTimeSpace";
    309 => SamplingSize, "samplingSize";
    310 => SamplingPopulation, "samplingPopulation";
    311 => SamplingProbability, "samplingProbability";
    312 => DataLinkFrameSize, "dataLinkFrameSize";
    313 => IpHeaderPacketSection, "ipHeaderPacketSection";
    314 => IpPayloadPacketSection, "ipPayloadPacketSection";
    315 => DataLinkFrameSection, "dataLinkFrameSection";
    316 => MplsLabelStackSection, "mplsLabelStackSection";
    317 => MplsPayloadPacketSection, "mplsPayloadPacketSection";
    318 => SelectorIdTotalPktsObserved, "selectorIdTotalPktsObserved";
    319 => SelectorIdTotalPktsSelected, "selectorIdTotalPktsSelected";
    322 => ObservationTimeSeconds, "observationTimeSeconds";
    323 => ObservationTimeMilliseconds, "observationTimeMilliseconds";
    324 => ObservationTimeMicroseconds, "observationTimeMicroseconds";
    325 => ObservationTimeNanoseconds, "observationTimeNanoseconds";
    351 => Layer2SegmentId, "layer2SegmentId";
    352 => Layer2OctetDeltaCount, "layer2OctetDeltaCount";
    353 => Layer2OctetTotalCount, "layer2OctetTotalCount";
    408 => DataLinkFrameType, "dataLinkFrameType";
    409 => SectionOffset, "sectionOffset";
    410 => SectionExportedOctets, "sectionExportedOctets";
    33002 => FirewallExtendedEvent, "firewallExtendedEvent";
}

impl Element {
    /// The element that a scope type of NetFlow v9 stands for (RFC 3954 §6.1). Some exporters write
    /// the number of an element there, which is never as low.
    pub const fn of_v9_scope(scope_type: u16) -> Option<Self> {
        match scope_type {
            1 => Some(Self::ScopeSystem),
            2 => Some(Self::ScopeInterface),
            3 => Some(Self::ScopeLineCard),
            4 => Some(Self::ScopeCache),
            5 => Some(Self::ScopeTemplate),
            number => Self::of(number),
        }
    }
}
