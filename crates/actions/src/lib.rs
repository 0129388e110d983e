//! What is done about an attack: the notify script, files, messages and stores. Every action has a
//! queue of the same design in front of it, so that a dead server or a hanging script slows nothing
//! and what is lost is counted. An action is one file with its `Config`, and one line in `Config`.

#![forbid(unsafe_code)]

mod action;
pub mod bgp;
mod clock;
mod event;
#[cfg(test)]
mod fixture;
mod queue;
pub mod record;
pub mod report_json;
pub mod report_text;
pub mod script;
mod secret;

pub use action::{Action, ActionError, Applying, ConfigError};
pub use clock::LocalTime;
pub use event::{ActionEvent, ActionKind, CapturedFrame};
pub use queue::{ActionStatus, Actions, QueueConfig};
pub use secret::{Secret, SecretError};
