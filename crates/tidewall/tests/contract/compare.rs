//! Reports of both sides, line by line: what stands there must be the same bytes, but for the
//! numbers of different moments.

use std::collections::BTreeSet;

use crate::traffic::{self, Medium, Victim};

/// The last line of the summary begins with this.
const LAST: &str = "Average packet size for outgoing traffic: ";
/// What a dump of flows, or what stands for one, begins with.
const DUMPS: [&str; 4] = ["", "Incoming", "Outgoing", "manually triggered attack"];

/// The standard input of `ban`.
pub fn bans(victim: &Victim, theirs: &str, ours: &str) {
    let (theirs, ours) = (Report::new(theirs), Report::new(ours));
    summaries(victim, &theirs, &ours);
    if victim.is_v6() {
        // Theirs counts no flows of IPv6.
        assert_eq!(theirs.rest, "");
    } else {
        flows(victim, theirs.rest, ours.rest);
    }
}

/// The standard input of `attack_details`.
pub fn details(victim: &Victim, theirs: &str, ours: &str) {
    let (theirs, ours) = (Report::new(theirs), Report::new(ours));
    summaries(victim, &theirs, &ours);
    let samples = |report: &Report<'_>| -> Vec<String> {
        let lines = report.rest.strip_prefix("\n\n").unwrap();
        assert!(lines.ends_with("  \n"), "{lines}");
        lines.lines().map(|line| sample_shape(victim, line)).collect()
    };
    let (theirs, ours) = (samples(&theirs), samples(&ours));
    assert_eq!(theirs.len(), 20, "{theirs:?}");
    assert!((1..=20).contains(&ours.len()), "{ours:?}");
    let (theirs, ours): (BTreeSet<_>, BTreeSet<_>) =
        (theirs.into_iter().collect(), ours.into_iter().collect());
    assert!(ours.is_subset(&theirs), "{}: {ours:?} of {theirs:?}", victim.argument);
    assert!(!victim.pure || ours == theirs, "{}: {ours:?}, {theirs:?}", victim.argument);
}

/// The report as the reference would have written it.
pub fn without_own_lines(text: &str) -> String {
    let report = Report::new(text);
    assert!(!report.own.is_empty(), "{text}");
    format!("{}{}", report.summary, report.rest)
}

/// What follows the summary, and our lines.
pub fn dump(text: &str) -> &str {
    Report::new(text).rest
}

/// A report in its parts.
struct Report<'t> {
    /// The labelled lines.
    summary: &'t str,
    /// Lines of ours.
    own: &'t str,
    rest: &'t str,
}

impl<'t> Report<'t> {
    fn new(text: &'t str) -> Self {
        let last = text.find(LAST).unwrap_or_else(|| panic!("no summary: {text}"));
        let end = last + text[last..].find('\n').unwrap() + 1;
        let (summary, behind) = text.split_at(end);
        let mut length = 0;
        for line in behind.split_inclusive('\n') {
            if DUMPS.contains(&line.trim_end_matches('\n')) {
                break;
            }
            assert!(line.contains(": ") || line.ends_with(":\n"), "{line}");
            length += line.len();
        }
        let (own, rest) = behind.split_at(length);
        Self { summary, own, rest }
    }
}

fn summaries(victim: &Victim, theirs: &Report<'_>, ours: &Report<'_>) {
    assert_eq!(theirs.own, "", "ours are told from theirs");
    assert!(ours.own.starts_with("Attack detection source: automatic\n"), "{}", ours.own);
    let shapes = |report: &Report<'_>| -> Vec<String> {
        report.summary.split_inclusive('\n').map(shape).collect()
    };
    let (mut their_shapes, our_shapes) = (shapes(theirs), shapes(ours));
    if victim.is_v6() {
        // Theirs has only room for IPv4 there.
        assert_eq!(their_shapes[0], "IP: 0.0.0.0\n");
        their_shapes[0].clone_from(&our_shapes[0]);
    }
    assert_eq!(our_shapes, their_shapes);
    assert_eq!(our_shapes.len(), 41);
    for (at, (label, value)) in [
        (0, ("IP", victim.argument)),
        (1, ("Attack type", victim.kind)),
        (4, ("Attack direction", victim.direction)),
        (5, ("Attack protocol", victim.protocol)),
    ] {
        assert_eq!(our_shapes[at], format!("{label}: {value}\n"));
    }
    figures(victim, theirs.summary, ours.summary);
}

