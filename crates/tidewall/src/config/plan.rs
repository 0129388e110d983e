//! A configuration in words: what will be watched, with which limits, and what it may cost.

mod responses;

use std::fmt::Write;

use tidewall_engine::{DirectedLimits, Group, Limits, Policy, Rule};
use tidewall_model::{Metric, Prefix, TcpFlags, Unit, protocol};
use tidewall_wire::frame::{LengthMode, TunnelKind};

use super::capacity::bytes_per_worker;
use super::quantity::{show_bytes, show_duration, show_number};
use super::{Frames, Loaded};
use crate::control::Rights;

/// Rows of a list that are shown before the rest is only counted.
const ROWS: usize = 50;

/// The plan that a configuration stands for, as text for people.
pub fn describe(loaded: &Loaded) -> String {
    let mut text = String::new();
    let policy = &loaded.policy;
    networks(&mut text, loaded);
    groups(&mut text, &policy.groups);
    limits(&mut text, &policy.groups);
    whitelist(&mut text, policy);
    counting(&mut text, policy, loaded.frames);
    detection(&mut text, policy);
    filters(&mut text, policy);
    responses::responses(&mut text, &loaded.respond, &policy.groups);
    control(&mut text, &loaded.rights);
    capacity(&mut text, policy);
    text
}

fn networks(text: &mut String, loaded: &Loaded) {
    let networks = &loaded.policy.networks;
    _ = writeln!(text, "Networks ({})", networks.len());
    prefixes(text, networks);
    if networks.is_empty() {
        _ = writeln!(text, "  none: a replay guesses the busiest destination network");
    }
    if networks.is_empty() || loaded.own_addresses || loaded.openvz_addresses.is_some() {
        _ = writeln!(text, "  the service: {}", networks_besides(loaded));
    }
}

/// What the service takes for ours besides the networks of the configuration, or without any.
pub fn networks_besides(loaded: &Loaded) -> String {
    let listed = loaded
        .openvz_addresses
        .as_ref()
        .map(|file| format!("the addresses that {} lists", file.display()));
    match (loaded.own_addresses, listed) {
        (true, None) => "this machine's own addresses".to_owned(),
        (true, Some(listed)) => format!("this machine's own addresses and {listed}"),
        (false, Some(listed)) => listed,
        (false, None) => "the networks that this machine has addresses in".to_owned(),
    }
}

fn prefixes(text: &mut String, list: &[Prefix]) {
    for prefix in list.iter().take(ROWS) {
        _ = writeln!(text, "  {prefix}");
    }
    if list.len() > ROWS {
        _ = writeln!(text, "  and {} more", list.len() - ROWS);
    }
}

fn groups(text: &mut String, groups: &[Group]) {
    _ = writeln!(text, "\nGroups ({}): the longest prefix around a host decides", groups.len());
    let mut rows = vec![["NAME", "PARENT", "DETECT", "HOSTS"].map(str::to_owned)];
    for group in groups.iter().take(ROWS) {
        let parent = group.parent.and_then(|parent| groups.get(parent));
        let hosts = match (group.parent, group.prefixes.as_slice()) {
            (None, _) => "all others".to_owned(),
            (_, []) => "none".to_owned(),
            (_, list) => {
                let shown: Vec<_> = list.iter().take(4).map(Prefix::to_string).collect();
                let more = list.len().saturating_sub(4);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("{}{more}", shown.join(", "))
            }
        };
        rows.push([
            group.name.clone(),
            parent.map_or("-".to_owned(), |parent| parent.name.clone()),
            if group.detect { "yes" } else { "no" }.to_owned(),
            hosts,
        ]);
    }
    columns(text, &rows);
    if groups.len() > ROWS {
        _ = writeln!(text, "  and {} more", groups.len() - ROWS);
    }
}

