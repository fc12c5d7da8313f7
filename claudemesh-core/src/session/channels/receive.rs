//! Messages to channels on their way in: opened under the key that they name, or kept locked.

use super::history;
use crate::channel::{ExpectedInChannel, Missing, key_id_of, open_in_channel};
use crate::id::{ChannelName, KeyId, PublicKey};
use crate::message::{Opened, SealedText};
use crate::session::{LoadWork, Session};
use crate::store::{Kind, LockedRow, NewInbox, NewLocked, Query, Rows, StoreError};
use crate::wire::{Frame as _, Push};

/// Locked messages of one page from the store.
const PAGE: u32 = 256;

/// Why a message to a channel is not in the inbox.
#[derive(Debug)]
pub(in crate::session) enum Unopened {
    /// Its key is not here.
    Locked {
        channel: ChannelName,
        key_id: KeyId,
        why: Missing,
    },
    /// Its sender is not in the log as held, which may be behind.
    UnknownSender,
    /// It never will be.
    Rejected(PublicKey, String),
}

/// Whether the broker says that a message came by a channel. If it lies, the message does not open:
/// what is sealed for a channel names it inside, and so does what is sealed for one peer.
pub(in crate::session) fn is_to_channel(push: &Push) -> bool {
    let target = push.target.as_deref().unwrap_or_default();
    target.starts_with(['*', '@', '#'])
}

/// The key that a message to a channel names.
pub(in crate::session) fn key_of(push: &Push) -> Option<KeyId> {
    key_id_of(&SealedText {
        nonce: push.nonce.clone(),
        ciphertext: push.ciphertext.clone(),
    })
    .ok()
}

impl Session {
    /// Opens a message to a channel. `received_at` is when it came, unix ms.
    pub(in crate::session) fn open_channel_push(
        &mut self,
        push: &Push,
        received_at: u64,
    ) -> Result<NewInbox, Unopened> {
        let nobody = PublicKey([0; 32]);
        let rejected = |sender, why: String| Unopened::Rejected(sender, why);
        if push.mesh_id != self.config.mesh.as_str() {
            return Err(rejected(nobody, "made for another mesh".to_owned()));
        }
        let sealed = SealedText {
            nonce: push.nonce.clone(),
            ciphertext: push.ciphertext.clone(),
        };
        let key_id = key_id_of(&sealed).map_err(|e| rejected(nobody, e.to_string()))?;
        if self.has_no_log() {
            return self.open_room_push(push, key_id, received_at);
        }
        // Whose key it is its statement says. The frame only tells where to ask.
        let Some(channel) = self.channels.of_key.get(&key_id).cloned() else {
            let claimed = push.target.as_deref().unwrap_or_default();
            let channel = ChannelName::new(claimed)
                .map_err(|_| rejected(nobody, "the frame names no channel".to_owned()))?;
            let why = match self.channels.get(&channel) {
                Some(held) => held.keys.key(&key_id).err(),
                None => None,
            };
            return Err(Unopened::Locked {
                why: why.unwrap_or(Missing::NotYetHere),
                channel,
                key_id,
            });
        };
        let opened = self.open_under(&channel, &key_id, push, &sealed, received_at)?;
        self.channel_row(&channel, &key_id, push, opened, received_at)
    }

    fn open_under(
        &self,
        channel: &ChannelName,
        key_id: &KeyId,
        push: &Push,
        sealed: &SealedText,
        now: u64,
    ) -> Result<Opened, Unopened> {
        let nobody = PublicKey([0; 32]);
        let missing = |why| match why {
            Missing::NotAMemberThen => {
                let why = "sealed when this peer was not in the channel";
                Unopened::Rejected(nobody, why.to_owned())
            }
            why => Unopened::Locked {
                channel: channel.clone(),
                key_id: *key_id,
                why,
            },
        };
        let held = self.channels.get(channel);
        let held = held.ok_or_else(|| missing(Missing::NotYetHere))?;
        let key = held.keys.key(key_id).map_err(missing)?;
        let expected = ExpectedInChannel {
            mesh: &self.config.mesh,
            channel,
            key_id,
            frame_id: push.client_message_id.as_deref(),
            now,
        };
        open_in_channel(expected, key, sealed)
            .map_err(|error| Unopened::Rejected(nobody, error.to_string()))
    }

