//! Messages to Slack, Telegram, Discord, Microsoft Teams and PagerDuty: one short text and a few
//! facts for each event, within the limits of each service.

use serde_json::{Value, json};

use crate::http::{Http, HttpConfig};
use crate::message::{Severity, cut, facts, headline, severity};
use crate::report_text::Style;
use crate::{Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, Secret};

/// Telegram refuses longer texts.
const TELEGRAM_TEXT: usize = 4096;
/// Discord refuses longer titles and field values.
const DISCORD_TITLE: usize = 256;
const DISCORD_VALUE: usize = 1024;
/// PagerDuty refuses longer summaries.
const PAGERDUTY_SUMMARY: usize = 1024;
/// A fact is a line, not an essay.
const FACT: usize = 300;

/// Which service, and what it needs to know us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// An incoming webhook of Slack, or of what speaks its format.
    Slack {
        /// URL of the webhook.
        url: Secret,
    },
    /// A bot of Telegram.
    Telegram {
        /// Its token.
        token: Secret,
        /// The chat to write to.
        chat_id: String,
        /// Server of the bot interface.
        server: String,
    },
    /// A webhook of Discord.
    Discord {
        /// URL of the webhook.
        url: Secret,
    },
    /// A workflow of Microsoft Teams that posts what a webhook gets.
    Teams {
        /// URL of the workflow.
        url: Secret,
    },
    /// An integration of PagerDuty, events interface version 2.
    PagerDuty {
        /// Its routing key.
        routing_key: Secret,
        /// Server of the events interface.
        server: String,
    },
}

/// Settings of a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Where to.
    pub service: Service,
    /// Events that are sent.
    pub events: Vec<ActionKind>,
    /// How addresses are written.
    pub style: Style,
    /// Connection.
    pub http: HttpConfig,
}

impl Config {
    /// The turns of an attack to a service: without updates, which would fill a chat.
    pub fn new(name: impl Into<String>, service: Service) -> Self {
        let events = ActionKind::ALL.into_iter().filter(|kind| *kind != ActionKind::Updated);
        Self {
            name: name.into(),
            service,
            events: events.collect(),
            style: Style::default(),
            http: HttpConfig::default(),
        }
    }
}

/// A chat.
#[derive(Debug)]
pub struct Chat {
    config: Config,
    http: Http,
}

impl Chat {
    /// Checks the settings.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let url = match &config.service {
            Service::Slack { url } | Service::Discord { url } | Service::Teams { url } => {
                url.clone()
            }
            Service::Telegram { token, server, .. } => {
                let plain = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
                if !token.expose().chars().all(plain) {
                    let message = "holds characters that no token of a bot has";
                    return Err(ConfigError::new(&config.name, "token", message));
                }
                Secret::new(format!(
                    "{}/bot{}/sendMessage",
                    server.trim_end_matches('/'),
                    token.expose()
                ))
            }
            Service::PagerDuty { server, .. } => {
                Secret::new(format!("{}/v2/enqueue", server.trim_end_matches('/')))
            }
        };
        let http = Http::new(&config.name, url, &config.http)?;
        Ok(Self { config, http })
    }

    /// What the service gets.
    fn payload(&self, event: &ActionEvent) -> Value {
        let style = &self.config.style;
        let (title, facts) = (headline(event, style), facts(event, style));
        let facts: Vec<(&str, &str)> =
            facts.iter().map(|(label, value)| (*label, cut(value, FACT))).collect();
        match &self.config.service {
            Service::Slack { .. } => slack(event, &title, &facts),
            Service::Telegram { chat_id, .. } => telegram(event, chat_id, &title, &facts),
            Service::Discord { .. } => discord(event, &title, &facts),
            Service::Teams { .. } => teams(&title, &facts),
            Service::PagerDuty { routing_key, .. } => {
                pagerduty(event, routing_key, style, &title, &facts)
            }
        }
    }

    async fn post(&self, event: &ActionEvent) -> Result<(), ActionError> {
        self.http.post(self.payload(event).to_string().into_bytes(), &[]).await
    }
}

impl Action for Chat {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        self.config.events.contains(&event.kind)
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.post(event))
    }
}

fn color(event: &ActionEvent) -> u32 {
    match severity(event.kind) {
        Severity::Critical => 0x00e7_4c3c,
        Severity::Warning => 0x00f3_9c12,
        Severity::Info => 0x002e_cc71,
    }
}

/// `&`, `<` and `>` as Slack and Telegram's HTML want them.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn slack(event: &ActionEvent, title: &str, facts: &[(&str, &str)]) -> Value {
    let fields: Vec<Value> = facts
        .iter()
        .map(|(label, value)| {
            json!({"title": label, "value": escape(value), "short": value.len() < 40})
        })
        .collect();
    let title = escape(title);
    let color = format!("#{:06x}", color(event));
    json!({
        "text": title,
        "attachments": [{"color": color, "fallback": title, "fields": fields}],
    })
}

fn telegram(event: &ActionEvent, chat_id: &str, title: &str, facts: &[(&str, &str)]) -> Value {
    let mut text = format!("<b>{}</b>", escape(cut(title, 1024)));
    for (label, value) in facts {
        let line = format!("\n{label}: {}", escape(value));
        // Whole lines only: half an entity would make the message invalid.
        if text.len() + line.len() > TELEGRAM_TEXT {
            break;
        }
        text.push_str(&line);
    }
    json!({
        "chat_id": chat_id,
        "text": text,
        "parse_mode": "HTML",
        "disable_web_page_preview": true,
        "disable_notification": severity(event.kind) != Severity::Critical,
    })
}

