//! What the configuration says about answers to attacks: how groups inherit, what announcers and
//! actions come out, and every mistake with its place and its fix.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tidewall::config::{self, Diagnostic, Loaded, Severity, Style};
use tidewall::control::{Operators, Rights};
use tidewall::respond::AnnouncerSettings;
use tidewall_actions::bgp::{Audience, Distance};
use tidewall_actions::routes::RouteSettings;
use tidewall_actions::{ActionKind, Config};
use tidewall_bgp::community::Community;
use tidewall_engine::FilterSettings;
use tidewall_engine::planner::{Measure, Mode};
use tidewall_model::Direction;

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

const BGP: &str = "\
[service]
state = \"/var/lib/tidewall\"
[bgp]
local_as = 64510
router_id = \"192.0.2.10\"
next_hop_ipv4 = \"192.0.2.254\"
next_hop_ipv6 = \"100::1\"
[[bgp.peer]]
name = \"edge1\"
address = \"192.0.2.1\"
as = 64500
";

#[test]
fn groups_inherit_answers_key_by_key() {
    let text = format!(
        "[mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole after 2m\"]\n\
         ban_time = \"10m\"\noutgoing = {{ mode = \"off\" }}\n{BGP}\
         [[group]]\nname = \"web\"\nprefixes = [\"192.0.2.0/25\"]\nmitigation.ban_time = \"1h\"\n\
         [[group]]\nname = \"shop\"\nparent = \"web\"\nprefixes = [\"192.0.2.0/26\"]\n\
         [group.mitigation]\nladder = [\"notify\"]\nhides_traffic = false\n\
         [group.mitigation.outgoing]\nmode = \"approve_first\"\n"
    );
    let planner = good(&text).respond.planner;
    let of = |group: &str, direction| planner.response(group, direction).clone();
    let global = of("global", Direction::Incoming);
    assert_eq!((global.mode, global.ban_time), (Mode::Automatic, Duration::from_mins(10)));
    // What nobody typed gives way to what was.
    assert_eq!(global.minimum, Duration::from_mins(10));
    let [notify, blackhole] = global.ladder.as_slice() else { panic!("{global:?}") };
    assert_eq!((notify.measure, notify.hides_traffic), (Measure::Notify, false));
    assert_eq!(
        (blackhole.measure, blackhole.after, blackhole.hides_traffic),
        (Measure::Blackhole, Duration::from_mins(2), true)
    );
    assert_eq!(of("global", Direction::Outgoing).mode, Mode::Off);
    let web = of("web", Direction::Incoming);
    assert_eq!((web.mode, web.ban_time), (Mode::Automatic, Duration::from_hours(1)));
    assert_eq!(web.ladder, global.ladder);
    assert_eq!(of("web", Direction::Outgoing).mode, Mode::Off);
    let shop = of("shop", Direction::Incoming);
    assert_eq!((shop.ladder.len(), shop.ban_time), (1, Duration::from_hours(1)));
    assert_eq!(of("shop", Direction::Outgoing).mode, Mode::ApproveFirst);
    assert!(planner.check().is_ok());
}

#[test]
fn a_ladder_is_told_in_plain_words() {
    let text = format!(
        "networks = [\"192.0.2.0/24\"]\n[mitigation]\nmode = \"automatic\"\n\
         ladder = [\"notify\", \"blackhole after 2m\"]\n{BGP}"
    );
    let plan = config::describe(&good(&text));
    for words in [
        "  global: automatic: notify, then blackhole after 2 min; bans 30 min, 2 times as long",
        "  bgp: our own speaker, AS 64510, router id 192.0.2.10",
        "    edge1: 192.0.2.1, AS 64500: IPv4 unicast, IPv6 unicast, IPv4 FlowSpec, IPv6 FlowSpec",
        "    blackhole via 192.0.2.254 and 100::1, communities 65535:666 65535:65281",
        "at most 1 % of our addresses, or 16, blackholed; no route for an attack in the first 10 s",
        "Actions: none",
    ] {
        assert!(plan.contains(words), "{words}\n{plan}");
    }
    let plan = config::describe(&good(""));
    assert!(plan.contains("global: notify only: notify; bans 30 min"), "{plan}");
    assert!(plan.contains("Announcers: none, so no route is announced"), "{plan}");
}

