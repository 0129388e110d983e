use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use tidewall_capture::VlanTag;
use tidewall_model::{Address, Family};
use tidewall_wire::frame::LinkType;

use super::ring::SLOTS;
use super::*;

const SECOND: u64 = 1_000_000_000;
const VICTIM: u32 = 0xc000_0207;
const SENDER: u32 = 0xcb00_7109;

fn record(src: u32, dst: u32) -> FlowRecord {
    FlowRecord { src: src.into(), dst: dst.into(), ..FlowRecord::default() }
}

fn six(src: u128, dst: u128) -> FlowRecord {
    FlowRecord { family: Family::V6, src, dst, ..FlowRecord::default() }
}

fn seen(time: u64, data: &[u8]) -> SeenFrame<'_> {
    let wire_length = data.len() as u32;
    let time = Timestamp(time);
    SeenFrame { link: LinkType::ETHERNET, time, data, wire_length, vlan: None }
}

fn victim() -> Target {
    Target::Host(Address::v4(VICTIM))
}

fn switched_on() -> (FrameTap, WorkerTap) {
    let tap = FrameTap::default();
    let worker = tap.worker();
    tap.enable(true);
    (tap, worker)
}

/// Offers `count` frames to the victim in a batch of its own.
fn batch(worker: &WorkerTap, time: u64, count: u64) {
    let mut open = worker.open(Timestamp(time)).unwrap();
    for number in 0..count {
        open.offer(&seen(time + number, &number.to_be_bytes()), &record(SENDER, VICTIM));
    }
}

fn all(tap: &FrameTap) -> Vec<CapturedFrame> {
    tap.before(&victim(), Direction::Incoming, Timestamp::ZERO, usize::MAX)
}

fn times(frames: &[CapturedFrame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.time.0).collect()
}

#[test]
fn off_nothing_is_kept_and_on_it_is() {
    let tap = FrameTap::default();
    let worker = tap.worker();
    assert!(worker.open(Timestamp(1)).is_none());
    let refused = tap.follow(&victim(), Direction::Incoming, 5, Timestamp(SECOND));
    assert!(refused.is_complete(Timestamp(1)) && refused.take().is_empty());
    tap.enable(true);
    batch(&worker, SECOND, 3);
    assert_eq!(times(&all(&tap)), [SECOND, SECOND + 1, SECOND + 2]);
    // One that begins later is on, too.
    let other = tap.worker();
    batch(&other, 2 * SECOND, 1);
    assert_eq!(all(&tap).len(), 4);
    drop(worker);
    batch(&tap.worker(), 3 * SECOND, 1);
    let left = [2 * SECOND, 3 * SECOND];
    assert_eq!(times(&all(&tap)), left, "who ended is forgotten when another one begins");
    tap.enable(false);
    assert!(other.open(Timestamp(SECOND)).is_none());
    tap.enable(true);
    assert!(all(&tap).is_empty());
    assert_eq!(tap.counters(), TapCounters { kept: 5, ..TapCounters::default() });
}

#[test]
fn the_ring_holds_the_last_frames() {
    let (tap, worker) = switched_on();
    // A thousand a second: all are kept.
    for period in 10..70 {
        batch(&worker, period * SECOND / 10, 100);
    }
    let frames = all(&tap);
    let last: Vec<u64> = (10..70)
        .flat_map(|period| (0..100).map(move |number| period * SECOND / 10 + number))
        .skip(6000 - SLOTS)
        .collect();
    assert_eq!(times(&frames), last);
    let number = |frame: &CapturedFrame| (frame.time.0 % (SECOND / 10)).to_be_bytes();
    assert!(frames.iter().all(|frame| frame.bytes == number(frame)));
    let since = Timestamp(69 * SECOND / 10);
    let found = |most| times(&tap.before(&victim(), Direction::Incoming, since, most));
    assert_eq!(found(500), last[SLOTS - 100..]);
    let every_fourth: Vec<u64> = last[SLOTS - 100..].iter().copied().step_by(4).collect();
    assert_eq!(found(25), every_fourth, "spread evenly");
    assert!(found(0).is_empty());
}

