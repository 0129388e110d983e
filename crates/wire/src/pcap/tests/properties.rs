//! Properties over generated files: chunks do not matter, what is written is read, and nothing a
//! file says makes the parser panic, stop making progress or ask for an unbounded window.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn packets(interfaces: u32) -> impl Strategy<Value = Vec<Kept>> {
    let data = proptest::collection::vec(any::<u8>(), 0..200);
    let packet = (any::<u32>(), 0..1_000_000_000_u64, 0..3_000_u32, data, 0..interfaces);
    let packet = packet.prop_map(|(seconds, nanoseconds, wire_len, data, interface)| Kept {
        time: u64::from(seconds) * 1_000_000_000 + nanoseconds,
        link_type: 1,
        wire_len: wire_len.max(data.len() as u32),
        data,
        interface,
    });
    proptest::collection::vec(packet, 0..12)
}

fn byte_order() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
}

/// The last second that pcap can write, in nanoseconds.
const LAST_TIME: u64 = (1 << 32) * 1_000_000_000;

/// The same cases on every run.
fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x0070_6361_7000);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pcap_round_trip(
        packets in packets(1),
        byte_order in byte_order(),
        nanoseconds: bool,
        link_type: u16,
        chunk in 1_usize..400,
    ) {
        let mut file = Vec::new();
        let header = PcapHeader { nanoseconds, byte_order, link_type, snap_len: 0 };
        let writer = PcapWriter::new(header, &mut file);
        let mut expected = packets;
        for packet in &mut expected {
            writer.write(&packet.packet(), &mut file);
            packet.link_type = u32::from(link_type);
            if !nanoseconds {
                packet.time -= packet.time % 1_000;
            }
        }
        prop_assert_eq!(read(&file), (expected.clone(), Ok(None)));
        prop_assert_eq!(read_in_chunks(&file, chunk), (expected, Ok(None)));
    }

    #[test]
    fn pcapng_round_trip(
        packets in packets(3),
        order in byte_order(),
        resolutions: [u8; 3],
        link_types: [u16; 3],
        offsets_s: [i32; 3],
        chunk in 1_usize..400,
    ) {
        let mut file = Vec::new();
        let mut writer = PcapngWriter::new(order, &mut file);
        for index in 0..3 {
            let interface = InterfaceDescription {
                link_type: link_types[index],
                snap_len: 0,
                resolution: TimeResolution::from_byte(resolutions[index]),
                offset_s: i64::from(offsets_s[index]),
            };
            writer.describe(interface, &mut file);
        }
        let mut expected = packets;
        for packet in &mut expected {
            writer.write(&packet.packet(), &mut file).unwrap();
            let index = packet.interface as usize;
            let resolution = TimeResolution::from_byte(resolutions[index]);
            let offset = i128::from(offsets_s[index]) * 1_000_000_000;
            let since = u64::try_from((i128::from(packet.time) - offset).max(0)).unwrap();
            let stored = resolution.nanoseconds(resolution.ticks(since));
            packet.time = u64::try_from((i128::from(stored) + offset).max(0)).unwrap();
            packet.link_type = u32::from(link_types[index]);
        }
        prop_assert_eq!(read(&file), (expected.clone(), Ok(None)));
        prop_assert_eq!(read_in_chunks(&file, chunk), (expected, Ok(None)));
    }

    #[test]
    fn fine_resolutions_keep_the_nanosecond(time in 0..LAST_TIME) {
        for resolution in [9, 0x80 + 30, 0x80 + 31, 0x80 + 32].map(TimeResolution::from_byte) {
            let ticks = resolution.ticks(time);
            prop_assert!(ticks < u64::MAX);
            prop_assert_eq!(resolution.nanoseconds(ticks), time);
        }
    }

    #[test]
    fn coarse_resolutions_lose_less_than_a_tick(time in 0..LAST_TIME, n in 0_u8..9) {
        let resolution = TimeResolution::from_byte(n);
        let back = resolution.nanoseconds(resolution.ticks(time));
        prop_assert!(back <= time && time - back < 10_u64.pow(9 - u32::from(n)));
    }

    #[test]
    fn chunks_do_not_change_what_is_read(chunk in 1_usize..600, which in 0_usize..6) {
        let (_, sample) = samples().swap_remove(which);
        prop_assert_eq!(read_in_chunks(&sample.bytes, chunk), (sample.packets, Ok(None)));
    }

    #[test]
    fn damaged_files_end_in_order(
        which in 0_usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
        chunk in 1_usize..300,
    ) {
        let (_, sample) = samples().swap_remove(which);
        let mut file = sample.bytes;
        for (index, byte) in damage {
            let at = index.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        prop_assert_eq!(read(&file), read_in_chunks(&file, chunk));
    }

    #[test]
    fn damaged_lengths_end_in_order(
        which in 0_usize..6,
        record in any::<prop::sample::Index>(),
        field in 0_usize..8,
        value in prop_oneof![0_u32..64, any::<u32>(), Just(u32::MAX), 262_100_u32..262_200],
        big: bool,
        chunk in 1_usize..300,
    ) {
        let (_, sample) = samples().swap_remove(which);
        let mut file = sample.bytes;
        let at = sample.boundaries[record.index(sample.boundaries.len())] + field * 4;
        let bytes = if big { value.to_be_bytes() } else { value.to_le_bytes() };
        if let Some(word) = file.get_mut(at..at + 4) {
            word.copy_from_slice(&bytes);
        }
        prop_assert_eq!(read(&file), read_in_chunks(&file, chunk));
    }

    #[test]
    fn noise_ends_in_order(
        magic in prop_oneof![
            any::<[u8; 4]>(),
            Just([0xd4, 0xc3, 0xb2, 0xa1]),
            Just([0xa1, 0xb2, 0x3c, 0x4d]),
            Just([0x34, 0xcd, 0xb2, 0xa1]),
            Just([0x0a, 0x0d, 0x0d, 0x0a]),
        ],
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        chunk in 1_usize..100,
    ) {
        let file = [&magic[..], &noise].concat();
        prop_assert_eq!(read(&file), read_in_chunks(&file, chunk));
    }
}
