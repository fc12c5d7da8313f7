//! What a session shows of what it knows.

use crate::audit::{AuditError, Place, Record};
use crate::id::{ChannelName, PublicKey};
use crate::identity::{SessionAddress, SessionStatement};
use crate::store::NewInbox;
use crate::wire::{MemberRecord, PeerRecord};

/// A value that the mesh keeps, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// Its name: a state key, a memory's id.
    pub name: String,
    /// What is kept, or why it is not shown.
    pub body: Result<String, String>,
    /// Who signed it; none if it is not sealed, or could not be opened.
    pub writer: Option<PublicKey>,
    /// The writer's name: by the log where it was opened, else what the broker says.
    pub writer_name: String,
    /// Whether the writer is a verified member now; not so for who was removed since.
    pub verified: bool,
    /// Whether it is sealed. What is not can be read, and was perhaps written, by the broker.
    pub protected: bool,
    /// Whether it is the newest that this peer has seen under its name; if not, somebody shows
    /// what was before, which was told as an event.
    pub newest: bool,
    /// Its number; 0 if none is known.
    pub version: u64,
    /// Unix ms by the writer's clock, or the broker's if it is not sealed.
    pub written_at: Option<u64>,
    /// Tags, which the broker sees.
    pub tags: Vec<String>,
}

impl Kept {
    /// Whether its text or tags have every word of `query`, in whatever case; what cannot be opened
    /// has only tags.
    pub fn has_words(&self, query: &str) -> bool {
        let text = self.body.as_deref().unwrap_or_default().to_lowercase();
        let tags: Vec<String> = self.tags.iter().map(|tag| tag.to_lowercase()).collect();
        let has = |word: &str| {
            let word = word.to_lowercase();
            text.contains(&word) || tags.iter().any(|tag| tag.contains(&word))
        };
        query.split_whitespace().all(has)
    }
}

/// A message that goes out later, as the broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scheduled {
    /// Its id.
    pub id: String,
    /// To whom: a key in hex, or a channel.
    pub to: String,
    /// When it is due (next), unix ms.
    pub due: u64,
    /// When again.
    pub cron: Option<String>,
    /// Why it could not be sent when it was due: a code.
    pub failed: Option<String>,
}

/// Who is here, as the broker says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WhoIsHere {
    /// The sessions, this one included.
    pub sessions: Vec<SessionHere>,
    /// The members, also those without a session; none if the broker does not say.
    pub members: Option<Vec<MemberRecord>>,
    /// Sessions that are away, as they were last shown; verified.
    pub away: Vec<SessionAddress>,
}

/// A session that the broker shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionHere {
    /// As the broker has it. Nothing of it is proven.
    pub record: PeerRecord,
    /// What its member says of it, checked: the signature held, the time did when it was first
    /// seen on this connection, and the log has that member as verified. None where that is not
    /// so.
    pub statement: Option<SessionStatement>,
    /// Where it is reached, if it has a key of its own, in its member's and its own signed words:
    /// verified, as above.
    pub address: Option<SessionAddress>,
    /// In a mesh without a log: the name is known with another member key, and nobody has said
    /// that this one is fine ([`Command::Trust`](super::Command::Trust)).
    pub key_changed: bool,
    /// In a mesh without a log: what is held of its key.
    pub trust: Option<crate::session::KeyTrust>,
}

/// What came of checking the rows of the broker's audit table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// From where on they were checked.
    pub from: Place,
    /// Where the last row that was checked stands.
    pub to: Place,
    /// The newest of the rows that were checked, 10,000 at most. If they do not hold, those as far
    /// as they were read: what the broker says, and no more.
    pub rows: Vec<Record>,
    /// What does not hold; none: every row between both places is what the broker signed.
    pub fault: Option<AuditError>,
}

/// A channel as its log, and the mesh's, have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// The channel.
    pub channel: ChannelName,
    /// Whether anybody may join by itself.
    pub public: bool,
    /// Who is in, and whether it leads, in ascending order of keys; without those who are out of
    /// the mesh, and without devices, which come with their members.
    pub members: Vec<(PublicKey, bool)>,
    /// The newest epoch that this peer knows of; 0: none.
    pub epoch: u64,
}

/// A message of a topic's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The broker's id of it.
    pub broker_id: String,
    /// The message, or why it is not shown.
    pub message: Result<Box<NewInbox>, String>,
}
