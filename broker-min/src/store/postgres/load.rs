//! The reading side: a connection of its own that can change nothing.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use claudemesh_core::id::{Hash, MeshId, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;

use super::line::{Fault, Line, Target, bad, get};
use super::{RETRY_AFTER, array, int, key, parsed, text, uint};
use crate::store::rows::class_number;
use crate::store::{
    InviteRow, MemberRow, MeshRow, MeshRows, PageRow, Query, Rows, SendOutcome, StoreError,
    StoreInfo, StoreReader,
};

/// Reads; connects when it is asked first, and again when the connection is gone.
pub(super) struct PostgresReader {
    target: Arc<Target>,
    line: RefCell<Option<Line>>,
    /// Until when it is not tried again, and why.
    away: RefCell<Option<(Instant, String)>>,
}

impl PostgresReader {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self {
            target,
            line: RefCell::new(None),
            away: RefCell::new(None),
        }
    }

    fn connected(&self) -> Result<Line, Fault> {
        if let Some((until, why)) = &*self.away.borrow()
            && Instant::now() < *until
        {
            return Err(Fault::Lost(why.clone()));
        }
        let opened = Line::open(&self.target, true).and_then(|line| {
            line.batch("SET default_transaction_read_only = on")?;
            Ok(line)
        });
        let away = match &opened {
            Err(Fault::Lost(why)) => Some((Instant::now() + RETRY_AFTER, why.clone())),
            _ => None,
        };
        *self.away.borrow_mut() = away;
        opened
    }

    fn ask(&self, query: &Query) -> Result<Rows, Fault> {
        let kept = self.line.borrow_mut().take();
        let fresh = kept.is_none();
        let mut line = match kept {
            Some(line) if !line.is_closed() => line,
            _ => self.connected()?,
        };
        let mut answer = load(&mut line, query);
        // A connection that was idle while PostgreSQL was started anew: a read may be repeated.
        if !fresh && matches!(answer, Err(Fault::Lost(_))) {
            line = self.connected()?;
            answer = load(&mut line, query);
        }
        if !matches!(answer, Err(Fault::Lost(_))) {
            *self.line.borrow_mut() = Some(line);
        }
        answer
    }
}

impl StoreReader for PostgresReader {
    fn load(&self, query: &Query) -> Result<Rows, StoreError> {
        self.ask(query)
            .map_err(|fault| fault.told(&self.target.label))
    }
}

/// Answers; what is put together from several tables is of one moment.
fn load(line: &mut Line, query: &Query) -> Result<Rows, Fault> {
    let single = matches!(
        query,
        Query::Page { .. } | Query::Counts { .. } | Query::Info | Query::Totals
    );
    if single {
        return answer(line, query);
    }
    line.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    let answer = answer(line, query);
    let ended = line.batch("ROLLBACK");
    let answer = answer?;
    ended.map(|()| answer)
}

fn answer(line: &mut Line, query: &Query) -> Result<Rows, Fault> {
    Ok(match query {
        Query::Mesh(mesh) => Rows::Mesh(load_mesh(line, mesh)?.map(Box::new)),
        Query::Page {
            mesh,
            address,
            class,
            after,
            limit,
            now,
        } => {
            let rows = line.rows(
                "SELECT d.seq, p.key, m.tail, d.expires FROM delivery d
                 JOIN message m ON m.seq = d.seq JOIN party p ON p.id = d.sender
                 WHERE d.mailbox = (SELECT id FROM party WHERE mesh = $1 AND key = $2)
                   AND d.class = $3 AND d.seq > $4 AND d.expires > $5
                 ORDER BY d.seq LIMIT $6",
                &[
                    &mesh.as_str(),
                    &address.as_bytes().as_slice(),
                    &class_number(*class),
                    &int(*after),
                    &int(*now),
                    &i64::from(*limit),
                ],
            )?;
            let page = rows.iter().map(|row| {
                Ok(PageRow {
                    seq: uint(get(row, 0)?),
                    sender: key(row, 1)?,
                    tail: text(row, 2)?,
                    expires_at: uint(get(row, 3)?),
                })
            });
            Rows::Page(page.collect::<Result<_, Fault>>()?)
        }
        Query::Counts { mesh, address } => {
            let mut counts = [0; 3];
            let rows = line.rows(
                "SELECT class, count(*) FROM delivery
                 WHERE mailbox = (SELECT id FROM party WHERE mesh = $1 AND key = $2)
                 GROUP BY class",
                &[&mesh.as_str(), &address.as_bytes().as_slice()],
            )?;
            for row in rows {
                let class = usize::try_from(get::<i64>(&row, 0)?).map_err(|_| bad("a class"))?;
                *counts.get_mut(class).ok_or_else(|| bad("a class"))? = uint(get(&row, 1)?);
            }
            Rows::Counts(counts)
        }
        Query::Outcomes { sender, seqs } => Rows::Outcomes(outcomes(line, sender, seqs)?),
        Query::Channel(query) => super::channels::load(line, query)?,
        Query::Value(query) => Rows::Value(super::values::load(line, query)?),
        Query::Audit { mesh, from, bytes } => {
            Rows::Audit(super::audit::load(line, mesh, *from, *bytes)?)
        }
        Query::Info => Rows::Info(info(line)?),
        Query::Totals => {
            let row = line.one(
                "SELECT (SELECT queued FROM meta), (SELECT count(*) FROM mesh),
                        (SELECT count(*) FROM member WHERE removed_at = 0)",
                &[],
            )?;
            Rows::Totals([
                uint(get(&row, 0)?),
                uint(get(&row, 1)?),
                uint(get(&row, 2)?),
            ])
        }
    })
}

