//! Routes of the peer: counted and forgotten, and not more of them than the limit.

use std::collections::BTreeSet;

use crate::attribute::AttributeError;
use crate::family::{AfiSafi, RouteFamily};
use crate::nlri::Nlri;
use crate::notification::{Notification, cease, code};
use crate::update::Update;

/// What one UPDATE was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedUpdate {
    /// Routes announced.
    pub announced: u32,
    /// Routes withdrawn.
    pub withdrawn: u32,
    /// Routes that could not be read (RFC 7606: nothing else is lost).
    pub malformed: u32,
    /// The announced routes count as withdrawn, and why.
    pub treated_as_withdraw: Option<AttributeError>,
    /// The peer has sent all it has of this family.
    pub end_of_rib: Option<AfiSafi>,
}

/// What was received, in sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedCounters {
    /// UPDATE messages.
    pub updates: u64,
    /// Routes announced.
    pub announced: u64,
    /// Routes withdrawn.
    pub withdrawn: u64,
    /// Routes that could not be read.
    pub malformed: u64,
    /// UPDATEs whose routes counted as withdrawn because an attribute was malformed.
    pub treated_as_withdraw: u64,
    /// Attributes left out.
    pub attributes_discarded: u64,
    /// UPDATEs of families that were not agreed on or that we do not know.
    pub other_families: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Received {
    counters: ReceivedCounters,
    limit: Option<usize>,
    /// Hashes of the routes that the peer has announced in this session; never more than the limit
    /// and one. Two routes of one hash count as one, which only makes the limit a little wider.
    routes: BTreeSet<u64>,
}

impl Received {
    pub(super) const fn new(limit: Option<usize>) -> Self {
        let counters = ReceivedCounters {
            updates: 0,
            announced: 0,
            withdrawn: 0,
            malformed: 0,
            treated_as_withdraw: 0,
            attributes_discarded: 0,
            other_families: 0,
        };
        Self { counters, limit, routes: BTreeSet::new() }
    }

    pub(super) const fn counters(&self) -> &ReceivedCounters {
        &self.counters
    }

    pub(super) fn session_begins(&mut self) {
        self.routes.clear();
    }

    /// Counts an UPDATE; with what the peer is told when it has sent too many routes.
    pub(super) fn take(&mut self, update: &Update<'_>) -> (ReceivedUpdate, Option<Notification>) {
        let end_of_rib = update.end_of_rib();
        let treated_as_withdraw = update.treat_as_withdraw;
        let mut one = ReceivedUpdate { treated_as_withdraw, end_of_rib, ..Default::default() };
        let mut over = None;
        for (announced, route) in update.routes() {
            let Ok(route) = route else {
                one.malformed += 1;
                continue;
            };
            let announced = announced && update.treat_as_withdraw.is_none();
            if announced {
                one.announced += 1;
            } else {
                one.withdrawn += 1;
            }
            if let Some(limit) = self.limit
                && over.is_none()
            {
                over = self.count(&route, announced, limit);
            }
        }
        let families =
            update.reach.map(|r| r.family).into_iter().chain(update.unreach.map(|u| u.family));
        let unknown = families.filter(|family| RouteFamily::try_from(*family).is_err()).count();
        let sums = &mut self.counters;
        sums.updates += 1;
        sums.announced += u64::from(one.announced);
        sums.withdrawn += u64::from(one.withdrawn);
        sums.malformed += u64::from(one.malformed);
        sums.treated_as_withdraw += u64::from(one.treated_as_withdraw.is_some());
        sums.attributes_discarded += u64::from(update.discarded);
        sums.other_families += u64::from(unknown > 0);
        (one, over)
    }

    fn count(&mut self, route: &Nlri, announced: bool, limit: usize) -> Option<Notification> {
        let hash = hash(route);
        if !announced {
            self.routes.remove(&hash);
            return None;
        }
        self.routes.insert(hash);
        if self.routes.len() <= limit {
            return None;
        }
        // RFC 4486 §4: family and limit.
        let AfiSafi { afi, safi } = route.family().into();
        let mut data = afi.to_be_bytes().to_vec();
        data.push(safi);
        data.extend(u32::try_from(limit).unwrap_or(u32::MAX).to_be_bytes());
        Some(Notification::with_data(code::CEASE, cease::MAX_PREFIXES, &data))
    }
}

/// FNV-1a of family and octets.
fn hash(route: &Nlri) -> u64 {
    let mut octets = vec![route.family() as u8];
    route.encode(&mut octets);
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}
