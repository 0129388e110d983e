//! The whole service, killed two hundred times: while it starts, while it is asked for bans and
//! unbans, while hosts are attacked, bans end and its configuration is read again. After each kill the
//! journal, the planner, a BGP peer, ExaBGP's pipe and the notify script must agree with each other
//! and with what had been answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is killed by the clock on the wall")]
#![allow(clippy::disallowed_types, reason = "a test shares what its threads have seen")]

#[path = "service_crash/model.rs"]
mod model;
mod service;
#[path = "service_crash/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use model::{ATTACKED, Bans, Ends, MANUAL, Model, PROTECTED, Span, address, attack_may_last};
use serde_json::{Value, json};
use service::{RELOAD, Service};
use tidewall::journal::Journal;
use world::{Hosts, PEER_AS, World};

/// Of each of the four tests; every test has services side by side.
const KILLS: u64 = 50;
const SERVICES: u64 = 2;
const BANS: &str = r#"{"ask":"bans"}"#;
/// Everything agrees within this time after a start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Numbers without pattern, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
    }

    fn host(&mut self, of: std::ops::Range<u8>) -> u8 {
        of.start + self.below(of.len() as u64) as u8
    }
}

/// When a life of the service ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// After so many microseconds.
    Time(u64),
    /// Once the peer has got so many more UPDATEs ...
    Updates(u64),
    /// ... ExaBGP so many lines ...
    Lines(u64),
    /// ... the script was called, ...
    Script,
    /// ... or the journal was written so often.
    Writes(u64),
}

impl Point {
    fn draw(random: &mut Random, longest: u64) -> Self {
        match random.below(6) {
            0 => Self::Updates(1 + random.below(6)),
            1 => Self::Lines(1 + random.below(6)),
            2 => Self::Script,
            3 => Self::Writes(1 + random.below(12)),
            _ => Self::Time(random.below(longest)),
        }
    }
}

/// One service with all that is around it.
struct Site {
    service: Service,
    /// The service's process, apart from it: others ask while it is killed.
    child: Child,
    world: World,
    model: Model,
    random: Random,
    sequence: u32,
    counts: Counts,
}

/// What the test has come across: it must test something.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    kills: u64,
    /// While it started.
    early: u64,
    /// A request was under way.
    in_doubt: u64,
    /// Bans that were put up again.
    restored: u64,
    /// Times that the world was not what it had to be when the service was started again.
    mended: u64,
    /// Requests that were answered.
    answered: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.early += other.early;
        self.in_doubt += other.in_doubt;
        self.restored += other.restored;
        self.mended += other.mended;
        self.answered += other.answered;
    }
}

/// The service has died before it answered.
struct Died;

impl Site {
    fn new(seed: u64) -> Self {
        let service = Service::prepared();
        let world = World::start(service.folder.path());
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (model, counts) = (Model::new(), Counts::default());
        configure(&service, world.port, model.protects);
        let child = Command::new("true").spawn().unwrap();
        Self { service, child, world, model, random, sequence: 0, counts }
    }

    fn start(&mut self) {
        self.child = self.service.spawn();
        self.model.restarted();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.counts.kills += 1;
    }

    /// A life: from the start to the kill, and what the journal then knows.
    fn live(&mut self, early: bool) {
        self.start();
        if early {
            let point = Point::draw(&mut self.random, 250_000);
            wait_until(&self.service, &self.world, point, Duration::from_millis(250));
            self.kill();
            self.counts.early += 1;
        } else {
            self.settle();
            let point = Point::draw(&mut self.random, 900_000);
            self.work_until(point);
        }
        self.look_into_journal();
    }

    /// The next start finds what must be there.
    fn look_into_journal(&mut self) {
        let now = SystemTime::now();
        let copy = self.service.path("copy.redb");
        let journal = self.service.path("state/journal.redb");
        if !journal.exists() {
            return;
        }
        fs::copy(journal, &copy).unwrap();
        let (mut journal, opened) = Journal::open(&copy).unwrap();
        assert_eq!(opened.warning(), None, "a kill damages nothing");
        let saved = journal.restore().unwrap();
        assert_eq!(journal.stats().unreadable, 0);
        drop(journal);
        fs::remove_file(copy).unwrap();
        let up = model::journalled(&saved);
        self.model.check("the journal after a kill", &up, now, now);
        self.counts.restored += up.len() as u64;
        let known: Hosts = up.keys().map(|host| address(*host)).collect();
        let is_so = self.world.piped() == known
            && self.world.rib().routes.into_keys().collect::<Hosts>() == known;
        self.counts.mended += u64::from(!is_so);
    }

