//! The replay as a whole, through the library: the same report at any number of shards and any
//! batch size, files merged by time, wrong clocks, pacing, and what the reports say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod captures;

use captures::{Capture, SECOND, START, corpus};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;
use tidewall::replay::{self, Input, Outcome, Settings};
use tidewall::report;
use tidewall_engine::Policy;
use tidewall_model::{Direction, SamplingRate, Timestamp};

fn settings(networks: &[&str]) -> Settings {
    let networks = networks.iter().map(|n| n.parse().unwrap()).collect();
    let mut policy = Policy::for_networks(networks);
    // Small tables: a shard of the default size takes longer to set up than these captures.
    policy.capacity.hosts = 1 << 12;
    policy.capacity.flows = 1 << 12;
    policy.capacity.recent = 1 << 12;
    policy.capacity.dense = 1 << 16;
    Settings::new(policy)
}

fn run(inputs: &[Input], settings: &Settings) -> Outcome {
    let outcome = replay::run(inputs, settings, &mut |_| {}).unwrap();
    let (stats, drops) = (outcome.stats, outcome.drops.total());
    assert_eq!(outcome.received.packets, stats.ingested + drops, "every packet is counted once");
    outcome
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&report::to_json(outcome)).unwrap()
}

/// Background and a flood of a host, with an ARP frame in it.
fn attacked() -> Capture {
    let mut capture = Capture::new();
    capture.flood(START, "198.51.100.1", "192.0.2.1", 100, 1.0);
    capture.flood(START + SECOND, "198.51.100.9", "192.0.2.7", 50_000, 1.0);
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    capture.frame(START + 2 * SECOND, &arp);
    capture
}

