//! `cargo xtask bench --live`: the service, the FastNetMon package and a bare receive loop, in
//! turns, under the same load, on loopback and over a veth pair. Everything runs in two network
//! name spaces of its own.

#![expect(clippy::disallowed_methods, reason = "measures processes by the clock on the wall")]

mod answer;
mod lab;
mod latency;
mod peers;
mod quiet;
mod receiver;
mod report;
mod router;
mod storm;
mod workers;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use self::lab::Lab;
use self::receiver::{Answer, Kind, Receiver};
use crate::command::{command, output, run as run_command, works};

/// Options of the live benchmarks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of load of one measurement.
    #[arg(long, default_value_t = 5, requires = "live")]
    seconds: u32,
    /// Times that everything is measured, in turns; the median counts.
    #[arg(long, default_value_t = 3, requires = "live")]
    runs: u32,
    /// Records a second.
    #[arg(long, default_value_t = 400_000, requires = "live")]
    rate: u32,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', requires = "live",
          default_values = ["cost", "ceiling", "memory", "latency", "script", "route", "peers",
                            "storm", "workers", "quiet"])]
    parts: Vec<Part>,
    /// Seconds of the part `quiet`.
    #[arg(long, default_value_t = 600, requires = "live")]
    quiet_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU time for a million records, and loss.
    Cost,
    /// The highest rate without loss.
    Ceiling,
    /// Resident memory by active hosts.
    Memory,
    /// From the first packet of an attack to its event.
    Latency,
    /// From the first packet of an attack to the first instruction of the notify script.
    Script,
    /// From the first packet of an attack to the route in a router's table.
    Route,
    /// A thousand mitigations to four routers, with and without one more that never reads.
    Peers,
    /// One attack amid five hundred others.
    Storm,
    /// Two workers beside one.
    Workers,
    /// False events in rough traffic below the limit.
    Quiet,
}

/// What carries the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Sflow,
    Netflow5,
    Netflow9,
    Ipfix,
    AfPacket,
    AfXdp,
}

impl Medium {
    const ALL: [Self; 6] =
        [Self::Sflow, Self::Netflow5, Self::Netflow9, Self::Ipfix, Self::AfPacket, Self::AfXdp];

    /// Word of `tidewall generate`.
    const fn word(self) -> &'static str {
        match self {
            Self::Sflow => "sflow",
            Self::Netflow5 => "netflow5",
            Self::Netflow9 => "netflow9",
            Self::Ipfix => "ipfix",
            Self::AfPacket | Self::AfXdp => "frames",
        }
    }

    /// Does it come over the veth pair?
    const fn is_mirror(self) -> bool {
        matches!(self, Self::AfPacket | Self::AfXdp)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sflow => "sFlow",
            Self::Netflow5 => "NetFlow v5",
            Self::Netflow9 => "NetFlow v9",
            Self::Ipfix => "IPFIX",
            Self::AfPacket => "AF_PACKET",
            Self::AfXdp => "AF_XDP",
        }
    }

    const fn port(self) -> u16 {
        if matches!(self, Self::Sflow) { 6343 } else { 2055 }
    }
}

/// The programs that are measured, and where they may write.
struct Bench {
    options: Options,
    tidewall: PathBuf,
    count: PathBuf,
    /// Version of the FastNetMon package, when it is installed.
    peer: Option<String>,
    lab: Lab,
}

/// What `tidewall generate --json` says.
#[derive(Clone, Debug, Deserialize)]
struct Generated {
    records: u64,
    datagrams: u64,
    records_per_second: f64,
    refused: u64,
    attack: Option<Attack>,
}

#[derive(Clone, Debug, Deserialize)]
struct Attack {
    began: Option<f64>,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Cost {
    rate: f64,
    /// Seconds for a million records; of a mirror on the user side only.
    cpu: f64,
    /// The kernel's side besides.
    system: f64,
    /// Part of what was sent.
    loss: f64,
}

/// Highest rate without loss, and whether the generator was the limit.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    rate: f64,
    by_generator: bool,
}

/// Resident memory in bytes with so many hosts in a large network, and what that network costs.
struct Memory {
    kind: Kind,
    hosts: u32,
    before: u64,
    after: u64,
    /// Part of a core that is used while nothing comes.
    idle: f64,
    /// Part of the records that is lost at the usual rate.
    loss: f64,
}

/// Part of the records that may be missing in a rate "without loss".
const NO_LOSS: f64 = 0.0001;
/// Rates that are tried, in thousands; then as fast as possible.
const LADDER: [u32; 5] = [400, 800, 1600, 2400, 3200];
const HOSTS: [u32; 3] = [1000, 100_000, 1_000_000];
/// For so long it is looked at what a program uses while nothing comes.
const IDLE: Duration = Duration::from_secs(5);

