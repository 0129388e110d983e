//! An agent's interface counters against its samples: both tell how much went through an
//! interface, by different ways, so they should agree. When they do not, the sampling rate, the
//! frame lengths or the agent's set-up is wrong.
//!
//! A direction of an interface is compared where the agent samples it there: packets that come in
//! where it samples at the way in, packets that leave where it samples at the way out. It is
//! measured over at least a minute and until there are enough samples; it takes two measures in a
//! row that are off in the same sense to say so, because counters are read a little before or
//! after the samples.

use std::time::Duration;

use tidewall_model::Timestamp;

use super::table::Table;

/// A measure takes at least so long.
const MEASURE: Duration = Duration::from_mins(1);

/// Samples that a measure needs, or should have had: one standard deviation is 5 % then.
const SAMPLES: u64 = 400;

/// Share of the counters by which the samples may be off: 4 standard deviations of 400 samples.
const TOLERANCE: f64 = 0.2;

/// Standard deviations by which the bytes of samples may be off besides.
const SIGMAS: f64 = 4.0;

/// Of samples taken elsewhere one in so many is looked at: they only tell that there are some.
const ELSEWHERE: u32 = 8;

/// Measures in a row that prove it.
const PROOF: i8 = 2;

/// A direction of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Into the device.
    In,
    /// Out of the device.
    Out,
}

/// What samples and counters say of one way, as rates over the last measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InterfaceMeasure {
    /// Bits per second by the samples.
    pub sampled_bps: f32,
    /// Bits per second by the counters.
    pub counted_bps: f32,
    /// Packets per second by the samples.
    pub sampled_pps: f32,
    /// Packets per second by the counters; `None` when they may have wrapped more than once.
    pub counted_pps: Option<f32>,
    /// How samples and counters go together.
    pub agreement: Agreement,
}

/// How samples and counters go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Within the error of sampling, or not proven otherwise.
    Agree,
    /// The samples show another number of packets than the counters.
    PacketsDiffer,
    /// The samples show another number of bytes than the counters.
    BytesDiffer,
    /// The counters grow, and no sample mentions this way of the interface.
    Unsampled,
    /// Samples taken elsewhere show this way: it is not compared.
    Elsewhere,
}

/// One interface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InterfaceReport {
    /// ifIndex.
    pub index: u32,
    /// ifSpeed in bits per second, 0 when not known.
    pub speed_bps: u64,
    /// The last measure of what came in.
    pub input: Option<InterfaceMeasure>,
    /// The last measure of what went out.
    pub output: Option<InterfaceMeasure>,
}

/// The counters of one way at the last counter sample, and what came since the measure began.
#[derive(Clone, Debug, Default)]
struct Side {
    octets: u64,
    packets: u32,
    /// Samples that were taken here, and about how many taken elsewhere mention this way.
    samples: u32,
    elsewhere: u32,
    /// Measures in a row that were off: above zero when the samples were too high.
    off: i8,
    /// May the packet counter have wrapped more than once?
    wrapped: bool,
    time: Duration,
    grown_octets: u64,
    grown_packets: u64,
    sampled_bytes: u64,
    sampled_packets: u64,
    /// Sum of squares of the samples' bytes: the variance of their sum.
    squares: f64,
    measure: Option<InterfaceMeasure>,
}

#[derive(Clone, Debug)]
struct Entry {
    at: Timestamp,
    speed_bps: u64,
    input: Side,
    output: Side,
}

/// The counters of an interface in one sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    pub index: u32,
    /// Octets and packets.
    pub input: (u64, u64),
    pub output: (u64, u64),
    pub speed_bps: u64,
}

/// The interfaces of one agent that send counters.
#[derive(Clone, Debug)]
pub(super) struct Interfaces {
    table: Table<Entry>,
    /// Packets that the last sample stood for.
    scale: u64,
    /// Scatters the samples that are looked at.
    weyl: u32,
}

impl Interfaces {
    pub(super) const fn new() -> Self {
        Self { table: Table::new(), scale: 0, weyl: 0 }
    }

    /// One sample, scaled.
    #[inline]
    pub(super) fn sampled(
        &mut self,
        source: u32,
        input: Option<u32>,
        output: Option<u32>,
        bytes: u64,
        packets: u64,
    ) {
        self.scale = packets;
        let leaving = output == Some(source) && input != Some(source);
        let (here, elsewhere) = if leaving { (output, input) } else { (input, output) };
        if let Some(entry) = here.and_then(|index| self.table.get_mut(index)) {
            let side = if leaving { &mut entry.output } else { &mut entry.input };
            side.sampled(bytes, packets);
        }
        // Multiples of the golden ratio are even, and in step with nothing.
        self.weyl = self.weyl.wrapping_add(0x9e37_79b9);
        if self.weyl < u32::MAX / ELSEWHERE {
            self.mention(elsewhere, leaving);
        }
    }

    fn mention(&mut self, elsewhere: Option<u32>, leaving: bool) {
        if let Some(entry) = elsewhere.and_then(|index| self.table.get_mut(index)) {
            let side = if leaving { &mut entry.input } else { &mut entry.output };
            side.elsewhere = side.elsewhere.saturating_add(ELSEWHERE);
        }
    }

