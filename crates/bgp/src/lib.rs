//! The BGP speaker without sockets, clocks or threads.
//!
//! tmp

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod action;
mod adj_rib_out;
pub mod attribute;
pub mod community;
mod family;
pub mod flowspec;
pub mod message;
mod nlri;
pub mod notification;
pub mod open;
mod profile;
mod reader;
pub mod refresh;
mod route;
pub mod session;
pub mod update;

pub use adj_rib_out::{AdjRibOut, RouteState, RouteStatus};
pub use family::{AfiSafi, FamilySet, OtherFamily, RouteFamily};
pub use nlri::{Nlri, NlriError};
pub use profile::{Change, Fitted, NotSent, PeerProfile};
pub use reader::Cut;
pub use route::{
    FlowSpecRoute, MAX_COMMUNITIES, MAX_PREPEND, Route, RouteAttributes, RouteError, RouteKey,
    UnicastRoute,
};
