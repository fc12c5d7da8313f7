//! What the broker's rows become by an entry: the difference that it made to the roster.

use claudemesh_core::id::{MemberId, PublicKey};
use claudemesh_core::membership::{Body, Entry, Roster};

use super::mesh::Mesh;
use crate::store::{AuditRow, LogChange, MemberRow};

/// Whom an entry may be about, judged before it is taken: its key, for a change of owner also the
/// old owner, and the devices of both, which fall with their members.
pub(super) fn affected(roster: &Roster, entry: &Entry) -> Vec<PublicKey> {
    let people: Vec<PublicKey> = match &entry.body {
        Body::OwnerChanged { key, .. } => vec![*key, roster.owner()],
        body => target(body).into_iter().collect(),
    };
    let devices = people.iter().flat_map(|key| roster.devices(key));
    let devices: Vec<PublicKey> = devices.map(|device| device.key).collect();
    people.into_iter().chain(devices).collect()
}

/// The rows of those whom an entry was about, and the audit rows, once the log has it. At most
/// one of them is new to the broker; it gets the fresh member id.
pub(super) fn changes(
    mesh: &Mesh,
    entry: &Entry,
    affected: &[PublicKey],
    now: u64,
    fresh: Option<MemberId>,
) -> Vec<LogChange> {
    let roster = mesh.log.roster();
    let mut changes = Vec::new();
    let mut fallen = Vec::new();
    for key in affected {
        let row = mesh.members.get(key);
        match roster.member(key) {
            Some(member) => {
                let id = row.map(|row| row.id.clone()).or_else(|| fresh.clone());
                let same = row.is_some_and(|row| {
                    row.logged && row.name == member.name && row.role == member.role
                });
                if let Some(id) = id.filter(|_| !same) {
                    changes.push(LogChange::Join(Box::new(MemberRow {
                        mesh: mesh.row.id.clone(),
                        key: *key,
                        id,
                        name: member.name.clone(),
                        role: member.role,
                        logged: true,
                        joined_at: row.map_or(now, |row| row.joined_at),
                        last_seen: row.map_or(0, |row| row.last_seen),
                        removed_at: 0,
                    })));
                }
            }
            None if row.is_some_and(|row| row.removed_at == 0) => {
                changes.push(LogChange::Remove { key: *key, at: now });
                if target(&entry.body) != Some(*key) {
                    fallen.push(*key);
                }
            }
            None => {}
        }
    }
    let audit = |event, target: Option<PublicKey>| {
        LogChange::Audit(AuditRow {
            mesh: mesh.row.id.clone(),
            event,
            actor: Some(entry.signer.short()),
            target: target.map(|key| key.short()),
            size: None,
            priority: None,
            at: now,
        })
    };
    changes.push(audit(entry.body.kind(), target(&entry.body)));
    let fallen = fallen.into_iter();
    changes.extend(fallen.map(|key| audit("member_removed", Some(key))));
    changes
}

/// The member or device that an entry names.
pub(super) fn target(body: &Body) -> Option<PublicKey> {
    match body {
        Body::MemberJoined { key, .. }
        | Body::MemberAdmitted { key, .. }
        | Body::DeviceLinked { key, .. }
        | Body::RoleChanged { key, .. }
        | Body::OwnerChanged { key, .. }
        | Body::MemberRemoved { key, .. } => Some(*key),
        _ => None,
    }
}
