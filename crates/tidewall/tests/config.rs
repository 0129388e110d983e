//! The configuration as people use it: the printed file, errors with their places and fixes,
//! inheritance, and texts that nobody would write.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tidewall::config::{
    self, ConfigErrors, Diagnostic, Frames, Key, Loaded, Severity, Shape, Style, TABLE, Table,
};
use tidewall::respond::Settings;
use tidewall_engine::{DirectedLimits, Limits, Policy, Rule};
use tidewall_model::{Family, Metric, Prefix, TrafficClass, Unit};
use tidewall_wire::frame::{LengthMode, TunnelKind, TunnelPolicy};

fn good(text: &str) -> Loaded {
    match config::parse("test.toml", text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.render(Style::Plain)),
    }
}

fn bad(text: &str) -> Vec<Diagnostic> {
    match config::parse("test.toml", text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors.diagnostics().to_vec(),
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn limit(limits: &Limits, class: TrafficClass, unit: Unit) -> Option<f64> {
    limits.get(Metric { class, unit })
}

/// Calls `each` with every table's path, header first, and whether it repeats.
fn walk(table: &'static Table, path: &str, each: &mut dyn FnMut(&str, &'static Table)) {
    each(path, table);
    for key in table.keys {
        if let Some(below) = key.shape.table() {
            let dot = if path.is_empty() { "" } else { "." };
            walk(below, &format!("{path}{dot}{}", key.name), each);
        }
    }
}

#[test]
fn the_printed_file_is_the_default() {
    let loaded = good(&config::default_file());
    assert_eq!(loaded.policy, Policy::for_networks(Vec::new()));
    assert_eq!(loaded.frames, Frames::default());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(good("").policy, loaded.policy);
    assert_eq!(format!("{:?}", loaded.respond), format!("{:?}", Settings::default()));
}

#[test]
fn the_printed_file_holds_every_key_with_its_prose() {
    let file = config::default_file();
    // Keys by the header above them; a table that occurs often lists all its keys at least once.
    let mut printed: BTreeSet<(String, String)> = BTreeSet::new();
    let mut header = String::new();
    for line in file.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(inner) = line.strip_prefix("[") {
            header = inner.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(k, _)| !k.contains(' ')) {
            printed.insert((header.clone(), key.to_owned()));
        }
    }
    let mut places: Vec<(&'static Table, Vec<String>)> = Vec::new();
    walk(TABLE, "", &mut |path, table| match places
        .iter_mut()
        .find(|(known, _)| std::ptr::eq(*known, table))
    {
        Some((_, paths)) => paths.push(path.to_owned()),
        None => places.push((table, vec![path.to_owned()])),
    });
    let (mut keys, mut inline) = (0, 0);
    for (table, paths) in places {
        for key in table.keys {
            let is_header = key.shape.table().is_some() && key.example.is_none();
            if is_header {
                let prose = [key.doc, key.shape.table().unwrap().about].concat();
                assert!(!prose.is_empty());
                continue;
            }
            keys += 1;
            let held = |path: &String| printed.contains(&(path.clone(), key.name.to_owned()));
            // A table within braces is explained where its own key is.
            if !paths.iter().any(held) {
                let mention = format!("#   {} (for example", key.name);
                assert!(file.contains(&mention), "{} of {paths:?}", key.name);
                inline += 1;
            }
            for line in key.doc {
                assert!(file.contains(line.trim()), "{line}");
            }
            assert!(!key.doc.is_empty(), "{} has no prose", key.name);
        }
    }
    assert!(keys > 40, "{keys}");
    assert_eq!(inline, 2, "pps and mbps");
}

/// A file with every key at its example.
fn example_file(table: &'static Table, path: &str, text: &mut String) {
    let (tables, values): (Vec<&Key>, Vec<&Key>) =
        table.keys.iter().partition(|key| key.shape.table().is_some() && key.example.is_none());
    for key in values {
        writeln!(text, "{} = {}", key.name, key.example.unwrap()).unwrap();
    }
    for key in tables {
        let path = format!("{path}{}{}", if path.is_empty() { "" } else { "." }, key.name);
        let list = matches!(key.shape, Shape::Tables(_));
        if list { writeln!(text, "[[{path}]]") } else { writeln!(text, "[{path}]") }.unwrap();
        example_file(key.shape.table().unwrap(), &path, text);
    }
}

/// Files for what the examples name: one line that is a URL, a password and a key.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let names = "edge1.md5 webhook.url webhook.key webhook.token slack.url mail.password";
    for name in names.split(' ').chain(["redis.password", "mongodb.password"]) {
        let line = "https://hooks.example.net/correct-horse\n";
        std::fs::write(folder.path().join(name), line).unwrap();
    }
    folder
}

