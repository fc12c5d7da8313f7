//! The operations on meshes, members, logs and the audit table.

use claudemesh_core::id::MeshId;
use claudemesh_core::membership::{Role, SignedEntry};
use rusqlite::{Connection, OptionalExtension};

use super::{int, uint, values};
use crate::store::chains::Chains;
use crate::store::rows::audit_metadata;
use crate::store::{AuditRow, InviteRow, LogChange, MemberRow, MeshRow, Op, Outcome};

/// Does one of them. Those of the queue do not come here.
pub(super) fn apply(conn: &Connection, chains: &mut Chains, op: &Op) -> rusqlite::Result<Outcome> {
    match op {
        Op::CreateMesh { mesh, entry } => create(conn, mesh, Some(entry)),
        Op::ImportMesh(mesh) => create(conn, mesh, None),
        Op::AppendLog {
            mesh,
            seq,
            entry,
            changes,
        } => append(conn, chains, (mesh, *seq), entry, changes),
        Op::PutMember(member) => match find(conn, &member.mesh)? {
            Some(_) => put_member(conn, member).map(|()| Outcome::Done),
            None => Ok(Outcome::NotThere),
        },
        Op::NameMember { mesh, member, name } => {
            let rows = conn
                .prepare_cached(
                    "UPDATE member SET name = ?
                     WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND key = ? AND NOT logged",
                )?
                .execute((name.as_str(), mesh.as_str(), member.as_bytes()))?;
            Ok(done(rows))
        }
        Op::UseInvite { mesh, token } => {
            let rows = conn
                .prepare_cached(
                    "UPDATE invite SET legacy_uses = legacy_uses + 1
                     WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND token = ?",
                )?
                .execute((mesh.as_str(), token))?;
            Ok(done(rows))
        }
        Op::Seen { mesh, member, at } => {
            let rows = conn
                .prepare_cached(
                    "UPDATE member SET last_seen = max(last_seen, ?)
                     WHERE mesh = (SELECT id FROM mesh WHERE name = ?) AND key = ?",
                )?
                .execute((int(*at), mesh.as_str(), member.as_bytes()))?;
            Ok(done(rows))
        }
        Op::Channel(op) => super::channels::apply(conn, op),
        Op::Audit(row) => audit(conn, chains, row).map(|()| Outcome::Done),
        Op::Accept(_)
        | Op::Settle(_)
        | Op::Expire { .. }
        | Op::FailMailbox { .. }
        | Op::Value(_)
        | Op::Prune { .. } => Ok(Outcome::NotThere),
    }
}

fn done(rows: usize) -> Outcome {
    if rows > 0 {
        Outcome::Done
    } else {
        Outcome::NotThere
    }
}

pub(super) fn find(conn: &Connection, mesh: &MeshId) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM mesh WHERE name = ?")?
        .query_row([mesh.as_str()], |row| row.get(0))
        .optional()
}

fn create(
    conn: &Connection,
    mesh: &MeshRow,
    entry: Option<&SignedEntry>,
) -> rusqlite::Result<Outcome> {
    if find(conn, &mesh.id)?.is_some() {
        return Ok(Outcome::NotThere);
    }
    conn.prepare_cached(
        "INSERT INTO mesh (name, slug, owner, owner_name, owner_member, created_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute((
        mesh.id.as_str(),
        &mesh.slug,
        mesh.owner.as_bytes(),
        mesh.owner_name.as_str(),
        mesh.owner_member.as_str(),
        int(mesh.created_at),
    ))?;
    if let Some(entry) = entry {
        insert_entry(conn, conn.last_insert_rowid(), 0, entry)?;
        put_member(conn, &mesh.first_member())?;
    }
    Ok(Outcome::Done)
}

fn append(
    conn: &Connection,
    chains: &mut Chains,
    (mesh, seq): (&MeshId, u64),
    entry: &SignedEntry,
    changes: &[LogChange],
) -> rusqlite::Result<Outcome> {
    let Some(id) = find(conn, mesh)? else {
        return Ok(Outcome::NotThere);
    };
    let head: i64 = conn
        .prepare_cached("SELECT max(seq) FROM log WHERE mesh = ?")?
        .query_row([id], |row| row.get(0))?;
    let head = uint(head);
    if seq != head + 1 {
        return Ok(Outcome::Conflict { head });
    }
    insert_entry(conn, id, int(seq), entry)?;
    for change in changes {
        match change {
            LogChange::Join(member) => put_member(conn, member)?,
            LogChange::Remove { key, at } => {
                conn.prepare_cached("UPDATE member SET removed_at = ? WHERE mesh = ? AND key = ?")?
                    .execute((int(*at), id, key.as_bytes()))?;
                values::drop_schedules(conn, id, key)?;
            }
            LogChange::Token(invite) => put_invite(conn, invite)?,
            LogChange::Audit(row) => audit(conn, chains, row)?,
        }
    }
    Ok(Outcome::Done)
}

fn insert_entry(
    conn: &Connection,
    mesh: i64,
    seq: i64,
    entry: &SignedEntry,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO log (mesh, seq, entry, signature, cosignature) VALUES (?, ?, ?, ?, ?)",
    )?
    .execute((
        mesh,
        seq,
        &entry.bytes,
        entry.signature.as_bytes(),
        entry
            .cosignature
            .as_ref()
            .map(|it| it.as_bytes().as_slice()),
    ))?;
    Ok(())
}

fn put_member(conn: &Connection, member: &MemberRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO member
             (mesh, key, member, name, role, logged, joined_at, last_seen, removed_at)
         SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM mesh WHERE name = ?1
         ON CONFLICT (mesh, key) DO UPDATE SET
             member = excluded.member, name = excluded.name, role = excluded.role,
             logged = excluded.logged, joined_at = excluded.joined_at,
             last_seen = excluded.last_seen, removed_at = excluded.removed_at",
    )?
    .execute((
        member.mesh.as_str(),
        member.key.as_bytes(),
        member.id.as_str(),
        member.name.as_str(),
        Role::as_str(member.role),
        member.logged,
        int(member.joined_at),
        int(member.last_seen),
        int(member.removed_at),
    ))?;
    Ok(())
}

fn put_invite(conn: &Connection, invite: &InviteRow) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO invite (mesh, token, invite, legacy_uses)
         SELECT id, ?2, ?3, ?4 FROM mesh WHERE name = ?1
         ON CONFLICT (mesh, token) DO UPDATE SET
             invite = excluded.invite, legacy_uses = excluded.legacy_uses",
    )?
    .execute((
        invite.mesh.as_str(),
        &invite.token,
        invite.invite.as_bytes(),
        int(invite.legacy_uses),
    ))?;
    Ok(())
}

fn audit(conn: &Connection, chains: &mut Chains, row: &AuditRow) -> rusqlite::Result<()> {
    chains.insert(
        conn,
        (&row.mesh, row.event),
        (row.actor.as_deref(), row.target.as_deref()),
        &audit_metadata(row.size, row.priority, &[]),
        row.at,
    )
}
