//! The XDP program: takes one frame in so many, drops what is on the drop list, and hands the rest
//! to the AF_XDP socket of its queue. A queue without a socket passes its frames on to the stack.

use std::io;
use std::num::NonZeroU32;

use tidewall_model::{Family, Prefix};

use crate::bpf::{Assembler, Helper, Instruction, Label, Map, MapKind, Register};

/// Bytes of a counter: a cache line, so that queues do not disturb each other.
const COUNTER_LEN: usize = 64;

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

/// Fields of `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const QUEUE: i16 = 16;

/// Where the look-up key is on the stack: prefix length, then up to 16 bytes of address.
const KEY: i16 = -24;
const KEY_ADDRESS: i16 = -20;
/// Where the queue's number is on the stack.
const QUEUE_KEY: i16 = -28;

/// Tags looked behind.
const TAGS: usize = 2;

// What each register holds throughout.
const STACK: Register = 10;
const CONTEXT: Register = 6;
/// Where the dissection is in the frame.
const AT: Register = 7;
const ETHERTYPE: Register = 8;
const END: Register = 9;

/// Prefixes whose traffic is dropped before it reaches us, and how much that was.
#[derive(Debug)]
pub(super) struct DropList {
    v4: Map,
    v6: Map,
    /// One counter for each queue.
    dropped: Map,
}

impl DropList {
    pub(super) fn new(prefixes: &[Prefix], queues: u32) -> io::Result<Self> {
        let most = u32::try_from(prefixes.len()).unwrap_or(u32::MAX).max(1);
        let list = Self {
            v4: Map::create(MapKind::LpmTrie, 8, 4, most)?,
            v6: Map::create(MapKind::LpmTrie, 20, 4, most)?,
            dropped: Map::create(MapKind::Array, 4, COUNTER_LEN, queues.max(1))?,
        };
        for prefix in prefixes {
            let length = u32::from(prefix.len()).to_ne_bytes();
            let bits = prefix.first().bits;
            match prefix.family() {
                Family::V4 => {
                    let key = [length, (bits as u32).to_be_bytes()].concat();
                    list.v4.set(&key, &[1; 4])?;
                }
                Family::V6 => {
                    let key = [&length[..], &bits.to_be_bytes()].concat();
                    list.v6.set(&key, &[1; 4])?;
                }
            }
        }
        Ok(list)
    }

    /// Frames dropped on this queue.
    pub(super) fn dropped(&self, queue: u32) -> u64 {
        let value: io::Result<[u8; COUNTER_LEN]> = self.dropped.get(&queue.to_ne_bytes());
        let value = value.ok().and_then(|value| value.first_chunk().copied());
        value.map(u64::from_ne_bytes).unwrap_or_default()
    }
}

/// The program; `None` cannot happen with the program as it is.
pub(super) fn program(
    sockets: &Map,
    sampling: Option<NonZeroU32>,
    drop_list: Option<&DropList>,
) -> Option<Vec<Instruction>> {
    let mut bpf = Assembler::default();
    let (hand_over, drop) = (bpf.label(), bpf.label());
    bpf.copy(CONTEXT, 1);
    let sampling = sampling.filter(|rate| rate.get() > 1);
    if let Some(rate) = sampling {
        bpf.call(Helper::Random).modulo(0, rate.get()).jump_if_not(0, 0, drop);
    }
    if let Some(list) = drop_list {
        look_up(&mut bpf, list, hand_over, drop);
    }
    bpf.place(hand_over)
        .load_word(2, CONTEXT, QUEUE)
        .load_map(1, sockets.fd())
        .set(3, XDP_PASS)
        .call(Helper::RedirectMap)
        .exit();
    // The verifier refuses what cannot be reached.
    if sampling.is_some() || drop_list.is_some() {
        bpf.place(drop).set(0, XDP_DROP).exit();
    }
    bpf.finish()
}

/// Goes to `drop` when an address of the frame is on the list, to `hand_over` otherwise.
fn look_up(bpf: &mut Assembler, list: &DropList, hand_over: Label, drop: Label) {
    let (v4, v6, listed) = (bpf.label(), bpf.label(), bpf.label());
    bpf.load_word(AT, CONTEXT, DATA).load_word(END, CONTEXT, DATA_END);
    require(bpf, 14, hand_over);
    bpf.load_half(ETHERTYPE, AT, 12).add(AT, 14);
    let untagged = bpf.label();
    for _ in 0..TAGS {
        let tagged = bpf.label();
        for tag in [0x8100, 0x88a8, 0x9100] {
            bpf.jump_if_equal(ETHERTYPE, network_order(tag), tagged);
        }
        bpf.jump(untagged).place(tagged);
        require(bpf, 4, hand_over);
        bpf.load_half(ETHERTYPE, AT, 2).add(AT, 4);
    }
    bpf.place(untagged)
        .jump_if_equal(ETHERTYPE, network_order(0x0800), v4)
        .jump_if_equal(ETHERTYPE, network_order(0x86dd), v6)
        .jump(hand_over);
    bpf.place(v4);
    require(bpf, 20, hand_over);
    addresses(bpf, &list.v4, 1, [12, 16], listed);
    bpf.jump(hand_over).place(v6);
    require(bpf, 40, hand_over);
    addresses(bpf, &list.v6, 4, [8, 24], listed);
    bpf.jump(hand_over).place(listed);
    bpf.load_word(2, CONTEXT, QUEUE)
        .store_word(STACK, QUEUE_KEY, 2)
        .copy(2, STACK)
        .add(2, i32::from(QUEUE_KEY))
        .load_map(1, list.dropped.fd())
        .call(Helper::MapLookup)
        .jump_if_equal(0, 0, drop)
        .set(1, 1)
        .atomic_add(0, 1)
        .jump(drop);
}

/// Goes on when there are `length` more bytes.
fn require(bpf: &mut Assembler, length: i32, otherwise: Label) {
    bpf.copy(2, AT).add(2, length).jump_if_above(2, END, otherwise);
}

/// Goes to `listed` when one of the addresses at these offsets is in the map.
fn addresses(bpf: &mut Assembler, map: &Map, words: i16, offsets: [i16; 2], listed: Label) {
    bpf.store_value(STACK, KEY, 32 * i32::from(words));
    for offset in offsets {
        for word in 0..words {
            bpf.load_word(2, AT, offset + 4 * word).store_word(STACK, KEY_ADDRESS + 4 * word, 2);
        }
        bpf.copy(2, STACK)
            .add(2, i32::from(KEY))
            .load_map(1, map.fd())
            .call(Helper::MapLookup)
            .jump_if_not(0, 0, listed);
    }
}

/// A 16-bit field of a frame as the processor reads it.
fn network_order(value: u16) -> i32 {
    i32::from(value.to_be())
}
