//! `[mitigation]`, and the same in a group: how far to go against attacks, in which steps and for how
//! long. What a group leaves out it inherits from its parent, key by key.

mod checks;
mod rails;
mod step;

use std::collections::BTreeSet;
use std::time::Duration;

use tidewall_engine::Group;
use tidewall_engine::planner::{
    DirectedResponses, Measure, Mode, PlannerPolicy, PlannerPolicyError, Response, Step,
};
use toml::de::DeValue;

use super::groups::GroupTable;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::word;
use step::Rung;

pub(super) use checks::check_routes;
pub(super) use rails::{HistoryTable, ManualTable, RailsTable};
pub(super) use step::show_step;

/// Declares a table with the keys of a response, and what it adds to them.
macro_rules! response_table {
    ($(#[doc = $about:literal])+ struct $name:ident { $($more:tt)* }) => {
        table! {
            $(#[doc = $about])+
            struct $name {
                /// How far it may go: "off", nothing is done and attacks are still reported;
                /// "dry_run", everything is decided and said as if it were done; "notify_only",
                /// people and scripts are told; "approve_first", routes wait until a person agrees;
                /// "automatic".
                #[default = "\"notify_only\""]
                #[example = "\"automatic\""]
                mode: Mode,

                /// What is done, step by step, as long as the attack is there: "notify", "filter"
                /// (FlowSpec rules), "divert" (the covering /24 or /48 towards a scrubber),
                /// "blackhole"; each with the time since the step before it. A later route takes the
                /// place of an earlier one.
                #[default = "[\"notify\"]"]
                #[example = "[\"notify\", \"filter\", \"blackhole after 2m\"]"]
                ladder: Vec<Typed<Rung>>,

                /// True: once a route is up we may no longer see the attack, so its absence says
                /// nothing and the route is held for the whole ban time. False: we see the traffic
                /// whatever is announced, and the end of the attack is the end of the route.
                #[default = "true"]
                #[example = "false"]
                hides_traffic: bool,

                /// How long a ban lasts.
                #[default = "\"30m\""]
                #[example = "\"15m\""]
                ban_time: Duration,

                /// Where no step hides the traffic, a ban ends with the attack, but not before this.
                #[default = "\"30m\""]
                #[example = "\"5m\""]
                minimum: Duration,

                /// Each further ban of the same victim lasts so many times longer, from 1 to 100 ...
                #[default = "2.0"]
                #[example = "1.5"]
                growth: f64,

                /// ... up to this.
                #[default = "\"1d\""]
                #[example = "\"12h\""]
                longest: Duration,

                /// While the attack is seen to go on, a ban does not end.
                #[default = "true"]
                #[example = "false"]
                only_if_finished: bool,

                /// So long after the end of a ban a return of the attack puts everything back at
                /// once.
                #[default = "\"2m\""]
                #[example = "\"5m\""]
                probe: Duration,

                /// So long a victim is remembered as a repeat victim.
                #[default = "\"1h\""]
                #[example = "\"6h\""]
                repeat_within: Duration,

                /// Most routes of one group at once, from 1 to 100000.
                #[default = "50"]
                #[example = "20"]
                most_routes: u32,

                $($more)*
            }
        }

        impl $name {
            fn keys(&self) -> Keys {
                Keys {
                    mode: self.mode.clone(),
                    ladder: self.ladder.clone(),
                    hides_traffic: self.hides_traffic.clone(),
                    ban_time: self.ban_time.clone(),
                    minimum: self.minimum.clone(),
                    growth: self.growth.clone(),
                    longest: self.longest.clone(),
                    only_if_finished: self.only_if_finished.clone(),
                    probe: self.probe.clone(),
                    repeat_within: self.repeat_within.clone(),
                    most_routes: self.most_routes.clone(),
                }
            }
        }
    };
}

response_table! {
    /// What is done about attacks. Here for every group; under [group.mitigation] for one group and
    /// its children, which inherit what it leaves out.
    struct MitigationTable {
        /// Attacks that come from our hosts. What is left out is as for attacks on them; what is
        /// said here holds for all groups that do not say otherwise under their own `outgoing`.
        outgoing: Box<OutgoingTable>,
    }
}

response_table! {
    /// The same keys, for attacks that come from our hosts.
    struct OutgoingTable {}
}

/// What was typed of a response, here or further up.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    mode: Option<Typed<Mode>>,
    ladder: Option<Typed<Vec<Typed<Rung>>>>,
    hides_traffic: Option<Typed<bool>>,
    ban_time: Option<Typed<Duration>>,
    minimum: Option<Typed<Duration>>,
    growth: Option<Typed<f64>>,
    longest: Option<Typed<Duration>>,
    only_if_finished: Option<Typed<bool>>,
    probe: Option<Typed<Duration>>,
    repeat_within: Option<Typed<Duration>>,
    most_routes: Option<Typed<u32>>,
}

/// How one group answers, with the places of what was typed.
pub(super) struct Answer {
    /// Name of the group.
    group: String,
    incoming: Keys,
    outgoing: Keys,
    both: DirectedResponses,
}

const MODES: [(&str, Mode); 5] = [
    ("off", Mode::Off),
    ("dry_run", Mode::DryRun),
    ("notify_only", Mode::NotifyOnly),
    ("approve_first", Mode::ApproveFirst),
    ("automatic", Mode::Automatic),
];

impl FromToml for Mode {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &MODES, at, sink)
    }
}

