//! AF_XDP against the kernel, over veth: every frame of all queues, the program's choices, loss,
//! and nothing left behind.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real network")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use common::{Frames, Lab, frame, held, hold, ip, kill, ready, rename, until};
use tidewall_capture::af_xdp::{AfXdpConfig, AfXdpSource, CopyMode, XdpMode};
use tidewall_capture::{ReceiveError, SourceStatistics};
use tidewall_wire::emit::Tag;

const WAIT: Duration = Duration::from_millis(30);
const PORT: u16 = 9000;

/// Which frames are meant.
type Choice<'a> = &'a dyn Fn(u32) -> bool;

fn config(mode: XdpMode) -> AfXdpConfig {
    AfXdpConfig { mode, frames: 4096, ..AfXdpConfig::new("tw1") }
}

fn open(lab: &Lab, config: &AfXdpConfig) -> Vec<AfXdpSource> {
    lab.receiver.run(|| AfXdpSource::open_all(config).unwrap())
}

fn refused(lab: &Lab, config: &AfXdpConfig) -> String {
    lab.receiver.run(|| AfXdpSource::open_all(config)).err().unwrap().to_string()
}

/// Receives until `expected` test frames are there, and a little longer.
fn drain(sources: &mut [AfXdpSource], sink: &mut Frames, expected: usize) {
    let mut round = |sink: &mut Frames, wait| {
        sources.iter_mut().map(|source| source.receive(wait, sink).unwrap()).sum::<usize>()
    };
    until(|| {
        round(sink, Duration::from_millis(2));
        sink.marked.len() >= expected
    });
    while round(sink, WAIT) > 0 {}
}

fn exchange(lab: &Lab, sources: &mut [AfXdpSource], frames: &[Vec<u8>], expected: usize) -> Frames {
    let mut sink = Frames::default();
    let sender = lab.frame_sender();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send_all(frames));
        drain(sources, &mut sink, expected);
    });
    sink
}

fn statistics(sources: &mut [AfXdpSource]) -> SourceStatistics {
    let mut sum = SourceStatistics::default();
    for source in sources {
        sum += source.statistics();
    }
    sum
}

