//! Frames and datagrams to flow records: what to count, how long it is, why something is not.
//!
//! Everything here runs on the worker that received the bytes; nothing locks, logs or allocates
//! per record, and time comes in as an argument.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod exporters;
mod flow;
mod frame;
mod health;
pub mod netflow;
mod sampling;
mod sflow;
mod spread;

pub use exporters::{ExportProtocol, ExporterIndex, ExporterKey, ExporterLimits, Exporters};
pub use flow::{
    ExportDatagram, FlowDetail, FlowNote, FlowSink, Remark, RemarkKind, SampledHeader,
    SamplingOrigin,
};
pub use frame::{FrameCollector, FrameNote, drop_reason};
pub use health::{
    Agreement, Dealing, ExporterHealth, HealthReport, InterfaceMeasure, InterfaceReport,
    MissingTemplate, Numbering, Part, RateInUse, RecentReport, SequenceUnit, Severity,
    SourceReport, Verdict, Way,
};
pub use netflow::{FirewallEvents, NetflowCollector, NetflowSettings, TemplateLimits};
pub use sampling::{ConfiguredSampling, Protocols, SamplingRule, SamplingRules, SamplingUse};
pub use sflow::{SflowCollector, SflowCounts, SflowSettings};
pub use spread::{Crediting, Spreader};
