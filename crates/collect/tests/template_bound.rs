//! Templates, samplers and data in the names of ten thousand exporters take no more memory than
//! their limits allow: a counting allocator sees to it. The counts are those of the test's own
//! thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use tidewall_collect::netflow::{Compiled, Held, Learnt, TemplateLimits, Templates};
use tidewall_collect::{
    ExportDatagram, ExportProtocol, ExporterIndex, ExporterKey, ExporterLimits, Exporters,
    NetflowCollector, NetflowSettings,
};
use tidewall_model::{DropReason, FlowRecord, Timestamp};
use tidewall_wire::emit::netflow::{ExportTime, MessageWriter};
use tidewall_wire::netflow::{FieldSpec, Plan, Protocol, Template, TemplateKind};

/// The system's allocator, with a count of the bytes that each thread has, and of its requests.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    MOST.set(MOST.get().max(LIVE.get()));
    REQUESTS.set(REQUESTS.get() + 1);
}

// SAFETY: every request goes to the system's allocator unchanged; counting touches constant
// thread-locals without destructors, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EXPORTERS: u32 = 10_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(1_767_571_200 + seconds, 0)
}

/// The places of ten thousand spoofed senders.
fn exporters() -> Vec<ExporterIndex> {
    let mut table = Exporters::new(ExporterLimits::default());
    let mut place = |n: u32| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
        let protocol = ExportProtocol::NetflowV9;
        let key = ExporterKey { protocol, address, port: 0, agent: address, domain: 0 };
        table.find(&key, at(0), || ()).unwrap()
    };
    (0..EXPORTERS).map(&mut place).collect()
}

/// Fields of variable length are those for which a plan keeps most.
fn template(id: u16, fields: usize) -> Template {
    let field = FieldSpec { element: 82, enterprise: 0, length: u16::MAX };
    Template::new(Protocol::V9, TemplateKind::Data, id, 0, vec![field; fields]).unwrap()
}

/// Bytes that templates take at most: what is kept of each template and field, the room in which
/// an exporter's are sorted (up to twice as large as needed, four times before it is given back),
/// and a place for each exporter.
fn bound(limits: &TemplateLimits, exporters: usize) -> usize {
    let per_field = size_of::<FieldSpec>() + 12;
    limits.total_templates * (size_of::<Compiled<Plan>>() + 4 * 24)
        + limits.total_fields * per_field
        + exporters * 2 * 32
}

/// The most bytes that `body` had at a time, beyond those at its start.
fn most_bytes(body: impl FnOnce()) -> usize {
    let before = LIVE.get();
    MOST.set(before);
    body();
    usize::try_from(MOST.get() - before).unwrap()
}

