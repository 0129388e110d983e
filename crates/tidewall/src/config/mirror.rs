//! `[[mirror]]`: where the service takes frames from.

use std::num::NonZeroU32;
use std::path::PathBuf;

use tidewall_capture::af_packet::{AfPacketConfig, CaptureFilter, Fanout, FanoutMode};
use tidewall_capture::af_xdp::{AfXdpConfig, CopyMode, XdpMode};
use tidewall_capture::pcap_live::PcapConfig;
use tidewall_capture::pipe::PipeOrigin;
use tidewall_model::{Prefix, SamplingRate};
use toml::de::DeValue;

use super::listen::Text;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{within, word};

table! {
    /// A source of frames: a mirror port, a capture device, or the output of another program. As
    /// many of these as you like.
    struct MirrorTable {
        /// "af_packet" works on every interface; "af_xdp" is faster and takes the frames away from
        /// the machine itself; "pcap" hands the device's name to libpcap; "pipe" reads a pcap or
        /// pcapng stream.
        #[example = "\"af_packet\""]
        engine: Engine,

        /// Interfaces; for "pcap" devices as libpcap knows them ("any", "netmap:eth0", "zc:eth0");
        /// for "pipe" a path, "-" for standard input, "listen:PATH" or "connect:PATH" for a Unix
        /// socket.
        #[example = "[\"eth1\"]"]
        interfaces: Vec<Typed<Text>>,

        /// Threads for each interface, from 1 to 64. Only "af_packet" takes more than one; "af_xdp"
        /// has one for each receive queue.
        #[example = "2"]
        workers: u32,

        /// How "af_packet" spreads frames over its threads: "hash" of the flow, "cpu", "lb" in turn,
        /// "rollover", "qm" by receive queue, "rnd" by chance.
        #[example = "\"hash\""]
        fanout: FanoutMode,

        /// Take frames for other machines too.
        #[example = "true"]
        promiscuous: bool,

        /// The kernel hands over one frame in so many, by chance; each then stands for so many.
        #[example = "100"]
        sampling: u32,

        /// Each frame stands for so many besides, because the switch mirrors one in so many.
        #[example = "1"]
        multiplier: u32,

        /// Which frames are taken: for "af_packet" a rule such as "udp and net 192.0.2.0/24", or in
        /// tcpdump's language where libpcap is installed; for "pcap" in tcpdump's language.
        #[example = "\"not port 22\""]
        filter: Text,

        /// Where "af_xdp" takes frames: "native" in the driver, "generic" behind it, or "auto".
        #[example = "\"auto\""]
        mode: XdpMode,

        /// How "af_xdp" brings frames into memory: "zero_copy", "copy", or "auto".
        #[example = "\"auto\""]
        copy: CopyMode,

        /// Frames of up to 3,840 bytes with "af_xdp" instead of 1,792, in twice the memory; longer
        /// ones are dropped and counted.
        #[example = "true"]
        large_frames: bool,

        /// Frames that "af_xdp" has room for in each receive queue: a power of two from 256 to
        /// 65536. Left out 8192, which are 16 MB a queue.
        #[example = "16384"]
        frames: u32,

        /// Prefixes whose frames, from and to them, "af_xdp" drops in the kernel; they are counted
        /// as filtered.
        #[example = "[\"192.0.2.53/32\"]"]
        drop: Vec<Typed<Prefix>>,

        /// Leave out what the machine itself sends, which "af_packet" sees too.
        #[example = "true"]
        ignore_outgoing: bool,

        /// Keep the ring of "af_packet" in memory, whatever else needs it.
        #[example = "true"]
        lock_memory: bool,
    }
}

/// What takes the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    AfPacket,
    AfXdp,
    Pcap,
    Pipe,
}

/// One source of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// How it is opened.
    pub source: MirrorSource,
    /// Threads, where the engine has a choice.
    pub workers: usize,
    /// Each frame that is handed over stands for so many.
    pub sampling: SamplingRate,
}

/// How a source of frames is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorSource {
    /// By AF_PACKET.
    AfPacket(AfPacketConfig),
    /// By AF_XDP.
    AfXdp(AfXdpConfig),
    /// By libpcap.
    Pcap(PcapConfig),
    /// From another program.
    Pipe(PipeOrigin),
}

impl FromToml for Engine {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("af_packet", Self::AfPacket),
            ("af_xdp", Self::AfXdp),
            ("pcap", Self::Pcap),
            ("pipe", Self::Pipe),
        ];
        word(value, &words, at, sink)
    }
}

impl FromToml for FanoutMode {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("hash", Self::Hash),
            ("cpu", Self::Cpu),
            ("lb", Self::RoundRobin),
            ("rollover", Self::Rollover),
            ("qm", Self::QueueMapping),
            ("rnd", Self::Random),
        ];
        word(value, &words, at, sink)
    }
}

