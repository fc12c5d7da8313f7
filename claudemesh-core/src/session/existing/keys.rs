//! Keys of channels that direct messages brought, and those that this peer made.
//!
//! One opens only what its author sealed, and only while its author is trusted. A key from an author
//! who is not trusted yet is set aside, so that naming the author later opens what it said.

use std::collections::{BTreeSet, HashMap};

use crate::channel::{
    BroughtKey, ExpectedInChannel, Missing, Root, SignedKeyStatement, open_brought,
    open_in_channel, read_without_log,
};
use crate::crypto::{DirectKey, KeyError, SecretKey};
use crate::id::{ChannelName, Hash, KeyId, PublicKey};
use crate::message::SealedText;
use crate::session::channels::{Unopened, key_of};
use crate::session::{LoadWork, Session};
use crate::sorted::sorted;
use crate::store::{KeptRoot, Kind, NewInbox, PeerOp, Query, StoredKey};
use crate::wire::Push;

/// Keys of one author that are kept, over all channels; the oldest goes.
const MAX_OF_AUTHOR: usize = 256;
/// The same for an author who is not trusted.
const MAX_OF_STRANGER: usize = 8;
/// Keys of authors who are not trusted, in all.
const MAX_OF_STRANGERS: usize = 256;
/// Keys in all; beyond, none is taken from others.
const MAX_KEYS: usize = 16_384;
/// Locked messages that are looked at in one go.
const PAGE: u32 = 256;

pub(super) struct Held {
    channel: ChannelName,
    author: PublicKey,
    epoch: u64,
    audience: Hash,
    signed: SignedKeyStatement,
    root: Root,
    key: SecretKey,
    /// In which order they came.
    place: u64,
}

/// All of them, by id. It has no `Debug`: it holds secrets.
#[derive(Default)]
pub(super) struct Keys {
    held: HashMap<KeyId, Held>,
    places: u64,
}

/// The newest key that this peer made for a channel.
pub(super) struct OwnKey {
    pub(super) id: KeyId,
    pub(super) epoch: u64,
    pub(super) audience: Hash,
}

impl Keys {
    pub(super) fn authors(&self) -> impl Iterator<Item = PublicKey> {
        self.held.values().map(|held| held.author)
    }

    pub(super) fn of_author(&self, author: &PublicKey) -> Vec<KeyId> {
        let held = self.held.iter().filter(|(_, held)| held.author == *author);
        let ids: Vec<(u64, KeyId)> = held.map(|(id, held)| (held.place, *id)).collect();
        sorted(ids).into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn own(&self, me: &PublicKey, channel: &ChannelName) -> Option<OwnKey> {
        let mine = |held: &&Held| held.author == *me && held.channel == *channel;
        let all = self.held.iter().map(|(id, held)| (held, id));
        let newest = all.filter(|(held, _)| mine(held));
        let (held, id) = newest.max_by_key(|(held, _)| (held.epoch, held.place))?;
        Some(OwnKey {
            id: *id,
            epoch: held.epoch,
            audience: held.audience,
        })
    }

    /// What a reader of this key is sent of it.
    pub(super) fn to_give(&self, id: &KeyId) -> Option<(&SignedKeyStatement, &Root)> {
        let held = self.held.get(id)?;
        Some((&held.signed, &held.root))
    }

    /// The channel of a key, and the key.
    pub(super) fn key(&self, id: &KeyId) -> Option<(&ChannelName, &SecretKey)> {
        let held = self.held.get(id)?;
        Some((&held.channel, &held.key))
    }

    /// Keeps a key that was checked.
    pub(super) fn insert(&mut self, brought: BroughtKey) -> StoredKey {
        let BroughtKey {
            signed,
            statement,
            root,
        } = brought;
        let id = signed.key_id();
        let stored = StoredKey {
            channel: statement.channel.clone(),
            key_id: id,
            epoch: statement.epoch,
            statement: signed.bytes.clone(),
            signature: signed.signature,
            root: Some(KeptRoot::new(*root.expose())),
        };
        self.places += 1;
        let place = self.places;
        self.held.entry(id).or_insert_with(|| Held {
            channel: statement.channel,
            author: statement.author,
            epoch: statement.epoch,
            audience: statement.audience,
            signed,
            key: root.message_key(&id),
            root,
            place,
        });
        stored
    }

    pub(super) fn forget(&mut self, id: &KeyId) {
        self.held.remove(id);
    }

    fn oldest(&self, of: impl Fn(&Held) -> bool, keep: usize) -> Vec<KeyId> {
        let all = self.held.iter().filter(|(_, held)| of(held));
        let all: Vec<(u64, KeyId)> = all.map(|(id, held)| (held.place, *id)).collect();
        let over = all.len().saturating_sub(keep);
        sorted(all)
            .into_iter()
            .take(over)
            .map(|(_, id)| id)
            .collect()
    }
}

impl Session {
    /// What the store kept of keys, verified once more; those that are new here.
    pub(in crate::session) fn restore_room_keys(&mut self, keys: Vec<StoredKey>) -> Vec<KeyId> {
        let mut new = Vec::new();
        for key in keys {
            let signed = SignedKeyStatement {
                bytes: key.statement,
                signature: key.signature,
            };
            let known = self.existing.keys.held.contains_key(&signed.key_id());
            let Some(root) = key.root.filter(|_| !known) else {
                continue;
            };
            let root = Root::new(*root.expose());
            let Ok(statement) = read_without_log(&signed, &self.config.mesh) else {
                continue;
            };
            if root.commitment() == statement.commitment {
                new.push(signed.key_id());
                self.existing.keys.insert(BroughtKey {
                    signed,
                    statement,
                    root,
                });
            }
        }
        new
    }

