//! The demo as a whole: every attack is found at every seed, the screen shows it, and a written
//! capture gives the same attacks when it is replayed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use tidewall::config;
use tidewall::demo::card::Card;
use tidewall::demo::clock::Pace;
use tidewall::demo::run::{Face, Plain, Speed, run};
use tidewall::demo::screen::View;
use tidewall::demo::{CaptureWriter, Demo, Medium, configuration};
use tidewall::replay::{self, Input, Settings};
use tidewall_model::{Attack, AttackClass, SamplingRate, Timestamp};
use tidewall_scenario::Scenario;
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::netflow::{self, Element, Plan, TemplateRecord, v5::SamplingWord};

const SECOND: Duration = Duration::from_secs(1);

fn story(seed: u64) -> Scenario {
    Scenario::demo(20 * SECOND, seed).unwrap()
}

/// Runs a demo to its end and returns it with its lines and its card.
fn played(scenario: Scenario, capture: Option<CaptureWriter>) -> (Demo, String) {
    let mut demo = Demo::new(scenario, capture);
    let mut plain = Plain(Vec::new());
    run(&mut demo, &mut plain, Speed::Fast).unwrap();
    Card::of(&demo).write(&demo, &mut plain.0).unwrap();
    (demo, String::from_utf8(plain.0).unwrap())
}

fn world(attacks: &str) -> Scenario {
    let text = format!(
        "name = 'small'\nduration_s = 6\nnetworks = ['192.0.2.0/24']\n\
         background = {{ hosts = 50, pps = 500 }}\n{attacks}"
    );
    Scenario::parse(&text).unwrap()
}

#[test]
fn every_attack_is_found_at_every_seed_and_nothing_else() {
    for seed in 1..=5 {
        let (demo, text) = played(story(seed), None);
        let card = Card::of(&demo);
        assert!(card.is_clean() && card.score().is_perfect(), "seed {seed}: {text}");
        assert_eq!((card.found(), card.missed(), card.false_alarms()), (9, 0, 0), "{text}");
        assert_eq!(demo.drops().total(), 0);
        assert!(demo.packets() > 1_500_000, "{}", demo.packets());
        let (median, worst) = card.times().unwrap();
        assert!(median <= SECOND / 2 && worst <= 5 * SECOND / 2, "{median:?} {worst:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_lines() {
    let (demo, one) = played(story(7), None);
    let (_, two) = played(story(7), None);
    assert_eq!(one, two);
    assert_ne!(one, played(story(8), None).1);
    // Each attack is injected, named with its reason, and in the card.
    for truth in demo.truths() {
        let has = |words: &[&str]| one.lines().any(|line| words.iter().all(|w| line.contains(w)));
        let target = tidewall_model::Target::Network(truth.target).to_string();
        let target = target.trim_end_matches("/32").trim_end_matches("/128");
        assert!(has(&["injected", &truth.name, target]), "{}", truth.name);
        assert!(has(&["ATTACK", target, "times the limit of"]), "{}", truth.name);
        assert!(has(&[&truth.name, target, " ms"]), "{}", truth.name);
    }
    assert!(one.contains("flash crowd at 198.51.100.200 (not an attack"));
    assert!(one.contains("over      ") && one.contains("false alarms: none"));
    assert!(one.ends_with(" ms\n") && one.contains("found 9 of 9, missed 0, false alarms 0;"));
}

#[test]
fn how_time_is_cut_does_not_change_what_is_found() {
    let (whole, _) = played(story(3), None);
    let mut demo = Demo::new(story(3), None);
    let mut until = demo.scenario().start;
    while !demo.is_over() {
        until = until + Duration::from_millis(33);
        while !demo.run_until(until, 777).unwrap() {}
    }
    demo.finish().unwrap();
    assert_eq!(demo.watch().detections(), whole.watch().detections());
    assert_eq!(demo.watch().attacks(), whole.watch().attacks());
}

/// What two runs must agree on.
fn essence(attack: &Attack) -> (String, AttackClass, Timestamp, Option<Timestamp>, u64) {
    let target = attack.target.to_string();
    (target, attack.class, attack.detected, attack.ended, attack.packets)
}

#[test]
fn a_written_capture_replays_to_the_same_attacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.pcap");
    let capture = CaptureWriter::new(File::create(&path).unwrap());
    let (demo, _) = played(story(1), Some(capture));
    let policy = config::parse("demo", &configuration(demo.scenario())).unwrap().policy;
    let inputs = [Input::File(path.clone())];
    let outcome = replay::run(&inputs, &Settings::new(policy), &mut |_| ()).unwrap();
    assert_eq!(outcome.received.packets, demo.packets());
    assert_eq!((outcome.drops.total(), outcome.stats.late), (0, 0));
    let mut replayed: Vec<_> = outcome.attacks.iter().map(essence).collect();
    let mut shown: Vec<_> = demo.watch().attacks().iter().map(essence).collect();
    replayed.sort();
    shown.sort();
    assert_eq!(shown.len(), 9);
    assert_eq!(replayed, shown);
    // Headers only, so a long demo does not fill the disk.
    assert!(path.metadata().unwrap().len() < demo.packets() * (16 + 128) + 24);
    assert!(replayed_bytes(&path) > path.metadata().unwrap().len());
}

/// Bytes on the wire, as the capture says.
fn replayed_bytes(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let mut parser = tidewall_wire::pcap::CaptureParser::new();
    let (mut at, mut sum) = (0, 0);
    loop {
        match parser.parse(&bytes[at..], true).unwrap() {
            tidewall_wire::pcap::Step::Packet { consumed, record } => {
                at += consumed;
                sum += u64::from(record.wire_len);
            }
            tidewall_wire::pcap::Step::Skip { consumed } => at += consumed,
            _ => return sum,
        }
    }
}

#[test]
fn a_miss_and_a_false_alarm_are_called_so() {
    let scenario = world(
        "[[attacks]]\nname = 'whisper'\nkind = 'syn_flood'\ntarget = '192.0.2.9'\n\
         start_s = 1\nduration_s = 2\npps = 200\n\
         [[attacks]]\nname = 'unannounced'\nkind = 'udp_flood'\ntarget = '192.0.2.10'\n\
         start_s = 2\nduration_s = 2\npps = 90000\n\
         [[expect]]\nattack = 'whisper'\nwithin_ms = 1000\n",
    );
    let (demo, text) = played(scenario, None);
    let card = Card::of(&demo);
    assert_eq!((card.found(), card.missed(), card.false_alarms()), (0, 1, 1));
    assert!(!card.is_clean() && card.times().is_none());
    let row = text.lines().find(|line| line.starts_with("  whisper")).unwrap();
    assert!(row.ends_with("MISSED"), "{row}");
    let alarm = text.split("false alarms:\n").nth(1).unwrap().lines().next().unwrap();
    assert!(alarm.contains("UDP flood") && alarm.contains("at 192.0.2.10: "), "{alarm}");
    assert!(text.ends_with("found 0 of 1, missed 1, false alarms 1\n"), "{text}");
}

/// Quits as soon as it is asked.
struct Impatient;

impl Face for Impatient {
    fn show(&mut self, _demo: &mut Demo, _pace: &Pace) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, _time: Duration) -> io::Result<bool> {
        Ok(true)
    }
}

