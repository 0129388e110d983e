//! What the commands print, to the letter, and that `--json` passes the answer on.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidewall_model::Timestamp;

use super::Desk;

/// A mitigation as serde writes it.
fn mitigation(id: u64, target: &str, kind: &Value, status: &Value, ends: Timestamp) -> Value {
    json!({
        "id": id, "kind": kind, "target": target, "network": "192.0.2.0/24", "group": "web",
        "direction": "incoming", "causes": [], "created": "2026-11-21T10:30:00.123456Z",
        "ends": ends, "round": 0, "dry_run": false, "status": status,
    })
}

fn operator(who: &str, why: &str) -> Value {
    json!([{ "by": { "operator": { "who": who, "why": why } }, "ends": "2026-11-21T11:00:00Z" }])
}

/// So many seconds from now, and half a minute: time enough for the test.
fn in_seconds(seconds: u64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_parts(now + seconds + 30, 0)
}

#[test]
fn decisions_are_told_line_by_line() {
    let answer = json!({ "decisions": [
        { "what": "apply", "id": 7, "target": "192.0.2.0/24", "kind": "blackhole",
          "text": "blackhole of 192.0.2.0/24 (number 7) until 11:00" },
        { "what": "apply", "id": 8, "target": "192.0.2.0/24", "kind": "notify",
          "text": "notify about 192.0.2.0/24 (number 8)" },
    ] });
    let desk = Desk::answering("ban", answer.clone());
    assert_eq!(
        desk.text(&["ban", "192.0.2.0/24", "--blackhole"]),
        "192.0.2.0/24 covers 256 addresses\n\
         blackhole of 192.0.2.0/24 (number 7) until 11:00\n\
         notify about 192.0.2.0/24 (number 8)\n"
    );
    let printed = desk.text(&["ban", "192.0.2.0/24", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);
    let one = json!({ "decisions": [{ "what": "x", "text": "one line\nand a forged one" }] });
    for (name, words, more) in [
        ("ban", &["ban", "192.0.2.7"][..], ""),
        ("unban", &["unban", "192.0.2.7"], ""),
        ("approve", &["approve", "7"], ""),
        ("panic", &["panic"], "Nothing is done about attacks until `tidewall resume`.\n"),
        ("resume", &["resume"], ""),
    ] {
        let desk = Desk::answering(name, one.clone());
        let expected = format!("one line\u{fffd}and a forged one\n{more}");
        assert_eq!(desk.text(words), expected, "{name}");
        let desk = Desk::answering(name, json!({ "decisions": [] }));
        assert_eq!(desk.text(words), format!("Nothing had to be changed.\n{more}"), "{name}");
    }
}

#[test]
fn bans_are_a_table() {
    let rule = json!({ "flow_spec": {
        "source": "198.51.100.0/24", "protocol": 17, "source_ports": [[53, 53], [123, 124]],
        "destination_ports": [], "packet_lengths": [[1000, 1500]], "tcp_flags": null,
        "fragment": false, "action": { "rate_limit": 1_250_000 },
    } });
    let ends = [in_seconds(7_200), in_seconds(600), in_seconds(300_000), Timestamp(0)];
    let mut list = [
        mitigation(7, "192.0.2.7", &json!("blackhole"), &json!("active"), ends[0]),
        mitigation(8, "192.0.2.7", &rule, &json!({ "failed": "the peer is down" }), ends[1]),
        mitigation(9, "2001:db8::7", &json!("divert"), &json!("awaiting_approval"), ends[2]),
        mitigation(10, "group web", &json!("notify"), &json!("withdrawing"), ends[3]),
    ];
    list[0]["causes"] = operator("alice (uid 1000)", "ticket 12");
    list[1]["causes"] = json!([{ "ends": "2026-11-21T11:00:00Z", "by": { "attack": {
        "id": 3, "target": "192.0.2.7", "direction": "incoming" } } }]);
    list[2]["round"] = json!(2);
    list[3]["dry_run"] = json!(true);
    let answer = json!({ "held": null, "mitigations": list,
        "stats": { "up": 2, "waiting": 1, "withdrawing": 1, "routes": 3 } });
    let desk = Desk::answering("bans", answer.clone());
    let [a, b, c, _] = ends.map(|end| end.to_string().replace('T', " ")[..19].to_owned());
    let expected = format!(
        "\
ID  TARGET       DIRECTION  KIND              STATUS             SINCE (UTC)          \
UNTIL (UTC)          LEFT         WHO               REASON
7   192.0.2.7    incoming   blackhole         active             2026-11-21 10:30:00  \
{a}  2 h 00 min   alice (uid 1000)  ticket 12
8   192.0.2.7    incoming   filter            failed             2026-11-21 10:30:00  \
{b}  LEFT-IN-MIN  -                 attack 3
    UDP, from 198.51.100.0/24, source port 53 or 123-124, packet length in bytes 1000-1500, \
no fragments: at most 1.2 MB/s
    failed: the peer is down
9   2001:db8::7  incoming   divert            awaiting approval  2026-11-21 10:30:00  \
{c}  3 d 11 h     -                 -
    mitigated 2 times shortly before
10  group web    incoming   notify (dry run)  withdrawing        2026-11-21 10:30:00  \
1970-01-01 00:00:00  over         -                 -

2 up, with 3 routes; 1 being withdrawn; 1 waits for approval: `tidewall approve ID`
"
    );
    let said = desk.text(&["bans"]);
    // Of the second one seconds are left: `10 min 29 s`, or less on a slow machine.
    let at = said.find("10 min ").expect("minutes and seconds");
    let said = said.replace(&said[at..at + 11], "LEFT-IN-MIN");
    assert_eq!(said, expected, "\n{said}\n{expected}");
    let printed = desk.text(&["bans", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);
}

#[test]
fn the_brake_is_told_first() {
    let answer = json!({ "held": "bob (uid 1001)", "mitigations": [], "stats": {} });
    let desk = Desk::answering("bans", answer);
    assert_eq!(
        desk.text(&["bans"]),
        "THE BRAKE IS PULLED, by bob (uid 1001): nothing is done about attacks until `tidewall \
         resume`\nNothing is done about any target.\n"
    );
}

#[test]
fn a_service_that_has_just_started_says_so() {
    let answer = json!({ "held": null, "waits": "waits: started 3 s ago", "mitigations": [] });
    assert_eq!(
        Desk::answering("bans", answer).text(&["bans"]),
        "Routes for attacks wait: started 3 s ago\nNothing is done about any target.\n"
    );
}

#[test]
fn actions_and_announcers_are_tables() {
    let answer = json!({
        "actions": [
            { "name": "script", "kind": "script", "queued": 1, "under_way": 2, "done": 1234,
              "failed": 0, "lost": 0, "last_error": null,
              "last_success": "2026-11-21T10:30:00.000001Z" },
            { "name": "pager", "kind": "webhook", "waiting": 7, "running": 1, "done": 0,
              "failed": 3, "dropped": 4, "last_success": null,
              "last_error": ["2026-11-21T10:31:00.000000Z", "500 from\r\nserver"] },
        ],
        "announcers": [
            { "name": "gobgp", "kind": "gobgp", "up": false, "daemon": "GoBGP 3.10 at [::1]:50051",
              "desired": 3, "announced": 1, "waiting": 2, "done": 9, "failed": 1,
              "last_error": { "at": "2026-11-21T10:32:00Z", "text": "refused" } },
        ],
    });
    let desk = Desk::answering("actions", answer.clone());
    assert_eq!(
        desk.text(&["actions"]),
        "\
ACTION  KIND     LAST SUCCESS (UTC)   queued  running   done  failed  lost
script  script   2026-11-21 10:30:00       1        2  1,234       0     0
pager   webhook  -                         7        1      0       3     4
    last error, 2026-11-21 10:31:00: 500 from\u{fffd}\u{fffd}server

ANNOUNCER  KIND   STATE  desired  announced  waiting  done  failed
gobgp      gobgp  DOWN         3          1        2     9       1
    GoBGP 3.10 at [::1]:50051
    last error, 2026-11-21 10:32:00: refused
"
    );
    let printed = desk.text(&["actions", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);
    let none = Desk::answering("actions", json!({ "actions": [], "announcers": [] }));
    assert_eq!(none.text(&["actions"]), "No action is configured: nobody is told.\n");
}

#[test]
fn bgp_peers_and_routes_are_tables() {
    let answer = json!([
        { "name": "upstream", "address": "192.0.2.1:179", "as": 64_500, "state": "Established",
          "since": "2026-11-21T10:30:00.5Z", "established": 2, "announced": 1500, "pending": 1,
          "waiting": [["the peer takes no such family", 1], ["too many", 20]],
          "families": [
              { "family": "IPv4 unicast", "agreed": true, "announced": 1500 },
              { "family": "IPv6 FlowSpec", "agreed": false },
          ],
          "last_error": { "at": "2026-11-21T10:29:00Z", "text": "Cease\nshutdown" } },
        { "name": "scrubber", "address": "[2001:db8::1]:179", "as": 4_200_000_000_u64,
          "state": "Active", "since": null, "established": 0, "announced": 0, "pending": 0,
          "waiting": [], "families": [], "last_error": null },
    ]);
    let desk = Desk::answering("bgp_peers", answer.clone());
    assert_eq!(
        desk.text(&["bgp", "peers"]),
        "\
PEER      ADDRESS            AS          STATE        SINCE (UTC)          announced  pending  \
waiting  sessions
upstream  192.0.2.1:179      64500       Established  2026-11-21 10:30:00      1,500   \
\x20    1       21         2
    IPv4 unicast
    1 route waits: the peer takes no such family
    20 routes wait: too many
    last error, 2026-11-21 10:29:00: Cease\u{fffd}shutdown
scrubber  [2001:db8::1]:179  4200000000  Active       -                            0     \
\x20  0        0         0
"
    );
    let printed = desk.text(&["bgp", "peers", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);

    let answer = json!([
        { "announcer": "bgp", "peer": "upstream", "route": "203.0.113.7/32 via 192.0.2.1",
          "family": "IPv4 unicast", "state": "announced", "changes": ["no large communities"],
          "mitigations": [7, 9] },
        { "announcer": "gobgp", "peer": null, "route": "2001:db8::7/128 via 100::1",
          "family": "IPv6 unicast", "state": "waits: no session", "changes": [],
          "mitigations": [] },
    ]);
    for words in [["bgp", "routes"], ["bgp", "flowspec"]] {
        let desk = Desk::answering("bgp_routes", answer.clone());
        assert_eq!(
            desk.text(&words),
            "\
ROUTE                         FAMILY        ANNOUNCER  PEER      MITIGATIONS  STATE
203.0.113.7/32 via 192.0.2.1  IPv4 unicast  bgp        upstream  7, 9         announced
    sent with: no large communities
2001:db8::7/128 via 100::1    IPv6 unicast  gobgp      -         -            waits: no session
"
        );
        let none = Desk::answering("bgp_routes", json!([]));
        assert_eq!(none.text(&words), "No route should be announced.\n");
    }
    let none = Desk::answering("bgp_peers", json!([]));
    assert_eq!(none.text(&["bgp", "peers"]), "No BGP peer is configured.\n");
}

#[test]
fn the_past_is_told_in_the_words_of_the_journal() {
    let answer = json!({
        "attacks": [
            { "id": 3, "target": "192.0.2.7", "family": "ipv4", "direction": "incoming",
              "class": "udp_flood", "vectors": [], "reason": { "metric": "total_pps",
              "value": 50000.4, "limit": 10000.0, "group": "web", "window_ms": 1000 },
              "started": "2026-11-21T10:30:00.000000Z", "detected": "2026-11-21T10:30:01.000000Z",
              "ended": "2026-11-21T10:31:00.000000Z", "peak_pps": 60000, "peak_bps": 480_000_000,
              "peak_flows": 10, "packets": 3_000_000, "bytes": 300_000_000 },
            { "what": "this program does not know" },
        ],
        "decisions": [
            { "time": "2026-11-21T10:30:01.000000Z", "what": "apply", "mitigation": 7,
              "kind": "blackhole", "target": "192.0.2.7", "direction": "incoming", "group": "web",
              "ends": "2026-11-21T11:00:01.000000Z", "dry_run": false,
              "who": "alice (uid 1000)", "why": "2026-11-21T10:30:00Z" },
        ],
    });
    let desk = Desk::answering("history", answer.clone());
    assert_eq!(
        desk.text(&["history"]),
        "\
ATTACKS, newest first
2026-11-21T10:30:01.000000Z  incoming udp_flood 192.0.2.7, lasted 60 s, peak 60000 packets/s, \
480000000 bits/s
    because total_pps was 50000, limit 10000 of group web
DECISIONS, newest first
2026-11-21T10:30:01.000000Z  apply blackhole 192.0.2.7 incoming (number 7), by \
alice (uid 1000): 2026-11-21T10:30:00Z
1 entry of another version: `--json` shows all
"
    );
    let printed = desk.text(&["history", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), answer);
    let none = Desk::answering("history", json!({ "attacks": [], "decisions": [] }));
    assert_eq!(none.text(&["history"]), "Nothing is known of that time.\n");
}
