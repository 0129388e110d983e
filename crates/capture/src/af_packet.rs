//! Frames of a mirror port through AF_PACKET: a TPACKET_V3 ring for each worker, joined in a
//! fanout group. Needs nothing but the kernel, and sees what the machine itself sends, too. A card
//! that joins packets makes fewer of them: `ethtool -K IF gro off lro off` on the mirror port.

use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use libc::sock_filter;
use tidewall_wire::frame::LinkType;

use crate::error::InterfaceError;
use crate::interface::Watched;
use crate::packet_filter::{PacketFilter, Selection, compile, sampled};
use crate::{FrameSink, OpenError, ReceiveError, SourceStatistics, interface, libpcap, system};

mod block;
mod ring;
mod shift;

pub use shift::Shift;

use block::BlockFrames;
use ring::Ring;

/// Bytes of a frame that are handed over unless configured: all of it.
pub const WHOLE_FRAME: u32 = 262_144;

/// What a filter is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureFilter {
    /// Our own small language; always there.
    Simple(PacketFilter),
    /// tcpdump's language; compiled by libpcap, which must be installed.
    Tcpdump(String),
}

/// How frames are spread over the sockets of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FanoutMode {
    /// By flow: both directions of a connection go to one socket.
    #[default]
    Hash,
    /// By the CPU that the card interrupted.
    Cpu,
    /// In turn.
    RoundRobin,
    /// To the first socket that has room.
    Rollover,
    /// By the receive queue of the card.
    QueueMapping,
    /// By chance.
    Random,
}

/// Spreading over a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fanout {
    /// How a socket is chosen.
    pub mode: FanoutMode,
    /// Take another socket when the chosen one's ring is full.
    pub rollover: bool,
    /// Put IP fragments together first, so that all of a datagram goes to one socket.
    pub defragment: bool,
}

impl Fanout {
    /// Mode and flags as PACKET_FANOUT takes them.
    const fn bits(self) -> u32 {
        let mode = match self.mode {
            FanoutMode::Hash => libc::PACKET_FANOUT_HASH,
            FanoutMode::Cpu => libc::PACKET_FANOUT_CPU,
            FanoutMode::RoundRobin => libc::PACKET_FANOUT_LB,
            FanoutMode::Rollover => libc::PACKET_FANOUT_ROLLOVER,
            FanoutMode::QueueMapping => libc::PACKET_FANOUT_QM,
            FanoutMode::Random => libc::PACKET_FANOUT_RND,
        };
        // The mode of that name is the flag already, and refuses it.
        let rollover = self.rollover && !matches!(self.mode, FanoutMode::Rollover);
        let mut bits = mode;
        if rollover {
            bits |= libc::PACKET_FANOUT_FLAG_ROLLOVER;
        }
        if self.defragment {
            bits |= libc::PACKET_FANOUT_FLAG_DEFRAG;
        }
        bits
    }
}

/// What a group of AF_PACKET sockets is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfPacketConfig {
    /// Interface by name.
    pub interface: String,
    /// Bytes of a block, a multiple of the page size.
    pub block_size: u32,
    /// Blocks of each socket's ring.
    pub blocks: u32,
    /// A block that is not full is handed over after this long: how late a quiet link is seen.
    pub block_timeout: Duration,
    /// Spreading, when there are several sockets.
    pub fanout: Fanout,
    /// Take frames for other machines too; ends with the sockets.
    pub promiscuous: bool,
    /// Leave out what this machine sends.
    pub ignore_outgoing: bool,
    /// One frame in so many is handed over, by chance.
    pub sampling: Option<NonZeroU32>,
    /// Which frames are handed over.
    pub filter: Option<CaptureFilter>,
    /// Bytes of each frame that are handed over.
    pub snap_length: u32,
    /// Lock the ring in memory. Linux keeps its pages there at any rate, and counts nothing as
    /// locked, but refuses it above RLIMIT_MEMLOCK.
    pub lock_memory: bool,
}

impl AfPacketConfig {
    /// Everything as usual for this interface.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            block_size: 1 << 20,
            blocks: 32,
            block_timeout: Duration::from_millis(20),
            fanout: Fanout::default(),
            promiscuous: true,
            ignore_outgoing: false,
            sampling: None,
            filter: None,
            snap_length: WHOLE_FRAME,
            lock_memory: false,
        }
    }
}

/// One socket and its ring.
pub struct AfPacketSource {
    // In front of the socket: unmapped first.
    ring: Ring,
    socket: OwnedFd,
    interface: String,
    link: LinkType,
    statistics: SourceStatistics,
    shift: Arc<Shift>,
    /// A frame behind the beginning of the shift was seen.
    begun: bool,
    watched: Watched,
}

