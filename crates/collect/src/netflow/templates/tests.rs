use std::cell::Cell;
use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_wire::netflow::{Datagram, FieldSpec, Protocol, TemplateRecord, parse};

use super::*;

const REFUSED: Learnt = Learnt::Refused(DropReason::TooManyTemplates);
const A: ExporterIndex = ExporterIndex(0);
const B: ExporterIndex = ExporterIndex(7);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(1_767_571_200 + seconds, 0)
}

/// A template with so many fields, of two bytes each and numbered from `first` on.
fn layout(kind: TemplateKind, id: u16, first: u16, count: u16) -> Template {
    let field = |element| FieldSpec { element, enterprise: 0, length: 2 };
    let fields = (first..first + count).map(field).collect();
    Template::new(Protocol::Ipfix, kind, id, 0, fields).unwrap()
}

fn data(id: u16, count: u16) -> Template {
    layout(TemplateKind::Data, id, 1, count)
}

fn options(id: u16, count: u16) -> Template {
    layout(TemplateKind::Options, id, 1, count)
}

fn store() -> Templates<Plan> {
    Templates::new(TemplateLimits::default())
}

fn ids<C: Compile>(store: &Templates<C>, exporter: ExporterIndex) -> Vec<u16> {
    store.of(exporter).map(|known| known.template.id()).collect()
}

#[test]
fn a_template_is_its_exporters_own() {
    let mut store = store();
    assert_eq!(store.define(A, data(256, 3), at(0)), Learnt::New);
    assert_eq!(store.define(B, data(256, 4), at(0)), Learnt::New);
    assert_eq!(store.get(A, 256, at(1)).unwrap().template, data(256, 3));
    let of_b = store.get(B, 256, at(1)).unwrap();
    assert_eq!(of_b.plan, Plan::new(&data(256, 4)));
    assert_eq!(store.get(A, 257, at(1)), None);
    assert_eq!(store.get(ExporterIndex(3), 256, at(1)), None, "an exporter between them");
    assert_eq!(store.get(ExporterIndex(8), 256, at(1)), None, "an exporter behind them");
    assert_eq!((store.len(), store.fields()), (2, 7));
}

