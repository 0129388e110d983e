//! `tidewall generate`: traffic to test a collector with.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use tidewall_model::{Address, Prefix, SamplingRate, Timestamp};
use tidewall_scenario::ExportPath;

use super::demo::read_scenario;
use crate::demo::Medium;
use crate::generate::send::{Amount, Senders, send};
use crate::generate::{AttackLoad, Destination, Load, Orders, Outcome, Stream, play::play};
use crate::live::clock::Clock;

/// How long it lasts when nothing is said.
const USUAL_SECONDS: f64 = 10.0;

/// Send sFlow, NetFlow, IPFIX or frames, to test a collector with.
///
/// The traffic is rendered once and sent round after round, at the rate that is wanted or as fast
/// as possible. It goes to this machine or into a network name space on it; anything else needs
/// to be said in words.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateArgs {
    /// What is sent.
    #[arg(value_enum, value_name = "MEDIUM")]
    pub medium: Medium,
    /// Where datagrams go [default: 127.0.0.1, at the medium's usual port].
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "interface")]
    pub to: Option<SocketAddr>,
    /// Where frames go.
    #[arg(short = 'i', long, value_name = "INTERFACE")]
    pub interface: Option<String>,
    /// Records (samples, flows, frames) a second; without it, or `--datagrams`, as fast as
    /// possible.
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Datagrams a second instead.
    #[arg(long, value_name = "N", value_parser = rate, conflicts_with = "rate")]
    pub datagrams: Option<f64>,
    /// How long [default: 10, unless `--records` says how many].
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub seconds: Option<f64>,
    /// How many records; the last datagram is sent whole.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
    /// A network of ours; may be repeated.
    #[arg(short, long, value_name = "PREFIX", default_value = "10.0.0.0/16")]
    pub network: Vec<Prefix>,
    /// Our hosts with traffic, spread evenly over the networks.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    pub hosts: u32,
    /// Hosts that they talk to.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub remotes: u32,
    /// Exporters, in turn. To the loopback each has its own address, from 127.0.1.1 on.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub exporters: u16,
    /// One packet in so many is seen, and the export says so.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=16_383))]
    pub sampling: u32,
    /// Packets of each NetFlow or IPFIX record.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub packets: u64,
    /// Bytes of each IP packet.
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::value_parser!(u16).range(50..=9000))]
    pub length: u16,
    /// Also attack this host, with UDP from port 53.
    #[arg(long, value_name = "ADDRESS", requires = "attack_rate")]
    pub attack: Option<IpAddr>,
    /// Records of the attack a second.
    #[arg(long, value_name = "N", value_parser = rate, requires = "attack")]
    pub attack_rate: Option<f64>,
    /// The attack begins so many seconds after the start.
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = seconds)]
    pub attack_after: f64,
    /// Different attackers.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub attack_sources: u32,
    /// Play the world of this file once, in its own time, instead of all this.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = [
        "rate", "datagrams", "records", "attack", "exporters", "hosts", "network",
    ])]
    pub scenario: Option<PathBuf>,
    /// Other records; the same seed gives the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The last line is a JSON object.
    #[arg(long)]
    pub json: bool,
    /// Send to another machine: it, and all that lies between, are mine, and may break.
    #[arg(long = "i-own-the-target-and-the-path")]
    pub owned: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    seconds(text).and_then(|n| if n > 0.0 { Ok(n) } else { Err("more than 0".to_owned()) })
}

fn seconds(text: &str) -> Result<f64, String> {
    let number: f64 = text.replace('_', "").parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1e9).contains(&number) { Ok(number) } else { Err("0 to 1000000000".to_owned()) }
}

/// Runs the command.
pub fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let destination = destination(args)?;
    if !args.owned {
        destination.check()?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let stop = move || stop.load(Ordering::Relaxed);
    let clock = Clock::start();
    let outcome = if let Some(file) = &args.scenario {
        let senders = Senders::open(&destination, 1)?;
        let sampling = SamplingRate::new(args.sampling);
        let time = args.seconds.map(Duration::from_secs_f64);
        play(read_scenario(file)?, args.medium, sampling, &senders, time, clock, &stop)?
    } else {
        let mut streams = streams(args)?;
        let mut senders = Senders::open(&destination, args.exporters)?;
        send(&mut streams, &mut senders, orders(args), clock, &stop)
    };
    tell(args, &outcome)?;
    Ok(ExitCode::SUCCESS)
}

