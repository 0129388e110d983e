//! Bytes to structs and back: frames, captures, flow protocols.
//!
//! Every byte handed in is taken as hostile: nothing here panics, reads past its input, trusts a
//! length or allocates in proportion to one. There are no records, clocks or sockets.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod cursor;
pub mod emit;
pub mod frame;
pub mod netflow;
pub mod pcap;
pub mod sflow;
