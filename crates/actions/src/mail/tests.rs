use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustls::ServerConfig;

use super::*;
use crate::server::{
    Certificate, Daemon, Listener, attempt, encrypted, free_port, listens, queued, status,
    wait_until,
};
use crate::{LocalTime, fixture};

/// A mail as the server got it.
struct Received {
    envelope: Vec<String>,
    text: String,
    encrypted: bool,
}

/// What the server does.
#[derive(Clone, Default)]
struct Behaviour {
    /// Offers STARTTLS, or speaks TLS at once.
    tls: Option<Arc<ServerConfig>>,
    at_once: bool,
    /// Answer to `RCPT TO`.
    recipient: Option<&'static str>,
}

/// A mail server for tests: user `noc`, password `s3cret`.
fn server(port: u16, behaviour: Behaviour) -> (Listener, Receiver<Received>) {
    let (sender, received) = channel();
    let listener = Listener::start(port, move |stream| {
        // A client that goes away in the middle is the client's business.
        _ = match (&behaviour.tls, behaviour.at_once) {
            (Some(tls), true) => {
                let stream = encrypted(stream, tls);
                dialogue(stream, &behaviour, true, true, &sender).map(drop)
            }
            _ => plain_dialogue(stream, &behaviour, &sender),
        };
    });
    (listener, received)
}

fn plain_dialogue(
    stream: TcpStream,
    behaviour: &Behaviour,
    sender: &Sender<Received>,
) -> std::io::Result<()> {
    let again = stream.try_clone()?;
    if dialogue(stream, behaviour, true, false, sender)?
        && let Some(tls) = &behaviour.tls
    {
        dialogue(encrypted(again, tls), behaviour, false, true, sender)?;
    }
    Ok(())
}

/// True: the client wants TLS from here on.
fn dialogue(
    stream: impl Read + Write,
    behaviour: &Behaviour,
    greet: bool,
    encrypted: bool,
    sender: &Sender<Received>,
) -> std::io::Result<bool> {
    let mut stream = BufReader::new(stream);
    let mut envelope = Vec::new();
    let mut answer = if greet { "220 test\r\n" } else { "" };
    loop {
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().flush()?;
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let verb = line.split([' ', '\r']).next().unwrap_or_default().to_ascii_uppercase();
        answer = match verb.as_str() {
            "EHLO" if behaviour.tls.is_some() && !encrypted => "250-test\r\n250 STARTTLS\r\n",
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "STARTTLS" => {
                stream.get_mut().write_all(b"220 go\r\n")?;
                return Ok(true);
            }
            // base64 of "\0noc\0s3cret".
            "AUTH" if line.trim_end().ends_with("AG5vYwBzM2NyZXQ=") => "235 welcome\r\n",
            "AUTH" => "535 who are you\r\n",
            "RCPT" => behaviour.recipient.unwrap_or("250 ok\r\n"),
            "DATA" => {
                stream.get_mut().write_all(b"354 go\r\n")?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut text)? == 0 {
                        return Ok(false);
                    }
                }
                let envelope = std::mem::take(&mut envelope);
                sender.send(Received { envelope, text, encrypted }).unwrap_or_default();
                "250 taken\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        if verb == "MAIL" || verb == "RCPT" {
            envelope.push(line.trim_end().to_owned());
        }
    }
}

fn config(port: u16) -> Config {
    let to = vec!["NOC <noc@example.net>".to_owned(), "boss@example.com".to_owned()];
    Config {
        port,
        security: Security::None,
        style: Style { zone: LocalTime::utc(), ..Style::default() },
        ..Config::new("localhost", "Tidewall <tidewall@example.net>", to)
    }
}

/// With lines that were folded and bytes that were quoted put together again.
fn unquoted(text: &str) -> String {
    text.replace("=\r\n", "").replace("=3D", "=").replace("\r\n ", " ")
}

