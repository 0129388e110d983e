//! Damaged and hostile files, each with the error it must end in.

use super::*;

/// Appends a block with correct lengths around `body`.
pub(super) fn block(order: ByteOrder, kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let total = order.word_bytes(body.len() as u32 + 12);
    out.extend(order.word_bytes(kind));
    out.extend(total);
    out.extend(body);
    out.extend(total);
}

const LITTLE: ByteOrder = ByteOrder::Little;

/// A section with one Ethernet interface, 28 + 32 bytes, and then `more`.
fn section_with(more: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = Vec::new();
    PcapngWriter::new(LITTLE, &mut file).describe(InterfaceDescription::default(), &mut file);
    assert_eq!(file.len(), 60);
    more(&mut file);
    file
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn error_of(file: &[u8]) -> CaptureError {
    read(file).1.unwrap_err()
}

#[test]
fn what_is_not_a_capture_is_refused_by_its_first_bytes() {
    for magic in [*b"#!/b", [0x1f, 0x8b, 8, 0], [0; 4]] {
        let mut file = magic.to_vec();
        file.extend([0; 40]);
        assert_eq!(error_of(&file), CaptureError::UnknownMagic { magic });
    }
    assert_eq!(error_of(b""), CaptureError::HeaderIncomplete { available: 0 });
    assert_eq!(error_of(b"GIF8"), CaptureError::UnknownMagic { magic: *b"GIF8" });
}

#[test]
fn unknown_versions_are_refused() {
    let mut file = pcap_sample(true, ByteOrder::Big).bytes;
    file[5] = 3;
    let refused = CaptureError::UnsupportedVersion { offset: 0, major: 3, minor: 4 };
    assert_eq!(error_of(&file), refused);
    let mut file = pcapng_sample(ByteOrder::Big).bytes;
    file[13] = 9;
    let refused = CaptureError::UnsupportedVersion { offset: 0, major: 9, minor: 0 };
    assert_eq!(error_of(&file), refused);
}

#[test]
fn any_snap_length_is_harmless() {
    for snap_len in [0, 1, 0x7fff_ffff, 0xffff_ffff] {
        let mut sample = pcap_sample(true, LITTLE);
        sample.bytes[16..20].copy_from_slice(&words(&[snap_len]));
        assert_eq!(read(&sample.bytes), (sample.packets, Ok(None)));
    }
    let mut sample = pcapng_sample(LITTLE);
    sample.bytes[28 + 12..28 + 16].copy_from_slice(&[0xff; 4]);
    assert_eq!(read(&sample.bytes), (sample.packets, Ok(None)));
}

#[test]
fn a_record_above_the_limit_is_an_error_at_its_offset() {
    let limit = MAX_SNAP_LEN;
    for length in [limit + 1, u32::MAX] {
        let sample = pcap_sample(true, LITTLE);
        let mut file = sample.bytes;
        let at = sample.boundaries[2];
        file[at + 8..at + 12].copy_from_slice(&words(&[length]));
        let (packets, ending) = read(&file);
        assert_eq!(packets, sample.packets[..2]);
        assert_eq!(ending, Err(CaptureError::PacketTooLong { offset: at as u64, length, limit }));
    }
    let mut parser = CaptureParser::with_packet_limit(61);
    let file = pcap_sample(true, LITTLE).bytes;
    let mut window = &file[..];
    let mut packets = 0;
    let error = loop {
        match parser.parse(window, true) {
            Ok(Step::Packet { consumed, .. }) => {
                packets += 1;
                window = &window[consumed..];
            }
            Ok(Step::Skip { consumed }) => window = &window[consumed..],
            other => break other,
        }
    };
    assert_eq!(packets, 2);
    assert!(matches!(error, Err(CaptureError::PacketTooLong { length: 96, limit: 61, .. })));
}

#[test]
fn block_lengths_are_checked() {
    let longest = CaptureParser::new().longest_record() as u32;
    let error = |block: &[u32]| error_of(&section_with(|file| file.extend(words(block))));
    let offset = 60;
    for kind in [1, 2, 3, 5, 6, 0x0a0d_0d0a] {
        let bom = 0x1a2b_3c4d;
        let needed = if kind == 0x0a0d_0d0a { 28 } else { 12 };
        for length in [0, 8] {
            let short = CaptureError::BlockTooShort { offset, length, needed };
            assert_eq!(error(&[kind, length, bom, 1, 0, 0, 0]), short);
        }
        let unaligned = CaptureError::BlockUnaligned { offset, length: 30 };
        assert_eq!(error(&[kind, 30, bom, 1, 0, 0, 0, 0]), unaligned);
    }
    for kind in [1, 2, 3, 6] {
        let length = 0xffff_fff0;
        let too_long = CaptureError::BlockTooLong { offset, length, limit: longest };
        assert_eq!(error(&[kind, length, 0, 0]), too_long);
    }
    let differ = CaptureError::BlockLengthsDiffer { offset, length: 16, trailer: 20 };
    assert_eq!(error(&[3, 16, 0, 20]), differ);
    assert_eq!(error(&[0x0bad, 16, 0, 20]), differ);
    let magic = [1, 2, 3, 4];
    let bad_order = CaptureError::ByteOrderMagic { offset, magic };
    assert_eq!(error(&[0x0a0d_0d0a, 28, 0x0403_0201, 1, 0, 0, 28]), bad_order);
}

#[test]
fn packets_must_fit_their_block_and_name_a_known_interface() {
    let error = |kind: u32, body: &[u32]| {
        error_of(&section_with(|file| block(LITTLE, kind, &words(body), file)))
    };
    let offset = 60;
    let too_short = |length, needed| CaptureError::BlockTooShort { offset, length, needed };
    assert_eq!(error(6, &[0, 0, 0, 0]), too_short(28, 32));
    assert_eq!(error(2, &[0]), too_short(16, 32));
    assert_eq!(error(3, &[]), too_short(12, 16));
    assert_eq!(error(1, &[1]), too_short(16, 20));
    assert_eq!(error(6, &[0, 0, 0, 5, 5, 0]), too_short(36, 37));
    let (length, limit) = (u32::MAX, MAX_SNAP_LEN);
    let too_long = CaptureError::PacketTooLong { offset, length, limit };
    assert_eq!(error(6, &[0, 0, 0, u32::MAX, 5, 0]), too_long);
    for (kind, interface) in [(6, u32::MAX), (2, 0xffff)] {
        let unknown = CaptureError::UnknownInterface { offset, interface, described: 1 };
        assert_eq!(error(kind, &[interface, 0, 0, 0, 0]), unknown);
    }
    let mut no_interface = Vec::new();
    PcapngWriter::new(LITTLE, &mut no_interface);
    block(LITTLE, 3, &words(&[0]), &mut no_interface);
    let unknown = CaptureError::UnknownInterface { offset: 28, interface: 0, described: 0 };
    assert_eq!(error_of(&no_interface), unknown);
}

#[test]
fn a_simple_packet_holds_the_least_of_its_three_lengths() {
    let captured = |snap_len: u32, original: u32, room: usize| {
        let mut file = Vec::new();
        PcapngWriter::new(LITTLE, &mut file);
        block(LITTLE, 1, &words(&[1, snap_len]), &mut file);
        let mut body = words(&[original]);
        body.extend(vec![9; room]);
        block(LITTLE, 3, &body, &mut file);
        let (packets, ending) = read(&file);
        assert_eq!(ending, Ok(None));
        assert_eq!(packets[0].wire_len, original);
        packets[0].data.len()
    };
    assert_eq!(captured(0, 6, 8), 6);
    assert_eq!(captured(4, 6, 8), 4);
    assert_eq!(captured(0, 1_500, 8), 8);
    assert_eq!(captured(u32::MAX, u32::MAX, 8), 8);
}

#[test]
fn damaged_options_do_not_matter() {
    // Option 9 with a length past the block; option 9 without a value; option 14 too short.
    for options in [[0xfff0_0009, 0], [9, 0], [0x0004_000e, 77]] {
        let mut file = Vec::new();
        PcapngWriter::new(LITTLE, &mut file);
        let mut body = words(&[1, 0]);
        body.extend(words(&options));
        block(LITTLE, 1, &body, &mut file);
        block(LITTLE, 6, &words(&[0, 0, 42, 0, 0]), &mut file);
        let (packets, ending) = read(&file);
        assert_eq!(ending, Ok(None));
        assert_eq!(packets[0].time, 42_000);
    }
}

#[test]
fn an_unknown_block_of_any_length_is_passed_without_a_buffer_for_it() {
    let body = vec![0x11; 3 << 20];
    let mut file = section_with(|file| block(LITTLE, 0x8000_0001, &body, file));
    block(LITTLE, 6, &words(&[0, 0, 0, 0, 0]), &mut file);
    let (packets, ending) = read_in_chunks(&file, 4_096);
    assert_eq!((packets.len(), ending), (1, Ok(None)));

    // One that claims 4 GiB is a truncated file, not an allocation.
    let file = section_with(|file| file.extend(words(&[0x8000_0001, 0xffff_fffc, 0, 0])));
    let truncated = Truncated { offset: 60, needed: 0xffff_fffc, available: 16 };
    assert_eq!(read(&file), (Vec::new(), Ok(Some(truncated))));
}

#[test]
fn interfaces_are_bounded_in_each_section() {
    let many = |count: usize, file: &mut Vec<u8>| {
        PcapngWriter::new(LITTLE, file);
        for _ in 0..count {
            block(LITTLE, 1, &words(&[1, 0]), file);
        }
    };
    let mut file = Vec::new();
    many(MAX_INTERFACES, &mut file);
    many(MAX_INTERFACES, &mut file);
    assert_eq!(read(&file), (Vec::new(), Ok(None)));
    let offset = file.len() as u64;
    block(LITTLE, 1, &words(&[1, 0]), &mut file);
    assert_eq!(error_of(&file), CaptureError::TooManyInterfaces { offset });
}

#[test]
fn extreme_times_saturate() {
    let time = |resolution: u8, offset_s: i64, ticks: u64| {
        let mut file = Vec::new();
        PcapngWriter::new(LITTLE, &mut file);
        let mut body = words(&[1, 0, 0x0001_0009, u32::from(resolution), 0x0008_000e]);
        body.extend(offset_s.to_le_bytes());
        block(LITTLE, 1, &body, &mut file);
        let (high, low) = ((ticks >> 32) as u32, ticks as u32);
        block(LITTLE, 6, &words(&[0, high, low, 0, 0]), &mut file);
        read(&file).0[0].time
    };
    assert_eq!(time(9, i64::MIN, 5), 0);
    assert_eq!(time(9, i64::MAX, 5), u64::MAX);
    assert_eq!(time(0, -1, u64::MAX), u64::MAX - 1_000_000_000);
    assert_eq!(time(9, 2, 5), 2_000_000_005);
}
