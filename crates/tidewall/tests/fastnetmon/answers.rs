//! What FastNetMon does about attacks: bans, the script, files, stores, ExaBGP and GoBGP, with the
//! traps that must not be stepped into.

use std::path::PathBuf;
use std::time::Duration;

use tidewall::config::{Loaded, Severity};
use tidewall::respond::AnnouncerSettings;
use tidewall_actions::Config;
use tidewall_actions::report_text::Generation;
use tidewall_engine::planner::{Measure, Mode, Response};
use tidewall_model::Direction;

use super::warnings::{NETWORKS, QUIET};
use super::{assert_same, files, good, import, parse, release};

fn response(loaded: &Loaded, group: &str) -> Response {
    loaded.respond.planner.response(group, Direction::Incoming).clone()
}

fn measures(loaded: &Loaded) -> Vec<Measure> {
    response(loaded, "global").ladder.iter().map(|step| step.measure).collect()
}

const EXABGP: &str = "exabgp = on\nexabgp_command_pipe = /var/run/exabgp.cmd\n\
                      exabgp_next_hop = 10.0.3.114\nexabgp_community = 65001:666\n";

#[test]
fn bans_are_as_long_as_there_and_never_without_an_end() {
    let files = files(&[NETWORKS]);
    let text = format!(
        "{QUIET}ban_time = 1900\nunban_only_if_attack_finished = off\n\
         hostgroup = a:192.0.2.0/24\na_enable_ban = off\n"
    );
    assert_same(&text, &files);
    let loaded = good(&text, &files);
    let global = response(&loaded, "global");
    let time = Duration::from_secs(1900);
    assert_eq!((global.mode, global.ban_time, global.minimum), (Mode::Automatic, time, time));
    assert_eq!((global.ban_time_of(5), global.only_if_finished), (time, false));
    assert_eq!(measures(&loaded), [Measure::Notify]);
    assert_eq!(response(&loaded, "a").mode, Mode::Off);
    assert_eq!(loaded.service.state, Some(PathBuf::from("/var/lib/tidewall")));
    assert!(loaded.respond.announcers.is_empty());
    assert!(loaded.respond.planner.check().is_ok());
    // Without bans nothing is done, and nothing is kept.
    let off = good("enable_ban = off\nenable_ban_ipv6 = off\nban_time = 60\n", &files);
    assert_eq!(response(&off, "global").mode, Mode::Off);
    assert_eq!((off.service.state, off.respond.actions.len()), (None, 0));
    let endless = good(&format!("{QUIET}ban_time = 0\n"), &files);
    assert_eq!(response(&endless, "global").ban_time, Duration::from_hours(366 * 24));
}

#[test]
fn scripts_files_and_stores_keep_their_contracts() {
    let files = files(&[NETWORKS]);
    let text = format!(
        "{QUIET}notify_script_path = /opt/notify.sh\ncollect_attack_pcap_dumps = on\n\
         ban_details_records_count = 33\nredis_enabled = yes\nredis_prefix = mydc1\n\
         mongodb_enabled = on\nmongodb_port = 27018\n"
    );
    assert_same(&text, &files);
    let actions = good(&text, &files).respond.actions;
    let [Config::Script(script), Config::Record(record), Config::Redis(redis), mongodb] =
        actions.as_slice()
    else {
        panic!("{actions:?}")
    };
    assert_eq!(script.path, PathBuf::from("/opt/notify.sh"));
    assert_eq!(script.style.generation, Generation::V1_2_4, "nothing newer is in the file");
    assert_eq!((script.style.lines, script.style.padded_ipv6), (33, true));
    assert_eq!(record.folder, PathBuf::from("/var/log/fastnetmon_attacks"));
    assert!(record.pcap && !record.json);
    assert_eq!((&*redis.prefix, redis.port, redis.expire_seconds), ("mydc1", 6379, 0));
    let Config::MongoDb(mongodb) = mongodb else { panic!() };
    assert_eq!(mongodb.hosts, [("localhost".to_owned(), 27_018)]);
    // A file of a newer release is told by its keys.
    let newer = good(&format!("{text}gobgp_next_hop_subnet_ipv4 = 0.0.0.0\n"), &files);
    let Config::Script(script) = &newer.respond.actions[0] else { panic!() };
    assert_eq!(script.style.generation, Generation::Newest);
    // What FastNetMon reads as off stays off, and no script is invented.
    let text = format!("{QUIET}redis_enabled = true\nmongodb_enabled = yes\ngobgp = 1\n");
    let kinds: Vec<_> = good(&text, &files).respond.actions.iter().map(Config::kind).collect();
    assert_eq!(kinds, ["record"]);
}

