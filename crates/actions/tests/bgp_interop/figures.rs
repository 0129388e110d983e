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
    until("all daemons have all routes", Duration::from_mins(1), || {
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
    println!("memory of this process: {}", resident());
    for peer in speaker.peers() {
        println!("{}: {:?}", peer.name, peer.sent);
        assert_eq!(peer.announced(), 1_000);
    }
}

/// Resident memory, as the kernel prints it.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.unwrap_or_default().to_owned()
}

/// All at once, as after a change of policy.
#[test]
fn a_thousand_mitigations_at_once() {
    let Some(lab) = Lab::new().filter(|_| Kind::ALL.into_iter().all(Kind::is_there)) else {
        return;
    };
    let daemons = Kind::ALL.map(|kind| Daemon::start(kind, &lab, Neighbour::default()));
    let speaker = start(daemons.iter().map(peer_of).collect());
    until_all_have_all(&speaker);
    let next_hop = daemons[0].wire.ours();
    let routes: Vec<_> = (0..1_000u16)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            blackhole(&format!("198.18.{high}.{low}/32"), next_hop)
        })
        .collect();
    let before = resident();
    let began = Instant::now();
    speaker.set_desired(routes);
    while speaker.peers().iter().any(|peer| peer.announced() != 1_000) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:#?}", speaker.peers());
    }
    println!("written to four sockets in {:?}; {before}, then {}", began.elapsed(), resident());
    for daemon in &daemons {
        until("the daemon has all routes", Duration::from_mins(1), || {
            let count = daemon.count();
            if count == 1_000 { Ok(()) } else { Err(format!("{:?}: {count}", daemon.kind)) }
        });
    }
    println!("in the tables of all by {:?}", began.elapsed());
}
