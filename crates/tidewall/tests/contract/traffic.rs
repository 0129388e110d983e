//! The traffic of the lab: one attack for each way of being told of one, at a steady rate and the
//! same for both sides.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewall_model::{Address, FlowRecord, Fragment, SamplingRate, TcpFlags, Timestamp, protocol};
use tidewall_scenario::{
    FlowCachePlan, FlowCacheRenderer, FlowProtocol, FrameRenderer, Renderer, SflowPlan,
    SflowRenderer,
};

use crate::spaces::FrameSender;

/// Packets a second that make an attack.
pub const LIMIT: u32 = 300;
/// A packet of each attack in each round, which lasts a millisecond.
const ROUND: Duration = Duration::from_millis(1);
/// What was held up by so much, at most, is made up for.
const LAG: Duration = Duration::from_millis(50);
/// Rounds after which frames repeat: a multiple of every cycle in them.
const CYCLE: u32 = 300;
/// One packet of the sampled attack in so many is sampled, every so many rounds.
const SAMPLING: u32 = 100;
const SAMPLE_EVERY: u32 = 50;

/// How an attack is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    Frames,
    Sflow,
    Netflow5,
}

/// An attacked or attacking host.
#[derive(Debug)]
pub struct Victim {
    pub address: &'static str,
    /// As scripts get it.
    pub argument: &'static str,
    pub direction: &'static str,
    /// The reference's word for the attack.
    pub kind: &'static str,
    /// Its largest protocol.
    pub protocol: &'static str,
    pub medium: Medium,
    /// All packets are of the same kind.
    pub pure: bool,
    /// The rate lies in here, whenever it is measured.
    pub powers: RangeInclusive<u32>,
}

impl Victim {
    const fn new(address: &'static str, kind: &'static str, protocol: &'static str) -> Self {
        Self {
            address,
            argument: address,
            direction: "incoming",
            kind,
            protocol,
            medium: Medium::Frames,
            pure: true,
            // A thousand; on a busy machine less, and then more in a short time.
            powers: LIMIT..=5000,
        }
    }

    pub fn is_v6(&self) -> bool {
        self.address.contains(':')
    }
}

pub const VICTIMS: [Victim; 10] = [
    Victim::new("10.9.0.1", "udp_flood", "udp"),
    Victim::new("10.9.0.2", "syn_flood", "tcp"),
    Victim::new("10.9.0.3", "icmp_flood", "icmp"),
    Victim { direction: "outgoing", ..Victim::new("10.9.0.4", "udp_flood", "udp") },
    // So many flows that lists are cut.
    Victim::new("10.9.0.5", "udp_flood", "udp"),
    Victim { pure: false, ..Victim::new("10.9.0.6", "unknown", "tcp") },
    Victim {
        medium: Medium::Sflow,
        // Two thousand, in samples of a hundred.
        powers: LIMIT..=20_000,
        ..Victim::new("10.9.0.7", "udp_flood", "udp")
    },
    Victim {
        medium: Medium::Netflow5,
        // A flow is told of once a second.
        powers: LIMIT..=30_000,
        ..Victim::new("10.9.0.8", "syn_flood", "tcp")
    },
    Victim::new("10.9.0.9", "ip_fragmentation", "udp"),
    Victim { argument: "2001:0db8:0009::0001", ..Victim::new("2001:db8:9::1", "udp_flood", "udp") },
];

/// A host that is banned by hand.
#[derive(Debug)]
pub struct Manual {
    pub address: &'static str,
    pub argument: &'static str,
}

pub const MANUAL: [&Manual; 2] = [
    &Manual { address: "10.9.0.77", argument: "10.9.0.77" },
    &Manual { address: "2001:db8:9::77", argument: "2001:0db8:0009::0077" },
];

/// A packet; `bytes` are those of its frame without padding, from the IP header on.
fn packet(from: &str, to: &str, protocol: u8, ports: (u16, u16), bytes: u64) -> FlowRecord {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    let (src, dst) = (address(from), address(to));
    FlowRecord {
        src: src.bits,
        dst: dst.bits,
        family: src.family,
        src_port: ports.0,
        dst_port: ports.1,
        protocol,
        bytes,
        ttl: 57,
        ..FlowRecord::default()
    }
}

