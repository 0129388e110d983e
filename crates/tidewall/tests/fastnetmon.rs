//! FastNetMon's configuration as people have it: whole files of several releases, every warning,
//! every key of the inventory, and texts that nobody would write.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tidewall::config::fastnetmon::{self, keys};
use tidewall::config::{self, ConfigErrors, Diagnostic, Loaded, Severity, Style};
use tidewall_engine::{Limits, Policy};
use tidewall_model::{Metric, Prefix, TrafficClass, Unit};
use tidewall_wire::frame::LengthMode;

const CONF: &str = "/etc/fastnetmon.conf";
const RELEASES: [&str; 4] = ["v1_1_2", "v1_1_4", "v1_2_4", "v1_2_9"];

/// Files by path.
type Files = BTreeMap<&'static str, String>;

fn files(list: &[(&'static str, &str)]) -> Files {
    list.iter().map(|(path, text)| (*path, (*text).to_owned())).collect()
}

fn read_from(files: &Files, path: &Path) -> io::Result<Vec<u8>> {
    let text = path.to_str().and_then(|path| files.get(path));
    text.map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn parse(text: &str, files: &Files) -> Result<Loaded, ConfigErrors> {
    fastnetmon::parse(Path::new(CONF), text, Path::new("/"), &|path| read_from(files, path))
}

fn good(text: &str, files: &Files) -> Loaded {
    match parse(text, files) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.render(Style::Plain)),
    }
}

/// What a file stands for as TOML.
fn import(text: &str, files: &Files) -> String {
    let read = |path: &Path| read_from(files, path);
    fastnetmon::import(Path::new(CONF), text, Path::new("/"), &read).unwrap().0
}

/// Imports, parses that, and compares.
fn assert_same(text: &str, files: &Files) {
    let direct = good(text, files);
    let toml = import(text, files);
    let parsed = match config::parse("imported.toml", &toml) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{text}\n---\n{toml}\n---\n{}", errors.render(Style::Plain)),
    };
    assert_eq!(parsed.policy, direct.policy, "{text}\n---\n{toml}");
    assert_eq!(parsed.frames, direct.frames, "{text}\n---\n{toml}");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fastnetmon")
}

