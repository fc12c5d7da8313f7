//! How the network is gone through on the way to a broker.

use std::path::{Path, PathBuf};

use super::TransportError;
use super::proxy::{Proxy, bypassed};
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
}

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
