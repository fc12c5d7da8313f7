//! The tables that both durable stores have, with the same columns and numbers: rows move from one
//! to the other as they are.
#![cfg_attr(
    not(feature = "postgres"),
    allow(dead_code, reason = "there is no other store to move to")
)]

/// What a column holds, and how each store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number.
    Int,
    /// Yes or no: in SQLite 1 or 0.
    Bool,
    /// A text of the broker's own making, or one that has been checked.
    Text,
    /// A text that may hold any character: in PostgreSQL its bytes.
    Free,
    /// Bytes.
    Bytes,
}

use Kind::{Bool, Bytes, Free, Int, Text};

/// A table and its columns.
pub(super) type Table = (&'static str, &'static [(&'static str, Kind)]);

/// All tables but `meta`; one that points at another comes after it.
pub(super) const TABLES: [Table; 18] = [
    (
        "mesh",
        &[
            ("id", Int),
            ("name", Text),
            ("slug", Text),
            ("owner", Bytes),
            ("owner_name", Text),
            ("owner_member", Text),
            ("created_at", Int),
        ],
    ),
    (
        "member",
        &[
            ("id", Int),
            ("mesh", Int),
            ("key", Bytes),
            ("member", Text),
            ("name", Text),
            ("role", Text),
            ("logged", Bool),
            ("joined_at", Int),
            ("last_seen", Int),
            ("removed_at", Int),
        ],
    ),
    (
        "invite",
        &[
            ("id", Int),
            ("mesh", Int),
            ("token", Free),
            ("invite", Bytes),
            ("legacy_uses", Int),
        ],
    ),
    (
        "log",
        &[
            ("mesh", Int),
            ("seq", Int),
            ("entry", Bytes),
            ("signature", Bytes),
            ("cosignature", Bytes),
        ],
    ),
    ("party", &[("id", Int), ("mesh", Text), ("key", Bytes)]),
    (
        "message",
        &[
            ("seq", Int),
            ("sender", Int),
            ("waiting", Int),
            ("tail", Free),
            ("of_many", Int),
        ],
    ),
    (
        "delivery",
        &[
            ("mailbox", Int),
            ("class", Int),
            ("seq", Int),
            ("sender", Int),
            ("size", Int),
            ("expires", Int),
        ],
    ),
    (
        "accepted",
        &[
            ("origin", Int),
            ("id", Bytes),
            ("content", Int),
            ("seq", Int),
            ("recipients", Int),
            ("at", Int),
        ],
    ),
    (
        "notice",
        &[
            ("seq", Int),
            ("mailbox", Int),
            ("sender", Int),
            ("reason", Text),
            ("at", Int),
        ],
    ),
    (
        "audit_log",
        &[
            ("id", Int),
            ("meshId", Text),
            ("eventType", Text),
            ("actorPeerId", Text),
            ("targetPeerId", Text),
            ("metadata", Text),
            ("createdAt", Int),
            ("chain", Int),
            ("n", Int),
            ("hash", Bytes),
        ],
    ),
    (
        "audit_chain",
        &[
            ("id", Int),
            ("mesh", Text),
            ("n", Int),
            ("hash", Bytes),
            ("base_n", Int),
            ("base_hash", Bytes),
        ],
    ),
    (
        "channel",
        &[("id", Int), ("mesh", Text), ("name", Text), ("posts", Int)],
    ),
    (
        "channel_log",
        &[
            ("channel", Int),
            ("seq", Int),
            ("entry", Bytes),
            ("signature", Bytes),
        ],
    ),
    (
        "channel_key",
        &[
            ("id", Int),
            ("channel", Int),
            ("key", Bytes),
            ("epoch", Int),
            ("statement", Bytes),
            ("signature", Bytes),
            ("made_at", Int),
            ("replaced_at", Int),
        ],
    ),
    (
        "channel_copy",
        &[("key", Int), ("member", Bytes), ("copy", Bytes)],
    ),
    (
        "history",
        &[
            ("seq", Int),
            ("channel", Int),
            ("sender", Int),
            ("tail", Free),
            ("at", Int),
        ],
    ),
    (
        "fanout",
        &[("seq", Int), ("of_many", Int), ("failed", Int), ("at", Int)],
    ),
    (
        "state",
        &[
            ("mesh", Int),
            ("key", Free),
            ("value", Free),
            ("version", Int),
            ("writer", Bytes),
            ("name", Free),
            ("at", Int),
            ("request", Bytes),
        ],
    ),
];

/// Those that came with later formats, too.
pub(super) const LATER: [Table; 3] = [
    (
        "memory",
        &[
            ("id", Int),
            ("mesh", Int),
            ("name", Free),
            ("content", Free),
            ("tags", Free),
            ("sealed", Bool),
            ("writer", Bytes),
            ("author", Free),
            ("at", Int),
        ],
    ),
    (
        "schedule",
        &[
            ("id", Int),
            ("mesh", Int),
            ("name", Free),
            ("member", Bytes),
            ("target", Free),
            ("due", Int),
            ("created", Int),
            ("cron", Free),
            ("body", Free),
            ("fired", Int),
            ("pending", Int),
            ("failed", Text),
        ],
    ),
    (
        "item",
        &[
            ("mesh", Int),
            ("kind", Text),
            ("key", Free),
            ("value", Free),
            ("at", Int),
        ],
    ),
];

/// What a store is.
pub(super) const META: Table = (
    "meta",
    &[
        ("one", Int),
        ("store", Text),
        ("id_secret", Bytes),
        ("audit_seed", Bytes),
        ("head", Int),
        ("queued", Int),
        ("clock", Int),
    ],
);

/// A value of a row on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
}

/// Rows of one table, in pieces.
pub(super) type Rows = Vec<Vec<Value>>;

/// The columns' names, quoted, with commas between them.
pub(super) fn names(table: &Table) -> String {
    let names: Vec<String> = table.1.iter().map(|it| format!("\"{}\"", it.0)).collect();
    names.join(", ")
}

/// Each table, and which of its rows are of a mesh; `?` stands for its id.
pub(super) const OF_MESH: [(&str, &str); 15] = [
    ("mesh", "SELECT t.* FROM mesh t WHERE t.name = ?"),
    (
        "member",
        "SELECT t.* FROM member t JOIN mesh m ON m.id = t.mesh WHERE m.name = ?",
    ),
    (
        "log",
        "SELECT t.* FROM log t JOIN mesh m ON m.id = t.mesh WHERE m.name = ? ORDER BY t.seq",
    ),
    ("channel", "SELECT t.* FROM channel t WHERE t.mesh = ?"),
    (
        "channel_log",
        "SELECT t.* FROM channel_log t JOIN channel c ON c.id = t.channel WHERE c.mesh = ?",
    ),
    (
        "channel_key",
        "SELECT t.* FROM channel_key t JOIN channel c ON c.id = t.channel WHERE c.mesh = ?",
    ),
    (
        "history",
        "SELECT t.* FROM history t JOIN channel c ON c.id = t.channel WHERE c.mesh = ?
         ORDER BY t.seq",
    ),
    (
        "message",
        "SELECT t.* FROM message t JOIN party p ON p.id = t.sender WHERE p.mesh = ? ORDER BY t.seq",
    ),
    (
        "delivery",
        "SELECT t.*, p.key AS address FROM delivery t JOIN party p ON p.id = t.mailbox
         WHERE p.mesh = ?",
    ),
    (
        "state",
        "SELECT t.* FROM state t JOIN mesh m ON m.id = t.mesh WHERE m.name = ?",
    ),
    (
        "memory",
        "SELECT t.* FROM memory t JOIN mesh m ON m.id = t.mesh WHERE m.name = ?",
    ),
    (
        "schedule",
        "SELECT t.* FROM schedule t JOIN mesh m ON m.id = t.mesh WHERE m.name = ?",
    ),
    (
        "item",
        "SELECT t.* FROM item t JOIN mesh m ON m.id = t.mesh WHERE m.name = ?",
    ),
    (
        "audit_chain",
        "SELECT t.* FROM audit_chain t WHERE t.mesh = ?",
    ),
    (
        "audit_log",
        "SELECT t.* FROM audit_log t WHERE t.\"meshId\" = ? ORDER BY t.id",
    ),
];

/// What deletes a mesh, in order; `?` stands for its id.
pub(super) const DELETE: [&str; 21] = [
    "DELETE FROM channel_copy WHERE key IN (SELECT k.id FROM channel_key k
        JOIN channel c ON c.id = k.channel WHERE c.mesh = ?)",
    "DELETE FROM channel_key WHERE channel IN (SELECT id FROM channel WHERE mesh = ?)",
    "DELETE FROM channel_log WHERE channel IN (SELECT id FROM channel WHERE mesh = ?)",
    "DELETE FROM history WHERE channel IN (SELECT id FROM channel WHERE mesh = ?)",
    "DELETE FROM channel WHERE mesh = ?",
    "DELETE FROM fanout WHERE seq IN (SELECT m.seq FROM message m
        JOIN party p ON p.id = m.sender WHERE p.mesh = ?)",
    "DELETE FROM delivery WHERE mailbox IN (SELECT id FROM party WHERE mesh = ?)",
    "DELETE FROM message WHERE sender IN (SELECT id FROM party WHERE mesh = ?)",
    "DELETE FROM accepted WHERE origin IN (SELECT id FROM party WHERE mesh = ?)",
    "DELETE FROM notice WHERE mailbox IN (SELECT id FROM party WHERE mesh = ?)",
    "DELETE FROM party WHERE mesh = ?",
    "DELETE FROM audit_log WHERE \"meshId\" = ?",
    "DELETE FROM audit_chain WHERE mesh = ?",
    "DELETE FROM state WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM memory WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM schedule WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM item WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM log WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM invite WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM member WHERE mesh IN (SELECT id FROM mesh WHERE name = ?)",
    "DELETE FROM mesh WHERE name = ?",
];
