//! Sessions with an address of their own: who they are, how they are found, and what becomes of a
//! message that goes to one.

use std::collections::HashSet;
use std::fmt;

use super::info::member_of;
use super::{MemberInfo, Peer, PeerError, ResolveError, SendError};
use crate::config::SessionIdentity;
use crate::id::{Priority, PublicKey, SessionName, Status, Target, Wake};
use crate::identity::SessionAddress;
use crate::membership::{Member, Roster};
use crate::session::{Command, Reply, WhoIsHere};
use crate::sorted::sorted_by;

/// A session that has an address of its own: its member and it have signed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The key that it is addressed by.
    pub key: PublicKey,
    /// Whose session it is.
    pub member: PublicKey,
    /// What it is called among its member's sessions.
    pub name: SessionName,
    /// How it is written and shown: `member/session`.
    pub shown: String,
    /// How a message gets its attention, in its own words.
    pub wake: Wake,
    /// Whether it is connected, as the broker says.
    pub online: bool,
    /// How attentive it is, as the broker says; none if it is away.
    pub status: Option<Status>,
    /// When its key was made, unix ms.
    pub since: u64,
    /// Until when messages are kept for it if it does not come back, unix ms.
    pub expires_at: u64,
}

impl SessionInfo {
    fn of(roster: Option<&Roster>, address: &SessionAddress, status: Option<Status>) -> Self {
        let member = roster.and_then(|roster| Some((roster, roster.member(&address.member)?)));
        let member = member.map(|(roster, member)| roster.display_name(member));
        let member = member.unwrap_or_else(|| address.member.short());
        Self {
            key: address.session,
            member: address.member,
            name: address.name.clone(),
            shown: format!("{member}/{}", address.name),
            wake: address.wake,
            online: status.is_some(),
            status,
            since: address.since,
            expires_at: address.expires_at,
        }
    }
}

/// What becomes of a message that was accepted, as far as the broker and the recipient say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reach {
    /// Who it is for, as shown.
    pub who: String,
    /// Whether a session of it is connected, as the broker says.
    pub online: bool,
    /// The status of the most attentive of these.
    pub status: Option<Status>,
    /// How that one is woken, if it says.
    pub wake: Option<Wake>,
}

impl Reach {
    /// In words, for a message of this priority: `bob is idle and sees it at its next turn`.
    pub fn told(&self, priority: Priority) -> String {
        let who = &self.who;
        let status = match self.status {
            Some(status) if self.online => status,
            _ => return format!("{who} is away and gets it when it is back"),
        };
        let free = status == Status::Idle;
        if !free && priority != Priority::Now {
            let busy = if status == Status::Dnd {
                "does not want to be disturbed"
            } else {
                "is working"
            };
            return format!("{who} {busy} and gets it when it is idle");
        }
        if priority == Priority::Low {
            return format!("{who} is idle and sees it when it looks for messages");
        }
        let is = if free { "is idle" } else { "is busy" };
        match self.wake {
            Some(Wake::Push) => format!("{who} {is} and is shown it now"),
            Some(Wake::Hook) => format!("{who} {is} and sees it at its next turn"),
            Some(Wake::Wait) => format!("{who} waits for messages and sees it now"),
            Some(Wake::Serve) => format!("{who} runs a program for it now"),
            Some(Wake::Pane) => format!("{who} {is}; it is typed into its terminal now"),
            Some(Wake::None) => format!("{who} {is}; nothing wakes it, it sees it when it looks"),
            None => format!("{who} {is} and has it now; whether anybody looks is not known"),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Priority::default()))
    }
}

impl Peer {
    /// The session that this peer is, by [`PeerBuilder::as_session`](super::PeerBuilder::as_session):
    /// its key and the name that it has now.
    pub fn session(&self) -> Option<SessionIdentity> {
        self.inner.shared.session()
    }

    /// The key that this peer is addressed by: its session's, or its member's.
    pub fn address(&self) -> PublicKey {
        let session = self.inner.session_key;
        session.unwrap_or_else(|| self.key())
    }

