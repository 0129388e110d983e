//! Values that every part of Tidewall speaks in: time, prefixes, flow records, counters, attacks.
//!
//! Nothing here knows bytes on a wire, sockets or clocks. Everything is plain data: cheap to copy
//! where the packet path uses it, serialisable where it leaves the process.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod attack;
mod class;
mod counters;
mod drop_reason;
mod mitigation;
mod prefix;
mod record;
mod time;

pub use address::{Address, Family};
pub use attack::{
    Attack, AttackClass, AttackEvent, AttackEventKind, AttackId, Metric, ProposedFilter, Reason,
    Sample, Target, TopTuples, TopValue, Unit, Vector,
};
pub use class::{Direction, TrafficClass};
pub use counters::{Count, DirectedCounters, TrafficCounters};
pub use drop_reason::{DropCounters, DropReason};
pub use mitigation::{
    Cause, CausedBy, FilterAction, FilterRule, FlagMatch, Mitigation, MitigationCommand,
    MitigationId, MitigationKind, MitigationOutcome, MitigationStatus,
};
pub use prefix::{Prefix, PrefixError};
pub use record::{FlowRecord, Forwarding, Fragment, SamplingRate, TcpFlags, protocol};
pub use time::Timestamp;
