//! All rows of the tables, from a store of the other kind and for one.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::line::{Fault, Line, bad, get};
use crate::store::tables::{Kind, Rows, Table, Value, names};

/// Rows that are fetched at once.
const STEP: usize = 1_000;

/// A column of rows on their way.
enum Column {
    Int(Vec<Option<i64>>),
    Bool(Vec<Option<bool>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Int => Self::Int(Vec::new()),
            Kind::Bool => Self::Bool(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
            Kind::Free | Kind::Bytes => Self::Bytes(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) -> Result<(), Fault> {
        match (self, value) {
            (Self::Int(all), Value::Null) => all.push(None),
            (Self::Int(all), Value::Int(number)) => all.push(Some(number)),
            (Self::Bool(all), Value::Int(number)) => all.push(Some(number != 0)),
            (Self::Text(all), Value::Null) => all.push(None),
            (Self::Text(all), Value::Text(text)) => all.push(Some(text)),
            (Self::Bytes(all), Value::Null) => all.push(None),
            (Self::Bytes(all), Value::Bytes(bytes)) => all.push(Some(bytes)),
            (Self::Bytes(all), Value::Text(text)) => all.push(Some(text.into_bytes())),
            _ => return Err(bad("a value")),
        }
        Ok(())
    }

    fn param(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(all) => all,
            Self::Bool(all) => all,
            Self::Text(all) => all,
            Self::Bytes(all) => all,
        }
    }

    const fn array(&self) -> &'static str {
        match self {
            Self::Int(_) => "BIGINT[]",
            Self::Bool(_) => "BOOLEAN[]",
            Self::Text(_) => "TEXT[]",
            Self::Bytes(_) => "BYTEA[]",
        }
    }
}

/// Takes rows of a table.
pub(super) fn write_rows(line: &Line, table: &Table, rows: Rows) -> Result<(), Fault> {
    let mut columns: Vec<Column> = table.1.iter().map(|it| Column::new(it.1)).collect();
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value)?;
        }
    }
    let arrays: Vec<String> = (columns.iter().enumerate())
        .map(|(at, column)| format!("${}::{}", at + 1, column.array()))
        .collect();
    let sql = format!(
        "INSERT INTO {} ({}) SELECT * FROM unnest({})",
        table.0,
        names(table),
        arrays.join(", ")
    );
    let params: Vec<_> = columns.iter().map(Column::param).collect();
    line.execute_once(&sql, &params)
}

/// Hands over all rows of a table, in pieces, within a transaction that is open.
pub(super) fn read_table(
    line: &mut Line,
    table: &Table,
    mut take: impl FnMut(Rows) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let select = format!("SELECT {} FROM {}", names(table), table.0);
    let mut rows: Rows = Vec::new();
    each(line, &select, |row| {
        rows.push(values(row, table)?);
        if rows.len() >= STEP {
            take(std::mem::take(&mut rows))?;
        }
        Ok(true)
    })?;
    if rows.is_empty() {
        return Ok(());
    }
    take(rows)
}

fn values(row: &Row, table: &Table) -> Result<Vec<Value>, Fault> {
    let value = |(at, (_, kind)): (usize, &(&str, Kind))| {
        Ok(match kind {
            Kind::Int => get::<Option<i64>>(row, at)?.map_or(Value::Null, Value::Int),
            Kind::Bool => Value::Int(get::<bool>(row, at)?.into()),
            Kind::Text => get::<Option<String>>(row, at)?.map_or(Value::Null, Value::Text),
            Kind::Bytes => get::<Option<Vec<u8>>>(row, at)?.map_or(Value::Null, Value::Bytes),
            Kind::Free => match get::<Option<Vec<u8>>>(row, at)? {
                None => Value::Null,
                Some(bytes) => Value::Text(String::from_utf8(bytes).map_err(|_| bad("a text"))?),
            },
        })
    };
    table.1.iter().enumerate().map(value).collect()
}

/// Looks at the rows of a query until it is told to stop, without holding all of them. A
/// transaction must be open.
pub(super) fn each(
    line: &mut Line,
    select: &str,
    mut look: impl FnMut(&Row) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    line.batch(&format!("DECLARE walk NO SCROLL CURSOR FOR {select}"))?;
    'walk: loop {
        let rows = line.rows_once(&format!("FETCH {STEP} FROM walk"), &[])?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            if !look(row)? {
                break 'walk;
            }
        }
    }
    line.batch("CLOSE walk")
}
