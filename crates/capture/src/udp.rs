//! UDP sockets that exporters send to. A port is served by a group of sockets, one for each
//! worker, and the kernel decides which of them gets a datagram ([`steering`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tidewall_model::Prefix;

use crate::{DatagramSink, OpenError, ReceiveError, SourceStatistics, clock, system};

mod allow_list;
mod batch;
mod port;
pub mod steering;

pub use port::UdpPort;
pub use steering::SteeringError;

use allow_list::AllowList;
use batch::{BATCH, Batch};

/// Receive buffer of a socket unless configured: seconds of a busy exporter.
pub const DEFAULT_RECEIVE_BUFFER: usize = 32 * 1024 * 1024;

/// Place of the drop count in the answer to SO_MEMINFO (SK_MEMINFO_DROPS).
const DROPS: usize = 8;

/// What a group of UDP sockets is told.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Address and port to listen on. `[::]` with [`Self::dual_stack`] means every address.
    pub address: SocketAddr,
    /// Does an IPv6 socket hear IPv4 senders too? They are given as IPv4.
    pub dual_stack: bool,
    /// Interface or VRF to listen on, by name; otherwise all.
    pub interface: Option<String>,
    /// Receive buffer of each socket in bytes, as the administrator counts them.
    pub receive_buffer: usize,
    /// Senders that are heard; empty means all.
    pub allowed: Vec<Prefix>,
    /// Ask the kernel when each datagram arrived. It costs a tenth of receiving one; without it
    /// all datagrams of a batch have the time at which it was taken.
    pub kernel_time: bool,
}

impl UdpConfig {
    /// Everything as usual for this address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            dual_stack: true,
            interface: None,
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
            allowed: Vec::new(),
            kernel_time: true,
        }
    }
}

/// The kernel gave a smaller receive buffer than configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "UDP {address}: the receive buffer is {granted} bytes where {wanted} are configured: datagrams \
     are lost sooner; set `sysctl -w net.core.rmem_max={wanted}`, or run with CAP_NET_ADMIN"
)]
pub struct BufferWarning {
    /// Where the socket listens.
    pub address: SocketAddr,
    /// Bytes configured.
    pub wanted: usize,
    /// Bytes the kernel gave, bounded by net.core.rmem_max.
    pub granted: usize,
}

/// One socket of a group.
pub struct UdpSource {
    socket: OwnedFd,
    address: SocketAddr,
    batch: Batch,
    allowed: AllowList,
    warning: Option<BufferWarning>,
    statistics: SourceStatistics,
    /// The kernel's 32-bit count of drops when it was last read.
    drops_seen: u32,
    /// The last batch was full: there is probably more.
    more: bool,
}

impl UdpSource {
    /// Opens a single socket.
    pub fn open(config: &UdpConfig) -> Result<Self, OpenError> {
        let socket = bound(config, config.address, false)?;
        Self::new(config, socket)
    }

    /// Opens a group of sockets on one port, in the order of [`steering::socket_of`]. The group
    /// must live and die as a whole: the kernel renumbers what remains.
    pub fn open_group(config: &UdpConfig, sockets: NonZeroUsize) -> Result<Vec<Self>, OpenError> {
        if sockets.get() > 1 {
            // The kernel would let another process of the same user share the port, and each would
            // get a part: a socket that shares with nobody finds out.
            drop(bound(config, config.address, false)?);
        }
        Self::open_all(config, sockets, sockets.get() > 1)
    }

    /// Opens a group beside sockets of this process that have the port, or a part of it, and are
    /// about to leave it ([`UdpPort::share`], [`Self::leave`]).
    pub fn open_beside(config: &UdpConfig, sockets: NonZeroUsize) -> Result<Vec<Self>, OpenError> {
        let group = Self::open_all(config, sockets, true)?;
        if let [only] = group.as_slice() {
            set_shared(&only.socket, false).map_err(udp_error(config, "SO_REUSEPORT"))?;
        }
        Ok(group)
    }