/// The text without keys that exclude another example or name files or users that are not here.
fn usable(text: &str, folder: &tempfile::TempDir) -> String {
    let left_out = "operators url socket ca_file certificate_file key_file token_file chat_id";
    let left_out: Vec<&str> = left_out.split(' ').collect();
    let kept = |line: &&str| {
        let key = line.split(" = ").next().unwrap_or_default();
        !key.ends_with("_env") && !left_out.contains(&key)
    };
    let lines: Vec<&str> = text.lines().filter(kept).collect();
    lines.join("\n").replace("/etc/tidewall", folder.path().to_str().unwrap())
}

#[test]
fn every_example_is_accepted_and_means_something() {
    let mut text = String::new();
    example_file(TABLE, "", &mut text);
    let folder = secrets();
    let text = usable(&text, &folder);
    // The examples switch off what others limit: that is one warning each, and nothing else.
    let loaded = good(&text);
    for warning in &loaded.warnings {
        let known = ["counted", "none of", "does nothing with this"];
        assert!(known.iter().any(|part| warning.reason.contains(part)), "{warning:?}");
    }
    assert_eq!((loaded.respond.actions.len(), loaded.respond.announcers.len()), (8, 3));
    let default = Policy::for_networks(Vec::new());
    let policy = loaded.policy;
    assert_ne!(policy.detection, default.detection);
    assert_ne!(policy.capacity, default.capacity);
    assert_ne!(policy.counting, default.counting);
    assert_ne!(loaded.frames, Frames::default());
    assert_eq!(policy.groups.len(), 2);
    assert_eq!(policy.whitelist.rules.len(), 1);
    let total = policy.groups[1].total.incoming.clone();
    assert_eq!(limit(&total, TrafficClass::Total, Unit::Bits), Some(2e9));
    assert_eq!(limit(&total, TrafficClass::Total, Unit::Flows), Some(3500.0));
}

#[test]
fn commented_examples_of_the_printed_file_are_accepted() {
    let file = config::default_file();
    let live: String = file
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let folder = secrets();
    let loaded = good(&usable(&live, &folder));
    assert_eq!(loaded.policy.groups[1].name, "web");
    assert!(!loaded.policy.groups[0].total.is_empty());
}

/// The headers that open the table at a path.
fn headers(path: &str) -> String {
    let mut text = String::new();
    let (mut table, mut so_far) = (TABLE, String::new());
    for name in path.split('.').filter(|name| !name.is_empty()) {
        format!("{so_far}.{name}").trim_start_matches('.').clone_into(&mut so_far);
        let shape = table.key(name).unwrap().shape;
        match shape {
            Shape::Tables(_) => writeln!(text, "[[{so_far}]]").unwrap(),
            _ if so_far == path => writeln!(text, "[{so_far}]").unwrap(),
            _ => {}
        }
        table = shape.table().unwrap();
    }
    text
}

#[test]
fn mistyped_keys_are_refused_everywhere_with_the_right_one() {
    walk(TABLE, "", &mut |path, table| {
        for key in table.keys.iter().filter(|key| key.name.len() > 4) {
            let mut typo = key.name.to_owned();
            typo.remove(2);
            let text = format!("{}{typo} = 1\n", headers(path));
            let errors = bad(&text);
            let error = errors.iter().find(|e| e.reason.contains("there is no key")).unwrap();
            assert_eq!(error.fix, format!("did you mean `{}`?", key.name), "{text}");
            assert!(error.field.ends_with(&typo));
        }
    });
}

#[test]
fn a_key_of_another_table_is_shown_where_it_belongs() {
    let errors = bad("window = \"1s\"\n");
    assert_eq!(errors[0].fix, "`window` is a key elsewhere: `detection.window`");
    let errors = bad("[frames]\nxyzzy = 1\n");
    assert_eq!(errors[0].fix, "the keys here are length, inner, depth");
}

