//! The verdicts as sentences.

use std::fmt;
use std::time::Duration;

use tidewall_model::DropReason;

use super::{NEVER_SET, Verdict};
use crate::Crediting;
use crate::health::interfaces::{Agreement, InterfaceMeasure, Way};
use crate::health::report::share;
use crate::health::sequence::Numbering;
use crate::health::words::{Percent, Rate, Since, Span};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { since, lasting } => {
                let since = Since { time: *since, ago: *lasting };
                write!(f, "nothing received since {since}, for {}", Span(*lasting))
            }
            Self::MissingTemplate { id, since, lasting, sets } => {
                let since = Since { time: *since, ago: *lasting };
                let sets = Count(*sets, "set of data", "sets of data");
                write!(f, "no template for set {id} since {since}: {sets} waited for it")
            }
            Self::Lost { unit, lost, of } => {
                let (unit, part) = (unit.name(), Percent(share(*lost, of - lost)));
                write!(f, "{part} of the {unit} of the last minutes were lost on the way")?;
                write!(f, " ({lost} of {of}): all rates are too low by as much")
            }
            Self::Dropped { reason, count, share } => dropped(f, *reason, *count, *share),
            Self::SamplingUnknown { partly } => {
                let which = if *partly { " for a part of the records" } else { "" };
                write!(f, "sampling unknown{which}, counted as 1: if the exporter samples, rates")?;
                f.write_str(" are too low by its sampling rate; configure one to be sure")
            }
            Self::EffectiveRate { source, announced, effective } => {
                write!(f, "source {source} says that it samples 1 packet in {announced}, and by")?;
                write!(f, " its own pool samples 1 in {effective:.0}: rates are off by as much")
            }
            Self::AgentDrops { drops, share } => {
                let drops = Count(*drops, "sample", "samples");
                write!(f, "the agent itself dropped {drops} ({}) of the last", Percent(*share))?;
                f.write_str(" minutes for want of resources: sample fewer packets")
            }
            Self::InterfaceDiffers { index, way, measure } => differs(f, *index, *way, measure),
            Self::InterfaceUnsampled { index, way, counted_bps } => {
                let (verb, rate) = (way.verb(), Rate(*counted_bps, "bit/s"));
                write!(f, "interface {index} {verb} {rate} by its counters, and no sample shows")?;
                f.write_str(" any of it: sampling is not switched on there")
            }
            Self::MoreInterfaces { count } => {
                write!(f, "{count} more like these, on other interfaces")
            }
            Self::Clock { behind_ms } => clock(f, *behind_ms),
            Self::LongFlows { longest, announced, crediting } => {
                long_flows(f, *longest, *announced, *crediting)
            }
            Self::AbsurdDurations { count, share } => {
                let flows = Count(*count, "flow", "flows");
                write!(f, "{flows} ({}) of the last minutes had a duration", Percent(*share))?;
                f.write_str(" that is negative or longer than the exporter's age; it was clamped")
            }
            Self::Restarted { times } => restarted(f, *times),
            Self::OutOfOrder { share } => {
                write!(f, "{} of the datagrams of the last minutes were late,", Percent(*share))?;
                f.write_str(" came twice or belong to another process of the same name")
            }
            Self::Numbering(numbering) => f.write_str(numbered(*numbering)),
        }
    }
}

impl Way {
    const fn verb(self) -> &'static str {
        match self {
            Self::In => "receives",
            Self::Out => "sends",
        }
    }
}

/// A count with its noun.
struct Count(u64, &'static str, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { self.1 } else { self.2 })
    }
}

fn differs(
    f: &mut fmt::Formatter<'_>,
    index: u32,
    way: Way,
    measure: &InterfaceMeasure,
) -> fmt::Result {
    let verb = way.verb();
    match measure.counted_pps {
        Some(counted) if measure.agreement == Agreement::PacketsDiffer => {
            let (sampled, counted) =
                (Rate(measure.sampled_pps, "packets/s"), Rate(counted, "packets/s"));
            write!(f, "interface {index} {verb} {sampled} by its samples and {counted} by its")?;
            f.write_str(" counters: the sampling rate is not what the agent says")
        }
        _ => {
            let (sampled, counted) =
                (Rate(measure.sampled_bps, "bit/s"), Rate(measure.counted_bps, "bit/s"));
            write!(f, "interface {index} {verb} {sampled} by its samples and {counted} by its")?;
            f.write_str(" counters: the lengths in the samples are not those of the packets")
        }
    }
}

fn clock(f: &mut fmt::Formatter<'_>, behind_ms: i64) -> fmt::Result {
    let off = Duration::from_millis(behind_ms.unsigned_abs());
    let sense = if behind_ms < 0 { "ahead of" } else { "behind" };
    if off > NEVER_SET {
        return f.write_str("the exporter's clock was never set");
    }
    write!(f, "the exporter's clock is {} {sense} ours", Span(off))
}

fn long_flows(
    f: &mut fmt::Formatter<'_>,
    longest: Duration,
    announced: Option<Duration>,
    crediting: Crediting,
) -> fmt::Result {
    write!(f, "flows last up to {}", Span(longest))?;
    if let Some(announced) = announced {
        write!(f, " (announced active timeout: {})", Span(announced))?;
    }
    match crediting {
        Crediting::Arrival => f.write_str(
            " and are counted when they arrive, so rates come in lumps: shorten the active \
             timeout, or spread flows over their duration",
        ),
        Crediting::Spread { longest } => {
            write!(f, " and are spread over {} at most, so rates are too", Span(longest))?;
            f.write_str(" high for that time: shorten the active timeout")
        }
    }
}

fn dropped(f: &mut fmt::Formatter<'_>, reason: DropReason, count: u64, share: f64) -> fmt::Result {
    let (name, sentence, times) = (reason.name(), reason.sentence(), Count(count, "time", "times"));
    write!(f, "{} of what came in the last minutes was not counted", Percent(share))?;
    write!(f, " ({name}, {times}): {sentence}")
}

fn restarted(f: &mut fmt::Formatter<'_>, times: u64) -> fmt::Result {
    f.write_str("the exporter restarted ")?;
    if times > 1 {
        write!(f, "{times} times ")?;
    }
    f.write_str("in the last minutes")
}

const fn numbered(numbering: Numbering) -> &'static str {
    match numbering {
        Numbering::Standard => "the exporter numbers as its protocol says",
        Numbering::Datagrams => {
            "the exporter numbers its datagrams where its protocol numbers flows; its numbers are \
             read like that"
        }
        Numbering::Flows => {
            "the exporter numbers its flows where its protocol numbers datagrams; what is lost on \
             the way cannot be told"
        }
    }
}