thread_local! {
    static COMPILED: Cell<u32> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Counted;

impl Compile for Counted {
    fn compile(_: &Template) -> Self {
        COMPILED.set(COMPILED.get() + 1);
        Self
    }
}

#[test]
fn what_is_announced_again_is_not_compiled_again() {
    let mut store = Templates::<Counted>::new(TemplateLimits::default());
    assert_eq!(store.define(A, data(256, 3), at(0)), Learnt::New);
    assert_eq!(store.define(A, data(256, 3), at(60)), Learnt::Again);
    assert_eq!(COMPILED.get(), 1);
    assert_eq!(store.get(A, 256, at(90)).unwrap().heard, at(60));
    assert_eq!(store.define(A, data(256, 4), at(120)), Learnt::Changed);
    assert_eq!(COMPILED.get(), 2);
    assert_eq!((store.len(), store.fields()), (1, 4));
}

#[test]
fn data_and_options_share_the_ids() {
    let mut store = store();
    store.define(A, data(256, 3), at(0));
    assert_eq!(store.define(A, options(256, 3), at(1)), Learnt::Changed);
    let kind = |store: &mut Templates<Plan>| store.get(A, 256, at(2)).unwrap().plan.kind();
    assert_eq!(kind(&mut store), TemplateKind::Options);
    assert_eq!(store.withdraw_all(A, TemplateKind::Data), 0);
    assert_eq!(store.define(A, data(256, 3), at(3)), Learnt::Changed);
    assert_eq!(kind(&mut store), TemplateKind::Data);
    assert_eq!(store.len(), 1);
}

/// An IPFIX message of sets of 16-bit words.
fn message(sets: &[(u16, &[u16])]) -> Vec<u8> {
    let mut message = vec![0; 16];
    for (id, words) in sets {
        message.extend(id.to_be_bytes());
        message.extend((4 + 2 * words.len() as u16).to_be_bytes());
        message.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    }
    let length = (message.len() as u16).to_be_bytes();
    message[..4].copy_from_slice(&[0, 10, length[0], length[1]]);
    message
}

/// What a message does to an exporter's templates.
fn ingest(store: &mut Templates<Plan>, exporter: ExporterIndex, message: &[u8]) {
    let Ok(Datagram::Ipfix(message)) = parse(message) else { panic!("not IPFIX") };
    for set in message.sets() {
        for template in set.unwrap().templates() {
            match template.unwrap() {
                TemplateRecord::Definition(template) => {
                    store.define(exporter, template, at(0));
                }
                TemplateRecord::Withdrawal(id) => assert!(store.withdraw(exporter, id)),
                TemplateRecord::WithdrawalOfAll(kind) => {
                    store.withdraw_all(exporter, kind);
                }
            }
        }
    }
}

#[test]
fn t23_templates_are_withdrawn_one_by_one_and_all_at_once() {
    let mut store = store();
    let data: &[u16] = &[256, 1, 1, 8, 257, 2, 1, 8, 2, 8, 258, 1, 2, 8];
    let options: &[u16] = &[300, 2, 1, 149, 4, 34, 4, 301, 2, 1, 149, 4, 305, 4];
    for exporter in [A, B] {
        ingest(&mut store, exporter, &message(&[(2, data), (3, options)]));
    }
    assert_eq!(ids(&store, A), [256, 257, 258, 300, 301]);

    ingest(&mut store, A, &message(&[(2, &[257, 0])]));
    assert_eq!(ids(&store, A), [256, 258, 300, 301]);
    assert_eq!(store.get(A, 257, at(1)), None, "its data is data without a template");
    ingest(&mut store, A, &message(&[(2, &[2, 0])]));
    assert_eq!(ids(&store, A), [300, 301]);
    ingest(&mut store, A, &message(&[(3, &[3, 0]), (2, &[257, 1, 4, 1])]));
    assert_eq!(ids(&store, A), [257]);
    assert_eq!(ids(&store, B), [256, 257, 258, 300, 301], "another exporter's are untouched");
    assert_eq!((store.len(), store.fields()), (6, 1 + 1 + 2 + 1 + 2 + 2));
    assert!(!store.withdraw(A, 256), "it is gone already");
}

#[test]
fn an_exporter_has_no_more_than_its_share() {
    let limits = TemplateLimits { per_exporter: 2, ..TemplateLimits::default() };
    let mut store = Templates::<Plan>::new(limits);
    store.define(A, data(300, 1), at(0));
    store.define(A, data(301, 1), at(0));
    assert_eq!(store.define(A, data(302, 1), at(0)), REFUSED);
    assert_eq!(store.define(A, data(300, 1), at(0)), Learnt::Again, "what it has stays");
    assert_eq!(store.define(A, data(300, 5), at(0)), Learnt::Changed, "and can change");
    assert_eq!(store.define(B, data(302, 1), at(0)), Learnt::New, "others are not concerned");
    store.withdraw(A, 301);
    assert_eq!(store.define(A, data(302, 1), at(0)), Learnt::New);
    assert_eq!(store.refused(), 1);
}

#[test]
fn a_layout_that_is_over_is_not_kept_when_the_new_one_has_no_room() {
    let limits = TemplateLimits { total_fields: 10, ..TemplateLimits::default() };
    let mut store = Templates::<Plan>::new(limits);
    store.define(A, data(256, 4), at(0));
    store.define(B, data(256, 4), at(0));
    assert_eq!(store.define(A, data(256, 6), at(0)), Learnt::Changed, "its own 4 make room");
    assert_eq!(store.define(A, data(256, 7), at(0)), REFUSED);
    assert_eq!(store.get(A, 256, at(0)), None);
    assert_eq!((store.len(), store.fields(), store.refused()), (1, 4, 1));
}

#[test]
fn lifetimes_end_without_announcement_and_use() {
    let limits = TemplateLimits { lifetime: Duration::from_secs(100), ..TemplateLimits::default() };
    let mut store = Templates::<Plan>::new(limits);
    for id in [256, 257, 258] {
        store.define(A, data(id, 2), at(0));
    }
    store.define(A, data(257, 2), at(50));
    store.get(A, 258, at(60));
    assert_eq!(store.expire(at(99)), 0);
    assert_eq!(store.expire(at(100)), 1);
    assert_eq!(ids(&store, A), [257, 258]);
    assert_eq!(store.expire(at(149)), 0);
    assert_eq!(store.expire(at(150)), 1);
    assert_eq!(ids(&store, A), [258]);
    // An earlier time, as packets out of order bring it, shortens nothing.
    store.get(A, 258, at(10));
    store.define(A, data(259, 2), at(40));
    assert_eq!(store.expire(at(159)), 1);
    assert_eq!(ids(&store, A), [258]);
    assert_eq!(store.expire(at(1000)), 1);
    assert_eq!((store.len(), store.fields()), (0, 0));
    // One from a saved image, heard long ago, has no time left.
    store.define(A, data(256, 2), at(200));
    assert_eq!(store.expire(at(1000)), 1);
}

#[test]
fn an_exporter_that_gave_way_leaves_nothing() {
    let mut store = store();
    for id in 256..266 {
        store.define(A, data(id, 2), at(0));
    }
    store.define(B, data(256, 2), at(0));
    assert_eq!(store.forget(A), 10);
    assert_eq!(store.forget(A), 0);
    assert_eq!(store.get(A, 256, at(0)), None);
    assert_eq!((store.len(), store.fields()), (1, 2));
    assert_eq!(store.define(A, data(256, 3), at(0)), Learnt::New);
}

#[derive(Clone, Debug)]
enum Step {
    Define { exporter: usize, id: u16, kind: TemplateKind, first: u16, count: u16 },
    Withdraw { exporter: usize, id: u16 },
    WithdrawAll { exporter: usize, kind: TemplateKind },
    Get { exporter: usize, id: u16 },
    Wait { seconds: u64 },
    Expire,
    Forget { exporter: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let kind = || prop_oneof![Just(TemplateKind::Data), Just(TemplateKind::Options)];
    let (exporter, id) = (|| 0..4_usize, || 256..264_u16);
    prop_oneof![
        8 => (exporter(), id(), kind(), 1..3_u16, 1..5_u16).prop_map(
            |(exporter, id, kind, first, count)| Step::Define { exporter, id, kind, first, count }
        ),
        2 => (exporter(), id()).prop_map(|(exporter, id)| Step::Withdraw { exporter, id }),
        1 => (exporter(), kind())
            .prop_map(|(exporter, kind)| Step::WithdrawAll { exporter, kind }),
        8 => (exporter(), id()).prop_map(|(exporter, id)| Step::Get { exporter, id }),
        3 => (1..40_u64).prop_map(|seconds| Step::Wait { seconds }),
        3 => Just(Step::Expire),
        1 => exporter().prop_map(|exporter| Step::Forget { exporter }),
    ]
}

const SMALL: TemplateLimits = TemplateLimits {
    per_exporter: 5,
    total_templates: 12,
    total_fields: 30,
    lifetime: Duration::from_mins(1),
    held_sets: 0,
    held_bytes: 0,
    held_per_exporter: 0,
    held_for: Duration::ZERO,
    counted_within: Duration::ZERO,
};

/// The same, as plainly as can be.
#[derive(Default)]
struct Naive {
    known: HashMap<(usize, u16), (Template, Timestamp)>,
    refused: u64,
}

impl Naive {
    fn fields(&self) -> usize {
        self.known.values().map(|(template, _)| template.fields().len()).sum()
    }

    fn define(&mut self, exporter: usize, template: Template, now: Timestamp) -> Learnt {
        let key = (exporter, template.id());
        let learnt = match self.known.remove(&key) {
            Some((old, _)) if old == template => Learnt::Again,
            Some(_) => Learnt::Changed,
            None => Learnt::New,
        };
        let own = self.known.keys().filter(|(owner, _)| *owner == exporter).count();
        if own >= SMALL.per_exporter
            || self.known.len() >= SMALL.total_templates
            || self.fields() + template.fields().len() > SMALL.total_fields
        {
            self.refused += 1;
            return REFUSED;
        }
        self.known.insert(key, (template, now));
        learnt
    }

    fn remove(&mut self, gone: impl Fn(usize, &Template, Timestamp) -> bool) -> usize {
        let before = self.known.len();
        self.known.retain(|(exporter, _), (template, used)| !gone(*exporter, template, *used));
        before - self.known.len()
    }
}

fn compare(steps: Vec<Step>) {
    let (mut store, mut naive) = (Templates::<Plan>::new(SMALL), Naive::default());
    let mut now = at(0);
    for step in steps {
        match step {
            Step::Define { exporter, id, kind, first, count } => {
                let template = layout(kind, id, first, count);
                let expected = naive.define(exporter, template.clone(), now);
                assert_eq!(store.define(ExporterIndex(exporter), template, now), expected);
            }
            Step::Withdraw { exporter, id } => {
                let expected = naive.remove(|owner, t, _| (owner, t.id()) == (exporter, id)) > 0;
                assert_eq!(store.withdraw(ExporterIndex(exporter), id), expected);
            }
            Step::WithdrawAll { exporter, kind } => {
                let expected = naive.remove(|owner, t, _| (owner, t.kind()) == (exporter, kind));
                assert_eq!(store.withdraw_all(ExporterIndex(exporter), kind), expected);
            }
            Step::Get { exporter, id } => {
                let expected = naive.known.get_mut(&(exporter, id)).map(|(template, used)| {
                    *used = now;
                    &*template
                });
                let found = store.get(ExporterIndex(exporter), id, now);
                assert_eq!(found.map(|known| &known.template), expected);
                assert!(found.is_none_or(|known| known.plan == Plan::new(&known.template)));
            }
            Step::Wait { seconds } => now = now + Duration::from_secs(seconds),
            Step::Expire => {
                let expected = naive.remove(|_, _, used| now.since(used) >= SMALL.lifetime);
                assert_eq!(store.expire(now), expected);
            }
            Step::Forget { exporter } => {
                let expected = naive.remove(|owner, _, _| owner == exporter);
                assert_eq!(store.forget(ExporterIndex(exporter)), expected);
            }
        }
        assert_eq!((store.len(), store.fields()), (naive.known.len(), naive.fields()));
        assert_eq!(store.refused(), naive.refused);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(0x5e7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_like_a_plain_map(steps in prop::collection::vec(step(), 1..200)) {
        compare(steps);
    }
}
