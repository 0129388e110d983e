//! When the packets of a flow record count, for replay and service alike.

use std::time::Duration;

use tidewall_collect::{Crediting, Spreader};
use tidewall_model::{FlowRecord, Timestamp};

/// Passes records on when they come, or over as long a time as their flows lasted.
#[derive(Debug)]
pub struct Creditor(Option<Box<Spreader>>);

impl Creditor {
    /// As the configuration says.
    pub fn new(crediting: Crediting) -> Self {
        Self(match crediting {
            Crediting::Arrival => None,
            Crediting::Spread { longest } => {
                Some(Box::new(Spreader::new(longest, Spreader::CAPACITY)))
            }
        })
    }

    /// Takes a record of a flow that lasted so long. What counts now is added to `out`.
    #[inline]
    pub fn take(&mut self, record: FlowRecord, lasted: Duration, out: &mut Vec<FlowRecord>) {
        match &mut self.0 {
            None => out.push(record),
            Some(spreader) => spreader.push(record, lasted, out),
        }
    }

    /// As [`Self::take`], with `seq` for the record's number. Each arm makes its own copy: one that
    /// both share lies in memory, written in small pieces and read in large ones, for which the
    /// processor waits.
    #[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
    #[inline(always)]
    pub fn take_as(
        &mut self,
        seq: u64,
        record: &FlowRecord,
        lasted_ms: u32,
        out: &mut Vec<FlowRecord>,
    ) {
        match &mut self.0 {
            None => out.push(FlowRecord { seq, ..*record }),
            Some(spreader) => spread(spreader, FlowRecord { seq, ..*record }, lasted_ms, out),
        }
    }

    /// Adds what counts by `now`. When it gives true, more does: take what is in `out` away and
    /// call again.
    #[inline]
    #[must_use = "when true, more is due: call again"]
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<FlowRecord>) -> bool {
        self.0.as_mut().is_some_and(|spreader| spreader.advance(now, out))
    }

    /// No more time will pass: adds what is left as time would bring it. When it gives true, there
    /// is more: take what is in `out` away and call again.
    #[must_use = "when true, more is left: call again"]
    pub fn finish(&mut self, out: &mut Vec<FlowRecord>) -> bool {
        self.0.as_mut().is_some_and(|spreader| spreader.finish(out))
    }

    /// Records that counted when they came because there was no room to spread them.
    pub fn not_spread(&self) -> u64 {
        self.0.as_ref().map_or(0, |spreader| spreader.not_spread())
    }
}

#[inline(never)]
fn spread(spreader: &mut Spreader, record: FlowRecord, lasted_ms: u32, out: &mut Vec<FlowRecord>) {
    spreader.push(record, Duration::from_millis(lasted_ms.into()), out);
}