#[test]
fn a_mail_has_its_text_and_headers() {
    let (server, received) = server(0, Behaviour::default());
    let mail = Mail::new(Config { attach_json: true, ..config(server.port) }).unwrap();
    let event = fixture::event(ActionKind::Banned, 9);
    attempt(&mail, &event).unwrap();
    let got = received.recv().unwrap();
    assert!(!got.encrypted);
    assert!(got.envelope[0].starts_with("MAIL FROM:<tidewall@example.net>"), "{:?}", got.envelope);
    assert_eq!(got.envelope[1..], ["RCPT TO:<noc@example.net>", "RCPT TO:<boss@example.com>"]);
    let text = unquoted(&got.text);
    for want in [
        "Subject: 192.0.2.9 is banned: UDP reflection (ntp 98 %), 48,210 pps, 180.0 Mbps\r\n",
        "Auto-Submitted: auto-generated\r\n",
        "Date: Sat, 21 Nov 2026 13:56:51 +0000\r\n",
        &format!("Message-ID: <{}@example.net>\r\n", event.key()),
        &format!("References: <{}@example.net>\r\n", event.attack_uuid()),
        "\r\nReason: total_pps 48,210 pps, over the limit of 20,000 pps\r\n",
        "\r\nIP: 192.0.2.9\r\nAttack type: udp_flood\r\n",
        "application/json",
    ] {
        assert!(text.contains(want), "{want:?} in {text}");
    }
}

#[test]
fn starttls_and_login() {
    let certificate = Certificate::new();
    let tls = Some(Arc::clone(&certificate.server));
    for (security, at_once) in [(Security::StartTls, false), (Security::Tls, true)] {
        let (server, received) =
            server(0, Behaviour { tls: tls.clone(), at_once, ..Behaviour::default() });
        let settings = |password: &str| Config {
            security,
            tls: certificate.client(),
            login: Some(("noc".to_owned(), Secret::new(password))),
            ..config(server.port)
        };
        let event = fixture::event(ActionKind::Started, 1);
        attempt(&Mail::new(settings("s3cret")).unwrap(), &event).unwrap();
        assert!(received.recv().unwrap().encrypted);
        let mail = Mail::new(settings("wr0ng")).unwrap();
        let error = attempt(&mail, &event).unwrap_err();
        assert!(!error.retry && error.message.contains("who are you"), "{error}");
        assert!(!format!("{mail:?} {error}").contains("wr0ng"));
        let unknown = Certificate::new();
        let stranger = Config { tls: unknown.client(), ..settings("s3cret") };
        let error = attempt(&Mail::new(stranger).unwrap(), &event).unwrap_err();
        assert!(error.message.contains("certificate"), "{error}");
    }
}

#[test]
fn no_mail_in_the_clear_when_tls_is_wanted() {
    let (server, received) = server(0, Behaviour::default());
    let mail = Mail::new(Config { security: Security::StartTls, ..config(server.port) }).unwrap();
    let error = attempt(&mail, &fixture::event(ActionKind::Started, 1)).unwrap_err();
    assert!(error.message.contains("STARTTLS"), "{error}");
    drop(server);
    assert!(received.try_recv().is_err());
}

#[test]
fn answers_decide_about_another_attempt() {
    for (answer, retry) in [("550 no such user\r\n", false), ("451 greylisted\r\n", true)] {
        let behaviour = Behaviour { recipient: Some(answer), ..Behaviour::default() };
        let (server, _received) = server(0, behaviour);
        let mail = Mail::new(config(server.port)).unwrap();
        let error = attempt(&mail, &fixture::event(ActionKind::Started, 1)).unwrap_err();
        assert_eq!(error.retry, retry, "{error}");
        assert!(error.message.contains(answer[4..].trim()), "{error}");
    }
}

#[test]
fn a_server_that_dies_and_comes_back_misses_nothing() {
    let (first, received) = server(0, Behaviour::default());
    let port = first.port;
    let actions = queued(Arc::new(Mail::new(config(port)).unwrap()));
    let subject = |received: &Receiver<Received>| {
        let text = unquoted(&received.recv().unwrap().text);
        text.lines().find(|line| line.starts_with("Subject")).unwrap().to_owned()
    };
    actions.submit(&fixture::shared(ActionKind::Started, 1));
    assert!(subject(&received).contains("Attack on 192.0.2.1"));
    drop(first);
    actions.submit(&fixture::shared(ActionKind::Updated, 1));
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    actions.submit(&fixture::shared(ActionKind::Ended, 1));
    wait_until("an attempt has failed", || status(&actions).retried > 1);
    let (_second, received) = server(port, Behaviour::default());
    assert!(subject(&received).contains("192.0.2.1 is banned"));
    assert!(subject(&received).contains("Attack on 192.0.2.1 is over"));
    let status = actions.shutdown(Duration::from_secs(5)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (3, 0, 0), "{status:?}");
}

