//! The report for people: what was read, what it was, and each attack in plain words.

use std::fmt::{self, Write};

use tidewall_collect::{RateInUse, SamplingOrigin};
use tidewall_model::{
    Attack, AttackClass, Direction, FlowRecord, Reason, TcpFlags, TopValue, TrafficClass, Unit,
    protocol,
};

use super::filters::write_filters;
use super::number::{bits_per_second, bytes, counted, grouped, percent, seconds};
use crate::exports::ExporterReport;
use crate::replay::Outcome;

/// Sample records shown of each attack.
const SAMPLE_LINES: usize = 5;
/// Values shown of each field.
const TOP_VALUES: usize = 5;
/// Files and networks shown before the rest is only counted.
const LIST_LINES: usize = 20;

/// The whole report.
pub fn to_text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    _ = write_report(&mut text, outcome);
    text
}

fn write_report(out: &mut String, outcome: &Outcome) -> fmt::Result {
    write_input(out, outcome)?;
    write_exporters(out, outcome)?;
    write_traffic(out, outcome)?;
    write_hosts(out, outcome)?;
    let (attacks, going_on) = (
        outcome.attacks.len() as u64,
        outcome.attacks.iter().filter(|attack| attack.ended.is_none()).count() as u64,
    );
    match attacks {
        0 => writeln!(out, "\nNo attack was found.")?,
        _ => writeln!(
            out,
            "\n{} found, {} still going on at the end of the capture.",
            counted(attacks, "attack"),
            grouped(going_on)
        )?,
    }
    for attack in &outcome.attacks {
        write_attack(out, attack)?;
        write_filters(out, attack, outcome)?;
        write_samples(out, attack)?;
    }
    Ok(())
}

fn write_input(out: &mut String, outcome: &Outcome) -> fmt::Result {
    for file in outcome.files.iter().take(LIST_LINES) {
        let (packets, size) = (counted(file.packets, "packet"), bytes(file.bytes));
        writeln!(out, "File       {}: {packets}, {size}", file.name)?;
    }
    write_more(out, outcome.files.len())?;
    let how = if outcome.guessed { " (guessed: the busiest destination network)" } else { "" };
    for network in outcome.networks.iter().take(LIST_LINES) {
        writeln!(out, "Network    {network}{how}")?;
    }
    write_more(out, outcome.networks.len())?;
    if let Some((first, last)) = outcome.span {
        let duration = if outcome.instant && outcome.pace.1 == 1 {
            "no duration: one instant".to_owned()
        } else {
            seconds(outcome.seconds())
        };
        writeln!(out, "Time       {first} to {last} ({duration})")?;
    }
    if outcome.pace != (1.0, 1) {
        let (speed, rounds) = outcome.pace;
        writeln!(
            out,
            "Pace       {speed} times as fast, played {}",
            counted(rounds.into(), "time")
        )?;
    }
    let sampling = match outcome.sampling.get() {
        1 => String::new(),
        rate => format!("; each stands for {} in the numbers below", grouped(rate.into())),
    };
    let (received, dropped) = (outcome.received, outcome.drops.total());
    let (counted_, size) = (grouped(outcome.stats.ingested), bytes(received.bytes));
    if outcome.has_exports() {
        writeln!(
            out,
            "Flows      {} records in {} ({size}): {counted_} counted, {} dropped{sampling}",
            grouped(outcome.records),
            counted(received.packets, "packet"),
            grouped(dropped),
        )?;
    } else {
        writeln!(
            out,
            "Packets    {} received ({size}): {counted_} counted, {} dropped{sampling}",
            grouped(received.packets),
            grouped(dropped),
        )?;
    }
    for (reason, packets) in outcome.drops.nonzero() {
        writeln!(out, "           {} dropped: {}", grouped(packets), reason.sentence())?;
    }
    Ok(())
}

/// A line for each exporter, and what is to be said of it.
fn write_exporters(out: &mut String, outcome: &Outcome) -> fmt::Result {
    for exporter in outcome.exporters.iter().take(LIST_LINES) {
        let ExporterReport { key, health, verdicts } = exporter;
        let lost = match health.lost as f64 / (health.received + health.lost).max(1) as f64 {
            share if share > 0.0 => format!(", {} lost on the way", percent(share)),
            _ => String::new(),
        };
        writeln!(
            out,
            "Exporter   {} ({}, domain {}): {}, {}, {}{lost}",
            key.agent,
            key.protocol.name(),
            key.domain,
            counted(health.datagrams, "datagram"),
            counted(health.flows, "record"),
            sampling_words(&health.sampling),
        )?;
        for verdict in verdicts {
            writeln!(out, "           {verdict}")?;
        }
    }
    write_more(out, outcome.exporters.len())
}

fn write_more(out: &mut String, all: usize) -> fmt::Result {
    match all.saturating_sub(LIST_LINES) {
        0 => Ok(()),
        more => writeln!(out, "           and {more} more"),
    }
}

