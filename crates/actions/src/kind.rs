//! The list of all kinds of actions: from settings to something that a queue can serve.

use std::sync::Arc;

#[cfg(feature = "mongodb")]
use crate::mongodb;
use crate::{Action, ConfigError, QueueConfig, chat, mail, record, redis, script, syslog, webhook};

/// Settings of one action, of whatever kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// The notify script.
    Script(script::Config),
    /// Attack files.
    Record(record::Config),
    /// A webhook.
    Webhook(webhook::Config),
    /// A chat.
    Chat(chat::Config),
    /// Mails.
    Mail(mail::Config),
    /// Syslog.
    Syslog(syslog::Config),
    /// Redis.
    Redis(redis::Config),
    /// MongoDB.
    #[cfg(feature = "mongodb")]
    MongoDb(mongodb::Config),
}

impl Config {
    /// The kind, as the configuration names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Script(_) => "script",
            Self::Record(_) => "record",
            Self::Webhook(_) => "webhook",
            Self::Chat(_) => "chat",
            Self::Mail(_) => "mail",
            Self::Syslog(_) => "syslog",
            Self::Redis(_) => "redis",
            #[cfg(feature = "mongodb")]
            Self::MongoDb(_) => "mongodb",
        }
    }

    /// Checks the settings and makes the action.
    pub fn build(self) -> Result<Arc<dyn Action>, ConfigError> {
        Ok(match self {
            Self::Script(config) => Arc::new(script::Script::new(config)?),
            Self::Record(config) => Arc::new(record::Record::new(config)?),
            Self::Webhook(config) => Arc::new(webhook::Webhook::new(config)?),
            Self::Chat(config) => Arc::new(chat::Chat::new(config)?),
            Self::Mail(config) => Arc::new(mail::Mail::new(config)?),
            Self::Syslog(config) => Arc::new(syslog::Syslog::new(config)?),
            Self::Redis(config) => Arc::new(redis::Redis::new(config)?),
            #[cfg(feature = "mongodb")]
            Self::MongoDb(config) => Arc::new(mongodb::MongoDb::new(config)?),
        })
    }

    /// Bounds of the queue that suit this kind.
    pub fn queue(&self) -> QueueConfig {
        let usual = QueueConfig::default();
        match self {
            // Each call is a process. A 1.2.4 script is called twice, each time with its own limit.
            Self::Script(config) => QueueConfig {
                concurrency: 16,
                attempt_timeout: config.timeout * 2 + std::time::Duration::from_secs(10),
                ..usual
            },
            // One disk; and services that let about one message a second in.
            Self::Record(_) | Self::Chat(_) => QueueConfig { concurrency: 1, ..usual },
            _ => usual,
        }
    }
}
