//! FastNetMon's configuration as people have it: whole files of several releases, every warning,
//! every key of the inventory, and texts that nobody would write.

#![allow(clippy::unwrap_used)]

mod answers;
mod any_text;
mod inventory;
mod warnings;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tidewall::config::fastnetmon::{self, keys};
use tidewall::config::{
    self, ConfigErrors, Diagnostic, Loaded, LogLevel, MirrorSource, Severity, Style,
};
use tidewall_actions::Config;
use tidewall_capture::af_packet::{AfPacketConfig, FanoutMode};
use tidewall_capture::af_xdp::{AfXdpConfig, CopyMode, XdpMode};
use tidewall_capture::pcap_live::PcapConfig;
use tidewall_collect::ExportProtocol;
use tidewall_engine::{Limits, Policy};
use tidewall_model::{Metric, Prefix, SamplingRate, TrafficClass, Unit};
use tidewall_wire::frame::LengthMode;

use warnings::{NETWORKS, QUIET};

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
    assert_same_sources(&parsed, &direct, &toml);
    let own = |loaded: &Loaded| (loaded.own_addresses, loaded.openvz_addresses.clone());
    assert_eq!(own(&parsed), own(&direct), "{text}\n---\n{toml}");
    assert_eq!(parsed.service, direct.service, "{text}\n---\n{toml}");
    assert_eq!(parsed.respond.planner, direct.respond.planner, "{text}\n---\n{toml}");
    let shown = |loaded: &Loaded| format!("{:#?}", loaded.respond);
    assert_eq!(shown(&parsed), shown(&direct), "{text}\n---\n{toml}");
}

/// The same is received, in the same way.
fn assert_same_sources(parsed: &Loaded, direct: &Loaded, toml: &str) {
    assert_eq!(parsed.listen, direct.listen, "{toml}");
    assert_eq!(parsed.mirrors, direct.mirrors, "{toml}");
    assert_eq!(parsed.flows, direct.flows, "{toml}");
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
        assert_same_sources(&parsed, &loaded, &toml);
        assert_eq!(parsed.service, loaded.service, "{name}");
        let (shown, wanted) = (&parsed.respond, &loaded.respond);
        assert_eq!(format!("{shown:?}"), format!("{wanted:?}"), "{name}\n{toml}");
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
    let sent = loaded.respond.actions.iter().find_map(|action| match action {
        Config::Syslog(config) => Some((&*config.host, config.port, config.facility)),
        _ => None,
    });
    assert_eq!(sent, Some(("10.10.10.10", 514, 1)));
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
    for part in ["ClickHouse is recognised", "never reads it and takes"] {
        assert!(said.iter().any(|reason| reason.contains(part)), "{part}: {said:#?}");
    }
    let mirrors: Vec<String> = one.mirrors.iter().map(|m| format!("{:?}", m.source)).collect();
    assert!(mirrors.len() == 2 && mirrors[0].contains("AfXdp"), "{mirrors:?}");
    assert!(one.listen.sflow.is_empty(), "it is off");
    let inactive = fastnetmon::describe_inactive(&one.reference.unwrap());
    assert!(inactive.contains("  ClickHouse, turned on: clickhouse_metrics"), "{inactive}");
}

#[test]
fn syslog_of_another_machine_gets_attacks_when_both_halves_are_there() {
    let lines = ["logging_remote_syslog_server = ::1\n", "logging_remote_syslog_port = 5514\n"];
    let [server, port] = lines;
    for (more, sends) in [
        ("", false),
        (server, false),
        (port, false),
        (&*format!("{server}{port}"), true),
        (&*format!("{server}logging_remote_syslog_port = 0\n"), false),
    ] {
        for (switch, on) in [("on", true), ("off", false)] {
            let text = format!("{QUIET}logging_remote_syslog_logging = {switch}\n{more}");
            let files = files(&[NETWORKS]);
            let loaded = good(&text, &files);
            let actions = loaded.respond.actions.iter();
            assert_eq!(actions.filter(|a| a.kind() == "syslog").count(), usize::from(on && sends));
            assert_same(&text, &files);
        }
    }
}

#[test]
fn the_pid_file_is_told_and_not_written_unasked() {
    let text = format!("{QUIET}pid_path = /run/a b.pid\n");
    let files = files(&[NETWORKS]);
    assert_eq!(good(&text, &files).service.pid_file, None);
    assert!(import(&text, &files).contains("\n# pid_file = \"/run/a b.pid\"\n"));
    assert_same(&text, &files);
}

