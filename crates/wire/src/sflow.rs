//! sFlow datagrams: version 5 (sflow.org, "sFlow Version 5") whole, versions 2 and 4 (RFC 3176)
//! in their old layout. Samples and their records are borrowed from the datagram and found while
//! iterating; nothing is allocated.
//!
//! The datagram is hostile. Its counts are limits for a loop and never a size: more than
//! [`MAX_SAMPLES`] or [`MAX_RECORDS`] is refused, as is a datagram that announces no sample, and
//! what is announced but not there ends in an error that says how many bytes are missing. A bad
//! sample or record of version 5 is passed over by its length and reading goes on. The old
//! versions carry no lengths, so there the first bad sample is the last; [`Samples::lost`] says
//! how many announced samples could not be reached. Bytes behind the last sample or record are
//! tolerated (Brocade appends up to 20) and reported by `trailing`.
//!
//! A new record is one arm in `flow::decode` or `counter::decode` and one vector in the tests.

mod counter;
mod error;
mod flow;
mod gateway;
mod sample;
mod xdr;

use std::iter::FusedIterator;
use std::net::IpAddr;

use xdr::Xdr;

pub use counter::{CounterData, CounterRecords, InterfaceCounters};
pub use error::SflowError;
pub use flow::{
    EthernetFrame, FlowData, FlowRecords, HeaderProtocol, IpPacket, RawHeader, RouterData,
    SwitchData,
};
pub use gateway::{AsPath, AsSegment, Gateway, SegmentKind, Segments, Words};
pub use sample::{
    CounterSample, DataFormat, DataSource, DiscardReason, DiscardSample, FlowSample, Interface,
    Sample,
};

/// Samples one datagram may announce. The largest Ethernet jumbo frame holds fewer flow samples.
pub const MAX_SAMPLES: u32 = 256;

/// Records one sample may announce.
pub const MAX_RECORDS: u32 = 256;

/// Which layout a datagram has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Version 2: the AS path is a plain list, and there are no communities.
    V2,
    /// Version 4 (RFC 3176).
    V4,
    /// Version 5: every sample and record carries its length.
    V5,
}

/// A datagram whose header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its layout.
    pub version: Version,
    /// The address by which the agent calls itself; not always the one it sends from.
    pub agent: Option<IpAddr>,
    /// Which of the agent's processes sent this; 0 before version 5.
    pub sub_agent: u32,
    /// Number of the datagram among those of this sub-agent.
    pub sequence: u32,
    /// Milliseconds since the agent started.
    pub uptime_ms: u32,
    /// Samples announced: from 1 to [`MAX_SAMPLES`].
    pub sample_count: u32,
    body: Xdr<'a>,
}

impl<'a> Datagram<'a> {
    /// Reads the header; the samples are read by [`Self::samples`].
    #[inline]
    pub fn parse(data: &'a [u8]) -> Result<Self, SflowError> {
        Self::header(Xdr::new(data)).map_err(SflowError::in_header)
    }

    fn header(mut xdr: Xdr<'a>) -> Result<Self, SflowError> {
        let version = match xdr.word()? {
            2 => Version::V2,
            4 => Version::V4,
            5 => Version::V5,
            version => return Err(SflowError::Version { version }),
        };
        let agent = xdr.address()?;
        let sub_agent = if version == Version::V5 { xdr.word()? } else { 0 };
        let [sequence, uptime_ms] = xdr.words()?;
        let offset = xdr.offset();
        let sample_count = xdr.word()?;
        if !(1..=MAX_SAMPLES).contains(&sample_count) {
            let (count, limit) = (sample_count, MAX_SAMPLES);
            return Err(SflowError::SampleCount { offset, count, limit });
        }
        Ok(Self { version, agent, sub_agent, sequence, uptime_ms, sample_count, body: xdr })
    }

    /// Its samples, in order.
    pub const fn samples(&self) -> Samples<'a> {
        Samples { rest: self.body, left: self.sample_count, lost: 0, version: self.version }
    }
}

/// The samples of a datagram. An error stands for the sample that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples<'a> {
    rest: Xdr<'a>,
    left: u32,
    lost: u32,
    version: Version,
}

impl<'a> Samples<'a> {
    /// The next sample, if it is a flow sample of version 5 that can be read. Does not move
    /// otherwise, so that [`Iterator::next`] tells what there is.
    ///
    /// It gives no more than `next` does, but what nearly all samples are stays in registers.
    #[inline]
    pub fn next_flow(&mut self) -> Option<FlowSample<'a>> {
        if self.version != Version::V5 {
            return None;
        }
        let left = self.left.checked_sub(1)?;
        let mut rest = self.rest;
        let (format, body) = sample::tagged(&mut rest).ok()?;
        let sample = FlowSample::of_format(format, body)?;
        (self.left, self.rest) = (left, rest);
        Some(sample)
    }

    /// Announced samples that could not be reached behind a bad one, which is not among them.
    pub const fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes not read yet: at the end, those behind the last sample.
    pub const fn trailing(&self) -> usize {
        self.rest.remaining()
    }

    /// Gives up what is behind a sample whose end is not known.
    fn abandon(&mut self) {
        self.lost = std::mem::take(&mut self.left);
        self.rest = self.rest.ended();
    }
}

impl<'a> Iterator for Samples<'a> {
    type Item = Result<Sample<'a>, SflowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let sample = if self.version == Version::V5 {
            match sample::tagged(&mut self.rest) {
                // Whatever is in it, the next sample starts behind it.
                Ok((format, body)) => return Some(Sample::parse(format, body)),
                Err(cut) => Err(SflowError::SampleCut(cut)),
            }
        } else {
            sample::old(&mut self.rest, self.version)
        };
        if sample.is_err() {
            self.abandon();
        }
        Some(sample)
    }
}

impl FusedIterator for Samples<'_> {}

#[cfg(test)]
mod tests;
