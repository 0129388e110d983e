//! Does something carry out what the ladders ask for? Told at the step or the mode that asks.

use std::collections::BTreeSet;
use std::path::Path;

use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_engine::planner::{Measure, Mode, Response};
use tidewall_model::{Family, Prefix};

use super::super::sink::Sink;
use super::super::table::Place;
use super::{Answer, Keys, step};
use crate::respond::AnnouncerSettings;

/// Refuses steps that nothing can announce; warns of what is announced for one IP version only, and
/// of bans that a restart forgets.
pub(in crate::config) fn check_routes(
    answers: &[Answer],
    announcers: &[AnnouncerSettings],
    networks: &[Prefix],
    state: Option<&Path>,
    sink: &mut Sink,
) {
    let ours = |family| networks.iter().any(|network| network.family() == family);
    let families = [Family::V4, Family::V6].into_iter().filter(|family| ours(*family));
    let mut check = Check {
        announcers,
        families: families.collect(),
        state: state.is_some(),
        told: BTreeSet::new(),
        sink,
    };
    for answer in answers {
        check.direction(&answer.incoming, &answer.both.incoming);
        check.direction(&answer.outgoing, &answer.both.outgoing);
    }
}

struct Check<'a> {
    announcers: &'a [AnnouncerSettings],
    families: Vec<Family>,
    state: bool,
    /// Places that something was said about: groups inherit.
    told: BTreeSet<usize>,
    sink: &'a mut Sink,
}

impl Check<'_> {
    fn direction(&mut self, keys: &Keys, response: &Response) {
        let Some(mode) = &keys.mode else { return };
        let Some(ladder) = &keys.ladder else { return };
        if response.mode < Mode::ApproveFirst {
            return;
        }
        let mut routes = false;
        for rung in &ladder.value {
            let measure = rung.value.measure;
            if measure != Measure::Notify {
                routes = true;
                self.step(measure, &rung.at);
            }
        }
        if routes && !self.state && self.told.insert(mode.at.span.start) {
            let reason = "routes are announced and nothing is kept over a restart: a service that \
                          dies forgets what it has announced";
            let fix = "add `state = \"/var/lib/tidewall\"` under [service]";
            self.sink.warn(&mode.at, reason, fix);
        }
    }

    fn step(&mut self, measure: Measure, at: &Place) {
        if !self.told.insert(at.span.start) {
            return;
        }
        let name = step::name(measure);
        if self.announcers.is_empty() {
            let reason = format!("`{name}` needs a route, and there is nobody to announce it to");
            let fix = "add [bgp] with a [[bgp.peer]], or [exabgp] or [gobgp]; or write \
                       `mode = \"notify_only\"`";
            self.sink.error_fix(at, reason, fix);
            return;
        }
        let settings = || self.announcers.iter().flat_map(AnnouncerSettings::routes);
        if !settings().any(|routes| can(routes, measure, None)) {
            let reason = format!("`{name}` is not set up in any of the announcers");
            let fix = match measure {
                Measure::Divert => {
                    "add the scrubber: [bgp.divert] with `next_hop_ipv4` or `next_hop_ipv6` (or \
                     the same under [exabgp], [gobgp])"
                }
                Measure::Blackhole => {
                    "add `next_hop_ipv4` or `next_hop_ipv6` under [bgp] (or [exabgp], [gobgp])"
                }
                _ => "set `announce = true` under [bgp.flowspec] (or [exabgp], [gobgp])",
            };
            self.sink.error_fix(at, reason, fix);
            return;
        }
        let missing = |family: &&Family| !settings().any(|r| can(r, measure, Some(**family)));
        if let Some(family) = self.families.iter().find(missing) {
            let reason = format!(
                "there is no next hop for {family}, so `{name}` does nothing for our {family} \
                 networks"
            );
            let key = if *family == Family::V4 { "next_hop_ipv4" } else { "next_hop_ipv6" };
            self.sink.warn(at, reason, format!("add `{key}` to the announcer"));
        }
    }
}

/// Can routes of this measure be announced, of this IP version or of any?
fn can(routes: &RouteSettings, measure: Measure, family: Option<Family>) -> bool {
    let has = |unicast: &UnicastSettings| match family {
        Some(Family::V4) => unicast.next_hop_v4.is_some(),
        Some(Family::V6) => unicast.next_hop_v6.is_some(),
        None => unicast.next_hop_v4.is_some() || unicast.next_hop_v6.is_some(),
    };
    match measure {
        Measure::Notify => true,
        Measure::Filter => routes.flow_spec.is_some(),
        Measure::Divert => routes.divert.as_ref().is_some_and(has),
        Measure::Blackhole => routes.blackhole.as_ref().is_some_and(has),
    }
}
