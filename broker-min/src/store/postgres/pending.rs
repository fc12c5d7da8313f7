//! What a batch has decided and not written yet, column by column: one statement writes all rows
//! of a table.

use std::collections::{BTreeMap, BTreeSet};

use claudemesh_core::id::MeshId;
use tokio_postgres::types::ToSql;

use super::batch::Taken;
use super::int;
use super::line::{Fault, Line, Params};
use crate::store::cache::DeliveryKey;
use crate::store::chains::{Event, Link};

/// Rows that wait to be written.
#[derive(Default)]
pub(super) struct Pending<'ops> {
    messages: ([Vec<i64>; 4], Vec<&'ops [u8]>),
    deliveries: [Vec<i64>; 6],
    accepted: ([Vec<i64>; 5], Vec<Vec<u8>>),
    audit: Audit,
    gone: [Vec<i64>; 3],
    notices: ([Vec<i64>; 4], Vec<String>),
    fanouts: BTreeMap<i64, (i64, i64, i64)>,
    changed: BTreeSet<i64>,
}

#[derive(Default)]
struct Audit {
    id: Vec<i64>,
    mesh: Vec<String>,
    event: Vec<String>,
    actor: Vec<Option<String>>,
    target: Vec<Option<String>>,
    metadata: Vec<String>,
    at: Vec<i64>,
    chain: Vec<i64>,
    n: Vec<i64>,
    hash: Vec<Vec<u8>>,
}

impl<'ops> Pending<'ops> {
    /// A message: seq, sender, waiting, of how many.
    pub(super) fn message(&mut self, row: (i64, i64, i64, i64), tail: &'ops [u8]) {
        let ([seqs, senders, waiting, of_many], tails) = &mut self.messages;
        seqs.push(row.0);
        senders.push(row.1);
        waiting.push(row.2);
        of_many.push(row.3);
        tails.push(tail);
    }

    /// A delivery: its key; sender, size, expiry.
    pub(super) fn delivery(&mut self, key: DeliveryKey, rest: (i64, i64, i64)) {
        let row = [key.0, key.1, key.2, rest.0, rest.1, rest.2];
        for (column, value) in self.deliveries.iter_mut().zip(row) {
            column.push(value);
        }
    }

    /// A dedupe record.
    pub(super) fn accepted(&mut self, (origin, id): (i64, [u8; 16]), taken: Taken, at: i64) {
        let row = [origin, taken.0, taken.1, taken.2, at];
        for (column, value) in self.accepted.0.iter_mut().zip(row) {
            column.push(value);
        }
        self.accepted.1.push(id.to_vec());
    }

    /// An audit row that has its place.
    pub(super) fn audit(&mut self, mesh: &MeshId, event: Event<'_>, link: Link) {
        let rows = &mut self.audit;
        rows.id.push(int(link.id));
        rows.mesh.push(mesh.as_str().to_owned());
        rows.event.push(event.event.to_owned());
        rows.actor.push(event.actor.map(str::to_owned));
        rows.target.push(event.target.map(str::to_owned));
        rows.metadata.push(event.metadata.to_owned());
        rows.at.push(int(event.at));
        rows.chain.push(link.chain);
        rows.n.push(int(link.place.n));
        rows.hash.push(link.place.hash.as_bytes().to_vec());
    }

    /// A delivery that goes.
    pub(super) fn gone(&mut self, key: DeliveryKey) {
        for (column, value) in self.gone.iter_mut().zip([key.0, key.1, key.2]) {
            column.push(value);
        }
    }

    /// Why a delivery failed: seq, mailbox, sender.
    pub(super) fn notice(&mut self, row: (i64, i64, i64), reason: &str, at: i64) {
        for (column, value) in self.notices.0.iter_mut().zip([row.0, row.1, row.2, at]) {
            column.push(value);
        }
        self.notices.1.push(reason.to_owned());
    }

    /// For how many a message to a channel failed: of how many, how many, when.
    pub(super) fn fanout(&mut self, seq: i64, counts: (i64, i64, i64)) {
        self.fanouts.insert(seq, counts);
    }

    /// Fewer wait for a message than before.
    pub(super) fn changed(&mut self, seq: i64) {
        self.changed.insert(seq);
    }