    /// A direct message brought a channel's key: what the store does about it, or why it is not
    /// taken.
    pub(in crate::session) fn take_brought(
        &mut self,
        row: &NewInbox,
    ) -> Result<(KeyId, Vec<PeerOp>), String> {
        let (mesh, me) = (&self.config.mesh, &self.config.key);
        let brought = open_brought(mesh, &row.sender, me, &row.body);
        let brought = brought.map_err(|error| error.to_string())?;
        let id = brought.signed.key_id();
        let keys = &self.existing.keys;
        if !keys.held.contains_key(&id) && keys.held.len() >= MAX_KEYS {
            return Err("too many keys of channels are held".to_owned());
        }
        let stored = self.existing.keys.insert(brought);
        let mut ops = vec![PeerOp::ChannelKey(Box::new(stored))];
        ops.extend(self.drop_old_keys(&row.sender));
        Ok((id, ops))
    }

    /// Keeps the bounds after a key of this author came.
    pub(super) fn drop_old_keys(&mut self, author: &PublicKey) -> Vec<PeerOp> {
        let stranger = |key: &PublicKey| *key != self.config.key.public() && !self.is_trusted(key);
        let keys = &self.existing.keys;
        let of_one = if stranger(author) {
            MAX_OF_STRANGER
        } else {
            MAX_OF_AUTHOR
        };
        let mut over = keys.oldest(|held| held.author == *author, of_one);
        if stranger(author) {
            let strangers: BTreeSet<PublicKey> =
                keys.authors().filter(|key| stranger(key)).collect();
            over.extend(keys.oldest(|held| strangers.contains(&held.author), MAX_OF_STRANGERS));
        }
        for id in &over {
            self.existing.keys.held.remove(id);
        }
        over.into_iter().map(PeerOp::DropChannelKey).collect()
    }

    /// Whether a push is one to a channel, by what is in it: the existing broker does not say. What
    /// opens as a box of its sender's is not.
    pub(in crate::session) fn is_room_push(&mut self, push: &Push) -> bool {
        if !self.has_no_log() || key_of(push).is_none() {
            return false;
        }
        // Only what went to one peer, or to a topic, comes without the sender's member key.
        if push.sender_member_pubkey.is_some() {
            return true;
        }
        let Ok(sender) = PublicKey::from_hex(&push.sender_pubkey) else {
            return true;
        };
        let sealed = SealedText {
            nonce: push.nonce.clone(),
            ciphertext: push.ciphertext.clone(),
        };
        let box_of = |key: Result<&DirectKey, KeyError>| {
            key.is_ok_and(|key| {
                let opened = crate::message::open_bare(key, &sealed);
                !matches!(opened, Err(crate::message::MessageError::Box(_)))
            })
        };
        let senders = [Some(sender), self.named_member(push)];
        let mut senders = senders.into_iter().flatten();
        !senders.any(|sender| {
            box_of(self.direct_key(&sender)) || box_of(self.session_direct_key(&sender))
        })
    }

    /// Opens a message to a channel under a key that its author brought.
    pub(in crate::session) fn open_room_push(
        &mut self,
        push: &Push,
        key_id: KeyId,
        received_at: u64,
    ) -> Result<NewInbox, Unopened> {
        let claimed = push.sender_member_pubkey.as_deref();
        let claimed = PublicKey::from_hex(claimed.unwrap_or(&push.sender_pubkey)).ok();
        let claimed = self.named_member(push).or(claimed);
        let locked = |channel: ChannelName, why| Unopened::Locked {
            channel,
            key_id,
            why,
        };
        let Some(held) = self.existing.keys.held.get(&key_id) else {
            let stranger = claimed.filter(|key| !self.is_trusted(key));
            let why = stranger.map_or(Missing::NotYetHere, |author| Missing::Untrusted { author });
            // Which channel it is only the key says.
            return Err(locked(ChannelName::everyone(), why));
        };
        let author = held.author;
        if author != self.config.key.public() && !self.is_trusted(&author) {
            let why = Missing::Untrusted { author };
            return Err(locked(held.channel.clone(), why));
        }
        let expected = ExpectedInChannel {
            mesh: &self.config.mesh,
            channel: &held.channel,
            key_id: &key_id,
            frame_id: push.client_message_id.as_deref(),
            now: received_at,
        };
        let sealed = SealedText {
            nonce: push.nonce.clone(),
            ciphertext: push.ciphertext.clone(),
        };
        let opened = open_in_channel(expected, &held.key, &sealed)
            .map_err(|error| Unopened::Rejected(author, error.to_string()))?;
        if opened.sender != author {
            let why = "signed by another than who made its key".to_owned();
            return Err(Unopened::Rejected(opened.sender, why));
        }
        let channel = held.channel.clone();
        let told = push.sender_name.as_deref();
        let name = told.and_then(|name| crate::id::Name::new(name).ok());
        let mut row = self.row(push, &opened, name, false);
        row.kind = Kind::Channel;
        row.channel = Some(channel);
        row.received_at = received_at;
        self.mark_changed(&mut row);
        Ok(row)
    }

    /// What is locked under a key that is held now, and whose author is trusted, is opened.
    pub(in crate::session) fn unlock_room(&mut self, key_id: KeyId) {
        let author = self.existing.keys.held.get(&key_id).map(|held| held.author);
        if author.is_some_and(|author| self.is_trusted(&author)) {
            let query = Query::Locked {
                key_id: Some(key_id),
                limit: PAGE,
            };
            self.load(query, LoadWork::Locked(Some(key_id)));
        } else if author.is_none() {
            // Another process of this peer may have got it.
            self.look_soon();
        }
    }
}