#[test]
fn peers_and_groups_of_peers_override_single_keys() {
    let text = format!(
        "{BGP}gtsm = true\nhops = 2\ngroup = \"transit\"\nfamilies = [\"ipv4-unicast\"]\n\
         restart_time = \"0s\"\nprofile = {{ max_rules = 5, components = [\"destination\"] }}\n\
         blackhole = {{ communities = [\"64500:666\"], prepend = 2 }}\n\
         [[bgp.peer]]\nname = \"edge2\"\naddress = \"2001:db8::1\"\nas = 64510\nhops = 1\n\
         flowspec.announce = false\n\
         [[bgp.group]]\nname = \"transit\"\n\
         blackhole.local_pref = 200\ndivert.next_hop_ipv4 = \"192.0.2.9\"\n"
    );
    let announcers = good(&text).respond.announcers;
    let [AnnouncerSettings::Bgp(speaking)] = announcers.as_slice() else { panic!() };
    let [edge1, edge2] = speaking.speaker.peers.as_slice() else { panic!() };
    assert_eq!((edge1.distance, edge2.distance), (Distance::Secured(2), Distance::Within(1)));
    assert_eq!((edge1.families.iter().count(), edge1.restart_time), (1, None));
    assert_eq!((edge1.profile.max_rules, edge1.profile.components.len()), (5, 1));
    let usual = speaking.routes.blackhole.as_ref().unwrap();
    assert_eq!(usual.attributes.communities, [Community::BLACKHOLE, Community::NO_EXPORT]);
    assert!(speaking.routes.divert.is_none());
    let of = |wanted: Audience| {
        let found = speaking.exceptions.iter().find(|(audience, _)| *audience == wanted);
        found.unwrap().1.clone()
    };
    let transit = of(Audience::Group("transit".to_owned()));
    let attributes = transit.blackhole.unwrap().attributes;
    assert_eq!((attributes.local_pref, attributes.communities.len()), (Some(200), 2));
    let own = of(Audience::Peer("edge1".to_owned()));
    let blackhole = own.blackhole.unwrap();
    assert_eq!(blackhole.next_hop_v4, usual.next_hop_v4);
    assert_eq!(blackhole.attributes.communities, ["64500:666".parse().unwrap()]);
    assert_eq!((blackhole.attributes.prepend, blackhole.attributes.local_pref), (2, Some(200)));
    assert!(own.divert.is_some(), "of its group");
    assert!(of(Audience::Peer("edge2".to_owned())).flow_spec.is_none());
}

/// Some routers pass the rules they get on to all their neighbours: ours stay in the AS unless it
/// is said otherwise, for all or for one peer.
#[test]
fn rules_carry_no_export_unless_told_otherwise() {
    let rules_of = |text: &str| {
        let announcers = good(text).respond.announcers;
        let [AnnouncerSettings::Bgp(speaking)] = announcers.as_slice() else { panic!() };
        let communities = |routes: &RouteSettings| routes.flow_spec.clone().unwrap().communities;
        let of_peer = speaking.exceptions.first().map(|(_, routes)| communities(routes));
        (communities(&speaking.routes), of_peer)
    };
    assert_eq!(rules_of(BGP), (vec![Community::NO_EXPORT], None));
    let own = format!("{BGP}flowspec.communities = [\"64510:7\"]\n");
    let seven: Community = "64510:7".parse().unwrap();
    assert_eq!(rules_of(&own), (vec![Community::NO_EXPORT], Some(vec![seven])));
    let none = BGP.replace("[[bgp.peer]]", "flowspec.communities = []\n[[bgp.peer]]");
    assert_eq!(rules_of(&none).0, []);
}

