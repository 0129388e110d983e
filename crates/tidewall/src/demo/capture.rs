//! `--write`: the demo's frames as a pcap with nanoseconds, cut like `tcpdump -s 128` does.

use std::io::{self, Write};

use tidewall_model::Timestamp;
use tidewall_wire::pcap::{Packet, PcapHeader, PcapWriter};

/// Bytes kept of each frame: all its headers. The payloads are zeros, and the file says how long
/// each frame was, so nothing that counts is lost and the file is a sixth of the size.
const SNAP_LEN: u32 = 128;
const BUFFER_LEN: usize = 1 << 16;

/// Writes frames to a file.
pub struct CaptureWriter {
    writer: PcapWriter,
    buffer: Vec<u8>,
    out: Box<dyn Write>,
}

impl CaptureWriter {
    /// Begins a capture.
    pub fn new(out: impl Write + 'static) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_LEN + 2 * SNAP_LEN as usize);
        let header = PcapHeader { snap_len: SNAP_LEN, nanoseconds: true, ..PcapHeader::default() };
        let writer = PcapWriter::new(header, &mut buffer);
        Self { writer, buffer, out: Box::new(out) }
    }

    /// Adds a frame.
    pub(super) fn write(&mut self, time: Timestamp, frame: &[u8]) -> io::Result<()> {
        let wire_len = frame.len() as u32;
        let packet = Packet { time: time.0, link_type: 1, wire_len, data: frame, interface: 0 };
        self.writer.write(&packet, &mut self.buffer);
        if self.buffer.len() >= BUFFER_LEN {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}
