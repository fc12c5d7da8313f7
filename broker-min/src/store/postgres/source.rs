//! Reading another system's tables, as texts.

use super::line::{Fault, Line, get};
use super::target;
use crate::store::{Durability, PostgresUrl, StoreError};

/// Rows of a table: the texts of its columns.
pub(crate) type Texts = Vec<Vec<Option<String>>>;

/// Reads tables of the schema `mesh` as they are at one moment, with those of the named columns
/// that are there; hands each table over, with its columns. False if `take` has had enough.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn read(
    url: &PostgresUrl,
    tables: &[(&'static str, &'static [&'static str])],
    take: &mut dyn FnMut(&'static str, &[&'static str], Texts) -> bool,
) -> Result<bool, StoreError> {
    let target = target(url, Durability::Power)?;
    let mut all = || -> Result<bool, Fault> {
        let mut line = Line::open(&target, false)?;
        line.batch(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL datestyle TO ISO, YMD; SET LOCAL timezone TO 'UTC'",
        )?;
        for (table, wanted) in tables {
            let rows = line.rows(
                "SELECT column_name::TEXT FROM information_schema.columns
                 WHERE table_schema = 'mesh' AND table_name = $1",
                &[table],
            )?;
            let mut there = Vec::new();
            for row in &rows {
                there.push(get::<String>(row, 0)?);
            }
            if there.is_empty() {
                continue;
            }
            let mut columns = wanted.to_vec();
            columns.retain(|column| there.iter().any(|known| known == column));
            let list: Vec<_> = columns.iter().map(|it| format!("\"{it}\"::TEXT")).collect();
            // Names of tables and columns are our own words.
            let sql = format!("SELECT {} FROM mesh.\"{table}\"", list.join(", "));
            let rows = line.rows_once(&sql, &[])?;
            let mut texts = Vec::with_capacity(rows.len());
            for row in &rows {
                let values = (0..columns.len()).map(|at| get::<Option<String>>(row, at));
                texts.push(values.collect::<Result<Vec<_>, _>>()?);
            }
            if !take(table, &columns, texts) {
                return Ok(false);
            }
        }
        line.batch("COMMIT")?;
        Ok(true)
    };
    all().map_err(|fault| fault.told(&target.label))
}
