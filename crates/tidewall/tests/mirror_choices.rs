//! What a `[[mirror]]` can choose, through the whole service: several interfaces, all queues, what
//! the kernel leaves out, what a frame stands for, and how frames come into memory.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../capture/tests/common/mod.rs"]
mod lab;
mod mirror;
mod service;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::{FrameSender, Lab, ip, ready, until};
use mirror::{COUNT, POLICY, counted, frames, has_program, named, restored, started};
use serde_json::Value;
use service::{RELOAD, Service};

/// Which frames are meant.
type Choice = fn(u32) -> bool;

/// A second pair of interfaces, with one queue each: `tw2` sends to `tw3`.
fn second_pair(lab: &Lab) -> FrameSender {
    let (a, b) = (&lab.sender.name, &lab.receiver.name);
    ip(&format!("link add name tw2 netns {a} type veth peer name tw3 netns {b}"));
    for (name, interface) in [(a, "tw2"), (b, "tw3")] {
        ip(&format!("-n {name} link set {interface} addrgenmode none"));
        ip(&format!("-n {name} link set {interface} up"));
    }
    lab.sender.run(|| FrameSender::new("tw2"))
}

/// Whether the second interface is as nobody uses it.
fn second_is_free(lab: &Lab) -> bool {
    let shown = ip(&format!("-d -n {} link show tw3", lab.receiver.name)).stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    shown.contains("promiscuity 0") && !shown.contains("prog/xdp")
}

/// Frames of the workers whose names have this in them.
fn records_of(status: &Value, part: &str) -> u64 {
    let workers = status["workers"].as_array().unwrap().iter();
    let of = workers.filter(|worker| worker["name"].as_str().unwrap().contains(part));
    of.map(|worker| worker["records"].as_u64().unwrap()).sum()
}

#[test]
fn several_interfaces_at_once() {
    if !ready("several_interfaces_at_once") {
        return;
    }
    let lab = Lab::new();
    let senders = [lab.frame_sender(), second_pair(&lab)];
    let mirror = |engine: &str, interfaces: &str| {
        format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = [{interfaces}]\n")
    };
    let cases = [
        mirror("af_packet", "\"tw1\", \"tw3\""),
        mirror("af_xdp", "\"tw1\", \"tw3\""),
        mirror("af_packet", "\"tw1\"") + &mirror("af_xdp", "\"tw3\""),
    ];
    for text in cases {
        let mut service = started(&lab, &text);
        assert!(!second_is_free(&lab), "{text}");
        let frames = frames();
        std::thread::scope(|scope| {
            scope.spawn(|| senders[0].send_all(&frames));
            scope.spawn(|| senders[1].send_all(&frames[..2000]));
        });
        named(&mut service);
        counted(&mut service, u64::from(COUNT) + 2000);
        // Workers report once a second.
        service.wait_for("the reports", |service| {
            records_of(&service.status(), "") == u64::from(COUNT) + 2000
        });
        let status = service.status();
        assert_eq!(records_of(&status, " tw1 "), u64::from(COUNT), "{status}");
        assert_eq!(records_of(&status, " tw3 "), 2000, "{status}");
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
        restored(&lab);
        until(|| {
            std::thread::sleep(Duration::from_millis(20));
            second_is_free(&lab)
        });
        assert!(second_is_free(&lab), "{text}");
    }
}

#[test]
fn every_queue_of_af_xdp_has_a_worker() {
    if !ready("every_queue_of_af_xdp_has_a_worker") {
        return;
    }
    let lab = Lab::new();
    // Behind the driver veth knows the first queue only.
    let mirror = "[[mirror]]\nengine = \"af_xdp\"\ninterfaces = [\"tw1\"]\nmode = \"native\"\n";
    let mut service = started(&lab, mirror);
    // A thousand flows: the sending kernel deals them to both queues.
    lab.frame_sender().send_all(&frames());
    counted(&mut service, COUNT.into());
    service
        .wait_for("the reports", |service| records_of(&service.status(), "") == u64::from(COUNT));
    let status = service.status();
    for queue in ["af_xdp tw1 queue 0", "af_xdp tw1 queue 1"] {
        assert!(records_of(&status, queue) > u64::from(COUNT) / 10, "{queue}: {status}");
    }
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    restored(&lab);
}

