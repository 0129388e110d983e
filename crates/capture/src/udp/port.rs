//! A port while its sockets are read by workers: what concerns all of them. More sockets may be
//! added, and the last ones taken away, without those that stay noticing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::{UdpConfig, UdpSource, bound, set_shared, steer};
use crate::OpenError;

/// A hold on a port's first socket. The socket is closed when this is gone, too.
pub struct UdpPort {
    first: OwnedFd,
    address: SocketAddr,
}

impl UdpPort {
    pub(super) fn new(first: OwnedFd, address: SocketAddr) -> Self {
        Self { first, address }
    }

    /// May others have the port too? Where there are several sockets they always may.
    pub fn share(&self, shared: bool) -> io::Result<()> {
        set_shared(&self.first, shared)
    }

    /// Opens more sockets of the group, which has `now` of them. They get nothing before
    /// [`Self::deal`]; where there was only one socket, the first one may get something before it
    /// is even told of.
    pub fn add(
        &self,
        config: &UdpConfig,
        now: usize,
        more: usize,
    ) -> Result<Vec<UdpSource>, OpenError> {
        let address = self.address;
        let failed = |reason| OpenError::Udp { address, step: "SO_REUSEPORT", reason };
        self.share(true).map_err(failed)?;
        let mut added = Vec::with_capacity(more);
        for _ in 0..more {
            added.push(UdpSource::new(config, bound(config, address, true)?)?);
            self.deal(now)?;
        }
        Ok(added)
    }

    /// From now on the first `sockets` of the group get what comes.
    pub fn deal(&self, sockets: usize) -> Result<(), OpenError> {
        let address = self.address;
        steer(&self.first, sockets).map_err(|reason| OpenError::Steering { address, reason })
    }
}
