//! What is known about an exporter's truthfulness: how much came, what is missing, what its clock
//! says, how it samples, and verdicts in words.
//!
//! Updates cost a few nanoseconds and allocate nothing once an exporter is known. Anyone can send
//! in any address's name, so an exporter's state is bounded: what is rare lies in boxes made when
//! first needed, and an agent's interfaces get their places only as its datagrams come in. One
//! exporter takes less than 1 KiB at first and at most 48 KiB; the tests assert both.
//!
//! Verdicts speak of the last five to ten minutes of the exporter's datagrams, totals of all time.
//! Stretches of five minutes begin at the same instants for every exporter and every worker, so
//! that the parts that several workers know of one exporter can be joined.

mod agent;
mod clock_skew;
mod interfaces;
mod join;
mod report;
mod sampling;
mod sequence;
mod table;
mod tally;
mod templates;
mod timeouts;
mod verdict;
mod words;

use std::time::Duration;

use tidewall_model::{DropCounters, DropReason, SamplingRate, Timestamp};

use crate::{Crediting, SamplingOrigin};

use agent::{Agent, Said};
use clock_skew::ClockSkew;
use interfaces::{Counters, Interfaces};
use sampling::RatesInUse;
use sequence::Sequence;
use tally::Tally;
use templates::MissingTemplates;
use timeouts::Timeouts;

pub use agent::SourceReport;
pub use interfaces::{Agreement, InterfaceMeasure, InterfaceReport, Way};
pub use join::{Dealing, Part};
pub use report::{HealthReport, RecentReport};
pub use sampling::RateInUse;
pub use sequence::{Numbering, SequenceUnit};
pub use templates::MissingTemplate;
pub use verdict::{Severity, Verdict};

/// Half of what "recent" means.
const TURN: Duration = Duration::from_mins(5);

/// An age that fell by less is a datagram that was overtaken, not a restart.
const OVERTAKEN_MS: u32 = 5000;

/// Datagrams for each place of an interface or data source, beyond the first places.
const DATAGRAMS_FOR_A_PLACE: u64 = 8;
const FIRST_PLACES: u64 = 4;

/// What is known about one exporter.
#[derive(Clone, Debug)]
pub struct ExporterHealth {
    first_seen: Timestamp,
    last_seen: Timestamp,
    /// The current stretch of time: so many had gone by since 1970.
    stretch: u64,
    datagrams: Tally,
    flows: Tally,
    options: Tally,
    templates: u64,
    absurd: Tally,
    drops: DropCounters,
    /// The drops when the last stretches of time began: two turns ago, and one.
    drops_before: Option<Box<[DropCounters; 2]>>,
    sequence: Sequence,
    /// Records counted when the last sequence number came.
    records: u64,
    uptime_ms: Option<u32>,
    /// Did the age fall in this datagram?
    restarted: bool,
    clock: ClockSkew,
    missing: MissingTemplates,
    rates: RatesInUse,
    timeouts: Timeouts,
    crediting: Crediting,
    interfaces: Option<Box<Interfaces>>,
    agent: Option<Box<Agent>>,
}

