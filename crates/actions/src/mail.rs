//! Mail by SMTP, with TLS and authentication: a subject and a text made from templates, one thread
//! for each attack, and the JSON document attached on request.

mod template;
#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use self::template::Template;
use crate::http::causes;
use crate::report_text::Style;
use crate::{
    Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, Secret, TlsConfig,
    report_json,
};

/// Time for one command of the SMTP dialogue.
const COMMAND: Duration = Duration::from_secs(15);

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// Not at all: for a mail server on this machine.
    None,
    /// `STARTTLS`, and no mail without it (port 587).
    #[default]
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
}

/// Settings of mails.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Mail server.
    pub host: String,
    /// Its port; 0: the usual one of `security`.
    pub port: u16,
    /// Protection of the connection.
    pub security: Security,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// Certificates.
    pub tls: TlsConfig,
    /// Name by which we greet the server; without it this machine's.
    pub hello: Option<String>,
    /// Sender, `Tidewall <noc@example.net>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Events that are mailed.
    pub events: Vec<ActionKind>,
    /// Template of the subject.
    pub subject: String,
    /// Template of the text.
    pub text: String,
    /// Attach the JSON document.
    pub attach_json: bool,
    /// How reports are written.
    pub style: Style,
}

impl Config {
    /// The turns of an attack, with the text report.
    pub fn new(host: impl Into<String>, from: impl Into<String>, to: Vec<String>) -> Self {
        let events = ActionKind::ALL.into_iter().filter(|kind| *kind != ActionKind::Updated);
        Self {
            name: "mail".to_owned(),
            host: host.into(),
            port: 0,
            security: Security::default(),
            login: None,
            tls: TlsConfig::default(),
            hello: None,
            from: from.into(),
            to,
            events: events.collect(),
            subject: "{headline}".to_owned(),
            text: "{headline}\n\n{facts}\n\n{report}".to_owned(),
            attach_json: false,
            style: Style::default(),
        }
    }
}

/// Mails.
#[derive(Debug)]
pub struct Mail {
    config: Config,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Template,
    text: Template,
}

impl Mail {
    /// Checks addresses, templates and certificates.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let name = config.name.as_str();
        let mailbox = |field, text: &String| {
            let wrong = |e| ConfigError::new(name, field, format!("`{text}`: {e}"));
            text.parse::<Mailbox>().map_err(wrong)
        };
        let from = mailbox("from", &config.from)?;
        let to: Vec<Mailbox> =
            config.to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(ConfigError::new(name, "to", "names no recipient"));
        }
        if config.login.is_some() && config.security == Security::None && !is_local(&config.host) {
            let message = "a password would cross the network in the clear: use TLS";
            return Err(ConfigError::new(name, "security", message));
        }
        let template = |field, text| {
            Template::parse(text).map_err(|error| ConfigError::new(name, field, error))
        };
        let (subject, text) =
            (template("subject", &config.subject)?, template("text", &config.text)?);
        let transport = transport(&config)?;
        Ok(Self { config, transport, from, to, subject, text })
    }

    fn message(&self, event: &ActionEvent) -> Result<Message, ActionError> {
        let style = &self.config.style;
        let subject = self.subject.fill(event, style).replace(char::is_control, " ");
        let domain = self.from.email.domain();
        let time = UNIX_EPOCH + Duration::from_nanos(event.time.0);
        let mut builder: MessageBuilder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date(time)
            // The same for each attempt: a server that got it twice can tell.
            .message_id(Some(format!("<{}@{domain}>", event.key())))
            // All mails of an attack refer to one that need not exist: readers show a thread.
            .references(format!("<{}@{domain}>", event.attack_uuid()))
            .header(AutoSubmitted);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let text = SinglePart::plain(self.text.fill(event, style));
        let built = if self.config.attach_json {
            let json = report_json::to_json(event, style);
            let name = format!("{}.json", event.attack_uuid());
            let kind = ContentType::parse("application/json").unwrap_or(ContentType::TEXT_PLAIN);
            let attachment = Attachment::new(name).body(json, kind);
            builder.multipart(MultiPart::mixed().singlepart(text).singlepart(attachment))
        } else {
            builder.singlepart(text)
        };
        built.map_err(|error| ActionError::permanent(format!("cannot write the mail: {error}")))
    }

    async fn send(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let message = self.message(event)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = format!("{}: {}", self.config.host, causes(&error));
                Err(ActionError { retry: !error.is_permanent(), ..ActionError::permanent(text) })
            }
        }
    }
}

impl Action for Mail {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        self.config.events.contains(&event.kind)
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.send(event))
    }
}

fn transport(config: &Config) -> Result<AsyncSmtpTransport<Tokio1Executor>, ConfigError> {
    let (tls, usual_port) = match config.security {
        Security::None => (Tls::None, 25),
        Security::StartTls => (Tls::Required(parameters(config)?), 587),
        Security::Tls => (Tls::Wrapper(parameters(config)?), 465),
    };
    let port = if config.port == 0 { usual_port } else { config.port };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
        .port(port)
        .tls(tls)
        .timeout(Some(COMMAND));
    if let Some((user, password)) = &config.login {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    if let Some(hello) = &config.hello {
        builder = builder.hello_name(ClientId::Domain(hello.clone()));
    }
    Ok(builder.build())
}

fn parameters(config: &Config) -> Result<TlsParameters, ConfigError> {
    let wrong = |error| ConfigError::new(&config.name, "tls", error);
    let mut builder = TlsParameters::builder(config.host.clone());
    for certificate in config.tls.authorities(&config.name)? {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(wrong)?;
        builder = builder.add_root_certificate(certificate);
    }
    if let Some((chain, key)) = &config.tls.identity {
        let read = |path: &std::path::PathBuf| {
            let wrong = |error| {
                let message = format!("{}: {error}", path.display());
                ConfigError::new(&config.name, "tls.identity", message)
            };
            std::fs::read(path).map_err(wrong)
        };
        let (chain, key) = (read(chain)?, read(key)?);
        let identity = lettre::transport::smtp::client::Identity::from_pem(&chain, &key);
        builder = builder.identify_with(identity.map_err(wrong)?);
    }
    builder.build().map_err(wrong)
}

fn is_local(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// RFC 3834: no vacation notices, please.
#[derive(Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
