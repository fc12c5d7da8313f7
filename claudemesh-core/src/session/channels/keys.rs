//! The keys of channels: asking for them, holding them against the logs, keeping them.

use super::{Channel, RETRY_MS};
use crate::channel::{SignedKeyStatement, StatementError, Taken};
use crate::encoding::{DecodeError, unbase64url};
use crate::id::{ChannelName, KeyId};
use crate::session::requests::Asked;
use crate::session::{Event, Lie, Session, SessionError};
use crate::store::{KeptRoot, PeerOp, StoredKey};
use crate::wire::{KeyRecord, Keys, KeysGet, MAX_KEYS_PER_FRAME, NewKey, errors::code};

/// Keys that wait for more of a log at most, of one channel.
const MAX_LATER: usize = 64;
/// Keys that are to be asked for at most, of one channel.
const MAX_MISSING: usize = 1_024;
/// Keys that were asked for on one connection at most, of one channel: whoever pushes messages under
/// keys that do not exist fills no memory.
const MAX_ASKED: usize = 65_536;

impl Session {
    pub(super) fn get_newest_key(&mut self, name: &ChannelName) {
        self.get_keys(name, None, Vec::new());
    }

    pub(super) fn get_missing_keys(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let wanted: Vec<KeyId> = (channel.missing.iter().copied())
            .take(MAX_KEYS_PER_FRAME)
            .collect();
        for id in &wanted {
            channel.missing.remove(id);
            channel.asked.insert(*id);
        }
        channel.fetching = true;
        let texts = wanted.iter().map(KeyId::to_hex).collect();
        self.get_keys(name, Some(texts), wanted);
    }

