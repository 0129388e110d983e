//! The memory of a TPACKET_V3 ring, shared with the kernel: blocks that belong to one side at a
//! time. What is inside a block is parsed elsewhere, from a slice.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the status word is in a block: behind `version` and `offset_to_priv`.
const STATUS: usize = 8;

/// A mapped ring.
pub(super) struct Ring {
    map: NonNull<u8>,
    block_size: usize,
    blocks: usize,
    /// The block that is looked at next.
    current: usize,
}

// SAFETY: the mapping is owned by the ring and reached through it only.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring that PACKET_RX_RING made with these sizes; `lock` keeps it in memory.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        block_size: usize,
        blocks: usize,
        lock: bool,
    ) -> io::Result<Self> {
        let length = block_size.checked_mul(blocks).ok_or(io::ErrorKind::InvalidInput)?;
        if block_size < STATUS + 4 || blocks == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = libc::MAP_SHARED | if lock { libc::MAP_LOCKED } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                socket.as_raw_fd(),
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { map, block_size, blocks, current: 0 })
    }

    /// The next block when the kernel has given it over; [`Self::release`] gives it back.
    pub(super) fn block(&mut self) -> Option<&[u8]> {
        if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        let at = self.current * self.block_size;
        // SAFETY: `current` is below `blocks`, so the block is inside the mapping.
        let start = unsafe { self.map.add(at) };
        // SAFETY: the block is inside the mapping, initialised by the kernel, and the kernel does
        // not write to it before it is released, which needs `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), self.block_size) })
    }

    /// Gives the block that [`Self::block`] has returned back to the kernel.
    pub(super) fn release(&mut self) {
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.current = (self.current + 1) % self.blocks;
    }

    fn status(&self) -> &AtomicU32 {
        let at = self.current * self.block_size + STATUS;
        // SAFETY: inside the mapping: a block is longer than its status word's place.
        let word = unsafe { self.map.add(at) };
        // SAFETY: blocks are whole pages, so the word is aligned; it lives as long as the mapping
        // and both sides access it atomically.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and not used again.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.block_size * self.blocks) };
    }
}
