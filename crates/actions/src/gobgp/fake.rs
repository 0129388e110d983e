//! A daemon for tests: serves either generation of the interface over HTTP/2, keeps a table as the
//! real one does, forgets it when it is restarted, and can be told to misbehave.

#![expect(clippy::disallowed_types, reason = "a test looks into the server while it runs")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use super::api::{
    AddPathRequest, Api, DeletePathRequest, Destination, Empty, Family, GetBgpResponse, Global,
    ListPathRequest, ListPathResponse, Path,
};
use super::path::one_route;
use tidewall_bgp::RouteFamily;

type Answer = Result<Vec<Vec<u8>>, (Code, &'static str)>;

/// What the daemon has and how it behaves.
pub(super) struct State {
    pub(super) api: Api,
    /// It knows the binary fields.
    pub(super) binary: bool,
    /// It takes calls and does not answer them.
    pub(super) silent: bool,
    /// BGP is started.
    pub(super) started: bool,
    /// These routes are refused, with these words.
    pub(super) refused: BTreeMap<Vec<u8>, &'static str>,
    /// An import policy filters everything.
    pub(super) filter: bool,
    /// An import policy takes communities away.
    pub(super) strip: bool,
    /// Families that cannot be listed.
    pub(super) unlisted: Vec<i32>,
    /// The paths of each route: by family and octets.
    pub(super) table: BTreeMap<(i32, i32, Vec<u8>), Vec<Path>>,
    /// Names of the calls, in order.
    pub(super) calls: Vec<String>,
    /// What a client must never do.
    pub(super) mistakes: Vec<String>,
}

/// A running daemon.
pub(super) struct Fake {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Fake {
    pub(super) fn start(api: Api) -> Self {
        Self::start_with(api, None)
    }

    pub(super) fn start_with(api: Api, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let state = State {
            api,
            binary: true,
            silent: false,
            started: true,
            refused: BTreeMap::new(),
            filter: false,
            strip: false,
            unlisted: Vec::new(),
            table: BTreeMap::new(),
            calls: Vec::new(),
            mistakes: Vec::new(),
        };
        let port = crate::server::free_port();
        let mut fake = Self { port, state: Arc::new(Mutex::new(state)), tls, running: None };
        fake.run();
        fake
    }

    /// Starts to listen.
    pub(super) fn run(&mut self) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = accept(listener, state, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        self.running = Some((stop, thread));
    }

    /// Ends it; its table is lost.
    pub(super) fn kill(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.send(()).unwrap();
            thread.join().unwrap();
        }
        self.state().table.clear();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            assert_eq!(self.state().mistakes, [""; 0]);
        }
    }
}

impl State {
    /// Puts a path in without the interface: somebody else's, or of an earlier run.
    pub(super) fn put(&mut self, path: Path, neighbour: &str) {
        let key = self.key(&path).unwrap();
        self.table.entry(key).or_default().push(Path { neighbor_ip: neighbour.into(), ..path });
    }

    /// The name of a path's route.
    fn key(&self, path: &Path) -> Option<(i32, i32, Vec<u8>)> {
        let family = path.family?;
        let nlri = if self.binary { &path.nlri_binary } else { &path.nlri };
        (!nlri.is_empty()).then(|| (family.afi, family.safi, nlri.clone()))
    }

    fn answer(&mut self, method: &str, message: &[u8]) -> Answer {
        let (service, method) = method.trim_start_matches('/').split_once('/').unwrap();
        let ours = match self.api {
            Api::V3 => "apipb.GobgpApi",
            Api::V4 => "api.GoBgpService",
        };
        if service != ours {
            return Err((Code::Unimplemented, "unknown service"));
        }
        match method {
            "GetBgp" => {
                let asn = if self.started { 65_001 } else { 0 };
                let global = Some(Global { asn, router_id: "10.99.0.1".into() });
                Ok(vec![GetBgpResponse { global }.encode_to_vec()])
            }
            "AddPath" => self.add(AddPathRequest::decode(message).unwrap()),
            "DeletePath" => self.delete(DeletePathRequest::decode(message).unwrap()),
            "ListPath" => self.list(&ListPathRequest::decode(message).unwrap()),
            _ => Err((Code::Unimplemented, "unknown method")),
        }
    }

    fn check_table(&mut self, table_type: i32) {
        if table_type != i32::from(self.api == Api::V4) {
            self.mistakes.push(format!("table type {table_type}"));
        }
    }