#[test]
fn the_log_has_the_lines_that_are_wished_and_goes_to_syslog() {
    let files = files(&[NETWORKS]);
    for (lines, level, syslog) in [
        ("", LogLevel::Info, false),
        ("logging_level = info\nlogging_local_syslog_logging = off\n", LogLevel::Info, false),
        ("logging_level = debug\n", LogLevel::Debug, false),
        ("logging_local_syslog_logging = on\n", LogLevel::Info, true),
        ("logging:local_syslog_logging = on\nlogging_level = loud\n", LogLevel::Info, true),
    ] {
        let text = format!("{QUIET}{lines}");
        let loaded = good(&text, &files);
        assert_eq!((loaded.service.log_level, loaded.service.local_syslog), (level, syslog));
        assert!(
            !fastnetmon::describe_inactive(loaded.reference.as_ref().unwrap()).contains("logg")
        );
        assert_same(&text, &files);
    }
}

#[test]
fn the_list_of_openvz_is_followed_where_it_was_read() {
    for (value, path) in [("on", Some("/proc/vz/veip")), ("off", None)] {
        let text = format!("{QUIET}monitor_openvz_vps_ip_addresses = {value}\n");
        let files = files(&[NETWORKS]);
        let loaded = good(&text, &files);
        assert_eq!(loaded.openvz_addresses.as_deref(), path.map(Path::new));
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
    // The machine's addresses and what a container has may be IPv6 ones where no network is.
    let only_v4 = files(&[NETWORKS]);
    let text = format!("enable_ban = on\nenable_ban_ipv6 = off\n{limits}");
    let loaded = good(&text, &only_v4);
    assert!(loaded.own_addresses);
    assert_eq!(names(&loaded.policy), names(&v4));
    assert_same(&text, &only_v4);
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
fn sources_are_the_same_after_an_import() {
    let files = files(&[NETWORKS]);
    let ports = "sflow = on\nsflow_port = 6343,6344\nsflow_host = 192.0.2.9\nnetflow = on\n\
                 netflow_port = 2055\nnetflow_host = ::\nnetflow_sampling_ratio = 1000\n";
    let mirrors = "mirror_netmap = on\nnetmap_sampling_ratio = 7\npcap = on\n";
    let packet = "mirror_afpacket = on\nmirror_af_packet_custom_sampling_rate = 50\n";
    let xdp = "mirror_afxdp = on\nzero_copy_xdp = on\nforce_native_mode_xdp = on\n";
    for (more, count) in [
        (format!("{packet}{mirrors}"), 6),
        (format!("{packet}mirror_af_packet_fanout_mode = qm\n"), 2),
        (format!("{xdp}xdp_set_promisc = on\n"), 2),
        ("mirror_afxdp = on\n".to_owned(), 2),
        (String::new(), 0),
    ] {
        let text = format!("{QUIET}{ports}interfaces = eth0,eth1\n{more}");
        let loaded = good(&text, &files);
        assert_eq!((loaded.listen.sflow.len(), loaded.listen.netflow.len()), (2, 1));
        assert_eq!(loaded.mirrors.len(), count, "{text}");
        assert_ne!(loaded.flows, config::Flows::default());
        assert_same(&text, &files);
    }
}

#[test]
fn sources_are_what_is_written() {
    let files = files(&[NETWORKS]);
    let sources = |lines: &str| {
        let loaded = good(&format!("{QUIET}interfaces = eth0\n{lines}\n"), &files);
        loaded.mirrors.into_iter().map(|m| (m.source, m.sampling.get())).collect::<Vec<_>>()
    };
    for (word, mode) in [
        ("", FanoutMode::Cpu),
        ("cpu", FanoutMode::Cpu),
        ("hash", FanoutMode::Hash),
        ("lb", FanoutMode::RoundRobin),
        ("rollover", FanoutMode::Rollover),
        ("queue_mapping", FanoutMode::QueueMapping),
        ("random", FanoutMode::Random),
    ] {
        let mut wanted = AfPacketConfig::new("eth0");
        wanted.fanout.mode = mode;
        let lines = format!("mirror_afpacket = on\nmirror_af_packet_fanout_mode = {word}");
        assert_eq!(sources(&lines), [(MirrorSource::AfPacket(wanted), 1)], "{word}");
    }
    let sampled = sources("mirror_afpacket = on\nmirror_af_packet_custom_sampling_rate = 50");
    assert_eq!(sampled[0].1, 50);
    for (lines, mode, copy, promiscuous) in [
        ("", XdpMode::Auto, CopyMode::Auto, false),
        ("force_native_mode_xdp = on", XdpMode::Native, CopyMode::Auto, false),
        ("zero_copy_xdp = on", XdpMode::Auto, CopyMode::ZeroCopy, false),
        ("xdp_set_promisc = on", XdpMode::Auto, CopyMode::Auto, true),
    ] {
        let wanted = AfXdpConfig { mode, copy, promiscuous, ..AfXdpConfig::new("eth0") };
        let lines = format!("mirror_afxdp = on\n{lines}");
        assert_eq!(sources(&lines), [(MirrorSource::AfXdp(wanted), 1)], "{lines}");
    }
    let pcap = |device: &str| MirrorSource::Pcap(PcapConfig::new(device));
    let netmap = sources("mirror_netmap = on\nnetmap_sampling_ratio = 7");
    assert_eq!(netmap, [(pcap("netmap:eth0"), 7)]);
    assert_eq!(sources("pcap = on"), [(pcap("eth0"), 1)]);
    let text = format!("{QUIET}netflow = on\nnetflow_port = 2055\nnetflow_sampling_ratio = 1000\n");
    let rules = good(&text, &files).flows.sampling;
    let of = |protocol| rules.of("192.0.2.9".parse().unwrap(), protocol).fallback;
    let thousand = Some(SamplingRate::new(1000));
    assert_eq!([ExportProtocol::NetflowV9, ExportProtocol::Ipfix].map(of), [thousand; 2]);
    assert_eq!([ExportProtocol::NetflowV5, ExportProtocol::Sflow].map(of), [None; 2]);
}

#[test]
fn an_engine_listens_where_it_is_told_or_not_at_all() {
    let files = files(&[NETWORKS]);
    for (key, value) in [
        ("sflow", "collector.example.com"),
        ("netflow", "eth0"),
        ("sflow", "192.0.2.1,192.0.2.2"),
        ("netflow", "[::1]"),
        ("netflow", "192.0.2.256"),
        ("sflow", "*"),
    ] {
        let text = format!("{QUIET}{key} = on\n{key}_port = 6343\n{key}_host = {value}\n");
        let errors = parse(&text, &files).unwrap_err();
        let [error] = errors.diagnostics() else { panic!("{errors}") };
        assert_eq!((error.severity, error.line), (Severity::Error, 6), "{error:?}");
        assert_eq!(error.field, format!("{key}_host"));
        assert!(error.reason.contains("not an IP address"), "{error:?}");
        assert!(error.fix.contains(&format!("`{key}_host = ")), "{error:?}");
        let shown = errors.render(Style::Plain);
        assert!(shown.contains("fastnetmon.conf:6"), "{shown}");
        // What is off listens nowhere, so nothing is refused.
        let off = text.replace("= on\nsflow_port", "= off\nsflow_port");
        let off = off.replace("= on\nnetflow_port", "= off\nnetflow_port");
        let loaded = good(&off, &files);
        assert!(loaded.listen.sflow.is_empty() && loaded.listen.netflow.is_empty());
    }
    for (value, address) in
        [("127.0.0.1", "127.0.0.1:6343"), ("::", "[::]:6343"), ("", "0.0.0.0:6343")]
    {
        let text = format!("{QUIET}sflow = on\nsflow_port = 6343\nsflow_host = {value}\n");
        let loaded = good(&text, &files);
        assert_eq!(loaded.listen.sflow, [address.parse().unwrap()]);
        assert_same(&text, &files);
    }
}

#[test]
fn captures_that_are_gone_have_a_line_to_paste() {
    let files = files(&[NETWORKS]);
    for (lines, parts, engine) in [
        ("mirror = on\n", &["`pcap = on`", "`mirror_afpacket = on`"][..], "pcap"),
        ("mirror = on\nenable_pf_ring_zc_mode = on\n", &["`interfaces = zc:eth3`"], "pcap"),
        ("mirror_snabbswitch = on\n", &["tidewall import"], "pipe"),
    ] {
        let text = format!("{QUIET}interfaces = eth3\n{lines}");
        let loaded = good(&text, &files);
        let said = loaded.warnings.iter().map(|w| w.fix.as_str()).collect::<Vec<_>>().join("\n");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        // The lines of a mirror stand in a comment of what is imported; pasted, they are one.
        let toml = import(&text, &files);
        let paste = toml.lines().filter_map(|line| line.strip_prefix("#   "));
        let paste: Vec<_> = paste.filter(|line| line.starts_with(['[', 'e', 'i'])).collect();
        let pasted = format!("{toml}\n{}\n", paste.join("\n"));
        let mirrors = config::parse("pasted.toml", &pasted).unwrap().mirrors;
        let [mirror] = mirrors.as_slice() else { panic!("{pasted}") };
        let shown = format!("{:?}", mirror.source).to_lowercase();
        assert!(shown.starts_with(engine), "{shown}");
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

#[test]
fn the_commands_read_and_print_it() {
    let file = |name: &str| folder().join(name).display().to_string();
    let run = |arguments: &[&str]| {
        let tidewall = Command::new(env!("CARGO_BIN_EXE_tidewall")).args(arguments).output();
        let output = tidewall.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (conf, root) = (file("v1_2_4.conf"), file("root"));
    let (status, toml, said) = run(&["import", &conf, "--root", &root]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(" warnings, as comments"), "{said}");
    let policy = config::parse("imported.toml", &toml).unwrap().policy;
    assert_eq!(policy, release("v1_2_4").policy);
    let (status, plan, said) = run(&["check", &conf, "--root", &root]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        plan.contains(
            "  2001:db8::/32
"
        ),
        "{plan}"
    );
    assert!(
        plan.contains(
            "  servers  global  yes     198.51.100.0/24
"
        ),
        "{plan}"
    );
    assert!(plan.contains("  gobgp: GoBGP at 127.0.0.1:50051"), "{plan}");
    assert!(plan.contains("  global: automatic: notify, then blackhole; bans "), "{plan}");
    assert!(said.contains("v1_2_4.conf:") && said.contains("is recognised"), "{said}");
    // Without its lists it has no networks.
    let empty = tempfile::tempdir().unwrap();
    let (_, _, said) = run(&["check", "-q", &conf, "--root", empty.path().to_str().unwrap()]);
    let besides =
        "watches the networks that this machine has addresses in; write them to the networks list";
    assert!(said.contains(besides), "{said}");
    assert!(!said.contains("no source"), "{said}");
    // No engine is on, or none that has where to listen.
    let bare = empty.path().join("bare.conf");
    for text in [QUIET.to_owned(), format!("{QUIET}sflow = on\nmirror_afpacket = on\n")] {
        std::fs::write(&bare, text).unwrap();
        for quiet in ["-q", "--quiet"] {
            let (status, _, said) = run(&["check", quiet, bare.to_str().unwrap()]);
            assert_eq!(status, Some(0));
            assert!(said.contains("no source") && said.contains("turn on `sflow`"), "{said}");
        }
        let (status, _, said) = run(&["run", "--config", bare.to_str().unwrap()]);
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("nothing to receive") && said.contains("`sflow`"), "{said}");
    }
    for (text, none) in [
        ("[listen]\nsflow = []\nnetflow = []\n", true),
        ("[listen]\nsflow = []\n", false),
        ("", false),
        (
            "[listen]\nsflow = []\nnetflow = []\n\
             [[mirror]]\nengine = \"pipe\"\ninterfaces = [\"-\"]\n",
            false,
        ),
    ] {
        let toml = empty.path().join("sources.toml");
        std::fs::write(&toml, format!("networks = [\"192.0.2.0/24\"]\n{text}")).unwrap();
        let (_, _, said) = run(&["check", "-q", toml.to_str().unwrap()]);
        assert_eq!(said.contains("no source") && said.contains("[[mirror]]"), none, "{said}");
    }
    let toml = empty.path().join("tidewall.toml");
    std::fs::write(&toml, "networks = []\n").unwrap();
    let (status, _, said) = run(&["import", toml.to_str().unwrap()]);
    assert_eq!(status, Some(2));
    assert!(said.contains("is TOML already"), "{said}");
    let both = "enable_ban = on\nmirror_afpacket = on\nmirror_afxdp = on\n";
    std::fs::write(&toml, both).unwrap();
    let (status, out, said) = run(&["import", toml.to_str().unwrap()]);
    assert_eq!((status, &*out), (Some(2), ""));
    assert!(said.contains("does not start with both"), "{said}");
}

#[test]
fn the_manual_has_every_key() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fastnetmon.md");
    let page = std::fs::read_to_string(page).unwrap();
    let missing: Vec<_> = keys::names().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/fastnetmon.md lacks {missing:?}");
}
