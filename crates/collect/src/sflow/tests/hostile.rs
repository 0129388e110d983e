//! What must be refused with its reason, and that nothing harms or escapes the count.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

use super::*;

fn datagram_reason(data: &[u8]) -> DropReason {
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut seen = Seen::default();
    let reason = collector.decode(&sent(data), &mut seen).unwrap_err();
    assert_eq!(collector.drops().nonzero().collect::<Vec<_>>(), [(reason, 1)]);
    assert_eq!(collector.counts().refused_datagrams, 1);
    assert!(collector.exporters().is_empty(), "who cannot speak is no exporter");
    assert_eq!(seen.remarks[0].0, RemarkKind::Error);
    reason
}

fn good() -> Vec<u8> {
    header(1, 1518, 4, &frame())
}

/// T30 (and what was fixed in the reference on 2024-12-13): counts from the wire are no sizes.
#[test]
fn absurd_counts_and_lengths() {
    for count in [0, 257, u32::MAX] {
        let mut data = datagram(&[flow_sample(&[good()])]);
        data[24..28].copy_from_slice(&words(&[count]));
        assert_eq!(datagram_reason(&data), DropReason::DatagramMalformed, "{count} samples");
    }
    let whole = datagram(&[flow_sample(&[good()])]);
    // The counts of records, and the length of the only one.
    for (offset, value) in [(64, 257), (64, u32::MAX), (72, u32::MAX), (72, 75)] {
        let mut data = whole.clone();
        data[offset..offset + 4].copy_from_slice(&words(&[value]));
        let (collector, seen) = decode(&data);
        let drops: Vec<_> = collector.drops().nonzero().collect();
        assert_eq!(drops, [(DropReason::SampleMalformed, 1)], "{value} at {offset}");
        assert_eq!(seen.remarks[0].0, RemarkKind::Error);
    }
    let counters = tagged(2, &words(&[7, 3, 257]));
    assert_eq!(refused(&[counters]), DropReason::SampleMalformed);
}

/// T31, GHSA-852r-3wcv-pjx2: a record shorter than its fields, a header longer than its record.
#[test]
fn raw_headers_that_do_not_fit_their_record() {
    let short = tagged(1, &[0; 15]);
    assert_eq!(refused(&[flow_sample(&[short])]), DropReason::SampleMalformed);
    for length in [55, 0x7fff_ffff, u32::MAX] {
        let record = tagged(1, &[words(&[1, 1518, 4, length]), frame()].concat());
        assert_eq!(refused(&[flow_sample(&[record])]), DropReason::SampleMalformed, "{length}");
    }
}

/// CVE-2026-48682: a header length that points past what was copied.
#[test]
fn an_ip_header_that_claims_more_than_was_copied() {
    let mut packet = ipv4();
    packet[0] = 0x4f;
    let (record, _) = flow(&datagram(&[flow_sample(&[header(11, 1500, 0, &packet)])]));
    assert_eq!((record.src, record.src_port, record.dst_port), (expected().src, 0, 0));
    packet[0] = 0x44;
    let short = refused(&[flow_sample(&[header(11, 1500, 0, &packet)])]);
    assert_eq!(short, DropReason::IpHeaderLength);
    packet[0] = 0x35;
    let version = refused(&[flow_sample(&[header(11, 1500, 0, &packet)])]);
    assert_eq!(version, DropReason::IpVersion);
}

/// GHSA-jmjw-392h-4g93: a fragment header that was not copied whole.
#[test]
fn an_ipv6_fragment_header_cut() {
    let mut packet = ipv6();
    packet[6] = 44;
    for length in 40..48 {
        let records = [header(12, 1500, 0, &packet[..length])];
        let (record, _) = flow(&datagram(&[flow_sample(&records)]));
        assert_eq!((record.family, record.dst & 0xff, record.dst_port), (Family::V6, 2, 0));
    }
}

#[test]
fn datagrams_that_are_not_sflow() {
    assert_eq!(datagram_reason(&[]), DropReason::DatagramCut);
    let data = datagram(&[flow_sample(&[good()])]);
    for length in 0..28 {
        assert_eq!(datagram_reason(&data[..length]), DropReason::DatagramCut, "{length}");
    }
    assert_eq!(datagram_reason(&words(&[0x0005_0001, 1, 1])), DropReason::DatagramVersion);
    assert_eq!(datagram_reason(&words(&[5, 3, 1, 1])), DropReason::DatagramMalformed);
}

/// Announced samples are counted when they are missing, too.
#[test]
fn a_datagram_cut_behind_its_header() {
    let samples = vec![flow_sample(&[good()]); 3];
    let whole = datagram(&samples);
    let each = samples[0].len();
    for length in 28..whole.len() {
        let (collector, seen) = decode(&whole[..length]);
        let there = (length - 28) / each;
        assert_eq!(seen.flows.len(), there, "{length}");
        let lost = collector.drops().get(DropReason::SampleMalformed);
        assert_eq!(lost, 3 - there as u64, "{length}");
    }
    // An old version: nothing behind a bad sample can be found.
    let bad = words(&[9, 1, 1]);
    let old = [words(&[1, 77, 3, 512, 1, 0, 3, 4, 1, 1, 1518]), opaque(&frame()), words(&[0])];
    let (collector, seen) = decode(&old_datagram(4, &[old.concat(), bad, old.concat()]));
    assert_eq!(seen.flows.len(), 1);
    assert_eq!(collector.drops().get(DropReason::SampleMalformed), 2);
    assert_eq!(seen.remarks[1].1, "1 samples behind it are lost");
}

