//! Frames from any device that libpcap knows: `any`, `netmap:eth0`, `zc:eth0` with PF_RING's
//! libpcap, USB, Bluetooth. The library is looked for when a source is opened.

use std::os::fd::AsFd;
use std::time::Duration;

use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;

use crate::libpcap::{DeviceOptions, Handle, Statistics};
use crate::{FrameSink, OpenError, ReceiveError, SourceStatistics, system};

/// Packets handed over by one call at most.
const BATCH: usize = 1024;
/// How long to wait between looks at a device that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// DLT_RAW: the one number in memory that differs from the one in files.
const DLT_RAW: u32 = 12;

/// What libpcap is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcapConfig {
    /// Device, handed to libpcap as it is.
    pub device: String,
    /// Filter in tcpdump's language.
    pub filter: Option<String>,
    /// Bytes of each packet that are handed over.
    pub snap_length: u32,
    /// Take frames for other machines too, where the device can.
    pub promiscuous: bool,
    /// Buffer between the kernel and libpcap in bytes.
    pub buffer: usize,
    /// Packets are handed over this late at most.
    pub hand_over: Duration,
}

impl PcapConfig {
    /// Everything as usual for this device.
    pub fn new(device: impl Into<String>) -> Self {
        Self {
            device: device.into(),
            filter: None,
            snap_length: 262_144,
            promiscuous: true,
            buffer: 32 * 1024 * 1024,
            hand_over: Duration::from_millis(20),
        }
    }
}

/// A device opened through libpcap.
pub struct PcapSource {
    handle: Handle,
    device: String,
    link: LinkType,
    statistics: SourceStatistics,
    /// libpcap's 32-bit counters when they were last read.
    seen: Statistics,
}

impl PcapSource {
    /// Opens the device.
    pub fn open(config: &PcapConfig) -> Result<Self, OpenError> {
        let hand_over = config.hand_over.as_millis();
        let handle = Handle::open(&DeviceOptions {
            device: &config.device,
            snap_length: config.snap_length,
            promiscuous: config.promiscuous,
            hand_over_ms: u32::try_from(hand_over).unwrap_or(u32::MAX).max(1),
            buffer: config.buffer,
            filter: config.filter.as_deref(),
        })?;
        let link = match handle.datalink() {
            DLT_RAW => LinkType::RAW,
            other => LinkType(other),
        };
        Ok(Self {
            handle,
            device: config.device.clone(),
            link,
            statistics: SourceStatistics::default(),
            seen: Statistics::default(),
        })
    }

    /// What the frames begin with.
    pub fn link_type(&self) -> LinkType {
        self.link
    }

    /// Hands over what has arrived, at most one batch; waits for it at most for `timeout`. VLAN
    /// tags are in the bytes: libpcap puts them back.
    pub fn receive(
        &mut self,
        timeout: Duration,
        sink: &mut impl FrameSink,
    ) -> Result<usize, ReceiveError> {
        let count = self.take_batch(sink)?;
        if count > 0 {
            return Ok(count);
        }
        if let Some(fd) = self.handle.selectable_fd() {
            let ready = system::wait(fd.as_fd(), timeout)
                .map_err(ReceiveError::system("waiting for frames"))?;
            // An error in the socket does not go away by waiting: libpcap reads and reports it.
            if ready == system::Readiness::default() {
                return Ok(0);
            }
        } else {
            system::pause(timeout.min(LOOK_AGAIN));
        }
        self.take_batch(sink)
    }

    fn take_batch(&mut self, sink: &mut impl FrameSink) -> Result<usize, ReceiveError> {
        for count in 0..BATCH {
            match self.handle.next_packet() {
                Ok(Some(packet)) => {
                    let time = Timestamp::from_parts(packet.seconds, packet.nanoseconds);
                    self.statistics.received += 1;
                    self.statistics.bytes += u64::from(packet.wire_length);
                    let truncated = packet.data.len() < packet.wire_length as usize;
                    self.statistics.truncated += u64::from(truncated);
                    sink.frame(self.link, time, packet.data, packet.wire_length, None);
                }
                Ok(None) => return Ok(count),
                // What was taken before is told first; the error comes again.
                Err(_) if count > 0 => return Ok(count),
                Err(reason) => {
                    return Err(ReceiveError::Libpcap { device: self.device.clone(), reason });
                }
            }
        }
        Ok(BATCH)
    }

    /// Counters since the device was opened.
    pub fn statistics(&mut self) -> SourceStatistics {
        if let Some(now) = self.handle.statistics() {
            let new = |now: u32, seen: u32| u64::from(now.wrapping_sub(seen));
            self.statistics.dropped_by_kernel += new(now.dropped, self.seen.dropped);
            self.statistics.dropped_by_interface +=
                new(now.dropped_by_interface, self.seen.dropped_by_interface);
            self.seen = now;
        }
        self.statistics
    }
}
