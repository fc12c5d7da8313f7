//! TLS in the broker's own process: a certificate and its key from two PEM files, read anew when
//! they change.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The two do not belong together, or rustls cannot use them.
    #[error("the certificate in {cert} and the key in {key} cannot be used together: {why}")]
    Pair {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        why: String,
    },
}

/// Where the certificate chain and its private key are: PEM, the server's own certificate first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads and checks the pair.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(&self) -> Result<(), TlsError> {
        self.config(&self.read()?).map(drop)
    }

    fn read(&self) -> Result<[Vec<u8>; 2], TlsError> {
        Ok([read(&self.cert)?, read(&self.key)?])
    }

    fn config(&self, [cert, key]: &[Vec<u8>; 2]) -> Result<ServerConfig, TlsError> {
        let malformed = |path: &Path, why: &str| TlsError::Malformed {
            path: path.display().to_string(),
            why: why.to_owned(),
        };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| malformed(&self.cert, "it is not PEM"))?;
        if chain.is_empty() {
            return Err(malformed(&self.cert, "it holds no CERTIFICATE in PEM"));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| malformed(&self.key, "it holds no PRIVATE KEY in PEM"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |error: rustls::Error| TlsError::Pair {
            cert: self.cert.display().to_string(),
            key: self.key.display().to_string(),
            why: error.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
            .map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// The certificate in use, and the files that it came from.
pub(crate) struct Tls {
    files: TlsFiles,
    /// What was read last, good or bad: only a change is looked into.
    seen: Mutex<Option<[Vec<u8>; 2]>>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the pair.
    pub(crate) fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let bytes = files.read()?;
        let config = Arc::new(files.config(&bytes)?);
        Ok(Arc::new(Self {
            files,
            seen: Mutex::new(Some(bytes)),
            current: RwLock::new(config),
        }))
    }

    fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(current.clone())
    }

    /// Takes a changed pair. A pair that cannot be used is told of, and the one before stays.
    pub(crate) fn reload(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match self.files.read() {
            Ok(bytes) => bytes,
            Err(error) => {
                // Told once, not every two seconds.
                if seen.take().is_some() {
                    tracing::error!(%error, "the certificate cannot be read; the old one stays");
                }
                return;
            }
        };
        if seen.as_ref() == Some(&bytes) {
            return;
        }
        match self.files.config(&bytes) {
            Ok(config) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(config);
                tracing::info!("a new certificate is in use");
            }
            Err(error) => {
                tracing::error!(%error, "the new certificate cannot be used; the old one stays");
            }
        }
        *seen = Some(bytes);
    }

    /// Looks at the files for as long as the broker runs.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            let tls = self.clone();
            // Files may be on a disk that is slow.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }
}

/// A connection's bytes, encrypted or not. The handshake is done by whoever reads or writes first,
/// so that one that is slow holds up nobody else.
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Of a simulated network.
    #[cfg(feature = "testing")]
    Given(Box<dyn claudemesh_core::ByteStream>),
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Failed,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, tls: Option<&Tls>) -> Self {
        match tls {
            Some(tls) => Self::Handshake(Box::new(tls.acceptor().accept(tcp))),
            None => Self::Plain(tcp),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Handshake(accept) = self {
            match ready!(Pin::new(accept.as_mut()).poll(cx)) {
                Ok(stream) => *self = Self::Tls(Box::new(stream)),
                Err(error) => {
                    *self = Self::Failed;
                    tracing::debug!(%error, "no TLS handshake");
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn failed<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)))
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_handshake(cx))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "testing")]
            Self::Given(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            Self::Handshake(_) | Self::Failed => failed(),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_handshake(cx))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "testing")]
            Self::Given(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            Self::Handshake(_) | Self::Failed => failed(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_handshake(cx))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "testing")]
            Self::Given(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            Self::Handshake(_) | Self::Failed => failed(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "testing")]
            Self::Given(stream) => stream.is_write_vectored(),
            // What TlsStream answers; asked before the handshake, too.
            _ => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "testing")]
            Self::Given(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            // Nothing was written yet.
            Self::Handshake(_) => Poll::Ready(Ok(())),
            Self::Failed => failed(),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "testing")]
            Self::Given(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Handshake(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}
