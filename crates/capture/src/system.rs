//! The system calls of this crate that are more than one source's business, as safe functions.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_short};
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Types that may be given to the kernel as bytes and filled by it: no padding that matters, every
/// bit pattern valid.
///
/// # Safety
///
/// Every bit pattern of the type's size must be a value of it.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers have no invalid bit patterns.
unsafe impl Plain for c_int {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: an array of integers.
unsafe impl Plain for [u32; 9] {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::packet_mreq {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::tpacket_req3 {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::tpacket_stats_v3 {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::sockaddr_ll {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::sockaddr_in {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::sockaddr_in6 {}
// SAFETY: a C struct of integers.
unsafe impl Plain for libc::sockaddr_nl {}

/// A new socket, closed on exec.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a socket to an address of its family.
pub(crate) fn bind<A: Plain>(socket: BorrowedFd<'_>, address: &A) -> io::Result<()> {
    let length = mem::size_of::<A>() as libc::socklen_t;
    // SAFETY: the pointer is to `length` bytes that live through the call.
    let answer =
        unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(address).cast(), length) };
    checked(answer).map(drop)
}

/// The address of a netlink socket that hears `groups`; the kernel chooses its port.
pub(crate) fn netlink_address(groups: u32) -> libc::sockaddr_nl {
    // SAFETY: all-zero is a valid address.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as _;
    address.nl_groups = groups;
    address
}

/// Sets a socket option.
pub(crate) fn set_option<T: Plain>(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer is to that many bytes, and they live through the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    };
    checked(answer).map(drop)
}

/// Sets a socket option that is a text.
pub(crate) fn set_text_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &str,
) -> io::Result<()> {
    // SAFETY: the pointer is to that many bytes, and they live through the call.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    checked(answer).map(drop)
}

/// Attaches a classic BPF program by the socket option `name`.
pub(crate) fn attach_classic(
    socket: BorrowedFd<'_>,
    name: c_int,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the struct and the instructions it points to live through the call, and the kernel
    // only reads them.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw const program).cast(),
            mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    checked(answer).map(drop)
}

/// Reads a socket option; what the kernel leaves unwritten is zero.
pub(crate) fn option<T: Plain>(socket: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to `length` writable bytes.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    checked(answer)?;
    // SAFETY: zeroed or written, and every bit pattern is a value.
    Ok(unsafe { value.assume_init() })
}

/// What [`wait`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// There is something to read, or the end of it.
    pub readable: bool,
    /// The socket holds an error.
    pub failed: bool,
    /// The far end has gone.
    pub hung_up: bool,
}

/// Waits until there is something to read, at most for `timeout`. A signal ends the wait early.
pub(crate) fn wait(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<Readiness> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    wait_for(std::slice::from_mut(&mut poll), timeout)?;
    let has = |event: c_short| poll.revents & event != 0;
    Ok(Readiness {
        readable: has(libc::POLLIN),
        failed: has(libc::POLLERR),
        hung_up: has(libc::POLLHUP),
    })
}

/// Waits for nothing but time.
pub(crate) fn pause(timeout: Duration) {
    // Cut short by a signal or not: callers look again anyway.
    let _ = wait_for(&mut [], timeout);
}

fn wait_for(polls: &mut [libc::pollfd], timeout: Duration) -> io::Result<()> {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    };
    // SAFETY: the slice and the timeout live through the call; no signal mask is given.
    let answer = unsafe {
        libc::ppoll(
            polls.as_mut_ptr(),
            polls.len() as libc::nfds_t,
            &raw const timeout,
            std::ptr::null(),
        )
    };
    match checked(answer) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Receives one datagram without waiting.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer is to that many writable bytes.
    let answer = unsafe {
        libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Sends one datagram to where the socket is connected or, for netlink, to the kernel.
pub(crate) fn send(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer is to that many bytes.
    let answer = unsafe { libc::send(socket.as_raw_fd(), data.as_ptr().cast(), data.len(), 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Number of an interface, as the socket's name space knows it.
pub(crate) fn interface_index(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let request = ask_interface(socket, name, libc::SIOCGIFINDEX)?;
    // SAFETY: this is the member that SIOCGIFINDEX has written.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Hardware type of an interface (ARPHRD), as the socket's name space knows it.
pub(crate) fn hardware_type(socket: BorrowedFd<'_>, name: &str) -> io::Result<u16> {
    let request = ask_interface(socket, name, libc::SIOCGIFHWADDR)?;
    // SAFETY: this is the member that SIOCGIFHWADDR has written.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// Is the interface with this number up, and its link too? `None` when it was given another name
/// or removed at this very moment; the error is that there is none.
pub(crate) fn interface_is_up(socket: BorrowedFd<'_>, index: u32) -> io::Result<Option<bool>> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = index as c_int;
    let mut ask = |what: libc::c_ulong| {
        // SAFETY: both requests read and write one `ifreq`, which lives through the call.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &raw mut request) })
    };
    ask(libc::SIOCGIFNAME)?;
    // By the name that is in it now.
    if ask(libc::SIOCGIFFLAGS).is_err() {
        return Ok(None);
    }
    // SAFETY: this is the member that SIOCGIFFLAGS has written.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(Some(flags & up == up))
}

/// Receive queues in use of an interface; 1 when its driver does not say.
pub(crate) fn receive_queues(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    /// `struct ethtool_channels`.
    #[repr(C)]
    #[derive(Default)]
    struct Channels {
        command: u32,
        most: [u32; 4],
        receive: u32,
        transmit: u32,
        other: u32,
        combined: u32,
    }
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = named_request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL reads one `ifreq` and, for this command, fills the struct it points to;
    // both live through the call.
    let answer =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    match checked(answer) {
        Ok(_) => Ok(channels.receive.saturating_add(channels.combined).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// A request that reads and writes one `ifreq` with integers in it.
fn ask_interface(
    socket: BorrowedFd<'_>,
    name: &str,
    request: libc::c_ulong,
) -> io::Result<libc::ifreq> {
    let mut answer = named_request(name)?;
    // SAFETY: the callers' requests read and write one `ifreq`, which lives through the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), request as _, &raw mut answer) })?;
    Ok(answer)
}

fn named_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    Ok(request)
}

/// Binds the calling thread to these CPUs.
pub(crate) fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the CPU is inside the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set lives through the call; 0 is the calling thread.
    let answer =
        unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set) };
    checked(answer).map(drop)
}

/// The CPUs that the calling thread may use.
pub(crate) fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is writable and of the size told; 0 is the calling thread.
    let answer =
        unsafe { libc::sched_getaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw mut set) };
    checked(answer)?;
    let cpus = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: every CPU of the range is inside the set.
    Ok(cpus.filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Takes the error that a socket holds, if any.
pub(crate) fn take_error(socket: &impl AsFd) -> io::Result<Option<io::Error>> {
    let code: c_int = option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_ERROR)?;
    Ok((code != 0).then(|| io::Error::from_raw_os_error(code)))
}

/// The answer of a call that returns -1 on failure.
pub(crate) fn checked(answer: c_int) -> io::Result<c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
