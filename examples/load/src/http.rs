//! As much of HTTP as making members takes: a connection for each call, as brokers close them.

use claudemesh_core::BrokerUrl;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::error::{During as _, LoadError};

/// Bytes of an answer at most.
const ANSWER: usize = 16 << 20;

/// Posts JSON; what is not answered with 200 is an error.
pub(crate) async fn post(url: &BrokerUrl, path: &str, body: &Value) -> Result<Value, LoadError> {
    let what = format!("POST {path}");
    let (host, body) = (url.authority(), body.to_string());
    let mut stream = TcpStream::connect((url.host(), url.port()))
        .await
        .during(&what)?;
    stream.set_nodelay(true).during(&what)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.during(&what)?;
    let (status, answer) = answer(BufReader::new(stream)).await.during(&what)?;
    if status != 200 {
        let text = String::from_utf8_lossy(&answer).into_owned();
        return Err(LoadError::step(what, format!("{status} {text}")));
    }
    serde_json::from_slice(&answer).during(&what)
}

async fn answer(mut stream: BufReader<TcpStream>) -> std::io::Result<(u16, Vec<u8>)> {
    let bad = || std::io::Error::other("the answer is not HTTP with a length");
    let (mut status, mut length) = (None, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
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
    stream.read_exact(&mut body).await?;
    Ok((status, body))
}
