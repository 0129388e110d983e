//! Who may ask what. The socket's mode decides who can connect, and so who may look; whether
//! somebody may also change something is decided here, and nowhere else.

use nix::unistd::Uid;

use super::peer::Peer;
use super::question::Question;

/// Who may change something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Numbers of users who may, besides root and the service's own user. `None`: everybody who
    /// can connect.
    pub operators: Option<Vec<u32>>,
}

/// May this question be asked by this user? The error is told to the user.
pub fn may(question: &Question, peer: &Peer, rights: &Rights) -> Result<(), String> {
    let Some(operators) = &rights.operators else { return Ok(()) };
    let own = Uid::effective().as_raw();
    let is_operator = peer.uid == 0 || peer.uid == own || operators.contains(&peer.uid);
    if is_operator || !question.changes() {
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

    #[test]
    fn only_operators_change_something_once_they_are_named() {
        let user = |uid| Peer { uid, name: None };
        let own = Uid::effective().as_raw();
        let (alice, bob) = (own + 1000, own + 1001);
        let named = Rights { operators: Some(vec![alice]) };
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
}