fn discord(event: &ActionEvent, title: &str, facts: &[(&str, &str)]) -> Value {
    // An empty value is refused; the service takes 25 fields.
    let shown = facts.iter().filter(|(_, value)| !value.is_empty()).take(25);
    let fields: Vec<Value> = shown
        .map(|(label, value)| {
            json!({"name": label, "value": cut(value, DISCORD_VALUE), "inline": value.len() < 40})
        })
        .collect();
    json!({
        "embeds": [{
            "title": cut(title, DISCORD_TITLE),
            "color": color(event),
            "fields": fields,
            "timestamp": event.time.to_string(),
        }],
        // Names in attacks' texts call nobody.
        "allowed_mentions": {"parse": []},
    })
}

fn teams(title: &str, facts: &[(&str, &str)]) -> Value {
    let facts: Vec<Value> =
        facts.iter().map(|(label, value)| json!({"title": label, "value": value})).collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    {"type": "TextBlock", "text": title, "weight": "Bolder", "wrap": true},
                    {"type": "FactSet", "facts": facts},
                ],
            },
        }],
    })
}

/// All events of an attack have one key: its end resolves what its start triggered. A ban and the
/// attack it answers are one incident.
fn pagerduty(
    event: &ActionEvent,
    routing_key: &Secret,
    style: &Style,
    title: &str,
    facts: &[(&str, &str)],
) -> Value {
    let action = match event.kind {
        ActionKind::Started | ActionKind::Banned | ActionKind::Updated => "trigger",
        ActionKind::Ended | ActionKind::Unbanned => "resolve",
    };
    let severity = match severity(event.kind) {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let details: serde_json::Map<String, Value> =
        facts.iter().map(|(label, value)| ((*label).to_owned(), Value::from(*value))).collect();
    json!({
        "routing_key": routing_key.expose(),
        "event_action": action,
        "dedup_key": event.attack_uuid(),
        "payload": {
            "summary": cut(title, PAGERDUTY_SUMMARY),
            "source": style.target(&event.attack.target),
            "severity": severity,
            "timestamp": event.time.to_string(),
            "component": "tidewall",
            "group": event.attack.reason.group,
            "class": event.attack.class.name(),
            "custom_details": details,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn payload(service: Service, kind: ActionKind) -> Value {
        let mut event = fixture::event(kind, 9);
        event.note = "<b> & @everyone".repeat(2000);
        Chat::new(Config::new("chat", service)).unwrap().payload(&event)
    }

    #[test]
    fn slack_escapes_and_colours() {
        let url = Secret::new("https://chat.example/hook");
        let value = payload(Service::Slack { url }, ActionKind::Started);
        assert!(value["text"].as_str().unwrap().starts_with("Attack on 192.0.2.9"));
        assert_eq!(value["attachments"][0]["color"], "#e74c3c");
        let fields = value["attachments"][0]["fields"].as_array().unwrap();
        let note = fields.iter().find(|field| field["title"] == "Note").unwrap();
        assert!(note["value"].as_str().unwrap().starts_with("&lt;b&gt; &amp; @everyone"));
    }

    #[test]
    fn telegram_stays_within_its_limit() {
        let token = Secret::new("123:abc-_");
        let service = Service::Telegram {
            token,
            chat_id: "-100".into(),
            server: "https://telegram.example/".into(),
        };
        let value = payload(service.clone(), ActionKind::Ended);
        let text = value["text"].as_str().unwrap();
        assert!(text.len() <= TELEGRAM_TEXT && !text.contains("<b> &"), "{text}");
        assert_eq!(
            (&value["chat_id"], &value["disable_notification"]),
            (&"-100".into(), &true.into())
        );
        let chat = Chat::new(Config::new("chat", service)).unwrap();
        assert!(!format!("{chat:?}").contains("abc-_"), "{chat:?}");
        let token = Secret::new("123/../x");
        let server = "https://telegram.example".into();
        let service = Service::Telegram { token, chat_id: "1".into(), server };
        assert_eq!(Chat::new(Config::new("chat", service)).unwrap_err().field, "token");
    }

    #[test]
    fn discord_and_teams_have_their_shapes() {
        let url = Secret::new("https://chat.example/hook");
        let value = payload(Service::Discord { url: url.clone() }, ActionKind::Banned);
        assert_eq!(value["allowed_mentions"]["parse"], json!([]));
        let fields = value["embeds"][0]["fields"].as_array().unwrap();
        assert!(
            fields.len() <= 25 && fields.iter().all(|f| !f["value"].as_str().unwrap().is_empty())
        );
        assert!(value.to_string().len() < 6000);
        let value = payload(Service::Teams { url }, ActionKind::Banned);
        let card = &value["attachments"][0]["content"];
        assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.4".into()));
        assert_eq!(card["body"][1]["type"], "FactSet");
    }

    #[test]
    fn pagerduty_resolves_what_it_triggered() {
        let service = || Service::PagerDuty {
            routing_key: Secret::new("R0"),
            server: "https://events.example".into(),
        };
        let start = payload(service(), ActionKind::Started);
        let end = payload(service(), ActionKind::Ended);
        assert_eq!(
            (&start["event_action"], &end["event_action"]),
            (&"trigger".into(), &"resolve".into())
        );
        assert_eq!(start["dedup_key"], end["dedup_key"]);
        assert_eq!(start["payload"]["severity"], "critical");
        assert_eq!(start["routing_key"], "R0");
    }
}
