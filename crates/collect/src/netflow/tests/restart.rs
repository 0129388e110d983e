//! What outlives a restart, and what a worker learns from others.

use super::*;
use crate::{Dealing, HealthReport, Part};

const SAMPLER: Spec = (48, 2);

/// A desk that knows a template, two samplers, an interface and the rate of the rest.
fn taught() -> Desk {
    let mut desk = Desk::new();
    let flow = [&BASIC[..], &[SAMPLER, (10, 4)]].concat();
    let by_sampler = [SAMPLER, (50, 4)];
    let by_interface = [(10, 4), (34, 4)];
    let whole = [(149, 4), (34, 4)];
    let sets = [
        set(2, &template(256, &flow)),
        set(3, &options_template(257, 1, &by_sampler)),
        set(3, &options_template(258, 1, &by_interface)),
        set(3, &options_template(259, 1, &whole)),
        set(257, &[record(&by_sampler, &[1, 100]), record(&by_sampler, &[2, 200])].concat()),
        set(258, &record(&by_interface, &[7, 300])),
        set(259, &record(&whole, &[42, 400])),
    ];
    desk.take(&ipfix(&sets)).unwrap();
    desk
}

fn flows() -> Vec<u8> {
    let flow = [&BASIC[..], &[SAMPLER, (10, 4)]].concat();
    let of = |more: &[u64]| record(&flow, &[&BASIC_VALUES[..], more].concat());
    ipfix(&[set(256, &[of(&[1, 7]), of(&[2, 7]), of(&[0, 7]), of(&[0, 8])].concat())])
}

fn rates(collector: &mut NetflowCollector, now: Timestamp) -> Vec<(u32, &'static str)> {
    let mut kept = Kept::default();
    let from: SocketAddr = "192.0.2.1:2055".parse().unwrap();
    let data = flows();
    collector.decode(&ExportDatagram::new(from, now, &data), &mut kept).unwrap();
    let flows = kept.flows.iter();
    flows.map(|(record, detail)| (record.sampling.get(), detail.sampling.name())).collect()
}

#[test]
fn templates_and_samplers_are_known_at_once() {
    let mut desk = taught();
    let image = desk.collector.save();
    let want = rates(&mut desk.collector, desk.now);
    assert_eq!(want, [(100, "sampler"), (200, "sampler"), (300, "interface"), (400, "exporter")]);
    let mut fresh = NetflowCollector::new(NetflowSettings::default());
    assert_eq!(fresh.restore(&image, desk.now).unwrap(), 4);
    assert_eq!(rates(&mut fresh, desk.now), want);
    assert_eq!(fresh.save(), image, "nothing is lost on the way");
}

#[test]
fn what_came_since_is_not_replaced() {
    let desk = taught();
    let image = desk.collector.save();
    let mut newer = Desk::new();
    newer.take(&ipfix(&[set(2, &template(256, &BASIC))])).unwrap();
    assert_eq!(newer.collector.restore(&image, desk.now).unwrap(), 3, "options templates");
    let basic = set(256, &record(&BASIC, &BASIC_VALUES));
    let (from, data): (SocketAddr, _) = ("192.0.2.1:2055".parse().unwrap(), ipfix(&[basic]));
    let mut records: Vec<FlowRecord> = Vec::new();
    let datagram = ExportDatagram::new(from, desk.now, &data);
    newer.collector.decode(&datagram, &mut records).unwrap();
    assert_eq!(records.len(), 1, "read by the newer template");
}

/// A worker to which an exporter comes back, with what it was when it left.
#[test]
fn what_another_has_heard_later_is_believed() {
    let turned: Vec<Spec> = [(12, 4), (8, 4)].into_iter().chain(BASIC[2..].to_vec()).collect();
    let mut before = Desk::new();
    before.take(&ipfix(&[set(2, &template(256, &BASIC))])).unwrap();
    let mut since = Desk::new();
    since.now = since.now + Duration::from_mins(1);
    since.take(&ipfix(&[set(2, &template(256, &turned))])).unwrap();
    let (image, now) = (since.collector.save(), since.now);
    assert_eq!(before.collector.restore(&image, now).unwrap(), 1);
    assert_eq!(before.collector.restore(&image, now).unwrap(), 0, "again");
    let data = ipfix(&[set(256, &record(&BASIC, &BASIC_VALUES))]);
    let mut records: Vec<FlowRecord> = Vec::new();
    let datagram = ExportDatagram::new("192.0.2.1:2055".parse().unwrap(), now, &data);
    before.collector.decode(&datagram, &mut records).unwrap();
    assert_eq!(records[0].src, address("10.0.0.1"), "read by the newer template");
}

