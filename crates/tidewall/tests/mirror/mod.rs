//! What the tests of `[[mirror]]` share: frames with and without tags, a service in the receiving
//! name space, and what is to be true of it and of its interface.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use serde_json::{Value, json};
use tidewall_wire::emit::Tag;

use crate::lab::{Lab, frame, until};
use crate::service::Service;

/// Frames that are sent at once.
pub const COUNT: u32 = 6000;

/// Every third with a VLAN tag, every third with two, every fifth of IPv6.
pub fn frames() -> Vec<Vec<u8>> {
    let qinq = [Tag { ethertype: 0x88a8, id: 100 }, Tag::dot1q(7)];
    let tags: [&[Tag]; 3] = [&[], &[Tag::dot1q(42)], &qinq];
    (0..COUNT).map(|n| frame(n, tags[n as usize % 3], n % 5 == 0, 9000)).collect()
}

pub const POLICY: &str = "networks = [\"192.0.2.2/32\", \"2001:db8::2/128\"]\n\
    [thresholds.incoming]\ntotal = { pps = 200 }\n[listen]\nsflow = []\nnetflow = []\n";

/// A service in the receiving name space.
pub fn inside(lab: &Lab, text: &str) -> Service {
    let mut service = Service::prepared();
    service.wrapper = ["ip", "netns", "exec", &lab.receiver.name].map(str::to_owned).to_vec();
    service.write(text);
    service
}

pub fn started(lab: &Lab, mirror: &str) -> Service {
    let mut service = inside(lab, &format!("{POLICY}{mirror}"));
    service.run();
    service
}

/// Waits until so many frames were counted, and insists that there were no more and no losses.
pub fn counted(service: &mut Service, expected: u64) {
    service.wait_for("the frames", |service| service.source("received") >= expected);
    service.wait_for("the engine", |service| {
        service.status()["records"]["received"].as_u64().unwrap() >= expected
    });
    let status = service.status();
    assert_eq!(status["received"]["received"], expected, "{status}");
    assert_eq!(status["records"]["received"], expected, "{status}");
    assert_eq!(status["records"]["counted"], expected, "{status}");
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(status["drops"], json!({}), "{status}");
}

pub fn named(service: &mut Service) {
    service.wait_for("the attacks", |service| service.attacked().len() >= 2);
    assert_eq!(service.attacked(), ["192.0.2.2", "2001:db8::2"]);
}

pub fn is_promiscuous(lab: &Lab) -> bool {
    !lab.describe().contains("promiscuity 0")
}

pub fn has_program(lab: &Lab) -> bool {
    lab.describe().contains("prog/xdp")
}

/// The kernel takes things back a moment after the process has gone.
pub fn restored(lab: &Lab) {
    until(|| {
        std::thread::sleep(Duration::from_millis(20));
        !is_promiscuous(lab) && !has_program(lab)
    });
    assert!(!is_promiscuous(lab) && !has_program(lab), "{}", lab.describe());
}

/// What the last line of the log says was counted.
pub fn last_records(service: &Service) -> u64 {
    let log = service.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["records"].as_u64()).next_back().unwrap()
}
