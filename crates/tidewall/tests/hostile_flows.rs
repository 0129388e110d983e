//! Captures of export datagrams, damaged: `decode` and `replay` take whatever is in them, agree on
//! the number of records, and print lines that can be read again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod captures;
mod media;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use captures::{columns, corpus};
use media::{Kind, rendered};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall::commands::decode::{Ending, Format, Settings, decode_to};
use tidewall::config::Flows;
use tidewall::exports::Medium;
use tidewall::replay::{self, Input};
use tidewall_collect::Crediting;
use tidewall_engine::Policy;
use tidewall_model::{DropReason, Family, FlowRecord, SamplingRate, Timestamp};
use tidewall_scenario::{FlowCachePlan, FlowProtocol, Random};

const KINDS: [Kind; 4] = [
    Kind::Sflow,
    Kind::Flows(FlowProtocol::NetflowV5),
    Kind::Flows(FlowProtocol::NetflowV9),
    Kind::Flows(FlowProtocol::Ipfix),
];
/// Bytes of a pcap's header, and of a packet's.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Packets of both versions, of flows that last and of others, over some seconds.
fn capture(kind: Kind) -> Vec<u8> {
    let v5 = kind == Kind::Flows(FlowProtocol::NetflowV5);
    let records = (0..120_u64).map(|n| FlowRecord {
        time: Timestamp((1_700_000_000_000 + n * 50) * 1_000_000),
        src: 0xcb00_7100 + u128::from(n % 7),
        dst: 0xc633_6401,
        bytes: 200 + n,
        sampling: SamplingRate::new(10),
        src_port: 1000 + (n % 9) as u16,
        dst_port: 53,
        family: if v5 || n % 5 != 0 { Family::V4 } else { Family::V6 },
        protocol: 17,
        ..FlowRecord::default()
    });
    let plan = FlowCachePlan { active: Duration::from_secs(3), ..FlowCachePlan::default() };
    rendered(kind, &plan, records)
}

/// Where packets begin in a little-endian pcap without damage.
fn packets(pcap: &[u8]) -> Vec<usize> {
    let mut at = FILE_HEADER;
    let mut all = Vec::new();
    while let Some(length) = pcap.get(at + 8..at + 12) {
        all.push(at);
        at += PACKET_HEADER + u32::from_le_bytes(length.try_into().unwrap()) as usize;
    }
    all
}

/// Reads it in both ways; gives what `decode` said at the end, and how many records it counted.
fn read(name: &str, bytes: &[u8], medium: Option<Medium>) -> Option<(Ending, u64)> {
    let input = Input::Memory { name: name.to_owned(), bytes: Arc::from(bytes) };
    let decode = |format, all| {
        let mut out = Vec::new();
        let settings = Settings { medium, all, ..Settings::new(format) };
        let ending = decode_to(&input, &settings, &mut out).ok()?;
        Some((String::from_utf8(out).unwrap(), ending))
    };
    let (lines, ending) = decode(Format::Jsonl, false)?;
    let counted = lines.lines().filter(|line| is_counted(line)).count() as u64;
    let (table, _) = decode(Format::Csv, true)?;
    let width = columns(table.lines().next().unwrap()).len();
    assert!(table.lines().all(|line| columns(line).len() == width), "{name}:\n{table}");
    for crediting in [Crediting::Arrival, Crediting::SPREAD] {
        let policy = Policy::for_networks(vec!["198.51.100.0/24".parse().unwrap()]);
        let flows = Flows { crediting, ..Flows::default() };
        let settings = replay::Settings { flows, medium, ..replay::Settings::new(policy) };
        if let Ok(outcome) = replay::run(std::slice::from_ref(&input), &settings, &mut |_| {}) {
            assert_eq!(outcome.records, counted, "{name}: replay and decode, {crediting:?}");
        }
    }
    Some((ending, counted))
}

/// Does a line tell of something that `replay` counts?
fn is_counted(line: &str) -> bool {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let note = line["note"].as_str().unwrap_or_default();
    let is_reason = |word: &str| DropReason::ALL.iter().any(|reason| reason.name() == word);
    !line["packets"].is_null() && !note.split(' ').any(is_reason)
}

