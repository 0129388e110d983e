//! What every action is: a name, the events it wants, and one attempt to carry an event out.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;

use crate::ActionEvent;

/// One attempt, under way.
pub type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), ActionError>> + Send + 'a>>;

/// Something that is done about an attack. Queues call it from one thread; it must never block it.
pub trait Action: Send + Sync + 'static {
    /// Name in status and logs: unique among the configured actions.
    fn name(&self) -> &str;

    /// Does this event concern it? Asked before queueing, on the caller's thread.
    fn wants(&self, event: &ActionEvent) -> bool;

    /// Makes one attempt. The same event may come again after an error: a repetition does no harm.
    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a>;
}

/// Why an attempt failed, and whether another one may help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ActionError {
    /// For people; holds no secret.
    pub message: String,
    /// May a later attempt succeed?
    pub retry: bool,
    /// The other side asked for this pause.
    pub retry_after: Option<Duration>,
}

impl ActionError {
    /// A later attempt may succeed.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: true, retry_after: None }
    }

    /// It would fail again in the same way.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: false, retry_after: None }
    }
}

/// A setting that cannot work, found when an action is made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("action {action}: {field}: {message}")]
pub struct ConfigError {
    /// Name of the action.
    pub action: String,
    /// Which setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl ConfigError {
    /// An error of one setting.
    pub fn new(action: &str, field: &'static str, message: impl ToString) -> Self {
        Self { action: action.to_owned(), field, message: message.to_string() }
    }
}
