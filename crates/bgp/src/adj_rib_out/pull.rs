//! The next message of a family: beginning of a refresh, withdrawals, announcements, end of a
//! refresh, End-of-RIB, in this order.

use std::net::IpAddr;
use std::sync::Arc;

use super::{AdjRibOut, Carried};
use crate::action::Actions;
use crate::attribute::{AsPath, PathAttributes};
use crate::family::RouteFamily;
use crate::refresh::{RefreshKind, RouteRefresh};
use crate::route::RouteKey;
use crate::session::Negotiated;
use crate::update::{write_announcements, write_end_of_rib, write_withdrawals};

/// `LOCAL_PREF` when a route has none of its own.
const DEFAULT_LOCAL_PREF: u32 = 100;

impl AdjRibOut {
    pub(super) fn next_of_family(
        &mut self,
        session: &Negotiated,
        family: RouteFamily,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.begin_refresh(session, family, out) {
            return true;
        }
        if self.write_withdrawals(session, family, out) {
            return true;
        }
        if self.write_announcements(session, family, out) {
            return true;
        }
        let complete = self.desired_complete;
        let table = self.table(family);
        if !table.announce.is_empty() {
            return false;
        }
        if table.refresh.end() {
            if session.enhanced_refresh {
                RouteRefresh { family: family.into(), kind: RefreshKind::End }.encode(out);
                return true;
            }
            // Requested again meanwhile, perhaps.
            return self.next_of_family(session, family, out);
        }
        if table.end_of_rib && complete {
            table.end_of_rib = false;
            write_end_of_rib(family, out);
            return true;
        }
        false
    }

    /// Marks all that the peer has, once the initial routes are complete (RFC 7313 §4).
    fn begin_refresh(
        &mut self,
        session: &Negotiated,
        family: RouteFamily,
        out: &mut Vec<u8>,
    ) -> bool {
        let table = self.table(family);
        let marks = session.enhanced_refresh;
        if marks && table.end_of_rib || !table.refresh.begin() {
            return false;
        }
        let keys: Vec<RouteKey> =
            self.announced().filter(|key| key.family() == family).cloned().collect();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.resend = true;
            }
            self.settle(&key);
        }
        if marks {
            RouteRefresh { family: family.into(), kind: RefreshKind::Begin }.encode(out);
        }
        marks
    }

    fn write_withdrawals(
        &mut self,
        session: &Negotiated,
        family: RouteFamily,
        out: &mut Vec<u8>,
    ) -> bool {
        let table = self.table(family);
        let octets = table.withdraw.iter().map(RouteKey::octets);
        let count = write_withdrawals(family, octets, session.max_message, out);
        let gone: Vec<RouteKey> = table.withdraw.iter().take(count).cloned().collect();
        for key in &gone {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.announced = None;
                entry.resend = false;
            }
            self.settle(key);
        }
        count > 0
    }

    fn write_announcements(
        &mut self,
        session: &Negotiated,
        family: RouteFamily,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(table) = self.tables.get(family as usize) else { return false };
        let Some((carried, keys)) = table.announce.first() else { return false };
        let attributes = self.path_attributes(session, family, carried);
        let count = write_announcements(
            family,
            &attributes,
            carried.next_hop.filter(|_| family != RouteFamily::Ipv4Unicast),
            keys.iter().map(RouteKey::octets),
            session.four_octet_as,
            session.max_message,
            out,
        );
        let carried = Arc::clone(carried);
        // The limits of routes see to it that one always fits. One that did not would stay pending
        // instead of holding up all others.
        let sent: Vec<RouteKey> = keys.iter().take(count.max(1)).cloned().collect();
        for key in &sent {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            if count > 0 {
                entry.announced = Some(Arc::clone(&carried));
                entry.resend = false;
            }
            if let Some(batch) = entry.batch.take() {
                self.table(family).announce.remove(batch, key);
            }
        }
        count > 0
    }

    fn path_attributes(
        &self,
        session: &Negotiated,
        family: RouteFamily,
        carried: &Carried,
    ) -> PathAttributes {
        let route = &carried.attributes;
        let internal = session.peer_as == self.local_as;
        let times = if internal { 0 } else { 1 + usize::from(route.prepend) };
        let (mut extended, ipv6_extended) =
            carried.actions.as_ref().map(Actions::communities).unwrap_or_default();
        extended.extend(&route.extended);
        extended.sort_unstable();
        PathAttributes {
            origin: Some(route.origin),
            as_path: Some(AsPath::sequence(vec![self.local_as; times])),
            next_hop: match carried.next_hop {
                Some(IpAddr::V4(next_hop)) if family == RouteFamily::Ipv4Unicast => Some(next_hop),
                _ => None,
            },
            med: route.med,
            local_pref: internal.then(|| route.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
            communities: route.communities.clone(),
            extended,
            ipv6_extended,
            large: route.large.clone(),
            others: Vec::new(),
        }
    }
}
