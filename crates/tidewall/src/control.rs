//! The control socket: JSON lines over a Unix socket, for `tidewall status` and its like, and for
//! other programs. A client sends one question, such as `{"ask":"status"}`, and gets one line:
//! `{"ok":true,"data":...}` or `{"ok":false,"error":"..."}`. Behind the answer to
//! `{"ask":"events"}` events follow, a line each, until the client goes away.

pub(crate) mod answer;
mod client;
mod server;

pub use client::{Client, ClientError};
pub(crate) use server::open;
pub use server::{Asked, Server, Socket};

use serde::{Deserialize, Serialize};

/// A question. The words are part of the interface: they are added, not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// Sources, workers, windows, memory.
    Status,
    /// Exporters with what is known of them.
    Exporters,
    /// Hosts with the largest average rates.
    Hosts {
        /// How many at the most.
        #[serde(default = "default_top")]
        top: usize,
    },
    /// Our networks with their traffic.
    Networks,
    /// Attacks that go on; with `all`, also those that are over.
    Attacks {
        /// Also those that are over.
        #[serde(default)]
        all: bool,
    },
    /// Events from now on.
    Events,
    /// Read the configuration again.
    Reload,
}

fn default_top() -> usize {
    20
}
