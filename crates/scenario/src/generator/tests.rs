//! Rates, order, shares and shapes of what is generated, and that it is always the same.

use std::collections::BTreeSet;

use tidewall_model::{Family, Fragment, Prefix, TcpFlags, protocol};

use super::*;

fn world(text: &str) -> Scenario {
    Scenario::parse(text).unwrap()
}

/// One attack at 10,000 pps for two seconds, from second 1, without background.
fn attack(lines: &str) -> Vec<FlowRecord> {
    let text = format!(
        "name = 'x'\nduration_s = 4\nnetworks = ['192.0.2.0/24', '2001:db8::/32']\n\
         [[attacks]]\nname = 'a'\nstart_s = 1\nduration_s = 2\npps = 10000\n{lines}"
    );
    Generator::new(&world(&text)).collect()
}

fn share(records: &[FlowRecord], what: impl Fn(&FlowRecord) -> bool) -> f64 {
    records.iter().filter(|r| what(r)).count() as f64 / records.len() as f64
}

fn near(value: f64, want: f64, tolerance: f64) {
    assert!((value - want).abs() <= tolerance, "{value} is not {want} ± {tolerance}");
}

#[test]
fn the_same_seed_gives_the_same_records_for_ever() {
    let demo = |seed| Scenario::demo(Duration::from_secs(20), seed).unwrap();
    let sum = |scenario: &Scenario| {
        let mut sum = 0u64;
        for r in Generator::new(scenario).take(300_000) {
            for word in [r.time.0, r.src as u64, (r.src >> 64) as u64, r.dst as u64, r.bytes] {
                sum = mix2(sum, word);
            }
            let ports = u64::from(r.src_port) << 32 | u64::from(r.dst_port);
            sum = mix2(sum, ports << 16 | u64::from(r.tcp_flags.0));
        }
        sum
    };
    assert_eq!(sum(&demo(1)), sum(&demo(1)));
    assert_ne!(sum(&demo(1)), sum(&demo(2)));
    // Changes only when the generator is changed on purpose.
    assert_eq!(sum(&demo(1)), GOLDEN);
}

const GOLDEN: u64 = 1_515_590_213_646_672_355;

#[test]
fn times_increase_strictly_and_stay_inside() {
    let scenario = Scenario::demo(Duration::from_secs(20), 1).unwrap();
    let mut last = None;
    for (record, seq) in Generator::new(&scenario).zip(0..) {
        assert!(last.is_none_or(|last| record.time > last), "{record:?}");
        assert!(record.time >= scenario.start && record.time < scenario.end());
        assert_eq!((record.seq, record.packets), (seq, 1));
        last = Some(record.time);
    }
    assert!(last.is_some_and(|last| scenario.end().since(last) < Duration::from_millis(10)));
}

#[test]
fn the_background_has_its_rate_shares_and_tail() {
    let scenario = world(
        "name = 'x'\nduration_s = 20\nnetworks = ['10.20.0.0/16', '2001:db8::/48']\n\
         background = { hosts = 1000, pps = 20000, ipv6 = 0.25, outgoing = 0.4, swing = 0.5 }",
    );
    let records: Vec<FlowRecord> = Generator::new(&scenario).collect();
    near(records.len() as f64 / 400_000.0, 1.0, 0.05);
    near(share(&records, |r| r.family == Family::V6), 0.25, 0.01);
    let ours = |address| scenario.networks.iter().any(|p: &Prefix| p.contains(address));
    near(share(&records, |r| ours(r.src_address())), 0.4, 0.01);
    assert!(records.iter().all(|r| ours(r.src_address()) != ours(r.dst_address())));
    for (number, part) in [(protocol::TCP, 0.72), (protocol::UDP, 0.24)] {
        near(share(&records, |r| r.protocol == number), part, 0.03);
    }
    near(share(&records, FlowRecord::is_icmp), 0.02, 0.01);
    // The day: its first half is above the mean, its second below.
    let half = scenario.start + Duration::from_secs(10);
    near(share(&records, |r| r.time < half), 0.659, 0.03);
    let mut hosts = std::collections::BTreeMap::<_, u32>::new();
    for r in &records {
        let ends = [r.src_address(), r.dst_address()];
        *hosts.entry(ends.into_iter().find(|a| ours(*a)).unwrap()).or_default() += 1;
    }
    let mut counts: Vec<u32> = hosts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts.len(), 1000);
    // A heavy tail: the first tenth of the hosts has about half the traffic, no host a tenth.
    let top: u32 = counts[900..].iter().sum();
    near(f64::from(top) / records.len() as f64, 0.55, 0.1);
    assert!(counts[999] < 40_000, "{}", counts[999]);
    // Flows last: far fewer tuples than packets, far more than hosts.
    let tuples: BTreeSet<_> = records
        .iter()
        .map(|r| (r.src.max(r.dst), r.src_port.max(r.dst_port), r.protocol))
        .collect();
    assert!((10_000..120_000).contains(&tuples.len()), "{}", tuples.len());
}

