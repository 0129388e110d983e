//! UDP sources against the kernel: every datagram, senders, steering, allow list, loss.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real network")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Datagrams, Namespace, ip, ready, udp, until};
use tidewall_capture::udp::steering::socket_of;
use tidewall_capture::udp::{UdpConfig, UdpSource};

const WAIT: Duration = Duration::from_millis(100);

fn config(address: &str) -> UdpConfig {
    UdpConfig::new(address.parse().unwrap())
}

fn drain(source: &mut UdpSource, sink: &mut Datagrams, expected: usize) {
    until(|| {
        source.receive(WAIT, sink).unwrap();
        sink.0.len() >= expected
    });
    // Whatever came beyond that.
    while source.receive(Duration::from_millis(20), sink).unwrap() > 0 {}
}

#[test]
fn every_datagram_arrives_whole_and_in_order() {
    let mut source = UdpSource::open(&config("127.0.0.1:0")).unwrap();
    let to = source.local_address();
    let sender = udp("127.0.0.7:0");
    let mut sink = Datagrams::default();
    let lengths = [0, 1, 1400, 9000, 65_507];
    for round in 0..200_usize {
        for length in lengths {
            sender.send_to(&vec![round as u8; length], to).unwrap();
        }
        drain_some(&mut source, &mut sink);
    }
    drain(&mut source, &mut sink, 1000);
    assert_eq!(sink.0.len(), 1000);
    for (n, (from, _, data)) in sink.0.iter().enumerate() {
        assert_eq!(*from, sender.local_addr().unwrap());
        assert_eq!(data.len(), lengths[n % 5]);
        assert!(data.iter().all(|b| *b == (n / 5) as u8));
    }
    let statistics = source.statistics();
    assert_eq!(statistics.received, 1000);
    assert_eq!(statistics.bytes, 200 * lengths.iter().sum::<usize>() as u64);
    assert_eq!((statistics.dropped_by_kernel, statistics.truncated, statistics.refused), (0, 0, 0));
}

fn drain_some(source: &mut UdpSource, sink: &mut Datagrams) {
    source.receive(Duration::ZERO, sink).unwrap();
}

#[test]
fn times_are_those_of_arrival() {
    let mut source = UdpSource::open(&config("127.0.0.1:0")).unwrap();
    udp("127.0.0.1:0").send_to(b"first", source.local_address()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    udp("127.0.0.1:0").send_to(b"second", source.local_address()).unwrap();
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 2);
    let apart = sink.0[1].1.since(sink.0[0].1);
    assert!(apart >= Duration::from_millis(290), "{apart:?}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(now - sink.0[1].1.0 < 5_000_000_000);
}

#[test]
fn nothing_comes_when_nothing_is_sent() {
    let mut source = UdpSource::open(&config("127.0.0.1:0")).unwrap();
    let before = std::time::Instant::now();
    assert_eq!(source.receive(WAIT, &mut Datagrams::default()).unwrap(), 0);
    assert!(before.elapsed() >= WAIT);
}

#[test]
fn a_dual_stack_socket_gives_ipv4_senders_as_ipv4() {
    let mut source = UdpSource::open(&config("[::]:0")).unwrap();
    let port = source.local_address().port();
    let (v4, v6) = (udp("127.0.0.9:0"), udp("[::1]:0"));
    v4.send_to(b"four", ("127.0.0.1", port)).unwrap();
    v6.send_to(b"six", ("::1", port)).unwrap();
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 2);
    assert_eq!(sink.0[0].0, v4.local_addr().unwrap());
    assert_eq!(sink.0[1].0, v6.local_addr().unwrap());
    let only_v6 = UdpConfig { dual_stack: false, ..config("[::]:0") };
    let mut source = UdpSource::open(&only_v6).unwrap();
    let port = source.local_address().port();
    let _ = v4.send_to(b"four", ("127.0.0.1", port));
    v6.send_to(b"six", ("::1", port)).unwrap();
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 1);
    assert_eq!(sink.0.len(), 1);
}