#[test]
fn exabgp_announces_what_was_typed() {
    let files = files(&[NETWORKS]);
    let text = format!("{QUIET}{EXABGP}exabgp_announce_host = on\n");
    assert_same(&text, &files);
    let loaded = good(&text, &files);
    assert_eq!(measures(&loaded), [Measure::Notify, Measure::Blackhole]);
    let [AnnouncerSettings::ExaBgp { config, routes }] = loaded.respond.announcers.as_slice()
    else {
        panic!()
    };
    assert_eq!(config.way, tidewall_actions::exabgp::Way::pipe("/var/run/exabgp.cmd"));
    let blackhole = routes.blackhole.as_ref().unwrap();
    assert_eq!(blackhole.next_hop_v4, Some("10.0.3.114".parse().unwrap()));
    assert_eq!(blackhole.attributes.communities, ["65001:666".parse().unwrap()]);
    assert!(blackhole.next_hop_v6.is_none() && routes.flow_spec.is_none());
    let toml = import(&text, &files);
    assert!(toml.contains("# line 4: exabgp = on\n"), "{toml}");
    // Several communities, and the network around the host.
    let text = format!(
        "{QUIET}{EXABGP}exabgp_announce_whole_subnet = on\n\
         exabgp_community_subnet = [65001:1 65001:2]\n"
    );
    assert_same(&text, &files);
    let loaded = good(&text, &files);
    assert_eq!(measures(&loaded), [Measure::Notify, Measure::Divert]);
    let routes = loaded.respond.announcers[0].routes().next().unwrap();
    assert_eq!(routes.divert.as_ref().unwrap().attributes.communities.len(), 2);
    assert!(routes.blackhole.is_none());
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_network_that_is_no_24_is_announced_by_the_rails() {
    let around = |list: &str| {
        let files = files(&[("/etc/networks_list", list)]);
        let text = format!("{QUIET}{EXABGP}exabgp_announce_whole_subnet = on\n");
        assert_same(&text, &files);
        let loaded = good(&text, &files);
        let warned = loaded.warnings.iter().any(|w| w.reason.contains("the whole network around"));
        (loaded.respond.planner.rails.shortest_diverted.v4, warned)
    };
    assert_eq!(around("192.0.2.0/24\n"), (24, false));
    assert_eq!(around("10.0.0.0/8\n"), (24, true));
    assert_eq!(around("192.0.2.0/26\n"), (26, true));
}

#[test]
fn gobgp_reads_the_next_hops_that_fastnetmon_forgets() {
    let lists = [("/etc/networks_list", "192.0.2.0/24\n2001:db8::/32\n")];
    let files = files(&lists);
    let text = format!(
        "{QUIET}enable_ban_ipv6 = on\ngobgp = on\ngobgp_next_hop = 192.0.2.254\n\
         gobgp_next_hop_host_ipv4 = 192.0.2.253\ngobgp_announce_host = on\n\
         gobgp_announce_host_ipv6 = on\n"
    );
    assert_same(&text, &files);
    let loaded = good(&text, &files);
    let routes = loaded.respond.announcers[0].routes().next().unwrap();
    let blackhole = routes.blackhole.as_ref().unwrap();
    assert_eq!(blackhole.next_hop_v4, Some("192.0.2.253".parse().unwrap()));
    assert_eq!(blackhole.next_hop_v6, Some("100::1".parse().unwrap()), "built in");
    assert_eq!(blackhole.attributes.communities, ["65001:668".parse().unwrap()], "built in");
    let release = release("v1_2_9").respond;
    let AnnouncerSettings::GoBgp { config, .. } = &release.announcers[0] else { panic!() };
    assert_eq!(config.address, "127.0.0.1:50051");
}

#[test]
fn a_route_that_would_be_wrong_refuses_the_configuration() {
    let files = files(&[("/etc/networks_list", "192.0.2.0/24\n2001:db8::/32\n")]);
    let gobgp = "gobgp = on\ngobgp_next_hop = 192.0.2.254\n";
    let exabgp = format!("{EXABGP}exabgp_announce_host = on\n");
    for (lines, field, reason) in [
        (exabgp.replace("65001:666", "65536:1"), "exabgp_community", "not a community"),
        (exabgp.replace("65001:666", ""), "exabgp_community", "there is no community"),
        (exabgp.replace("10.0.3.114", "self"), "exabgp_next_hop", "no next hop"),
        (exabgp.replace("10.0.3.114", "224.0.0.1"), "exabgp_next_hop", "a group"),
        (exabgp.replace("/var/run", "run"), "exabgp_command_pipe", "where its pipe is"),
        (format!("{gobgp}gobgp_announce_host = on\ngobgp_community_host = 1\n"), "gobgp_comm", "1"),
        ("gobgp = on\ngobgp_announce_host = on\n".to_owned(), "gobgp_announce", "no next hop"),
        (
            format!(
                "{gobgp}gobgp_announce_host = on\ngobgp_announce_host_ipv6 = on\n\
                 gobgp_community_host = 65001:1\n"
            ),
            "gobgp_community_host",
            "have other communities",
        ),
    ] {
        let errors = parse(&format!("{QUIET}{lines}"), &files).unwrap_err();
        let errors = errors.diagnostics().iter().filter(|d| d.severity == Severity::Error);
        let [error] = &errors.collect::<Vec<_>>()[..] else { panic!("{lines}") };
        assert!(error.field.starts_with(field), "{error:?}");
        assert!(error.reason.contains(reason) && !error.fix.is_empty(), "{error:?}");
    }
}
