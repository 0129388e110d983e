//! What another configuration changes, peer by peer: which sessions come, go, begin again, or stay
//! as they are. Peers are known by their names; one that was only renamed keeps its session.

use std::fmt;

use super::config::{PeerConfig, SpeakerConfig};

/// What happens to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerChange {
    /// Its name, the new one if it has another.
    pub name: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to the session with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There was none.
    Added,
    /// It ends, and the peer drops our routes.
    Removed,
    /// It has another address or AS number: the one before is closed as if it were removed.
    Moved,
    /// It ends and begins again, because of these settings.
    Renewed(Vec<&'static str>),
    /// It stays; these settings are new.
    Kept(Vec<&'static str>),
}

/// A change, with the places of the peer in both configurations.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) before: Option<&'a PeerConfig>,
    pub(super) after: Option<&'a PeerConfig>,
    pub(super) fate: Fate,
}

impl fmt::Display for PeerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.fate {
            Fate::Added => write!(f, "peer {name} is added"),
            Fate::Removed => write!(f, "peer {name} is removed"),
            Fate::Moved => write!(f, "peer {name} is another router: closed there, opened here"),
            Fate::Renewed(why) => {
                write!(f, "the session with peer {name} begins again ({})", why.join(", "))
            }
            Fate::Kept(what) => write!(f, "peer {name} keeps its session ({})", what.join(", ")),
        }
    }
}

/// What happens to the peers; those that stay as they are are left out.
pub fn changes(before: &SpeakerConfig, after: &SpeakerConfig) -> Vec<PeerChange> {
    let is_news = |step: &Step<'_>| !matches!(&step.fate, Fate::Kept(what) if what.is_empty());
    let steps = plan(before, after).into_iter().filter(is_news);
    steps
        .filter_map(|Step { before, after, fate }| {
            after.or(before).map(|peer| PeerChange { name: peer.name.clone(), fate })
        })
        .collect()
}

/// One step for each peer of either configuration: the new ones in their order, then those that go.
pub(super) fn plan<'a>(before: &'a SpeakerConfig, after: &'a SpeakerConfig) -> Vec<Step<'a>> {
    let named = |list: &'a [PeerConfig], name: &str| list.iter().find(|peer| peer.name == name);
    let mut left: Vec<&PeerConfig> =
        before.peers.iter().filter(|old| named(&after.peers, &old.name).is_none()).collect();
    let mut steps = Vec::new();
    for new in &after.peers {
        let old = named(&before.peers, &new.name).or_else(|| {
            let same = |old: &&PeerConfig| {
                !is_elsewhere(old, new) && differences(before, old, after, new).is_empty()
            };
            left.iter().position(same).map(|at| left.swap_remove(at))
        });
        let fate = old.map_or(Fate::Added, |old| fate(before, old, after, new));
        steps.push(Step { before: old, after: Some(new), fate });
    }
    let gone = |old| Step { before: Some(old), after: None, fate: Fate::Removed };
    steps.extend(left.into_iter().map(gone));
    steps
}

fn fate(before: &SpeakerConfig, old: &PeerConfig, after: &SpeakerConfig, new: &PeerConfig) -> Fate {
    if is_elsewhere(old, new) {
        return Fate::Moved;
    }
    let why = differences(before, old, after, new);
    if !why.is_empty() {
        return Fate::Renewed(why);
    }
    Fate::Kept(named([
        ("another name", old.name != new.name),
        ("another group", old.group != new.group),
        ("another profile", old.profile != new.profile),
        ("other waits", (old.retry, old.max_retry) != (new.retry, new.max_retry)),
    ]))
}

fn is_elsewhere(old: &PeerConfig, new: &PeerConfig) -> bool {
    (old.address, old.peer_as) != (new.address, new.peer_as)
}

/// What a session cannot change while it is there.
fn differences(
    before: &SpeakerConfig,
    old: &PeerConfig,
    after: &SpeakerConfig,
    new: &PeerConfig,
) -> Vec<&'static str> {
    let local_as =
        |speaker: &SpeakerConfig, peer: &PeerConfig| peer.local_as.unwrap_or(speaker.local_as);
    named([
        ("our AS number", local_as(before, old) != local_as(after, new)),
        ("our router id", before.router_id != after.router_id),
        ("port", old.port != new.port),
        ("who connects", old.passive != new.passive),
        ("source address", old.source != new.source),
        ("network device", old.device != new.device),
        ("distance", old.distance != new.distance),
        ("MD5 key", old.md5 != new.md5),
        ("families", old.families != new.families),
        ("hold time", old.hold_time != new.hold_time),
        ("restart time", old.restart_time != new.restart_time),
        ("length of messages", old.extended_message != new.extended_message),
        ("limit of received routes", old.received_limit != new.received_limit),
    ])
}

fn named<const N: usize>(list: [(&'static str, bool); N]) -> Vec<&'static str> {
    list.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::Secret;

    fn speaker(names: &[(&str, u8)]) -> SpeakerConfig {
        let peer = |&(name, last): &(&str, u8)| {
            PeerConfig::new(name, IpAddr::from([192, 0, 2, last]), 64_500)
        };
        let peers = names.iter().map(peer).collect();
        SpeakerConfig::new(64_510, Ipv4Addr::new(192, 0, 2, 10), peers)
    }

    fn words(before: &SpeakerConfig, after: &SpeakerConfig) -> Vec<String> {
        changes(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_peer_has_its_own_fate() {
        let before = speaker(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)]);
        let mut after = speaker(&[("f", 6), ("a", 1), ("b", 2), ("c", 9), ("d", 4)]);
        after.peers[2].hold_time = 30;
        after.peers[2].md5 = Some(Secret::new("s3cret"));
        after.peers[4].profile.max_rules = 7;
        after.peers[4].group = Some("transit".into());
        let expected = [
            "peer f is added",
            "the session with peer b begins again (MD5 key, hold time)",
            "peer c is another router: closed there, opened here",
            "peer d keeps its session (another group, another profile)",
            "peer e is removed",
        ];
        assert_eq!(words(&before, &after), expected);
        assert_eq!(words(&after, &after), [""; 0]);
    }

    #[test]
    fn a_new_name_is_no_new_session() {
        let before = speaker(&[("a", 1), ("b", 2)]);
        let mut after = speaker(&[("edge1", 1), ("edge2", 2)]);
        after.peers[1].port = 1179;
        let expected = [
            "peer edge1 keeps its session (another name)",
            "peer edge2 is added",
            "peer b is removed",
        ];
        assert_eq!(words(&before, &after), expected);
    }

    #[test]
    fn our_own_number_concerns_those_who_are_shown_it() {
        let mut before = speaker(&[("a", 1), ("b", 2)]);
        before.peers[1].local_as = Some(64_999);
        let mut after = before.clone();
        after.local_as = 64_511;
        let renewed = ["the session with peer a begins again (our AS number)"];
        assert_eq!(words(&before, &after), renewed);
        after.router_id = Ipv4Addr::new(192, 0, 2, 11);
        assert_eq!(words(&before, &after).len(), 2);
    }
}