    /// What was opened, if its sender may say it.
    fn channel_row(
        &mut self,
        channel: &ChannelName,
        key_id: &KeyId,
        push: &Push,
        opened: Opened,
        received_at: u64,
    ) -> Result<NewInbox, Unopened> {
        let sender = opened.sender;
        let rejected = |why: &str| Unopened::Rejected(sender, why.to_owned());
        let Some(log) = self.log.held() else {
            return Err(rejected("this mesh has no membership log"));
        };
        let roster = log.roster();
        let Some(member) = roster.member_or_former(&sender) else {
            return Err(if self.log.may_be_behind() {
                Unopened::UnknownSender
            } else {
                rejected("the sender is not in the membership log")
            });
        };
        if member.removed_at.is_some() {
            return Err(rejected("sender_removed"));
        }
        let held = self.channels.get(channel);
        let reader = held.is_some_and(|held| {
            let statement = held.keys.statement(key_id);
            statement.is_some_and(|s| s.has_reader(&sender, log, held.log.as_ref()))
        });
        if !reader {
            return Err(rejected("the sender is not in the channel"));
        }
        let name = roster.shown_name(member);
        let head = opened.head;
        let mut row = self.row(push, &opened, Some(name), true);
        row.kind = Kind::Channel;
        row.channel = Some(channel.clone());
        row.received_at = received_at;
        if let Some(head) = head {
            self.head_claimed(sender, head);
        }
        Ok(row)
    }

    /// Of which channel a message is, as far as is known before it is opened.
    pub(in crate::session) fn channel_of(&self, push: &Push) -> Option<ChannelName> {
        let known = key_of(push).and_then(|id| self.channels.of_key.get(&id).cloned());
        known.or_else(|| ChannelName::new(push.target.as_deref()?).ok())
    }

    /// Whether messages of this channel have to wait: there may be earlier ones whose key is asked
    /// for just now, that are about to be opened, or of which the store has not told yet.
    pub(in crate::session) fn waits_its_turn(&self, name: &ChannelName) -> bool {
        self.channels.looking > 0
            || self.awaits_keys(name)
            || self
                .channels
                .get(name)
                .is_some_and(|held| held.locking + held.unlocking > 0 || !held.unlocks.is_empty())
    }

    fn awaits_keys(&self, name: &ChannelName) -> bool {
        self.channels.get(name).is_some_and(|held| {
            let logs = held.busy || held.log_wanted || self.log.is_syncing();
            let missing = !held.missing.is_empty() && !held.lacks_keys();
            held.fetching || missing || (logs && !held.later.is_empty())
        })
    }

    /// A message of this channel is about to be locked in the store, or is there now.
    pub(in crate::session) fn locks(&mut self, name: &ChannelName, more: bool) {
        if let Some(channel) = self.open_channel(name) {
            channel.locking = if more {
                channel.locking + 1
            } else {
                channel.locking.saturating_sub(1)
            };
        }
    }

    /// A key has come: what waited for it is opened, after what was sealed under earlier ones.
    pub(in crate::session) fn queue_unlock(&mut self, key_id: KeyId) {
        if self.has_no_log() {
            return self.unlock_room(key_id);
        }
        let Some(name) = self.channels.of_key.get(&key_id).cloned() else {
            return;
        };
        let Some(channel) = self.channels.held.get_mut(&name) else {
            return;
        };
        if channel.keys.root(&key_id).is_some()
            && let Some(epoch) = channel.keys.statement(&key_id).map(|s| s.epoch)
        {
            channel.unlocks.insert((epoch, key_id));
        }
        self.flush_unlocks(&name);
    }

