//! What is done about attacks, in words: how each group answers, who announces, and what is told to
//! whom. Secrets are never part of it.

use std::fmt::Write;

use tidewall_actions::chat::Service;
use tidewall_actions::routes::RouteSettings;
use tidewall_actions::{Config, Secret};
use tidewall_bgp::RouteAttributes;
use tidewall_engine::Group;
use tidewall_engine::planner::{Measure, Mode, PlannerPolicy, RailsPolicy, Response};
use tidewall_model::{Direction, Prefix};

use super::super::actions::name;
use super::super::mitigation::show_step;
use super::super::quantity::{show_number, show_time};
use super::{ROWS, columns};
use crate::respond::{AnnouncerSettings, Settings};

/// Everything that is done.
pub(super) fn responses(text: &mut String, settings: &Settings, groups: &[Group]) {
    _ = writeln!(text, "\nAnswers to attacks");
    for group in groups.iter().take(ROWS) {
        let of = |direction| settings.planner.response(&group.name, direction);
        let (incoming, outgoing) = (of(Direction::Incoming), of(Direction::Outgoing));
        if incoming == outgoing {
            _ = writeln!(text, "  {}: {}", group.name, answer(incoming));
        } else {
            _ = writeln!(text, "  {}, attacks on it: {}", group.name, answer(incoming));
            _ = writeln!(text, "  {}, attacks from it: {}", group.name, answer(outgoing));
        }
    }
    if groups.len() > ROWS {
        _ = writeln!(text, "  and {} more", groups.len() - ROWS);
    }
    if routes_at_all(&settings.planner) {
        rails(text, &settings.planner);
    }
    announcers(text, settings);
    actions(text, &settings.actions);
}

/// `automatic: notify, then blackhole after 2 min; bans 30 min, ...`.
fn answer(response: &Response) -> String {
    let mode = match response.mode {
        Mode::Off => return "off: nothing is done".to_owned(),
        Mode::DryRun => "dry run",
        Mode::NotifyOnly => "notify only",
        Mode::ApproveFirst => "approve first",
        Mode::Automatic => "automatic",
    };
    let steps: Vec<String> = response.ladder.iter().map(show_step).collect();
    let mut words = format!("{mode}: {}", steps.join(", then "));
    _ = write!(words, "; bans {}", show_time(response.ban_time));
    if response.growth > 1.0 && response.longest > response.ban_time {
        let (growth, longest) = (response.growth, show_time(response.longest));
        _ = write!(words, ", {growth} times as long each time up to {longest}");
    }
    if response.only_if_finished {
        words.push_str(", never before the attack is over");
    }
    words
}

/// Does any group announce routes?
fn routes_at_all(planner: &PlannerPolicy) -> bool {
    let all = planner.groups.values().chain([&planner.fallback]);
    all.flat_map(|both| [&both.incoming, &both.outgoing]).any(|response| {
        response.mode >= Mode::ApproveFirst
            && response.ladder.iter().any(|step| step.measure != Measure::Notify)
    })
}

fn rails(text: &mut String, planner: &PlannerPolicy) {
    let rails = &planner.rails;
    _ = writeln!(
        text,
        "  Rails: nothing above /{} and /{} is filtered or blackholed, diversions are /{} and /{}; \
         at most {} routes, {} new ones a minute; at most {}% of our addresses, or {}, blackholed; \
         no route for an attack in the first {}",
        rails.shortest.v4,
        rails.shortest.v6,
        rails.shortest_diverted.v4,
        rails.shortest_diverted.v6,
        rails.most_routes,
        rails.changes_per_minute,
        show_number(rails.largest_share * 100.0),
        RailsPolicy::FEW,
        show_time(rails.grace_after_start),
    );
    if !rails.protected.is_empty() {
        let shown: Vec<_> = rails.protected.iter().take(8).map(Prefix::to_string).collect();
        let more = rails.protected.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        _ = writeln!(text, "  Protected: {}{more}", shown.join(", "));
    }
}