/// Measures, and returns the section of BENCH.md.
pub(super) fn run(options: &Options) -> Result<String> {
    if !works(&["ip", "netns", "list"]) || !is_root() {
        bail!("the live benchmarks need root and `ip` (iproute2)");
    }
    let bench = Bench::new(options)?;
    let wants = |part| bench.options.parts.contains(&part);
    let mut text = report::head(&bench)?;
    if wants(Part::Cost) {
        text += &report::costs(&bench.costs()?, options.rate);
    }
    if wants(Part::Ceiling) {
        text += &report::ceilings(&bench.ceilings()?);
    }
    if wants(Part::Memory) {
        text += &report::memory(&bench.memory()?);
    }
    if wants(Part::Latency) {
        text += &report::latencies(&latency::measure(&bench)?);
    }
    if wants(Part::Script) {
        text += &report::scripts(&answer::measure(&bench, Answer::Script)?);
    }
    if wants(Part::Route) {
        let there = router::is_there();
        let list = there.then(|| answer::measure(&bench, Answer::Route)).transpose()?;
        text += &report::routes(list.as_deref());
    }
    if wants(Part::Peers) {
        let list = router::is_there().then(|| peers::measure(&bench)).transpose()?;
        text += &report::peers(list.as_deref());
    }
    if wants(Part::Storm) {
        text += &report::storm(&storm::measure(&bench)?);
    }
    if wants(Part::Workers) {
        text += &workers::table(&bench)?;
    }
    if wants(Part::Quiet) {
        text += &quiet::table(&bench)?;
    }
    Ok(text)
}

/// BENCH.md with this section instead of the one it has.
pub(super) fn replace_section(document: &str, section: &str) -> String {
    let before = document.split(report::TITLE).next().unwrap_or_default().trim_end();
    format!("{before}\n\n{}\n", section.trim_end())
}

/// The section that a document has, empty without one.
pub(super) fn section(document: &str) -> &str {
    document.find(report::TITLE).map_or("", |at| &document[at..])
}

fn is_root() -> bool {
    output(&mut command(&["id", "-u"])).is_ok_and(|id| id.trim() == "0")
}

fn peer_version() -> Option<String> {
    if !Path::new(receiver::FASTNETMON).exists() {
        return None;
    }
    let query = ["dpkg-query", "--show", "--showformat=${Version}", "fastnetmon"];
    Some(output(&mut command(&query)).unwrap_or_else(|_| "of unknown version".to_owned()))
}

impl Bench {
    fn new(options: &Options) -> Result<Self> {
        let build = ["cargo", "build", "--release", "--locked"];
        run_command(command(&build).args(["--package", "tidewall"]))?;
        run_command(command(&build).args(["--package", "tidewall-capture", "--example", "count"]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let release = std::path::absolute(target.join("release"))?;
        Ok(Self {
            options: options.clone(),
            tidewall: release.join("tidewall"),
            count: release.join("examples/count"),
            peer: peer_version(),
            lab: Lab::new()?,
        })
    }

    /// What is compared.
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Count, Kind::Tidewall];
        if self.peer.is_some() {
            kinds.extend([Kind::Tracking, Kind::NoTracking]);
        }
        kinds
    }

