//! A capture that goes on: frames of one target from all workers, until there are enough or the
//! time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewall_actions::CapturedFrame;
use tidewall_model::{FlowRecord, Timestamp};

use super::frame::{Head, SeenFrame, Wanted};
use super::{Lock, Shared, locked};

/// Bytes that are kept of each frame.
pub(super) const SNAP_LENGTH: usize = 1500;

/// What the workers know of a capture.
#[derive(Debug)]
pub(super) struct Capture {
    wanted: Wanted,
    until: Timestamp,
    /// Frames that are still wanted.
    left: AtomicUsize,
    pub(super) kept: Lock<Kept>,
}

/// The frames so far. Room for all of them is reserved from the start.
#[derive(Debug)]
pub(super) struct Kept {
    heads: Vec<Head>,
    bytes: Vec<u8>,
}

impl Capture {
    pub(super) fn new(wanted: Wanted, most: usize, until: Timestamp) -> Self {
        let bytes = Vec::with_capacity(most * SNAP_LENGTH);
        let kept = Lock::new(Kept { heads: Vec::with_capacity(most), bytes });
        Self { wanted, until, left: AtomicUsize::new(most), kept }
    }

    /// Is there room for more frames?
    pub(super) fn wants_more(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Will it take no more frames?
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        !self.wants_more() || now > self.until
    }

    /// Keeps the frame if it is wanted. False when others were just at the capture, and the frame
    /// passed by.
    pub(super) fn offer(&self, frame: &SeenFrame<'_>, record: &FlowRecord) -> bool {
        if !self.wanted.has_record(record) || !self.wants_more() {
            return true;
        }
        let Ok(mut kept) = self.kept.try_lock() else { return false };
        let one_less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            let length = frame.data.len().min(SNAP_LENGTH);
            kept.heads.push(Head::new(frame, record, length));
            kept.bytes.extend_from_slice(&frame.data[..length]);
        }
        true
    }

    fn take(&self) -> Vec<CapturedFrame> {
        let mut kept = locked(&self.kept);
        let mut frames = Vec::with_capacity(kept.heads.len());
        let mut rest = kept.bytes.as_slice();
        for head in &kept.heads {
            let Some((bytes, behind)) = rest.split_at_checked(head.length.into()) else { break };
            rest = behind;
            frames.extend(head.restore(bytes));
        }
        kept.heads.clear();
        kept.bytes.clear();
        drop(kept);
        frames.sort_by_key(|frame| frame.time);
        frames
    }
}

/// The following frames of a target. Ends when it is dropped.
#[derive(Debug)]
pub struct Following {
    /// `None`: refused.
    capture: Option<(Arc<Capture>, Arc<Shared>)>,
}

impl Following {
    pub(super) fn new(capture: Arc<Capture>, shared: Arc<Shared>) -> Self {
        Self { capture: Some((capture, shared)) }
    }

    /// Nothing will come.
    pub(super) const fn refused() -> Self {
        Self { capture: None }
    }

    /// The frames that came since this was called last, in the order of their time.
    pub fn take(&self) -> Vec<CapturedFrame> {
        self.capture.as_ref().map(|(capture, _)| capture.take()).unwrap_or_default()
    }

    /// Are there enough, or is the time over? What came is there for [`Self::take`].
    pub fn is_complete(&self, now: Timestamp) -> bool {
        self.capture.as_ref().is_none_or(|(capture, _)| capture.is_over(now))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some((capture, shared)) = &self.capture {
            capture.left.store(0, Ordering::Relaxed);
            shared.followings.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
