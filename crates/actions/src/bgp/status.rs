//! What is told about peers: states, counts, reasons.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tidewall_bgp::message::MessageType;
use tidewall_bgp::session::{Negotiated, ReceivedCounters, State};
use tidewall_bgp::{AdjRibOut, Change, Route, RouteFamily, RouteState};
use tidewall_model::Timestamp;

/// Messages that were given to the socket, and octets that it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounters {
    /// OPEN.
    pub opens: u64,
    /// UPDATE, End-of-RIB included.
    pub updates: u64,
    /// KEEPALIVE.
    pub keepalives: u64,
    /// NOTIFICATION.
    pub notifications: u64,
    /// ROUTE-REFRESH: marks of beginning and end.
    pub refreshes: u64,
    /// Octets.
    pub octets: u64,
}

impl SentCounters {
    /// Counts whole messages.
    pub(super) fn count(&mut self, mut messages: &[u8]) {
        // RFC 4271 §4.1: marker 16, length 2, type 1.
        while let [.., high, low, kind] = messages.get(..19).unwrap_or_default() {
            const OPEN: u8 = MessageType::Open as u8;
            const UPDATE: u8 = MessageType::Update as u8;
            const NOTIFICATION: u8 = MessageType::Notification as u8;
            const KEEPALIVE: u8 = MessageType::Keepalive as u8;
            match *kind {
                OPEN => self.opens += 1,
                UPDATE => self.updates += 1,
                NOTIFICATION => self.notifications += 1,
                KEEPALIVE => self.keepalives += 1,
                _ => self.refreshes += 1,
            }
            let length = usize::from(u16::from_be_bytes([*high, *low])).max(19);
            messages = messages.get(length..).unwrap_or_default();
        }
    }
}

/// Desired routes of one family at one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    /// The family.
    pub family: RouteFamily,
    /// Have both sides agreed on it?
    pub agreed: bool,
    /// Routes that are desired.
    pub desired: usize,
    /// Of these, sent.
    pub announced: usize,
    /// Of these, sent with one of the next messages.
    pub pending: usize,
    /// Of these, not sent: the reasons are in [`PeerStatus::waiting`].
    pub waiting: usize,
}

/// Why something went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// When.
    pub at: Timestamp,
    /// What, for people.
    pub text: String,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Option<String>,
    /// Where it is.
    pub address: SocketAddr,
    /// Its AS number.
    pub peer_as: u32,
    /// State of the session.
    pub state: State,
    /// In this state since then.
    pub since: Timestamp,
    /// How often the session was established.
    pub established: u64,
    /// What both sides can, while established.
    pub negotiated: Option<Negotiated>,
    /// All desired routes, and End-of-RIB where the peer wants it, were sent in this session.
    pub initial_routes_sent: bool,
    /// The peer does not read: something has waited since it was given to the socket.
    pub blocked: bool,
    /// Routes by family.
    pub families: Vec<FamilyStatus>,
    /// Routes that it has and is to lose: their withdrawal goes with one of the next messages.
    pub withdrawing: usize,
    /// Why routes are not sent, and how many for each reason.
    pub waiting: Vec<(String, usize)>,
    /// The last thing that went wrong.
    pub last_error: Option<PeerError>,
    /// The last NOTIFICATION of the peer, which tells more than what came of it.
    pub last_notification: Option<PeerError>,
    /// What was sent.
    pub sent: SentCounters,
    /// What was received.
    pub received: ReceivedCounters,
    /// Octets received.
    pub received_octets: u64,
    /// How often the peer has asked for its routes again.
    pub refreshes: u64,
}

impl PeerStatus {
    /// Routes of all families that were sent.
    pub fn announced(&self) -> usize {
        self.families.iter().map(|family| family.announced).sum()
    }

    /// Routes of all families that go with one of the next messages.
    pub fn pending(&self) -> usize {
        self.families.iter().map(|family| family.pending).sum()
    }
}

/// A desired route at one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReport {
    /// The route as it is desired.
    pub route: Route,
    /// Where it stands.
    pub state: RouteState,
    /// How what is sent differs from it.
    pub changes: Vec<Change>,
}

/// Everything, as the speaker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeakerStatus {
    /// The peers, in the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// Connections that were closed because no peer has their address.
    pub strangers: u64,
    /// The last of these.
    pub last_stranger: Option<SocketAddr>,
}

pub(super) fn families(
    routes: &AdjRibOut,
    negotiated: Option<&Negotiated>,
) -> (Vec<FamilyStatus>, Vec<(String, usize)>) {
    let mut families = RouteFamily::ALL.map(|family| FamilyStatus {
        family,
        agreed: negotiated.is_some_and(|both| both.families.contains(family)),
        desired: 0,
        announced: 0,
        pending: 0,
        waiting: 0,
    });
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for status in routes.routes() {
        let family = status.route.family();
        let Some(counts) = families.iter_mut().find(|counts| counts.family == family) else {
            continue;
        };
        counts.desired += 1;
        match status.state {
            RouteState::Announced => counts.announced += 1,
            RouteState::Pending => counts.pending += 1,
            RouteState::Waits(reason) => {
                counts.waiting += 1;
                *reasons.entry(reason.to_string()).or_default() += 1;
            }
        }
    }
    (families.to_vec(), reasons.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_headers() {
        let message = |length: u16, kind: u8| {
            let mut octets = vec![0xff; 16];
            octets.extend(length.to_be_bytes());
            octets.push(kind);
            octets.resize(length.into(), 0);
            octets
        };
        let mut sent = SentCounters::default();
        let stream = [message(29, 1), message(23, 2), message(300, 2), message(19, 4)].concat();
        sent.count(&stream);
        sent.count(&[message(21, 3), message(23, 5)].concat());
        let expected = SentCounters {
            opens: 1,
            updates: 2,
            keepalives: 1,
            notifications: 1,
            refreshes: 1,
            octets: 0,
        };
        assert_eq!(sent, expected);
    }
}