fn destination(args: &GenerateArgs) -> anyhow::Result<Destination> {
    if args.medium == Medium::Frames {
        let Some(interface) = &args.interface else {
            bail!("frames go to an interface: name it with --interface");
        };
        return Ok(Destination::Interface(interface.clone()));
    }
    ensure!(
        args.interface.is_none(),
        "only frames go to an interface; datagrams go --to an address"
    );
    let port = match args.medium {
        Medium::Sflow => ExportPath::SFLOW_PORT,
        Medium::Ipfix => ExportPath::IPFIX_PORT,
        _ => ExportPath::NETFLOW_PORT,
    };
    let usual = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    Ok(Destination::Address(args.to.unwrap_or(usual)))
}

fn orders(args: &GenerateArgs) -> Orders {
    let usual = args.records.is_none().then_some(USUAL_SECONDS);
    Orders { time: args.seconds.or(usual).map(Duration::from_secs_f64), records: args.records }
}

fn streams(args: &GenerateArgs) -> anyhow::Result<Vec<Stream>> {
    let load = Load {
        medium: args.medium,
        networks: args.network.clone(),
        hosts: args.hosts,
        remotes: args.remotes,
        exporters: args.exporters,
        sampling: SamplingRate::new(args.sampling),
        packets: args.packets,
        length: args.length,
        seed: args.seed,
    };
    let reel = load.reel()?;
    let rate = args.rate.or_else(|| args.datagrams.map(|rate| rate * reel.records_per_message()));
    let mut streams = vec![Stream::new(reel, rate)];
    if let (Some(target), Some(rate)) = (args.attack, args.attack_rate) {
        let target = Address::from(target);
        let attack = AttackLoad { target, rate, sources: args.attack_sources };
        let after = Duration::from_secs_f64(args.attack_after);
        streams.push(Stream::later(load.attack_reel(&attack)?, Some(rate), after));
    }
    Ok(streams)
}

/// Says what was sent.
fn tell(args: &GenerateArgs, outcome: &Outcome) -> anyhow::Result<()> {
    let seconds = outcome.time.as_secs_f64().max(1e-9);
    let mut total = Amount::default();
    for part in &outcome.streams {
        total.records += part.records;
        total.messages += part.messages;
        total.bytes += part.bytes;
    }
    let reason = (outcome.refused > 0).then(|| io::Error::from_raw_os_error(outcome.reason));
    let mut out = io::stdout().lock();
    let written = if args.json {
        let attack = outcome.streams.get(1).zip(outcome.began.get(1));
        let value = json!({
            "seconds": seconds,
            "records": total.records,
            "datagrams": total.messages,
            "bytes": total.bytes,
            "records_per_second": total.records as f64 / seconds,
            "datagrams_per_second": total.messages as f64 / seconds,
            "refused": outcome.refused,
            "reason": reason.map(|reason| reason.to_string()),
            "attack": attack.map(|(amount, began)| json!({
                "records": amount.records,
                "datagrams": amount.messages,
                "began": began.map(Timestamp::as_secs_f64),
            })),
        });
        writeln!(out, "{value}")
    } else {
        let unit = if args.medium == Medium::Frames { "frames" } else { "datagrams" };
        let refused = reason.map_or_else(String::new, |reason| {
            format!("; {} were refused: {reason}", outcome.refused)
        });
        writeln!(
            out,
            "sent {} records in {} {unit}, {:.1} MB, in {seconds:.2} s: {:.0} records/s, {:.0} \
             {unit}/s{refused}",
            total.records,
            total.messages,
            total.bytes as f64 / 1e6,
            total.records as f64 / seconds,
            total.messages as f64 / seconds,
        )
    };
    super::quiet_when_closed(written)?;
    Ok(())
}