    /// Says how a message gets the attention of whoever is behind this session, now and on every
    /// connection. Does nothing for a peer that is no session.
    ///
    /// # Errors
    /// [`PeerError::Closed`].
    pub async fn set_wake(&self, wake: Wake) -> Result<(), PeerError> {
        self.command(Command::SetWake(wake)).await.map(|_| ())
    }

    /// The sessions of the mesh that have an address of their own: those that the broker shows, and
    /// those that were seen before and for which messages are still kept. Without a connection only
    /// the latter, as away. Every one was verified: its member, who is in the log, and it itself have
    /// signed for it; that it is here now is the broker's word.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, PeerError> {
        let here = if self.is_connected() {
            match self.command(Command::ListPeers).await? {
                Reply::Peers(here) => Some(here),
                _ => None,
            }
        } else {
            None
        };
        self.sessions_of(here.as_deref()).await
    }

    /// Sessions, with what the broker says about who is here.
    pub(super) async fn sessions_of(
        &self,
        here: Option<&WhoIsHere>,
    ) -> Result<Vec<SessionInfo>, PeerError> {
        let log = self.inner.shared.log();
        let roster = log.as_ref().map(|log| log.roster());
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for session in here.iter().flat_map(|here| &here.sessions) {
            if let Some(address) = &session.address
                && seen.insert(address.session)
            {
                let status = session.record.status.parse().unwrap_or_default();
                let status = Some(status).filter(|_| session.record.leased != Some(true));
                all.push(SessionInfo::of(roster, address, status));
            }
        }
        let Reply::Sessions(known) = self.command(Command::KnownSessions).await? else {
            return Err(PeerError::Closed);
        };
        for address in known {
            if seen.insert(address.session) && Some(address.session) != self.inner.session_key {
                all.push(SessionInfo::of(roster, &address, None));
            }
        }
        Ok(sorted_by(all, |a, b| {
            (&a.shown, a.since, a.key).cmp(&(&b.shown, b.since, b.key))
        }))
    }

    /// What becomes of a message to one peer, as far as is known: whether somebody is there, and
    /// whether it is woken. None for a channel, and without a connection.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn reach(&self, to: &Target) -> Result<Option<Reach>, PeerError> {
        let (Target::Peer(key), true) = (to, self.is_connected()) else {
            return Ok(None);
        };
        let Reply::Peers(here) = self.command(Command::ListPeers).await? else {
            return Ok(None);
        };
        let sessions = self.sessions_of(Some(&here)).await?;
        if let Some(session) = sessions.iter().find(|session| session.key == *key) {
            return Ok(Some(Reach {
                who: session.shown.clone(),
                online: session.online,
                status: session.status,
                wake: Some(session.wake),
            }));
        }
        let log = self.inner.shared.log();
        let roster = log.as_ref().map(|log| log.roster());
        let member = roster.and_then(|roster| Some(roster.display_name(roster.member(key)?)));
        let own = self.address();
        let records = here.sessions.iter().filter(|session| {
            member_of(&session.record) == Some(*key)
                && session.record.leased != Some(true)
                && PublicKey::from_hex(&session.record.pubkey).ok() != Some(own)
        });
        let best = records
            .map(|session| {
                let status: Status = session.record.status.parse().unwrap_or_default();
                (status, session.address.as_ref().map(|address| address.wake))
            })
            .min_by_key(|(status, wake)| (*status as u8, quickness(*wake)));
        Ok(Some(Reach {
            who: member.unwrap_or_else(|| key.short()),
            online: best.is_some(),
            status: best.map(|(status, _)| status),
            wake: best.and_then(|(_, wake)| wake),
        }))
    }

    /// The session that is written so: `member/session`, its key, or an unambiguous prefix of the
    /// key (four digits or more). Looks among those that are known, then asks the broker.
    ///
    /// # Errors
    /// [`SendError::Resolve`]; [`SendError::Peer`].
    pub async fn resolve_session(&self, wanted: &str) -> Result<SessionInfo, SendError> {
        let known = self.sessions_of(None).await?;
        // Several may be called so by what was seen of them earlier.
        if let Ok(found) = self.find_session(&known, wanted) {
            return Ok(found);
        }
        let newest = self.sessions().await?;
        Ok(self.find_session(&newest, wanted)?)
    }

    /// As [`Peer::resolve_session`], among those that are known here.
    pub(super) async fn known_session(&self, wanted: &str) -> Result<Option<PublicKey>, SendError> {
        let known = self.sessions_of(None).await?;
        let found = self.find_session(&known, wanted);
        Ok(found.ok().map(|session| session.key))
    }

    fn find_session(
        &self,
        sessions: &[SessionInfo],
        wanted: &str,
    ) -> Result<SessionInfo, ResolveError> {
        let text = wanted.trim();
        let log = self.inner.shared.log();
        let roster = log.as_ref().map(|log| log.roster());
        let member = |key: &PublicKey| roster.and_then(|roster| roster.member(key));
        let named = |same: &dyn Fn(&str, &str) -> bool| -> Vec<&SessionInfo> {
            let Some((owner, name)) = text.rsplit_once('/') else {
                return Vec::new();
            };
            let is_owner = |info: &SessionInfo| {
                let shown = member(&info.member).zip(roster);
                let shown = shown.map(|(member, roster)| roster.display_name(member));
                shown.is_some_and(|shown| same(&shown, owner)) || is_prefix(&info.member, owner)
            };
            let found = sessions
                .iter()
                .filter(|info| same(info.name.as_str(), name));
            found.filter(|info| is_owner(info)).collect()
        };
        let searches = [
            named(&|a, b| a == b),
            named(&|a, b| a.to_lowercase() == b.to_lowercase()),
            sessions
                .iter()
                .filter(|info| is_prefix(&info.key, text))
                .collect(),
        ];
        for found in searches {
            match found.as_slice() {
                [] => {}
                [one] => return Ok((*one).clone()),
                many => {
                    return Err(ResolveError::AmbiguousSession {
                        wanted: text.chars().take(128).collect(),
                        candidates: many.iter().map(|one| (*one).clone()).collect(),
                    });
                }
            }
        }
        let members = roster.into_iter().flat_map(Roster::members);
        let of = |member: &Member| roster.map(|roster| MemberInfo::of(roster, member));
        Err(ResolveError::Unknown {
            wanted: text.chars().take(128).collect(),
            candidates: members.filter_map(of).collect(),
        })
    }
}

