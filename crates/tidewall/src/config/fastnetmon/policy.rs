//! What a configuration of FastNetMon means: policy and frames, with a safe limit where FastNetMon
//! would take 0 and ban every host.

use std::time::Duration;

use tidewall_engine::{
    Capacity, Counting, Detection, DirectedLimits, FilterSettings, Group, Limits, Policy, Whitelist,
};
use tidewall_model::{Family, Metric, Prefix, Unit};
use tidewall_wire::frame::LengthMode;

use super::super::Frames;
use super::super::sink::Sink;
use super::super::table::Place;
use super::groups::HostGroup;
use super::keys::{LIMITS, LimitKeys};
use super::reference::Reference;

/// What was found, to be given its meaning.
pub(super) struct Found<'a> {
    /// The keys.
    pub(super) reference: &'a Reference,
    /// The host groups.
    pub(super) groups: &'a [HostGroup],
    /// Our networks.
    pub(super) networks: Vec<Prefix>,
    /// What is never an attack and what is not counted.
    pub(super) whitelist: Whitelist,
}

/// A place at the head of the file, for what is missing in it.
fn missing(name: &str) -> Place {
    Place { field: name.to_owned(), ..Place::default() }
}

impl Found<'_> {
    /// The policy.
    pub(super) fn policy(self, sink: &mut Sink) -> Policy {
        let on = |name| self.reference.switch(name);
        let counting = Counting {
            incoming: on("process_incoming_traffic"),
            outgoing: on("process_outgoing_traffic"),
            // FastNetMon counts traffic between two of our hosts for neither of them, and every
            // packet with SYN as one.
            internal: false,
            syn_with_ack: true,
            flows: on("enable_connection_tracking"),
        };
        let mut groups = vec![self.global(counting, sink)];
        for group in self.groups {
            groups.push(self.group(group, counting, sink));
        }
        let detection = self.detection(sink);
        self.one_family(&mut groups, sink);
        self.no_limit(&groups, sink);
        Policy {
            groups,
            whitelist: self.whitelist,
            counting,
            detection,
            filters: FilterSettings::default(),
            capacity: Capacity::default(),
            networks: self.networks,
        }
    }

    /// How frames are counted: here one setting for all sources.
    pub(super) fn frames(&self, sink: &mut Sink) -> Frames {
        const SOURCES: [(&str, &str); 4] = [
            ("sflow", "sflow_read_packet_length_from_ip_header"),
            ("mirror_afpacket", "af_packet_read_packet_length_from_ip_header"),
            ("mirror_afxdp", "xdp_read_packet_length_from_ip_header"),
            ("mirror_netmap", "netmap_read_packet_length_from_ip_header"),
        ];
        let any_source = SOURCES.iter().any(|(source, _)| self.reference.switch(source));
        let used =
            || SOURCES.iter().filter(|(source, _)| !any_source || self.reference.switch(source));
        let Some((_, key)) = used().find(|(_, key)| self.reference.switch(key)) else {
            return Frames::default();
        };
        if any_source
            && let Some((other, _)) = used().find(|(_, key)| !self.reference.switch(key))
            && let Some(entry) = self.reference.get(key)
        {
            let reason = format!(
                "`{other}` is on too and has it off; here one setting holds for all sources, and \
                 it is on"
            );
            let fix = "set it alike for all sources, or choose `length` under [frames] in TOML";
            sink.warn(&entry.place(key), reason, fix);
        }
        Frames { length: LengthMode::IpHeader, ..Frames::default() }
    }

    fn global(&self, counting: Counting, sink: &mut Sink) -> Group {
        let limits = self.limits(None, counting, sink);
        Group { host: both(limits), ..Group::global() }
    }

    fn group(&self, group: &HostGroup, counting: Counting, sink: &mut Sink) -> Group {
        let name = format!("{}_enable_ban", group.typed);
        let detect = self.reference.switch(&name);
        if self.reference.get(&name).is_none() {
            let reason = format!(
                "`{name}` is missing, which is off: no attack on the group's hosts is raised, as \
                 in FastNetMon"
            );
            sink.warn(&group.at, reason, format!("add `{name} = on`, or `off` to say so"));
        }
        let limits = self.limits(Some(group), counting, sink);
        if detect && limits.iter().next().is_none() {
            let reason = "no limit of this group is on, and none is inherited: no attack on its \
                          hosts is raised, as in FastNetMon";
            let fix = format!("add `{0}_ban_for_pps = on` and `{0}_threshold_pps`", group.typed);
            sink.warn(&group.at, reason, fix);
        }
        Group {
            name: group.name.clone(),
            parent: Some(0),
            prefixes: group.prefixes.clone(),
            host: both(limits),
            detect: detect && self.reference.switch("enable_ban"),
            ..Group::default()
        }
    }

    /// The limits of each host of a group, or of those in none.
    fn limits(&self, group: Option<&HostGroup>, counting: Counting, sink: &mut Sink) -> Limits {
        let mut limits = Limits::default();
        let name = |key: &str| group.map_or(key.to_owned(), |g| format!("{}_{key}", g.typed));
        for keys in &LIMITS {
            let (switch, threshold) = (name(keys.switch), name(keys.threshold));
            if !self.reference.switch(&switch) {
                if let Some(entry) = self.reference.get(&threshold)
                    && self.reference.get(&switch).is_none()
                {
                    let reason =
                        format!("`{switch}` is missing, which is off: this limits nothing");
                    let fix = format!("add `{switch} = on`, or `off` to say so");
                    sink.warn(&entry.place(&threshold), reason, fix);
                }
                continue;
            }
            if keys.unit == Unit::Flows && !counting.flows {
                let at = self.place(&switch);
                let reason = "flows are not counted, so they have no limit";
                sink.warn(&at, reason, "write `enable_connection_tracking = on`, or turn this off");
                continue;
            }
            if let Some(limit) = self.limit(keys, (&switch, &threshold), sink) {
                limits.set(Metric { class: keys.class, unit: keys.unit }, limit);
            }
        }
        limits
    }

    /// One limit, in packets, bits or flows per second.
    fn limit(
        &self,
        keys: &LimitKeys,
        (switch, threshold): (&str, &str),
        sink: &mut Sink,
    ) -> Option<f64> {
        let scale = if keys.unit == Unit::Bits { 1e6 } else { 1.0 };
        let (least, most) = match keys.unit {
            Unit::Bits => (1e-3, 1e8),
            Unit::Packets | Unit::Flows => (1.0, 1e12),
        };
        let in_reason = |number: &f64| (least..=most).contains(number);
        // A group without its own number takes the global one, if that is one.
        let safe = || {
            let global = self.reference.typed_number(keys.threshold).filter(in_reason);
            global.unwrap_or_else(|| keys.shipped.into())
        };
        let unit = match keys.unit {
            Unit::Bits => "Mbit/s",
            Unit::Packets => "packets/s",
            Unit::Flows => "flows/s",
        };
        let typed = self.reference.typed_number(threshold);
        let at = self.reference.get(threshold).map(|entry| entry.place(threshold));
        let (Some(number), Some(at)) = (typed, &at) else {
            let safe = safe();
            let reason = format!(
                "`{switch}` is on without a number in `{threshold}`: FastNetMon takes 0 and bans \
                 every host with any traffic; here the limit is {safe} {unit}"
            );
            let fix = format!("add `{threshold} = {safe}`, or write `{switch} = off`");
            sink.warn(&at.unwrap_or_else(|| self.place(switch)), reason, fix);
            return Some(safe * scale);
        };
        if in_reason(&number) {
            return Some(number * scale);
        }
        let fix = format!("write `{switch} = off` for no limit, or another number");
        if number > most {
            let reason = format!("{number} {unit} is more than any network carries: no limit");
            sink.warn(at, reason, fix);
            return None;
        }
        if number > 0.0 {
            let reason = format!("{number} {unit} is too small for a limit; here it is {}", safe());
            sink.warn(at, reason, fix);
            return Some(safe() * scale);
        }
        let reason = "with 0 FastNetMon bans every host with any traffic; here 0 is no limit";
        sink.warn(at, reason, fix);
        None
    }

    /// Where a key stands, or the head of the file.
    fn place(&self, name: &str) -> Place {
        self.reference.get(name).map_or_else(|| missing(name), |entry| entry.place(name))
    }

    fn detection(&self, sink: &mut Sink) -> Detection {
        let default = Detection::default();
        if self.reference.get("enable_ban").is_none() {
            let reason = "`enable_ban` is missing, which is off: no attack on an IPv4 host is \
                          raised, as in FastNetMon";
            let fix = "add `enable_ban = on`, or `off` to say so";
            sink.warn(&missing("enable_ban"), reason, fix);
        }
        let window = self.seconds("speed_calculation_delay", 60, sink);
        if let Some(entry) = self.reference.get("average_calculation_time") {
            let reason = "here this is the average that reports show; attacks are found by the \
                          evidence of several lengths of time, which is sooner";
            let fix = "nothing need be done; docs/detection.md has the rule";
            sink.warn(&entry.place("average_calculation_time"), reason, fix);
        }
        let samples = "ban_details_records_count";
        let wanted = self.reference.number(samples);
        if wanted > 10_000.0 {
            let reason = "the sample of an attack has up to 10000 records; here it has so many";
            sink.warn(&self.place(samples), reason, format!("write `{samples} = 10000`"));
        }
        Detection {
            enabled: self.reference.switch("enable_ban")
                || self.reference.switch("enable_ban_ipv6"),
            window,
            // One for each 50 ms, as without a word about them in TOML.
            slices: window.as_secs() as u32 * 20,
            average_time: self.seconds("average_calculation_time", 3600, sink),
            release_time: default.release_time.max(window),
            update_every: default.update_every.max(window),
            samples: wanted.min(10_000.0) as usize,
            ..default
        }
    }

    /// A time from one second on.
    fn seconds(&self, name: &str, most: u64, sink: &mut Sink) -> Duration {
        let seconds = self.reference.number(name) as u64;
        let taken = seconds.clamp(1, most);
        if taken != seconds {
            let reason = format!("this is 1 to {most} seconds; here it is {taken}");
            sink.warn(&self.place(name), reason, format!("write `{name} = {taken}`"));
        }
        Duration::from_secs(taken)
    }

    /// Detection for one IP version only: the hosts of the other are a group without detection.
    fn one_family(&self, groups: &mut Vec<Group>, sink: &mut Sink) {
        let on = |name| self.reference.switch(name);
        let (v4, v6) = (on("enable_ban"), on("enable_ban_ipv6"));
        let ours = |family| self.networks.iter().any(|network| network.family() == family);
        if ours(Family::V6) && v4 && self.reference.get("enable_ban_ipv6").is_none() {
            let reason = "`enable_ban_ipv6` is missing, which is off: no attack on an IPv6 host is \
                          raised, as in FastNetMon";
            let fix = "add `enable_ban_ipv6 = on`, or `off` to say so";
            sink.warn(&missing("enable_ban_ipv6"), reason, fix);
        }
        let (name, all) = match (v4, v6) {
            (true, false) => ("ipv6-off", "::/0"),
            (false, true) => ("ipv4-off", "0.0.0.0/0"),
            _ => return,
        };
        // The machine's addresses and those of containers may be of either version, and so may be
        // what `--network` says.
        let Ok(all) = all.parse::<Prefix>() else { return };
        if groups.iter().any(|group| group.prefixes.contains(&all)) {
            return;
        }
        let mut name = name.to_owned();
        while groups.iter().any(|group| group.name == name) {
            name.push('-');
        }
        groups.push(Group {
            name,
            parent: Some(0),
            prefixes: vec![all],
            host: groups[0].host.clone(),
            detect: false,
            ..Group::default()
        });
    }

    /// Warns when there is nothing to find.
    fn no_limit(&self, groups: &[Group], sink: &mut Sink) {
        if self.reference.switch("enable_ban") && groups.iter().all(|group| group.host.is_empty()) {
            let reason = "no limit is on, so no attack is raised, as in FastNetMon";
            let fix = "for example `ban_for_pps = on` and `threshold_pps = 20000`";
            sink.warn(&self.place("enable_ban"), reason, fix);
        }
    }
}

/// FastNetMon compares one number with both directions.
fn both(limits: Limits) -> DirectedLimits {
    DirectedLimits { incoming: limits.clone(), outgoing: limits }
}
