//! Whether an entry may follow in a mesh's log, and what the broker's rows become by it.

use claudemesh_core::id::MemberId;
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, Entry, LogError, RuleError};
use claudemesh_core::wire::errors::code;

use super::append::Append;
use super::changes::{affected, changes, target};
use super::mesh::Mesh;
use super::repost::check_time;
use crate::store::{InviteRow, LogChange};

/// How far an entry's time may be ahead of or behind the broker's clock, ms.
pub(super) const ENTRY_SKEW_MS: u64 = 600_000;
/// Channels that one member makes a day at most.
const CHANNELS_A_DAY: usize = 10;
const DAY_MS: u64 = 86_400_000;

/// Why an entry is refused.
#[derive(Debug)]
pub(super) struct No {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

pub(super) fn no(status: u16, code: &'static str, message: impl Into<String>) -> No {
    No {
        status,
        code,
        message: message.into(),
    }
}

/// What came of checking an entry.
pub(super) enum Checked {
    /// It can be committed; the log has it.
    Next(Box<Entry>, Vec<LogChange>),
    /// The log has it already.
    There,
}

/// Checks an entry and, if it is good, appends it to the log in memory.
pub(super) fn check(
    mesh: &mut Mesh,
    append: &Append,
    now: u64,
    fresh: String,
) -> Result<Checked, No> {
    let signed = &append.signed;
    let entry = signed
        .decode()
        .map_err(|error| no(400, code::MALFORMED, error.to_string()))?;
    let at_place = mesh.log.hash_at(entry.seq);
    if at_place == Some(signed.hash()) {
        return Ok(Checked::There);
    }
    if at_place.is_some() || entry.seq != mesh.log.head().seq + 1 {
        return Err(no(409, code::LOG_CONFLICT, CONFLICT));
    }
    check_time(entry.at, mesh.log.at(), now, append.repost)?;
    if let Body::MemberJoined { invite, .. } | Body::DeviceLinked { invite, .. } = &entry.body
        && let Some(invite) = mesh.log.roster().invite(invite)
        // What was taken once is judged by the log alone.
        && !append.repost
    {
        if mesh.uses_left(invite) == 0 {
            return Err(rule(RuleError::InviteUsedUp));
        }
        if now > invite.expires_at {
            return Err(rule(RuleError::InviteExpired));
        }
    }
    if target(&entry.body).is_some_and(|key| mesh.joining.contains(&key)) {
        let why = "this key is joining just now; try again in a moment";
        return Err(no(503, code::BUSY, why));
    }
    if let Body::ChannelCreated { .. } = &entry.body {
        let (roster, since) = (mesh.log.roster(), now.saturating_sub(DAY_MS));
        let lead = roster.person(&entry.signer);
        let own = roster.channels().filter(|channel| channel.lead == lead);
        if own.filter(|channel| channel.at > since).count() >= CHANNELS_A_DAY {
            let why = format!("rate_limit: a member makes {CHANNELS_A_DAY} channels a day at most");
            return Err(no(429, code::RATE_LIMIT, why));
        }
    }
    let token = token(mesh, append, &entry, now)?;
    let affected = affected(mesh.log.roster(), &entry);
    let entry = mesh.log.append(signed).map_err(|error| match error {
        LogError::NotNext { .. } | LogError::OtherMesh | LogError::Empty => {
            no(409, code::LOG_CONFLICT, CONFLICT)
        }
        LogError::Rule { source, .. } => rule(source),
        error => no(400, code::MALFORMED, error.to_string()),
    })?;
    let fresh = MemberId::new(fresh).ok();
    let mut changes = changes(mesh, &entry, &affected, now, fresh);
    changes.extend(token.map(|row| LogChange::Token(Box::new(row))));
    Ok(Checked::Next(Box::new(entry), changes))
}

/// The row of the token that comes with an invite.
fn token(mesh: &Mesh, append: &Append, entry: &Entry, now: u64) -> Result<Option<InviteRow>, No> {
    let Some(text) = append.token.as_deref() else {
        return Ok(None);
    };
    let bad = |why: &str| no(400, code::INVALID_ARGUMENT, format!("invite_token: {why}"));
    if !matches!(entry.body, Body::InviteIssued { .. }) {
        return Err(bad("only an invite_issued entry has one"));
    }
    let token = InviteToken::parse(text).map_err(|error| bad(&error.to_string()))?;
    if token.mesh_id != mesh.row.id.as_str() {
        return Err(bad("it names another mesh"));
    }
    if token.issuer() != Some(entry.signer) {
        return Err(bad("it is not issued by the entry's signer"));
    }
    token
        .verify(now / 1_000)
        .map_err(|error| bad(&error.to_string()))?;
    if mesh.invites.contains_key(text) {
        return Err(bad("it belongs to another invite"));
    }
    Ok(Some(InviteRow {
        mesh: mesh.row.id.clone(),
        token: text.to_owned(),
        invite: append.signed.hash(),
        legacy_uses: 0,
    }))
}

/// A rule that an entry breaks, in the words of the existing system where it has them.
pub(super) fn rule(error: RuleError) -> No {
    let (status, code) = match error {
        RuleError::UnknownInvite => (400, "invite_not_found"),
        RuleError::InviteClosed => (400, "invite_revoked"),
        RuleError::InviteExpired => (400, "invite_expired"),
        RuleError::InviteUsedUp => (400, "invite_exhausted"),
        RuleError::NotAllowed | RuleError::OwnerStays => (403, code::FORBIDDEN),
        RuleError::UnknownMember => (404, code::NOT_FOUND),
        _ => (400, code::INVALID),
    };
    no(status, code, error.to_string())
}

pub(super) const CONFLICT: &str = "the log has grown since this entry was signed: fetch it, decide and sign \
                        anew";