/// A blackhole of a peer or of a next hop would cut off its own withdrawal.
#[test]
fn peers_and_next_hops_are_protected_without_being_named() {
    let text = format!(
        "networks = [\"192.0.2.0/24\"]\n[rails]\nprotected = [\"192.0.2.53\"]\n{BGP}\
         source = \"192.0.2.10\"\n"
    );
    let protected = good(&text).respond.planner.rails.protected;
    let protected: Vec<String> = protected.iter().map(ToString::to_string).collect();
    // The next hop of IPv6 is outside of these networks; what is ours may change while we run.
    let want = ["192.0.2.53/32", "192.0.2.1/32", "192.0.2.10/32", "192.0.2.254/32", "100::1/128"];
    assert_eq!(protected, want);
}

#[test]
fn filters_are_chosen_as_it_is_said() {
    assert_eq!(good("").policy.filters, FilterSettings::default());
    let text = "[filters]\nmost_rules = 2\nenough = 0.9\nleast_gain = 0.05\nleast_coverage = 0.8\n\
                collateral = 0\nslowed = 0.02\nleast_remembered = 50\n";
    let loaded = good(text);
    let want = FilterSettings {
        most_rules: 2,
        enough: 0.9,
        least_gain: 0.05,
        least_coverage: 0.8,
        budget: 0.0,
        rate_limit_budget: 0.02,
        least_remembered: 50,
    };
    assert_eq!(loaded.policy.filters, want);
    let plan = config::describe(&loaded);
    let told = "Filters: at most 2 rules for an attack, until 90 % of it is taken, announced if \
                they take 80 %;\n  of the target's normal packets at most 0 % are discarded and 2 \
                % slowed down;\n  nothing is known of these with less than 50 remembered records\n";
    assert!(plan.contains(told), "{plan}");
    for (text, key, reason, fix) in [
        ("most_rules = 17", "filters.most_rules", "17 is out of range: 1 to 16", "most_rules = 2"),
        (
            "collateral = 5",
            "filters.collateral",
            "5 is out of range: 0 to 0.2",
            "collateral = 0.05",
        ),
        ("slowed = -0.1", "filters.slowed", "-0.1 is out of range: 0 to 0.5", "slowed = 0.05"),
        ("enough = nan", "filters.enough", "found the number nan", "enough = 0.95"),
        (
            "enough = 0.6\nleast_coverage = 0.8",
            "filters.least_coverage",
            "rules end at 0.6 of the attack",
            "at most `enough`",
        ),
        (
            "slowed = 0",
            "filters.slowed",
            "0.01 of the normal packets may be",
            "at least `collateral`",
        ),
        ("collateral = 0.15", "filters.collateral", "and only 0.1 slowed down", "at least"),
        ("colateral = 0.1", "filters", "colateral", "collateral"),
    ] {
        let errors = bad(&format!("[filters]\n{text}\n"));
        let [error] = errors.as_slice() else { panic!("{text}: {errors:?}") };
        let shown = format!("{error:?}");
        for word in [key, reason, fix] {
            assert!(shown.contains(word), "{text}: no {word:?} in {shown}");
        }
        assert_eq!(error.line, 1 + text.lines().count(), "{text}");
    }
}

#[test]
fn daemons_have_their_own_names_and_paths() {
    let text = "[exabgp]\npipe = \"/var/run/exabgp.cmd\"\nnext_hop_ipv4 = \"192.0.2.254\"\n\
                [gobgp]\nname = \"go\"\naddress = \"[2001:db8::1]:50051\"\ndeadline = \"2s\"\n\
                tag = \"64510:29000\"\nblackhole.announce = false\n";
    let announcers = good(text).respond.announcers;
    let [AnnouncerSettings::ExaBgp { config: exabgp, routes }, gobgp] = announcers.as_slice()
    else {
        panic!()
    };
    assert_eq!(exabgp.way, tidewall_actions::exabgp::Way::pipe("/var/run/exabgp.cmd"));
    assert!(routes.blackhole.as_ref().unwrap().next_hop_v6.is_none());
    let AnnouncerSettings::GoBgp { config, routes } = gobgp else { panic!() };
    assert_eq!((&*config.name, &*config.address), ("go", "[2001:db8::1]:50051"));
    assert_eq!(config.tag.to_string(), "64510:29000");
    assert!(routes.blackhole.is_none() && routes.flow_spec.is_some());
}