    fn open_all(
        config: &UdpConfig,
        sockets: NonZeroUsize,
        shared: bool,
    ) -> Result<Vec<Self>, OpenError> {
        let first = Self::new(config, bound(config, config.address, shared)?)?;
        // Port 0 is chosen by the kernel for the first one only.
        let address = first.address;
        let mut group = vec![first];
        for _ in 1..sockets.get() {
            group.push(Self::new(config, bound(config, address, shared)?)?);
        }
        if group.len() > 1
            && let Some(first) = group.first()
        {
            steer(&first.socket, group.len())
                .map_err(|reason| OpenError::Steering { address, reason })?;
        }
        Ok(group)
    }

    fn new(config: &UdpConfig, socket: OwnedFd) -> Result<Self, OpenError> {
        let fail = |step| udp_error(config, step);
        let address = local_address(&socket, config.address).map_err(fail("getsockname"))?;
        let warning =
            grow_buffer(&socket, address, config.receive_buffer).map_err(fail("SO_RCVBUF"))?;
        Ok(Self {
            socket,
            address,
            batch: Batch::new(),
            allowed: AllowList::new(&config.allowed),
            warning,
            statistics: SourceStatistics::default(),
            drops_seen: 0,
            more: false,
        })
    }

    /// Hears these senders from now on; none means all.
    pub fn set_allowed(&mut self, allowed: &[Prefix]) {
        self.allowed = AllowList::new(allowed);
    }

    /// Asks for another receive buffer; what is in it stays.
    pub fn set_receive_buffer(&mut self, wanted: usize) -> io::Result<()> {
        self.warning = grow_buffer(&self.socket, self.address, wanted)?;
        Ok(())
    }

    /// Gets nothing new from now on, so that what the kernel holds can be taken to its end. Another
    /// socket that has the port gets what comes.
    pub fn leave(&mut self) -> io::Result<()> {
        let own = self.address.ip();
        let peer = match own {
            own if !own.is_unspecified() => own,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        // A connected socket hears its peer only. The discard port (RFC 863) sends nothing.
        std::net::UdpSocket::from(self.socket.try_clone()?).connect((peer, 9))
    }

    /// Makes the socket a user's. Only sockets of one user may have a port together, so that this
    /// comes before this process becomes that user.
    pub fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        std::os::unix::fs::fchown(&self.socket, Some(user), Some(group))
    }

    /// What concerns all sockets of the port, this one's group.
    pub fn port(&self) -> io::Result<UdpPort> {
        Ok(UdpPort::new(self.socket.try_clone()?, self.address))
    }

    /// Where the socket listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the receive buffer is smaller than configured.
    pub fn warning(&self) -> Option<BufferWarning> {
        self.warning
    }

    /// Hands over what has arrived, at most one batch; waits for it at most for `timeout`.
    /// Returns the number of datagrams taken from the socket, refused ones included.
    pub fn receive(
        &mut self,
        timeout: Duration,
        sink: &mut impl DatagramSink,
    ) -> Result<usize, ReceiveError> {
        if std::mem::take(&mut self.more) {
            let count = self.receive_batch(sink)?;
            if count > 0 {
                return Ok(count);
            }
        }
        let ready = system::wait(self.socket.as_fd(), timeout)
            .map_err(ReceiveError::system("waiting for datagrams"))?;
        if ready.failed {
            // An ICMP error about nothing that was sent from here: taken, so that the wait works.
            let _ = system::take_error(&self.socket);
        }
        if ready.readable { self.receive_batch(sink) } else { Ok(0) }
    }

    fn receive_batch(&mut self, sink: &mut impl DatagramSink) -> Result<usize, ReceiveError> {
        let count = self
            .batch
            .receive(self.socket.as_fd())
            .map_err(ReceiveError::system("receiving datagrams"))?;
        self.more = count == BATCH;
        let mut taken = None;
        for message in self.batch.messages() {
            if message.truncated {
                self.statistics.truncated += 1;
                continue;
            }
            match message.from {
                Some(from) if self.allowed.allows(from.ip()) => {
                    self.statistics.received += 1;
                    self.statistics.bytes += message.data.len() as u64;
                    let now = || *taken.get_or_insert_with(clock::now);
                    sink.datagram(from, message.time.unwrap_or_else(now), message.data);
                }
                _ => self.statistics.refused += 1,
            }
        }
        Ok(count)
    }

