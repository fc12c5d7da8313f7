//! The signed membership log and the roster it yields.
//!
//! Implements docs/protocol.md, section "Membership log". Each mesh has one append-only log. Its
//! first entry is the mesh's birth, signed by the owner; its hash is the mesh's id. Every later
//! entry names the hash of the one before it. Every peer keeps the whole log and decides by it
//! alone who is a member: the broker stores it and can neither add to it nor take from it
//! unnoticed.
//!
//! Validity depends on the log's bytes only, never on a clock, so all peers agree.

mod body;
mod chain;
mod channel_entry;
mod channel_log;
mod entry;
mod log;
mod roster;
mod rules;

pub use body::Body;
pub use channel_entry::{ChannelBody, ChannelDraft, ChannelEntry};
pub use channel_log::{ChannelLog, ChannelLogError};
pub use entry::{Draft, Entry, EntryError, MAX_ENTRY_BYTES, Role, SignedEntry};
pub use log::{Head, Log, LogError, Merge};
pub use roster::{Channel, Invite, Member, Roster, RuleError};
