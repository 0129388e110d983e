//! Samples: what an agent took from a stream of packets, read from its counters, or saw discarded.

use super::counter::CounterRecords;
use super::flow::FlowRecords;
use super::xdr::Xdr;
use super::{MAX_RECORDS, SflowError, Version};
use crate::cursor::Cut;

/// What a sample or record is: an enterprise (0 is sFlow.org) and its number for the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataFormat {
    /// SMI enterprise number, 20 bits.
    pub enterprise: u32,
    /// 12 bits.
    pub format: u32,
}

impl DataFormat {
    /// A format of sFlow.org.
    pub const fn standard(format: u32) -> Self {
        Self { enterprise: 0, format }
    }

    const fn from_word(word: u32) -> Self {
        Self { enterprise: word >> 12, format: word & 0xfff }
    }
}

/// Where samples are taken: an interface, a VLAN, a physical or a logical entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataSource {
    /// 0 interface, 1 VLAN, 2 entPhysicalEntry, 3 entLogicalEntry.
    pub class: u32,
    /// The ifIndex, VLAN or entity; 24 bits unless the sample is an expanded one.
    pub index: u32,
}

impl DataSource {
    const fn compact(word: u32) -> Self {
        Self { class: word >> 24, index: word & 0x00ff_ffff }
    }
}

/// Why a packet was discarded: below 256 an ICMP destination unreachable code (RFC 792, RFC 1812),
/// from there on a number of sFlow's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiscardReason(pub u32);

impl DiscardReason {
    /// The agent does not know.
    pub const UNKNOWN: Self = Self(256);
    /// TTL or hop limit reached zero.
    pub const TTL_EXCEEDED: Self = Self(257);
    /// An access control list.
    pub const ACL: Self = Self(258);
    /// No buffer space.
    pub const NO_BUFFER_SPACE: Self = Self(259);
    /// Random early detection.
    pub const RED: Self = Self(260);
    /// Traffic shaping or rate limiting.
    pub const TRAFFIC_SHAPING: Self = Self(261);
    /// Too big, for a protocol that does not fragment.
    pub const PACKET_TOO_BIG: Self = Self(262);
}

/// Where a packet came in or went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// The agent does not know.
    Unknown,
    /// An ifIndex.
    Index(u32),
    /// Nowhere: the packet starts or ends in the device itself.
    Internal,
    /// Nowhere: it was discarded.
    Discarded(DiscardReason),
    /// So many interfaces; 0 when there are several and the number is not known.
    Multiple(u32),
    /// A format without a meaning.
    Reserved {
        /// Above 2.
        format: u32,
        /// Whatever it says.
        value: u32,
    },
}

impl Interface {
    /// What stands for [`Self::Internal`] where a value has 30 bits.
    const INTERNAL: u32 = 0x3fff_ffff;

    /// The ifIndex, where there is one.
    pub const fn index(self) -> Option<u32> {
        match self {
            Self::Index(index) => Some(index),
            _ => None,
        }
    }

    /// Two bits of format and 30 of value.
    const fn compact(word: u32) -> Self {
        Self::expanded(word >> 30, word & Self::INTERNAL)
    }

    /// A word each for format and value. Agents write "internal" as all ones in 30 bits or in 32.
    const fn expanded(format: u32, value: u32) -> Self {
        match (format, value) {
            (0, value) => Self::plain(value),
            (1, value) => Self::Discarded(DiscardReason(value)),
            (2, value) => Self::Multiple(value),
            (format, value) => Self::Reserved { format, value },
        }
    }

    const fn plain(value: u32) -> Self {
        match value {
            0 => Self::Unknown,
            Self::INTERNAL | u32::MAX => Self::Internal,
            index => Self::Index(index),
        }
    }

    /// Versions 2 and 4: the highest bit set means so many interfaces (RFC 3176, `output`).
    const fn old(word: u32) -> Self {
        match word {
            0 => Self::Unknown,
            word if word >> 31 == 1 => Self::Multiple(word & 0x7fff_ffff),
            index => Self::Index(index),
        }
    }
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample<'a> {
    /// A sampled packet: formats 1 and 3.
    Flow(FlowSample<'a>),
    /// Counters of a data source: formats 2 and 4.
    Counters(CounterSample<'a>),
    /// A discarded packet: format 5.
    Discard(DiscardSample<'a>),
    /// Any other, passed over.
    Other {
        /// What it is.
        format: DataFormat,
        /// Its bytes.
        data: &'a [u8],
    },
}

/// A sampled packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSample<'a> {
    /// Number of the sample among the flow samples of this source.
    pub sequence: u32,
    /// Who sampled.
    pub source: DataSource,
    /// One packet in so many is sampled; some agents send 0.
    pub sampling_rate: u32,
    /// Packets that could have been sampled, since the source started.
    pub sample_pool: u32,
    /// Samples lost in the agent for want of resources.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it went.
    pub output: Interface,
    records: FlowRecords<'a>,
}

impl<'a> FlowSample<'a> {
    /// What the agent says about the packet.
    #[inline]
    pub fn records(&self) -> FlowRecords<'a> {
        self.records.clone()
    }

    /// The flow sample of version 5 that `format` announces, if it is one and can be read.
    #[inline]
    pub(super) fn of_format(format: DataFormat, body: Xdr<'a>) -> Option<Self> {
        match (format.enterprise, format.format) {
            (0, 1) => Self::compact(body).ok(),
            (0, 3) => Self::expanded(body).ok(),
            _ => None,
        }
    }

    #[inline]
    fn compact(mut body: Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, source, sampling_rate, sample_pool, drops, input, output] =
            body.words().map_err(SflowError::SampleCut)?;
        Ok(Self {
            sequence,
            source: DataSource::compact(source),
            sampling_rate,
            sample_pool,
            drops,
            input: Interface::compact(input),
            output: Interface::compact(output),
            records: FlowRecords::tagged(record_count(&mut body)?, body),
        })
    }

