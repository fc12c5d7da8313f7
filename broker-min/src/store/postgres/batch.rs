//! One transaction: the queue's operations.
//!
//! An answer of the server takes many times as long as one of a file, so a batch asks as little as
//! it can. What its sends and settles need to know is asked for all of them at once; what they
//! change is gathered and written with one statement for each table. In between the batch itself
//! knows: [`Batch::flush`] comes before whatever reads these tables.

use std::collections::{BTreeMap, HashMap, HashSet};

use claudemesh_core::crypto::sha256;
use claudemesh_core::id::{MeshId, PublicKey};
use tokio_postgres::types::ToSql;

use super::line::{Fault, Line, bad, get};
use super::pending::Pending;
use super::{channels, int, key, meshes, uint};
use crate::store::cache::{Cache, Counters, DeliveryKey, Load, MeshLoad};
use crate::store::chains::Event;
use crate::store::rows::{audit_metadata, class_number, priority};
use crate::store::{Accept, Delivery, Expired, Many, Op, Outcome};

/// Begins the transaction and does all operations; the caller commits it or rolls it back.
pub(super) fn apply(line: &mut Line, cache: &mut Cache, ops: &[Op]) -> Result<Vec<Outcome>, Fault> {
    line.batch("BEGIN")?;
    let before = match cache.counters {
        Some(counters) => counters,
        None => {
            let row = line.one("SELECT head, queued FROM meta", &[])?;
            Counters {
                head: uint(get(&row, 0)?),
                queued: uint(get(&row, 1)?),
            }
        }
    };
    let mut batch = Batch {
        line,
        cache,
        counters: before,
        pending: Pending::default(),
        taken: HashMap::new(),
        deliveries: HashMap::new(),
        messages: HashMap::new(),
    };
    batch.look_ahead(ops)?;
    let outcomes = ops
        .iter()
        .map(|op| batch.apply(op))
        .collect::<Result<_, _>>()?;
    batch.flush()?;
    let after = batch.counters;
    let grown = batch.cache.chains.grown();
    let (ids, ns, hashes) = {
        let mut columns = (Vec::new(), Vec::new(), Vec::new());
        for (id, place) in &grown {
            columns.0.push(*id);
            columns.1.push(int(place.n));
            columns.2.push(place.hash.as_bytes().as_slice());
        }
        columns
    };
    let (head, queued) = (int(after.head), int(after.queued));
    let mut last: Vec<(&'static str, super::line::Params<'_>)> = Vec::new();
    let counters: [&(dyn ToSql + Sync); 2] = [&head, &queued];
    let ends: [&(dyn ToSql + Sync); 3] = [&ids, &ns, &hashes];
    if after != before {
        last.push(("UPDATE meta SET head = $1, queued = $2", &counters));
    }
    if !grown.is_empty() {
        last.push((
            "UPDATE audit_chain c SET n = u.n, hash = u.hash
             FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BYTEA[]) AS u (id, n, hash)
             WHERE c.id = u.id",
            &ends,
        ));
    }
    batch.line.execute_all(&last)?;
    cache.counters = Some(after);
    Ok(outcomes)
}

/// A row that left the queue.
pub(super) struct Gone {
    pub(super) key: DeliveryKey,
    pub(super) sender: i64,
    pub(super) size: u64,
}

/// A send's id, hashed, under its sender's number.
type Origin = (i64, [u8; 16]);

/// What was taken under an id: content, seq, recipients.
pub(super) type Taken = (i64, i64, i64);

/// A message as it is after what the batch did so far.
pub(super) struct Message {
    waiting: i64,
    of_many: i64,
    failed: i64,
}

/// The open transaction.
pub(super) struct Batch<'a, 'ops> {
    pub(super) line: &'a mut Line,
    pub(super) cache: &'a mut Cache,
    counters: Counters,
    pub(super) pending: Pending<'ops>,
    /// Ids that were asked for; none: it was not taken.
    pub(super) taken: HashMap<Origin, Option<Taken>>,
    /// The deliveries that the batch settles, and those it made.
    deliveries: HashMap<DeliveryKey, (i64, u64)>,
    /// Messages that it has looked at.
    pub(super) messages: HashMap<i64, Message>,
}