    fn start(&self, kind: Kind, medium: Medium, networks: &[&str]) -> Result<Option<Receiver<'_>>> {
        // The package has no program for the kernel, which AF_XDP needs.
        if kind.is_peer() && medium == Medium::AfXdp {
            return Ok(None);
        }
        Receiver::start(self, kind, medium, networks, Answer::Event).map(Some)
    }

    /// Sends; the words are those of `tidewall generate`.
    fn generate(&self, medium: Medium, words: &[&str]) -> Result<Generated> {
        let mut child = self.generator(medium, words);
        let said = output(&mut child)?;
        let line = said.lines().last().context("the generator said nothing")?;
        let generated: Generated = serde_json::from_str(line).context("the generator's report")?;
        if generated.refused > generated.datagrams / 100 {
            bail!("the kernel refused {} datagrams: nobody listened", generated.refused);
        }
        Ok(generated)
    }

    fn generator(&self, medium: Medium, words: &[&str]) -> std::process::Command {
        let place = if medium.is_mirror() { &self.lab.sender } else { &self.lab.receiver };
        let mut child = place.command(&self.tidewall);
        child.args(["generate", medium.word(), "--json"]).args(words);
        if medium.is_mirror() {
            // Frames of 64 bytes, as on a wire with its check sequence.
            child.args(["--interface", lab::SENDER_LINK, "--length", "50"]);
        } else {
            child.args(["--to", &format!("127.0.0.1:{}", medium.port())]);
        }
        child
    }

    /// One measurement at a rate; 0: as fast as possible.
    fn cost(&self, kind: Kind, medium: Medium, rate: u32) -> Result<Option<Cost>> {
        let Some(mut receiver) = self.start(kind, medium, &receiver::NETWORKS)? else {
            return Ok(None);
        };
        let (rate, seconds) = (rate.to_string(), self.options.seconds.to_string());
        let mut words = vec!["--seconds", seconds.as_str()];
        if rate != "0" {
            words.extend(["--rate", rate.as_str()]);
        }
        let (before, cpu) = (receiver.received()?, receiver.cpu()?);
        let sent = self.generate(medium, &words)?;
        sleep(Duration::from_millis(1200));
        let spent = receiver.cpu()? - cpu;
        let messages = (receiver.received()? - before) as f64;
        // The bare loop counts datagrams.
        let unit = if kind == Kind::Count { sent.datagrams } else { sent.records } as f64;
        let part = messages / unit.max(1.0);
        let millions = (part * sent.records as f64 / 1e6).max(1e-9);
        let (user, system) = (spent.user / millions, spent.system / millions);
        Ok(Some(Cost {
            rate: sent.records_per_second,
            cpu: if medium.is_mirror() { user } else { user + system },
            system,
            loss: (1.0 - part).max(0.0),
        }))
    }

    fn costs(&self) -> Result<Vec<(Medium, Kind, Cost)>> {
        let mut found = Vec::new();
        for medium in Medium::ALL {
            let kinds = self.kinds();
            let mut of: Vec<Vec<Cost>> = vec![Vec::new(); kinds.len()];
            for _ in 0..self.options.runs {
                for (kind, list) in kinds.iter().zip(&mut of) {
                    list.extend(self.cost(*kind, medium, self.options.rate)?);
                }
            }
            for (kind, mut list) in kinds.into_iter().zip(of) {
                list.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
                if let Some(cost) = list.get(list.len() / 2) {
                    eprintln!("{} {}: {cost:?}", medium.name(), kind.name());
                    found.push((medium, kind, *cost));
                }
            }
        }
        Ok(found)
    }

    fn ceilings(&self) -> Result<Vec<(Medium, Kind, Ceiling)>> {
        let mut found = Vec::new();
        for medium in Medium::ALL {
            for kind in self.kinds() {
                let mut best = None;
                for rate in LADDER.into_iter().map(|rate| rate * 1000).chain([0]) {
                    let Some(cost) = self.cost(kind, medium, rate)? else { break };
                    let by_generator = rate == 0 || cost.rate < 0.97 * f64::from(rate);
                    if cost.loss > NO_LOSS {
                        break;
                    }
                    best = Some(Ceiling { rate: cost.rate, by_generator });
                    if by_generator {
                        break;
                    }
                }
                eprintln!("{} {}: {best:?}", medium.name(), kind.name());
                found.extend(best.map(|best| (medium, kind, best)));
            }
        }
        Ok(found)
    }

    fn memory(&self) -> Result<Vec<Memory>> {
        let mut found = Vec::new();
        for kind in self.kinds().into_iter().filter(|kind| *kind != Kind::Count) {
            for hosts in HOSTS {
                let network = "10.0.0.0/12";
                let Some(mut receiver) = self.start(kind, Medium::Netflow5, &[network])? else {
                    continue;
                };
                let before = receiver.resident()?;
                let (cpu, begin) = (receiver.cpu()?, Instant::now());
                sleep(IDLE);
                let used = receiver.cpu()? - cpu;
                let idle = (used.user + used.system) / begin.elapsed().as_secs_f64();
                let (hosts_word, rate) = (hosts.to_string(), self.options.rate.to_string());
                let of = ["--hosts", &hosts_word, "-n", network, "--seconds", "4", "--rate"];
                let counted = receiver.received()?;
                let sent = self.generate(Medium::Netflow5, &[&of[..], &[&rate]].concat())?;
                sleep(Duration::from_millis(1200));
                let counted = (receiver.received()? - counted) as f64;
                let loss = (1.0 - counted / sent.records.max(1) as f64).max(0.0);
                self.generate(Medium::Netflow5, &[&of[..], &["1000000"]].concat())?;
                let after = receiver.resident()?;
                eprintln!(
                    "{} {hosts} hosts: {before} to {after} bytes, idle {idle:.4}, loss {loss:.5}",
                    kind.name()
                );
                found.push(Memory { kind, hosts, before, after, idle, loss });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_like_and_nothing_else() {
        let section_of = |text: &str| format!("{}\n\n{text}\n", report::TITLE);
        let document = "# Benchmarks\n\n| a |\n";
        let first = replace_section(document, &section_of("one"));
        assert_eq!(first, "# Benchmarks\n\n| a |\n\n## Live\n\none\n");
        let second = replace_section(&first, &section_of("two"));
        assert_eq!(second, "# Benchmarks\n\n| a |\n\n## Live\n\ntwo\n");
        assert_eq!(section(&second), "## Live\n\ntwo\n");
        assert_eq!(section(document), "");
    }
}