fn info(line: &mut Line) -> Result<StoreInfo, Fault> {
    let row = line.one(
        "SELECT store, id_secret, head, clock, audit_seed FROM meta",
        &[],
    )?;
    Ok(StoreInfo {
        store: get(&row, 0)?,
        id_secret: array(&row, 1)?,
        head: uint(get(&row, 2)?),
        clock: uint(get(&row, 3)?),
        audit_seed: array(&row, 4)?,
    })
}

fn outcomes(line: &mut Line, sender: &PublicKey, seqs: &[u64]) -> Result<Vec<SendOutcome>, Fault> {
    let head = info(line)?.head;
    let wanted: Vec<i64> = seqs.iter().map(|seq| int(*seq)).collect();
    // Who waits, who failed first and why, and how it went with the others, for all at once.
    let rows = line.rows(
        "SELECT w.seq, p.key, q.key, n.reason, f.of_many, f.failed
         FROM unnest($1::BIGINT[]) AS w (seq)
         LEFT JOIN message m ON m.seq = w.seq LEFT JOIN party p ON p.id = m.sender
         LEFT JOIN LATERAL (SELECT sender, reason FROM notice WHERE seq = w.seq
             ORDER BY at, reason LIMIT 1) n ON TRUE
         LEFT JOIN party q ON q.id = n.sender LEFT JOIN fanout f ON f.seq = w.seq",
        &[&wanted],
    )?;
    let mut known = std::collections::HashMap::new();
    for row in &rows {
        known.insert(uint(get(row, 0)?), row);
    }
    let of = |row: &tokio_postgres::Row, column| {
        let key: Option<&[u8]> = get(row, column)?;
        Ok::<_, Fault>(key.map(|key| key == sender.as_bytes().as_slice()))
    };
    let narrow = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let mut outcomes = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let Some(row) = known.get(seq).filter(|_| *seq > 0 && *seq <= head) else {
            outcomes.push(SendOutcome::Unknown);
            continue;
        };
        outcomes.push(match (of(row, 1)?, of(row, 2)?) {
            (Some(true), _) => SendOutcome::Queued,
            (Some(false), _) | (None, Some(false)) => SendOutcome::Unknown,
            (None, None) => SendOutcome::Delivered,
            (None, Some(true)) => {
                let reason = get(row, 3)?;
                match get::<Option<i64>>(row, 4)? {
                    None => SendOutcome::Failed(reason),
                    Some(of) => SendOutcome::FailedOf {
                        reason,
                        failed: narrow(get(row, 5)?),
                        of: narrow(of),
                    },
                }
            }
        });
    }
    Ok(outcomes)
}

fn load_mesh(line: &mut Line, mesh: &MeshId) -> Result<Option<MeshRows>, Fault> {
    let found = line.row(
        "SELECT id, slug, owner, owner_name, owner_member, created_at FROM mesh WHERE name = $1",
        &[&mesh.as_str()],
    )?;
    let Some(found) = found else {
        return Ok(None);
    };
    let id: i64 = get(&found, 0)?;
    let mesh_row = MeshRow {
        id: mesh.clone(),
        slug: get(&found, 1)?,
        owner: key(&found, 2)?,
        owner_name: parsed(&found, 3)?,
        owner_member: parsed(&found, 4)?,
        created_at: uint(get(&found, 5)?),
    };
    let rows = line.rows(
        "SELECT key, member, name, role, logged, joined_at, last_seen, removed_at
         FROM member WHERE mesh = $1 ORDER BY id",
        &[&id],
    )?;
    let members = rows.iter().map(|row| {
        Ok(MemberRow {
            mesh: mesh.clone(),
            key: key(row, 0)?,
            id: parsed(row, 1)?,
            name: parsed(row, 2)?,
            role: parsed(row, 3)?,
            logged: get(row, 4)?,
            joined_at: uint(get(row, 5)?),
            last_seen: uint(get(row, 6)?),
            removed_at: uint(get(row, 7)?),
        })
    });
    let members = members.collect::<Result<_, Fault>>()?;
    let rows = line.rows(
        "SELECT token, invite, legacy_uses FROM invite WHERE mesh = $1 ORDER BY id",
        &[&id],
    )?;
    let invites = rows.iter().map(|row| {
        Ok(InviteRow {
            mesh: mesh.clone(),
            token: text(row, 0)?,
            invite: Hash(array(row, 1)?),
            legacy_uses: uint(get(row, 2)?),
        })
    });
    let invites = invites.collect::<Result<_, Fault>>()?;
    let rows = line.rows(
        "SELECT entry, signature, cosignature FROM log WHERE mesh = $1 ORDER BY seq",
        &[&id],
    )?;
    let entries = rows.iter().map(|row| {
        let cosignature: Option<&[u8]> = get(row, 2)?;
        let cosignature = cosignature.map(|it| it.try_into().map_err(|_| bad("a signature")));
        Ok(SignedEntry {
            bytes: get(row, 0)?,
            signature: Signature(array(row, 1)?),
            cosignature: cosignature.transpose()?.map(Signature),
        })
    });
    let entries = entries.collect::<Result<_, Fault>>()?;
    let channels = super::channels::of_mesh(line, mesh)?;
    Ok(Some((mesh_row, members, invites, entries, channels)))
}