    /// Counters since the socket was opened.
    pub fn statistics(&mut self) -> SourceStatistics {
        // The count that SO_RXQ_OVFL puts beside datagrams, but told even when none follows.
        let memory =
            system::option::<[u32; 9]>(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO);
        if let Ok(memory) = memory {
            let drops = memory.get(DROPS).copied().unwrap_or_default();
            let new = drops.wrapping_sub(self.drops_seen);
            self.statistics.dropped_by_kernel += u64::from(new);
            self.drops_seen = drops;
        }
        self.statistics
    }
}

fn udp_error(config: &UdpConfig, step: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let address = config.address;
    move |reason| OpenError::Udp { address, step, reason }
}

/// A socket with its options set, bound; `shared` says whether others may have the port too.
fn bound(config: &UdpConfig, address: SocketAddr, shared: bool) -> Result<OwnedFd, OpenError> {
    let fail = |step| udp_error(config, step);
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let socket = system::socket(family, libc::SOCK_DGRAM, 0).map_err(fail("socket"))?;
    let set = |level, name, value: i32| system::set_option(socket.as_fd(), level, name, &value);
    if address.is_ipv6() {
        set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(!config.dual_stack))
            .map_err(fail("IPV6_V6ONLY"))?;
    }
    if shared {
        set_shared(&socket, true).map_err(fail("SO_REUSEPORT"))?;
    }
    if config.kernel_time {
        set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).map_err(fail("SO_TIMESTAMPNS"))?;
    }
    if let Some(interface) = &config.interface {
        system::set_text_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, interface)
            .map_err(fail("binding to the interface"))?;
    }
    bind(&socket, address).map_err(fail("bind"))?;
    Ok(socket)
}

fn bind(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => system::bind(
            socket.as_fd(),
            &libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            },
        ),
        SocketAddr::V6(v6) => system::bind(
            socket.as_fd(),
            &libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            },
        ),
    }
}

/// The address as configured, with the port that the kernel chose when that was 0.
fn local_address(socket: &OwnedFd, configured: SocketAddr) -> io::Result<SocketAddr> {
    if configured.port() != 0 {
        return Ok(configured);
    }
    // The standard library reads it; the duplicate is closed again.
    let port = std::net::UdpSocket::from(socket.try_clone()?).local_addr()?.port();
    Ok(SocketAddr::new(configured.ip(), port))
}

/// Asks for a receive buffer, and says when the kernel gives less. Figures are as the administrator
/// counts them: the kernel doubles every one for its own overhead.
fn grow_buffer(
    socket: &OwnedFd,
    address: SocketAddr,
    wanted: usize,
) -> io::Result<Option<BufferWarning>> {
    let value = i32::try_from(wanted).unwrap_or(i32::MAX);
    let socket = socket.as_fd();
    if system::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value).is_err() {
        system::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &value)?;
    }
    let doubled: i32 = system::option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    let granted = usize::try_from(doubled).unwrap_or_default() / 2;
    Ok((granted < wanted).then_some(BufferWarning { address, wanted, granted }))
}

/// May others of this user have the port too?
fn set_shared(socket: &OwnedFd, shared: bool) -> io::Result<()> {
    let value = i32::from(shared);
    system::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, &value)
}

fn steer(socket: &OwnedFd, sockets: usize) -> Result<(), SteeringError> {
    let program = steering::program(u32::try_from(sockets).unwrap_or(u32::MAX))?;
    system::attach_classic(socket.as_fd(), libc::SO_ATTACH_REUSEPORT_CBPF, &program)?;
    Ok(())
}
