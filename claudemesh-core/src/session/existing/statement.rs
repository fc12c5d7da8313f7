//! Session statements where the broker has no place for them: as a text among the `capabilities`
//! of the profile.

use serde_json::Value;

use super::frames;
use crate::identity::{PROFILE_STATEMENT, statement_of_profile, statement_to_profile};
use crate::session::{Session, WhoIsHere};
use crate::wire::{PeerRecord, SignedBlob};

/// Capabilities of a profile that are looked at, and kept beside the own statement, at most.
const MAX_ITEMS: usize = 64;
/// Bytes of a capability of others that is kept in the own profile.
const MAX_ITEM: usize = 256;
/// How often the own profile is set on one connection until the broker shows it.
const MAX_TRIES: u32 = 3;
/// Milliseconds after which the own statement is made anew: half of the time it holds.
const RENEW_MS: u64 = 12 * 3_600_000;

/// The own statement on this connection.
#[derive(Default)]
pub(super) struct Stated {
    text: Option<String>,
    tries: u32,
    /// When it is made anew, in ms of the clock.
    renew_at: Option<u64>,
}

impl Stated {
    pub(super) fn connection_closed(&mut self) {
        *self = Self::default();
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.renew_at
    }
}

fn capabilities(profile: &Value) -> impl Iterator<Item = &str> {
    let all = profile.get("capabilities").and_then(Value::as_array);
    let all = all.into_iter().flatten().take(MAX_ITEMS);
    all.filter_map(Value::as_str)
}

/// The first statement that a profile has, nothing of it checked.
fn of_profile(profile: &Value) -> Option<SignedBlob> {
    capabilities(profile).find_map(statement_of_profile)
}

impl Session {
    /// Puts a statement that stands in the profile where it is looked for.
    pub(in crate::session) fn statement_of_profile(&self, record: &mut PeerRecord) {
        if record.statement.is_none() && self.is_existing() {
            record.statement = record.profile.as_ref().and_then(of_profile);
        }
    }

    /// This session as the broker shows it.
    pub(super) fn own_record<'a>(&self, shown: &'a WhoIsHere) -> Option<&'a PeerRecord> {
        let own = self.routing_key().to_hex();
        let id = Some(self.config.session_id.as_str());
        let mut records = shown.sessions.iter().map(|session| &session.record);
        records.find(|record| record.session_id.as_deref() == id && record.pubkey == own)
    }

    /// The broker has shown this session: its statement is put into the profile, unless it stands
    /// there; what else is there stays.
    pub(super) fn note_own_profile(&mut self, shown: &WhoIsHere) {
        let Some(record) = self.own_record(shown) else {
            return;
        };
        let listed = || record.profile.iter().flat_map(capabilities);
        let stated = &self.existing.stated;
        if let Some(text) = &stated.text
            && (listed().any(|item| item == text) || stated.tries >= MAX_TRIES)
        {
            return;
        }
        let text = match &stated.text {
            Some(text) => text.clone(),
            None => match self.make_statement(self.now.wall) {
                Some(blob) => statement_to_profile(&blob),
                None => return,
            },
        };
        let kept =
            listed().filter(|item| !item.starts_with(PROFILE_STATEMENT) && item.len() <= MAX_ITEM);
        let mut all: Vec<String> = kept.take(MAX_ITEMS - 1).map(str::to_owned).collect();
        // First, so that it is among those that are looked at.
        all.insert(0, text.clone());
        let renew_at = self.now.mono + RENEW_MS;
        let stated = &mut self.existing.stated;
        stated.text = Some(text);
        stated.tries += 1;
        stated.renew_at.get_or_insert(renew_at);
        self.out.push_back(crate::session::Out::Transmit(
            frames::set_profile(&all).encode(),
        ));
    }

    pub(super) fn tick_statement(&mut self) {
        let mono = self.now.mono;
        let due = self.existing.stated.renew_at.take_if(|at| mono >= *at);
        if due.is_some() {
            self.existing.stated = Stated::default();
            self.ask_here();
        }
    }
}