#[derive(Clone, Debug)]
enum Damage {
    /// Another byte at a part of the datagrams' length.
    Byte(f64, u8),
    /// Two bytes of ones there: a count or a length.
    Ones(f64),
    /// A packet is left out, or comes twice, or later than the one behind it.
    Lost(usize),
    Twice(usize),
    Late(usize),
    /// The file ends there.
    Cut(f64),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let one = prop_oneof![
        6 => (0.0..1.0, any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (0.0..1.0).prop_map(Damage::Ones),
        1 => any::<usize>().prop_map(Damage::Lost),
        1 => any::<usize>().prop_map(Damage::Twice),
        1 => any::<usize>().prop_map(Damage::Late),
        1 => (0.0..1.0).prop_map(Damage::Cut),
    ];
    prop::collection::vec(one, 1..12)
}

fn damaged(pcap: &[u8], list: &[Damage]) -> Vec<u8> {
    let starts = packets(pcap);
    let ends = starts[1..].iter().copied().chain([pcap.len()]);
    let mut parts: Vec<Vec<u8>> =
        starts.iter().zip(ends).map(|(start, end)| pcap[*start..end].to_vec()).collect();
    let mut end = 1.0;
    for one in list {
        let count = parts.len().max(1);
        match one {
            Damage::Byte(at, byte) => parts.iter_mut().for_each(|part| {
                // All datagrams alike: templates and the data behind them.
                let at = PACKET_HEADER + ((part.len() - PACKET_HEADER) as f64 * at) as usize;
                part[at] = *byte;
            }),
            Damage::Ones(at) => {
                let total = parts.len() as f64;
                if let Some(part) = parts.get_mut((total * at) as usize) {
                    let place = (total * at).fract();
                    let at = ((part.len() - PACKET_HEADER - 2) as f64 * place) as usize;
                    part[PACKET_HEADER + at..][..2].fill(0xff);
                }
            }
            Damage::Lost(at) if parts.len() > 1 => drop(parts.remove(at % count)),
            Damage::Lost(_) => {}
            Damage::Twice(at) => parts.insert(at % count, parts[at % count].clone()),
            Damage::Late(at) => {
                let other = (at + 1) % count;
                parts.swap(at % count, other);
            }
            Damage::Cut(at) => end = *at,
        }
    }
    let mut bytes = pcap[..FILE_HEADER].to_vec();
    for part in &parts {
        bytes.extend_from_slice(part);
    }
    let length = FILE_HEADER + ((bytes.len() - FILE_HEADER) as f64 * end) as usize;
    bytes.truncate(length);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: RngSeed::Fixed(0xf10e),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_captures_are_read_for_what_they_hold(
        kind in prop::sample::select(&KINDS),
        list in damage(),
        forced in prop::option::of(prop::sample::select(&[
            Medium::Sflow, Medium::Netflow, Medium::Flows, Medium::Frames,
        ])),
    ) {
        read("damaged", &damaged(&capture(kind), &list), forced);
    }
}

#[test]
fn without_damage_all_is_counted() {
    for kind in KINDS {
        let (ending, counted) = read("whole", &capture(kind), None).unwrap();
        assert_eq!(ending, Ending::default(), "{kind:?}");
        // sFlow tells of each packet, the others of flows of less than 3 s, or a packet each.
        assert!(counted == 120 || kind != Kind::Sflow && counted >= 60, "{kind:?}: {counted}");
    }
}

#[test]
fn captures_of_the_corpus_are_read_when_they_are_damaged() {
    let Some(corpus) = corpus() else { return };
    let mut random = Random::new(5);
    let mut read_on = 0;
    for folder in ["netflow", "ipfix", "sflow"] {
        let entries = fs::read_dir(corpus.join(folder)).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "pcap")) {
            let whole = fs::read(path).unwrap();
            for _ in 0..3 {
                let mut bytes = whole.clone();
                for _ in 0..=bytes.len() / 400 {
                    let at = FILE_HEADER as u64 + random.below((bytes.len() - FILE_HEADER) as u64);
                    bytes[at as usize] = random.below(256) as u8;
                }
                let name = path.file_name().unwrap().to_string_lossy();
                read_on += usize::from(read(&name, &bytes, Some(Medium::Flows)).is_some());
            }
        }
    }
    assert!(read_on > 200, "{read_on}");
}
