//! Changes in TOML that people write by hand: comments, order and spaces stay.

use std::path::Path;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use super::edit::{Edit, read};
use super::{SERVER, Wanted};
use crate::exit::{Code, Failure};

const SERVERS: &str = "mcp_servers";
/// What Codex hands on to the server: it gives it few variables by itself.
pub(crate) const VARIABLES: [&str; 8] = [
    "CLAUDEMESH_CONFIG_DIR",
    "CLAUDEMESH_GROUPS",
    "CLAUDEMESH_MESH",
    "CLAUDEMESH_MESSAGES",
    "CLAUDEMESH_SESSION",
    "CLAUDEMESH_SESSION_ID",
    "CLAUDEMESH_SUMMARY",
    "SSL_CERT_FILE",
];

/// A TOML file, as `change` makes it. One in which nothing is left is no file.
pub(super) fn edit(
    path: &Path,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), Failure>,
) -> Result<Edit, Failure> {
    let before = read(path)?;
    let in_file = |why: &str| {
        let message = format!(
            "{}: {why}. Nothing was changed; put that right first",
            path.display()
        );
        Failure::new(Code::Io, message)
    };
    let text = before.as_deref().unwrap_or_default();
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| in_file(error.message()))?;
    change(&mut document).map_err(|failure| in_file(&failure.to_string()))?;
    let after = document.to_string();
    let after = match (&before, after.trim().is_empty()) {
        (None, true) => None,
        (Some(before), true) if !before.trim().is_empty() => None,
        _ => Some(after),
    };
    Ok(Edit::new(path.to_owned(), before, after))
}

/// Sets the server; what else stands in its table stays.
pub(super) fn put_server(document: &mut DocumentMut, wanted: &Wanted) -> Result<(), Failure> {
    let mut servers = Table::new();
    servers.set_implicit(true);
    let servers = document.entry(SERVERS).or_insert(Item::Table(servers));
    let no_table = || Failure::new(Code::Io, format!("{SERVERS} is no table"));
    let servers = servers.as_table_like_mut().ok_or_else(no_table)?;
    let server = servers.entry(SERVER).or_insert(Item::Table(Table::new()));
    let server = server.as_table_like_mut().ok_or_else(no_table)?;
    let list = |words: &[String]| words.iter().collect::<Array>();
    let variables = VARIABLES.map(str::to_owned);
    for (name, wanted) in [
        ("command", value(wanted.program.as_str())),
        ("args", value(list(&wanted.server_args()))),
        ("env_vars", value(list(&variables))),
    ] {
        let same = server
            .get(name)
            .is_some_and(|now| plain(now) == plain(&wanted));
        if !same {
            server.insert(name, wanted);
        }
    }
    Ok(())
}

pub(super) fn remove_server(document: &mut DocumentMut) -> Result<(), Failure> {
    let Some(servers) = document.get_mut(SERVERS) else {
        return Ok(());
    };
    if let Some(servers) = servers.as_table_like_mut() {
        servers.remove(SERVER);
        if servers.is_empty() {
            document.remove(SERVERS);
        }
    }
    Ok(())
}

/// A value without what stands around it.
fn plain(item: &Item) -> Option<Vec<String>> {
    match (item.as_str(), item.as_array()) {
        (Some(text), _) => Some(vec![text.to_owned()]),
        (None, Some(list)) => {
            let words = list.iter().map(|word| word.as_str().map(str::to_owned));
            words.collect()
        }
        (None, None) => None,
    }
}
