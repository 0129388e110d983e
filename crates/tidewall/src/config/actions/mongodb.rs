//! `[[mongodb]]`.

use std::time::Duration;

use tidewall_actions::Config;
use tidewall_actions::mongodb::{self, Shape};
use toml::de::DeValue;

use super::super::bgp::HostPort;
use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, word};
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// MongoDB, and what speaks its protocol.
    struct MongoDbTable {
        /// Its name in status and logs.
        #[example = "\"attacks-mongodb\""]
        name: Name,

        /// The server, or those of a replica set.
        #[default = "[\"localhost:27017\"]"]
        #[example = "[\"db1.example.net:27017\", \"db2.example.net:27017\"]"]
        hosts: Vec<Typed<HostPort>>,

        /// Name of the replica set. Left out, the first server is used as it is.
        #[example = "\"rs0\""]
        replica_set: Text,

        /// The database; documents go to its collection `attacks`.
        #[default = "\"fastnetmon\""]
        #[example = "\"tidewall\""]
        database: Text,

        /// The user, where the server wants one.
        #[example = "\"tidewall\""]
        user: Text,

        /// File with the password.
        #[example = "\"/etc/tidewall/mongodb.password\""]
        password_file: Text,

        /// Variable of the environment with the password.
        #[example = "\"MONGODB_PASSWORD\""]
        password_env: Text,

        /// Database that knows the user.
        #[default = "\"admin\""]
        #[example = "\"tidewall\""]
        login_database: Text,

        /// Which documents: "reference", as FastNetMon writes them at a ban; or "queryable", one for
        /// each attack, which follows its life.
        #[default = "\"reference\""]
        #[example = "\"queryable\""]
        shape: Shape,

        /// Documents vanish after this time; "0s": never.
        #[default = "\"0s\""]
        #[example = "\"365d\""]
        expire: Duration,

        /// Time to find a server and to connect to it, from 100ms to 10min.
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

impl ActionTable for MongoDbTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, _: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let usual = mongodb::Config::default();
        let password = (self.password_file.as_ref(), self.password_env.as_ref());
        let login = super::login(self.user.as_ref(), password, workshop);
        let Workshop { style, sink, .. } = workshop;
        let plain = |typed: &Option<Typed<Text>>| typed.as_ref().map(|t| t.value.0.clone());
        let hosts = self.hosts.as_ref().map(|list| {
            list.value.iter().map(|typed| (typed.value.host.clone(), typed.value.port)).collect()
        });
        Some(Config::MongoDb(mongodb::Config {
            hosts: hosts.unwrap_or_else(|| usual.hosts.clone()),
            replica_set: plain(&self.replica_set),
            database: plain(&self.database).unwrap_or_else(|| usual.database.clone()),
            login,
            login_database: plain(&self.login_database)
                .unwrap_or_else(|| usual.login_database.clone()),
            tls: self.tls.as_ref().map(|table| table.value.resolve(sink)),
            shape: self.shape.as_ref().map_or(usual.shape, |typed| typed.value),
            expire_seconds: tls::expire(self.expire.as_ref(), sink),
            timeout: tls::timeout(self.timeout.as_ref(), usual.timeout, sink),
            style: style.clone(),
            ..usual
        }))
    }
}
