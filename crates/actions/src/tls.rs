//! TLS and TCP towards servers: rustls with ring, certificates checked against the machine's
//! roots or a given file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{ActionError, ConfigError};

/// Time for a TCP connection and a TLS handshake, each.
pub(crate) const CONNECT: Duration = Duration::from_secs(5);

/// Settings of a TLS client. Certificates are always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the authorities that are believed, and no others; without it those of the
    /// machine.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate chain and its key, for servers that ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsConfig {
    /// Reads the files. `action` is for the error.
    pub(crate) fn client(&self, action: &str) -> Result<Arc<ClientConfig>, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ConfigError::new(action, "tls", error))?;
        let builder = match &self.ca_file {
            Some(_) => {
                let mut roots = RootCertStore::empty();
                for certificate in self.authorities(action)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| ConfigError::new(action, "tls.ca_file", error))?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder
                .with_platform_verifier()
                .map_err(|error| ConfigError::new(action, "tls.ca_file", error))?,
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let wrong = |path: &PathBuf, error: &dyn std::fmt::Display| {
                    let message = format!("{}: {}", path.display(), error);
                    ConfigError::new(action, "tls.identity", message)
                };
                let certificates = CertificateDer::pem_file_iter(chain)
                    .and_then(Iterator::collect)
                    .map_err(|error| wrong(chain, &error))?;
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
                builder
                    .with_client_auth_cert(certificates, private)
                    .map_err(|error| wrong(key, &error))?
            }
        };
        Ok(Arc::new(config))
    }

    /// Certificates of the file; none without a file.
    pub(crate) fn authorities(
        &self,
        action: &str,
    ) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let wrong = |message: &dyn std::fmt::Display| {
            let message = format!("{}: {}", path.display(), message);
            ConfigError::new(action, "tls.ca_file", message)
        };
        let certificates: Vec<CertificateDer> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&error))?;
        if certificates.is_empty() {
            return Err(wrong(&"holds no certificate"));
        }
        Ok(certificates)
    }
}

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to `host` and `port`, with TLS where a client is given.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, ActionError> {
    let failed = |what: &dyn std::fmt::Display| {
        ActionError::temporary(format!("cannot connect to {host} port {port}: {what}"))
    };
    let tcp = match timeout(CONNECT, TcpStream::connect((host, port))).await {
        Err(_) => return Err(failed(&"no answer in time")),
        Ok(tcp) => tcp.map_err(|error| failed(&error))?,
    };
    // Small messages at once; a connection that cannot have it works all the same.
    _ = tcp.set_nodelay(true);
    let Some(client) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let handshake = TlsConnector::from(Arc::clone(client)).connect(name, tcp);
    match timeout(CONNECT, handshake).await {
        Err(_) => Err(failed(&"no TLS handshake in time")),
        Ok(stream) => Ok(Box::new(stream.map_err(|error| failed(&error))?)),
    }
}
