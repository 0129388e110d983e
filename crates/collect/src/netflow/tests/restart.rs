//! What outlives a restart.

use super::*;

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
