//! The machine's own addresses, now and as they change, through rtnetlink. Needs no privilege.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tidewall_model::{Address, Prefix};

use crate::system;

mod message;

use message::{Event, events};

/// A dump fits many times; a message that does not is told by its flag.
const BUFFER_LEN: usize = 64 * 1024;
/// How long the kernel is given to answer: it answers at once.
const ANSWER: Duration = Duration::from_secs(2);

/// One address of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnAddress {
    /// The address.
    pub address: Address,
    /// Length of the prefix that is on the link.
    pub prefix_length: u8,
    /// Number of the interface.
    pub interface: u32,
    /// Where the address means something.
    pub scope: AddressScope,
}

impl OwnAddress {
    /// The network on the link.
    pub fn network(&self) -> Prefix {
        Prefix::containing(self.address, self.prefix_length)
    }
}

/// Where an address means something, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressScope {
    /// Everywhere.
    Global,
    /// On the link.
    Link,
    /// Inside the machine.
    Host,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressChange {
    /// The address is there now; also told when only its properties have changed.
    Added(OwnAddress),
    /// The address is gone.
    Removed(OwnAddress),
    /// Changes came faster than they were read: ask for all addresses again.
    Missed,
}

/// All addresses of the machine, in order.
pub fn own_addresses() -> io::Result<Vec<OwnAddress>> {
    let socket = netlink(0)?;
    let mut addresses = Vec::new();
    let mut buffer = vec![0; BUFFER_LEN];
    // Asked again when the list changed while it was told.
    for _ in 0..8 {
        addresses.clear();
        system::send(socket.as_fd(), &message::request(libc::AF_UNSPEC as u8))?;
        if dump(&socket, &mut buffer, &mut addresses)? {
            addresses.sort_unstable();
            addresses.dedup();
            return Ok(addresses);
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Reads one dump to its end; false when it is not consistent.
fn dump(socket: &OwnedFd, buffer: &mut [u8], addresses: &mut Vec<OwnAddress>) -> io::Result<bool> {
    let mut consistent = true;
    loop {
        if !system::wait(socket.as_fd(), ANSWER)?.readable {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let length = system::receive(socket.as_fd(), buffer)?;
        for event in events(buffer.get(..length).unwrap_or_default()) {
            match event {
                Event::Added(address) => addresses.push(address),
                Event::Interrupted => consistent = false,
                Event::Done => return Ok(consistent),
                Event::Error(code) => return Err(io::Error::from_raw_os_error(code)),
                Event::Removed(_) => {}
            }
        }
    }
}

/// Watches for changes.
pub struct AddressWatch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl AddressWatch {
    /// Begins to watch. Ask for [`own_addresses`] after that, so that no change falls between.
    pub fn open() -> io::Result<Self> {
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        Ok(Self { socket: netlink(groups as u32)?, buffer: vec![0; BUFFER_LEN] })
    }

    /// Tells the changes that have come; waits for the first at most for `timeout`. Returns their
    /// number.
    pub fn receive(
        &mut self,
        timeout: Duration,
        mut tell: impl FnMut(AddressChange),
    ) -> io::Result<usize> {
        if system::wait(self.socket.as_fd(), timeout)? == system::Readiness::default() {
            return Ok(0);
        }
        let mut count = 0;
        let mut tell = |change| {
            count += 1;
            tell(change);
        };
        match system::receive(self.socket.as_fd(), &mut self.buffer) {
            Ok(length) => {
                for event in events(self.buffer.get(..length).unwrap_or_default()) {
                    match event {
                        Event::Added(address) => tell(AddressChange::Added(address)),
                        Event::Removed(address) => tell(AddressChange::Removed(address)),
                        Event::Done | Event::Interrupted | Event::Error(_) => {}
                    }
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                tell(AddressChange::Missed);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(count)
    }
}

/// Is the address one of these?
pub fn is_own(addresses: &[OwnAddress], address: IpAddr) -> bool {
    let address = Address::from(address);
    addresses.iter().any(|own| own.address == address)
}

/// A bound rtnetlink socket that hears `groups`.
fn netlink(groups: u32) -> io::Result<OwnedFd> {
    let socket = system::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    system::bind(socket.as_fd(), &system::netlink_address(groups))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_our_own() {
        let addresses = own_addresses().unwrap();
        let loopback = addresses.iter().find(|a| a.address == Address::v4(0x7f00_0001)).unwrap();
        assert_eq!(loopback.network().to_string(), "127.0.0.0/8");
        assert_eq!((loopback.interface, loopback.scope), (1, AddressScope::Host));
        assert!(is_own(&addresses, IpAddr::from([127, 0, 0, 1])));
        assert!(!is_own(&addresses, IpAddr::from([192, 0, 2, 1])));
    }
}
