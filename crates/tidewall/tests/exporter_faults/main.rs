//! Exporters that misbehave, and clocks that are set, around a running service: routers that start
//! anew with other templates, damaged sets and samples at full rate, more than the kernel can keep,
//! hours that are skipped or come twice; a service that is
//! stopped for seconds; exporters whose datagrams several workers share. What can be read is counted exactly, the rest has its
//! reason, and attacks are named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod clock_steps;
mod dealt;
mod full_buffers;
mod malformed;
mod pauses;
mod restarts;
mod router;
#[path = "../service/mod.rs"]
mod service;
