//! The operations on meshes, members, logs and the audit table.

use claudemesh_core::id::MeshId;
use claudemesh_core::membership::{Role, SignedEntry};

use super::batch::Batch;
use super::line::{Fault, Line, get};
use super::{int, uint, values};
use crate::store::chains::Event;
use crate::store::rows::audit_metadata;
use crate::store::{AuditRow, InviteRow, LogChange, MemberRow, MeshRow, Op, Outcome};

/// Does one of them. Those of the queue do not come here.
pub(super) fn apply(batch: &mut Batch<'_, '_>, op: &Op) -> Result<Outcome, Fault> {
    let line = &mut *batch.line;
    match op {
        Op::CreateMesh { mesh, entry } => create(line, mesh, Some(entry)),
        Op::ImportMesh(mesh) => create(line, mesh, None),
        Op::AppendLog {
            mesh,
            seq,
            entry,
            changes,
        } => append(batch, (mesh, *seq), entry, changes),
        Op::PutMember(member) => match find(line, &member.mesh)? {
            Some(_) => put_member(line, member).map(|()| Outcome::Done),
            None => Ok(Outcome::NotThere),
        },
        Op::NameMember { mesh, member, name } => {
            let rows = line.execute(
                "UPDATE member SET name = $1
                 WHERE mesh = (SELECT id FROM mesh WHERE name = $2) AND key = $3 AND NOT logged",
                &[
                    &name.as_str(),
                    &mesh.as_str(),
                    &member.as_bytes().as_slice(),
                ],
            )?;
            Ok(done(rows))
        }
        Op::UseInvite { mesh, token } => {
            let rows = line.execute(
                "UPDATE invite SET legacy_uses = legacy_uses + 1
                 WHERE mesh = (SELECT id FROM mesh WHERE name = $1) AND token = $2",
                &[&mesh.as_str(), &token.as_bytes()],
            )?;
            Ok(done(rows))
        }
        Op::Seen { mesh, member, at } => {
            let rows = line.execute(
                "UPDATE member SET last_seen = greatest(last_seen, $1)
                 WHERE mesh = (SELECT id FROM mesh WHERE name = $2) AND key = $3",
                &[&int(*at), &mesh.as_str(), &member.as_bytes().as_slice()],
            )?;
            Ok(done(rows))
        }
        Op::Channel(op) => super::channels::apply(line, op),
        Op::Audit(row) => audit(batch, row).map(|()| Outcome::Done),
        Op::Accept(_)
        | Op::Settle(_)
        | Op::Expire { .. }
        | Op::FailMailbox { .. }
        | Op::Value(_)
        | Op::Prune { .. } => Ok(Outcome::NotThere),
    }
}

pub(super) fn done(rows: u64) -> Outcome {
    if rows > 0 {
        Outcome::Done
    } else {
        Outcome::NotThere
    }
}

/// The number of a mesh, if it is there.
pub(super) fn find(line: &mut Line, mesh: &MeshId) -> Result<Option<i64>, Fault> {
    let row = line.row("SELECT id FROM mesh WHERE name = $1", &[&mesh.as_str()])?;
    row.map(|row| get(&row, 0)).transpose()
}

fn create(line: &mut Line, mesh: &MeshRow, entry: Option<&SignedEntry>) -> Result<Outcome, Fault> {
    if find(line, &mesh.id)?.is_some() {
        return Ok(Outcome::NotThere);
    }
    let row = line.one(
        "INSERT INTO mesh (name, slug, owner, owner_name, owner_member, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        &[
            &mesh.id.as_str(),
            &mesh.slug,
            &mesh.owner.as_bytes().as_slice(),
            &mesh.owner_name.as_str(),
            &mesh.owner_member.as_str(),
            &int(mesh.created_at),
        ],
    )?;
    if let Some(entry) = entry {
        insert_entry(line, get(&row, 0)?, 0, entry)?;
        put_member(line, &mesh.first_member())?;
    }
    Ok(Outcome::Done)
}

fn append(
    batch: &mut Batch<'_, '_>,
    (mesh, seq): (&MeshId, u64),
    entry: &SignedEntry,
    changes: &[LogChange],
) -> Result<Outcome, Fault> {
    let Some(id) = find(batch.line, mesh)? else {
        return Ok(Outcome::NotThere);
    };
    let row = (batch.line).one("SELECT max(seq) FROM log WHERE mesh = $1", &[&id])?;
    let head = uint(get(&row, 0)?);
    if seq != head + 1 {
        return Ok(Outcome::Conflict { head });
    }
    insert_entry(batch.line, id, int(seq), entry)?;
    for change in changes {
        match change {
            LogChange::Join(member) => put_member(batch.line, member)?,
            LogChange::Remove { key, at } => {
                batch.line.execute(
                    "UPDATE member SET removed_at = $1 WHERE mesh = $2 AND key = $3",
                    &[&int(*at), &id, &key.as_bytes().as_slice()],
                )?;
                values::drop_schedules(batch.line, id, key)?;
            }
            LogChange::Token(invite) => put_invite(batch.line, invite)?,
            LogChange::Audit(row) => audit(batch, row)?,
        }
    }
    Ok(Outcome::Done)
}

fn insert_entry(line: &mut Line, mesh: i64, seq: i64, entry: &SignedEntry) -> Result<(), Fault> {
    let cosignature = entry.cosignature.as_ref();
    line.execute(
        "INSERT INTO log (mesh, seq, entry, signature, cosignature) VALUES ($1, $2, $3, $4, $5)",
        &[
            &mesh,
            &seq,
            &entry.bytes,
            &entry.signature.as_bytes().as_slice(),
            &cosignature.map(|it| it.as_bytes().as_slice()),
        ],
    )?;
    Ok(())
}

fn put_member(line: &mut Line, member: &MemberRow) -> Result<(), Fault> {
    line.execute(
        "INSERT INTO member
             (mesh, key, member, name, role, logged, joined_at, last_seen, removed_at)
         SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM mesh WHERE name = $1
         ON CONFLICT (mesh, key) DO UPDATE SET
             member = excluded.member, name = excluded.name, role = excluded.role,
             logged = excluded.logged, joined_at = excluded.joined_at,
             last_seen = excluded.last_seen, removed_at = excluded.removed_at",
        &[
            &member.mesh.as_str(),
            &member.key.as_bytes().as_slice(),
            &member.id.as_str(),
            &member.name.as_str(),
            &Role::as_str(member.role),
            &member.logged,
            &int(member.joined_at),
            &int(member.last_seen),
            &int(member.removed_at),
        ],
    )?;
    Ok(())
}

fn put_invite(line: &mut Line, invite: &InviteRow) -> Result<(), Fault> {
    line.execute(
        "INSERT INTO invite (mesh, token, invite, legacy_uses)
         SELECT id, $2, $3, $4 FROM mesh WHERE name = $1
         ON CONFLICT (mesh, token) DO UPDATE SET
             invite = excluded.invite, legacy_uses = excluded.legacy_uses",
        &[
            &invite.mesh.as_str(),
            &invite.token.as_bytes(),
            &invite.invite.as_bytes().as_slice(),
            &int(invite.legacy_uses),
        ],
    )?;
    Ok(())
}

pub(super) fn audit(batch: &mut Batch<'_, '_>, row: &AuditRow) -> Result<(), Fault> {
    let metadata = audit_metadata(row.size, row.priority, &[]);
    let event = Event {
        event: row.event,
        actor: row.actor.as_deref(),
        target: row.target.as_deref(),
        metadata: &metadata,
        at: row.at,
    };
    batch.audit(&row.mesh, event)
}
