//! A bounds-checked position in received bytes. No method panics, none reads past the end, and a
//! read that does not fit says by how much and does not move.

use std::fmt;

/// A structure that does not fit into what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset of the structure in the bytes that were being read.
    pub offset: usize,
    /// Bytes that it needs.
    pub needed: usize,
    /// Bytes that are there.
    pub available: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes needed at {}, {} there", self.needed, self.offset, self.available)
    }
}

/// What is left of the input, and how far from its start that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, offset: 0 }
    }

    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Cut> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.cut(N));
        };
        self.rest = rest;
        self.offset += N;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Cut> {
        let Some((head, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.cut(length));
        };
        self.rest = rest;
        self.offset += length;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Cut> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Cut> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Cut> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) const fn cut(&self, needed: usize) -> Cut {
        Cut { offset: self.offset, needed, available: self.rest.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_says_what_is_missing() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u16(), Err(Cut { offset: 7, needed: 2, available: 1 }));
        assert_eq!(reader.bytes(1), Ok(&[8][..]), "a failed read does not move");
        assert!(reader.is_empty());
    }
}