/// Text, line, column, field, part of the reason, part of the fix.
type Case = (&'static str, usize, usize, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Prefixes.
    ("networks = [\"10.0.0.5/8\"]", 1, 13, "networks[0]", "network is 10.0.0.0/8", "10.0.0.0/8"),
    ("networks = [\"300.0.0.1\"]", 1, 13, "networks[0]", "not an IPv4 or IPv6", "[\"192.0.2.0/24"),
    ("networks = [\"10.0.0.0/33\"]", 1, 13, "networks[0]", "(0 to 32)", "for example"),
    ("networks = \"10.0.0.0/8\"", 1, 12, "networks", "a list", "networks = [\"10.0.0.0/8\"]"),
    ("networks = [ 7 ]", 1, 14, "networks[0]", "found the number 7", "for example"),
    ("networks = [10.0.0.0/8]", 1, 17, "", "text in quotes", "[\"192.0.2.0/24\""),
    // Switches.
    ("[detection]\nenabled = \"yes\"", 2, 11, "detection.enabled", "\"yes\"", "enabled = true"),
    ("[detection]\nenabled = \"Off\"", 2, 11, "detection.enabled", "\"Off\"", "enabled = false"),
    ("[detection]\nenabled = 0", 2, 11, "detection.enabled", "number 0", "enabled = false"),
    ("[detection]\nenabled = yes", 2, 11, "", "`yes`", "enabled = true"),
    ("[detection]\nenabled = []", 2, 11, "detection.enabled", "a list", "enabled = false"),
    // Times and numbers.
    ("[detection]\nwindow = 1", 2, 10, "detection.window", "unit", "window = \"1s\""),
    ("[detection]\nwindow = \"1\"", 2, 10, "detection.window", "ms, s, min, h", "\"500ms\""),
    ("[detection]\nwindow = \"99ms\"", 2, 10, "detection.window", "100ms to 60s", "\"500ms\""),
    ("[detection]\nwindow = \"61s\"", 2, 10, "detection.window", "100ms to 60s", "\"500ms\""),
    ("[detection]\nwindow = \"1.0005s\"", 2, 10, "detection.window", "milliseconds", "500ms"),
    ("[detection]\nwindow = 1s", 2, 10, "", "`1s`", "`\"1s\"`"),
    ("[detection]\nslices = 9", 2, 10, "detection.slices", "10 to 100", "slices = 20"),
    ("[detection]\nslices = 101", 2, 10, "detection.slices", "10 to 100", "slices = 20"),
    ("[detection]\nslices = 30", 2, 10, "detection.slices", "30 equal slices", "slices = 32"),
    ("[detection]\nslices = 2.5", 2, 10, "detection.slices", "a whole number", "slices = 10"),
    ("[detection]\ntolerance = 1", 2, 13, "detection.tolerance", "between 0 and 1", "0.9"),
    ("[detection]\ntolerance = 0", 2, 13, "detection.tolerance", "between 0 and 1", "0.9"),
    ("[detection]\ntolerance = nan", 2, 13, "detection.tolerance", "a number", "0.9"),
    ("[detection]\nrelease = 70", 2, 11, "detection.release", "between", "release = 0.7"),
    ("[detection]\nevidence = 1.9", 2, 12, "detection.evidence", "2 to 50", "20"),
    ("[detection]\nsamples = -1", 2, 11, "detection.samples", "a whole number", "100"),
    ("[detection]\nsamples = 10001", 2, 11, "detection.samples", "0 to 10000", "100"),
    ("[detection]\nrelease_time = \"0s\"", 2, 16, "detection.release_time", "1s to 24h", "5min"),
    ("[capacity]\nhosts = 1023", 2, 9, "capacity.hosts", "from 1024", "takes at most"),
    ("[capacity]\nhosts = \"1G\"", 2, 9, "capacity.hosts", "GiB", "hosts = 1048576"),
    ("[capacity]\nrecent = 1e9", 2, 10, "capacity.recent", "whole number", "64k"),
    ("[frames]\nlength = \"wires\"", 2, 10, "frames.length", "\"ip_header\"", "\"wire\"?"),
    ("[frames]\ninner = [\"gtpu\"]", 2, 10, "frames.inner[0]", "tunnel", "\"gtp-u\"?"),
    ("[frames]\ndepth = 9", 2, 9, "frames.depth", "1 to 8", "depth = 2"),
    // Limits.
    ("[thresholds.incoming]\ntotal = 5", 2, 9, "thresholds.incoming.total", "unit", "pps = 5"),
    ("[thresholds.incoming]\nudp.pps = 0", 2, 11, "thresholds.incoming.udp.pps", "of 0", "off"),
    ("[thresholds.incoming]\nudp.pps = -3", 2, 11, "thresholds.incoming.udp.pps", "neg", "off"),
    ("[thresholds.incoming]\nudp.mbps = 1e9", 2, 12, "thresholds.incoming.udp.mbps", "Tb", "1_000"),
    ("[thresholds.incoming]\nudp.mbps = \"1G\"", 2, 12, "thresholds.incoming.udp.mbps", "b", "Gb"),
    ("[thresholds.incoming]\nudp.pps = inf", 2, 11, "thresholds.incoming.udp.pps", "more", "off"),
    ("[thresholds.incoming]\nudp.pps = true", 2, 11, "thresholds.incoming.udp.pps", "true", "20k"),
    ("[thresholds.incoming]\nudp.pps = 20k", 2, 11, "", "`20k`", "`\"20k\"`"),
    ("[thresholds.outgoing]\nflows = 0.5", 2, 9, "thresholds.outgoing.flows", "below", "off"),
    ("[thresholds.total.incoming]\nudp = []", 2, 7, "thresholds.total.incoming.udp", "list", ""),
    ("thresholds = 5", 1, 14, "thresholds", "a table", "[thresholds]"),
    // Rules.
    ("[[whitelist.rule]]", 1, 1, "whitelist.rule[0]", "all traffic", "condition"),
    ("[whitelist]\nrule = 1", 2, 8, "whitelist.rule", "tables", "[[whitelist.rule]]"),
    ("[[whitelist.rule]]\nttls = [256]", 2, 9, "whitelist.rule[0].ttls[0]", "255", "60-64"),
    ("[[whitelist.rule]]\nttls = [\"9-8\"]", 2, 9, "whitelist.rule[0].ttls[0]", "above", ""),
    ("[[whitelist.rule]]\nvlans = [4095]", 2, 10, "whitelist.rule[0].vlans[0]", "4094", "100"),
    (
        "[[whitelist.rule]]\ntcp_flags = [\"sin\"]",
        2,
        14,
        "whitelist.rule[0].tcp_flags[0]",
        "s",
        "+",
    ),
    (
        "[[whitelist.rule]]\nprotocols = [\"udq\"]",
        2,
        14,
        "whitelist.rule[0].protocols[0]",
        "",
        "udp",
    ),
    ("[[whitelist.rule]]\nfamily = \"ip4\"", 2, 10, "whitelist.rule[0].family", "ip4", "\"ipv4\"?"),
    // Groups.
    ("[[group]]\nprefixes = [\"10.0.0.0/8\"]", 1, 1, "group[0]", "name", "name = "),
    ("[[group]]\nname = \"a b\"", 2, 8, "group[0].name", "letters", "web"),
    ("[[group]]\nname = \"global\"", 2, 8, "group[0].name", "exists", "[thresholds]"),
    ("[[group]]\nname = \"a\"\nparent = \"glbal\"", 3, 10, "group[0].parent", "no group", "global"),
    ("[[group]]\nname = \"a\"\nparent = \"a\"", 3, 10, "group[0].parent", "a -> a", "global"),
    ("[group]\nname = \"a\"", 1, 1, "group", "expected tables", "[[group]]"),
    ("[[counting]]", 1, 1, "counting", "one table", "[counting]"),
    // TOML itself.
    ("[counting\nflows = true\n[frames]", 1, 10, "", "unclosed", ""),
    ("[counting]\n[counting]\nflows = true", 2, 2, "", "second time", "one of the two"),
    ("[counting]\nflows =\n", 2, 8, "", "no value", "flows ="),
    ("[counting]\nflows = true\nflows = false", 3, 1, "", "second time", "one of the two"),
];

