//! The address of a broker.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a broker's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a broker address: {0}; it looks like ws://localhost:7900/ws or wss://broker.example/ws"
)]
pub struct BrokerUrlError(&'static str);

/// The WebSocket address of a broker, `ws://host[:port]/path` or `wss://…`. `http://` and
/// `https://` are taken for their WebSocket counterparts, and a missing path is `/ws`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// From where a broker's address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only from this machine.
    Machine,
    /// Only from this network (a private address, or a name without a dot).
    Network,
    /// As far as can be told, from anywhere.
    Anywhere,
}

impl BrokerUrl {
    /// Whether the connection is made with TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, `/ws` by default.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port` in lower case with the port always written: what a hello proof binds.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The origin of the broker's HTTP routes and of its links, without a trailing slash.
    pub fn http_origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.short_authority())
    }

    /// From where this address is good.
    pub fn reach(&self) -> Reach {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            let local = match ip {
                IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
                IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
            };
            return if ip.is_loopback() || ip.is_unspecified() {
                Reach::Machine
            } else if local {
                Reach::Network
            } else {
                Reach::Anywhere
            };
        }
        if self.host == "localhost" || self.host.ends_with(".localhost") {
            Reach::Machine
        } else if !self.host.contains('.') || self.host.ends_with(".local") {
            Reach::Network
        } else {
            Reach::Anywhere
        }
    }

    fn short_authority(&self) -> String {
        let authority = self.authority();
        let default = if self.tls { ":443" } else { ":80" };
        authority
            .strip_suffix(default)
            .map_or(authority.clone(), str::to_owned)
    }
}

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        if text.len() > 512 {
            return Err(BrokerUrlError("longer than 512 bytes"));
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(BrokerUrlError("it begins with no scheme"))?;
        let tls = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(BrokerUrlError("the scheme is neither ws nor wss")),
        };
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(text) => text
                .parse()
                .ok()
                .filter(|port| *port != 0 && text.bytes().all(|b| b.is_ascii_digit()))
                .ok_or(BrokerUrlError("the port is not a number from 1 to 65535"))?,
        };
        let path = if path.is_empty() || path == "/" {
            "/ws"
        } else {
            path
        };
        if !path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'|' | b'"'))
        {
            return Err(BrokerUrlError(
                "the path holds characters that do not belong there",
            ));
        }
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), BrokerUrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or(BrokerUrlError("a ']' is missing"))?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| BrokerUrlError("what stands in brackets is no IPv6 address"))?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok((host, None)),
            Some(port) => Ok((host, Some(port))),
            None => Err(BrokerUrlError("something stands between ']' and the port")),
        };
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let proper = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(proper) {
        return Err(BrokerUrlError(
            "the host name is missing or holds other characters",
        ));
    }
    Ok((host, port))
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.short_authority(), self.path)
    }
}

impl Serialize for BrokerUrl {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BrokerUrl {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for (text, authority, origin) in [
            (
                "ws://localhost:7900/ws",
                "localhost:7900",
                "http://localhost:7900",
            ),
            (
                "wss://Broker.Example",
                "broker.example:443",
                "https://broker.example",
            ),
            (
                "https://b.example:8443/",
                "b.example:8443",
                "https://b.example:8443",
            ),
            ("ws://[::1]:7900/ws", "[::1]:7900", "http://[::1]:7900"),
        ] {
            let url: BrokerUrl = text.parse().unwrap();
            assert_eq!(url.authority(), authority);
            assert_eq!(url.http_origin(), origin);
            assert_eq!(url.to_string().parse::<BrokerUrl>().unwrap(), url);
        }
        for bad in [
            "",
            "localhost:7900",
            "ftp://x",
            "ws://",
            "ws://a b",
            "ws://a:0",
            "ws://a:99999",
            "ws://a:+80",
            "ws://u@h",
            "ws://h/ws?x",
            "ws://h/a|b",
            "ws://[x]/ws",
            "ws://[::1]x",
        ] {
            bad.parse::<BrokerUrl>().unwrap_err();
        }
    }

    #[test]
    fn reach_is_told() {
        for (text, reach) in [
            ("ws://127.0.0.1:7900/ws", Reach::Machine),
            ("ws://localhost/ws", Reach::Machine),
            ("ws://192.168.1.2/ws", Reach::Network),
            ("ws://nas/ws", Reach::Network),
            ("wss://broker.example/ws", Reach::Anywhere),
        ] {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().reach(), reach, "{text}");
        }
    }
}
