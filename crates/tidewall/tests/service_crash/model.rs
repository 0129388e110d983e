//! What must be up and what must not, by what was asked and answered. A request that was under way
//! when the service was killed may have had its effect or not.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tidewall::replay::parse_time;
use tidewall_engine::planner::Saved;
use tidewall_model::{CausedBy, Mitigation, MitigationKind, MitigationStatus, Target, Timestamp};

/// Bans of attacks last so long.
pub const BAN_TIME: Duration = Duration::from_secs(3);
/// An attack is over so long after its last packet: a window, `release_time`, and some delay.
const OVER: Duration = Duration::from_millis(2500);
/// The service looks at ends once a second, and then has something to do.
const LATE: Duration = Duration::from_millis(2500);
/// Hosts that people ban, ...
pub const MANUAL: std::ops::Range<u8> = 10..26;
/// ... those of them that a rail protects now and then, ...
pub const PROTECTED: std::ops::Range<u8> = 22..26;
/// ... and hosts that are attacked, and banned by people too.
pub const ATTACKED: std::ops::Range<u8> = 100..108;

/// One reason for a ban.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// It is up until then at least.
    pub surely: SystemTime,
    /// It may be up until then.
    pub maybe: SystemTime,
}

impl Span {
    pub const NONE: Self = Self { surely: SystemTime::UNIX_EPOCH, maybe: SystemTime::UNIX_EPOCH };
}

/// The route of one host.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    pub person: Span,
    pub attack: Span,
    /// Its last packet in this life of the service.
    pub last_packet: Option<SystemTime>,
}

/// All hosts.
#[derive(Clone, Debug)]
pub struct Model {
    pub hosts: BTreeMap<u8, Fate>,
    /// Is the brake pulled? `None`: that was asked when the service died.
    pub held: Option<bool>,
    /// As the configuration has it.
    pub protects: bool,
}

pub fn address(host: u8) -> String {
    format!("192.0.2.{host}")
}

/// A ban of an attack whose last packet is sent now may last until then.
pub fn attack_may_last(now: SystemTime) -> SystemTime {
    now + OVER + BAN_TIME
}

impl Model {
    pub fn new() -> Self {
        let none = Fate { person: Span::NONE, attack: Span::NONE, last_packet: None };
        let hosts = MANUAL.chain(ATTACKED).map(|host| (host, none)).collect();
        Self { hosts, held: Some(false), protects: false }
    }

    /// Nothing is surely up any more; `certain`: and nothing is.
    pub fn drop_all(&mut self, certain: bool) {
        for fate in self.hosts.values_mut() {
            fate.end(certain);
        }
    }

    /// The same for the hosts that a rail protects.
    pub fn drop_protected(&mut self, certain: bool) {
        for host in PROTECTED {
            self.fate(host).end(certain);
        }
    }

    pub fn fate(&mut self, host: u8) -> &mut Fate {
        self.hosts.get_mut(&host).unwrap()
    }

    /// The service is started again.
    pub fn restarted(&mut self) {
        if self.protects {
            self.drop_protected(false);
        }
        for fate in self.hosts.values_mut() {
            fate.last_packet = None;
        }
    }

    /// Compares routes that are up with what must be, at a time between these two.
    pub fn check(&self, what: &str, up: &BTreeMap<u8, Ends>, from: SystemTime, to: SystemTime) {
        for (host, fate) in &self.hosts {
            let (is_up, name) = (up.contains_key(host), address(*host));
            assert!(
                is_up || !fate.is_surely_up(to),
                "{what}: the ban of {name} is lost: {fate:?}, now {to:?}"
            );
            assert!(
                !is_up || fate.may_be_up(from),
                "{what}: {name} is still banned, an orphan: {fate:?}, now {from:?}"
            );
            if let Some(ends) = up.get(host).and_then(|ends| ends.person)
                && fate.person.surely > from
            {
                let (least, most) = (fate.person.surely, fate.person.maybe);
                let margin = Duration::from_millis(1);
                assert!(
                    (least - margin..=most + margin).contains(&ends),
                    "{what}: the ban of {name} ends at {ends:?}, and was asked for until {least:?}"
                );
            }
        }
        for host in up.keys() {
            assert!(self.hosts.contains_key(host), "{what}: nobody asked for {}", address(*host));
        }
    }

