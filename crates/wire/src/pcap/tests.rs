//! Tests of both formats: what is written is read, a cut file gives the packets before the cut,
//! and damaged or hostile files end in an error that names its place.

use super::*;

mod corpus;
mod hostile;
mod properties;

/// A packet that outlives its window.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    time: u64,
    link_type: u32,
    wire_len: u32,
    data: Vec<u8>,
    interface: u32,
}

impl Kept {
    fn packet(&self) -> Packet<'_> {
        Packet {
            time: self.time,
            link_type: self.link_type,
            wire_len: self.wire_len,
            data: &self.data,
            interface: self.interface,
        }
    }
}

impl From<Packet<'_>> for Kept {
    fn from(packet: Packet<'_>) -> Self {
        Self {
            time: packet.time,
            link_type: packet.link_type,
            wire_len: packet.wire_len,
            data: packet.data.to_vec(),
            interface: packet.interface,
        }
    }
}

/// How a file ended.
type Ending = Result<Option<Truncated>, CaptureError>;

/// Reads a file that arrives in pieces of `chunk` bytes, and checks on every step what the parser
/// promises about it.
fn read_in_chunks(file: &[u8], chunk: usize) -> (Vec<Kept>, Ending) {
    let mut parser = CaptureParser::new();
    let (mut start, mut end) = (0, 0);
    let mut packets = Vec::new();
    loop {
        assert_eq!(parser.offset(), start as u64);
        let window = &file[start..end];
        match parser.parse(window, end == file.len()) {
            Ok(Step::Packet { consumed, record }) => {
                assert!(consumed > 0 && consumed <= window.len());
                assert!(record.data.start <= record.data.end && record.data.end <= consumed);
                assert!(record.wire_len as usize >= record.data.len());
                packets.push(Kept::from(record.packet(window)));
                start += consumed;
            }
            Ok(Step::Skip { consumed }) => {
                assert!(consumed > 0 && consumed <= window.len());
                start += consumed;
            }
            Ok(Step::NeedMore { at_least }) => {
                assert!(end < file.len(), "asks for more than there is");
                assert!(at_least > window.len() && at_least <= parser.longest_record());
                end = (end + chunk).min(file.len());
            }
            Ok(Step::Truncated(truncated)) => {
                assert!(truncated.available < truncated.needed);
                assert_eq!(truncated.offset + truncated.available, file.len() as u64);
                return (packets, Ok(Some(truncated)));
            }
            Ok(Step::End) => return (packets, Ok(None)),
            Err(error) => {
                assert!(error.offset() <= start as u64);
                assert_eq!(parser.parse(window, end == file.len()), Err(error), "errors stay");
                return (packets, Err(error));
            }
        }
    }
}

fn read(file: &[u8]) -> (Vec<Kept>, Ending) {
    let mut packets = Packets::new(file);
    let mut kept = Vec::new();
    let mut ending = Ok(());
    for packet in &mut packets {
        match packet {
            Ok(packet) => kept.push(packet.into()),
            Err(error) => ending = Err(error),
        }
    }
    let ending = ending.map(|()| packets.truncated());
    let read = (kept, ending);
    assert_eq!(read, read_in_chunks(file, file.len()));
    read
}

/// A file, and where each of its records (or blocks) starts; the last entry is its end.
struct Sample {
    bytes: Vec<u8>,
    boundaries: Vec<usize>,
    /// Number of packets complete at each boundary.
    complete: Vec<usize>,
    packets: Vec<Kept>,
}

/// Four packets with awkward lengths: empty, odd, cut by the snap length, and one that is long.
fn sample_packets(resolution_ns: u64) -> Vec<Kept> {
    let packet = |index: u64, captured: usize, wire_len: u32| Kept {
        time: (1_700_000_000_000_000_000 + index * 123_456_789) / resolution_ns * resolution_ns,
        link_type: 1,
        wire_len,
        data: (0..captured).map(|byte| (byte as u8).wrapping_add(index as u8)).collect(),
        interface: 0,
    };
    vec![packet(0, 0, 60), packet(1, 61, 61), packet(2, 96, 1_514), packet(3, 130, 130)]
}

