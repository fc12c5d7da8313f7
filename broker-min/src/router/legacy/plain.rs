//! Text in the open between existing clients: to everyone, to a group, to a topic. Peers of ours
//! neither get it nor send it.

use std::sync::Arc;

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::wire::{Ack, Send, errors::code};

use super::topics::history_of;
use crate::router::Router;
use crate::router::mesh::Mesh;
use crate::router::multicast::{Recipients, is_awake};
use crate::router::send::refused;

/// The word at which existing clients end a send for good.
const NO_TOPIC: &str = "not_found: unknown topic; list the topics, or make it";

impl Router {
    /// Who gets text in the open, or why nobody does.
    pub(in crate::router) fn check_plain(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        send: &Send,
    ) -> Result<Recipients, Box<Ack>> {
        let now = self.now.wall;
        let Some(mesh) = self.mesh(shared) else {
            return Err(Box::new(refused(code::BUSY, "busy: try again in a moment")));
        };
        let recipients = recipients(mesh, &member, &send.target_spec, now)?;
        self.check_audience(shared, member, recipients)
    }
}

fn recipients(
    mesh: &Mesh,
    member: &PublicKey,
    target: &str,
    now: u64,
) -> Result<Recipients, Box<Ack>> {
    let refuse = |code: &str, why: &str| Box::new(refused(code, why));
    let to_all = target == "*" || target == "@all";
    let mut channel = ChannelName::everyone();
    let mut keys: Vec<PublicKey> = if let Some(topic) = target.strip_prefix('#') {
        let found = mesh.own_topic(topic, member);
        let (id, _) = found.ok_or_else(|| refuse(code::NOT_FOUND, NO_TOPIC))?;
        channel = history_of(&id).ok_or_else(|| refuse(code::NOT_FOUND, NO_TOPIC))?;
        mesh.topic_members(&id)
    } else if let Some(group) = target.strip_prefix('@').filter(|_| !to_all) {
        let all = mesh.members.values().filter(|row| row.removed_at == 0);
        let in_it = all.filter(|row| mesh.in_open_group(&row.key, group, now));
        in_it.map(|row| row.key).collect()
    } else if to_all {
        let all = mesh.members.values().filter(|row| row.removed_at == 0);
        all.map(|row| row.key).collect()
    } else {
        let why = "invalid: a target is *, @group, #topic or a key";
        return Err(refuse(code::INVALID, why));
    };
    keys.retain(|key| {
        key != member
            && mesh.reads_open(key)
            && !mesh.is_hidden(key)
            && mesh.grants(key, member, "broadcast")
    });
    keys.sort_unstable();
    let before = keys.len();
    if to_all {
        keys.retain(|key| is_awake(mesh, key, now));
    }
    Ok(Recipients {
        channel,
        dormant: before - keys.len(),
        keys,
    })
}
