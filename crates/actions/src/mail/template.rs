//! Texts with fields in braces: `{target} is attacked`.

use crate::ActionEvent;
use crate::message::{facts, headline};
use crate::report_text::{Style, attack_type};

/// A text with fields, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(&'static str),
}

/// All fields.
const FIELDS: [&str; 12] = [
    "headline",
    "facts",
    "report",
    "summary",
    "target",
    "event",
    "direction",
    "power",
    "type",
    "class",
    "group",
    "uuid",
];

impl Template {
    /// `{{` and `}}` stand for braces.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    rest.next();
                    plain.push(c);
                }
                '{' => {
                    let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                    let Some(field) = FIELDS.iter().find(|field| **field == name) else {
                        let known = FIELDS.join(", ");
                        return Err(format!("there is no field `{{{name}}}`; there are {known}"));
                    };
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Field(field));
                }
                '}' => return Err("a `}` without `{` before it; write `}}` for a brace".into()),
                c => plain.push(c),
            }
        }
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    pub(super) fn fill(&self, event: &ActionEvent, style: &Style) -> String {
        let attack = &event.attack;
        let value = |field| match field {
            "headline" => headline(event, style),
            "facts" => {
                let lines = facts(event, style).into_iter();
                let lines: Vec<String> =
                    lines.map(|(label, value)| format!("{label}: {value}")).collect();
                lines.join("\n")
            }
            "report" => style.report(event),
            "summary" => style.summary(event),
            "target" => style.target(&attack.target),
            "event" => event.kind.name().to_owned(),
            "direction" => attack.direction.name().to_owned(),
            "power" => event.power().to_string(),
            "type" => attack_type(attack).to_owned(),
            "class" => attack.class.name().to_owned(),
            "group" => attack.reason.group.clone(),
            _ => event.attack_uuid(),
        };
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => value(field),
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActionKind, fixture};

    #[test]
    fn fields_are_filled_once() {
        let mut event = fixture::event(ActionKind::Banned, 9);
        event.attack.reason.group = "{target}".into();
        let template = Template::parse("{target} {{{event}}} of {group}: {power}\n").unwrap();
        assert_eq!(
            template.fill(&event, &Style::default()),
            "192.0.2.9 {banned} of {target}: 48210\n"
        );
        for field in FIELDS {
            let filled = Template::parse(&format!("{{{field}}}")).unwrap();
            assert!(!filled.fill(&event, &Style::default()).is_empty(), "{field}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        assert!(
            Template::parse("{tarket}").unwrap_err().contains("no field `{tarket}`; there are")
        );
        assert!(Template::parse("a } b").unwrap_err().contains("without"));
    }
}
