//! Flows whose template came too long after them. Counted when it comes, the flows of seconds would
//! be traffic of that moment, which can look like an attack: they are told, and do not count.

use tidewall_model::{DropReason, FlowRecord};

use super::compiled::Form;
use super::reading::{Context, Reader, Tally};
use crate::{FlowDetail, FlowSink, Remark};

/// Takes the place of a sink for them.
struct Late<'a, S> {
    sink: &'a mut S,
    flows: u64,
}

impl<S: FlowSink> FlowSink for Late<'_, S> {
    const DETAIL: bool = S::DETAIL;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.flows += 1;
        self.refused(DropReason::TemplateLate, record, detail);
    }

    fn refused(&mut self, reason: DropReason, record: &FlowRecord, detail: &FlowDetail) {
        if S::DETAIL {
            self.sink.refused(reason, record, detail);
        }
    }

    fn remark(&mut self, remark: &Remark<'_>) {
        self.sink.remark(remark);
    }
}

impl<S: FlowSink> Reader<'_, S> {
    /// Reads a set of flows that waited too long.
    #[cold]
    pub(super) fn late(&mut self, form: &Form, body: &[u8], context: &Context) {
        let mut sink = Late { sink: self.sink, flows: 0 };
        let mut sequence = *self.sequence;
        let mut reader = Reader {
            settings: self.settings,
            state: self.state,
            common: self.common,
            drops: self.drops,
            sequence: &mut sequence,
            frames: self.frames,
            room: self.room,
            sink: &mut sink,
            detail: self.detail,
            tally: Tally::default(),
        };
        reader.data(form, body, context);
        let flows = sink.flows;
        self.drops.add(DropReason::TemplateLate, flows);
        self.state.health.drop(DropReason::TemplateLate, flows);
    }
}
