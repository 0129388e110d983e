//! Datagrams for the tests, written word by word.

/// Bytes in the making.
#[derive(Clone, Default)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn word(self, word: u32) -> Self {
        self.words(&[word])
    }

    pub(super) fn words(mut self, words: &[u32]) -> Self {
        self.0.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes behind their length and in front of their padding.
    pub(super) fn opaque(self, bytes: &[u8]) -> Self {
        let mut this = self.word(bytes.len() as u32).bytes(bytes);
        this.0.resize(this.0.len().next_multiple_of(4), 0);
        this
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Version 5, with these samples.
pub(super) fn datagram(samples: &[Vec<u8>]) -> Vec<u8> {
    Bytes::new()
        .words(&[5, 1, 0xc000_0201, 3, 1000, 123_456, samples.len() as u32])
        .bytes(&samples.concat())
        .done()
}

/// Version 2 or 4, with these samples.
pub(super) fn old_datagram(version: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    Bytes::new()
        .words(&[version, 1, 0xc000_0201, 1000, 123_456, samples.len() as u32])
        .bytes(&samples.concat())
        .done()
}

/// A sample or record of sFlow.org, with its length.
pub(super) fn record(format: u32, body: &[u8]) -> Vec<u8> {
    Bytes::new().word(format).opaque(body).done()
}

/// A flow sample of version 5.
pub(super) fn flow_sample(records: &[Vec<u8>]) -> Vec<u8> {
    let words = [77, 0x0102_0304, 1024, 78_848, 5, 10, 20, records.len() as u32];
    record(1, &Bytes::new().words(&words).bytes(&records.concat()).done())
}

/// A raw header record of version 5.
pub(super) fn raw_record(
    protocol: u32,
    frame_length: u32,
    stripped: u32,
    header: &[u8],
) -> Vec<u8> {
    let words = [protocol, frame_length, stripped];
    record(1, &Bytes::new().words(&words).opaque(header).done())
}

/// Ethernet, VLAN 100, IPv4 10.0.0.1 to 10.0.0.2 of 1500 bytes, TCP 1234 to 80 with SYN and ACK.
pub(super) fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 100, 8, 0];
    frame.extend(ipv4());
    frame
}

/// The same without a link header.
pub(super) fn ipv4() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 5, 220, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(tcp());
    packet
}

/// The same from 2001:db8::1 to 2001:db8::2.
pub(super) fn ipv6() -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 5, 180, 6, 64];
    for host in [1, 2] {
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(tcp());
    packet
}

fn tcp() -> [u8; 20] {
    [4, 210, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0, 0, 0, 0, 0, 0]
}