#[test]
fn the_ring_lasts_for_two_seconds_at_any_rate() {
    let (tap, worker) = switched_on();
    let mut now = SECOND;
    let mut run = |rate: u64, seconds: u64| {
        for _ in 0..seconds * 1000 {
            now += SECOND / 1000;
            batch(&worker, now, rate / 1000);
        }
        now
    };
    for rate in [20_000, 3_000_000] {
        let end = run(rate, 4);
        let span = end - all(&tap)[0].time.0;
        assert!((SECOND * 17 / 10..SECOND * 26 / 10).contains(&span), "{rate}: {span}");
    }
    // Back to a rate at which every frame has its place.
    run(1000, 2);
    let before = tap.counters();
    run(1000, 2);
    let after = tap.counters();
    assert_eq!((after.passed_over, after.kept), (before.passed_over, before.kept + 2000));
    // A flood within one period, at no time to adapt to, does not push out what was before.
    let quiet = now + 1;
    batch(&worker, quiet, 5_000_000);
    let frames = all(&tap);
    let flood = frames.iter().filter(|frame| frame.time.0 >= quiet).count();
    assert!((1000..SLOTS - 1000).contains(&flood), "{flood}");
    assert_eq!(tap.counters().kept - after.kept, flood as u64);
    assert_eq!(frames.len(), SLOTS);
}

#[test]
fn a_pattern_in_the_traffic_meets_none_of_ours() {
    let (tap, worker) = switched_on();
    for period in 10..60 {
        let now = period * SECOND / 10;
        let mut open = worker.open(Timestamp(now)).unwrap();
        for number in 0..816 {
            let destination = VICTIM + u32::from(number % 4 != 0);
            open.offer(&seen(now, &[]), &record(SENDER, destination));
        }
    }
    let (mine, kept) = (all(&tap).len() as f64, tap.counters().kept.min(SLOTS as u64) as f64);
    assert!(tap.counters().passed_over > 10_000);
    assert!((0.2..0.3).contains(&(mine / kept)), "{mine} of {kept}");
}

#[test]
fn frames_are_found_by_target_and_direction() {
    let (tap, worker) = switched_on();
    let (us, them) = (0x2001_0db8_0002 << 80 | 7, 0x2001_0db8_0001 << 80 | 9);
    let records = [
        record(SENDER, VICTIM),
        record(VICTIM, SENDER),
        record(SENDER, VICTIM + 1),
        // The same number is another address.
        six(SENDER.into(), VICTIM.into()),
        six(them, us),
        six(us, them),
    ];
    let host = |bits| Target::Host(Address::v6(bits));
    let network = |text: &str| Target::Network(text.parse().unwrap());
    let cases: [(Target, Direction, &[u64]); 11] = [
        (victim(), Direction::Incoming, &[0]),
        (victim(), Direction::Outgoing, &[1]),
        (victim(), Direction::Internal, &[0, 1]),
        (host(us), Direction::Incoming, &[4]),
        (host(us), Direction::Outgoing, &[5]),
        (network("192.0.2.0/24"), Direction::Incoming, &[0, 2]),
        (network("192.0.2.7/32"), Direction::Incoming, &[0]),
        (network("0.0.0.0/0"), Direction::Incoming, &[0, 1, 2]),
        (network("2001:db8:2::/64"), Direction::Incoming, &[4]),
        (network("::/0"), Direction::Outgoing, &[3, 4, 5]),
        (Target::Group("mine".to_owned()), Direction::Incoming, &[]),
    ];
    let follow = |(target, direction, _): &(_, _, _)| {
        tap.follow(target, *direction, 10, Timestamp(9 * SECOND))
    };
    let following: Vec<Following> = cases.iter().map(follow).collect();
    let mut open = worker.open(Timestamp(SECOND)).unwrap();
    for (number, record) in records.iter().enumerate() {
        open.offer(&seen(number as u64, b"frame"), record);
    }
    drop(open);
    for ((target, direction, expected), following) in cases.iter().zip(&following) {
        let before = tap.before(target, *direction, Timestamp::ZERO, 10);
        assert_eq!(times(&before), *expected, "{target} {direction}");
        assert_eq!(times(&following.take()), *expected, "{target} {direction}");
        let is_group = matches!(target, Target::Group(_));
        assert_eq!(following.is_complete(Timestamp(SECOND)), is_group);
    }
}

