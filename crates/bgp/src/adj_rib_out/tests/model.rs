//! After any sequence of events, what a modelled peer has equals what is desired once the queues
//! are empty: changes, session flaps, crashes, refreshes, writes cut anywhere.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::refresh::RefreshKind;

/// What a peer keeps of a route: all that can differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    attributes: PathAttributes,
    next_hop: Option<IpAddr>,
    stale: bool,
}

/// A peer that reads octets, keeps routes, and keeps them stale over a restart of ours.
#[derive(Default)]
struct Peer {
    stream: Vec<u8>,
    routes: BTreeMap<RouteKey, Kept>,
    graceful: bool,
}

impl Peer {
    fn read(&mut self, octets: &[u8]) {
        self.stream.extend(octets);
        let stream = std::mem::take(&mut self.stream);
        let mut rest = stream.as_slice();
        while let Some(raw) = RawMessage::parse(rest, MAX_EXTENDED_MESSAGE).unwrap() {
            rest = &rest[raw.length..];
            match raw.message().unwrap() {
                Message::Update(body) => self.update(body),
                Message::RouteRefresh(refresh) => match refresh.kind {
                    RefreshKind::Begin => {
                        self.mark(|key| AfiSafi::from(key.family()) == refresh.family);
                    }
                    RefreshKind::End => self.purge(refresh.family),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        self.stream = rest.to_vec();
    }

    fn update(&mut self, body: &[u8]) {
        let context = UpdateContext { four_octet_as: true, internal: false };
        let update = Update::parse(body, context).unwrap();
        assert_eq!((update.treat_as_withdraw, update.discarded), (None, 0));
        if let Some(family) = update.end_of_rib() {
            self.purge(family);
        }
        for (announced, nlri) in update.routes() {
            let key = RouteKey::new(&nlri.unwrap());
            if !announced {
                assert!(self.routes.remove(&key).is_some(), "withdrawn without need: {key}");
                continue;
            }
            let next_hop = update.reach.and_then(|reach| reach.next_hop_address());
            let attributes = update.attributes.clone();
            self.routes.insert(key, Kept { attributes, next_hop, stale: false });
        }
    }

    fn mark(&mut self, of: impl Fn(&RouteKey) -> bool) {
        self.routes.iter_mut().filter(|(key, _)| of(key)).for_each(|(_, kept)| kept.stale = true);
    }

    fn purge(&mut self, family: AfiSafi) {
        self.routes.retain(|key, kept| !kept.stale || AfiSafi::from(key.family()) != family);
    }

    /// The session is gone.
    fn flap(&mut self) {
        self.stream.clear();
        if self.graceful {
            self.mark(|_| true);
        } else {
            self.routes.clear();
        }
    }

    fn fresh(&self, family: RouteFamily) -> usize {
        let of = |(key, kept): &(&RouteKey, &Kept)| key.family() == family && !kept.stale;
        self.routes.iter().filter(of).count()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u8, u8),
    Withdraw(u8, u8),
    Set(Vec<(u8, u8)>),
    Pull,
    Write(u16),
    Flap,
    Crash,
    Refresh(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let which = || (0..24_u8, 0..3_u8);
    prop_oneof![
        8 => which().prop_map(|(n, variant)| Step::Announce(n, variant)),
        4 => which().prop_map(|(n, variant)| Step::Withdraw(n, variant)),
        1 => vec(which(), 0..20).prop_map(Step::Set),
        8 => Just(Step::Pull),
        6 => (1..400_u16).prop_map(Step::Write),
        1 => Just(Step::Flap),
        1 => Just(Step::Crash),
        2 => (0..4_u8).prop_map(Step::Refresh),
    ]
}

/// A route of the pool: what it is about by `n`, what it carries by `variant`.
fn route(n: u8, variant: u8) -> Route {
    let number = u32::from(n / 4);
    let actions = match variant {
        0 => Actions::discard(),
        1 => Actions::new([Action::RateBytes(Rate::new(1e6).unwrap())]).unwrap(),
        _ => {
            Actions::new([Action::Redirect(RouteTarget::As2(65_000, 7)), Action::Mark(3)]).unwrap()
        }
    };
    match n % 4 {
        0 => host(number, &[Community(variant.into()), Community::BLACKHOLE]),
        1 if variant == 0 => host6(number.into()),
        1 => {
            let prefix = Prefix::host(Address::v6(0x2001_0db8 << 96 | u128::from(number)));
            let attributes = RouteAttributes { med: Some(variant.into()), ..Default::default() };
            UnicastRoute::new(prefix, "100::2".parse().unwrap(), attributes).unwrap().into()
        }
        2 => flow(Family::V4, number, &[53, 123], actions),
        _ => flow(Family::V6, number, &[53], actions),
    }
}

/// What the peer should keep of a route.
fn expected(route: &Route) -> Kept {
    let (attributes, next_hop, actions) = match route {
        Route::Unicast(route) => (route.attributes(), Some(route.next_hop()), None),
        Route::FlowSpec(route) => (route.attributes(), None, Some(route.actions())),
    };
    let classic = route.family() == RouteFamily::Ipv4Unicast;
    let mut extended = actions.map(|actions| actions.communities().0).unwrap_or_default();
    extended.sort_unstable();
    let attributes = PathAttributes {
        origin: Some(attributes.origin),
        as_path: Some(AsPath::sequence(vec![LOCAL_AS])),
        next_hop: match next_hop {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        },
        med: attributes.med,
        communities: attributes.communities.clone(),
        extended,
        ..Default::default()
    };
    Kept { attributes, next_hop: next_hop.filter(|_| !classic), stale: false }
}

struct Lab {
    rib: AdjRibOut,
    peer: Peer,
    desired: BTreeMap<RouteKey, Route>,
    /// Pulled and not yet written.
    socket: Vec<u8>,
    session: Negotiated,
    profile: PeerProfile,
}

impl Lab {
    fn step(&mut self, step: Step) {
        match step {
            Step::Announce(n, variant) => {
                self.desired.insert(route(n, variant).key(), route(n, variant));
                self.rib.announce(route(n, variant));
            }
            Step::Withdraw(n, variant) => {
                let key = route(n, variant).key();
                assert_eq!(self.rib.withdraw(&key), self.desired.remove(&key).is_some());
            }
            Step::Set(which) => {
                let routes: Vec<Route> = which.into_iter().map(|(n, v)| route(n, v)).collect();
                self.desired = routes.iter().map(|r| (r.key(), r.clone())).collect();
                self.rib.set_desired(routes);
            }
            // A transport pulls when little is waiting to be written.
            Step::Pull if self.socket.len() < 300 => {
                self.rib.next_message(&mut self.socket);
            }
            Step::Pull => {}
            Step::Write(octets) => {
                let octets = usize::from(octets).min(self.socket.len());
                let written: Vec<u8> = self.socket.drain(..octets).collect();
                self.peer.read(&written);
            }
            Step::Flap => {
                self.rib.session_down();
                self.peer.flap();
                self.socket.clear();
                self.rib.session_up(self.session);
            }
            Step::Crash => {
                self.peer.flap();
                self.socket.clear();
                // The session comes up before the journal is read.
                self.rib = AdjRibOut::new(LOCAL_AS, self.profile.clone());
                self.rib.session_up(self.session);
                self.rib.next_message(&mut self.socket);
                assert_eq!(self.socket, [], "no End-of-RIB yet");
                self.rib.set_desired(self.desired.values().cloned());
                self.rib.desired_is_complete();
            }
            Step::Refresh(family) => self.rib.refresh(RouteFamily::ALL[usize::from(family)]),
        }
        for family in RouteFamily::ALL.into_iter().filter(|family| family.is_flow_spec()) {
            assert!(self.peer.fresh(family) <= self.profile.max_rules);
        }
    }

    fn drain(&mut self) {
        for _ in 0..1_000 {
            self.peer.read(&std::mem::take(&mut self.socket));
            if !self.rib.next_message(&mut self.socket) {
                break;
            }
        }
        assert!(self.socket.is_empty() && self.rib.is_settled());
        assert_eq!(self.rib.pending(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x7269_6200),
        failure_persistence: None,
        cases: 600,
        ..ProptestConfig::default()
    })]

    #[test]
    fn announced_equals_desired_once_queues_are_empty(
        steps in vec(step(), 1..120), enhanced: bool, graceful: bool,
        max_rules in prop_oneof![Just(100_usize), 1..5_usize],
    ) {
        let restart = graceful.then(restart);
        let session = Negotiated { enhanced_refresh: enhanced, restart, ..negotiated() };
        let profile = PeerProfile { max_rules, ..Default::default() };
        let mut rib = up(profile.clone(), session);
        rib.desired_is_complete();
        let peer = Peer { graceful, ..Default::default() };
        let mut lab = Lab { rib, peer, desired: BTreeMap::new(), socket: vec![], session, profile };
        for step in steps {
            lab.step(step);
        }
        lab.drain();
        for (key, kept) in &lab.peer.routes {
            let wanted = lab.desired.get(key).map(expected);
            prop_assert_eq!(wanted.as_ref(), Some(kept), "{}", key);
        }
        for family in RouteFamily::ALL {
            let desired = lab.desired.keys().filter(|key| key.family() == family).count();
            let room = if family.is_flow_spec() { max_rules } else { usize::MAX };
            prop_assert_eq!(lab.peer.fresh(family), desired.min(room), "{}", family);
        }
        for status in lab.rib.routes() {
            let there = lab.peer.routes.contains_key(&status.route.key());
            prop_assert_eq!(status.state == RouteState::Announced, there, "{}", status.route);
        }
    }
}
