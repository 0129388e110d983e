//! Why a source cannot be opened, or not be driven any further.

use std::io;
use std::net::SocketAddr;

use tidewall_wire::pcap::CaptureError;

use crate::af_xdp::XdpError;
use crate::libpcap::LibpcapError;
use crate::packet_filter::ProgramTooLong;
use crate::pipe::PipeError;
use crate::udp::SteeringError;

/// Why a source cannot be opened. Each message says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A UDP socket cannot be made.
    #[error("cannot listen on UDP {address}: {step}: {reason}{}", hint(.reason))]
    Udp {
        /// Where the socket was to listen.
        address: SocketAddr,
        /// The call that failed.
        step: &'static str,
        /// The system's answer.
        reason: io::Error,
    },
    /// The steering program cannot be attached.
    #[error("cannot listen on UDP {address}: {reason}")]
    Steering {
        /// Where the socket was to listen.
        address: SocketAddr,
        /// What is wrong with it.
        reason: SteeringError,
    },
    /// An interface cannot be captured from.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface's frames begin with something that is not known here.
    #[error(
        "interface {interface}: hardware type {hardware} is not known to af_packet; try libpcap"
    )]
    LinkType {
        /// Name of the interface.
        interface: String,
        /// Its ARPHRD value.
        hardware: u16,
    },
    /// The filter is too long for the kernel.
    #[error("interface {interface}: {reason}")]
    Filter {
        /// Name of the interface.
        interface: String,
        /// What is wrong with it.
        reason: ProgramTooLong,
    },
    /// AF_XDP does not work here.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// A stream cannot be opened.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// libpcap is missing, or refuses.
    #[error(transparent)]
    Libpcap(#[from] LibpcapError),
}

/// A step on the way to capturing from an interface failed.
#[derive(Debug, thiserror::Error)]
#[error("interface {interface}: {step}: {reason}{}", hint(.reason))]
pub struct InterfaceError {
    /// Name of the interface.
    pub interface: String,
    /// What was tried.
    pub step: &'static str,
    /// The system's answer.
    pub reason: io::Error,
}

impl InterfaceError {
    /// Makes the error of a step from the system's answer.
    pub(crate) fn at(interface: &str, step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self { interface: interface.to_owned(), step, reason }
    }
}

/// Why a source cannot be driven any further. Everything passing is handled inside the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A system call failed in a way that waiting does not heal.
    #[error("{step}: {reason}")]
    System {
        /// The call that failed.
        step: &'static str,
        /// The system's answer.
        reason: io::Error,
    },
    /// The interface was removed, or removed and made anew: open the source again.
    #[error("interface {interface} is gone; open the source again when it is back")]
    InterfaceGone {
        /// Name of the interface.
        interface: String,
    },
    /// libpcap gave up.
    #[error("libpcap on {device}: {reason}")]
    Libpcap {
        /// The device as configured.
        device: String,
        /// libpcap's message.
        reason: String,
    },
    /// What comes through the pipe is not a capture, or is damaged. The source may be driven on: it
    /// waits for the next writer.
    #[error("{origin}: {reason}")]
    Stream {
        /// The pipe's name.
        origin: String,
        /// What the parser found.
        reason: CaptureError,
    },
    /// Standard input has ended and cannot come back.
    #[error("{origin}: the capture has ended")]
    Ended {
        /// The pipe's name.
        origin: String,
    },
}

impl ReceiveError {
    pub(crate) fn system(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::System { step, reason }
    }
}

/// What to do about an answer of the system, as the end of a sentence.
pub(crate) fn hint(reason: &io::Error) -> &'static str {
    match reason.raw_os_error() {
        Some(libc::EADDRINUSE) => "; another program has the port: see `ss -lunp`",
        Some(libc::EADDRNOTAVAIL) => "; no interface has this address: see `ip address`",
        Some(libc::EACCES | libc::EPERM) => {
            "; run as root, or with the capabilities CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and \
             CAP_IPC_LOCK, and CAP_NET_BIND_SERVICE for ports below 1024"
        }
        Some(libc::ENODEV) => "; there is no such interface: see `ip link`",
        // A lock beyond the limit is answered by EAGAIN.
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EAGAIN) => {
            "; too little memory: configure smaller rings, or raise the limit with \
             `ulimit -l unlimited` (LimitMEMLOCK=infinity in the unit)"
        }
        _ => "",
    }
}
