//! The tables in a running PostgreSQL.

use super::tables::{Row, SourceError, TABLES, Tables};
use crate::store::{PostgresUrl, StoreError, postgres_source};

/// Why a database was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Reads the database at this URL, as it is at one moment. It changes nothing there.
pub(crate) fn read_database(url: &PostgresUrl) -> Result<Tables, DatabaseError> {
    let mut tables = Tables::default();
    let from = url.to_string();
    postgres_source(url, &TABLES, &mut |table, columns, rows| {
        tables.begin(table);
        for values in rows {
            let mut row = Row::default();
            for (column, value) in columns.iter().zip(values) {
                if let Some(value) = value {
                    row.set(column, value);
                }
            }
            if !tables.add(table, row) {
                return false;
            }
        }
        true
    })?
    .then_some(())
    .ok_or_else(|| SourceError::TooMany { from: from.clone() })?;
    Ok(tables.check(&from)?)
}
