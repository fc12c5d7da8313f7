//! Who is in the mesh, and finding one by name.

use std::collections::{BTreeSet, HashMap};

use crate::id::{Name, PublicKey, Status};
use crate::membership::{Member, Role, Roster};
use crate::session::{KeyTrust, SUMMARY_LOCKED, SUMMARY_PROTECTED, SessionHere, WhoIsHere};
use crate::wire::{MemberRecord, PeerRecord};

/// A member, as the membership log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// The member's key.
    pub key: PublicKey,
    /// Display name as in the log; not unique. Of a device, its own.
    pub name: Name,
    /// How it is shown: its name, a device as `member/device`.
    pub shown: String,
    /// Whose device it is.
    pub device_of: Option<PublicKey>,
    /// What it may do.
    pub role: Role,
    /// Unix ms of joining.
    pub since: u64,
    /// Whether the log vouches for it fully.
    pub verified: bool,
    /// Whether it was removed.
    pub removed: bool,
}

impl MemberInfo {
    pub(super) fn of(roster: &Roster, member: &Member) -> Self {
        Self {
            shown: roster.display_name(member),
            device_of: member.device_of,
            key: member.key,
            name: member.name.clone(),
            role: member.role,
            since: member.since,
            verified: member.is_verified(),
            removed: member.removed_at.is_some(),
        }
    }
}

/// A member, with what the broker says about its presence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The member's key.
    pub key: PublicKey,
    /// Display name.
    pub name: String,
    /// What it may do; none for those without a log entry.
    pub role: Option<Role>,
    /// Whether the log vouches for it.
    pub verified: bool,
    /// Whether a session of it is connected, as the broker says.
    pub online: bool,
    /// Unix ms, as the broker says.
    pub last_seen: Option<u64>,
    /// Its status, as the broker says; none if it is offline.
    pub status: Option<Status>,
    /// How many sessions of it are visible, as the broker says.
    pub sessions: usize,
    /// Of how many of them the member itself has said, by a statement that holds, that they are
    /// its own. That they are here now is the broker's word all the same.
    pub verified_sessions: usize,
    /// Those of them that have an address of their own, by name.
    pub named: Vec<super::SessionInfo>,
    /// What these understand, for example `envelope/1`: each at least one of them, in order.
    pub capabilities: Vec<String>,
    /// What it says it does.
    pub summary: Option<String>,
    /// Whether the summary is the member's own word. Where this is false the broker could read it,
    /// and could have written it.
    pub summary_protected: bool,
    /// Whether there is a sealed summary that could not be opened: by its key, which was asked for
    /// then, it may be the next time.
    pub summary_locked: bool,
    /// In a mesh without a membership log: the broker shows it under a name that is known with
    /// another key, and nobody has said that this one is fine ([`Peer::trust`](super::Peer::trust)).
    pub key_changed: bool,
    /// In a mesh without a membership log: what is held of its key.
    pub trust: Option<KeyTrust>,
}

impl PeerInfo {
    /// A member, with what the broker says of it and what its statements prove.
    pub(super) fn of(
        here: &ByMember<'_>,
        key: PublicKey,
        name: String,
        role: Option<Role>,
        verified: bool,
    ) -> Self {
        let told = here.members.get(&key);
        let sessions = here.sessions.get(&key).map_or(&[][..], Vec::as_slice);
        let statements = || sessions.iter().filter_map(|s| s.statement.as_ref());
        let capabilities: BTreeSet<&String> =
            statements().flat_map(|s| s.capabilities.iter()).collect();
        let online = told.map_or(!sessions.is_empty(), |told| told.online);
        let status = sessions.iter().find_map(|s| s.record.status.parse().ok());
        let summary = summary(sessions);
        Self {
            key,
            name,
            role,
            verified,
            online,
            last_seen: told.and_then(|told| told.last_seen),
            status: status.filter(|_| online),
            sessions: sessions.len(),
            verified_sessions: statements().count(),
            named: Vec::new(),
            capabilities: capabilities.into_iter().cloned().collect(),
            summary_protected: summary.as_ref().is_some_and(|(_, sealed)| *sealed),
            summary_locked: summary.is_none()
                && (sessions.iter()).any(|s| s.record.extra.contains_key(SUMMARY_LOCKED)),
            summary: summary.map(|(text, _)| text),
            key_changed: sessions.iter().any(|s| s.key_changed),
            trust: (sessions.iter().filter_map(|s| s.trust))
                .find(|t| *t == KeyTrust::Changed)
                .or(sessions.iter().find_map(|s| s.trust)),
        }
    }
}

/// Who is here, by members.
pub(super) struct ByMember<'a> {
    sessions: HashMap<PublicKey, Vec<&'a SessionHere>>,
    members: HashMap<PublicKey, &'a MemberRecord>,
}

impl<'a> ByMember<'a> {
    pub(super) fn of(here: &'a WhoIsHere) -> Self {
        let mut sessions: HashMap<_, Vec<_>> = HashMap::new();
        for session in &here.sessions {
            if let Some(key) = member_of(&session.record) {
                sessions.entry(key).or_default().push(session);
            }
        }
        let members = here.members.iter().flatten();
        let members = members.filter_map(|told| {
            let key = PublicKey::from_hex(&told.member_pubkey).ok()?;
            Some((key, told))
        });
        Self {
            sessions,
            members: members.collect(),
        }
    }
}

