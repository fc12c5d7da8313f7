//! Channels: who holds which key, and what is sealed under it.
//!
//! Implements docs/protocol.md, sections "Channel keys", "Messages to a channel" and "Sealed
//! values". A channel has epochs. Each is a fresh random root, and a statement that one of its audience signed: which
//! heads of the logs the audience was computed from, the hash of that audience, and a commitment
//! to the root. Each member gets the root in a box of its own. Every peer computes the audience
//! itself, so a broker adds no reader; everybody who holds the statement and a copy knows whether
//! the copy is the same root.

mod key;
mod keyring;
mod message;
mod root;
mod rotation;
mod sealed_value;
mod value;
mod without_log;

pub use key::{KeyStatement, SignedKeyStatement, StatementError, audience, audience_hash};
pub use keyring::{Keyring, Missing, Taken};
pub use message::{ExpectedInChannel, key_id_of, open_in_channel, seal_to_channel};
pub use root::{COPY_LEN, LINK_LEN, Root};
pub use rotation::{Reason, Rotation};
pub use sealed_value::SealedValue;
pub use value::{
    ExpectedValue, MAX_VALUE_BODY, MAX_VALUE_VERSION, OpenedValue, Value, ValueError, Verdict,
    What, newer, open_value, seal_value,
};
pub use without_log::{
    BroughtKey, CHANNEL_KEY, key_for_reader, open_brought, read_without_log, state_without_log,
};
