//! Which socket of a reuseport group gets a datagram. NetFlow v9 and IPFIX need the templates of
//! their exporter, so all datagrams of one exporter address go to one socket; everything else
//! (sFlow, NetFlow v5) may go anywhere and is spread evenly, even when there is one exporter.
//!
//! A classic BPF program decides it in the kernel. Its data starts behind the UDP header; the
//! source address is read relative to the network header. A result that is not a socket of the
//! group makes the kernel fall back to its own hash, which loses nothing either.

use std::io;
use std::net::IpAddr;

use libc::sock_filter;

use crate::classic_bpf::{
    A_TO_X, Assembler, LOAD_BYTE, LOAD_HALF, LOAD_WORD, MODULO, MULTIPLY, ProgramTooLong, RETURN_A,
    SHIFT_RIGHT, Test, To, XOR_X, auxiliary, network,
};

/// Spreads neighbouring addresses: 2^32 divided by the golden ratio, odd.
const SPREAD: u32 = 0x9e37_79b1;

/// Why a group cannot be steered.
#[derive(Debug, thiserror::Error)]
pub enum SteeringError {
    /// The kernel refuses the program.
    #[error("the program that steers by exporter is refused: {0}")]
    Refused(#[from] io::Error),
    /// Cannot happen with the program as it is.
    #[error(transparent)]
    TooLong(#[from] ProgramTooLong),
}

/// The socket, counted from 0, that gets NetFlow v9 and IPFIX of this exporter in a group of
/// `sockets`.
pub fn socket_of(exporter: IpAddr, sockets: usize) -> usize {
    let folded = match exporter.to_canonical() {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            [96, 64, 32, 0].iter().fold(0, |folded, shift| folded ^ (bits >> shift) as u32)
        }
    };
    (folded.wrapping_mul(SPREAD) >> 16) as usize % sockets.max(1)
}

/// The program for a group of `sockets`.
pub(super) fn program(sockets: u32) -> Result<Vec<sock_filter>, ProgramTooLong> {
    let mut bpf = Assembler::default();
    let (by_exporter, v6, mix) = (bpf.label(), bpf.label(), bpf.label());
    // The first two octets are the version in NetFlow and IPFIX, and zero in sFlow.
    bpf.emit(LOAD_HALF, 0)
        .test(Test::Equal, 9, To::Label(by_exporter), To::Next)
        .test(Test::Equal, 10, To::Label(by_exporter), To::Next)
        .emit(LOAD_WORD, auxiliary(libc::SKF_AD_RANDOM))
        .emit(MODULO, sockets)
        .emit(RETURN_A, 0);
    bpf.place(by_exporter)
        .emit(LOAD_BYTE, network(0))
        .emit(SHIFT_RIGHT, 4)
        .test(Test::Equal, 6, To::Label(v6), To::Next)
        .emit(LOAD_WORD, network(12))
        .jump(mix);
    bpf.place(v6).emit(LOAD_WORD, network(8));
    for offset in [12, 16, 20] {
        bpf.emit(A_TO_X, 0).emit(LOAD_WORD, network(offset)).emit(XOR_X, 0);
    }
    bpf.place(mix)
        .emit(MULTIPLY, SPREAD)
        .emit(SHIFT_RIGHT, 16)
        .emit(MODULO, sockets)
        .emit(RETURN_A, 0);
    bpf.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_exporters_use_all_sockets() {
        for sockets in [2_usize, 3, 4, 8] {
            let mut load = vec![0; sockets];
            for last in 0..=255 {
                load[socket_of(IpAddr::from([192, 0, 2, last]), sockets)] += 1;
            }
            let fair = 256 / sockets;
            assert!(load.iter().all(|n| (fair / 2..=fair * 2).contains(n)), "{load:?}");
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let mapped: IpAddr = "::ffff:192.0.2.77".parse().unwrap();
        assert_eq!(socket_of(mapped, 7), socket_of(IpAddr::from([192, 0, 2, 77]), 7));
    }
}
