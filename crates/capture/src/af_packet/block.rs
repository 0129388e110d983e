//! The frames in a block of a TPACKET_V3 ring. The kernel has written it, but every offset is
//! checked all the same: a block that does not add up ends early.

use tidewall_model::Timestamp;

use crate::VlanTag;

/// What the kernel takes for the ethertype of a tag when it does not say (802.1Q).
const DOT1Q: u16 = 0x8100;
const TAG_LEN: u32 = 4;
/// `tpacket3_hdr` as far as it is read.
const HEADER_LEN: usize = 40;

/// One frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockFrame<'a> {
    pub(super) time: Timestamp,
    /// Length on the wire; a tag that was taken off counts.
    pub(super) wire_length: u32,
    pub(super) truncated: bool,
    pub(super) vlan: Option<VlanTag>,
    pub(super) data: &'a [u8],
}

/// Walks the frames of a block.
pub(super) struct BlockFrames<'a> {
    block: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> BlockFrames<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        // version, offset_to_priv, block_status, num_pkts, offset_to_first_pkt, ...
        let left = word(block, 12).unwrap_or_default();
        let at = word(block, 16).unwrap_or_default() as usize;
        Self { block, at, left }
    }
}

impl<'a> Iterator for BlockFrames<'a> {
    type Item = BlockFrame<'a>;

    #[inline]
    fn next(&mut self) -> Option<BlockFrame<'a>> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.block.get(self.at..)?;
        let header = entry.first_chunk::<HEADER_LEN>()?;
        let (next, seconds, nanoseconds) = (read(header, 0), read(header, 4), read(header, 8));
        let (captured, length, status) = (read(header, 12), read(header, 16), read(header, 20));
        let link = usize::from(half(header, 24));
        let data = entry.get(link..link.checked_add(captured as usize)?)?;
        let vlan = (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| VlanTag {
            ethertype: if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
                half(header, 36)
            } else {
                DOT1Q
            },
            control: half(header, 32),
        });
        if next == 0 {
            self.left = 0;
        }
        self.at = self.at.checked_add(next as usize)?;
        let taken_off = if vlan.is_some() { TAG_LEN } else { 0 };
        Some(BlockFrame {
            time: Timestamp::from_parts(u64::from(seconds), nanoseconds),
            wire_length: length.max(captured).saturating_add(taken_off),
            truncated: captured < length,
            vlan,
            data,
        })
    }
}

fn read(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    word(header, at).unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

fn half(header: &[u8; HEADER_LEN], at: usize) -> u16 {
    let chunk = header.get(at..).and_then(<[u8]>::first_chunk);
    chunk.map(|chunk| u16::from_ne_bytes(*chunk)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::mem::offset_of;

    #[test]
    fn offsets_are_those_of_the_kernel_headers() {
        use libc::{tpacket_hdr_v1, tpacket3_hdr};
        let fields = [
            offset_of!(tpacket3_hdr, tp_next_offset),
            offset_of!(tpacket3_hdr, tp_sec),
            offset_of!(tpacket3_hdr, tp_nsec),
            offset_of!(tpacket3_hdr, tp_snaplen),
            offset_of!(tpacket3_hdr, tp_len),
            offset_of!(tpacket3_hdr, tp_status),
            offset_of!(tpacket3_hdr, tp_mac),
            offset_of!(tpacket3_hdr, hv1),
        ];
        assert_eq!(fields, [0, 4, 8, 12, 16, 20, 24, 28]);
        assert_eq!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci), 4);
        assert_eq!(offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid), 8);
        let fields = [
            offset_of!(tpacket_hdr_v1, block_status),
            offset_of!(tpacket_hdr_v1, num_pkts),
            offset_of!(tpacket_hdr_v1, offset_to_first_pkt),
        ];
        assert_eq!(fields.map(|at| at + offset_of!(libc::tpacket_block_desc, hdr)), [8, 12, 16]);
    }

    #[test]
    fn a_block_that_lies_ends_early() {
        let mut block = vec![0_u8; 512];
        block[12..16].copy_from_slice(&9_u32.to_ne_bytes());
        block[16..20].copy_from_slice(&48_u32.to_ne_bytes());
        block[48 + 12..48 + 16].copy_from_slice(&100_u32.to_ne_bytes());
        block[48 + 24..48 + 26].copy_from_slice(&80_u16.to_ne_bytes());
        assert_eq!(BlockFrames::new(&block).map(|f| f.data.len()).collect::<Vec<_>>(), [100]);
        block[48 + 12..48 + 16].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(BlockFrames::new(&block).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: prop::test_runner::RngSeed::Fixed(0x7d12),
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_block_is_walked_within_bounds(mut block in prop::collection::vec(0u8..8, 0..400)) {
            if block.len() > 16 {
                block[16] = 48;
            }
            let length = block.len();
            prop_assert!(BlockFrames::new(&block).take(1000).all(|f| f.data.len() <= length));
        }
    }
}