#[test]
fn t51_a_million_hostile_templates_of_ten_thousand_exporters() {
    let exporters = exporters();
    for fields in [1, 15, 256] {
        let limits = TemplateLimits::default();
        let bound = bound(&limits, exporters.len());
        let (mut known, mut refused) = (0, 0);
        let most = most_bytes(|| {
            let mut store = Templates::<Plan>::new(limits);
            for id in 0..100 {
                for exporter in &exporters {
                    match store.define(*exporter, template(256 + id, fields), at(0)) {
                        Learnt::New => known += 1,
                        Learnt::Refused(_) => refused += 1,
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!((store.len(), store.fields()), (known, known * fields));
            assert_eq!(store.refused(), refused);
        });
        let room = limits.total_templates.min(limits.total_fields / fields);
        assert_eq!((known, known + refused as usize), (room, 1_000_000));
        println!("{known} templates of {fields} fields: {most} bytes, bound {bound}");
        assert!(most <= bound, "{most} bytes, bound {bound}");
    }
}

/// The same through the door: a million datagrams, each with a template, an options template with
/// twenty samplers, and data that no template describes.
#[test]
fn a_collector_of_a_million_hostile_datagrams() {
    const FIELDS: usize = 15;
    let settings = NetflowSettings::default();
    let limits = settings.templates;
    // What is kept of an exporter besides: its health with all its lists full, and its place.
    let per_exporter = 2048;
    let samplers = (1 << 18) * 2 * size_of::<(u64, u64)>();
    let held = limits.held_bytes + limits.held_sets * 128 + 16_384 * 24 + (192 << 10);
    // A collector's plan of a template is larger than the bare one: fields in their order, and
    // which number each of them feeds.
    let plans = limits.total_templates * 400;
    let bound = bound(&limits, EXPORTERS as usize)
        + plans
        + EXPORTERS as usize * per_exporter
        + samplers
        + held;
    let mut records: Vec<FlowRecord> = Vec::new();
    let most = most_bytes(|| {
        let mut collector = NetflowCollector::new(settings);
        for id in 0..100_u16 {
            let datagram = hostile(id, FIELDS);
            for n in 0..EXPORTERS {
                let from = (Ipv4Addr::from_bits(0x0a00_0000 + n), 2055).into();
                let datagram = ExportDatagram::new(from, at(u64::from(id)), &datagram);
                collector.decode(&datagram, &mut records).unwrap();
            }
            collector.advance(at(u64::from(id)));
        }
        collector.give_up_waiting();
        assert_eq!(collector.datagrams(), 1_000_000);
        assert_eq!(collector.exporters().count(), EXPORTERS as usize);
        let drops = collector.drops();
        // Of two million templates those that have room are learnt, and each datagram has a set
        // without one.
        let refused = drops.get(DropReason::TooManyTemplates);
        assert_eq!(refused, 2_000_000 - limits.total_templates as u64);
        assert!(drops.get(DropReason::NoTemplate) >= 1_000_000);
        assert!(collector.sampling_refused() > 0);
    });
    assert_eq!(records, []);
    println!("a million datagrams: {most} bytes, bound {bound}");
    assert!(most <= bound, "{most} bytes, bound {bound}");
}

fn hostile(id: u16, fields: usize) -> Vec<u8> {
    let number = |element| FieldSpec { element, enterprise: 0, length: 4 };
    let sampler = vec![number(1), number(48), number(50)];
    let options = Template::new(Protocol::V9, TemplateKind::Options, 1000 + id, 1, sampler);
    let mut writer = MessageWriter::new(Protocol::V9, 7);
    writer.begin();
    writer.template(&template(256 + id, fields));
    writer.template(&options.unwrap());
    for sampler in 1..=20 {
        let sampler = u32::from(id) << 8 | sampler;
        writer
            .record(1000 + id, |out| out.extend([0, sampler, 100].map(u32::to_be_bytes).concat()));
    }
    writer.set(9999, |out| out.extend([1; 100]));
    writer.finish(ExportTime { unix_secs: 1_767_571_200, ..ExportTime::default() }).to_vec()
}

/// Who fills his share, takes all but one back and goes on in another name leaves no empty room.
#[test]
fn room_that_is_not_used_is_given_back() {
    let exporters = &exporters()[..1000];
    let limits = TemplateLimits::default();
    let bound = bound(&limits, exporters.len());
    let most = most_bytes(|| {
        let mut store = Templates::<Plan>::new(limits);
        for exporter in exporters {
            for id in 0..limits.per_exporter as u16 {
                assert_eq!(store.define(*exporter, template(256 + id, 1), at(0)), Learnt::New);
            }
            for id in 1..limits.per_exporter as u16 {
                assert!(store.withdraw(*exporter, 256 + id));
            }
        }
        assert_eq!(store.len(), exporters.len());
    });
    // 1,000 templates and the full share of one exporter.
    let bound = bound * (exporters.len() + limits.per_exporter) / limits.total_templates;
    println!("{} templates left: {most} bytes, bound {bound}", exporters.len());
    assert!(most <= bound, "{most} bytes, bound {bound}");
}

/// Redefinition, withdrawal and expiry without end.
#[test]
fn change_for_ever_takes_no_more_than_the_first_round() {
    let exporters = exporters();
    let mut store = Templates::<Plan>::new(TemplateLimits::default());
    let mut round = |n: u64| {
        let now = at(n * 1800);
        for (index, exporter) in exporters.iter().enumerate() {
            store.define(*exporter, template(256, 1 + (index + n as usize) % 20), now);
            store.define(*exporter, template(300 + n as u16, 2), now);
        }
        store.expire(now);
    };
    (0..3).for_each(&mut round);
    let before = LIVE.get();
    (3..23).for_each(&mut round);
    let grown = LIVE.get() - before;
    assert!(grown < before / 100, "{grown} bytes more than {before}");
}

#[test]
fn data_that_waits_stays_in_its_room() {
    let exporters = exporters();
    let limits = TemplateLimits::default();
    let sets = [vec![7_u8; 1400], vec![8; 60_000], vec![9; 3]];
    // Places of exporters and sets, the chains of blocks, and one set put together.
    let rest = limits.held_sets * (2 * 16 + 64 + 4) + 16_384 * 24 + (64 << 10) + (128 << 10);
    let bound = limits.held_bytes + rest;
    let mut kept = 0;
    let most = most_bytes(|| {
        let mut held = Held::<[u64; 4]>::new(&limits);
        for n in 0..1_000_000_u64 {
            let exporter = exporters[n as usize % exporters.len()];
            let set = &sets[n as usize % sets.len()];
            kept += u64::from(held.hold(exporter, 256, [n; 4], set, at(n / 10_000)));
            if n % 10_000 == 0 {
                held.expire(at(n / 10_000), |_, _, _| {});
                held.release(exporters[0], 256, |_, _| {});
            }
            assert!(held.len() <= limits.held_sets);
        }
    });
    println!("{kept} sets kept: {most} bytes, bound {bound}");
    assert!(kept > 1000 && most <= bound, "{most} bytes, bound {bound}");
}

#[test]
fn finding_templates_and_holding_data_allocates_nothing() {
    let exporters = exporters();
    let mut store = Templates::<Plan>::new(TemplateLimits::default());
    let mut held = Held::<u64>::new(&TemplateLimits::default());
    for exporter in &exporters {
        store.define(*exporter, template(256, 3), at(0));
    }
    // A set that stays, so that the exporter's list does.
    for exporter in &exporters[..10] {
        held.hold(*exporter, 256, 0, &[0; 1400], at(0));
    }
    let mut round = || {
        for n in 0..30 {
            held.hold(exporters[n % 10], 257, n as u64, &[0; 1400], at(1));
        }
        exporters[..10].iter().map(|e| held.release(*e, 257, |_, _| {})).sum::<usize>()
    };
    round();
    let before = REQUESTS.get();
    assert_eq!(round(), 30);
    for exporter in &exporters {
        assert!(store.get(*exporter, 256, at(1)).is_some());
    }
    assert_eq!(store.expire(at(2)), 0);
    assert_eq!(REQUESTS.get(), before);
}
