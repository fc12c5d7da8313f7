//! What a peer holds of one channel's keys.

use std::collections::BTreeMap;

use super::key::{KeyStatement, SignedKeyStatement, StatementError};
use super::root::Root;
use crate::crypto::{KeyPair, SecretKey};
use crate::id::{ChannelName, KeyId, MeshId, PublicKey, Signature};
use crate::membership::{ChannelLog, Log};

/// So many ids are remembered of keys that wait for a log.
const MAX_WAITING: usize = 64;
/// So far above the newest epoch one that was refused is still stepped over; anybody can sign a
/// statement with any number.
const MAX_SKIPPED: u64 = 1_024;

/// What came of taking a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It makes the newest epoch.
    Newer,
    /// It makes an earlier epoch: history.
    Older,
    /// It is the second valid statement of its epoch: somebody lies, or a broker let two authors
    /// win. Both are kept; each opens what was sealed under it.
    Fork,
    /// It is held already.
    Known,
    /// It is not valid, or not yet ([`StatementError::is_behind`]).
    Rejected(StatementError),
}

/// Why a message cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// This peer was not in the channel when the key was made.
    NotAMemberThen,
    /// The author gave a copy that does not fit.
    Withheld {
        /// Who.
        author: PublicKey,
    },
    /// The key or this peer's copy has not come yet.
    NotYetHere,
    /// The key needs more of a log than is held.
    LogBehind,
    /// In a mesh without a log: who made the key, or sent the message, is not trusted.
    Untrusted {
        /// Who.
        author: PublicKey,
    },
}

pub(super) struct Held {
    pub(super) statement: KeyStatement,
    signed: SignedKeyStatement,
    /// Whether this peer was in the audience.
    mine: bool,
    pub(super) withheld: bool,
    pub(super) root: Option<(Root, SecretKey)>,
}

/// The keys of one channel: statements that were verified, and the roots this peer got. Keys of
/// earlier epochs are kept, so that history can be read.
///
/// It has no `Debug`: it holds secrets.
pub struct Keyring {
    pub(super) mesh: MeshId,
    pub(super) channel: ChannelName,
    pub(super) me: PublicKey,
    held: BTreeMap<KeyId, Held>,
    /// All that are held, by epoch; the first one of an epoch was taken first.
    epochs: BTreeMap<u64, Vec<KeyId>>,
    waiting: Vec<KeyId>,
    /// The highest epoch of a statement that was refused: the broker may hold it as the current
    /// one, and then takes only what is above it.
    refused: u64,
}

impl Keyring {
    /// An empty one, for the peer whose key is `me`.
    pub fn new(mesh: MeshId, channel: ChannelName, me: PublicKey) -> Self {
        Self {
            mesh,
            channel,
            me,
            held: BTreeMap::new(),
            epochs: BTreeMap::new(),
            waiting: Vec::new(),
            refused: 0,
        }
    }