#[test]
fn senders_off_the_list_are_refused_and_counted() {
    let allowed = vec!["127.0.0.2/31".parse().unwrap(), "127.0.0.9".parse().unwrap()];
    let mut source = UdpSource::open(&UdpConfig { allowed, ..config("[::]:0") }).unwrap();
    let port = source.local_address().port();
    for last in 1..=10 {
        udp(&format!("127.0.0.{last}:0")).send_to(b"x", ("127.0.0.1", port)).unwrap();
    }
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 3);
    let from: Vec<IpAddr> = sink.0.iter().map(|(from, ..)| from.ip()).collect();
    assert_eq!(from, [2, 3, 9].map(|last| IpAddr::from([127, 0, 0, last])));
    assert_eq!((source.statistics().received, source.statistics().refused), (3, 7));
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let mut source =
        UdpSource::open(&UdpConfig { receive_buffer: 4096, ..config("127.0.0.1:0") }).unwrap();
    let sender = udp("127.0.0.1:0");
    for _ in 0..500 {
        sender.send_to(&[7; 1000], source.local_address()).unwrap();
    }
    let dropped = source.statistics().dropped_by_kernel;
    assert!(dropped > 400, "{dropped}");
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 500 - dropped as usize);
    assert_eq!(sink.0.len() as u64 + dropped, 500);
    // The count goes on, and is not added twice.
    for _ in 0..500 {
        sender.send_to(&[7; 1000], source.local_address()).unwrap();
    }
    let more = sink.0.len() + 1;
    drain(&mut source, &mut sink, more);
    let statistics = source.statistics();
    assert_eq!(statistics.received + statistics.dropped_by_kernel, 1000);
    assert_eq!(source.statistics(), statistics);
}

/// Runs the group until it is quiet; gives what each socket got.
fn drain_group(group: &mut [UdpSource], expected: usize) -> Vec<Datagrams> {
    let mut sinks: Vec<Datagrams> = group.iter().map(|_| Datagrams::default()).collect();
    until(|| {
        for (source, sink) in group.iter_mut().zip(&mut sinks) {
            source.receive(Duration::from_millis(2), sink).unwrap();
        }
        sinks.iter().map(|s| s.0.len()).sum::<usize>() >= expected
    });
    sinks
}

fn group_of(address: &str, sockets: usize) -> (Vec<UdpSource>, u16) {
    let count = NonZeroUsize::new(sockets).unwrap();
    let group = UdpSource::open_group(&config(address), count).unwrap();
    let port = group[0].local_address().port();
    assert!(group.iter().all(|source| source.local_address().port() == port));
    (group, port)
}

/// The first bytes of a datagram of each protocol.
const V5: [u8; 4] = [0, 5, 0, 30];
const V9: [u8; 4] = [0, 9, 0, 12];
const IPFIX: [u8; 4] = [0, 10, 5, 0];
const SFLOW: [u8; 4] = [0, 0, 0, 5];

fn expect_steered(sinks: &[Datagrams], total: usize) {
    assert_eq!(sinks.iter().map(|s| s.0.len()).sum::<usize>(), total);
    for (n, sink) in sinks.iter().enumerate() {
        for (from, ..) in &sink.0 {
            assert_eq!(socket_of(from.ip(), sinks.len()), n, "{from}");
        }
    }
    assert!(sinks.iter().filter(|sink| !sink.0.is_empty()).count() > 1, "all at one socket");
}

