//! A filter as a classic BPF program. Memory cells: 0 the EtherType behind all tags looked at, 1
//! where the IP header starts.

use std::num::NonZeroU32;

use libc::sock_filter;
use tidewall_model::{Family, Prefix};

use super::{Selection, Side, Term};
use crate::classic_bpf::{
    A_TO_X, ADD_X, AND, Assembler, LOAD_BYTE, LOAD_BYTE_X, LOAD_CELL, LOAD_HALF, LOAD_HALF_X,
    LOAD_WORD, LOAD_WORD_X, LOAD_X_CELL, Label, MODULO, ProgramTooLong, RETURN, SET, SHIFT_LEFT,
    SHIFT_RIGHT, STORE_CELL, Test, To, auxiliary,
};

const ETHERTYPE: u32 = 0;
const IP_OFFSET: u32 = 1;

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const UDP: u32 = 17;
const SCTP: u32 = 132;

/// The program for `selection`: drops, or returns the snap length.
pub(crate) fn compile(selection: Selection<'_>) -> Result<Vec<sock_filter>, ProgramTooLong> {
    let mut bpf = Assembler::default();
    let drop = bpf.label();
    if let Some(rate) = selection.sampling.filter(|rate| rate.get() > 1) {
        sample(&mut bpf, rate, drop);
    }
    if let Some(filter) = selection.filter {
        find_ip(&mut bpf, selection.ethernet, drop);
        for term in &filter.terms {
            require(&mut bpf, *term, drop);
        }
    }
    bpf.emit(RETURN, selection.snap_length).place(drop).emit(RETURN, 0);
    bpf.finish()
}

/// Puts sampling in front of a program that somebody else has compiled.
pub(crate) fn sampled(
    program: Vec<sock_filter>,
    rate: Option<NonZeroU32>,
) -> Result<Vec<sock_filter>, ProgramTooLong> {
    let Some(rate) = rate.filter(|rate| rate.get() > 1) else { return Ok(program) };
    let mut bpf = Assembler::default();
    let (drop, keep) = (bpf.label(), bpf.label());
    sample(&mut bpf, rate, drop);
    bpf.jump(keep).place(drop).emit(RETURN, 0).place(keep);
    let mut all = bpf.finish()?;
    all.extend(program);
    let limit = libc::BPF_MAXINSNS as usize;
    if all.len() > limit { Err(ProgramTooLong { length: all.len(), limit }) } else { Ok(all) }
}

fn sample(bpf: &mut Assembler, rate: NonZeroU32, drop: Label) {
    bpf.emit(LOAD_WORD, auxiliary(libc::SKF_AD_RANDOM)).emit(MODULO, rate.get()).require(0, drop);
}

/// Fills the two cells.
fn find_ip(bpf: &mut Assembler, ethernet: bool, drop: Label) {
    if ethernet {
        // The kernel takes the outermost tag off; one more may follow in the bytes.
        let (tagged, done) = (bpf.label(), bpf.label());
        bpf.emit(LOAD_HALF, 12).emit(STORE_CELL, ETHERTYPE);
        for tag in [0x8100, 0x88a8, 0x9100] {
            bpf.test(Test::Equal, tag, To::Label(tagged), To::Next);
        }
        bpf.emit(SET, 14).jump(done);
        bpf.place(tagged).emit(LOAD_HALF, 16).emit(STORE_CELL, ETHERTYPE).emit(SET, 18);
        bpf.place(done).emit(STORE_CELL, IP_OFFSET);
        return;
    }
    let (v4, v6, done) = (bpf.label(), bpf.label(), bpf.label());
    bpf.emit(SET, 0)
        .emit(STORE_CELL, IP_OFFSET)
        .emit(LOAD_BYTE, 0)
        .emit(SHIFT_RIGHT, 4)
        .test(Test::Equal, 4, To::Label(v4), To::Next)
        .test(Test::Equal, 6, To::Label(v6), To::Next)
        .jump(drop);
    bpf.place(v4).emit(SET, IPV4).jump(done);
    bpf.place(v6).emit(SET, IPV6);
    bpf.place(done).emit(STORE_CELL, ETHERTYPE);
}

fn require(bpf: &mut Assembler, term: Term, drop: Label) {
    match term {
        Term::Ip => ethertype(bpf, IPV4, drop),
        Term::Ip6 => ethertype(bpf, IPV6, drop),
        Term::Tcp => protocol(bpf, TCP, TCP, drop),
        Term::Udp => protocol(bpf, UDP, UDP, drop),
        Term::Icmp => protocol(bpf, 1, 58, drop),
        Term::Vlan(id) => vlan(bpf, id, drop),
        Term::Network(side, prefix) => network(bpf, side, prefix, drop),
        Term::Port(side, port) => transport_port(bpf, side, port, drop),
    }
}

fn ethertype(bpf: &mut Assembler, value: u32, drop: Label) {
    bpf.emit(LOAD_CELL, ETHERTYPE).require(value, drop);
}