impl AfPacketSource {
    /// Opens a single socket.
    pub fn open(config: &AfPacketConfig) -> Result<Self, OpenError> {
        let mut group = Self::open_group(config, NonZeroUsize::MIN)?;
        group.pop().ok_or_else(|| nothing_opened(config))
    }

    /// Opens a group of sockets that share the frames of the interface. Nothing is received before
    /// the group is complete, so that no frame is seen twice or by a group of the wrong size.
    pub fn open_group(
        config: &AfPacketConfig,
        sockets: NonZeroUsize,
    ) -> Result<Vec<Self>, OpenError> {
        let mut group = Vec::with_capacity(sockets.get());
        let (mut id, shift) = (None, Arc::<Shift>::default());
        for _ in 0..sockets.get() {
            let source = Self { shift: Arc::clone(&shift), ..Self::closed(config)? };
            if sockets.get() > 1 {
                id = Some(source.join(config, id)?);
            }
            group.push(source);
        }
        for source in &group {
            source.start(config)?;
        }
        Ok(group)
    }

    /// A bound socket that lets nothing through yet.
    fn closed(config: &AfPacketConfig) -> Result<Self, OpenError> {
        let fail = |step| InterfaceError::at(&config.interface, step);
        // Protocol 0 keeps frames out until the socket is bound.
        let socket = system::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)
            .map_err(fail("making an AF_PACKET socket"))?;
        let index = system::interface_index(socket.as_fd(), &config.interface)
            .map_err(fail("looking it up"))?;
        let link = interface::link_type(&socket, &config.interface)?;
        let ring = make_ring(&socket, config)?;
        if config.ignore_outgoing {
            system::set_option(
                socket.as_fd(),
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                &1_i32,
            )
            .map_err(fail("leaving out outgoing frames"))?;
        }
        let_nothing_in(&socket).map_err(fail("attaching a filter"))?;
        if config.promiscuous {
            interface::make_promiscuous(&socket, index)
                .map_err(fail("setting it to promiscuous mode"))?;
        }
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        interface::bind_packet_socket(&socket, index, protocol).map_err(fail("binding to it"))?;
        let watched = Watched::new(socket.as_fd(), &config.interface, index);
        Ok(Self {
            ring,
            socket,
            interface: config.interface.clone(),
            link,
            statistics: SourceStatistics::default(),
            shift: Arc::default(),
            begun: false,
            watched,
        })
    }

    /// Joins the fanout group `id`, or founds one under a number that nobody else uses.
    fn join(&self, config: &AfPacketConfig, id: Option<u32>) -> Result<u32, OpenError> {
        let fail = |step| InterfaceError::at(&config.interface, step);
        let socket = self.socket.as_fd();
        let bits = config.fanout.bits();
        let value = match id {
            Some(id) => id | bits << 16,
            None => (bits | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16,
        };
        system::set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)
            .map_err(fail("joining the fanout group (is it up?)"))?;
        let joined: u32 = system::option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)
            .map_err(fail("reading the fanout group"))?;
        Ok(joined & 0xffff)
    }

    /// Lets frames in: replaces the filter that drops everything by the one configured.
    fn start(&self, config: &AfPacketConfig) -> Result<(), OpenError> {
        let fail = |step| InterfaceError::at(&config.interface, step);
        let selection = Selection {
            filter: match &config.filter {
                Some(CaptureFilter::Simple(filter)) => Some(filter),
                _ => None,
            },
            sampling: config.sampling,
            snap_length: config.snap_length,
            ethernet: self.link == LinkType::ETHERNET,
        };
        let program = match &config.filter {
            Some(CaptureFilter::Tcpdump(text)) => {
                let code = libpcap::compile_filter(text, self.link.0, config.snap_length)?;
                sampled(code, config.sampling)
            }
            _ => compile(selection),
        };
        let program = program
            .map_err(|reason| OpenError::Filter { interface: self.interface.clone(), reason })?;
        system::attach_classic(self.socket.as_fd(), libc::SO_ATTACH_FILTER, &program)
            .map_err(fail("attaching the filter"))?;
        Ok(())
    }

    /// Gets nothing new from now on, so that what is in the ring can be taken to its end.
    pub fn leave(&mut self) -> io::Result<()> {
        let_nothing_in(&self.socket)
    }

    /// When the frames of this socket's group are handed over; all are, unless this is changed.
    pub fn shift(&self) -> Arc<Shift> {
        Arc::clone(&self.shift)
    }

    /// What the frames begin with.
    pub fn link_type(&self) -> LinkType {
        self.link
    }

    /// Hands over the next block of frames; waits for it at most for `timeout`.
    pub fn receive(
        &mut self,
        timeout: Duration,
        sink: &mut impl FrameSink,
    ) -> Result<usize, ReceiveError> {
        if let Some(count) = self.take_block(sink) {
            return Ok(count);
        }
        let ready = system::wait(self.socket.as_fd(), timeout)
            .map_err(ReceiveError::system("waiting for frames"))?;
        if ready.failed {
            self.note_error()?;
        }
        if let Some(count) = self.take_block(sink) {
            return Ok(count);
        }
        self.look()?;
        Ok(0)
    }

    /// Is the interface still there, and up?
    fn look(&mut self) -> Result<(), ReceiveError> {
        let fell = self.watched.look(self.socket.as_fd())?;
        self.statistics.restarts += u64::from(fell);
        Ok(())
    }

    fn take_block(&mut self, sink: &mut impl FrameSink) -> Option<usize> {
        let block = self.ring.block()?;
        let bounds = self.shift.bounds(self.begun);
        if bounds.is_some_and(|bounds| !bounds.are_known()) {
            // For some microseconds.
            std::thread::yield_now();
            return None;
        }
        let (mut count, mut others, mut bytes, mut truncated) = (0, 0, 0, 0);
        for frame in BlockFrames::new(block) {
            if let Some(bounds) = bounds {
                self.begun |= bounds.have_begun(frame.time);
                if !bounds.have(frame.time) {
                    others += 1;
                    continue;
                }
            }
            count += 1;
            bytes += u64::from(frame.wire_length);
            truncated += u64::from(frame.truncated);
            sink.frame(self.link, frame.time, frame.data, frame.wire_length, frame.vlan);
        }
        self.ring.release();
        if self.watched.is_down() {
            // One that is gone is told when the ring is empty.
            _ = self.look();
        }
        self.statistics.received += count as u64;
        self.statistics.bytes += bytes;
        self.statistics.truncated += truncated;
        Some(count + others)
    }

    /// Takes the socket's error. An interface that goes down says so once; the socket goes on by
    /// itself when it comes up again, unless it is another interface of the same name.
    fn note_error(&mut self) -> Result<(), ReceiveError> {
        let system = ReceiveError::system;
        match system::take_error(&self.socket).map_err(system("reading the socket's error"))? {
            Some(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                self.statistics.restarts += u64::from(self.watched.fell());
                Ok(())
            }
            Some(error) => Err(system("receiving frames")(error)),
            None => Ok(()),
        }
    }

    /// Counters since the socket was opened.
    pub fn statistics(&mut self) -> SourceStatistics {
        let new: Result<libc::tpacket_stats_v3, _> =
            system::option(self.socket.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS);
        // Reading sets them to zero.
        if let Ok(new) = new {
            self.statistics.dropped_by_kernel += u64::from(new.tp_drops);
            self.statistics.freezes += u64::from(new.tp_freeze_q_cnt);
        }
        self.statistics.down = self.watched.is_down();
        self.statistics
    }
}