#[test]
fn netflow_v9_and_ipfix_of_an_exporter_reach_one_socket() {
    for (address, sockets) in [("0.0.0.0:0", 2), ("0.0.0.0:0", 3), ("[::]:0", 4)] {
        let (mut group, port) = group_of(address, sockets);
        for last in 2..18 {
            // Several source ports: an exporter may use one for each line card, and change them.
            for version in [V9, IPFIX] {
                for _ in 0..10 {
                    udp(&format!("127.0.0.{last}:0"))
                        .send_to(&version, ("127.0.0.1", port))
                        .unwrap();
                }
            }
        }
        expect_steered(&drain_group(&mut group, 320), 320);
    }
}

#[test]
fn ipv6_exporters_are_steered_too() {
    if !ready("ipv6_exporters_are_steered_too") {
        return;
    }
    let space = Namespace::new("u");
    for last in 1..=16 {
        ip(&format!("-n {} address add 2001:db8::{last:x}/128 dev lo nodad", space.name));
    }
    space.run(|| {
        let (mut group, port) = group_of("[::]:0", 4);
        for last in 1..=16 {
            let sender = udp(&format!("[2001:db8::{last:x}]:0"));
            for _ in 0..20 {
                sender.send_to(&V9, ("2001:db8::1", port)).unwrap();
                sender.send_to(&IPFIX, ("2001:db8::1", port)).unwrap();
            }
        }
        expect_steered(&drain_group(&mut group, 640), 640);
    });
}

#[test]
fn sflow_and_v5_of_one_exporter_spread_evenly() {
    let (mut group, port) = group_of("[::]:0", 4);
    let sender = udp("127.0.0.1:0");
    for (header, runt) in [(SFLOW, false), (V5, false), ([0xff; 4], false), ([0; 4], true)] {
        let data = if runt { &header[..1] } else { &header[..] };
        for _ in 0..1000 {
            sender.send_to(data, ("127.0.0.1", port)).unwrap();
        }
        let sinks = drain_group(&mut group, 1000);
        let loads: Vec<usize> = sinks.iter().map(|s| s.0.len()).collect();
        assert_eq!(loads.iter().sum::<usize>(), 1000);
        // 250 each; six standard deviations are 82. A runt has no version and goes to the first.
        assert!(runt || loads.iter().all(|n| n.abs_diff(250) < 83), "{loads:?}");
    }
}

#[test]
fn a_socket_bound_to_an_interface_hears_no_other() {
    if !ready("a_socket_bound_to_an_interface_hears_no_other") {
        return;
    }
    let lab = common::Lab::new();
    let mut source = lab.receiver.run(|| {
        let interface = Some("tw1".to_owned());
        UdpSource::open(&UdpConfig { interface, ..config("0.0.0.0:6343") }).unwrap()
    });
    lab.receiver.run(|| udp("0.0.0.0:0").send_to(b"inside", "127.0.0.1:6343").unwrap());
    lab.sender.run(|| udp("0.0.0.0:0").send_to(b"outside", "192.0.2.2:6343").unwrap());
    let mut sink = Datagrams::default();
    drain(&mut source, &mut sink, 1);
    assert_eq!(sink.0.len(), 1);
    assert_eq!(sink.0[0].2, b"outside");
}

#[test]
fn a_smaller_buffer_than_configured_is_told_with_its_remedy() {
    if !ready("a_smaller_buffer_than_configured_is_told_with_its_remedy") {
        return;
    }
    let wanted = 1 << 29;
    let open =
        move || UdpSource::open(&UdpConfig { receive_buffer: wanted, ..config("127.0.0.1:0") });
    assert_eq!(open().unwrap().warning(), None);
    let warning = std::thread::spawn(move || {
        // This thread alone becomes nobody: SO_RCVBUFFORCE is refused.
        let nobody = 65_534;
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) }, 0);
        open().unwrap().warning().unwrap()
    })
    .join()
    .unwrap();
    let text = warning.to_string();
    assert!(text.contains("sysctl -w net.core.rmem_max=536870912"), "{text}");
    assert!(text.contains(&format!("is {} bytes", warning.granted)), "{text}");
    let Ok(limit) = std::fs::read_to_string("/proc/sys/net/core/rmem_max") else {
        println!("the rest of it skipped: this network name space does not show rmem_max");
        return;
    };
    assert_eq!(warning.granted, limit.trim().parse::<usize>().unwrap());
}

