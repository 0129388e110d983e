//! Interfaces that go down and come up again, by their own doing or by the far end's: the log says
//! so, `tidewall status` too, and a restart is counted by every engine.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../capture/tests/common/mod.rs"]
mod lab;
mod service;

use lab::{Lab, ip, ready};
use serde_json::Value;
use service::Service;

fn told(service: &Service, words: &str) -> usize {
    service.log().matches(words).count()
}

/// What each worker says of its interface: is it down, and how often it went down.
fn interface(service: &Service) -> Vec<(bool, u64)> {
    let status = service.status();
    let of = |worker: &Value| {
        (worker["down"].as_bool().unwrap(), worker["source"]["restarts"].as_u64().unwrap())
    };
    status["workers"].as_array().unwrap().iter().map(of).collect()
}

/// Takes one end of the pair down and up again.
fn down_and_up(engine: &str, end: &str) {
    let lab = Lab::new();
    let mut service = Service::prepared();
    service.wrapper = ["ip", "netns", "exec", &lab.receiver.name].map(str::to_owned).to_vec();
    service.write(&format!(
        "networks = [\"192.0.2.0/24\"]\n[listen]\nsflow = []\nnetflow = []\n\
         [[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"tw1\"]\n"
    ));
    service.run();
    service.wait_for("the link", |service| interface(service).iter().all(|(down, _)| !down));
    let name = if end == "tw0" { &lab.sender.name } else { &lab.receiver.name };
    let (down, up) = ("the interface is down", "the interface is up again");
    ip(&format!("-n {name} link set {end} down"));
    service.wait_for("the line", |service| told(service, down) == 1);
    service.wait_for("the status", |service| interface(service).iter().all(|is| *is == (true, 1)));
    let said = String::from_utf8(service.command(&["status"]).stdout).unwrap();
    assert!(said.contains("the interface is down"), "{said}");
    ip(&format!("-n {name} link set {end} up"));
    service.wait_for("the line", |service| told(service, up) == 1);
    service.wait_for("the status", |service| interface(service).iter().all(|is| *is == (false, 1)));
    assert_eq!((told(&service, down), told(&service, up)), (1, 1), "{}", service.log());
    assert!(service.log().contains(&format!("{engine} tw1: the interface")), "{}", service.log());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn an_interface_that_goes_down_and_comes_up_is_told() {
    if ready("an_interface_that_goes_down_and_comes_up_is_told") {
        for engine in ["af_packet", "af_xdp"] {
            down_and_up(engine, "tw1");
        }
    }
}

#[test]
fn a_link_that_the_far_end_lets_go_is_told() {
    if ready("a_link_that_the_far_end_lets_go_is_told") {
        for engine in ["af_packet", "af_xdp"] {
            down_and_up(engine, "tw0");
        }
    }
}