#[test]
fn every_mistake_is_shown_where_it_is_with_a_fix() {
    for &(text, line, column, field, reason, fix) in CASES {
        let all = bad(text);
        let errors: Vec<_> = all.iter().filter(|d| d.severity == Severity::Error).collect();
        let [error] = errors.as_slice() else { panic!("{text}\n{all:#?}") };
        assert_eq!((error.line, error.column, &*error.field), (line, column, field), "{error:?}");
        assert!(error.reason.contains(reason), "{text}: {}", error.reason);
        assert!(error.fix.contains(fix), "{text}: {}", error.fix);
        assert!(!error.reason.is_empty() && !error.fix.is_empty(), "{text}");
    }
}

#[test]
fn one_run_finds_everything() {
    let text = "\
networks = [\"10.0.0.1/8\", \"x\"]
colour = \"red\"
[detection]
window = 5
tolerance = 7.5
[thresholds.incoming]
total = { pps = 0, mbps = -1 }
[[group]]
name = \"a\"
parent = \"b\"
prefixes = [\"192.0.2.0/24\"]
[[group]]
name = \"b\"
parent = \"a\"
prefixes = [\"192.0.2.0/24\"]
";
    let lines: Vec<_> = bad(text).iter().map(|d| d.line).collect();
    assert_eq!(lines, [1, 1, 2, 4, 5, 7, 7, 10, 15]);
    // Errors of the text and of its meaning come together, but not two for one line.
    let lines: Vec<_> = bad("colour = 1\n[detection]\nwindow = 5s\nslices = \"x\"\n")
        .iter()
        .map(|d| d.line)
        .collect();
    assert_eq!(lines, [1, 3, 4]);
}

#[test]
fn a_flood_of_errors_is_cut_and_counted() {
    let text: String = (0..500).fold(String::new(), |text, n| format!("{text}unknown{n} = 1\n"));
    let errors = bad(&text);
    assert_eq!(errors.len(), 101);
    let last = errors.last().unwrap();
    assert_eq!((last.severity, &*last.reason), (Severity::Error, "400 more are not shown"));
}

#[test]
fn groups_inherit_key_by_key() {
    let policy = good(
        r#"
networks = ["192.0.2.0/24", "2001:db8::/32"]
[thresholds.incoming]
total = { pps = "30k" }
icmp = "off"
[thresholds.network.outgoing]
udp = { mbps = "2 Gbps" }
[thresholds.total.incoming]
total = { mbps = 40_000 }
[[group]]
name = "web.eu"
parent = "web"
prefixes = ["192.0.2.128/25"]
thresholds.incoming.total.pps = false
thresholds.incoming.flows = 3_500
thresholds.total.outgoing.total.pps = 9
[[group]]
name = "web"
prefixes = ["192.0.2.0/24"]
detect = false
thresholds.incoming.tcp.mbps = 500
thresholds.network.outgoing.udp = "off"
"#,
    )
    .policy;
    let [global, eu, web] = policy.groups.as_slice() else { panic!() };
    assert_eq!((&*global.name, &*eu.name, &*web.name), ("global", "web.eu", "web"));
    assert_eq!((global.parent, eu.parent, web.parent), (None, Some(2), Some(0)));
    assert_eq!((global.detect, eu.detect, web.detect), (true, false, false));
    assert_eq!(eu.prefixes, [prefix("192.0.2.128/25")]);

    let mut incoming = Limits::of(&[
        (TrafficClass::Total, Unit::Packets, 30_000.0),
        (TrafficClass::Total, Unit::Bits, 1e9),
        (TrafficClass::TcpSyn, Unit::Packets, 10_000.0),
        (TrafficClass::Fragment, Unit::Packets, 5_000.0),
    ]);
    assert_eq!(global.host.incoming, incoming);
    incoming.set(Metric { class: TrafficClass::Tcp, unit: Unit::Bits }, 5e8);
    assert_eq!(web.host.incoming, incoming);
    incoming.remove(Metric { class: TrafficClass::Total, unit: Unit::Packets });
    incoming.set(Metric { class: TrafficClass::Total, unit: Unit::Flows }, 3500.0);
    assert_eq!(eu.host.incoming, incoming);
    assert_eq!(eu.host.outgoing, Policy::for_networks(Vec::new()).groups[0].host.outgoing);

    let udp = Limits::of(&[(TrafficClass::Udp, Unit::Bits, 2e9)]);
    assert_eq!(global.network.outgoing, udp);
    assert!(web.network.is_empty() && eu.network.is_empty());
    // Totals are each group's own.
    assert_eq!(limit(&global.total.incoming, TrafficClass::Total, Unit::Bits), Some(4e10));
    assert_eq!(web.total, DirectedLimits::default());
    assert!(eu.total.incoming.iter().next().is_none());
    assert_eq!(limit(&eu.total.outgoing, TrafficClass::Total, Unit::Packets), Some(9.0));
}

#[test]
fn values_mean_what_they_say() {
    let loaded = good(
        r#"
networks = ["2001:db8::/32", "192.0.2.0/24"]
[detection]
window = "2 s"
release_time = "5min"
[capacity]
hosts = "64k"
[frames]
length = "ip_header"
inner = ["gre", "gtp-u"]
depth = 2
[whitelist]
hosts = ["192.0.2.7"]
remotes = ["198.51.100.0/24"]
[[whitelist.rule]]
source = ["198.51.100.53"]
protocols = ["UDP", 132, "ospf"]
source_ports = [53, "100 - 200"]
destination_ports = [0xffff]
tcp_flags = ["syn+ACK", "none"]
packet_lengths = ["40-100"]
vlans = [0, 4094]
ttls = [255]
fragment = true
family = "ipv6"
"#,
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let policy = loaded.policy;
    assert_eq!(policy.networks, [prefix("192.0.2.0/24"), prefix("2001:db8::/32")]);
    assert_eq!(policy.detection.window, Duration::from_secs(2));
    assert_eq!(policy.detection.slices, 40, "one for each 50 ms when left out");
    assert_eq!(policy.detection.release_time, Duration::from_mins(5));
    assert_eq!(policy.capacity.hosts, 64_000);
    let tunnels = TunnelPolicy::OUTER.entering(TunnelKind::Gre).entering(TunnelKind::GtpU);
    let frames = Frames { length: LengthMode::IpHeader, tunnels: tunnels.with_depth(2) };
    assert_eq!(loaded.frames, frames);
    assert_eq!(policy.whitelist.hosts, [prefix("192.0.2.7/32")]);
    assert_eq!(policy.whitelist.remotes, [prefix("198.51.100.0/24")]);
    let rule = Rule {
        source: vec![prefix("198.51.100.53")],
        destination: vec![],
        protocols: vec![17, 132, 89],
        source_ports: vec![(53, 53), (100, 200)],
        destination_ports: vec![(65535, 65535)],
        tcp_flags: vec![0x12, 0],
        packet_lengths: vec![(40, 100)],
        vlans: vec![0, 4094],
        ttls: vec![(255, 255)],
        fragment: Some(true),
        family: Some(Family::V6),
    };
    assert_eq!(policy.whitelist.rules, [rule]);
}

#[test]
fn a_window_without_typed_slices_gets_fitting_ones() {
    for (window, slices) in
        [("100ms", 2), ("130ms", 4), ("1s", 20), ("59.999s", 1250), ("60s", 1200)]
    {
        let detection = good(&format!("[detection]\nwindow = {window:?}\n")).policy.detection;
        assert_eq!(detection.slices, slices, "{window}");
        let slice = detection.window / detection.slices;
        assert!(slice >= Duration::from_millis(10) && slice <= Duration::from_millis(100));
        assert_eq!(slice * detection.slices, detection.window, "slices fill the window");
        assert!(detection.release_time >= detection.window);
        assert!(detection.update_every >= detection.window);
    }
}

#[test]
fn what_is_probably_wrong_is_a_warning() {
    let cases = [
        ("networks = [\"10.0.0.0/8\", \"10.0.0.0/8\"]", "networks[1]", "twice"),
        ("networks = [\"0.0.0.0/0\"]", "networks[0]", "every address"),
        (
            "networks = [\"10.0.0.0/8\"]\n[whitelist]\nhosts = [\"11.0.0.1\"]",
            "whitelist.hosts[0]",
            "none of the networks",
        ),
        (
            "networks = [\"10.0.0.0/8\"]\n[whitelist]\nremotes = [\"10.1.0.0/16\"]",
            "whitelist.remotes[0]",
            "our own",
        ),
        (
            "networks = [\"10.0.0.0/8\"]\n[[group]]\nname = \"a\"\nprefixes = [\"11.0.0.0/8\"]",
            "group[0].prefixes[0]",
            "none of the networks",
        ),
        ("[[group]]\nname = \"a\"", "group[0]", "holds no host"),
        ("[counting]\nincoming = false\noutgoing = false", "counting.outgoing", "nothing is"),
        (
            "[counting]\nflows = false\n[thresholds.incoming]\nflows = 5",
            "thresholds.incoming.flows",
            "not counted",
        ),
        (
            "[counting]\noutgoing = false\n[thresholds.total.outgoing]\nudp.pps = 5",
            "thresholds.total.outgoing",
            "not counted",
        ),
    ];
    for (text, field, reason) in cases {
        let warnings = good(text).warnings;
        let [warning] = warnings.as_slice() else { panic!("{text}\n{warnings:#?}") };
        assert_eq!((warning.severity, &*warning.field), (Severity::Warning, field));
        assert!(warning.reason.contains(reason), "{warning:?}");
    }
    // Without networks a replay guesses them, so nothing can be outside.
    assert!(good("[whitelist]\nhosts = [\"11.0.0.1\"]").warnings.is_empty());
}

#[test]
fn twins_of_groups_and_prefixes_are_errors() {
    let group = "[[group]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\"]\n";
    let errors = bad(&group.repeat(2));
    let fields: Vec<_> = errors.iter().map(|e| &*e.field).collect();
    assert_eq!(fields, ["group[1].name", "group[1].prefixes[0]"]);
    assert!(errors.iter().all(|e| e.reason.contains("group[0]")));
}

#[test]
fn loops_of_any_length_end() {
    let group = |n: usize, parent: usize| {
        format!("[[group]]\nname = \"g{n}\"\nparent = \"g{parent}\"\nprefixes = [\"::{n:x}\"]\n")
    };
    // g0 .. g99 form a ring; g100 .. g199 hang on it.
    let ring = (0..100).map(|n| group(n, (n + 1) % 100));
    let tail = (100..200).map(|n| group(n, n - 100));
    let errors = bad(&ring.chain(tail).collect::<String>());
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].reason.contains("g0 -> g1 -> "), "{}", errors[0].reason);
    // A long chain in the worst order is no loop.
    let last = "[[group]]\nname = \"g5000\"\n".to_owned();
    let chain = (0..5000).map(|n| group(n, n + 1)).chain([last]).collect::<String>();
    assert_eq!(good(&chain).policy.groups.len(), 5002);
}

#[test]
fn reports_are_readable_without_a_terminal() {
    let errors = config::parse("x.toml", "[detection]\nwindow = \"5ms\"\n").unwrap_err();
    let plain = errors.render(Style::Plain);
    assert!(plain.is_ascii(), "{plain}");
    let want = "  x detection.window: \"5ms\" is out of range: 100ms to 60s
   ,-[x.toml:2:10]
 1 | [detection]
 2 | window = \"5ms\"
   :          ^^^^^
   `----
  help: for example `window = \"500ms\"`

1 error
";
    assert_eq!(plain, want);
    assert!(errors.render(Style::Terminal).contains("\u{1b}["));
    assert_eq!(
        errors.to_string(),
        "x.toml:2:10: error: detection.window: \"5ms\" is out of range: 100ms to 60s \
         (for example `window = \"500ms\"`)"
    );
}

#[test]
fn columns_count_characters() {
    let errors = bad("[[group]]\nname = \"ééé\"\nprefixes = [\"::1\", \"é\"]\n");
    assert_eq!((errors[0].line, errors[0].column), (3, 20));
    let errors = bad("\u{feff}networks = 7\r\n");
    assert_eq!(errors[0].line, 1);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    let missing = config::load(&path).unwrap_err();
    assert!(matches!(missing, ConfigErrors::Unreadable { .. }));
    assert!(missing.render(Style::Plain).starts_with("error: cannot read the configuration"));

    std::fs::write(&path, b"# ok\nnetworks = [\"\xff\"]\n").unwrap();
    let error = config::load(&path).unwrap_err();
    let [only] = error.diagnostics() else { panic!("{error}") };
    assert_eq!((only.line, only.column), (2, 14));
    assert!(only.reason.contains("UTF-8"));

    std::fs::write(&path, vec![b'#'; (8 << 20) + 1]).unwrap();
    assert!(config::load(&path).unwrap_err().to_string().contains("8 MiB"));

    std::fs::write(&path, "networks = [\"192.0.2.0/24\"]\n").unwrap();
    assert_eq!(config::load(&path).unwrap().policy.networks, [prefix("192.0.2.0/24")]);
}

#[test]
fn the_plan_names_groups_limits_and_memory() {
    let plan = config::describe(&good(
        "networks = [\"192.0.2.0/24\"]\n[[group]]\nname = \"web\"\nprefixes = [\"192.0.2.0/25\"]\n\
         thresholds.incoming.udp.mbps = 250\n[[whitelist.rule]]\nprotocols = [\"gre\"]\n",
    ));
    for line in [
        "  192.0.2.0/24",
        "  web     global  yes     192.0.2.0/25",
        "  web     each host  udp bits          250 Mbps  -",
        "  web     each host  total packets     20 kpps   20 kpps",
        "  protocol gre",
    ] {
        assert!(plan.lines().any(|l| l == line), "{line}\n{plan}");
    }
    assert!(plan.contains("Memory of each worker: at most "));
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for text in ["[".repeat(50_000), format!("a = {}", "{a=".repeat(50_000)), "a.".repeat(50_000)] {
        check(&text);
    }
    let nested = format!("[thresholds.incoming]\ntotal = {}1{}", "[".repeat(70), "]".repeat(70));
    assert_eq!(bad(&nested)[0].field, "thresholds.incoming.total");
}

/// What must hold for any text at all.
fn check(text: &str) {
    match config::parse("fuzz.toml", text) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|d| d.severity == Severity::Warning));
            config::describe(&loaded);
            config::render(&loaded.warnings, Style::Plain);
        }
        Err(errors) => {
            let list = errors.diagnostics();
            assert!(list.iter().any(|d| d.severity == Severity::Error));
            assert!(list.len() <= 101);
            for d in list {
                assert!(d.line >= 1 && d.column >= 1);
                assert!(d.line <= text.matches('\n').count() + 1);
                assert!(text.get(d.span.clone()).is_some(), "{d:?}");
                assert!(!d.reason.is_empty() && !d.fix.is_empty(), "{d:?}");
            }
            assert!(!errors.render(Style::Plain).contains('\u{1b}'));
            errors.render(Style::Terminal);
        }
    }
}

