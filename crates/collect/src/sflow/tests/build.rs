//! Datagrams for the tests, written word by word.

/// Numbers as they are sent.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Bytes behind their length and in front of their padding.
pub(super) fn opaque(bytes: &[u8]) -> Vec<u8> {
    let mut all = [&words(&[bytes.len() as u32]), bytes].concat();
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// A sample or record of sFlow.org.
pub(super) fn tagged(format: u32, body: &[u8]) -> Vec<u8> {
    [words(&[format]), opaque(body)].concat()
}

/// Version 5, agent 192.0.2.9, with these samples.
pub(super) fn datagram(samples: &[Vec<u8>]) -> Vec<u8> {
    datagram_of(0, samples)
}

/// The same from another part of the agent.
pub(super) fn datagram_of(sub_agent: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let head = [5, 1, 0xc000_0209, sub_agent, 1000, 123_456, samples.len() as u32];
    [words(&head), samples.concat()].concat()
}

/// Version 2 or 4.
pub(super) fn old_datagram(version: u32, samples: &[Vec<u8>]) -> Vec<u8> {
    let head = [version, 1, 0xc000_0209, 1000, 123_456, samples.len() as u32];
    [words(&head), samples.concat()].concat()
}

/// 1 in 512, from interface 3 to interface 4.
pub(super) fn flow_sample(records: &[Vec<u8>]) -> Vec<u8> {
    flow_sample_with(512, 4, records)
}

pub(super) fn flow_sample_with(rate: u32, output: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let head = [77, 3, rate, 39_424, 0, 3, output, records.len() as u32];
    tagged(1, &[words(&head), records.concat()].concat())
}

/// The same in its expanded form.
pub(super) fn expanded_sample(records: &[Vec<u8>]) -> Vec<u8> {
    let head = [77, 0, 3, 512, 39_424, 0, 0, 3, 0, 4, records.len() as u32];
    tagged(3, &[words(&head), records.concat()].concat())
}

/// A discarded packet, for this reason.
pub(super) fn discard_sample(reason: u32, records: &[Vec<u8>]) -> Vec<u8> {
    let head = [8, 0, 3, 0, 3, 4, reason, records.len() as u32];
    tagged(5, &[words(&head), records.concat()].concat())
}

/// The copied bytes of a frame.
pub(super) fn header(protocol: u32, frame_length: u32, stripped: u32, bytes: &[u8]) -> Vec<u8> {
    tagged(1, &[words(&[protocol, frame_length, stripped]), opaque(bytes)].concat())
}

/// An Ethernet frame whose check sequence is not copied.
pub(super) fn ethernet_header(frame: &[u8]) -> Vec<u8> {
    header(1, frame.len() as u32 + 4, 4, frame)
}

/// A switch record: VLAN in, VLAN out.
pub(super) fn switch(src_vlan: u32, dst_vlan: u32) -> Vec<u8> {
    tagged(1001, &words(&[src_vlan, 0, dst_vlan, 0]))
}

/// An Ethernet record of IPv4.
pub(super) fn ethernet_record(length: u32) -> Vec<u8> {
    let addresses = [4, 4, 4, 4, 4, 4, 0, 0, 2, 2, 2, 2, 2, 2, 0, 0];
    tagged(2, &[&words(&[length])[..], &addresses, &words(&[0x0800])].concat())
}

/// An IPv4 record: UDP from 192.0.2.1 port 53 to 198.51.100.7 port 40000, of 1400 bytes.
pub(super) fn ipv4_record() -> Vec<u8> {
    tagged(3, &words(&[1400, 17, 0xc000_0201, 0xc633_6407, 53, 40_000, 0, 0x28]))
}

/// An IPv6 record: TCP from 2001:db8::1 port 443 to 2001:db8::2 port 40000, SYN, of 60 bytes.
pub(super) fn ipv6_record() -> Vec<u8> {
    let prefix = [0x2001_0db8, 0, 0];
    let front = [60, 6, prefix[0], 0, 0, 1, prefix[0], 0, 0, 2];
    tagged(4, &words(&[&front[..], &[443, 40_000, 2, 0]].concat()))
}

/// Ethernet and IPv4: TCP from 10.0.0.1 port 1234 to 10.0.0.2 port 80 with SYN and ACK, DSCP 10.
pub(super) fn frame() -> Vec<u8> {
    [&[2; 6][..], &[4; 6], &[8, 0], &ipv4()].concat()
}

/// The same behind a tag of VLAN 100.
pub(super) fn tagged_frame() -> Vec<u8> {
    [&[2; 6][..], &[4; 6], &[0x81, 0, 0, 100, 8, 0], &ipv4()].concat()
}

/// The same without a link header: 1500 bytes, of which the first 40 are here.
pub(super) fn ipv4() -> Vec<u8> {
    let mut packet = vec![0x45, 0x28, 5, 220, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(tcp());
    packet
}

/// The same from 2001:db8::1 to 2001:db8::2.
pub(super) fn ipv6() -> Vec<u8> {
    let mut packet = vec![0x62, 0x80, 0, 0, 5, 180, 6, 64];
    for host in [1, 2] {
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(tcp());
    packet
}

fn tcp() -> [u8; 20] {
    [4, 210, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0, 0, 0, 0, 0, 0]
}
