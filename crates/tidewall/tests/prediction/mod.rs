//! The rule of docs/detection.md, written once more from that page and applied to what a generator
//! really sent: when must an attack be found through a medium, and when can it be at the earliest?
//!
//! A medium holds packets back for at most D seconds and samples one in w. So
//!
//! * what arrives within L was sent within L + D: an alarm needs a count that, raised by `SPREAD`
//!   standard deviations of the sampling, meets the rule for some L over the packets of L + D;
//! * what was sent within L has arrived within L + D, D later at most: there must be an alarm when
//!   the count, lowered by as much, meets the rule for L + D.
//!
//! Sampling 1 in w gives a count of packets of size s a variance of (w - 1) times the sum of s².

use tidewall_model::{
    Direction, FlowRecord, Metric, TcpFlags, Timestamp, TrafficClass, Unit, protocol,
};

/// Standard deviations that chance is given: one in 30,000 either way.
const SPREAD: f64 = 4.0;
/// Slices of a window of a second.
pub const SLICES: usize = 20;
pub const SLICE_NS: u64 = 50_000_000;
const SHORT: usize = 10;
const WINDOWS: usize = 29;
const TOLERANCE: f64 = 0.8;
const EVIDENCE: f64 = 14.0;
const LARGEST_FRAME_BITS: f64 = 8.0 * 1514.0;

/// What packets and bits of one class one target had, slice by slice.
#[derive(Clone, Debug)]
pub struct Course {
    metric: Metric,
    limit: f64,
    /// Sums, and sums of squares, up to the end of each slice.
    sums: Vec<[f64; 2]>,
}

/// When alarms are possible and certain, as ends of slices since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    pub possible: Option<usize>,
    pub certain: Option<usize>,
}

impl Course {
    pub fn new(metric: Metric, limit: f64, slices: usize) -> Self {
        Self { metric, limit, sums: vec![[0.0; 2]; slices + 1] }
    }

    /// Counts a packet of the target, sent in this slice.
    pub fn add(&mut self, record: &FlowRecord, slice: usize) {
        if !belongs(record, self.metric.class) {
            return;
        }
        let size = match self.metric.unit {
            Unit::Packets => 1.0,
            Unit::Bits => record.bytes as f64 * 8.0,
            Unit::Flows => return,
        };
        if let Some([sum, squares]) = self.sums.get_mut(slice + 1) {
            *sum += size;
            *squares += size * size;
        }
    }

    /// All packets are counted.
    pub fn close(&mut self) {
        for at in 1..self.sums.len() {
            let [sum, squares] = self.sums[at - 1];
            self.sums[at][0] += sum;
            self.sums[at][1] += squares;
        }
    }

    /// Sum and sum of squares of the slices before `end`, from `length` before it.
    fn within(&self, length: usize, end: usize) -> [f64; 2] {
        let last = self.sums.len() - 1;
        let [to, from] = [end.min(last), end.saturating_sub(length).min(last)];
        [0, 1].map(|part| self.sums[to][part] - self.sums[from][part])
    }

    /// What the rule says of this metric through a medium.
    pub fn predict(&self, sampling: u32, delay: usize) -> Prediction {
        let beyond = f64::from(sampling - 1);
        let most = beyond
            * match self.metric.unit {
                Unit::Packets => 1.0,
                _ => LARGEST_FRAME_BITS,
            };
        let seconds = |slices: usize| slices as f64 / SLICES as f64;
        let ends = 1..self.sums.len() + delay;
        let possible = ends.clone().find(|end| {
            lengths(*end).any(|length| {
                let [sum, squares] = self.within(length + delay, *end);
                let high = sum + SPREAD * (beyond * squares).sqrt();
                over(high, self.limit, seconds(length), most)
            })
        });
        let certain = ends.clone().find(|end| {
            lengths(*end).any(|length| {
                let [sum, squares] = self.within(length, *end);
                let low = sum - SPREAD * (beyond * squares).sqrt();
                over(low, self.limit, seconds(length + delay), most)
            })
        });
        Prediction { possible, certain: certain.map(|end| end + delay) }
    }
}

impl Prediction {
    /// Of the metrics of one target together: any of them raises the alarm.
    pub fn or(self, other: Self) -> Self {
        let earlier = |a: Option<usize>, b: Option<usize>| a.into_iter().chain(b).min();
        Self {
            possible: earlier(self.possible, other.possible),
            certain: earlier(self.certain, other.certain),
        }
    }
}

/// The end of a slice.
pub fn at(start: Timestamp, slice: usize) -> Timestamp {
    Timestamp(start.0 + slice as u64 * SLICE_NS)
}

/// The times that are looked at when a slice ends, in slices.
fn lengths(end: usize) -> impl Iterator<Item = usize> {
    let running = end % SLICES;
    (1..=SHORT).chain((1..=WINDOWS).map(move |windows| windows * SLICES + running))
}

/// (a) and (b) of the manual.
fn over(count: f64, limit: f64, seconds: f64, most: f64) -> bool {
    let needed = (0.8 + 0.57 * seconds).max(0.4 + 0.97 * seconds).max(seconds);
    if count < limit * needed {
        return false;
    }
    if most == 0.0 {
        return true;
    }
    let tolerated = TOLERANCE * limit * seconds;
    let evidence = if seconds < 1.0 { EVIDENCE } else { EVIDENCE + 2.0 };
    let surprise = count * (count / tolerated).ln() - (count - tolerated);
    count / most >= 20.0 && surprise / (most + 0.0075 * limit) >= evidence
}

/// Is a packet of this class?
fn belongs(record: &FlowRecord, class: TrafficClass) -> bool {
    let tcp = record.protocol == protocol::TCP;
    match class {
        TrafficClass::Total => true,
        TrafficClass::Tcp => tcp,
        TrafficClass::TcpSyn => {
            let flags = record.tcp_flags;
            tcp && flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
        }
        TrafficClass::Udp => record.protocol == protocol::UDP,
        TrafficClass::Icmp => record.is_icmp(),
        TrafficClass::Fragment => record.fragment.is_fragment(),
        TrafficClass::Dropped => false,
        TrafficClass::Other => !tcp && record.protocol != protocol::UDP && !record.is_icmp(),
    }
}

/// The address of our side, for a direction.
pub fn side(record: &FlowRecord, direction: Direction) -> tidewall_model::Address {
    match direction {
        Direction::Incoming => record.dst_address(),
        _ => record.src_address(),
    }
}
