//! When a peer must make the next epoch of a channel, and how.

use super::key::{KeyStatement, SignedKeyStatement, StatementError, audience, audience_hash};
use super::keyring::{Held, Keyring};
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
        let after = self.newest_key().copied();
        self.rotate_after(random, me, log, channel_log, after)
    }

    /// As [`Keyring::rotate`], for a broker that has lost newer keys: `after` is the one that is
    /// current there. The new epoch is above all that are held here, and links to that one.
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
        let previous = after.as_ref().and_then(|id| self.held(id));
        let link = self.link(random, &root, &now, previous, log, channel_log)?;
        let statement = KeyStatement {
            mesh: self.mesh.clone(),
            channel: self.channel.clone(),
            epoch: self.next_epoch(),
            previous: after,
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
        let (id, secret) = (signed.key_id(), X25519Secret::of(me));
        let seal = |member: &PublicKey| {
            let key = DirectKey::agree(&secret, member).map_err(|_| StatementError::Seal)?;
            let copy = root.seal_copy(&key, &id, member);
            copy.map(|copy| (*member, copy))
                .map_err(|_| StatementError::Seal)
        };
        Ok(Rotation {
            copies: now.iter().map(seal).collect::<Result<_, _>>()?,
            statement: signed,
            after,
        })
    }

    /// The link to the root before, for `$state`.
    fn link(
        &self,
        random: &mut Drbg,
        root: &Root,
        now: &[PublicKey],
        before: Option<&Held>,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Result<Option<[u8; LINK_LEN]>, StatementError> {
        let Some(newest) = before.filter(|_| self.channel.as_str() == "$state") else {
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
