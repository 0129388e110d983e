//! A session and its table under any events: each begins with a byte that says which, and some have
//! bytes of the peer behind a length. No panic, no action on a closed connection, one established
//! connection at most, and nothing is sent that cannot be read.

#![no_main]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidewall_bgp::message::{MAX_EXTENDED_MESSAGE, RawMessage};
use tidewall_bgp::session::{Action, Event, Session, SessionConfig, Stop};
use tidewall_bgp::{AdjRibOut, PeerProfile, RouteAttributes, UnicastRoute};
use tidewall_model::{Address, Prefix, Timestamp};

fuzz_target!(|data: &[u8]| {
    let config = SessionConfig {
        received_limit: Some(3),
        ..SessionConfig::new(65_010, 65_003, Ipv4Addr::new(10, 99, 0, 10))
    };
    let mut session = Session::new(config).unwrap();
    let mut table = AdjRibOut::new(65_010, PeerProfile::default());
    let (mut now, mut out, mut rest) = (Timestamp(1), Vec::new(), data);
    let (mut open, mut established) = (Vec::new(), BTreeSet::new());
    while let [which, argument, tail @ ..] = rest {
        rest = tail;
        let id = open.get(usize::from(*argument >> 6)).copied();
        match (which % 12, id) {
            (0, _) => session.handle(Event::Start, now, &mut out),
            (1, _) => session.handle(Event::Stop(Stop::Keep), now, &mut out),
            (2, _) => {
                let text = String::from_utf8_lossy(&rest[..rest.len().min(8)]).into_owned();
                session.handle(Event::Stop(Stop::Withdraw(text)), now, &mut out);
            }
            (3, Some(id)) => session.handle(Event::Opened(id), now, &mut out),
            (4, _) => {
                let id = session.new_connection();
                open.push(id);
                session.handle(Event::Accepted(id), now, &mut out);
            }
            (5, Some(id)) => session.handle(Event::Closed(id), now, &mut out),
            (6 | 7, Some(id)) => {
                let (bytes, tail) = rest.split_at(usize::from(argument & 0x3f).min(rest.len()));
                rest = tail;
                session.handle(Event::Bytes(id, bytes), now, &mut out);
            }
            (8, Some(id)) => session.handle(Event::Blocked(id), now, &mut out),
            (9, _) => {
                let prefix = Prefix::host(Address::v4(u32::from(*argument)));
                let next_hop = [192, 0, 2, 1].into();
                let attributes = RouteAttributes::default();
                table.announce(UnicastRoute::new(prefix, next_hop, attributes).unwrap().into());
            }
            (10, _) => {
                let mut octets = Vec::new();
                if table.next_message(&mut octets) {
                    let raw = RawMessage::parse(&octets, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
                    assert_eq!(raw.length, octets.len());
                }
            }
            _ => {
                now = now + Duration::from_secs(u64::from(*argument));
                session.handle(Event::Tick, now, &mut out);
                assert!(session.next_deadline().is_none_or(|at| at > now));
            }
        }
        for action in out.drain(..) {
            match action {
                Action::Connect(id) => open.push(id),
                Action::Send(id, bytes) => {
                    assert!(open.contains(&id));
                    let raw = RawMessage::parse(&bytes, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
                    assert!(raw.message().is_ok());
                }
                Action::Close(id) => {
                    assert!(open.contains(&id));
                    open.retain(|other| *other != id);
                }
                Action::Established(id, negotiated) => {
                    assert!(established.insert(id) && established.len() == 1);
                    table.session_up(negotiated);
                }
                Action::Down { connection, established: was, .. } => {
                    assert_eq!(established.remove(&connection), was);
                    if was {
                        table.session_down();
                    }
                }
                Action::Refresh(family) => table.refresh(family),
                Action::Received(_) => {}
            }
        }
        assert!(open.len() <= 3);
    }
});
