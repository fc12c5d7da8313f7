//! Who is in the mesh, and finding one by name.

use crate::id::{Name, PublicKey, Status};
use crate::membership::{Member, Role, Roster};

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
    /// How many sessions of it are visible.
    pub sessions: usize,
    /// What one of its sessions says it does.
    pub summary: Option<String>,
    /// Whether the summary was sealed: only members read it, and it is this peer's word. If not,
    /// it is what the broker says.
    pub summary_protected: bool,
    /// Whether there is a sealed summary that could not be opened: by its key, which was asked for
    /// then, it may be the next time.
    pub summary_locked: bool,
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
    /// More than one is meant.
    #[error("{wanted:?} could be {}; write the key, or more of it", list(.candidates))]
    Ambiguous {
        /// What was looked for.
        wanted: String,
        /// Who is meant.
        candidates: Vec<MemberInfo>,
    },
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
