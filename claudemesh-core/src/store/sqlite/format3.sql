-- Sessions of one member, and whose messages are wanted.

-- The session that a message is for, 32 bytes; null: the member, or a channel. Other sessions'
-- readers are not shown it.
ALTER TABLE inbox ADD COLUMN recipient BLOB;
-- 0: shown to readers. 1: muted, shown to those who look, waking nobody. 2: held until the owner
-- answers; then it moves to the end, or is rejected.
ALTER TABLE inbox ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE INDEX inbox_held ON inbox (seq) WHERE held = 2;

-- What becomes of a sender's messages: who is a key in hex, 'verified' or 'unverified'. Rule 0:
-- allow, 1: ask, 2: mute, 3: block. Dropped: how many messages went by this row.
CREATE TABLE policy (
    who     TEXT PRIMARY KEY,
    rule    INTEGER NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
