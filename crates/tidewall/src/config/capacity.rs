//! `[capacity]`: bounds of memory, and what they come to.

use tidewall_engine::{Capacity, RECENT_RECORD_BYTES};

use super::quantity::show_bytes;
use super::sink::Sink;
use super::table::{Typed, table};

table! {
    /// Bounds of memory, for each worker. They hold under attack too: when a table is full, more
    /// hosts are counted by their network instead, and the report says how often that happened.
    /// Suffixes may be used: "64k", "2M".
    struct CapacityTable {
        /// Our hosts with traffic in one window, from 1024 to 134217728.
        #[default = "1_048_576"]
        #[example = "\"2M\""]
        hosts: u32,

        /// Distinct flows in one window that are told apart exactly, from 1024 to 134217728. Above
        /// it they are sampled, and the number of flows is an estimate.
        #[default = "1_048_576"]
        #[example = "\"4M\""]
        flows: u32,

        /// Recent records from which the sample of an attack is taken, from 256 to 16777216. Where
        /// more come in half a second, only one in 2, 4, 8, ... of them is among these.
        #[default = "16_384"]
        #[example = "\"64k\""]
        recent: u32,

        /// IPv4 addresses of our networks that are found without a hash: 4 bytes each, taken when
        /// used. 0 turns this off. A network that does not fit whole is hashed.
        #[default = "16_777_216"]
        #[example = "\"1M\""]
        dense: u32,
    }
}

/// Bytes of one active host in a window: its counters, the rare ones too, and its index entry.
const HOST_BYTES: u64 = 300;
/// Bytes of one flow in a window: a log with repeats at its largest, and half of what the window
/// that closes and the hosts that are watched need besides.
const FLOW_BYTES: u64 = 42;
/// Window tables of a worker: the one that fills and the one that closes.
const WINDOWS: u64 = 2;

impl CapacityTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Capacity {
        let default = Capacity::default();
        let mut get = |typed: &Option<Typed<u32>>, bytes, (least, most), default| {
            bounded(typed.as_ref(), bytes, least, most, default, sink)
        };
        Capacity {
            hosts: get(&self.hosts, HOST_BYTES * WINDOWS, (1 << 10, 1 << 27), default.hosts),
            flows: get(&self.flows, FLOW_BYTES * WINDOWS, (1 << 10, 1 << 27), default.flows),
            recent: get(&self.recent, RECENT_RECORD_BYTES, (1 << 8, 1 << 24), default.recent),
            dense: get(&self.dense, 4, (0, u32::MAX), default.dense),
        }
    }
}

/// Most memory that one worker takes for hosts, flows, recent records and the dense index.
pub(super) fn bytes_per_worker(capacity: &Capacity) -> [(&'static str, u64); 4] {
    [
        ("hosts", u64::from(capacity.hosts) * HOST_BYTES * WINDOWS),
        ("flows", u64::from(capacity.flows) * FLOW_BYTES * WINDOWS),
        ("recent records", u64::from(capacity.recent) * RECENT_RECORD_BYTES),
        ("dense index", u64::from(capacity.dense) * 4),
    ]
}

fn bounded(
    typed: Option<&Typed<u32>>,
    bytes_each: u64,
    least: u32,
    most: u32,
    default: u32,
    sink: &mut Sink,
) -> u32 {
    let Some(typed) = typed else { return default };
    if (least..=most).contains(&typed.value) {
        return typed.value;
    }
    let reason = format!(
        "{} is not from {least} to {most}; it would take {} for each worker",
        typed.value,
        show_bytes(u64::from(typed.value) * bytes_each),
    );
    let took = show_bytes(u64::from(default) * bytes_each);
    let fix = format!("the default, `{} = {default}`, takes at most {took}", typed.at.key);
    sink.error_fix(&typed.at, reason, fix);
    default
}
