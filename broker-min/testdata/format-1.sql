-- The tables of the first format, as the program of then made them. Never changed.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store TEXT NOT NULL,
    id_secret BLOB NOT NULL,
    head INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    clock INTEGER NOT NULL
) STRICT;
CREATE TABLE mesh (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    slug TEXT NOT NULL,
    owner BLOB NOT NULL,
    owner_name TEXT NOT NULL,
    owner_member TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE member (
    id INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL REFERENCES mesh,
    key BLOB NOT NULL,
    member TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    logged INTEGER NOT NULL,
    joined_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    removed_at INTEGER NOT NULL,
    UNIQUE (mesh, key)
) STRICT;
CREATE TABLE invite (
    id INTEGER PRIMARY KEY,
    mesh INTEGER NOT NULL REFERENCES mesh,
    token TEXT NOT NULL,
    invite BLOB NOT NULL,
    legacy_uses INTEGER NOT NULL,
    UNIQUE (mesh, token)
) STRICT;
CREATE TABLE log (
    mesh INTEGER NOT NULL REFERENCES mesh,
    seq INTEGER NOT NULL,
    entry BLOB NOT NULL,
    signature BLOB NOT NULL,
    cosignature BLOB,
    PRIMARY KEY (mesh, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE party (
    id INTEGER PRIMARY KEY,
    mesh TEXT NOT NULL,
    key BLOB NOT NULL,
    UNIQUE (mesh, key)
) STRICT;
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    sender INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    tail TEXT NOT NULL
) STRICT;
CREATE TABLE delivery (
    mailbox INTEGER NOT NULL,
    class INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    size INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (mailbox, class, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE accepted (
    origin INTEGER NOT NULL,
    id BLOB NOT NULL,
    content INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    recipients INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (origin, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE notice (
    seq INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (seq, mailbox)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_at ON notice (at);
CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY,
    meshId TEXT NOT NULL,
    eventType TEXT NOT NULL,
    actorPeerId TEXT,
    targetPeerId TEXT,
    metadata TEXT NOT NULL,
    createdAt INTEGER NOT NULL
) STRICT;
