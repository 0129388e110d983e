//! The text report as scripts, mail filters and parsers of the reference know it: its labels, its
//! order, its units. What we know besides stands in lines of our own at the end of the summary.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use tidewall_model::{
    Address, Attack, Count, DirectedCounters, Direction, Family, FlowRecord, Target, TcpFlags,
    TopValue, TrafficClass, protocol,
};

use crate::{ActionEvent, LocalTime};

/// Whose report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// Debian's `fastnetmon` 1.2.4.
    V1_2_4,
    /// The newest release, 1.2.10.
    #[default]
    Newest,
}

/// How reports are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    /// Whose layout.
    pub generation: Generation,
    /// Lines of our own at the end of the summary.
    pub own_lines: bool,
    /// IPv6 addresses with leading zeros, as the reference writes them, and not as RFC 5952 says.
    pub padded_ipv6: bool,
    /// Sample lines at most, and flow lines of a protocol and direction.
    pub lines: usize,
    /// Zone of the times.
    pub zone: LocalTime,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            generation: Generation::Newest,
            own_lines: true,
            padded_ipv6: false,
            lines: 20,
            zone: LocalTime::system(),
        }
    }
}

impl Style {
    /// What a script gets for `ban`, and what stands in the attack's file.
    pub fn report(&self, event: &ActionEvent) -> String {
        let mut text = self.summary(event);
        let flows = self.flow_dump(event);
        if self.generation == Generation::V1_2_4 {
            return text + &flows;
        }
        let samples = self.sample_dump(event);
        if !samples.is_empty() {
            text.push_str("\n\n\nAttack traffic dump\n\n");
            text.push_str(&samples);
        }
        if !flows.is_empty() {
            text.push_str("\n\nFlow dump\n\n");
            text.push_str(&flows);
        }
        text
    }

    /// What a script gets for `attack_details`.
    pub fn details(&self, event: &ActionEvent) -> String {
        format!("{}\n\n{}", self.summary(event), self.sample_dump(event))
    }

    /// The labelled lines.
    pub fn summary(&self, event: &ActionEvent) -> String {
        let mut text = String::with_capacity(2048);
        // Writing to a String does not fail.
        _ = self.write_summary(&mut text, event);
        if self.own_lines {
            _ = self.write_own_lines(&mut text, event);
        }
        text
    }

    /// One line for each sampled packet.
    pub fn sample_dump(&self, event: &ActionEvent) -> String {
        let mut text = String::new();
        for sample in event.attack.samples.iter().take(self.lines) {
            _ = self.write_sample(&mut text, &sample.0);
        }
        text
    }

    /// TCP and UDP flows of the sample, by direction.
    pub fn flow_dump(&self, event: &ActionEvent) -> String {
        if event.manual && event.attack.samples.is_empty() {
            return "manually triggered attack".to_owned();
        }
        let flows = flows(&event.attack);
        let mut text = String::new();
        for incoming in [true, false] {
            let mut section = String::new();
            for (number, name) in [(protocol::TCP, "TCP"), (protocol::UDP, "UDP")] {
                let wanted = |flow: &Flow| (flow.incoming, flow.protocol) == (incoming, number);
                let of: Vec<(Flow, Count)> =
                    flows.iter().filter(|(flow, _)| wanted(flow)).copied().collect();
                _ = self.write_flows(&mut section, name, &of);
            }
            if section.is_empty() {
                continue;
            }
            let heading = if incoming { "Incoming" } else { "Outgoing" };
            let between = if text.is_empty() { "" } else { "\n" };
            _ = write!(text, "{between}{heading}\n\n{section}");
        }
        text
    }

    /// An address as this style writes it.
    pub fn address(&self, address: Address) -> String {
        match address.family {
            Family::V6 if self.padded_ipv6 => padded(address.bits),
            _ => address.to_string(),
        }
    }

    /// The target: an address, a prefix, or a group's name.
    pub fn target(&self, target: &Target) -> String {
        match target {
            Target::Host(address) => self.address(*address),
            Target::Network(prefix) => format!("{}/{}", self.address(prefix.first()), prefix.len()),
            Target::Group(name) => name.clone(),
        }
    }

