//! The journal and the planner, killed two hundred times. The child is this test program, run again
//! with a folder to work in; it makes decisions as fast as it can until it is killed. What it wrote
//! down before and after each call tells what the journal must know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidewall::journal::Journal;
use tidewall_engine::Policy;
use tidewall_engine::planner::{
    BanRequest, Decision, Effect, Measure, Mode, Planner, PlannerPolicy, Response, Saved, Step,
    UnbanRequest,
};
use tidewall_model::{
    Address, Attack, AttackClass, AttackEvent, AttackEventKind, AttackId, Direction, Family,
    Metric, Mitigation, MitigationCommand, MitigationKind, MitigationOutcome, MitigationStatus,
    Prefix, Reason, Target, Timestamp, TopTuples, TrafficClass, TrafficCounters, Unit,
};

const CHILD: &str = "TIDEWALL_JOURNAL_CHILD";
const KILLS: u64 = 200;
const HOSTS: u64 = 24;

/// Where the child stops and waits to be killed; otherwise the time decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    BeforeRecord,
    AfterRecord,
    AmidCommands,
    AfterCommands,
    AnyTime,
}

const POINTS: [Point; 5] = [
    Point::BeforeRecord,
    Point::AfterRecord,
    Point::AmidCommands,
    Point::AfterCommands,
    Point::AnyTime,
];

/// Numbers without pattern, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

/// Journal, planner, and a world in which commands have effects that outlive the program.
struct Site {
    journal: Journal,
    planner: Planner,
    engine: Policy,
    folder: PathBuf,
    now: u64,
    batch: u64,
    /// From which batch on the child stops at its point.
    stop: Option<(Point, u64)>,
    open: Vec<MitigationCommand>,
}

fn policy(mode: Mode) -> PlannerPolicy {
    let mut policy = PlannerPolicy::default();
    policy.fallback.incoming = Response {
        mode,
        ladder: vec![
            Step::new(Measure::Notify, Duration::ZERO),
            Step::new(Measure::Blackhole, Duration::from_secs(5)),
        ],
        ban_time: Duration::from_mins(1),
        minimum: Duration::from_secs(20),
        ..Response::default()
    };
    policy.rails.changes_per_minute = 1000;
    policy.rails.largest_share = 1.0;
    policy.rails.grace_after_start = Duration::ZERO;
    policy
}