    fn get_keys(&mut self, name: &ChannelName, key_ids: Option<Vec<String>>, wanted: Vec<KeyId>) {
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.busy = true;
        }
        let req_id = Some(self.ask(Asked::Keys(name.clone(), wanted)));
        self.transmit(KeysGet {
            channel: name.as_str().to_owned(),
            key_ids,
            req_id,
        });
    }

    /// A key that is needed to open something: it is asked for, once per connection.
    pub(in crate::session) fn want_key(&mut self, name: &ChannelName, id: KeyId) {
        if self.has_no_log() {
            return self.unlock_room(id);
        }
        if let Some(channel) = self.open_channel(name)
            && !channel.asked.contains(&id)
            && channel.missing.len() < MAX_MISSING
            && channel.asked.len() < MAX_ASKED
            && channel
                .keys
                .statement(&id)
                .is_none_or(|_| channel.keys.root(&id).is_none())
        {
            channel.missing.insert(id);
            self.drive_channel(name);
        }
    }

    pub(in crate::session) fn keys_came(&mut self, keys: &Keys) {
        let Some(Asked::Keys(name, wanted)) = self.requests.take(keys.req_id.as_deref()) else {
            return;
        };
        if let Some(channel) = self.channels.held.get_mut(&name) {
            channel.busy = false;
            channel.fetching = true;
            if wanted.is_empty() {
                channel.keys_current = true;
                let current = keys.current.as_deref();
                channel.shown = Some(current.and_then(|id| KeyId::from_hex(id).ok()));
            } else {
                channel.key_tries = 0;
            }
        }
        for record in &keys.keys {
            self.take_key(&name, record, false);
        }
        if let Some(channel) = self.channels.held.get_mut(&name) {
            channel.fetching = false;
        }
        if wanted.is_empty() && name == ChannelName::state() {
            self.state_key_shown();
        }
        self.finish_histories(&name);
        self.retry_parked();
        self.drive_channel(&name);
        self.flush_unlocks(&name);
    }

    /// Keys were not shown. Those that messages wait for are asked for again after a pause, on the same
    /// connection: nothing else would ever open these messages.
    pub(in crate::session) fn keys_failed(
        &mut self,
        name: &ChannelName,
        wanted: Vec<KeyId>,
        error: &SessionError,
        retry_after: Option<u64>,
    ) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.busy = false;
        channel.fetching = false;
        let lost = channel.lost.behind;
        let refusal = match error {
            SessionError::Refused { code, .. } => code.as_str(),
            _ => "",
        };
        let unknown = self.lost_at_broker(refusal) || (lost && refusal == code::FORBIDDEN);
        if !unknown && [code::FORBIDDEN, code::NOT_FOUND].contains(&refusal) {
            let error = SessionError::NotInChannel(name.clone());
            self.give_up_channel(name, &error);
        } else {
            self.ask_again(name, wanted);
            if unknown {
                self.channel_unknown_there(name, error);
            } else {
                let reason = error.to_string();
                self.pause_channel(name, retry_after.unwrap_or(RETRY_MS), &reason);
            }
        }
        self.finish_histories(name);
        self.flush_unlocks(name);
    }

    /// Keys that messages wait for are to be asked for once more.
    fn ask_again(&mut self, name: &ChannelName, wanted: Vec<KeyId>) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        channel.key_tries = channel
            .key_tries
            .saturating_add(u32::from(!wanted.is_empty()));
        for id in wanted {
            channel.asked.remove(&id);
            channel.missing.insert(id);
        }
    }

    /// Somebody has made a key.
    pub(in crate::session) fn new_key(&mut self, new: &NewKey) {
        let Ok(name) = ChannelName::new(&new.channel) else {
            return;
        };
        let known = self
            .log
            .roster()
            .is_some_and(|r| r.channel(&name).is_some());
        if name.has_log() && !known && !self.log.may_be_behind() {
            return;
        }
        self.take_key(&name, &new.key, false);
        if let (Some(channel), Ok(signed)) =
            (self.channels.held.get_mut(&name), statement(&new.key))
            && channel.shown.is_some()
        {
            channel.shown = Some(Some(signed.key_id()));
        }
        if name == ChannelName::state() {
            self.retry_parked();
        }
        self.drive_channel(&name);
    }

    /// Keys that needed more of a log are tried again.
    pub(super) fn retry_later_keys(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let later = std::mem::take(&mut channel.later);
        let fetching = std::mem::replace(&mut channel.fetching, true);
        for record in later {
            self.take_key(name, &record, true);
        }
        if let Some(channel) = self.channels.held.get_mut(name) {
            channel.fetching = fetching;
        }
        self.flush_unlocks(name);
    }

    /// Takes a key if it passes every rule; fetches the logs that it needs first.
    fn take_key(&mut self, name: &ChannelName, record: &KeyRecord, again: bool) {
        let signed = match statement(record) {
            Ok(signed) => signed,
            Err(error) => return self.bad_key(name, error.into()),
        };
        let (id, me) = (signed.key_id(), std::sync::Arc::clone(&self.config.key));
        if self.open_channel(name).is_none() {
            return;
        }
        let (Some(log), Some(channel)) = (self.log.held(), self.channels.held.get_mut(name)) else {
            return;
        };
        match channel.keys.take(&signed, log, channel.log.as_ref()) {
            Taken::Rejected(error) if error.is_behind() => {
                if channel.later.len() < MAX_LATER {
                    channel.later.push(record.clone());
                }
                // Asked for once: what is not there then is waited for.
                if !again {
                    match error {
                        StatementError::LogBehind { .. } => {
                            self.log.is_behind();
                            self.head_of_author(&signed);
                            self.sync_log(None);
                        }
                        _ => {
                            channel.log_current = false;
                            channel.log_wanted = true;
                        }
                    }
                }
                return;
            }
            Taken::Rejected(StatementError::OtherLog { seq }) => {
                if let Ok(statement) = signed.open() {
                    let peer = statement.author;
                    self.event(Event::LiedTo(Lie::HeadMismatch { peer, seq }));
                }
                return;
            }
            Taken::Rejected(error) => return self.bad_key(name, error),
            Taken::Known => {}
            taken => self.key_taken(name, id, &taken),
        }
        self.take_own_copy(name, &id, &me, record.copy.as_deref());
        self.keep_key(name, &signed);
        self.queue_unlock(id);
    }

    /// The author of a key knows more of the mesh's log: what the broker does not show is told.
    fn head_of_author(&mut self, signed: &SignedKeyStatement) {
        let Ok(statement) = signed.open() else { return };
        let roster = self.log.roster();
        let author = roster.and_then(|roster| roster.member(&statement.author));
        if author.is_some_and(crate::membership::Member::is_verified)
            && let Some(head) = statement.log
        {
            self.head_claimed(statement.author, head);
        }
    }

    fn key_taken(&mut self, name: &ChannelName, id: KeyId, taken: &Taken) {
        self.channels.of_key.insert(id, name.clone());
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let epoch = channel.keys.statement(&id).map_or(0, |s| s.epoch);
        let channel = name.clone();
        match taken {
            Taken::Newer => self.event(Event::ChannelRekeyed { channel, epoch }),
            Taken::Fork => self.event(Event::ChannelFork { channel, epoch }),
            _ => {}
        }
    }

    fn take_own_copy(
        &mut self,
        name: &ChannelName,
        id: &KeyId,
        me: &crate::crypto::KeyPair,
        copy: Option<&str>,
    ) {
        let Some(copy) = copy.and_then(|copy| unbase64url(copy).ok()) else {
            return;
        };
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        if channel.keys.take_copy(id, me, &copy).is_err()
            && let Some(author) = channel.keys.statement(id).map(|s| s.author)
        {
            let channel = name.clone();
            self.event(Event::KeyWithheld { channel, author });
        }
    }

    /// Writes a statement to the store, and every root that is new: one may have led to another.
    pub(super) fn keep_key(&mut self, name: &ChannelName, signed: &SignedKeyStatement) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let id = signed.key_id();
        let mut ops = Vec::new();
        if !channel.kept.contains(&id) {
            let (statement, signature) = (signed.bytes.clone(), signed.signature);
            ops.extend(stored(channel, name, id, statement, signature));
        }
        for id in channel.keys.rooted().copied().collect::<Vec<_>>() {
            if channel.kept.insert(id)
                && let Some((statement, signature)) = channel.keys.signed(&id)
            {
                ops.extend(stored(channel, name, id, statement, signature));
            }
        }
        if !ops.is_empty() {
            self.keep(ops);
        }
    }

    fn bad_key(&mut self, name: &ChannelName, error: StatementError) {
        let channel = name.clone();
        self.event(Event::LiedTo(Lie::BadChannelKey { channel, error }));
    }
}

fn stored(
    channel: &Channel,
    name: &ChannelName,
    id: KeyId,
    statement: Vec<u8>,
    signature: crate::id::Signature,
) -> Option<PeerOp> {
    let epoch = channel.keys.statement(&id)?.epoch;
    let root = channel
        .keys
        .root(&id)
        .map(|root| KeptRoot::new(*root.expose()));
    Some(PeerOp::ChannelKey(Box::new(StoredKey {
        channel: name.clone(),
        key_id: id,
        epoch,
        statement,
        signature,
        root,
    })))
}

fn statement(record: &KeyRecord) -> Result<SignedKeyStatement, DecodeError> {
    let bytes = record.statement.bytes()?;
    let signature = record.statement.signature();
    let signature = signature.map_err(|_| DecodeError::Field("signature"))?;
    Ok(SignedKeyStatement { bytes, signature })
}
