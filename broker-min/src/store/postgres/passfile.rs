//! A password from a file in the form of `.pgpass`: `host:port:database:user:password` a line.

use std::io::Read as _;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::store::postgres_url::{PostgresUrl, PostgresUrlError};

/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 16;

/// The password for a URL that holds none: from its `passfile`, else from the variables
/// `PGPASSWORD` and `PGPASSFILE`.
pub(super) fn password(
    url: &PostgresUrl,
    config: &Config,
) -> Result<Option<String>, PostgresUrlError> {
    let path = match &url.passfile {
        Some(path) => path.clone(),
        None => {
            if let Ok(password) = std::env::var("PGPASSWORD") {
                return Ok(Some(password).filter(|password| !password.is_empty()));
            }
            match std::env::var_os("PGPASSFILE") {
                Some(path) => path.into(),
                None => return Ok(None),
            }
        }
    };
    let failed = |why: &str| PostgresUrlError(format!("passfile {}: {why}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(&path).map_err(|error| failed(&error.to_string()))?;
    #[cfg(unix)]
    if let Ok(meta) = file.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        if mode & 0o007 != 0 {
            return Err(failed("everybody on this machine may use it: chmod o= it"));
        }
    }
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error.to_string()))?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.as_str(),
        _ => "localhost",
    };
    let port = config
        .get_ports()
        .first()
        .copied()
        .unwrap_or(5432)
        .to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let wanted = [host, &port, database, user];
    let found = text.lines().find_map(|line| matching(line, wanted));
    found.map(Some).ok_or_else(|| {
        failed("no line of it is for this host, port, database and user (host:port:database:user:password, * for any)")
    })
}

fn matching(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next()?,
            c => c,
        };
        fields.last_mut()?.push(c);
    }
    let (password, head) = fields.split_last()?;
    let fits = |(field, wanted): (&String, &str)| field == "*" || field == wanted;
    (head.len() == 4 && head.iter().zip(wanted).all(fits)).then(|| password.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_pgpass() {
        let wanted = ["db", "5432", "team", "ana"];
        for (line, password) in [
            ("db:5432:team:ana:p", Some("p")),
            ("*:*:*:ana:p:q", Some("p:q")),
            (r"*:*:*:ana:p\:\\q", Some(r"p:\q")),
            ("db:5433:*:*:p", None),
            ("#db:5432:team:ana:p", None),
            ("db:5432:team:ana", None),
        ] {
            assert_eq!(matching(line, wanted).as_deref(), password, "{line}");
        }
    }
}
