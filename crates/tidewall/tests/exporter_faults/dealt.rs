//! Exporters whose datagrams two workers share: nothing that only the other one has is called lost,
//! and what is truly lost is found, while the number of workers changes, too.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::malformed::samples;
use crate::service::{Service, v5};

const EXPORTERS: &str = r#"{"ask":"exporters"}"#;
/// Of each protocol, each time.
const DATAGRAMS: usize = 2000;

/// An agent of sFlow and an exporter of NetFlow v5.
struct Exporters {
    socket: UdpSocket,
    sflow: std::vec::IntoIter<Vec<u8>>,
    sequence: u32,
    sent: u64,
}

impl Exporters {
    fn new() -> Self {
        let sflow = samples([192, 0, 2, 1], 7 * 5 * DATAGRAMS as u64, 7).into_iter();
        Self { socket: UdpSocket::bind("127.0.0.1:0").unwrap(), sflow, sequence: 0, sent: 0 }
    }

    /// Sends some, of which one in ten is `lost` on the way, and looks at what is said meanwhile.
    fn send(&mut self, service: &mut Service, lost: bool) {
        for n in 0..DATAGRAMS {
            let datagram = v5(self.sequence, 1000 + self.sequence, 1, 7);
            let samples = self.sflow.next().unwrap();
            self.sequence += 1;
            if !lost || n % 10 != 9 {
                self.socket.send_to(&datagram, ("127.0.0.1", service.netflow)).unwrap();
                self.socket.send_to(&samples, ("127.0.0.1", service.sflow)).unwrap();
                self.sent += 1;
            }
            if n % 20 == 0 {
                std::thread::sleep(Duration::from_millis(20));
                let exporters = service.data(EXPORTERS);
                assert!(lost || claims(&exporters).is_empty(), "{exporters}");
            }
        }
        let sent = self.sent;
        service.wait_for("all datagrams", |service| {
            let exporters = service.data(EXPORTERS);
            let all = exporters.as_array().unwrap();
            all.len() == 2 && all.iter().all(|exporter| exporter["datagrams"] == sent)
        });
    }
}

/// What is said of loss.
fn claims(exporters: &Value) -> Vec<&str> {
    let verdicts = exporters.as_array().unwrap().iter().flat_map(|exporter| {
        exporter["verdicts"].as_array().unwrap().iter().filter_map(Value::as_str)
    });
    verdicts.filter(|verdict| verdict.contains("lost")).collect()
}

fn configure(service: &Service, workers: usize) {
    service.configure("");
    let path = service.path("tidewall.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replace("[listen]", &format!("[listen]\nworkers = {workers}"))).unwrap();
}

/// Another number of workers listens from now on.
fn resize(service: &mut Service, workers: usize) {
    configure(service, workers);
    service.signal("-HUP");
    service.wait_for("the workers", |service| {
        service.status()["workers"].as_array().unwrap().len() == 2 * workers
    });
}

fn of_each(exporters: &Value, field: &str) -> Vec<Value> {
    exporters.as_array().unwrap().iter().map(|exporter| exporter[field].clone()).collect()
}

#[test]
fn what_two_workers_share_is_not_lost() {
    let mut service = Service::prepared();
    configure(&service, 2);
    service.run();
    let mut exporters = Exporters::new();
    exporters.send(&mut service, false);
    let told = service.data(EXPORTERS);
    assert_eq!(of_each(&told, "lost"), [0, 0], "{told}");
    assert_eq!(of_each(&told, "workers"), [2, 2], "{told}");
    let flows = [7 * DATAGRAMS, DATAGRAMS].map(Value::from);
    assert_eq!(of_each(&told, "flows"), flows, "each is there once: {told}");
    let words = String::from_utf8(service.command(&["exporters"]).stdout).unwrap();
    assert!(words.contains(", dealt to 2 workers\n    samples are not compared"), "{words}");
    assert!(!words.contains("lost"), "{words}");
    resize(&mut service, 1);
    exporters.send(&mut service, false);
    resize(&mut service, 3);
    exporters.send(&mut service, false);
    let told = service.data(EXPORTERS);
    assert_eq!(of_each(&told, "lost"), [0, 0], "{told}");
    assert_eq!(of_each(&told, "workers"), [3, 3], "{told}");
    resize(&mut service, 2);
    exporters.send(&mut service, true);
    // The last ones may have come to one worker only.
    let (begin, enough) = (Instant::now(), DATAGRAMS as u64 / 10 - 40);
    let found = |told: &Value| {
        let lost = of_each(told, "lost");
        claims(told).len() == 2 && lost.iter().all(|lost| lost.as_u64().unwrap() >= enough)
    };
    let mut told = service.data(EXPORTERS);
    while !found(&told) {
        assert!(begin.elapsed() < Duration::from_secs(10), "{told}");
        std::thread::sleep(Duration::from_millis(100));
        told = service.data(EXPORTERS);
    }
    let most = DATAGRAMS as u64 / 10;
    let lost = of_each(&told, "lost");
    assert!(lost.iter().all(|lost| lost.as_u64().unwrap() <= most), "{told}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
