//! `backup`, `restore`, `move`: the store as a whole.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::place::Place;
use super::{OperatorError, StoreArg};
use crate::store;

#[derive(Debug, Clone, Args)]
pub(super) struct Backup {
    /// The folder to make; it must not be there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    data: StoreArg,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Restore {
    /// The folder that `backup` made
    #[arg(long, value_name = "DIR", required_unless_present = "renew")]
    from: Option<PathBuf>,
    /// Set a store that is there aside, as broker.db.before-restore; not with --store
    #[arg(long)]
    replace: bool,
    /// PostgreSQL's own tools have put the database back: only give its store a new id
    #[arg(long, conflicts_with_all = ["from", "replace"], requires = "store")]
    renew: bool,
    #[command(flatten)]
    data: StoreArg,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Move {
    #[command(flatten)]
    data: StoreArg,
}

pub(super) fn backup(args: &Backup, out: &mut dyn Write) -> Result<(), OperatorError> {
    let bytes = match Place::of(&args.data)? {
        Place::Folder(dir) => store::backup(dir, &args.to)?,
        Place::Postgres(url) => {
            #[cfg(feature = "postgres")]
            let bytes = store::postgres_admin::backup(&url, &args.data.data, &args.to)?;
            #[cfg(not(feature = "postgres"))]
            let bytes = missing(&url)?;
            bytes
        }
    };
    writeln!(
        out,
        "backed up to {} ({bytes} bytes); keep it as safe as the broker's folder",
        args.to.display()
    )?;
    Ok(())
}

pub(super) fn restore(args: &Restore, out: &mut dyn Write) -> Result<(), OperatorError> {
    let data = &args.data.data;
    let (store, place) = match (Place::of(&args.data)?, &args.from) {
        (Place::Folder(dir), Some(from)) => {
            let store = store::restore(from, dir, args.replace)?;
            (store, dir.display().to_string())
        }
        (Place::Folder(_), None) => {
            let why = "--renew is for a store in PostgreSQL: name it with --store";
            return Err(OperatorError::Unsure(why.to_owned()));
        }
        (Place::Postgres(_), Some(_)) if args.replace => {
            let why = "--replace is for a folder; restore into an empty database, or into another \
                       schema of it with ?schema=NAME";
            return Err(OperatorError::Unsure(why.to_owned()));
        }
        (Place::Postgres(url), from) => {
            let place = url.to_string();
            #[cfg(feature = "postgres")]
            let store = match from {
                Some(from) => store::postgres_admin::restore(from, data, &url)?,
                None => store::postgres_admin::renew(&url)?,
            };
            #[cfg(not(feature = "postgres"))]
            let store = {
                let _ = (from, data);
                missing(&url)?
            };
            (store, place)
        }
    };
    writeln!(
        out,
        "restored to {place} as store {store}; start the broker there, and peers send again what \
         it may lack"
    )?;
    Ok(())
}

pub(super) fn move_in(args: &Move, out: &mut dyn Write) -> Result<(), OperatorError> {
    let Place::Postgres(url) = Place::of(&args.data)? else {
        let why = "say where to with --store postgres://USER@HOST/DATABASE";
        return Err(OperatorError::Unsure(why.to_owned()));
    };
    #[cfg(feature = "postgres")]
    store::postgres_admin::move_in(&args.data.data, &url)?;
    #[cfg(not(feature = "postgres"))]
    missing::<()>(&url)?;
    writeln!(
        out,
        "moved to {url}; start the broker with the same --data and with --store. The file stays as \
         {}",
        args.data.data.join("broker.db.moved").display()
    )?;
    Ok(())
}

#[cfg(not(feature = "postgres"))]
fn missing<T>(_: &store::PostgresUrl) -> Result<T, OperatorError> {
    Err(OperatorError::NoPostgres)
}