/// The newest summary of a member's sessions, and whether it was sealed.
fn summary(sessions: &[&SessionHere]) -> Option<(String, bool)> {
    let told = sessions.iter().rev().find_map(|s| {
        let text = s.record.summary().filter(|text| !text.is_empty())?;
        Some((text, s.record.extra.contains_key(SUMMARY_PROTECTED)))
    });
    told.map(|(text, sealed)| {
        let text = text.chars().filter(|c| !c.is_control()).take(512).collect();
        (text, sealed)
    })
}

/// Whose session a record is, as the broker says.
pub(super) fn member_of(record: &PeerRecord) -> Option<PublicKey> {
    let text = record.member_pubkey.as_deref().unwrap_or(&record.pubkey);
    PublicKey::from_hex(text).ok()
}

/// Why a text names nobody, or more than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nobody is called so.
    #[error("nobody here is called {wanted:?}; members: {}", list(.candidates))]
    Unknown {
        /// What was looked for.
        wanted: String,
        /// Who is here.
        candidates: Vec<MemberInfo>,
    },
    /// More than one is meant of those whom no log entry vouches for.
    #[error("{wanted:?} could be {}, who are all unverified; write the key", keys(.candidates))]
    AmbiguousUnverified {
        /// What was looked for.
        wanted: String,
        /// Who is meant.
        candidates: Vec<PublicKey>,
    },
    /// More than one session is meant.
    #[error("{wanted:?} could be {}; write the key", sessions(.candidates))]
    AmbiguousSession {
        /// What was looked for.
        wanted: String,
        /// Which are meant.
        candidates: Vec<super::SessionInfo>,
    },
    /// More than one is meant.
    #[error("{wanted:?} could be {}; write the key, or more of it", list(.candidates))]
    Ambiguous {
        /// What was looked for.
        wanted: String,
        /// Who is meant.
        candidates: Vec<MemberInfo>,
    },
}

fn sessions(candidates: &[super::SessionInfo]) -> String {
    let shown = candidates.iter().take(16);
    let shown: Vec<String> = shown
        .map(|session| format!("{} ({})", session.shown, session.key.short()))
        .collect();
    shown.join(", ")
}

fn keys(candidates: &[PublicKey]) -> String {
    let shown: Vec<String> = candidates.iter().take(16).map(PublicKey::short).collect();
    shown.join(", ")
}

fn list(candidates: &[MemberInfo]) -> String {
    let mut names: Vec<String> = candidates
        .iter()
        .take(16)
        .map(|m| format!("{} ({})", m.shown, m.key.short()))
        .collect();
    if candidates.len() > 16 {
        names.push(format!("and {} more", candidates.len() - 16));
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Finds one whom the broker names and the log does not have: by name, whole, by key, or by a prefix
/// of the key of at least four digits.
pub(super) fn resolve_unverified(
    here: &[PeerInfo],
    wanted: &str,
) -> Result<Option<PublicKey>, ResolveError> {
    let text = wanted.trim();
    let prefix = text.to_lowercase();
    let is_prefix = (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let others = || here.iter().filter(|peer| peer.role.is_none());
    let mut found: Vec<PublicKey> = others()
        .filter(|peer| peer.name == text)
        .map(|peer| peer.key)
        .collect();
    if found.is_empty() && is_prefix {
        let named = others().filter(|peer| peer.key.to_hex().starts_with(&prefix));
        found = named.map(|peer| peer.key).collect();
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(ResolveError::AmbiguousUnverified {
            wanted: text.chars().take(128).collect(),
            candidates: found,
        }),
    }
}

/// Finds a member by name (whole, then without regard to case), a device by `member/device`, either
/// by key or by a prefix of the key of at least four digits.
pub(super) fn resolve(roster: &Roster, wanted: &str) -> Result<PublicKey, ResolveError> {
    let text = wanted.trim();
    if let Ok(key) = PublicKey::from_hex(text)
        && roster.member(&key).is_some()
    {
        return Ok(key);
    }
    let named = |same: &dyn Fn(&str) -> bool| -> Vec<&Member> {
        roster
            .members()
            .filter(|member| same(&roster.display_name(member)))
            .collect()
    };
    let lower = text.to_lowercase();
    let is_prefix = (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let prefix = lower.as_str();
    let searches: [Vec<&Member>; 3] = [
        named(&|name| name == text),
        named(&|name| name.to_lowercase() == lower),
        if is_prefix {
            roster
                .members()
                .filter(|member| member.key.to_hex().starts_with(prefix))
                .collect()
        } else {
            Vec::new()
        },
    ];
    for found in searches {
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.key),
            many => {
                let candidates = many
                    .iter()
                    .map(|member| MemberInfo::of(roster, member))
                    .collect();
                return Err(ResolveError::Ambiguous {
                    wanted: text.to_owned(),
                    candidates,
                });
            }
        }
    }
    let candidates = roster.members();
    let candidates = candidates
        .map(|member| MemberInfo::of(roster, member))
        .collect();
    Err(ResolveError::Unknown {
        wanted: text.chars().take(128).collect(),
        candidates,
    })
}