    /// What is up is known again.
    pub fn learn(&mut self, up: &BTreeMap<u8, Ends>, held: bool) {
        for (host, fate) in &mut self.hosts {
            let ends = up.get(host).copied().unwrap_or_default();
            let known = |ends: Option<SystemTime>| {
                ends.map_or(Span::NONE, |ends| Span { surely: ends, maybe: ends })
            };
            (fate.person, fate.attack) = (known(ends.person), known(ends.attack));
        }
        self.held = Some(held);
    }
}

impl Fate {
    /// Its end was asked for; `certain`: and is answered.
    pub fn end(&mut self, certain: bool) {
        for span in [&mut self.person, &mut self.attack] {
            span.surely = Span::NONE.surely;
            if certain {
                *span = Span::NONE;
            }
        }
    }

    /// Its packets may not have been looked at.
    pub fn is_just_attacked(&self, now: SystemTime) -> bool {
        self.last_packet.is_some_and(|last| now < last + OVER)
    }

    pub fn is_surely_up(&self, now: SystemTime) -> bool {
        now < self.person.surely.max(self.attack.surely)
    }

    fn may_be_up(&self, now: SystemTime) -> bool {
        now < self.person.maybe.max(self.attack.maybe) + LATE
    }
}

/// When the reasons of a ban end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub person: Option<SystemTime>,
    pub attack: Option<SystemTime>,
}

/// The host of an address of ours.
fn host(target: &str) -> u8 {
    target.strip_prefix("192.0.2.").unwrap().parse().unwrap()
}

fn time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(time.0)
}

/// Blackholes that the journal knows as up.
pub fn journalled(saved: &Saved) -> BTreeMap<u8, Ends> {
    let is_up = |one: &&Mitigation| {
        one.kind == MitigationKind::Blackhole && one.status != MitigationStatus::Withdrawing
    };
    let ends = |one: &Mitigation| {
        let Target::Host(address) = &one.target else { panic!("{one:?}") };
        let mut ends = Ends::default();
        for cause in &one.causes {
            match cause.by {
                CausedBy::Operator { .. } => ends.person = Some(time(cause.ends)),
                CausedBy::Attack { .. } => ends.attack = Some(time(cause.ends)),
            }
        }
        (host(&address.to_string()), ends)
    };
    saved.mitigations.iter().filter(is_up).map(ends).collect()
}

/// What `bans` says.
#[derive(Clone, Debug)]
pub struct Bans {
    pub routes: BTreeMap<u8, Ends>,
    pub notices: Vec<String>,
    /// Everything is confirmed.
    pub is_settled: bool,
    pub held: bool,
    pub journal_failures: u64,
}

impl Bans {
    pub fn read(data: &Value) -> Self {
        let (mut routes, mut notices) = (BTreeMap::new(), Vec::new());
        let list = data["mitigations"].as_array().unwrap();
        for one in list.iter().filter(|one| one["status"] != "withdrawing") {
            let target = one["target"].as_str().unwrap();
            if one["kind"] == "notify" {
                notices.push(target.to_owned());
                continue;
            }
            let mut ends = Ends::default();
            for cause in one["causes"].as_array().unwrap() {
                let at = parse_time(cause["ends"].as_str().unwrap()).unwrap();
                if cause["by"].get("operator").is_some() {
                    ends.person = Some(time(at));
                } else {
                    ends.attack = Some(time(at));
                }
            }
            routes.insert(host(target), ends);
        }
        Self {
            routes,
            notices,
            is_settled: list.iter().all(|one| one["status"] == "active"),
            held: !data["held"].is_null(),
            journal_failures: data["journal"]["failures"].as_u64().unwrap(),
        }
    }
}