    #[inline]
    fn expanded(mut body: Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, class, index, sampling_rate, sample_pool, drops] =
            body.words().map_err(SflowError::SampleCut)?;
        let [in_format, in_value, out_format, out_value] =
            body.words().map_err(SflowError::SampleCut)?;
        Ok(Self {
            sequence,
            source: DataSource { class, index },
            sampling_rate,
            sample_pool,
            drops,
            input: Interface::expanded(in_format, in_value),
            output: Interface::expanded(out_format, out_value),
            records: FlowRecords::tagged(record_count(&mut body)?, body),
        })
    }

    /// Versions 2 and 4: the end of the sample is where its last record ends.
    fn old(rest: &mut Xdr<'a>, version: Version) -> Result<Self, SflowError> {
        let [sequence, source, sampling_rate, sample_pool, drops, input, output] =
            rest.words().map_err(SflowError::SampleCut)?;
        let records = FlowRecords::old(version, rest)?;
        Ok(Self {
            sequence,
            source: DataSource::compact(source),
            sampling_rate,
            sample_pool,
            drops,
            input: Interface::old(input),
            output: Interface::old(output),
            records,
        })
    }
}

/// Counters of a data source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSample<'a> {
    /// Number of the sample among the counter samples of this source.
    pub sequence: u32,
    /// Whose counters.
    pub source: DataSource,
    records: CounterRecords<'a>,
}

impl<'a> CounterSample<'a> {
    /// The counters, in groups.
    pub fn records(&self) -> CounterRecords<'a> {
        self.records.clone()
    }

    fn compact(mut body: Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, source] = body.words().map_err(SflowError::SampleCut)?;
        let records = CounterRecords::tagged(record_count(&mut body)?, body);
        Ok(Self { sequence, source: DataSource::compact(source), records })
    }

    fn expanded(mut body: Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, class, index] = body.words().map_err(SflowError::SampleCut)?;
        let records = CounterRecords::tagged(record_count(&mut body)?, body);
        Ok(Self { sequence, source: DataSource { class, index }, records })
    }

    fn old(rest: &mut Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, source, _interval] = rest.words().map_err(SflowError::SampleCut)?;
        let records = CounterRecords::old(rest)?;
        Ok(Self { sequence, source: DataSource::compact(source), records })
    }
}

/// A packet that was discarded ("sFlow Dropped Packet Notification Structures").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardSample<'a> {
    /// Number of the notification among those of this source.
    pub sequence: u32,
    /// Who discarded.
    pub source: DataSource,
    /// Notifications not sent, because of the limit on their rate.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it would have gone.
    pub output: Interface,
    /// Why it did not.
    pub reason: DiscardReason,
    records: FlowRecords<'a>,
}

impl<'a> DiscardSample<'a> {
    /// What the agent says about the packet.
    #[inline]
    pub fn records(&self) -> FlowRecords<'a> {
        self.records.clone()
    }

    fn parse(mut body: Xdr<'a>) -> Result<Self, SflowError> {
        let [sequence, class, index, drops, input, output, reason] =
            body.words().map_err(SflowError::SampleCut)?;
        Ok(Self {
            sequence,
            source: DataSource { class, index },
            drops,
            input: Interface::plain(input),
            output: Interface::plain(output),
            reason: DiscardReason(reason),
            records: FlowRecords::tagged(record_count(&mut body)?, body),
        })
    }
}

impl<'a> Sample<'a> {
    /// The sample of version 5 that `format` announces.
    #[inline]
    pub(super) fn parse(format: DataFormat, body: Xdr<'a>) -> Result<Self, SflowError> {
        if format == DataFormat::standard(1) {
            FlowSample::compact(body).map(Self::Flow)
        } else {
            Self::parse_other(format, body)
        }
    }

    #[inline(never)]
    fn parse_other(format: DataFormat, body: Xdr<'a>) -> Result<Self, SflowError> {
        match (format.enterprise, format.format) {
            (0, 2) => CounterSample::compact(body).map(Self::Counters),
            (0, 3) => FlowSample::expanded(body).map(Self::Flow),
            (0, 4) => CounterSample::expanded(body).map(Self::Counters),
            (0, 5) => DiscardSample::parse(body).map(Self::Discard),
            _ => Ok(Self::Other { format, data: body.rest() }),
        }
    }
}

/// A format and a length, of a sample or a record of version 5, and the data behind them.
#[inline]
pub(super) fn tagged<'a>(rest: &mut Xdr<'a>) -> Result<(DataFormat, Xdr<'a>), Cut> {
    let [format, length] = rest.words()?;
    Ok((DataFormat::from_word(format), rest.opaque(length)?))
}

/// A sample of version 2 or 4; an error leaves its end unknown.
pub(super) fn old<'a>(rest: &mut Xdr<'a>, version: Version) -> Result<Sample<'a>, SflowError> {
    let offset = rest.offset();
    match rest.word().map_err(SflowError::SampleCut)? {
        1 => FlowSample::old(rest, version).map(Sample::Flow),
        2 => CounterSample::old(rest).map(Sample::Counters),
        kind => Err(SflowError::SampleType { offset, kind }),
    }
}

/// How many records a sample announces, if that is believable.
#[inline]
pub(super) fn record_count(xdr: &mut Xdr<'_>) -> Result<u32, SflowError> {
    let offset = xdr.offset();
    match xdr.word().map_err(SflowError::SampleCut)? {
        count @ 0..=MAX_RECORDS => Ok(count),
        count => Err(SflowError::RecordCount { offset, count, limit: MAX_RECORDS }),
    }
}
