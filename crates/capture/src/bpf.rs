//! eBPF without a compiler: an assembler for the few instructions that are used, and the `bpf`
//! system call for maps, programs and links.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP: i32 = 1;
const MAP_UPDATE: i32 = 2;
const PROGRAM_LOAD: i32 = 5;
const LINK_CREATE: i32 = 28;

const PROGRAM_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// Bytes of `union bpf_attr` that are used.
const ATTRIBUTE_LEN: usize = 152;
/// What the verifier may say about a program that it refuses.
const LOG_LEN: usize = 64 * 1024;
/// Names of maps and programs, as `bpftool` shows them.
const NAME: &[u8; 8] = b"tidewall";

/// Kinds of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    Array = 2,
    /// Must be told that nothing is allocated beforehand.
    LpmTrie = 11,
    Xsk = 17,
}

/// A register; r10 is the frame pointer.
pub(crate) type Register = u8;

/// One instruction, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A place in a program, known before it is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label(usize);

/// A program that grows at its end.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    open: Vec<(usize, Label)>,
    labels: Vec<Option<usize>>,
}

impl Assembler {
    fn emit(
        &mut self,
        code: u8,
        destination: Register,
        source: Register,
        offset: i16,
        immediate: i32,
    ) -> &mut Self {
        let registers = if cfg!(target_endian = "little") {
            destination | source << 4
        } else {
            destination << 4 | source
        };
        self.code.push(Instruction { code, registers, offset, immediate });
        self
    }

    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands for the next instruction.
    pub(crate) fn place(&mut self, label: Label) -> &mut Self {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.code.len());
        }
        self
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: Register, from: Register) -> &mut Self {
        self.emit(0xbf, to, from, 0, 0)
    }

    /// `to = value`
    pub(crate) fn set(&mut self, to: Register, value: i32) -> &mut Self {
        self.emit(0xb7, to, 0, 0, value)
    }

    /// `to += value`
    pub(crate) fn add(&mut self, to: Register, value: i32) -> &mut Self {
        self.emit(0x07, to, 0, 0, value)
    }

    /// `to %= value`, unsigned, in 32 bits
    pub(crate) fn modulo(&mut self, to: Register, value: u32) -> &mut Self {
        self.emit(0x94, to, 0, 0, value as i32)
    }

    /// `to = *(u32 *)(from + offset)`
    pub(crate) fn load_word(&mut self, to: Register, from: Register, offset: i16) -> &mut Self {
        self.emit(0x61, to, from, offset, 0)
    }

    /// `to = *(u16 *)(from + offset)`
    pub(crate) fn load_half(&mut self, to: Register, from: Register, offset: i16) -> &mut Self {
        self.emit(0x69, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = from`
    pub(crate) fn store_word(&mut self, to: Register, offset: i16, from: Register) -> &mut Self {
        self.emit(0x63, to, from, offset, 0)
    }

    /// `*(u32 *)(to + offset) = value`
    pub(crate) fn store_value(&mut self, to: Register, offset: i16, value: i32) -> &mut Self {
        self.emit(0x62, to, 0, offset, value)
    }

    /// `*(u64 *)to += from`, atomically
    pub(crate) fn atomic_add(&mut self, to: Register, from: Register) -> &mut Self {
        self.emit(0xdb, to, from, 0, 0)
    }

    /// `to = map`
    pub(crate) fn load_map(&mut self, to: Register, map: &OwnedFd) -> &mut Self {
        const MAP_FD: Register = 1;
        self.emit(0x18, to, MAP_FD, 0, map.as_raw_fd()).emit(0, 0, 0, 0, 0)
    }

    pub(crate) fn call(&mut self, helper: Helper) -> &mut Self {
        self.emit(0x85, 0, 0, 0, helper as i32)
    }

    pub(crate) fn exit(&mut self) -> &mut Self {
        self.emit(0x95, 0, 0, 0, 0)
    }

    pub(crate) fn jump(&mut self, label: Label) -> &mut Self {
        self.jump_by(0x05, 0, 0, 0, label)
    }

    pub(crate) fn jump_if_equal(&mut self, a: Register, value: i32, label: Label) -> &mut Self {
        self.jump_by(0x15, a, 0, value, label)
    }

    pub(crate) fn jump_if_not(&mut self, a: Register, value: i32, label: Label) -> &mut Self {
        self.jump_by(0x55, a, 0, value, label)
    }

    /// Jumps when `a > b`, unsigned.
    pub(crate) fn jump_if_above(&mut self, a: Register, b: Register, label: Label) -> &mut Self {
        self.jump_by(0x2d, a, b, 0, label)
    }

    fn jump_by(
        &mut self,
        code: u8,
        a: Register,
        b: Register,
        value: i32,
        label: Label,
    ) -> &mut Self {
        self.open.push((self.code.len(), label));
        self.emit(code, a, b, 0, value)
    }

    /// The program; `None` when a label was never placed or is too far.
    pub(crate) fn finish(mut self) -> Option<Vec<Instruction>> {
        for (from, label) in self.open {
            let to = self.labels.get(label.0).copied().flatten()?;
            let distance = to as i64 - from as i64 - 1;
            self.code.get_mut(from)?.offset = i16::try_from(distance).ok()?;
        }
        Some(self.code)
    }
}

/// Functions of the kernel that programs call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helper {
    MapLookup = 1,
    Random = 7,
    RedirectMap = 51,
}

/// `union bpf_attr`, filled field by field.
#[repr(C, align(8))]
struct Attributes([u8; ATTRIBUTE_LEN]);

impl Attributes {
    fn new() -> Self {
        Self([0; ATTRIBUTE_LEN])
    }

    fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        for (to, from) in self.0.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
        self
    }

    fn word(self, at: usize, value: u32) -> Self {
        self.bytes(at, &value.to_ne_bytes())
    }

    fn pointer<T>(self, at: usize, to: *const T) -> Self {
        self.bytes(at, &(to as u64).to_ne_bytes())
    }

    /// Calls `bpf(2)`.
    ///
    /// # Safety
    ///
    /// Every pointer in the attributes must be valid for what the command does with it.
    unsafe fn call(mut self, command: i32) -> io::Result<i64> {
        // SAFETY: the attributes live through the call; what they point to is the caller's promise.
        let answer =
            unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), ATTRIBUTE_LEN) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
    }

    /// Calls a command whose answer is a new descriptor.
    ///
    /// # Safety
    ///
    /// As for [`Self::call`]; the command must return a descriptor.
    unsafe fn open(self, command: i32) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let answer = unsafe { self.call(command) }?;
        let fd = RawFd::try_from(answer).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: new, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A map in the kernel whose keys and values have fixed sizes.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    pub(crate) fn create(kind: MapKind, key: usize, value: usize, most: u32) -> io::Result<Self> {
        const NO_PREALLOC: u32 = 1;
        let flags = if kind == MapKind::LpmTrie { NO_PREALLOC } else { 0 };
        let attributes = Attributes::new()
            .word(0, kind as u32)
            .word(4, key as u32)
            .word(8, value as u32)
            .word(12, most)
            .word(16, flags)
            .bytes(28, NAME);
        // SAFETY: no pointers; the answer is a descriptor.
        let fd = unsafe { attributes.open(MAP_CREATE) }?;
        Ok(Self { fd, key, value })
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if key.len() != self.key || value.len() != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let attributes = Attributes::new()
            .word(0, self.fd.as_raw_fd() as u32)
            .pointer(8, key.as_ptr())
            .pointer(16, value.as_ptr());
        // SAFETY: key and value have the map's sizes and live through the call.
        unsafe { attributes.call(MAP_UPDATE) }.map(drop)
    }

    pub(crate) fn get<const N: usize>(&self, key: &[u8]) -> io::Result<[u8; N]> {
        if key.len() != self.key || N != self.value {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut value = [0; N];
        let attributes = Attributes::new()
            .word(0, self.fd.as_raw_fd() as u32)
            .pointer(8, key.as_ptr())
            .pointer(16, value.as_mut_ptr().cast_const());
        // SAFETY: key and value have the map's sizes and live through the call; the kernel writes
        // to the value only.
        unsafe { attributes.call(MAP_LOOKUP) }?;
        Ok(value)
    }
}

/// Loads an XDP program. The error is the system's answer and the verifier's last words.
pub(crate) fn load_xdp(program: &[Instruction]) -> Result<OwnedFd, (io::Error, String)> {
    let licence = c"Apache-2.0 OR MIT";
    let attributes = || {
        Attributes::new()
            .word(0, PROGRAM_TYPE_XDP)
            .word(4, program.len() as u32)
            .pointer(8, program.as_ptr())
            .pointer(16, licence.as_ptr())
            .bytes(48, NAME)
    };
    // SAFETY: instructions and licence live through the call, and the kernel only reads them.
    let error = match unsafe { attributes().open(PROGRAM_LOAD) } {
        Ok(fd) => return Ok(fd),
        Err(error) => error,
    };
    // Once more, for the reason.
    let mut log = vec![0_u8; LOG_LEN];
    let attributes = attributes()
        .word(24, 1)
        .word(28, LOG_LEN as u32)
        .pointer(32, log.as_mut_ptr().cast_const());
    // SAFETY: as above; the log is writable and of the size told.
    let _ = unsafe { attributes.open(PROGRAM_LOAD) };
    let text: Vec<u8> = log.into_iter().take_while(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.lines().rev().take(3).collect();
    Err((error, words.into_iter().rev().collect::<Vec<_>>().join("; ")))
}

/// Attaches an XDP program to an interface for as long as the returned link is open.
pub(crate) fn attach_xdp(program: &impl AsFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = Attributes::new()
        .word(0, program.as_fd().as_raw_fd() as u32)
        .word(4, interface)
        .word(8, ATTACH_TYPE_XDP)
        .word(12, flags);
    // SAFETY: no pointers; the answer is a descriptor.
    unsafe { attributes.open(LINK_CREATE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_the_kernels_layout() {
        let mut bpf = Assembler::default();
        let end = bpf.label();
        bpf.load_word(2, 1, 16).jump_if_equal(2, 7, end).set(0, 1).place(end).exit();
        let code = bpf.finish().unwrap();
        assert_eq!(size_of::<Instruction>(), 8);
        let registers = if cfg!(target_endian = "little") { 0x12 } else { 0x21 };
        let load = Instruction { code: 0x61, registers, offset: 16, immediate: 0 };
        assert_eq!(code[0], load);
        assert_eq!((code[1].code, code[1].offset, code[1].immediate), (0x15, 1, 7));
    }

    #[test]
    fn a_label_that_is_nowhere_is_refused() {
        let mut bpf = Assembler::default();
        let nowhere = bpf.label();
        bpf.jump(nowhere);
        assert_eq!(bpf.finish(), None);
    }
}
