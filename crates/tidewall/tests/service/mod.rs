//! `tidewall run` as a process with a folder of its own: what the system tests share.
#![allow(dead_code, reason = "each test file uses its part")]

#[allow(clippy::duplicate_mod, reason = "some tests share more than one such file")]
#[path = "../../../capture/tests/common/skip.rs"]
pub mod skip;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes longer on a machine that works.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the tests ask most.
pub const STATUS: &str = r#"{"ask":"status"}"#;
pub const ATTACKS: &str = r#"{"ask":"attacks"}"#;
pub const RELOAD: &str = r#"{"ask":"reload"}"#;

/// A service, its folder and its ports.
pub struct Service {
    pub child: Child,
    pub folder: tempfile::TempDir,
    pub sflow: u16,
    pub netflow: u16,
    /// In front of the program: `ip netns exec NAME` and the like.
    pub wrapper: Vec<String>,
    /// Further lines under `[service]`.
    pub more: String,
}

/// Two UDP ports that nobody uses just now.
pub fn free_ports() -> (u16, u16) {
    let sockets = [0, 0].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [a, b] = sockets.each_ref().map(|socket| socket.local_addr().unwrap().port());
    (a, b)
}

/// A NetFlow v5 datagram with one record: `packets` packets to the host 192.0.2.`host`.
pub fn v5(sequence: u32, uptime_ms: u32, packets: u32, host: u8) -> Vec<u8> {
    let mut out = vec![0, 5, 0, 1];
    out.extend(uptime_ms.to_be_bytes());
    out.extend(1_790_000_000_u32.to_be_bytes());
    out.extend([0; 4]);
    out.extend(sequence.to_be_bytes());
    out.extend([0; 4]);
    out.extend([198, 51, 100, 1, 192, 0, 2, host, 0, 0, 0, 0, 0, 1, 0, 2]);
    out.extend(packets.to_be_bytes());
    out.extend((packets * 100).to_be_bytes());
    out.extend(uptime_ms.saturating_sub(10).to_be_bytes());
    out.extend(uptime_ms.to_be_bytes());
    out.extend([0, 53, 0x11, 0x5c, 0, 0, 17, 0]);
    out.extend([0; 8]);
    out
}

impl Service {
    /// Nothing runs yet.
    pub fn prepared() -> Self {
        let (sflow, netflow) = free_ports();
        Self {
            child: Command::new("true").spawn().unwrap(),
            folder: tempfile::tempdir().unwrap(),
            sflow,
            netflow,
            wrapper: Vec::new(),
            more: String::new(),
        }
    }

    /// Listens on loopback, with these limits.
    pub fn start(limits: &str) -> Self {
        let mut service = Self::prepared();
        service.configure(limits);
        service.run();
        service
    }

    pub fn configure(&self, limits: &str) {
        self.write(&format!(
            "networks = [\"192.0.2.0/24\", \"2001:db8:2::/64\"]\n{limits}\n\
             [listen]\nsflow = [\"127.0.0.1:{}\"]\nnetflow = [\"127.0.0.1:{}\"]\n\
             receive_buffer = \"1M\"\n",
            self.sflow, self.netflow,
        ));
    }

    /// Writes the configuration; `[service]` is added.
    pub fn write(&self, text: &str) {
        let quoted = |name: &str| Value::from(self.path(name).to_str().unwrap()).to_string();
        let text = format!(
            "{text}\n[service]\ncontrol = {}\nstate = {}\n{}",
            quoted("control.sock"),
            quoted("state"),
            self.more,
        );
        fs::write(self.path("tidewall.toml"), text).unwrap();
    }

    /// Starts and waits until it answers.
    pub fn run(&mut self) {
        self.child = self.spawn();
        self.wait_for("the socket", |service| service.ask(STATUS).is_ok());
    }

    pub fn spawn(&self) -> Child {
        self.spawn_with(Stdio::null())
    }

    pub fn spawn_with(&self, stdin: Stdio) -> Child {
        let mut words = self.wrapper.iter().map(String::as_str).collect::<Vec<_>>();
        words.push(env!("CARGO_BIN_EXE_tidewall"));
        Command::new(words[0])
            .args(&words[1..])
            .args(["run", "--log", "json", "--config"])
            .arg(self.path("tidewall.toml"))
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn ask(&self, question: &str) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(self.path("control.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{question}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    pub fn data(&self, question: &str) -> Value {
        let answer = self.ask(question).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer["data"].clone()
    }

    pub fn status(&self) -> Value {
        self.data(STATUS)
    }

    /// A counter of all sources together.
    pub fn source(&self, counter: &str) -> u64 {
        self.status()["received"][counter].as_u64().unwrap()
    }

    /// Targets of the attacks that go on, in order.
    pub fn attacked(&self) -> Vec<String> {
        let attacks = self.data(ATTACKS);
        let attacks = attacks.as_array().unwrap().iter();
        let mut targets: Vec<_> =
            attacks.map(|a| a["target"].as_str().unwrap().to_owned()).collect();
        targets.sort_unstable();
        targets
    }

    /// What a command such as `tidewall status` prints.
    pub fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tidewall"))
            .args(words)
            .arg("--control")
            .arg(self.path("control.sock"))
            .output()
            .unwrap()
    }

    pub fn wait_for(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended while waiting for {what}: {}", self.log());
            let asked = self.ask(STATUS).unwrap_or_default();
            assert!(
                begin.elapsed() < PATIENCE,
                "waited in vain for {what}: {asked} {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends the signal and gives the status and how long the end took.
    pub fn end(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        self.signal(signal);
        let status = self.child.wait().unwrap();
        (status.code(), begin.elapsed())
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// The status it ends with by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
