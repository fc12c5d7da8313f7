//! Sockets: TCP, TLS, one HTTP request, the WebSocket upgrade. Nothing global: each TLS set-up is
//! made for its connection.

mod http;
mod network;
mod provider;
mod proxy;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(crate) use self::http::Answer;
pub use self::network::Network;
use crate::broker_url::BrokerUrl;
use crate::encoding::unbase64url;
use crate::wire::{HEADER_CHALLENGE, MAX_FRAME_FROM_LEGACY_BROKER};

/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an HTTP call may take.
const CALL: Duration = Duration::from_secs(15);

/// Why a connection could not be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nobody answers there.
    #[error("{address}: cannot connect ({why}); is the broker running, and is the address right?")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The TLS handshake failed.
    #[error("{address}: no secure connection ({why})")]
    Tls {
        /// Host and port.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// The proxy cannot be used, or refuses.
    #[error("the proxy at {address}: {why}")]
    Proxy {
        /// Host and port, or the variable that names it.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// What answers there is no broker.
    #[error("{address}: what answers there does not speak as a broker ({why})")]
    Protocol {
        /// Host and port.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// No answer in time.
    #[error("{address}: no answer within {seconds} s")]
    Timeout {
        /// Host and port.
        address: String,
        /// For how long was waited.
        seconds: u64,
    },
}

/// A stream of bytes in both directions, encrypted or not.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open WebSocket, and what its upgrade said.
pub(crate) struct Upgraded {
    pub(crate) socket: WebSocketStream<Box<dyn ByteStream>>,
    /// The broker's challenge.
    pub(crate) challenge: Option<[u8; 32]>,
    /// The broker's clock, unix ms.
    pub(crate) date: Option<u64>,
}

async fn open(url: &BrokerUrl, network: &Network) -> Result<Box<dyn ByteStream>, TransportError> {
    let address = url.authority();
    let connect = |why: String| TransportError::Connect {
        address: address.clone(),
        why,
    };
    let failed = |error: std::io::Error| connect(error.to_string());
    let stream: Box<dyn ByteStream> = if let Some(dialer) = network.dials_by() {
        let dialled = dialer.dial(url.host(), url.port()).await;
        dialled.map_err(failed)?
    } else {
        let tcp = match network.proxy(url)? {
            Some(proxy) => proxy.connect(url).await?,
            None => TcpStream::connect((url.host(), url.port()))
                .await
                .map_err(failed)?,
        };
        // Frames are small and wait for an answer: they are not to wait for each other.
        tcp.set_nodelay(true).map_err(failed)?;
        Box::new(tcp)
    };
    if !url.is_tls() {
        return Ok(stream);
    }
    let tls = |why: String| TransportError::Tls {
        address: address.clone(),
        why,
    };
    let authorities = network.authorities();
    let config = trust::client(authorities.as_deref()).map_err(tls)?;
    let name = rustls::pki_types::ServerName::try_from(url.host().to_owned())
        .map_err(|error| tls(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| tls(trust::explain(&error, authorities.as_deref())))?;
    Ok(Box::new(stream))
}

async fn within<T>(
    limit: Duration,
    url: &BrokerUrl,
    work: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(TransportError::Timeout {
            address: url.authority(),
            seconds: limit.as_secs(),
        })
    })
}

/// Opens a WebSocket to the broker.
pub(crate) async fn upgrade(
    url: &BrokerUrl,
    network: &Network,
) -> Result<Upgraded, TransportError> {
    within(CONNECT, url, async {
        let protocol = |why: String| TransportError::Protocol {
            address: url.authority(),
            why,
        };
        let request = url
            .to_string()
            .into_client_request()
            .map_err(|error| protocol(error.to_string()))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_message_size(Some(MAX_FRAME_FROM_LEGACY_BROKER))
            .max_frame_size(Some(MAX_FRAME_FROM_LEGACY_BROKER));
        let stream = open(url, network).await?;
        let (socket, response) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config))
                .await
                .map_err(|error| protocol(error.to_string()))?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let challenge = match header(HEADER_CHALLENGE) {
            Some(text) => {
                let bytes = unbase64url(text)
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok());
                Some(bytes.ok_or_else(|| protocol("its challenge is malformed".to_owned()))?)
            }
            None => None,
        };
        let date = header("date").and_then(parse_http_date);
        Ok(Upgraded {
            socket,
            challenge,
            date,
        })
    })
    .await
}

/// One HTTP call at the broker's origin; a body is JSON.
pub(crate) async fn call(
    url: &BrokerUrl,
    network: &Network,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: Option<String>,
) -> Result<Answer, TransportError> {
    within(CALL, url, async {
        let protocol = |why: String| TransportError::Protocol {
            address: url.authority(),
            why,
        };
        let host = url.authority();
        let request = http::request(method, &host, path, headers, body.as_deref());
        let request = request.map_err(protocol)?;
        let stream = open(url, network).await?;
        http::exchange(stream, &request).await.map_err(protocol)
    })
    .await
}

/// Reads an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`) as unix ms.
fn parse_http_date(text: &str) -> Option<u64> {
    let mut parts = text.get(5..)?.split([' ', ':']);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let day = number()?;
    let month = text.get(8..11)?;
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| *name == month)? as u64 + 1;
    let mut parts = text.get(12..)?.split([' ', ':']);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    // Days since 1970-01-01 of a date in the Gregorian calendar, years counted from March.
    let y = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = (y % 400) * 365 + (y % 400) / 4 - (y % 400) / 100 + day_of_year;
    let days = (y / 400) * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second.min(60) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::parse_http_date;

    #[test]
    fn http_dates_are_read() {
        assert_eq!(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000)
        );
        assert_eq!(
            parse_http_date("Tue, 29 Feb 2028 23:59:59 GMT"),
            Some(1_835_481_599_000)
        );
        for bad in [
            "",
            "x",
            "Sun, 06 Nov",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sün, 06 Nov 1994",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