#[test]
fn a_flood_is_reported_with_everything_about_it() {
    let outcome = run(&[attacked().input("a.pcap")], &settings(&["192.0.2.0/24"]));
    let report = json(&outcome);
    assert_eq!(report["totals"]["received"]["packets"], 50_101);
    assert_eq!(report["totals"]["incoming"]["udp"]["packets"], 50_100);
    assert_eq!(report["drops"]["not_ip"], 1);
    assert_eq!(report["top_hosts"][0]["host"], "192.0.2.7");
    assert_eq!(report["top_hosts"][0]["incoming"]["packets"], 50_000);
    assert_eq!(report["networks"]["guessed"], false);
    let attacks = report["attacks"].as_array().unwrap();
    assert_eq!(attacks.len(), 1);
    let attack = &attacks[0];
    for (key, want) in [
        ("target", "192.0.2.7"),
        ("family", "ipv4"),
        ("direction", "incoming"),
        ("class", "udp_flood"),
    ] {
        assert_eq!(attack[key], want, "{key}");
    }
    let reason = &attack["reason"];
    assert_eq!(reason["metric"], "total_pps");
    assert_eq!((&reason["limit"], &reason["group"]), (&Value::from(20_000.0), &"global".into()));
    assert!(reason["value"].as_f64().unwrap() > 45_000.0);
    // Counters are read once a slice of 50 ms: the beginning is known that well.
    let started = outcome.attacks[0].started.since(Timestamp(START + SECOND));
    assert!(started.as_millis() <= 50, "{started:?}");
    assert!(attack["detected_after_ms"].as_u64().unwrap() <= 1_000);
    assert!(attack["ended"].is_null(), "the capture ends before the attack does");
    assert_eq!(attack["peak_pps"], 50_000);
    assert_eq!(attack["peak_bps"], 50_000 * 142 * 8);
    let packets = attack["packets"].as_u64().unwrap();
    assert!((47_500..=50_000).contains(&packets), "{packets}");
    assert_eq!(attack["bytes"], packets * 142);
    assert_eq!(attack["top"]["remotes"][0]["value"], "198.51.100.9");
    assert_eq!(attack["vectors"][0]["name"], "udp");
    assert!(!attack["sample"].as_array().unwrap().is_empty());

    let text = report::to_text(&outcome);
    for part in [
        "a.pcap: 50,101 packets",
        "Network    192.0.2.0/24\n",
        "50,100 counted, 1 dropped",
        "1 dropped: The frame carries no IP",
        "#1 192.0.2.7 is under attack: UDP flood (udp 100.0 %)",
        "incoming total packets 50,",
        "pps over the limit of 20,000 pps of group global, measured over 0.",
        "still going on at the end of the capture",
        "50,000 pps, 56.8 Mbps",
        "198.51.100.9 100.0 % (at least 1 different)",
        " > 192.0.2.7:4000 udp 142 bytes",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

/// Players of a game before and after answers of time servers are reflected onto its port.
#[test]
fn filters_are_told_with_what_they_take() {
    let mut capture = Capture::new();
    let play = |capture: &mut Capture, from: u64| {
        for n in 0..400u64 {
            let player = format!("198.51.100.{}", n % 50);
            capture.udp(from + n * SECOND / 100, &player, "192.0.2.7", (20_000 + n as u16, 30_120));
        }
    };
    play(&mut capture, START);
    for n in 0..60_000u64 {
        let server = format!("203.0.113.{}", n % 200);
        let time = START + 4 * SECOND + n * SECOND / 60_000;
        capture.udp(time, &server, "192.0.2.7", (123, 30_120));
    }
    play(&mut capture, START + 60 * SECOND);
    let outcome = run(&[capture.input("ntp")], &settings(&["192.0.2.0/24"]));
    let report = json(&outcome);
    let attack = &report["attacks"][0];
    assert_eq!(attack["class"], "udp_reflection");
    assert_eq!(attack["filters"].as_array().unwrap().len(), 1);
    let filter = &attack["filters"][0];
    let rule = "match destination 192.0.2.7/32 protocol =17 source-port =123";
    assert_eq!((&filter["rule"], &filter["action"]), (&rule.into(), &"discard".into()));
    assert_eq!((&filter["coverage"], &filter["collateral"]), (&1.0.into(), &0.0.into()));
    assert_eq!(filter["filter"]["source_ports"][0][0], 123);
    let measured = &attack["measured"];
    // The start is known to a slice of 50 ms: what came before it is outside.
    let (all, taken) = (&measured["attack_packets"], &measured["attack_taken"]);
    assert!((57_000..=60_000).contains(&taken.as_u64().unwrap()), "{measured}");
    assert_eq!(all, taken);
    assert_eq!(measured["other_packets"].as_u64().unwrap(), 60_800 - all.as_u64().unwrap());
    assert_eq!(measured["other_taken"].as_u64().unwrap(), 60_000 - taken.as_u64().unwrap());
    let text = report::to_text(&outcome);
    assert!(text.contains(&format!("  filter     {rule}; then discard\n")), "{text}");
    assert!(text.contains("takes 100.0 % of the attack, 0.0 % of what is normal\n"), "{text}");
    assert!(text.contains("  measured   100.0 % of "), "{text}");
}

#[test]
fn an_attack_that_ends_is_told_with_its_end() {
    let mut capture = attacked();
    capture.flood(START + 3 * SECOND, "198.51.100.1", "192.0.2.1", 2, 60.0);
    let outcome = run(&[capture.input("a.pcap")], &settings(&["192.0.2.0/24"]));
    assert_eq!(outcome.attacks.len(), 1);
    assert_eq!(outcome.attacks[0].ended, Some(Timestamp(START + 2 * SECOND)));
    let text = report::to_text(&outcome);
    assert!(text.contains("1 attack found, 0 still going on"), "{text}");
    assert!(text.contains("ended      2023-11-14T22:13:22.000000Z, after "), "{text}");
}

#[test]
fn ipv6_is_written_as_rfc_5952_says() {
    let mut capture = Capture::new();
    capture.flood(START, "2001:DB8:0:0:1:0:0:1", "2001:0db8:0002::0007", 50_000, 1.0);
    let outcome = run(&[capture.input("six.pcap")], &settings(&[]));
    assert_eq!(
        (outcome.networks[0].to_string(), outcome.guessed),
        ("2001:db8:2::/64".into(), true)
    );
    assert_eq!(json(&outcome)["attacks"][0]["family"], "ipv6");
    let text = report::to_text(&outcome);
    assert!(text.contains("#1 2001:db8:2::7 is under attack"), "{text}");
    assert!(text.contains("[2001:db8::1:0:0:1]:"), "{text}");
    assert!(text.contains("(guessed: the busiest destination network)"), "{text}");
}

#[test]
fn files_are_merged_by_time() {
    let (mut odd, mut even, mut both) = (Capture::new(), Capture::new(), Capture::new());
    for n in 0..40_000 {
        let time = START + n * SECOND / 40_000;
        let capture = if n % 2 == 0 { &mut even } else { &mut odd };
        for capture in [capture, &mut both] {
            capture.udp(time, "198.51.100.9", "192.0.2.7", (1024, n as u16));
        }
    }
    let settings = settings(&["192.0.2.0/24"]);
    let two = run(&[odd.input("odd"), even.input("even")], &settings);
    let one = run(&[both.input("both")], &settings);
    assert_eq!(two.attacks, one.attacks);
    assert_eq!((two.totals, two.span, two.stats), (one.totals, one.span, one.stats));
    assert_eq!(two.files.iter().map(|f| f.packets).collect::<Vec<_>>(), [20_000, 20_000]);
}

#[test]
fn speed_loop_start_and_sampling() {
    let capture = || {
        let mut capture = Capture::new();
        capture.flood(START, "198.51.100.9", "192.0.2.7", 500, 1.0);
        capture.input("slow")
    };
    let slow = settings(&["192.0.2.0/24"]);
    assert_eq!(run(&[capture()], &slow).attacks, vec![]);
    let start_at = Some(Timestamp(5 * SECOND));
    let fast = Settings { speed: 200.0, rounds: 200, start_at, ..slow.clone() };
    let outcome = run(&[capture()], &fast);
    assert_eq!(outcome.received.packets, 100_000);
    let (first, last) = outcome.span.unwrap();
    assert_eq!(first, Timestamp(5 * SECOND));
    assert!((0.99..1.01).contains(&outcome.seconds()), "{last}");
    assert_eq!(outcome.attacks[0].peak_pps, 100_000);
    let sampled = Settings { sampling: SamplingRate::new(1000), ..slow };
    let outcome = run(&[capture()], &sampled);
    assert_eq!(outcome.totals[Direction::Incoming as usize].total.packets, 500_000);
    assert_eq!(outcome.attacks[0].peak_pps, 500_000);
}

#[test]
fn one_packet_from_the_future_changes_nothing() {
    let capture = |wrong: bool| {
        let mut capture = Capture::new();
        for n in 0..30_000 {
            let time = START + n * SECOND / 3_000;
            let odd = if wrong && n == 9_000 { 10_000 * SECOND } else { 0 };
            capture.udp(time + odd, "198.51.100.9", "192.0.2.7", (1024, 4000));
        }
        capture.input("clock")
    };
    let settings = settings(&["192.0.2.0/24"]);
    let (right, wrong) = (run(&[capture(false)], &settings), run(&[capture(true)], &settings));
    assert_eq!(wrong.attacks, vec![], "all that follows must not fall into one instant");
    assert_eq!((wrong.span, wrong.totals), (right.span, right.totals));
    assert_eq!((right.warnings().len(), wrong.warnings().len()), (0, 1));
    assert!(wrong.warnings()[0].contains("far from that of their neighbours"));
}

#[test]
fn a_clock_that_is_set_back_makes_no_attack() {
    let mut capture = Capture::new();
    capture.flood(START, "198.51.100.9", "192.0.2.7", 3_000, 10.0);
    capture.flood(START - 600 * SECOND, "198.51.100.9", "192.0.2.7", 3_000, 10.0);
    let outcome = run(&[capture.input("ntp")], &settings(&["192.0.2.0/24"]));
    assert_eq!(outcome.attacks, vec![]);
    assert!((19.9..20.1).contains(&outcome.seconds()), "{}", outcome.seconds());
    assert!(outcome.warnings()[0].contains("set back"), "{:?}", outcome.warnings());
}

#[test]
fn a_capture_without_time_is_one_instant() {
    let mut capture = Capture::new();
    for n in 0..4_000 {
        capture.udp(0, "198.51.100.9", "192.0.2.7", (n, 4000));
    }
    let outcome = run(&[capture.input("zero")], &settings(&[]));
    assert_eq!((outcome.instant, outcome.seconds()), (true, 0.0));
    assert_eq!(outcome.totals[0].total.packets, 4_000);
    assert!(outcome.warnings()[0].contains("no duration"));
    assert!(report::to_text(&outcome).contains("(no duration: one instant)"));
}

#[test]
fn cut_and_damaged_files_are_reported_for_what_they_hold() {
    let mut cut = attacked().bytes;
    cut.truncate(cut.len() - 5);
    let memory = |bytes: &[u8]| Input::Memory { name: "x".into(), bytes: bytes.into() };
    let settings = settings(&["192.0.2.0/24"]);
    let outcome = run(&[memory(&cut)], &settings);
    assert_eq!((outcome.received.packets, outcome.is_damaged()), (50_100, false));
    assert!(outcome.warnings()[0].contains("cut short at offset"), "{:?}", outcome.warnings());
    // A record that says it is four gigabytes long.
    let record = cut.len() - (60 + 16 - 5);
    cut[record + 8..record + 12].fill(0xff);
    let outcome = run(&[memory(&cut)], &settings);
    assert_eq!((outcome.received.packets, outcome.is_damaged()), (50_100, true));
    assert_eq!(json(&outcome)["files"][0]["damaged"], true);
    let refused = |bytes: &[u8]| replay::run(&[memory(bytes)], &settings, &mut |_| {}).unwrap_err();
    assert!(refused(b"not a capture at all......").to_string().contains("neither pcap nor pcapng"));
    assert!(refused(&Capture::new().bytes).to_string().contains("there is no packet in it"));
}

/// A packet of a generated capture: time step in µs, which of our hosts, which way, ports.
type Step = (u32, u8, u8, u16);

fn generated(steps: &[Step]) -> Input {
    let mut capture = Capture::new();
    let mut time = START;
    for (gap, host, way, port) in steps {
        time += u64::from(*gap) * 1_000;
        let ours = format!("192.0.2.{host}");
        let ours6 = format!("2001:db8::{host:x}");
        match way {
            0 => capture.udp(time, &ours, "198.51.100.1", (4000, *port)),
            1 => capture.udp(time, &ours, "192.0.2.99", (*port, 53)),
            2 => capture.udp(time, "2001:db8:ffff::9", &ours6, (*port, 53)),
            3 => capture.frame(time, &[0x42; 40]),
            4 => capture.udp(time.saturating_sub(300_000_000), "198.51.100.2", &ours, (*port, 53)),
            _ => capture.udp(time, "198.51.100.3", &ours, (*port, 53)),
        }
    }
    capture.input("generated")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Rates from 500 to 200,000 packets a second, on few hosts, so that some are over their limit.
    let burst = (5u32..2_000, 0u8..4, 0u8..8, 1usize..600);
    proptest::collection::vec(burst, 1..8).prop_flat_map(|bursts| {
        let parts: Vec<_> = bursts
            .into_iter()
            .map(|(gap, host, way, count)| {
                proptest::collection::vec((1..=gap, Just(host), Just(way), 0u16..50), count)
            })
            .collect();
        parts.prop_map(|parts| parts.concat())
    })
}

/// Limits so low that small captures hold attacks.
fn touchy() -> Settings {
    let mut settings = settings(&["192.0.2.0/24", "2001:db8::/64"]);
    let host = &mut settings.policy.groups[0].host;
    for limits in [&mut host.incoming, &mut host.outgoing] {
        let metrics: Vec<_> = limits.iter().map(|(metric, _)| metric).collect();
        for metric in metrics {
            limits.set(metric, 300.0);
        }
    }
    settings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The report is the same to the byte at 1, 2, 7 and 16 shards, and at any batch size.
    #[test]
    fn shards_and_batches_do_not_change_a_byte(steps in steps(), batch in 1usize..3_000) {
        let inputs = [generated(&steps)];
        let settings = touchy();
        let first = run(&inputs, &settings);
        let (text, json) = (report::to_text(&first), report::to_json(&first));
        for shards in [1, 2, 7, 16] {
            let other = run(&inputs, &Settings { shards, batch, ..settings.clone() });
            prop_assert_eq!(&report::to_json(&other), &json, "{} shards, batch {}", shards, batch);
            prop_assert_eq!(&report::to_text(&other), &text);
        }
    }
}

/// The property above would say little if nothing was ever found.
#[test]
fn generated_captures_do_hold_attacks() {
    let mut runner = TestRunner::deterministic();
    let attacks = (0..20).map(|_| {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        run(&[generated(&steps)], &touchy()).attacks.len()
    });
    let attacks: Vec<usize> = attacks.collect();
    assert!(attacks.iter().filter(|n| **n > 0).count() >= 10, "{attacks:?}");
    assert!(attacks.iter().any(|n| *n > 1), "{attacks:?}");
}

#[test]
fn shards_and_batches_do_not_change_a_byte_of_the_corpus() {
    let Some(corpus) = corpus() else { return };
    for (file, speed, rounds) in [
        ("attacks/packet-captures__amp.UDP.bacnet.IOT.37810.pcap", 0.25, 10),
        ("attacks/packet-captures__pkt.TCP.DOMINATE.syn.ecn.cwr.pcap", 100.0, 3),
        ("attacks/suricata-verify__denial6-5.pcap", 10.0, 3),
        ("pcap/ipfixprobe__mixed.pcap", 1.0, 1),
    ] {
        let inputs = [Input::File(corpus.join(file))];
        let settings = Settings { speed, rounds, ..settings(&[]) };
        let want = report::to_json(&run(&inputs, &settings));
        for (shards, batch) in [(2, 1), (7, 333), (16, 100_000)] {
            let outcome = run(&inputs, &Settings { shards, batch, ..settings.clone() });
            assert!(report::to_json(&outcome) == want, "{file}: {shards} shards, batch {batch}");
        }
    }
}
