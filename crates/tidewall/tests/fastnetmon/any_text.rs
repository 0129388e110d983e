//! Texts that nobody would write, and sets of keys that nobody would set: each is understood or
//! explained, and import says the same as the direct reading.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use tidewall::config::fastnetmon::{self, keys};
use tidewall::config::{self, Severity, Style};

use super::{CONF, assert_same, files, parse};

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
        2 => (group, list)
            .prop_map(|(name, list)| format!("hostgroup = {name}:{}", list.join(","))),
    ]
}

#[test]
fn import_then_parse_is_the_direct_reading() {
    let lines = prop::collection::vec(any_line(), 0..60);
    let list = prop::collection::vec(prop::sample::select(LIST_LINES), 0..6);
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
            // Two capture engines at once, routes that cannot be announced, or listening nobody
            // knows where.
            Err(errors) => {
                for error in errors.diagnostics().iter().filter(|d| d.severity == Severity::Error) {
                    let daemon = ["exabgp", "gobgp"].iter().any(|d| error.field.starts_with(d));
                    let host = matches!(error.field.as_str(), "sflow_host" | "netflow_host");
                    assert!(daemon || host || error.reason.contains("does not start"), "{errors}");
                }
            }
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}");
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
            let (shown, wanted) = (&parsed.respond, &loaded.respond);
            assert_eq!(format!("{shown:?}"), format!("{wanted:?}"), "{text:?} {list:?}\n{toml}");
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
