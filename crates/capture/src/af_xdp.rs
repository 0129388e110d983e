//! Frames of a mirror port through AF_XDP: taken at the driver, past the network stack. One socket
//! serves one receive queue; a worker may drive several.
//!
//! The XDP program is attached by a link that lives as long as the sources do, and the interface
//! is promiscuous as long: the kernel takes both back when this process ends, however it ends.
//! Frames that are received here do not reach the machine's own network stack; frames longer than
//! [`AfXdpConfig::large_frames`] says are dropped and counted. VLAN tags are seen only when the card
//! leaves them in the frame: `ethtool -K IF rxvlan off gro off lro off` on the mirror port.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tidewall_model::Prefix;
use tidewall_wire::frame::LinkType;

use crate::bpf::{self, Map, MapKind};
use crate::error::InterfaceError;
use crate::interface::Watched;
use crate::{FrameSink, OpenError, ReceiveError, SourceStatistics, clock, interface, system};

mod program;
mod queue;
mod rest;

use program::DropList;
use queue::{Queue, QueueOptions};
use rest::Rest;

/// How long a queue or an interface that another program has just left may stay busy: a process that
/// is being started by a thread of that program has its descriptors until it runs.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// Where frames are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver when it can, behind it otherwise.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Behind the driver: any interface, slower.
    Generic,
}

/// How frames come into our memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyMode {
    /// Without a copy when the driver can.
    #[default]
    Auto,
    /// With a copy.
    Copy,
    /// Without a copy.
    ZeroCopy,
}

/// What the AF_XDP sockets of an interface are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpConfig {
    /// Interface by name.
    pub interface: String,
    /// Where frames are taken.
    pub mode: XdpMode,
    /// How frames come into our memory.
    pub copy: CopyMode,
    /// Frames that fit into the memory of one queue; a power of two.
    pub frames: u32,
    /// Frames of up to 3,840 bytes instead of 1,792.
    pub large_frames: bool,
    /// Take frames for other machines too; ends with the sources.
    pub promiscuous: bool,
    /// One frame in so many is handed over, by chance; the others are dropped.
    pub sampling: Option<NonZeroU32>,
    /// Frames from or to these prefixes are dropped, and counted as filtered.
    pub drop: Vec<Prefix>,
}

impl AfXdpConfig {
    /// Everything as usual for this interface.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            mode: XdpMode::default(),
            copy: CopyMode::default(),
            frames: 8192,
            large_frames: false,
            promiscuous: true,
            sampling: None,
            drop: Vec::new(),
        }
    }
}

/// AF_XDP does not work here.
#[derive(Debug, thiserror::Error)]
#[error(
    "interface {interface}: AF_XDP: {step}: {reason}{}; af_packet works on every interface",
    xdp_hint(.reason)
)]
pub struct XdpError {
    /// Name of the interface.
    pub interface: String,
    /// What was tried.
    pub step: &'static str,
    /// The system's answer.
    pub reason: io::Error,
}

/// What all queues of an interface share; the interface is as it was when this is gone.
struct Attachment {
    // In front: nothing is redirected any more when the maps go.
    _link: OwnedFd,
    sockets: Map,
    drop_list: Option<DropList>,
    /// Also keeps promiscuous mode on.
    control: OwnedFd,
    generic: bool,
}

/// One queue of an interface.
pub struct AfXdpSource {
    queue: Queue,
    attachment: Arc<Attachment>,
    number: u32,
    watched: Watched,
    rest: Rest,
    statistics: SourceStatistics,
}

impl AfXdpSource {
    /// Opens all receive queues of the interface, in order. Each source may be driven by another
    /// worker; the program is detached when the last one is dropped. Whoever is just leaving the
    /// interface is waited for, a second or two.
    pub fn open_all(config: &AfXdpConfig) -> Result<Vec<Self>, OpenError> {
        Self::open_within(config, BUSY_TRIES)
    }

    /// The same without waiting: what is busy is an error at once.
    pub fn open_all_at_once(config: &AfXdpConfig) -> Result<Vec<Self>, OpenError> {
        Self::open_within(config, 1)
    }

    fn open_within(config: &AfXdpConfig, tries: u32) -> Result<Vec<Self>, OpenError> {
        let fail = |step| fail(config, step);
        let control = system::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
            .map_err(fail("making a control socket"))?;
        let index = system::interface_index(control.as_fd(), &config.interface)
            .map_err(InterfaceError::at(&config.interface, "looking it up"))?;
        let queues = system::receive_queues(control.as_fd(), &config.interface)
            .map_err(fail("asking for the number of queues"))?;
        if config.promiscuous {
            interface::make_promiscuous(&control, index)
                .map_err(fail("setting promiscuous mode"))?;
        }
        let attachment = Arc::new(attach(config, (index, queues), control, tries)?);
        let open = |number| Self::open(config, &attachment, (index, number), tries);
        (0..queues).map(open).collect()
    }

    fn open(
        config: &AfXdpConfig,
        attachment: &Arc<Attachment>,
        (index, number): (u32, u32),
        tries: u32,
    ) -> Result<Self, OpenError> {
        // Behind the driver there is nothing to do without a copy of.
        let copy = match config.copy {
            CopyMode::Auto if attachment.generic => CopyMode::Copy,
            other => other,
        };
        let options = QueueOptions {
            interface: index,
            queue: number,
            copy,
            frames: config.frames,
            large_frames: config.large_frames,
        };
        // The kernel frees one that was just closed a little later.
        let queue = patiently(tries, || Queue::open(options));
        let queue = queue.map_err(fail(config, "opening a queue"))?;
        let fd = queue.fd().as_raw_fd();
        attachment
            .sockets
            .set(&number.to_ne_bytes(), &fd.to_ne_bytes())
            .map_err(fail(config, "putting a queue's socket into the map"))?;
        Ok(Self {
            queue,
            attachment: Arc::clone(attachment),
            number,
            watched: Watched::new(attachment.control.as_fd(), &config.interface, index),
            rest: Rest::new(config.frames),
            statistics: SourceStatistics::default(),
        })
    }