#[test]
fn an_attack_has_its_rate_time_and_target() {
    let records = attack("kind = 'syn_flood'\ntarget = '192.0.2.9'\nsources = 50");
    near(records.len() as f64, 20_000.0, 500.0);
    let start = Scenario::parse("name='x'\nduration_s=1\nnetworks=['::/0']").unwrap().start;
    for r in &records {
        let at = r.time.since(start).as_secs_f64();
        assert!((1.0..3.0).contains(&at), "{at}");
        assert_eq!(r.dst_address().to_string(), "192.0.2.9");
        assert_eq!((r.tcp_flags, r.bytes), (TcpFlags(TcpFlags::SYN), 40));
    }
    assert_eq!(records.iter().map(|r| r.src).collect::<BTreeSet<_>>().len(), 50);
    let spoofed = attack("kind = 'ack_flood'\ntarget = '192.0.2.9'\nsource_port = 7");
    assert!(spoofed.iter().map(|r| r.src).collect::<BTreeSet<_>>().len() > 19_000);
    assert!(spoofed.iter().all(|r| r.src_port == 7));
    let out =
        attack("kind = 'udp_flood'\ntarget = '192.0.2.9'\ndirection = 'outgoing'\nsources = 1");
    assert!(out.iter().all(|r| r.src_address().to_string() == "192.0.2.9"));
    assert_eq!(out.iter().map(|r| r.dst).collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn kinds_look_as_they_are_called() {
    let v4 = |kind: &str| attack(&format!("kind = '{kind}'\ntarget = '192.0.2.9'"));
    let all = |records: Vec<FlowRecord>, what: fn(&FlowRecord) -> bool| {
        assert!(!records.is_empty() && records.iter().all(what), "{:?}", records.first());
    };
    all(v4("rst_flood"), |r| r.protocol == 6 && r.tcp_flags.0 == TcpFlags::RST);
    all(v4("ack_flood"), |r| r.protocol == 6 && r.tcp_flags.0 == TcpFlags::ACK);
    all(v4("tcp_flood"), |r| r.protocol == 6 && !r.tcp_flags.has(TcpFlags::ACK));
    all(v4("syn_ack_reflection"), |r| r.tcp_flags.0 == 0x12 && r.src_port < 10_000);
    all(v4("udp_flood"), |r| r.protocol == 17 && r.dst_port > 0 && !r.fragment.is_fragment());
    all(v4("fragment_flood"), |r| r.protocol == 17 && r.fragment.is_fragment());
    all(v4("icmp_flood"), |r| r.is_icmp() && r.dst_port == 0x0800);
    all(v4("gre_flood"), |r| r.protocol == 47 && r.src_port == 0 && r.dst_port == 0);
    all(v4("protocol_flood"), |r| !matches!(r.protocol, 1 | 6 | 17 | 47));
    all(v4("protocol_flood\'\nprotocol = 50 #"), |r| r.protocol == 50);
    let v6 = attack("kind = 'icmp_flood'\ntarget = '2001:db8::9'");
    all(v6, |r| r.is_icmp() && r.family == Family::V6 && r.dst_port == 0x8000);
    let dns =
        attack("kind = 'udp_reflection'\nservice = 'dns'\ntarget = '192.0.2.9'\nfragments = 0.3");
    near(share(&dns, |r| r.fragment == Fragment::Later), 0.3, 0.02);
    near(share(&dns, |r| r.fragment == Fragment::First), 0.3, 0.02);
    all(dns, |r| r.src_port == if r.fragment == Fragment::Later { 0 } else { 53 });
}

#[test]
fn a_carpet_covers_its_prefix_evenly() {
    let records = attack("kind = 'udp_flood'\ntarget = '192.0.2.0/24'");
    let mut counts = [0u32; 256];
    for r in &records {
        counts[(r.dst & 0xff) as usize] += 1;
    }
    assert!(counts.iter().all(|n| (40..130).contains(n)), "{counts:?}");
}

#[test]
fn a_flash_crowd_is_two_way_and_mostly_not_syn() {
    let records = attack("kind = 'flash_crowd'\ntarget = '192.0.2.9'");
    let towards = |r: &FlowRecord| r.dst_address().to_string() == "192.0.2.9";
    let incoming = records.iter().filter(|r| towards(r)).count() as f64;
    near(incoming / 20_000.0, 1.0, 0.03);
    near((records.len() as f64 - incoming) / 18_000.0, 1.0, 0.03);
    near(share(&records, |r| r.tcp_flags.0 == TcpFlags::SYN), 0.04 / 1.9, 0.005);
}

#[test]
fn sampling_thins_and_says_so() {
    let scenario = Scenario::demo(Duration::from_secs(20), 1).unwrap();
    let all = Generator::new(&scenario).count() as f64;
    let rate = SamplingRate::new(100);
    let sampled: Vec<FlowRecord> = Generator::sampled(&scenario, rate).collect();
    assert!(sampled.iter().all(|r| r.sampling == rate && r.scaled_packets() == 100));
    near(sampled.len() as f64 * 100.0 / all, 1.0, 0.02);
}

#[test]
fn another_attack_does_not_change_the_background() {
    let text = "name = 'x'\nduration_s = 2\nnetworks = ['192.0.2.0/24']\n\
                background = { hosts = 50, pps = 1000 }\n";
    let attack = "[[attacks]]\nname = 'a'\nkind = 'gre_flood'\ntarget = '192.0.2.1'\n\
                  start_s = 0\nduration_s = 2\npps = 500\nsources = 1\n";
    let alone: Vec<FlowRecord> = Generator::new(&world(text)).collect();
    let both: Vec<FlowRecord> = Generator::new(&world(&format!("{text}{attack}"))).collect();
    let attacker = both.iter().find(|r| r.protocol == 47 && r.dst & 0xff == 1).unwrap().src;
    let rest = both.iter().filter(|r| r.src != attacker).map(|r| (r.time, r.src, r.dst));
    assert!(rest.eq(alone.iter().map(|r| (r.time, r.src, r.dst))));
}
