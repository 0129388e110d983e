//! One round with the daemon: what it lists is compared with what is desired, the differences are
//! told to it, and what it lists then is the answer. A path is only deleted when it has our tag.

use std::collections::{BTreeMap, BTreeSet};

use tidewall_bgp::community::Community;
use tidewall_bgp::{RouteFamily, RouteKey};

use super::client::{CallError, Client};
use super::ledger::{Task, Verdict, Work};
use super::path::{Announcement, Facts, prefix};

/// What became of a round.
pub(super) struct Round {
    /// One for each task, in their order.
    pub(super) verdicts: Vec<Verdict>,
    /// Paths that the daemon was told to add or delete, and did.
    pub(super) done: u64,
    /// Strays that could not be deleted.
    pub(super) complaints: Vec<String>,
}

/// The daemon's own paths of one route.
#[derive(Default)]
struct Listed {
    ours: Option<Facts>,
    others: Option<Facts>,
}

/// What the daemon lists, or why it does not.
#[derive(Default)]
struct Listing {
    routes: BTreeMap<RouteKey, Listed>,
    refused: BTreeMap<RouteFamily, String>,
}

/// What is to be done about a task.
enum Step {
    /// Nothing more.
    Done(Verdict),
    Add(Announcement),
    Delete(Facts),
}

/// Carries out a round. The error: the connection is lost.
pub(super) async fn round(
    client: &mut Client,
    work: &Work,
    tag: Community,
) -> Result<Round, String> {
    let keys: BTreeSet<&RouteKey> = work.tasks.iter().map(|task| &task.key).collect();
    let listing = list(client, &keys, work.strays, tag).await?;
    let mut round = Round { verdicts: Vec::new(), done: 0, complaints: Vec::new() };
    if work.strays {
        delete_strays(client, &listing, &keys, &mut round).await?;
    }
    // What was told to the daemon, with the place of its verdict.
    let mut changed: Vec<(usize, &Task, Step)> = Vec::new();
    for (place, task) in work.tasks.iter().enumerate() {
        let step = plan(task, &listing, tag);
        let told = match &step {
            Step::Done(_) => Ok(()),
            Step::Add(route) => client.add(route).await,
            Step::Delete(facts) => client.delete(&task.key, facts).await,
        };
        let verdict = match (told, step) {
            (Err(CallError::Lost(words)), _) => return Err(words),
            (Err(CallError::Refused { words, .. }), _) => Verdict::Failed(words),
            (Ok(()), Step::Done(verdict)) => verdict,
            (Ok(()), step) => {
                round.done += 1;
                changed.push((place, task, step));
                // Until it is seen.
                Verdict::Withdrawn
            }
        };
        round.verdicts.push(verdict);
    }
    let keys: BTreeSet<&RouteKey> = changed.iter().map(|(_, task, _)| &task.key).collect();
    if !keys.is_empty() {
        let listing = list(client, &keys, false, tag).await?;
        for (place, task, step) in changed {
            let seen = see(client, task, &step, &listing).await?;
            if let Some(verdict) = round.verdicts.get_mut(place) {
                *verdict = seen;
            }
        }
    }
    Ok(round)
}

/// Lists the routes of these keys, and all that have our tag where `strays` is asked for. Unicast
/// routes are looked up one by one otherwise: the daemon may hold the routes of the whole Internet.
async fn list(
    client: &mut Client,
    keys: &BTreeSet<&RouteKey>,
    strays: bool,
    tag: Community,
) -> Result<Listing, String> {
    let mut listing = Listing::default();
    for family in RouteFamily::ALL {
        let of_family = || keys.iter().filter(|key| key.family() == family);
        let prefixes: Vec<String> =
            if strays { Vec::new() } else { of_family().filter_map(|key| prefix(key)).collect() };
        if !strays && of_family().next().is_none() {
            continue;
        }
        let routes = &mut listing.routes;
        let take = |key: RouteKey, facts: Facts| {
            let ours = facts.has(tag);
            if ours || keys.contains(&key) {
                let listed = routes.entry(key).or_default();
                *if ours { &mut listed.ours } else { &mut listed.others } = Some(facts);
            }
        };
        match client.list(family, &prefixes, take).await {
            Ok(()) => {}
            Err(CallError::Lost(words)) => return Err(words),
            Err(CallError::Refused { words, .. }) => {
                listing.refused.insert(family, format!("{family} cannot be listed: {words}"));
            }
        }
    }
    Ok(listing)
}

