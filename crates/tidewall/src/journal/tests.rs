//! What is written comes back; damage is told and moved aside; power failures lose nothing that was
//! acknowledged.

mod power;

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_engine::planner::{Change, Decided, End, Refusal, Refused, Victim};
use tidewall_model::{
    Address, Attack, AttackClass, AttackEventKind, AttackId, Cause, CausedBy, Direction, Family,
    FilterAction, FilterRule, FlagMatch, Metric, Mitigation, MitigationId, MitigationKind,
    MitigationStatus, Prefix, Reason, Target, TopTuples, TrafficClass, TrafficCounters, Unit,
    Vector,
};

use super::record::{StoredMitigation, from_bytes, to_bytes};
use super::*;

const START: u64 = 1_767_571_200;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(START + seconds, 0)
}

fn mitigation(id: u64, status: MitigationStatus) -> Mitigation {
    let target = Target::Host(Address::v4(0xc633_6400 + id as u32));
    let by = CausedBy::Attack {
        id: AttackId(id),
        target: target.clone(),
        direction: Direction::Incoming,
    };
    Mitigation {
        id: MitigationId(id),
        kind: MitigationKind::Blackhole,
        target,
        network: "198.51.100.0/24".parse().ok(),
        group: "global".to_owned(),
        direction: Direction::Incoming,
        causes: vec![Cause { by, ends: at(600) }],
        created: at(id),
        ends: at(600),
        round: 0,
        dry_run: false,
        status,
    }
}

fn decision(time: u64, change: Change, mitigation: Mitigation) -> Decision {
    Decision { time: at(time), what: Decided::Mitigation(change, Box::new(mitigation)) }
}

fn apply(id: u64) -> Decision {
    decision(id, Change::Apply, mitigation(id, MitigationStatus::Pending))
}