fn write_traffic(out: &mut String, outcome: &Outcome) -> fmt::Result {
    const CLASSES: [(TrafficClass, &str); 7] = [
        (TrafficClass::Total, "PACKETS"),
        (TrafficClass::Tcp, "TCP"),
        (TrafficClass::TcpSyn, "TCP SYN"),
        (TrafficClass::Udp, "UDP"),
        (TrafficClass::Icmp, "ICMP"),
        (TrafficClass::Other, "OTHER"),
        (TrafficClass::Fragment, "FRAGMENTS"),
    ];
    let heads = CLASSES.iter().map(|(_, head)| (*head).to_owned());
    let mut rows: Vec<Vec<String>> = vec![
        std::iter::once("TRAFFIC".to_owned()).chain(heads).chain(["BYTES".to_owned()]).collect(),
    ];
    for (direction, total) in Direction::ALL.iter().zip(&outcome.totals) {
        let packets = CLASSES.iter().map(|(class, _)| grouped(total.get(*class).packets));
        let size = bytes(total.total.bytes);
        rows.push(std::iter::once(direction.to_string()).chain(packets).chain([size]).collect());
    }
    write_table(out, &rows)
}

fn write_hosts(out: &mut String, outcome: &Outcome) -> fmt::Result {
    if outcome.top_hosts.is_empty() {
        return Ok(());
    }
    let heads = ["TOP HOSTS", "PACKETS IN", "BYTES IN", "PACKETS OUT", "BYTES OUT"];
    let mut rows: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    for host in &outcome.top_hosts {
        rows.push(vec![
            host.address.to_string(),
            grouped(host.incoming.packets),
            bytes(host.incoming.bytes),
            grouped(host.outgoing.packets),
            bytes(host.outgoing.bytes),
        ]);
    }
    write_table(out, &rows)?;
    match outcome.hosts.saturating_sub(outcome.top_hosts.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "and {} more", grouped(more)),
    }
}

/// The sampling rates in use.
fn sampling_words(rates: &[RateInUse]) -> String {
    let shown: Vec<String> = rates
        .iter()
        .map(|used| match (used.rate.get(), used.origin) {
            (1, SamplingOrigin::Assumed) => "sampling not said".to_owned(),
            (1, _) => "not sampled".to_owned(),
            (rate, origin) => format!("1 in {} ({})", grouped(rate.into()), origin.name()),
        })
        .collect();
    if shown.is_empty() { "no record".to_owned() } else { shown.join(", ") }
}

