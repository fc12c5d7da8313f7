//! Copies of a channel's key, held for the connection that is about to publish it.

use std::collections::BTreeMap;

use claudemesh_core::channel::COPY_LEN;
use claudemesh_core::encoding::unbase64url;
use claudemesh_core::id::{KeyId, PublicKey};
use claudemesh_core::wire::{KeyCopies, MAX_COPIES_PER_FRAME, errors::code};

use super::Router;
use super::entry::{No, no};
use super::types::ConnId;

/// Bytes of one copy as it comes: the member's key, and the box.
const RECORD: usize = 32 + COPY_LEN;
/// Copies that are held for all connections until their key is published.
const STAGED_MAX: usize = 1 << 20;

/// Copies of a key that is about to be published.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) key: KeyId,
    pub(super) copies: BTreeMap<PublicKey, [u8; COPY_LEN]>,
}

impl Staged {
    pub(super) fn len(&self) -> usize {
        self.copies.len()
    }
}

impl Router {
    pub(super) fn key_copies(&mut self, id: ConnId, ask: KeyCopies) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        if let Err(no) = self.stage(id, &ask) {
            self.unstage(id);
            self.refuse_ask(id, no, ask.req_id);
        }
    }

    fn stage(&mut self, id: ConnId, ask: &KeyCopies) -> Result<(), No> {
        let bad = |why: &str| no(400, code::INVALID_ARGUMENT, why);
        let key = KeyId::from_hex(&ask.key_id);
        let key = key.map_err(|_| bad("key_id: 16 bytes in hex"))?;
        if ask.copies.len() > (MAX_COPIES_PER_FRAME * RECORD).div_ceil(3) * 4 {
            return Err(bad("copies: at most 500 in one frame"));
        }
        let bytes = unbase64url(&ask.copies).map_err(|_| bad("copies: base64url"))?;
        let (records, rest) = bytes.as_chunks::<RECORD>();
        if !rest.is_empty() || records.is_empty() || records.len() > MAX_COPIES_PER_FRAME {
            return Err(bad("copies: 1 to 500 of member key and box, 80 bytes each"));
        }
        let (audience_max, room) = (self.limits.audience, STAGED_MAX - self.staged);
        let Some((shared, _)) = self.who(id) else {
            return Ok(());
        };
        let mesh = self.mesh(&shared);
        let members = mesh.map_or(0, |mesh| mesh.members.len());
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let mut staged = conn.staged.take().unwrap_or(Staged {
            key,
            copies: BTreeMap::new(),
        });
        self.staged -= staged.len();
        if staged.key != key {
            staged = Staged {
                key,
                copies: BTreeMap::new(),
            };
        }
        for record in records {
            let (member, copy) = record.split_at(32);
            let (Ok(member), Ok(copy)) = (member.try_into(), copy.try_into()) else {
                continue;
            };
            staged.copies.insert(PublicKey(member), copy);
        }
        let count = staged.len();
        if count > audience_max {
            let why = format!("audience_too_large: a channel has {audience_max} readers at most");
            return Err(no(400, code::AUDIENCE_TOO_LARGE, why));
        }
        if count > members {
            return Err(bad("copies: there are more than this mesh has members"));
        }
        if records.len() > room {
            let why = "many keys are being made; try again in a moment";
            return Err(no(503, code::BUSY, why));
        }
        self.staged += count;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.staged = Some(staged);
        }
        Ok(())
    }

    /// Forgets the copies that a connection brought, and gives them.
    pub(super) fn unstage(&mut self, id: ConnId) -> Option<Staged> {
        let staged = self.conns.get_mut(&id)?.staged.take()?;
        self.staged = self.staged.saturating_sub(staged.len());
        Some(staged)
    }
}