    fn write_summary(&self, out: &mut String, event: &ActionEvent) -> fmt::Result {
        let (attack, rates) = (&event.attack, event.rates());
        writeln!(out, "IP: {}", self.target(&attack.target))?;
        writeln!(out, "Attack type: {}", attack_type(attack))?;
        writeln!(out, "Initial attack power: {} packets per second", event.power())?;
        let peak = attack.peak_pps.max(event.power());
        writeln!(out, "Peak attack power: {peak} packets per second")?;
        writeln!(out, "Attack direction: {}", attack.direction)?;
        writeln!(out, "Attack protocol: {}", self.attack_protocol(event))?;
        let old = self.generation == Generation::V1_2_4;
        write_loads(out, "Total ", &rates)?;
        if old {
            write_loads(out, "Average ", &rates)?;
        }
        write_class(out, "ip fragmented", &rates, TrafficClass::Fragment)?;
        if !old {
            write_class(out, "dropped", &rates, TrafficClass::Dropped)?;
        }
        write_class(out, "tcp", &rates, TrafficClass::Tcp)?;
        write_class(out, "syn tcp", &rates, TrafficClass::TcpSyn)?;
        write_class(out, "udp", &rates, TrafficClass::Udp)?;
        write_class(out, "icmp", &rates, TrafficClass::Icmp)?;
        if old {
            let size = |of: Count| match of.packets {
                0 => 0.0,
                packets => of.bytes as f64 / packets as f64,
            };
            let (incoming, outgoing) = (size(rates.incoming.total), size(rates.outgoing.total));
            writeln!(out, "\nAverage packet size for incoming traffic: {incoming:.1} bytes ")?;
            writeln!(out, "Average packet size for outgoing traffic: {outgoing:.1} bytes ")?;
        }
        Ok(())
    }

    fn write_own_lines(&self, out: &mut String, event: &ActionEvent) -> fmt::Result {
        let (attack, reason) = (&event.attack, &event.attack.reason);
        if event.manual {
            writeln!(out, "Attack detection source: manual")?;
        } else {
            writeln!(out, "Attack detection source: automatic")?;
            writeln!(
                out,
                "Attack reason: {} {} {:.0} over the limit of {:.0} in {} ms ({} packets seen)",
                reason.direction,
                reason.metric,
                reason.value,
                reason.limit,
                reason.window_ms,
                reason.samples
            )?;
            writeln!(out, "Attack class: {}", attack.class)?;
        }
        if !attack.vectors.is_empty() {
            let vectors: Vec<String> = (attack.vectors.iter())
                .map(|v| format!("{} {:.0} %", v.name, v.packets_share * 100.0))
                .collect();
            writeln!(out, "Attack vectors: {}", vectors.join(", "))?;
        }
        if !event.note.is_empty() {
            // One line, whatever a person typed.
            let note: Vec<&str> = event.note.split_whitespace().collect();
            writeln!(out, "Note: {}", note.join(" "))?;
        }
        writeln!(out, "Attack uuid: {}", event.attack_uuid())?;
        writeln!(out, "Host group: {}", reason.group)?;
        if let Some(network) = event.network {
            let first = self.address(network.first());
            writeln!(out, "Network: {first}/{}", network.len())?;
        }
        match event.ban_seconds {
            0 => writeln!(out, "Ban time: until it is taken back")?,
            seconds => writeln!(out, "Ban time: {seconds} seconds")?,
        }
        writeln!(out, "Attack started: {}", attack.started)?;
        writeln!(out, "Attack detected: {}", attack.detected)?;
        if let Some(ended) = attack.ended {
            writeln!(out, "Attack ended: {ended}")?;
        }
        writeln!(out, "Peak traffic: {} mbps", attack.peak_bps / 1_000_000)?;
        writeln!(out, "Attack total: {} packets, {} bytes", attack.packets, attack.bytes)?;
        let top = |values: &[TopValue]| {
            let shown =
                values.iter().take(5).map(|v| format!("{} {:.0} %", v.value, v.share * 1e2));
            shown.collect::<Vec<_>>().join(", ")
        };
        for (label, values) in [
            ("Top remote addresses", &attack.top.remotes),
            ("Top source ports", &attack.top.source_ports),
            ("Top destination ports", &attack.top.destination_ports),
        ] {
            if !values.is_empty() {
                writeln!(out, "{label}: {}", top(values))?;
            }
        }
        Ok(())
    }