fn append(folder: &Path, name: &str, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(folder.join(name));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn key(m: &Mitigation) -> String {
    match m.kind {
        MitigationKind::Notify => format!("notify {} {}", m.target, m.direction),
        _ => format!("{} {}", m.kind, m.target),
    }
}

impl Site {
    /// Opens the journal and does what a restart does.
    fn begin(folder: &Path, now: u64, stop: Option<(Point, u64)>) -> (Self, Saved) {
        let (mut journal, opened) = Journal::open(&folder.join("journal")).unwrap();
        assert_eq!(opened.warning(), None);
        let saved = journal.restore().unwrap();
        assert_eq!(journal.stats().unreadable, 0);
        // Killed between the record and the word that it is done: now it is known.
        let [recorded, tried] = expected(folder);
        if known(&saved) == tried && tried != recorded {
            append(folder, "said", "done\n");
        }
        let network = Prefix::containing(Address::v4(0xc633_6400), 24);
        let engine = Policy::for_networks(vec![network]);
        let planner = Planner::new(policy(Mode::Automatic), &engine).unwrap();
        let folder = folder.to_owned();
        let mut site =
            Self { journal, planner, engine, folder, now, batch: 0, stop, open: Vec::new() };
        let decisions = site.planner.restore(saved.clone(), site.time());
        site.carry_out(&decisions);
        (site, saved)
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_parts(1_767_571_200 + self.now, 0)
    }

    /// Says that it is there, and waits for the end.
    fn stop_at(&self, point: Point) {
        if self.stop.is_some_and(|(at, batch)| at == point && self.batch >= batch) {
            println!("\nstopped");
            _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
    }

    fn carry_out(&mut self, decisions: &[Decision]) {
        if decisions.is_empty() {
            return;
        }
        self.batch += 1;
        self.stop_at(Point::BeforeRecord);
        let lines = decisions.iter().filter_map(|decision| match decision.effect() {
            Effect::Keep(m) => Some(format!("keep {} {m:?}\n", m.id)),
            Effect::Forget(id) => Some(format!("forget {id}\n")),
            Effect::Hold(_) | Effect::Remember(_) | Effect::ForgetVictim(..) | Effect::Nothing => {
                None
            }
        });
        let lines: String = std::iter::once("try\n".to_owned()).chain(lines).collect();
        append(&self.folder, "said", &lines);
        self.journal.record(decisions).unwrap();
        append(&self.folder, "said", "done\n");
        self.stop_at(Point::AfterRecord);
        for (at, command) in decisions.iter().filter_map(Decision::command).enumerate() {
            if at == 1 {
                self.stop_at(Point::AmidCommands);
            }
            let line = match &command {
                MitigationCommand::Apply(m) => format!("+ {}\n", key(m)),
                MitigationCommand::Withdraw(m) => format!("- {}\n", key(m)),
            };
            append(&self.folder, "world", &line);
            self.open.push(command);
        }
        self.stop_at(Point::AfterCommands);
    }

    fn answer(&mut self) {
        for command in std::mem::take(&mut self.open) {
            let (id, outcome) = match command {
                MitigationCommand::Apply(m) => (m.id, MitigationOutcome::Applied),
                MitigationCommand::Withdraw(m) => (m.id, MitigationOutcome::Withdrawn),
            };
            let decisions = self.planner.report(id, outcome, self.time());
            self.carry_out(&decisions);
        }
    }

    fn step(&mut self, random: &mut Random) {
        self.now += random.below(4);
        let host = Address::v4(0xc633_6400 + random.below(HOSTS) as u32);
        let now = self.time();
        let decisions = match random.below(20) {
            0..=5 => self.event(AttackEventKind::Started, host),
            6..=8 => self.event(AttackEventKind::Ended, host),
            9..=10 => self.planner.ban(&ban(host), now).unwrap_or_default(),
            11..=12 => self.planner.unban(&unban(host), now).unwrap_or_default(),
            13 => {
                let mode = [Mode::Automatic, Mode::NotifyOnly][random.below(2) as usize];
                self.planner.replace(policy(mode), &self.engine, now).unwrap()
            }
            14 if random.below(10) == 0 => self.planner.panic("ann", now),
            14 => self.planner.resume("ann", now).unwrap_or_default(),
            _ => self.planner.tick(now),
        };
        self.carry_out(&decisions);
        if random.below(3) > 0 {
            self.answer();
        }
    }

    fn event(&mut self, kind: AttackEventKind, host: Address) -> Vec<Decision> {
        let event = AttackEvent { kind, time: self.time(), attack: attack(self.now, host) };
        self.journal.attack(&event);
        self.planner.attack(&event, &[], self.time())
    }

    /// What is announced and told, as far as the planner wants it.
    fn wanted(&self) -> Vec<String> {
        let is_up = |m: &&Mitigation| m.status != MitigationStatus::Withdrawing;
        let mut wanted: Vec<_> = self.planner.mitigations().filter(is_up).map(key).collect();
        wanted.sort();
        wanted
    }
}

fn ban(host: Address) -> BanRequest {
    BanRequest {
        target: Prefix::host(host),
        kind: MitigationKind::Blackhole,
        direction: Direction::Incoming,
        lasts: Some(Duration::from_secs(40)),
        who: "ann".to_owned(),
        why: "a ticket".to_owned(),
    }
}

fn unban(host: Address) -> UnbanRequest {
    UnbanRequest { target: Prefix::host(host), who: "bob".to_owned(), why: String::new() }
}

fn attack(id: u64, host: Address) -> Attack {
    Attack {
        id: AttackId(id),
        target: Target::Host(host),
        family: Family::V4,
        direction: Direction::Incoming,
        class: AttackClass::SynFlood,
        vectors: Vec::new(),
        reason: Reason {
            metric: Metric { class: TrafficClass::Total, unit: Unit::Packets },
            direction: Direction::Incoming,
            value: 9e4,
            limit: 2e4,
            group: "global".to_owned(),
            window_ms: 250,
            samples: 9,
        },
        started: Timestamp(id),
        detected: Timestamp(id),
        ended: None,
        peak_pps: 0,
        peak_bps: 0,
        peak_flows: 0,
        packets: 0,
        bytes: 0,
        rates: TrafficCounters::default(),
        opposite: TrafficCounters::default(),
        top: TopTuples::default(),
        samples: Vec::new(),
        filters: Vec::new(),
    }
}

/// The part that is killed. Without its folder it has nothing to do.
#[test]
fn child() {
    let Ok(orders) = env::var(CHILD) else { return };
    let orders: Vec<&str> = orders.splitn(5, ' ').collect();
    let [seed, now, point, batch, folder] = orders[..] else { panic!("{orders:?}") };
    let point = POINTS[point.parse::<usize>().unwrap()];
    let mut random = Random(seed.parse().unwrap());
    let stop = (point, batch.parse().unwrap());
    let (mut site, _) = Site::begin(Path::new(folder), now.parse().unwrap(), Some(stop));
    println!("\nready");
    for _ in 0..10_000 {
        site.step(&mut random);
    }
}

fn run_child(folder: &Path, round: u64, point: usize, batch: u64) -> Child {
    let orders = format!("{} {} {point} {batch} {}", round + 1, round * 100_000, folder.display());
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, orders)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a child at its point, or some time after it is ready.
fn kill(child: &mut Child, point: Point, random: &mut Random) {
    let output = BufReader::new(child.stdout.take().unwrap());
    let wanted = if point == Point::AnyTime { "ready" } else { "stopped" };
    let reached = output.lines().map_while(Result::ok).any(|line| line.trim() == wanted);
    if !reached {
        let mut said = String::new();
        _ = child.stderr.take().unwrap().read_to_string(&mut said);
        panic!("the child did not come to {point:?}: {said}");
    }
    if point == Point::AnyTime {
        #[expect(clippy::disallowed_methods, reason = "a kill has to come at some time")]
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the journal must know: with what was being recorded, and without it.
fn expected(folder: &Path) -> [BTreeMap<u64, String>; 2] {
    let mut recorded = BTreeMap::new();
    let mut tried = BTreeMap::new();
    for line in fs::read_to_string(folder.join("said")).unwrap_or_default().lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "try" => tried = recorded.clone(),
            "done" => recorded.clone_from(&tried),
            "keep" => {
                let (id, text) = rest.split_once(' ').unwrap();
                tried.insert(id.parse().unwrap(), text.to_owned());
            }
            "forget" => _ = tried.remove(&rest.parse().unwrap()),
            other => panic!("{other}"),
        }
    }
    [recorded, tried]
}

/// What the journal knows.
fn known(saved: &Saved) -> BTreeMap<u64, String> {
    saved.mitigations.iter().map(|m| (m.id.0, format!("{m:?}"))).collect()
}

/// What is announced and told.
fn world(folder: &Path) -> Vec<String> {
    let mut world = std::collections::BTreeSet::new();
    for line in fs::read_to_string(folder.join("world")).unwrap_or_default().lines() {
        let (sign, key) = line.split_once(' ').unwrap();
        if sign == "+" {
            world.insert(key.to_owned());
        } else {
            world.remove(key);
        }
    }
    world.into_iter().collect()
}

#[test]
fn kills_lose_no_ban_and_leave_no_orphan() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut random = Random(4711);
    let (mut restored, mut undone, mut amid) = (0, 0, 0);
    for round in 0..KILLS {
        let point = (round % 5) as usize;
        let mut child = run_child(folder, round, point, 2 + random.below(25));
        kill(&mut child, POINTS[point], &mut random);

        let before = world(folder);
        let [recorded, tried] = expected(folder);
        let (mut site, saved) = Site::begin(folder, round * 100_000 + 50_000, None);
        let known = known(&saved);
        assert!(
            known == recorded || known == tried,
            "kill {round} at {:?}: the journal knows {known:#?}, was told {recorded:#?}",
            POINTS[point]
        );
        amid += usize::from(recorded != tried);
        restored += saved.mitigations.len();
        site.answer();
        assert_eq!(world(folder), site.wanted(), "kill {round} at {:?}", POINTS[point]);
        undone += usize::from(before != world(folder));
        drop(site);
    }
    println!(
        "{KILLS} kills: {restored} mitigations restored, {undone} times the restart had to put \
         things right, {amid} kills between a record and its acknowledgement"
    );
    assert!(restored > 200 && undone > 20, "{restored} {undone}: the test must test something");
}
