//! Sampling rates: where they are learnt, and which one holds.

use super::*;
use crate::{Protocols, SamplingRule, SamplingUse};

const SAMPLER: Spec = (48, 2);
const INPUT: Spec = (10, 4);

/// A desk that has read one options record of an IPFIX exporter.
fn after(scopes: u16, fields: &[Spec], values: &[u64]) -> Desk {
    let mut desk = Desk::new();
    learn(&mut desk, 257, scopes, fields, values);
    desk
}

fn learn(desk: &mut Desk, id: u16, scopes: u16, fields: &[Spec], values: &[u64]) {
    let sets = [set(3, &options_template(id, scopes, fields)), set(id, &record(fields, values))];
    desk.take(&ipfix(&sets)).unwrap();
}

/// The rate of a flow with these fields besides the basic ones.
fn rate(desk: &mut Desk, more: &[Spec], values: &[u64]) -> (u32, &'static str) {
    desk.take(&ipfix(&one_sets(2, more, values))).unwrap();
    *desk.rates().last().unwrap()
}

/// The rate that options of the whole exporter give.
fn whole(fields: &[Spec], values: &[u64]) -> u32 {
    let fields = [&[(149, 4)], fields].concat();
    let values = [&[42], values].concat();
    rate(&mut after(1, &fields, &values), &[], &[]).0
}

#[test]
fn t8_two_samplers_of_one_exporter_keep_two_rates() {
    let sampler = [(1, 4), SAMPLER, (49, 1), (50, 4)];
    let options = v9_options_template(257, &sampler[..1], &sampler[1..]);
    let data = [record(&sampler, &[0, 1, 2, 1_000]), record(&sampler, &[0, 2, 2, 10_000])];
    let flow = [&BASIC[..], &[SAMPLER]].concat();
    let flows: Vec<u8> = [1, 2, 1, 3]
        .into_iter()
        .flat_map(|id| record(&flow, &[&BASIC_VALUES[..], &[id]].concat()))
        .collect();
    let mut desk = Desk::new();
    desk.take(&v9(&[set(1, &options), set(257, &data.concat())])).unwrap();
    desk.take(&v9(&[set(0, &template(256, &flow)), set(256, &flows)])).unwrap();
    let known = [(1_000, "sampler"), (10_000, "sampler"), (1_000, "sampler"), (1, "assumed")];
    assert_eq!(desk.rates(), known);
    // A template that is heard again changes nothing.
    desk.take(&v9(&[set(1, &options), set(0, &template(256, &flow)), set(256, &flows)])).unwrap();
    assert_eq!(desk.rates()[4..], known);
}

#[test]
fn t24_systematic_sampling() {
    assert_eq!(whole(&[(304, 2), (305, 4), (306, 4)], &[1, 1, 999]), 1_000);
    assert_eq!(whole(&[(305, 4), (306, 4)], &[2, 3]), 3, "to the nearest");
    assert_eq!(whole(&[(305, 4), (306, 4)], &[10, 0]), 1, "no space: every packet");
}

#[test]
fn t25_an_interval_without_a_space_is_the_rate() {
    assert_eq!(whole(&[(305, 4)], &[4_096]), 4_096);
}

#[test]
fn t26_random_sampling() {
    assert_eq!(whole(&[(304, 2), (309, 4), (310, 4)], &[3, 1, 256]), 256);
    assert_eq!(whole(&[(304, 2), (309, 4), (310, 4)], &[3, 4, 1_000]), 250);
    assert_eq!(whole(&[(304, 2), (311, 8)], &[5, 0.002_f64.to_bits()]), 500);
    assert_eq!(whole(&[(311, 4)], &[u64::from(0.25_f32.to_bits())]), 4);
    // Cisco IOS XR: an interval of 1 beside the population.
    let fields = [(305, 4), (304, 2), (309, 4), (310, 4)];
    assert_eq!(whole(&fields, &[1, 3, 1, 256]), 256);
    assert_eq!(whole(&fields, &[100, 1, 1, 1]), 100, "the algorithm decides");
    for share in [0.0, -1.0, 2.0, f64::NAN, f64::INFINITY] {
        assert_eq!(whole(&[(311, 8)], &[share.to_bits()]), 1, "{share} is no probability");
    }
}

