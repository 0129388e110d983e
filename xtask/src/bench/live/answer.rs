//! From the first packet of an attack to what is done about it: the call of the notify script, or
//! the route in a router's table.

use anyhow::Result;

use super::latency::{MEDIA, PATIENCE, SCALE, TARGET, attack, began};
use super::receiver::{Answer, Kind, NETWORKS, Receiver, THRESHOLD};
use super::router::Router;
use super::{Bench, Medium};

/// How many times the threshold.
pub(super) const TIMES: u32 = 4;

/// Seconds, in order; an attack that was not answered is missing.
pub(super) struct Answered {
    pub(super) medium: Medium,
    pub(super) kind: Kind,
    pub(super) seconds: Vec<f64>,
    pub(super) runs: u32,
}

/// Measures tidewall and FastNetMon in turns.
pub(super) fn measure(bench: &Bench, answer: Answer) -> Result<Vec<Answered>> {
    let mut found = Vec::new();
    let mut kinds = vec![Kind::Tidewall];
    kinds.extend(bench.peer.as_ref().map(|_| Kind::Tracking));
    let runs = bench.options.runs;
    for medium in MEDIA {
        let mut of: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
        for run in 0..runs {
            for (kind, list) in kinds.iter().zip(&mut of) {
                list.extend(one(bench, *kind, medium, answer, run)?);
            }
        }
        for (kind, mut seconds) in kinds.iter().copied().zip(of) {
            seconds.sort_by(f64::total_cmp);
            eprintln!("{} {} {answer:?}: {seconds:?}", medium.name(), kind.name());
            found.push(Answered { medium, kind, seconds, runs });
        }
    }
    Ok(found)
}

/// One attack. It begins at another moment of the second in each run.
fn one(bench: &Bench, kind: Kind, medium: Medium, answer: Answer, run: u32) -> Result<Option<f64>> {
    // The router is there first: FastNetMon looks for it once.
    let router = (answer == Answer::Route).then(|| Router::start(&bench.lab)).transpose()?;
    let receiver = Receiver::start(bench, kind, medium, &NETWORKS, answer)?;
    let routes = match &router {
        Some(router) => {
            if kind == Kind::Tidewall {
                router.wait_for_session()?;
            }
            Some(router.watch()?)
        }
        None => None,
    };
    let scale = if medium.is_mirror() { 1 } else { SCALE };
    let rate = (TIMES * THRESHOLD / scale).to_string();
    let after = (2.0 + 0.37 * f64::from(run % 7)).to_string();
    let generator = attack(bench, medium, &rate, &after)?;
    let answered = match routes {
        Some(routes) => Ok(routes.first_about(TARGET, PATIENCE)),
        None => receiver.script_call(PATIENCE),
    };
    let began = began(generator)?;
    Ok(answered?.zip(began).map(|(answered, began)| answered - began))
}
