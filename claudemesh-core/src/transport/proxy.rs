//! A way through an HTTP proxy: `CONNECT host:port`, then the bytes go as they are.

use std::net::IpAddr;
use std::str::FromStr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::TransportError;
use crate::broker_url::{BrokerUrl, Reach};
use crate::encoding::base64;

/// Bytes of a proxy's answer at most.
const MAX_HEAD: usize = 16 * 1024;

/// A proxy, as `HTTPS_PROXY` names it. It may hold a password, so it has no `Debug`.
pub(super) struct Proxy {
    address: BrokerUrl,
    /// `user:password` in base64.
    login: Option<Zeroizing<String>>,
}

impl FromStr for Proxy {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<Self, TransportError> {
        // The text may hold a password and stands in no error.
        let bad = |why: &'static str| TransportError::Proxy {
            address: "HTTPS_PROXY".to_owned(),
            why: format!("{why}; it looks like http://proxy.example:3128"),
        };
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(bad("only http:// proxies are spoken to")),
            None => text,
        };
        let rest = rest.split('/').next().unwrap_or_default();
        let (login, host) = match rest.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, rest),
        };
        let address = format!("ws://{host}")
            .parse()
            .map_err(|_| bad("its host or port cannot be read"))?;
        let login = match login {
            Some(login) => {
                let login = decoded(login);
                let login = login.ok_or_else(|| bad("its user and password cannot be read"))?;
                Some(Zeroizing::new(base64(&login)))
            }
            None => None,
        };
        Ok(Self { address, login })
    }
}

impl Proxy {
    /// A stream to `url`'s host through the proxy.
    pub(super) async fn connect(&self, url: &BrokerUrl) -> Result<TcpStream, TransportError> {
        let failed = |why: String| TransportError::Proxy {
            address: self.address.authority(),
            why,
        };
        let io = |error: std::io::Error| failed(error.to_string());
        let mut tcp = TcpStream::connect((self.address.host(), self.address.port()))
            .await
            .map_err(io)?;
        let target = url.authority();
        let mut request =
            Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(login) = &self.login {
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(login);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await.map_err(io)?;
        // Byte by byte: what follows the empty line belongs to the other end.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                return Err(failed("its answer is too long".to_owned()));
            }
            let byte = tcp.read_u8().await.map_err(io)?;
            head.push(byte);
        }
        let status = head.split(|byte| *byte == b' ').nth(1).and_then(|text| {
            std::str::from_utf8(text.get(..3)?)
                .ok()?
                .parse::<u16>()
                .ok()
        });
        match status {
            Some(200..=299) => Ok(tcp),
            Some(407) => Err(failed(
                "it wants a user and a password: HTTPS_PROXY=http://user:password@host:port"
                    .to_owned(),
            )),
            Some(status) => Err(failed(format!(
                "it refuses to connect to {target} (HTTP {status})"
            ))),
            None => Err(failed("it does not speak as a proxy".to_owned())),
        }
    }
}

/// `%41` → `A`; none if a `%` is followed by something else.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (char::from(bytes.next()?), char::from(bytes.next()?));
            let value = high.to_digit(16)? * 16 + low.to_digit(16)?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

/// Whether no proxy is used for this address: it is this machine, or `list` (as in `NO_PROXY`)
/// names it. An entry is `*`, a name (which stands for what is under it too), an IP address or a
/// network such as `10.0.0.0/8`; a name or address may have a port.
pub(super) fn bypassed(url: &BrokerUrl, list: &str) -> bool {
    url.reach() == Reach::Machine
        || list
            .split(',')
            .map(str::trim)
            .any(|entry| !entry.is_empty() && names(entry, url))
}

fn names(entry: &str, url: &BrokerUrl) -> bool {
    if entry == "*" {
        return true;
    }
    let ip = url.host().parse::<IpAddr>().ok();
    if let (Some((network, bits)), Some(ip)) = (entry.split_once('/'), ip) {
        let parsed = network.parse::<IpAddr>().ok().zip(bits.parse::<u32>().ok());
        return parsed.is_some_and(|(network, bits)| within(ip, network, bits));
    }
    if let (Some(ip), Ok(named)) = (ip, entry.trim_matches(['[', ']']).parse::<IpAddr>()) {
        return ip == named;
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name, port.parse::<u16>().ok())
        }
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != url.port()) {
        return false;
    }
    let name = name.trim_matches(['[', ']']).to_ascii_lowercase();
    let name = name.strip_prefix("*.").unwrap_or(&name);
    let name = name.strip_prefix('.').unwrap_or(name);
    let under = || {
        let front = url.host().strip_suffix(name);
        front.is_some_and(|front| front.ends_with('.'))
    };
    !name.is_empty() && (url.host() == name || (ip.is_none() && under()))
}

fn within(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |ip: u128, network: u128, size: u32| {
        bits <= size && (bits == 0 || (ip ^ network) >> (size - bits) == 0)
    };
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            same(u32::from(ip).into(), u32::from(network).into(), 32)
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => same(ip.into(), network.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_as_other_programs_read_it() {
        let is = |url: &str, list: &str| bypassed(&url.parse().unwrap(), list);
        for (url, list) in [
            ("wss://localhost", ""),
            ("wss://127.0.0.1:7900", ""),
            ("wss://b.example", "*"),
            ("wss://b.example", "a.example, b.example"),
            ("wss://b.example", "example"),
            ("wss://b.example", ".example"),
            ("wss://b.example", "*.example"),
            ("wss://b.example:8443", "b.example:8443"),
            ("wss://10.1.2.3", "10.0.0.0/8"),
            ("wss://10.1.2.3", "10.1.2.3"),
            ("wss://[fd00::1]", "fd00::/8"),
            ("wss://[fd00::1]", "[fd00::1]"),
        ] {
            assert!(is(url, list), "{url} {list}");
        }
        for (url, list) in [
            ("wss://b.example", ""),
            ("wss://b.example", "ample"),
            ("wss://b.example", "other.b.example"),
            ("wss://b.example", "b.example:8443"),
            ("wss://10.1.2.3", "11.0.0.0/8"),
            ("wss://10.1.2.3", "2.3"),
            ("wss://10.1.2.3", "10.0.0.0/99"),
        ] {
            assert!(!is(url, list), "{url} {list}");
        }
    }

    #[test]
    fn a_proxys_password_stands_in_no_error() {
        for text in [
            "https://u:hunter2@p",
            "http://u:hunter2@p:x",
            "u:%zz hunter2@p",
        ] {
            let Err(error) = text.parse::<Proxy>() else {
                panic!("{text} was taken");
            };
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let proxy: Proxy = "http://u:p%40@proxy.example:3128/".parse().unwrap();
        assert_eq!(proxy.address.authority(), "proxy.example:3128");
        assert_eq!(proxy.login.unwrap().as_str(), base64(b"u:p@"));
    }
}