fn attack(id: u64, target: &str) -> AttackEvent {
    let target = Target::from_prefix(target.parse().unwrap());
    let attack = Attack {
        id: AttackId(id),
        target,
        family: Family::V4,
        direction: Direction::Incoming,
        class: AttackClass::UdpReflection,
        vectors: vec![Vector { name: "ntp".to_owned(), packets_share: 0.9, bytes_share: 1.0 }],
        reason: Reason {
            metric: Metric { class: TrafficClass::Udp, unit: Unit::Packets },
            direction: Direction::Incoming,
            value: f64::INFINITY,
            limit: 2e4,
            group: "global".to_owned(),
            window_ms: 250,
            samples: 100,
        },
        started: at(id),
        detected: at(id),
        ended: Some(at(id + 90)),
        peak_pps: 1_000_000,
        peak_bps: 8_000_000_000,
        peak_flows: 5,
        packets: 7,
        bytes: 8,
        rates: TrafficCounters::default(),
        opposite: TrafficCounters::default(),
        top: TopTuples::default(),
        samples: Vec::new(),
        filters: Vec::new(),
    };
    AttackEvent { kind: AttackEventKind::Ended, time: at(id + 90), attack }
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

#[test]
fn what_was_recorded_is_restored() {
    let (_folder, path) = fresh();
    let (mut journal, opened) = Journal::open(&path).unwrap();
    assert!(opened.is_new && opened.warning().is_none());
    journal.record(&[apply(1), apply(2), apply(3)]).unwrap();
    let active = mitigation(1, MitigationStatus::Active);
    let leaving = mitigation(2, MitigationStatus::Withdrawing);
    let gone = mitigation(3, MitigationStatus::Withdrawn);
    let dry = Mitigation { dry_run: true, ..mitigation(9, MitigationStatus::Active) };
    journal
        .record(&[
            decision(5, Change::Update, active.clone()),
            decision(5, Change::Withdraw(End::Expired), leaving.clone()),
            decision(5, Change::Gone(End::Confirmed), gone),
            decision(5, Change::Apply, dry),
            Decision { time: at(6), what: Decided::Held { who: "ann".to_owned() } },
        ])
        .unwrap();
    assert_eq!(journal.stats(), JournalStats { commits: 2, ..JournalStats::default() });
    drop(journal);
    let (mut journal, opened) = Journal::open(&path).unwrap();
    assert_eq!(opened, Opened::default());
    let saved = journal.restore().unwrap();
    assert_eq!(saved.mitigations, [active, leaving]);
    assert_eq!((saved.next_id, saved.held.as_deref()), (10, Some("ann")));
    let resumed = Decided::Resumed { who: "bob".to_owned() };
    journal.record(&[Decision { time: at(7), what: resumed }]).unwrap();
    assert_eq!(journal.restore().unwrap().held, None);
}

#[test]
fn history_is_asked_by_time_target_and_number() {
    let (_folder, path) = fresh();
    let (mut journal, _) = Journal::open(&path).unwrap();
    for id in 1..=20 {
        journal.attack(&attack(id, &format!("198.51.100.{id}/32")));
        journal.attack(&attack(id, &format!("198.51.100.{id}/32")));
    }
    journal.attack(&attack(21, "2001:db8::/48"));
    assert_eq!(journal.stats().waiting, 21, "an update takes the place of what it updates");
    journal.flush().unwrap();
    let refused = Refused {
        target: Target::Host(Address::v4(0xc633_6405)),
        direction: Direction::Incoming,
        group: "web".to_owned(),
        kind: MitigationKind::Blackhole,
        why: Refusal::Full { most: 3 },
    };
    journal
        .record(&[
            apply(5),
            Decision { time: at(30), what: Decided::Refused(Box::new(refused)) },
            decision(31, Change::Update, mitigation(5, MitigationStatus::Active)),
            decision(
                40,
                Change::Withdraw(End::Operator { who: "ann".into(), why: "ok".into() }),
                mitigation(5, MitigationStatus::Withdrawing),
            ),
        ])
        .unwrap();
    let mut ask = |query: HistoryQuery| {
        let history = journal.history(&query).unwrap();
        let ids: Vec<u64> = history.attacks.iter().map(|a| a.id).collect();
        let what: Vec<String> = history.decisions.iter().map(|d| d.what.clone()).collect();
        (ids, what.join(" "))
    };
    let all = HistoryQuery::default();
    assert_eq!(ask(all.clone()).0, (1..=21).rev().collect::<Vec<_>>());
    assert_eq!(ask(all.clone()).1, "withdraw refused apply");
    let few = HistoryQuery { limit: 2, ..all.clone() };
    assert_eq!(ask(few), (vec![21, 20], "withdraw refused".to_owned()));
    let late = HistoryQuery { since: Some(at(19)), ..all.clone() };
    assert_eq!(ask(late), (vec![21, 20, 19], "withdraw refused".to_owned()));
    let of = |target: &str| HistoryQuery { target: target.parse().ok(), ..all.clone() };
    assert_eq!(ask(of("198.51.100.4/30")), (vec![7, 6, 5, 4], "withdraw refused apply".to_owned()));
    assert_eq!(ask(of("2001:db8::/32")), (vec![21], String::new()));
    assert_eq!(ask(of("2001:db8::1/128")), (vec![], String::new()));

    let history = journal.history(&HistoryQuery { limit: 3, ..of("198.51.100.5/32") }).unwrap();
    let text = to_text(&history);
    for line in [
        "2026-01-05T00:00:05.000000Z  incoming udp_reflection 198.51.100.5, lasted 90 s, \
         peak 1000000 packets/s, 8000000000 bits/s",
        "    because udp_pps was 0, limit 20000 of group global",
        "2026-01-05T00:00:40.000000Z  withdraw blackhole 198.51.100.5 incoming (number 5), by ann: ok",
        "2026-01-05T00:00:30.000000Z  refused blackhole 198.51.100.5 incoming: there are 3 routes, \
         the most",
        "2026-01-05T00:00:05.000000Z  apply blackhole 198.51.100.5 incoming (number 5): attack 5",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&to_json(&history)).unwrap();
    assert_eq!(json["attacks"][0]["detected"], "2026-01-05T00:00:05.000000Z");
    assert_eq!(json["decisions"][0]["who"], "ann");
    assert!(json["attacks"][0].get("version").is_none());
    assert_eq!(to_text(&History::default()), "Nothing is known of that time.\n");
}

#[test]
fn old_history_goes_and_mitigations_stay() {
    let (_folder, path) = fresh();
    let (mut journal, _) = Journal::open(&path).unwrap();
    for id in 0..50 {
        journal.attack(&attack(id, "198.51.100.1/32"));
        journal.record(&[apply(id)]).unwrap();
    }
    let keep = Retention { age: std::time::Duration::from_secs(30), attacks: 1000, decisions: 7 };
    assert_eq!(journal.prune(at(50), &keep).unwrap(), 20 + 43);
    assert_eq!(journal.prune(at(50), &keep).unwrap(), 0);
    let history = journal.history(&HistoryQuery::default()).unwrap();
    assert_eq!((history.attacks.len(), history.decisions.len()), (30, 7));
    assert_eq!(journal.restore().unwrap().mitigations.len(), 50);
}

#[test]
fn a_second_process_is_kept_out() {
    let (_folder, path) = fresh();
    let (_journal, _) = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
}

#[test]
fn a_newer_journal_is_left_alone() {
    let (_folder, path) = fresh();
    drop(Journal::open(&path).unwrap());
    let numbers: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("numbers");
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(numbers).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    for _ in 0..2 {
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains("has format 2, and this program knows up to 1"), "{error}");
    }
    assert!(!path.with_extension("damaged-1").exists());
}

