//! The BGP speaker without sockets, clocks or threads.
//!
//! * [`message`], [`open`], [`update`], [`notification`], [`refresh`]: messages to values and
//!   back. Every octet is hostile: nothing panics, reads beyond its input or allocates by a
//!   length that it was told; faults of UPDATEs are handled as RFC 7606 says, so that a bad
//!   attribute of a peer does not cost the session and with it all mitigations.
//! * [`flowspec`], [`action`], [`community`]: what a rule matches and what happens to it.
//! * [`Route`]: what we announce; its constructors refuse what routers misread.
//! * [`session::Session`]: the state machine of one peer.
//! * [`AdjRibOut`]: desired against announced, one message at a time; [`PeerProfile`]: what a
//!   peer's router takes, and in which order a rule is made to fit.
//!
//! A transport owns one `Session` and one `AdjRibOut` for each peer: it feeds events and time
//! to the session and does what it says; on `Established` and `Down` it calls
//! [`AdjRibOut::session_up`] and [`AdjRibOut::session_down`], on `Refresh`
//! [`AdjRibOut::refresh`]; and when it can write it pulls [`AdjRibOut::next_message`].
//!
//! # Why our own codec
//!
//! `rustbgpd-wire` and `rustbgpd-fsm` (0.x, often with breaking releases) were tried first.
//! They have no collision detection, timers or table of what was sent, do not set the restart
//! and forwarding bits of graceful restart, which is what keeps mitigations over our crash, and
//! read IPv6 prefixes with an offset other than RFC 8956 does. What would be left of them is
//! the codec of the messages here, which is small, and which we must hold to our own bounds
//! anyway.
//!
//! # Traps of other speakers and routers, what keeps us out of them, and the test of it
//!
//! * ADD-PATH makes a daemon announce garbage for FlowSpec. *Never offered.*
//!   `session::tests::add_path_is_never_offered`
//! * A rule of 240 octets or more ends the session, or all rules are ignored from then on.
//!   *Rules are cut at 239.*
//!   `profile::tests::long_rules_are_cut_below_240_octets`
//! * IPv6 prefix with offset: octets differ between implementations. *Read as RFC 8956 has it,
//!   refused in routes.*
//!   `flowspec::tests::offsets_are_read_as_the_rfc_has_them_and_never_announced`
//! * Components out of order, twice, unknown. *A rule cannot hold them.*
//!   `flowspec::tests::rules_that_cannot_be_are_not_made`
//! * An empty bitmask matches nothing; ports without protocol are refused by routers. *Refused
//!   in routes.*
//!   `flowspec::tests::rules_that_are_unwise_are_not_announced`
//! * A route of a family that was not offered ends the session. *Only agreed families are
//!   pulled.*
//!   `adj_rib_out::tests::only_agreed_families_are_sent`
//! * AS sequence written as set. *One writer, its octets tested.*
//!   `update::tests::the_path_is_a_sequence`
//! * IPv4-mapped next hop counts as withdrawal. *Refused in routes.*
//!   `route::tests::next_hops_that_routers_refuse_are_refused_here`
//! * Forwarding bit clear after a restart: kept routes are dropped. *Always set.*
//!   `session::tests::restart::after_a_crash_open_says_restarted_and_preserved`
//! * End-of-RIB before the routes: kept routes are dropped. *Waits for the desired set.*
//!   `adj_rib_out::tests::end_of_rib_waits_for_the_desired_set`
//! * A Cease is ignored by a peer that keeps routes on NOTIFICATION. *Hard reset.*
//!   `session::tests::restart::withdraw_is_hard_where_a_notification_would_keep_the_routes`
//! * A peer that reads nothing: queues grow, the session looks alive. *Pull, send hold timer.*
//!   `session::tests::timers::a_peer_that_does_not_read_is_given_up_and_gets_no_keepalives`
//! * The peer's prefix limit is hit again with each attempt. *Longest wait.*
//!   `session::tests::timers::the_limit_of_the_peer_makes_us_wait_long`
//! * A half-open connection blocks the next attempt for minutes. *Short wait for OPEN.*
//!   `session::tests::timers::a_peer_that_says_nothing_does_not_block_the_next_attempt`
//! * A full table of the peer. *Counted, forgotten, limited.*
//!   `session::tests::a_peer_that_sends_a_full_table_is_told_to_stop`
//! * A rule made wider for a simple router discards what was not meant. *A wider rule only
//!   limits.*
//!   `profile::tests::a_wider_rule_never_discards`
//! * NO_EXPORT hard-wired: route servers do not pass the blackhole on. *Communities are the
//!   route's own.*
//!   `adj_rib_out::tests::attributes_depend_on_whose_peer_it_is`

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
