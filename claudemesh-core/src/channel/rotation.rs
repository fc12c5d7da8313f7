//! When a peer must make the next epoch of a channel, and how.

use super::key::{KeyStatement, SignedKeyStatement, StatementError, audience, audience_hash};
use super::keyring::Keyring;
use super::root::{COPY_LEN, LINK_LEN, Root};
use crate::crypto::{DirectKey, Drbg, KeyPair, X25519Secret};
use crate::id::{Hash, KeyId, PublicKey};
use crate::membership::{ChannelLog, Log};

/// Why the next epoch must be made before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// There is none yet.
    First,
    /// The audience has changed.
    Audience,
    /// The author of the newest one gave this peer a copy that does not fit.
    Withheld {
        /// Who.
        author: PublicKey,
    },
}

/// A new epoch, for the broker to take or refuse.
pub struct Rotation {
    /// What to publish.
    pub statement: SignedKeyStatement,
    /// Each member's copy of the root, the author's own among them, ascending by key.
    pub copies: Vec<(PublicKey, [u8; COPY_LEN])>,
    /// The key that must be the current one where this is published.
    pub after: Option<KeyId>,
}

impl Keyring {
    /// Whether the next epoch must be made before this peer sends: nothing may be sealed for
    /// readers who are no longer in the audience, nor without those who are new. None also where
    /// this peer is not in the channel, or its copy is still to come.
    pub fn needs_rotation(&self, log: &Log, channel_log: Option<&ChannelLog>) -> Option<Reason> {
        let now = audience(&self.channel, log, channel_log)?;
        now.binary_search(&self.me).ok()?;
        let Some((_, newest)) = self.newest() else {
            return Some(Reason::First);
        };
        if self.audience_hash(&now) != newest.statement.audience {
            return Some(Reason::Audience);
        }
        let author = newest.statement.author;
        newest.withheld.then_some(Reason::Withheld { author })
    }

    /// Makes the next epoch. It is not held before the broker took it: then give it to
    /// [`Keyring::take`] and the own copy to [`Keyring::take_copy`]. If the broker has another one
    /// by now, take that, and make the next epoch only if it was rejected or is not good enough.
    ///
    /// # Errors
    /// [`StatementError::NotInAudience`], [`StatementError::ChannelBehind`] without the channel's
    /// log, [`StatementError::NeedsPrevious`], [`StatementError::Seal`].
    pub fn rotate(
        &self,
        random: &mut Drbg,
        me: &KeyPair,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Result<Rotation, StatementError> {
        let after = self.newest().map(|(id, _)| *id);
        self.rotate_after(random, me, log, channel_log, after)
    }

    /// As [`Keyring::rotate`], to follow the key that a broker says is its current one: it may have
    /// lost later ones. What it has can then be read by the links from the new key on.
    ///
    /// # Errors
    /// As [`Keyring::rotate`].
    pub fn rotate_after(
        &self,
        random: &mut Drbg,
        me: &KeyPair,
        log: &Log,
        channel_log: Option<&ChannelLog>,
        after: Option<KeyId>,
    ) -> Result<Rotation, StatementError> {
        let now = audience(&self.channel, log, channel_log);
        let now = now.ok_or(StatementError::ChannelBehind { seq: 0 })?;
        if me.public() != self.me || now.binary_search(&self.me).is_err() {
            return Err(StatementError::NotInAudience);
        }
        let root = Root::random(random);
        // What is not known here cannot be linked to.
        let known = |id: KeyId| self.statement(&id).map(|_| id);
        let previous = after.and_then(|id| known(id).or(self.newest().map(|(id, _)| *id)));
        let link = self.link(random, &root, previous.as_ref(), &now, (log, channel_log))?;
        let statement = KeyStatement {
            mesh: self.mesh.clone(),
            channel: self.channel.clone(),
            epoch: self.next_epoch(),
            previous,
            log: Some(log.head()),
            channel_log: channel_log
                .filter(|_| self.channel.has_log())
                .map(ChannelLog::head),
            audience: self.audience_hash(&now),
            author: self.me,
            commitment: root.commitment(),
            link,
        };
        let signed = statement.make(me);
        Ok(Rotation {
            copies: copies(&root, &signed.key_id(), me, &now)?,
            statement: signed,
            after,
        })
    }

    /// The newest epoch once more, for a broker that lost it and has `after` as its current key:
    /// its author can make every copy again, because they follow from the root. None if this peer
    /// did not make it, if its readers have changed, or if a link would lead to what the broker
    /// has lost, too.
    pub fn republish(
        &self,
        me: &KeyPair,
        log: &Log,
        channel_log: Option<&ChannelLog>,
        after: Option<KeyId>,
    ) -> Option<Rotation> {
        let now = audience(&self.channel, log, channel_log)?;
        let (id, newest) = self.newest()?;
        let (root, _) = newest.root.as_ref()?;
        let statement = &newest.statement;
        let linked = statement.link.is_none() || statement.previous == after;
        let own = (statement.author, me.public()) == (self.me, self.me);
        if !own || !linked || statement.audience != self.audience_hash(&now) {
            return None;
        }
        let (bytes, signature) = self.signed(id)?;
        Some(Rotation {
            copies: copies(root, id, me, &now).ok()?,
            statement: SignedKeyStatement { bytes, signature },
            after,
        })
    }

    /// The link to the previous root, for `$state`.
    fn link(
        &self,
        random: &mut Drbg,
        root: &Root,
        previous: Option<&KeyId>,
        now: &[PublicKey],
        (log, channel_log): (&Log, Option<&ChannelLog>),
    ) -> Result<Option<[u8; LINK_LEN]>, StatementError> {
        let previous = previous.filter(|_| self.channel.as_str() == "$state");
        let Some(newest) = previous.and_then(|id| self.held(id)) else {
            return Ok(None);
        };
        if let Some((previous, _)) = &newest.root {
            let link = root.seal_link(random.bytes(), previous);
            return link.map(Some).map_err(|_| StatementError::Seal);
        }
        // Somebody who is still here and got the previous root must make the next one, so that
        // what is sealed under it stays readable; unless its author kept it from its readers.
        let before = newest.statement.audience_at_heads(log, channel_log)?;
        let holder = |key: &PublicKey| *key != self.me && before.binary_search(key).is_ok();
        if now.iter().any(holder) && !newest.withheld {
            return Err(StatementError::NeedsPrevious);
        }
        Ok(None)
    }

    fn audience_hash(&self, audience: &[PublicKey]) -> Hash {
        audience_hash(&self.mesh, &self.channel, audience)
    }
}

/// A copy of the root for each of them, by its author.
fn copies(
    root: &Root,
    id: &KeyId,
    author: &KeyPair,
    members: &[PublicKey],
) -> Result<Vec<(PublicKey, [u8; COPY_LEN])>, StatementError> {
    let secret = X25519Secret::of(author);
    let seal = |member: &PublicKey| {
        let key = DirectKey::agree(&secret, member).map_err(|_| StatementError::Seal)?;
        let copy = root.seal_copy(&key, id, member);
        copy.map(|copy| (*member, copy))
            .map_err(|_| StatementError::Seal)
    };
    members.iter().map(seal).collect()
}
