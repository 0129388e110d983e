//! From the first packet of an attack to its event.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::receiver::{Kind, NETWORKS, THRESHOLD, end};
use super::{Bench, Generated, Medium};

/// How large an attack is, in hundredths of the threshold.
pub(super) const TIMES: [u32; 6] = [105, 150, 200, 400, 500, 1000];
/// What carries the attack.
pub(super) const MEDIA: [Medium; 3] = [Medium::Sflow, Medium::Netflow9, Medium::AfPacket];
/// Packets that a record stands for, of a sample or a flow.
pub(super) const SCALE: u32 = 1000;
/// Who is attacked.
pub(super) const TARGET: &str = "10.0.99.99";
/// Nobody waits longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds, in order; an attack that was not found is missing.
pub(super) struct Latency {
    pub(super) medium: Medium,
    pub(super) kind: Kind,
    pub(super) times: u32,
    pub(super) seconds: Vec<f64>,
    pub(super) runs: u32,
}

/// Measures all of them.
pub(super) fn measure(bench: &Bench) -> Result<Vec<Latency>> {
    let mut found = Vec::new();
    let mut kinds = vec![Kind::Tidewall];
    kinds.extend(bench.peer.as_ref().map(|_| Kind::Tracking));
    for medium in MEDIA {
        for times in TIMES {
            for kind in &kinds {
                let mut seconds = Vec::new();
                for run in 0..bench.options.runs {
                    seconds.extend(one(bench, *kind, medium, times, run)?);
                }
                seconds.sort_by(f64::total_cmp);
                eprintln!("{} {} at {times} %: {seconds:?}", medium.name(), kind.name());
                let runs = bench.options.runs;
                found.push(Latency { medium, kind: *kind, times, seconds, runs });
            }
        }
    }
    Ok(found)
}

/// One attack. It begins at another moment of the second in each run.
fn one(bench: &Bench, kind: Kind, medium: Medium, times: u32, run: u32) -> Result<Option<f64>> {
    let Some(receiver) = bench.start(kind, medium, &NETWORKS)? else { return Ok(None) };
    let scale = if medium.is_mirror() { 1 } else { SCALE };
    let rate = (times * THRESHOLD / 100 / scale).to_string();
    let after = (2.0 + 0.37 * f64::from(run % 7)).to_string();
    let generator = attack(bench, medium, &rate, &after)?;
    let event = receiver.event(PATIENCE);
    let began = began(generator)?;
    Ok(event?.zip(began).map(|(event, began)| event - began))
}

/// Starts ordinary traffic, and after so many seconds an attack of so many records a second.
pub(super) fn attack(bench: &Bench, medium: Medium, rate: &str, after: &str) -> Result<Child> {
    let mut words = vec!["--seconds", "60", "--rate", "500", "--attack", TARGET];
    words.extend(["--attack-rate", rate, "--attack-after", after]);
    match medium {
        Medium::Sflow => words.extend(["--sampling", "1000"]),
        Medium::Netflow9 => words.extend(["--packets", "1000"]),
        _ => {}
    }
    Ok(bench.generator(medium, &words).stdout(Stdio::piped()).spawn()?)
}

/// Ends the generator; when its attack began, in seconds since 1970.
pub(super) fn began(generator: Child) -> Result<Option<f64>> {
    let said = end(generator)?;
    let line = said.lines().last().context("the generator said nothing")?;
    let sent: Generated = serde_json::from_str(line)?;
    Ok(sent.attack.and_then(|attack| attack.began))
}
