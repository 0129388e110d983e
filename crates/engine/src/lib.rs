//! Records to counters to windows to attacks. Pure: no I/O, no clock, no threads; time is an
//! argument, and the same records give the same attacks at any number of shards.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod policy;

pub use policy::{
    Capacity, Counting, Detection, DirectedLimits, Group, Limits, Policy, Rule, Whitelist,
};
