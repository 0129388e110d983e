//! What a source counts.

/// Counters of one source since it was opened. What does not apply to a kind of source stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStatistics {
    /// Datagrams or frames handed to the sink.
    pub received: u64,
    /// Bytes of them, on the wire for frames.
    pub bytes: u64,
    /// Lost between the network card and this source, because it was too slow or a buffer too
    /// small; the kernel's own count.
    pub dropped_by_kernel: u64,
    /// How often a ring had no room, whether full of frames for us or without free ones for the
    /// kernel (AF_XDP).
    pub ring_full: u64,
    /// How often the ring was full and the kernel stopped writing to it (AF_PACKET).
    pub freezes: u64,
    /// Lost by the network card or its driver, as far as they tell (libpcap).
    pub dropped_by_interface: u64,
    /// Frames handed over with less than their length on the wire, by snap length or by the
    /// writer of the capture. Datagrams that did not fit: never handed over, and there is room for
    /// the longest.
    pub truncated: u64,
    /// Datagrams of senders that are not on the allow list; not handed over.
    pub refused: u64,
    /// Frames that the drop list of the in-kernel program took out (AF_XDP).
    pub filtered: u64,
    /// How often the far end went away and the source began anew (pipes, interfaces).
    pub restarts: u64,
    /// The interface is down just now (AF_PACKET, AF_XDP).
    pub down: bool,
}

/// Adds counters. What is so just now is not added up.
impl std::ops::AddAssign for SourceStatistics {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.bytes += other.bytes;
        self.dropped_by_kernel += other.dropped_by_kernel;
        self.ring_full += other.ring_full;
        self.freezes += other.freezes;
        self.dropped_by_interface += other.dropped_by_interface;
        self.truncated += other.truncated;
        self.refused += other.refused;
        self.filtered += other.filtered;
        self.restarts += other.restarts;
    }
}
