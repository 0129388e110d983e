//! What tests and benchmarks share: generators, strategies and a small benchmark harness. A
//! dev-dependency only; it knows the pure crates and nothing else.

#![forbid(unsafe_code)]

pub mod bench;
pub mod seeds;
pub mod strategies;
