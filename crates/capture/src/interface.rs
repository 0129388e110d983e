//! Network interfaces: promiscuous mode, what their frames begin with, whether they are up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tidewall_wire::frame::LinkType;

use crate::error::InterfaceError;
use crate::{OpenError, ReceiveError, system};

/// ARPHRD values that libc does not name.
const ARPHRD_RAWIP: u16 = 519;

/// Takes the interface's frames for other machines too, as long as the socket is open: the kernel
/// counts the askers, so nothing is left behind, whatever ends this process.
pub(crate) fn make_promiscuous(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let request = libc::packet_mreq {
        mr_ifindex: index as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    system::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Binds an AF_PACKET socket; `protocol` in network byte order.
pub(crate) fn bind_packet_socket(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    system::bind(socket.as_fd(), &address)
}

/// What the frames of an interface begin with.
pub(crate) fn link_type(socket: &OwnedFd, name: &str) -> Result<LinkType, OpenError> {
    let hardware = system::hardware_type(socket.as_fd(), name)
        .map_err(InterfaceError::at(name, "asking for its hardware type"))?;
    match hardware {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Ok(LinkType::ETHERNET),
        // Tunnels and other interfaces without a link header.
        libc::ARPHRD_NONE
        | libc::ARPHRD_PPP
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | ARPHRD_RAWIP => Ok(LinkType::RAW),
        _ => Err(OpenError::LinkType { interface: name.to_owned(), hardware }),
    }
}

/// An interface while its frames are waited for. It is known by its number: sockets stay with it
/// when it is given another name.
pub(crate) struct Watched {
    name: String,
    index: u32,
    down: bool,
}

impl Watched {
    /// An interface as it is now.
    pub(crate) fn new(socket: BorrowedFd<'_>, name: &str, index: u32) -> Self {
        let down = system::interface_is_up(socket, index).is_ok_and(|up| up == Some(false));
        Self { name: name.to_owned(), index, down }
    }

    /// Whether it was down when it was last looked at.
    pub(crate) fn is_down(&self) -> bool {
        self.down
    }

    /// It has said that it went down. True when that is new.
    pub(crate) fn fell(&mut self) -> bool {
        !std::mem::replace(&mut self.down, true)
    }

    /// Looks at it. True when it has gone down since the last time. The error is that it is not
    /// there any more.
    pub(crate) fn look(&mut self, socket: BorrowedFd<'_>) -> Result<bool, ReceiveError> {
        match system::interface_is_up(socket, self.index) {
            Ok(Some(true)) => self.down = false,
            Ok(Some(false)) => return Ok(self.fell()),
            // The next look says.
            Ok(None) => {}
            Err(_) => {
                return Err(ReceiveError::InterfaceGone { interface: self.name.clone() });
            }
        }
        Ok(false)
    }
}
