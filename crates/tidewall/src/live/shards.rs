//! The workers' shards as the detector's thread sees them. A worker holds its shard's lock while it
//! counts a few records, the detector for as long as it takes to read a slice or to swap a window: the
//! lock is almost never waited for, and a worker that has nothing to count delays no detection.

use std::sync::Arc;

use tidewall_engine::{Shard, Shards};

#[expect(clippy::disallowed_types, reason = "taken for many records at once; see above")]
type Lock = std::sync::Mutex<Shard>;

/// A shard that its worker and the detector share.
#[derive(Clone, Debug)]
pub struct SharedShard(Arc<Lock>);

impl SharedShard {
    /// Shares a shard.
    pub fn new(shard: Shard) -> Self {
        Self(Arc::new(Lock::new(shard)))
    }

    /// Is it the same one?
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Calls `f` with the shard. A worker that panicked while it counted left numbers behind, and
    /// nothing that could not be counted on.
    pub fn with<T>(&self, f: impl FnOnce(&mut Shard) -> T) -> T {
        let mut guard = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut guard)
    }
}

/// All shards, in the order of the workers.
#[derive(Clone, Debug, Default)]
pub struct SharedShards(pub Vec<SharedShard>);

impl Shards for SharedShards {
    fn each(&mut self, visit: &mut dyn FnMut(usize, &mut Shard)) {
        for (at, shard) in self.0.iter().enumerate() {
            shard.with(|shard| visit(at, shard));
        }
    }
}
