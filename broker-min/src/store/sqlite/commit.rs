//! One transaction: the queue's operations. Those on meshes are in `meshes`, those that walk
//! over whole tables in `walk`.
//!
//! Each operation looks before it writes, so that a refused one has changed nothing and needs no
//! savepoint.

use std::collections::HashSet;

use claudemesh_core::crypto::sha256;
use claudemesh_core::id::{MeshId, PublicKey};
use rusqlite::{Connection, OptionalExtension};

use super::{channels, int, load, meshes, uint};
use crate::store::cache::{Cache, Counters, DeliveryKey, Load};
use crate::store::rows::{audit_metadata, class_number, priority};
use crate::store::{Accept, Delivery, Expired, Many, Op, Outcome};

/// Begins the transaction and does all operations; the caller commits it or rolls it back.
pub(super) fn apply(
    conn: &Connection,
    cache: &mut Cache,
    ops: &[Op],
) -> rusqlite::Result<Vec<Outcome>> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let before = match cache.counters {
        Some(counters) => counters,
        None => conn
            .prepare_cached("SELECT head, queued FROM meta")?
            .query_row([], |row| {
                Ok(Counters {
                    head: uint(row.get(0)?),
                    queued: uint(row.get(1)?),
                })
            })?,
    };
    let mut batch = Batch {
        conn,
        cache,
        counters: before,
    };
    let outcomes = ops
        .iter()
        .map(|op| batch.apply(op))
        .collect::<Result<_, _>>()?;
    let after = batch.counters;
    if after != before {
        conn.prepare_cached("UPDATE meta SET head = ?, queued = ?")?
            .execute((int(after.head), int(after.queued)))?;
    }
    cache.counters = Some(after);
    cache.chains.save(conn)?;
    Ok(outcomes)
}

/// A row that left the queue.
pub(super) struct Gone {
    pub(super) key: DeliveryKey,
    pub(super) sender: i64,
    pub(super) size: u64,
}

/// The open transaction.
pub(super) struct Batch<'a> {
    pub(super) conn: &'a Connection,
    pub(super) cache: &'a mut Cache,
    counters: Counters,
}

