//! Announcers changed by a reload: who is told what, in which order, and that nothing is withdrawn
//! that may stay.

use tidewall_actions::bgp::{Audience, PeerConfig, SpeakerConfig};

use super::super::settings::Speaking;
use super::*;

const ROUTE: &str = "192.0.2.7/32 via 192.0.2.1";

/// A bench with one route up, and what happens then with other announcers.
fn bench(folder: &Path) -> Bench {
    let mut bench = Bench::open(&settings(Mode::Automatic), folder, at(0));
    bench.event(Started, 1, 7, 1);
    bench.answered(7, MitigationOutcome::Applied, 1);
    assert_eq!(bench.orders(), ["set []", &format!("+ {ROUTE}")]);
    bench
}

fn with(announcers: Vec<AnnouncerSettings>) -> Settings {
    Settings { announcers, ..settings(Mode::Automatic) }
}

impl Bench {
    fn reload(&mut self, announcers: Vec<AnnouncerSettings>, now: u64) -> String {
        self.post.reload(with(announcers), &policy(), at(now)).unwrap()
    }

    /// Orders as soon as there are so many; threads end what leaves.
    fn orders_of(&mut self, count: usize, now: u64) -> Vec<String> {
        let (began, mut orders) = (Instant::now(), Vec::new());
        while orders.len() < count {
            assert!(began.elapsed() < Duration::from_secs(20), "only {orders:?}");
            self.post.poll(at(now));
            self.post.settle(at(now));
            orders.extend(self.orders());
            std::thread::sleep(Duration::from_millis(5));
        }
        orders
    }

    fn status(&self) -> String {
        self.bans()[1].clone()
    }
}

#[test]
fn other_attributes_are_announced_and_nothing_else_happens() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let commits = |bench: &Bench| bench.post.journal.as_ref().unwrap().stats().commits;
    let before = commits(&bench);
    assert_eq!(bench.reload(vec![announcer(2, |_| {})], 2), "fake is told anew: blackholes");
    assert_eq!(bench.orders(), ["+ 192.0.2.7/32 via 192.0.2.2"], "replaced, never withdrawn");
    bench.answered(7, MitigationOutcome::Applied, 2);
    assert_eq!(bench.status(), "blackhole 192.0.2.7 active");
    assert_eq!(bench.reload(vec![announcer(2, |_| {})], 3), "");
    assert_eq!(bench.orders(), [""; 0]);
    assert_eq!(commits(&bench), before, "nothing was decided");
}

#[test]
fn one_that_is_removed_withdraws_and_one_that_is_added_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    assert_eq!(bench.reload(Vec::new(), 2), "fake is removed and withdraws");
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    assert_eq!(bench.status(), "blackhole 192.0.2.7 failed", "nobody announces it");
    bench.post.poll(at(3));
    assert_eq!(bench.post.outlets.iter().count(), 1, "it has not confirmed");
    bench.answered(7, MitigationOutcome::Withdrawn, 3);
    assert_eq!(bench.orders_of(1, 4), ["stop 0"]);
    assert_eq!(bench.reload(vec![announcer(1, |_| {})], 5), "fake is added");
    assert_eq!(bench.orders(), [format!("1: set [{ROUTE}]")]);
    bench.answered_by(1, 7, MitigationOutcome::Applied, 6);
    assert_eq!(bench.status(), "blackhole 192.0.2.7 active");
}

#[test]
fn a_daemon_that_does_not_confirm_is_left_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.reload(Vec::new(), 2);
    bench.post.poll(at(10));
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    assert_eq!(bench.orders_of(1, 30), ["stop 0"]);
    assert!(!bench.post.desired.is_leaving());
}

#[test]
fn another_daemon_has_the_route_before_the_first_one_loses_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let elsewhere = announcer(1, |config| config.address = "127.0.0.1:2".to_owned());
    assert_eq!(bench.reload(vec![elsewhere], 2), "fake is added; fake is removed and withdraws");
    assert_eq!(bench.orders(), [format!("1: set [{ROUTE}]"), "- 192.0.2.7/32".to_owned()]);
    // Its answer, late, is not the other one's.
    bench.answered(7, MitigationOutcome::Withdrawn, 3);
    assert_eq!(bench.status(), "blackhole 192.0.2.7 active");
    // They may have been at the same daemon after all: what is desired is compared once more.
    assert_eq!(bench.orders_of(2, 4), ["stop 0".to_owned(), format!("1: set [{ROUTE}]")]);
    assert_eq!(bench.post.outlets.iter().count(), 1);
}

