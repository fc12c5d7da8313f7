//! TLS to PostgreSQL, as strict as the URL says.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::postgres_url::{PostgresUrl, PostgresUrlError, StoreTls};

/// Bytes of a file of authorities at most.
const MAX_FILE: u64 = 4 << 20;

pub(super) fn connector(url: &PostgresUrl) -> Result<MakeRustlsConnect, PostgresUrlError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let bad = |why: String| PostgresUrlError(why);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?;
    let config = match url.tls {
        StoreTls::Disable | StoreTls::Prefer | StoreTls::Require => {
            let inner = None;
            let verifier = Arc::new(Lenient { inner, provider });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        }
        StoreTls::VerifyCa => {
            let roots = Arc::new(roots(url)?);
            let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| bad(format!("sslrootcert: {error}")))?;
            let inner = Some(inner);
            let verifier = Arc::new(Lenient { inner, provider });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        }
        StoreTls::VerifyFull => builder
            .with_root_certificates(roots(url)?)
            .with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The authorities of `sslrootcert`, or those of the system.
fn roots(url: &PostgresUrl) -> Result<RootCertStore, PostgresUrlError> {
    use std::io::Read as _;
    let mut store = RootCertStore::empty();
    let Some(path) = &url.root else {
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() {
            let why = "this system has no certificate authorities; name a PEM file with \
                       sslrootcert, or with the variable SSL_CERT_FILE";
            return Err(PostgresUrlError(why.to_owned()));
        }
        return Ok(store);
    };
    let shown = path.display();
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut pem))
        .map_err(|error| PostgresUrlError(format!("sslrootcert {shown}: {error}")))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate
            .map_err(|_| ())
            .and_then(|certificate| store.add(certificate).map_err(|_| ()))
            .map_err(|()| {
                PostgresUrlError(format!("sslrootcert {shown}: a certificate cannot be read"))
            })?;
    }
    if store.is_empty() {
        let why = format!("sslrootcert {shown}: it holds no CERTIFICATE in PEM");
        return Err(PostgresUrlError(why));
    }
    Ok(store)
}

/// Takes a certificate for another name, and without an authority any; the server must hold its
/// key all the same.
#[derive(Debug)]
struct Lenient {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
