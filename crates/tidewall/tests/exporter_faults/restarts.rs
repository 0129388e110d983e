//! Routers that start anew, with other layouts under the ids that they had, and with data before
//! templates.

use std::time::Duration;

use serde_json::{Value, json};
use tidewall_wire::netflow::Protocol;

use crate::router::{Flow, LAYOUTS, Router};
use crate::service::Service;

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 100_000 }\n";
/// Flows in each datagram.
const FLOWS: u64 = 5;
const EXPORTERS: &str = r#"{"ask":"exporters"}"#;
const QUIET: Flow = Flow { host: 7, packets: 1, start: 0, end: 0 };

fn sum(service: &Service, counter: &str) -> u64 {
    let list = service.data(EXPORTERS);
    list.as_array().unwrap().iter().map(|exporter| exporter[counter].as_u64().unwrap()).sum()
}

/// What was counted of all that was sent, and what was not.
fn counted(service: &Service) -> (Value, Value) {
    let status = service.status();
    assert_eq!(status["records"]["received"], status["records"]["counted"], "{status}");
    (status["records"]["counted"].clone(), status["drops"].clone())
}

/// Whom the flows were for, as they were read; none of them came from us.
fn hosts(service: &Service) -> Vec<String> {
    let hosts = service.data(r#"{"ask":"hosts"}"#);
    let hosts = hosts.as_array().unwrap().iter();
    assert!(hosts.clone().all(|host| host["outgoing"]["pps"] == 0), "{hosts:?}");
    let mut hosts: Vec<_> = hosts.map(|host| host["host"].as_str().unwrap().to_owned()).collect();
    hosts.sort();
    hosts
}

#[test]
fn layouts_of_before_are_not_applied_v9() {
    layouts_of_before_are_not_applied(Protocol::V9);
}

#[test]
fn layouts_of_before_are_not_applied_ipfix() {
    layouts_of_before_are_not_applied(Protocol::Ipfix);
}

fn layouts_of_before_are_not_applied(protocol: Protocol) {
    let mut service = Service::start(LIMITS);
    let mut router = Router::new(protocol, service.netflow);
    for layout in [LAYOUTS[0], LAYOUTS[1], LAYOUTS[0], LAYOUTS[1]] {
        router.start();
        router.define(256, layout);
        (0..200).for_each(|_| router.flows(256, layout, QUIET, FLOWS));
    }
    service.wait_for("all", |service| sum(service, "datagrams") == router.datagrams);
    service.wait_for("the window", |service| counted(service).0 == router.flows);
    assert_eq!(counted(&service), (json!(4000), json!({})));
    let (lost, restarts) = (sum(&service, "lost"), sum(&service, "restarts"));
    assert_eq!((lost, restarts), (0, 3), "{}", service.data(EXPORTERS));
    service.wait_for("the attack", |service| {
        let flood = Flow { host: 9, packets: 10_000, ..Flow::default() };
        (0..20).for_each(|_| router.flows(256, LAYOUTS[1], flood, FLOWS));
        service.attacked().contains(&"192.0.2.9".to_owned())
    });
    assert_eq!(service.attacked(), ["192.0.2.9"]);
    service.wait_for("the hosts", |service| hosts(service).len() > 1);
    assert_eq!(hosts(&service), ["192.0.2.7", "192.0.2.9"]);
    assert!(service.log().lines().count() < 20, "{}", service.log());
}

#[test]
fn data_before_its_template_waits_v9() {
    let mut service = Service::start(LIMITS);
    let mut router = Router::new(Protocol::V9, service.netflow);
    router.define(256, LAYOUTS[0]);
    (0..50).for_each(|_| router.flows(256, LAYOUTS[0], QUIET, FLOWS));
    router.start();
    data_before_its_template_waits(&mut service, router, 300);
    assert_eq!((sum(&service, "restarts"), sum(&service, "lost")), (1, 0));
}

/// With another port it is another session, in which no id means what it meant before.
#[test]
fn data_before_its_template_waits_ipfix() {
    let mut service = Service::start(LIMITS);
    let mut before = Router::new(Protocol::Ipfix, service.netflow);
    before.define(256, LAYOUTS[0]);
    (0..50).for_each(|_| before.flows(256, LAYOUTS[0], QUIET, FLOWS));
    let mut router = Router::new(Protocol::Ipfix, service.netflow);
    (router.datagrams, router.flows) = (before.datagrams, before.flows);
    data_before_its_template_waits(&mut service, router, 256);
    let exporters = service.data(EXPORTERS);
    assert_eq!(exporters.as_array().unwrap().len(), 2, "{exporters}");
    assert_eq!((sum(&service, "restarts"), sum(&service, "lost")), (0, 0), "{exporters}");
}

/// What was sent in three seconds, counted in the moment in which its template comes, would be an
/// attack.
#[test]
fn a_template_that_comes_late_is_no_attack() {
    let mut service = Service::start(LIMITS);
    let mut router = Router::new(Protocol::V9, service.netflow);
    let usual = Flow { host: 7, packets: 1000, ..Flow::default() };
    let tenths = |router: &mut Router, number: u32| {
        for _ in 0..number {
            router.flows(256, LAYOUTS[0], usual, FLOWS);
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    tenths(&mut router, 30);
    router.define(256, LAYOUTS[0]);
    tenths(&mut router, 20);
    assert_eq!(service.attacked(), Vec::<String>::new());
    let late = service.status()["drops"]["template_late"].as_u64();
    assert!(late.is_some_and(|flows| (25 * FLOWS..=30 * FLOWS).contains(&flows)), "{late:?}");
    service.wait_for("the attack", |service| {
        let flood = Flow { host: 9, packets: 10_000, ..Flow::default() };
        (0..20).for_each(|_| router.flows(256, LAYOUTS[0], flood, FLOWS));
        service.attacked().contains(&"192.0.2.9".to_owned())
    });
    assert_eq!(service.attacked(), ["192.0.2.9"]);
    let told = service.log();
    assert!(told.contains("template_late"), "{told}");
    assert!(told.contains("have templates sent once a minute"), "{told}");
}

fn data_before_its_template_waits(service: &mut Service, mut router: Router, id: u16) {
    /// Sets of an exporter that may wait.
    const ROOM: u64 = 256;
    const NEVER: u64 = 20;
    let before = router.flows;
    // On a busy machine it may take too long until a template is sent.
    let late = |drops: &Value| drops["template_late"].as_u64().unwrap_or(0) / FLOWS;
    (0..NEVER).for_each(|_| router.flows(400, LAYOUTS[0], QUIET, FLOWS));
    (0..50).for_each(|_| router.flows(id, LAYOUTS[1], QUIET, FLOWS));
    router.define(id, LAYOUTS[1]);
    (0..10).for_each(|_| router.flows(id, LAYOUTS[1], QUIET, FLOWS));
    // More than may wait.
    (0..300).for_each(|_| router.flows(401, LAYOUTS[0], QUIET, FLOWS));
    router.define(401, LAYOUTS[0]);
    let without = NEVER + 300 - (ROOM - NEVER);
    // The last ones are given up after ten seconds.
    service.wait_for("the last", |service| {
        sum(service, "datagrams") == router.datagrams
            && counted(service).1["no_template"] == json!(without)
    });
    let (flows, drops) = counted(service);
    let sets = 60 + ROOM - NEVER - late(&drops);
    assert_eq!(flows, json!(before + FLOWS * sets), "{drops}");
    assert!(sets > 60, "{drops}");
    let missing = FLOWS * (without + late(&drops));
    assert_eq!(flows.as_u64().unwrap() + missing, router.flows, "nothing else is missing");
    let exporters = service.data(EXPORTERS);
    let missing: Vec<&Value> = exporters
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|exporter| exporter["missing_templates"].as_array().unwrap())
        .collect();
    assert_eq!(missing.len(), 1, "{exporters}");
    assert_eq!((&missing[0]["id"], &missing[0]["sets"]), (&json!(400), &json!(NEVER)));
    service.wait_for("the hosts", |service| hosts(service) == ["192.0.2.7"]);
    assert!(service.log().lines().count() < 20, "{}", service.log());
}