fn announcers(text: &mut String, settings: &Settings) {
    if settings.announcers.is_empty() {
        _ = writeln!(text, "\nAnnouncers: none, so no route is announced");
        return;
    }
    _ = writeln!(text, "\nAnnouncers ({})", settings.announcers.len());
    for announcer in &settings.announcers {
        let name = announcer.name();
        match announcer {
            AnnouncerSettings::Bgp(speaking) => {
                let speaker = &speaking.speaker;
                let (local, id) = (speaker.local_as, speaker.router_id);
                _ = writeln!(text, "  {name}: our own speaker, AS {local}, router id {id}");
                for peer in speaker.peers.iter().take(ROWS) {
                    let families: Vec<String> =
                        peer.families.iter().map(|family| family.to_string()).collect();
                    let (peer_name, address) = (&peer.name, peer.address);
                    let (peer_as, families) = (peer.peer_as, families.join(", "));
                    let waits = if peer.passive { ", waited for" } else { "" };
                    _ = writeln!(
                        text,
                        "    {peer_name}: {address}, AS {peer_as}{waits}: {families}"
                    );
                }
                carried(text, &speaking.routes);
                for (audience, routes) in speaking.exceptions.iter().take(ROWS) {
                    use tidewall_actions::bgp::Audience;
                    let whom = match audience {
                        Audience::All => "all peers".to_owned(),
                        Audience::Group(group) => format!("the group {group}"),
                        Audience::Peer(peer) => format!("the peer {peer}"),
                    };
                    _ = writeln!(text, "    otherwise for {whom}:");
                    carried(text, routes);
                }
            }
            AnnouncerSettings::ExaBgp { config, routes } => {
                let (_, path) = config.way.path();
                _ = writeln!(text, "  {name}: ExaBGP at {}", path.display());
                carried(text, routes);
            }
            AnnouncerSettings::GoBgp { config, routes } => {
                _ = writeln!(text, "  {name}: GoBGP at {}", config.address);
                carried(text, routes);
            }
        }
    }
}

/// What routes carry, a line for each kind.
fn carried(text: &mut String, routes: &RouteSettings) {
    for (kind, unicast) in [("blackhole", &routes.blackhole), ("divert", &routes.divert)] {
        let Some(unicast) = unicast else { continue };
        let hops = [unicast.next_hop_v4, unicast.next_hop_v6];
        let hops: Vec<String> = hops.iter().flatten().map(ToString::to_string).collect();
        if hops.is_empty() {
            continue;
        }
        let with = with_communities(&unicast.attributes);
        _ = writeln!(text, "    {kind} via {}{with}", hops.join(" and "));
    }
    if let Some(attributes) = &routes.flow_spec {
        _ = writeln!(text, "    filters by FlowSpec{}", with_communities(attributes));
    }
}

fn with_communities(attributes: &RouteAttributes) -> String {
    let communities: Vec<String> = attributes.communities.iter().map(ToString::to_string).collect();
    match communities.as_slice() {
        [] => String::new(),
        list => format!(", communities {}", list.join(" ")),
    }
}

fn actions(text: &mut String, actions: &[Config]) {
    if actions.is_empty() {
        _ = writeln!(text, "\nActions: none, attacks are told in the log only");
        return;
    }
    _ = writeln!(text, "\nActions ({})", actions.len());
    let rows: Vec<[String; 3]> = actions
        .iter()
        .take(ROWS)
        .map(|action| [name(action).to_owned(), action.kind().to_owned(), target(action)])
        .collect();
    columns(text, &rows);
}

/// Where it goes, without secrets.
fn target(action: &Config) -> String {
    match action {
        Config::Script(config) => config.path.display().to_string(),
        Config::Record(config) => config.folder.display().to_string(),
        Config::Webhook(config) => host(&config.url),
        Config::Chat(config) => match &config.service {
            Service::Slack { .. } => "Slack".to_owned(),
            Service::Telegram { chat_id, .. } => format!("Telegram, chat {chat_id}"),
            Service::Discord { .. } => "Discord".to_owned(),
            Service::Teams { .. } => "Microsoft Teams".to_owned(),
            Service::PagerDuty { .. } => "PagerDuty".to_owned(),
        },
        Config::Mail(config) => format!("{} by {}", config.to.join(", "), config.host),
        Config::Syslog(config) => format!("{} port {}", config.host, config.port),
        Config::Redis(config) => format!("{} port {}", config.host, config.port),
        Config::MongoDb(config) => {
            let hosts: Vec<String> =
                config.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
            format!("{}, database {}", hosts.join(", "), config.database)
        }
    }
}

/// The host of a URL: what stands behind it may be a token.
fn host(url: &Secret) -> String {
    let rest = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}