    /// The largest of three; the first of them when all are zero, as the newest release has it.
    fn attack_protocol(&self, event: &ActionEvent) -> &'static str {
        let rates = &event.attack.rates;
        let mut largest = ("tcp", rates.tcp.packets);
        for (name, packets) in [("udp", rates.udp.packets), ("icmp", rates.icmp.packets)] {
            if packets > largest.1 {
                largest = (name, packets);
            }
        }
        match largest.1 {
            0 if event.manual && self.generation == Generation::V1_2_4 => "unknown",
            _ => largest.0,
        }
    }

    /// The blank before the line's end, and the two after `frag`, belong to the format.
    fn write_sample(&self, out: &mut String, record: &FlowRecord) -> fmt::Result {
        // Ports of ICMP are its type and code in our records; the reference writes 0.
        let port = |port: u16| if record.is_icmp() { 0 } else { port };
        write!(
            out,
            "{} {}:{} > {}:{} protocol: {}",
            self.zone.date_and_micros(record.time),
            self.address(record.src_address()),
            port(record.src_port),
            self.address(record.dst_address()),
            port(record.dst_port),
            self.protocol_name(record)
        )?;
        if record.protocol == protocol::TCP {
            // The reference knows the first six flags.
            write!(out, " flags: {}", TcpFlags(record.tcp_flags.0 & 0x3f))?;
        }
        let fragment = u8::from(record.fragment.is_fragment());
        write!(out, " frag: {fragment}  packets: {} size: {} bytes", record.packets, record.bytes)?;
        writeln!(out, " ttl: {} sample ratio: {}  ", record.ttl, record.sampling.get())
    }

    fn protocol_name(&self, record: &FlowRecord) -> &'static str {
        match (self.generation, record.protocol) {
            (_, protocol::TCP) => "tcp",
            (_, protocol::UDP) => "udp",
            (_, _) if record.is_icmp() => "icmp",
            (Generation::V1_2_4, _) => "unknown",
            (Generation::Newest, number) => protocol::name(number).unwrap_or("unknown"),
        }
    }

    fn write_flows(&self, out: &mut String, name: &str, flows: &[(Flow, Count)]) -> fmt::Result {
        if flows.is_empty() {
            return Ok(());
        }
        writeln!(out, "{name} flows: {}", flows.len())?;
        // The reference shows one more than its setting says.
        for (flow, count) in flows.iter().take(self.lines + 1) {
            let (local_port, remote_port) = flow.ports();
            writeln!(
                out,
                "{}:{} {} {}:{} {} bytes {} packets",
                self.address(flow.local),
                local_port,
                if flow.incoming { '<' } else { '>' },
                self.address(flow.remote),
                remote_port,
                count.bytes,
                count.packets
            )?;
        }
        if let Some(more @ 1..) = flows.len().checked_sub(self.lines + 1) {
            writeln!(out, "and {more} more")?;
        }
        writeln!(out)
    }
}

/// Type of an attack by the rule of the reference, the first share above nine tenths. Its scripts
/// know these names and no others; our own class stands in a line of its own.
pub(crate) fn attack_type(attack: &Attack) -> &'static str {
    let rates = &attack.rates;
    let kinds = [
        (rates.tcp_syn, "syn_flood"),
        (rates.icmp, "icmp_flood"),
        (rates.fragment, "ip_fragmentation"),
        (rates.udp, "udp_flood"),
    ];
    let most = |part: Count| part.packets as f64 > 0.9 * rates.total.packets as f64;
    kinds.iter().find(|(part, _)| most(*part)).map_or("unknown", |(_, name)| name)
}

/// Bytes per second as whole megabits per second.
fn mbps(count: Count) -> u128 {
    u128::from(count.bytes) * 8 / 1_000_000
}

