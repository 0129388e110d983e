//! The AF_XDP socket of one queue, its rings and its memory: the only place that touches frames
//! in memory shared with the kernel.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{SocketError, XdpSocket, XdpSocketBuilder};
use xdp::umem::{FrameSize, Umem, UmemCfgBuilder};
use xdp::{Packet, RingConfigBuilder, WakableRings};

use super::CopyMode;
use crate::{memory, system};

/// Frames received at once.
pub(super) const BATCH: usize = 256;

/// How one queue is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueOptions {
    pub(super) interface: u32,
    pub(super) queue: u32,
    pub(super) copy: CopyMode,
    /// A power of two.
    pub(super) frames: u32,
    pub(super) large_frames: bool,
}

/// The packets of a batch. Each is asked for as it is put in, long before its turn: the kernel
/// wrote it on another processor, and the wait for its first bytes is longer than the work on them.
struct Batch(HeapSlab);

impl Slab for Batch {
    fn available(&self) -> usize {
        self.0.available()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    fn push_front(&mut self, packet: Packet) -> Option<Packet> {
        if let Some(first) = packet.first() {
            memory::prefetch(first);
        }
        self.0.push_front(packet)
    }

    #[inline]
    fn pop_back(&mut self) -> Option<Packet> {
        self.0.pop_back()
    }
}

/// An open socket. Fields are dropped in order: what borrows the memory goes before it.
pub(super) struct Queue {
    slab: Batch,
    rings: WakableRings,
    socket: XdpSocket,
    umem: Umem,
}

// SAFETY: the slab is empty between calls, so no pointer of it is in use; rings and memory are
// owned by the queue and reached through it only.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) fn open(options: QueueOptions) -> io::Result<Self> {
        let frame_size = if options.large_frames { FrameSize::FourK } else { FrameSize::TwoK };
        let umem =
            UmemCfgBuilder { frame_size, frame_count: options.frames, ..UmemCfgBuilder::default() }
                .build()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let rings = RingConfigBuilder {
            rx_count: options.frames,
            tx_count: 0,
            fill_count: options.frames,
            // Nothing is ever sent, but the kernel wants one.
            completion_count: 64,
        }
        .build()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let umem = Umem::map(umem)?;
        let mut builder = XdpSocketBuilder::new().map_err(system_error)?;
        let (rings, mut flags) = builder.build_wakable_rings(&umem, rings).map_err(system_error)?;
        match options.copy {
            CopyMode::Auto => {}
            CopyMode::Copy => flags.force_copy(),
            CopyMode::ZeroCopy => flags.force_zerocopy(),
        }
        let socket = builder
            .bind(NicIndex::new(options.interface), options.queue, flags)
            .map_err(system_error)?;
        let mut queue = Self { slab: Batch(HeapSlab::with_capacity(BATCH)), rings, socket, umem };
        queue.refill()?;
        Ok(queue)
    }

    /// Gives all free frames to the kernel, or none while it has not yet made room for them all:
    /// then the next call does. No wake-up is needed: a driver that waits for frames
    /// has delivered all it had, so that the next step is [`Self::wait`], which wakes it.
    fn refill(&mut self) -> io::Result<()> {
        let free = self.umem.allocatable();
        // SAFETY: the memory outlives the socket: both are in `self`, the socket in front.
        unsafe { self.rings.fill_ring.enqueue(&mut self.umem, free, false) }.map(drop)
    }

    /// Calls `each` with every frame of one batch and returns how many there were.
    pub(super) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<usize> {
        let Some(ring) = &mut self.rings.rx_ring else { return Ok(0) };
        // SAFETY: the packets are given back below; none outlives the memory.
        let count = unsafe { ring.recv(&self.umem, &mut self.slab) };
        if count == 0 {
            if self.umem.allocatable() > 0 {
                self.refill()?;
            }
            return Ok(0);
        }
        while let Some(packet) = self.slab.pop_back() {
            each(&packet);
            self.umem.free_packet(packet);
        }
        self.refill()?;
        Ok(count)
    }

    /// Waits for frames; also wakes a driver that waits for room.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<system::Readiness> {
        system::wait(self.fd(), timeout)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Frames dropped, and how often a ring had no room.
    pub(super) fn drops(&self) -> Option<(u64, u64)> {
        let statistics = self.socket.statistics().ok()?;
        let dropped = statistics.rx_dropped + statistics.rx_ring_full;
        Some((dropped, statistics.rx_ring_full + statistics.rx_fill_ring_empty_descs))
    }
}

/// The system's answer inside the crate's error.
fn system_error(error: SocketError) -> io::Error {
    match error {
        SocketError::SocketCreation(inner)
        | SocketError::Bind(inner)
        | SocketError::SetSockOpt { inner, .. }
        | SocketError::GetSockOpt { inner, .. }
        | SocketError::RingMap { inner, .. } => inner,
    }
}