/// A mode as it is typed.
pub(super) fn show_mode(mode: Mode) -> &'static str {
    MODES.iter().find(|(_, known)| *known == mode).map_or("", |(name, _)| *name)
}

impl Keys {
    /// These, and what they leave out from `below`.
    fn over(&self, below: &Self) -> Self {
        Self {
            mode: self.mode.clone().or_else(|| below.mode.clone()),
            ladder: self.ladder.clone().or_else(|| below.ladder.clone()),
            hides_traffic: self.hides_traffic.clone().or_else(|| below.hides_traffic.clone()),
            ban_time: self.ban_time.clone().or_else(|| below.ban_time.clone()),
            minimum: self.minimum.clone().or_else(|| below.minimum.clone()),
            growth: self.growth.clone().or_else(|| below.growth.clone()),
            longest: self.longest.clone().or_else(|| below.longest.clone()),
            only_if_finished: self
                .only_if_finished
                .clone()
                .or_else(|| below.only_if_finished.clone()),
            probe: self.probe.clone().or_else(|| below.probe.clone()),
            repeat_within: self.repeat_within.clone().or_else(|| below.repeat_within.clone()),
            most_routes: self.most_routes.clone().or_else(|| below.most_routes.clone()),
        }
    }

    /// What they mean. A time that nobody typed gives way to those that were typed.
    fn response(&self) -> Response {
        fn or<T: Clone>(typed: Option<&Typed<T>>, default: T) -> T {
            typed.map_or(default, |typed| typed.value.clone())
        }
        let default = Response::default();
        let hides = or(self.hides_traffic.as_ref(), true);
        let step = |rung: &Rung| Step {
            hides_traffic: hides && rung.measure != Measure::Notify,
            ..Step::new(rung.measure, rung.after)
        };
        let ladder = self.ladder.as_ref().map_or(default.ladder, |typed| {
            typed.value.iter().map(|rung| step(&rung.value)).collect()
        });
        let ban_time = or(self.ban_time.as_ref(), default.ban_time);
        Response {
            mode: or(self.mode.as_ref(), default.mode),
            ladder,
            ban_time,
            minimum: or(self.minimum.as_ref(), default.minimum.min(ban_time)),
            growth: or(self.growth.as_ref(), default.growth),
            longest: or(self.longest.as_ref(), default.longest.max(ban_time)),
            only_if_finished: or(self.only_if_finished.as_ref(), default.only_if_finished),
            probe: or(self.probe.as_ref(), default.probe),
            repeat_within: or(self.repeat_within.as_ref(), default.repeat_within),
            most_routes: or(self.most_routes.as_ref(), default.most_routes as u32) as usize,
        }
    }

