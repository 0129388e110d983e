//! When a flow was: times in every unit that the standards and the vendors have, and what makes no
//! sense among them.

use tidewall_model::Timestamp;
use tidewall_wire::netflow::{Element, ntp_to_unix_nanoseconds};

use super::compiled::{Slot, Values};

const NANOSECONDS_OF_MILLISECOND: u64 = 1_000_000;

/// The longest duration that is believed, in milliseconds: 24.8 days, as far as the difference of
/// two uptimes of 32 bits can be told from a negative one.
const LONGEST_MS: i64 = i32::MAX as i64;

/// What a number that is a time, or a duration, counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// The template has no such time.
    #[default]
    Absent,
    /// Milliseconds since the exporter started.
    Uptime,
    /// Since the Unix epoch.
    Seconds,
    /// Since the Unix epoch.
    Milliseconds,
    /// An NTP time stamp (RFC 7011 §6.1.9) or, from some, microseconds since the Unix epoch.
    Microseconds,
    /// An NTP time stamp (RFC 7011 §6.1.10) or, from some, nanoseconds since the Unix epoch.
    Nanoseconds,
    /// Microseconds before the export time.
    MicrosecondsBefore,
    /// A duration.
    ForMilliseconds,
    /// A duration.
    ForMicroseconds,
}

impl Unit {
    /// Of an element that is a time.
    pub(super) const fn of(element: Element) -> Option<Self> {
        Some(match element {
            Element::FlowStartSysUpTime | Element::FlowEndSysUpTime => Self::Uptime,
            Element::FlowStartSeconds
            | Element::FlowEndSeconds
            | Element::ObservationTimeSeconds => Self::Seconds,
            Element::FlowStartMilliseconds
            | Element::FlowEndMilliseconds
            | Element::ObservationTimeMilliseconds => Self::Milliseconds,
            Element::FlowStartMicroseconds
            | Element::FlowEndMicroseconds
            | Element::ObservationTimeMicroseconds => Self::Microseconds,
            Element::FlowStartNanoseconds
            | Element::FlowEndNanoseconds
            | Element::ObservationTimeNanoseconds => Self::Nanoseconds,
            Element::FlowStartDeltaMicroseconds | Element::FlowEndDeltaMicroseconds => {
                Self::MicrosecondsBefore
            }
            Element::FlowDurationMilliseconds => Self::ForMilliseconds,
            Element::FlowDurationMicroseconds => Self::ForMicroseconds,
            _ => return None,
        })
    }
}

/// Which times the records of a template have, and in what units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) start: Unit,
    pub(super) end: Unit,
    pub(super) observed: Unit,
    pub(super) duration: Unit,
}

/// What a datagram says about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// When the datagram was exported.
    pub(super) exported: Timestamp,
    /// Age of the exporter at that time, in milliseconds (v5, v9).
    pub(super) uptime_ms: Option<u32>,
    /// When the exporter started, in milliseconds since the Unix epoch (IPFIX element 160).
    pub(super) boot_ms: Option<u64>,
}

/// When a flow was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

/// How long a flow lasted; one that is absurd counts as no time at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lasted {
    pub(super) ms: u32,
    pub(super) absurd: bool,
}

impl Lasted {
    #[inline]
    fn of(ms: i64) -> Self {
        let absurd = !(0..=LONGEST_MS).contains(&ms);
        Self { ms: if absurd { 0 } else { ms as u32 }, absurd }
    }

    /// The end of a flow that started at `start`.
    fn after(self, start: Timestamp) -> Timestamp {
        Timestamp(start.0.saturating_add(u64::from(self.ms) * NANOSECONDS_OF_MILLISECOND))
    }

    /// The start of a flow that ended at `end`.
    pub(super) fn before(self, end: Timestamp) -> Timestamp {
        Timestamp(end.0.saturating_sub(u64::from(self.ms) * NANOSECONDS_OF_MILLISECOND))
    }
}

impl Clock {
    /// How long the flow of a record lasted.
    #[expect(clippy::inline_always, reason = "called for each record, from one place")]
    #[inline(always)]
    pub(super) fn lasted(&self, times: Times, values: Values<'_>) -> Lasted {
        let both = || (values.get(Slot::Start), values.get(Slot::End));
        match (times.start, times.end) {
            (Unit::Uptime, Unit::Uptime) => {
                let (start, end) = both();
                Self::between_uptimes(start as u32, end as u32)
            }
            (Unit::Milliseconds, Unit::Milliseconds) => {
                let (start, end) = both();
                if start == 0 || end == 0 {
                    return self.lasted_by_dates(times, values);
                }
                Lasted::of(end.wrapping_sub(start) as i64)
            }
            (Unit::Absent, Unit::Absent) if times.duration == Unit::Absent => Lasted::default(),
            _ => self.lasted_by_dates(times, values),
        }
    }