#[test]
fn a_port_in_use_is_said_to_be() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let error = UdpSource::open(&UdpConfig::new(address)).err().unwrap().to_string();
    assert!(error.starts_with(&format!("cannot listen on UDP {address}: bind: ")), "{error}");
    assert!(error.ends_with("another program has the port: see `ss -lunp`"), "{error}");
}

#[test]
fn a_source_may_move_to_another_thread() {
    let mut source = UdpSource::open(&config("127.0.0.1:0")).unwrap();
    udp("127.0.0.1:0").send_to(b"x", source.local_address()).unwrap();
    let seen = std::thread::spawn(move || {
        let mut sink = Datagrams::default();
        drain(&mut source, &mut sink, 1);
        sink.0.len()
    });
    assert_eq!(seen.join().unwrap(), 1);
}

/// Sends so many datagrams that may go to any socket of a group.
fn send(to: SocketAddr, count: usize) {
    let sender = udp("127.0.0.1:0");
    (0..count).for_each(|_| _ = sender.send_to(&[0, 0, 0, 5, 1, 1], to).unwrap());
}

fn taken(source: &mut UdpSource) -> usize {
    let mut sink = Datagrams::default();
    while source.receive(Duration::from_millis(20), &mut sink).unwrap() > 0 {}
    sink.0.len()
}

#[test]
fn sockets_are_added_to_a_port_and_taken_away_without_loss() {
    let config = config("127.0.0.1:0");
    let mut group = UdpSource::open_group(&config, NonZeroUsize::MIN).unwrap();
    let (port, to) = (group[0].port().unwrap(), group[0].local_address());
    send(to, 50);
    group.append(&mut port.add(&config, 1, 2).unwrap());
    send(to, 50);
    let counts: Vec<usize> = group.iter_mut().map(taken).collect();
    assert_eq!(counts, [100, 0, 0], "nothing before it is dealt");
    port.deal(3).unwrap();
    send(to, 300);
    port.deal(1).unwrap();
    send(to, 100);
    let counts: Vec<usize> = group.iter_mut().map(taken).collect();
    assert_eq!(counts.iter().sum::<usize>(), 400);
    assert!(counts[0] > 100 && counts[1] > 0 && counts[2] > 0, "{counts:?}");
    group.truncate(1);
    send(to, 100);
    assert_eq!(taken(&mut group[0]), 100);
}

#[test]
fn a_socket_that_leaves_keeps_what_it_has_and_gets_nothing_more() {
    for (old, new) in [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1"), ("[::]", "127.0.0.1")] {
        for workers in [1, 2].map(|n| NonZeroUsize::new(n).unwrap()) {
            let mut leaving = UdpSource::open_group(&config(&format!("{old}:0")), workers).unwrap();
            let number = leaving[0].local_address().port();
            let to = SocketAddr::from(([127, 0, 0, 1], number));
            let config = config(&format!("{new}:{number}"));
            let in_use = UdpSource::open_group(&config, workers).err().unwrap().to_string();
            assert!(in_use.contains("ss -lunp"), "{in_use}");
            leaving[0].port().unwrap().share(true).unwrap();
            let mut group = UdpSource::open_beside(&config, workers).unwrap();
            send(to, 100);
            for source in &mut leaving {
                source.leave().unwrap();
            }
            let early: usize = leaving.iter_mut().map(taken).sum();
            send(to, 100);
            assert_eq!(leaving.iter_mut().map(taken).sum::<usize>(), 0, "{old} to {new}");
            drop(leaving);
            send(to, 100);
            let late: usize = group.iter_mut().map(taken).sum();
            assert_eq!(early + late, 300, "{old} to {new}");
        }
    }
}