async fn delete_strays(
    client: &mut Client,
    listing: &Listing,
    keys: &BTreeSet<&RouteKey>,
    round: &mut Round,
) -> Result<(), String> {
    for (key, listed) in &listing.routes {
        let Some(facts) = listed.ours.as_ref().filter(|_| !keys.contains(key)) else { continue };
        match client.delete(key, facts).await {
            Ok(()) => round.done += 1,
            Err(CallError::Lost(words)) => return Err(words),
            Err(CallError::Refused { words, .. }) => {
                round.complaints.push(format!("stray {key}: {words}"));
            }
        }
    }
    Ok(())
}

fn plan(task: &Task, listing: &Listing, tag: Community) -> Step {
    if let Some(words) = listing.refused.get(&task.key.family()) {
        return Step::Done(Verdict::Failed(words.clone()));
    }
    let listed = listing.routes.get(&task.key);
    let ours = listed.and_then(|listed| listed.ours.as_ref());
    let Some(route) = &task.wanted else {
        return ours.map_or(Step::Done(Verdict::Withdrawn), |facts| Step::Delete(facts.clone()));
    };
    let announcement = match Announcement::of(route, tag) {
        Ok(announcement) => announcement,
        Err(words) => return Step::Done(Verdict::Failed(words)),
    };
    if listed.is_some_and(|listed| listed.others.is_some()) {
        let words = "the daemon has a path for this route that is not ours (it lacks our tag): it \
                     is left alone";
        return Step::Done(Verdict::Failed(words.into()));
    }
    match ours {
        Some(facts) if *facts == announcement.facts || task.listed.as_ref() == Some(facts) => {
            Step::Done(announced(facts, &announcement))
        }
        _ => Step::Add(announcement),
    }
}

/// What the daemon lists after it was told.
async fn see(
    client: &mut Client,
    task: &Task,
    step: &Step,
    listing: &Listing,
) -> Result<Verdict, String> {
    if let Some(words) = listing.refused.get(&task.key.family()) {
        return Ok(Verdict::Failed(words.clone()));
    }
    let listed = listing.routes.get(&task.key);
    let ours = listed.and_then(|listed| listed.ours.as_ref());
    let Step::Add(announcement) = step else {
        return Ok(match ours {
            None => Verdict::Withdrawn,
            Some(_) => Verdict::Failed("the daemon lists it after it was withdrawn".into()),
        });
    };
    if let Some(facts) = ours {
        return Ok(announced(facts, announcement));
    }
    // There was none a moment ago.
    let others = listed.and_then(|listed| listed.others.as_ref());
    let Some(stripped) = others.filter(|facts| facts.is_stripped(&announcement.facts)) else {
        return Ok(Verdict::Failed(
            "the daemon has taken it and does not list it: an import policy may filter it".into(),
        ));
    };
    // Nobody would know it again after a restart: better none than one that stays.
    match client.delete(&task.key, stripped).await {
        Err(CallError::Lost(words)) => Err(words),
        _ => Ok(Verdict::Failed(
            "an import policy of the daemon takes our tag away: withdrawn again, for without the \
             tag it could not be recognised as ours"
                .into(),
        )),
    }
}

fn announced(listed: &Facts, announcement: &Announcement) -> Verdict {
    let differs = *listed != announcement.facts;
    let note =
        differs.then(|| "the daemon lists it with other attributes: see its policies".into());
    Verdict::Announced { listed: listed.clone(), note }
}
