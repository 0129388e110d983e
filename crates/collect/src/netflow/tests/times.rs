//! Times in every unit.

use super::*;

/// Start, end and duration of a flow with these fields, in milliseconds after the export time.
fn times(fields: &[Spec], values: &[u64]) -> (Option<i64>, Option<i64>, u32) {
    relative(&one(fields, values))
}

fn relative(desk: &Desk) -> (Option<i64>, Option<i64>, u32) {
    let (_, detail) = desk.only();
    let ms = |time: Timestamp| {
        (i128::from(time.0) - i128::from(EXPORTED) * 1_000_000_000).div_euclid(1_000_000) as i64
    };
    (detail.start.map(ms), detail.end.map(ms), detail.duration_ms)
}

const S: u64 = EXPORTED as u64;
const NTP: u64 = (S + 2_208_988_800) << 32;
const SECONDS_10_TO_5: (Option<i64>, Option<i64>, u32) = (Some(-10_000), Some(-5_000), 5_000);

#[test]
fn start_and_end_in_every_unit() {
    let (start, end) = (S - 10, S - 5);
    let ntp = |seconds: u64| NTP - (seconds << 32);
    let cases: [(Spec, Spec, u64, u64); 8] = [
        ((150, 4), (151, 4), start, end),
        ((152, 8), (153, 8), start * 1_000, end * 1_000),
        ((154, 8), (155, 8), ntp(10), ntp(5)),
        ((154, 8), (155, 8), start * 1_000_000, end * 1_000_000),
        ((156, 8), (157, 8), ntp(10), ntp(5)),
        // Netgate TNSR writes plain nanoseconds.
        ((156, 8), (157, 8), start * 1_000_000_000, end * 1_000_000_000),
        ((158, 4), (159, 4), 10_000_000, 5_000_000),
        // A mixture.
        ((150, 4), (153, 8), start, end * 1_000),
    ];
    for (first, last, start, end) in cases {
        assert_eq!(times(&[first, last], &[start, end]), SECONDS_10_TO_5, "{first:?} {start}");
    }
}

#[test]
fn uptimes_of_v9_are_told_from_the_header() {
    let uptime = u64::from(UPTIME);
    let desk = one_v9(&[(22, 4), (21, 4)], &[uptime - 10_000, uptime - 5_000]);
    assert_eq!(relative(&desk), SECONDS_10_TO_5);
    let before_wrap = u64::from(UPTIME.wrapping_sub(20_000_000));
    let desk = one_v9(&[(22, 4), (21, 4)], &[before_wrap, uptime - 5_000]);
    assert_eq!(relative(&desk), (Some(-20_000_000), Some(-5_000), 19_995_000));
    let ahead = one_v9(&[(22, 4), (21, 4)], &[uptime + 100, uptime + 200]);
    assert_eq!(relative(&ahead), (Some(100), Some(200), 100));
}

#[test]
fn uptimes_of_ipfix_need_a_start_of_the_exporter() {
    let fields = [(22, 4), (21, 4)];
    assert_eq!(times(&fields, &[1_000, 6_000]), (None, None, 5_000), "as of MikroTik");
    let boot = (S - 11) * 1_000;
    let with_boot = [(22, 4), (21, 4), (160, 8)];
    assert_eq!(times(&with_boot, &[1_000, 6_000, boot]), SECONDS_10_TO_5);
    // In options data.
    let options = [(149, 4), (160, 8)];
    let flow = [&BASIC[..], &fields].concat();
    let mut desk = Desk::new();
    desk.take(&ipfix(&[
        set(3, &options_template(257, 1, &options)),
        set(257, &record(&options, &[42, boot])),
    ]))
    .unwrap();
    let values = [&BASIC_VALUES[..], &[1_000, 6_000]].concat();
    desk.take(&ipfix(&[set(2, &template(256, &flow)), set(256, &record(&flow, &values))])).unwrap();
    assert_eq!(relative(&desk), SECONDS_10_TO_5);
}

#[test]
fn durations_and_observations() {
    let end = (S - 5) * 1_000;
    assert_eq!(times(&[(153, 8), (161, 4)], &[end, 5_000]), SECONDS_10_TO_5);
    assert_eq!(times(&[(152, 8), (162, 4)], &[end - 5_000, 5_000_000]), SECONDS_10_TO_5);
    assert_eq!(times(&[(161, 4)], &[5_000]), (None, None, 5_000));
    assert_eq!(times(&[(323, 8)], &[end]), (Some(-5_000), Some(-5_000), 0));
    assert_eq!(times(&[(322, 4)], &[S - 5]), (Some(-5_000), Some(-5_000), 0));
    assert_eq!(times(&[(152, 8), (323, 8)], &[end - 5_000, end]), SECONDS_10_TO_5);
}

#[test]
fn absurd_durations_are_clamped() {
    let start_after_end = one(&[(152, 8), (153, 8)], &[S * 1_000, (S - 5) * 1_000]);
    assert_eq!(relative(&start_after_end), (Some(-5_000), Some(-5_000), 0));
    assert_eq!(start_after_end.only().1.note, FlowNote::CLAMPED);
    let month = one(&[(152, 8), (153, 8)], &[(S - 3_000_000) * 1_000, S * 1_000]);
    assert_eq!(relative(&month), (Some(0), Some(0), 0));
    assert_eq!(one(&[(150, 4), (151, 4)], &[S, S - 1]).only().1.note, FlowNote::CLAMPED);
    assert_eq!(one(&[(161, 8)], &[u64::MAX]).only().1.note, FlowNote::CLAMPED);
    // A date of zero is none.
    let unknown = one(&[(152, 8), (153, 8)], &[0, S * 1_000]);
    assert_eq!((relative(&unknown).2, unknown.only().1.note), (0, FlowNote::NONE));
    // No time is beyond arithmetic.
    for element in [150, 152, 154, 156, 158, 22] {
        for value in [0, 1, u64::MAX] {
            one(&[(element, 8), (element + 1, 8)], &[value, u64::MAX - value]);
        }
    }
}
