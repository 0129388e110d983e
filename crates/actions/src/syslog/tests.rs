use std::io::Read;
use std::net::UdpSocket as StdUdpSocket;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::server::{
    Certificate, Daemon, Listener, attempt, encrypted, free_port, listens, queued, status,
    wait_until,
};
use crate::{TlsConfig, fixture};

fn config(port: u16, transport: Transport) -> Config {
    Config { transport, hostname: "edge1".into(), ..Config::new("localhost", port) }
}

/// Everything that one connection brings, for each connection.
fn receiver(tls: Option<Arc<rustls::ServerConfig>>) -> (Listener, Receiver<String>) {
    let (sender, received) = channel();
    let listener = Listener::start(0, move |mut stream| {
        let mut text = String::new();
        // The end of a TLS stream may come without a word.
        _ = match &tls {
            None => stream.read_to_string(&mut text),
            Some(config) => encrypted(stream, config).read_to_string(&mut text),
        };
        if !text.is_empty() {
            sender.send(text).unwrap_or_default();
        }
    });
    (listener, received)
}

#[test]
fn a_message_has_every_field_of_the_rfc() {
    let syslog = Syslog::new(config(1, Transport::Udp)).unwrap();
    let mut event = fixture::event(ActionKind::Started, 9);
    event.attack.reason.group = "a\"b\\c]d\ne".into();
    let (pid, uuid) = (std::process::id(), event.attack_uuid());
    assert_eq!(
        syslog.message(&event),
        format!(
            "<130>1 2026-11-21T13:56:51.621000Z edge1 tidewall {pid} ATTACK-START \
             [ddos@32473 uuid=\"{uuid}\" target=\"192.0.2.9\" direction=\"incoming\" \
             class=\"udp_reflection\" metric=\"total_pps\" value=\"48210\" limit=\"20000\" \
             group=\"a\\\"b\\\\c\\]d e\" pps=\"48210\" bps=\"180000000\" peak_pps=\"50000\" \
             manual=\"false\"] \u{feff}Attack on 192.0.2.9: UDP reflection (ntp 98 %), \
             48,210 pps, 180.0 Mbps"
        )
    );
    for (kind, begin, id) in [
        (ActionKind::Updated, "<132>1 ", " ATTACK-UPDATE "),
        (ActionKind::Ended, "<134>1 ", " ATTACK-END "),
        (ActionKind::Banned, "<130>1 ", " MITIGATION-ADD "),
        (ActionKind::Unbanned, "<134>1 ", " MITIGATION-DEL "),
    ] {
        let text = syslog.message(&fixture::event(kind, 9));
        assert!(text.starts_with(begin) && text.contains(id), "{text}");
    }
}

#[test]
fn cef_escapes_what_has_a_meaning() {
    let settings = Config { format: Format::Cef, ..config(1, Transport::Udp) };
    let mut event = fixture::event(ActionKind::Banned, 9);
    event.attack.reason.group = "a=b|c\\d".into();
    (event.manual, event.note) = (true, "pipe | and back\\slash".into());
    let text = Syslog::new(settings).unwrap().message(&event);
    let (_, cef) = text.split_once(" - CEF:0|").unwrap();
    let want = "|MITIGATION-ADD|192.0.2.9 is banned: pipe \\| and back\\\\slash|10|rt=";
    assert!(cef.contains(want), "{cef}");
    assert!(cef.contains(" act=ban dst=192.0.2.9 cat=udp_reflection "), "{cef}");
    assert!(cef.ends_with(" cs1Label=group cs1=a\\=b|c\\\\d"), "{cef}");
}

#[test]
fn udp_sends_one_bounded_datagram() {
    let socket = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut settings = config(socket.local_addr().unwrap().port(), Transport::Udp);
    settings.host = "127.0.0.1".into();
    let syslog = Syslog::new(settings).unwrap();
    let mut event = fixture::event(ActionKind::Banned, 1);
    (event.manual, event.note) = (true, "ä".repeat(5000));
    attempt(&syslog, &event).unwrap();
    let mut bytes = [0; 8192];
    let length = socket.recv(&mut bytes).unwrap();
    assert!((MAX_UDP - 1..=MAX_UDP).contains(&length));
    assert!(std::str::from_utf8(&bytes[..length]).unwrap().starts_with("<130>1 "));
}