/// Figures that do not depend on the moment: which are zero, and the length of packets.
fn figures(victim: &Victim, theirs: &str, ours: &str) {
    let value = |text: &str, label: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let here = if victim.direction == "incoming" { "Incoming" } else { "Outgoing" };
    for class in ["ip fragmented", "tcp", "syn tcp", "udp", "icmp"] {
        let label = format!("{here} {class} pps: ");
        let [theirs, ours] = [theirs, ours].map(|text| value(text, &label));
        assert_eq!(ours > 0.0, theirs > 0.0, "{}: {label}{ours}, {theirs}", victim.argument);
    }
    let here = here.to_lowercase();
    let label = format!("Average packet size for {here} traffic: ");
    let [theirs, ours] = [theirs, ours].map(|text| value(text, &label));
    // A mix is seen for different moments; rates are whole numbers.
    let tolerance = if victim.pure { 0.02 } else { 0.2 };
    assert!((ours / theirs - 1.0).abs() < tolerance, "{}: {ours}, {theirs}", victim.argument);
}

/// Theirs has the flows of a second, cut after a line more than the setting says; ours those of the
/// sample. They were sent, and the layout is the same.
fn flows(victim: &Victim, theirs: &str, ours: &str) {
    let sent = traffic::flows(victim);
    let mut is_cut = false;
    for text in [theirs, ours] {
        let lines = text.lines().filter(|line| line.ends_with(" packets"));
        let ends = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let found: BTreeSet<String> = lines.map(ends).collect();
        assert!(found.is_subset(&sent), "{}: {found:?} of {sent:?}", victim.argument);
        assert_eq!(found.is_empty(), sent.is_empty(), "{}: {text}", victim.argument);
        is_cut |= found.len() > 20;
    }
    if victim.pure && !is_cut {
        assert_eq!(layout(ours), layout(theirs), "{}: {ours}\n{theirs}", victim.argument);
    }
}

/// The lines of a dump; those of flows that follow one another are one.
fn layout(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(flow_shape).collect();
    lines.dedup();
    lines
}

fn flow_shape(line: &str) -> String {
    match line.split(' ').collect::<Vec<_>>().as_slice() {
        [_, "flows:", _] => shape(line),
        [_, arrow, _, _, "bytes", _, "packets\n"] => format!("flow {arrow} flow\n"),
        _ => line.to_owned(),
    }
}

/// A line of a sample: what does not depend on the packet stays.
fn sample_shape(victim: &Victim, line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    assert_eq!(words[3], ">", "{line}");
    let digits_gone = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "N");
    assert_eq!(digits_gone(&words[0]), "NNNN-NN-NN", "{line}");
    let time = digits_gone(&words[1]);
    // Theirs takes the nanoseconds of NetFlow v5 for microseconds.
    let is_time = match victim.medium {
        Medium::Netflow5 => time.starts_with("NN:NN:NN.NNNNNN") && time.ends_with('N'),
        Medium::Frames | Medium::Sflow => time == "NN:NN:NN.NNNNNN",
    };
    assert!(is_time, "{line}");
    let ours = [&words[2], &words[4]].map(|end| end.starts_with(victim.argument));
    assert!(ours[0] != ours[1], "{line}");
    let flow_counts = victim.medium == Medium::Netflow5;
    for at in 0..words.len() {
        let counts = flow_counts && matches!(&*words[at], "packets:" | "size:");
        if counts {
            assert!(words[at + 1].parse::<u64>().is_ok(), "{line}");
            "N".clone_into(&mut words[at + 1]);
        }
    }
    format!("{} > {} {}", ours[0], ours[1], words[5..].join(" "))
}

/// A line with N for each number.
fn shape(line: &str) -> String {
    let body = line.trim_end_matches('\n');
    let words = body.split(' ').map(|word| {
        let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let decimal = word.split_once('.').is_some_and(|(whole, tenth)| {
            whole.parse::<u64>().is_ok() && tenth.len() == 1 && tenth.parse::<u64>().is_ok()
        });
        match (number, decimal) {
            (true, _) => "N",
            (_, true) => "N.N",
            _ => word,
        }
    });
    format!("{}{}", words.collect::<Vec<_>>().join(" "), &line[body.len()..])
}
