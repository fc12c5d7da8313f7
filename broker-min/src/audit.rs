//! `broker-min audit verify`: whether the audit table of a stopped broker is what it was.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use claudemesh_core::id::MeshId;

use crate::store::{StoreError, verify_audit};

/// The audit table of a broker that is stopped
#[derive(Debug, Clone, Parser)]
#[command(name = "broker-min audit", version)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum AuditCommand {
    /// Compute the chains of hashes anew and say what was altered
    Verify(VerifyArgs),
}

#[derive(Debug, Clone, Args)]
struct VerifyArgs {
    /// The broker's folder
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_BROKER_DATA")]
    data: PathBuf,
    /// Only this mesh
    #[arg(long, value_name = "ID")]
    mesh: Option<MeshId>,
}

/// Why an audit table could not be verified, or what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditRunError {
    /// The folder cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    let reports = verify_audit(&args.data, args.mesh.as_ref())?;
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