#[test]
fn following_frames_come_until_there_are_enough_or_the_time_is_over() {
    let (tap, worker) = switched_on();
    let other = tap.worker();
    let until = Timestamp(3 * SECOND);
    let follow = |most| tap.follow(&victim(), Direction::Incoming, most, until);
    let (few, many) = (follow(7), follow(usize::MAX));
    batch(&worker, SECOND + 10, 5);
    batch(&other, SECOND, 5);
    let now = Timestamp(SECOND);
    assert!(few.is_complete(now) && !many.is_complete(now));
    let expected = [0, 1, 10, 11, 12, 13, 14].map(|time| SECOND + time);
    assert_eq!(times(&few.take()), expected, "in the order of time");
    assert!(few.take().is_empty());
    assert_eq!(many.take().len(), 10);
    let long = vec![7; 64 * 1024];
    let mut open = worker.open(until).unwrap();
    for _ in 0..MOST_FRAMES {
        open.offer(&seen(until.0, &long), &record(SENDER, VICTIM));
    }
    drop(open);
    let frames = many.take();
    assert_eq!(frames.len(), MOST_FRAMES - 10);
    assert!(frames.iter().all(|frame| frame.bytes.len() == 1500));
    assert!(frames.iter().all(|frame| frame.original_length == 65_536));
    let late = follow(5);
    batch(&worker, until.0 + 1, 5);
    assert!(late.is_complete(until + Duration::from_nanos(1)) && late.take().is_empty());
    assert!(worker.place.with(|store| store.followed.is_empty()), "what is over is let go of");
}

#[test]
fn captures_are_bounded() {
    let (tap, worker) = switched_on();
    let follow = || tap.follow(&victim(), Direction::Incoming, 5, Timestamp(9 * SECOND));
    let mut all: Vec<Following> = (0..MOST_FOLLOWED).map(|_| follow()).collect();
    let refused = follow();
    assert!(refused.is_complete(Timestamp(1)));
    drop(refused);
    assert_eq!(tap.counters().refused, 1);
    all.pop();
    let again = follow();
    assert!(!again.is_complete(Timestamp(1)));
    batch(&worker, SECOND, 5);
    assert!(all.iter().all(|following| following.take().len() == 5));
    assert_eq!(again.take().len(), 5);
    assert_eq!(tap.counters().refused, 1);
}

#[test]
fn a_worker_waits_for_nobody_and_busy_workers_hold_up_nobody() {
    let (tap, worker) = switched_on();
    worker.place.with(|_| assert!(worker.open(Timestamp(SECOND)).is_none()));
    assert_eq!(tap.counters().missed_batches, 1);
    let capture = Arc::new(Capture::new(
        Wanted::of(&victim(), Direction::Incoming).unwrap(),
        5,
        Timestamp(SECOND),
    ));
    worker.place.with(|store| store.followed.push(Arc::clone(&capture)));
    let busy = locked(&capture.kept);
    batch(&worker, SECOND, 2);
    drop(busy);
    assert_eq!(tap.counters().missed_frames, 2);
    // Threads that do nothing but keep frames, against one that does nothing but ask.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers = [tap.worker(), tap.worker()];
        for worker in workers {
            let stop = &stop;
            scope.spawn(move || {
                let frame = [9; 60];
                for time in SECOND.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let Some(mut open) = worker.open(Timestamp(time * 1000)) else { continue };
                    for _ in 0..1000 {
                        open.offer(&seen(time, &frame), &record(SENDER, VICTIM));
                    }
                }
            });
        }
        for _ in 0..50 {
            let following = tap.follow(&victim(), Direction::Incoming, 100, Timestamp(u64::MAX));
            while !following.is_complete(Timestamp::ZERO) {
                std::thread::yield_now();
            }
            assert_eq!(following.take().len(), 100);
            assert!(all(&tap).len() <= 3 * SLOTS);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_frame_comes_out_as_ethernet() {
    let restore = |frame: &SeenFrame<'_>| {
        let (tap, worker) = switched_on();
        let mut open = worker.open(Timestamp(SECOND)).unwrap();
        open.offer(frame, &record(SENDER, VICTIM));
        drop(open);
        all(&tap).pop()
    };
    let ip = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 61, 17, 0, 0][..], &[192, 0, 2, 1, 192, 0, 2, 2]];
    let ip = [&ip.concat()[..], &[0, 53, 0, 99, 0, 8, 0, 0]].concat();
    let plain = [&[2; 6][..], &[4; 6], &[8, 0], &ip].concat();
    assert_eq!(restore(&seen(5, &plain)).unwrap().bytes, plain);
    let vlan = Some(VlanTag { ethertype: 0x88a8, control: 0xe02a });
    let frame = restore(&SeenFrame { vlan, wire_length: 46, ..seen(5, &plain) }).unwrap();
    let tagged = [&plain[..12], &[0x88, 0xa8, 0xe0, 0x2a], &plain[12..]].concat();
    assert_eq!((frame.bytes, frame.original_length), (tagged, 46));
    let made_up = [&[0; 12][..], &[8, 0], &ip].concat();
    let cooked = [&[0; 14][..], &[8, 0], &ip].concat();
    for (link, data, front) in [(LinkType::RAW, &ip, 0), (LinkType::LINUX_SLL, &cooked, 16)] {
        let frame = SeenFrame { link, wire_length: 1000 + front, ..seen(5, data) };
        let frame = restore(&frame).unwrap();
        assert_eq!((frame.bytes, frame.original_length), (made_up.clone(), 1014));
    }
    let six = [&[0x60, 0, 0, 0, 0, 0, 59, 64][..], &[7; 32]].concat();
    let frame = restore(&SeenFrame { link: LinkType::IPV6, ..seen(5, &six) }).unwrap();
    assert_eq!(frame.bytes[12..14], [0x86, 0xdd]);
    assert_eq!(restore(&SeenFrame { link: LinkType::RAW, ..seen(5, &[]) }), None);
    let huge = vec![1; 1 << 16];
    let frame = restore(&SeenFrame { wire_length: 0, ..seen(5, &huge) }).unwrap();
    assert_eq!((frame.bytes.len(), frame.original_length), (256, 256));
}

