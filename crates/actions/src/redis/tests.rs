use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;

use super::*;
use crate::server::{
    Certificate, Daemon, Listener, attempt, encrypted, free_port, listens, queued, status,
    wait_until,
};
use crate::{LocalTime, TlsConfig, fixture};

/// A real server with a password, where it is installed.
fn server(port: u16, folder: &tempfile::TempDir) -> Option<Daemon> {
    let port_text = port.to_string();
    let arguments =
        ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--requirepass", "s3cret"];
    let daemon = Daemon::start("redis-server", &arguments, folder.path())?;
    wait_until("redis-server listens", || listens(port));
    Some(daemon)
}

fn config(port: u16) -> Config {
    Config {
        port,
        prefix: "mydc1".to_owned(),
        login: Some((String::new(), Secret::new("s3cret"))),
        style: Style { own_lines: false, zone: LocalTime::utc(), ..Style::default() },
        ..Config::default()
    }
}

/// Asks the server over a connection of its own; the answer as it came.
fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "AUTH s3cret\r\n{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.strip_prefix("+OK\r\n").unwrap().strip_suffix("+OK\r\n").unwrap().to_owned()
}

fn text(port: u16, key: &str) -> String {
    let answer = ask(port, &format!("GET {key}"));
    let (_, text) = answer.split_once("\r\n").unwrap();
    text.trim_end_matches("\r\n").to_owned()
}

#[test]
fn the_keys_of_the_reference() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = server(port, &folder) else { return };
    let mut event = fixture::recorded(ActionKind::Banned);
    let mut settings = config(port);
    settings.style.generation = Generation::V1_2_4;
    let redis = Redis::new(settings.clone()).unwrap();
    attempt(&redis, &event).unwrap();
    let keys = ask(port, "KEYS *");
    assert!(keys.starts_with("*3\r\n"), "{keys}");
    let information = text(port, "mydc1_10.9.9.1_information");
    assert_eq!(information, report_json::to_json(&event, &settings.style));
    let flows = ask(port, "GET mydc1_10.9.9.1_flow_dump");
    assert!(flows.contains(&settings.style.flow_dump(&event)), "{flows}");
    let details = ask(port, "GET mydc1_10.9.9.1_packets_dump");
    assert!(details.contains(&settings.style.details(&event)), "{details}");
    assert_eq!(ask(port, "TTL mydc1_10.9.9.1_information"), ":-1\r\n");
    event.kind = ActionKind::Unbanned;
    assert!(!redis.wants(&event), "nothing is written at the end");
}

#[test]
fn a_prefix_a_database_and_an_expiry() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = server(port, &folder) else { return };
    let settings =
        Config { prefix: String::new(), database: 3, expire_seconds: 500, ..config(port) };
    attempt(&Redis::new(settings).unwrap(), &fixture::event(ActionKind::Banned, 9)).unwrap();
    assert_eq!(ask(port, "DBSIZE"), ":0\r\n", "not in database 0");
    let ttl = ask(port, "SELECT 3\r\nTTL 192.0.2.9_information");
    let seconds: u64 = ttl.trim().rsplit(':').next().unwrap().parse().unwrap();
    assert!((490..=500).contains(&seconds), "{ttl}");
}

#[test]
fn the_queryable_shape() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = server(port, &folder) else { return };
    let settings = Config { shape: Shape::Queryable, expire_seconds: 900_000_000, ..config(port) };
    let redis = Redis::new(settings).unwrap();
    for kind in [ActionKind::Started, ActionKind::Ended, ActionKind::Ended] {
        attempt(&redis, &fixture::event(kind, 9)).unwrap();
    }
    attempt(&redis, &fixture::event(ActionKind::Started, 8)).unwrap();
    let uuid = fixture::event(ActionKind::Started, 9).attack_uuid();
    let value: serde_json::Value =
        serde_json::from_str(&text(port, &format!("mydc1_attack:{uuid}"))).unwrap();
    assert_eq!(value["tidewall"]["event"], "ended", "the newest document");
    assert_eq!(ask(port, "ZCARD mydc1_attacks"), ":2\r\n");
    let of_host = ask(port, "ZRANGEBYSCORE mydc1_attacks:192.0.2.9 1795269411 1795269412");
    assert_eq!(of_host, format!("*1\r\n$36\r\n{uuid}\r\n"));
}

