//! Many datagrams by one system call (`recvmmsg`), into memory that is allocated once.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use tidewall_model::Timestamp;

/// Datagrams received at once.
pub(super) const BATCH: usize = 64;

/// The largest UDP payload is 65,527 bytes (IPv6 without jumbograms): nothing is ever cut. Memory
/// that no datagram has reached costs address space only.
const SLOT_LEN: usize = 65_535;
/// Distance between slots. Were it a power of two, all slots would share the few cache sets that
/// their beginnings fall into. Measured no dearer than slots of 2 KiB side by side.
const STRIDE: usize = 65_536 + 2_048 + 64;

/// Space for one control message with a `timespec`.
const CONTROL_LEN: usize = 32;

/// Longest socket address here: that of IPv6.
const NAME_LEN: usize = mem::size_of::<libc::sockaddr_in6>();

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([u8; 32]);

/// One received datagram.
pub(super) struct Message<'a> {
    pub(super) from: Option<SocketAddr>,
    pub(super) time: Option<Timestamp>,
    pub(super) truncated: bool,
    pub(super) data: &'a [u8],
}

/// Buffers of one socket. `headers` and `vectors` point into the other boxes, which are never
/// reallocated.
pub(super) struct Batch {
    buffer: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    /// Read by the kernel only, through `headers`.
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

// SAFETY: the raw pointers lead into boxes that the batch owns and moves with; they are used under
// `&mut self` only.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Self {
        let mut buffer = vec![0; BATCH * STRIDE].into_boxed_slice();
        let mut names = vec![Name([0; 32]); BATCH].into_boxed_slice();
        let mut controls = vec![Control([0; CONTROL_LEN]); BATCH].into_boxed_slice();
        let mut vectors: Box<[libc::iovec]> = buffer
            .chunks_exact_mut(STRIDE)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_LEN })
            .collect();
        let headers = names
            .iter_mut()
            .zip(controls.iter_mut())
            .zip(vectors.iter_mut())
            .map(|((name, control), vector)| {
                // SAFETY: all-zero is a valid `mmsghdr`.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
                header.msg_hdr.msg_namelen = NAME_LEN as _;
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_LEN as _;
                header
            })
            .collect();
        Self { buffer, names, controls, _vectors: vectors, headers, filled: 0 }
    }

    /// Receives what is there, up to [`BATCH`] datagrams, without waiting; 0 when there is none.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in self.headers.iter_mut().take(mem::take(&mut self.filled)) {
            header.msg_hdr.msg_namelen = NAME_LEN as _;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        // SAFETY: every header points to a name, a control buffer and a slot of the lengths it
        // states, all owned by `self` and borrowed by nobody else.
        let answer = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if let Ok(count) = usize::try_from(answer) {
            self.filled = count.min(BATCH);
            return Ok(self.filled);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    }

    /// What the last call of [`Self::receive`] has received.
    pub(super) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let slots = self.buffer.chunks_exact(STRIDE);
        let parts = self.headers.iter().zip(&self.names).zip(&self.controls).zip(slots);
        parts.take(self.filled).map(|(((header, name), control), slot)| Message {
            from: address(&name.0, header.msg_hdr.msg_namelen as usize),
            time: timestamp(&control.0, header.msg_hdr.msg_controllen as _),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            data: slot.get(..(header.msg_len as usize).min(SLOT_LEN)).unwrap_or_default(),
        })
    }
}

/// Reads a `sockaddr_in` or `sockaddr_in6`; an IPv4-mapped address becomes IPv4.
fn address(name: &[u8; 32], length: usize) -> Option<SocketAddr> {
    let (family, rest) = name.get(..length)?.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let address: [u8; 4] = *rest.first_chunk()?;
            Some(SocketAddr::from((Ipv4Addr::from(address), port)))
        }
        libc::AF_INET6 => {
            let (_flow, rest) = rest.split_first_chunk::<4>()?;
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let address = Ipv6Addr::from(*address);
            if let Some(v4) = address.to_ipv4_mapped() {
                return Some(SocketAddr::from((v4, port)));
            }
            let scope = u32::from_ne_bytes(*rest.first_chunk()?);
            Some(SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)))
        }
        _ => None,
    }
}

/// Reads the control message with the arrival time, the only one that is asked for.
fn timestamp(control: &[u8; CONTROL_LEN], length: usize) -> Option<Timestamp> {
    const DATA: usize = mem::size_of::<libc::cmsghdr>();
    if length < DATA + mem::size_of::<libc::timespec>() {
        return None;
    }
    // SAFETY: the buffer holds a whole header, whose fields are integers.
    let header: libc::cmsghdr = unsafe { std::ptr::read_unaligned(control.as_ptr().cast()) };
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    let data = control.get(DATA..)?.first_chunk::<{ mem::size_of::<libc::timespec>() }>()?;
    // SAFETY: the bytes are those of a `timespec`, whose fields are integers.
    let time: libc::timespec = unsafe { std::ptr::read_unaligned(data.as_ptr().cast()) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(Timestamp::from_parts(seconds, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_the_largest_datagram_and_are_apart() {
        const { assert!(STRIDE >= SLOT_LEN && STRIDE.is_multiple_of(64)) };
        let batch = Batch::new();
        assert_eq!(batch.buffer.len() / STRIDE, BATCH);
        assert_eq!(batch.messages().count(), 0);
    }

    #[test]
    fn a_name_that_is_cut_is_no_address() {
        let mut name = [0; 32];
        name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        name[2..8].copy_from_slice(&[0x07, 0xd0, 192, 0, 2, 9]);
        assert_eq!(address(&name, 16), Some("192.0.2.9:2000".parse().unwrap()));
        assert_eq!(address(&name, 7), None);
        assert_eq!(address(&name, 0), None);
    }
}