    fn add(&mut self, request: AddPathRequest) -> Answer {
        self.check_table(request.table_type);
        let path = request.path.unwrap();
        let Some(key) = self.key(&path) else {
            return Err((Code::InvalidArgument, "empty argument"));
        };
        if let Some(words) = self.refused.get(&key.2) {
            return Err((Code::Unknown, words));
        }
        if self.filter {
            return Ok(vec![Empty {}.encode_to_vec()]);
        }
        let mut path = Path { neighbor_ip: "<nil>".into(), ..path };
        if self.strip {
            path.pattrs_binary.retain(|octets| octets.get(1) != Some(&8));
        }
        let paths = self.table.entry(key).or_default();
        paths.retain(|path| path.neighbor_ip != "<nil>");
        paths.push(path);
        Ok(vec![Empty {}.encode_to_vec()])
    }

    fn delete(&mut self, request: DeletePathRequest) -> Answer {
        self.check_table(request.table_type);
        let Some(path) = request.path else {
            self.mistakes.push("everything is deleted".into());
            self.table.clear();
            return Ok(vec![Empty {}.encode_to_vec()]);
        };
        let Some(key) = self.key(&path) else {
            return Err((Code::InvalidArgument, "empty argument"));
        };
        if let Some(paths) = self.table.get_mut(&key) {
            paths.retain(|path| path.neighbor_ip != "<nil>");
            if paths.is_empty() {
                self.table.remove(&key);
            }
        }
        Ok(vec![Empty {}.encode_to_vec()])
    }

    fn list(&mut self, request: &ListPathRequest) -> Answer {
        self.check_table(request.table_type);
        let Family { afi, safi } = request.family.unwrap();
        if self.unlisted.contains(&safi) {
            return Err((Code::Unknown, "address family is not supported"));
        }
        let exact = i32::from(self.api == Api::V4);
        if request.prefixes.iter().any(|prefix| prefix.kind != exact) {
            self.mistakes.push("not this very prefix".into());
        }
        let wanted = |octets: &[u8]| {
            let family = if afi == 1 { RouteFamily::Ipv4Unicast } else { RouteFamily::Ipv6Unicast };
            let name = one_route(family, octets).map(|key| key.to_string());
            let listed = |name: &String| request.prefixes.iter().any(|p| p.prefix == *name);
            !self.binary || request.prefixes.is_empty() || name.as_ref().is_some_and(listed)
        };
        let of_family = self.table.iter().filter(|((a, s, _), _)| (*a, *s) == (afi, safi));
        Ok(of_family
            .filter(|((.., octets), _)| wanted(octets))
            .map(|(_, paths)| {
                let destination = Some(Destination { paths: paths.clone() });
                ListPathResponse { destination }.encode_to_vec()
            })
            .collect())
    }
}

async fn accept(
    listener: std::net::TcpListener,
    state: Arc<Mutex<State>>,
    tls: Option<Arc<rustls::ServerConfig>>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| serve(Arc::clone(&state), request));
        let server = http2::Builder::new(TokioExecutor::new());
        let tls = tls.clone();
        tokio::spawn(async move {
            // Clients come and go.
            let _ = match tls {
                None => server.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                    Err(_) => return,
                    Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                },
            };
        });
    }
}

/// Answers one call, in the framing of gRPC.
async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let method = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = {
        let mut state = state.lock().unwrap();
        state.calls.push(method.clone());
        (!state.silent).then(|| state.answer(&method, &body[5..]))
    };
    let Some(answer) = answer else { return std::future::pending().await };
    let mut messages = Vec::new();
    let mut trailers = HeaderMap::new();
    match answer {
        Ok(answers) => {
            for answer in answers {
                messages.push(0);
                messages.extend((answer.len() as u32).to_be_bytes());
                messages.extend(answer);
            }
            trailers.insert("grpc-status", 0.into());
        }
        Err((code, words)) => {
            trailers.insert("grpc-status", (code as i32).into());
            trailers.insert("grpc-message", http::HeaderValue::from_static(words));
        }
    }
    let body = Full::new(Bytes::from(messages));
    let body = body.with_trailers(async move { Some(Ok(trailers)) });
    Ok(Response::builder()
        .header("content-type", "application/grpc")
        .body(body.boxed_unsync())
        .unwrap())
}