#[test]
fn actions_are_named_and_scripts_see_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "https://hooks.example.net/hunter2\n").unwrap();
    let secret = secret.display();
    let text = format!(
        "[[group]]\nname = \"web\"\nprefixes = [\"192.0.2.0/25\"]\nscript = \"/opt/web.sh\"\n\
         [[group]]\nname = \"shop\"\nparent = \"web\"\nprefixes = [\"192.0.2.0/26\"]\n\
         [[group]]\nname = \"lab\"\nprefixes = [\"192.0.2.128/25\"]\nscript = \"off\"\n\
         [[script]]\npath = \"/opt/a.sh\"\n[[script]]\npath = \"/opt/b.sh\"\nformat = \"json\"\n\
         [[webhook]]\nname = \"script-2\"\nurl_file = \"{secret}\"\n\
         authorization_env = \"PATH\"\nevents = [\"banned\"]\n\
         [[redis]]\npassword_file = \"{secret}\"\nexpire = \"1d\"\n\
         [[mongodb]]\nhosts = [\"a:1\", \"b:2\"]\nreplica_set = \"rs\"\n"
    );
    let loaded = good(&text);
    let names: Vec<String> = loaded
        .respond
        .actions
        .iter()
        .map(|action| action.clone().build().unwrap().name().to_owned())
        .collect();
    assert_eq!(names, ["script", "script-3", "script-2", "redis", "mongodb"]);
    let [Config::Script(first), Config::Script(second), Config::Webhook(webhook), redis, _] =
        loaded.respond.actions.as_slice()
    else {
        panic!("{names:?}")
    };
    let path = |group: &str| first.group_paths.get(group).cloned();
    assert_eq!(path("web"), Some(Some("/opt/web.sh".into())));
    assert_eq!((path("shop"), path("lab"), path("global")), (path("web"), Some(None), None));
    assert_eq!(second.group_paths.get("web"), Some(&None), "only the first calls it");
    assert_eq!(first.hidden_variables, ["PATH"]);
    assert_eq!(webhook.events, [ActionKind::Banned]);
    let Config::Redis(redis) = redis else { panic!() };
    assert_eq!(redis.expire_seconds, 86_400);
    let shown = format!("{:?}{}", loaded.respond, config::describe(&loaded));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("script-2  webhook  hooks.example.net"), "{shown}");
    // A group's script does not need one for all.
    let alone =
        "[[group]]\nname = \"web\"\nprefixes = [\"192.0.2.0/25\"]\nscript = \"/opt/w.sh\"\n";
    let actions = good(alone).respond.actions;
    let [Config::Script(script)] = actions.as_slice() else { panic!() };
    assert_eq!(script.group_paths.get("global"), Some(&None));
}

#[test]
fn what_is_kept_and_what_people_may_do() {
    let text = "[manual]\ntime = \"2h\"\nlongest = \"3h\"\nunban_hold = \"0s\"\n\
                [rails]\nshortest_ipv4 = 28\nprotected = [\"192.0.2.1\"]\nmost_routes = 7\n\
                largest_share = \"2.5%\"\ngrace_after_start = \"1m\"\n\
                [history]\nage = \"30d\"\nattacks = 10\n[service]\nwithdraw_on_stop = true\n";
    let settings = good(text).respond;
    assert_eq!(settings.planner.manual_time, Duration::from_hours(2));
    assert_eq!(settings.planner.unban_hold, Duration::ZERO);
    assert_eq!(settings.planner.rails.shortest.v4, 28);
    assert_eq!((settings.planner.rails.most_routes, settings.retention.attacks), (7, 10));
    assert_eq!(settings.planner.rails.largest_share.to_string(), "0.025");
    assert_eq!(settings.planner.rails.grace_after_start, Duration::from_mins(1));
    assert!(settings.withdraw_on_stop);
    assert!(settings.planner.check().is_ok());
}

#[test]
fn who_may_change_something() {
    assert_eq!(good("").rights, Rights::default());
    let only = |users, groups| Rights { operators: Some(Operators { users, groups }) };
    assert_eq!(good("[control]\noperators = []").rights, only(vec![], vec![]));
    let some = good("[control]\noperators = [\"root\", 1001, \"@root\", \"@30\"]");
    assert_eq!(some.rights, only(vec![0, 1001], vec![0, 30]));
    let plan = config::describe(&some);
    assert!(plan.contains("own user and root, uid 1001"), "{plan}");
    assert!(config::describe(&good("")).contains("whoever may use the socket may change"));
}

