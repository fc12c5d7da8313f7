//! Whether an entry may follow in a channel's log.

use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::{ChannelLog, ChannelLogError, SignedEntry};
use claudemesh_core::wire::errors::code;

use super::entry::{CONFLICT, No, no};
use super::mesh::Mesh;
use super::repost::check_time;

/// Checks an entry; gives the log with it, or none if the log has it.
pub(super) fn check(
    mesh: &mut Mesh,
    name: &ChannelName,
    signed: &SignedEntry,
    now: u64,
    repost: bool,
) -> Result<Option<ChannelLog>, No> {
    let stored = mesh.head().seq;
    let malformed = |error: String| no(400, code::MALFORMED, error);
    let entry = signed.decode_channel();
    let entry = entry.map_err(|error| malformed(error.to_string()))?;
    let (channel, log) = mesh.channel(name)?;
    let Some(held) = &channel.log else {
        return Err(no(404, code::NOT_FOUND, "not_found: no such channel"));
    };
    if entry.mesh != *log.mesh() {
        return Err(no(400, code::INVALID, "invalid: an entry of another mesh"));
    }
    let at_place = held.hash_at(entry.seq);
    if entry.seq > 0 && at_place == Some(signed.hash()) {
        return Ok(None);
    }
    if at_place.is_some() || entry.seq != held.head().seq + 1 {
        return Err(no(409, code::LOG_CONFLICT, CONFLICT));
    }
    let newest = channel
        .entries
        .last()
        .and_then(|it| it.decode_channel().ok());
    let made = log.roster().channel(name).map_or(0, |made| made.at);
    let newest_at = newest.map_or(made, |entry| entry.at);
    check_time(entry.at, newest_at, now, repost)?;
    if entry.standing > stored && entry.standing <= log.head().seq {
        let why = "the mesh's log is being written; try again in a moment";
        return Err(no(503, code::BUSY, why));
    }
    let mut next = held.clone();
    // What was taken once may be by somebody who is out of the mesh since.
    let taken = if repost {
        next.append_kept(signed, log)
    } else {
        next.append(signed, log)
    };
    match taken {
        Ok(_) => Ok(Some(next)),
        Err(error) => Err(refusal(error)),
    }
}

fn refusal(error: ChannelLogError) -> No {
    use ChannelLogError as E;
    let (status, code) = match error {
        E::UnknownChannel => (404, code::NOT_FOUND),
        E::Entry { .. } => (400, code::MALFORMED),
        E::NotNext { .. } | E::StandingBack | E::Ahead { .. } => {
            return no(409, code::LOG_CONFLICT, CONFLICT);
        }
        E::NotAllowed | E::NoLongerAllowed | E::NotPublic => (403, code::FORBIDDEN),
        _ => (400, code::INVALID),
    };
    no(status, code, error.to_string())
}
