//! `[[mail]]`.

use tidewall_actions::mail::{self, Security};
use tidewall_actions::{ActionKind, Config};
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, word};
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// Mails by SMTP, one thread for each attack.
    struct MailTable {
        /// Its name in status and logs.
        #[example = "\"noc-mail\""]
        name: Name,

        /// The mail server.
        #[example = "\"mail.example.net\""]
        host: Text,

        /// Its port. Left out, 587 with "starttls", 465 with "tls" and 25 with "none".
        #[example = "587"]
        port: u32,

        /// How the connection is protected: "starttls", "tls" from the first byte, or "none".
        #[default = "\"starttls\""]
        #[example = "\"tls\""]
        security: Security,

        /// The user, where the server wants one.
        #[example = "\"tidewall\""]
        user: Text,

        /// File with the password.
        #[example = "\"/etc/tidewall/mail.password\""]
        password_file: Text,

        /// Variable of the environment with the password.
        #[example = "\"MAIL_PASSWORD\""]
        password_env: Text,

        /// Name by which we greet the server. Left out, this machine's.
        #[example = "\"detector.example.net\""]
        hello: Text,

        /// The sender.
        #[example = "\"Tidewall <noc@example.net>\""]
        from: Text,

        /// The recipients.
        #[example = "[\"noc@example.net\"]"]
        to: Vec<Typed<Text>>,

        /// Events that are mailed.
        #[default = "[\"started\", \"banned\", \"ended\", \"unbanned\"]"]
        #[example = "[\"banned\", \"unbanned\"]"]
        events: Vec<Typed<ActionKind>>,

        /// The subject, with fields in braces: headline, facts, report, summary, target, event,
        /// direction, power, type, class, group, uuid.
        #[default = "\"{headline}\""]
        #[example = "\"[ddos] {headline}\""]
        subject: Text,

        /// The text, with the same fields.
        #[default = "\"{headline}\\n\\n{facts}\\n\\n{report}\""]
        #[example = "\"{headline}\\n\\n{facts}\""]
        text: Text,

        /// Attach the JSON document.
        #[default = "false"]
        #[example = "true"]
        attach_json: bool,

        tls: TlsTable,
    }
}

impl FromToml for Security {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [("starttls", Self::StartTls), ("tls", Self::Tls), ("none", Self::None)];
        word(value, &words, at, sink)
    }
}

impl ActionTable for MailTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let host = workshop.needed(self.host.as_ref(), "host", "\"mail.example.net\"", at);
        let from = workshop.needed(self.from.as_ref(), "from", "\"noc@example.net\"", at);
        let to = workshop.needed(self.to.as_ref(), "to", "[\"noc@example.net\"]", at);
        let login = super::login(
            self.user.as_ref(),
            (self.password_file.as_ref(), self.password_env.as_ref()),
            workshop,
        );
        let to = to?.iter().map(|typed| typed.value.0.clone()).collect();
        let usual = mail::Config::new(&*host?.0, &*from?.0, to);
        let Workshop { style, sink, .. } = workshop;
        let plain = |typed: &Option<Typed<Text>>| typed.as_ref().map(|t| t.value.0.clone());
        Some(Config::Mail(mail::Config {
            port: self.port.as_ref().map_or(0, |typed| tls::port(Some(typed), 0, sink)),
            security: self.security.as_ref().map_or(usual.security, |typed| typed.value),
            login,
            tls: tls::tls(self.tls.as_ref(), sink),
            hello: plain(&self.hello),
            events: Workshop::events(self.events.as_ref(), usual.events.clone()),
            subject: plain(&self.subject).unwrap_or_else(|| usual.subject.clone()),
            text: plain(&self.text).unwrap_or_else(|| usual.text.clone()),
            attach_json: self.attach_json.as_ref().is_some_and(|typed| typed.value),
            style: style.clone(),
            ..usual
        }))
    }
}
