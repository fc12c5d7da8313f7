//! What an operator does to a broker's folder and store, besides running it: `check`, `token`,
//! `mesh`, `gc`, `backup`, `restore`, `move`, `audit`.

mod check;
mod import;
mod keep;
mod mesh;
mod place;
mod token;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::audit::{AuditArgs, AuditRunError};
use crate::cli::Args;
use crate::create::TokenError;
use crate::rules::RulesError;
use crate::settings::{self, SettingsError};
use crate::store::{PostgresUrlError, StoreError, StoreText};

pub use crate::import::SourceError;
pub(crate) use place::Place;

/// The commands, as they stand first on the command line.
const VERBS: [&str; 9] = [
    "audit", "backup", "check", "gc", "import", "mesh", "move", "restore", "token",
];

/// Run a claudemesh broker, and look after it
#[derive(Debug, Parser)]
#[command(name = "broker-min", version, max_term_width = 100)]
struct Operator {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the audit table
    Audit(AuditArgs),
    /// Say what is wrong with the settings, and change nothing
    #[command(after_help = CHECK_HELP)]
    Check(Box<Args>),
    /// Add, list and revoke the tokens by which meshes are made
    #[command(subcommand, after_help = TOKEN_HELP)]
    Token(token::Token),
    /// List, show, suspend, resume, delete and export meshes; their quota
    #[command(subcommand, after_help = MESH_HELP)]
    Mesh(mesh::Mesh),
    /// Delete what is marked as deleted or is older than its mesh keeps it, and give the room back
    /// to the system; the broker must be stopped
    Gc(mesh::Gc),
    /// Copy the broker's folder and store while the broker runs
    #[command(after_help = BACKUP_HELP)]
    Backup(keep::Backup),
    /// Put a backup in place for a broker that is stopped
    #[command(after_help = BACKUP_HELP)]
    Restore(keep::Restore),
    /// Take meshes of the existing system over, from its database or a dump of it, for a broker that is
    /// stopped
    #[command(after_help = IMPORT_HELP)]
    Import(import::Import),
    /// Move the store of a stopped broker from its folder into PostgreSQL
    #[command(after_help = MOVE_HELP)]
    Move(keep::Move),
}

const IMPORT_HELP: &str = "\
Takes meshes, members with their keys' public halves, open links, topics with who is in them, state and
memories; never a secret key. Afterwards only the broker's address changes: clients say hello with
the keys that they have. Messages that were said in topics, and those that nobody fetched yet, stay
behind: let people fetch them first. A mesh that is here already is left as it is, so the command may
be run again; all of it goes in at once, or nothing.
Examples:
  pg_dump --schema=mesh DATABASE > dump.sql
  broker-min import dump.sql --data /var/lib/claudemesh --dry-run
  broker-min import postgres://reader@db.example/claudemesh --data /var/lib/claudemesh";

const MOVE_HELP: &str = "\
Meshes, members, messages and the store's own id stay what they are: peers notice nothing. The file
stays in the folder as broker.db.moved. The way back is a backup of the new store, restored into a
folder.
Example:
  broker-min move --data /var/lib/claudemesh --store postgres://claudemesh@db.example/claudemesh";

const MESH_HELP: &str = "\
All of them work beside a running broker.
Examples:
  broker-min mesh list --data /var/lib/claudemesh
  broker-min mesh suspend team --data /var/lib/claudemesh
  broker-min mesh quota team --bytes 1000000000 --retention 30d --data /var/lib/claudemesh";

const BACKUP_HELP: &str = "\
A backup is of one moment. Nothing that was accepted before it is lost: peers notice a restored
store by its new id and send again what they sent since; what arrives twice is taken once. Who
joined after the backup must join again. A backup of a store in PostgreSQL is the same kind of
folder: either kind of store is restored from either. After PostgreSQL's own tools put a database
back, `restore --renew` gives its store a new id.
Examples:
  broker-min backup --data /var/lib/claudemesh --to /backup/2026-11-23
  broker-min restore --from /backup/2026-11-23 --data /var/lib/claudemesh-new
  broker-min restore --renew --data /var/lib/claudemesh --store postgres://claudemesh@db.example/new";

const CHECK_HELP: &str = "\
Takes the flags, variables and file that the broker takes. Exit code 1 if the broker could not run
so; a warning alone is 0.
Example:
  broker-min check --config /etc/claudemesh/broker.toml";

