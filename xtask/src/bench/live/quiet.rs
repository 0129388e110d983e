//! Rough traffic at 0.8 times the limit for ten minutes, by all media at the same time: nothing may
//! be raised. Each medium has a host of its own with that traffic, and ordinary traffic besides.

use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::receiver::{Receiver, THRESHOLD, end};
use super::{Bench, Medium, lab};

/// What is sent, and the network of its host.
const MEDIA: [(Medium, &str); 3] =
    [(Medium::AfPacket, "10.1."), (Medium::Sflow, "10.2."), (Medium::Netflow9, "10.3.")];
/// Where ordinary traffic goes.
const ORDINARY: &str = "10.16.0.0/22";
/// Part of the limit that the host receives in the mean.
const SHARE: f64 = 0.8;
/// From second to second: standard deviation as a part of the mean.
const NOISE: f64 = 0.1;
/// A wave of two minutes: as a part of the mean.
const SWING: f64 = 0.05;
/// The generators run for so long before the service is started: all conversations of a scenario
/// begin together, and so do the ends of their flows in a cache, which is no ordinary traffic.
const LEAD: Duration = Duration::from_secs(10);
/// Averages are read from here on: they are of five seconds.
const SETTLED: Duration = Duration::from_secs(20);

/// What came of one medium.
#[derive(Clone, Debug, Default)]
struct Outcome {
    records: u64,
    lost: u64,
    /// The host's average of five seconds, looked at once a second.
    rates: Vec<f64>,
    events: usize,
}

/// Generators that are ended with this.
struct Generators(Vec<Child>);

impl Drop for Generators {
    fn drop(&mut self) {
        for child in self.0.drain(..) {
            _ = end(child);
        }
    }
}

