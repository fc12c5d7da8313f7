//! As much of HTTP as making members takes: one kept connection, one call after another.

use claudemesh_core::BrokerUrl;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::error::{During as _, LoadError};

/// Bytes of an answer at most.
const ANSWER: usize = 16 << 20;

/// A connection to a broker's HTTP routes.
pub(crate) struct Http {
    host: String,
    stream: BufReader<TcpStream>,
}

impl Http {
    pub(crate) async fn connect(url: &BrokerUrl) -> Result<Self, LoadError> {
        let host = url.authority();
        let stream = TcpStream::connect(&host).await.during(&host)?;
        stream.set_nodelay(true).during(&host)?;
        let stream = BufReader::new(stream);
        Ok(Self { host, stream })
    }

    /// Posts JSON; what is not answered with 200 is an error.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, LoadError> {
        let what = format!("POST {path}");
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let written = self.stream.get_mut().write_all(request.as_bytes()).await;
        written.during(&what)?;
        let (status, answer) = self.answer().await.during(&what)?;
        if status != 200 {
            let text = String::from_utf8_lossy(&answer).into_owned();
            return Err(LoadError::step(what, format!("{status} {text}")));
        }
        serde_json::from_slice(&answer).during(&what)
    }

    async fn answer(&mut self) -> std::io::Result<(u16, Vec<u8>)> {
        let bad = || std::io::Error::other("the answer is not HTTP with a length");
        let (mut status, mut length) = (None, None);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(bad());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            } else if status.is_none() {
                status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
            }
        }
        let (status, length) = status.zip(length).ok_or_else(bad)?;
        if length > ANSWER {
            return Err(bad());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }
}