#[test]
fn a_half_made_journal_is_made_again() {
    let (_folder, path) = fresh();
    fs::write(path.with_extension("new"), vec![0; 5000]).unwrap();
    let (_, opened) = Journal::open(&path).unwrap();
    assert!(opened.is_new && opened.damaged.is_none());
}

/// A journal with something in it, as bytes.
fn full() -> Vec<u8> {
    let (_folder, path) = fresh();
    let (mut journal, _) = Journal::open(&path).unwrap();
    for id in 0..200 {
        journal.attack(&attack(id, "198.51.100.1/32"));
    }
    journal.record(&(1..100).map(apply).collect::<Vec<_>>()).unwrap();
    drop(journal);
    fs::read(&path).unwrap()
}

/// Opens these bytes as a journal: either it is whole, or it is moved aside as it was.
fn open_damaged(bytes: &[u8], whole: &Saved) {
    let (folder, path) = fresh();
    fs::write(&path, bytes).unwrap();
    let (mut journal, opened) = Journal::open(&path).unwrap();
    let saved = journal.restore().unwrap();
    match &opened.damaged {
        None => assert_eq!(&saved, whole, "opened without a word, and yet not whole"),
        Some((aside, _)) => {
            assert_eq!(aside, &folder.path().join("journal.damaged-1"));
            // The store may have begun to mend it, so its bytes can differ; it is never shorter.
            assert!(fs::metadata(aside).unwrap().len() >= bytes.len() as u64);
            assert_eq!(saved, Saved::default());
            assert!(opened.warning().unwrap().contains("look for routes"));
            journal.record(&[apply(1)]).unwrap();
        }
    }
    drop(journal);
    let (_, again) = Journal::open(&path).unwrap();
    assert_eq!(again, Opened::default());
}

#[test]
fn damage_is_told_and_moved_aside() {
    let bytes = full();
    let whole = Saved {
        mitigations: (1..100).map(|id| mitigation(id, MitigationStatus::Pending)).collect(),
        next_id: 100,
        ..Saved::default()
    };
    open_damaged(&bytes, &whole);
    open_damaged(b"", &whole);
    open_damaged(b"not a journal at all", &whole);
    open_damaged(&vec![0; 100_000], &whole);
    for cut in [1, 100, 4095, 4096, bytes.len() / 2, bytes.len() - 4096, bytes.len() - 1] {
        open_damaged(&bytes[..cut], &whole);
    }
    let mut random = 88_172_645_463_325_252_u64;
    let mut damaged = bytes.clone();
    for round in 0..60 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The first page is the most delicate one.
        let end = if round % 3 == 0 { 4096 } else { bytes.len() };
        let place = random as usize % end;
        damaged[place] ^= 1 << (random >> 60 & 7);
        open_damaged(&damaged, &whole);
        if round % 2 == 0 {
            damaged.clone_from(&bytes);
        }
    }
}

#[test]
fn repeat_victims_outlive_a_restart_until_they_are_forgotten() {
    let (_folder, path) = fresh();
    let (mut journal, _) = Journal::open(&path).unwrap();
    // As an earlier version left it: without any place for victims.
    journal.record(&[apply(1)]).unwrap();
    assert_eq!(journal.restore().unwrap().victims, []);
    let targets = [
        Target::Host(Address::v4(0xc633_6407)),
        Target::Network("2001:db8::/48".parse().unwrap()),
        Target::Group("web".to_owned()),
    ];
    let victim = |target: &Target, direction, bans| Victim {
        target: target.clone(),
        direction,
        group: "web".to_owned(),
        bans,
        since: at(70),
    };
    let remember = |victim: &Victim| Decision {
        time: at(60),
        what: Decided::Remembered(Box::new(victim.clone())),
    };
    let mut all: Vec<Victim> =
        targets.iter().map(|target| victim(target, Direction::Incoming, 1)).collect();
    all.push(victim(&targets[0], Direction::Outgoing, 5));
    journal.record(&all.iter().map(remember).collect::<Vec<_>>()).unwrap();
    // The same victim again: the newer word counts.
    all[0].bans = 2;
    journal.record(&[remember(&all[0])]).unwrap();
    let forget = Decided::Forgotten { target: targets[2].clone(), direction: Direction::Incoming };
    journal.record(&[Decision { time: at(90), what: forget }]).unwrap();
    all.remove(2);
    drop(journal);
    let (mut journal, _) = Journal::open(&path).unwrap();
    let mut restored = journal.restore().unwrap().victims;
    let order = |victim: &Victim| (victim.target.clone(), victim.direction);
    restored.sort_by_key(order);
    all.sort_by_key(order);
    assert_eq!(restored, all);
    let history = journal.history(&HistoryQuery::default()).unwrap();
    assert_eq!(history.decisions.len(), 1, "the history is of what was done");
    assert_eq!(journal.stats().unreadable, 0);
}

