//! `import`: meshes of the existing system come over.

use std::io::Write;
use std::path::Path;

use clap::Args;

use super::place::Place;
use super::{OperatorError, StoreArg, now};
use crate::import::{MeshReport, Plan, Tables, What, plan, read_dump};
use crate::store::{BrokerStore, Durability, Op, Outcome, PostgresUrl, Query, Rows, SqliteStore};

#[derive(Debug, Clone, Args)]
pub(super) struct Import {
    /// A dump (a file that pg_dump wrote in its plain form), or postgres://USER@HOST/DATABASE, with
    /// the password in a passfile
    from: String,
    /// Only this mesh, by its name or id; may be given several times
    #[arg(long, value_name = "MESH")]
    mesh: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    data: StoreArg,
}

pub(super) fn run(args: &Import, out: &mut dyn Write) -> Result<(), OperatorError> {
    let tables = read(&args.from)?;
    let now = now();
    if args.dry_run {
        // What is not there yet has no meshes.
        let known = Place::of(&args.data)?.inspect().unwrap_or_default();
        let plan = plan(&tables, &args.mesh, now, |mesh| {
            known.iter().any(|info| info.mesh == *mesh)
        });
        return tell(&plan, "would come over", out);
    }
    let mut store = open(&args.data)?;
    let reader = store.reader()?;
    let mut failed = None;
    let plan = plan(&tables, &args.mesh, now, |mesh| {
        match reader.load(&Query::Mesh(mesh.clone())) {
            Ok(Rows::Mesh(found)) => found.is_some(),
            Ok(_) => false,
            Err(error) => {
                failed = Some(error);
                true
            }
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let wanted = plan.meshes.iter().any(|mesh| mesh.what == What::Imported);
    if wanted {
        commit(store.as_mut(), &plan.ops)?;
    }
    tell(&plan, "came over", out)
}

/// All at once, or nothing.
fn commit(store: &mut dyn BrokerStore, ops: &[Op]) -> Result<(), OperatorError> {
    let outcomes = store.commit(ops)?;
    let odd = |outcome: &&Outcome| !matches!(outcome, Outcome::Done | Outcome::Kept(_));
    match outcomes.iter().filter(odd).count() {
        0 => Ok(()),
        many => Err(OperatorError::Unsure(format!(
            "{many} rows were not taken as they were, though all others are in the store; compare \
             `mesh show` with the numbers of --dry-run"
        ))),
    }
}

fn open(data: &StoreArg) -> Result<Box<dyn BrokerStore>, OperatorError> {
    match Place::of(data)? {
        Place::Folder(dir) => Ok(Box::new(SqliteStore::open(dir, Durability::Power)?)),
        #[cfg(feature = "postgres")]
        Place::Postgres(url) => {
            // Its rules are in the folder.
            let store = crate::store::PostgresStore::open(&url, Durability::Power)?;
            Ok(Box::new(store))
        }
        #[cfg(not(feature = "postgres"))]
        Place::Postgres(_) => Err(OperatorError::NoPostgres),
    }
}

fn read(from: &str) -> Result<Tables, OperatorError> {
    if !from.starts_with("postgres://") && !from.starts_with("postgresql://") {
        return Ok(read_dump(Path::new(from))?);
    }
    if PostgresUrl::holds_password(from) {
        return Err(OperatorError::Unsure(
            "a password on the command line is seen by others on this machine; put it into a \
             passfile: ?passfile=FILE, or ~/.pgpass"
                .to_owned(),
        ));
    }
    let url: PostgresUrl = from.parse()?;
    #[cfg(feature = "postgres")]
    return crate::import::read_database(&url).map_err(|error| match error {
        crate::import::DatabaseError::Store(error) => OperatorError::Store(error),
        crate::import::DatabaseError::Source(error) => OperatorError::Source(error),
    });
    #[cfg(not(feature = "postgres"))]
    {
        let _ = url;
        Err(OperatorError::NoPostgres)
    }
}

fn tell(plan: &Plan, done: &str, out: &mut dyn Write) -> Result<(), OperatorError> {
    for mesh in &plan.meshes {
        one(mesh, done, out)?;
    }
    let count = |what| plan.meshes.iter().filter(|mesh| mesh.what == what).count();
    writeln!(
        out,
        "meshes: {} {done}, {} here already, {} deleted there, {} unusable",
        count(What::Imported),
        count(What::Here),
        count(What::Archived),
        plan.meshes
            .iter()
            .filter(|mesh| matches!(mesh.what, What::Unusable(_)))
            .count(),
    )?;
    Ok(())
}

fn one(mesh: &MeshReport, done: &str, out: &mut dyn Write) -> Result<(), OperatorError> {
    let name = format!("{} {}", mesh.mesh, mesh.slug);
    match mesh.what {
        What::Here => writeln!(out, "{name}: here already, left as it is")?,
        What::Archived => writeln!(out, "{name}: deleted there, left out")?,
        What::Unusable(why) => writeln!(out, "{name}: left out, {why}")?,
        What::Imported => {
            writeln!(
                out,
                "{name}: {done}, members: {} (and {} removed ones), open links: {}, topics: {}, \
                 values: {}, memories: {}",
                mesh.members, mesh.removed, mesh.invites, mesh.topics, mesh.state, mesh.memories
            )?;
            for (what, count) in &mesh.left {
                writeln!(out, "  left behind: {count} {what}")?;
            }
        }
    }
    Ok(())
}
