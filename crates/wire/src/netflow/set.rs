//! Flowsets (RFC 3954 §5.2 to §6.1) and sets (RFC 7011 §3.3): an id, a length, and templates or
//! records.

use super::Protocol;
use super::error::NetflowError;
use super::plan::{Plan, Records};
use super::template::{MIN_TEMPLATE_ID, TemplateKind, Templates};
use crate::cursor::{Cursor, Cut};

/// Sets that are followed in one datagram.
pub const MAX_SETS: u16 = 256;

const HEADER_LENGTH: usize = 4;

/// What a set holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// Templates, for records of this kind.
    Templates(TemplateKind),
    /// Records, of data or of options, by the template whose id is the set's.
    Records,
}

impl SetKind {
    fn of(protocol: Protocol, id: u16) -> Option<Self> {
        match (protocol, id) {
            (Protocol::V9, 0) | (Protocol::Ipfix, 2) => Some(Self::Templates(TemplateKind::Data)),
            (Protocol::V9, 1) | (Protocol::Ipfix, 3) => {
                Some(Self::Templates(TemplateKind::Options))
            }
            (_, MIN_TEMPLATE_ID..) => Some(Self::Records),
            _ => None,
        }
    }
}

/// One set that is there in full.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// Its id: of records, the template's.
    pub id: u16,
    /// What it holds.
    pub kind: SetKind,
    /// What follows its header.
    pub body: &'a [u8],
    protocol: Protocol,
    cursor: Cursor<'a>,
}

impl<'a> Set<'a> {
    /// Where the body starts, in bytes from the start of the datagram.
    pub fn offset(&self) -> u32 {
        self.cursor.offset()
    }

    /// The templates of a set that holds some; none of a set of records.
    pub fn templates(&self) -> Templates<'a> {
        match self.kind {
            SetKind::Templates(kind) => Templates::new(self.protocol, kind, self.id, self.cursor),
            SetKind::Records => {
                Templates::new(self.protocol, TemplateKind::Data, self.id, self.cursor.limited(0))
            }
        }
    }

    /// The records, as the template describes them that the plan was compiled from.
    #[inline]
    pub fn records<'p>(&self, plan: &'p Plan) -> Records<'a, 'p> {
        plan.records(self.body, self.offset())
    }
}

/// The sets of a datagram, in order.
///
/// A reserved id is an error, and the next set follows. A length that cannot be is an error, and
/// the last item. A datagram that ends with its header has no sets, which is no error.
#[derive(Clone, Debug)]
pub struct Sets<'a> {
    protocol: Protocol,
    data: &'a [u8],
    cursor: Cursor<'a>,
    left: u16,
}

impl<'a> Sets<'a> {
    /// `cursor` is a position in `data`.
    pub(super) fn new(protocol: Protocol, data: &'a [u8], cursor: Cursor<'a>) -> Self {
        Self { protocol, data, cursor, left: MAX_SETS }
    }

    fn set(&mut self) -> Result<Set<'a>, NetflowError> {
        let start = self.cursor;
        let offset = start.offset();
        let header = self.cursor.take::<HEADER_LENGTH>();
        let &[i0, i1, l0, l1] = header.map_err(|_| {
            self.stop();
            NetflowError::SetHeaderCut(start.cut(HEADER_LENGTH))
        })?;
        let (id, length) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([l0, l1]));
        let Some(body_length) = usize::from(length).checked_sub(HEADER_LENGTH) else {
            self.stop();
            return Err(NetflowError::SetLength { offset, length });
        };
        let cursor = self.cursor.limited(body_length);
        let from = self.cursor.offset() as usize;
        let body = self.data.get(from..from + body_length);
        let (Some(body), Ok(())) = (body, self.cursor.skip(body_length)) else {
            self.stop();
            let Cut { available, .. } = start.cut(0);
            let needed = u32::from(length);
            return Err(NetflowError::SetCut(Cut { offset, needed, available }));
        };
        let Some(kind) = SetKind::of(self.protocol, id) else {
            return Err(NetflowError::ReservedSet { offset, id });
        };
        Ok(Set { id, kind, body, protocol: self.protocol, cursor })
    }

    /// Nothing follows.
    fn stop(&mut self) {
        self.cursor = self.cursor.limited(0);
    }
}

impl<'a> Iterator for Sets<'a> {
    type Item = Result<Set<'a>, NetflowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.remaining() == 0 {
            return None;
        }
        let Some(left) = self.left.checked_sub(1) else {
            let offset = self.cursor.offset();
            self.stop();
            return Some(Err(NetflowError::TooManySets { offset }));
        };
        self.left = left;
        Some(self.set())
    }
}
