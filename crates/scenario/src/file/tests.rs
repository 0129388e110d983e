//! What a file may say, and how it is refused.

use tidewall_model::{AttackClass, Metric, TrafficClass, Unit};

use super::*;
use crate::plan::{AttackKind, Pulse};
use crate::{Generator, Random};

const WORLD: &str = r#"
name = "one"
seed = 9
duration_s = 10
networks = ["192.0.2.0/24", "2001:db8::/32"]
background = { hosts = 20, pps = 100, ipv6 = 0.2, mix = { tcp = 0.5, udp = 0.5, icmp = 0 } }
[limits.network."192.0.2.0/24"]
total_pps = 60000
flows_per_second = 10
[[attacks]]
name = "a"
kind = "udp_reflection"
service = "dns"
target = "192.0.2.7"
start_s = 1.5
duration_s = 8
times = 5
pulse = { on_s = 1, off_s = 0.5 }
fragments = 0.25
[[attacks]]
name = "b"
kind = "syn_flood"
target = "2001:db8::5"
start_s = 0
duration_s = 2
times = 1.5
length = [60, 80]
[[attacks]]
name = "c"
kind = "udp_flood"
target = "192.0.2.0/24"
start_s = 0
duration_s = 2
times = 2
[[expect]]
attack = "a"
within_ms = 300
[[expect]]
attack = "b"
class = ["mixed", "syn_flood"]
within_ms = 2500
"#;

#[test]
fn a_file_means_what_it_says() {
    let world = Scenario::parse(WORLD).unwrap();
    assert_eq!((world.seed, world.duration_ns), (9, 10_000_000_000));
    assert_eq!(world.start.to_string(), "2026-01-05T00:00:00.000000Z");
    let [a, b, c] = &world.attacks[..] else { panic!() };
    assert!(matches!(a.kind, AttackKind::UdpReflection(s) if s.port == 53));
    assert_eq!((a.start_ns, a.duration_ns), (1_500_000_000, 8_000_000_000));
    assert_eq!(a.pulse, Some(Pulse { on_ns: 1_000_000_000, off_ns: 500_000_000 }));
    assert_eq!((a.pps, b.pps, c.pps), (100_000.0, 15_000.0, 120_000.0));
    assert_eq!((a.length, b.length), ((1300, 1500), (60, 80)));
    let truth = world.truth();
    assert_eq!(truth[0].name, "b");
    assert_eq!(truth[0].classes, [AttackClass::Mixed, AttackClass::SynFlood]);
    assert_eq!(truth[1].classes, [AttackClass::UdpReflection]);
    assert_eq!(truth[1].target.to_string(), "192.0.2.7/32");
    assert_eq!(truth[1].start.to_string(), "2026-01-05T00:00:01.500000Z");
    assert_eq!(truth[1].end.to_string(), "2026-01-05T00:00:09.500000Z");
    assert_eq!(truth[1].within.as_millis(), 300);
    let flows = Metric { class: TrafficClass::Total, unit: Unit::Flows };
    assert!(world.limits.networks[0].1.contains(&(flows, 10.0)));
    assert_eq!(world.limits.host.len(), 5);
}

#[test]
fn mistakes_are_refused_with_their_place() {
    let cases = [
        ("seed = 9", "sed = 9", "unknown field `sed`"),
        ("hosts = 20", "host = 20", "unknown field `host`"),
        ("hosts = 20", "hosts = 0", "background: `hosts`: 0 is not from 1 to"),
        ("ipv6 = 0.2", "ipv6 = nan", "background: `ipv6`: NaN is not from 0 to 1"),
        ("udp = 0.5", "udp = 0.6", "background: `mix`: the parts sum up to 1.1"),
        ("duration_s = 10", "duration_s = 1e9", "scenario: `duration_s`: 1000000000 is not from"),
        ("duration_s = 10", "duration_s = 0", "scenario: `duration_s`: must be more than 0"),
        ("duration_s = 8", "duration_s = 9", "attack `a`: `duration_s`: it ends at 10.5 s"),
        ("times = 5", "times = 5\npps = 4", "attack `a`: `pps`: give either `pps` or `times`"),
        ("times = 5", "", "attack `a`: `pps`: give either `pps` or `times`"),
        ("times = 5", "times = -5", "attack `a`: `times`: -100000 is not from"),
        ("\"dns\"", "\"dsn\"", "attack `a`: `service`: `dsn` is none of chargen, dns"),
        ("kind = \"syn_flood\"", "kind = \"sin_flood\"", "unknown variant `sin_flood`"),
        ("length = [60, 80]", "fragments = 0.5", "attack `b`: `fragments`: only UDP"),
        ("length = [60, 80]", "length = 40", "attack `b`: `length`: 40 to 40 bytes"),
        ("length = [60, 80]", "length = \"x\"", "a packet length in bytes, or [shortest, longest]"),
        ("length = [60, 80]", "protocol = 4", "attack `b`: `protocol`: only the kind"),
        ("length = [60, 80]", "source_prefixes = [\"10.0.0.0/8\"]", "of another IP version"),
        ("target = \"192.0.2.7\"", "target = \"192.0.3.7\"", "not inside one of `networks`"),
        ("target = \"192.0.2.7\"", "target = \"192.0.2.7/24\"", "has host bits set"),
        ("name = \"b\"", "name = \"a\"", "attack `a`: `name`: another attack has this name"),
        ("times = 2\n", "times = 2\nkinds = 1\n", "unknown field `kinds`"),
        ("total_pps = 60000", "total = 60000", "`total` is none of total_pps, total_bps"),
        ("total_pps = 60000", "icmp_pps = 6", "`limits` has no packet rate for 192.0.2.0/24"),
        ("attack = \"b\"", "attack = \"x\"", "expect of `x`: `attack`: no attack has this name"),
        ("\"mixed\"", "\"mixd\"", "expect of `b`: `class`: `mixd` is none of syn_flood"),
        ("\"2001:db8::/32\"", "\"10.0.0.0/8\"", "needs an IPv6 network"),
    ];
    for (good, bad, want) in cases {
        assert!(WORLD.contains(good), "{good}");
        let error = Scenario::parse(&WORLD.replacen(good, bad, 1)).unwrap_err().to_string();
        assert!(error.contains(want), "{bad}: {error}");
    }
    let crowd = WORLD.replace("\"syn_flood\"\ntarget", "\"flash_crowd\"\ntarget");
    let error = Scenario::parse(&crowd.replace("class = ", "# ")).unwrap_err().to_string();
    assert!(error.contains("a flash crowd has no class"), "{error}");
    let error = Scenario::parse(&WORLD.replacen("seed = 9", "sed = 9", 1)).unwrap_err();
    assert!(error.to_string().contains("line 3"), "{error}");
}

/// Changed and cut files give an answer, and what is accepted generates.
#[test]
fn no_text_panics() {
    let mut random = Random::new(4);
    for _ in 0..1_500 {
        let mut bytes = WORLD.as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = b"0129.-[]\"=\nae"[random.below(13) as usize];
        }
        bytes.truncate(bytes.len() - random.below(40) as usize);
        if let Ok(world) = Scenario::parse(&String::from_utf8(bytes).unwrap()) {
            Generator::new(&world).take(10).for_each(drop);
            world.truth();
        }
    }
}