impl Batch<'_> {
    pub(super) fn apply(&mut self, op: &Op) -> rusqlite::Result<Outcome> {
        match op {
            Op::Accept(accept) => self.accept(accept),
            Op::Settle(delivery) => self.settle(delivery),
            Op::Expire { now, limit } => self.expire(*now, *limit),
            Op::FailMailbox {
                mesh,
                address,
                reason,
                now,
                limit,
            } => self.fail_mailbox((mesh, address), reason, *now, *limit),
            Op::Prune { now, limit } => self.prune(*now, *limit),
            Op::Value(op) => self.value(op),
            other => meshes::apply(self.conn, &mut self.cache.chains, other),
        }
    }

    pub(super) fn accept(&mut self, accept: &Accept) -> rusqlite::Result<Outcome> {
        let sender = self.cache.find(self.conn, &accept.mesh, &accept.sender)?;
        let hash = accept.id.as_ref().map(|id| short_hash(id.as_str()));
        if let (Some(origin), Some(hash)) = (sender, &hash) {
            let known = self
                .conn
                .prepare_cached(
                    "SELECT content, seq, recipients FROM accepted WHERE origin = ? AND id = ?",
                )?
                .query_row((origin, hash), |row| {
                    let content: i64 = row.get(0)?;
                    Ok(if content == accept.content.cast_signed() {
                        Outcome::Duplicate {
                            seq: uint(row.get(1)?),
                            recipients: row.get(2)?,
                        }
                    } else {
                        Outcome::Reused
                    })
                })
                .optional()?;
            if let Some(outcome) = known {
                return Ok(outcome);
            }
        }
        if accept.lookup_only {
            return Ok(Outcome::Refused);
        }
        let (fit, full) = self.with_room(accept, sender)?;
        if fit.is_empty() && !full.is_empty() {
            return Ok(Outcome::Full);
        }
        self.store(accept, hash.as_ref(), &fit)?;
        Ok(Outcome::Accepted {
            seq: self.counters.head,
            full,
        })
    }

    /// The recipients whose mailbox has room, each once, and the places of the others.
    fn with_room<'a>(
        &mut self,
        accept: &'a Accept,
        sender: Option<i64>,
    ) -> rusqlite::Result<(Vec<&'a PublicKey>, Vec<usize>)> {
        let mesh = self.cache.mesh_load(self.conn, &accept.mesh)?;
        let mut seen = HashSet::new();
        let mut fit = Vec::with_capacity(accept.recipients.len());
        let mut full = Vec::new();
        for (place, address) in accept.recipients.iter().enumerate() {
            if accept.recipients.len() > 1 && !seen.insert(address) {
                continue;
            }
            let size = accept.tail.len() as u64;
            let has_room = match self.cache.find(self.conn, &accept.mesh, address)? {
                Some(mailbox) => {
                    self.cache
                        .load(self.conn, mailbox)?
                        .has_room(&accept.caps, sender, size)
                }
                None => Load::default().has_room(&accept.caps, None, size),
            };
            if has_room && mesh.has_room(&accept.caps, fit.len() as u64, size) {
                fit.push(address);
            } else {
                full.push(place);
            }
        }
        Ok((fit, full))
    }

    fn store(
        &mut self,
        accept: &Accept,
        hash: Option<&[u8; 16]>,
        recipients: &[&PublicKey],
    ) -> rusqlite::Result<()> {
        let conn = self.conn;
        let sender = self.cache.intern(conn, &accept.mesh, &accept.sender)?;
        self.counters.head += 1;
        let seq = int(self.counters.head);
        let (now, expires) = (int(accept.now), int(accept.expires_at));
        let bytes = accept.tail.len() as u64;
        let count = int(recipients.len() as u64);
        if !recipients.is_empty() {
            let of_many = accept.channel.as_ref().map_or(0, |_| count);
            conn.prepare_cached(
                "INSERT INTO message (seq, sender, waiting, tail, of_many) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((seq, sender, count, &accept.tail, of_many))?;
        }
        channels::say(conn, accept, seq, sender)?;
        let mut insert = conn.prepare_cached(
            "INSERT INTO delivery (mailbox, class, seq, sender, size, expires)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?;
        let class = class_number(accept.class);
        for address in recipients {
            let mailbox = self.cache.intern(conn, &accept.mesh, address)?;
            insert.execute((mailbox, class, seq, sender, int(bytes), expires))?;
            self.cache.added(mailbox, sender, bytes);
            self.counters.queued += 1;
        }
        if let Some(hash) = hash {
            conn.prepare_cached(
                "INSERT INTO accepted (origin, id, content, seq, recipients, at)
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute((sender, hash, accept.content.cast_signed(), seq, count, now))?;
        }
        let target = match accept.recipients.as_slice() {
            [one] => Some(one.short()),
            _ => None,
        };
        let metadata = audit_metadata(
            Some(bytes),
            Some(accept.class),
            &[("accepted", accept.now), ("expires", accept.expires_at)],
        );
        self.cache.chains.insert(
            conn,
            (&accept.mesh, "message_sent"),
            (Some(&accept.sender.short()), target.as_deref()),
            &metadata,
            accept.now,
        )
    }

    fn settle(&mut self, delivery: &Delivery) -> rusqlite::Result<Outcome> {
        let found = self
            .cache
            .find(self.conn, &delivery.mesh, &delivery.address)?;
        let Some(mailbox) = found else {
            return Ok(Outcome::NotThere);
        };
        let class = class_number(delivery.class);
        let gone = self
            .conn
            .prepare_cached(
                "DELETE FROM delivery WHERE mailbox = ? AND class = ? AND seq = ?
                 RETURNING sender, size",
            )?
            .query_row((mailbox, class, int(delivery.seq)), |row| {
                Ok(Gone {
                    key: (mailbox, class, int(delivery.seq)),
                    sender: row.get(0)?,
                    size: uint(row.get(1)?),
                })
            })
            .optional()?;
        let Some(gone) = gone else {
            return Ok(Outcome::NotThere);
        };
        let (left, many) = self.after_removal(&gone)?;
        let (_, sender) = self.cache.party(self.conn, gone.sender)?;
        Ok(Outcome::Settled { sender, left, many })
    }

    /// Keeps the books after a delivery was deleted: the message goes with its last one. Gives
    /// how many are left.
    fn after_removal(&mut self, gone: &Gone) -> rusqlite::Result<(u32, Option<Many>)> {
        self.cache.removed(gone.key.0, gone.sender, gone.size);
        self.counters.queued = self.counters.queued.saturating_sub(1);
        let seq = gone.key.2;
        let last: Option<u32> = self
            .conn
            .prepare_cached("DELETE FROM message WHERE seq = ? AND waiting <= 1 RETURNING of_many")?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        let (left, of) = match last {
            Some(of) => (0, of),
            None => self
                .conn
                .prepare_cached(
                    "UPDATE message SET waiting = waiting - 1 WHERE seq = ?
                     RETURNING waiting, of_many",
                )?
                .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?,
        };
        let many = match of {
            0 => None,
            of => Some(channels::many(self.conn, seq, of, left)?),
        };
        Ok((left, many))
    }

    fn fail_mailbox(
        &mut self,
        (mesh, address): (&MeshId, &PublicKey),
        reason: &str,
        now: u64,
        limit: u32,
    ) -> rusqlite::Result<Outcome> {
        let Some(mailbox) = self.cache.find(self.conn, mesh, address)? else {
            return Ok(Outcome::Expired(Vec::new()));
        };
        let gone = self
            .conn
            .prepare_cached(
                "SELECT class, seq, sender, size FROM delivery WHERE mailbox = ?
                 ORDER BY class, seq LIMIT ?",
            )?
            .query_map((mailbox, limit), |row| {
                Ok(Gone {
                    key: (mailbox, row.get(0)?, row.get(1)?),
                    sender: row.get(2)?,
                    size: uint(row.get(3)?),
                })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        self.fail(&gone, reason, now)
    }

    /// Deletes deliveries and notes for their senders why.
    pub(super) fn fail(
        &mut self,
        all: &[Gone],
        reason: &str,
        now: u64,
    ) -> rusqlite::Result<Outcome> {
        let mut failed = Vec::with_capacity(all.len());
        for gone in all {
            let (mailbox, class, seq) = gone.key;
            self.conn
                .prepare_cached("DELETE FROM delivery WHERE mailbox = ? AND class = ? AND seq = ?")?
                .execute(gone.key)?;
            self.conn
                .prepare_cached(
                    "INSERT INTO notice (seq, mailbox, sender, reason, at) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute((seq, mailbox, gone.sender, reason, int(now)))?;
            channels::failed_one(self.conn, seq, now)?;
            let (_, many) = self.after_removal(gone)?;
            let (mesh, address) = self.cache.party(self.conn, mailbox)?;
            let (_, sender) = self.cache.party(self.conn, gone.sender)?;
            failed.push(Expired {
                delivery: Delivery {
                    mesh,
                    address,
                    class: priority(class).ok_or_else(|| load::bad(1, "class"))?,
                    seq: uint(seq),
                },
                sender,
                reason: reason.into(),
                many,
            });
        }
        Ok(Outcome::Expired(failed))
    }
}

/// Ids are hashed to a fixed length: rows stay small whatever a client sends.
fn short_hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&sha256(id.as_bytes()).0[..16]);
    short
}
