//! How the engine asks for memory before its turn: by the processor's own instruction.

use tidewall_capture::memory;
use tidewall_engine::Prefetch;

/// Brings memory near.
#[derive(Clone, Copy, Debug)]
pub struct Near;

impl Prefetch for Near {
    #[inline]
    fn prefetch<T: Copy>(self, place: &T) {
        memory::prefetch(place);
    }
}
