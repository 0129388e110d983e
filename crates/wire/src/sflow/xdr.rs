//! A bounds-checked position in XDR data (RFC 4506): everything is a sequence of 32-bit words.
//!
//! It is `Copy`: going back is an assignment. No method panics and none reads past the end.

use std::net::IpAddr;

use super::{SflowError, Words};
use crate::cursor::Cut;

/// What is left of the input, and how far from the datagram's start that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Xdr<'a> {
    rest: &'a [u8],
    offset: u32,
}

impl<'a> Xdr<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, offset: 0 }
    }

    pub(super) const fn offset(&self) -> u32 {
        self.offset
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// This position with nothing left behind it.
    pub(super) const fn ended(self) -> Self {
        Self { rest: &[], ..self }
    }

    /// What lies between this position and `end`, a later one in the same data.
    pub(super) fn up_to(self, end: Self) -> Self {
        let length = self.rest.len().saturating_sub(end.rest.len());
        Self { rest: self.rest.get(..length).unwrap_or(self.rest), ..self }
    }

    #[inline]
    pub(super) fn word(&mut self) -> Result<u32, Cut> {
        self.words::<1>().map(|[word]| word)
    }

    /// The next `N` words.
    #[inline]
    pub(super) fn words<const N: usize>(&mut self) -> Result<[u32; N], Cut> {
        let (quads, _) = self.rest.as_chunks::<4>();
        match quads.first_chunk::<N>() {
            Some(quads) => {
                let words = quads.map(u32::from_be_bytes);
                self.bytes(4 * N as u32)?;
                Ok(words)
            }
            None => Err(self.cut(4 * N as u32)),
        }
    }

    /// The next `N` bytes, without padding.
    #[inline]
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], Cut> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(N as u32);
                Ok(head)
            }
            None => Err(self.cut(N as u32)),
        }
    }

    /// The next `length` bytes, without padding.
    #[inline]
    pub(super) fn bytes(&mut self, length: u32) -> Result<&'a [u8], Cut> {
        match self.rest.split_at_checked(length as usize) {
            Some((head, rest)) => {
                self.rest = rest;
                self.offset = self.offset.saturating_add(length);
                Ok(head)
            }
            None => Err(self.cut(length)),
        }
    }

    /// The next `length` bytes as data of their own, and past the padding to a whole word. Padding
    /// that the end of the data cuts off is not missed.
    #[inline]
    pub(super) fn opaque(&mut self, length: u32) -> Result<Self, Cut> {
        let offset = self.offset;
        let rest = self.bytes(length)?;
        let padding = (length.wrapping_neg() % 4).min(self.rest.len() as u32);
        self.bytes(padding)?;
        Ok(Self { rest, offset })
    }

    /// A counted list of words.
    pub(super) fn list(&mut self) -> Result<Words<'a>, Cut> {
        let count = self.word()?;
        self.bytes(count.saturating_mul(4)).map(Words::new)
    }

    /// A type word and the address it announces; `None` for the type that has none.
    pub(super) fn address(&mut self) -> Result<Option<IpAddr>, SflowError> {
        let offset = self.offset;
        match self.word()? {
            0 => Ok(None),
            1 => Ok(Some(IpAddr::from(*self.fixed::<4>()?))),
            2 => Ok(Some(IpAddr::from(*self.fixed::<16>()?))),
            kind => Err(SflowError::AddressType { offset, kind }),
        }
    }

    /// The error of a structure of `needed` bytes that does not fit here.
    const fn cut(&self, needed: u32) -> Cut {
        Cut { offset: self.offset, needed, available: self.rest.len() as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opaque_takes_its_padding_along_when_it_is_there() {
        let mut xdr = Xdr::new(&[1, 2, 3, 4, 5, 0, 0, 0, 9, 9]);
        let five = xdr.opaque(5).unwrap();
        assert_eq!((five.rest(), five.offset()), (&[1, 2, 3, 4, 5][..], 0));
        assert_eq!(xdr.offset(), 8);
        assert_eq!(xdr.opaque(1).unwrap().rest(), [9]);
        assert_eq!((xdr.offset(), xdr.remaining()), (10, 0), "one of three padding bytes is there");
    }

    #[test]
    fn a_failed_read_does_not_move() {
        let mut xdr = Xdr::new(&[0, 0, 0, 1, 0, 0]);
        let cut = Cut { offset: 0, needed: 8, available: 6 };
        assert_eq!(xdr.words::<2>(), Err(cut));
        assert_eq!(xdr.word(), Ok(1));
        assert_eq!(xdr.word(), Err(Cut { offset: 4, needed: 4, available: 2 }));
        assert_eq!(xdr.bytes(u32::MAX).unwrap_err().available, 2);
        assert_eq!(xdr.remaining(), 2);
    }

    #[test]
    fn a_list_longer_than_the_data_is_cut() {
        let mut xdr = Xdr::new(&[0xff; 12]);
        assert_eq!(xdr.list(), Err(Cut { offset: 4, needed: u32::MAX, available: 8 }));
    }
}