/// Packets that all windows together tell of while `send` sends, and afterwards until nothing comes
/// any more; `None` when a window may have been missed because the machine is busy.
fn told(service: &Service, send: impl FnOnce() + Send) -> Option<u64> {
    std::thread::scope(|scope| {
        let sending = scope.spawn(send);
        let mut windows = BTreeMap::new();
        let mut looked = Instant::now();
        let mut last = None;
        loop {
            let status = service.status();
            if looked.elapsed() > Duration::from_millis(900) {
                return None;
            }
            looked = Instant::now();
            let start = status["window"]["start"].to_string();
            let packets = status["totals"]["incoming"]["total"]["pps"].as_u64().unwrap();
            windows.insert(start, packets);
            if !sending.is_finished() {
                last = None;
            } else if packets > 0 || last.is_none() {
                last = Some(looked);
            }
            if last.is_some_and(|last| last.elapsed() > Duration::from_millis(2500)) {
                return Some(windows.values().sum());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

/// Sends, until no window was missed; gives the frames that were received of those that were sent
/// then, and the packets that they are said to stand for.
fn frames_and_packets(service: &mut Service, lab: &Lab, frames: &[Vec<u8>]) -> (u64, u64) {
    for _ in 0..5 {
        let engine = |service: &Service| service.status()["records"]["received"].as_u64().unwrap();
        let before = engine(service);
        let sender = lab.frame_sender();
        let packets = told(service, || sender.send_all(frames));
        let received = engine(service);
        service.wait_for("the reports", |service| service.source("received") == received);
        if let Some(packets) = packets {
            return (received - before, packets);
        }
    }
    panic!("the machine is too busy for this test");
}

#[test]
fn a_frame_stands_for_as_many_as_is_said() {
    if !ready("a_frame_stands_for_as_many_as_is_said") {
        return;
    }
    let lab = Lab::new();
    let frames = frames();
    let sent = u64::from(COUNT);
    for (engine, sampling) in
        [("af_packet", 1), ("af_packet", 10), ("af_xdp", 1), ("af_xdp", 10), ("pcap", 1)]
    {
        let drawn = if sampling == 1 { "" } else { "sampling = 10\n" };
        let mirror = format!(
            "[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"tw1\"]\nmultiplier = 7\n{drawn}"
        );
        let mut service = started(&lab, &mirror);
        let (received, packets) = frames_and_packets(&mut service, &lab, &frames);
        // A frame in ten is drawn by lot: six standard deviations are 140.
        let most = if sampling == 1 { 0 } else { 140 };
        assert!(received.abs_diff(sent / sampling) <= most, "{mirror}: {received}");
        assert_eq!(packets, received * sampling * 7, "{mirror}");
        let status = service.status();
        assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
        assert_eq!(status["drops"], serde_json::json!({}), "{status}");
        // 6,000 frames in a tenth of a second or two, or a tenth of them that count ten times.
        named(&mut service);
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}

#[test]
fn what_is_on_the_drop_list_is_not_counted() {
    if !ready("what_is_on_the_drop_list_is_not_counted") {
        return;
    }
    let lab = Lab::new();
    let of_v6 = u64::from(COUNT) / 5;
    let of_v4 = u64::from(COUNT) - of_v6;
    for (mode, list, dropped, target) in [
        // The sender's address, and the network of the target.
        ("native", "\"192.0.2.1/32\"", of_v4, "2001:db8::2"),
        ("generic", "\"198.51.100.0/24\", \"2001:db8::/64\"", of_v6, "192.0.2.2"),
    ] {
        let mirror = "[[mirror]]\nengine = \"af_xdp\"\ninterfaces = [\"tw1\"]\n";
        let mut service = started(&lab, &format!("{mirror}mode = \"{mode}\"\ndrop = [{list}]\n"));
        lab.frame_sender().send_all(&frames());
        counted(&mut service, u64::from(COUNT) - dropped);
        service.wait_for("the reports", |service| service.source("filtered") >= dropped);
        assert_eq!(service.source("filtered"), dropped);
        service.wait_for("the attack", |service| !service.attacked().is_empty());
        assert_eq!(service.attacked(), [target]);
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
        restored(&lab);
    }
}

#[test]
fn frames_are_copied_when_that_is_asked_for() {
    if !ready("frames_are_copied_when_that_is_asked_for") {
        return;
    }
    let lab = Lab::new();
    let mirror = "[[mirror]]\nengine = \"af_xdp\"\ninterfaces = [\"tw1\"]\n";
    let mut service = started(&lab, &format!("{mirror}copy = \"copy\"\n"));
    lab.frame_sender().send_all(&frames());
    counted(&mut service, COUNT.into());
    // veth cannot do without, and says so; what was there is taken up again.
    service.write(&format!("{POLICY}{mirror}copy = \"zero_copy\"\n"));
    let answer = service.ask(RELOAD).unwrap();
    let said = answer["error"].as_str().unwrap();
    assert!(said.contains("the driver cannot do this: leave mode and copy to choose"), "{said}");
    service.wait_for("the return", |service| service.log().contains("is received from again"));
    assert!(has_program(&lab), "{}", lab.describe());
    lab.frame_sender().send_all(&frames());
    counted(&mut service, u64::from(COUNT) * 2);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    restored(&lab);
}

#[test]
fn a_filter_of_our_own_is_the_kernels_business() {
    if !ready("a_filter_of_our_own_is_the_kernels_business") {
        return;
    }
    let lab = Lab::new();
    let rules: [(&str, Choice); 5] = [
        ("ip6", |n| n.is_multiple_of(5)),
        ("vlan 42 and ip", |n| n % 3 == 1 && !n.is_multiple_of(5)),
        ("vlan 7 and udp and dst port 9000", |n| n % 3 == 2),
        ("dst host 192.0.2.2 and src port 1030", |n| n % 1000 == 6 && !n.is_multiple_of(5)),
        ("src net 2001:db8::/126 and vlan", |n| n.is_multiple_of(5) && !n.is_multiple_of(3)),
    ];
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n";
    let text = |rule: &str| format!("{mirror}filter = \"{rule}\"\n");
    let mut service = started(&lab, &text("icmp"));
    let mut total = 0;
    for (rule, wanted) in rules {
        service.write(&format!("{POLICY}{}", text(rule)));
        let answer = service.ask(RELOAD).unwrap();
        assert_eq!(answer["ok"], true, "{rule}: {answer}");
        lab.frame_sender().send_all(&frames());
        total += (0..COUNT).filter(|n| wanted(*n)).count() as u64;
        counted(&mut service, total);
    }
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
