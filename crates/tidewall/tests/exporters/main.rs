//! Exporters and collectors that others wrote, as processes beside ours on the loopback interface:
//! what they send, we decode, and what we send, they decode, to the same packets and bytes of each
//! flow.
//!
//! The programs are Debian's packages nfdump, nfdump-sflow, softflowd and pmacct. Without them a
//! test says that it was skipped, and passes; with `CI` in the environment it fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

#[path = "../captures/mod.rs"]
mod captures;
mod nfdump;
mod pmacct;
mod programs;
mod softflowd;
mod traffic;