fn seeded(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x7469_6465),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Pieces that make texts near to a configuration.
const PIECES: &[&str] = &[
    "networks = [",
    "\"10.0.0.0/8\"",
    "\"::/0\"",
    "]",
    "[",
    "[[",
    "]]",
    "{",
    "}",
    ",",
    ".",
    "=",
    "\n",
    "[[group]]\n",
    "name = ",
    "\"a\"",
    "\"b\"",
    "parent = ",
    "prefixes = [",
    "[thresholds.incoming]\n",
    "total = ",
    "pps = ",
    "mbps = ",
    "flows = ",
    "\"off\"",
    "false",
    "20_000",
    "-1",
    "1e400",
    "nan",
    "\"1 Gbps\"",
    "\"99999999999999999999k\"",
    "[detection]\n",
    "window = ",
    "\"1s\"",
    "\"1e9s\"",
    "slices = ",
    "tolerance = ",
    "0.5",
    "[[whitelist.rule]]\n",
    "protocols = [",
    "\"udp\"",
    "300",
    "ttls = [\"",
    "-",
    "9",
    "\"]\n",
    "[frames]\n",
    "inner = [",
    "\"all\"",
    "[capacity]\n",
    "hosts = ",
    "#",
    "\"\"\"",
    "'",
    "\u{e9}",
    "\0",
    "\u{1b}[31m",
    "\r",
    "1979-05-27",
    "thresholds.total.incoming.udp.pps = 5\n",
];