fn write_loads(out: &mut String, label: &str, rates: &DirectedCounters) -> fmt::Result {
    let (incoming, outgoing) = (&rates.incoming, &rates.outgoing);
    writeln!(out, "{label}incoming traffic: {} mbps", mbps(incoming.total))?;
    writeln!(out, "{label}outgoing traffic: {} mbps", mbps(outgoing.total))?;
    writeln!(out, "{label}incoming pps: {} packets per second", incoming.total.packets)?;
    writeln!(out, "{label}outgoing pps: {} packets per second", outgoing.total.packets)?;
    writeln!(out, "{label}incoming flows: {} flows per second", incoming.flows)?;
    writeln!(out, "{label}outgoing flows: {} flows per second", outgoing.flows)
}

fn write_class(
    out: &mut String,
    name: &str,
    rates: &DirectedCounters,
    class: TrafficClass,
) -> fmt::Result {
    let (incoming, outgoing) = (rates.incoming.get(class), rates.outgoing.get(class));
    writeln!(out, "Incoming {name} traffic: {} mbps", mbps(incoming))?;
    writeln!(out, "Outgoing {name} traffic: {} mbps", mbps(outgoing))?;
    writeln!(out, "Incoming {name} pps: {} packets per second", incoming.packets)?;
    writeln!(out, "Outgoing {name} pps: {} packets per second", outgoing.packets)
}

/// A flow. They are in the order of the reference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    incoming: bool,
    protocol: u8,
    dst_port: u16,
    src_port: u16,
    remote: Address,
    local: Address,
}

impl Flow {
    /// Ports of our end and of the other one.
    const fn ports(&self) -> (u16, u16) {
        if self.incoming { (self.dst_port, self.src_port) } else { (self.src_port, self.dst_port) }
    }
}

/// Flows of the sample with what they carried, largest first; ties in the order of the reference.
fn flows(attack: &Attack) -> Vec<(Flow, Count)> {
    let mut sums: BTreeMap<Flow, Count> = BTreeMap::new();
    for record in attack.samples.iter().map(|sample| &sample.0) {
        let incoming = is_incoming(attack, record);
        let (src, dst) = (record.src_address(), record.dst_address());
        let (local, remote) = if incoming { (dst, src) } else { (src, dst) };
        let (src_port, dst_port, protocol) = (record.src_port, record.dst_port, record.protocol);
        let flow = Flow { incoming, protocol, dst_port, src_port, remote, local };
        *sums.entry(flow).or_default() +=
            Count { packets: record.scaled_packets(), bytes: record.scaled_bytes() };
    }
    let mut flows: Vec<(Flow, Count)> = sums.into_iter().collect();
    flows.sort_by_key(|(_, count)| std::cmp::Reverse(count.packets));
    flows
}

/// Does the record go towards the target?
fn is_incoming(attack: &Attack, record: &FlowRecord) -> bool {
    match &attack.target {
        Target::Host(host) => record.dst_address() == *host,
        Target::Network(prefix) => {
            prefix.contains(record.dst_address()) && !prefix.contains(record.src_address())
        }
        Target::Group(_) => attack.direction != Direction::Outgoing,
    }
}

/// Eight groups of four digits; the first run of two or more zero groups that another group follows
/// gives way to one colon. It is how the reference writes IPv6, `:0001` for `::1` included.
fn padded(bits: u128) -> String {
    let groups: Vec<u128> = (0..8).rev().map(|at| bits >> (16 * at) & 0xffff).collect();
    // The last group is never part of the run.
    let zeros = |from: usize| groups.iter().take(7).skip(from).take_while(|g| **g == 0).count();
    let run = (0..7).map(|from| (from, zeros(from))).find(|(_, length)| *length >= 2);
    let mut text = String::new();
    for (at, group) in groups.iter().enumerate() {
        match run {
            Some((from, _)) if at == from => text.push(':'),
            Some((from, length)) if (from..from + length).contains(&at) => {}
            _ if at == 7 => _ = write!(text, "{group:04x}"),
            _ => _ = write!(text, "{group:04x}:"),
        }
    }
    text
}
