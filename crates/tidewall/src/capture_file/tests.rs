//! Files in every wrapping give the same packets, cut files give those before the cut, and what
//! cannot be read is refused with its name, place and a fix.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tidewall_wire::pcap::{ByteOrder, InterfaceDescription, PcapHeader, PcapWriter, PcapngWriter};

use super::*;

/// A reader that gives at most `step` bytes a call, and then fails if told to.
struct Trickle {
    bytes: Cursor<Vec<u8>>,
    step: usize,
    failure: Option<io::ErrorKind>,
    interrupt: bool,
}

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let step = self.step.min(into.len());
        match (self.bytes.read(&mut into[..step])?, self.failure) {
            (0, Some(kind)) if step > 0 => Err(kind.into()),
            (count, _) => Ok(count),
        }
    }
}

fn trickle(bytes: &[u8], step: usize, failure: Option<io::ErrorKind>) -> Trickle {
    Trickle { bytes: Cursor::new(bytes.to_vec()), step, failure, interrupt: false }
}

const PACKETS: u64 = 5_000;

/// Packet `index` of the test captures: two megabytes of them, to cross the buffer's end often.
fn data(index: u64) -> Vec<u8> {
    (0..index * 37 % 900).map(|byte| (byte * 31 + index) as u8).collect()
}

fn packet(index: u64, data: &[u8]) -> Packet<'_> {
    Packet { time: index * 1_001, link_type: 1, wire_len: 900, data, interface: 0 }
}

fn pcap() -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(PcapHeader::default(), &mut out);
    (0..PACKETS).for_each(|index| writer.write(&packet(index, &data(index)), &mut out));
    out
}

fn pcapng() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(ByteOrder::Big, &mut out);
    writer.describe(InterfaceDescription::default(), &mut out);
    for index in 0..PACKETS {
        writer.write(&packet(index, &data(index)), &mut out).unwrap();
    }
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads to the end, comparing each packet; returns how many there were.
fn check(capture: &mut CaptureFile) -> Result<u64, CaptureFileError> {
    let mut count = 0;
    while let Some(read) = capture.next_packet()? {
        assert_eq!(read, packet(count, &data(count)));
        count += 1;
    }
    assert_eq!(capture.packets(), count);
    Ok(count)
}

fn open(bytes: &[u8]) -> CaptureFile {
    CaptureFile::with_reader("x.pcap", Cursor::new(bytes.to_vec())).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    check(&mut open(bytes)).unwrap_err().to_string()
}

#[test]
fn every_wrapping_gives_the_same_packets() {
    for plain in [pcap(), pcapng()] {
        let (first, second) = plain.split_at(plain.len() / 3);
        let members = [gzip(first), gzip(&[]), gzip(second)].concat();
        for bytes in [plain.clone(), gzip(&plain), members] {
            for step in [1_000, 65_536, usize::MAX] {
                let mut capture =
                    CaptureFile::with_reader("x", trickle(&bytes, step, None)).unwrap();
                assert_eq!(check(&mut capture).unwrap(), PACKETS);
                assert_eq!(capture.warning(), None);
                assert_eq!(capture.bytes_read(), bytes.len() as u64);
                assert_eq!(capture.size(), None);
                assert!(capture.next_packet().unwrap().is_none(), "stays at the end");
            }
        }
    }
}

#[test]
fn a_file_is_opened_by_its_content_and_knows_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("misnamed.txt");
    let bytes = gzip(&pcapng());
    std::fs::write(&path, &bytes).unwrap();
    let mut capture = CaptureFile::open(&path).unwrap();
    assert_eq!(capture.size(), Some(bytes.len() as u64));
    assert_eq!(check(&mut capture).unwrap(), PACKETS);
    assert_eq!(capture.bytes_read(), bytes.len() as u64);
    assert!(capture.name().ends_with("misnamed.txt"));
}

#[test]
fn a_cut_file_gives_the_packets_before_the_cut_and_a_warning() {
    let plain = pcap();
    let mut capture = open(&plain[..plain.len() - 1]);
    assert_eq!(check(&mut capture).unwrap(), PACKETS - 1);
    let warning = capture.warning().unwrap();
    let last = data(PACKETS - 1).len() + 16;
    let expected = format!(
        "x.pcap: cut short at offset {}: the last record takes {last} bytes and {} are there \
         (packets read before: 4999)",
        plain.len() - last,
        last - 1,
    );
    assert_eq!(warning, expected);
}

#[test]
fn a_cut_gzip_stream_is_a_warning_too() {
    let bytes = gzip(&pcap());
    for cut in [bytes.len() / 2, bytes.len() - 8, bytes.len() - 1] {
        let mut capture = open(&bytes[..cut]);
        let count = check(&mut capture).unwrap();
        assert!(count > PACKETS / 4, "{count}");
        assert_eq!(count == PACKETS, cut + 8 >= bytes.len());
        assert!(capture.warning().is_some(), "{cut}");
    }
}

#[test]
fn what_is_not_a_capture_is_refused_with_a_fix() {
    let question = "is this a capture file? tidewall reads pcap and pcapng, also .gz";
    let text = refusal(b"timestamp,src,dst\n1,10.0.0.1,10.0.0.2\n");
    assert!(text.starts_with("x.pcap: offset 0: starts with [74, 69, 6d, 65]"), "{text}");
    assert!(text.ends_with(question), "{text}");
    for bytes in [&b""[..], &gzip(b"")] {
        let text = refusal(bytes);
        assert!(text.starts_with("x.pcap: offset 0: 0 bytes"), "{text}");
        assert!(text.ends_with(question), "{text}");
    }
    let text = refusal(&[0x28, 0xb5, 0x2f, 0xfd, 4, 0, 0, 0]);
    assert!(text.contains("zstd -dc"), "{text}");
}

#[test]
fn damage_names_its_offset_and_what_was_read() {
    let mut bytes = pcap();
    // The captured length of packet 2: header, two records of 16 and 16 + 37 bytes.
    let at = 24 + 16 + 53;
    bytes[at + 8..at + 12].copy_from_slice(&[0xff; 4]);
    let text = refusal(&bytes);
    assert!(text.starts_with("x.pcap: offset 93: packet of 4294967295 bytes"), "{text}");
    assert!(text.ends_with("(packets read before: 2)"), "{text}");
    assert!(refusal(&gzip(&bytes)).contains("(of the decompressed capture)"));

    let mut bytes = gzip(&pcap());
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    let text = refusal(&bytes);
    assert!(text.contains(&format!("beyond offset {}", bytes.len())), "{text}");
    assert!(text.contains("gzip -t"), "{text}");
}

#[test]
fn what_the_system_says_is_passed_on() {
    let missing = CaptureFile::open(Path::new("/nowhere/x.pcap")).err().unwrap().to_string();
    assert!(missing.starts_with("/nowhere/x.pcap: cannot be opened: "), "{missing}");
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(CaptureFile::open(folder.path()), Err(CaptureFileError::Read { .. })));

    let reader = trickle(&pcap()[..100_000], 4_096, Some(io::ErrorKind::ConnectionReset));
    let mut capture = CaptureFile::with_reader("pipe", reader).unwrap();
    let error = check(&mut capture).unwrap_err().to_string();
    assert!(error.starts_with("pipe: cannot be read beyond offset 100000: "), "{error}");
    assert!(capture.packets() > 100);
}
