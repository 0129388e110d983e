//! Arrival times where the kernel gives none.

use std::time::{SystemTime, UNIX_EPOCH};

use tidewall_model::Timestamp;

/// The time of day.
#[expect(clippy::disallowed_methods, reason = "a frame that arrives without a time gets this one")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}