#[test]
fn a_server_that_dies_and_comes_back_misses_nothing() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(first) = server(port, &folder) else { return };
    let actions = queued(Arc::new(Redis::new(config(port)).unwrap()));
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    wait_until("the first is stored", || status(&actions).done == 1);
    drop(first);
    for id in 2..50 {
        actions.submit(&fixture::shared(ActionKind::Banned, id));
    }
    wait_until("attempts have failed", || status(&actions).retried > 50);
    assert!(status(&actions).last_error.unwrap().1.contains("cannot connect to 127.0.0.1"));
    let _second = server(port, &folder).unwrap();
    let status = actions.shutdown(Duration::from_secs(20)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (49, 0, 0), "{status:?}");
    assert_eq!(ask(port, "DBSIZE"), format!(":{}\r\n", 48 * 2));
}

#[test]
fn a_wrong_password_is_not_tried_again_and_not_shown() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(_server) = server(port, &folder) else { return };
    let login = Some(("default".to_owned(), Secret::new("wr0ng")));
    let redis = Redis::new(Config { login, ..config(port) }).unwrap();
    let error = attempt(&redis, &fixture::event(ActionKind::Banned, 1)).unwrap_err();
    assert!(!error.retry && error.message.contains("AUTH: WRONGPASS"), "{error}");
    assert!(!format!("{redis:?} {error}").contains("wr0ng"));
}

#[test]
fn strange_servers_are_errors() {
    let answering = |answer: &'static [u8]| {
        Listener::start(0, move |mut stream| {
            _ = stream.write_all(answer);
            while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {}
        })
    };
    for (answer, retry) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], false),
        (b"-LOADING Redis is loading the dataset in memory\r\n", true),
        (b"-ERR max number of clients reached\r\n", true),
        (b"-NOPERM this user has no permissions\r\n", false),
        (&[b'+'; 4000], true),
    ] {
        let server = answering(answer);
        let redis = Redis::new(Config { port: server.port, ..Config::default() }).unwrap();
        let error = attempt(&redis, &fixture::event(ActionKind::Banned, 1)).unwrap_err();
        assert_eq!(error.retry, retry, "{error}");
    }
    let silent = Listener::silent();
    let timeout = Duration::from_millis(200);
    let redis = Redis::new(Config { port: silent.port, timeout, ..Config::default() }).unwrap();
    let error = attempt(&redis, &fixture::event(ActionKind::Banned, 1)).unwrap_err();
    assert!(error.retry && error.message.contains("within 0.2 s"), "{error}");
}

#[test]
fn a_real_server_is_spoken_to_over_tls_before_and_after_its_death() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let certificate = Certificate::new();
    let path = |name: &str| certificate.file(name).display().to_string();
    let (port_text, cert, key) = (port.to_string(), path("ca.pem"), path("key.pem"));
    let start = || {
        let words = ["--port", "0", "--bind", "127.0.0.1", "--save", "", "--requirepass", "s3cret"];
        let tls = ["--tls-port", &port_text, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let rest = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"];
        let arguments = [&words[..], &tls, &rest].concat();
        let daemon = Daemon::start("redis-server", &arguments, folder.path())?;
        wait_until("redis-server listens", || listens(port));
        Some(daemon)
    };
    let Some(first) = start() else { return };
    let tls = Some(certificate.client());
    let settings = Config { host: "localhost".into(), tls, ..config(port) };
    let actions = queued(Arc::new(Redis::new(settings).unwrap()));
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    wait_until("the first is stored", || status(&actions).done == 1);
    drop(first);
    for id in 2..20 {
        actions.submit(&fixture::shared(ActionKind::Banned, id));
    }
    wait_until("attempts have failed", || status(&actions).retried > 20);
    let _second = start().unwrap();
    let status = actions.shutdown(Duration::from_secs(20)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (19, 0, 0), "{status:?}");
    // Somebody who does not know the certificate stores nothing.
    let strict =
        Config { host: "localhost".into(), tls: Some(TlsConfig::default()), ..config(port) };
    let event = fixture::event(ActionKind::Banned, 20);
    let error = attempt(&Redis::new(strict).unwrap(), &event).unwrap_err();
    assert!(error.message.to_lowercase().contains("certificate"), "{error}");
}

#[test]
fn speaks_tls() {
    let certificate = Certificate::new();
    let (sender, received) = channel();
    let server_config = Arc::clone(&certificate.server);
    let server = Listener::start(0, move |stream| {
        let mut stream = encrypted(stream, &server_config);
        let mut bytes = vec![0; 65_536];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            sender.send(bytes[..length].to_vec()).unwrap();
            _ = stream.write_all(b"+OK\r\n");
        }
    });
    let tls = Some(certificate.client());
    let settings = Config { host: "localhost".into(), port: server.port, tls, ..config(0) };
    attempt(&Redis::new(settings).unwrap(), &fixture::event(ActionKind::Banned, 1)).unwrap();
    assert_eq!(received.recv().unwrap(), b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n");
}
