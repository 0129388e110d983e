//! Who may ask what. The socket's mode decides who can connect, and so who may look; whether
//! somebody may also change something is decided here, and nowhere else.

use std::fmt;
use std::sync::PoisonError;

use nix::unistd::{Gid, Group, Uid};

use super::peer::Peer;
use super::question::Question;

/// Who may change something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Those who may, besides root and the service's own user. `None`: everybody who can connect.
    pub operators: Option<Operators>,
}

/// Users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Numbers of users.
    pub users: Vec<u32>,
    /// Numbers of groups, all of whose members are meant.
    pub groups: Vec<u32>,
}

/// The rights that hold now; a reload replaces them.
#[derive(Debug, Default)]
pub struct SharedRights(Lock);

#[expect(clippy::disallowed_types, reason = "taken once a question that changes something")]
type Lock = std::sync::Mutex<Rights>;

impl SharedRights {
    /// These hold from now on.
    pub fn set(&self, rights: Rights) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rights;
    }

    /// Those that hold.
    pub fn get(&self) -> Rights {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Operators {
    /// `alice (uid 1000), group noc (gid 30)`, or `nobody else`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = self.users.iter().map(|uid| {
            let mut user = Peer { uid: *uid, gid: 0, name: None };
            user.look_up();
            user.to_string()
        });
        let groups = self.groups.iter().map(|gid| match Group::from_gid(Gid::from_raw(*gid)) {
            Ok(Some(group)) => format!("group {} (gid {gid})", group.name),
            Ok(None) | Err(_) => format!("gid {gid}"),
        });
        let all: Vec<String> = users.chain(groups).collect();
        f.write_str(if all.is_empty() { "nobody else" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

/// May this question be asked by this user? The error is told to the user.
pub fn may(question: &Question, peer: &Peer, rights: &Rights) -> Result<(), String> {
    let Some(operators) = &rights.operators else { return Ok(()) };
    if !question.changes() {
        return Ok(());
    }
    let always = peer.uid == 0 || peer.uid == Uid::effective().as_raw();
    if always || operators.users.contains(&peer.uid) || peer.is_in(&operators.groups) {
        return Ok(());
    }
    Err(format!("{peer} may look, but `{}` is for operators", question.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGING: [&str; 6] = [
        r#"{"ask":"ban","target":"192.0.2.7"}"#,
        r#"{"ask":"unban","target":"192.0.2.7"}"#,
        r#"{"ask":"approve","id":7}"#,
        r#"{"ask":"panic"}"#,
        r#"{"ask":"resume"}"#,
        r#"{"ask":"reload"}"#,
    ];
    const LOOKING: [&str; 11] = [
        r#"{"ask":"status"}"#,
        r#"{"ask":"exporters"}"#,
        r#"{"ask":"hosts"}"#,
        r#"{"ask":"networks"}"#,
        r#"{"ask":"attacks"}"#,
        r#"{"ask":"events"}"#,
        r#"{"ask":"bans"}"#,
        r#"{"ask":"history"}"#,
        r#"{"ask":"actions"}"#,
        r#"{"ask":"bgp_peers"}"#,
        r#"{"ask":"bgp_routes"}"#,
    ];

    /// A group that nobody is in.
    const STRANGERS: u32 = 4_000_000_000;

    fn only(users: Vec<u32>, groups: Vec<u32>) -> Rights {
        Rights { operators: Some(Operators { users, groups }) }
    }

    #[test]
    fn only_operators_change_something_once_they_are_named() {
        let user = |uid| Peer { uid, gid: STRANGERS, name: None };
        let own = Uid::effective().as_raw();
        let (alice, bob) = (own + 1000, own + 1001);
        let named = only(vec![alice], vec![own + 7]);
        for line in CHANGING {
            let question: Question = serde_json::from_str(line).unwrap();
            for uid in [0, own, alice] {
                assert_eq!(may(&question, &user(uid), &named), Ok(()), "{uid}: {line}");
            }
            let refused = may(&question, &user(bob), &named).unwrap_err();
            assert!(refused.contains(question.name()) && refused.contains("uid"), "{refused}");
            assert_eq!(may(&question, &user(bob), &Rights::default()), Ok(()), "{line}");
        }
        for line in LOOKING {
            let question: Question = serde_json::from_str(line).unwrap();
            assert_eq!(may(&question, &user(bob), &named), Ok(()), "{line}");
        }
    }

    #[test]
    fn members_of_a_group_are_operators() {
        let question: Question = serde_json::from_str(CHANGING[0]).unwrap();
        let bob = |gid| Peer { uid: 61_234, gid, name: None };
        let noc = only(Vec::new(), vec![7, 61_000]);
        assert_eq!(may(&question, &bob(61_000), &noc), Ok(()));
        assert!(may(&question, &bob(STRANGERS), &noc).is_err());
        let nobody = only(Vec::new(), Vec::new());
        assert!(may(&question, &bob(61_000), &nobody).is_err());
        assert_eq!(may(&question, &Peer { uid: 0, ..bob(61_000) }, &nobody), Ok(()));
    }

    #[test]
    fn operators_in_words() {
        let words = |users, groups| Operators { users, groups }.to_string();
        assert_eq!(words(Vec::new(), Vec::new()), "nobody else");
        let some = words(vec![0, 61_234], vec![STRANGERS]);
        assert_eq!(some, format!("root, uid 61234, gid {STRANGERS}"));
    }

    #[test]
    fn a_reload_replaces_the_rights() {
        let shared = SharedRights::default();
        assert_eq!(shared.get(), Rights::default());
        shared.set(only(vec![7], Vec::new()));
        assert_eq!(shared.get(), only(vec![7], Vec::new()));
    }
}
