//! All rows of the file, for a store of the other kind, and from one.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::{SqliteStore, fault};
use crate::store::StoreError;
use crate::store::tables::{Rows, Table, Value, names};

/// Rows that are handed over at once.
const STEP: usize = 1_000;
/// Bytes after which rows are handed over.
const STEP_BYTES: usize = 4 << 20;

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl SqliteStore {
    /// Hands over all rows of a table, in pieces.
    pub(in crate::store) fn read_table(
        &self,
        table: &Table,
        mut take: impl FnMut(Rows) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = |error| fault(&self.path, error);
        let query = format!("SELECT {} FROM {}", names(table), table.0);
        let mut statement = self.conn.prepare(&query).map_err(sql)?;
        let mut found = statement.query([]).map_err(sql)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.next().map_err(sql)? {
            let mut values = Vec::with_capacity(table.1.len());
            for at in 0..table.1.len() {
                values.push(match row.get_ref(at).map_err(sql)? {
                    ValueRef::Integer(number) => Value::Int(number),
                    ValueRef::Blob(blob) => Value::Bytes(blob.to_vec()),
                    ValueRef::Text(text) => {
                        Value::Text(String::from_utf8(text.to_vec()).map_err(|_| {
                            StoreError::Damaged {
                                path: self.path.display().to_string(),
                                why: format!("a text in {} is not UTF-8", table.0),
                            }
                        })?)
                    }
                    ValueRef::Null | ValueRef::Real(_) => Value::Null,
                });
                if let Some(Value::Bytes(blob)) = values.last() {
                    bytes += blob.len();
                } else if let Some(Value::Text(text)) = values.last() {
                    bytes += text.len();
                }
            }
            rows.push(values);
            if rows.len() >= STEP || bytes >= STEP_BYTES {
                take(std::mem::take(&mut rows))?;
                bytes = 0;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        take(rows)
    }

    /// Begins to take the rows of another store; the tables must be empty.
    pub(in crate::store) fn begin_rows(&self) -> Result<(), StoreError> {
        self.conn
            .execute_batch("BEGIN IMMEDIATE; DELETE FROM meta;")
            .map_err(|error| fault(&self.path, error))
    }

    /// Takes rows of a table.
    pub(in crate::store) fn write_rows(
        &self,
        table: &Table,
        rows: &Rows,
    ) -> Result<(), StoreError> {
        write(&self.conn, table, rows).map_err(|error| fault(&self.path, error))
    }

    /// Ends it: all is kept.
    pub(in crate::store) fn end_rows(&self) -> Result<(), StoreError> {
        self.conn
            .execute_batch("COMMIT")
            .map_err(|error| fault(&self.path, error))
    }
}

fn write(conn: &Connection, table: &Table, rows: &Rows) -> rusqlite::Result<()> {
    let marks = vec!["?"; table.1.len()].join(", ");
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({marks})",
        table.0,
        names(table)
    );
    let mut statement = conn.prepare_cached(&sql)?;
    for row in rows {
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}
