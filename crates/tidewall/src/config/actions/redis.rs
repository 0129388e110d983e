//! `[[redis]]`.

use std::time::Duration;

use tidewall_actions::Config;
use tidewall_actions::redis::{self, Shape};
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, within, word};
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// Redis.
    struct RedisTable {
        /// Its name in status and logs.
        #[example = "\"attacks-redis\""]
        name: Name,

        /// The server.
        #[default = "\"127.0.0.1\""]
        #[example = "\"redis.example.net\""]
        host: Text,

        /// Its port.
        #[default = "6379"]
        #[example = "6380"]
        port: u32,

        /// Put before each key, with a `_` between. Left out, nothing.
        #[example = "\"mydc1\""]
        prefix: Text,

        /// The user. Left out with a password, the server knows passwords only.
        #[example = "\"tidewall\""]
        user: Text,

        /// File with the password.
        #[example = "\"/etc/tidewall/redis.password\""]
        password_file: Text,

        /// Variable of the environment with the password.
        #[example = "\"REDIS_PASSWORD\""]
        password_env: Text,

        /// Number of the database.
        #[default = "0"]
        #[example = "2"]
        database: u32,

        /// Which keys: "reference", as FastNetMon writes them at a ban; or "queryable", a document
        /// for each attack and sorted sets of them.
        #[default = "\"reference\""]
        #[example = "\"queryable\""]
        shape: Shape,

        /// Keys vanish after this time; "0s": never.
        #[default = "\"0s\""]
        #[example = "\"30d\""]
        expire: Duration,

        /// Time for all commands of an event, from 100ms to 10min.
        #[default = "\"5s\""]
        #[example = "\"2s\""]
        timeout: Duration,

        tls: TlsTable,
    }
}

impl FromToml for Shape {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("reference", Self::Reference), ("queryable", Self::Queryable)], at, sink)
    }
}

impl ActionTable for RedisTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, _: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let usual = redis::Config::default();
        let (file, variable) = (self.password_file.as_ref(), self.password_env.as_ref());
        let login = match &self.user {
            None => workshop
                .secrets
                .read(file, variable, workshop.sink)
                .map(|password| (String::new(), password)),
            user => super::login(user.as_ref(), (file, variable), workshop),
        };
        let Workshop { style, sink, .. } = workshop;
        let plain = |typed: &Option<Typed<Text>>, usual: &String| {
            typed.as_ref().map_or_else(|| usual.clone(), |typed| typed.value.0.clone())
        };
        let databases = 0..=65_535;
        Some(Config::Redis(redis::Config {
            host: plain(&self.host, &usual.host),
            port: tls::port(self.port.as_ref(), usual.port, sink),
            prefix: plain(&self.prefix, &usual.prefix),
            login,
            database: within(self.database.as_ref(), &databases, "0 to 65535", 0, sink),
            tls: self.tls.as_ref().map(|table| table.value.resolve(sink)),
            shape: self.shape.as_ref().map_or(usual.shape, |typed| typed.value),
            expire_seconds: tls::expire(self.expire.as_ref(), sink),
            timeout: tls::timeout(self.timeout.as_ref(), usual.timeout, sink),
            style: style.clone(),
            ..usual
        }))
    }
}
