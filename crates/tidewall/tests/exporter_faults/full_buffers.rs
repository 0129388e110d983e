//! Buffers of the kernel that are full because the service does not get to run: what it says of
//! that is what is missing, by the kernel's count and by the exporters' own numbers.

use std::fs;
use std::net::UdpSocket;

use serde_json::Value;
use tidewall_wire::netflow::Protocol;

use crate::malformed::{held, samples};
use crate::router::{Flow, LAYOUTS, Router};
use crate::service::{Service, v5};

const QUIET: Flow = Flow { host: 7, packets: 1, start: 0, end: 0 };
/// Flows in a datagram of IPFIX, whose numbers count flows.
const FLOWS: u64 = 5;
/// Where two workers share the datagrams of an exporter, so many of its last ones may have come to
/// the other one only, and are not called lost.
const AT_THE_ENDS: u64 = 40;
/// Datagrams of each protocol that the kernel is given at once: more than it keeps.
const AT_ONCE: usize = 6000;

struct Exporters {
    routers: [Router; 2],
    socket: UdpSocket,
    sequence: u32,
    sflow: std::vec::IntoIter<Vec<u8>>,
}

impl Exporters {
    fn new(service: &Service) -> Self {
        let mut routers = [Protocol::V9, Protocol::Ipfix].map(|p| Router::new(p, service.netflow));
        for router in &mut routers {
            router.define(256, LAYOUTS[0]);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Seven samples in each datagram.
        let sflow = samples([192, 0, 2, 1], 7 * (AT_ONCE as u64 + 200), 7).into_iter();
        Self { routers, socket, sequence: 0, sflow }
    }

    /// Sends a datagram of each of the four.
    fn send(&mut self, service: &Service) {
        for router in &mut self.routers {
            router.flows(256, LAYOUTS[0], QUIET, FLOWS);
        }
        let datagram = v5(self.sequence, 1000 * self.sequence, 1, 7);
        self.sequence += 1;
        self.socket.send_to(&datagram, ("127.0.0.1", service.netflow)).unwrap();
        let samples = self.sflow.next().unwrap();
        self.socket.send_to(&samples, ("127.0.0.1", service.sflow)).unwrap();
    }

    /// Datagrams of NetFlow and IPFIX, and of sFlow.
    fn sent(&self) -> [u64; 2] {
        let sets: u64 = self.routers.iter().map(|router| router.datagrams).sum();
        [sets + u64::from(self.sequence), self.sequence.into()]
    }
}

/// Received and lost in the kernel by the workers of a port.
fn account(status: &Value, port: u16) -> [u64; 2] {
    let of_port = |worker: &&Value| worker["name"].as_str().unwrap().contains(&format!(":{port} "));
    let workers = status["workers"].as_array().unwrap().iter().filter(of_port);
    workers.fold([0; 2], |sums, worker| {
        let of = |counter: &str| worker["source"][counter].as_u64().unwrap();
        [sums[0] + of("received"), sums[1] + of("dropped_by_kernel")]
    })
}

/// Datagrams that are missing by the exporters' own numbers: of NetFlow and IPFIX, and of sFlow.
fn missing(service: &Service) -> [u64; 2] {
    let exporters = service.data(r#"{"ask":"exporters"}"#);
    let mut sums = [0; 2];
    for exporter in exporters.as_array().unwrap() {
        let lost = exporter["lost"].as_u64().unwrap();
        match exporter["protocol"].as_str().unwrap() {
            "sflow" => sums[1] += lost,
            "ipfix" => sums[0] += lost / FLOWS,
            _ => sums[0] += lost,
        }
    }
    sums
}

#[test]
fn what_the_kernel_could_not_keep_is_counted() {
    for workers in [1, 2] {
        let mut service = Service::prepared();
        service.configure("");
        let path = service.path("tidewall.toml");
        let listen = format!("[listen]\nworkers = {workers}");
        let text = fs::read_to_string(&path).unwrap().replace("[listen]", &listen);
        fs::write(path, text).unwrap();
        service.run();
        let ports = [service.netflow, service.sflow];
        let mut exporters = Exporters::new(&service);
        let settle = |service: &mut Service, exporters: &mut Exporters| {
            // At the end something comes through, which shows what did not.
            (0..20).for_each(|_| exporters.send(service));
            service.wait_for("the account", |service| {
                let status = service.status();
                let sums = ports.map(|port| account(&status, port).iter().sum::<u64>());
                sums == exporters.sent()
            });
        };
        settle(&mut service, &mut exporters);
        let quiet = service.status();
        assert_eq!(ports.map(|port| account(&quiet, port)[1]), [0, 0], "{quiet}");
        service.signal("-STOP");
        (0..AT_ONCE).for_each(|_| exporters.send(&service));
        service.signal("-CONT");
        service.wait_for("empty buffers", |_| ports.iter().all(|port| held(*port) == Some(0)));
        settle(&mut service, &mut exporters);
        let status = service.status();
        let dropped = ports.map(|port| account(&status, port)[1]);
        assert!(dropped.iter().all(|count| *count > 1000), "{dropped:?} {status}");
        let tolerance = if workers == 1 { 0 } else { AT_THE_ENDS };
        for (missing, dropped) in missing(&service).into_iter().zip(dropped) {
            let exporters = service.data(r#"{"ask":"exporters"}"#);
            let all = dropped - tolerance..=dropped;
            assert!(all.contains(&missing), "{workers}: {missing} of {dropped} {exporters}");
        }
        let log = service.log();
        assert!(log.lines().count() < 20 && !log.contains("  "), "{log}");
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}
