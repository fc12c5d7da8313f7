//! The signed statement that makes an epoch of a channel, and the rules by which a peer takes it.

use super::root::{LINK_LEN, Root};
use crate::crypto::{DirectKey, KeyPair, X25519Secret, sha256, verify};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::id::{ChannelName, Hash, KeyId, MeshId, PublicKey, Signature};
use crate::membership::{ChannelLog, Head, Log};

/// Bytes of a statement at most.
const MAX_BYTES: usize = 1_024;
const ENCODING: &str = "channel-key/1";
/// By how much an epoch may be above the one before. Authors count by one; where statements were
/// pruned there are gaps. Without a bound one member could use up the numbers for all.
const MAX_STEP: u64 = 1 << 20;
/// The first epoch that a peer sees may have this number at most, so that numbers are left.
const MAX_FIRST: u64 = 1 << 62;

/// Why a statement or a copy is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Not a statement's encoding.
    #[error("not a channel key statement: {0}")]
    Decode(#[from] DecodeError),
    /// The author's signature does not fit.
    #[error("the author's signature does not fit")]
    BadSignature,
    /// Of another mesh or channel.
    #[error("this channel key is for another mesh or channel")]
    Elsewhere,
    /// It names no head of the mesh's log, which only a mesh without a log allows.
    #[error("this channel key names no head of the mesh's log")]
    NoHead,
    /// The mesh's log is not held up to the head it names: fetch it first.
    #[error("this channel key needs the mesh's log up to entry {seq}")]
    LogBehind {
        /// The head's place.
        seq: u64,
    },
    /// The channel's log is not held up to the head it names: fetch it first.
    #[error("this channel key needs the channel's log up to entry {seq}")]
    ChannelBehind {
        /// The head's place.
        seq: u64,
    },
    /// The author has another log of the mesh.
    #[error("the author of this channel key has another mesh log at entry {seq}")]
    OtherLog {
        /// The place that differs.
        seq: u64,
    },
    /// The author has another log of the channel.
    #[error("the author of this channel key has another channel log at entry {seq}")]
    OtherChannelLog {
        /// The place that differs.
        seq: u64,
    },
    /// The channel's head stands on a place of the mesh's log behind the head named beside it.
    #[error("the two heads of this channel key do not go together")]
    HeadsApart,
    /// A head is below that of the epoch before.
    #[error("this channel key goes back behind the heads of the one before")]
    HeadBack,
    /// The epoch is not above the one before.
    #[error("the epoch of this channel key is not above the one before")]
    EpochBack,
    /// The epoch is too far above the one before.
    #[error("the epoch of this channel key is out of bounds")]
    EpochStep,
    /// The author is not in the audience.
    #[error("the author of this channel key is not in the channel")]
    NotInAudience,
    /// The audience is another than the logs give.
    #[error("this channel key was made for other members than the logs name")]
    OtherAudience,
    /// Only `$state` has links to earlier epochs.
    #[error("only the key of $state may link to the one before")]
    Link,
    /// The link does not lead to the root of the epoch it names.
    #[error("the link of this channel key does not lead to the one before")]
    BadLink,
    /// The copy does not open, or not to the root that the statement commits to.
    #[error("the author of this channel key gave a copy that does not fit")]
    BadCopy,
    /// The statement that the copy or root is for is not held.
    #[error("no such channel key is known")]
    UnknownKey,
    /// The previous root must be linked to and is not held, though another member holds it.
    #[error("who renews the key of $state must hold the one before")]
    NeedsPrevious,
    /// A key of the audience cannot be sealed to.
    #[error("a copy of the channel key could not be sealed")]
    Seal,
}

impl StatementError {
    /// Whether it may be taken once more of a log is held.
    pub const fn is_behind(&self) -> bool {
        matches!(self, Self::LogBehind { .. } | Self::ChannelBehind { .. })
    }
}

/// What an author says about an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatement {
    /// The mesh.
    pub mesh: MeshId,
    /// The channel.
    pub channel: ChannelName,
    /// Its number, from 1.
    pub epoch: u64,
    /// The key before this one, as the author knows it.
    pub previous: Option<KeyId>,
    /// The head of the mesh's log that the audience was computed from.
    pub log: Option<Head>,
    /// The head of the channel's log; none for `*` and `$state`.
    pub channel_log: Option<Head>,
    /// The hash of the audience.
    pub audience: Hash,
    /// Who made it.
    pub author: PublicKey,
    /// What the root must fit.
    pub commitment: Hash,
    /// The previous root, sealed under this one; `$state` only.
    pub link: Option<[u8; LINK_LEN]>,
}

/// A statement as it travels: its exact bytes and signature, nothing checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedKeyStatement {
    /// The statement's encoding.
    pub bytes: Vec<u8>,
    /// The author's signature over it.
    pub signature: Signature,
}