#[test]
fn every_frame_arrives_in_either_mode() {
    if !ready("every_frame_arrives_in_either_mode") {
        return;
    }
    let lab = Lab::new();
    let qinq = [Tag { ethertype: 0x88a8, id: 100 }, Tag::dot1q(7)];
    let tags: [&[Tag]; 3] = [&[], &[Tag::dot1q(42)], &qinq];
    let frames: Vec<Vec<u8>> =
        (0..20_000).map(|n| frame(n, tags[n as usize % 3], n % 5 == 0, PORT)).collect();
    for mode in [XdpMode::Native, XdpMode::Generic, XdpMode::Auto] {
        let mut sources = open(&lab, &config(mode));
        assert_eq!(sources.iter().map(AfXdpSource::queue).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(sources[0].is_generic(), mode == XdpMode::Generic);
        let sink = exchange(&lab, &mut sources, &frames, frames.len());
        assert_eq!(sink.numbers(), (0..20_000).collect::<Vec<_>>(), "{mode:?}");
        for seen in &sink.marked {
            let n = common::number(&seen.data).unwrap() as usize;
            // Nothing is taken off: tags are in the bytes.
            assert_eq!(seen.data, frames[n]);
            assert_eq!((seen.vlan, seen.wire_length as usize), (None, frames[n].len()));
            assert!(seen.time.seconds() > 1_700_000_000);
        }
        let statistics = statistics(&mut sources);
        assert_eq!((statistics.received, statistics.bytes), (sink.all, sink.bytes));
        assert_eq!((statistics.dropped_by_kernel, statistics.ring_full), (0, 0));
    }
}

#[test]
fn nothing_is_left_behind() {
    if !ready("nothing_is_left_behind") {
        return;
    }
    let lab = Lab::new();
    let attached = |lab: &Lab| {
        let text = lab.describe();
        (text.contains("prog/xdp"), text.contains("promiscuity 1"))
    };
    for mode in [XdpMode::Native, XdpMode::Generic] {
        assert_eq!(attached(&lab), (false, false));
        let mut sources = open(&lab, &config(mode));
        assert_eq!(attached(&lab), (true, true));
        let last = sources.pop();
        drop(sources);
        assert_eq!(attached(&lab), (true, true), "one queue is still served");
        drop(last);
        assert_eq!(attached(&lab), (false, false));
    }
    let child = hold(&lab.receiver);
    assert_eq!(attached(&lab), (true, true));
    kill(child);
    // The kernel takes a link back a moment after its last descriptor is gone.
    until(|| {
        std::thread::sleep(WAIT);
        attached(&lab) == (false, false)
    });
    assert_eq!(attached(&lab), (false, false));
    // A successor gets the queues, though they may still be busy.
    assert_eq!(open(&lab, &config(XdpMode::Native)).len(), 2);
}

#[test]
#[ignore = "run by nothing_is_left_behind, to be killed"]
fn holder() {
    held(|| AfXdpSource::open_all(&config(XdpMode::Auto)).unwrap());
}

#[test]
fn the_drop_list_is_dropped_and_counted() {
    if !ready("the_drop_list_is_dropped_and_counted") {
        return;
    }
    let lab = Lab::new();
    let qinq = [Tag { ethertype: 0x88a8, id: 100 }, Tag::dot1q(7)];
    let tags: [&[Tag]; 3] = [&[], &[Tag::dot1q(42)], &qinq];
    // From 192.0.2.1 to .2 and from 2001:db8::1 to ::2, in turn.
    let frames: Vec<Vec<u8>> =
        (0..600).map(|n| frame(n, tags[n as usize / 2 % 3], n % 2 == 1, PORT)).collect();
    let v4 = |n: u32| n.is_multiple_of(2);
    let cases: [(&[&str], Choice); 6] = [
        (&["192.0.2.1/32"], &v4),
        (&["192.0.2.2/31", "10.0.0.0/8"], &v4),
        (&["192.0.2.4/30", "::/1"], &|n| !v4(n)),
        (&["2001:db8::2/128"], &|n| !v4(n)),
        (&["2001:db8::3/128", "192.0.2.3/32"], &|_| false),
        (&["0.0.0.0/0", "::/0"], &|_| true),
    ];
    for (n, (prefixes, dropped)) in cases.into_iter().enumerate() {
        let drop = prefixes.iter().map(|p| p.parse().unwrap()).collect();
        let mode = if n % 2 == 0 { XdpMode::Native } else { XdpMode::Generic };
        let mut sources = open(&lab, &AfXdpConfig { drop, ..config(mode) });
        let kept: Vec<u32> = (0..600).filter(|n| !dropped(*n)).collect();
        let sink = exchange(&lab, &mut sources, &frames, kept.len());
        until(|| statistics(&mut sources).filtered as usize >= 600 - kept.len());
        assert_eq!(sink.numbers(), kept, "{prefixes:?}");
        assert_eq!(statistics(&mut sources).filtered as usize, 600 - kept.len());
    }
}

#[test]
fn a_quiet_link_is_seen_at_once_and_a_burst_on_it_is_whole() {
    if !ready("a_quiet_link_is_seen_at_once_and_a_burst_on_it_is_whole") {
        return;
    }
    let lab = Lab::new();
    let sender = lab.frame_sender();
    let mut sources = open(&lab, &config(XdpMode::Native));
    // By one flow, so by one queue.
    let frames = vec![frame(1, &[], false, PORT); 3000];
    sender.send(&frames[0]);
    let mut sink = Frames::default();
    until(|| {
        sources.retain_mut(|source| source.receive(WAIT, &mut sink).unwrap() > 0);
        !sink.marked.is_empty()
    });
    let [source] = sources.as_mut_slice() else { panic!("one queue has it") };
    let mut delays = Vec::new();
    for _ in 0..9 {
        std::thread::sleep(WAIT);
        let begin = Instant::now();
        let taken = std::thread::scope(|scope| {
            scope.spawn(|| frames.iter().for_each(|frame| sender.send(frame)));
            let mut taken = source.receive(Duration::from_secs(1), &mut sink).unwrap();
            delays.push(begin.elapsed());
            // As the service does.
            until(|| {
                std::thread::sleep(source.rest());
                taken += source.receive(WAIT, &mut sink).unwrap();
                taken >= frames.len()
            });
            taken
        });
        assert_eq!(taken, frames.len());
    }
    assert_eq!(statistics(&mut sources).dropped_by_kernel, 0);
    delays.sort_unstable();
    // The median, because the machine may be busy.
    assert!(delays[4] < Duration::from_millis(50), "{delays:?}");
}

#[test]
fn frames_too_short_to_look_into_are_handed_over() {
    if !ready("frames_too_short_to_look_into_are_handed_over") {
        return;
    }
    let lab = Lab::new();
    let drop = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let mut sources = open(&lab, &AfXdpConfig { drop, ..config(XdpMode::Generic) });
    let (v4, v6) = (frame(1, &[Tag::dot1q(5)], false, PORT), frame(2, &[], true, PORT));
    let sender = lab.frame_sender();
    for short in [&v4[..37], &v4[..16], &v6[..53], &v6[..14]] {
        sender.send(short);
    }
    let mut sink = Frames::default();
    until(|| {
        for source in &mut sources {
            source.receive(WAIT, &mut sink).unwrap();
        }
        sink.all >= 4
    });
    assert_eq!((sink.all, statistics(&mut sources).filtered), (4, 0));
}

#[test]
fn one_in_n_is_one_in_n() {
    if !ready("one_in_n_is_one_in_n") {
        return;
    }
    let lab = Lab::new();
    let frames: Vec<Vec<u8>> = (0..10_000).map(|n| frame(n, &[], false, PORT)).collect();
    let sampling = NonZeroU32::new(10);
    let mut sources = open(&lab, &AfXdpConfig { sampling, ..config(XdpMode::Auto) });
    let seen = exchange(&lab, &mut sources, &frames, 820).marked.len();
    // Six standard deviations are 180.
    assert!(seen.abs_diff(1000) < 180, "{seen}");
}

#[test]
fn what_does_not_fit_is_counted() {
    if !ready("what_does_not_fit_is_counted") {
        return;
    }
    let lab = Lab::new();
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let mut sources = open(&lab, &AfXdpConfig { frames: 64, ..config(mode) });
        let frames: Vec<Vec<u8>> = (0..1000).map(|n| frame(n, &[], false, PORT)).collect();
        lab.frame_sender().send_all(&frames);
        let mut sink = Frames::default();
        drain(&mut sources, &mut sink, 1);
        let statistics = statistics(&mut sources);
        assert!(statistics.dropped_by_kernel > 800 && statistics.ring_full > 0, "{statistics:?}");
        assert_eq!(statistics.received, sink.all);
        assert_eq!(statistics.received + statistics.dropped_by_kernel, 1000, "{mode:?}");
        // The queue goes on.
        lab.frame_sender().send(&frames[0]);
        let before = sink.all as usize;
        drain(&mut sources, &mut sink, before + 1);
        assert_eq!(sink.all as usize, before + 1);
    }
}