#[test]
fn templates_that_are_too_old_stay_away() {
    let desk = taught();
    let image = desk.collector.save();
    let mut fresh = NetflowCollector::new(NetflowSettings::default());
    let later = desk.now + TemplateLimits::default().lifetime + Duration::from_secs(1);
    fresh.restore(&image, later).unwrap();
    let mut kept = Kept::default();
    let (from, data): (SocketAddr, _) = ("192.0.2.1:2055".parse().unwrap(), flows());
    fresh.decode(&ExportDatagram::new(from, later, &data), &mut kept).unwrap();
    assert!(kept.flows.is_empty());
}

#[test]
fn of_a_damaged_image_nothing_is_taken() {
    let mut image = taught().collector.save();
    let at = image.len() / 2;
    image[at] ^= 1;
    let mut fresh = NetflowCollector::new(NetflowSettings::default());
    assert!(fresh.restore(&image, Timestamp::ZERO).is_err());
    assert!(fresh.restore(&image[..10], Timestamp::ZERO).is_err());
    assert_eq!(fresh.exporters().count(), 0);
}

/// Each learns what both know, as when the number of workers changes.
fn deal_anew(workers: &mut [Desk; 2]) {
    let images = workers.each_ref().map(|worker| worker.collector.save());
    for worker in workers {
        for collector in [&mut worker.collector, &mut worker.plain] {
            for image in &images {
                collector.restore(image, worker.now).unwrap();
            }
        }
    }
}

fn joint(workers: &[Desk; 2]) -> HealthReport {
    let exporters = workers.iter().flat_map(|worker| worker.collector.exporters());
    let v9 = exporters.filter(|(key, _)| key.protocol == ExportProtocol::NetflowV9);
    let told: Vec<HealthReport> = v9.map(|(_, health)| health.summary()).collect();
    let parts: Vec<_> = told.iter().map(|report| Part { report, left: false }).collect();
    HealthReport::join(&parts, Dealing::Whole).unwrap()
}

#[test]
fn an_exporter_that_was_with_another_worker_lost_nothing_meanwhile() {
    for restarts in [false, true] {
        let mut workers = [Desk::new(), Desk::new()];
        let send = |worker: &mut Desk, numbers: std::ops::Range<u32>| {
            for number in numbers {
                let data = set(256, &record(&BASIC, &BASIC_VALUES));
                worker.take(&v9_of(42, number, &[data])).unwrap();
            }
        };
        let of_template = set(0, &template(256, &BASIC));
        workers[0].take(&v9_of(42, 0, &[of_template])).unwrap();
        send(&mut workers[0], 1..100);
        deal_anew(&mut workers);
        send(&mut workers[1], 100..5000);
        let number = if restarts { 0 } else { 5000 };
        send(&mut workers[1], number..number + 10);
        deal_anew(&mut workers);
        send(&mut workers[0], number + 10..number + 100);
        let report = joint(&workers);
        assert_eq!(report.datagrams, 5100);
        assert_eq!((report.lost, report.gaps, report.disorder), (0, 0, 0));
        assert_eq!(report.restarts, u64::from(restarts));
        // What is lost from then on is found.
        send(&mut workers[0], number + 103..number + 110);
        assert_eq!(joint(&workers).lost, 3);
    }
}

/// All workers of a port hear an exporter of NetFlow v5: none of its numbers is elsewhere only.
#[test]
fn numbers_of_version_5_go_on() {
    let mut workers = [Desk::new(), Desk::new()];
    for (number, lost) in [(10, 0), (14, 3)] {
        let mut datagram = words(&[5, 1]);
        datagram.extend([UPTIME, EXPORTED, 0, number].map(u32::to_be_bytes).concat());
        datagram.resize(24 + 48, 0);
        workers[0].take(&datagram).unwrap();
        deal_anew(&mut workers);
        let exporters: Vec<_> = workers[0].collector.exporters().collect();
        assert_eq!(exporters[0].1.summary().lost, lost);
    }
}
