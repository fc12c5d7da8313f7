//! The identifiers of a mesh as validated types: a value that exists is well-formed.

mod session;

pub use session::{SessionId, SessionName, Wake};

use std::fmt;
use std::str::FromStr;

use base32ct::{Base32Unpadded, Encoding as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{base64url, hex, unhex_array};

/// Why a text is not the identifier that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct IdError {
    what: &'static str,
    why: &'static str,
}

impl IdError {
    pub(crate) const fn new(what: &'static str, why: &'static str) -> Self {
        Self { what, why }
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Reads hex of either case.
            ///
            /// # Errors
            /// [`IdError`] for any other length or character.
            pub fn from_hex(text: &str) -> Result<Self, IdError> {
                unhex_array(text).map(Self).map_err(|_| {
                    IdError::new($what, concat!("must be ", stringify!($len), " bytes in hex"))
                })
            }

            /// Lower-case hex, as it travels.
            pub fn to_hex(&self) -> String {
                hex(&self.0)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), hex(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::from_hex(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::from_hex(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id!(
    /// An ed25519 public key: who a peer is. 32 bytes; 64 lower-case hex digits in text.
    ///
    /// Any 32 bytes make a value of this type; whether they are a usable key is checked where it
    /// is used (see [`crate::crypto::verify`] and [`crate::crypto`]).
    PublicKey,
    32,
    "public key"
);
bytes_id!(
    /// A SHA-256 digest. 32 bytes; 64 lower-case hex digits in text.
    Hash,
    32,
    "hash"
);
bytes_id!(
    /// An ed25519 signature. 64 bytes; 128 lower-case hex digits in text.
    Signature,
    64,
    "signature"
);

bytes_id!(
    /// The id of a channel's key: the first 16 bytes of the hash of the statement that made it.
    KeyId,
    16,
    "key id"
);

impl PublicKey {
    /// The first 16 hex digits: enough for a person to tell keys apart, not a proof.
    pub fn short(&self) -> String {
        hex(&self.0[..8])
    }
}

/// The id of an invite: the hash of the log entry that issued it.
pub type InviteId = Hash;

impl Hash {
    /// Hash of nothing yet: what stands before the first log entry.
    pub const ZERO: Self = Self([0; 32]);

    /// Unpadded base64url, 43 characters.
    pub fn to_base64url(&self) -> String {
        base64url(&self.0)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $why:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// [`IdError`] says what is allowed.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(IdError::new($what, $why)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

text_id!(
    /// The id of a mesh: 1–64 letters, digits, `_` or `-`. A mesh with a membership log is named
    /// after its first entry (32 base32 characters); others got a random id from their broker.
    MeshId,
    "mesh id",
    "must be 1–64 letters, digits, '_' or '-'",
    is_token
);
text_id!(
    /// The id under which a broker files a member: 1–64 letters, digits, `_` or `-`. It proves
    /// nothing; a member *is* its public key.
    MemberId,
    "member id",
    "must be 1–64 letters, digits, '_' or '-'",
    is_token
);
text_id!(
    /// The sender's id of a message, unique per sender: 1–64 letters, digits, `.`, `_`, `:` or
    /// `-`. Ours are UUIDs of version 7.
    ///
    /// The copy of a message for a device has the same id, followed by `/` and the first 16 hex
    /// digits of the device's key: so senders and brokers tell copies apart.
    MessageId,
    "message id",
    "must be 1–64 letters, digits, '.', '_', ':' or '-'",
    |text| {
        let (base, device) = match text.split_once('/') {
            Some((base, device)) => (base, Some(device)),
            None => (text, None),
        };
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (1..=64).contains(&base.len())
            && base
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
            && device.is_none_or(|device| device.len() == 16 && device.bytes().all(is_hex))
    }
);
text_id!(
    /// A display name: 1–64 bytes of UTF-8, no control or invisible characters, no white space at
    /// the ends.
    /// Names are not unique and prove nothing.
    Name,
    "name",
    "must be 1–64 bytes without control or invisible characters or white space at the ends",
    |text| (1..=64).contains(&text.len())
        && !text.starts_with(is_edge_space)
        && !text.ends_with(is_edge_space)
        && !text.chars().any(|c| c.is_control() || is_format_char(c))
);
text_id!(
    /// The short name of a mesh on this machine and in links: 1–64 lower-case letters, digits,
    /// `.`, `_` or `-`, beginning with a letter or digit.
    MeshSlug,
    "mesh name",
    "must be 1–64 lower-case letters, digits, '.', '_' or '-', beginning with a letter or digit",
    |text| (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        })
);

/// Characters that are not seen, or change how a line reads; in a name they could make one member
/// look like another. Unicode's default-ignorable ones save the variation selectors of emoji
/// (U+FE00–FE0F), and the line and paragraph separators. Log entries are valid by this list, so it
/// is fixed here and does not follow Unicode's versions.
fn is_format_char(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// White space that may not stand at the ends of a name. Fixed for the same reason.
fn is_edge_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

text_id!(
    /// A channel, with its mark: `*` (everybody), `@` and a group's name, `#` and a topic's name,
    /// or `$state`. Names are 1–64 lower-case letters, digits, `.`, `_` or `-` after the mark,
    /// beginning with a letter or digit; `@all` is written `*`.
    ///
    /// A topic of the existing system is named by its broker's id there: 32 letters, also
    /// upper-case ones, and digits. No membership log has such a name.
    ChannelName,
    "channel",
    "must be '*', or '@' or '#' and 1–64 lower-case letters, digits, '.', '_' or '-'",
    |text| match text.split_at_checked(1) {
        Some(("*", "")) | Some(("$", "state")) => true,
        Some(("@", "all")) => false,
        Some(("#", name)) => MeshSlug::new(name).is_ok() || is_topic_id(name),
        Some(("@", name)) => MeshSlug::new(name).is_ok(),
        _ => false,
    }
);

/// Whether a text has the form of the ids by which the existing broker knows its topics.
fn is_topic_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

impl ChannelName {
    /// As [`ChannelName::new`], for the name of a channel that has, or is to have, a log.
    ///
    /// # Errors
    /// [`IdError`] also for a topic's id of the existing system that is no name here.
    pub fn logged(text: impl AsRef<str>) -> Result<Self, IdError> {
        let name = Self::new(text)?;
        match name.as_str().strip_prefix('#') {
            Some(topic) => MeshSlug::new(topic).map(|_| name),
            None => Ok(name),
        }
    }

    /// `*`: all verified members.
    pub fn everyone() -> Self {
        Self("*".into())
    }

    /// `$state`: what sealed state, memories and summaries are sealed for; nobody sends there.
    pub fn state() -> Self {
        Self("$state".into())
    }

    /// Whether it is a group: `@…`.
    pub fn is_group(&self) -> bool {
        self.as_str().starts_with('@')
    }

    /// Whether its members are those of a log of its own: a group or a topic.
    pub fn has_log(&self) -> bool {
        self.as_str().starts_with(['@', '#'])
    }
}

/// To whom a message goes: one peer, or a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The peer with this key.
    Peer(PublicKey),
    /// All who are in this channel.
    Channel(ChannelName),
}

impl Target {
    /// The peer, if it is one.
    pub const fn peer(&self) -> Option<&PublicKey> {
        match self {
            Self::Peer(key) => Some(key),
            Self::Channel(_) => None,
        }
    }

    /// The channel, if it is one.
    pub const fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Peer(_) => None,
            Self::Channel(channel) => Some(channel),
        }
    }
}

/// As in a frame's `targetSpec`: the key in lower-case hex, or the channel's name.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(key) => key.fmt(f),
            Self::Channel(channel) => channel.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.starts_with(['*', '@', '#', '$']) {
            ChannelName::new(text).map(Self::Channel)
        } else {
            PublicKey::from_hex(text).map(Self::Peer)
        }
    }
}

impl From<PublicKey> for Target {
    fn from(key: PublicKey) -> Self {
        Self::Peer(key)
    }
}

impl From<ChannelName> for Target {
    fn from(channel: ChannelName) -> Self {
        Self::Channel(channel)
    }
}

impl MeshId {
    /// The id of a mesh with a membership log: base32 (RFC 4648, lower-case, unpadded) of the
    /// first 20 bytes of its first entry's hash; 32 characters.
    pub fn of_first_entry(hash: &Hash) -> Self {
        Self(Base32Unpadded::encode_string(&hash.0[..20]).into())
    }
}

impl MessageId {
    /// The message's id, without the device that this copy is for.
    #[must_use]
    pub fn base(&self) -> Self {
        match self.0.split_once('/') {
            Some((base, _)) => Self(base.into()),
            None => self.clone(),
        }
    }

    /// The id of the copy for a device.
    #[must_use]
    pub fn for_device(&self, device: &PublicKey) -> Self {
        Self(format!("{}/{}", self.base(), device.short()).into())
    }

    /// The beginning of the key of the device that this copy is for.
    pub fn device(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, device)| device)
    }