#[test]
fn the_same_daemon_reached_otherwise_keeps_its_routes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.event(Started, 2, 8, 1);
    bench.answered(8, MitigationOutcome::Applied, 1);
    let unban = Question::Unban { target: "192.0.2.8".parse().unwrap(), why: String::new() };
    bench.ask(&unban, 2).unwrap();
    assert_eq!(bench.orders(), ["+ 192.0.2.8/32 via 192.0.2.1", "- 192.0.2.8/32"]);
    let patient = announcer(1, |config| config.deadline = Duration::from_secs(9));
    assert_eq!(bench.reload(vec![patient], 3), "fake is reached anew, its routes stay");
    let orders = bench.orders_of(3, 4);
    // The withdrawal that was not confirmed goes to the one that takes over.
    assert_eq!(
        orders,
        ["stop 0".to_owned(), format!("1: set [{ROUTE}]"), "1: - 192.0.2.8/32".into()]
    );
    bench.answered_by(1, 8, MitigationOutcome::Withdrawn, 5);
    assert!(bench.bans().iter().all(|ban| !ban.contains("192.0.2.8")), "{:?}", bench.bans());
}

#[test]
fn another_tag_waits_until_the_paths_of_the_old_one_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let tagged = announcer(1, |config| config.tag = "64510:29001".parse().unwrap());
    let said = bench.reload(vec![tagged], 2);
    assert_eq!(said, "fake has another tag: its routes are withdrawn and announced again");
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    bench.post.poll(at(3));
    assert_eq!(bench.orders(), [""; 0], "both at once would be in each other's way");
    bench.answered(7, MitigationOutcome::Withdrawn, 3);
    assert_eq!(bench.orders_of(2, 4), ["stop 0".to_owned(), format!("1: set [{ROUTE}]")]);
}

#[test]
fn what_is_no_longer_allowed_reaches_nobody_new() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.event(Started, 2, 8, 1);
    bench.orders();
    let mut next = with(vec![announcer(1, |config| config.address = "127.0.0.1:2".to_owned())]);
    next.planner.rails.protected = vec!["192.0.2.7/32".parse().unwrap()];
    let said = bench.post.reload(next, &policy(), at(2)).unwrap();
    assert!(said.starts_with("what is done about attacks: mitigation; fake is added"), "{said}");
    let orders = ["- 192.0.2.7/32", "1: set [192.0.2.8/32 via 192.0.2.1]", "- 192.0.2.8/32"];
    assert_eq!(bench.orders(), orders);
}

#[test]
fn what_cannot_be_opened_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let broken = |config: &mut gobgp::Config| {
        (config.name, config.address) = ("broken".to_owned(), "127.0.0.1:2".to_owned());
    };
    let mut next = with(vec![announcer(2, broken)]);
    next.planner.fallback.incoming.mode = Mode::NotifyOnly;
    for _ in 0..2 {
        let error = bench.post.prepare(&next, &policy()).unwrap_err().to_string();
        assert_eq!(error, "it cannot be opened");
        assert!(bench.post.reload(next.clone(), &policy(), at(2)).is_err());
    }
    assert_eq!(bench.orders(), [""; 0]);
    assert_eq!(bench.status(), "blackhole 192.0.2.7 active");
    // Prepared and given up: only what was opened for it ends.
    let other = announcer(2, |config| config.address = "127.0.0.1:2".to_owned());
    bench.post.prepare(&with(vec![other]), &policy()).unwrap();
    bench.post.abandon();
    let orders = bench.orders_of(1, 3);
    assert!(orders.len() == 1 && orders[0].starts_with("stop "), "{orders:?}");
    assert_eq!(bench.reload(vec![announcer(1, |_| {})], 4), "");
}

/// `announce = false` for one peer: what is for all others must not be for it.
#[test]
fn a_peer_that_is_to_have_nothing_has_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let blackhole = bench.post.planner.mitigations().find(|one| one.kind.is_route()).unwrap();
    let AnnouncerSettings::GoBgp { routes, .. } = announcer(1, |_| {}) else { panic!() };
    let AnnouncerSettings::GoBgp { routes: others, .. } = announcer(2, |_| {}) else { panic!() };
    let mut peers =
        ["a", "b", "c"].map(|name| PeerConfig::new(name, [127, 0, 0, 1].into(), 65_001));
    peers[0].group = Some("transit".into());
    let speaker = SpeakerConfig::new(65_002, [127, 0, 0, 2].into(), peers.to_vec());
    let (transit, b) = (Audience::Group("transit".into()), Audience::Peer("b".into()));
    let mut speaking = Speaking { speaker, routes, exceptions: vec![(transit.clone(), others)] };
    let told = |speaking: &Speaking| {
        let settings = AnnouncerSettings::Bgp(Box::new(speaking.clone()));
        let (_, told) = Outlet::new(settings, End::Awaiting(0, None)).told(blackhole).unwrap();
        let words = told.iter().map(|(audience, route)| (audience.clone(), route.to_string()));
        words.collect::<Vec<_>>()
    };
    let (usual, other) = (ROUTE.to_owned(), "192.0.2.7/32 via 192.0.2.2".to_owned());
    assert_eq!(told(&speaking), [(Audience::All, usual.clone()), (transit, other.clone())]);
    speaking.exceptions.push((b, RouteSettings::default()));
    let (a, c) = (Audience::Peer("a".into()), Audience::Peer("c".into()));
    assert_eq!(told(&speaking), [(a, other), (c, usual)]);
}
