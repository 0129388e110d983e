//! Other settings while the service runs: prepared first, which may fail and changes nothing; then
//! the planner's decisions are carried out, and what is still up is brought to the announcers as
//! they are now. What need not be withdrawn is not.

use std::time::Duration;

use tidewall_engine::Policy;
use tidewall_engine::planner::Planner;
use tidewall_model::{Mitigation, MitigationStatus, Timestamp};
use tracing::{info, warn};

use super::desired::Order;
use super::notices;
use super::outlets::{Change, Changed};
use super::post::Post;
use super::settings::Settings;

/// An announcer that is not configured any more has this time to confirm its withdrawals.
const LEAVE: Duration = Duration::from_secs(15);

impl Post {
    /// Opens what other settings need. What is wrong with them changes nothing.
    pub(super) fn prepare(&mut self, settings: &Settings, policy: &Policy) -> anyhow::Result<()> {
        self.abandon();
        notices::check(&settings.actions)?;
        // The planner that runs takes the policy only if a new one would.
        Planner::new(settings.planner.clone(), policy)?;
        self.prepared = Some(self.outlets.prepare(&settings.announcers)?);
        Ok(())
    }

    /// What was prepared is not needed.
    pub(super) fn abandon(&mut self) {
        if let Some(change) = self.prepared.take() {
            self.outlets.abandon(change);
        }
    }

    /// Goes on by other settings. What is wrong with them changes nothing. Says what was done.
    pub(super) fn reload(
        &mut self,
        settings: Settings,
        policy: &Policy,
        now: Timestamp,
    ) -> anyhow::Result<String> {
        let is_prepared = |change: &Change| change.settings == settings.announcers;
        if !self.prepared.as_ref().is_some_and(is_prepared) {
            self.prepare(&settings, policy)?;
        }
        let actions = notices::check(&settings.actions)?;
        let decisions = self.planner.replace(settings.planner.clone(), policy, now)?;
        let mut new = Vec::new();
        if settings.planner != self.settings.planner {
            new.push("mitigation");
        }
        self.settings = settings;
        let change = self.prepared.take().filter(|change| !change.is_empty());
        let changed = change.map(|change| self.outlets.change(change, now));
        for (from, to) in changed.iter().flat_map(|changed| &changed.handed_over) {
            self.desired.hand_over(*from, *to);
        }
        self.decide(decisions);
        let actions = self.notices.replace(actions, &policy.networks);
        self.captures.enable_for(&self.settings.actions);
        // What may no longer be up goes before anyone new hears of it.
        self.settle(now);
        let said = changed.map(|changed| self.retell(changed, now)).unwrap_or_default();
        self.settle(now);
        let mut all = Vec::new();
        match actions {
            Ok(actions) => new.extend(actions),
            Err(why) => all.push(format!("not every action could be started: {why:#}")),
        }
        if !new.is_empty() {
            all.push(format!("what is done about attacks: {}", new.join(", ")));
        }
        all.extend(said);
        Ok(all.join("; "))
    }

    /// Brings what is up to the announcers as they are now.
    fn retell(&mut self, changed: Changed, now: Timestamp) -> Vec<String> {
        let Changed { said, new, adopt, .. } = changed;
        let is_up = |one: &&Mitigation| {
            one.kind.is_route()
                && !one.dry_run
                && one.status != MitigationStatus::Withdrawing
                && self.desired.knows(one.id)
        };
        let up: Vec<Mitigation> = self.planner.mitigations().filter(is_up).cloned().collect();
        let mut orders = Vec::new();
        for mitigation in up {
            let (wanted, refusals) = self.wanted(&mitigation);
            orders.extend(self.desired.refit(mitigation.id, wanted, refusals));
        }
        // Those who get all of it at once need not be told the differences.
        let adopting = adopt.as_ref().map(|(id, _)| *id);
        orders.retain(|order| {
            let (Order::Announce(id, _) | Order::Withdraw(id, ..)) = order;
            !new.contains(id) && adopting != Some(*id)
        });
        for id in new {
            self.begin_outlet(id, now);
        }
        if let Some((id, next)) = adopt {
            let desired = self.desired.desired_of(id);
            if let Some(outlet) = self.outlets.get_mut(id) {
                outlet.adopt(*next, desired, now);
            }
        }
        self.order(orders, now);
        said
    }

    /// Ends announcers that have left, and begins those that waited for that.
    pub(super) fn tend_outlets(&mut self, now: Timestamp) {
        if self.prepared.is_some() {
            // The change that follows at once goes by how they are now.
            return;
        }
        let leaving: Vec<(usize, Timestamp)> =
            self.outlets.iter().filter_map(|(id, outlet)| Some((id, outlet.leaving?))).collect();
        for (id, since) in leaving {
            let left = self.desired.leaving_of(id);
            if !left.is_empty() && now.since(since) < LEAVE {
                continue;
            }
            let name = self.outlets.get(id).map(|outlet| outlet.name.clone()).unwrap_or_default();
            match left.first() {
                None => info!("{name} is closed: all of its routes are withdrawn"),
                Some(first) => warn!(
                    "{name} is closed without confirming {} withdrawals, the first of {first}: \
                     look there whether it still has them",
                    left.len()
                ),
            }
            self.desired.forget(id);
            self.outlets.remove(id);
        }
        for id in self.outlets.tend() {
            self.begin_outlet(id, now);
        }
    }
}
