//! A small assembler for classic BPF, the language of socket filters and of reuseport groups.
//! Jumps go forward to labels and are resolved at the end.

use libc::sock_filter;

/// Loads: width and addressing mode.
pub(crate) const LOAD_WORD: u16 = 0x20;
pub(crate) const LOAD_HALF: u16 = 0x28;
pub(crate) const LOAD_BYTE: u16 = 0x30;
/// The same, at an offset that is added to X.
pub(crate) const LOAD_WORD_X: u16 = 0x40;
pub(crate) const LOAD_HALF_X: u16 = 0x48;
pub(crate) const LOAD_BYTE_X: u16 = 0x50;
/// A memory cell to A, A to a memory cell, a memory cell to X.
pub(crate) const LOAD_CELL: u16 = 0x60;
pub(crate) const STORE_CELL: u16 = 0x02;
pub(crate) const LOAD_X_CELL: u16 = 0x61;
/// A constant to A.
pub(crate) const SET: u16 = 0x00;
/// Arithmetic on A with a constant.
pub(crate) const AND: u16 = 0x54;
pub(crate) const MULTIPLY: u16 = 0x24;
pub(crate) const MODULO: u16 = 0x94;
pub(crate) const SHIFT_LEFT: u16 = 0x64;
pub(crate) const SHIFT_RIGHT: u16 = 0x74;
/// Arithmetic on A with X.
pub(crate) const ADD_X: u16 = 0x0c;
pub(crate) const XOR_X: u16 = 0xac;
/// A to X.
pub(crate) const A_TO_X: u16 = 0x07;
/// Ends: a constant, or A.
pub(crate) const RETURN: u16 = 0x06;
pub(crate) const RETURN_A: u16 = 0x16;

const JUMP: u16 = 0x05;

/// Tests of A against a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    Equal = 0x15,
    AnyBit = 0x45,
}

/// Offset of an auxiliary value that the kernel keeps beside the packet (SKF_AD_*).
pub(crate) const fn auxiliary(which: i32) -> u32 {
    (libc::SKF_AD_OFF + which) as u32
}

/// Offset from the start of the IP header, wherever the packet's data starts.
pub(crate) const fn network(offset: i32) -> u32 {
    (libc::SKF_NET_OFF + offset) as u32
}

/// A place in a program, known before it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// Where a test leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To {
    Next,
    Label(Label),
}

/// The program does not fit what classic BPF can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter takes {length} instructions or jumps too far (at most {limit} instructions)")]
pub struct ProgramTooLong {
    /// Instructions of the program.
    pub length: usize,
    /// The kernel's limit (BPF_MAXINSNS).
    pub limit: usize,
}

#[derive(Clone, Copy)]
enum Field {
    Always,
    True,
    False,
}

/// A program that grows at its end.
#[derive(Default)]
pub(crate) struct Assembler {
    code: Vec<sock_filter>,
    open: Vec<(usize, Field, Label)>,
    labels: Vec<Option<usize>>,
}

impl Assembler {
    pub(crate) fn emit(&mut self, code: u16, k: u32) -> &mut Self {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
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

    pub(crate) fn jump(&mut self, label: Label) -> &mut Self {
        self.open.push((self.code.len(), Field::Always, label));
        self.emit(JUMP, 0)
    }

    pub(crate) fn test(&mut self, test: Test, k: u32, yes: To, no: To) -> &mut Self {
        for (field, to) in [(Field::True, yes), (Field::False, no)] {
            if let To::Label(label) = to {
                self.open.push((self.code.len(), field, label));
            }
        }
        self.emit(test as u16, k)
    }

    /// Goes on when A equals `k`, to `otherwise` if not, however far that is.
    pub(crate) fn require(&mut self, k: u32, otherwise: Label) -> &mut Self {
        let next = self.label();
        self.test(Test::Equal, k, To::Label(next), To::Next).jump(otherwise).place(next)
    }

    pub(crate) fn finish(mut self) -> Result<Vec<sock_filter>, ProgramTooLong> {
        let limit = libc::BPF_MAXINSNS as usize;
        let error = ProgramTooLong { length: self.code.len(), limit };
        if self.code.len() > limit {
            return Err(error);
        }
        for (from, field, label) in self.open {
            let to = self.labels.get(label.0).copied().flatten().ok_or(error)?;
            let distance = to.checked_sub(from + 1).ok_or(error)?;
            let instruction = self.code.get_mut(from).ok_or(error)?;
            let short = u8::try_from(distance).map_err(|_| error);
            match field {
                Field::Always => instruction.k = distance as u32,
                Field::True => instruction.jt = short?,
                Field::False => instruction.jf = short?,
            }
        }
        Ok(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_distances() {
        let mut program = Assembler::default();
        let end = program.label();
        program.emit(LOAD_HALF, 0).require(9, end).emit(RETURN, 1).place(end).emit(RETURN, 0);
        let code = program.finish().unwrap();
        assert_eq!((code[1].jt, code[1].jf), (1, 0));
        assert_eq!((code[2].code, code[2].k), (JUMP, 1));
    }

    #[test]
    fn a_label_that_is_nowhere_or_too_far_is_refused() {
        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        assert!(program.finish().is_err());
        let mut program = Assembler::default();
        let far = program.label();
        program.test(Test::Equal, 1, To::Label(far), To::Next);
        for _ in 0..256 {
            program.emit(SET, 0);
        }
        program.place(far).emit(RETURN, 0);
        assert_eq!(program.finish().unwrap_err().length, 258);
    }
}