impl SignedKeyStatement {
    /// The id of the key it makes.
    pub fn key_id(&self) -> KeyId {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(&self.bytes).0[..16]);
        KeyId(id)
    }

    /// Decodes it strictly and checks the signature.
    ///
    /// # Errors
    /// [`StatementError::Decode`], [`StatementError::BadSignature`].
    pub fn open(&self) -> Result<KeyStatement, StatementError> {
        let statement = KeyStatement::parse(&self.bytes)?;
        if verify(&statement.author, &self.bytes, &self.signature) {
            Ok(statement)
        } else {
            Err(StatementError::BadSignature)
        }
    }
}

impl KeyStatement {
    /// Encodes and signs it. `author` is the pair of the statement's author.
    pub fn make(&self, author: &KeyPair) -> SignedKeyStatement {
        let head = |encoder: Encoder, head: Option<&Head>| {
            encoder
                .int(head.map_or(0, |head| head.seq))
                .optional(head.map(|head| head.hash.0.as_slice()))
        };
        let encoder = Encoder::new(ENCODING)
            .text(self.mesh.as_str())
            .text(self.channel.as_str())
            .int(self.epoch)
            .optional(self.previous.as_ref().map(|id| id.0.as_slice()));
        let encoder = head(head(encoder, self.log.as_ref()), self.channel_log.as_ref());
        let bytes = encoder
            .bytes(&self.audience.0)
            .bytes(&self.author.0)
            .bytes(&self.commitment.0)
            .optional(self.link.as_ref().map(<[u8; LINK_LEN]>::as_slice))
            .finish();
        SignedKeyStatement {
            signature: author.sign(&bytes),
            bytes,
        }
    }

