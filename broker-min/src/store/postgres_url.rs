//! Where a PostgreSQL store is, as its operator writes it: a URL that may hold a password.
//!
//! The text is shown nowhere: `Debug` and `Display` leave out everything but host, database and
//! schema, and no error repeats a part of it.

use std::path::PathBuf;
use std::str::FromStr;

/// What the tables are in, if nothing else is said.
const SCHEMA: &str = "claudemesh";

/// A text of an operator that may be a [`PostgresUrl`] with a password: it is not shown. Any text
/// passes, since a message about one that does not would repeat it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreText(String);

impl std::fmt::Debug for StoreText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreText")
    }
}

impl FromStr for StoreText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl StoreText {
    /// What it says.
    ///
    /// # Errors
    /// [`PostgresUrlError`].
    pub fn url(&self) -> Result<PostgresUrl, PostgresUrlError> {
        self.0.parse()
    }
}

/// How the way to PostgreSQL is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreTls {
    /// Never TLS.
    Disable,
    /// TLS if the server offers it, with whatever certificate.
    Prefer,
    /// TLS, with whatever certificate; with `sslrootcert` as [`StoreTls::VerifyCa`].
    Require,
    /// TLS with a certificate of an authority that is trusted.
    VerifyCa,
    /// TLS with such a certificate for the host's name.
    VerifyFull,
}

impl StoreTls {
    /// As it is written in the URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// A URL that names no PostgreSQL store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--store: {0}; write postgres://USER@HOST/DATABASE?sslmode=verify-full, with the password in \
     a passfile (docs/operations.md)"
)]
pub struct PostgresUrlError(pub(super) String);

/// Where a PostgreSQL store is: `postgres://user:password@host:port/database?name=value`.
///
/// Beside the usual parameters (`host`, `port`, `user`, `password`, `dbname`, `connect_timeout`,
/// `target_session_attrs`, …) these are known: `sslmode`, `sslrootcert` (a PEM file), `passfile`
/// (in the form of `.pgpass`), and `schema` (where the tables are: `claudemesh`). Without `sslmode`
/// it is `prefer` on this machine, else `verify-full`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// The URL without the parameters that are read here.
    pub(super) plain: String,
    pub(super) label: String,
    pub(super) schema: String,
    pub(super) tls: StoreTls,
    pub(super) root: Option<PathBuf>,
    pub(super) passfile: Option<PathBuf>,
    remote: bool,
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresUrl({})", self.label)
    }
}

impl std::fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

impl PostgresUrl {
    /// Whether a text that may be such a URL holds a password.
    pub fn holds_password(text: &str) -> bool {
        let after = text.split_once("://").map_or(text, |(_, after)| after);
        let (before, query) = after.split_once('?').unwrap_or((after, ""));
        let user = before.rsplit_once('@').map_or("", |(user, _)| user);
        let named = query
            .split('&')
            .any(|pair| decode(pair).is_none_or(|pair| pair.starts_with("password=")));
        user.contains(':') || (named && !query.is_empty())
    }

    /// How the way to it is protected.
    pub fn tls(&self) -> StoreTls {
        self.tls
    }

    /// Whether it is on another machine.
    pub fn is_remote(&self) -> bool {
        self.remote
    }

    /// The schema that its tables are in.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, PostgresUrlError> {
        let bad = |why: &str| PostgresUrlError(why.to_owned());
        let after = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or_else(|| bad("it does not begin with postgres://"))?;
        let (before, query) = after.split_once('?').unwrap_or((after, ""));
        let (authority, database) = before.split_once('/').unwrap_or((before, ""));
        let mut hosts = authority
            .rsplit_once('@')
            .map_or(authority, |(_, hosts)| hosts)
            .to_owned();
        let mut rest = Vec::new();
        let (mut schema, mut tls) = (SCHEMA.to_owned(), None);
        let (mut root, mut passfile) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| bad("a parameter has no value"))?;
            let value = decode(value).ok_or_else(|| bad("a parameter cannot be read"))?;
            match name {
                "sslmode" => tls = Some(mode(&value).ok_or_else(|| bad(MODES))?),
                "sslrootcert" => root = Some(PathBuf::from(value)),
                "passfile" => passfile = Some(PathBuf::from(value)),
                "schema" => schema = value,
                _ => {
                    if name == "host" {
                        hosts = value;
                    }
                    rest.push(pair);
                }
            }
        }
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if schema.is_empty()
            || schema.len() > 48
            || !schema.chars().all(sound)
            || schema.starts_with("pg_")
            || schema.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(bad(
                "schema: up to 48 small letters, digits and _, not beginning with pg_ or a digit",
            ));
        }
        let remote = !hosts.is_empty() && hosts.split(',').any(|host| !is_here(host));
        let query = rest.join("&");
        let plain = match query.as_str() {
            "" => format!("postgres://{before}"),
            query => format!("postgres://{before}?{query}"),
        };
        let place = if hosts.is_empty() {
            "localhost"
        } else {
            &hosts
        };
        Ok(Self {
            plain,
            label: format!("PostgreSQL at {place}/{database}, schema {schema}"),
            schema,
            tls: match (tls, &root) {
                (Some(StoreTls::Require), Some(_)) => StoreTls::VerifyCa,
                (Some(tls), _) => tls,
                (None, _) if remote => StoreTls::VerifyFull,
                (None, _) => StoreTls::Prefer,
            },
            root,
            passfile,
            remote,
        })
    }
}

