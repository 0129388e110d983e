//! What the demo's engine watches: the scenario's networks and limits, over the default policy.

use std::time::Duration;

use tidewall_engine::{Capacity, DirectedLimits, Group, Limits, Policy};
use tidewall_model::Metric;
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
            name: prefix.to_string(),
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

fn both(list: &[(Metric, f64)]) -> DirectedLimits {
    let mut limits = Limits::default();
    for (metric, limit) in list {
        limits.set(*metric, *limit);
    }
    DirectedLimits { incoming: limits.clone(), outgoing: limits }
}
