//! Two sessions that both connect, over links that deliver in any order: exactly one connection is
//! left, and both agree on which (RFC 4271 §6.8).

use super::*;

struct Link {
    /// Ids of its ends; `None` once that end has closed, or before it was accepted.
    ends: [Option<ConnectionId>; 2],
    opener: usize,
    answered: bool,
    /// Octets on the way to each end.
    to: [Vec<u8>; 2],
    /// This end has closed: the other is told after the octets.
    closing: [bool; 2],
}

struct Lab {
    sessions: [Session; 2],
    links: Vec<Link>,
    now: Timestamp,
    random: u64,
}

impl Lab {
    fn new(ids: [u8; 2], as_numbers: [u32; 2], seed: u64) -> Self {
        let session = |side: usize| {
            let router_id = Ipv4Addr::new(10, 0, 0, ids[side]);
            let config = SessionConfig {
                graceful_restart: None,
                seed: seed + side as u64,
                ..SessionConfig::new(as_numbers[side], as_numbers[1 - side], router_id)
            };
            Session::new(config).unwrap()
        };
        Self { sessions: [session(0), session(1)], links: vec![], now: START, random: seed }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) as usize % below
    }

    fn handle(&mut self, side: usize, event: Event<'_>) {
        let mut out = Vec::new();
        self.sessions[side].handle(event, self.now, &mut out);
        for action in out {
            let link = |links: &mut Vec<Link>, id| {
                links.iter().position(|link| link.ends[side] == Some(id)).unwrap()
            };
            match action {
                Action::Connect(id) => {
                    let mut ends = [None; 2];
                    ends[side] = Some(id);
                    let (to, closing) = ([vec![], vec![]], [false; 2]);
                    self.links.push(Link { ends, opener: side, answered: false, to, closing });
                }
                Action::Send(id, bytes) => {
                    let link = link(&mut self.links, id);
                    self.links[link].to[1 - side].extend(bytes);
                }
                Action::Close(id) => {
                    let link = link(&mut self.links, id);
                    self.links[link].ends[side] = None;
                    self.links[link].closing[side] = true;
                }
                _ => {}
            }
        }
    }

    /// Lets one thing happen on one link; `false` when nothing can.
    fn step(&mut self) -> bool {
        let busy: Vec<(usize, usize)> = (0..self.links.len())
            .flat_map(|link| [(link, 0), (link, 1)])
            .filter(|(link, side)| {
                let link = &self.links[*link];
                let open = link.ends[*side].is_some();
                let there = !link.to[*side].is_empty() || link.closing[1 - side];
                open && if link.answered { there } else { link.opener == *side }
            })
            .collect();
        if busy.is_empty() {
            return false;
        }
        let (index, side) = busy[self.pick(busy.len())];
        if !self.links[index].answered {
            self.links[index].answered = true;
            let id = self.sessions[1 - side].new_connection();
            self.links[index].ends[1 - side] = Some(id);
            self.handle(1 - side, Event::Accepted(id));
            let opener = self.links[index].ends[side].unwrap();
            self.handle(side, Event::Opened(opener));
            return true;
        }
        let id = self.links[index].ends[side].unwrap();
        if self.links[index].to[side].is_empty() {
            self.links[index].ends[side] = None;
            self.handle(side, Event::Closed(id));
        } else {
            let waiting = self.links[index].to[side].len();
            let part = 1 + self.pick(waiting);
            let bytes: Vec<u8> = self.links[index].to[side].drain(..part).collect();
            self.handle(side, Event::Bytes(id, &bytes));
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..60 {
            while self.step() {}
            if self.sessions.iter().all(|s| s.state() == State::Established) {
                return;
            }
            self.now = self.sessions.iter().filter_map(Session::next_deadline).min().unwrap();
            for side in 0..2 {
                self.handle(side, Event::Tick);
            }
        }
    }
}

#[test]
fn two_that_connect_at_once_end_with_one_connection() {
    let mut collisions = 0;
    for seed in 0..400 {
        for (ids, as_numbers) in [
            ([1, 2], [LOCAL_AS, PEER_AS]),
            ([2, 1], [LOCAL_AS, PEER_AS]),
            // RFC 6286: one router id in two ASes.
            ([1, 1], [LOCAL_AS, PEER_AS]),
            ([1, 2], [LOCAL_AS, LOCAL_AS]),
        ] {
            let mut lab = Lab::new(ids, as_numbers, seed);
            for side in 0..2 {
                lab.handle(side, Event::Start);
            }
            lab.settle();
            while lab.step() {}
            let states = lab.sessions.each_ref().map(Session::state);
            assert_eq!(states, [State::Established; 2], "seed {seed}, ids {ids:?}");
            let open = lab.links.iter().filter(|link| link.ends.iter().any(Option::is_some));
            assert_eq!(open.count(), 1, "seed {seed}, ids {ids:?}");
            collisions += usize::from(lab.links.len() > 1);
        }
    }
    assert!(collisions > 100, "only {collisions} of the runs had a collision");
}

/// In OpenConfirm on both, the connection opened by the higher router id stays.
#[test]
fn the_higher_router_id_keeps_its_own_connection() {
    for (peer_id, ours_stays) in [(3, true), (200, false)] {
        let mut trial = Trial::new(config());
        let ours = trial.opened();
        let theirs = trial.session.new_connection();
        trial.handle(Event::Accepted(theirs));
        let open = Open { router_id: Ipv4Addr::new(10, 99, 0, peer_id), ..peer_open() };
        trial.send(ours, &bytes_of(&open));
        let actions = trial.send(theirs, &bytes_of(&open));
        let gone = if ours_stays { theirs } else { ours };
        assert!(actions.contains(&Action::Close(gone)), "{actions:?}");
        assert!(sent(&actions).contains(&Sent::Told(6, 7)));
        let stays = if ours_stays { ours } else { theirs };
        assert!(matches!(trial.send(stays, &keepalive_bytes())[..], [Action::Established(..)]));
    }
}
