//! Our OPEN, the peer's OPEN, and what both can.

use std::net::Ipv4Addr;

use super::SessionConfig;
use crate::family::{AfiSafi, FamilySet, RouteFamily};
use crate::message::{MAX_EXTENDED_MESSAGE, MAX_MESSAGE};
use crate::notification::{Notification, code, open_error};
use crate::open::{AS_TRANS, Capabilities, GracefulRestart, Open};

/// How the peer keeps our routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRestart {
    /// Families of which it keeps routes while we are away.
    pub families: FamilySet,
    /// How long it may be away itself, in seconds.
    pub time: u16,
    /// It has just restarted.
    pub restarting: bool,
    /// It also keeps routes after a NOTIFICATION, unless that is a hard reset (RFC 8538).
    pub on_notification: bool,
}

/// What both sides can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's AS number.
    pub peer_as: u32,
    /// The peer's router id.
    pub router_id: Ipv4Addr,
    /// Hold time in seconds; 0: none.
    pub hold_time: u16,
    /// Families that both have offered: nothing else may be sent.
    pub families: FamilySet,
    /// AS numbers have four octets.
    pub four_octet_as: bool,
    /// The peer marks, and wants marked, beginning and end of a refresh.
    pub enhanced_refresh: bool,
    /// Longest message that may be sent.
    pub max_message: usize,
    /// Graceful restart, if both have it.
    pub restart: Option<PeerRestart>,
}

/// Our OPEN. ADD-PATH is never in it. `plain`: only what routes cannot do without.
pub(super) fn open(config: &SessionConfig, restarting: bool, plain: bool) -> Open {
    let families: Vec<AfiSafi> = config.families.iter().map(AfiSafi::from).collect();
    let restart = config.graceful_restart.filter(|_| !plain).map(|restart| GracefulRestart {
        restarting,
        notification: true,
        time: restart.time,
        // Our routes live in the peer: whatever happened to us, forwarding has not changed.
        families: families.iter().map(|family| (*family, true)).collect(),
    });
    let capabilities = Capabilities {
        families,
        route_refresh: true,
        enhanced_refresh: !plain,
        extended_message: config.extended_message && !plain,
        four_octet_as: Some(config.local_as),
        graceful_restart: restart,
        others: Vec::new(),
    };
    Open {
        two_octet_as: u16::try_from(config.local_as).unwrap_or(AS_TRANS),
        hold_time: config.hold_time,
        router_id: config.router_id,
        capabilities,
    }
}

/// What both can; or why the peer's OPEN is refused.
pub(super) fn negotiate(
    config: &SessionConfig,
    plain: bool,
    open: &Open,
) -> Result<Negotiated, Notification> {
    let peer_as = open.as_number();
    if peer_as != config.peer_as {
        return Err(Notification::new(code::OPEN, open_error::PEER_AS));
    }
    let internal = config.local_as == config.peer_as;
    if internal && open.router_id == config.router_id {
        return Err(Notification::new(code::OPEN, open_error::ROUTER_ID));
    }
    let capabilities = &open.capabilities;
    let known = |families: &mut dyn Iterator<Item = AfiSafi>| -> FamilySet {
        families.filter_map(|family| RouteFamily::try_from(family).ok()).collect()
    };
    let offered = if capabilities.families.is_empty() {
        FamilySet::NONE.with(RouteFamily::Ipv4Unicast)
    } else {
        known(&mut capabilities.families.iter().copied())
    };
    let restart = capabilities.graceful_restart.as_ref();
    let restart = restart.filter(|_| config.graceful_restart.is_some() && !plain);
    let extended = capabilities.extended_message && config.extended_message && !plain;
    Ok(Negotiated {
        peer_as,
        router_id: open.router_id,
        hold_time: config.hold_time.min(open.hold_time),
        families: config.families.and(offered),
        four_octet_as: capabilities.four_octet_as.is_some(),
        enhanced_refresh: capabilities.enhanced_refresh && !plain,
        max_message: if extended { MAX_EXTENDED_MESSAGE } else { MAX_MESSAGE },
        restart: restart.map(|restart| PeerRestart {
            families: known(&mut restart.families.iter().map(|(family, _)| *family)),
            time: restart.time,
            restarting: restart.restarting,
            on_notification: restart.notification,
        }),
    })
}