impl<'ops> Batch<'_, 'ops> {
    /// Asks at once what the operations need to know.
    fn look_ahead(&mut self, ops: &'ops [Op]) -> Result<(), Fault> {
        let mut wanted: BTreeMap<&MeshId, Vec<&PublicKey>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Accept(accept) => {
                    let keys = wanted.entry(&accept.mesh).or_default();
                    keys.push(&accept.sender);
                    keys.extend(&accept.recipients);
                }
                Op::Settle(it) => wanted.entry(&it.mesh).or_default().push(&it.address),
                _ => {}
            }
        }
        for (mesh, keys) in wanted {
            self.find_all(mesh, &keys)?;
        }
        self.look_for_ids(ops)?;
        self.look_for_deliveries(ops)
    }

    fn look_for_ids(&mut self, ops: &[Op]) -> Result<(), Fault> {
        let mut wanted: Vec<Origin> = Vec::new();
        for op in ops {
            if let Op::Accept(accept) = op
                && let Some(id) = &accept.id
                && let Some(sender) = self.cache.known(&accept.mesh, &accept.sender)
            {
                wanted.push((sender, short_hash(id.as_str())));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let origins: Vec<i64> = wanted.iter().map(|it| it.0).collect();
        let ids: Vec<&[u8]> = wanted.iter().map(|it| it.1.as_slice()).collect();
        let rows = self.line.rows(
            "SELECT a.origin, a.id, a.content, a.seq, a.recipients
             FROM unnest($1::BIGINT[], $2::BYTEA[]) AS w (origin, id)
             JOIN accepted a ON a.origin = w.origin AND a.id = w.id",
            &[&origins, &ids],
        )?;
        self.taken.extend(wanted.into_iter().map(|it| (it, None)));
        for row in rows {
            let id: &[u8] = get(&row, 1)?;
            let id = id.try_into().map_err(|_| bad("an id"))?;
            let taken = (get(&row, 2)?, get(&row, 3)?, get(&row, 4)?);
            self.taken.insert((get(&row, 0)?, id), Some(taken));
        }
        Ok(())
    }

    fn look_for_deliveries(&mut self, ops: &[Op]) -> Result<(), Fault> {
        let (mut mailboxes, mut classes, mut seqs) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            if let Op::Settle(it) = op
                && let Some(mailbox) = self.cache.known(&it.mesh, &it.address)
            {
                mailboxes.push(mailbox);
                classes.push(class_number(it.class));
                seqs.push(int(it.seq));
            }
        }
        if seqs.is_empty() {
            return Ok(());
        }
        let rows = self.line.rows(
            "SELECT d.mailbox, d.class, d.seq, d.sender, d.size, m.waiting, m.of_many, f.failed
             FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BIGINT[]) AS w (mailbox, class, seq)
             JOIN delivery d ON d.mailbox = w.mailbox AND d.class = w.class AND d.seq = w.seq
             JOIN message m ON m.seq = d.seq LEFT JOIN fanout f ON f.seq = d.seq",
            &[&mailboxes, &classes, &seqs],
        )?;
        for row in rows {
            let key: DeliveryKey = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
            let size = uint(get(&row, 4)?);
            self.deliveries.insert(key, (get(&row, 3)?, size));
            self.messages.insert(
                key.2,
                Message {
                    waiting: get(&row, 5)?,
                    of_many: get(&row, 6)?,
                    failed: get::<Option<i64>>(&row, 7)?.unwrap_or(0),
                },
            );
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, op: &'ops Op) -> Result<Outcome, Fault> {
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
            other => meshes::apply(self, other),
        }
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        let messages = &self.messages;
        let waiting = |seq: &i64| messages.get(seq).map_or(0, |message| message.waiting);
        self.pending.write(self.line, waiting)
    }

    pub(super) fn accept(&mut self, accept: &'ops Accept) -> Result<Outcome, Fault> {
        let sender = self.find(&accept.mesh, &accept.sender)?;
        let hash = accept.id.as_ref().map(|id| short_hash(id.as_str()));
        if let (Some(origin), Some(hash)) = (sender, hash)
            && let Some((content, seq, recipients)) = self.taken((origin, hash))?
        {
            return Ok(if content == accept.content.cast_signed() {
                Outcome::Duplicate {
                    seq: uint(seq),
                    recipients: u32::try_from(recipients).unwrap_or(u32::MAX),
                }
            } else {
                Outcome::Reused
            });
        }
        if accept.lookup_only {
            return Ok(Outcome::Refused);
        }
        let (fit, full) = self.with_room(accept, sender)?;
        if fit.is_empty() && !full.is_empty() {
            return Ok(Outcome::Full);
        }
        self.store(accept, hash, &fit)?;
        Ok(Outcome::Accepted {
            seq: self.counters.head,
            full,
        })
    }

    fn taken(&mut self, origin: Origin) -> Result<Option<Taken>, Fault> {
        if let Some(taken) = self.taken.get(&origin) {
            return Ok(*taken);
        }
        // What this batch took is in the map: what is not there can only be in the table.
        let row = self.line.row(
            "SELECT content, seq, recipients FROM accepted WHERE origin = $1 AND id = $2",
            &[&origin.0, &origin.1.as_slice()],
        )?;
        let taken = match row {
            Some(row) => Some((get(&row, 0)?, get(&row, 1)?, get(&row, 2)?)),
            None => None,
        };
        self.taken.insert(origin, taken);
        Ok(taken)
    }

    /// The recipients whose mailbox has room, each once, and the places of the others.
    fn with_room(
        &mut self,
        accept: &'ops Accept,
        sender: Option<i64>,
    ) -> Result<(Vec<&'ops PublicKey>, Vec<usize>), Fault> {
        let mesh = self.mesh_load(&accept.mesh)?;
        self.load_all(&accept.mesh, &accept.recipients)?;
        let mut seen = HashSet::new();
        let mut fit = Vec::with_capacity(accept.recipients.len());
        let mut full = Vec::new();
        let size = accept.tail.len() as u64;
        for (place, address) in accept.recipients.iter().enumerate() {
            if accept.recipients.len() > 1 && !seen.insert(address) {
                continue;
            }
            let mailbox = self.cache.known(&accept.mesh, address);
            let load = mailbox.and_then(|mailbox| self.cache.known_load(mailbox));
            let has_room = match load {
                Some(load) => load.has_room(&accept.caps, sender, size),
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
        accept: &'ops Accept,
        hash: Option<[u8; 16]>,
        recipients: &[&'ops PublicKey],
    ) -> Result<(), Fault> {
        let mut parties = vec![&accept.sender];
        parties.extend(recipients);
        self.intern_all(&accept.mesh, &parties)?;
        let number =
            |cache: &Cache, key| cache.known(&accept.mesh, key).ok_or_else(|| bad("party"));
        let sender = number(self.cache, &accept.sender)?;
        self.counters.head += 1;
        let seq = int(self.counters.head);
        let bytes = accept.tail.len() as u64;
        let count = int(recipients.len() as u64);
        if !recipients.is_empty() {
            let of_many = accept.channel.as_ref().map_or(0, |_| count);
            self.pending
                .message((seq, sender, count, of_many), accept.tail.as_bytes());
            self.messages.insert(
                seq,
                Message {
                    waiting: count,
                    of_many,
                    failed: 0,
                },
            );
        }
        channels::say(self.line, accept, seq, sender)?;
        let class = class_number(accept.class);
        for address in recipients {
            let mailbox = number(self.cache, address)?;
            self.pending.delivery(
                (mailbox, class, seq),
                (sender, int(bytes), int(accept.expires_at)),
            );
            self.deliveries
                .insert((mailbox, class, seq), (sender, bytes));
            self.cache.added(mailbox, sender, bytes);
            self.counters.queued += 1;
        }
        if let Some(hash) = hash {
            let taken = (accept.content.cast_signed(), seq, count);
            self.pending
                .accepted((sender, hash), taken, int(accept.now));
            self.taken.insert((sender, hash), Some(taken));
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
        let actor = accept.sender.short();
        let event = Event {
            event: "message_sent",
            actor: Some(&actor),
            target: target.as_deref(),
            metadata: &metadata,
            at: accept.now,
        };
        self.audit(&accept.mesh, event)
    }

    /// Writes an audit row. There is no column for content.
    pub(super) fn audit(&mut self, mesh: &MeshId, mut event: Event<'_>) -> Result<(), Fault> {
        if self.cache.chains.last.is_none() {
            let row = self
                .line
                .one("SELECT coalesce(max(id), 0) FROM audit_log", &[])?;
            self.cache.chains.last = Some(uint(get(&row, 0)?));
        }
        if !self.cache.chains.knows(mesh) {
            let (id, place) = super::audit::end(self.line, mesh)?;
            self.cache.chains.remember(mesh, id, place);
        }
        event.at = uint(int(event.at));
        let link = self.cache.chains.link(mesh, event);
        let link = link.ok_or_else(|| bad("an audit chain"))?;
        self.pending.audit(mesh, event, link);
        Ok(())
    }

    fn settle(&mut self, delivery: &Delivery) -> Result<Outcome, Fault> {
        let Some(mailbox) = self.find(&delivery.mesh, &delivery.address)? else {
            return Ok(Outcome::NotThere);
        };
        let key = (mailbox, class_number(delivery.class), int(delivery.seq));
        let Some((sender, size)) = self.deliveries.remove(&key) else {
            return Ok(Outcome::NotThere);
        };
        self.pending.gone(key);
        let (left, many) = self.after_removal(&Gone { key, sender, size })?;
        let (_, sender) = self.party(sender)?;
        Ok(Outcome::Settled { sender, left, many })
    }

    /// Keeps the books after a delivery was deleted: the message goes with its last one. Gives
    /// how many are left.
    fn after_removal(&mut self, gone: &Gone) -> Result<(u32, Option<Many>), Fault> {
        self.cache.removed(gone.key.0, gone.sender, gone.size);
        self.counters.queued = self.counters.queued.saturating_sub(1);
        let seq = gone.key.2;
        let message = self.message(seq)?;
        message.waiting = (message.waiting - 1).max(0);
        let narrow = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let (left, of, failed) = (
            narrow(message.waiting),
            narrow(message.of_many),
            narrow(message.failed),
        );
        self.pending.changed(seq);
        if of == 0 {
            return Ok((left, None));
        }
        let reason = if left == 0 && failed > 0 {
            self.flush()?;
            let row = self.line.row(
                "SELECT reason FROM notice WHERE seq = $1 ORDER BY at, reason LIMIT 1",
                &[&seq],
            )?;
            row.map(|row| get(&row, 0)).transpose()?
        } else {
            None
        };
        let many = Many {
            of,
            failed,
            left,
            reason,
        };
        Ok((left, Some(many)))
    }

    /// A message of the queue, as it is now.
    fn message(&mut self, seq: i64) -> Result<&mut Message, Fault> {
        if !self.messages.contains_key(&seq) {
            self.load_messages(&[seq])?;
        }
        self.messages.get_mut(&seq).ok_or_else(|| bad("a message"))
    }

    fn load_messages(&mut self, seqs: &[i64]) -> Result<(), Fault> {
        let unknown = |seq: &i64| !self.messages.contains_key(seq);
        let wanted: Vec<i64> = seqs.iter().copied().filter(unknown).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = self.line.rows(
            "SELECT m.seq, m.waiting, m.of_many, f.failed FROM message m
             LEFT JOIN fanout f ON f.seq = m.seq WHERE m.seq = ANY ($1)",
            &[&wanted],
        )?;
        for row in rows {
            self.messages.insert(
                get(&row, 0)?,
                Message {
                    waiting: get(&row, 1)?,
                    of_many: get(&row, 2)?,
                    failed: get::<Option<i64>>(&row, 3)?.unwrap_or(0),
                },
            );
        }
        Ok(())
    }

    fn fail_mailbox(
        &mut self,
        (mesh, address): (&MeshId, &PublicKey),
        reason: &str,
        now: u64,
        limit: u32,
    ) -> Result<Outcome, Fault> {
        let Some(mailbox) = self.find(mesh, address)? else {
            return Ok(Outcome::Expired(Vec::new()));
        };
        self.flush()?;
        let rows = self.line.rows(
            "SELECT class, seq, sender, size FROM delivery WHERE mailbox = $1
             ORDER BY class, seq LIMIT $2",
            &[&mailbox, &i64::from(limit)],
        )?;
        let mut gone = Vec::with_capacity(rows.len());
        for row in rows {
            gone.push(Gone {
                key: (mailbox, get(&row, 0)?, get(&row, 1)?),
                sender: get(&row, 2)?,
                size: uint(get(&row, 3)?),
            });
        }
        self.fail(&gone, reason, now)
    }

    /// Deletes deliveries and notes for their senders why.
    pub(super) fn fail(&mut self, all: &[Gone], reason: &str, now: u64) -> Result<Outcome, Fault> {
        let seqs: Vec<i64> = all.iter().map(|gone| gone.key.2).collect();
        self.load_messages(&seqs)?;
        let mut failed = Vec::with_capacity(all.len());
        for gone in all {
            let (mailbox, class, seq) = gone.key;
            self.deliveries.remove(&gone.key);
            self.pending.gone(gone.key);
            self.pending
                .notice((seq, mailbox, gone.sender), reason, int(now));
            let message = self.message(seq)?;
            if message.of_many > 0 {
                message.failed += 1;
                let counts = (message.of_many, message.failed, int(now));
                self.pending.fanout(seq, counts);
            }
            let (_, many) = self.after_removal(gone)?;
            let (mesh, address) = self.party(mailbox)?;
            let (_, sender) = self.party(gone.sender)?;
            failed.push(Expired {
                delivery: Delivery {
                    mesh,
                    address,
                    class: priority(class).ok_or_else(|| bad("a class"))?,
                    seq: uint(seq),
                },
                sender,
                reason: reason.into(),
                many,
            });
        }
        Ok(Outcome::Expired(failed))
    }

    /// The number of a party, if it has one.
    pub(super) fn find(&mut self, mesh: &MeshId, key: &PublicKey) -> Result<Option<i64>, Fault> {
        self.find_all(mesh, &[key])?;
        Ok(self.cache.known(mesh, key))
    }

    /// Remembers the numbers of those of the parties that have one.
    fn find_all(&mut self, mesh: &MeshId, keys: &[&PublicKey]) -> Result<(), Fault> {
        let unknown = |key: &&&PublicKey| self.cache.known(mesh, key).is_none();
        let wanted: Vec<&[u8]> = (keys.iter().filter(unknown))
            .map(|key| key.as_bytes().as_slice())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = self.line.rows(
            "SELECT id, key FROM party WHERE mesh = $1 AND key = ANY ($2)",
            &[&mesh.as_str(), &wanted],
        )?;
        for row in rows {
            self.cache.remember(get(&row, 0)?, mesh, &key(&row, 1)?);
        }
        Ok(())
    }

    /// Gives a number to those of the parties that have none.
    fn intern_all(&mut self, mesh: &MeshId, keys: &[&PublicKey]) -> Result<(), Fault> {
        self.find_all(mesh, keys)?;
        let mut seen = HashSet::new();
        let fresh = |key: &&&PublicKey| self.cache.known(mesh, key).is_none();
        let wanted: Vec<&[u8]> = (keys.iter().filter(fresh))
            .filter(|key| seen.insert(**key))
            .map(|key| key.as_bytes().as_slice())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = self.line.rows(
            "INSERT INTO party (mesh, key) SELECT $1, unnest($2::BYTEA[]) RETURNING id, key",
            &[&mesh.as_str(), &wanted],
        )?;
        for row in rows {
            self.cache.remember(get(&row, 0)?, mesh, &key(&row, 1)?);
        }
        Ok(())
    }

    /// Whose number it is.
    pub(super) fn party(&mut self, id: i64) -> Result<(MeshId, PublicKey), Fault> {
        if let Some(party) = self.cache.known_party(id) {
            return Ok(party.clone());
        }
        let row = self
            .line
            .one("SELECT mesh, key FROM party WHERE id = $1", &[&id])?;
        let party = (super::parsed(&row, 0)?, key(&row, 1)?);
        self.cache.remember(id, &party.0, &party.1);
        Ok(party)
    }

    /// Remembers how full the mailboxes of these are.
    fn load_all(&mut self, mesh: &MeshId, keys: &[PublicKey]) -> Result<(), Fault> {
        let refs: Vec<&PublicKey> = keys.iter().collect();
        self.find_all(mesh, &refs)?;
        let mut wanted = Vec::new();
        for key in keys {
            if let Some(mailbox) = self.cache.known(mesh, key)
                && self.cache.known_load(mailbox).is_none()
            {
                wanted.push(mailbox);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let rows = self.line.rows(
            "SELECT mailbox, sender, count(*), sum(size)::BIGINT FROM delivery
             WHERE mailbox = ANY ($1) GROUP BY mailbox, sender",
            &[&wanted],
        )?;
        let mut loads: HashMap<i64, Vec<(i64, u64, u64)>> = wanted
            .into_iter()
            .map(|mailbox| (mailbox, Vec::new()))
            .collect();
        for row in rows {
            let load = (get(&row, 1)?, uint(get(&row, 2)?), uint(get(&row, 3)?));
            loads.entry(get(&row, 0)?).or_default().push(load);
        }
        for (mailbox, senders) in loads {
            self.cache.remember_load(mailbox, senders);
        }
        Ok(())
    }

    /// How much waits in a mesh.
    fn mesh_load(&mut self, mesh: &MeshId) -> Result<MeshLoad, Fault> {
        if let Some(load) = self.cache.known_mesh_load(mesh) {
            return Ok(load);
        }
        self.flush()?;
        let row = self.line.one(
            "SELECT count(*), coalesce(sum(d.size), 0)::BIGINT FROM party p
             JOIN delivery d ON d.mailbox = p.id WHERE p.mesh = $1",
            &[&mesh.as_str()],
        )?;
        let load = MeshLoad {
            rows: uint(get(&row, 0)?),
            bytes: uint(get(&row, 1)?),
        };
        self.cache.remember_mesh_load(mesh, load);
        Ok(load)
    }
}

/// Ids are hashed to a fixed length: rows stay small whatever a client sends.
fn short_hash(id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&sha256(id.as_bytes()).0[..16]);
    short
}
