//! Routes that are to be announced, in batches of those that carry the same: a batch is what can
//! share messages, so that packing looks at no route that it does not send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Carried;
use crate::route::RouteKey;

/// The batches, in the order in which they were begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches {
    waiting: BTreeMap<u64, (Arc<Carried>, BTreeSet<RouteKey>)>,
    numbers: BTreeMap<Arc<Carried>, u64>,
    next: u64,
    routes: usize,
}

impl Batches {
    /// Puts a route in; the number of its batch.
    pub(super) fn insert(&mut self, carried: Arc<Carried>, key: RouteKey) -> u64 {
        let number = *self.numbers.entry(Arc::clone(&carried)).or_insert(self.next);
        self.next += u64::from(number == self.next);
        let (_, routes) = self.waiting.entry(number).or_insert_with(|| (carried, BTreeSet::new()));
        self.routes += usize::from(routes.insert(key));
        number
    }

    /// Takes a route out of its batch.
    pub(super) fn remove(&mut self, number: u64, key: &RouteKey) {
        let Some((carried, routes)) = self.waiting.get_mut(&number) else { return };
        self.routes -= usize::from(routes.remove(key));
        if routes.is_empty() {
            self.numbers.remove(carried);
            self.waiting.remove(&number);
        }
    }

    /// The batch that was begun first.
    pub(super) fn first(&self) -> Option<(&Arc<Carried>, &BTreeSet<RouteKey>)> {
        self.waiting.values().next().map(|(carried, routes)| (carried, routes))
    }

    /// Number of routes.
    pub(super) const fn len(&self) -> usize {
        self.routes
    }

    /// Is there none?
    pub(super) const fn is_empty(&self) -> bool {
        self.routes == 0
    }
}