#[test]
fn intervals_of_netflow() {
    assert_eq!(whole(&[(34, 4)], &[1_000]), 1_000);
    assert_eq!(whole(&[(50, 2)], &[512]), 512, "in two bytes, as of ASR 1000");
    assert_eq!(whole(&[(34, 4)], &[0]), 1);
    assert_eq!(whole(&[(34, 4)], &[16_777_216]), 1, "RouterOS 6 has its bytes turned round");
    assert_eq!(whole(&[(34, 4)], &[0xe803_0000]), 1_000);
    assert_eq!(whole(&[(34, 4)], &[0x00ff_ffff]), 0x00ff_ffff);
    assert_eq!(whole(&[(318, 8), (319, 8)], &[1_000_000, 999]), 1_001);
    assert_eq!(whole(&[(318, 8), (319, 8)], &[1_000_000, 0]), 1);
}

#[test]
fn a_record_may_have_its_own_rate() {
    let mut desk = after(1, &[(149, 4), (34, 4)], &[42, 7]);
    assert_eq!(rate(&mut desk, &[(34, 4)], &[100]), (100, "record"));
    assert_eq!(rate(&mut desk, &[(34, 4)], &[0]), (7, "exporter"));
    assert_eq!(rate(&mut desk, &[(50, 4)], &[200]), (200, "record"));
    assert_eq!(rate(&mut desk, &[(305, 4)], &[300]), (300, "record"));
    assert_eq!(rate(&mut desk, &[(305, 4), (306, 4)], &[1, 299]), (300, "record"));
    // Catalyst 4500.
    assert_eq!(rate(&mut desk, &[(318, 8), (319, 8)], &[4_096, 4]), (1_024, "record"));
}

#[test]
fn the_order_in_which_sources_are_asked() {
    let mut desk = after(1, &[(302, 8), (34, 4)], &[5, 50]);
    learn(&mut desk, 258, 1, &[INPUT, (34, 4)], &[7, 70]);
    learn(&mut desk, 259, 1, &[(149, 4), (34, 4)], &[42, 90]);
    let all = [(34, 4), (302, 8), INPUT];
    assert_eq!(rate(&mut desk, &all, &[10, 5, 7]), (10, "record"));
    assert_eq!(rate(&mut desk, &all, &[0, 5, 7]), (50, "sampler"));
    assert_eq!(rate(&mut desk, &all, &[0, 6, 7]), (70, "interface"));
    assert_eq!(rate(&mut desk, &all, &[0, 6, 8]), (90, "exporter"));
    assert_eq!(rate(&mut desk, &[], &[]), (90, "exporter"));
}

#[test]
fn interfaces_by_v9_scope() {
    let options = v9_options_template(257, &[(2, 4)], &[(34, 4)]);
    let data = record(&[(2, 4), (34, 4)], &[7, 70]);
    let mut desk = Desk::new();
    desk.take(&v9(&[set(1, &options), set(257, &data)])).unwrap();
    desk.take(&v9(&one_sets(0, &[INPUT], &[7]))).unwrap();
    desk.take(&v9(&one_sets(0, &[INPUT], &[8]))).unwrap();
    assert_eq!(desk.rates(), [(70, "interface"), (1, "assumed")]);
}

#[test]
fn samplers_that_agree_hold_for_records_that_name_none() {
    let mut desk = after(1, &[(302, 8), (34, 4)], &[5, 50]);
    assert_eq!(rate(&mut desk, &[], &[]), (50, "exporter"));
    assert_eq!(rate(&mut desk, &[(302, 8)], &[6]), (1, "assumed"), "it names one");
    learn(&mut desk, 257, 1, &[(302, 8), (34, 4)], &[6, 60]);
    assert_eq!(rate(&mut desk, &[], &[]), (1, "assumed"), "which one?");
}

