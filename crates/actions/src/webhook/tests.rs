use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::server::{self, Certificate, Listener, attempt, queued, status, wait_until};
use crate::{TlsConfig, fixture};

fn config(port: u16) -> Config {
    let url = Secret::new(format!("http://127.0.0.1:{port}/hook/t0ken"));
    Config { signing_key: Some(Secret::new("k3y")), ..Config::new(url) }
}

/// RFC 4231 §4.3.
#[test]
fn signs_as_the_rfc_has_it() {
    let signature = sign(&Secret::new("Jefe"), b"what do ya want for nothing?");
    let want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(signature, want);
}

#[test]
fn the_receiver_can_check_the_signature_and_know_a_repetition() {
    let (server, requests) = server::http(0, None, vec!["204 No Content"]);
    let webhook = Webhook::new(Config {
        authorization: Some(Secret::new("Bearer b3arer")),
        ..config(server.port)
    });
    let event = fixture::event(ActionKind::Started, 1);
    attempt(&webhook.unwrap(), &event).unwrap();
    let request = requests.recv().unwrap();
    assert!(request.head.starts_with("POST /hook/t0ken HTTP/1.1\r\n"), "{}", request.head);
    let signature = request.header("X-Signature").unwrap().strip_prefix("sha256=").unwrap();
    let bytes: Vec<u8> = (0..signature.len() / 2)
        .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"k3y");
    hmac::verify(&key, request.body.as_bytes(), &bytes).unwrap();
    assert!(hmac::verify(&key, &request.body.as_bytes()[1..], &bytes).is_err());
    assert_eq!(request.header("Idempotency-Key"), Some(event.key().as_str()));
    assert_eq!(request.header("Authorization"), Some("Bearer b3arer"));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(json["tidewall"]["key"], event.key());
}

#[test]
fn a_receiver_that_dies_and_comes_back_misses_nothing() {
    let (first, requests) = server::http(0, None, vec!["200 OK"]);
    let port = first.port;
    let actions = queued(Arc::new(Webhook::new(config(port)).unwrap()));
    let submit = |kind| _ = actions.submit(&fixture::shared(kind, 1));
    submit(ActionKind::Started);
    assert_eq!(requests.recv().unwrap().header("X-Tidewall-Event"), Some("started"));
    drop(first);
    submit(ActionKind::Banned);
    submit(ActionKind::Ended);
    wait_until("an attempt has failed", || status(&actions).retried > 2);
    let (_second, requests) = server::http(port, None, vec!["200 OK"]);
    for want in ["banned", "ended"] {
        assert_eq!(requests.recv().unwrap().header("X-Tidewall-Event"), Some(want));
    }
    let status = actions.shutdown(Duration::from_secs(5)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (3, 0, 0), "{status:?}");
    let error = status.last_error.unwrap().1;
    assert!(error.contains("http://127.0.0.1") && !error.contains("t0ken"), "{error}");
}

#[test]
fn answers_decide_about_another_attempt() {
    for (answer, retry, after) in [
        ("500 Internal Server Error", true, None),
        ("503 Service Unavailable\r\nRetry-After: 7", true, Some(7)),
        ("429 Too Many Requests\r\nRetry-After: 99999", true, Some(300)),
        ("408 Request Timeout", true, None),
        ("404 Not Found", false, None),
        ("401 Unauthorized", false, None),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", false, None),
    ] {
        let (server, _requests) = server::http(0, None, vec![answer]);
        let webhook = Webhook::new(config(server.port)).unwrap();
        let error = attempt(&webhook, &fixture::event(ActionKind::Started, 1)).unwrap_err();
        assert_eq!(
            (error.retry, error.retry_after.map(|d| d.as_secs())),
            (retry, after),
            "{answer}"
        );
        assert!(error.message.contains(&answer[..3]), "{error}");
    }
}

#[test]
fn a_silent_receiver_costs_the_time_limit_and_no_more() {
    let server = Listener::silent();
    let mut config = config(server.port);
    config.http.timeout = Duration::from_millis(300);
    let webhook = Webhook::new(config).unwrap();
    let error = attempt(&webhook, &fixture::event(ActionKind::Started, 1)).unwrap_err();
    assert!(error.retry && error.message.contains("timed out"), "{error}");
}

#[test]
fn certificates_are_checked() {
    let certificate = Certificate::new();
    let (server, requests) = server::http(0, Some(Arc::clone(&certificate.server)), vec!["200 OK"]);
    let with = |tls: TlsConfig| {
        let url = Secret::new(format!("https://localhost:{}/", server.port));
        let mut config = Config::new(url);
        config.http.tls = tls;
        attempt(&Webhook::new(config).unwrap(), &fixture::event(ActionKind::Started, 1))
    };
    with(certificate.client()).unwrap();
    assert_eq!(requests.recv().unwrap().header("X-Signature"), None, "no key, no signature");
    for tls in [Certificate::new().client(), TlsConfig::default()] {
        let error = with(tls).unwrap_err();
        assert!(error.message.contains("certificate"), "{error}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for url in ["no url", "ftp://host/", "http:///"] {
        assert_eq!(Webhook::new(Config::new(Secret::new(url))).unwrap_err().field, "url");
    }
    let mut config = config(1);
    config.http.tls.ca_file = Some("/no/such/file".into());
    let error = Webhook::new(config.clone()).unwrap_err();
    assert!(error.to_string().contains("tls.ca_file: /no/such/file"), "{error}");
    config.http.tls.ca_file = None;
    config.authorization = Some(Secret::new("a\nb"));
    assert_eq!(Webhook::new(config).unwrap_err().field, "authorization");
}