/// The effective limits of every group, a row for each limit.
fn limits(text: &mut String, groups: &[Group]) {
    _ = writeln!(text, "\nLimits per second, inherited ones included");
    let header = ["GROUP", "OF", "TRAFFIC", "INCOMING", "OUTGOING"];
    let mut rows = vec![header.map(str::to_owned)];
    for group in groups.iter().take(ROWS) {
        let scopes =
            [("each host", &group.host), ("each network", &group.network), ("total", &group.total)];
        let before = rows.len();
        for (scope, directed) in scopes {
            for metric in metrics(directed) {
                let of = |limits: &Limits| {
                    limits.get(metric).map_or("-".to_owned(), |l| show_limit(metric, l))
                };
                rows.push([
                    group.name.clone(),
                    scope.to_owned(),
                    show_metric(metric),
                    of(&directed.incoming),
                    of(&directed.outgoing),
                ]);
            }
        }
        if rows.len() == before {
            let none = ["-", "no limit", "-", "-"].map(str::to_owned);
            let [of, traffic, incoming, outgoing] = none;
            rows.push([group.name.clone(), of, traffic, incoming, outgoing]);
        }
    }
    columns(text, &rows);
}

/// Metrics that have a limit in either direction, in order.
fn metrics(directed: &DirectedLimits) -> Vec<Metric> {
    let both = directed.incoming.iter().chain(directed.outgoing.iter());
    let mut metrics: Vec<_> = both.map(|(metric, _)| metric).collect();
    metrics.sort_unstable();
    metrics.dedup();
    metrics
}

fn show_metric(metric: Metric) -> String {
    match metric.unit {
        Unit::Packets => format!("{} packets", metric.class),
        Unit::Bits => format!("{} bits", metric.class),
        Unit::Flows => "flows".to_owned(),
    }
}

fn show_limit(metric: Metric, limit: f64) -> String {
    let unit = match metric.unit {
        Unit::Packets => "pps",
        Unit::Bits => "bps",
        Unit::Flows => "flows/s",
    };
    format!("{}{unit}", show_number(limit))
}

fn whitelist(text: &mut String, policy: &Policy) {
    let whitelist = &policy.whitelist;
    if *whitelist == tidewall_engine::Whitelist::default() {
        _ = writeln!(text, "\nWhitelist: empty");
        return;
    }
    _ = writeln!(text, "\nWhitelist");
    if !whitelist.hosts.is_empty() {
        _ = writeln!(text, " Our hosts that never raise an attack ({})", whitelist.hosts.len());
        prefixes(text, &whitelist.hosts);
    }
    if !whitelist.remotes.is_empty() {
        _ = writeln!(text, " Remotes that are not counted ({})", whitelist.remotes.len());
        prefixes(text, &whitelist.remotes);
    }
    if !whitelist.rules.is_empty() {
        _ = writeln!(text, " Traffic that is not counted ({})", whitelist.rules.len());
        for rule in whitelist.rules.iter().take(ROWS) {
            _ = writeln!(text, "  {}", show_rule(rule));
        }
    }
}

fn show_rule(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let mut list = |name: &str, words: Vec<String>| {
        if !words.is_empty() {
            parts.push(format!("{name} {}", words.join(" or ")));
        }
    };
    let prefixes = |list: &[Prefix]| list.iter().map(Prefix::to_string).collect();
    let ports = |list: &[(u16, u16)]| list.iter().map(|(a, b)| range(*a, *b)).collect();
    list("source", prefixes(&rule.source));
    list("destination", prefixes(&rule.destination));
    let name = |p: &u8| protocol::name(*p).map_or_else(|| p.to_string(), str::to_owned);
    list("protocol", rule.protocols.iter().map(name).collect());
    list("source port", ports(&rule.source_ports));
    list("destination port", ports(&rule.destination_ports));
    list("flags", rule.tcp_flags.iter().map(|flags| show_flags(*flags)).collect());
    list("length", ports(&rule.packet_lengths));
    list("vlan", rule.vlans.iter().map(u16::to_string).collect());
    list("ttl", rule.ttls.iter().map(|(a, b)| range((*a).into(), (*b).into())).collect());
    if let Some(fragment) = rule.fragment {
        parts.push(if fragment { "fragments" } else { "whole packets" }.to_owned());
    }
    if let Some(family) = rule.family {
        parts.push(family.to_string());
    }
    parts.join(", ")
}

