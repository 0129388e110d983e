//! Servers for tests, on loopback: own listeners that can be ended and started again on the same
//! port, real daemons where they are installed, and certificates.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::{Action, ActionStatus, Actions, Observer, QueueConfig, TlsConfig};

/// Something must happen within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Looks until it is so.
#[expect(clippy::disallowed_methods, reason = "servers of tests live in real time")]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let step = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if is_so() {
            return;
        }
        std::thread::sleep(step);
    }
    panic!("not in time: {what}");
}

/// A queue with short pauses in front of an action.
pub(crate) fn queued(action: Arc<dyn Action>) -> Actions {
    let config = QueueConfig {
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(200),
        ..QueueConfig::default()
    };
    Actions::start(vec![(action, config)], &quiet()).unwrap()
}

/// An observer that says nothing.
pub(crate) fn quiet() -> Observer {
    Arc::new(|_| {})
}

/// Status of its only action.
pub(crate) fn status(actions: &Actions) -> ActionStatus {
    actions.status().remove(0)
}

/// One attempt, on a runtime of its own.
pub(crate) fn attempt(
    action: &dyn Action,
    event: &crate::ActionEvent,
) -> Result<(), crate::ActionError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(action.apply(event))
}

/// A port on which nobody ever listens: tcpmux.
pub(crate) const DEAD_PORT: u16 = 1;

/// A port that nobody listens on yet.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Hands each connection to a function, on a thread of its own, until it is dropped.
pub(crate) struct Listener {
    pub(crate) port: u16,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// `port` 0: any.
    pub(crate) fn start(port: u16, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ending, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let ended = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { port, ending, thread: Some(thread) }
    }

    /// One that takes connections and says nothing for long.
    pub(crate) fn silent() -> Self {
        Self::start(0, |mut stream| while stream.read(&mut [0; 512]).is_ok_and(|n| n > 0) {})
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes it.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A request as an HTTP receiver got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// An HTTP server that gives the answers in their order, the last one again and again.
pub(crate) fn http(
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    answers: Vec<&'static str>,
) -> (Listener, Receiver<Request>) {
    let (sender, requests) = channel();
    let left = std::sync::atomic::AtomicUsize::new(0);
    let listener = Listener::start(port, move |stream| {
        let answer = || answers[left.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
        // A client that goes away in the middle is the client's business.
        _ = match &tls {
            None => one_request(stream, &sender, &answer),
            Some(config) => one_request(encrypted(stream, config), &sender, &answer),
        };
    });
    (listener, requests)
}

fn one_request(
    stream: impl Read + Write,
    sender: &Sender<Request>,
    answer: &dyn Fn() -> &'static str,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut request = Request { head, body: String::new() };
    let length: usize = request.header("content-length").unwrap_or("0").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    request.body = String::from_utf8(body).unwrap();
    sender.send(request).unwrap_or_default();
    let answer = answer();
    write!(stream.get_mut(), "HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n")?;
    stream.get_mut().flush()
}

/// The server's side of TLS.
pub(crate) fn encrypted(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream)
}

/// A certificate for `localhost`, signed by nobody else.
pub(crate) struct Certificate {
    folder: tempfile::TempDir,
    pub(crate) server: Arc<ServerConfig>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self { folder, server: Arc::new(server) }
    }

    /// A server that asks its clients for the certificate of `client`.
    pub(crate) fn server_that_asks_for(&self, client: &Self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in client.client().authorities("test").unwrap() {
            roots.add(certificate).unwrap();
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_cert_resolver(Arc::clone(&self.server.cert_resolver));
        Arc::new(server)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that believes this certificate only.
    pub(crate) fn client(&self) -> TlsConfig {
        TlsConfig { ca_file: Some(self.file("ca.pem")), identity: None }
    }
}

/// A daemon of the machine; killed when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// `None`, and a word about it, when it is not installed.
    pub(crate) fn start(program: &str, arguments: &[&str], folder: &Path) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                println!("skipped: {program}: {error}");
                None
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Does somebody listen there?
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
