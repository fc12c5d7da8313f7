//! Session statements: one is made at each connect, and those of others are checked before anything
//! of them is believed.
//!
//! A broker can say that anybody is here, and under which name. What a session is called and what
//! it understands is taken from its member's word alone.

use std::collections::{HashMap, HashSet};

use super::link::CAPABILITIES;
use super::{Event, Lie, Session, SessionHere, StatementFault, WhoIsHere};
use crate::crypto::sha256;
use crate::id::{Hash, Name, PublicKey};
use crate::identity::{
    STATEMENT_MAX_TTL_MS, SessionStatement, SessionStatementError, SignedSession,
};
use crate::membership::Head;
use crate::time::iso;
use crate::wire::{CAP_ENVELOPE, PeersList, SignedBlob};

/// Milliseconds by which a statement begins earlier than it was made: clocks differ.
const BACKDATED_MS: u64 = 600_000;
/// Statements that are remembered to have held, at most.
const MAX_HELD: usize = 4_096;
/// New statements that are verified of one list, at most; the sessions beyond count as unverified.
const MAX_NEW: usize = 4_096;
/// Members of whom something was told on this connection, at most.
const MAX_TOLD: usize = 256;
/// Keys without a log entry that are remembered from the broker's list, at most.
const MAX_LISTED: usize = 8_192;
/// Keys without a log entry that are pinned as understanding envelopes, at most. A broker makes
/// keys as it likes: it fills no store with them.
const MAX_PINNED: usize = 4_096;
/// The pin that remembers that a key has shown that it understands envelopes.
const PIN_ENVELOPE: &str = "envelope:";

/// What is known of other sessions' statements.
#[derive(Default)]
pub(super) struct Statements {
    /// Those that held when they were seen on this connection: a session may stand for longer
    /// than its statement does.
    held: HashMap<Hash, SessionStatement>,
    /// Of whom a fault was told on this connection.
    told: HashSet<PublicKey>,
    /// Keys that the broker's newest list names and that the log does not have.
    listed: HashSet<PublicKey>,
}

impl Statements {
    pub(super) fn connection_closed(&mut self) {
        *self = Self::default();
    }
}

/// A statement, with what the broker says beside it.
struct Shown<'a> {
    blob: &'a SignedBlob,
    /// Whose session it is.
    member: Option<PublicKey>,
    /// The key that the session is addressed by.
    routing: Option<PublicKey>,
    /// Since when the session stands; none: since now.
    since: Option<&'a str>,
}

/// The time of a statement is over. That is no lie if the session stands since before.
fn may_be_old(shown: &Shown<'_>, statement: &SessionStatement) -> bool {
    let end = iso(statement.expires_at);
    // Both are written in one form, in which earlier times sort first.
    shown.since.is_some_and(|since| since < end.as_str())
}

impl Session {
    /// The member's word for this session, at a time by the broker's clock. None in a mesh without
    /// a log: nobody there could tell whose word it is.
    pub(super) fn own_statement(&self, wall: u64) -> Option<SignedBlob> {
        if self.has_no_log() {
            return None;
        }
        self.make_statement(wall)
    }

    /// As [`Self::own_statement`], also without a log.
    pub(super) fn make_statement(&self, wall: u64) -> Option<SignedBlob> {
        let member = self.config.key.public();
        let in_log = || {
            let roster = self.log.roster()?;
            Some(roster.member(&member)?.name.clone())
        };
        let name = self.config.name.clone().or_else(in_log);
        let name = name.or_else(|| Name::new(member.short()).ok())?;
        let name = self.name_of_session(name);
        let not_before = wall.saturating_sub(BACKDATED_MS);
        let statement = SessionStatement {
            mesh: self.config.mesh.clone(),
            member,
            session: self.shown_session(),
            name,
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            head: self.log.held().map(|log| (log.head().seq, log.head().hash)),
            not_before,
            expires_at: not_before.saturating_add(STATEMENT_MAX_TTL_MS),
        };
        let signed = statement.make(&self.config.key).ok()?;
        Some(SignedBlob::from(&signed))
    }

    /// Checks every statement of a list that the broker was asked for.
    pub(super) fn judge_list(&mut self, list: PeersList) -> WhoIsHere {
        self.note_listed(&list);
        let mut room = MAX_NEW;
        let mut shown_already = HashSet::new();
        let mut sessions = Vec::with_capacity(list.peers.len());
        for record in list.peers {
            let key = |text: &str| PublicKey::from_hex(text).ok();
            let statement = record.statement.as_ref().and_then(|blob| {
                self.judge(
                    Shown {
                        blob,
                        member: record.member_pubkey.as_deref().and_then(key),
                        routing: key(&record.pubkey),
                        since: Some(record.connected_at.as_deref().unwrap_or_default()),
                    },
                    &mut room,
                )
            });
            // One statement is one session's, however often it is shown.
            let statement = statement
                .filter(|(id, _)| shown_already.insert(*id))
                .map(|(_, statement)| statement);
            // Only beside a member key: a session key is another one each time.
            let named = Name::new(&record.display_name).ok();
            let member = record.member_pubkey.as_deref().and_then(key);
            let named = named.zip(member);
            let key_changed = named.is_some_and(|(name, key)| self.first_use(&name, key));
            let address = record.address.as_ref();
            let address = address.and_then(|blob| self.learn_address(blob));
            let address = address.filter(|address| {
                key(&record.pubkey) == Some(address.session) && member == Some(address.member)
            });
            let trust = member.and_then(|key| self.key_trust(&key, key_changed));
            sessions.push(SessionHere {
                record,
                statement,
                address,
                key_changed,
                trust,
            });
        }
        let away = list.away.unwrap_or_default();
        let away = away
            .iter()
            .take(MAX_NEW)
            .filter_map(|blob| self.learn_address(blob));
        WhoIsHere {
            sessions,
            members: list.members,
            away: away.collect(),
        }
    }