    /// Takes a statement if it passes every rule; copies are taken one by one afterwards.
    pub fn take(
        &mut self,
        signed: &SignedKeyStatement,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Taken {
        let id = signed.key_id();
        if self.held.contains_key(&id) {
            return Taken::Known;
        }
        let checked = signed.open().and_then(|statement| {
            let audience = self.check(&statement, log, channel_log);
            if let Err(error) = &audience
                && !error.is_behind()
                && statement.channel == self.channel
                && statement.epoch <= self.newest_epoch().saturating_add(MAX_SKIPPED)
            {
                self.refused = self.refused.max(statement.epoch);
            }
            Ok((audience?, statement))
        });
        let (audience, statement) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                if error.is_behind() && !self.waiting.contains(&id) {
                    if self.waiting.len() == MAX_WAITING {
                        self.waiting.remove(0);
                    }
                    self.waiting.push(id);
                }
                return Taken::Rejected(error);
            }
        };
        self.waiting.retain(|waits| *waits != id);
        let epoch = statement.epoch;
        let newest = self.newest_epoch();
        let held = Held {
            mine: audience.binary_search(&self.me).is_ok(),
            signed: signed.clone(),
            statement,
            withheld: false,
            root: None,
        };
        self.held.insert(id, held);
        let same = self.epochs.entry(epoch).or_default();
        same.push(id);
        let fork = same.len() > 1;
        self.follow_links_to(&id);
        if fork {
            Taken::Fork
        } else if epoch < newest {
            Taken::Older
        } else {
            Taken::Newer
        }
    }

    fn check(
        &self,
        statement: &KeyStatement,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Result<Vec<PublicKey>, StatementError> {
        if (&statement.mesh, &statement.channel) != (&self.mesh, &self.channel) {
            return Err(StatementError::Elsewhere);
        }
        // The one it names, and the one before it in time; they differ after a fork or a gap.
        let named = statement.previous.as_ref();
        let below = self.epochs.range(..statement.epoch).next_back();
        let below = below.and_then(|(_, ids)| ids.first());
        let previous = named.into_iter().chain(below);
        let previous = previous.filter_map(|id| self.held.get(id));
        statement.verify(log, channel_log, previous.map(|held| &held.statement))
    }

    /// Takes this peer's copy of a root.
    ///
    /// # Errors
    /// [`StatementError::UnknownKey`]; [`StatementError::BadCopy`], which is remembered: this peer
    /// may make the next epoch at once. A good copy makes up for a bad one.
    pub fn take_copy(
        &mut self,
        id: &KeyId,
        me: &KeyPair,
        copy: &[u8],
    ) -> Result<(), StatementError> {
        let held = self.held.get_mut(id).ok_or(StatementError::UnknownKey)?;
        if held.root.is_some() {
            return Ok(());
        }
        match held.statement.open_copy(id, me, copy) {
            Ok(root) => self.keep(id, root),
            Err(error) => {
                held.withheld = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a root that was kept, or came by another way.
    ///
    /// # Errors
    /// [`StatementError::UnknownKey`], [`StatementError::BadCopy`].
    pub fn take_root(&mut self, id: &KeyId, root: Root) -> Result<(), StatementError> {
        let held = self.held.get(id).ok_or(StatementError::UnknownKey)?;
        if root.commitment() != held.statement.commitment {
            return Err(StatementError::BadCopy);
        }
        self.keep(id, root);
        Ok(())
    }

    fn keep(&mut self, id: &KeyId, root: Root) {
        let mut next = Some((*id, root));
        // Each root may link to the one before.
        while let Some((id, root)) = next.take() {
            let Some(held) = self.held.get_mut(&id) else {
                return;
            };
            let key = root.message_key(&id);
            held.withheld = false;
            held.root = Some((root, key));
            next = self.linked_from(&id);
        }
    }

    /// The root that the one with `id` links to, if it is not held yet.
    fn linked_from(&self, id: &KeyId) -> Option<(KeyId, Root)> {
        let held = self.held.get(id)?;
        let (root, _) = held.root.as_ref()?;
        let previous = held.statement.previous?;
        let before = self.held.get(&previous)?;
        if before.root.is_some() {
            return None;
        }
        let found = held.statement.follow_link(root, &before.statement).ok()?;
        Some((previous, found))
    }

    /// A statement came: whoever links to it may be held already.
    fn follow_links_to(&mut self, id: &KeyId) {
        let after: Vec<KeyId> = self
            .held
            .iter()
            .filter(|(_, held)| held.statement.previous.as_ref() == Some(id))
            .map(|(after, _)| *after)
            .collect();
        for after in after {
            if let Some((id, root)) = self.linked_from(&after) {
                self.keep(&id, root);
            }
        }
    }

    /// The key to seal under: the newest one, if this peer holds it. Ask
    /// [`Keyring::needs_rotation`] first.
    pub fn current(&self) -> Option<(&KeyId, &SecretKey)> {
        let (id, newest) = self.newest()?;
        newest.root.as_ref().map(|(_, key)| (id, key))
    }

    /// The newest key, whether this peer holds its root or not.
    pub fn newest_key(&self) -> Option<&KeyId> {
        self.newest().map(|(id, _)| id)
    }

    /// The key with this id, to open a message with.
    ///
    /// # Errors
    /// [`Missing`] says why it is not there.
    pub fn key(&self, id: &KeyId) -> Result<&SecretKey, Missing> {
        let Some(held) = self.held.get(id) else {
            return Err(if self.waiting.contains(id) {
                Missing::LogBehind
            } else {
                Missing::NotYetHere
            });
        };
        match &held.root {
            Some((_, key)) => Ok(key),
            None if !held.mine => Err(Missing::NotAMemberThen),
            None if held.withheld => Err(Missing::Withheld {
                author: held.statement.author,
            }),
            None => Err(Missing::NotYetHere),
        }
    }

    /// The root with this id, for a store.
    pub fn root(&self, id: &KeyId) -> Option<&Root> {
        let held = self.held.get(id)?;
        held.root.as_ref().map(|(root, _)| root)
    }

    /// The statement with this id.
    pub fn statement(&self, id: &KeyId) -> Option<&KeyStatement> {
        self.held.get(id).map(|held| &held.statement)
    }

    /// The statement with this id as it travels: its bytes and signature.
    pub fn signed(&self, id: &KeyId) -> Option<(Vec<u8>, Signature)> {
        let held = self.held.get(id)?;
        Some((held.signed.bytes.clone(), held.signed.signature))
    }

    /// The ids of all keys whose root this peer holds, in no order.
    pub fn rooted(&self) -> impl Iterator<Item = &KeyId> {
        let rooted = self.held.iter().filter(|(_, held)| held.root.is_some());
        rooted.map(|(id, _)| id)
    }

    /// The epochs of which there is more than one statement, and their keys.
    pub fn forks(&self) -> impl Iterator<Item = (u64, &[KeyId])> {
        let epochs = self.epochs.iter().filter(|(_, ids)| ids.len() > 1);
        epochs.map(|(epoch, ids)| (*epoch, ids.as_slice()))
    }

    pub(super) fn held(&self, id: &KeyId) -> Option<&Held> {
        self.held.get(id)
    }

    pub(super) fn newest(&self) -> Option<(&KeyId, &Held)> {
        let id = self.epochs.values().next_back()?.first()?;
        self.held.get(id).map(|held| (id, held))
    }

    /// The number of the newest epoch, 0 before the first.
    fn newest_epoch(&self) -> u64 {
        self.epochs.keys().next_back().copied().unwrap_or(0)
    }

    /// The number that the next epoch must have.
    pub(super) fn next_epoch(&self) -> u64 {
        self.newest_epoch().max(self.refused).saturating_add(1)
    }
}
