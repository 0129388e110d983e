//! Sockets of sessions: source address, device, TTL, GTSM and MD5, set before the first packet.
//!
//! GTSM and MD5 are socket options for which no crate has a setter; nix makes one from number and
//! type. The type of the key is a plain array of the size of `struct tcp_md5sig`.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use mio::net::{TcpListener, TcpStream};
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4Ttl, Ipv6Ttl};
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::config::{Distance, ListenConfig, PeerConfig, is_link_local};
use crate::Secret;

/// CS6, network control, in the octet of IPv4's TOS and IPv6's traffic class.
const NETWORK_CONTROL: u32 = 0xc0;
/// What the system gives to packets of sockets that ask for nothing (ip(7), ipv6(7)).
const SYSTEM_TTL: libc::c_int = -1;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

/// `struct tcp_md5sig` of linux/tcp.h: address 128, flags 1, prefix length 1, key length 2,
/// device 4, key 80.
const MD5SIG_OCTETS: usize = 216;
const MD5SIG_KEY_LENGTH: usize = 130;
const MD5SIG_KEY: usize = 136;

sockopt_impl!(
    /// Key of TCP MD5 for one peer.
    TcpMd5, SetOnly, libc::IPPROTO_TCP, libc::TCP_MD5SIG, [u8; MD5SIG_OCTETS]
);
sockopt_impl!(
    /// Least TTL of packets that are taken.
    Ipv4MinTtl, SetOnly, libc::IPPROTO_IP, libc::IP_MINTTL, libc::c_int
);
sockopt_impl!(
    /// Least hop limit of packets that are taken.
    Ipv6MinHopCount, SetOnly, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, libc::c_int
);