fn show_flags(flags: u16) -> String {
    match flags {
        0 => "none".to_owned(),
        flags => TcpFlags(flags).to_string().replace(',', "+"),
    }
}

fn range(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn counting(text: &mut String, policy: &Policy, frames: Frames) {
    let counting = &policy.counting;
    let counted = [
        (counting.incoming, "incoming"),
        (counting.outgoing, "outgoing"),
        (counting.internal, "internal (for both hosts)"),
        (counting.flows, "flows"),
    ];
    let words: Vec<_> = counted.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
    let syn = if counting.syn_with_ack { "SYN with or without ACK" } else { "SYN without ACK" };
    _ = writeln!(text, "\nCounted: {words}; tcp_syn is {syn}");
    let length = match frames.length {
        LengthMode::Wire => "the frame's length on the wire",
        LengthMode::IpHeader => "the length in the IP header",
    };
    let entered: Vec<_> = TunnelKind::ALL
        .iter()
        .filter(|kind| frames.tunnels.enters(**kind))
        .map(|kind| kind.name())
        .collect();
    let inside = match entered.as_slice() {
        [] => "the outermost IP header".to_owned(),
        kinds => {
            format!("the packet inside {}, up to {} deep", kinds.join(", "), frames.tunnels.depth())
        }
    };
    _ = writeln!(text, "Frames: {length}, {inside}");
}

/// How filters are chosen, as far as people may want to know without asking.
fn filters(text: &mut String, policy: &Policy) {
    let f = &policy.filters;
    let percent = |part: f64| format!("{}%", show_number(part * 100.0));
    _ = writeln!(
        text,
        "Filters: at most {} rules for an attack, until {} of it is taken, announced if they take \
         {};\n  of the target's normal packets at most {} are discarded and {} slowed down;\n  \
         nothing is known of these with less than {} remembered records",
        f.most_rules,
        percent(f.enough),
        percent(f.least_coverage),
        percent(f.budget),
        percent(f.rate_limit_budget),
        f.least_remembered,
    );
}

fn detection(text: &mut String, policy: &Policy) {
    let d = &policy.detection;
    if !d.enabled {
        _ = writeln!(text, "\nDetection: off, nothing is raised");
        return;
    }
    let slice = show_duration(d.window / d.slices.max(1));
    _ = writeln!(
        text,
        "\nDetection: windows of {}, slices of {slice}\n  \
         nothing is raised below {} of a limit\n  \
         an attack is over when every rate is below {} of its limit for {}",
        show_duration(d.window),
        d.tolerance,
        d.release,
        show_duration(d.release_time),
    );
}

fn control(text: &mut String, rights: &Rights) {
    _ = match &rights.operators {
        None => writeln!(text, "\nControl: whoever may use the socket may change something"),
        Some(operators) => writeln!(
            text,
            "\nControl: root, the service's own user and {operators} may change something; whoever \
             else may use the socket may look"
        ),
    };
}

fn capacity(text: &mut String, policy: &Policy) {
    let parts = bytes_per_worker(&policy.capacity);
    let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let c = &policy.capacity;
    _ = writeln!(
        text,
        "\nMemory of each worker: at most {}, of which only what is touched is used",
        show_bytes(total)
    );
    let counts = [c.hosts, c.flows, c.recent, c.dense];
    let rows: Vec<_> = parts
        .iter()
        .zip(counts)
        .map(|((name, bytes), count)| [count.to_string(), (*name).to_owned(), show_bytes(*bytes)])
        .collect();
    columns(text, &rows);
}

/// Rows with their columns aligned.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::from(" ");
        for (width, cell) in widths.iter().zip(row) {
            _ = write!(line, " {cell:width$} ");
        }
        _ = writeln!(text, "{}", line.trim_end());
    }
}
