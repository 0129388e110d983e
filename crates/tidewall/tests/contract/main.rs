//! What scripts, files and stores get, beside Debian's `fastnetmon` 1.2.4: both programs have the
//! same configuration file and see the same traffic, frames, sFlow and NetFlow, and everything that
//! another program could read of the one is compared with the other. Where the two differ, the
//! difference is written down here and in docs/actions.md.
//!
//! Needs root, and the packages fastnetmon and redis-server. Without them the test says that it was
//! skipped, and passes; with `CI` in the environment missing packages fail it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
#![allow(clippy::disallowed_methods, reason = "services are tested by the clock on the wall")]

mod calls;
mod compare;
mod files;
mod lab;
#[path = "../exporters/programs.rs"]
#[allow(dead_code, reason = "used in part")]
mod programs;
#[path = "../../../capture/tests/common/mod.rs"]
mod spaces;
mod traffic;

use std::collections::BTreeSet;
use std::time::Duration;

use calls::{Call, of_host};
use lab::{Lab, Side};
use traffic::{MANUAL, VICTIMS, Victim};

/// Both tell everything well before.
const PATIENCE: Duration = Duration::from_secs(30);
/// The service does not take a pause of the traffic for the end of an attack.
const END: Duration = Duration::from_mins(1);

/// What a script is called for, in this order.
const WHOLE: [&str; 3] = ["ban", "attack_details", "unban"];
const SHORT: [&str; 2] = ["ban", "unban"];

#[test]
fn everything_that_others_read_is_as_debians_package_has_it() {
    if !spaces::ready("contract") {
        return;
    }
    let Some(lab) = Lab::start() else { return };
    let [theirs, ours] = whole_life(&lab);
    for victim in &VICTIMS {
        let [theirs, ours] = [&theirs, &ours].map(|calls| of_host(calls, victim.argument));
        calls_agree(victim, &theirs, &ours);
        reports_agree(victim, &theirs, &ours);
    }
    for address in MANUAL {
        let [theirs, ours] = [&theirs, &ours].map(|calls| of_host(calls, address.argument));
        bans_by_hand_agree(address, &theirs, &ours);
    }
    nothing_else_was_told(&theirs);
    nothing_else_was_told(&ours);
    environments_agree(&theirs, &ours);
    files::agree(&lab, &theirs, &ours);
}

/// Attacks, then bans by hand, until everything has ended. Gives the calls of both scripts.
fn whole_life(lab: &Lab) -> [Vec<Call>; 2] {
    // What is not known of IPv6 there is not told.
    let told = |side: &Side, verb: &str| {
        let calls = side.calls();
        let mut wanted = VICTIMS.iter().filter(|one| verb != "attack_details" || !one.is_v6());
        wanted.all(|one| of_host(&calls, one.argument).iter().any(|call| call.verb() == verb))
    };
    lab.under_attack(|lab| {
        lab.wait("every ban and its details", PATIENCE, |side| {
            told(side, "ban") && told(side, "attack_details")
        });
    });
    lab.ban_by_hand();
    let of_hand = |side: &Side, count: usize| {
        let calls = side.calls();
        MANUAL.iter().all(|address| of_host(&calls, address.argument).len() == count)
    };
    lab.wait("the bans by hand", PATIENCE, |side| of_hand(side, 1));
    lab.wait("what is stored", PATIENCE, |side| side.keys().len() >= side.least_keys());
    let stored = lab.sides().map(Side::stored);
    lab.unban_by_hand();
    lab.wait("the ends by hand", PATIENCE, |side| of_hand(side, 2));
    lab.wait("every end of a ban", END, |side| told(side, "unban"));
    assert_eq!(lab.sides().map(Side::stored), stored, "an end stores nothing");
    lab.sides().map(Side::calls)
}

