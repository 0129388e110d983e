//! What it costs to take a datagram from the kernel: by the source, and by the standard library's
//! one call for each.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tidewall_capture::DatagramSink;
use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_model::Timestamp;
use tidewall_testkit::bench::Bench;

/// Datagrams that wait in the socket when a run begins.
const DATAGRAMS: u64 = 4096;
/// A full sFlow or NetFlow datagram, and a small one.
const LENGTHS: [usize; 2] = [1400, 200];

struct Count(u64);

impl DatagramSink for Count {
    fn datagram(&mut self, _: SocketAddr, _: Timestamp, data: &[u8]) {
        self.0 += data.len() as u64;
    }
}

fn main() {
    let mut bench = Bench::new("udp");
    let config = UdpConfig::new("127.0.0.1:0".parse().expect("an address"));
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a sender");
    for length in LENGTHS {
        let data = vec![0; length];
        let send = |to: SocketAddr| {
            for _ in 0..DATAGRAMS {
                sender.send_to(&data, to).expect("room in the socket");
            }
        };
        let source = RefCell::new(UdpSource::open(&config).expect("a source"));
        let address = source.borrow().local_address();
        bench.run_fresh(
            &format!("batches_of_{length}_bytes"),
            "ns/datagram",
            DATAGRAMS,
            || send(address),
            |()| {
                let (mut count, mut sink) = (0, Count(0));
                while count < DATAGRAMS {
                    let batch = source.borrow_mut().receive(Duration::from_secs(1), &mut sink);
                    count += batch.expect("datagrams") as u64;
                }
                sink.0
            },
        );
        let plain = UdpSource::open(&config).expect("a source");
        let address = plain.local_address();
        drop(plain);
        let plain = UdpSocket::bind(address).expect("a socket");
        grow(&plain);
        let mut buffer = vec![0; 65_535];
        bench.note("recv_from of the standard library").run_fresh(
            &format!("one_by_one_{length}_bytes"),
            "ns/datagram",
            DATAGRAMS,
            || send(address),
            |()| {
                (0..DATAGRAMS).map(|_| plain.recv_from(&mut buffer).expect("one").0).sum::<usize>()
            },
        );
    }
}

/// Makes room for all datagrams; without it, the runs would wait for ever.
fn grow(socket: &UdpSocket) {
    use std::os::fd::AsRawFd;
    let value: i32 = 32 * 1024 * 1024;
    for name in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        // SAFETY: the pointer is to an integer of the size told, which lives through the call.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                name,
                (&raw const value).cast(),
                size_of::<i32>() as u32,
            );
        }
    }
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
}