    /// The number of this receive queue.
    pub fn queue(&self) -> u32 {
        self.number
    }

    /// Whether frames are taken behind the driver.
    pub fn is_generic(&self) -> bool {
        self.attachment.generic
    }

    /// Hands over one batch of frames; waits for it at most for `timeout`. All frames of a batch
    /// have the time at which it was taken.
    pub fn receive(
        &mut self,
        timeout: Duration,
        sink: &mut impl FrameSink,
    ) -> Result<usize, ReceiveError> {
        let count = self.take_batch(sink)?;
        if count > 0 {
            if self.watched.is_down() {
                self.look()?;
            }
            return Ok(count);
        }
        let ready = self.queue.wait(timeout).map_err(ReceiveError::system("waiting for frames"))?;
        if ready.readable {
            return self.take_batch(sink);
        }
        if ready.failed || ready.hung_up {
            system::pause(timeout);
        }
        self.look()?;
        Ok(0)
    }

    /// Is the interface still there, and up?
    fn look(&mut self) -> Result<(), ReceiveError> {
        let fell = self.watched.look(self.attachment.control.as_fd())?;
        self.statistics.restarts += u64::from(fell);
        Ok(())
    }

    fn take_batch(&mut self, sink: &mut impl FrameSink) -> Result<usize, ReceiveError> {
        let mut time = None;
        let mut bytes = 0;
        let each = |data: &[u8]| {
            bytes += data.len() as u64;
            let time = *time.get_or_insert_with(clock::now);
            sink.frame(LinkType::ETHERNET, time, data, data.len() as u32, None);
        };
        let count = self.queue.receive(each).map_err(ReceiveError::system("receiving frames"))?;
        self.statistics.received += count as u64;
        self.statistics.bytes += bytes;
        if let Some(time) = time {
            self.rest.took(count as u64, time);
        }
        Ok(count)
    }

    /// How long to leave it alone now that a batch was not full: the slower frames come, the
    /// longer, so that one waking takes many. Silence is waited out in [`Self::receive`].
    pub fn rest(&mut self) -> Duration {
        self.rest.next()
    }

    /// Counters since the queue was opened.
    pub fn statistics(&mut self) -> SourceStatistics {
        if let Some((dropped, ring_full)) = self.queue.drops() {
            self.statistics.dropped_by_kernel = dropped;
            self.statistics.ring_full = ring_full;
        }
        if let Some(list) = &self.attachment.drop_list {
            self.statistics.filtered = list.dropped(self.number);
        }
        self.statistics.down = self.watched.is_down();
        self.statistics
    }
}

/// Loads the program and attaches it to the interface.
fn attach(
    config: &AfXdpConfig,
    (index, queues): (u32, u32),
    control: OwnedFd,
    tries: u32,
) -> Result<Attachment, OpenError> {
    let fail = |step| fail(config, step);
    let sockets =
        Map::create(MapKind::Xsk, 4, 4, queues).map_err(fail("making the map of sockets"))?;
    let drop_list = if config.drop.is_empty() {
        None
    } else {
        Some(DropList::new(&config.drop, queues).map_err(fail("making the drop list"))?)
    };
    let code = program::program(&sockets, config.sampling, drop_list.as_ref());
    let code = code.ok_or(io::ErrorKind::InvalidData.into());
    let code = code.map_err(fail("assembling the program"))?;
    let program = bpf::load_xdp(&code).map_err(|(reason, log)| {
        let reason =
            if log.is_empty() { reason } else { io::Error::other(format!("{reason}: {log}")) };
        fail("loading the program")(reason)
    })?;
    let link = |flags| patiently(tries, || bpf::attach_xdp(&program, index, flags));
    let (link, generic) = match config.mode {
        XdpMode::Native => (link(NATIVE), false),
        XdpMode::Generic => (link(GENERIC), true),
        XdpMode::Auto => match link(NATIVE) {
            Ok(link) => (Ok(link), false),
            // Another program in the driver does not become ours by going behind it.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => (Err(error), false),
            Err(_) => (link(GENERIC), true),
        },
    };
    let link = link.map_err(fail("attaching the program"))?;
    Ok(Attachment { _link: link, sockets, drop_list, control, generic })
}

/// Tries so often, for as long as somebody else may just be leaving.
fn patiently<T>(tries: u32, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..tries {
        match open() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                system::pause(BUSY_PAUSE);
            }
            answer => return answer,
        }
    }
    open()
}

fn fail(config: &AfXdpConfig, step: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let interface = config.interface.clone();
    move |reason| OpenError::Xdp(XdpError { interface, step, reason })
}

fn xdp_hint(reason: &io::Error) -> &'static str {
    match reason.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::ENOSYS) => {
            " (this kernel has no AF_XDP: it needs 5.9 or later with CONFIG_XDP_SOCKETS)"
        }
        Some(libc::EPERM | libc::EACCES) => {
            " (it needs root, or CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK)"
        }
        Some(libc::EOPNOTSUPP) => {
            " (the driver cannot do this: leave mode and copy to choose themselves)"
        }
        Some(libc::EBUSY | libc::EEXIST) => {
            " (another program uses XDP on this interface: see `ip link` and `bpftool net`)"
        }
        Some(libc::ENOMEM | libc::ENOBUFS) => {
            " (too little memory may be locked: LimitMEMLOCK=infinity in the unit, or fewer frames)"
        }
        _ => "",
    }
}
