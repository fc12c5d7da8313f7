//! Whose messages are wanted: the rules, and what they come to.
//!
//! The rules are rows of the store and are applied in the transaction that keeps a message, so
//! that every process on the store obeys the newest ones.

use std::fmt;
use std::str::FromStr;

use super::{Kind, NewInbox};
use crate::id::{IdError, PublicKey};

/// Messages that wait for the owner's answer, at most; of one sender a tenth of it.
pub const MAX_HELD: u64 = 1_000;
/// Messages of one sender that wait for the owner's answer, at most.
pub const MAX_HELD_OF_ONE: u64 = 100;
/// Rules that are kept for single peers, at most.
pub const MAX_RULES: u64 = 10_000;

/// What becomes of a sender's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rule {
    /// They are unread at once.
    #[default]
    Allow,
    /// Direct messages wait until the owner answers; what is said in channels is muted.
    Ask,
    /// They are kept, and wake nobody.
    Mute,
    /// They are dropped and counted. The sender is told what everyone is: delivered.
    Block,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Ask, Self::Mute, Self::Block];

    /// As written: `allow`, `ask`, `mute` or `block`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Mute => "mute",
            Self::Block => "block",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Rule {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let found = Self::ALL.into_iter().find(|rule| rule.as_str() == text);
        found.ok_or(IdError::new("rule", "must be allow, ask, mute or block"))
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// One peer; of a member, its devices too, unless they have rules of their own.
    Peer(PublicKey),
    /// Every member that the log vouches for and that has no rule of its own.
    Verified,
    /// Everybody else.
    Unverified,
}

impl Who {
    /// As it is kept: the key in hex, `verified` or `unverified`.
    pub(super) fn to_text(self) -> String {
        match self {
            Self::Peer(key) => key.to_hex(),
            Self::Verified => "verified".to_owned(),
            Self::Unverified => "unverified".to_owned(),
        }
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn from_text(text: &str) -> Option<Self> {
        match text {
            "verified" => Some(Self::Verified),
            "unverified" => Some(Self::Unverified),
            key => PublicKey::from_hex(key).ok().map(Self::Peer),
        }
    }
}

/// A rule as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptRule {
    /// Whom it is about.
    pub who: Who,
    /// What becomes of their messages.
    pub rule: Rule,
    /// How many messages were dropped by it.
    pub dropped: u64,
}

impl KeptRule {
    pub(super) const fn new(who: Who, rule: Rule, dropped: u64) -> Self {
        Self { who, rule, dropped }
    }
}

/// Where the rules for a message are looked for, the first that is kept counts.
pub(super) fn asked_in_turn(message: &NewInbox) -> impl Iterator<Item = Who> {
    let general = if message.verified {
        Who::Verified
    } else {
        Who::Unverified
    };
    [
        Some(Who::Peer(message.sender)),
        message.device_of.map(Who::Peer),
        Some(general),
    ]
    .into_iter()
    .flatten()
}

/// How a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    Readable,
    Muted,
    Held,
    Dropped,
}

impl Keeping {
    /// By a rule.
    pub(super) const fn by(rule: Rule, kind: Kind) -> Self {
        match (rule, kind) {
            // It says why it was not taken, and is shown to nobody who reads.
            (_, Kind::Rejected) | (Rule::Allow, _) => Self::Readable,
            (Rule::Ask, Kind::Direct) => Self::Held,
            (Rule::Ask, Kind::Channel) | (Rule::Mute, _) => Self::Muted,
            (Rule::Block, _) => Self::Dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_four_words() {
        for rule in Rule::ALL {
            assert_eq!(rule.as_str().parse(), Ok(rule));
        }
        "deny".parse::<Rule>().unwrap_err();
    }
}