    /// A UUID of version 7 from unix milliseconds and ten random bytes.
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut b = [0u8; 16];
        b[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        b[6..].copy_from_slice(&random);
        b[6] = 0x70 | (b[6] & 0x0f);
        b[8] = 0x80 | (b[8] & 0x3f);
        let h = hex(&b);
        Self(
            format!(
                "{}-{}-{}-{}-{}",
                &h[..8],
                &h[8..12],
                &h[12..16],
                &h[16..20],
                &h[20..]
            )
            .into(),
        )
    }
}

/// How urgently a message asks for attention.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Pushed whatever the recipient's status is.
    Now,
    /// Pushed when the recipient is idle.
    #[default]
    Next,
    /// Handed over when the recipient asks.
    Low,
}

impl Priority {
    /// All of them, most urgent first.
    pub const ALL: [Self; 3] = [Self::Now, Self::Next, Self::Low];

    /// As it travels: `now`, `next` or `low`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Next => "next",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or(IdError::new("priority", "must be now, next or low"))
    }
}

/// What a peer says about its attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Ready for anything.
    #[default]
    Idle,
    /// Busy: only `now` is pushed.
    Working,
    /// Do not disturb: only `now` is pushed.
    Dnd,
}

impl Status {
    /// As it travels: `idle`, `working` or `dnd`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::Dnd => "dnd",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        [Self::Idle, Self::Working, Self::Dnd]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or(IdError::new("status", "must be idle, working or dnd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked() {
        for bad in ["", "a/b", "a b", &"x".repeat(65), "é"] {
            MeshId::new(bad).unwrap_err();
            MessageId::new(bad).unwrap_err();
        }
        let key = PublicKey([0xab; 32]);
        let id = MessageId::new("m:1").unwrap();
        let copy = id.for_device(&key);
        assert_eq!(copy.as_str(), "m:1/abababababababab");
        assert_eq!(MessageId::new(copy.as_str()), Ok(copy.clone()));
        assert_eq!((copy.base(), copy.device()), (id, Some("abababababababab")));
        assert_eq!(copy.for_device(&key), copy);
        for bad in ["/abababababababab", "m/ABABABABABABABAB", "m/ab", "m/"] {
            MessageId::new(bad).unwrap_err();
        }
        MessageId::new("m/abababababababab/abababababababab").unwrap_err();
        MeshId::new("9f3c1d2e-7a41-4c55-8b0e-6f1a2b3c4d5e").unwrap();
        for bad in [
            "",
            " a",
            "a\u{3000}",
            "a\n",
            "a\u{202e}b",
            "a\u{2028}b",
            &"é".repeat(33),
        ] {
            Name::new(bad).unwrap_err();
        }
        // What std takes for white space and control characters is in our own lists.
        for c in ('\0'..=char::MAX).filter(|c| c.is_whitespace() || c.is_control()) {
            Name::new(format!("a{c}")).unwrap_err();
        }
        Name::new("❤\u{fe0f}").unwrap();
        Name::new("Ana María 🦀").unwrap();
        for bad in ["..", "-a", "A", "a/b"] {
            MeshSlug::new(bad).unwrap_err();
        }
        MeshSlug::new("team.one").unwrap();
    }

    #[test]
    fn message_ids_are_uuids_of_version_7() {
        let id = MessageId::from_parts(0x0123_4567_89ab, [0xff; 10]);
        assert_eq!(id.as_str(), "01234567-89ab-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn keys_print_short_in_debug_and_whole_in_text() {
        let key = PublicKey([0xab; 32]);
        assert_eq!(format!("{key:?}"), "PublicKey(abababab…)");
        assert_eq!(key.to_string().len(), 64);
        assert_eq!(PublicKey::from_hex(&"AB".repeat(32)).unwrap(), key);
        PublicKey::from_hex(&"ab".repeat(31)).unwrap_err();
    }
}
