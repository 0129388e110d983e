//! The other direction, for the load generator: many datagrams or frames by one system call
//! (`sendmmsg`). Everything is sent from the caller's memory, without waiting for anyone.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tidewall_wire::frame::LinkType;

use crate::error::InterfaceError;
use crate::{OpenError, interface, system};

/// Messages that one system call takes.
pub const BATCH: usize = 64;

/// A socket that is connected to one receiver, or bound to one interface.
pub struct BatchSender {
    socket: OwnedFd,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages the kernel took.
    pub messages: usize,
    /// Messages it refused.
    pub refused: usize,
    /// Its last reason (`errno`), 0 when there was none.
    pub reason: i32,
}

impl BatchSender {
    /// Sends datagrams from this address; port 0 is any.
    pub fn udp(from: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        Ok(Self { socket: socket.into() })
    }

    /// Sends Ethernet frames by this interface, past its queueing discipline.
    pub fn interface(name: &str) -> Result<Self, OpenError> {
        let fail = |step| InterfaceError::at(name, step);
        let socket = system::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
            .map_err(fail("making an AF_PACKET socket"))?;
        let index = system::interface_index(socket.as_fd(), name).map_err(fail("looking it up"))?;
        if interface::link_type(&socket, name)? != LinkType::ETHERNET {
            let reason = io::Error::new(io::ErrorKind::Unsupported, "its frames are no Ethernet");
            return Err(fail("preparing to send")(reason).into());
        }
        let bypass =
            system::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32);
        bypass.map_err(fail("going past its queueing discipline"))?;
        interface::bind_packet_socket(&socket, index, 0).map_err(fail("binding to it"))?;
        Ok(Self { socket })
    }

    /// The address that messages come from; of an interface an error.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        UdpSocket::from(self.socket.try_clone()?).local_addr()
    }

    /// Sends up to [`BATCH`] messages. One that is refused does not keep back those behind it.
    pub fn send(&self, messages: &[&[u8]]) -> Sent {
        let mut batch = Batch::new();
        let count = batch.fill(messages);
        let mut sent = Sent::default();
        let mut at = 0;
        while at < count {
            match batch.send(&self.socket, at, count) {
                Ok(taken) => {
                    sent.messages += taken;
                    at += taken.max(1);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    sent.refused += 1;
                    sent.reason = error.raw_os_error().unwrap_or_default();
                    at += 1;
                }
            }
        }
        sent
    }
}

/// Headers that point to messages, for as long as these are borrowed.
struct Batch<'a> {
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
    messages: PhantomData<&'a [u8]>,
}

impl<'a> Batch<'a> {
    fn new() -> Self {
        // SAFETY: all-zero is a valid `iovec`.
        let vectors = unsafe { mem::zeroed() };
        // SAFETY: all-zero is a valid `mmsghdr`.
        let headers = unsafe { mem::zeroed() };
        Self { vectors, headers, messages: PhantomData }
    }

    /// Points to the messages, which live as long as `self`; gives their number.
    fn fill(&mut self, messages: &[&'a [u8]]) -> usize {
        for (vector, message) in self.vectors.iter_mut().zip(messages) {
            vector.iov_base = message.as_ptr().cast_mut().cast();
            vector.iov_len = message.len();
        }
        messages.len().min(BATCH)
    }

    /// Sends the messages from `at` to `end`; gives how many of them were taken.
    fn send(&mut self, socket: &OwnedFd, at: usize, end: usize) -> io::Result<usize> {
        // Set here and not before: `self` has moved in between.
        for (header, vector) in self.headers.iter_mut().zip(&mut self.vectors) {
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let headers = self.headers.get_mut(at..end).unwrap_or_default();
        // SAFETY: every header names one vector of `self`, and each vector a message that is
        // borrowed for the life of `self`; the kernel only reads the messages, and writes the
        // lengths into the headers.
        let answer = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                0,
            )
        };
        usize::try_from(answer).map_err(|_| io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        (socket, address)
    }

    #[test]
    fn a_batch_arrives_whole_and_in_order_from_where_it_should() {
        let (socket, to) = receiver();
        let sender = BatchSender::udp("127.0.1.7:0".parse().unwrap(), to).unwrap();
        let messages: Vec<Vec<u8>> = (0..BATCH).map(|n| vec![n as u8; n + 1]).collect();
        let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let sent = sender.send(&slices);
        assert_eq!(sent, Sent { messages: BATCH, refused: 0, reason: 0 });
        let mut buffer = [0; 128];
        for message in &messages {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], message.as_slice());
            assert_eq!(from, sender.local_address().unwrap());
            assert_eq!(from.ip().to_string(), "127.0.1.7");
        }
        assert_eq!(sender.send(&[]), Sent::default());
    }

    #[test]
    fn a_message_that_cannot_be_sent_is_counted_and_the_rest_goes() {
        let (socket, to) = receiver();
        let sender = BatchSender::udp("127.0.0.1:0".parse().unwrap(), to).unwrap();
        let large = vec![0; 70_000];
        let sent = sender.send(&[b"before", &large, b"behind"]);
        assert_eq!((sent.messages, sent.refused, sent.reason), (2, 1, libc::EMSGSIZE));
        let mut buffer = [0; 16];
        for expected in [b"before", b"behind"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let Err(error) = BatchSender::interface("no-such-if") else { panic!("it was opened") };
        let said = error.to_string();
        assert!(said.contains("no-such-if"), "{said}");
    }
}
