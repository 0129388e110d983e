//! One connection to the daemon: HTTP/2, with TLS or without, the probe that tells which interface
//! it serves, and the calls, each with a deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tidewall_bgp::{RouteFamily, RouteKey};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::api::{
    AddPathRequest, Api, DeletePathRequest, Empty, GetBgpResponse, Global, ListPathRequest,
    ListPathResponse, Method, Path,
};
use super::path::{Announcement, Facts, is_local, read, withdrawal};
use super::typed;
use crate::tls;

/// A list may take so many deadlines: the daemon gathers the whole table before the first answer.
const LIST_DEADLINES: u32 = 6;

/// Where the daemon is.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// As the daemon is asked for: scheme and authority.
    pub(super) origin: Uri,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// There is no use in this connection any more.
    Lost(String),
    /// The daemon does not do what it was asked for.
    Refused { words: String, code: Code },
}

impl CallError {
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Lost(words) | Self::Refused { words, .. } => words,
        }
    }
}

/// A connection whose interface is known.
pub(super) struct Client {
    grpc: Grpc<Connection>,
    driver: JoinHandle<()>,
    api: Api,
    /// It has refused the binary form and taken the typed one.
    typed: bool,
    deadline: Duration,
    global: Global,
}

/// The sending half of an HTTP/2 connection.
struct Connection(SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

impl Client {
    /// Connects, and asks by both names who is there.
    pub(super) async fn connect(server: &Server, deadline: Duration) -> Result<Self, String> {
        let connecting = async {
            let stream = tls::connect(&server.host, server.port, server.tls.as_ref())
                .await
                .map_err(|error| error.message)?;
            http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| format!("no HTTP/2 there: {error}"))
        };
        let (sender, connection) = timeout(deadline, connecting)
            .await
            .map_err(|_| format!("no connection within {} s", deadline.as_secs_f64()))??;
        let driver = tokio::spawn(async move {
            // What went wrong is said by the call that it goes wrong for.
            let _ = connection.await;
        });
        let grpc = Grpc::with_origin(Connection(sender), server.origin.clone());
        let global = Global::default();
        let mut client = Self { grpc, driver, api: Api::V4, typed: false, deadline, global };
        client.probe().await.map_err(CallError::into_words)?;
        Ok(client)
    }

    async fn probe(&mut self) -> Result<(), CallError> {
        let answer = match self.get_bgp().await {
            Err(CallError::Refused { code: Code::Unimplemented, .. }) => {
                self.api = Api::V3;
                self.get_bgp().await
            }
            answer => answer,
        };
        self.global = match answer {
            Ok(answer) => answer.global.unwrap_or_default(),
            Err(CallError::Refused { code: Code::Unimplemented, .. }) => {
                let words = "the server knows neither the interface of GoBGP 4.x nor that of 3.x";
                return Err(CallError::Lost(words.into()));
            }
            Err(error) => return Err(error),
        };
        if self.global.asn == 0 {
            return Err(CallError::Lost(
                "the daemon runs, but its BGP has not been started".into(),
            ));
        }
        Ok(())
    }

    async fn get_bgp(&mut self) -> Result<GetBgpResponse, CallError> {
        self.call(Method::GetBgp, Empty {}).await
    }

    /// Asks for nothing but an answer.
    pub(super) async fn check(&mut self) -> Result<(), CallError> {
        self.get_bgp().await.map(drop)
    }

    /// What it is, for the status.
    pub(super) fn about(&self) -> String {
        let Global { asn, router_id } = &self.global;
        // The text is the daemon's: no more of it than an address needs.
        let router_id: String = router_id.chars().take(39).filter(char::is_ascii_graphic).collect();
        format!("{} (AS {asn}, router id {router_id})", self.api.name())
    }

    /// Waits until the connection has come to its end.
    pub(super) async fn closed(&mut self) {
        let _ = (&mut self.driver).await;
    }

    /// Adds a path, in the form that the daemon takes.
    pub(super) async fn add(&mut self, route: &Announcement) -> Result<(), CallError> {
        let (key, facts) = (&route.key, &route.facts);
        self.in_its_form(key, facts, route.path(self.api), Self::add_path).await
    }

    /// Deletes the path of one route.
    pub(super) async fn delete(&mut self, key: &RouteKey, listed: &Facts) -> Result<(), CallError> {
        self.in_its_form(key, listed, withdrawal(key, self.api), Self::delete_path).await
    }

    async fn in_its_form(
        &mut self,
        key: &RouteKey,
        facts: &Facts,
        binary: Path,
        call: impl AsyncFn(&mut Self, Path) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        if !self.typed {
            let refused = match call(self, binary).await {
                Err(CallError::Refused { words, code: Code::InvalidArgument }) => words,
                answer => return answer,
            };
            if self.api == Api::V3 {
                return Err(CallError::Refused { words: refused, code: Code::InvalidArgument });
            }
        }
        let path = typed::typed(key, facts).map_err(|words| CallError::Refused {
            words: words.into(),
            code: Code::InvalidArgument,
        })?;
        call(self, path).await?;
        self.typed = true;
        Ok(())
    }

    async fn add_path(&mut self, path: Path) -> Result<(), CallError> {
        let request = AddPathRequest { table_type: self.api.global_table(), path: Some(path) };
        self.call::<_, Empty>(Method::AddPath, request).await.map(drop)
    }

    async fn delete_path(&mut self, path: Path) -> Result<(), CallError> {
        let request = DeletePathRequest::of(self.api, path).ok_or_else(|| CallError::Refused {
            words: "a path without a route would delete all".into(),
            code: Code::InvalidArgument,
        })?;
        self.call::<_, Empty>(Method::DeletePath, request).await.map(drop)
    }

    /// Lists the daemon's own paths of a family, those of these prefixes only unless there are none.
    pub(super) async fn list(
        &mut self,
        family: RouteFamily,
        prefixes: &[String],
        mut take: impl FnMut(RouteKey, Facts),
    ) -> Result<(), CallError> {
        let request = ListPathRequest::of(self.api, family, prefixes);
        let (whole, api) = (self.deadline * LIST_DEADLINES, self.api);
        let path = PathAndQuery::from_static(self.api.path(Method::ListPath));
        let listing = async {
            self.ready().await?;
            let codec = ProstCodec::<ListPathRequest, ListPathResponse>::default();
            let answer = self.grpc.server_streaming(Request::new(request), path, codec).await;
            let mut stream = answer.map_err(|status| refusal(&status))?.into_inner();
            while let Some(answer) = stream.message().await.map_err(|status| refusal(&status))? {
                let paths = answer.destination.map(|destination| destination.paths);
                for path in paths.into_iter().flatten().filter(is_local) {
                    let read = if path.nlri_binary.is_empty() && api == Api::V4 {
                        typed::read(family, &path)
                    } else {
                        read(family, &path)
                    };
                    if let Some((key, facts)) = read {
                        take(key, facts);
                    }
                }
            }
            Ok(())
        };
        timeout(whole, listing).await.unwrap_or_else(|_| Err(late(whole)))
    }

    async fn ready(&mut self) -> Result<(), CallError> {
        self.grpc
            .ready()
            .await
            .map_err(|error| CallError::Lost(format!("connection lost: {error}")))
    }

    async fn call<Q, A>(&mut self, method: Method, request: Q) -> Result<A, CallError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = PathAndQuery::from_static(self.api.path(method));
        let deadline = self.deadline;
        let calling = async {
            self.ready().await?;
            let mut request = Request::new(request);
            request.set_timeout(deadline);
            let answer = self.grpc.unary(request, path, ProstCodec::default()).await;
            answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status))
        };
        timeout(deadline, calling).await.unwrap_or_else(|_| Err(late(deadline)))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn late(deadline: Duration) -> CallError {
    CallError::Lost(format!("no answer within {} s", deadline.as_secs_f64()))
}

fn refusal(status: &Status) -> CallError {
    let code = status.code();
    // What the daemon says is shown to people: no control characters, and not without end.
    let said: String = status.message().chars().filter(|c| !c.is_control()).take(300).collect();
    let gone = matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal
    );
    // A status with a source was made here, of an error of the connection.
    if gone || std::error::Error::source(status).is_some() {
        return CallError::Lost(format!("connection lost: {said}"));
    }
    CallError::Refused { words: format!("the daemon refuses: {said}"), code }
}
