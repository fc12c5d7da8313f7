//! Sends to a channel: under which key, to whom, and to whom not.

use std::sync::Arc;

use claudemesh_core::encoding::unbase64;
use claudemesh_core::id::{ChannelName, KeyId, MeshId, PublicKey};
use claudemesh_core::wire::{Ack, CAP_ENVELOPE, Receipt, ReceiptState, Send, errors::code};

use super::Router;
use super::channels::NOT_IN;
use super::key_check::STALE;
use super::mesh::Mesh;
use super::send::{Sent, refused};
use crate::store::Many;

/// After so long without being seen a member gets nothing of what is sent to all, ms.
const DORMANT_MS: u64 = 30 * 86_400_000;
/// Characters of base64 that hold mark and key id.
const HEADER_CHARS: usize = 24;
const MARK: [u8; 2] = [0xce, 0x01];

/// Who gets a message to a channel.
pub(super) struct Recipients {
    pub(super) channel: ChannelName,
    pub(super) keys: Vec<PublicKey>,
    /// Those who were not seen for long.
    pub(super) dormant: usize,
}

impl Router {
    /// Who gets a message to a channel, or why nobody does.
    pub(super) fn check_channel(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        send: &Send,
    ) -> Result<Recipients, Box<Ack>> {
        let wall = self.now.wall;
        let Some(mesh) = self.mesh_mut(shared) else {
            return Err(Box::new(refused(code::BUSY, "busy: try again in a moment")));
        };
        let recipients = recipients(mesh, member, send, wall)?;
        self.check_audience(shared, member, recipients)
    }

    /// Counts the deliveries of a message to many.
    pub(super) fn check_audience(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        recipients: Recipients,
    ) -> Result<Recipients, Box<Ack>> {
        let most = self.limits.audience;
        if recipients.keys.len() > most {
            let why = format!("audience_too_large: at most {most} recipients");
            let mut ack = refused(code::AUDIENCE_TOO_LARGE, why);
            ack.limit = Some(most as u64);
            return Err(Box::new(ack));
        }
        // One was counted for the send itself, before anything was looked at.
        if self.limits.counts_messages() {
            return Ok(recipients);
        }
        let burst = u64::from(self.limits.delivery_burst);
        let bucket = self.mesh_mut(shared);
        if let Some(bucket) = bucket.and_then(|mesh| mesh.buckets.get_mut(&member)) {
            bucket.give(burst);
        }
        self.check_rate(shared, member, recipients.keys.len().max(1) as u64)?;
        Ok(recipients)
    }

    /// Tells a sender at once how its message to nobody ended.
    pub(super) fn told_nobody(&mut self, sent: &Sent, seq: u64) {
        let many = Many {
            of: 0,
            failed: 0,
            left: 0,
            reason: None,
        };
        let client_id = sent.client_id.as_deref().map(str::to_owned);
        let receipt = ending(self.ids.mint(seq, &sent.sender), client_id, &many);
        self.tell_sender(&sent.mesh, &sent.sender, &receipt);
    }
}

/// How a message to a channel ended.
pub(super) fn ending(message_id: String, client_id: Option<String>, many: &Many) -> Receipt {
    let state = if many.failed == 0 {
        ReceiptState::Delivered
    } else {
        ReceiptState::Failed
    };
    Receipt {
        message_id,
        client_message_id: client_id,
        state,
        reason: many.reason.clone(),
        delivered: Some(many.of.saturating_sub(many.failed)),
        failed: Some(many.failed),
        of: Some(many.of),
    }
}

/// Whether a member was seen not long ago.
pub(super) fn is_awake(mesh: &Mesh, key: &PublicKey, wall: u64) -> bool {
    let row = mesh.members.get(key);
    mesh.conns_of.contains_key(key)
        || row.is_some_and(|row| row.last_seen.max(row.joined_at).saturating_add(DORMANT_MS) > wall)
}

fn recipients(
    mesh: &mut Mesh,
    member: PublicKey,
    send: &Send,
    wall: u64,
) -> Result<Recipients, Box<Ack>> {
    let refuse = |code: &str, why: &str| Box::new(refused(code, why));
    let target = match send.target_spec.as_str() {
        "@all" => "*",
        target => target,
    };
    let name = ChannelName::new(target).map_err(|_| {
        let why = "invalid: a channel is '*', '@group' or '#topic', in lower case";
        refuse(code::INVALID, why)
    })?;
    if name.as_str() == "$state" {
        let why = "invalid: $state is for sealed state, not for messages";
        return Err(refuse(code::INVALID, why));
    }
    let key = key_id(send).ok_or_else(|| {
        let why = "unsupported: plain text to channels is not served; seal it under the \
                   channel's key, with form envelope/1";
        refuse(code::UNSUPPORTED, why)
    })?;
    let (channel, log) = mesh
        .channel(&name)
        .map_err(|no| refuse(no.code, &no.message))?;
    let view = channel.view(&name, log);
    if !view.has(&member) {
        return Err(refuse(code::FORBIDDEN, NOT_IN));
    }
    let stale = || refuse(code::STALE_EPOCH, STALE);
    let current = channel.current.as_ref().filter(|it| it.id == key);
    let audience = Arc::clone(&current.ok_or_else(stale)?.audience);
    if !view.fresh || audience.binary_search(&member).is_err() {
        return Err(stale());
    }
    let awake = |key: &PublicKey| name.as_str() != "*" || is_awake(mesh, key, wall);
    let others = audience.iter().filter(|key| **key != member);
    let keys: Vec<PublicKey> = others.filter(|key| awake(key)).copied().collect();
    Ok(Recipients {
        channel: name,
        dormant: audience.len().saturating_sub(keys.len() + 1),
        keys,
    })
}

/// The key that a ciphertext names, which begins with the mark of a message to a channel.
pub(super) fn key_id(send: &Send) -> Option<KeyId> {
    if send.form.as_deref() != Some(CAP_ENVELOPE) {
        return None;
    }
    let header = unbase64(send.ciphertext.get(..HEADER_CHARS)?).ok()?;
    let id = header.strip_prefix(&MARK)?;
    id.try_into().ok().map(KeyId)
}