#[test]
fn who_quits_early_is_told_what_was_not_decided() {
    let mut demo = Demo::new(story(1), None);
    let until = demo.scenario().start + 5 * SECOND;
    while !demo.run_until(until, u64::MAX).unwrap() {}
    // In real time almost nothing passes before the first wait.
    run(&mut demo, &mut Impatient, Speed::Real).unwrap();
    let card = Card::of(&demo);
    assert_eq!((card.found(), card.missed()), (2, 0));
    assert!(card.is_clean());
    let mut text = Vec::new();
    card.write(&demo, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("stopped at 5.0 s of 20: 7 attacks were not decided"), "{text}");
    assert!(text.lines().any(|l| l.contains("carpet bombing") && l.ends_with("not yet")));
}

/// The screen after some seconds of the story, as lines of text and as it is.
fn screen(width: u16, height: u16, at: Duration, colour: bool, pace: Pace) -> (String, Buffer) {
    let mut demo = Demo::new(story(1), None);
    let mut view = View::new(colour);
    let until = demo.scenario().start + at;
    assert!(demo.run_until(until, u64::MAX).unwrap());
    view.hear(demo.take_news());
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame, &demo, &pace)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let cells = buffer.content();
    let rows = cells.chunks(usize::from(width));
    let lines = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>());
    (lines.collect::<Vec<_>>().join("\n"), buffer)
}

#[test]
fn the_screen_holds_what_matters_at_each_size() {
    for (width, height) in [(80, 24), (200, 50)] {
        let (text, _) = screen(width, height, 12 * SECOND, true, Pace::default());
        for wanted in [
            "Tidewall demo  a day in a minute  12.0 of 20 s  ",
            "packets/s  q quits",
            "generated traffic: ",
            "peak 136,",
            "attacks: ",
            "● ICMP flood (icmp 100%) at 10.20.0.99  1 s, peak 15,",
            "ICMP packets/s, 3.0 times the limit of 5,000, measured over 350 ms",
            "  UDP reflection (ntp 100%) at 10.20.33.7  3.3 to 6.0 s, peak 59,",
            "top hosts",
            "in pkt/s   in Mb/s  in flows",
            "198.51.100.200 ",
            "what happened",
            "ATTACK    ICMP flood",
            "injected  ",
            "score so far",
            "found 5 of 5, missed 0, false alarms 0; time: median 3",
        ] {
            assert!(text.contains(wanted), "{wanted} at {width}x{height}:\n{text}");
        }
        assert!(text.contains('█'), "no graph:\n{text}");
        let score = text.lines().last().unwrap();
        assert!(score.trim_end().ends_with(" ms"), "cut off: {score}");
    }
}