    /// Where a time was typed.
    fn place(&self, field: &str) -> Option<&Place> {
        let time = match field {
            "ban_time" => &self.ban_time,
            "minimum" => &self.minimum,
            "longest" => &self.longest,
            "probe" => &self.probe,
            "repeat_within" => &self.repeat_within,
            _ => return self.growth.as_ref().map(|typed| &typed.at),
        };
        time.as_ref().map(|typed| &typed.at)
    }

    /// Refuses steps and numbers that make no sense.
    fn check(&self, sink: &mut Sink) {
        if let Some(ladder) = &self.ladder {
            step::check(ladder, sink);
        }
        super::value::within(self.most_routes.as_ref(), &(1..=100_000), "1 to 100000", 1, sink);
    }
}

/// How each group answers, in the order of `groups`; the planner's policy has them by name where
/// they differ from the first, which is that of all others.
pub(super) fn resolve(
    global: Option<&Typed<MitigationTable>>,
    typed: &[Typed<GroupTable>],
    groups: &[Group],
    sink: &mut Sink,
) -> (PlannerPolicy, Vec<Answer>) {
    let tables: Vec<Option<&MitigationTable>> = std::iter::once(global)
        .chain(typed.iter().map(|group| group.value.mitigation.as_ref()))
        .map(|table| table.map(|typed| &typed.value))
        .collect();
    for table in tables.iter().flatten() {
        table.keys().check(sink);
        if let Some(outgoing) = &table.outgoing {
            outgoing.value.keys().check(sink);
        }
    }
    let mut answers = Vec::with_capacity(groups.len());
    for (index, group) in groups.iter().enumerate() {
        let (mut keys, mut outgoing) = (Keys::default(), Keys::default());
        let mut at = Some(index);
        while let Some(here) = at {
            if let Some(table) = tables.get(here).copied().flatten() {
                keys = keys.over(&table.keys());
                let own = table.outgoing.as_ref().map(|typed| typed.value.keys());
                outgoing = outgoing.over(&own.unwrap_or_default());
            }
            at = groups.get(here).and_then(|group| group.parent);
        }
        let outgoing = outgoing.over(&keys);
        let both = DirectedResponses { incoming: keys.response(), outgoing: outgoing.response() };
        answers.push(Answer { group: group.name.clone(), incoming: keys, outgoing, both });
    }
    check_times(&answers, sink);
    (policy(&answers), answers)
}

fn policy(answers: &[Answer]) -> PlannerPolicy {
    let fallback = answers.first().map(|answer| answer.both.clone()).unwrap_or_default();
    let others = answers.iter().filter(|answer| answer.both != fallback);
    let groups = others.map(|answer| (answer.group.clone(), answer.both.clone())).collect();
    PlannerPolicy { groups, fallback, ..PlannerPolicy::default() }
}

/// What the planner refuses, where it was typed and once.
fn check_times(answers: &[Answer], sink: &mut Sink) {
    let mut told = BTreeSet::new();
    for answer in answers {
        for (keys, response) in
            [(&answer.incoming, &answer.both.incoming), (&answer.outgoing, &answer.both.outgoing)]
        {
            let both =
                DirectedResponses { incoming: response.clone(), outgoing: Response::default() };
            let alone = PlannerPolicy { fallback: both, ..PlannerPolicy::default() };
            let Err(error) = alone.check() else { continue };
            let (field, reason) = match &error {
                PlannerPolicyError::Time { field, given, bound, .. } => {
                    (*field, format!("{} must be {bound}", super::quantity::show_time(*given)))
                }
                PlannerPolicyError::Growth { given, .. } => {
                    ("growth", format!("{given} must be 1 to 100"))
                }
                PlannerPolicyError::Length { .. } | PlannerPolicyError::Share { .. } => {
                    ("", error.to_string())
                }
            };
            if let Some(at) = keys.place(field).or_else(|| keys.place("ban_time"))
                && told.insert(at.span.start)
            {
                let group = &answer.group;
                sink.error(at, format!("group `{group}`: {field} of {reason}"));
            }
        }
    }
}