    /// Somebody came online: the name that is shown, and whether a statement vouches for it.
    pub(super) fn judge_arrival(
        &mut self,
        key: &str,
        told: String,
        statement: Option<&SignedBlob>,
    ) -> (String, bool) {
        let routing = PublicKey::from_hex(key).ok();
        let statement = statement.and_then(|blob| {
            let shown = Shown {
                blob,
                member: None,
                routing,
                since: None,
            };
            self.judge(shown, &mut 1)
        });
        if let Some((_, statement)) = statement {
            return (statement.name.as_str().to_owned(), true);
        }
        let in_log = || {
            let roster = self.log.roster()?;
            let member = roster.member(&routing?)?;
            Some(roster.display_name(member))
        };
        (in_log().unwrap_or(told), false)
    }

    /// Whether the broker's newest list names this key.
    pub(super) fn is_listed(&self, key: &PublicKey) -> bool {
        self.statements.listed.contains(key)
    }

    /// Whether a key has shown that it understands envelopes: then it gets nothing else, and
    /// nothing else is taken from it.
    pub(super) fn speaks_envelopes(&self, key: &PublicKey) -> bool {
        self.pins.contains_key(&pin_of(key))
    }

    fn note_listed(&mut self, list: &PeersList) {
        let records = (list.peers.iter())
            .map(|record| record.member_pubkey.as_deref().unwrap_or(&record.pubkey));
        let members = list.members.iter().flatten();
        let named = records.chain(members.map(|member| member.member_pubkey.as_str()));
        let roster = self.log.roster();
        let in_log = |key: &PublicKey| roster.is_some_and(|r| r.member_or_former(key).is_some());
        self.statements.listed = named
            .filter_map(|text| PublicKey::from_hex(text).ok())
            .filter(|key| !in_log(key))
            .take(MAX_LISTED)
            .collect();
    }

    /// What a statement says, with its hash, if it holds and is of a verified member.
    fn judge(&mut self, shown: Shown<'_>, room: &mut usize) -> Option<(Hash, SessionStatement)> {
        let named = shown.member.or(shown.routing);
        let (id, statement) = match self.open_statement(&shown, room) {
            Ok(opened) => opened?,
            Err(error) => {
                self.bad_statement(named, error.into());
                return None;
            }
        };
        let member = statement.member;
        let routes = [Some(member), statement.session];
        if shown.member.is_some_and(|key| key != member) || !routes.contains(&shown.routing) {
            self.bad_statement(named, StatementFault::OtherSession);
            return None;
        }
        let known = self.log.roster().and_then(|r| r.member_or_former(&member));
        match known.map(|known| (known.removed_at.is_some(), known.is_verified())) {
            Some((true, _)) => {
                self.bad_statement(Some(member), StatementFault::Removed);
                None
            }
            Some((_, true)) => {
                if let Some((seq, hash)) = statement.head
                    && member != self.config.key.public()
                {
                    self.head_claimed(member, Head { seq, hash });
                }
                Some((id, statement))
            }
            // Waits to be let in: nothing to believe yet.
            Some(_) => None,
            None => {
                if statement.can(CAP_ENVELOPE) {
                    self.pin_envelope(&member);
                    // What goes to the session goes to the same program.
                    if let Some(session) = statement.session {
                        self.pin_envelope(&session);
                    }
                }
                None
            }
        }
    }

    /// Opens a statement. None if it is too old, or one too many, which is nobody's fault.
    fn open_statement(
        &mut self,
        shown: &Shown<'_>,
        room: &mut usize,
    ) -> Result<Option<(Hash, SessionStatement)>, SessionStatementError> {
        let signed = SignedSession::try_from(shown.blob)?;
        let id = sha256(&[signed.bytes.as_slice(), &signed.signature.0].concat());
        if let Some(statement) = self.statements.held.get(&id) {
            return Ok(Some((id, statement.clone())));
        }
        if *room == 0 {
            return Ok(None);
        }
        *room -= 1;
        let statement = SessionStatement::read(&signed, &self.config.mesh)?;
        match statement.holds_at(self.now.wall) {
            Ok(()) => {}
            Err(SessionStatementError::Expired) if may_be_old(shown, &statement) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        if self.statements.held.len() >= MAX_HELD {
            self.statements.held.clear();
        }
        self.statements.held.insert(id, statement.clone());
        Ok(Some((id, statement)))
    }

    /// Told once for each member and connection: nobody fills a log with nonsense.
    fn bad_statement(&mut self, peer: Option<PublicKey>, error: StatementFault) {
        let Some(peer) = peer else { return };
        let told = &mut self.statements.told;
        if told.len() < MAX_TOLD && told.insert(peer) {
            self.event(Event::LiedTo(Lie::BadStatement { peer, error }));
        }
    }

    pub(super) fn pin_envelope(&mut self, key: &PublicKey) {
        let pinned = self.pins.keys();
        if pinned.filter(|name| name.starts_with(PIN_ENVELOPE)).count() < MAX_PINNED {
            self.pin(&pin_of(key), "1");
        }
    }
}

fn pin_of(key: &PublicKey) -> String {
    format!("{PIN_ENVELOPE}{}", key.to_hex())
}
