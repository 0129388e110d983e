//! The control socket: JSON lines over a Unix socket, for `tidewall status` and its like, and for
//! other programs. A client sends one question, such as `{"ask":"status"}`, and gets one line:
//! `{"ok":true,"data":...}` or `{"ok":false,"error":"..."}`. Behind the answer to
//! `{"ask":"events"}` events follow, a line each, until the client goes away. Who asks is known
//! from the socket, never from the question.

pub(crate) mod answer;
mod client;
mod peer;
mod question;
mod rights;
mod server;

pub use client::{Client, ClientError};
pub use peer::Peer;
pub use question::{BanKind, FieldError, Question, parse_peer, parse_target, parse_why};
pub use rights::{Operators, Rights, SharedRights, may};
pub use server::{Asked, Server, Socket, open};