#[test]
fn the_memory_is_used_again_and_again() {
    if !ready("the_memory_is_used_again_and_again") {
        return;
    }
    let lab = Lab::new();
    let frames: Vec<Vec<u8>> = (0..5000).map(|n| frame(n, &[], false, PORT)).collect();
    let mut sources = open(&lab, &AfXdpConfig { frames: 512, ..config(XdpMode::Native) });
    let mut sink = Frames::default();
    let sender = lab.frame_sender();
    for burst in frames.chunks(50) {
        for frame in burst {
            sender.send(frame);
        }
        let expected = sink.marked.len() + burst.len();
        until(|| {
            for source in &mut sources {
                source.receive(Duration::from_millis(1), &mut sink).unwrap();
            }
            sink.marked.len() >= expected
        });
    }
    assert_eq!(sink.numbers(), (0..5000).collect::<Vec<_>>());
    assert_eq!(statistics(&mut sources).dropped_by_kernel, 0);
}

#[test]
fn frames_longer_than_memory_has_room_for_are_counted() {
    if !ready("frames_longer_than_memory_has_room_for_are_counted") {
        return;
    }
    let lab = Lab::new();
    ip(&format!("-n {} link set tw0 mtu 3400", lab.sender.name));
    ip(&format!("-n {} link set tw1 mtu 3400", lab.receiver.name));
    let mut long = frame(1, &[], false, PORT);
    long.resize(3000, 0);
    for (large_frames, seen) in [(false, 0), (true, 1)] {
        let mut sources = open(&lab, &AfXdpConfig { large_frames, ..config(XdpMode::Generic) });
        let sink = exchange(&lab, &mut sources, &[long.clone()], seen);
        until(|| statistics(&mut sources).dropped_by_kernel as usize == 1 - seen);
        assert_eq!(sink.marked.len(), seen);
        assert_eq!(statistics(&mut sources).dropped_by_kernel as usize, 1 - seen);
    }
}

