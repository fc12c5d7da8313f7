//! How the network is gone through on the way to a broker.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use super::proxy::{Proxy, bypassed};
use super::{ByteStream, TransportError};
use crate::broker_url::BrokerUrl;

/// Certificate authorities that are believed instead of the system's, as PEM.
const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// How connections to a broker are made: which certificate authorities are believed, and through
/// which proxy.
///
/// What is not chosen comes from the environment when a connection is made: `SSL_CERT_FILE` (a PEM
/// file of authorities, instead of the system's), `HTTPS_PROXY` and `NO_PROXY` (also in lower
/// case). A proxy is used for `wss://` and `https://` only, never for this machine itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    ca: Option<PathBuf>,
    direct: bool,
    dialer: Option<Dialer>,
}

/// Opens a connection to a host and a port.
type Dialing = Pin<Box<dyn Future<Output = std::io::Result<Box<dyn ByteStream>>> + Send>>;

/// What opens connections instead of TCP.
#[derive(Clone)]
pub(super) struct Dialer(Arc<dyn Fn(String, u16) -> Dialing + Send + Sync>);

impl Dialer {
    pub(super) async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn ByteStream>> {
        (self.0)(host.to_owned(), port).await
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dialer")
    }
}

impl PartialEq for Dialer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Dialer {}

impl Network {
    /// As the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Believes the certificate authorities in this PEM file, and no others. It is read for each
    /// connection, so a replaced file needs no restart.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        // A later change of the working directory must not lose the file.
        self.ca = Some(std::path::absolute(&file).unwrap_or(file));
        self
    }

    /// Uses no proxy, whatever the environment says.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Opens connections by this instead of by TCP: through a tunnel, or a simulated network. It is
    /// given host and port, and no proxy is used. TLS goes through what it opens.
    #[must_use]
    pub fn dialer<F, O>(mut self, dial: F) -> Self
    where
        F: Fn(String, u16) -> O + Send + Sync + 'static,
        O: Future<Output = std::io::Result<Box<dyn ByteStream>>> + Send + 'static,
    {
        let dial = move |host, port| -> Dialing { Box::pin(dial(host, port)) };
        self.dialer = Some(Dialer(Arc::new(dial)));
        self
    }

    /// What opens connections, if it is not TCP.
    pub(super) fn dials_by(&self) -> Option<&Dialer> {
        self.dialer.as_ref()
    }

    /// The file that [`Network::ca`] named.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// The file of authorities to believe, if it is not the system that says.
    pub(super) fn authorities(&self) -> Option<PathBuf> {
        let named = || variable(SSL_CERT_FILE).map(PathBuf::from);
        self.ca.clone().or_else(named)
    }

    /// The proxy on the way to `url`, if there is one.
    pub(super) fn proxy(&self, url: &BrokerUrl) -> Result<Option<Proxy>, TransportError> {
        if self.direct || !url.is_tls() {
            return Ok(None);
        }
        let Some(proxy) = either("HTTPS_PROXY") else {
            return Ok(None);
        };
        if bypassed(url, &either("NO_PROXY").unwrap_or_default()) {
            return Ok(None);
        }
        proxy.parse().map(Some)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variable in capitals or, as many programs write it, in small letters.
fn either(name: &str) -> Option<String> {
    variable(name).or_else(|| variable(&name.to_ascii_lowercase()))
}