/// A filter that drops everything.
fn let_nothing_in(socket: &OwnedFd) -> io::Result<()> {
    let nothing = [sock_filter { code: crate::classic_bpf::RETURN, jt: 0, jf: 0, k: 0 }];
    system::attach_classic(socket.as_fd(), libc::SO_ATTACH_FILTER, &nothing)
}

fn nothing_opened(config: &AfPacketConfig) -> OpenError {
    InterfaceError::at(&config.interface, "opening")(std::io::ErrorKind::Other.into()).into()
}

fn make_ring(socket: &OwnedFd, config: &AfPacketConfig) -> Result<Ring, InterfaceError> {
    let fail = |step| InterfaceError::at(&config.interface, step);
    system::set_option(
        socket.as_fd(),
        libc::SOL_PACKET,
        libc::PACKET_VERSION,
        &(libc::tpacket_versions::TPACKET_V3 as i32),
    )
    .map_err(fail("asking for TPACKET_V3"))?;
    // Frames lie close together in a block; their size matters to the arithmetic only.
    let frame = 2048;
    let timeout = u32::try_from(config.block_timeout.as_millis()).unwrap_or(u32::MAX).max(1);
    let request = libc::tpacket_req3 {
        tp_block_size: config.block_size,
        tp_block_nr: config.blocks,
        tp_frame_size: frame,
        tp_frame_nr: (config.block_size / frame).saturating_mul(config.blocks),
        tp_retire_blk_tov: timeout,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    system::set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
        .map_err(fail("making the ring (blocks must be whole pages)"))?;
    Ring::map(
        socket.as_fd(),
        config.block_size as usize,
        config.blocks as usize,
        config.lock_memory,
    )
    .map_err(fail("mapping the ring"))
}
