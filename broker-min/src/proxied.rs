//! Whose connection it is: the address that connected or, behind a proxy that is trusted, the one
//! that the proxy names.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::http::{HeaderMap, HeaderName, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Addresses of a header that are looked at, from the end.
const HOPS: usize = 32;

/// A network, `10.0.0.0/8` or `fd00::/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u32,
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network; it looks like 10.0.0.0/8, fd00::/8 or 192.168.1.10")]
pub struct CidrError;

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (network, bits) = match text.split_once('/') {
            Some((network, bits)) => (network, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| CidrError)?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most),
            None => Some(most),
        };
        let bits = bits.ok_or(CidrError)?;
        Ok(Self { network, bits })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl Cidr {
    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same =
            |a: u128, b: u128, size: u32| self.bits == 0 || (a ^ b) >> (size - self.bits) == 0;
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

/// What is counted as one address: an IPv4 address, or the /64 that a single IPv6 host has to
/// choose addresses from.
pub(crate) fn counted(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let network = u128::from(ip) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        v4 => v4,
    }
}

pub(crate) fn trusts(trusted: &[Cidr], ip: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(ip))
}

/// The client's address, as the proxies in `trusted` tell it: the last one named that is none of
/// them. What a client itself writes stands before that and is not believed. `X-Forwarded-For`
/// goes first; a proxy that writes only `Forwarded` must take the other one out.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    if !trusts(trusted, peer) {
        return peer;
    }
    let listed = headers.contains_key(X_FORWARDED_FOR);
    let name = if listed {
        X_FORWARDED_FOR
    } else {
        header::FORWARDED
    };
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let mut client = peer;
    for hop in values.iter().rev().flat_map(|v| v.rsplit(',')).take(HOPS) {
        let text = if listed {
            Some(hop)
        } else {
            forwarded_for(hop)
        };
        let Some(ip) = text.and_then(address) else {
            // Who is before something that cannot be read is not known.
            return client;
        };
        client = ip;
        if !trusts(trusted, ip) {
            return client;
        }
    }
    client
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// An address with or without port, brackets and quotes.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    let plain = || text.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
    text.parse().ok().or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(peer: &str, name: HeaderName, values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_is_behind_it() {
        let xff = |peer, values| of(peer, X_FORWARDED_FOR, values);
        assert_eq!(xff("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(xff("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(xff("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            xff("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]),
            "198.51.100.7"
        );
        assert_eq!(
            xff("10.0.0.1", &["1.1.1.1", "198.51.100.7:4242"]),
            "198.51.100.7"
        );
        assert_eq!(xff("10.0.0.1", &["1.1.1.1, unknown"]), "10.0.0.1");
        assert_eq!(xff("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(xff("fd00::1", &["2001:db8::7"]), "2001:db8::7");
        let forwarded = |values| of("10.0.0.1", header::FORWARDED, values);
        assert_eq!(
            forwarded(&["for=1.1.1.1, proto=https;For=\"[2001:db8::7]:80\""]),
            "2001:db8::7"
        );
        assert_eq!(forwarded(&["by=10.0.0.1"]), "10.0.0.1");
    }

    #[test]
    fn networks_parse() {
        for bad in ["", "10.0.0.0/33", "x/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            bad.parse::<Cidr>().unwrap_err();
        }
        assert!(
            "0.0.0.0/0"
                .parse::<Cidr>()
                .unwrap()
                .contains("1.2.3.4".parse().unwrap())
        );
        let one: Cidr = "192.0.2.1".parse().unwrap();
        assert!(one.contains("192.0.2.1".parse().unwrap()));
        assert!(!one.contains("192.0.2.2".parse().unwrap()));
        let ip = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(ip("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(ip("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