impl FromToml for XdpMode {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
        word(value, &words, at, sink)
    }
}

impl FromToml for CopyMode {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [("auto", Self::Auto), ("copy", Self::Copy), ("zero_copy", Self::ZeroCopy)];
        word(value, &words, at, sink)
    }
}

impl MirrorTable {
    /// What it means: a source for each interface.
    pub(super) fn resolve(typed: &Typed<Self>, sink: &mut Sink) -> Vec<Mirror> {
        let table = &typed.value;
        let (Some(engine), Some(names)) = (&table.engine, &table.interfaces) else {
            if !sink.blames(&typed.at) {
                let fix =
                    "add lines such as `engine = \"af_packet\"` and `interfaces = [\"eth1\"]`";
                sink.error_fix(&typed.at, "a mirror needs an engine and interfaces", fix);
            }
            return Vec::new();
        };
        table.warn_of_what_is_ignored(engine.value, sink);
        let workers = within(table.workers.as_ref(), &(1..=64), "1 to 64", 1, sink) as usize;
        let sampling = within(table.sampling.as_ref(), &(1..=1_000_000), "1 to 1000000", 1, sink);
        let multiplier =
            within(table.multiplier.as_ref(), &(1..=1_000_000), "1 to 1000000", 1, sink);
        let stands_for = match engine.value {
            Engine::AfPacket | Engine::AfXdp => sampling.saturating_mul(multiplier),
            Engine::Pcap | Engine::Pipe => multiplier,
        };
        let frames = ring_frames(table.frames.as_ref(), sink);
        let open = |name: &Typed<Text>| Mirror {
            source: table.source(engine.value, &name.value.0, sampling, frames),
            workers,
            sampling: SamplingRate::new(stands_for),
        };
        names.value.iter().map(open).collect()
    }

    fn source(&self, engine: Engine, text: &str, sampling: u32, frames: u32) -> MirrorSource {
        let is_on = |typed: &Option<Typed<bool>>| typed.as_ref().is_some_and(|typed| typed.value);
        let promiscuous = self.promiscuous.as_ref().is_none_or(|typed| typed.value);
        let sampling = NonZeroU32::new(sampling).filter(|sampling| sampling.get() > 1);
        let filter = self.filter.as_ref();
        match engine {
            Engine::AfPacket => MirrorSource::AfPacket(AfPacketConfig {
                promiscuous,
                sampling,
                fanout: Fanout {
                    mode: self.fanout.as_ref().map_or_else(Default::default, |t| t.value),
                    ..Fanout::default()
                },
                filter: filter.map(|filter| capture_filter(&filter.value.0)),
                ignore_outgoing: is_on(&self.ignore_outgoing),
                lock_memory: is_on(&self.lock_memory),
                ..AfPacketConfig::new(text)
            }),
            Engine::AfXdp => MirrorSource::AfXdp(AfXdpConfig {
                promiscuous,
                sampling,
                mode: self.mode.as_ref().map_or_else(Default::default, |t| t.value),
                copy: self.copy.as_ref().map_or_else(Default::default, |t| t.value),
                large_frames: is_on(&self.large_frames),
                frames,
                drop: self.drop.iter().flat_map(|list| &list.value).map(|t| t.value).collect(),
                ..AfXdpConfig::new(text)
            }),
            Engine::Pcap => MirrorSource::Pcap(PcapConfig {
                promiscuous,
                filter: filter.map(|filter| filter.value.0.clone()),
                ..PcapConfig::new(text)
            }),
            Engine::Pipe => MirrorSource::Pipe(pipe_origin(text)),
        }
    }

    /// Keys that the engine has no use for do not pass in silence.
    fn warn_of_what_is_ignored(&self, engine: Engine, sink: &mut Sink) {
        use Engine::{AfPacket, AfXdp, Pcap};
        let mut ignored = |at: Option<&Place>, of: &[Engine]| {
            if let Some(at) = at
                && !of.contains(&engine)
            {
                sink.warn(at, format!("`{}` does nothing with this engine", at.key), "remove it");
            }
        };
        ignored(self.workers.as_ref().map(|t| &t.at), &[AfPacket]);
        ignored(self.fanout.as_ref().map(|t| &t.at), &[AfPacket]);
        ignored(self.ignore_outgoing.as_ref().map(|t| &t.at), &[AfPacket]);
        ignored(self.lock_memory.as_ref().map(|t| &t.at), &[AfPacket]);
        ignored(self.filter.as_ref().map(|t| &t.at), &[AfPacket, Pcap]);
        ignored(self.sampling.as_ref().map(|t| &t.at), &[AfPacket, AfXdp]);
        ignored(self.promiscuous.as_ref().map(|t| &t.at), &[AfPacket, AfXdp, Pcap]);
        ignored(self.mode.as_ref().map(|t| &t.at), &[AfXdp]);
        ignored(self.copy.as_ref().map(|t| &t.at), &[AfXdp]);
        ignored(self.large_frames.as_ref().map(|t| &t.at), &[AfXdp]);
        ignored(self.frames.as_ref().map(|t| &t.at), &[AfXdp]);
        ignored(self.drop.as_ref().map(|t| &t.at), &[AfXdp]);
    }
}

