//! `[[webhook]]`.

use std::time::Duration;

use tidewall_actions::{ActionKind, Config, Secret, webhook};

use super::super::listen::Text;
use super::super::table::{Place, Typed, table};
use super::super::value::Name;
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// The JSON document by HTTP POST, with a key by which the receiver knows a repetition.
    struct WebhookTable {
        /// Its name in status and logs.
        #[example = "\"noc-hook\""]
        name: Name,

        /// Where to, when there is no secret in it.
        #[example = "\"https://hooks.example.net/attacks\""]
        url: Text,

        /// File with the URL, when it has a token in it.
        #[example = "\"/etc/tidewall/webhook.url\""]
        url_file: Text,

        /// Variable of the environment with the URL.
        #[example = "\"WEBHOOK_URL\""]
        url_env: Text,

        /// File with the key of the signature: each request then carries `X-Signature: sha256=` and
        /// the HMAC-SHA256 of the body.
        #[example = "\"/etc/tidewall/webhook.key\""]
        signing_key_file: Text,

        /// Variable of the environment with that key.
        #[example = "\"WEBHOOK_KEY\""]
        signing_key_env: Text,

        /// File with the value of the header `Authorization`.
        #[example = "\"/etc/tidewall/webhook.token\""]
        authorization_file: Text,

        /// Variable of the environment with that value.
        #[example = "\"WEBHOOK_TOKEN\""]
        authorization_env: Text,

        /// Events that are sent.
        #[default = "[\"started\", \"banned\", \"updated\", \"ended\", \"unbanned\"]"]
        #[example = "[\"banned\", \"unbanned\"]"]
        events: Vec<Typed<ActionKind>>,

        /// Time for one request, from 100ms to 10min.
        #[default = "\"10s\""]
        #[example = "\"3s\""]
        timeout: Duration,

        /// URL of a proxy. Left out, none; the environment is not asked.
        #[example = "\"http://proxy.example.net:3128\""]
        proxy: Text,

        tls: TlsTable,
    }
}

impl ActionTable for WebhookTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let Workshop { style, secrets, sink } = workshop;
        let url = if let Some(plain) = &self.url {
            if let Some(secret) = self.url_file.as_ref().or(self.url_env.as_ref()) {
                let reason = "`url` is given too";
                sink.error_fix(&secret.at, reason, "there is one URL: keep one of the two");
            }
            Secret::new(plain.value.0.clone())
        } else {
            let url = secrets.read(self.url_file.as_ref(), self.url_env.as_ref(), sink);
            if url.is_none() && !sink.blames(at) {
                let fix = "add `url = \"https://...\"`, or `url_file` where a token is in it";
                sink.error_fix(at, "it is not said where to send", fix);
            }
            url?
        };
        let usual = webhook::Config::new(url);
        let key = (self.signing_key_file.as_ref(), self.signing_key_env.as_ref());
        let authorization = (self.authorization_file.as_ref(), self.authorization_env.as_ref());
        let http = tls::http(self.timeout.as_ref(), self.proxy.as_ref(), self.tls.as_ref(), sink);
        Some(Config::Webhook(webhook::Config {
            signing_key: secrets.read(key.0, key.1, sink),
            authorization: secrets.read(authorization.0, authorization.1, sink),
            events: Workshop::events(self.events.as_ref(), usual.events.clone()),
            style: style.clone(),
            http,
            ..usual
        }))
    }
}