    /// Writes all of it. `waiting` says how many still wait for a message.
    pub(super) fn write(
        &mut self,
        line: &mut Line,
        waiting: impl Fn(&i64) -> i64,
    ) -> Result<(), Fault> {
        let rows = std::mem::take(self);
        let (done, open): (Vec<i64>, Vec<i64>) = rows
            .changed
            .iter()
            .copied()
            .partition(|seq| waiting(seq) == 0);
        let left: Vec<i64> = open.iter().map(&waiting).collect();
        let fanouts: [Vec<i64>; 4] = [
            rows.fanouts.keys().copied().collect(),
            rows.fanouts.values().map(|it| it.0).collect(),
            rows.fanouts.values().map(|it| it.1).collect(),
            rows.fanouts.values().map(|it| it.2).collect(),
        ];
        let (m, d, a, g) = (&rows.messages, &rows.deliveries, &rows.accepted, &rows.gone);
        let (u, n, f) = (&rows.audit, &rows.notices, &fanouts);
        let messages: [&(dyn ToSql + Sync); 5] = [&m.0[0], &m.0[1], &m.0[2], &m.0[3], &m.1];
        let deliveries: [&(dyn ToSql + Sync); 6] = [&d[0], &d[1], &d[2], &d[3], &d[4], &d[5]];
        let accepted: [&(dyn ToSql + Sync); 6] =
            [&a.0[0], &a.1, &a.0[1], &a.0[2], &a.0[3], &a.0[4]];
        let audit: [&(dyn ToSql + Sync); 10] = [
            &u.id,
            &u.mesh,
            &u.event,
            &u.actor,
            &u.target,
            &u.metadata,
            &u.at,
            &u.chain,
            &u.n,
            &u.hash,
        ];
        let gone: [&(dyn ToSql + Sync); 3] = [&g[0], &g[1], &g[2]];
        let notices: [&(dyn ToSql + Sync); 5] = [&n.0[0], &n.0[1], &n.0[2], &n.1, &n.0[3]];
        let fanouts: [&(dyn ToSql + Sync); 4] = [&f[0], &f[1], &f[2], &f[3]];
        let finished: [&(dyn ToSql + Sync); 1] = [&done];
        let lessened: [&(dyn ToSql + Sync); 2] = [&open, &left];
        // What comes is written before what goes: a row may do both in one batch.
        let all: [(bool, &'static str, Params<'_>); 9] = [
            (m.1.is_empty(), MESSAGES, &messages),
            (d[0].is_empty(), DELIVERIES, &deliveries),
            (a.1.is_empty(), ACCEPTED, &accepted),
            (u.id.is_empty(), AUDIT, &audit),
            (g[0].is_empty(), GONE, &gone),
            (n.1.is_empty(), NOTICES, &notices),
            (f[0].is_empty(), FANOUTS, &fanouts),
            (done.is_empty(), FINISHED, &finished),
            (open.is_empty(), LESSENED, &lessened),
        ];
        let needed: Vec<_> = (all.into_iter())
            .filter_map(|(empty, sql, params)| (!empty).then_some((sql, params)))
            .collect();
        line.execute_all(&needed)
    }
}

const MESSAGES: &str = "
INSERT INTO message (seq, sender, waiting, of_many, tail)
SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::BYTEA[])";
const DELIVERIES: &str = "
INSERT INTO delivery (mailbox, class, seq, sender, size, expires)
SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[],
    $6::BIGINT[])";
const ACCEPTED: &str = "
INSERT INTO accepted (origin, id, content, seq, recipients, at)
SELECT * FROM unnest($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[],
    $6::BIGINT[])";
const AUDIT: &str = r#"
INSERT INTO audit_log (id, "meshId", "eventType", "actorPeerId", "targetPeerId", metadata,
    "createdAt", chain, n, hash)
SELECT * FROM unnest($1::BIGINT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[],
    $7::BIGINT[], $8::BIGINT[], $9::BIGINT[], $10::BYTEA[])"#;
const GONE: &str = "
DELETE FROM delivery d
USING unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) AS g (mailbox, class, seq)
WHERE d.mailbox = g.mailbox AND d.class = g.class AND d.seq = g.seq";
const NOTICES: &str = "
INSERT INTO notice (seq, mailbox, sender, reason, at)
SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[], $5::BIGINT[])";
const FANOUTS: &str = "
INSERT INTO fanout (seq, of_many, failed, at)
SELECT * FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[], $4::BIGINT[])
ON CONFLICT (seq) DO UPDATE SET failed = excluded.failed, at = excluded.at";
const FINISHED: &str = "DELETE FROM message WHERE seq = ANY ($1)";
const LESSENED: &str = "
UPDATE message m SET waiting = u.waiting
FROM unnest($1::BIGINT[], $2::BIGINT[]) AS u (seq, waiting) WHERE m.seq = u.seq";