/// Text, line, field, part of the reason, part of the fix.
type Case = (&'static str, usize, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Answers.
    ("[mitigation]\nmode = \"auto\"", 2, "mitigation.mode", "\"automatic\"", "automatic"),
    ("[mitigation]\nladder = [\"blackhol\"]", 2, "mitigation.ladder[0]", "no step", "blackhole"),
    ("[mitigation]\nladder = [\"drop it\"]", 2, "mitigation.ladder[0]", "no step", "\"divert\""),
    ("[mitigation]\nladder = [\"divert after 2\"]", 2, "mitigation.ladder[0]", "no time", "2m"),
    ("[mitigation]\nladder = []", 2, "mitigation.ladder", "does nothing", "mode = \"off\""),
    (
        "[mitigation]\nladder = [\"notify\", \"notify after 1m\"]",
        2,
        "mitigation.ladder[1]",
        "twice",
        "keep one",
    ),
    ("[mitigation]\nban_time = \"0s\"", 2, "mitigation.ban_time", "1 second to 366", "15m"),
    ("[mitigation]\nban_time = \"10m\"\nminimum = \"20m\"", 3, "mitigation.minimum", "at most", ""),
    ("[mitigation]\nlongest = \"5m\"", 2, "mitigation.longest", "the ban time to", "12h"),
    ("[mitigation]\ngrowth = 0.5", 2, "mitigation.growth", "must be 1 to 100", "1.5"),
    ("[mitigation]\nmost_routes = 0", 2, "mitigation.most_routes", "1 to 100000", "20"),
    (
        "[mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole\"]",
        3,
        "mitigation.ladder[1]",
        "nobody to announce it to",
        "[[bgp.peer]]",
    ),
    (
        "[mitigation]\nmode = \"automatic\"\nladder = [\"divert\"]\n[gobgp]\n",
        3,
        "mitigation.ladder[0]",
        "not set up",
        "[bgp.divert]",
    ),
    (
        "[mitigation]\nmode = \"approve_first\"\nladder = [\"blackhole\"]\n[gobgp]\n",
        3,
        "mitigation.ladder[0]",
        "not set up",
        "next_hop_ipv4",
    ),
    ("[rails]\nshortest_ipv4 = 8", 2, "rails.shortest_ipv4", "24 to 32", "28"),
    ("[rails]\nchanges_per_minute = 0", 2, "rails.changes_per_minute", "1 to", "30"),
    ("[rails]\nlargest_share = \"200%\"", 2, "rails.largest_share", "to \"100%\"", "5%"),
    ("[rails]\nlargest_share = 0.01", 2, "rails.largest_share", "a share", "5%"),
    ("[rails]\ngrace_after_start = \"2h\"", 2, "rails.grace_after_start", "0s to 1h", "30s"),
    ("[manual]\ntime = \"2d\"\nlongest = \"1d\"", 3, "manual.longest", "shorter", "at least"),
    ("[history]\nage = \"1s\"", 2, "history.age", "1h to 3660d", "90d"),
    // Operators.
    ("[control]\noperators = [\"no.such\"]", 2, "control.operators[0]", "no user", "add it"),
    ("[control]\noperators = [\"@no.such\"]", 2, "control.operators[0]", "no group", "add it"),
    ("[control]\noperators = [\"4001\"]", 2, "control.operators[0]", "no user", "without quotes"),
    ("[control]\noperators = [true]", 2, "control.operators[0]", "a user or a group", "alice"),
    ("[control]\noperators = [\"@\"]", 2, "control.operators[0]", "a user or a group", "alice"),
    // Actions.
    ("[[script]]\nformat = \"json\"", 1, "script[0]", "`path` is missing", "/opt/notify.sh"),
    ("[[script]]\npath = \"a.sh\"", 2, "script[0].path", "absolute", "/usr/local/bin"),
    ("[[script]]\npath = \"/a\"\ntimeout = \"0s\"", 3, "script[0].timeout", "100ms", "10s"),
    ("[[record]]\nfolder = \"a\"", 2, "record[0].folder", "absolute", "/var/log"),
    ("[[record]]\nfolder = \"/a\"\nmax_files = 1", 3, "record[0].max_files", "8 to", "1000"),
    ("[[webhook]]\n", 1, "webhook[0]", "where to send", "url_file"),
    ("[[webhook]]\nurl = \"ftp://a/\"", 1, "webhook[0].url", "must be http", "docs/actions.md"),
    (
        "[[webhook]]\nurl_file = \"/nonexistent/url\"",
        2,
        "webhook[0].url_file",
        "secret in /nonexistent/url",
        "one line",
    ),
    (
        "[[redis]]\npassword_env = \"TIDEWALL_NO_SUCH_VARIABLE\"",
        2,
        "redis[0].password_env",
        "no readable variable TIDEWALL_NO_SUCH_VARIABLE",
        "one line",
    ),
    ("[[mongodb]]\nuser = \"a\"", 2, "mongodb[0].user", "needs a password", "password_file"),
    ("[[mongodb]]\nhosts = [\"a\"]", 2, "mongodb[0].hosts[0]", "host and its port", "27017"),
    ("[[mongodb]]\ndatabase = \"a.b\"", 1, "mongodb[0].database", "no database", "actions.md"),
    ("[[chat]]\nservice = \"irc\"", 2, "chat[0].service", "\"slack\"", "slack"),
    ("[[chat]]\nservice = \"slack\"", 1, "chat[0]", "needs `url_file`", "url_file"),
    ("[[mail]]\nfrom = \"a@b\"\nto = [\"c@d\"]", 1, "mail[0]", "`host` is missing", "host ="),
    ("[[syslog]]\nhost = \"a\"\nfacility = 24", 3, "syslog[0].facility", "0 to 23", "20"),
    ("[[redis]]\nname = \"x\"\n[[redis]]\nname = \"x\"", 4, "redis[1].name", "another", "choose"),
    ("[[group]]\nname = \"a\"\nscript = \"b.sh\"", 3, "group[0].script", "absolute", "notify_web"),
    // Announcers.
    ("[gobgp]\naddress = \"localhost\"", 2, "gobgp.address", "host and its port", "50051"),
    ("[gobgp]\ntag = \"65536:1\"", 2, "gobgp.tag", "is not a community", "64510:29000"),
    ("[gobgp]\nnext_hop_ipv4 = \"0.0.0.0\"", 2, "gobgp.next_hop_ipv4", "no address", "192.0.2"),
    ("[gobgp]\nnext_hop_ipv6 = \"fe80::1\"", 2, "gobgp.next_hop_ipv6", "one link", "100::1"),
    ("[gobgp]\nname = \"a\"\n[exabgp]\npipe = \"/a\"\nname = \"a\"", 2, "gobgp.name", "call", "c"),
    ("[exabgp]\n", 1, "exabgp", "how ExaBGP is reached", "exabgp.cmd"),
    ("[exabgp]\npipe = \"/a\"\nsocket = \"/b\"", 3, "exabgp.socket", "twice", "keep one"),
    ("[exabgp]\npipe = \"a\"", 2, "exabgp.pipe", "absolute", "/var/run"),
    ("[gobgp.divert]\ncommunities = []", 1, "gobgp.divert", "no next hop", "announce = false"),
    (
        "[gobgp.blackhole]\nnext_hop_ipv4 = \"192.0.2.1\"\nprepend = 11",
        3,
        "gobgp.blackhole.prepend",
        "0 to 10",
        "2",
    ),
    (
        "[gobgp.flowspec]\nextended_communities = [\"0x8006000000000000\"]",
        2,
        "gobgp.flowspec.extended_communities[0]",
        "what happens to the traffic",
        "leave it out",
    ),
    ("[bgp]\nlocal_as = 1\nrouter_id = \"192.0.2.1\"", 1, "bgp", "no peer", "[[bgp.peer]]"),
];