#[test]
fn what_is_not_possible_is_said_with_a_way_out() {
    if !ready("what_is_not_possible_is_said_with_a_way_out") {
        return;
    }
    let lab = Lab::new();
    let zero_copy = AfXdpConfig { copy: CopyMode::ZeroCopy, ..config(XdpMode::Native) };
    let error = refused(&lab, &zero_copy);
    assert!(error.starts_with("interface tw1: AF_XDP: opening a queue: "), "{error}");
    assert!(error.contains("the driver cannot do this"), "{error}");
    assert!(error.ends_with("af_packet works on every interface"), "{error}");
    assert!(!lab.describe().contains("prog/xdp"), "a failed opening leaves nothing behind");
    let sources = open(&lab, &config(XdpMode::Native));
    let error = refused(&lab, &config(XdpMode::Auto));
    assert!(
        error.contains("attaching the program") && error.contains("another program"),
        "{error}"
    );
    let begin = Instant::now();
    let at_once = lab.receiver.run(|| AfXdpSource::open_all_at_once(&config(XdpMode::Auto)));
    assert_eq!(at_once.err().unwrap().to_string(), error);
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    let error = refused(&lab, &AfXdpConfig::new("nosuch0"));
    assert!(error.contains("interface nosuch0") && error.contains("see `ip link`"), "{error}");
    let frames = AfXdpConfig { frames: 1000, ..config(XdpMode::Native) };
    drop(sources);
    assert!(refused(&lab, &frames).contains("opening a queue"));
}

#[test]
fn an_interface_may_be_given_another_name() {
    if !ready("an_interface_may_be_given_another_name") {
        return;
    }
    let lab = Lab::new();
    let mut sources = open(&lab, &config(XdpMode::Native));
    rename(&lab, "tw1", "mirror1");
    let sink = &mut Frames::default();
    for source in &mut sources {
        assert_eq!(source.receive(WAIT, sink).unwrap(), 0);
    }
    lab.frame_sender().send(&frame(0, &[], false, PORT));
    drain(&mut sources, sink, 1);
    assert_eq!(sink.numbers(), [0]);
}

#[test]
fn an_interface_that_is_removed_is_said_to_be() {
    if !ready("an_interface_that_is_removed_is_said_to_be") {
        return;
    }
    let lab = Lab::new();
    let mut sources = open(&lab, &config(XdpMode::Native));
    let sink = &mut Frames::default();
    assert_eq!(sources[0].receive(WAIT, sink).unwrap(), 0);
    ip(&format!("-n {} link del tw1", lab.receiver.name));
    let error = sources[0].receive(WAIT, sink).unwrap_err();
    assert!(matches!(error, ReceiveError::InterfaceGone { interface } if interface == "tw1"));
}
