//! Why something received was not counted. Every reason has a counter and a sentence.

use serde::Serialize;

macro_rules! drop_reasons {
    ($($variant:ident $name:literal $sentence:literal;)*) => {
        /// Why a frame, datagram or record was not counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)*
        }

        impl DropReason {
            /// All reasons, in the order of every report.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in counters and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The sentence of the manual.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

drop_reasons! {
    NotIp "not_ip" "The frame carries no IP: ARP, LLDP, STP, another protocol, or an empty body.";
    UnknownLinkType "unknown_link_type" "The capture has a link type that is not dissected.";
    LinkHeaderCut "link_header_cut" "The frame ends inside its link-layer headers.";
    TooManyTags "too_many_tags" "More VLAN tags or MPLS labels than the limit; nothing below them was read.";
    IpHeaderCut "ip_header_cut" "The frame ends inside the addresses of its IP header.";
    IpVersion "ip_version" "The IP header's version is neither 4 nor 6.";
    IpHeaderLength "ip_header_length" "The IPv4 header length is below 20 bytes.";
    NotAnExport "not_an_export" "A packet of a capture of export datagrams is none: another protocol, or a piece of a datagram.";
    DatagramCut "datagram_cut" "An export datagram ends inside its header.";
    DatagramVersion "datagram_version" "An export datagram is of a version that is not decoded on this port.";
    DatagramMalformed "datagram_malformed" "The header of an export datagram contradicts itself: a count or a length that cannot be.";
    ExporterNotAllowed "exporter_not_allowed" "The sender of an export datagram is not in the list of allowed exporters.";
    TooManyExporters "too_many_exporters" "An exporter was not admitted: the table of exporters is full.";
    SampleMalformed "sample_malformed" "An sFlow sample or one of its records could not be read, or could not be reached.";
    SampleWithoutPacket "sample_without_packet" "An sFlow sample says nothing of the packet's addresses.";
    DiscardNotification "discard_notification" "An sFlow agent tells of a single packet that it discarded, which says nothing of a rate.";
    SetMalformed "set_malformed" "A set of a NetFlow v9 or IPFIX datagram could not be read.";
    TemplateMalformed "template_malformed" "A template contradicts itself or is beyond the limits; it was not learnt.";
    TooManyTemplates "too_many_templates" "A template was not learnt: there are as many as there may be.";
    NoTemplate "no_template" "A set of data whose template did not come in time.";
    TemplateLate "template_late" "The template of a flow came too long after it: it would count as traffic of now.";
    Stalled "stalled" "What came while the service did not run: it would count as traffic of now.";
    RecordMalformed "record_malformed" "A flow record could not be read, or is missing from its datagram.";
    RecordWithoutAddresses "record_without_addresses" "A flow record has no IP addresses.";
    RecordWithoutPackets "record_without_packets" "A flow record counts neither packets nor bytes.";
    NatEvent "nat_event" "A record tells of an address translation, not of traffic.";
    FirewallEvent "firewall_event" "A record tells of a firewall's decision, not of traffic, or of traffic that another record counts.";
    Whitelisted "whitelisted" "A whitelist rule excludes this traffic from counting.";
    DirectionOff "direction_off" "Counting is switched off for this direction.";
}

/// One counter for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Adds one.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Adds `n`.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter = counter.saturating_add(n);
        }
    }

    /// How often.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// Sum over all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Adds the counters of another part.
    pub fn merge(&mut self, other: &Self) {
        for reason in DropReason::ALL {
            self.add(*reason, other.get(*reason));
        }
    }

    /// Reasons that happened, with their counts.
    pub fn nonzero(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.get(*r))).filter(|(_, n)| *n > 0)
    }
}