#[test]
fn every_mistake_is_shown_where_it_is_with_a_fix() {
    let mut wrong = Vec::new();
    for &(text, line, field, reason, fix) in CASES {
        let all = bad(text);
        let errors: Vec<_> = all.iter().filter(|d| d.severity == Severity::Error).collect();
        let fits = match errors.as_slice() {
            [error] => {
                (error.line, &*error.field) == (line, field)
                    && error.reason.contains(reason)
                    && error.fix.contains(fix)
                    && !error.fix.is_empty()
            }
            _ => false,
        };
        if !fits {
            wrong.push(format!("{text}\n{all:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn mistakes_in_peers_are_shown_at_their_keys() {
    let peer = "[[bgp.peer]]\nname = \"edge2\"\naddress = \"192.0.2.2\"\nas = 64501\n";
    for (lines, field, reason) in [
        ("port = 0\n".to_owned(), "bgp.peer[0].port", "1 to 65535"),
        ("hops = 255\n".to_owned(), "bgp.peer[0].hops", "1 to 254"),
        ("passive = true\n".to_owned(), "bgp.peer[0].passive", "nothing listens"),
        ("source = \"2001:db8::1\"\n".to_owned(), "bgp.peer[0].source", "for a peer of IPv4"),
        ("hold_time = \"2s\"\n".to_owned(), "bgp.peer[0].hold_time", "hold time of 2 s"),
        ("restart_time = \"2h\"\n".to_owned(), "bgp.peer[0].restart_time", "0 to 4095"),
        ("local_as = 23456\n".to_owned(), "bgp.peer[0].local_as", "is reserved"),
        ("families = []\n".to_owned(), "bgp.peer[0].families", "no address family"),
        ("families = [\"vpn\"]\n".to_owned(), "bgp.peer[0].families[0]", "ipv4-unicast"),
        ("profile.components = [\"port\"]\n".to_owned(), "bgp.peer[0].profile.components", "dest"),
        ("md5_file = \"/nonexistent/key\"\n".to_owned(), "bgp.peer[0].md5_file", "/nonexistent"),
        (peer.replace("edge2", "edge1"), "bgp.peer[1].name", "another peer has this name"),
        (peer.replace("as = 64501", ""), "bgp.peer[1]", "a peer needs `as`"),
    ] {
        let all = bad(&format!("{BGP}{lines}"));
        let errors: Vec<_> = all.iter().filter(|d| d.severity == Severity::Error).collect();
        let [error] = errors.as_slice() else { panic!("{lines}\n{all:#?}") };
        assert_eq!(error.field, field, "{error:?}");
        assert!(error.reason.contains(reason), "{error:?}");
        assert!(!error.fix.is_empty() || field.ends_with(']'), "{error:?}");
    }
    let reserved = BGP.replace("local_as = 64510", "local_as = 0");
    assert_eq!(bad(&reserved)[0].field, "bgp.local_as");
}

#[test]
fn what_is_probably_wrong_is_a_warning() {
    let route = "[mitigation]\nmode = \"automatic\"\nladder = [\"blackhole\"]\n";
    let without_state = BGP.replace("state = \"/var/lib/tidewall\"\n", "");
    for (text, field, reason) in [
        (format!("{route}{without_state}"), "mitigation.mode", "kept over a restart"),
        (
            format!(
                "networks = [\"2001:db8::/32\"]\n{route}{}",
                BGP.replace("next_hop_ipv6 = \"100::1\"\n", "")
            ),
            "mitigation.ladder[0]",
            "no next hop for IPv6",
        ),
        (
            "networks = [\"192.0.2.0/24\"]\n[rails]\nprotected = [\"198.51.100.1\"]\n".to_owned(),
            "rails.protected[0]",
            "none of the networks",
        ),
        (format!("{BGP}[[bgp.group]]\nname = \"x\"\n"), "bgp.group[0].name", "no peer belongs"),
    ] {
        let warnings = good(&text).warnings;
        let [warning] = warnings.as_slice() else { panic!("{text}\n{warnings:#?}") };
        assert_eq!(warning.field, field, "{warning:?}");
        assert!(warning.reason.contains(reason), "{warning:?}");
    }
    assert!(good(&format!("{route}{BGP}")).warnings.is_empty());
}
