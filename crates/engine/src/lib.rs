//! Records to counters to windows to attacks. Pure: no I/O, no clock, no threads; time is an
//! argument, and the same records give the same attacks at any number of shards.
//!
//! The way of a record: [`Engine::ingest`] deals it to a shard (`shard.rs`), which finds its zone
//! (`zones.rs`, `lpm.rs`) and counts it for host (`arena.rs`), flows (`flows.rs`) and zone. At the
//! end of each slice and window the conductor (`conductor.rs`) adds up the shards, and the detector
//! (`detector.rs`) looks at what came near a limit: the rule is in `evidence.rs`, the naming of
//! attacks in `classify.rs`, what to filter in `filters.rs`.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod amplifiers;
mod arena;
mod averages;
mod classify;
mod conductor;
mod detector;
mod distinct;
mod engine;
mod evidence;
mod filters;
mod flow_log;
mod flows;
mod lpm;
mod marks;
mod normal;
pub mod planner;
mod policy;
mod prefetch;
mod recent;
mod samples;
mod scan;
mod shard;
mod slack;
mod subject;
mod tallies;
mod watch;
mod whitelist;
mod zones;

pub use amplifiers::{Amplifier, Amplifiers, AmplifiersError};
pub use averages::{AverageRates, Averages};
pub use conductor::{Conductor, Observer, Shards, WindowView};
pub use engine::{Dealing, Engine, EngineStats};
pub use filters::FilterSettings;
pub use flows::{FlowSet, Inserted};
pub use lpm::PrefixTable;
pub use policy::{
    Capacity, Counting, Detection, DirectedLimits, Group, Limits, Policy, Rule, Whitelist,
};
pub use prefetch::{Load, Prefetch};
pub use recent::RECENT_RECORD_BYTES;
pub use shard::{Shard, ShardStats};

/// Part of a limit from which on a rate is watched closely.
const WATCH_PART: f64 = 0.5;