    /// The counters of an interface, where there is room for it.
    pub(super) fn counters(&mut self, counters: &Counters, now: Timestamp, room: usize) {
        let Counters { index, input, output, speed_bps } = *counters;
        let scale = self.scale;
        let mut is_new = false;
        let entry = self.table.admit(index, room, || {
            is_new = true;
            Entry { at: now, speed_bps, input: Side::default(), output: Side::default() }
        });
        let Some(entry) = entry else { return };
        // A counter sample may come twice, or late.
        if now <= entry.at && !is_new {
            return;
        }
        let elapsed = now.since(entry.at);
        (entry.at, entry.speed_bps) = (now, speed_bps);
        for (side, (octets, packets)) in [(&mut entry.input, input), (&mut entry.output, output)] {
            if is_new {
                side.begin(octets, packets as u32);
            } else {
                side.counted(octets, packets as u32, elapsed, speed_bps, scale);
            }
        }
    }

    /// By index.
    pub(super) fn sorted(&self) -> Vec<InterfaceReport> {
        let report = |(index, entry): (u32, &Entry)| InterfaceReport {
            index,
            speed_bps: entry.speed_bps,
            input: entry.input.measure,
            output: entry.output.measure,
        };
        self.table.sorted().into_iter().map(report).collect()
    }

    /// Counter samples of interfaces for which there was no room.
    pub(super) const fn refused(&self) -> u64 {
        self.table.refused()
    }
}

impl Side {
    #[inline]
    fn sampled(&mut self, bytes: u64, packets: u64) {
        self.samples = self.samples.saturating_add(1);
        self.sampled_bytes = self.sampled_bytes.saturating_add(bytes);
        self.sampled_packets = self.sampled_packets.saturating_add(packets);
        self.squares += bytes as f64 * bytes as f64;
    }

    /// A measure begins with these counters.
    fn begin(&mut self, octets: u64, packets: u32) {
        let (off, measure) = (self.off, self.measure);
        *self = Self { octets, packets, off, measure, ..Self::default() };
    }

    /// The next counters. Octets have 64 bits, packets are a sum of counters of 32.
    fn counted(
        &mut self,
        octets: u64,
        packets: u32,
        elapsed: Duration,
        speed_bps: u64,
        scale: u64,
    ) {
        let possible = match speed_bps {
            0 => f64::INFINITY,
            // A bundle's speed may be told late: twice is no restart.
            speed => speed as f64 / 8.0 * elapsed.as_secs_f64() * 2.0 + 1e6,
        };
        let grown = octets.checked_sub(self.octets).filter(|grown| *grown as f64 <= possible);
        // All ones: the agent does not count.
        let Some(grown) = grown.filter(|_| octets != u64::MAX) else {
            self.begin(octets, packets);
            return;
        };
        self.time += elapsed;
        self.grown_octets = self.grown_octets.saturating_add(grown);
        let grown_packets = u64::from(packets.wrapping_sub(self.packets));
        self.grown_packets = self.grown_packets.saturating_add(grown_packets);
        // Packets have 64 bytes or more.
        self.wrapped |= grown / 64 > u64::from(u32::MAX);
        (self.octets, self.packets) = (octets, packets);
        let expected = self.grown_packets.checked_div(scale).unwrap_or(0);
        if self.time >= MEASURE && expected.max(u64::from(self.samples)) >= SAMPLES {
            let measure = self.judge();
            self.measure = Some(measure);
            self.begin(octets, packets);
        }
    }

    /// The measure is over.
    fn judge(&mut self) -> InterfaceMeasure {
        let rate = |amount: u64| (amount as f64 / self.time.as_secs_f64().max(1e-9)) as f32;
        let mut measure = InterfaceMeasure {
            sampled_bps: rate(self.sampled_bytes.saturating_mul(8)),
            counted_bps: rate(self.grown_octets.saturating_mul(8)),
            sampled_pps: rate(self.sampled_packets),
            counted_pps: (!self.wrapped).then(|| rate(self.grown_packets)),
            agreement: Agreement::Agree,
        };
        if self.samples == 0 && self.elsewhere == 0 {
            measure.agreement = Agreement::Unsampled;
            return measure;
        }
        if u64::from(self.samples) * 4 < u64::from(self.elsewhere) || self.samples == 0 {
            measure.agreement = Agreement::Elsewhere;
            return measure;
        }
        let differ = |sampled: u64, counted: u64| {
            let difference = sampled as f64 - counted as f64;
            (difference.abs() > TOLERANCE * counted as f64).then_some(difference)
        };
        let packets = differ(self.sampled_packets, self.grown_packets).filter(|_| !self.wrapped);
        let bytes = differ(self.sampled_bytes, self.grown_octets)
            .filter(|difference| difference.abs() > SIGMAS * self.squares.sqrt());
        let sense = packets.or(bytes).map_or(0, |difference| difference.signum() as i8);
        let same = sense != 0 && sense == self.off.signum();
        self.off = if same { self.off.saturating_add(sense) } else { sense };
        if self.off.abs() >= PROOF {
            let packets = packets.is_some();
            let found = if packets { Agreement::PacketsDiffer } else { Agreement::BytesDiffer };
            measure.agreement = found;
        }
        measure
    }
}

/// Bytes that the table takes at most.
#[cfg(test)]
pub(super) const HEAP: usize =
    size_of::<Interfaces>() + super::table::ENTRIES * size_of::<(u32, Entry)>();

#[cfg(test)]
mod tests;