proptest! {
    #![proptest_config(seeded(400))]

    #[test]
    fn any_text_is_understood_or_explained(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_pieces_are_understood_or_explained(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
    ) {
        check(&pieces.concat());
    }

    #[test]
    fn a_mutated_default_file_is_understood_or_explained(
        live: bool,
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0usize..8, prop::sample::select(PIECES)), 1..6),
    ) {
        let mut text = config::default_file();
        if live {
            text = text.replace("\n#", "\n").lines().filter(|l| !l.starts_with(' ')).fold(
                String::new(), |all, line| format!("{all}{line}\n"));
        }
        for (at, remove, insert) in edits {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary(at + remove);
            text.replace_range(at..end.max(at), insert);
        }
        check(&text);
    }

    #[test]
    fn limits_come_back_as_they_were_typed(
        pps in 1u32.., mbps in 1u32..=100_000_000, flows in 1u32..,
    ) {
        let text = format!(
            "[thresholds.incoming]\nudp = {{ pps = {pps}, mbps = \"{mbps} Mbps\" }}\n\
             flows = {flows}\n"
        );
        let limits = good(&text).policy.groups[0].host.incoming.clone();
        prop_assert_eq!(limit(&limits, TrafficClass::Udp, Unit::Packets), Some(f64::from(pps)));
        prop_assert_eq!(limit(&limits, TrafficClass::Udp, Unit::Bits), Some(f64::from(mbps) * 1e6));
        prop_assert_eq!(limit(&limits, TrafficClass::Total, Unit::Flows), Some(f64::from(flows)));
    }
}