fn release(name: &str) -> Loaded {
    let file = folder().join(format!("{name}.conf"));
    match config::load_below(&file, &folder().join("root")) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{}", errors.render(Style::Plain)),
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn limit(limits: &Limits, class: TrafficClass, unit: Unit) -> Option<f64> {
    limits.get(Metric { class, unit })
}

fn reasons(list: &[Diagnostic]) -> Vec<&str> {
    list.iter().map(|d| d.reason.as_str()).collect()
}

#[test]
fn files_of_every_release_are_told_from_toml_and_mean_what_import_says() {
    for name in RELEASES {
        let loaded = release(name);
        assert!(loaded.reference.is_some(), "{name}");
        assert_eq!(loaded.policy.networks.len(), 4, "{name}");
        assert_eq!(loaded.policy.whitelist.hosts, [prefix("192.0.2.53"), prefix("2001:db8::53")]);
        assert_eq!(loaded.policy.whitelist.rules.len(), 2);
        let file = folder().join(format!("{name}.conf"));
        let (toml, warnings) = config::import(&file, &folder().join("root")).unwrap().unwrap();
        assert_eq!(warnings, loaded.warnings.len());
        let parsed = config::parse("imported.toml", &toml).unwrap();
        assert_eq!(parsed.policy, loaded.policy, "{name}\n{toml}");
        assert_eq!(parsed.frames, loaded.frames, "{name}");
        // Every key of the file is somewhere in the comments, and no password is.
        for (key, entry) in loaded.reference.unwrap().entries() {
            assert!(toml.contains(&format!("line {}: {key} = ", entry.line())), "{name}: {key}");
        }
        assert!(!toml.contains("correct-horse") && !toml.contains("battery-staple"));
        // A sample of its time has no key that we do not know.
        for warning in &loaded.warnings {
            assert!(!warning.reason.contains("no release"), "{warning:?}");
            assert_eq!(warning.severity, Severity::Warning);
        }
    }
    assert!(!fastnetmon::is_reference(&config::default_file()));
    assert!(!fastnetmon::is_reference(""));
    assert!(!fastnetmon::is_reference("networks = [\"192.0.2.0/24\"]\n"));
}

#[test]
fn a_file_of_2015() {
    let policy = release("v1_1_2").policy;
    let host = &policy.groups[0].host;
    let wanted = Limits::of(&[
        (TrafficClass::Total, Unit::Packets, 20_000.0),
        (TrafficClass::Total, Unit::Bits, 1e9),
    ]);
    assert_eq!((&host.incoming, &host.outgoing), (&wanted, &wanted));
    // IPv6 detection came with 1.1.8: its hosts are a group that raises nothing.
    let [_, off] = policy.groups.as_slice() else { panic!() };
    assert_eq!(
        (&*off.name, off.detect, &*off.prefixes),
        ("ipv6-off", false, &[prefix("::/0")][..])
    );
    assert!(policy.detection.enabled);
    assert_eq!(policy.detection.samples, 500);
    assert_eq!(policy.detection.average_time, Duration::from_secs(5));
    assert!(!policy.counting.internal && policy.counting.syn_with_ack);
}

#[test]
fn a_file_with_groups_and_limits_by_protocol() {
    let loaded = release("v1_1_4");
    let [global, web, voip, off] = loaded.policy.groups.as_slice() else { panic!() };
    let wanted = Limits::of(&[
        (TrafficClass::Total, Unit::Packets, 30_000.0),
        (TrafficClass::Total, Unit::Bits, 8e8),
        (TrafficClass::Total, Unit::Flows, 4_000.0),
        (TrafficClass::Udp, Unit::Packets, 25_000.0),
        (TrafficClass::Udp, Unit::Bits, 3e8),
        (TrafficClass::Icmp, Unit::Packets, 2_000.0),
    ]);
    assert_eq!(global.host.incoming, wanted);
    let wanted = Limits::of(&[
        (TrafficClass::Total, Unit::Packets, 90_000.0),
        (TrafficClass::Total, Unit::Bits, 4e9),
    ]);
    assert_eq!((&*web.name, web.detect, &web.host.incoming), ("web", true, &wanted));
    assert_eq!(web.prefixes, [prefix("192.0.2.0/25"), prefix("198.51.100.0/24")]);
    assert_eq!((&*voip.name, voip.detect, voip.host.is_empty()), ("voip", false, true));
    assert_eq!(off.name, "ipv6-off");
    assert!(!loaded.policy.counting.outgoing);
    // Values of features to come, under their present names.
    let reference = loaded.reference.unwrap();
    assert!(reference.switch("logging_remote_syslog_logging"));
    assert_eq!(reference.text("logging_remote_syslog_server"), "10.10.10.10");
    assert_eq!(reference.ports("netflow_port"), [2055, 9996]);
    assert_eq!(reference.number("netflow_sampling_ratio") as u64, 1000);
    assert!(reference.switch("redis_enabled"), "this one may say yes");
    assert_eq!(reference.text("exabgp_community_host"), "65001:666", "falls back");
    assert_eq!(reference.list("interfaces"), ["eth3", "eth4"]);
    assert_eq!(reference.text("influxdb_host"), "127.0.0.1", "built in");
}

#[test]
fn a_file_with_both_ip_versions_and_one_with_ipv4_only() {
    let both = release("v1_2_4");
    assert_eq!(both.policy.groups.len(), 2);
    assert_eq!(both.frames.length, LengthMode::IpHeader);
    let one = release("v1_2_9");
    assert_eq!(one.policy.groups[2].name, "ipv6-off");
    assert_eq!(one.frames.length, LengthMode::Wire);
    assert_eq!(one.policy.detection.window, Duration::from_secs(2));
    assert_eq!(one.policy.detection.slices, 40);
    let said = reasons(&one.warnings);
    for part in ["AF_XDP capture is recognised", "ClickHouse is recognised", "never reads it"] {
        assert!(said.iter().any(|reason| reason.contains(part)), "{part}: {said:#?}");
    }
    let inactive = fastnetmon::describe_inactive(&one.reference.unwrap());
    assert!(inactive.contains("  AF_XDP capture, turned on: force_native_mode_xdp"), "{inactive}");
    assert!(inactive.contains("  sFlow: sflow, sflow_host, sflow_port\n"), "{inactive}");
}

/// A configuration that gives no warning.
const QUIET: &str = "enable_ban = on\nban_for_pps = on\nthreshold_pps = 20000\n";
const NETWORKS: (&str, &str) = ("/etc/networks_list", "192.0.2.0/24\n198.51.100.0/24\n");

/// Lines behind [`QUIET`], the key and line of the only warning, and a part of its reason.
const WARNINGS: &[(&str, &str, usize, &str)] = &[
    // Lines.
    ("ban_time 1900", "", 4, "not `key = value`"),
    ("influxdb_password = a=b", "influxdb_password", 4, "loses a line"),
    ("ban_time = 1800\nban_time = 1900", "ban_time", 5, "value of line 4"),
    ("treshold_mbps = 5", "treshold_mbps", 4, "no release"),
    ("web_threshold_pps = 5", "web_threshold_pps", 4, "no release"),
    ("logging:remote_syslog_port = 514", "logging:remote_syslog_port", 4, "since 1.2.3"),
    ("redis_prefix = d\u{fffd}", "redis_prefix", 4, "UTF-8"),
    // Switches.
    ("process_incoming_traffic = on # yes", "process_incoming_traffic", 4, "Here it is on"),
    ("process_outgoing_traffic = yes", "process_outgoing_traffic", 4, "Here it is on"),
    ("process_outgoing_traffic = On", "process_outgoing_traffic", 4, "as off"),
    ("process_outgoing_traffic =", "process_outgoing_traffic", 4, "no value"),
    ("gobgp = yes", "gobgp", 4, "stays off"),
    ("gobgp = maybe", "gobgp", 4, "neither on nor off"),
    // Numbers.
    ("ban_time = 30m", "ban_time", 4, "reads `30m` as 30; here it is 1800"),
    ("prometheus_port = 9k", "prometheus_port", 4, "reads 9; here the key counts as left out"),
    ("ban_time = -1", "ban_time", 4, "wraps"),
    ("ban_time = 3000000000", "ban_time", 4, "32 bits"),
    ("ban_time =", "ban_time", 4, "reads 0"),
    ("ban_details_records_count = 20000", "ban_details_records_count", 4, "10000"),
    ("speed_calculation_delay = 0", "speed_calculation_delay", 4, "1 to 60"),
    ("average_calculation_time = 15", "average_calculation_time", 4, "evidence"),
    // Limits.
    ("ban_for_bandwidth = on", "ban_for_bandwidth", 4, "is 1000 Mbit/s"),
    ("ban_for_udp_pps = on\nthreshold_udp_pps = 0", "threshold_udp_pps", 5, "0 is no limit"),
    ("ban_for_bandwidth = on\nthreshold_mbps = 999999999", "threshold_mbps", 5, "any network"),
    ("threshold_mbps = 500", "threshold_mbps", 4, "limits nothing"),
    ("threshold_pps = 20k\n#", "threshold_pps", 4, "20000"),
    ("enable_connection_tracking = off\nban_for_flows = on", "ban_for_flows", 5, "not counted"),
    // Other values.
    ("sort_parameter = pps", "sort_parameter", 4, "none of the words"),
    ("sflow_port = 6343,many", "sflow_port", 4, "list of ports"),
    ("interfaces = eth0, eth1", "interfaces", 4, "blank"),
    ("interfaces = eth0 # up", "interfaces", 4, "here it is `eth0`"),
    ("gobgp_next_hop = router", "gobgp_next_hop", 4, "IPv4 address"),
    ("gobgp_next_hop_ipv6 = 1.2.3.4", "gobgp_next_hop_ipv6", 4, "IPv6 address"),
    ("gobgp_community_host = 65536:1", "gobgp_community_host", 4, "without any"),
    ("graphite_host = a b", "graphite_host", 4, "host name"),
    ("gobgp_next_hop_host_ipv4 = 192.0.2.1", "gobgp_next_hop_host_ipv4", 4, "never reads it"),
    ("gobgp_announce_whole_subnet_ipv6 = on", "gobgp_announce_whole_subnet_ipv6", 4, "no IPv6"),
    ("mirror_af_packet_fanout_mode = hash", "mirror_af_packet_fanout_mode", 4, "loses"),
    ("enable_subnet_counters = on", "enable_subnet_counters", 4, "always counted"),
    ("notify_script_pass_details = off", "notify_script_pass_details", 4, "always given"),
    ("mirror = on", "mirror", 4, "PF_RING"),
    // Features to come.
    ("sflow = on\nsflow_port = 6343", "sflow", 4, "sFlow is recognised"),
    ("enable_api = on", "enable_api", 4, "gRPC"),
    ("notify_script_path = /opt/notify.sh", "notify_script_path", 4, "notify script is recog"),
    // Groups.
    ("hostgroup = web", "hostgroup", 4, "name:prefix"),
    ("hostgroup = a:192.0.2.0/24\na_ban_for_pps = off", "hostgroup", 4, "`a_enable_ban` is"),
    ("hostgroup = a:192.0.2.0/24\na_enable_ban = on", "hostgroup", 4, "none is inherited"),
    ("hostgroup = a:\na_enable_ban = off", "hostgroup", 4, "no prefix is left"),
    ("hostgroup = a:192.0.2.0/24,x\na_enable_ban = off", "hostgroup", 4, "not a prefix"),
    ("hostgroup = a:192.0.2.0/25\na_enable_ban = off", "hostgroup", 4, "no line of the networks"),
    ("hostgroup = a:203.0.113.0/24\na_enable_ban = off", "hostgroup", 4, "none of the networks"),
    ("hostgroup = a:192.0.2.5/24\na_enable_ban = off", "hostgroup", 4, "does not clear"),
    ("hostgroup = a:192.0.2.0/24 # x\na_enable_ban = off", "hostgroup", 4, "comment or the quo"),
    ("hostgroup = a b:192.0.2.0/24\na b_enable_ban = off", "hostgroup", 4, "called a_b here"),
    ("hostgroup = global:192.0.2.0/24\nglobal_enable_ban = off", "hostgroup", 4, "is taken"),
    (
        "hostgroup = a:192.0.2.0/24, 198.51.100.0/24\na_enable_ban = off",
        "hostgroup",
        4,
        "blank beside",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = off\nhostgroup = a:198.51.100.0/24",
        "hostgroup",
        6,
        "defined in line 4",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = off\na_enable_ban_ipv6 = on",
        "a_enable_ban_ipv6",
        6,
        "global limits",
    ),
    (
        "hostgroup = a:192.0.2.0/24\na_enable_ban = on\na_ban_for_pps = on",
        "a_ban_for_pps",
        6,
        "is 20000 packets/s",
    ),
];

#[test]
fn each_misreading_is_one_warning_where_it_stands() {
    let files = files(&[NETWORKS]);
    assert!(good(QUIET, &files).warnings.is_empty());
    let mut wrong = Vec::new();
    for &(lines, field, line, reason) in WARNINGS {
        // A later value of a key of QUIET replaces it, which would be a second warning.
        let text = match lines.strip_prefix("threshold_pps") {
            Some(_) => format!("enable_ban = on\n\nban_for_pps = on\n{lines}\n"),
            None => format!("{QUIET}{lines}\n"),
        };
        assert_same(&text, &files);
        let warnings = good(&text, &files).warnings;
        match warnings.as_slice() {
            [d] if (&*d.field, d.line) == (field, line) && d.reason.contains(reason) => {
                assert!(!d.fix.is_empty(), "{text}");
            }
            other => wrong.push(format!("{lines} ({reason}): {other:#?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn several_at_once() {
    let files = files(&[NETWORKS]);
    for (lines, parts) in [
        ("sflow = on", &["sFlow is recognised", "listens nowhere"][..]),
        ("pcap = on", &["live pcap", "captures nothing"]),
        ("exabgp = on", &["ExaBGP is", "exabgp_command_pipe", "exabgp_next_hop"]),
        (
            "exabgp = on\nexabgp_command_pipe = /x\nexabgp_next_hop = 192.0.2.1\n\
             exabgp_announce_host = on",
            &["ExaBGP is", "empty community"],
        ),
        ("notify_script_path = /opt/a b", &["notify script is", "to a shell"]),
        ("ban_for_udp_pps = on\nthreshold_udp_pps = lots", &["left out", "is 100000 packets/s"]),
        (
            "sflow = on\nsflow_port = 1\nmirror_afpacket = on\ninterfaces = a\n\
             sflow_read_packet_length_from_ip_header = on",
            &["sFlow is", "AF_PACKET", "one setting"],
        ),
        (
            "hostgroup = a:2001:db8::/32,192.0.2.7\na_enable_ban = off",
            &["IPv6 prefix in a host", "none of the networks", "without a length", "no line of"],
        ),
    ] {
        let text = format!("{QUIET}{lines}\n");
        let warnings = good(&text, &files).warnings;
        assert_eq!(warnings.len(), parts.len(), "{text}{warnings:#?}");
        for part in parts {
            let found = warnings.iter().any(|warning| warning.reason.contains(part));
            assert!(found, "{part}\n{warnings:#?}");
        }
        assert_same(&text, &files);
    }
}

#[test]
fn limits_are_safe_where_fastnetmon_would_ban_everyone() {
    let files = files(&[NETWORKS]);
    let text = "enable_ban = on\nban_for_pps = on\nthreshold_pps = lots\nban_for_bandwidth = on\n\
                threshold_mbps = 700mbps\nban_for_tcp_bandwidth = on\nban_for_udp_pps = on\n\
                threshold_udp_pps = 0\nhostgroup = a:192.0.2.0/24\na_enable_ban = on\n\
                a_ban_for_bandwidth = on\na_ban_for_pps = on\n";
    let policy = good(text, &files).policy;
    let wanted = Limits::of(&[
        (TrafficClass::Total, Unit::Packets, 20_000.0),
        (TrafficClass::Total, Unit::Bits, 7e8),
        (TrafficClass::Tcp, Unit::Bits, 1e11),
    ]);
    assert_eq!(policy.groups[0].host.incoming, wanted);
    let group = &policy.groups[1].host.outgoing;
    assert_eq!(limit(group, TrafficClass::Total, Unit::Bits), Some(7e8), "the global number");
    assert_eq!(limit(group, TrafficClass::Total, Unit::Packets), Some(20_000.0));
}

#[test]
fn detection_follows_both_switches() {
    let networks = files(&[("/etc/networks_list", "192.0.2.0/24\n2001:db8::/32\n")]);
    let limits = "ban_for_pps = on\nthreshold_pps = 5000\nhostgroup = a:192.0.2.0/24\n\
                  a_enable_ban = on\na_ban_for_pps = on\na_threshold_pps = 1\n";
    let policy = |v4: &str, v6: &str| {
        let text = format!("enable_ban = {v4}\nenable_ban_ipv6 = {v6}\n{limits}");
        assert_same(&text, &networks);
        good(&text, &networks).policy
    };
    let names = |policy: &Policy| -> Vec<(String, bool)> {
        policy.groups.iter().map(|group| (group.name.clone(), group.detect)).collect()
    };
    let group = |name: &str, on| (name.to_owned(), on);
    let both = policy("on", "on");
    assert_eq!(names(&both), [group("global", true), group("a", true)]);
    let v4 = policy("on", "off");
    assert_eq!(names(&v4), [group("global", true), group("a", true), group("ipv6-off", false)]);
    let v6 = policy("off", "on");
    assert_eq!(names(&v6), [group("global", true), group("a", false), group("ipv4-off", false)]);
    assert!(both.detection.enabled && v4.detection.enabled && v6.detection.enabled);
    assert!(!policy("off", "off").detection.enabled);
    // Missing is off, and said.
    let loaded = good("threshold_pps = 5\n", &networks);
    assert!(!loaded.policy.detection.enabled);
    assert!(loaded.warnings.iter().any(|w| w.field == "enable_ban"), "{:?}", loaded.warnings);
    let loaded = good(QUIET, &networks);
    let [warning] = loaded.warnings.as_slice() else { panic!("{:#?}", loaded.warnings) };
    assert_eq!(warning.field, "enable_ban_ipv6");
    let warnings = good("enable_ban = on\n", &files(&[NETWORKS])).warnings;
    assert!(warnings[0].reason.contains("no limit is on"), "{warnings:?}");
}

#[test]
fn a_network_within_a_groups_prefix_is_told() {
    let files = files(&[("/etc/networks_list", "192.0.2.0/24\n192.0.2.128/25\n")]);
    let text = format!("{QUIET}hostgroup = a:192.0.2.0/24\na_enable_ban = off\n");
    let warnings = good(&text, &files).warnings;
    let [warning] = warnings.as_slice() else { panic!("{warnings:#?}") };
    assert!(warning.reason.contains("192.0.2.128/25 lies within"), "{warning:?}");
    let text = format!("{text}hostgroup = b:192.0.2.128/25\nb_enable_ban = off\n");
    assert!(good(&text, &files).warnings.is_empty());
}

#[test]
fn lists_are_found_and_their_lines_judged() {
    let mut lists = files(&[
        ("/etc/networks_list", "10.0.0.0/8\n"),
        (
            "/other/list",
            "192.0.2.0/24 # office\n192.0.2.7\n10.1.2.3/16\nnonsense\n\n#\n10.1.0.0/16",
        ),
        ("/etc/near", "203.0.113.0/24\n"),
        ("/etc/networks_whitelist", "192.0.2.1\n::1/129\n"),
        ("/etc/whitelist_rules", "{\"protocols\": [\"gre\"]}\nnone\n"),
    ]);
    let text = format!("{QUIET}networks_list_path = /other/list\n");
    let loaded = good(&text, &lists);
    let networks = [prefix("10.1.0.0/16"), prefix("192.0.2.0/24"), prefix("192.0.2.7")];
    assert_eq!(loaded.policy.networks, networks);
    assert_eq!(loaded.policy.whitelist.hosts, [prefix("192.0.2.1")]);
    assert_eq!(loaded.policy.whitelist.rules[0].protocols, [47]);
    let said: Vec<_> = loaded.warnings.iter().map(|w| (&*w.field, w.line, &*w.reason)).collect();
    for (at, (field, line, part)) in [
        ("networks_list", 1, "comment behind"),
        ("networks_list", 2, "without a length"),
        ("networks_list", 3, "10.1.0.0/16"),
        ("networks_list", 4, "not a prefix"),
        ("networks_list", 7, "in the list already"),
        ("networks_whitelist", 1, "without a length"),
        ("networks_whitelist", 2, "not a prefix"),
        ("whitelist_rules", 2, "no JSON object"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!((said[at].0, said[at].1), (field, line), "{said:#?}");
        assert!(said[at].2.contains(part), "{said:#?}");
    }
    assert_eq!(said.len(), 8, "{said:#?}");
    assert_same(&text, &lists);
    // Relative to the configuration, and not there.
    let networks = |text: &str, lists: &Files| good(&format!("{QUIET}{text}"), lists);
    let near = networks("networks_list_path = near\n", &lists);
    assert_eq!(near.policy.networks, [prefix("203.0.113.0/24")]);
    let none = networks("networks_list_path = /gone\n", &lists);
    assert!(none.policy.networks.is_empty());
    assert!(none.warnings[0].reason.contains("no file /gone"), "{:?}", none.warnings);
    // What crashes FastNetMon or makes it watch something else is an error.
    for (list, part) in
        [("2001:db8::/32x\n", "length"), ("a::b::c/32\n", "crashes"), ("10.0.0.0/33", "length")]
    {
        lists.insert("/etc/networks_list", list.to_owned());
        let errors = parse(QUIET, &lists).unwrap_err();
        assert!(errors.to_string().contains(part), "{errors}");
    }
    lists.insert("/etc/networks_list", "0.0.0.0/0\n".to_owned());
    assert!(good(QUIET, &lists).warnings[0].reason.contains("every address"));
}

#[test]
fn a_list_beside_the_configuration_comes_before_etc() {
    let folder = tempfile::tempdir().unwrap();
    let (here, root) = (folder.path().join("opt"), folder.path().join("root"));
    std::fs::create_dir_all(&here).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let conf = here.join("my.toml");
    std::fs::write(&conf, QUIET).unwrap();
    let networks = || config::load_below(&conf, &root).unwrap().policy.networks;
    assert!(networks().is_empty());
    std::fs::write(root.join("etc/networks_list"), "192.0.2.0/24\n").unwrap();
    assert_eq!(networks(), [prefix("192.0.2.0/24")]);
    std::fs::write(here.join("networks_list"), "198.51.100.0/24\n").unwrap();
    assert_eq!(networks(), [prefix("198.51.100.0/24")]);
    // A path that was typed is that path, beneath the root.
    std::fs::write(&conf, format!("{QUIET}networks_list_path = /etc/networks_list\n")).unwrap();
    assert_eq!(networks(), [prefix("192.0.2.0/24")]);
    // Bytes that are no UTF-8 in a comment do no harm.
    std::fs::write(&conf, [QUIET.as_bytes(), b"# caf\xe9\n"].concat()).unwrap();
    assert_eq!(networks(), [prefix("198.51.100.0/24")]);
    std::fs::create_dir(root.join("etc/folder")).unwrap();
    std::fs::write(&conf, format!("{QUIET}networks_list_path = /etc/folder\n")).unwrap();
    let error = config::load_below(&conf, &root).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    assert!(config::import(&here.join("networks_list"), &root).unwrap().is_none());
}

#[test]
fn what_stops_fastnetmon_is_an_error() {
    let files = files(&[NETWORKS]);
    for (lines, other) in [
        ("mirror_afpacket = on\nmirror_afxdp = on\ninterfaces = eth0\n", "mirror_afpacket"),
        ("mirror = on\nmirror_netmap = on\ninterfaces = eth0\n", "mirror"),
    ] {
        let errors = parse(&format!("{QUIET}{lines}"), &files).unwrap_err();
        let errors = errors.diagnostics().iter().filter(|d| d.severity == Severity::Error);
        let [error] = &errors.collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(error.line, 5);
        assert!(error.reason.contains(&format!("`{other}` is on too")), "{error:?}");
    }
}

#[test]
fn switches_towards_others_stay_as_fastnetmon_reads_them() {
    let text = "gobgp = yes\nexabgp = on # now\nredis_enabled = yes\nsflow = yes\ngraphite = on\n\
                enable_ban = true\n";
    let reference = good(text, &Files::new()).reference.unwrap();
    let on: Vec<_> = ["gobgp", "exabgp", "redis_enabled", "sflow", "graphite", "enable_ban"]
        .into_iter()
        .filter(|key| reference.switch(key))
        .collect();
    assert_eq!(on, ["redis_enabled", "sflow", "graphite", "enable_ban"]);
}

mod inventory;

fn seeded(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(0x666e_6d63),
        failure_persistence: None,
        ..Config::default()
    }
}

/// Values as people write them, good and bad.
const VALUES: &[&str] = &[
    "on",
    "off",
    "yes",
    "on # x",
    "",
    "0",
    "1",
    "5",
    "20000",
    "20k",
    "1.5",
    "-7",
    "1 Gbps",
    "999999999",
    "99999999999999999999",
    "eth0, eth1",
    "\"quoted\"",
    "a=b",
    "192.0.2.1",
    "::1",
    "65001:666",
    "packets",
    "\u{1}\u{1b}[31m",
    "é#",
    "0.00001",
    "61",
    "inf",
    "nan",
];

/// Lists as people write them.
const LIST_LINES: &[&str] = &[
    "192.0.2.0/24",
    "192.0.2.0/25",
    "10.1.2.3/8",
    "2001:db8::/32",
    "198.51.100.7",
    "# note",
    "nonsense",
    "0.0.0.0/0",
    "::/0",
];

fn any_line() -> impl Strategy<Value = String> {
    let global: Vec<&'static str> = keys::names().collect();
    let limits = keys::LIMITS.iter().flat_map(|limit| [limit.switch, limit.threshold]);
    let of_group: Vec<&'static str> = limits.chain(["enable_ban", "enable_ban_ipv6"]).collect();
    let value = prop::sample::select(VALUES);
    let number = (0u64..200_000).prop_map(|number| number.to_string());
    let value = prop_oneof![3 => value.prop_map(str::to_owned), 2 => number];
    let group = prop::sample::select(&["web", "a b", "global", "ipv6-off", "é"][..]);
    let list = prop::collection::vec(prop::sample::select(LIST_LINES), 0..4);
    prop_oneof![
        8 => (prop::sample::select(global), value.clone())
            .prop_map(|(key, value)| format!("{key} = {value}")),
        4 => (group.clone(), prop::sample::select(of_group), value)
            .prop_map(|(group, key, value)| format!("{group}_{key} = {value}")),
        2 => (group, list).prop_map(|(name, list)| format!("hostgroup = {name}:{}", list.join(","))),
    ]
}

#[test]
fn import_then_parse_is_the_direct_reading() {
    let lines = prop::collection::vec(any_line(), 0..60);
    let list = prop::collection::vec(prop::sample::select(LIST_LINES), 0..6);
    let mut compared = 0;
    let mut runner = prop::test_runner::TestRunner::new(seeded(600));
    let result = runner.run(&(lines, list.clone(), list), |(lines, networks, whitelist)| {
        let mut text = String::new();
        for line in &lines {
            _ = writeln!(text, "{line}");
        }
        let files = files(&[
            ("/etc/networks_list", &networks.join("\n")),
            ("/etc/networks_whitelist", &whitelist.join("\n")),
            ("/etc/whitelist_rules", "{\"vlans\": [5], \"tcp_flags\": [\"syn|ack\"]}"),
        ]);
        match parse(&text, &files) {
            Ok(_) => assert_same(&text, &files),
            // Two capture engines at once.
            Err(errors) => assert!(errors.to_string().contains("does not start"), "{errors}"),
        }
        Ok(())
    });
    compared += u32::from(result.is_ok());
    assert_eq!(compared, 1, "{result:?}");
}

/// What must hold for any text at all.
fn check(text: &str, list: &str) {
    let read = |_: &Path| Ok(list.as_bytes().to_vec());
    match fastnetmon::parse(Path::new(CONF), text, Path::new("/"), &read) {
        Ok(loaded) => {
            assert!(loaded.warnings.iter().all(|d| d.severity == Severity::Warning));
            assert!(loaded.warnings.iter().all(|d| !d.reason.is_empty() && !d.fix.is_empty()));
            config::describe(&loaded);
            fastnetmon::describe_inactive(&loaded.reference.unwrap());
            let toml = fastnetmon::import(Path::new(CONF), text, Path::new("/"), &read).unwrap().0;
            let parsed = config::parse("imported.toml", &toml).unwrap();
            assert_eq!(parsed.policy, loaded.policy, "{text:?} {list:?}\n{toml}");
            assert!(!config::render(&loaded.warnings, Style::Plain).contains('\u{1b}'));
        }
        Err(errors) => {
            assert!(errors.diagnostics().iter().any(|d| d.severity == Severity::Error));
            errors.render(Style::Plain);
        }
    }
    fastnetmon::is_reference(text);
}

proptest! {
    #![proptest_config(seeded(500))]

    #[test]
    fn any_text_is_understood_or_explained(
        text in "(?s).{0,200}",
        list in "(?s)[0-9a-f:./# \n{}\"]{0,80}",
    ) {
        check(&text, &list);
    }

    #[test]
    fn pieces_of_lines_are_understood_or_explained(
        lines in prop::collection::vec(any_line(), 0..20),
        cut in any::<prop::sample::Index>(),
        list in prop::collection::vec(prop::sample::select(LIST_LINES), 0..6),
    ) {
        let text = lines.join("\n");
        let cut = text.floor_char_boundary(cut.index(text.len() + 1));
        check(&text[cut..], &list.join("\n"));
        check(&text[..cut], &list.join("\r\n"));
    }
}

#[test]
fn a_flood_of_groups_and_keys_ends_soon() {
    let mut text = String::new();
    for number in 0..20_000 {
        _ = writeln!(text, "hostgroup = g!{number}:10.{}.{}.0/24", number >> 8 & 255, number & 255);
        _ = writeln!(text, "h{number}_threshold_pps = 5\ng!{number}_ban_for_pps = on");
    }
    check(&text, "10.0.0.0/8\n");
}
