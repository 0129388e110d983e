//! Records of counter samples: a data source's counters, in groups.

use std::iter::FusedIterator;

use super::SflowError;
use super::sample::{DataFormat, tagged};
use super::xdr::Xdr;

/// One group of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterData<'a> {
    /// Generic interface counters: format 1.
    Interface(InterfaceCounters),
    /// Any other, passed over. Those of the old versions have the numbers of version 5.
    Other {
        /// What it is.
        format: DataFormat,
        /// Its bytes.
        data: &'a [u8],
    },
}

/// Counters of an interface (RFC 2233). A counter that the agent does not have is all ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// ifIndex.
    pub index: u32,
    /// ifType.
    pub kind: u32,
    /// ifSpeed in bits per second.
    pub speed_bps: u64,
    /// 0 unknown, 1 full duplex, 2 half duplex, 3 in, 4 out.
    pub direction: u32,
    /// Bit 0: administratively up. Bit 1: operational.
    pub status: u32,
    /// Octets received.
    pub in_octets: u64,
    /// Unicast packets received.
    pub in_unicast: u32,
    /// Multicast packets received.
    pub in_multicast: u32,
    /// Broadcast packets received.
    pub in_broadcast: u32,
    /// Received packets discarded.
    pub in_discards: u32,
    /// Received packets with errors.
    pub in_errors: u32,
    /// Received packets of unknown protocols.
    pub in_unknown_protocols: u32,
    /// Octets sent.
    pub out_octets: u64,
    /// Unicast packets sent.
    pub out_unicast: u32,
    /// Multicast packets sent.
    pub out_multicast: u32,
    /// Broadcast packets sent.
    pub out_broadcast: u32,
    /// Packets discarded instead of sent.
    pub out_discards: u32,
    /// Packets not sent because of errors.
    pub out_errors: u32,
    /// 1 in promiscuous mode, 2 not.
    pub promiscuous: u32,
}

impl InterfaceCounters {
    fn read(xdr: &mut Xdr<'_>) -> Result<Self, SflowError> {
        let [index, kind, speed_high, speed_low, direction, status] = xdr.words()?;
        let [in_high, in_low, in_unicast, in_multicast, in_broadcast] = xdr.words()?;
        let [in_discards, in_errors, in_unknown_protocols] = xdr.words()?;
        let [out_high, out_low, out_unicast, out_multicast, out_broadcast] = xdr.words()?;
        let [out_discards, out_errors, promiscuous] = xdr.words()?;
        Ok(Self {
            index,
            kind,
            speed_bps: hyper(speed_high, speed_low),
            direction,
            status,
            in_octets: hyper(in_high, in_low),
            in_unicast,
            in_multicast,
            in_broadcast,
            in_discards,
            in_errors,
            in_unknown_protocols,
            out_octets: hyper(out_high, out_low),
            out_unicast,
            out_multicast,
            out_broadcast,
            out_discards,
            out_errors,
            promiscuous,
        })
    }
}

/// The records of a counter sample. An error stands for the record that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRecords<'a> {
    rest: Xdr<'a>,
    left: u32,
    layout: Layout,
}

/// How the next record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Version 5: format and length.
    Tagged,
    /// Versions 2 and 4: generic counters, then the group of this format if there is one.
    Generic(u32),
    /// Versions 2 and 4: the group of this format, up to the sample's end.
    Group(u32),
}

impl<'a> CounterRecords<'a> {
    pub(super) const fn tagged(count: u32, rest: Xdr<'a>) -> Self {
        Self { rest, left: count, layout: Layout::Tagged }
    }

    /// The counters whose type is at `rest`, which moves behind them.
    pub(super) fn old(rest: &mut Xdr<'a>) -> Result<Self, SflowError> {
        const GENERIC: u32 = 88;
        let offset = rest.offset();
        // Layout, records and length by counters_type of RFC 3176.
        let (layout, left, length) = match rest.word().map_err(SflowError::SampleCut)? {
            1 | 4 | 6 => (Layout::Generic(0), 1, GENERIC),
            2 => (Layout::Generic(2), 2, GENERIC + 52), // Ethernet
            3 => (Layout::Generic(3), 2, GENERIC + 72), // token ring
            5 => (Layout::Generic(4), 2, GENERIC + 80), // 100BaseVG
            7 => (Layout::Group(5), 1, 28),             // VLAN
            kind => return Err(SflowError::RecordType { offset, kind }),
        };
        let start = *rest;
        rest.bytes(length).map_err(SflowError::SampleCut)?;
        Ok(Self { rest: start.up_to(*rest), left, layout })
    }

    /// Bytes of the sample not read yet: at the end, those behind its last record.
    pub const fn trailing(&self) -> usize {
        self.rest.remaining()
    }

    fn read(&mut self) -> Result<CounterData<'a>, SflowError> {
        match self.layout {
            Layout::Tagged => match tagged(&mut self.rest) {
                Ok((format, body)) => decode(format, body),
                Err(cut) => {
                    // Where the next record starts is not known.
                    self.left = 0;
                    self.rest = self.rest.ended();
                    Err(cut.into())
                }
            },
            Layout::Generic(group) => {
                self.layout = Layout::Group(group);
                InterfaceCounters::read(&mut self.rest).map(CounterData::Interface)
            }
            Layout::Group(group) => {
                let data = self.rest.rest();
                self.rest = self.rest.ended();
                Ok(CounterData::Other { format: DataFormat::standard(group), data })
            }
        }
    }
}

impl<'a> Iterator for CounterRecords<'a> {
    type Item = Result<CounterData<'a>, SflowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

impl FusedIterator for CounterRecords<'_> {}

/// A record of version 5. Bytes behind the fields that are known are ignored.
fn decode(format: DataFormat, mut body: Xdr<'_>) -> Result<CounterData<'_>, SflowError> {
    if format == DataFormat::standard(1) {
        return InterfaceCounters::read(&mut body).map(CounterData::Interface);
    }
    Ok(CounterData::Other { format, data: body.rest() })
}

fn hyper(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}
