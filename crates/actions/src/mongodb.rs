//! MongoDB: a document for each ban as the reference writes it, or one for each attack that can be
//! queried and follows its life; with login, TLS, time limits and expiry. The client keeps its
//! connections and finds a server that comes back by itself.

#[cfg(test)]
mod tests;

use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc, serialize_to_bson};
use mongodb::error::{Error, ErrorKind, WriteFailure};
use mongodb::options::{ClientOptions, Credential, IndexOptions, ServerAddress, Tls, TlsOptions};
use mongodb::{Client, Collection, IndexModel};
use tidewall_model::Timestamp;
use tokio::sync::OnceCell;

use crate::report_text::Style;
use crate::{
    Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, Secret, TlsConfig,
    report_json,
};

/// Where the reference writes to.
const COLLECTION: &str = "attacks";
/// Field whose time has come when a document expires.
const EXPIRES: &str = "expires";
/// Server's code for a key that is there already.
const DUPLICATE_KEY: i32 = 11_000;
/// Server's codes for what a person has to change: login and rights.
const LOGIN_REFUSED: [i32; 2] = [18, 13];

/// Which documents are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// At a ban, a document with one field, `<ip with lines
    /// below>_information_<dd_mm_yy_HH:MM:SS>`.
    #[default]
    Reference,
    /// One document for each attack, replaced at each event; its `_id` is the attack's uuid. The
    /// fields `target`, `group`, `class`, `started`, `detected`, `ended` can be indexed.
    Queryable,
}

/// Settings of MongoDB.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Servers: one, or those of a replica set.
    pub hosts: Vec<(String, u16)>,
    /// Name of the replica set; without it the first server is used as it is.
    pub replica_set: Option<String>,
    /// Database.
    pub database: String,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// Database that knows the user.
    pub login_database: String,
    /// TLS. A certificate of ours and its key must be in one file, given twice.
    pub tls: Option<TlsConfig>,
    /// Which documents.
    pub shape: Shape,
    /// Documents vanish after this many seconds; 0: never.
    pub expire_seconds: u64,
    /// Time to find a server, and to connect to it.
    pub timeout: Duration,
    /// How addresses and file stamps are written.
    pub style: Style,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "mongodb".to_owned(),
            hosts: vec![("localhost".to_owned(), 27_017)],
            replica_set: None,
            database: "fastnetmon".to_owned(),
            login: None,
            login_database: "admin".to_owned(),
            tls: None,
            shape: Shape::default(),
            expire_seconds: 0,
            timeout: Duration::from_secs(5),
            style: Style::default(),
        }
    }
}

/// MongoDB.
#[derive(Debug)]
pub struct MongoDb {
    config: Config,
    options: ClientOptions,
    collection: OnceCell<Collection<Document>>,
}

