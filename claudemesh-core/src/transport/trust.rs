//! Which certificates are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
#[cfg(any(target_vendor = "apple", windows))]
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::provider;

/// The TLS set-up for one connection: with the authorities in `file`, or else the system's.
pub(super) fn client(file: Option<&Path>) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(provider::provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match file {
        Some(file) => config.with_root_certificates(read(file)?),
        #[cfg(any(target_vendor = "apple", windows))]
        None => config
            .with_platform_verifier()
            .map_err(|error| error.to_string())?,
        #[cfg(not(any(target_vendor = "apple", windows)))]
        None => config.with_root_certificates(system()?),
    };
    Ok(config.with_no_client_auth())
}

/// The authorities of a system whose own judgement is these and nothing else. Some in its files that
/// nobody can read any more are left out.
#[cfg(not(any(target_vendor = "apple", target_os = "android", windows)))]
fn system() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(match found.errors.first() {
            Some(error) => format!("the system's certificate authorities: {error}"),
            None => "this system has no certificate authorities; install its package \
                     ca-certificates, or name a file: --ca FILE, or SSL_CERT_FILE"
                .to_owned(),
        });
    }
    Ok(store)
}

/// The usual certificate authorities: Android's own can be asked only from Java, with an app's
/// context.
#[cfg(target_os = "android")]
fn system() -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    Ok(store)
}

fn read(file: &Path) -> Result<RootCertStore, String> {
    let named = |why: String| format!("the certificate authorities in {}: {why}", file.display());
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(file).map_err(|error| named(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| named(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| named(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(named("the file has no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// What a failed handshake means, and what to do. `file` is where the authorities came from.
pub(super) fn explain(error: &std::io::Error, file: Option<&Path>) -> String {
    let known = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match known {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => match file {
            Some(file) => format!(
                "its certificate was not issued by any authority in {}; give the file of the one \
                 that issued it: --ca FILE, or SSL_CERT_FILE",
                file.display()
            ),
            None => "its certificate was issued by an authority that this system does not know; \
                     for a private one give its file: --ca FILE, or SSL_CERT_FILE"
                .to_owned(),
        },
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "its certificate has expired; its operator must renew it".to_owned(),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "its certificate is for another name; use the address that it is for".to_owned(),
        Some(Error::InvalidCertificate(CertificateError::Other(other)))
            if other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
        {
            "its certificate is an authority's own, which `openssl req -x509` makes; its operator must issue \
             one for the server from it (docs/self-host.md shows how)"
                .to_owned()
        }
        Some(Error::InvalidMessage(_)) => {
            "it does not speak TLS; is it a ws:// address rather than wss://?".to_owned()
        }
        Some(
            Error::AlertReceived(
                AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
            )
            | Error::PeerIncompatible(_),
        ) => format!(
            "it and this program know no way to encrypt in common; its operator must allow TLS 1.3 or 1.2 \
             with AES-GCM, and X25519 or P-256: {error}"
        ),
        _ => error.to_string(),
    }
}