/// Rows below an empty line; the first column to the left, the others to the right.
fn write_table(out: &mut String, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    writeln!(out)?;
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match at {
                0 => write!(out, "{cell:width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_attack(out: &mut String, attack: &Attack) -> fmt::Result {
    let verb = match attack.direction {
        Direction::Outgoing => "attacks others",
        _ => "is under attack",
    };
    let vectors: Vec<String> =
        attack.vectors.iter().map(|v| format!("{} {}", v.name, percent(v.packets_share))).collect();
    let mut what = class_words(attack.class).to_owned();
    if !vectors.is_empty() {
        _ = write!(what, " ({})", vectors.join(", "));
    }
    writeln!(out, "\n#{} {} {verb}: {what}", attack.id.0, attack.target)?;
    writeln!(out, "  reason     {}", reason_words(&attack.reason))?;
    let after = attack.detected.since(attack.started).as_secs_f64();
    writeln!(out, "  started    {}, detected {} later", attack.started, seconds(after))?;
    match attack.ended {
        Some(ended) => {
            let lasted = seconds(ended.since(attack.started).as_secs_f64());
            writeln!(out, "  ended      {ended}, after {lasted}")?;
        }
        None => writeln!(out, "  ended      still going on at the end of the capture")?,
    }
    let (pps, flows) = (grouped(attack.peak_pps), grouped(attack.peak_flows));
    let bps = bits_per_second(attack.peak_bps as f64);
    writeln!(out, "  peak       {pps} pps, {bps}, {flows} flows/s")?;
    let (packets, size) = (counted(attack.packets, "packet"), bytes(attack.bytes));
    writeln!(out, "  total      {packets}, {size}")?;
    write_top(out, attack)
}

/// An attack in one line, as a log has it.
pub fn attack_line(attack: &Attack) -> String {
    let verb = match attack.direction {
        Direction::Outgoing => "attacks others",
        _ => "is under attack",
    };
    let (pps, bps) = (grouped(attack.peak_pps), bits_per_second(attack.peak_bps as f64));
    let (what, reason) = (class_words(attack.class), reason_words(&attack.reason));
    format!("{} {verb}: {what}, peak {pps} packets/s, {bps}; {reason}", attack.target)
}

fn write_top(out: &mut String, attack: &Attack) -> fmt::Result {
    let top = &attack.top;
    let (ours, theirs) = match attack.direction {
        Direction::Outgoing => ("from", "to"),
        _ => ("to", "from"),
    };
    let mut line = |name: &str, values: &[TopValue], more: &str| {
        if values.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = (values.iter().take(TOP_VALUES))
            .map(|top| format!("{} {}", top.value, percent(top.share)))
            .collect();
        writeln!(out, "  {name:<10} {}{more}", shown.join(", "))
    };
    let distinct = format!(" (at least {} different)", grouped(top.distinct_remotes));
    line(theirs, &top.remotes, &distinct)?;
    line(ours, &top.locals, "")?;
    line("protocols", &top.protocols, "")?;
    line("src ports", &top.source_ports, "")?;
    line("dst ports", &top.destination_ports, "")?;
    line("tcp flags", &top.tcp_flags, "")?;
    line("lengths", &top.lengths, " (bytes)")
}

fn write_samples(out: &mut String, attack: &Attack) -> fmt::Result {
    let (all, shown) = (attack.samples.len(), attack.samples.len().min(SAMPLE_LINES));
    if shown > 0 {
        writeln!(out, "  sample     {shown} of {all} packets")?;
    }
    for sample in attack.samples.iter().take(SAMPLE_LINES) {
        writeln!(out, "    {}", sample_words(&sample.0))?;
    }
    Ok(())
}

/// `2026-11-21T10:30:00.000000Z 192.0.2.1:123 > 203.0.113.5:4000 udp 468 bytes`.
fn sample_words(record: &FlowRecord) -> String {
    let end = |address: tidewall_model::Address, port: u16| match (port, address.family) {
        (0, _) => address.to_string(),
        (port, tidewall_model::Family::V4) => format!("{address}:{port}"),
        (port, tidewall_model::Family::V6) => format!("[{address}]:{port}"),
    };
    let name = protocol::name(record.protocol)
        .map_or_else(|| format!("protocol {}", record.protocol), str::to_owned);
    // The port of an ICMP record is its type and code.
    let (src, dst, mut words) = if record.is_icmp() {
        let (kind, code) = (record.dst_port >> 8, record.dst_port & 0xff);
        (0, 0, format!("{name} type {kind} code {code}"))
    } else {
        (record.src_port, record.dst_port, name)
    };
    if record.protocol == protocol::TCP {
        _ = write!(words, " {}", TcpFlags::to_string(&record.tcp_flags));
    }
    if record.fragment.is_fragment() {
        words.push_str(" fragment");
    }
    let (from, to) = (end(record.src_address(), src), end(record.dst_address(), dst));
    let size = grouped(record.bytes);
    format!("{} {from} > {to} {words} {size} bytes", record.time)
}

/// `incoming total packets 101,234 pps over the limit of 20,000 pps of group global, ...`.
fn reason_words(reason: &Reason) -> String {
    let class = match reason.metric.class {
        TrafficClass::TcpSyn => "TCP SYN",
        TrafficClass::Tcp => "TCP",
        TrafficClass::Udp => "UDP",
        TrafficClass::Icmp => "ICMP",
        TrafficClass::Fragment => "fragment",
        TrafficClass::Other => "other protocols'",
        class => class.name(),
    };
    let rate = |value: f64| match reason.metric.unit {
        Unit::Packets => format!("{} pps", grouped(value.round() as u64)),
        Unit::Bits => bits_per_second(value),
        Unit::Flows => format!("{} flows/s", grouped(value.round() as u64)),
    };
    let what = match reason.metric.unit {
        Unit::Packets => format!("{class} packets"),
        Unit::Bits => format!("{class} traffic"),
        Unit::Flows => "flows".to_owned(),
    };
    format!(
        "{} {what} {} over the limit of {} of group {}, measured over {} s ({} seen)",
        reason.direction,
        rate(reason.value),
        rate(reason.limit),
        reason.group,
        reason.window_ms as f64 / 1e3,
        counted(reason.samples, "packet"),
    )
}

/// A class in words, the same wherever people read it.
pub fn class_words(class: AttackClass) -> &'static str {
    match class {
        AttackClass::SynFlood => "SYN flood",
        AttackClass::SynAckReflection => "SYN+ACK reflection",
        AttackClass::AckFlood => "ACK flood",
        AttackClass::RstFlood => "RST flood",
        AttackClass::TcpFlood => "TCP flood",
        AttackClass::UdpFlood => "UDP flood",
        AttackClass::UdpReflection => "UDP reflection",
        AttackClass::FragmentFlood => "fragment flood",
        AttackClass::IcmpFlood => "ICMP flood",
        AttackClass::GreFlood => "GRE flood",
        AttackClass::ProtocolFlood => "flood of another IP protocol",
        AttackClass::Mixed => "flood of several kinds",
        AttackClass::Unknown => "traffic of unknown kind",
    }
}