    /// Waits until planner, peer, ExaBGP and script agree, and compares them with the model.
    fn settle(&mut self) {
        let begin = Instant::now();
        loop {
            let from = SystemTime::now();
            let bans = self.bans();
            let (rib, piped, told) = (self.world.rib(), self.world.piped(), self.world.scripted());
            let to = SystemTime::now();
            if let Some(bans) = &bans {
                let routes: Hosts = bans.routes.keys().map(|host| address(*host)).collect();
                let notices: Hosts = bans.notices.iter().cloned().collect();
                let received: Hosts = rib.routes.keys().cloned().collect();
                if bans.is_settled
                    && rib.complete
                    && received == routes
                    && piped == routes
                    && told == notices
                {
                    assert_eq!(bans.journal_failures, 0, "{}", self.service.log());
                    self.check(&bans.routes, bans.held, from, to);
                    return;
                }
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "they do not agree: {bans:#?} {rib:?} piped {piped:?} told {told:?} {}",
                self.service.log()
            );
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended by itself: {}", self.service.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn check(&mut self, up: &BTreeMap<u8, Ends>, held: bool, from: SystemTime, to: SystemTime) {
        assert!(self.model.held.is_none_or(|known| known == held), "the brake: {held}");
        if self.model.protects {
            self.model.drop_protected(true);
        }
        assert!(!held || up.is_empty(), "the brake is pulled, and {up:?} are up");
        self.model.check("after a start", up, from, to);
        self.model.learn(up, held);
    }

    fn bans(&self) -> Option<Bans> {
        let answer = self.service.ask(BANS).ok()?;
        assert_eq!(answer["ok"], true, "{answer}");
        Some(Bans::read(&answer["data"]))
    }

    /// Asks and attacks until the moment of the kill.
    fn work_until(&mut self, point: Point) {
        let Self { service, child, world, model, random, sequence, counts } = self;
        let (service, world, port) = (&*service, &*world, world.port);
        let mut worker = Worker { service, port, model, random, sequence, counts };
        std::thread::scope(|scope| {
            let work = scope.spawn(move || while worker.step().is_ok() {});
            wait_until(service, world, point, Duration::from_secs(2));
            child.kill().unwrap();
            child.wait().unwrap();
            work.join().unwrap();
        });
        self.counts.kills += 1;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn configure(service: &Service, port: u16, protects: bool) {
    let path = |name: &str| service.path(name).display().to_string();
    let protected: Vec<String> = PROTECTED.filter(|_| protects).map(address).collect();
    service.write(&format!(
        "networks = [\"192.0.2.0/24\"]\n\
         [thresholds.incoming]\ntotal = {{ pps = 10_000 }}\n\
         [detection]\nwindow = \"100ms\"\nrelease_time = \"1s\"\nupdate_every = \"200ms\"\n\
         [listen]\nsflow = []\nnetflow = [\"127.0.0.1:{netflow}\"]\n\
         [mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole\"]\n\
         ban_time = \"3s\"\ngrowth = 1.0\nonly_if_finished = false\nprobe = \"2s\"\n\
         most_routes = 1000\n\
         [rails]\nprotected = {protected:?}\nmost_routes = 1000\nchanges_per_minute = 100_000\n\
         largest_share = \"100%\"\ngrace_after_start = \"0s\"\n\
         [bgp]\nlocal_as = 64510\nrouter_id = \"192.0.2.251\"\nnext_hop_ipv4 = \"192.0.2.254\"\n\
         [[bgp.peer]]\nname = \"edge\"\naddress = \"127.0.0.1\"\nport = {port}\nas = {PEER_AS}\n\
         [exabgp]\npipe = {pipe:?}\nnext_hop_ipv4 = \"192.0.2.254\"\n\
         [[script]]\npath = {script:?}\n",
        netflow = service.netflow,
        pipe = path("exabgp.cmd"),
        script = path("notify"),
    ));
}

fn wait_until(service: &Service, world: &World, point: Point, longest: Duration) {
    let journal = service.path("state/journal.redb");
    let written = || fs::metadata(&journal).and_then(|file| file.modified()).ok();
    let (begin, mut writes, mut last) = (Instant::now(), 0, written());
    let updates = world.updates.load(Ordering::SeqCst);
    let (lines, told) = (world.written.load(Ordering::SeqCst), world.told());
    let is_there = |writes: u64| match point {
        Point::Time(micros) => begin.elapsed() >= Duration::from_micros(micros),
        Point::Updates(more) => world.updates.load(Ordering::SeqCst) >= updates + more,
        Point::Lines(more) => world.written.load(Ordering::SeqCst) >= lines + more,
        Point::Script => world.told() > told,
        Point::Writes(more) => writes >= more,
    };
    while begin.elapsed() < longest && !is_there(writes) {
        if matches!(point, Point::Writes(_)) {
            let now = written();
            writes += u64::from(now != last);
            last = now;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Keeps a service busy.
struct Worker<'a> {
    service: &'a Service,
    /// The peer's.
    port: u16,
    model: &'a mut Model,
    random: &'a mut Random,
    sequence: &'a mut u32,
    counts: &'a mut Counts,
}

impl Worker<'_> {
    fn step(&mut self) -> Result<(), Died> {
        match self.random.below(20) {
            0..=7 => self.ban(),
            8..=11 => self.unban(),
            12..=15 => self.attack(),
            16..=17 => self.reload(),
            18 if self.model.held == Some(true) || self.random.below(3) > 0 => self.resume(),
            18 => self.panic(),
            _ => {
                std::thread::sleep(Duration::from_millis(self.random.below(60)));
                self.service.ask(BANS).map(|_| ()).map_err(|_| Died)
            }
        }
    }

    /// The answer; without one the service has died in the middle.
    fn ask(&mut self, question: &Value) -> Result<Result<Value, String>, Died> {
        let Ok(answer) = self.service.ask(&question.to_string()) else {
            self.counts.in_doubt += 1;
            return Err(Died);
        };
        self.counts.answered += 1;
        Ok(match answer["ok"].as_bool() {
            Some(true) => Ok(answer["data"].clone()),
            _ => Err(answer["error"].as_str().unwrap().to_owned()),
        })
    }

    fn ban(&mut self) -> Result<(), Died> {
        let of = if self.random.below(5) == 0 { ATTACKED } else { MANUAL };
        let host = self.random.host(of);
        let seconds = [1, 2, 3, 20, 600][self.random.below(5) as usize];
        let (lasts, sent) = (Duration::from_secs(seconds), SystemTime::now());
        let before = *self.model.fate(host);
        // Until there is an answer the old one or the new one counts; the kill is not far.
        self.model.fate(host).person = Span {
            surely: before.person.surely.min(sent + lasts),
            maybe: before.person.maybe.max(sent + lasts + Duration::from_secs(5)),
        };
        let question = json!({ "ask": "ban", "target": address(host), "kind": "blackhole", "seconds": seconds });
        match self.ask(&question)? {
            Ok(_) => {
                let span = Span { surely: sent + lasts, maybe: SystemTime::now() + lasts };
                self.model.fate(host).person = span;
            }
            Err(why) => {
                let is_protected = self.model.protects && PROTECTED.contains(&host);
                assert!(is_protected || self.model.held == Some(true), "{why}");
                *self.model.fate(host) = before;
            }
        }
        Ok(())
    }

    fn unban(&mut self) -> Result<(), Died> {
        let of = if self.random.below(3) == 0 { ATTACKED } else { MANUAL };
        let host = self.random.host(of);
        let (before, sent) = (*self.model.fate(host), SystemTime::now());
        self.model.fate(host).end(false);
        match self.ask(&json!({ "ask": "unban", "target": address(host) }))? {
            Ok(_) => {
                let fate = self.model.fate(host);
                fate.end(true);
                // An attack that is not found yet was not held off.
                if before.attack.surely < sent && before.is_just_attacked(sent) {
                    fate.attack.maybe = before.attack.maybe;
                }
            }
            Err(why) => {
                let now = SystemTime::now();
                assert!(!before.is_surely_up(now), "{}: {why}: {before:?}", address(host));
                *self.model.fate(host) = before;
            }
        }
        Ok(())
    }

    fn attack(&mut self) -> Result<(), Died> {
        let host = self.random.host(ATTACKED);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let now = SystemTime::now();
        let fate = self.model.fate(host);
        fate.last_packet = Some(now);
        fate.attack.maybe = fate.attack.maybe.max(attack_may_last(now));
        for _ in 0..20 {
            let datagram = service::v5(*self.sequence, *self.sequence + 1000, 1000, host);
            *self.sequence += 1;
            // The service may have died: the port is closed.
            _ = socket.send_to(&datagram, ("127.0.0.1", self.service.netflow));
        }
        // Looks at it sometimes until it is banned.
        for _ in 0..self.random.below(12) {
            let answer = self.service.ask(BANS).map_err(|_| Died)?;
            let bans = Bans::read(&answer["data"]);
            if let Some(ends) = bans.routes.get(&host).and_then(|ends| ends.attack) {
                let span = &mut self.model.fate(host).attack;
                *span = Span { surely: ends, maybe: span.maybe.max(ends) };
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Died> {
        self.model.protects = !self.model.protects;
        if self.model.protects {
            self.model.drop_protected(false);
        }
        configure(self.service, self.port, self.model.protects);
        let answer = self.ask(&serde_json::from_str(RELOAD).unwrap())?;
        assert!(answer.is_ok(), "{answer:?}");
        if self.model.protects {
            self.model.drop_protected(true);
        }
        Ok(())
    }

    fn panic(&mut self) -> Result<(), Died> {
        self.model.drop_all(false);
        self.model.held = None;
        let answer = self.ask(&json!({ "ask": "panic" }))?;
        assert!(answer.is_ok(), "{answer:?}");
        self.model.drop_all(true);
        self.model.held = Some(true);
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Died> {
        let was_held = self.model.held == Some(true);
        if was_held {
            self.model.held = None;
            // What is attacked now, or was shortly before the start, is answered again.
            for host in ATTACKED {
                let attack = &mut self.model.fate(host).attack;
                attack.maybe = attack.maybe.max(attack_may_last(SystemTime::now()));
            }
        }
        let answer = self.ask(&json!({ "ask": "resume" }))?;
        assert_eq!(answer.is_ok(), was_held, "{answer:?}");
        self.model.held = Some(false);
        Ok(())
    }
}

/// Kills services side by side, and looks for what is left.
fn campaign(seed: u64) {
    let mut counts = Counts::default();
    std::thread::scope(|scope| {
        let run = |number| {
            let mut site = Site::new(seed * SERVICES + number);
            for kill in 0..KILLS / SERVICES {
                site.live(kill % 4 == 2);
            }
            site.start();
            site.settle();
            // Of all that was ever put up, nothing is left behind.
            assert_eq!(site.service.ask(r#"{"ask":"panic"}"#).unwrap()["ok"], true);
            site.model.drop_all(true);
            site.model.held = Some(true);
            site.settle();
            site.counts
        };
        let runs: Vec<_> = (0..SERVICES).map(|number| scope.spawn(move || run(number))).collect();
        for run in runs {
            counts += run.join().unwrap();
        }
    });
    println!("{counts:?}");
    assert_eq!(counts.kills, KILLS);
    assert!(counts.answered > 60 && counts.restored > 50, "{counts:?}");
    assert!(counts.in_doubt > 5 && counts.mended > 5, "{counts:?}");
}

#[test]
fn the_first_fifty_kills_lose_no_ban_and_leave_no_orphan() {
    campaign(1);
}

#[test]
fn the_second_fifty_kills_lose_no_ban_and_leave_no_orphan() {
    campaign(2);
}

#[test]
fn the_third_fifty_kills_lose_no_ban_and_leave_no_orphan() {
    campaign(3);
}

#[test]
fn the_last_fifty_kills_lose_no_ban_and_leave_no_orphan() {
    campaign(4);
}