/// Room of a queue of AF_XDP, in frames.
fn ring_frames(typed: Option<&Typed<u32>>, sink: &mut Sink) -> u32 {
    let usual = AfXdpConfig::new("").frames;
    let frames = within(typed, &(256..=65_536), "256 to 65536", usual, sink);
    if let Some(typed) = typed.filter(|_| !frames.is_power_of_two()) {
        let near = frames.next_power_of_two();
        let reason = format!("{frames} is not a power of two");
        sink.error_fix(&typed.at, reason, format!("write `frames = {near}`"));
    }
    frames
}

/// Our own language where the rule is in it, tcpdump's otherwise.
fn capture_filter(rule: &str) -> CaptureFilter {
    match rule.parse() {
        Ok(simple) => CaptureFilter::Simple(simple),
        Err(_) => CaptureFilter::Tcpdump(rule.to_owned()),
    }
}

fn pipe_origin(text: &str) -> PipeOrigin {
    if text == "-" {
        PipeOrigin::StandardInput
    } else if let Some(path) = text.strip_prefix("listen:") {
        PipeOrigin::Listen(PathBuf::from(path))
    } else if let Some(path) = text.strip_prefix("connect:") {
        PipeOrigin::Connect(PathBuf::from(path))
    } else {
        PipeOrigin::Fifo(PathBuf::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn rings_and_what_is_sent() {
        let load = |engine: &str, more: &str| {
            let head = format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"eth1\"]\n");
            parse("file", &format!("{head}{more}"))
        };
        let source = |engine: &str, more: &str| {
            let loaded = load(engine, more).unwrap();
            assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
            loaded.mirrors[0].source.clone()
        };
        let xdp = AfXdpConfig::new("eth1");
        assert_eq!(source("af_xdp", ""), MirrorSource::AfXdp(xdp.clone()));
        assert_eq!(
            source("af_xdp", "large_frames = true\nframes = 1024\n"),
            MirrorSource::AfXdp(AfXdpConfig { large_frames: true, frames: 1024, ..xdp })
        );
        let packet = AfPacketConfig::new("eth1");
        let ignoring = AfPacketConfig { ignore_outgoing: true, ..packet.clone() };
        for (word, wanted) in [("false", packet), ("true", ignoring)] {
            let more = format!("ignore_outgoing = {word}\n");
            assert_eq!(source("af_packet", &more), MirrorSource::AfPacket(wanted));
        }
        for (engine, key, value) in [
            ("af_packet", "large_frames", "true"),
            ("af_packet", "frames", "1024"),
            ("af_xdp", "ignore_outgoing", "true"),
            ("pcap", "frames", "1024"),
            ("pipe", "ignore_outgoing", "true"),
        ] {
            let warnings = load(engine, &format!("{key} = {value}\n")).unwrap().warnings;
            assert!(warnings[0].reason.contains(&format!("`{key}` does nothing")), "{warnings:?}");
        }
        for (frames, reason, fix) in [
            ("1000", "not a power of two", "frames = 1024"),
            ("128", "256 to 65536", ""),
            ("131072", "256 to 65536", ""),
            ("0", "256 to 65536", ""),
        ] {
            let errors = load("af_xdp", &format!("frames = {frames}\n")).unwrap_err();
            let [error] = errors.diagnostics() else { panic!("{errors}") };
            assert!(error.reason.contains(reason) && error.fix.contains(fix), "{error:?}");
            assert_eq!((error.field.as_str(), error.line), ("mirror[0].frames", 4));
        }
    }

    #[test]
    fn the_drop_list_is_for_af_xdp() {
        let text = |engine: &str| {
            format!(
                "[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"eth1\"]\n\
                 drop = [\"192.0.2.53/32\", \"2001:db8::/64\"]\n"
            )
        };
        let loaded = parse("file", &text("af_xdp")).unwrap();
        assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
        let [Mirror { source: MirrorSource::AfXdp(config), .. }] = loaded.mirrors.as_slice() else {
            panic!("{:?}", loaded.mirrors);
        };
        assert_eq!(config.drop.len(), 2);
        let loaded = parse("file", &text("af_packet")).unwrap();
        assert!(loaded.warnings[0].reason.contains("`drop` does nothing"));
    }
}
