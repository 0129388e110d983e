use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU16;

use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_engine::{Conductor, Policy};

use super::*;
use crate::config::{Flows, Frames, Listen, Service};

/// An address that nobody else takes, not even by chance: it is on loopback, of this process alone,
/// and its port is below those that the kernel usually gives to whoever asks for any.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    loop {
        let address = SocketAddr::from((ip, NEXT.fetch_add(1, Ordering::Relaxed)));
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn plan(netflow: &[SocketAddr], workers: usize) -> Plan {
    let listen = Listen {
        sflow: Vec::new(),
        netflow: netflow.to_vec(),
        workers,
        receive_buffer: 1 << 20,
        ..Listen::default()
    };
    Plan {
        policy: Policy::for_networks(vec!["192.0.2.0/24".parse().unwrap()]),
        frames: Frames::default(),
        flows: Flows::default(),
        listen,
        mirrors: Vec::new(),
        service: Service::default(),
    }
}

/// Sends so many datagrams, which are none of NetFlow.
fn send(to: SocketAddr, count: u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..count {
        socket.send_to(&[0; 8], to).unwrap();
    }
}

/// Workers of a plan.
fn crew(plan: &Plan) -> Crew {
    let conductor = Conductor::new(plan.policy.clone(), 1, false, 1);
    let around = (Clock::start(), Arc::default());
    let hire = || Ok(SharedShard::new(conductor.shard()));
    Crew::start(plan, Sources::open(plan).unwrap(), around, None, hire).unwrap()
}

fn received(roster: &Roster) -> u64 {
    let mut sum = roster.left.clone();
    for worker in &roster.workers {
        sum.count(&worker.report());
    }
    sum.source.received
}

#[test]
fn a_worker_that_cannot_be_started_changes_nothing() {
    let (old, new) = (own_address(), own_address());
    let before = plan(&[old], 1);
    let mut crew = crew(&before);
    let conductor = Conductor::new(before.policy.clone(), 1, true, 1);
    let after = plan(&[new, old], 3);
    let is_shared = || {
        let beside = UdpSource::open_beside(&UdpConfig::new(old), NonZeroUsize::new(2).unwrap());
        beside.is_ok()
    };
    let mut sent = 0;
    // Three workers for the new port and two more for the old one.
    for good in 0..5 {
        let mut left = good;
        let hire = || {
            if left == 0 {
                bail!("no more threads");
            }
            left -= 1;
            Ok(SharedShard::new(conductor.shard()))
        };
        let error = crew.change(&after, None, hire).unwrap_err();
        assert!(error.to_string().contains("no more threads"), "{error:#}");
        assert_eq!(crew.roster().workers.len(), 1, "after {good} workers");
        assert_eq!(crew.shards().0.len(), 1, "after {good} workers");
        drop(UdpSocket::bind(new).unwrap());
        assert!(!is_shared(), "the port is ours alone, after {good} workers");
        assert!(crew.is_sane());
        send(old, 100);
        sent += 100;
    }
    let hire = || Ok(SharedShard::new(conductor.shard()));
    let words = crew.change(&after, None, hire).unwrap();
    assert_eq!(words.len(), 2, "{words:?}");
    assert_eq!(crew.roster().workers.len(), 6);
    send(old, 100);
    send(new, 100);
    let roster = crew.roster();
    crew.stop().unwrap();
    assert_eq!(received(&roster), sent + 200);
}