#[test]
fn the_screen_is_drawn_at_any_size_and_moment() {
    for (width, height) in [(1, 1), (10, 3), (39, 11), (400, 120)] {
        screen(width, height, 6 * SECOND, true, Pace::default());
    }
    let (text, _) = screen(80, 24, Duration::ZERO, true, Pace::default());
    assert!(text.contains("none so far") && text.contains("found 0 of 0"), "{text}");
}

#[test]
fn colours_are_left_out_when_asked_and_stretched_time_is_told() {
    let coloured = |buffer: &Buffer| buffer.content().iter().any(|cell| cell.fg != Color::Reset);
    assert!(coloured(&screen(80, 24, 6 * SECOND, true, Pace::default()).1));
    let mut pace = Pace::default();
    pace.reached(9 * SECOND, 6 * SECOND);
    let (text, buffer) = screen(80, 24, 6 * SECOND, false, pace);
    assert!(!coloured(&buffer));
    assert!(text.contains("generated traffic, time stretched by 3.0 s: "), "{text}");
}

/// The UDP datagrams of a capture: destination ports and payloads.
fn datagrams(path: &Path) -> Vec<(u16, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    tidewall_wire::pcap::Packets::new(&bytes)
        .map(|packet| {
            let packet = packet.unwrap();
            let outer = &TunnelPolicy::OUTER;
            let read = dissect(LinkType::ETHERNET, packet.data, outer).unwrap();
            assert_eq!(packet.wire_len as usize, packet.data.len(), "kept whole");
            (read.dst_port, packet.data[14 + 20 + 8..].to_vec())
        })
        .collect()
}

#[test]
fn a_capture_can_be_of_flow_export() {
    let attack = "[[attacks]]\nname = 'flood'\nkind = 'udp_flood'\ntarget = '192.0.2.10'\n\
                  start_s = 2\nduration_s = 2\npps = 20000\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.pcap");
    for medium in [Medium::Sflow, Medium::Netflow5, Medium::Netflow9, Medium::Ipfix] {
        let file = File::create(&path).unwrap();
        let capture = CaptureWriter::of(medium, SamplingRate::new(10), file);
        let (demo, _) = played(world(attack), Some(capture));
        let datagrams = datagrams(&path);
        let port = match medium {
            Medium::Sflow => 6343,
            Medium::Ipfix => 4739,
            _ => 2055,
        };
        assert!(datagrams.iter().all(|(to, data)| *to == port && data.len() <= 1472));
        let plans = &mut BTreeMap::new();
        let carried: u64 = datagrams.iter().map(|(_, data)| packets(medium, plans, data)).sum();
        let expected = demo.packets() as f64 / 10.0;
        let error = (carried as f64 / expected - 1.0).abs();
        assert!(error < 0.05, "{medium:?}: {carried} of {expected}");
    }
}

/// Packets that a datagram tells of, by the templates so far.
fn packets(medium: Medium, plans: &mut BTreeMap<u16, Plan>, datagram: &[u8]) -> u64 {
    if medium == Medium::Sflow {
        let read = tidewall_wire::sflow::Datagram::parse(datagram).unwrap();
        return read.sample_count.into();
    }
    let sets = match netflow::parse(datagram).unwrap() {
        netflow::Datagram::V5(packet) => {
            assert_eq!(packet.header.sampling_interval(SamplingWord::default()), 10);
            return packet.records().map(|record| u64::from(record.packets)).sum();
        }
        netflow::Datagram::V9(packet) => packet.sets(),
        netflow::Datagram::Ipfix(message) => message.sets(),
    };
    let mut sum = 0;
    for set in sets.map(Result::unwrap) {
        for template in set.templates().map(Result::unwrap) {
            let TemplateRecord::Definition(template) = template else { panic!("{template:?}") };
            plans.insert(template.id(), Plan::new(&template));
        }
        for record in plans.get(&set.id).iter().flat_map(|plan| set.records(plan)) {
            let record = record.unwrap();
            let counts = record.fields().filter(|f| f.element == Element::PacketDeltaCount);
            sum += counts.map(|field| field.uint().unwrap()).sum::<u64>();
        }
    }
    sum
}
