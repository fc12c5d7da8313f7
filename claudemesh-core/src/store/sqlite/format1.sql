-- Codes: priority 0 now, 1 next, 2 low; state 0 queued, 1 accepted, 2 delivered, 3 failed;
-- kind 0 direct, 1 rejected. Times are unix ms. Places are never given twice, even after the
-- newest rows went: reading positions outlive rows.

CREATE TABLE outbox (
    place       INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    recipient   BLOB NOT NULL,
    frame       TEXT NOT NULL,
    priority    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    lane        INTEGER NOT NULL,
    sent        INTEGER NOT NULL,
    state       INTEGER NOT NULL,
    broker_id   TEXT,
    reason      TEXT,
    final_at    INTEGER
) STRICT;
CREATE INDEX outbox_queued ON outbox (lane, place) WHERE state = 0;
CREATE INDEX outbox_open ON outbox (place, state) WHERE state < 2;
CREATE INDEX outbox_final ON outbox (final_at) WHERE state >= 2;

CREATE TABLE inbox (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         INTEGER NOT NULL,
    sender       BLOB NOT NULL,
    sender_name  TEXT,
    verified     INTEGER NOT NULL,
    id           TEXT NOT NULL,
    broker_id    TEXT NOT NULL,
    dedupe       TEXT NOT NULL,
    priority     INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    body         BLOB NOT NULL,
    attributes   TEXT NOT NULL,
    reply_to     TEXT,
    sent_at      INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    UNIQUE (sender, dedupe)
) STRICT;
CREATE INDEX inbox_direct ON inbox (priority, seq, received_at) WHERE kind = 0;
CREATE INDEX inbox_rejected ON inbox (received_at) WHERE kind = 1;

-- How far each reader came in each priority, how far rows were offered to it, and since when a
-- prune has found it unused.
CREATE TABLE reader (
    name       TEXT NOT NULL,
    class      INTEGER NOT NULL,
    cursor     INTEGER NOT NULL,
    offered    INTEGER NOT NULL,
    idle_since INTEGER,
    PRIMARY KEY (name, class)
) STRICT, WITHOUT ROWID;

-- How far any reader came: there a new one starts.
CREATE TABLE passed (
    class  INTEGER PRIMARY KEY,
    cursor INTEGER NOT NULL
) STRICT;
INSERT INTO passed VALUES (0, 0), (1, 0), (2, 0);

CREATE TABLE log (
    seq         INTEGER PRIMARY KEY,
    entry       BLOB NOT NULL,
    signature   BLOB NOT NULL,
    cosignature BLOB
) STRICT;

CREATE TABLE pin (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
