//! Every scenario through every medium: captured frames, sFlow at three rates, NetFlow v5 and v9
//! and IPFIX. They must find the same attacks.
//!
//! *The same* has a meaning that does not depend on what was found. Sampling takes evidence away,
//! and a flow cache brings it later; the manual says how much evidence an alarm needs. So from the
//! packets that were really sent, `prediction` works out for each target and medium the earliest
//! slice in which an alarm is possible and the latest in which it is certain. An alarm before the
//! first, or without one, is false; none within one window of the second is a miss; between the
//! two, chance decides. Without sampling nothing is left to chance: the same targets as in the
//! frames, in the same class, as often.
//!
//! What is counted must be the same too: to the packet and the byte without sampling, within five
//! standard deviations of it otherwise. Bytes are those of the IP header, which all media have.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod media;
mod prediction;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use media::{Kind, Medium};
use prediction::{Course, Prediction, SLICE_NS, SLICES, at, side};
use tidewall::config::Frames;
use tidewall::demo;
use tidewall::replay::{self, Outcome, Settings};
use tidewall_model::{Address, AttackClass, Direction, FlowRecord, Prefix, Target, Timestamp};
use tidewall_scenario::{FlowProtocol, Generator, Scenario};
use tidewall_wire::frame::LengthMode;

const WINDOW: Duration = Duration::from_secs(1);

const V5: Medium = Medium::new("NetFlow v5", Kind::Flows(FlowProtocol::NetflowV5), 1);
const MEDIA: [Medium; 9] = [
    Medium::new("frames", Kind::Frames, 1),
    Medium::new("sFlow 1:1", Kind::Sflow, 1),
    Medium::new("sFlow 1:100", Kind::Sflow, 100),
    Medium::new("sFlow 1:1000", Kind::Sflow, 1000),
    V5,
    Medium::new("NetFlow v9", Kind::Flows(FlowProtocol::NetflowV9), 1),
    Medium::new("NetFlow v9 1:1000", Kind::Flows(FlowProtocol::NetflowV9), 1000),
    Medium::new("IPFIX", Kind::Flows(FlowProtocol::Ipfix), 1),
    Medium::new("IPFIX 1:100", Kind::Flows(FlowProtocol::Ipfix), 100),
];

/// The scenario files, and in how many seconds each is told: long enough for its evidence, and
/// short enough for a test.
const STORIES: [(&str, u64); 10] = [
    ("carpet_24", 12),
    ("dns_amplification", 12),
    ("flash_crowd", 12),
    ("ipv6_udp_flood", 9),
    ("memcached_both_ways", 10),
    ("multi_vector", 18),
    ("noisy_background", 15),
    ("pulse_wave", 18),
    ("slow_ramp", 30),
    ("syn_flood", 30),
];

/// A target of one direction.
type Side = (Target, Direction);

/// The packets of a scenario, and the rule applied to them.
struct World {
    scenario: Scenario,
    records: Vec<FlowRecord>,
}

/// An attack as a medium finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Finding {
    first: Timestamp,
    class: AttackClass,
    /// Attacks on this target.
    number: usize,
}

type Findings = BTreeMap<Side, Finding>;
/// For each target what each of its metrics counted.
type Courses = BTreeMap<Side, Vec<Course>>;

impl World {
    fn new(scenario: Scenario) -> Self {
        let records = Generator::new(&scenario).collect();
        Self { scenario, records }
    }

    fn slices(&self) -> usize {
        self.scenario.duration_ns.div_ceil(SLICE_NS) as usize
    }

    /// The courses of all metrics that a target has a limit for, as far as a medium carries them.
    fn courses(&self, medium: &Medium, sides: &BTreeSet<Side>) -> Courses {
        let limits = &self.scenario.limits;
        let course = |list: &[(tidewall_model::Metric, f64)]| {
            let new = |(metric, limit): &(_, f64)| Course::new(*metric, *limit, self.slices());
            list.iter().map(new).collect::<Vec<_>>()
        };
        let mut courses = Courses::new();
        for side in sides {
            let list = match &side.0 {
                Target::Host(_) => course(&limits.host),
                Target::Network(prefix) => {
                    let own = limits.networks.iter().find(|(network, _)| network == prefix);
                    course(&own.unwrap().1)
                }
                Target::Group(name) => panic!("no group has a limit: {name}"),
            };
            courses.insert(side.clone(), list);
        }
        for record in self.records.iter().filter_map(|record| medium.shows(record)) {
            let slice = record.time.since(self.scenario.start).as_nanos() as u64 / SLICE_NS;
            for ((target, direction), list) in &mut courses {
                if holds(target, side(&record, *direction)) {
                    for course in list.iter_mut() {
                        course.add(&record, slice as usize);
                    }
                }
            }
        }
        courses.values_mut().flatten().for_each(Course::close);
        courses
    }