#[test]
fn a_source_is_believed_about_time_where_it_can_be() {
    let now = Timestamp(100 * SECOND);
    let near = [now - Duration::from_secs(1), now, now + Duration::from_secs(1)];
    assert_eq!(near.map(|time| time_of(time, now)), near);
    for far in [Timestamp::ZERO, now - Duration::from_millis(1001), Timestamp(u64::MAX)] {
        assert_eq!(time_of(far, now), now);
    }
}

proptest! {
    #[test]
    fn any_bytes_of_any_link_do_no_harm(
        link in prop::sample::select(LinkType::SUPPORTED),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        wire_length: u32,
        tag in prop::option::of(any::<(u16, u16)>()),
    ) {
        let (tap, worker) = switched_on();
        let following = tap.follow(&victim(), Direction::Incoming, 5, Timestamp(SECOND));
        let vlan = tag.map(|(ethertype, control)| VlanTag { ethertype, control });
        let frame = SeenFrame { link, wire_length, vlan, ..seen(SECOND, &bytes) };
        worker.open(Timestamp(SECOND)).unwrap().offer(&frame, &record(SENDER, VICTIM));
        for (frames, snap) in [(all(&tap), 256), (following.take(), 1500)] {
            for frame in frames {
                prop_assert!(frame.bytes.len() <= bytes.len().min(snap) + 14);
                prop_assert!(frame.original_length as usize >= frame.bytes.len());
            }
        }
    }
}

#[test]
fn a_worker_that_comes_later_takes_part_in_captures_that_go_on() {
    let (tap, first) = switched_on();
    let until = Timestamp(10 * SECOND);
    let following = tap.follow(&victim(), Direction::Incoming, 10, until);
    let full = tap.follow(&victim(), Direction::Incoming, 1, until);
    batch(&first, SECOND, 1);
    let second = tap.worker();
    drop(first);
    batch(&second, 2 * SECOND, 2);
    assert_eq!(times(&following.take()), [SECOND, 2 * SECOND, 2 * SECOND + 1]);
    assert_eq!(times(&full.take()), [SECOND]);
    drop(following);
    let third = tap.worker();
    batch(&third, 3 * SECOND, 1);
    assert_eq!(tap.counters().missed_frames, 0);
    // One that begins after workers have come and gone finds those who are there.
    let last = tap.follow(&victim(), Direction::Incoming, 10, until);
    batch(&third, 4 * SECOND, 1);
    assert_eq!(times(&last.take()), [4 * SECOND]);
}