/// Every kind of sample and record, in every version.
fn whole(which: usize) -> Vec<u8> {
    let gateway = [&[1, 0xc000_0201, 64_500, 64_501, 64_502][..], &[1, 2, 2, 65_001, 65_002]];
    let records = [
        good(),
        ethernet_record(1418),
        ipv4_record(),
        ipv6_record(),
        switch(300, 400),
        tagged(1002, &words(&[1, 0xc000_0201, 24, 16])),
        tagged(1003, &words(&[gateway.concat(), vec![0, 120]].concat())),
        tagged(1012, &[5; 8]),
    ];
    let counters = [words(&[7, 5, 1]), tagged(1, &[6; 88])].concat();
    let old = [
        words(&[1, 77, 5, 400, 31_000, 5, 10, 20, 1, 1, 1518]),
        opaque(&tagged_frame()),
        words(&[1, 1, 100, 0, 200, 0]),
    ];
    match which {
        0 => datagram(&[
            flow_sample(&records),
            tagged(2, &counters),
            expanded_sample(&records[1..]),
            discard_sample(258, &records[..1]),
            flow_sample(&records[..1]),
            tagged(4000, &[7; 12]),
        ]),
        version => old_datagram(2 * version as u32, &[old.concat(), old.concat()]),
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Word(Index, u32),
    Cut(Index),
    Swap(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![0_u32..300, Just(u32::MAX), any::<u32>()];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (any::<Index>(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Swap(a, b)),
    ]
}

fn apply(data: &mut Vec<u8>, damage: &Damage) {
    match damage {
        _ if data.len() < 4 => {}
        Damage::Byte(at, byte) => {
            let at = at.index(data.len());
            data[at] = *byte;
        }
        Damage::Word(at, word) => {
            let at = at.index(data.len() / 4) * 4;
            data[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        Damage::Cut(at) => data.truncate(at.index(data.len())),
        Damage::Swap(a, b) => {
            let (a, b) = (a.index(data.len()), b.index(data.len()));
            data.swap(a, b);
        }
    }
}

fn seeded(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x7469_6465_7761_6c6c);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn the_datagrams_below_are_good() {
    for (which, flows) in [(0, 3), (1, 2), (2, 2)] {
        let (collector, seen) = decode(&whole(which));
        assert_eq!(seen.flows.len(), flows);
        assert_eq!(collector.drops().get(DropReason::SampleMalformed), 0);
        assert_eq!(collector.counts().damaged_records, 0);
    }
}

proptest! {
    #![proptest_config(seeded(2000))]

    /// `decode` holds the two ways of reading against each other and checks the count.
    #[test]
    fn damaged_datagrams_are_counted(
        which in 0_usize..3,
        list in prop::collection::vec(damage(), 1..6),
    ) {
        let mut data = whole(which);
        for one in &list {
            apply(&mut data, one);
        }
        decode_either(&data);
    }

    #[test]
    fn noise_is_counted(version in 2_u32..6, body in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_either(&[&version.to_be_bytes()[..], &[0, 0, 0, 1], &body].concat());
    }

    /// Datagrams one after the other: what the body of the fuzz target checks.
    #[test]
    fn a_sequence_is_counted(
        pieces in prop::collection::vec((0_usize..3, prop::option::of(damage())), 1..12),
    ) {
        let limits = ExporterLimits { exporters: 4, silent: Duration::ZERO };
        let mut collector = SflowCollector::new(SflowSettings { limits, ..Default::default() });
        let mut records: Vec<FlowRecord> = Vec::new();
        for (second, (which, damage)) in pieces.iter().enumerate() {
            let mut data = whole(*which);
            if let Some(damage) = damage {
                apply(&mut data, damage);
            }
            let received = Timestamp::from_parts(second as u64, 0);
            let _ = collector.decode(&ExportDatagram::new(sender(), received, &data), &mut records);
            check(&collector, records.len() as u64);
            prop_assert!(collector.exporters().len() <= 4);
        }
        prop_assert!(records.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    }
}

/// Like [`decode`], for datagrams that may name any agent.
fn decode_either(data: &[u8]) {
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut all = Anyone::default();
    let outcome = collector.decode(&sent(data), &mut all);
    let mut quick = SflowCollector::new(SflowSettings::default());
    let mut records: Vec<FlowRecord> = Vec::new();
    assert_eq!(quick.decode(&sent(data), &mut records), outcome);
    assert_eq!(all.0, records);
    assert_eq!(quick.drops(), collector.drops());
    check(&quick, records.len() as u64);
    check(&collector, records.len() as u64);
}

/// Wants details and keeps records.
#[derive(Default)]
struct Anyone(Vec<FlowRecord>);

impl FlowSink for Anyone {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        assert_ne!(detail.sampling, SamplingOrigin::Override);
        self.0.push(*record);
    }
}
