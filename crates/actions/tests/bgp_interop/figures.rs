//! How fast many mitigations reach many peers: printed, not judged.

use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Kind, Neighbour};
use crate::lab::{Lab, until};
use crate::routes::blackhole;
use crate::{peer_of, start, until_all_have_all};

#[test]
fn a_thousand_mitigations_to_four_peers() {
    let Some(lab) = Lab::new().filter(|_| Kind::ALL.into_iter().all(Kind::is_there)) else {
        return;
    };
    let daemons = Kind::ALL.map(|kind| Daemon::start(kind, &lab, Neighbour::default()));
    let speaker = start(daemons.iter().map(peer_of).collect());
    until_all_have_all(&speaker);
    let next_hop = daemons[0].wire.ours();
    let began = Instant::now();
    for number in 0..1_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        speaker.announce(blackhole(&format!("198.18.{high}.{low}/32"), next_hop));
        // One each millisecond: a thousand in a second.
        let due = Duration::from_millis(number.into());
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let given = began.elapsed();
    until_all_have_all(&speaker);
    let sent = began.elapsed();
    let mut waiting: Vec<&Daemon> = daemons.iter().collect();
    until("all daemons have all routes", Duration::from_secs(60), || {
        waiting.retain(|daemon| {
            let has_all = daemon.count() == 1_000;
            if has_all {
                println!(
                    "{:?} has 1,000 routes {:?} after the first",
                    daemon.kind,
                    began.elapsed()
                );
            }
            !has_all
        });
        let counts: Vec<_> = waiting.iter().map(|d| (d.kind, d.count())).collect();
        if counts.is_empty() { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    println!("given in {given:?}, written to all sockets by {sent:?}");
    for peer in speaker.peers() {
        println!("{}: {:?}", peer.name, peer.sent);
        assert_eq!(peer.announced(), 1_000);
    }
}
