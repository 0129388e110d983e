//! A service that does not run for seconds: what piled up meanwhile is no attack.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidewall_wire::netflow::Protocol;

use crate::router::{Flow, LAYOUTS, Router};
use crate::service::Service;

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 100_000 }\n";
/// Flows in each datagram.
const FLOWS: u64 = 5;

fn signal(service: &Service, signal: &str) {
    let id = service.child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

fn left_out(service: &Service) -> Option<u64> {
    service.status()["drops"]["stalled"].as_u64()
}

#[test]
fn what_piled_up_is_left_out_and_told() {
    let mut service = Service::start(LIMITS);
    let mut router = Router::new(Protocol::V9, service.netflow);
    router.define(256, LAYOUTS[0]);
    // Half the limit.
    let usual = Flow { host: 7, packets: 1000, ..Flow::default() };
    let tenths = |router: &mut Router, number: u32| {
        for _ in 0..number {
            router.flows(256, LAYOUTS[0], usual, FLOWS);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    tenths(&mut router, 10);
    assert_eq!(left_out(&service), None, "{}", service.status());
    signal(&service, "-STOP");
    tenths(&mut router, 40);
    signal(&service, "-CONT");
    tenths(&mut router, 20);
    assert_eq!(service.attacked(), Vec::<String>::new(), "{}", service.log());
    assert_eq!(service.source("received"), router.datagrams, "nothing is lost");
    let left_out = left_out(&service).expect("some are left out");
    assert!((35 * FLOWS..=45 * FLOWS).contains(&left_out), "{left_out}");
    service.wait_for("the windows", |service| {
        service.status()["records"]["received"] == router.flows - left_out
    });
    let told = |line: &Value| {
        line["message"].as_str().unwrap().contains("had piled up while the service did not run")
    };
    let lines = service.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.filter(told).count(), 1, "{}", service.log());
    // What comes now is found.
    service.wait_for("the attack", |service| {
        let flood = Flow { host: 9, packets: 10_000, ..Flow::default() };
        (0..20).for_each(|_| router.flows(256, LAYOUTS[0], flood, FLOWS));
        service.attacked() == ["192.0.2.9"]
    });
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