fn pcap_sample(nanoseconds: bool, byte_order: ByteOrder) -> Sample {
    let packets = sample_packets(if nanoseconds { 1 } else { 1_000 });
    let mut bytes = Vec::new();
    let header = PcapHeader { nanoseconds, byte_order, ..PcapHeader::default() };
    let writer = PcapWriter::new(header, &mut bytes);
    let (mut boundaries, mut complete) = (vec![bytes.len()], vec![0]);
    for (index, packet) in packets.iter().enumerate() {
        writer.write(&packet.packet(), &mut bytes);
        boundaries.push(bytes.len());
        complete.push(index + 1);
    }
    Sample { bytes, boundaries, complete, packets }
}

/// Two sections of different byte order, three interfaces in the first, a block of a kind no one
/// knows, a simple and an obsolete packet.
fn pcapng_sample(order: ByteOrder) -> Sample {
    let other = if order == ByteOrder::Big { ByteOrder::Little } else { ByteOrder::Big };
    let mut sample = Sample {
        bytes: Vec::new(),
        boundaries: Vec::new(),
        complete: Vec::new(),
        packets: Vec::new(),
    };
    let mut writer = PcapngWriter::new(order, &mut sample.bytes);
    sample.mark();
    let interfaces = [
        InterfaceDescription::default(),
        InterfaceDescription {
            link_type: 101,
            resolution: TimeResolution::MICROSECONDS,
            offset_s: 3_600,
            ..InterfaceDescription::default()
        },
        InterfaceDescription {
            link_type: 113,
            resolution: TimeResolution::from_byte(0x80 + 31),
            offset_s: -7,
            ..InterfaceDescription::default()
        },
    ];
    for interface in interfaces {
        writer.describe(interface, &mut sample.bytes);
        sample.mark();
    }
    for (index, mut packet) in sample_packets(1_000).into_iter().enumerate() {
        packet.interface = [0, 1, 2, 1][index];
        packet.link_type = [1, 101, 113, 101][index];
        writer.write(&packet.packet(), &mut sample.bytes).unwrap();
        sample.packets.push(packet);
        sample.mark();
    }
    hostile::block(order, 0x0bad_cafe, &[7; 40], &mut sample.bytes);
    sample.mark();
    sample.add_simple_packet(order);
    sample.add_obsolete_packet(order);
    let mut writer = PcapngWriter::new(other, &mut sample.bytes);
    sample.mark();
    let cooked = InterfaceDescription { link_type: 276, ..InterfaceDescription::default() };
    writer.describe(cooked, &mut sample.bytes);
    sample.mark();
    let mut packet = sample_packets(1).remove(1);
    packet.link_type = 276;
    writer.write(&packet.packet(), &mut sample.bytes).unwrap();
    sample.packets.push(packet);
    sample.mark();
    sample
}

impl Sample {
    fn mark(&mut self) {
        self.boundaries.push(self.bytes.len());
        self.complete.push(self.packets.len());
    }

    fn add_simple_packet(&mut self, order: ByteOrder) {
        let data = vec![0x5a; 21];
        let mut body = order.word_bytes(21).to_vec();
        body.extend(&data);
        body.extend([0xee; 3]);
        hostile::block(order, 3, &body, &mut self.bytes);
        let time = self.packets.last().unwrap().time;
        self.packets.push(Kept { time, link_type: 1, wire_len: 21, data, interface: 0 });
        self.mark();
    }

    fn add_obsolete_packet(&mut self, order: ByteOrder) {
        let mut body = order.half_bytes(1).to_vec();
        body.extend(order.half_bytes(0xffff));
        for word in [0, 5_000_000, 3, 99] {
            body.extend(order.word_bytes(word));
        }
        body.extend([1, 2, 3, 0]);
        // An option, as dumpcap appended them.
        body.extend(order.word_bytes(0));
        hostile::block(order, 2, &body, &mut self.bytes);
        self.packets.push(Kept {
            time: 3_605_000_000_000,
            link_type: 101,
            wire_len: 99,
            data: vec![1, 2, 3],
            interface: 1,
        });
        self.mark();
    }
}

