//! What the demo's engine watches: the scenario's networks and limits, over the default policy; and
//! the same as a configuration file, so that a written capture can be replayed as it was shown.

use std::fmt::Write;
use std::time::Duration;

use tidewall_engine::{Capacity, DirectedLimits, Group, Limits, Policy};
use tidewall_model::{Metric, TrafficClass, Unit};
use tidewall_scenario::Scenario;

/// A demo lasts a minute where a network lasts for years: an attack counts as over after this part
/// of it, within bounds, so that its end is seen too.
const RELEASE_PART: u32 = 15;
const SHORTEST_RELEASE: Duration = Duration::from_secs(2);

/// The policy for a scenario.
pub fn policy(scenario: &Scenario) -> Policy {
    let mut policy = Policy::for_networks(scenario.networks.clone());
    let host = both(&scenario.limits.host);
    for group in &mut policy.groups {
        group.host = host.clone();
    }
    for (prefix, limits) in &scenario.limits.networks {
        // The total of a network is watched where it is one of ours by itself.
        if !policy.networks.contains(prefix) {
            policy.networks.push(*prefix);
        }
        policy.groups.push(Group {
            name: prefix.to_string().replace(['/', ':'], "_"),
            parent: Some(0),
            prefixes: vec![*prefix],
            host: host.clone(),
            network: both(limits),
            total: DirectedLimits::default(),
            detect: true,
        });
    }
    let length = Duration::from_nanos(scenario.duration_ns);
    let release = policy.detection.release_time;
    policy.detection.release_time =
        (length / RELEASE_PART).clamp(SHORTEST_RELEASE.min(release), release);
    // Room for every host a scenario has; the default is for much larger networks.
    policy.capacity =
        Capacity { hosts: 1 << 17, flows: 1 << 18, recent: 1 << 15, ..policy.capacity };
    policy
}

/// A configuration file that stands for [`policy`], but for its bounds of memory.
pub fn configuration(scenario: &Scenario) -> String {
    let policy = policy(scenario);
    let mut out = String::from("# For `tidewall replay`: the networks and limits of the demo.\n");
    let networks: Vec<String> =
        policy.networks.iter().map(|network| format!("\"{network}\"")).collect();
    line(&mut out, format_args!("networks = [{}]\n", networks.join(", ")));
    for group in &policy.groups {
        if group.parent.is_none() {
            directions(&mut out, "thresholds", &group.host, true);
            continue;
        }
        line(&mut out, format_args!("[[group]]\nname = \"{}\"", group.name));
        let prefixes: Vec<String> = group.prefixes.iter().map(|p| format!("\"{p}\"")).collect();
        line(&mut out, format_args!("prefixes = [{}]\n", prefixes.join(", ")));
        directions(&mut out, "group.thresholds.network", &group.network, false);
    }
    let release = policy.detection.release_time.as_millis();
    line(&mut out, format_args!("[detection]\nrelease_time = \"{release}ms\""));
    out
}

fn directions(out: &mut String, table: &str, limits: &DirectedLimits, with_off: bool) {
    for (direction, limits) in [("incoming", &limits.incoming), ("outgoing", &limits.outgoing)] {
        line(out, format_args!("[{table}.{direction}]"));
        for class in TrafficClass::ALL {
            let get = |unit| limits.get(Metric { class, unit });
            let pps = get(Unit::Packets).map(|limit| format!("pps = {limit}"));
            let mbps = get(Unit::Bits).map(|limit| format!("mbps = {}", limit / 1e6));
            let parts: Vec<String> = [("pps", pps), ("mbps", mbps)]
                .into_iter()
                .filter_map(|(name, part)| {
                    part.or_else(|| with_off.then(|| format!("{name} = \"off\"")))
                })
                .collect();
            if !parts.is_empty() {
                line(out, format_args!("{class} = {{ {} }}", parts.join(", ")));
            }
        }
        let flows = Metric { class: TrafficClass::Total, unit: Unit::Flows };
        if let Some(limit) = limits.get(flows) {
            line(out, format_args!("flows = {limit}"));
        }
        out.push('\n');
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn both(list: &[(Metric, f64)]) -> DirectedLimits {
    let mut limits = Limits::default();
    for (metric, limit) in list {
        limits.set(*metric, *limit);
    }
    DirectedLimits { incoming: limits.clone(), outgoing: limits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_configuration_means_the_same_policy() {
        let text = "name = 'x'\nduration_s = 90\nnetworks = ['10.20.0.0/16', '2001:db8::/48']\n\
             [limits.host]\ntotal_pps = 1500\nudp_bps = 2500000\nflows_per_second = 700\n\
             [limits.network.'10.20.3.0/24']\ntotal_pps = 9000\n\
             [limits.network.'2001:db8::/48']\ntcp_syn_pps = 400\n";
        let demo = Scenario::demo(Duration::from_secs(20), 1).unwrap();
        for scenario in [Scenario::parse(text).unwrap(), demo] {
            let wanted = policy(&scenario);
            let loaded = config::parse("demo", &configuration(&scenario)).unwrap();
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            let given = Policy { capacity: wanted.capacity, ..loaded.policy };
            let networks = |policy: &Policy| {
                let mut networks = policy.networks.clone();
                networks.sort_unstable();
                networks
            };
            assert_eq!(networks(&given), networks(&wanted));
            assert_eq!(given.groups, wanted.groups);
            assert_eq!(given.detection, wanted.detection);
        }
    }
}