const TOKEN_HELP: &str = "\
A token lets its holder make meshes at a broker that runs with --create token. It is shown once and
kept as a hash. A running broker follows at once.
Examples:
  broker-min token add ana --expires 30d --data /var/lib/claudemesh
  claudemesh create team --broker wss://broker.example/ws --token TOKEN";

/// The folder that a command is about.
#[derive(Debug, Clone, clap::Args)]
struct DataArg {
    /// The broker's folder
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_BROKER_DATA")]
    data: PathBuf,
}

/// The folder and the store that a command is about.
#[derive(Debug, Clone, clap::Args)]
struct StoreArg {
    /// The broker's folder
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_BROKER_DATA")]
    data: PathBuf,
    /// The broker's store, if that is in PostgreSQL
    #[arg(
        long,
        value_name = "URL",
        env = "CLAUDEMESH_BROKER_STORE",
        hide_env_values = true
    )]
    store: Option<StoreText>,
}

/// Why a command ended badly. Its text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The audit table could not be verified, or does not hold.
    #[error(transparent)]
    Audit(#[from] AuditRunError),
    /// The settings cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The broker could not run with these settings; what is wrong was written before.
    #[error("the broker could not run with these settings")]
    Unsound,
    /// The tokens cannot be read or changed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The rules for meshes cannot be read or changed.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// There is no such mesh.
    #[error("no mesh here is called {0:?}; `mesh list` shows which there are")]
    NoMesh(String),
    /// More must be said.
    #[error("{0}")]
    Unsure(String),
    /// The store cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What shall be imported cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What shall be the store's URL is none.
    #[error(transparent)]
    StoreUrl(#[from] PostgresUrlError),
    /// This program was built without PostgreSQL.
    #[error(
        "--store: this broker-min was built without PostgreSQL; build it with the feature \
         `postgres`"
    )]
    NoPostgres,
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Write(#[from] std::io::Error),
}

/// Whether this first argument is one of these commands.
pub fn is_verb(first: Option<&OsString>) -> bool {
    first.is_some_and(|first| VERBS.iter().any(|verb| first == verb))
}

/// Runs the command in `arguments`, which begin with it. `data` is the folder if none is named.
/// Ends the process after help was asked for, or for arguments that cannot be read.
///
/// # Errors
/// [`OperatorError`].
pub fn run(
    mut arguments: Vec<OsString>,
    data: Option<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), OperatorError> {
    settings::no_password(&arguments)?;
    if arguments.first().is_some_and(|verb| verb == "check") {
        let flags = arguments.split_off(1);
        arguments.extend(settings::expand_from_env(&Args::command(), flags)?);
    }
    if let Some(data) = data
        && std::env::var_os("CLAUDEMESH_BROKER_DATA").is_none()
        && !arguments
            .iter()
            .any(|a| a.to_string_lossy().starts_with("--data"))
        && !arguments.iter().any(|a| a == "--help" || a == "-h")
    {
        arguments.push("--data".into());
        arguments.push(data.into());
    }
    let name = OsString::from("broker-min");
    let matches = Operator::command().get_matches_from(std::iter::once(name).chain(arguments));
    let operator = Operator::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match operator.verb {
        Verb::Audit(args) => Ok(crate::audit::run(&args, out)?),
        Verb::Check(args) => check::run(&args, out),
        Verb::Token(token) => token::run(&token, out),
        Verb::Mesh(args) => mesh::run(args, out),
        Verb::Gc(args) => mesh::gc(&args, out),
        Verb::Backup(args) => keep::backup(&args, out),
        Verb::Restore(args) => keep::restore(&args, out),
        Verb::Import(args) => import::run(&args, out),
        Verb::Move(args) => keep::move_in(&args, out),
    }
}

/// Unix ms.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// `30s`, `15m`, `12h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "a time looks like 30s, 15m, 12h or 7d".to_owned();
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let number = text.get(..text.len() - unit.len_utf8()).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let all = number
        .checked_mul(seconds)
        .filter(|s| *s <= 366 * 86_400 * 10);
    all.map(Duration::from_secs).ok_or_else(bad)
}

/// `2026-11-23T09:00:00.000Z`.
fn when(ms: u64) -> String {
    claudemesh_core::time::iso(ms)
}
