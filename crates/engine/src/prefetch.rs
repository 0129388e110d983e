//! Bringing counters into the cache before their turn comes. At many hosts the way of a record is
//! waiting for memory; a request that nobody waits for hides that. The instruction for it cannot
//! be written in safe code yet (`std::hint::prefetch_read` is unstable), so it comes from outside.

use std::hint::black_box;

/// Asks the processor for memory that will soon be used. A hint: results do not depend on it.
pub trait Prefetch: Copy {
    /// Asks for the cache line in which a value begins.
    fn prefetch<T: Copy>(self, place: &T);
}

/// What safe code can do: it loads the value. Loads overlap with each other, but what comes behind
/// them must wait for all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load;

impl Prefetch for Load {
    #[inline]
    fn prefetch<T: Copy>(self, place: &T) {
        black_box(*place);
    }
}