fn samples() -> Vec<(String, Sample)> {
    let mut samples = Vec::new();
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for nanoseconds in [false, true] {
            let name = format!("pcap {order:?} nanoseconds={nanoseconds}");
            samples.push((name, pcap_sample(nanoseconds, order)));
        }
        samples.push((format!("pcapng {order:?}"), pcapng_sample(order)));
    }
    samples
}

#[test]
fn what_is_written_is_read() {
    for (name, sample) in samples() {
        assert_eq!(read(&sample.bytes), (sample.packets, Ok(None)), "{name}");
    }
}

#[test]
fn the_first_bytes_are_those_of_the_specification() {
    let first = |nanoseconds, order| pcap_sample(nanoseconds, order).bytes[..8].to_vec();
    assert_eq!(first(false, ByteOrder::Little), [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
    assert_eq!(first(false, ByteOrder::Big), [0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4]);
    assert_eq!(first(true, ByteOrder::Little), [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
    assert_eq!(first(true, ByteOrder::Big), [0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4]);
    let section = pcapng_sample(ByteOrder::Big).bytes[..28].to_vec();
    let expected = [
        [0x0a, 0x0d, 0x0d, 0x0a],
        [0, 0, 0, 28],
        [0x1a, 0x2b, 0x3c, 0x4d],
        [0, 1, 0, 0],
        [0xff; 4],
        [0xff; 4],
        [0, 0, 0, 28],
    ];
    assert_eq!(section, expected.concat());
}

#[test]
fn a_file_cut_at_any_byte_gives_the_packets_before_the_cut() {
    for (name, sample) in samples() {
        for cut in 0..=sample.bytes.len() {
            let (packets, ending) = read(&sample.bytes[..cut]);
            if cut < FILE_HEADER_LEN {
                assert!(packets.is_empty(), "{name} {cut}");
                assert_eq!(ending, Err(CaptureError::HeaderIncomplete { available: cut }));
                continue;
            }
            let last = sample.boundaries.iter().rposition(|&boundary| boundary <= cut);
            let (start, complete) =
                last.map_or((0, 0), |last| (sample.boundaries[last], sample.complete[last]));
            assert_eq!(packets, sample.packets[..complete], "{name} {cut}");
            let truncated = ending.unwrap();
            assert_eq!(truncated.is_none(), start == cut, "{name} {cut}");
            if let Some(truncated) = truncated {
                assert_eq!(truncated.offset, start as u64, "{name} {cut}");
            }
        }
    }
}

#[test]
fn the_formats_are_told_by_their_magic() {
    let format = |file: &[u8]| {
        let mut parser = CaptureParser::new();
        assert_eq!(parser.format(), None);
        parser.parse(file, true).unwrap();
        parser.format().unwrap()
    };
    assert_eq!(format(&pcap_sample(true, ByteOrder::Big).bytes), CaptureFormat::Pcap);
    assert_eq!(format(&pcapng_sample(ByteOrder::Big).bytes), CaptureFormat::Pcapng);
}

#[test]
fn modified_and_navtel_headers_are_read() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut navtel = pcap_sample(true, order);
        navtel.bytes[..4].copy_from_slice(&order.word_bytes(0xa12b_3c4d));
        assert_eq!(read(&navtel.bytes), (navtel.packets, Ok(None)));

        let plain = pcap_sample(false, order);
        let mut modified = plain.bytes[..24].to_vec();
        modified[..4].copy_from_slice(&order.word_bytes(0xa1b2_cd34));
        for span in plain.boundaries.windows(2) {
            let (header, data) = plain.bytes[span[0]..span[1]].split_at(16);
            modified.extend(header);
            modified.extend([0xab; 8]);
            modified.extend(data);
        }
        assert_eq!(read(&modified), (plain.packets, Ok(None)));
    }
}

#[test]
fn versions_before_2_4_have_the_lengths_in_another_order() {
    let sample = pcap_sample(true, ByteOrder::Little);
    let mut swapped = sample.bytes.clone();
    for &record in &sample.boundaries[..sample.packets.len()] {
        let (captured, original) = swapped[record + 8..record + 16].split_at_mut(4);
        captured.swap_with_slice(original);
    }
    for (minor, file, packets_read) in
        [(2, &swapped, true), (3, &swapped, true), (3, &sample.bytes, true), (4, &swapped, false)]
    {
        let mut file = file.clone();
        file[6] = minor;
        assert_eq!(read(&file) == (sample.packets.clone(), Ok(None)), packets_read, "2.{minor}");
    }
}

#[test]
fn frame_check_sequence_bits_are_not_part_of_the_link_type() {
    let mut file = pcap_sample(true, ByteOrder::Little).bytes;
    // Four bytes of frame check sequence, flagged as present.
    file[20..24].copy_from_slice(&0x4400_0071_u32.to_le_bytes());
    let (packets, _) = read(&file);
    assert!(packets.iter().all(|packet| packet.link_type == 113));
}

#[test]
fn a_captured_length_above_the_wire_length_counts_as_the_wire_length() {
    let mut file = pcap_sample(true, ByteOrder::Little);
    let record = file.boundaries[1];
    file.bytes[record + 12..record + 16].copy_from_slice(&5_u32.to_le_bytes());
    assert_eq!(read(&file.bytes).0[1].wire_len, 61);
}

#[test]
fn writers_cut_at_the_snap_length_and_keep_the_wire_length() {
    let packet = &sample_packets(1)[3];
    let mut file = Vec::new();
    let header = PcapHeader { snap_len: 54, ..PcapHeader::default() };
    PcapWriter::new(header, &mut file).write(&packet.packet(), &mut file);
    let cut = Kept { data: packet.data[..54].to_vec(), ..packet.clone() };
    assert_eq!(read(&file), (vec![cut.clone()], Ok(None)));

    let mut file = Vec::new();
    let mut writer = PcapngWriter::new(ByteOrder::Big, &mut file);
    let interface = InterfaceDescription { snap_len: 54, ..InterfaceDescription::default() };
    assert_eq!(writer.describe(interface, &mut file), 0);
    writer.write(&packet.packet(), &mut file).unwrap();
    assert_eq!(read(&file), (vec![cut], Ok(None)));

    let stray = Packet { interface: 1, ..packet.packet() };
    let length = file.len();
    let refused = writer.write(&stray, &mut file);
    assert_eq!(refused, Err(UnknownInterface { interface: 1, described: 1 }));
    assert_eq!(file.len(), length);
}

#[test]
fn writers_never_write_what_the_parser_refuses() {
    let data = vec![0; MAX_SNAP_LEN as usize + 1];
    let packet = Packet { time: u64::MAX, link_type: 1, wire_len: 0, data: &data, interface: 0 };
    for snap_len in [0, u32::MAX] {
        let mut file = Vec::new();
        let header = PcapHeader { snap_len, ..PcapHeader::default() };
        PcapWriter::new(header, &mut file).write(&packet, &mut file);
        let (packets, ending) = read(&file);
        assert_eq!(ending, Ok(None));
        assert_eq!(packets[0].data.len(), MAX_SNAP_LEN as usize);
        assert_eq!(packets[0].wire_len, MAX_SNAP_LEN + 1);
        assert_eq!(packets[0].time / 1_000_000_000, u64::from(u32::MAX));
    }
}

#[test]
fn resolutions_convert_to_nanoseconds() {
    let nanoseconds = |byte, ticks| TimeResolution::from_byte(byte).nanoseconds(ticks);
    assert_eq!(nanoseconds(0, 3), 3_000_000_000);
    assert_eq!(nanoseconds(3, 3), 3_000_000);
    assert_eq!(nanoseconds(6, 3), 3_000);
    assert_eq!(nanoseconds(9, 3), 3);
    assert_eq!(nanoseconds(12, 3_999), 3);
    assert_eq!(nanoseconds(127, u64::MAX), 0);
    assert_eq!(nanoseconds(0x80, 3), 3_000_000_000);
    assert_eq!(nanoseconds(0x80 + 10, 512), 500_000_000);
    assert_eq!(nanoseconds(0x80 + 127, u64::MAX), 0);
    assert_eq!(nanoseconds(0, u64::MAX), u64::MAX);
    assert_eq!(TimeResolution::from_byte(6), TimeResolution::MICROSECONDS);
    assert_eq!(TimeResolution::from_byte(9), TimeResolution::NANOSECONDS);
}
