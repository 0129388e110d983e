//! What the demo has seen: rates, top hosts, attacks and the news of them. It hears the engine as
//! any other observer does.

use std::collections::VecDeque;
use std::time::Duration;

use tidewall_engine::{AverageRates, Averages, Detection as Rule, Observer, WindowView};
use tidewall_model::{Address, Attack, AttackEvent, AttackEventKind, Direction, Prefix, Timestamp};
use tidewall_scenario::{Detection, Scenario};

/// Hosts whose averages are kept.
const HOSTS: usize = 4096;
/// Hosts that are shown at most.
const TOP: usize = 64;
/// Windows whose rate is kept for the graph.
const HISTORY: usize = 512;
/// Demo time between two status lines.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// An attack, or something that looks like one, begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// When.
    pub time: Timestamp,
    /// Its name in the scenario.
    pub name: String,
    /// Whom it hits.
    pub target: Prefix,
    /// False: honest traffic that no one should call an attack.
    pub is_attack: bool,
}

impl Injection {
    /// All of a scenario, in order of time.
    pub fn all(scenario: &Scenario) -> Vec<Self> {
        let mut list: Vec<Self> = scenario
            .attacks
            .iter()
            .enumerate()
            .map(|(index, attack)| Self {
                time: scenario.start + Duration::from_nanos(attack.start_ns),
                name: attack.name.clone(),
                target: attack.target,
                is_attack: scenario.expectations.iter().any(|e| e.attack == index),
            })
            .collect();
        list.sort_by_key(|injection| injection.time);
        list
    }
}

/// Rates of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// End of the window.
    pub time: Timestamp,
    /// Packets per second, in all directions.
    pub pps: f64,
    /// Bits per second, in all directions.
    pub bps: f64,
    /// Hosts of ours that were seen.
    pub hosts: usize,
    /// Attacks that go on.
    pub running: usize,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The generator begins an attack.
    Injected(Injection),
    /// The engine speaks.
    Event(Box<AttackEvent>),
    /// Nothing special: rates, every few seconds.
    Status(Status),
}

/// A host and its average rates, incoming and outgoing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopHost {
    /// The host.
    pub address: Address,
    /// Towards it.
    pub incoming: AverageRates,
    /// From it.
    pub outgoing: AverageRates,
}

/// Everything seen so far.
#[derive(Debug)]
pub struct Watch {
    averages: Averages,
    top: Vec<TopHost>,
    status: Status,
    next_status: Timestamp,
    history: VecDeque<u64>,
    attacks: Vec<Attack>,
    detections: Vec<Detection>,
    news: Vec<News>,
}

impl Watch {
    pub(super) fn new(start: Timestamp, rule: &Rule) -> Self {
        Self {
            averages: Averages::new(HOSTS, rule.window, rule.average_time),
            top: Vec::new(),
            status: Status::default(),
            next_status: start + STATUS_EVERY,
            history: VecDeque::with_capacity(HISTORY),
            attacks: Vec::new(),
            detections: Vec::new(),
            news: Vec::new(),
        }
    }

    pub(super) fn inject(&mut self, injection: Injection) {
        self.news.push(News::Injected(injection));
    }

    /// Takes over how large the attacks that go on have become: events tell it only now and then.
    pub(super) fn refresh<'a>(&mut self, running: impl Iterator<Item = &'a Attack>) {
        for current in running {
            let known = self.attacks.iter_mut().find(|attack| attack.id == current.id);
            if let Some(known) = known.filter(|attack| attack.ended.is_none()) {
                (known.packets, known.bytes) = (current.packets, current.bytes);
                known.peak_pps = current.peak_pps;
                known.peak_bps = current.peak_bps;
                known.peak_flows = current.peak_flows;
            }
        }
    }

    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The busiest hosts, the busiest first.
    pub fn top(&self) -> &[TopHost] {
        &self.top
    }

    /// Rates of the last window.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Packets per second of the last windows, oldest first.
    pub fn history(&self) -> &VecDeque<u64> {
        &self.history
    }

    /// Every attack that was raised, in order, as it is now. Without samples.
    pub fn attacks(&self) -> &[Attack] {
        &self.attacks
    }

    /// The same attacks as they were called when they were raised: what is scored.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    fn running(&self) -> usize {
        self.attacks.iter().filter(|attack| attack.ended.is_none()).count()
    }

    /// Those with the most packets of both directions together.
    fn busiest(&self, window: u64) -> Vec<TopHost> {
        let mut list: Vec<TopHost> = [0, 1]
            .into_iter()
            .flat_map(|side| self.averages.top(side, TOP, window, |rates| rates.packets))
            .map(|(address, _)| {
                let [incoming, outgoing] = self.averages.get(address, window);
                TopHost { address, incoming, outgoing }
            })
            .collect();
        list.sort_by(|a, b| b.packets().total_cmp(&a.packets()).then(a.address.cmp(&b.address)));
        list.dedup_by_key(|host| host.address);
        list.truncate(TOP);
        list
    }
}

impl TopHost {
    fn packets(&self) -> f64 {
        self.incoming.packets + self.outgoing.packets
    }
}

impl Observer for Watch {
    fn window(&mut self, window: &WindowView<'_>) {
        let length_ns = u64::try_from(window.length.as_nanos()).unwrap_or(u64::MAX).max(1);
        let index = window.start.0 / length_ns;
        self.averages.end_window(index, window.hosts());
        self.top = self.busiest(index);
        let (mut packets, mut bytes) = (0, 0);
        for direction in Direction::ALL {
            let total = window.totals(direction).total;
            packets += total.packets;
            bytes += total.bytes;
        }
        let seconds = window.length.as_secs_f64();
        self.status = Status {
            time: window.start + window.length,
            pps: packets as f64 / seconds,
            bps: bytes as f64 * 8.0 / seconds,
            hosts: window.host_count(),
            running: self.running(),
        };
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(self.status.pps as u64);
        if self.status.time >= self.next_status {
            self.next_status = self.status.time + STATUS_EVERY;
            self.news.push(News::Status(self.status));
        }
    }

    fn event(&mut self, event: &AttackEvent) {
        // Samples are for reports; here nobody looks at them.
        let mut attack = event.attack.clone();
        attack.samples = Vec::new();
        let known = self.attacks.iter().position(|other| other.id == attack.id);
        match (known, event.kind) {
            (Some(index), _) => {
                if let Some(detection) = self.detections.get_mut(index) {
                    detection.ended = attack.ended;
                }
                if let Some(known) = self.attacks.get_mut(index) {
                    known.clone_from(&attack);
                }
            }
            (None, AttackEventKind::Started | AttackEventKind::Updated) => {
                self.detections.push(Detection::from(&attack));
                self.attacks.push(attack.clone());
            }
            (None, AttackEventKind::Ended) => {}
        }
        self.news.push(News::Event(Box::new(AttackEvent { attack, ..*event })));
    }
}
