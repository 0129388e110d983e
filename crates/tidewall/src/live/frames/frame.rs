//! A frame on its way into memory, with what it is found by, and out of it again: as a pcap file
//! wants it, which is Ethernet whatever the source was.

use std::time::Duration;

use tidewall_actions::CapturedFrame;
use tidewall_capture::VlanTag;
use tidewall_model::{Direction, Family, FlowRecord, Prefix, Target, Timestamp};
use tidewall_wire::frame::{IpVersion, LinkType, TunnelPolicy, dissect};

/// Both Ethernet addresses: a VLAN tag stands behind them.
const ADDRESSES: usize = 12;
/// Addresses and EtherType.
const ETHERNET: usize = 14;
/// Bytes of a VLAN tag.
const TAG: usize = 4;
/// A source's own time is believed so far from the service's.
const CREDIBLE: Duration = Duration::from_secs(1);

/// A frame as its source gives it.
#[derive(Clone, Copy, Debug)]
pub struct SeenFrame<'a> {
    /// What it begins with.
    pub link: LinkType,
    /// When it came.
    pub time: Timestamp,
    /// What was captured of it.
    pub data: &'a [u8],
    /// Its length on the wire; a tag that was taken off counts.
    pub wire_length: u32,
    /// The tag that was taken off.
    pub vlan: Option<VlanTag>,
}

/// When a frame came: by its source, which knows better than we who take many at once, unless that
/// is far from our own time (an old capture in a pipe, a clock that was set).
pub fn time_of(source: Timestamp, now: Timestamp) -> Timestamp {
    let apart = now.since(source).max(source.since(now));
    if apart <= CREDIBLE { source } else { now }
}

/// What is kept beside the bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Addresses of the packet that was counted: of an inner one where that is what counts.
    src: u128,
    dst: u128,
    pub(super) time: Timestamp,
    wire_length: u32,
    link: LinkType,
    vlan: Option<VlanTag>,
    pub(super) length: u16,
    family: Family,
}

impl Head {
    /// Of a frame of which `length` bytes are kept.
    #[inline]
    pub(super) fn new(frame: &SeenFrame<'_>, record: &FlowRecord, length: usize) -> Self {
        Self {
            src: record.src,
            dst: record.dst,
            time: frame.time,
            wire_length: frame.wire_length,
            link: frame.link,
            vlan: frame.vlan,
            length: length as u16,
            family: record.family,
        }
    }

    /// The frame as Ethernet: with the tag that was taken off, or behind a header without addresses
    /// when its link is another one. `None` when there is no packet to find in it.
    pub(super) fn restore(&self, kept: &[u8]) -> Option<CapturedFrame> {
        let (mut bytes, mut original_length) = (Vec::new(), self.wire_length);
        if self.link == LinkType::ETHERNET {
            bytes.reserve_exact(kept.len() + TAG);
            bytes.extend_from_slice(kept);
            if let (Some(tag), true) = (self.vlan, kept.len() >= ADDRESSES) {
                let [a, b] = tag.ethertype.to_be_bytes();
                let [c, d] = tag.control.to_be_bytes();
                bytes.splice(ADDRESSES..ADDRESSES, [a, b, c, d]);
            }
        } else {
            let frame = dissect(self.link, kept, &TunnelPolicy::OUTER).ok()?;
            let packet = kept.get(frame.ip_offset as usize..)?;
            bytes.reserve_exact(ETHERNET + packet.len());
            bytes.extend_from_slice(&[0; ADDRESSES]);
            bytes.extend_from_slice(match frame.version {
                IpVersion::V4 => &[0x08, 0x00],
                IpVersion::V6 => &[0x86, 0xdd],
            });
            bytes.extend_from_slice(packet);
            let packet_length = original_length.saturating_sub(frame.ip_offset);
            original_length = packet_length.saturating_add(ETHERNET as u32);
        }
        let original_length = original_length.max(bytes.len() as u32);
        Some(CapturedFrame { time: self.time, original_length, bytes })
    }
}

/// Whose frames are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    bits: u128,
    mask: u128,
    family: Family,
    source: bool,
    destination: bool,
}

impl Wanted {
    /// Those of a target in the direction of its attack. A group is no set of addresses here.
    pub(super) fn of(target: &Target, direction: Direction) -> Option<Self> {
        let prefix = match target {
            Target::Host(address) => Prefix::host(*address),
            Target::Network(prefix) => *prefix,
            Target::Group(_) => return None,
        };
        let (first, last) = (prefix.first(), prefix.last());
        Some(Self {
            bits: first.bits,
            mask: !(first.bits ^ last.bits),
            family: first.family,
            source: direction != Direction::Incoming,
            destination: direction != Direction::Outgoing,
        })
    }

    fn has(&self, family: Family, src: u128, dst: u128) -> bool {
        family == self.family
            && (self.destination && dst & self.mask == self.bits
                || self.source && src & self.mask == self.bits)
    }

    /// Is this record's packet one of them?
    #[inline]
    pub(super) fn has_record(&self, record: &FlowRecord) -> bool {
        self.has(record.family, record.src, record.dst)
    }

    /// Is this frame one of them?
    pub(super) fn has_frame(&self, head: &Head) -> bool {
        self.has(head.family, head.src, head.dst)
    }
}