fn protocol(bpf: &mut Assembler, v4: u32, v6: u32, drop: Label) {
    let (is_v4, done) = (bpf.label(), bpf.label());
    bpf.emit(LOAD_X_CELL, IP_OFFSET)
        .emit(LOAD_CELL, ETHERTYPE)
        .test(Test::Equal, IPV4, To::Label(is_v4), To::Next)
        .require(IPV6, drop);
    bpf.emit(LOAD_BYTE_X, 6).require(v6, drop).jump(done);
    bpf.place(is_v4).emit(LOAD_BYTE_X, 9).require(v4, drop).place(done);
}

fn vlan(bpf: &mut Assembler, id: Option<u16>, drop: Label) {
    let (in_bytes, done) = (bpf.label(), bpf.label());
    bpf.emit(LOAD_WORD, auxiliary(libc::SKF_AD_VLAN_TAG_PRESENT)).test(
        Test::Equal,
        0,
        To::Label(in_bytes),
        To::Next,
    );
    if let Some(id) = id {
        bpf.emit(LOAD_WORD, auxiliary(libc::SKF_AD_VLAN_TAG)).emit(AND, 0x0fff).test(
            Test::Equal,
            u32::from(id),
            To::Label(done),
            To::Next,
        );
    } else {
        bpf.jump(done);
    }
    bpf.place(in_bytes).emit(LOAD_CELL, IP_OFFSET).require(18, drop);
    if let Some(id) = id {
        bpf.emit(LOAD_HALF, 14).emit(AND, 0x0fff).require(u32::from(id), drop);
    }
    bpf.place(done);
}

fn network(bpf: &mut Assembler, side: Side, prefix: Prefix, drop: Label) {
    let (version, source, destination, words) = match prefix.family() {
        Family::V4 => (IPV4, 12, 16, 1),
        Family::V6 => (IPV6, 8, 24, 4),
    };
    ethertype(bpf, version, drop);
    bpf.emit(LOAD_X_CELL, IP_OFFSET);
    let (other, done) = (bpf.label(), bpf.label());
    if side != Side::Destination {
        let miss = if side == Side::Source { drop } else { other };
        matches(bpf, source, words, prefix, miss);
        bpf.jump(done);
    }
    bpf.place(other);
    if side != Side::Source {
        matches(bpf, destination, words, prefix, drop);
    }
    bpf.place(done);
}

/// Goes on when the address at `offset` of the IP header is in the prefix.
fn matches(bpf: &mut Assembler, offset: u32, words: u32, prefix: Prefix, miss: Label) {
    for word in 0..words {
        let shift = 32 * (words - 1 - word);
        let value = (prefix.first().bits >> shift) as u32;
        let mask = !((prefix.first().bits ^ prefix.last().bits) >> shift) as u32;
        if mask == 0 {
            break;
        }
        bpf.emit(LOAD_WORD_X, offset + 4 * word);
        if mask != u32::MAX {
            bpf.emit(AND, mask);
        }
        bpf.require(value, miss);
    }
}

fn transport_port(bpf: &mut Assembler, side: Side, port: u16, drop: Label) {
    let (is_v4, ports, done) = (bpf.label(), bpf.label(), bpf.label());
    bpf.emit(LOAD_X_CELL, IP_OFFSET)
        .emit(LOAD_CELL, ETHERTYPE)
        .test(Test::Equal, IPV4, To::Label(is_v4), To::Next)
        .require(IPV6, drop);
    bpf.emit(LOAD_BYTE_X, 6);
    has_ports(bpf, drop);
    bpf.emit(SET, 40).jump(ports);
    bpf.place(is_v4).emit(LOAD_HALF_X, 6);
    let first = bpf.label();
    // Behind the flags is the fragment offset: only the first piece has ports.
    bpf.test(Test::AnyBit, 0x1fff, To::Next, To::Label(first)).jump(drop);
    bpf.place(first).emit(LOAD_BYTE_X, 9);
    has_ports(bpf, drop);
    bpf.emit(LOAD_BYTE_X, 0).emit(AND, 0x0f).emit(SHIFT_LEFT, 2);
    bpf.place(ports).emit(ADD_X, 0).emit(A_TO_X, 0);
    let port = u32::from(port);
    if side != Side::Destination {
        bpf.emit(LOAD_HALF_X, 0).test(Test::Equal, port, To::Label(done), To::Next);
    }
    if side == Side::Source {
        bpf.jump(drop);
    } else {
        bpf.emit(LOAD_HALF_X, 2).require(port, drop);
    }
    bpf.place(done);
}

fn has_ports(bpf: &mut Assembler, drop: Label) {
    let yes = bpf.label();
    for protocol in [TCP, UDP, SCTP] {
        bpf.test(Test::Equal, protocol, To::Label(yes), To::Next);
    }
    bpf.jump(drop).place(yes);
}
