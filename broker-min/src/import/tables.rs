//! The tables that are read, and those of their columns that are.

use std::collections::{BTreeMap, HashMap};

/// Rows that are taken at most; a database of the existing system has far fewer.
const MAX_ROWS: usize = 5_000_000;

/// Each table with its columns. Neither `owner_secret_key` nor `root_key` of `mesh` is among them.
pub(super) const TABLES: [(&str, &[&str]); 9] = [
    (
        "mesh",
        &[
            "id",
            "name",
            "slug",
            "owner_user_id",
            "owner_pubkey",
            "created_at",
            "archived_at",
        ],
    ),
    (
        "member",
        &[
            "id",
            "mesh_id",
            "user_id",
            "peer_pubkey",
            "display_name",
            "role",
            "default_groups",
            "joined_at",
            "revoked_at",
            "peer_grants",
        ],
    ),
    (
        "invite",
        &[
            "mesh_id",
            "token",
            "max_uses",
            "used_count",
            "role",
            "expires_at",
            "revoked_at",
            "version",
        ],
    ),
    (
        "topic",
        &[
            "id",
            "mesh_id",
            "name",
            "description",
            "visibility",
            "created_at",
            "archived_at",
        ],
    ),
    (
        "topic_member",
        &["topic_id", "member_id", "role", "joined_at", "last_read_at"],
    ),
    ("topic_message", &["topic_id"]),
    (
        "state",
        &["mesh_id", "key", "value", "updated_by_name", "updated_at"],
    ),
    (
        "memory",
        &[
            "id",
            "mesh_id",
            "content",
            "tags",
            "remembered_by",
            "remembered_by_name",
            "remembered_at",
            "forgotten_at",
        ],
    ),
    ("message_queue", &["mesh_id", "delivered_at"]),
];

/// Why a database or a dump cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be read.
    #[error(
        "{path} cannot be read ({source}); name a dump, a file that pg_dump wrote in its plain form, \
         or a database as postgres://USER@HOST/DATABASE"
    )]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is a dump in another form.
    #[error(
        "{path} is a dump in PostgreSQL's own form; make a plain one of it: pg_restore -f dump.sql \
         {path}"
    )]
    CustomForm {
        /// The file.
        path: String,
    },
    /// It has statements instead of rows.
    #[error("{path} has INSERT statements; make the dump without --inserts and --column-inserts")]
    Inserts {
        /// The file.
        path: String,
    },
    /// Its end is missing.
    #[error("{path} is cut off: its last line, by which pg_dump ends, is missing; make it anew")]
    Truncated {
        /// The file.
        path: String,
    },
    /// A line is not what a dump has.
    #[error("{path}, line {line}: {why}; nothing was imported")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        line: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// There is nothing of the existing system in it.
    #[error(
        "{from} has no table {table:?} of the existing system (schema `mesh`); is it the right one?"
    )]
    NotThere {
        /// The file or database.
        from: String,
        /// Which.
        table: &'static str,
    },
    /// More than any sound database has.
    #[error("{from} has more than {MAX_ROWS} rows; nothing was imported")]
    TooMany {
        /// The file or database.
        from: String,
    },
}

/// A row: the texts of its columns, none for NULL or a column that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row(BTreeMap<&'static str, String>);

impl Row {
    pub(super) fn set(&mut self, column: &'static str, value: String) {
        self.0.insert(column, value);
    }

    pub(super) fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    rows: HashMap<&'static str, Vec<Row>>,
    count: usize,
}

impl Tables {
    /// Notes that a table is there.
    pub(super) fn begin(&mut self, table: &'static str) {
        self.rows.entry(table).or_default();
    }

    /// Adds a row; false if there are too many.
    pub(super) fn add(&mut self, table: &'static str, row: Row) -> bool {
        self.count += 1;
        self.rows.entry(table).or_default().push(row);
        self.count <= MAX_ROWS
    }

    pub(super) fn of(&self, table: &str) -> &[Row] {
        self.rows.get(table).map_or(&[], Vec::as_slice)
    }

    /// Meshes and members must be there; the others may be missing in an older database.
    pub(super) fn check(self, from: &str) -> Result<Self, SourceError> {
        for table in ["mesh", "member"] {
            if !self.rows.contains_key(table) {
                return Err(SourceError::NotThere {
                    from: from.to_owned(),
                    table,
                });
            }
        }
        Ok(self)
    }
}

/// The table of this name, if it is one that is read.
pub(super) fn known(name: &str) -> Option<(&'static str, &'static [&'static str])> {
    TABLES.into_iter().find(|(table, _)| *table == name)
}
