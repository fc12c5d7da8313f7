//! Whether a channel's key may be made or shown.

use std::sync::Arc;

use claudemesh_core::channel::{KeyStatement, SignedKeyStatement, StatementError};
use claudemesh_core::id::{ChannelName, KeyId, PublicKey};
use claudemesh_core::wire::{KeysGet, MAX_KEYS_PER_FRAME, PublishKey, errors::code};

use super::channels::NOT_IN;
use super::entry::{No, no};
use super::mesh::Mesh;
use super::staging::Staged;
use crate::store::KeyCopy;

/// What is good about a statement, once all is checked.
pub(super) struct Good {
    pub(super) signed: SignedKeyStatement,
    pub(super) statement: KeyStatement,
    pub(super) after: Option<KeyId>,
    pub(super) audience: Arc<[PublicKey]>,
    /// The audience is that of the key before.
    pub(super) unchanged: bool,
    /// It is the current one already.
    pub(super) known: bool,
}

/// What is asked for of a channel's keys.
pub(super) struct Wanted {
    pub(super) channel: ChannelName,
    pub(super) ids: Vec<KeyId>,
    pub(super) current: Option<KeyId>,
    /// Who asks may read the channel now.
    pub(super) reads: bool,
}

pub(super) fn wanted(mesh: &mut Mesh, member: &PublicKey, ask: &KeysGet) -> Result<Wanted, No> {
    let bad = |why: &str| no(400, code::INVALID_ARGUMENT, why);
    let name = ChannelName::new(&ask.channel).map_err(|_| bad("channel: there is none such"))?;
    let (channel, log) = mesh.channel(&name)?;
    let reads = channel.view(&name, log).has(member);
    let current = channel.current.as_ref().map(|current| current.id);
    let ids = match &ask.key_ids {
        None => current.into_iter().collect(),
        Some(ids) if ids.len() > MAX_KEYS_PER_FRAME => {
            return Err(bad("key_ids: at most 32"));
        }
        Some(ids) => {
            let ids = ids.iter().map(|text| KeyId::from_hex(text));
            let ids = ids.collect::<Result<_, _>>();
            ids.map_err(|_| bad("key_ids: 16 bytes in hex each"))?
        }
    };
    Ok(Wanted {
        channel: name,
        ids,
        current,
        reads,
    })
}

/// Checks all of a statement but its copies.
pub(super) fn check(mesh: &mut Mesh, member: &PublicKey, ask: &PublishKey) -> Result<Good, No> {
    let malformed = |why: String| no(400, code::MALFORMED, why);
    let invalid = |why: String| no(400, code::INVALID, why);
    let stored = mesh.head().seq;
    let bytes = ask.statement.bytes();
    let signature = ask.statement.signature();
    let signed = SignedKeyStatement {
        bytes: bytes.map_err(|_| malformed("e: base64url".to_owned()))?,
        signature: signature.map_err(|_| malformed("sig: 64 bytes in hex".to_owned()))?,
    };
    let after = ask.after.as_deref().map(KeyId::from_hex).transpose();
    let after = after.map_err(|_| malformed("after: 16 bytes in hex".to_owned()))?;
    let statement = signed.open().map_err(|error| match error {
        StatementError::BadSignature => no(400, code::BAD_SIGNATURE, error.to_string()),
        error => malformed(error.to_string()),
    })?;
    if statement.mesh != mesh.row.id {
        return Err(invalid(StatementError::Elsewhere.to_string()));
    }
    if statement.author != *member {
        let why = "forbidden: a channel's key is published by who made it";
        return Err(no(403, code::FORBIDDEN, why));
    }
    let (channel, log) = mesh.channel(&statement.channel)?;
    let view = channel.view(&statement.channel, log);
    if !view.has(member) {
        return Err(no(403, code::FORBIDDEN, NOT_IN));
    }
    let current = channel.current.as_ref();
    let known = current.is_some_and(|current| current.id == signed.key_id());
    if !known {
        if current.map(|current| current.id) != after {
            return Err(no(409, code::KEY_CONFLICT, KEY_CONFLICT));
        }
        let named = statement.log.map_or(0, |head| head.seq);
        if named > stored && named <= log.head().seq {
            let why = "the mesh's log is being written; try again in a moment";
            return Err(no(503, code::BUSY, why));
        }
        let previous = current.map(|current| &current.statement);
        let audience = statement.verify(log, channel.log.as_ref(), previous);
        let audience = audience.map_err(refusal)?;
        if *audience != *view.audience {
            return Err(no(409, code::STALE_EPOCH, STALE));
        }
    }
    Ok(Good {
        signed,
        statement,
        after,
        audience: view.audience,
        unchanged: view.unchanged,
        known,
    })
}

fn refusal(error: StatementError) -> No {
    let (status, code) = match &error {
        error if error.is_behind() => (409, code::STALE_EPOCH),
        StatementError::NotInAudience => (403, code::FORBIDDEN),
        _ => (400, code::INVALID),
    };
    no(status, code, error.to_string())
}

/// The copies that came before, which must be one for each of the audience.
pub(super) fn copies_of(staged: Option<Staged>, good: &Good) -> Result<Arc<[KeyCopy]>, No> {
    let invalid = |why: &str| Err(no(400, code::INVALID, why));
    let Some(staged) = staged.filter(|staged| staged.key == good.signed.key_id()) else {
        return invalid("invalid: no copies of this key came before it on this connection");
    };
    if !staged.copies.keys().eq(good.audience.iter()) {
        return invalid("invalid: the copies are not one for each who may read the channel");
    }
    Ok(staged.copies.into_iter().collect())
}

pub(super) const KEY_CONFLICT: &str = "key_conflict: another key of this channel is the current one: fetch \
                            it, and make another only if that is not good enough";
pub(super) const STALE: &str = "stale_epoch: the readers of this channel have changed: fetch the \
                                logs, make the next key or take it, and seal anew";