impl ExporterHealth {
    /// Of an exporter that is heard for the first time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            first_seen: now,
            last_seen: now,
            stretch: stretch_of(now),
            datagrams: Tally::default(),
            flows: Tally::default(),
            options: Tally::default(),
            templates: 0,
            absurd: Tally::default(),
            drops: DropCounters::default(),
            drops_before: None,
            sequence: Sequence::default(),
            records: 0,
            uptime_ms: None,
            restarted: false,
            clock: ClockSkew::default(),
            missing: MissingTemplates::default(),
            rates: RatesInUse::default(),
            timeouts: Timeouts::default(),
            crediting: Crediting::Arrival,
            interfaces: None,
            agent: None,
        }
    }

    /// A datagram came. `exported` is the time in its header, `uptime_ms` the exporter's age.
    /// Called before anything else is said of the datagram.
    #[inline]
    pub fn datagram(
        &mut self,
        received: Timestamp,
        exported: Option<Timestamp>,
        uptime_ms: Option<u32>,
    ) {
        // Back by one is a datagram that was overtaken, further back a clock that was set.
        let stretch = stretch_of(received);
        if stretch > self.stretch || stretch + 1 < self.stretch {
            self.turn(stretch);
        }
        self.last_seen = self.last_seen.max(received);
        self.datagrams.add(1);
        if let Some(exported) = exported {
            self.clock.note(received, exported);
        }
        // Modulo 2³², so that an age of 49.7 days falls to zero without a restart.
        let age = |(before, now): (u32, u32)| before.wrapping_sub(now);
        let fell = self.uptime_ms.zip(uptime_ms).map_or(0, age);
        self.restarted = (OVERTAKEN_MS..1 << 31).contains(&fell);
        if uptime_ms.is_some() && (fell == 0 || fell >= OVERTAKEN_MS) {
            self.uptime_ms = uptime_ms;
        }
    }

    /// Is the last datagram the exporter's first one?
    #[inline]
    pub fn has_one_datagram(&self) -> bool {
        self.datagrams.total() == 1
    }

    /// Did the exporter start anew before the last datagram, by its age?
    #[inline]
    pub fn has_restarted(&self) -> bool {
        self.restarted
    }

    /// The number in the datagram's header, and by how much it will have grown in the next one
    /// (`None`: not known, because some records could not be counted).
    #[inline]
    pub fn sequence(&mut self, number: u32, units: Option<u32>) {
        let records = self.flows.total().saturating_add(self.options.total());
        let since = records.saturating_sub(self.records);
        self.records = records;
        self.sequence.note(number, units, self.restarted, since);
    }

    /// Some of the exporter's datagrams may have gone to another worker, who tells of them: what
    /// comes next says nothing of what is missing before it.
    pub fn heard_elsewhere(&mut self) {
        self.sequence.begin_anew();
    }

    /// So many flows were counted.
    #[inline]
    pub fn flows(&mut self, count: u64) {
        self.flows.add(count);
    }

    /// So many records of options were read.
    #[inline]
    pub fn options(&mut self, count: u64) {
        self.options.add(count);
    }

    /// A template was learnt, or heard again.
    pub fn template(&mut self, id: u16) {
        self.missing.found(id);
        self.templates = self.templates.saturating_add(1);
    }

    /// Data came for which there is no template.
    pub fn missing_template(&mut self, id: u16, now: Timestamp) {
        self.missing.note(id, now);
    }

    /// Something was not counted.
    #[inline]
    pub fn drop(&mut self, reason: DropReason, count: u64) {
        self.drops.add(reason, count);
    }

    /// Records are scaled by this rate now. Called for each datagram at most once a rate.
    #[inline]
    pub fn sampling(&mut self, rate: SamplingRate, origin: SamplingOrigin, now: Timestamp) {
        self.rates.note(rate, origin, now);
    }

    /// The exporter's timeouts, as it announces them.
    pub fn timeouts(&mut self, active: Option<Duration>, idle: Option<Duration>) {
        self.timeouts.announce(active, idle);
    }

    /// The longest duration of a flow in a datagram.
    #[inline]
    pub fn longest_flow(&mut self, duration: Duration) {
        self.timeouts.flow(duration);
    }

    /// Durations that made no sense: negative, or longer than the exporter's age.
    #[inline]
    pub fn absurd_durations(&mut self, count: u64) {
        self.absurd.add(count);
    }

    /// How its flows are credited: lumps are told of only where there are some.
    pub fn credited(&mut self, crediting: Crediting) {
        self.crediting = crediting;
    }

    /// An sFlow sample: its data source, the interfaces that it names, and the bytes and packets
    /// that it stands for.
    #[inline]
    pub fn sampled(
        &mut self,
        source_index: u32,
        input_if: Option<u32>,
        output_if: Option<u32>,
        bytes_scaled: u64,
        packets_scaled: u64,
    ) {
        // Without counters there is nothing to compare with.
        if let Some(interfaces) = &mut self.interfaces {
            interfaces.sampled(source_index, input_if, output_if, bytes_scaled, packets_scaled);
        }
    }

    /// The counters of an interface: octets of 64 bits, all ones when the agent does not count;
    /// packets as the sum of its unicast, multicast and broadcast counters of 32 bits.
    #[expect(clippy::too_many_arguments, reason = "the fields of one counter record")]
    pub fn interface_counters(
        &mut self,
        index: u32,
        in_octets: u64,
        out_octets: u64,
        in_packets: u64,
        out_packets: u64,
        speed_bps: u64,
        now: Timestamp,
    ) {
        let room = self.room();
        let input = (in_octets, in_packets);
        let counters = Counters { index, input, output: (out_octets, out_packets), speed_bps };
        let interfaces = self.interfaces.get_or_insert_with(|| Box::new(Interfaces::new()));
        interfaces.counters(&counters, now, room);
    }

    /// What `count` sFlow samples in a row say of their source, by the last of them: samples dropped
    /// and packets that could have been sampled since the agent started, and 1 packet in how many
    /// is.
    #[inline]
    pub fn agent_drops(
        &mut self,
        source_index: u32,
        count: u64,
        drops: u32,
        sample_pool: u32,
        rate: u32,
    ) {
        let (room, lost) = (self.room(), self.sequence.lost.total());
        let agent = self.agent.get_or_insert_with(|| Box::new(Agent::new()));
        let said = Said { count, drops, pool: sample_pool, rate };
        agent.samples(source_index, said, lost, room);
    }

    /// What is wrong with this exporter, worst first; nothing when all is well.
    pub fn verdicts(&self, now: Timestamp) -> Vec<Verdict> {
        self.summary().verdicts(now)
    }

    /// Everything that is known.
    pub fn summary(&self) -> HealthReport {
        report::of(self)
    }

    /// Places of interfaces and of data sources that the exporter has earned: a datagram in a
    /// stranger's name must not cost much memory.
    #[inline]
    fn room(&self) -> usize {
        (FIRST_PLACES + self.datagrams.total() / DATAGRAMS_FOR_A_PLACE) as usize
    }

    /// A stretch of time is over; after a long silence, two.
    #[cold]
    fn turn(&mut self, stretch: u64) {
        let turns = if stretch == self.stretch + 1 { 1 } else { 2 };
        self.stretch = stretch;
        for _ in 0..turns {
            self.datagrams.turn();
            self.flows.turn();
            self.options.turn();
            self.absurd.turn();
            self.sequence.turn();
            self.timeouts.turn();
            if let Some(agent) = &mut self.agent {
                agent.turn();
            }
            match &mut self.drops_before {
                Some(before) => {
                    before.rotate_left(1);
                    let [_, last] = &mut **before;
                    *last = self.drops;
                }
                None if self.drops.total() > 0 => {
                    self.drops_before = Some(Box::new([DropCounters::default(), self.drops]));
                }
                None => {}
            }
        }
    }
}

/// The stretch of time in which an instant lies.
#[inline]
const fn stretch_of(time: Timestamp) -> u64 {
    time.0 / TURN.as_nanos() as u64
}

#[cfg(test)]
mod tests;