/// A real server that insists on STARTTLS and writes each mail to a file of its own: aiosmtpd, where
/// it is installed. `TIDEWALL_AIOSMTPD` names it when it is not in the search path.
fn aiosmtpd(port: u16, folder: &std::path::Path, certificate: &Certificate) -> Option<Daemon> {
    let program = std::env::var("TIDEWALL_AIOSMTPD").unwrap_or_else(|_| "aiosmtpd".to_owned());
    let path = |name: &str| certificate.file(name).display().to_string();
    let (cert, key, listen) = (path("ca.pem"), path("key.pem"), format!("127.0.0.1:{port}"));
    let mail = folder.join("mail").display().to_string();
    let words = ["--nosetuid", "--listen", &listen, "--tlscert", &cert, "--tlskey", &key];
    let arguments = [&words[..], &["--class", "aiosmtpd.handlers.Mailbox", &mail]].concat();
    let daemon = Daemon::start(&program, &arguments, folder)?;
    wait_until("aiosmtpd listens", || listens(port));
    Some(daemon)
}

/// Subjects of the mails that it has written, in their order.
fn subjects(folder: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("mail/new")).unwrap().map(Result::unwrap);
    let mut files: Vec<_> =
        files.map(|file| (file.metadata().unwrap().modified().unwrap(), file.path())).collect();
    files.sort();
    let subject = |text: String| {
        let text = text.replace("\n ", " ");
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    files.iter().map(|(_, path)| subject(std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn a_real_server_that_is_killed_gets_everything_once_it_is_back() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let certificate = Certificate::new();
    let Some(first) = aiosmtpd(port, folder.path(), &certificate) else { return };
    let (security, tls) = (Security::StartTls, certificate.client());
    let actions = queued(Arc::new(Mail::new(Config { security, tls, ..config(port) }).unwrap()));
    actions.submit(&fixture::shared(ActionKind::Started, 1));
    wait_until("the first mail is sent", || status(&actions).done == 1);
    drop(first);
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    actions.submit(&fixture::shared(ActionKind::Ended, 1));
    for id in 2..20 {
        actions.submit(&fixture::shared(ActionKind::Banned, id));
    }
    wait_until("attempts have failed", || status(&actions).retried > 20);
    let _second = aiosmtpd(port, folder.path(), &certificate).unwrap();
    let status = actions.shutdown(Duration::from_secs(20)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (21, 0, 0), "{status:?}");
    let subjects = subjects(folder.path());
    let is_first = |text: &&str| text.split([' ', ':']).any(|word| word == "192.0.2.1");
    let of_first: Vec<&str> = subjects.iter().map(String::as_str).filter(is_first).collect();
    let [started, banned, ended] = of_first[..] else { panic!("{subjects:?}") };
    assert!(started.contains("Attack on") && banned.contains("banned"), "{subjects:?}");
    assert!(ended.contains("over"), "{subjects:?}");
    assert_eq!(subjects.len(), 21, "{subjects:?}");
}

#[test]
fn words_of_others_make_no_headers() {
    let mail = Mail::new(config(1)).unwrap();
    let mut event = fixture::event(ActionKind::Banned, 1);
    (event.manual, event.note) = (true, "x\r\nBcc: all@example.net\r\n\r\nbody".into());
    let text = String::from_utf8(mail.message(&event).unwrap().formatted()).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let field = |change: fn(&mut Config)| {
        let mut config = config(1);
        change(&mut config);
        Mail::new(config).unwrap_err().field
    };
    assert_eq!(field(|config| config.to.clear()), "to");
    assert_eq!(field(|config| config.to.push("nobody".into())), "to");
    assert_eq!(field(|config| config.from = "@".into()), "from");
    assert_eq!(field(|config| config.subject = "{nothing}".into()), "subject");
    let clear = |config: &mut Config| {
        config.host = "mail.example.net".into();
        config.login = Some(("noc".into(), Secret::new("x")));
    };
    assert_eq!(field(clear), "security");
}
