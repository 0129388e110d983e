//! Capture files as the commands open them: pcap or pcapng, plain or gzipped, by name or from
//! standard input (`-`). What a file is, is told by its first bytes and never by its name. Memory
//! is one buffer of fixed size, whatever the file says and however long it is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, IsTerminal, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tidewall_wire::pcap::{CaptureError, CaptureParser, Packet, Step};

#[cfg(test)]
mod tests;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Bytes read at once from a plain file; also the decoder's output for a gzipped one.
const BUFFER_LEN: usize = 512 * 1024;
const COMPRESSED_BUFFER_LEN: usize = 64 * 1024;

/// First bytes of files that people take for captures, and what to do with them.
const OTHER_FORMATS: [([u8; 4], &str); 4] = [
    ([0x28, 0xb5, 0x2f, 0xfd], "it is compressed with zstd: pipe it in with `zstd -dc FILE`"),
    ([0xfd, b'7', b'z', b'X'], "it is compressed with xz: pipe it in with `xz -dc FILE`"),
    ([b'P', b'K', 3, 4], "it is a zip archive: unpack it first"),
    (*b"snoo", "it is a snoop capture: convert it with `editcap -F pcapng FILE OUT`"),
];

/// Why a capture file cannot be read, or not further. Each message names the file, the place, the
/// reason and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureFileError {
    /// The file cannot be opened.
    #[error("{file}: cannot be opened: {reason}; check the name and its permissions")]
    Open {
        /// Name as given.
        file: String,
        /// The system's answer.
        reason: io::Error,
    },
    /// `-` was given, but nothing is piped in.
    #[error("standard input is a terminal: pipe a capture in, as in `tcpdump -w - | ...`")]
    Terminal,
    /// Reading, or decompressing, failed.
    #[error("{file}: cannot be read beyond offset {offset}: {reason}; {fix}")]
    Read {
        /// Name as given.
        file: String,
        /// Bytes of the (compressed) file read before.
        offset: u64,
        /// The system's or the decoder's answer.
        reason: io::Error,
        /// What to do.
        fix: &'static str,
    },
    /// The file is not a capture.
    #[error("{file}: {reason}; {fix}")]
    NotACapture {
        /// Name as given.
        file: String,
        /// What the parser found.
        reason: CaptureError,
        /// What to do.
        fix: &'static str,
    },
    /// The file is a capture, but damaged.
    #[error(
        "{file}: {reason}{}; the file is damaged from there on (packets read before: {packets})",
        if *.compressed { " (of the decompressed capture)" } else { "" }
    )]
    Damaged {
        /// Name as given.
        file: String,
        /// What the parser found.
        reason: CaptureError,
        /// Whether offsets are those of the decompressed capture.
        compressed: bool,
        /// Packets delivered before.
        packets: u64,
    },
}

/// One capture, read packet by packet.
pub(crate) struct CaptureFile {
    name: String,
    source: Source,
    size: Option<u64>,
    parser: CaptureParser,
    buffer: Vec<u8>,
    /// The part of the buffer that is read but not parsed.
    start: usize,
    end: usize,
    end_of_input: bool,
    packets: u64,
    warning: Option<String>,
    /// Packets that were looked at before they are delivered, and what ended the looking.
    ahead: VecDeque<OwnedPacket>,
    ahead_error: Option<CaptureFileError>,
    current: OwnedPacket,
}

/// A packet that was read ahead.
#[derive(Clone, Debug, Default)]
struct OwnedPacket {
    time: u64,
    link_type: u32,
    wire_len: u32,
    interface: u32,
    data: Vec<u8>,
}

impl OwnedPacket {
    fn lend(&self) -> Packet<'_> {
        Packet {
            time: self.time,
            link_type: self.link_type,
            wire_len: self.wire_len,
            data: &self.data,
            interface: self.interface,
        }
    }
}

enum Source {
    Plain(Counted),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
}

/// A reader that knows how far it is. The first two bytes were read to tell the format.
struct Counted {
    inner: Chain<Cursor<Vec<u8>>, Box<dyn Read + Send>>,
    bytes_read: u64,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.bytes_read += count as u64;
        Ok(count)
    }
}

