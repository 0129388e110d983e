//! What the proposed filters would have done to the captures: their packets counted a second time,
//! now that the filters are known.

use std::collections::BTreeMap;

use tidewall_model::{
    Address, Attack, AttackId, Direction, FilterRule, FlowRecord, Prefix, Target, Timestamp,
};

use super::Taker;

/// Packets, scaled, and how many of them filters take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// All of them.
    pub packets: u64,
    /// Those that a filter takes.
    pub taken: u64,
}

/// What the filters of one attack take of its target's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredFilters {
    /// Which attack.
    pub attack: AttackId,
    /// From its start to its end, ordinary packets included.
    pub during: Taken,
    /// While the target was under no attack.
    pub outside: Taken,
}

/// Counts what the filters of all attacks take.
#[derive(Debug)]
pub(super) struct FilterMeter {
    targets: Vec<Prefix>,
    /// Positions in `attacks`, by target.
    of_target: BTreeMap<Prefix, Vec<usize>>,
    hosts: BTreeMap<Address, Prefix>,
    attacks: Vec<Measured>,
}

#[derive(Debug)]
struct Measured {
    rules: Vec<FilterRule>,
    started: Timestamp,
    ended: Option<Timestamp>,
    result: MeasuredFilters,
}

impl FilterMeter {
    /// Of the attacks with filters; `None` when there is none. The others are known for when their
    /// targets were not at peace.
    pub(super) fn new(attacks: &[Attack]) -> Option<Self> {
        let mut meter = Self {
            targets: Vec::new(),
            of_target: BTreeMap::new(),
            hosts: BTreeMap::new(),
            attacks: Vec::new(),
        };
        for attack in attacks.iter().filter(|attack| attack.direction != Direction::Outgoing) {
            let Some(target) = attack.target.prefix() else { continue };
            let at = meter.attacks.len();
            meter.of_target.entry(target).or_default().push(at);
            match attack.target {
                Target::Host(address) => _ = meter.hosts.insert(address, target),
                _ if meter.targets.contains(&target) => {}
                _ => meter.targets.push(target),
            }
            let (during, outside) = (Taken::default(), Taken::default());
            meter.attacks.push(Measured {
                rules: attack.filters.iter().map(|filter| filter.rule.clone()).collect(),
                started: attack.started,
                ended: attack.ended,
                result: MeasuredFilters { attack: attack.id, during, outside },
            });
        }
        meter.attacks.iter().any(Measured::has_rules).then_some(meter)
    }

    /// What was counted, in order of the attacks' numbers.
    pub(super) fn into_results(self) -> Vec<MeasuredFilters> {
        let with_rules = self.attacks.into_iter().filter(Measured::has_rules);
        with_rules.map(|attack| attack.result).collect()
    }

    fn count(&mut self, target: Prefix, record: &FlowRecord) {
        let Some(list) = self.of_target.get(&target) else { return };
        let attacks = &mut self.attacks;
        let calm = !list.iter().any(|at| attacks[*at].is_running(record.time));
        for at in list {
            let attack = &mut attacks[*at];
            let sum = match attack.is_running(record.time) {
                true => &mut attack.result.during,
                false if calm => &mut attack.result.outside,
                false => continue,
            };
            let packets = record.scaled_packets();
            sum.packets = sum.packets.saturating_add(packets);
            if attack.rules.iter().any(|rule| rule.matches(record)) {
                sum.taken = sum.taken.saturating_add(packets);
            }
        }
    }
}

impl Taker for FilterMeter {
    fn take(&mut self, records: &[FlowRecord]) {
        for record in records {
            let address = record.dst_address();
            if let Some(target) = self.hosts.get(&address) {
                self.count(*target, record);
            }
            for at in 0..self.targets.len() {
                let target = self.targets[at];
                if target.contains(address) {
                    self.count(target, record);
                }
            }
        }
    }
}

impl Measured {
    const fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    fn is_running(&self, time: Timestamp) -> bool {
        time >= self.started && self.ended.is_none_or(|ended| time < ended)
    }
}