const MODES: &str = "sslmode is disable, prefer, require, verify-ca or verify-full";

fn mode(text: &str) -> Option<StoreTls> {
    use StoreTls::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let all = [Disable, Prefer, Require, VerifyCa, VerifyFull];
    all.into_iter().find(|mode| mode.as_str() == text)
}

/// Whether a host, with its port or without, is this machine.
fn is_here(host: &str) -> bool {
    let decoded = decode(host).unwrap_or_default();
    if decoded.starts_with('/') || decoded.starts_with('@') {
        return true;
    }
    let name = match decoded.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => decoded.split(':').next().unwrap_or_default(),
    };
    name == "localhost"
        || decoded
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        || name
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// Takes `%41` for `A`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(rest.next())? * 16 + digit(rest.next())?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_shows_the_password() {
        let text = "postgres://ana:hush%40@db.example:5433/team?password=hush2&sslmode=require";
        let url: PostgresUrl = text.parse().unwrap();
        for shown in [format!("{url}"), format!("{url:?}")] {
            assert!(!shown.contains("hush") && shown.contains("db.example:5433/team"));
        }
        for bad in [
            "mysql://ana:hush@x/y",
            "postgres://ana:hush@x/y?sslmode=hush",
            "postgres://ana:hush@x/y?hush",
            "postgres://ana:hush@x/y?schema=Hush",
            "postgres://ana:hush@x/y?schema=%h",
        ] {
            let error = bad.parse::<PostgresUrl>().unwrap_err().to_string();
            assert!(!error.to_lowercase().contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_password_is_noticed_wherever_it_stands() {
        for (text, holds) in [
            ("postgres://ana@x/y", false),
            ("postgres://x:5432/y?sslmode=disable", false),
            ("postgres://ana:p@x/y", true),
            ("postgres://ana:@x/y", true),
            ("postgres://ana@x/y?password=p", true),
            ("postgres://ana@x/y?p%61ssword=p", true),
            ("ana:p@x", true),
        ] {
            assert_eq!(PostgresUrl::holds_password(text), holds, "{text}");
        }
    }

    #[test]
    fn without_a_word_others_must_show_who_they_are() {
        for (text, mode, remote) in [
            ("postgres://db.example/x", StoreTls::VerifyFull, true),
            ("postgres://localhost/x", StoreTls::Prefer, false),
            ("postgres://[::1]:5432/x", StoreTls::Prefer, false),
            (
                "postgres://127.0.0.1,10.0.0.1/x",
                StoreTls::VerifyFull,
                true,
            ),
            ("postgres:///x?host=%2Frun%2Fpg", StoreTls::Prefer, false),
            ("postgres://%2Frun%2Fpg/x", StoreTls::Prefer, false),
            ("postgres:///x?host=db", StoreTls::VerifyFull, true),
            ("postgres://db/x?sslmode=require", StoreTls::Require, true),
            (
                "postgres://db/x?sslmode=require&sslrootcert=ca.pem",
                StoreTls::VerifyCa,
                true,
            ),
            ("postgres://db/x?sslmode=disable", StoreTls::Disable, true),
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!((url.tls(), url.is_remote()), (mode, remote), "{text}");
        }
        let url: PostgresUrl = "postgresql://a@b/c?application_name=x&schema=team_2&port=1"
            .parse()
            .unwrap();
        assert_eq!(url.schema(), "team_2");
        assert_eq!(url.plain, "postgres://a@b/c?application_name=x&port=1");
    }
}
