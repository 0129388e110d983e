//! Generic webhook: the JSON document by HTTP POST, signed, with a key by which the receiver knows
//! a repetition.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use ring::hmac;

use crate::http::{Http, HttpConfig};
use crate::report_text::Style;
use crate::{
    Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, Secret, report_json,
};

/// Settings of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Where to; many services have a token in it.
    pub url: Secret,
    /// Key of the signature. With it each request carries `X-Signature: sha256=` and the
    /// HMAC-SHA256 of the body in hexadecimal digits.
    pub signing_key: Option<Secret>,
    /// Value of the header `Authorization`.
    pub authorization: Option<Secret>,
    /// Events that are sent.
    pub events: Vec<ActionKind>,
    /// How addresses are written.
    pub style: Style,
    /// Connection.
    pub http: HttpConfig,
}

impl Config {
    /// All events to a URL.
    pub fn new(url: Secret) -> Self {
        Self {
            name: "webhook".to_owned(),
            url,
            signing_key: None,
            authorization: None,
            events: ActionKind::ALL.to_vec(),
            style: Style::default(),
            http: HttpConfig::default(),
        }
    }
}

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    config: Config,
    http: Http,
}

impl Webhook {
    /// Checks the settings.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let http = Http::new(&config.name, config.url.clone(), &config.http)?;
        if let Some(value) = &config.authorization
            && !value.expose().bytes().all(|b| (b' '..0x7f).contains(&b))
        {
            let message = "may hold visible ASCII characters and blanks only";
            return Err(ConfigError::new(&config.name, "authorization", message));
        }
        Ok(Self { config, http })
    }

    async fn post(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let body = report_json::to_json(event, &self.config.style).into_bytes();
        let mut headers = vec![
            ("Idempotency-Key", event.key()),
            ("X-Tidewall-Event", event.kind.name().to_owned()),
        ];
        if let Some(key) = &self.config.signing_key {
            headers.push(("X-Signature", format!("sha256={}", sign(key, &body))));
        }
        if let Some(value) = &self.config.authorization {
            headers.push(("Authorization", value.expose().to_owned()));
        }
        self.http.post(body, &headers).await
    }
}

impl Action for Webhook {
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

/// HMAC-SHA256 (RFC 2104) in hexadecimal digits.
fn sign(key: &Secret, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    let mut digits = String::with_capacity(64);
    for byte in hmac::sign(&key, body).as_ref() {
        // Writing to a String does not fail.
        _ = write!(digits, "{byte:02x}");
    }
    digits
}
