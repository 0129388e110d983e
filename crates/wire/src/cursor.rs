//! A bounds-checked position in received bytes. It is `Copy`: going back is an assignment.
//!
//! No method panics and none reads past the end; a read that does not fit says by how much.

use std::fmt;

/// A header that does not fit: where it starts, what it needs, what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the frame of the first missing structure.
    pub offset: u32,
    /// Bytes it needs from there.
    pub needed: u32,
    /// Bytes present from there.
    pub available: u32,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes needed at {}, {} there", self.needed, self.offset, self.available)
    }
}

/// What is left of the input, and how far from its start that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, offset: 0 }
    }

    pub(crate) const fn offset(&self) -> u32 {
        self.offset
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `N` bytes, if they are there, without moving.
    pub(crate) fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk::<N>()
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Cut> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(N as u32);
                Ok(head)
            }
            None => Err(self.cut(N)),
        }
    }

    #[inline]
    pub(crate) fn skip(&mut self, bytes: usize) -> Result<(), Cut> {
        match self.rest.get(bytes..) {
            Some(rest) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(bytes as u32);
                Ok(())
            }
            None => Err(self.cut(bytes)),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Cut> {
        self.take::<1>().map(|b| b[0])
    }

    pub(crate) fn be16(&mut self) -> Result<u16, Cut> {
        self.take().map(|b| u16::from_be_bytes(*b))
    }

    pub(crate) fn be32(&mut self) -> Result<u32, Cut> {
        self.take().map(|b| u32::from_be_bytes(*b))
    }

    pub(crate) fn le16(&mut self) -> Result<u16, Cut> {
        self.take().map(|b| u16::from_le_bytes(*b))
    }

    pub(crate) fn le32(&mut self) -> Result<u32, Cut> {
        self.take().map(|b| u32::from_le_bytes(*b))
    }

    /// This cursor with at most `bytes` left: what an outer length field says belongs to it.
    #[inline]
    pub(crate) fn limited(self, bytes: usize) -> Self {
        Self { rest: self.rest.get(..bytes).unwrap_or(self.rest), ..self }
    }

    /// The error of a structure of `needed` bytes that does not fit here.
    pub(crate) const fn cut(&self, needed: usize) -> Cut {
        Cut { offset: self.offset, needed: needed as u32, available: self.rest.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_says_what_is_missing() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.be16(), Ok(0x0203));
        assert_eq!(cursor.be32(), Ok(0x0405_0607));
        assert_eq!(cursor.be16(), Err(Cut { offset: 7, needed: 2, available: 0 }));
        assert_eq!(cursor.offset(), 7);
    }

    #[test]
    fn a_limit_never_widens() {
        let cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.limited(2).remaining(), 2);
        assert_eq!(cursor.limited(9).remaining(), 3);
        let mut two = cursor.limited(2);
        assert_eq!(two.skip(3), Err(Cut { offset: 0, needed: 3, available: 2 }));
        assert_eq!(two.remaining(), 2, "a failed read does not move");
    }
}
