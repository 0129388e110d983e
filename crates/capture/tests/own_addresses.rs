//! The machine's own addresses against the kernel: now, and as they change.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real network")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::{Lab, ip, ready, until};
use tidewall_capture::own_addresses::{
    AddressChange, AddressScope, AddressWatch, OwnAddress, own_addresses,
};

const WAIT: Duration = Duration::from_millis(50);

fn changes(watch: &mut AddressWatch, expected: usize) -> Vec<AddressChange> {
    let mut changes = Vec::new();
    until(|| {
        watch.receive(WAIT, |change| changes.push(change)).unwrap();
        changes.len() >= expected
    });
    changes
}

#[test]
fn addresses_are_told_now_and_as_they_change() {
    if !ready("addresses_are_told_now_and_as_they_change") {
        return;
    }
    let lab = Lab::new();
    let name = &lab.receiver.name;
    let mut watch = lab.receiver.run(|| AddressWatch::open().unwrap());
    let all = || lab.receiver.run(|| own_addresses().unwrap());
    let texts = || all().iter().map(|own| own.address.to_string()).collect::<Vec<_>>();
    assert_eq!(texts(), ["127.0.0.1", "192.0.2.2", "::1"]);
    assert_eq!(watch.receive(WAIT, |_| ()).unwrap(), 0);
    ip(&format!("-n {name} address add 198.51.100.7/25 dev tw1"));
    ip(&format!("-n {name} address add 2001:db8:5::7/48 dev tw1 nodad"));
    let own = |text: &str, prefix_length| OwnAddress {
        address: text.parse::<IpAddr>().unwrap().into(),
        prefix_length,
        interface: all().iter().find(|a| a.prefix_length == 24).unwrap().interface,
        scope: AddressScope::Global,
    };
    let (v4, v6) = (own("198.51.100.7", 25), own("2001:db8:5::7", 48));
    let added = changes(&mut watch, 2);
    assert!(added.contains(&AddressChange::Added(v4)), "{added:?}");
    assert!(added.contains(&AddressChange::Added(v6)), "{added:?}");
    assert_eq!(v4.network().to_string(), "198.51.100.0/25");
    assert_eq!(texts(), ["127.0.0.1", "192.0.2.2", "198.51.100.7", "::1", "2001:db8:5::7"]);
    ip(&format!("-n {name} address del 198.51.100.7/25 dev tw1"));
    assert!(changes(&mut watch, 1).contains(&AddressChange::Removed(v4)));
    ip(&format!("-n {name} link del tw1"));
    assert!(changes(&mut watch, 2).contains(&AddressChange::Removed(v6)));
    assert_eq!(texts(), ["127.0.0.1", "::1"]);
}

#[test]
fn a_dump_of_many_addresses_is_whole() {
    if !ready("a_dump_of_many_addresses_is_whole") {
        return;
    }
    let lab = Lab::new();
    let name = &lab.receiver.name;
    let mut watch = lab.receiver.run(|| AddressWatch::open().unwrap());
    let batch: Vec<String> = (0..3000)
        .map(|n| format!("address add 10.0.{}.{}/32 dev lo", n / 250, n % 250 + 1))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), batch.join("\n")).unwrap();
    ip(&format!("-n {name} -batch {}", file.path().display()));
    assert_eq!(lab.receiver.run(|| own_addresses().unwrap()).len(), 3003);
    // Nobody read the changes: either all are there, or their loss is told.
    let mut changes = Vec::new();
    while watch.receive(WAIT, |change| changes.push(change)).unwrap() > 0 {}
    assert!(changes.contains(&AddressChange::Missed) || changes.len() == 3000, "{}", changes.len());
}
