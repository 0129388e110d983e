//! `[control]`: who of those who may use the control socket may change something.

use nix::unistd::{Group, User};
use toml::de::DeValue;

use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{found, quoted};
use crate::control::{Operators, Rights};

table! {
    /// The control socket, which `control` under [service] names. Whoever can connect may look.
    struct ControlTable {
        /// Who may ban, unban, approve, panic, resume and reload: users by name or number, and
        /// groups with an @. Root and the service's own user always may. Left out, everybody who
        /// can connect; an empty list is nobody else.
        #[example = "[\"alice\", 1001, \"@noc\"]"]
        operators: Vec<Typed<Operator>>,
    }
}

/// Somebody as typed.
#[derive(Clone, Debug)]
pub(super) enum Operator {
    User(String),
    Number(u32),
    Group(String),
}

impl FromToml for Operator {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match value {
            DeValue::String(text) => match text.strip_prefix('@') {
                Some(group) if !group.is_empty() => return Some(Self::Group(group.to_owned())),
                None if !text.is_empty() => return Some(Self::User(text.to_string())),
                _ => {}
            },
            DeValue::Integer(_) => return u32::from_toml(value, at, sink).map(Self::Number),
            _ => {}
        }
        let reason = format!("expected a user or a group, found {}", found(value));
        sink.error(at, reason);
        None
    }
}

impl ControlTable {
    /// What it means. Names are looked up now, and not again before the next reload.
    pub(super) fn resolve(self, sink: &mut Sink) -> Rights {
        let Some(list) = self.operators else { return Rights::default() };
        let mut operators = Operators::default();
        for Typed { value, at } in list.value {
            match value {
                Operator::Number(uid) => operators.users.push(uid),
                Operator::User(name) => {
                    let user =
                        User::from_name(&name).map(|user| user.map(|user| user.uid.as_raw()));
                    operators.users.extend(known("user", &name, user, &at, sink));
                }
                Operator::Group(name) => {
                    let group = match name.parse() {
                        Ok(gid) => Ok(Some(gid)),
                        Err(_) => Group::from_name(&name)
                            .map(|group| group.map(|group| group.gid.as_raw())),
                    };
                    operators.groups.extend(known("group", &name, group, &at, sink));
                }
            }
        }
        Rights { operators: Some(operators) }
    }
}

/// The number behind a name, or an error where it was typed.
fn known(
    what: &str,
    name: &str,
    number: nix::Result<Option<u32>>,
    at: &Place,
    sink: &mut Sink,
) -> Option<u32> {
    let shown = quoted(name).unwrap_or_else(|| "of that name".to_owned());
    let (reason, fix) = match number {
        Ok(Some(number)) => return Some(number),
        Ok(None) if name.parse::<u32>().is_ok() => (
            format!("there is no {what} {shown} on this machine"),
            format!("write {name} without quotes for the user of that number"),
        ),
        Ok(None) => (
            format!("there is no {what} {shown} on this machine"),
            "correct the name, or add it to the machine first".to_owned(),
        ),
        Err(error) => (
            format!("the {what} {shown} cannot be looked up: {}", error.desc()),
            "write its number, which needs no looking up".to_owned(),
        ),
    };
    sink.error_fix(at, reason, fix);
    None
}
