-- What a peer keeps of channels.

-- Exactly one of the two says to whom a message goes. To a peer: recipient is its key, 32 bytes,
-- and channel is null. To a channel: channel is its name, and recipient is empty (x'').
ALTER TABLE outbox ADD COLUMN channel TEXT;

-- Kind 2 is a message in a channel: its name, null for every other kind. Readers are shown
-- whatever is not rejected.
ALTER TABLE inbox ADD COLUMN channel TEXT;
DROP INDEX inbox_direct;
CREATE INDEX inbox_readable ON inbox (priority, seq, received_at) WHERE kind <> 1;

-- Messages whose key is not here yet, as they came. Places are never given twice.
CREATE TABLE locked (
    place       INTEGER PRIMARY KEY AUTOINCREMENT,
    broker_id   TEXT NOT NULL UNIQUE,
    key_id      BLOB NOT NULL,
    channel     TEXT NOT NULL,
    frame       TEXT NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;
CREATE INDEX locked_key ON locked (key_id, place);
CREATE INDEX locked_age ON locked (received_at);

-- Each channel's log, from seq 1 without gaps.
CREATE TABLE channel_log (
    channel     TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    entry       BLOB NOT NULL,
    signature   BLOB NOT NULL,
    cosignature BLOB,
    PRIMARY KEY (channel, seq)
) STRICT, WITHOUT ROWID;

-- Statements of channels' keys in the order they were kept. Root: 32 secret bytes, null where this
-- peer has none. Rows are never deleted.
CREATE TABLE channel_key (
    place     INTEGER PRIMARY KEY,
    channel   TEXT NOT NULL,
    key_id    BLOB NOT NULL,
    epoch     INTEGER NOT NULL,
    statement BLOB NOT NULL,
    signature BLOB NOT NULL,
    root      BLOB,
    UNIQUE (channel, key_id)
) STRICT;

-- The newest version of each sealed value that was seen, and the hash of what was signed.
CREATE TABLE seen_value (
    what    TEXT NOT NULL,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash    BLOB NOT NULL,
    PRIMARY KEY (what, name)
) STRICT, WITHOUT ROWID;
