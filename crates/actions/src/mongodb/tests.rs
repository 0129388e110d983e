use std::sync::Arc;

use super::*;
use crate::server::{DEAD_PORT, Daemon, attempt, free_port, listens, queued, status, wait_until};
use crate::{LocalTime, fixture};

/// A server that speaks the protocol, where one is installed: `TIDEWALL_MONGODB` names the program
/// `nx-27017` when it is not in the search path.
fn server(port: u16, folder: &std::path::Path) -> Option<Daemon> {
    let program = std::env::var("TIDEWALL_MONGODB").unwrap_or_else(|_| "nx-27017".to_owned());
    let port_text = port.to_string();
    let (log, pid) = (folder.join("log").display().to_string(), folder.join("pid"));
    let pid = pid.display().to_string();
    let data = folder.join("data").display().to_string();
    let arguments = [
        "--data-dir",
        &data,
        "--host",
        "127.0.0.1",
        "-p",
        &port_text,
        "--log-file",
        &log,
        "--pid-file",
        &pid,
    ];
    let daemon = Daemon::start(&program, &arguments, folder)?;
    wait_until("the server listens", || listens(port));
    Some(daemon)
}

fn config(port: u16) -> Config {
    Config {
        hosts: vec![("127.0.0.1".to_owned(), port)],
        timeout: Duration::from_secs(2),
        style: Style { zone: LocalTime::utc(), ..Style::default() },
        ..Config::default()
    }
}

/// All documents of the collection, by a client of the test's own.
fn documents(port: u16) -> Vec<Document> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mongo = MongoDb::new(config(port)).unwrap();
        let mut found = mongo.collection().await.unwrap().find(doc! {}).await.unwrap();
        let mut all = Vec::new();
        while found.advance().await.unwrap() {
            all.push(found.deserialize_current().unwrap());
        }
        all
    })
}

#[test]
fn documents_of_the_reference() {
    let mongo = MongoDb::new(config(1)).unwrap();
    let event = fixture::recorded(ActionKind::Banned);
    let document = mongo.reference(&event);
    let keys: Vec<&String> = document.keys().collect();
    // As Debian's package logged it for this attack.
    assert_eq!(keys, ["_id", "10_9_9_1_information_21_11_26_13:56:51"]);
    let inner = document.get_document(keys[1]).unwrap();
    assert_eq!(inner.get_str("ip").unwrap(), "10.9.9.1");
    let details = inner.get_document("attack_details").unwrap();
    assert_eq!(details.get_i64("total_incoming_pps").unwrap(), 325);
    assert_eq!(document.get("_id"), mongo.reference(&event).get("_id"), "the same when repeated");
    let unban = fixture::recorded(ActionKind::Unbanned);
    assert!(mongo.wants(&event) && !mongo.wants(&unban));
    assert_ne!(document.get("_id"), mongo.reference(&unban).get("_id"));
}

#[test]
fn documents_that_can_be_queried() {
    let settings = Config { shape: Shape::Queryable, expire_seconds: 60, ..config(1) };
    let mongo = MongoDb::new(settings).unwrap();
    let mut event = fixture::event(ActionKind::Ended, 9);
    event.attack.peak_pps = u64::MAX;
    let document = mongo.queryable(&event);
    assert_eq!(document.get_str("target").unwrap(), "192.0.2.9");
    assert_eq!(document.get_i64("peak_pps").unwrap(), i64::MAX);
    let detected = document.get_datetime("detected").unwrap();
    assert_eq!(detected.timestamp_millis(), 1_795_269_411_621);
    let expires = document.get_datetime(EXPIRES).unwrap().timestamp_millis();
    assert_eq!(expires, (event.time.0 / 1_000_000) as i64 + 60_000);
}

#[test]
fn a_server_that_dies_and_comes_back_misses_nothing() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(first) = server(port, folder.path()) else { return };
    let actions = queued(Arc::new(MongoDb::new(config(port)).unwrap()));
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    wait_until("the first is stored", || status(&actions).done == 1);
    drop(first);
    for id in 2..20 {
        actions.submit(&fixture::shared(ActionKind::Banned, id));
    }
    wait_until("attempts have failed", || status(&actions).retried > 1);
    let _second = server(port, folder.path()).unwrap();
    let status = actions.shutdown(Duration::from_mins(1)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (19, 0, 0), "{status:?}");
    let mut keys: Vec<String> =
        documents(port).iter().map(|document| document.keys().nth(1).unwrap().clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 19);
    assert!(keys[0].starts_with("192_0_2_10_information_"), "{keys:?}");
}

#[test]
fn an_attack_is_one_document_that_follows_it_and_a_repetition_is_none() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = server(port, folder.path()) else { return };
    let mongo = MongoDb::new(Config { shape: Shape::Queryable, ..config(port) }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for kind in [ActionKind::Started, ActionKind::Banned, ActionKind::Ended, ActionKind::Ended] {
        runtime.block_on(mongo.apply(&fixture::event(kind, 9))).unwrap();
    }
    let reference = MongoDb::new(config(port)).unwrap();
    for _ in 0..2 {
        runtime.block_on(reference.apply(&fixture::event(ActionKind::Banned, 9))).unwrap();
    }
    let all = documents(port);
    assert_eq!(all.len(), 2, "{all:?}");
    let own = all.iter().find(|document| document.contains_key("target")).unwrap();
    assert_eq!(own.get_str("event").unwrap(), "ended");
    assert!(own.get_datetime("ended").is_ok());
}

#[test]
fn a_dead_server_costs_the_time_limit() {
    let settings = Config { timeout: Duration::from_millis(300), ..config(DEAD_PORT) };
    let mongo = MongoDb::new(settings).unwrap();
    let error = attempt(&mongo, &fixture::event(ActionKind::Banned, 1)).unwrap_err();
    assert!(error.retry && error.message.starts_with("mongodb: "), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let field = |change: fn(&mut Config)| {
        let mut config = config(1);
        change(&mut config);
        MongoDb::new(config).unwrap_err().field
    };
    assert_eq!(field(|config| config.hosts.clear()), "hosts");
    assert_eq!(field(|config| config.database = "a.b".into()), "database");
    let tls = TlsConfig { ca_file: Some("/no/such/file".into()), identity: None };
    let error = MongoDb::new(Config { tls: Some(tls), ..config(1) }).unwrap_err();
    assert_eq!(error.field, "tls.ca_file");
}