    /// Decodes a statement strictly.
    ///
    /// # Errors
    /// [`StatementError::Decode`].
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let bad = DecodeError::Field;
        if bytes.len() > MAX_BYTES {
            return Err(bad("length").into());
        }
        let mut fields = Decoder::new(ENCODING, bytes)?;
        let mesh = MeshId::new(fields.text("mesh id")?).map_err(|_| bad("mesh id"))?;
        let channel = ChannelName::new(fields.text("channel")?).map_err(|_| bad("channel"))?;
        let epoch = fields.int("epoch")?;
        let previous = fields.optional("previous key id")?.map(KeyId);
        let log = read_head(&mut fields, "log head")?;
        let channel_log = read_head(&mut fields, "channel head")?;
        let statement = Self {
            mesh,
            channel,
            epoch,
            previous,
            log,
            channel_log,
            audience: Hash(fields.array("audience hash")?),
            author: PublicKey(fields.array("author")?),
            commitment: Hash(fields.array("commitment")?),
            link: fields.optional("link")?,
        };
        fields.end()?;
        Ok(statement)
    }

    /// Checks the statement against the logs that are held, and against one or more of the
    /// statements of earlier epochs. Gives the audience.
    ///
    /// # Errors
    /// [`StatementError`] names the rule that fails.
    pub fn verify<'p>(
        &self,
        log: &Log,
        channel_log: Option<&ChannelLog>,
        previous: impl IntoIterator<Item = &'p Self>,
    ) -> Result<Vec<PublicKey>, StatementError> {
        if self.mesh != *log.mesh() {
            return Err(StatementError::Elsewhere);
        }
        if self.link.is_some() && self.channel.as_str() != "$state" {
            return Err(StatementError::Link);
        }
        let mut limit = MAX_FIRST;
        for previous in previous {
            limit = previous.epoch.saturating_add(MAX_STEP);
            self.check_after(previous)?;
        }
        if self.epoch == 0 || self.epoch > limit {
            return Err(StatementError::EpochStep);
        }
        let audience = self.audience_at_heads(log, channel_log)?;
        if audience_hash(&self.mesh, &self.channel, &audience) != self.audience {
            return Err(StatementError::OtherAudience);
        }
        if audience.binary_search(&self.author).is_err() {
            return Err(StatementError::NotInAudience);
        }
        Ok(audience)
    }

    fn check_after(&self, previous: &Self) -> Result<(), StatementError> {
        let seq = |head: Option<&Head>| head.map_or(0, |head| head.seq);
        if (&previous.mesh, &previous.channel) != (&self.mesh, &self.channel) {
            return Err(StatementError::Elsewhere);
        }
        if self.epoch <= previous.epoch {
            return Err(StatementError::EpochBack);
        }
        let back = seq(self.log.as_ref()) < seq(previous.log.as_ref())
            || seq(self.channel_log.as_ref()) < seq(previous.channel_log.as_ref());
        if back {
            return Err(StatementError::HeadBack);
        }
        Ok(())
    }

    /// The audience at the heads it names, which must be on the logs.
    ///
    /// # Errors
    /// [`StatementError`] for heads that are not held, differ, or do not go together.
    pub fn audience_at_heads(
        &self,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Result<Vec<PublicKey>, StatementError> {
        let head = self.log.ok_or(StatementError::NoHead)?;
        match log.hash_at(head.seq) {
            None => return Err(StatementError::LogBehind { seq: head.seq }),
            Some(hash) if hash != head.hash => {
                return Err(StatementError::OtherLog { seq: head.seq });
            }
            Some(_) => {}
        }
        let Some(channel_head) = self.channel_log else {
            if self.channel.has_log() {
                return Err(StatementError::NoHead);
            }
            return Ok(log.roster().audience_at(head.seq));
        };
        if !self.channel.has_log() {
            return Err(StatementError::Elsewhere);
        }
        let seq = channel_head.seq;
        let channel_log = channel_log.ok_or(StatementError::ChannelBehind { seq })?;
        if (channel_log.mesh(), channel_log.channel()) != (&self.mesh, &self.channel) {
            return Err(StatementError::Elsewhere);
        }
        match channel_log.hash_at(seq) {
            None => return Err(StatementError::ChannelBehind { seq }),
            Some(hash) if hash != channel_head.hash => {
                return Err(StatementError::OtherChannelLog { seq });
            }
            Some(_) => {}
        }
        // Whoever took the channel's entries held the mesh's log as far as they stand on it.
        if channel_log.standing_at(seq).is_none_or(|at| at > head.seq) {
            return Err(StatementError::HeadsApart);
        }
        Ok(channel_log.audience_at(seq, log.roster(), head.seq))
    }

    /// Whether `key` is in the audience for which this key was made, by logs that hold its heads.
    /// Cheaper than [`Self::audience_at_heads`].
    pub fn has_reader(&self, key: &PublicKey, log: &Log, channel_log: Option<&ChannelLog>) -> bool {
        let Some(head) = self.log else { return false };
        let member = log.roster().member_or_former(key);
        if !member.is_some_and(|member| member.was_verified(head.seq)) {
            return false;
        }
        match (self.channel_log, channel_log) {
            (None, _) => !self.channel.has_log(),
            (Some(head), Some(held)) => held.was_in(log.roster(), key, head.seq),
            (Some(_), None) => false,
        }
    }

    /// Opens a member's copy of the root and holds it against the commitment.
    ///
    /// # Errors
    /// [`StatementError::BadCopy`].
    pub fn open_copy(
        &self,
        id: &KeyId,
        member: &KeyPair,
        copy: &[u8],
    ) -> Result<Root, StatementError> {
        let bad = StatementError::BadCopy;
        let key = DirectKey::agree(&X25519Secret::of(member), &self.author);
        let key = key.map_err(|_| bad.clone())?;
        let root = Root::open_copy(&key, id, &member.public(), copy).map_err(|_| bad.clone())?;
        if root.commitment() == self.commitment {
            Ok(root)
        } else {
            Err(bad)
        }
    }

    /// The root of the epoch before, by this one's link; `previous` is its statement.
    ///
    /// # Errors
    /// [`StatementError::BadLink`], also where there is none.
    pub fn follow_link(&self, root: &Root, previous: &Self) -> Result<Root, StatementError> {
        let link = self.link.as_ref().ok_or(StatementError::BadLink)?;
        let found = root.open_link(link).map_err(|_| StatementError::BadLink)?;
        if found.commitment() == previous.commitment {
            Ok(found)
        } else {
            Err(StatementError::BadLink)
        }
    }
}

/// Who may read a channel by all that the logs say: members and their devices, ascending. None
/// where the channel has a log and it is not given.
pub fn audience(
    channel: &ChannelName,
    log: &Log,
    channel_log: Option<&ChannelLog>,
) -> Option<Vec<PublicKey>> {
    if !channel.has_log() {
        return Some(log.roster().audience_at(u64::MAX));
    }
    channel_log
        .filter(|held| held.channel() == channel && held.mesh() == log.mesh())
        .map(|held| held.audience(log.roster()))
}

/// What a statement says about its audience: keys in ascending order.
pub fn audience_hash(mesh: &MeshId, channel: &ChannelName, audience: &[PublicKey]) -> Hash {
    let encoder = Encoder::new("audience/1")
        .text(mesh.as_str())
        .text(channel.as_str());
    let keys = audience.iter().map(|key| key.0.as_slice());
    sha256(&encoder.list(keys).finish())
}

fn read_head(fields: &mut Decoder<'_>, what: &'static str) -> Result<Option<Head>, StatementError> {
    let seq = fields.int(what)?;
    match fields.optional(what)? {
        Some(hash) => Ok(Some(Head {
            seq,
            hash: Hash(hash),
        })),
        None if seq == 0 => Ok(None),
        None => Err(DecodeError::Field(what).into()),
    }
}
