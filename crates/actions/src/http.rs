//! JSON by HTTP POST: what webhooks and chats share. Which answers are worth another attempt, how
//! long the other side wants us to wait, and that no address is shown, for tokens stand in it.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use crate::message::cut;
use crate::tls::{CONNECT, TlsConfig};
use crate::{ActionError, ConfigError, Secret};

/// How much of an answer is kept for the error, in bytes.
const SHOWN: usize = 200;
/// How much of an answer is read, in bytes.
const MAX_ANSWER: usize = 16 * 1024;
/// Longest pause that another side may ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Settings of an HTTP client.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Time for one request, its answer included.
    pub timeout: Duration,
    /// Proxy for all requests; the environment is not asked.
    pub proxy: Option<String>,
    /// Certificates.
    pub tls: TlsConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), proxy: None, tls: TlsConfig::default() }
    }
}

/// A client for one address.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    address: Secret,
    /// What is shown of the address: its scheme and host.
    shown: String,
}

impl Http {
    pub(crate) fn new(
        action: &str,
        address: Secret,
        config: &HttpConfig,
    ) -> Result<Self, ConfigError> {
        let url: Url = (address.expose().parse())
            .map_err(|_| ConfigError::new(action, "url", "is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(ConfigError::new(action, "url", "must be http://HOST/ or https://HOST/"));
        }
        let shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config.tls.client(action)?.as_ref().clone())
            .connect_timeout(CONNECT)
            .timeout(config.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(concat!("tidewall/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &config.proxy {
            let proxy = reqwest::Proxy::all(proxy.as_str());
            let wrong = |_| ConfigError::new(action, "proxy", "is not the URL of a proxy");
            builder = builder.proxy(proxy.map_err(wrong)?);
        }
        let client = builder.build().map_err(|e| ConfigError::new(action, "url", e))?;
        Ok(Self { client, address, shown })
    }

    /// One request. Headers are names and values of ours.
    pub(crate) async fn post(
        &self,
        body: Vec<u8>,
        headers: &[(&'static str, String)],
    ) -> Result<(), ActionError> {
        let mut request = self.client.post(self.address.expose()).body(body);
        request = request.header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.map_err(|error| {
            // The address is in the error, and tokens are in the address.
            ActionError::temporary(format!("{}: {}", self.shown, causes(&error.without_url())))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = retry_after(&answer);
        let text = beginning(answer).await;
        let message = format!("{}: {status}: {}", self.shown, cut(text.trim(), SHOWN));
        Err(ActionError { message, retry: is_temporary(status), retry_after })
    }
}

/// Overload and faults of the server may pass; what it calls our mistake stays one.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// Seconds, as RFC 9110 §10.2.3 has them; dates are not used by those who limit rates.
fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: f64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|pause| pause.min(LONGEST_PAUSE))
}

async fn beginning(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= MAX_ANSWER {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).replace(char::is_control, " ")
}

/// An error with the errors that caused it, which say what really happened.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        let more = one.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = one.source();
    }
    text
}