/// Begins to connect to a peer; the socket is writable when that has ended.
pub(super) fn connect(peer: &PeerConfig) -> io::Result<TcpStream> {
    let socket = new_socket(peer.address, peer.device.as_deref())?;
    socket.set_tcp_nodelay(true)?;
    set_distance(&socket, peer.address, peer.distance.ttl(), peer.distance.least_ttl())?;
    if let Some(key) = &peer.md5 {
        set_md5(&socket, peer.address, key)?;
    }
    if let Some(source) = peer.source {
        let source = with_scope(SocketAddr::new(source, 0), peer.device.as_deref())?;
        socket
            .bind(&source.into())
            .map_err(|error| worded(&error, &format!("cannot use {} as source", source.ip())))?;
    }
    let address = with_scope(SocketAddr::new(peer.address, peer.port), peer.device.as_deref())?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Listens for those of `peers` that fit. `beside`: a socket of ours that has the port at another
/// address, and is told so by [`share`], stays open until this one is taken into use.
pub(super) fn listen(
    config: &ListenConfig,
    peers: &[PeerConfig],
    beside: bool,
) -> io::Result<TcpListener> {
    let address = config.address.ip();
    let socket = new_socket(address, config.device.as_deref())?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(beside)?;
    let fitting: Vec<&PeerConfig> = peers.iter().filter(|peer| peer.fits(config)).collect();
    // The handshake is answered by this socket: with the highest TTL if any peer checks it; and a
    // low TTL is refused here only when all peers must have a high one. Accepted connections get
    // the options of their peer.
    let secured = fitting.iter().any(|peer| matches!(peer.distance, Distance::Secured(_)));
    let least_ttl = fitting.iter().map(|peer| peer.distance.least_ttl()).min().unwrap_or(0);
    set_distance(&socket, address, secured.then_some(u8::MAX), least_ttl)?;
    for peer in fitting {
        if let Some(key) = &peer.md5 {
            set_md5(&socket, peer.address, key)?;
        }
    }
    let bound = with_scope(config.address, config.device.as_deref())?;
    socket.bind(&bound.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Lets another socket of ours have the same port, or does not any more.
pub(super) fn share(listener: &TcpListener, shared: bool) -> io::Result<()> {
    SockRef::from(listener).set_reuse_port(shared)
}

/// Changes for which peers a socket listens, from those before to the present ones.
pub(super) fn listen_for(
    listener: &TcpListener,
    config: &ListenConfig,
    before: &[PeerConfig],
    peers: &[PeerConfig],
) -> io::Result<()> {
    let fitting: Vec<&PeerConfig> = peers.iter().filter(|peer| peer.fits(config)).collect();
    let secured = fitting.iter().any(|peer| matches!(peer.distance, Distance::Secured(_)));
    let least_ttl = fitting.iter().map(|peer| peer.distance.least_ttl()).min().unwrap_or(0);
    let address = config.address.ip();
    set_ttl(listener, address, if secured { u8::MAX.into() } else { SYSTEM_TTL })?;
    set_distance(listener, address, None, least_ttl)?;
    let has_key = |peer: &PeerConfig| {
        fitting.iter().any(|other| other.address == peer.address && other.md5.is_some())
    };
    for gone in before.iter().filter(|old| old.fits(config) && old.md5.is_some()) {
        if !has_key(gone) {
            // A key of no octets is none; there is an error when there was none already.
            let none = md5sig(gone.address, &[])?;
            let _ = setsockopt(listener, TcpMd5, &none);
        }
    }
    for peer in fitting {
        if let Some(key) = &peer.md5 {
            set_md5(listener, peer.address, key)?;
        }
    }
    Ok(())
}

/// Does the system take the keys of these peers?
pub(super) fn try_keys(peers: &[PeerConfig]) -> io::Result<()> {
    for peer in peers {
        if let Some(key) = &peer.md5 {
            set_md5(&new_socket(peer.address, None)?, peer.address, key)?;
        }
    }
    Ok(())
}

/// Gives an accepted connection the options of its peer; the MD5 key it has from the listener.
pub(super) fn adopt(stream: &TcpStream, peer: &PeerConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    set_distance(stream, peer.address, peer.distance.ttl(), peer.distance.least_ttl())
}

fn new_socket(address: IpAddr, device: Option<&str>) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv4() {
        socket.set_tos_v4(NETWORK_CONTROL)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(NETWORK_CONTROL)?;
    }
    if let Some(device) = device {
        socket
            .bind_device(Some(device.as_bytes()))
            .map_err(|error| worded(&error, &format!("cannot use the device {device}")))?;
    }
    Ok(socket)
}

fn set_distance(
    socket: &impl AsFd,
    address: IpAddr,
    ttl: Option<u8>,
    least_ttl: u8,
) -> io::Result<()> {
    let least = libc::c_int::from(least_ttl);
    if let Some(ttl) = ttl {
        set_ttl(socket, address, ttl.into())?;
    }
    if address.is_ipv4() {
        setsockopt(socket, Ipv4MinTtl, &least)?;
    } else {
        setsockopt(socket, Ipv6MinHopCount, &least)?;
    }
    Ok(())
}

fn set_ttl(socket: &impl AsFd, address: IpAddr, ttl: libc::c_int) -> io::Result<()> {
    if address.is_ipv4() {
        setsockopt(socket, Ipv4Ttl, &ttl)?;
    } else {
        setsockopt(socket, Ipv6Ttl, &ttl)?;
    }
    Ok(())
}

fn set_md5(socket: &impl AsFd, peer: IpAddr, key: &Secret) -> io::Result<()> {
    setsockopt(socket, TcpMd5, &md5sig(peer, key.expose().as_bytes())?)
        .map_err(|error| worded(&error.into(), "cannot set the MD5 key"))
}

/// `struct tcp_md5sig` of a peer, whatever its port.
fn md5sig(peer: IpAddr, key: &[u8]) -> io::Result<[u8; MD5SIG_OCTETS]> {
    let mut octets = [0; MD5SIG_OCTETS];
    let mut put = |at: usize, value: &[u8]| match octets.get_mut(at..at + value.len()) {
        Some(place) => {
            place.copy_from_slice(value);
            Ok(())
        }
        None => Err(io::Error::other("the MD5 key is longer than the kernel takes")),
    };
    match peer {
        IpAddr::V4(address) => {
            put(0, &(libc::AF_INET as u16).to_ne_bytes())?;
            put(4, &address.octets())?;
        }
        IpAddr::V6(address) => {
            put(0, &(libc::AF_INET6 as u16).to_ne_bytes())?;
            put(8, &address.octets())?;
        }
    }
    put(MD5SIG_KEY_LENGTH, &(key.len() as u16).to_ne_bytes())?;
    put(MD5SIG_KEY, key)?;
    Ok(octets)
}

/// A link-local address together with its device.
fn with_scope(address: SocketAddr, device: Option<&str>) -> io::Result<SocketAddr> {
    match (address, device) {
        (SocketAddr::V6(v6), Some(device)) if is_link_local(address.ip()) => {
            let index = nix::net::if_::if_nametoindex(device)?;
            Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, index).into())
        }
        _ => Ok(address),
    }
}

fn worded(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Ends our direction; what the peer still sends can be read.
pub(super) fn end_writing(stream: &TcpStream) {
    // The peer may be gone already, and then there is nothing to end.
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of linux/tcp.h.
    #[test]
    fn the_kernels_structure_of_a_key() {
        let v4 = md5sig(IpAddr::from([192, 0, 2, 1]), b"s3cret").unwrap();
        assert_eq!(v4[..2], 2u16.to_ne_bytes());
        assert_eq!(v4[2..8], [0, 0, 192, 0, 2, 1]);
        assert_eq!(v4[130..132], 6u16.to_ne_bytes());
        assert_eq!(&v4[136..143], b"s3cret\0");
        let v6 = md5sig("2001:db8::1".parse().unwrap(), b"x").unwrap();
        assert_eq!(v6[..2], 10u16.to_ne_bytes());
        assert_eq!(v6[8..12], [0x20, 1, 0xd, 0xb8]);
        assert_eq!(v6[23], 1);
        assert!(md5sig(IpAddr::from([192, 0, 2, 1]), &[0; 81]).is_err());
    }
}