impl MongoDb {
    /// Checks the settings.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let wrong = |field, message: &str| Err(ConfigError::new(&config.name, field, message));
        if config.hosts.is_empty() {
            return wrong("hosts", "names no server");
        }
        let refused = |c: char| "/\\. \"$*<>:|?\0".contains(c);
        if config.database.is_empty() || config.database.contains(refused) {
            return wrong("database", "is empty or holds a character that no database name has");
        }
        let options = options(&config)?;
        Ok(Self { config, options, collection: OnceCell::new() })
    }

    /// The collection. The client is made at the first event, on the thread of the queues.
    async fn collection(&self) -> Result<&Collection<Document>, Error> {
        let collection = self.collection.get_or_try_init(|| async {
            let client = Client::with_options(self.options.clone())?;
            let collection = client.database(&self.config.database).collection(COLLECTION);
            if self.config.expire_seconds > 0 {
                let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
                let index = IndexModel::builder().keys(doc! { EXPIRES: 1 }).options(options);
                collection.create_index(index.build()).await?;
            }
            Ok(collection)
        });
        collection.await
    }

    async fn store(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let result = async {
            let collection = self.collection().await?;
            match self.config.shape {
                Shape::Reference => match collection.insert_one(self.reference(event)).await {
                    // It was written, and only the answer was lost.
                    Err(error) if code(&error) == Some(DUPLICATE_KEY) => Ok(()),
                    result => result.map(drop),
                },
                Shape::Queryable => {
                    let filter = doc! { "_id": event.attack_uuid() };
                    let replaced = collection.replace_one(filter, self.queryable(event));
                    replaced.upsert(true).await.map(drop)
                }
            }
        };
        result.await.map_err(|error: Error| {
            let login = matches!(*error.kind, ErrorKind::Authentication { .. })
                || code(&error).is_some_and(|code| LOGIN_REFUSED.contains(&code));
            let message = format!("mongodb: {}", error.kind);
            ActionError { retry: !login, ..ActionError::permanent(message) }
        })
    }

    fn reference(&self, event: &ActionEvent) -> Document {
        let style = &self.config.style;
        let target = style.target(&event.attack.target).replace('.', "_");
        let stamp = style.zone.file_stamp(event.attack.detected);
        let mut document = doc! {
            "_id": object_id(event),
            format!("{target}_information_{stamp}"): json(event, style),
        };
        self.insert_expiry(&mut document, event);
        document
    }

    fn queryable(&self, event: &ActionEvent) -> Document {
        let (attack, style) = (&event.attack, &self.config.style);
        let mut document = doc! {
            "_id": event.attack_uuid(),
            "target": style.target(&attack.target),
            "group": &attack.reason.group,
            "class": attack.class.name(),
            "direction": attack.direction.name(),
            "event": event.kind.name(),
            "manual": event.manual,
            "started": date(attack.started),
            "detected": date(attack.detected),
            "ended": attack.ended.map_or(Bson::Null, |ended| date(ended).into()),
            "peak_pps": whole(attack.peak_pps),
            "peak_bps": whole(attack.peak_bps),
            "document": json(event, style),
        };
        self.insert_expiry(&mut document, event);
        document
    }

    fn insert_expiry(&self, document: &mut Document, event: &ActionEvent) {
        if self.config.expire_seconds > 0 {
            let end = event.time + Duration::from_secs(self.config.expire_seconds);
            document.insert(EXPIRES, date(end));
        }
    }
}

impl Action for MongoDb {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        match self.config.shape {
            Shape::Reference => event.kind == ActionKind::Banned && event.host().is_some(),
            Shape::Queryable => true,
        }
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.store(event))
    }
}

fn options(config: &Config) -> Result<ClientOptions, ConfigError> {
    let mut options = ClientOptions::default();
    let address =
        |(host, port): &(String, u16)| ServerAddress::Tcp { host: host.clone(), port: Some(*port) };
    options.hosts = config.hosts.iter().map(address).collect();
    options.app_name = Some("tidewall".to_owned());
    options.repl_set_name.clone_from(&config.replica_set);
    options.direct_connection = Some(config.replica_set.is_none());
    options.connect_timeout = Some(config.timeout);
    options.server_selection_timeout = Some(config.timeout);
    // The queue repeats, and servers without sessions refuse numbered writes.
    options.retry_writes = Some(false);
    options.max_pool_size = Some(4);
    if let Some((user, password)) = &config.login {
        let mut credential = Credential::default();
        credential.username = Some(user.clone());
        credential.password = Some(password.expose().to_owned());
        credential.source = Some(config.login_database.clone());
        options.credential = Some(credential);
    }
    if let Some(tls) = &config.tls {
        tls.authorities(&config.name)?;
        let mut files = TlsOptions::default();
        files.ca_file_path.clone_from(&tls.ca_file);
        if let Some((chain, key)) = &tls.identity {
            if chain != key {
                let message = "the certificate and its key must be in one file";
                return Err(ConfigError::new(&config.name, "tls.identity", message));
            }
            files.cert_key_file_path = Some(chain.clone());
        }
        options.tls = Some(Tls::Enabled(files));
    }
    Ok(options)
}

/// Time of the ban, and a hash of the event's key: an attempt that is repeated is recognised.
fn object_id(event: &ActionEvent) -> ObjectId {
    let hash = ring::digest::digest(&ring::digest::SHA256, event.key().as_bytes());
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().skip(4).zip(hash.as_ref()) {
        *to = *from;
    }
    bytes[..4].copy_from_slice(&(event.time.seconds() as u32).to_be_bytes());
    ObjectId::from_bytes(bytes)
}

/// The JSON document as BSON: its numbers fit.
fn json(event: &ActionEvent, style: &Style) -> Bson {
    serialize_to_bson(&report_json::document(event, style)).unwrap_or(Bson::Null)
}

fn date(time: Timestamp) -> DateTime {
    DateTime::from_millis((time.0 / 1_000_000) as i64)
}

/// BSON has no unsigned integers.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}
