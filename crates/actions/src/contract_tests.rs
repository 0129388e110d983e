//! What every kind of action must do, by iterating the list: errors that are worth another attempt
//! when its server is gone, an end of each attempt when the server is silent, nothing secret in
//! what is printed, and no harm from 500 attacks in the same second.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewall_model::{Address, Target};

use crate::server::{self, DEAD_PORT, Listener, attempt, wait_until};
use crate::{
    Action, ActionKind, Actions, Config, QueueConfig, Secret, chat, fixture, mail, record, redis,
    script, syslog, webhook,
};

/// One of each kind, of each chat, and of each way to send syslog, towards a port of this machine.
fn all(port: u16, folder: &Path) -> Vec<Config> {
    let secret = || Secret::new("s3cret");
    let url = || Secret::new(format!("http://127.0.0.1:{port}/s3cret"));
    let server = || format!("http://127.0.0.1:{port}");
    let path = folder.join("notify.sh");
    std::fs::write(&path, "#!/bin/sh\ncat > /dev/null\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let chat = |name: &str, service| Config::Chat(chat::Config::new(name, service));
    let mut list = vec![
        Config::Script(script::Config::new(path)),
        Config::Record(record::Config::new(folder.join("attacks"))),
        Config::Webhook(webhook::Config {
            signing_key: Some(secret()),
            authorization: Some(secret()),
            ..webhook::Config::new(url())
        }),
        chat("slack", chat::Service::Slack { url: url() }),
        chat("discord", chat::Service::Discord { url: url() }),
        chat("teams", chat::Service::Teams { url: url() }),
        chat(
            "telegram",
            chat::Service::Telegram { token: secret(), chat_id: "1".into(), server: server() },
        ),
        chat("pagerduty", chat::Service::PagerDuty { routing_key: secret(), server: server() }),
        Config::Mail(mail::Config {
            port,
            security: mail::Security::None,
            login: Some(("noc".into(), secret())),
            ..mail::Config::new("127.0.0.1", "a@example.net", vec!["b@example.net".into()])
        }),
        Config::Syslog(syslog::Config {
            transport: syslog::Transport::Tcp(syslog::Framing::default()),
            ..syslog::Config::new("127.0.0.1", port)
        }),
        Config::Redis(redis::Config {
            port,
            login: Some((String::new(), secret())),
            timeout: Duration::from_secs(1),
            ..redis::Config::default()
        }),
    ];
    #[cfg(feature = "mongodb")]
    list.push(Config::MongoDb(crate::mongodb::Config {
        hosts: vec![("127.0.0.1".into(), port)],
        login: Some(("noc".into(), secret())),
        timeout: Duration::from_secs(1),
        ..crate::mongodb::Config::default()
    }));
    for config in &mut list {
        match config {
            Config::Webhook(config) => config.http.timeout = Duration::from_secs(1),
            Config::Chat(config) => config.http.timeout = Duration::from_secs(1),
            _ => {}
        }
    }
    list
}

/// Kinds that need no server.
fn is_local(config: &Config) -> bool {
    matches!(config, Config::Script(_) | Config::Record(_))
}

#[test]
fn the_list_holds_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let kinds: BTreeSet<&str> = all(1, folder.path()).iter().map(Config::kind).collect();
    let mut want = vec!["chat", "mail", "record", "redis", "script", "syslog", "webhook"];
    if cfg!(feature = "mongodb") {
        want.push("mongodb");
    }
    assert_eq!(kinds, want.into_iter().collect());
}

#[test]
fn a_ban_is_wanted_by_all_and_names_are_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut names = BTreeSet::new();
    for config in all(1, folder.path()) {
        let kind = config.kind();
        let action = config.build().unwrap();
        assert!(action.wants(&fixture::event(ActionKind::Banned, 1)), "{kind}");
        assert!(names.insert(action.name().to_owned()), "{kind}: {}", action.name());
    }
}

#[test]
fn secrets_are_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    for config in all(1, folder.path()) {
        assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
    }
}

#[test]
fn a_server_that_is_gone_is_worth_another_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let event = fixture::event(ActionKind::Banned, 1);
    for config in all(DEAD_PORT, folder.path()) {
        let (kind, local) = (config.kind(), is_local(&config));
        let action = config.build().unwrap();
        match attempt(action.as_ref(), &event) {
            Ok(()) => assert!(local, "{kind}: nobody was there"),
            Err(error) => {
                assert!(error.retry, "{kind}: {error}");
                assert!(!error.message.contains("s3cret"), "{kind}: {error}");
            }
        }
    }
}

#[test]
fn a_server_that_says_nothing_does_not_hold_an_attempt_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = Listener::silent();
    let event = fixture::event(ActionKind::Banned, 1);
    for config in all(server.port, folder.path()) {
        // One command of SMTP may take longer than a test should.
        if is_local(&config) || matches!(config, Config::Mail(_) | Config::Syslog(_)) {
            continue;
        }
        let kind = config.kind();
        let error = attempt(config.build().unwrap().as_ref(), &event).unwrap_err();
        assert!(error.retry, "{kind}: {error}");
    }
}

/// Every network action towards a server that is gone, the local ones at work: nothing waits, what
/// has no room is counted, all of it ends in time.
#[test]
fn five_hundred_attacks_at_once_towards_dead_servers() {
    let folder = tempfile::tempdir().unwrap();
    let mut list: Vec<(Arc<dyn Action>, QueueConfig)> = Vec::new();
    for config in all(DEAD_PORT, folder.path()) {
        let queue = QueueConfig { capacity: 600, ..config.queue() };
        list.push((config.build().unwrap(), queue));
    }
    let kinds = list.len();
    let actions = Actions::start(list, &server::quiet()).unwrap();
    let mut lost = 0;
    for kind in [ActionKind::Banned, ActionKind::Unbanned] {
        for host in 0..500u32 {
            let mut event = fixture::event(kind, u64::from(host));
            event.attack.target = Target::Host(Address::v4(0x0a00_0000 + host));
            lost += actions.submit(&Arc::new(event));
        }
    }
    let status = actions.status();
    assert_eq!(status.len(), kinds);
    let dropped: u64 = status.iter().map(|one| one.dropped).sum();
    assert_eq!(dropped, lost as u64, "what submit says is what the status says");
    for one in &status {
        assert!(one.waiting + one.running <= 600, "{one:?}");
    }
    wait_until("the files of the attacks are there", || {
        actions.status().iter().any(|one| one.name == "record" && one.done >= 500)
    });
    let end = actions.shutdown(Duration::from_millis(500));
    for one in &end {
        assert_eq!((one.waiting, one.running), (0, 0), "{one:?}");
        let seen = one.done + one.failed + one.dropped + one.repeated + one.merged;
        assert!(seen >= 500, "{one:?}");
    }
}