#[test]
fn an_unreadable_entry_is_counted_and_the_rest_is_there() {
    let (_folder, path) = fresh();
    let (mut journal, _) = Journal::open(&path).unwrap();
    journal.record(&[apply(1), apply(2)]).unwrap();
    for bad in [&b"{"[..], br#"{"version":2}"#, br#"{"version":1,"id":7}"#] {
        journal.backlog.mitigations.insert(1, Some(bad.to_vec()));
        journal.flush().unwrap();
        assert_eq!(journal.restore().unwrap().mitigations.len(), 1);
    }
    assert_eq!(journal.stats().unreadable, 3);
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    (any::<bool>(), any::<u128>(), 0u8..=128).prop_map(|(v4, bits, len)| {
        let address = if v4 { Address::v4(bits as u32) } else { Address::v6(bits) };
        Prefix::containing(address, len)
    })
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        any_prefix().prop_map(Target::from_prefix),
        any_prefix().prop_map(Target::Network),
        ".{0,20}".prop_map(Target::Group),
    ]
}

fn any_kind() -> impl Strategy<Value = MitigationKind> {
    let ranges = || proptest::collection::vec(any::<(u16, u16)>(), 0..3);
    let parts = (
        proptest::option::of(any_prefix()),
        any::<Option<u8>>(),
        (ranges(), ranges(), ranges()),
        any::<(Option<(u16, u16)>, Option<u8>, Option<u8>)>(),
        any::<Option<bool>>(),
        any::<Option<u64>>(),
    );
    let rule = parts.prop_map(
        |(source, protocol, ranges, (flags, icmp_type, icmp_code), fragment, rate)| {
            MitigationKind::FlowSpec(FilterRule {
                source,
                protocol,
                source_ports: ranges.0,
                destination_ports: ranges.1,
                icmp_type,
                icmp_code,
                packet_lengths: ranges.2,
                tcp_flags: flags.map(|(set, clear)| FlagMatch { set, clear }),
                fragment,
                action: rate.map_or(FilterAction::Discard, FilterAction::RateLimit),
            })
        },
    );
    prop_oneof![
        Just(MitigationKind::Notify),
        Just(MitigationKind::Divert),
        Just(MitigationKind::Blackhole),
        rule
    ]
}

fn any_cause() -> impl Strategy<Value = Cause> {
    let direction = || proptest::sample::select(&Direction::ALL[..]);
    let attack = (any::<u64>(), any_target(), direction()).prop_map(|(id, target, direction)| {
        CausedBy::Attack { id: AttackId(id), target, direction }
    });
    let operator = (".{0,9}", ".{0,9}").prop_map(|(who, why)| CausedBy::Operator { who, why });
    (prop_oneof![attack, operator], any::<u64>())
        .prop_map(|(by, ends)| Cause { by, ends: Timestamp(ends) })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_mitigation_is_read_as_it_was_written(
        (id, kind, target) in (any::<u64>(), any_kind(), any_target()),
        network in proptest::option::of(any_prefix()),
        causes in proptest::collection::vec(any_cause(), 0..4),
        (created, ends, round, status) in (any::<u64>(), any::<u64>(), any::<u32>(), 0..6),
        text in ".{0,30}",
    ) {
        let mitigation = Mitigation {
            id: MitigationId(id),
            kind,
            target,
            network,
            group: text.clone(),
            direction: Direction::Outgoing,
            causes,
            created: Timestamp(created),
            ends: Timestamp(ends),
            round,
            dry_run: false,
            status: match status {
                0 => MitigationStatus::AwaitingApproval,
                1 => MitigationStatus::Pending,
                2 => MitigationStatus::Active,
                3 => MitigationStatus::Failed(text),
                4 => MitigationStatus::Withdrawing,
                _ => MitigationStatus::Withdrawn,
            },
        };
        let bytes = to_bytes(&StoredMitigation::from(&mitigation));
        let read = Mitigation::try_from(from_bytes::<StoredMitigation>(&bytes).unwrap()).unwrap();
        prop_assert_eq!(read, mitigation);
    }
}
