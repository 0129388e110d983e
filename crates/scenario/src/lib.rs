//! Synthetic worlds: a network's day and the attacks on it, described once in a short TOML file,
//! generated as flow records in time order, rendered as frames or flow export, and scored against
//! what a detector said. The demo, the generator command and the tests all use the same worlds.
//!
//! Everything follows from the scenario and its seed: the same file gives the same records on any
//! machine. Nothing here reads a clock or does I/O, and nothing allocates per record.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod address;
mod arrivals;
mod attack;
mod background;
mod demo;
mod file;
mod generator;
mod plan;
mod random;
mod render;
mod score;

pub use file::ScenarioError;
pub use generator::Generator;
pub use plan::{
    AttackKind, AttackPlan, Background, Expectation, LimitPlan, Mix, Pulse, Scenario, Service,
    Truth,
};
pub use random::Random;
pub use render::{
    CounterBasis, ExportPath, FlowCachePlan, FlowCacheRenderer, FlowProtocol, FrameRenderer,
    RenderError, Renderer, SflowPlan, SflowRenderer, Sink,
};
pub use score::{Detection, Outcome, Score, score};