impl CaptureFile {
    /// Opens the file at `path`, or standard input when it is `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, CaptureFileError> {
        if path == Path::new("-") {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                return Err(CaptureFileError::Terminal);
            }
            return Self::with_reader("standard input", stdin);
        }
        let name = path.display().to_string();
        let file = File::open(path)
            .map_err(|reason| CaptureFileError::Open { file: name.clone(), reason })?;
        let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
        Ok(Self { size, ..Self::with_reader(&name, file)? })
    }

    /// Reads a capture from `reader`; `name` is what messages call it.
    pub(crate) fn with_reader(
        name: &str,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, CaptureFileError> {
        let mut reader: Box<dyn Read + Send> = Box::new(reader);
        let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
        reader.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic).map_err(
            |reason| CaptureFileError::Read {
                file: name.to_owned(),
                offset: 0,
                reason,
                fix: "is it a file?",
            },
        )?;
        let compressed = magic == GZIP_MAGIC;
        let counted = Counted { inner: Cursor::new(magic).chain(reader), bytes_read: 0 };
        let source = if compressed {
            let input = BufReader::with_capacity(COMPRESSED_BUFFER_LEN, counted);
            Source::Gzip(Box::new(MultiGzDecoder::new(input)))
        } else {
            Source::Plain(counted)
        };
        let parser = CaptureParser::new();
        Ok(Self {
            name: name.to_owned(),
            source,
            size: None,
            buffer: vec![0; BUFFER_LEN.max(parser.longest_record())],
            parser,
            start: 0,
            end: 0,
            end_of_input: false,
            packets: 0,
            warning: None,
            ahead: VecDeque::new(),
            ahead_error: None,
            current: OwnedPacket::default(),
        })
    }

    /// The first packets, at most so many, without taking them. To be asked before any is taken.
    pub(crate) fn look_ahead(&mut self, most: usize) -> impl Iterator<Item = Packet<'_>> {
        while self.ahead.len() < most && self.ahead_error.is_none() {
            match self.read_packet() {
                Ok(Some(packet)) => {
                    let owned = OwnedPacket {
                        time: packet.time,
                        link_type: packet.link_type,
                        wire_len: packet.wire_len,
                        interface: packet.interface,
                        data: packet.data.to_vec(),
                    };
                    self.ahead.push_back(owned);
                }
                Ok(None) => break,
                Err(error) => self.ahead_error = Some(error),
            }
        }
        self.ahead.iter().map(OwnedPacket::lend)
    }

    /// The next packet, or `None` at the end; [`Self::warning`] then says whether it came early.
    pub(crate) fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureFileError> {
        if let Some(packet) = self.ahead.pop_front() {
            self.current = packet;
            return Ok(Some(self.current.lend()));
        }
        if let Some(error) = self.ahead_error.take() {
            return Err(error);
        }
        self.read_packet()
    }

    fn read_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureFileError> {
        loop {
            let window = self.buffer.get(self.start..self.end).unwrap_or_default();
            match self.parser.parse(window, self.end_of_input) {
                Ok(Step::Packet { consumed, record }) => {
                    let window = self.buffer.get(self.start..self.end).unwrap_or_default();
                    self.start += consumed;
                    self.packets += 1;
                    return Ok(Some(record.packet(window)));
                }
                Ok(Step::Skip { consumed }) => self.start += consumed,
                Ok(Step::NeedMore { .. }) => self.fill()?,
                Ok(Step::Truncated(truncated)) => {
                    self.warning = Some(format!(
                        "{}: {truncated} (packets read before: {})",
                        self.name, self.packets
                    ));
                    return Ok(None);
                }
                Ok(Step::End) => return Ok(None),
                Err(reason) => return Err(self.refuse(reason)),
            }
        }
    }

    /// What is wrong with a capture that could be read to its end: that it was cut short.
    pub(crate) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Packets delivered so far.
    pub(crate) fn packets(&self) -> u64 {
        self.packets - self.ahead.len() as u64
    }

    /// Length of the file (compressed, if it is), when it is an ordinary one.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes read so far, on the scale of [`Self::size`].
    pub(crate) fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Plain(counted) => counted.bytes_read,
            Source::Gzip(decoder) => decoder.get_ref().get_ref().bytes_read,
        }
    }

    /// Reads once, behind what is not parsed yet. The buffer holds the longest record, so there
    /// is always room when the parser asks for more.
    fn fill(&mut self) -> Result<(), CaptureFileError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let answer = loop {
            let answer = match &mut self.source {
                Source::Plain(counted) => counted.read(room),
                Source::Gzip(decoder) => decoder.read(room),
            };
            if !matches!(&answer, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                break answer;
            }
        };
        match answer {
            Ok(0) => self.end_of_input = true,
            Ok(count) => self.end += count,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.end_of_input = true;
                self.warning = Some(format!(
                    "{}: the compressed data end too early (packets read before: {})",
                    self.name, self.packets
                ));
            }
            Err(reason) => {
                let fix = match &self.source {
                    Source::Plain(_) => "is it a file on a working disk?",
                    Source::Gzip(_) => "the compressed data are damaged: try `gzip -t`",
                };
                let (file, offset) = (self.name.clone(), self.bytes_read());
                return Err(CaptureFileError::Read { file, offset, reason, fix });
            }
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, reason: CaptureError) -> CaptureFileError {
        let file = self.name.clone();
        let mut fix = "is this a capture file? tidewall reads pcap and pcapng, also .gz";
        match reason {
            CaptureError::UnknownMagic { magic } => {
                if let Some((_, other)) = OTHER_FORMATS.iter().find(|(first, _)| *first == magic) {
                    fix = other;
                }
                CaptureFileError::NotACapture { file, reason, fix }
            }
            CaptureError::HeaderIncomplete { .. } => {
                CaptureFileError::NotACapture { file, reason, fix }
            }
            _ => CaptureFileError::Damaged {
                file,
                reason,
                compressed: matches!(self.source, Source::Gzip(_)),
                packets: self.packets,
            },
        }
    }
}