fn is_prefix(key: &PublicKey, text: &str) -> bool {
    (4..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && key.to_hex().starts_with(&text.to_lowercase())
}

/// Which of several that are as attentive sees it first.
fn quickness(wake: Option<Wake>) -> usize {
    let at = wake.and_then(|wake| Wake::ALL.iter().position(|way| *way == wake));
    // One that does not say is before those that say that nothing wakes them.
    at.map_or(9, |at| at * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_message_is_said_truly() {
        let reach = |status, wake| Reach {
            who: "bob".to_owned(),
            online: true,
            status: Some(status),
            wake,
        };
        let idle = |wake| reach(Status::Idle, Some(wake)).told(Priority::Next);
        assert_eq!(idle(Wake::Hook), "bob is idle and sees it at its next turn");
        assert_eq!(idle(Wake::Push), "bob is idle and is shown it now");
        assert!(idle(Wake::None).contains("nothing wakes it"));
        let working = reach(Status::Working, Some(Wake::Push));
        assert_eq!(
            working.to_string(),
            "bob is working and gets it when it is idle"
        );
        assert_eq!(
            working.told(Priority::Now),
            "bob is busy and is shown it now"
        );
        let unknown = reach(Status::Idle, None).to_string();
        assert!(unknown.contains("not known"), "{unknown}");
        let away = Reach {
            online: false,
            ..reach(Status::Idle, None)
        };
        assert_eq!(away.to_string(), "bob is away and gets it when it is back");
    }
}
