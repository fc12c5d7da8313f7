//! `broker-min audit verify`: whether the audit table of a broker is what it was, by itself and by
//! what its peers were told.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use claudemesh_core::audit::Place as AuditPlace;
use claudemesh_core::id::{Hash, MeshId};
use serde_json::Value;

use crate::operator::{OperatorError, Place};
use crate::store::{PostgresUrlError, StoreError, StoreText};

/// Bytes of a file of heads at most.
const MAX_FILE: u64 = 64 << 20;

const HELP: &str = "\
Who can write to the store can make a whole chain anew, so that its rows fit each other. Peers that
read the table keep the last place that they were told of: `claudemesh audit --json` gives it, and
--heads compares it with what is there now. In a folder the broker must be stopped; beside
PostgreSQL it may run.
Example:
  claudemesh audit --json >ana.json
  broker-min audit verify --data /var/lib/claudemesh --heads ana.json";

/// Check the audit table
#[derive(Debug, Clone, Parser)]
#[command(name = "broker-min audit", version)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum AuditCommand {
    /// Compute the chains of hashes anew and say what was altered
    #[command(after_help = HELP)]
    Verify(VerifyArgs),
}

#[derive(Debug, Clone, Args)]
struct VerifyArgs {
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
    /// Only this mesh
    #[arg(long, value_name = "ID")]
    mesh: Option<MeshId>,
    /// A place that a peer was told of, in the mesh of --mesh: its number and its hash; may be
    /// repeated
    #[arg(long = "head", value_name = "N:HASH", value_parser = head, requires = "mesh")]
    heads: Vec<(u64, Hash)>,
    /// What peers' `claudemesh audit --json` gave, any number of them; - reads stdin
    #[arg(long = "heads", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Why an audit table could not be verified, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditRunError {
    /// The folder cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What shall be the store's URL is none.
    #[error(transparent)]
    StoreUrl(#[from] PostgresUrlError),
    /// This program was built without PostgreSQL.
    #[error("--store: this broker-min was built without PostgreSQL")]
    NoPostgres,
    /// A file of heads cannot be read.
    #[error("{path}: {why}; it should hold what `claudemesh audit --json` gave")]
    Heads {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such mesh.
    #[error("no audit rows of mesh {0} here")]
    NoMesh(MeshId),
    /// Something was altered; what, was written before.
    #[error("the audit table of {0} of the meshes was altered")]
    Altered(usize),
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] std::io::Error),
}

/// Runs the command: one line for each mesh goes to `out`.
///
/// # Errors
/// [`AuditRunError`], also if a table was altered.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> Result<(), AuditRunError> {
    let AuditCommand::Verify(args) = &args.command;
    let mut pinned = Vec::new();
    if let Some(mesh) = &args.mesh {
        for (n, hash) in &args.heads {
            let (n, hash) = (*n, *hash);
            pinned.push((mesh.clone(), AuditPlace { n, hash }));
        }
    }
    for file in &args.files {
        pinned.extend(read(file)?);
    }
    let place = Place::at(&args.data, args.store.as_ref()).map_err(narrow)?;
    let reports = place.verify(args.mesh.as_ref(), &pinned).map_err(narrow)?;
    let unknown = |(mesh, _): &&(MeshId, AuditPlace)| reports.iter().all(|it| it.mesh != *mesh);
    if let (None, Some((mesh, _))) = (&args.mesh, pinned.iter().find(unknown)) {
        return Err(AuditRunError::NoMesh(mesh.clone()));
    }
    if let (true, Some(mesh)) = (reports.is_empty(), &args.mesh) {
        return Err(AuditRunError::NoMesh(mesh.clone()));
    }
    let mut altered = 0;
    for report in &reports {
        let (mesh, rows) = (&report.mesh, report.rows);
        match &report.fault {
            None => {
                let (n, hash) = (report.head.n, report.head.hash);
                writeln!(
                    out,
                    "{mesh}: {rows} rows hold, up to place {n}, hash {hash}"
                )?;
                if report.pinned > 0 {
                    writeln!(
                        out,
                        "{mesh}: {} places that peers were told of are in it",
                        report.pinned
                    )?;
                }
                if report.too_old > 0 {
                    writeln!(
                        out,
                        "{mesh}: {} places are older than the oldest row and cannot be checked",
                        report.too_old
                    )?;
                }
            }
            Some(fault) => {
                altered += 1;
                writeln!(out, "{mesh}: {fault} ({rows} rows before it hold)")?;
            }
        }
    }
    match altered {
        0 => Ok(()),
        altered => Err(AuditRunError::Altered(altered)),
    }
}

fn narrow(error: OperatorError) -> AuditRunError {
    match error {
        OperatorError::Store(error) => error.into(),
        OperatorError::StoreUrl(error) => error.into(),
        _ => AuditRunError::NoPostgres,
    }
}

/// `N:HASH`.
fn head(text: &str) -> Result<(u64, Hash), String> {
    let bad = || "a head is a number, a colon and 64 hex digits".to_owned();
    let (n, hash) = text.split_once(':').ok_or_else(bad)?;
    Ok((
        n.parse().map_err(|_| bad())?,
        Hash::from_hex(hash).map_err(|_| bad())?,
    ))
}

/// The heads in a file.
fn read(path: &Path) -> Result<Vec<(MeshId, AuditPlace)>, AuditRunError> {
    let failed = |why: &str| AuditRunError::Heads {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    let mut text = String::new();
    let opened: std::io::Result<Box<dyn Read>> = if path.as_os_str() == "-" {
        Ok(Box::new(std::io::stdin()))
    } else {
        std::fs::File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    opened
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| failed(&error.to_string()))?;
    let mut heads = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let value = value.map_err(|_| failed("it is not JSON"))?;
        let before = heads.len();
        let mesh = value["mesh_id"]
            .as_str()
            .and_then(|id| MeshId::new(id).ok());
        let mesh = mesh.ok_or_else(|| failed("a mesh_id is missing"))?;
        for (n, hash) in [("from", "from_hash"), ("to", "hash")] {
            // What the peer found to be wrong is no place that it holds.
            if n == "to" && value["holds"] != true {
                continue;
            }
            let hash = value[hash]
                .as_str()
                .and_then(|hash| Hash::from_hex(hash).ok());
            if let (Some(n), Some(hash)) = (value[n].as_u64(), hash) {
                heads.push((mesh.clone(), AuditPlace { n, hash }));
            }
        }
        if heads.len() == before {
            return Err(failed("a place and its hash are missing"));
        }
    }
    if heads.is_empty() {
        return Err(failed("it is empty"));
    }
    Ok(heads)
}
