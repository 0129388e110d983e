//! `[[chat]]`.

use std::time::Duration;

use tidewall_actions::chat::{self, Service};
use tidewall_actions::{ActionKind, Config, Secret};
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, word};
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// Messages to a chat or to those on duty: Slack (and what speaks its format), Telegram, Discord,
    /// Microsoft Teams, PagerDuty.
    struct ChatTable {
        /// Its name in status and logs.
        #[example = "\"noc-chat\""]
        name: Name,

        /// Which: "slack", "telegram", "discord", "teams" or "pagerduty".
        #[example = "\"slack\""]
        service: ServiceName,

        /// File with the URL of the webhook, for Slack, Discord and Teams.
        #[example = "\"/etc/tidewall/slack.url\""]
        url_file: Text,

        /// Variable of the environment with that URL.
        #[example = "\"SLACK_URL\""]
        url_env: Text,

        /// File with the token of the bot, for Telegram.
        #[example = "\"/etc/tidewall/telegram.token\""]
        token_file: Text,

        /// Variable of the environment with that token.
        #[example = "\"TELEGRAM_TOKEN\""]
        token_env: Text,

        /// The chat that a bot of Telegram writes to.
        #[example = "\"-1001234567890\""]
        chat_id: Text,

        /// File with the routing key of an integration, for PagerDuty.
        #[example = "\"/etc/tidewall/pagerduty.key\""]
        routing_key_file: Text,

        /// Variable of the environment with that key.
        #[example = "\"PAGERDUTY_KEY\""]
        routing_key_env: Text,

        /// Server of Telegram's or PagerDuty's interface, where it is another than theirs.
        #[example = "\"https://events.eu.pagerduty.com\""]
        server: Text,

        /// Events that are sent.
        #[default = "[\"started\", \"banned\", \"ended\", \"unbanned\"]"]
        #[example = "[\"started\", \"ended\"]"]
        events: Vec<Typed<ActionKind>>,

        /// Time for one message, from 100ms to 10min.
        #[default = "\"10s\""]
        #[example = "\"3s\""]
        timeout: Duration,

        /// URL of a proxy. Left out, none; the environment is not asked.
        #[example = "\"http://proxy.example.net:3128\""]
        proxy: Text,

        tls: TlsTable,
    }
}

/// A service by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum ServiceName {
    Slack,
    Telegram,
    Discord,
    Teams,
    PagerDuty,
}

impl FromToml for ServiceName {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("slack", Self::Slack),
            ("telegram", Self::Telegram),
            ("discord", Self::Discord),
            ("teams", Self::Teams),
            ("pagerduty", Self::PagerDuty),
        ];
        word(value, &words, at, sink)
    }
}

impl ChatTable {
    fn service(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Service> {
        let typed = self.service.as_ref();
        let name = *workshop.needed(typed, "service", "\"slack\"", at)?;
        self.warn_useless(name, workshop.sink);
        let (file, variable, key) = match name {
            ServiceName::Telegram => (&self.token_file, &self.token_env, "token_file"),
            ServiceName::PagerDuty => {
                (&self.routing_key_file, &self.routing_key_env, "routing_key_file")
            }
            _ => (&self.url_file, &self.url_env, "url_file"),
        };
        let Workshop { secrets, sink, .. } = workshop;
        let secret = secrets.read(file.as_ref(), variable.as_ref(), sink);
        if secret.is_none() && !sink.blames(at) {
            let fix = format!("add a line such as `{key} = \"/etc/tidewall/chat.secret\"`");
            sink.error_fix(at, format!("this service needs `{key}`"), fix);
        }
        let server = |usual: &str| {
            self.server.as_ref().map_or_else(|| usual.to_owned(), |typed| typed.value.0.clone())
        };
        let secret: Secret = secret?;
        Some(match name {
            ServiceName::Slack => Service::Slack { url: secret },
            ServiceName::Discord => Service::Discord { url: secret },
            ServiceName::Teams => Service::Teams { url: secret },
            ServiceName::PagerDuty => Service::PagerDuty {
                routing_key: secret,
                server: server("https://events.pagerduty.com"),
            },
            ServiceName::Telegram => {
                let chat = self.chat_id.as_ref();
                let chat = workshop.needed(chat, "chat_id", "\"-1001234567890\"", at)?;
                let server = server("https://api.telegram.org");
                Service::Telegram { token: secret, chat_id: chat.0.clone(), server }
            }
        })
    }

    /// Keys of another service.
    fn warn_useless(&self, name: ServiceName, sink: &mut Sink) {
        use ServiceName::{PagerDuty, Telegram};
        let url = !matches!(name, Telegram | PagerDuty);
        let keys = [
            (&self.url_file, url),
            (&self.url_env, url),
            (&self.token_file, name == Telegram),
            (&self.token_env, name == Telegram),
            (&self.chat_id, name == Telegram),
            (&self.routing_key_file, name == PagerDuty),
            (&self.routing_key_env, name == PagerDuty),
            (&self.server, matches!(name, Telegram | PagerDuty)),
        ];
        for (typed, used) in keys {
            if let Some(typed) = typed.as_ref().filter(|_| !used) {
                sink.warn(&typed.at, "it does nothing with this service", "remove the line");
            }
        }
    }
}

impl ActionTable for ChatTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let service = self.service(at, workshop)?;
        let usual = chat::Config::new("chat", service);
        let (limit, proxy) = (self.timeout.as_ref(), self.proxy.as_ref());
        let http = tls::http(limit, proxy, self.tls.as_ref(), workshop.sink);
        Some(Config::Chat(chat::Config {
            events: Workshop::events(self.events.as_ref(), usual.events.clone()),
            style: workshop.style.clone(),
            http,
            ..usual
        }))
    }
}