/// Packet number `n` of an attack.
fn attack_packet(victim: &Victim, n: u32) -> FlowRecord {
    let (us, short) = (victim.address, n as u16);
    let remote = format!("198.51.100.{}", n % 5 + 1);
    let flags = |bits: u16, packet| FlowRecord { tcp_flags: TcpFlags(bits), ..packet };
    let (tcp, udp) = (protocol::TCP, protocol::UDP);
    match us {
        "10.9.0.1" => packet(&remote, us, udp, (123, 4000 + short % 3), 428),
        "10.9.0.2" => flags(TcpFlags::SYN, packet(&remote, us, tcp, (40_000 + short % 3, 443), 40)),
        // Its type and code, as flows have them.
        "10.9.0.3" => packet("203.0.113.8", us, protocol::ICMP, (0, 0x800), 60),
        "10.9.0.4" => packet(us, &remote, udp, (5000, 53 + short % 3), 128),
        "10.9.0.5" => packet(&remote, us, udp, (1000 + short % 100, 80), 100),
        "10.9.0.6" => mixed_packet(us, &remote, n),
        "10.9.0.7" => FlowRecord {
            sampling: SamplingRate::new(SAMPLING),
            ..packet(&remote, us, udp, (11_211, 7000 + short % 3), 428)
        },
        "10.9.0.8" => flags(
            TcpFlags::SYN | TcpFlags::ACK,
            packet(&remote, us, tcp, (30_000 + short % 10, 80), 60),
        ),
        "10.9.0.9" => {
            FlowRecord { fragment: Fragment::Later, ..packet(&remote, us, udp, (0, 0), 1000) }
        }
        _ => {
            let remote = format!("2001:db8:ffff::{:x}", n % 5 + 1);
            packet(&remote, us, udp, (53, 6000 + short % 3), 348)
        }
    }
}

/// Six of ten from TCP connections, then NTP, an answer of ours, GRE and a fragment.
fn mixed_packet(us: &str, remote: &str, n: u32) -> FlowRecord {
    let short = n as u16;
    let tcp = |packet, flags| FlowRecord { tcp_flags: TcpFlags(flags), ..packet };
    match n % 10 {
        0..=5 => {
            let ports = (40_000 + short % 3, 80);
            tcp(packet(remote, us, protocol::TCP, ports, 60), TcpFlags::ACK)
        }
        6 => packet("203.0.113.9", us, protocol::UDP, (123, 5000), 428),
        7 => {
            let answer = packet(us, "198.51.100.1", protocol::TCP, (80, 40_000), 40);
            tcp(answer, TcpFlags::SYN | TcpFlags::ACK)
        }
        8 => packet("203.0.113.7", us, protocol::GRE, (0, 0), 24),
        _ => {
            let whole = packet("203.0.113.7", us, protocol::UDP, (0, 0), 120);
            FlowRecord { fragment: Fragment::Later, ..whole }
        }
    }
}

/// The flows that are sent, as a dump names them: our end first.
pub fn flows(victim: &Victim) -> BTreeSet<String> {
    let mut flows = BTreeSet::new();
    for packet in (0..CYCLE).map(|n| attack_packet(victim, n)) {
        if !matches!(packet.protocol, protocol::TCP | protocol::UDP) {
            continue;
        }
        let src = format!("{}:{}", packet.src_address(), packet.src_port);
        let dst = format!("{}:{}", packet.dst_address(), packet.dst_port);
        let is_incoming = packet.dst_address().to_string() == victim.address;
        flows.insert(if is_incoming { format!("{dst} < {src}") } else { format!("{src} > {dst}") });
    }
    flows
}

fn of_medium(medium: Medium) -> impl Iterator<Item = &'static Victim> {
    VICTIMS.iter().filter(move |victim| victim.medium == medium)
}

/// The frames of every round.
fn reel() -> Vec<Vec<Vec<u8>>> {
    let mut renderer = FrameRenderer::new();
    let mut frame_of = |record: FlowRecord| {
        let mut frame = Vec::new();
        renderer.frame(&record, &mut frame).unwrap();
        frame
    };
    let mut round = |n: u32| -> Vec<Vec<u8>> {
        of_medium(Medium::Frames)
            .map(|victim| frame_of(FlowRecord { seq: n.into(), ..attack_packet(victim, n) }))
            .collect()
    };
    (0..CYCLE).map(&mut round).collect()
}

/// Where frames and datagrams of one side go.
pub struct Way {
    pub frames: FrameSender,
    pub address: String,
}

/// Attacks everybody until it is told to stop. Must be called inside the sender's name space.
pub fn attack(ways: &[Way], stop: &AtomicBool) {
    let reel = reel();
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    let to_all = |port: u16, datagram: &[u8]| {
        for way in ways {
            udp.send_to(datagram, (way.address.as_str(), port)).unwrap();
        }
    };
    let mut sflow = SflowRenderer::new(&SflowPlan { samples: 1, ..SflowPlan::default() });
    let mut netflow = FlowCacheRenderer::new(FlowProtocol::NetflowV5, &FlowCachePlan::default());
    let mut next = Instant::now();
    for n in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for frame in &reel[(n % CYCLE) as usize] {
            for way in ways {
                way.frames.send(frame);
            }
        }
        let time = now();
        for victim in of_medium(Medium::Netflow5) {
            let record = FlowRecord { time, ..attack_packet(victim, n) };
            netflow.render(&record, &mut |_, datagram| to_all(2055, datagram)).unwrap();
        }
        for victim in of_medium(Medium::Sflow).filter(|_| n % SAMPLE_EVERY == 0) {
            let record = FlowRecord { time, ..attack_packet(victim, n / SAMPLE_EVERY) };
            sflow.render(&record, &mut |_, datagram| to_all(6343, datagram)).unwrap();
        }
        let now = Instant::now();
        next += ROUND;
        if next + LAG < now {
            next = now;
        }
        sleep(next.saturating_duration_since(now));
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}