    fn predictions(medium: &Medium, courses: &Courses) -> BTreeMap<Side, Prediction> {
        let delay = (medium.delay().as_nanos() as u64).div_ceil(SLICE_NS) as usize;
        let predict = |list: &Vec<Course>| {
            let each = list.iter().map(|course| course.predict(medium.sampling, delay));
            each.reduce(Prediction::or).unwrap_or_default()
        };
        courses.iter().map(|(side, list)| (side.clone(), predict(list))).collect()
    }

    fn replay(&self, medium: &Medium) -> Outcome {
        let frames = Frames { length: LengthMode::IpHeader, ..Frames::default() };
        let settings = Settings { frames, ..Settings::new(demo::policy(&self.scenario)) };
        let capture = medium.capture(&self.records);
        replay::run(&[capture], &settings, &mut |_| {}).unwrap()
    }

    /// Packets, bytes, and the sum of the squares of the bytes, of each direction.
    fn sums(&self, medium: &Medium) -> [[f64; 3]; 4] {
        let ours = |address: Address| {
            self.scenario.networks.iter().any(|network: &Prefix| network.contains(address))
        };
        let mut sums = [[0.0; 3]; 4];
        for record in self.records.iter().filter_map(|record| medium.shows(record)) {
            let direction = match (ours(record.src_address()), ours(record.dst_address())) {
                (false, true) => Direction::Incoming,
                (true, false) => Direction::Outgoing,
                (true, true) => Direction::Internal,
                (false, false) => Direction::Other,
            };
            let bytes = record.bytes as f64;
            let sum = &mut sums[direction as usize];
            *sum = [sum[0] + 1.0, sum[1] + bytes, sum[2] + bytes * bytes];
        }
        sums
    }
}

/// Does the address count for the target?
fn holds(target: &Target, address: Address) -> bool {
    match target {
        Target::Host(host) => *host == address,
        Target::Network(network) => network.contains(address),
        Target::Group(_) => false,
    }
}

fn findings(outcome: &Outcome) -> Findings {
    let mut findings = Findings::new();
    for attack in &outcome.attacks {
        let side = (attack.target.clone(), attack.direction);
        let new = Finding { first: attack.detected, class: attack.class, number: 0 };
        let finding = findings.entry(side).or_insert(new);
        finding.first = finding.first.min(attack.detected);
        finding.number += 1;
    }
    findings
}

/// Tells what is wrong, and counts what was certain and what was left to chance.
#[derive(Default)]
struct Judge {
    wrong: Vec<String>,
    certain: BTreeMap<&'static str, usize>,
    chance: BTreeMap<&'static str, usize>,
}

impl Judge {
    fn story(&mut self, name: &str, world: &World) {
        let outcomes = MEDIA.map(|medium| {
            let outcome = world.replay(&medium);
            self.sums(name, world, &medium, &outcome);
            findings(&outcome)
        });
        let sides: BTreeSet<Side> =
            outcomes.iter().flat_map(|found| found.keys().cloned()).collect();
        let [all, v5] = [&MEDIA[0], &V5].map(|medium| world.courses(medium, &sides));
        for (medium, found) in MEDIA.iter().zip(&outcomes) {
            let courses = if *medium == V5 { &v5 } else { &all };
            for (side, prediction) in World::predictions(medium, courses) {
                let name = format!("{name}, {}: {} {}", medium.name, side.0, side.1);
                let found = found.get(&side);
                self.alarm(&name, world.scenario.start, medium, found, prediction);
                // What v5 shows less of, it need not find.
                let shown = *medium != V5 || prediction.certain.is_some();
                if medium.sampling == 1 && shown {
                    self.same(&name, medium, found, outcomes[0].get(&side));
                }
            }
        }
        self.truths(name, world, &outcomes);
    }

    /// Is everything counted?
    fn sums(&mut self, name: &str, world: &World, medium: &Medium, outcome: &Outcome) {
        let beyond = f64::from(medium.sampling - 1);
        let sums = world.sums(medium);
        for direction in Direction::ALL {
            let [packets, bytes, squares] = sums[direction as usize];
            let total = outcome.totals[direction as usize].total;
            for (what, got, want, variance) in [
                ("packets", total.packets, packets, beyond * packets),
                ("bytes", total.bytes, bytes, beyond * squares),
            ] {
                let error = (got as f64 - want).abs();
                if error > 5.0 * variance.sqrt() {
                    let medium = medium.name;
                    self.wrong.push(format!("{name}, {medium}: {got} {what}, not {want}"));
                }
            }
        }
    }

