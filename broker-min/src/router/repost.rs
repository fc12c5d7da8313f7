//! Entries that a peer posts once more, because this broker has lost them: it was put back to an
//! earlier state.
//!
//! They are signed and chained, so who brings them proves nothing and can forge nothing. That the
//! mesh's owner or an admin (of a channel also a lead) does is what allows them to be old, and to
//! come many at a time.

use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::membership::{ChannelLog, Role};
use claudemesh_core::wire::errors::code;

use super::bucket::Bucket;
use super::entry::{ENTRY_SKEW_MS, No, no};
use super::mesh::Mesh;

/// Entries that one member brings back in an hour, of all logs of a mesh.
const PER_HOUR: u64 = 20_000;
const HOUR_MS: u64 = 3_600_000;

impl Mesh {
    /// Whether this member may bring back entries of the mesh's log.
    pub(super) fn may_repost(&self, member: &PublicKey) -> bool {
        let standing = self.log.roster().standing(member);
        matches!(standing, Ok(Role::Owner | Role::Admin))
    }

    /// Whether this member may bring back entries of a channel's log.
    pub(super) fn may_repost_in(&mut self, name: &ChannelName, member: &PublicKey) -> bool {
        if self.may_repost(member) {
            return true;
        }
        let person = self.log.roster().person(member);
        let verified = self.log.roster().standing(member);
        let verified = verified.is_ok_and(|role| role != Role::Pending);
        let log = self.channels.get(name).and_then(|held| held.log.as_ref());
        verified && log.and_then(|log: &ChannelLog| log.lead(&person)) == Some(true)
    }

    /// Counts an entry that is brought back, or says after how many ms one may come again.
    pub(super) fn repost_turn(&mut self, member: PublicKey, now: u64) -> Result<(), u64> {
        let full = || Bucket::full(PER_HOUR, now);
        let bucket = self.repost_buckets.entry(member).or_insert_with(full);
        bucket.take(now, PER_HOUR, PER_HOUR, HOUR_MS)
    }
}

/// Whether an entry counts as one that is brought back, and not as one of the member's own: someone
/// else signed it, or it is older than a new one can be.
pub(super) fn is_repost(signer: &PublicKey, member: &PublicKey, at: u64, now: u64) -> bool {
    signer != member || at.saturating_add(ENTRY_SKEW_MS) < now
}

/// Whether an entry's time can be. One that is `newest_at` stands behind another of that time.
pub(super) fn check_time(at: u64, newest_at: u64, now: u64, repost: bool) -> Result<(), No> {
    let ahead = at > now.saturating_add(ENTRY_SKEW_MS);
    let old = at.saturating_add(ENTRY_SKEW_MS) < now && !repost;
    if at != newest_at && (ahead || old) {
        let why = "the entry's time is more than 10 minutes off the broker's clock; set the clock";
        return Err(no(400, code::TIMESTAMP_SKEW, why));
    }
    Ok(())
}