    pub(super) fn flush_unlocks(&mut self, name: &ChannelName) {
        if self.awaits_keys(name) {
            return;
        }
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        for (_, key_id) in std::mem::take(&mut channel.unlocks) {
            self.unlock(key_id);
        }
    }

    pub(in crate::session) fn unlock(&mut self, key_id: KeyId) {
        if self.has_no_log() {
            return self.unlock_room(key_id);
        }
        let Some(name) = self.channels.of_key.get(&key_id) else {
            return;
        };
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        if channel.keys.root(&key_id).is_none() {
            return;
        }
        channel.unlocking += 1;
        let query = Query::Locked {
            key_id: Some(key_id),
            limit: PAGE,
        };
        self.load(query, LoadWork::Locked(Some(key_id)));
    }

    /// On a new connection: the keys of what is locked are asked for.
    pub(in crate::session) fn ask_for_locked(&mut self) {
        let query = Query::Locked {
            key_id: None,
            limit: 10_000,
        };
        self.channels.looking += 1;
        self.load(query, LoadWork::Locked(None));
    }

    pub(in crate::session) fn locked_rows(
        &mut self,
        key_id: Option<KeyId>,
        result: Result<Rows, StoreError>,
    ) {
        if key_id.is_none() {
            self.channels.looking = self.channels.looking.saturating_sub(1);
        }
        let name = key_id.and_then(|id| self.channels.of_key.get(&id).cloned());
        if let Some(channel) = name.and_then(|name| self.channels.held.get_mut(&name)) {
            channel.unlocking = channel.unlocking.saturating_sub(1);
        }
        let rows = match result {
            Ok(Rows::Locked(rows)) => rows,
            Ok(_) => return,
            Err(error) => return self.event(crate::session::Event::StoreFailed(error)),
        };
        if key_id.is_none() {
            for LockedRow { message, .. } in rows {
                let held = self.channels.of_key.get(&message.key_id);
                let held = held.and_then(|name| self.channels.get(name));
                if held.is_some_and(|held| held.keys.root(&message.key_id).is_some()) {
                    self.queue_unlock(message.key_id);
                } else {
                    self.want_key(&message.channel, message.key_id);
                }
            }
            return;
        }
        let full = rows.len() >= PAGE as usize;
        let mut moved = false;
        for row in rows {
            moved |= self.unlock_row(row);
        }
        if let (true, true, Some(key_id)) = (full, moved, key_id) {
            // The next page is asked for after these are out.
            self.inbox_unlock_next(key_id);
        }
    }

    /// Opens what was locked and moves it into the inbox; false if it stays locked.
    fn unlock_row(&mut self, row: LockedRow) -> bool {
        let LockedRow { place, message } = row;
        let NewLocked {
            frame, received_at, ..
        } = message;
        let Ok(push) = Push::decode(&frame) else {
            self.drop_locked(place);
            return true;
        };
        match self.open_channel_push(&push, received_at) {
            Ok(row) => self.take_unlocked(row, &push, place, frame.len()),
            Err(Unopened::Rejected(sender, reason)) => {
                let row = self.rejected(&push, sender, &reason);
                self.take_unlocked(row, &push, place, frame.len());
            }
            Err(Unopened::UnknownSender | Unopened::Locked { .. }) => return false,
        }
        true
    }

    /// As [`Self::open_channel_push`], for history: with the reason in words.
    pub(super) fn open_said(&mut self, push: &Push) -> Result<NewInbox, String> {
        match self.open_channel_push(push, self.now.wall) {
            Ok(row) => Ok(row),
            Err(Unopened::Rejected(_, why)) => Err(why),
            Err(Unopened::UnknownSender) => Err("its sender is not known yet".to_owned()),
            Err(Unopened::Locked { why, .. }) => Err(history::in_words(why)),
        }
    }
}