    /// Between two readings of the uptime in milliseconds, which begins again after 49.7 days.
    #[inline]
    pub(super) fn between_uptimes(start: u32, end: u32) -> Lasted {
        Lasted::of(i64::from(end.wrapping_sub(start) as i32))
    }

    #[inline(never)]
    fn lasted_by_dates(&self, times: Times, values: Values<'_>) -> Lasted {
        let told = match times.duration {
            Unit::ForMilliseconds => Some(values.get(Slot::Duration)),
            Unit::ForMicroseconds => Some(values.get(Slot::Duration) / 1_000),
            _ => None,
        };
        let span = self.dates(times, values);
        match (span.start, span.end, told) {
            (Some(start), Some(end), _) => {
                let ns = end.0.wrapping_sub(start.0) as i64;
                Lasted::of(ns / NANOSECONDS_OF_MILLISECOND as i64)
            }
            (_, _, Some(ms)) => Lasted::of(i64::try_from(ms).unwrap_or(i64::MAX)),
            _ => Lasted::default(),
        }
    }

    /// Start and end of the flow of a record, as far as they are known, with a duration that is
    /// clamped already.
    pub(super) fn span(&self, times: Times, values: Values<'_>, lasted: Lasted) -> Span {
        let Span { start, end } = self.dates(times, values);
        let uptimes = times.start == Unit::Uptime && times.end == Unit::Uptime;
        match (start, end) {
            (Some(start), None) => Span { start: Some(start), end: Some(lasted.after(start)) },
            // Two uptimes may lie on both sides of a wrap: their difference is right, whatever
            // each of them is taken for.
            (start, Some(end)) if start.is_none() || uptimes || lasted.absurd => {
                Span { start: Some(lasted.before(end)), end: Some(end) }
            }
            // Less than a millisecond backwards is not absurd, but no span either.
            (start, end) => Span { start: start.min(end).or(start), end },
        }
    }

    /// Start and end as they are told. Where a record has no end, the event that it is about is
    /// the end; an observation without any start is both.
    fn dates(&self, times: Times, values: Values<'_>) -> Span {
        let date = |unit, slot| self.date(unit, values.get(slot), values);
        let observed = date(times.observed, Slot::Observed);
        let start = date(times.start, Slot::Start);
        let end = date(times.end, Slot::End);
        let point = times.start == Unit::Absent && times.end == Unit::Absent;
        Span {
            start: if point && times.duration == Unit::Absent { observed } else { start },
            end: end.or(observed),
        }
    }

    /// The moment that a number stands for. Zero is no date.
    fn date(&self, unit: Unit, number: u64, values: Values<'_>) -> Option<Timestamp> {
        let scaled = |factor: u64| (number != 0).then(|| number.saturating_mul(factor));
        let nanoseconds = match unit {
            Unit::Absent | Unit::ForMilliseconds | Unit::ForMicroseconds => None,
            Unit::Uptime => self.at_uptime(number as u32, values.get(Slot::Boot)),
            Unit::Seconds => scaled(1_000_000_000),
            Unit::Milliseconds => scaled(NANOSECONDS_OF_MILLISECOND),
            Unit::Microseconds => scaled(1_000).map(|plain| self.ntp_or(number, plain)),
            Unit::Nanoseconds => scaled(1).map(|plain| self.ntp_or(number, plain)),
            Unit::MicrosecondsBefore => {
                Some(self.exported.0.saturating_sub(number.saturating_mul(1_000)))
            }
        };
        nanoseconds.map(Timestamp)
    }

    /// The standard has NTP time stamps in elements 154 to 157, some vendors write plain numbers:
    /// what is nearer to the export time is meant.
    fn ntp_or(&self, number: u64, plain: u64) -> u64 {
        let ntp = ntp_to_unix_nanoseconds(number);
        if plain.abs_diff(self.exported.0) < ntp.abs_diff(self.exported.0) { plain } else { ntp }
    }

    /// The moment of an uptime in milliseconds; `boot` is when it was zero, as the record says.
    ///
    /// An uptime is told from the header's by a signed difference: it may lie before a wrap, and a
    /// little behind the header's, which some exporters write first. IPFIX has no uptime in its
    /// header; without element 160 in the record or in options data the moment is not known.
    pub(super) fn at_uptime(&self, ms: u32, boot: u64) -> Option<u64> {
        if let Some(now) = self.uptime_ms {
            let age = i64::from(now.wrapping_sub(ms) as i32);
            let age = age.saturating_mul(NANOSECONDS_OF_MILLISECOND as i64);
            return Some(self.exported.0.saturating_add_signed(-age));
        }
        let boot = if boot == 0 { self.boot_ms? } else { boot };
        Some(boot.saturating_add(u64::from(ms)).saturating_mul(NANOSECONDS_OF_MILLISECOND))
    }
}