/// Measures, and gives the section of BENCH.md.
pub(super) fn table(bench: &Bench) -> Result<String> {
    let whole = Duration::from_secs(bench.options.quiet_seconds.into());
    let generators = Generators(generators(bench, whole)?);
    sleep(LEAD);
    let receiver = Receiver::tidewall(bench, &configuration())?;
    let mut outcomes: [Outcome; MEDIA.len()] = Default::default();
    let begin = Instant::now();
    while begin.elapsed() < whole {
        sleep(Duration::from_secs(1));
        if begin.elapsed() > SETTLED {
            let hosts = receiver.data(r#"{"ask":"hosts","top":10}"#)?;
            for ((_, network), outcome) in MEDIA.iter().zip(&mut outcomes) {
                outcome.rates.extend(rate_in(&hosts, network));
            }
        }
    }
    let status = receiver.data(r#"{"ask":"status"}"#)?;
    let attacks = receiver.data(r#"{"ask":"attacks","all":true}"#)?;
    drop(generators);
    let attacks = attacks.as_array().context("no list of attacks")?;
    for attack in attacks {
        eprintln!("quiet: {attack}");
    }
    for ((medium, network), outcome) in MEDIA.iter().zip(&mut outcomes) {
        (outcome.records, outcome.lost) = received(&status, *medium);
        let targets = attacks.iter().filter_map(|attack| attack["target"].as_str());
        outcome.events = targets.filter(|target| target.starts_with(network)).count();
        let (records, events) = (outcome.records, outcome.events);
        eprintln!("quiet, {}: {records} records, {events} events", medium.name());
    }
    Ok(report(whole, &outcomes, attacks.len()))
}

fn configuration() -> String {
    let networks = MEDIA.map(|(_, network)| format!("{network}0.0/16"));
    format!(
        "networks = [\"{}\", \"{ORDINARY}\"]\n\
         [thresholds.incoming]\ntotal = {{ pps = {THRESHOLD} }}\n\
         [listen]\nsflow = [\"0.0.0.0:{}\"]\nnetflow = [\"0.0.0.0:{}\"]\n\
         [[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"{}\"]\n",
        networks.join("\", \""),
        Medium::Sflow.port(),
        Medium::Netflow9.port(),
        lab::RECEIVER_LINK
    )
}

/// Starts the rough and the ordinary traffic of each medium.
fn generators(bench: &Bench, whole: Duration) -> Result<Vec<Child>> {
    let mut list = Vec::new();
    let seconds = (LEAD + whole).as_secs() + 60;
    for (number, (medium, network)) in MEDIA.into_iter().enumerate() {
        let world = format!(
            "name = \"rough\"\nseed = {number}\nduration_s = {seconds}\n\
             networks = [\"{network}0.0/16\"]\n\
             [background]\nhosts = 1\npps = {}\nipv6 = 0.0\noutgoing = 0.0\nnoise = {NOISE}\n\
             swing = {SWING}\nday_s = 120\n",
            SHARE * f64::from(THRESHOLD)
        );
        let file = bench.lab.folder.join(format!("rough-{}.toml", medium.word()));
        std::fs::write(&file, world)?;
        let sampling: &[&str] = if medium == Medium::Sflow { &["--sampling", "1000"] } else { &[] };
        let file = file.display().to_string();
        let mut rough = bench.generator(medium, &["--scenario", &file]);
        list.push(rough.args(sampling).stdout(Stdio::piped()).spawn()?);
        let seconds = seconds.to_string();
        let words = ["--rate", "500", "--network", ORDINARY, "--seconds", &seconds];
        let mut ordinary = bench.generator(medium, &words);
        if medium == Medium::Netflow9 {
            ordinary.args(["--packets", "1000"]);
        }
        list.push(ordinary.args(sampling).stdout(Stdio::piped()).spawn()?);
    }
    Ok(list)
}

/// Packets a second of the host in a network.
fn rate_in(hosts: &Value, network: &str) -> Option<f64> {
    let is_there = |host: &&Value| host["host"].as_str().is_some_and(|h| h.starts_with(network));
    hosts.as_array()?.iter().find(is_there)?["incoming"]["pps"].as_f64()
}

/// Records of a medium, and messages that the kernel dropped.
fn received(status: &Value, medium: Medium) -> (u64, u64) {
    let source = match medium {
        Medium::Sflow => "sflow",
        Medium::AfPacket | Medium::AfXdp => "af_packet",
        _ => "netflow",
    };
    let workers = status["workers"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let workers = workers.filter(|w| w["name"].as_str().is_some_and(|n| n.starts_with(source)));
    workers.fold((0, 0), |(records, lost), worker| {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        (
            records + number(&worker["records"]),
            lost + number(&worker["source"]["dropped_by_kernel"]),
        )
    })
}

fn report(whole: Duration, outcomes: &[Outcome], events: usize) -> String {
    let mut text = format!(
        "### False events in {} s of rough traffic at {SHARE} times the limit\n\n\
         By all three at the same time, to a host each: Poisson arrivals whose rate changes by the \
         second with a standard deviation of {NOISE} of the mean and swings by {SWING} over two \
         minutes; the limit is {THRESHOLD} packets/s. sFlow is sampled 1 in 1000 at random; the \
         flow cache of NetFlow v9 sees every packet and has an active timeout of 1 s. 1,000 other \
         hosts have ordinary traffic, 500 records/s by each medium.\n\n\
         | | records | lost | the host's average of 5 s, packets/s: least / mean / most | false \
         events |\n|---|--:|--:|--:|--:|\n",
        whole.as_secs()
    );
    for ((medium, _), outcome) in MEDIA.iter().zip(outcomes) {
        let Outcome { records, lost, rates, events } = outcome;
        let shown = match rates.iter().copied().reduce(f64::min) {
            None => "–".to_owned(),
            Some(least) => format!(
                "{least:.0} / {:.0} / {:.0}",
                rates.iter().sum::<f64>() / rates.len() as f64,
                rates.iter().copied().fold(0.0, f64::max)
            ),
        };
        let _ = writeln!(text, "| {} | {records} | {lost} | {shown} | {events} |", medium.name());
    }
    let others = events - outcomes.iter().map(|outcome| outcome.events).sum::<usize>();
    if others > 0 {
        let _ = writeln!(text, "\nBesides, {others} false events of hosts with ordinary traffic.");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_came_is_read_from_the_answers() {
        let hosts = json!([
            { "host": "10.16.0.1", "incoming": { "pps": 300 } },
            { "host": "10.2.0.1", "incoming": { "pps": 16_100 } },
        ]);
        assert_eq!(rate_in(&hosts, "10.2."), Some(16_100.0));
        assert_eq!(rate_in(&hosts, "10.1."), None);
        let worker = |name: &str, records: u64| json!({ "name": name, "records": records, "source": { "dropped_by_kernel": 2 } });
        let status = json!({ "workers": [
            worker("netflow 0.0.0.0:2055 #0", 5), worker("netflow 0.0.0.0:2055 #1", 6),
            worker("af_packet tw1 #0", 9),
        ] });
        assert_eq!(received(&status, Medium::Netflow9), (11, 4));
        assert_eq!(received(&status, Medium::AfPacket), (9, 2));
        assert_eq!(received(&status, Medium::Sflow), (0, 0));
    }

    #[test]
    fn events_of_others_are_told_besides() {
        let quiet = Outcome { records: 7, lost: 0, rates: vec![15e3, 17e3], events: 0 };
        let loud = Outcome { events: 1, ..quiet.clone() };
        let outcomes = [quiet.clone(), loud, quiet];
        let text = report(Duration::from_mins(10), &outcomes, 3);
        assert!(text.contains("| AF_PACKET | 7 | 0 | 15000 / 16000 / 17000 | 0 |"), "{text}");
        assert!(text.contains("| sFlow | 7 | 0 | 15000 / 16000 / 17000 | 1 |"), "{text}");
        assert!(text.contains("Besides, 2 false events"), "{text}");
    }
}