#[test]
fn domain_zero_speaks_for_the_whole_exporter() {
    let fields = [(302, 8), (34, 4)];
    let options =
        [set(3, &options_template(257, 1, &fields)), set(257, &record(&fields, &[5, 50]))];
    let flow = one_sets(2, &[(302, 8)], &[5]);
    let mut desk = Desk::new();
    desk.take(&ipfix_of(9, 0, &flow)).unwrap();
    desk.take(&ipfix_of(0, 0, &options)).unwrap();
    desk.take(&ipfix_of(9, 0, &flow)).unwrap();
    desk.take_from("192.0.2.77:2055", &ipfix_of(9, 0, &flow)).unwrap();
    desk.take(&ipfix_of(0, 0, &flow)).unwrap();
    let expected = [(1, "assumed"), (50, "sampler"), (1, "assumed"), (50, "sampler")];
    assert_eq!(desk.rates(), expected);
    // The domain's own word counts more.
    let own = [set(3, &options_template(257, 1, &fields)), set(257, &record(&fields, &[5, 60]))];
    desk.take(&ipfix_of(9, 0, &own)).unwrap();
    desk.take(&ipfix_of(9, 0, &flow)).unwrap();
    assert_eq!(desk.rates()[4], (60, "sampler"));
}

#[test]
fn the_configuration_comes_first_and_last() {
    let configured = |when, rate| {
        let exporters = "192.0.2.0/24".parse().unwrap();
        let (protocols, rate) = (Protocols::ALL, SamplingRate::new(rate));
        let rules = vec![SamplingRule { exporters, protocols, rate, when }];
        let sampling = SamplingRules::new(rules);
        Desk::with(NetflowSettings { sampling, ..NetflowSettings::default() })
    };
    let mut desk = configured(SamplingUse::Override, 500);
    assert_eq!(rate(&mut desk, &[(34, 4)], &[100]), (500, "override"));
    let mut desk = configured(SamplingUse::Fallback, 500);
    assert_eq!(rate(&mut desk, &[(34, 4)], &[100]), (100, "record"));
    assert_eq!(rate(&mut desk, &[], &[]), (500, "fallback"));
    learn(&mut desk, 257, 1, &[(149, 4), (34, 4)], &[42, 90]);
    assert_eq!(rate(&mut desk, &[], &[]), (90, "exporter"));
}

#[test]
fn tables_are_bounded() {
    let fields = [(302, 8), (34, 4)];
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(3, &options_template(257, 1, &fields))])).unwrap();
    for batch in 0..10_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        let data: Vec<u8> = ids.flat_map(|id| record(&fields, &[id, 9])).collect();
        desk.take(&ipfix(&[set(257, &data)])).unwrap();
    }
    assert_eq!(desk.collector.sampling_refused(), 10_000 - 4_096);
    assert_eq!(rate(&mut desk, &[(302, 8)], &[17]), (9, "sampler"));
}

#[test]
fn each_record_of_a_set_has_its_own_rate() {
    let read = |desk: &mut Desk, more: [Spec; 2], values: &[[u64; 2]]| -> Vec<u32> {
        let fields = [&BASIC[..], &more].concat();
        let flow = |own: &[u64; 2]| record(&fields, &[&BASIC_VALUES[..], own].concat());
        let flows: Vec<u8> = values.iter().flat_map(flow).collect();
        desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &flows)])).unwrap();
        desk.rates().iter().map(|rate| rate.0).collect()
    };
    let mut desk = after(1, &[INPUT, (305, 4)], &[7, 100]);
    learn(&mut desk, 258, 1, &[INPUT, (305, 4)], &[8, 200]);
    let named = [[7, 1], [8, 1], [9, 1], [7, 1]];
    assert_eq!(read(&mut desk, [INPUT, SAMPLER], &named), [100, 200, 1, 100]);
    let told = [[1, 10], [1, 20], [1, 10]];
    assert_eq!(read(&mut Desk::new(), [SAMPLER, (34, 4)], &told), [10, 20, 10]);
}