#[test]
fn streams_are_framed() {
    let event = fixture::event(ActionKind::Started, 1);
    let (server, received) = receiver(None);
    for framing in [Framing::OctetCounting, Framing::LineEnd] {
        let syslog = Syslog::new(config(server.port, Transport::Tcp(framing))).unwrap();
        attempt(&syslog, &event).unwrap();
        let (got, message) = (received.recv().unwrap(), syslog.message(&event));
        match framing {
            Framing::OctetCounting => assert_eq!(got, format!("{} {message}", message.len())),
            Framing::LineEnd => assert_eq!(got, format!("{message}\n")),
        }
    }
}

#[test]
fn tls_checks_certificates() {
    let certificate = Certificate::new();
    let (server, received) = receiver(Some(Arc::clone(&certificate.server)));
    let event = fixture::event(ActionKind::Started, 1);
    let with = |tls: TlsConfig| {
        let syslog = Syslog::new(config(server.port, Transport::Tls(tls))).unwrap();
        attempt(&syslog, &event)
    };
    with(certificate.client()).unwrap();
    assert!(received.recv().unwrap().contains(" <130>1 "));
    let error = with(Certificate::new().client()).unwrap_err();
    assert!(error.message.contains("certificate"), "{error}");
}

#[test]
fn tls_shows_our_certificate_where_it_is_asked_for() {
    let (theirs, ours) = (Certificate::new(), Certificate::new());
    let (server, received) = receiver(Some(theirs.server_that_asks_for(&ours)));
    let event = fixture::event(ActionKind::Started, 1);
    let with = |identity| {
        let tls = TlsConfig { identity, ..theirs.client() };
        let syslog = Syslog::new(config(server.port, Transport::Tls(tls))).unwrap();
        attempt(&syslog, &event)
    };
    with(Some((ours.file("ca.pem"), ours.file("key.pem")))).unwrap();
    assert!(received.recv().unwrap().contains(" <130>1 "));
    let error = with(None).unwrap_err();
    assert!(error.retry, "{error}");
}

/// A real rsyslog that writes what it understood to a file.
fn rsyslog(port: u16, folder: &std::path::Path) -> Option<Daemon> {
    let out = folder.join("out");
    let text = format!(
        "global(workDirectory=\"{}\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
         template(name=\"t\" type=\"string\" \
         string=\"%pri% %hostname% %app-name% %msgid% %structured-data% %msg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"t\")\n",
        folder.display(),
        out.display()
    );
    std::fs::write(folder.join("r.conf"), text).unwrap();
    let pid = folder.join("pid").display().to_string();
    let configuration = folder.join("r.conf").display().to_string();
    let daemon = Daemon::start("rsyslogd", &["-n", "-f", &configuration, "-i", &pid], folder)?;
    wait_until("rsyslogd listens", || listens(port));
    Some(daemon)
}

#[test]
fn rsyslog_understands_it_dies_and_comes_back() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let Some(first) = rsyslog(port, folder.path()) else { return };
    let transport = Transport::Tcp(Framing::OctetCounting);
    let settings = Config { host: "127.0.0.1".into(), ..config(port, transport) };
    let actions = queued(Arc::new(Syslog::new(settings).unwrap()));
    let lines = || {
        let text = std::fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    actions.submit(&fixture::shared(ActionKind::Started, 1));
    wait_until("the first message is written", || lines().len() == 1);
    assert!(lines()[0].starts_with("130 edge1 tidewall ATTACK-START [ddos@32473 uuid="));
    assert!(
        lines()[0].contains("] \u{feff}Attack on 192.0.2.1") || lines()[0].contains("] Attack")
    );
    drop(first);
    _ = std::fs::remove_file(folder.path().join("pid"));
    actions.submit(&fixture::shared(ActionKind::Banned, 1));
    actions.submit(&fixture::shared(ActionKind::Ended, 1));
    wait_until("attempts have failed", || status(&actions).retried > 1);
    let _second = rsyslog(port, folder.path()).unwrap();
    wait_until("the others are written", || lines().len() == 3);
    let ids: Vec<String> =
        lines().iter().map(|line| line.split(' ').nth(3).unwrap().to_owned()).collect();
    assert_eq!(ids, ["ATTACK-START", "MITIGATION-ADD", "ATTACK-END"]);
    let status = actions.shutdown(Duration::from_secs(10)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (3, 0, 0), "{status:?}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let field = |change: fn(&mut Config)| {
        let mut config = config(1, Transport::Udp);
        change(&mut config);
        Syslog::new(config).unwrap_err().field
    };
    assert_eq!(field(|config| config.facility = 24), "facility");
    assert_eq!(field(|config| config.hostname = "a b".into()), "hostname");
    assert_eq!(field(|config| config.app_name = "x".repeat(49)), "app_name");
}