    /// Is an alarm raised when it must, and not when it cannot be?
    fn alarm(
        &mut self,
        name: &str,
        start: Timestamp,
        medium: &Medium,
        found: Option<&Finding>,
        prediction: Prediction,
    ) {
        let first = found.map(|finding| finding.first);
        println!(
            "{name}: possible {:?}, certain {:?}, raised {:?}",
            prediction.possible.map(|slice| slice as f64 / SLICES as f64),
            prediction.certain.map(|slice| slice as f64 / SLICES as f64),
            first.map(|time| time.since(start).as_secs_f64()),
        );
        let possible = prediction.possible.map(|slice| at(start, slice));
        let certain = prediction.certain.map(|slice| at(start, slice) + WINDOW);
        match (first, possible) {
            (Some(time), None) => self.wrong.push(format!("{name}: false alarm at {time}")),
            (Some(time), Some(possible)) if time < possible => {
                self.wrong.push(format!("{name}: alarm at {time}, impossible before {possible}"));
            }
            _ => {}
        }
        match (first, certain) {
            (None, Some(certain)) => {
                self.wrong.push(format!("{name}: missed, certain by {certain}"));
            }
            (Some(time), Some(certain)) if time > certain => {
                self.wrong.push(format!("{name}: alarm at {time}, certain by {certain}"));
            }
            _ => {}
        }
        let count = if certain.is_some() { &mut self.certain } else { &mut self.chance };
        *count.entry(medium.name).or_default() += 1;
    }

    /// Without sampling: the attack of the frames, one window and the medium's delay apart.
    fn same(
        &mut self,
        name: &str,
        medium: &Medium,
        found: Option<&Finding>,
        frames: Option<&Finding>,
    ) {
        let (Some(found), Some(frames)) = (found, frames) else {
            if found != frames {
                self.wrong.push(format!("{name}: {found:?}, by its frames {frames:?}"));
            }
            return;
        };
        let latest = frames.first + WINDOW + medium.delay();
        let in_time = found.first + WINDOW >= frames.first && found.first <= latest;
        if (found.class, found.number) != (frames.class, frames.number) || !in_time {
            self.wrong.push(format!("{name}: {found:?}, by its frames {frames:?}"));
        }
    }

    /// What is found is what the scenario's author wrote.
    fn truths(&mut self, name: &str, world: &World, outcomes: &[Findings]) {
        let truths = world.scenario.truth();
        for (medium, found) in MEDIA.iter().zip(outcomes) {
            for ((target, direction), finding) in found {
                let prefix = match target {
                    Target::Host(host) => Prefix::host(*host),
                    Target::Network(network) => *network,
                    Target::Group(_) => continue,
                };
                let fits = truths.iter().any(|truth| {
                    truth.direction == *direction
                        && (truth.target == prefix || prefix.covers(truth.target))
                        && truth.classes.contains(&finding.class)
                });
                if !fits {
                    let medium = medium.name;
                    self.wrong.push(format!("{name}, {medium}: {target} as {:?}", finding.class));
                }
            }
        }
    }

    /// Nothing may be wrong, and at least so many alarms must have been certain.
    fn sentence(&self, least: usize) {
        println!("certain: {:?}\nleft to chance: {:?}", self.certain, self.chance);
        let certain: usize = self.certain.values().sum();
        assert!(certain >= least, "only {certain} alarms were certain");
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}

#[test]
fn the_scenarios_are_found_alike_in_every_medium() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).count();
    assert_eq!(files, STORIES.len(), "a scenario is not in the list");
    let mut judge = Judge::default();
    for (name, seconds) in STORIES {
        let text = std::fs::read_to_string(folder.join(name).with_extension("toml")).unwrap();
        let scenario = Scenario::parse(&text).unwrap();
        judge.story(name, &World::new(scenario.stretched_to(Duration::from_secs(seconds))));
    }
    judge.sentence(85);
}

#[test]
fn the_demo_is_found_alike_in_every_medium() {
    let mut judge = Judge::default();
    let scenario = Scenario::demo(Duration::from_secs(30), 1).unwrap();
    judge.story("demo", &World::new(scenario));
    judge.sentence(65);
}