/// How often, in which order, with which arguments and which standard input.
fn calls_agree(victim: &Victim, theirs: &[&Call], ours: &[&Call]) {
    let verbs = |calls: &[&Call]| calls.iter().map(|call| call.verb().to_owned()).collect();
    let (their_verbs, our_verbs): (Vec<String>, Vec<String>) = (verbs(theirs), verbs(ours));
    // Theirs has no details of IPv6 attacks.
    let expected = if victim.is_v6() { &SHORT[..] } else { &WHOLE[..] };
    assert_eq!(their_verbs, expected, "{}", victim.argument);
    assert_eq!(our_verbs, WHOLE, "{}", victim.argument);
    for call in theirs.iter().chain(ours) {
        let [address, direction, power, verb] = call.arguments.as_slice() else {
            panic!("{:?} are not four arguments", call.arguments)
        };
        assert_eq!((&**address, &**direction), (victim.argument, victim.direction));
        let number: u32 = power.parse().unwrap();
        assert_eq!(number.to_string(), *power, "a plain number");
        assert!(victim.powers.contains(&number), "{}: {number}", victim.argument);
        let first = if call.is_of(theirs) { theirs[0] } else { ours[0] };
        assert_eq!(*power, first.arguments[2], "the power stays that of the ban");
        match &**verb {
            "unban" => assert_eq!((&*call.input, &*call.stdin), ("/dev/null", "")),
            _ => assert!(call.input.starts_with("pipe:") && !call.stdin.is_empty(), "{call:?}"),
        }
    }
}

fn reports_agree(victim: &Victim, theirs: &[&Call], ours: &[&Call]) {
    let text = |calls: &[&Call], verb: &str| {
        calls.iter().find(|call| call.verb() == verb).map(|call| call.stdin.clone())
    };
    let ban = |calls: &[&Call]| text(calls, "ban").unwrap();
    compare::bans(victim, &ban(theirs), &ban(ours));
    let our_details = text(ours, "attack_details").unwrap();
    match text(theirs, "attack_details") {
        Some(details) => compare::details(victim, &details, &our_details),
        None => assert!(victim.is_v6(), "{}", victim.argument),
    }
}

/// In theirs a ban by hand has no direction, and its report of an IPv6 host no address.
fn bans_by_hand_agree(address: &traffic::Manual, theirs: &[&Call], ours: &[&Call]) {
    for (calls, direction) in [(theirs, "other"), (ours, "incoming")] {
        let arguments: Vec<&[String]> = calls.iter().map(|call| &*call.arguments).collect();
        let want = SHORT.map(|verb| [address.argument, direction, "0", verb].map(str::to_owned));
        assert_eq!(arguments, want.each_ref().map(|words| &words[..]));
        assert_eq!((&*calls[1].input, &*calls[1].stdin), ("/dev/null", ""));
    }
    let theirs = theirs[0].stdin.replace("IP: 0.0.0.0\n", &format!("IP: {}\n", address.argument));
    let theirs = theirs.replace("Attack direction: other\n", "Attack direction: incoming\n");
    assert_eq!(compare::without_own_lines(&ours[0].stdin), theirs);
}

/// No host that was not attacked, nothing but hosts.
fn nothing_else_was_told(calls: &[Call]) {
    let mut known: BTreeSet<&str> = VICTIMS.iter().map(|victim| victim.argument).collect();
    known.extend(MANUAL.iter().map(|address| address.argument));
    let told: BTreeSet<&str> = calls.iter().map(|call| &*call.arguments[0]).collect();
    assert_eq!(told, known);
}

/// Ours adds variables of its own, and takes none away.
fn environments_agree(theirs: &[Call], ours: &[Call]) {
    for call in ours {
        // Where our tests find servers is told by such variables, too.
        let is_own = |name: &&String| name.starts_with("TIDEWALL_");
        let of_theirs = theirs[0].environment.iter().filter(|name| !is_own(name));
        let (own, inherited): (BTreeSet<_>, BTreeSet<_>) =
            call.environment.iter().partition(is_own);
        assert_eq!(inherited, of_theirs.collect());
        assert!(own.len() > 10, "{own:?}");
    }
}
