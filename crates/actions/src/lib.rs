//! What is done about an attack: the notify script, files, messages and stores. Every action has a
//! queue of the same design in front of it, so that a dead server or a hanging script slows nothing
//! and what is lost is counted. An action is one file with its `Config`, and one line in `Config`.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod action;
mod announcer;
pub mod bgp;
pub mod chat;
mod clock;
#[cfg(test)]
mod contract_tests;
mod event;
pub mod exabgp;
#[cfg(test)]
mod fixture;
pub mod gobgp;
#[cfg(test)]
mod golden_tests;
mod http;
mod kind;
pub mod mail;
mod message;
#[cfg(feature = "mongodb")]
pub mod mongodb;
mod queue;
pub mod record;
pub mod redis;
pub mod report_json;
pub mod report_text;
pub mod routes;
pub mod script;
mod secret;
#[cfg(test)]
mod server;
pub mod syslog;
mod tls;
pub mod webhook;

pub use action::{Action, ActionError, Applying, ConfigError};
pub use announcer::{AnnouncedRoute, Announcer, AnnouncerStatus, RouteOutcome};
pub use clock::LocalTime;
pub use event::{ActionEvent, ActionKind, CapturedFrame};
pub use http::HttpConfig;
pub use kind::Config;
pub use queue::{ActionStatus, Actions, Observer, Outcome, QueueConfig};
pub use secret::{Secret, SecretError};
pub use tls::TlsConfig;
