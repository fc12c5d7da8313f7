//! Channels in the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use claudemesh_core::channel::SignedKeyStatement;
use claudemesh_core::id::{KeyId, MeshId, PublicKey};
use claudemesh_core::membership::SignedEntry;

use super::{State, forget};
use crate::store::channels::{COPIES_MS, HISTORY_MS, HISTORY_ROWS};
use crate::store::rows::NOTICE_MS;
use crate::store::{
    Accept, ChannelOp, ChannelQuery, ChannelRow, HistoryRow, HistoryRows, KeyCopy, KeyRow, Many,
    Outcome, Rows, is_topic,
};

#[derive(Debug, Clone, Default)]
pub(super) struct Channel {
    entries: Vec<SignedEntry>,
    keys: Vec<Key>,
    history: BTreeMap<u64, HistoryRow>,
}

#[derive(Debug, Clone)]
struct Key {
    id: KeyId,
    statement: SignedKeyStatement,
    copies: Arc<[KeyCopy]>,
    replaced_at: Option<u64>,
}

/// A message to a channel of which some delivery failed.
#[derive(Debug, Clone)]
pub(super) struct Fanout {
    pub(super) of: u32,
    pub(super) failed: u32,
    at: u64,
}

impl State {
    pub(super) fn channel(&mut self, op: &ChannelOp) -> Outcome {
        match op {
            ChannelOp::Append {
                mesh,
                channel,
                seq,
                entry,
            } => {
                if !self.meshes.contains_key(mesh) {
                    return Outcome::NotThere;
                }
                let key = (mesh.clone(), channel.clone());
                let head = self.channels.get(&key).map_or(0, |it| it.entries.len());
                if *seq != head as u64 + 1 {
                    return Outcome::Conflict { head: head as u64 };
                }
                let channel = self.channels.entry(key).or_default();
                channel.entries.push(entry.clone());
                Outcome::Done
            }
            ChannelOp::PutKey {
                mesh,
                channel,
                after,
                statement,
                copies,
                now,
                ..
            } => {
                if !self.meshes.contains_key(mesh) {
                    return Outcome::NotThere;
                }
                let id = statement.key_id();
                let held = self.channels.entry((mesh.clone(), channel.clone()));
                let held = held.or_default();
                let current = held.keys.last().map(|key| key.id);
                if current != *after || held.keys.iter().any(|key| key.id == id) {
                    return Outcome::KeyConflict { current };
                }
                if let Some(last) = held.keys.last_mut() {
                    last.replaced_at = Some(*now);
                }
                held.keys.push(Key {
                    id,
                    statement: statement.clone(),
                    copies: Arc::clone(copies),
                    replaced_at: None,
                });
                Outcome::Done
            }
        }
    }

    /// Notes what was said in a topic.
    pub(super) fn say(&mut self, accept: &Accept, seq: u64) {
        let Some(topic) = accept.channel.as_ref().filter(|it| is_topic(it)) else {
            return;
        };
        let key = (accept.mesh.clone(), topic.clone());
        let history = &mut self.channels.entry(key).or_default().history;
        history.insert(
            seq,
            HistoryRow {
                seq,
                sender: accept.sender,
                tail: accept.tail.clone(),
                at: accept.now,
            },
        );
        if history.len() as u64 > HISTORY_ROWS {
            history.pop_first();
        }
    }

    /// Counts a failure of a message to a channel.
    pub(super) fn failed_one(&mut self, seq: u64, now: u64) {
        let Some(of) = self.messages.get(&seq).and_then(|it| it.of_many) else {
            return;
        };
        let fanout = self.fanouts.entry(seq).or_insert(Fanout {
            of,
            failed: 0,
            at: now,
        });
        fanout.failed += 1;
        fanout.at = now;
    }

    pub(super) fn many(&self, seq: u64, of: u32, left: u32) -> Many {
        let failed = self.fanouts.get(&seq).map_or(0, |it| it.failed);
        let all = self.notices.range((seq, PublicKey([0; 32]))..);
        let of_seq = all.take_while(|((of, _), _)| *of == seq).map(|(_, it)| it);
        let first = of_seq.min_by_key(|it| (it.at, &it.reason));
        Many {
            of,
            failed,
            left,
            reason: first.filter(|_| left == 0).map(|it| it.reason.clone()),
        }
    }

    pub(super) fn prune_channels(&mut self, now: u64, limit: usize) {
        let mut left = limit;
        for channel in self.channels.values_mut() {
            let before = now.saturating_sub(HISTORY_MS);
            let rows = channel.history.len();
            forget(&mut channel.history, left, |row| row.at < before);
            left -= rows - channel.history.len();
        }
        forget(&mut self.fanouts, limit, |it| {
            it.at < now.saturating_sub(NOTICE_MS)
        });
        let before = now.saturating_sub(COPIES_MS);
        let mut keys = self
            .channels
            .iter_mut()
            .filter(|((_, name), _)| name.as_str() != "$state")
            .flat_map(|(_, channel)| &mut channel.keys);
        let old = |key: &&mut Key| key.replaced_at.is_some_and(|at| at < before);
        if let Some(key) = keys.find(old) {
            key.copies = Arc::from([]);
            key.replaced_at = None;
        }
    }

    pub(super) fn channels_of(&self, mesh: &MeshId) -> Vec<ChannelRow> {
        let all = self.channels.iter().filter(|((of, _), _)| of == mesh);
        all.filter(|(_, it)| !it.entries.is_empty() || !it.keys.is_empty())
            .map(|((_, name), it)| ChannelRow {
                channel: name.clone(),
                entries: it.entries.clone(),
                current: it.keys.last().map(|key| key.statement.clone()),
            })
            .collect()
    }

    pub(super) fn channel_rows(&self, query: &ChannelQuery) -> Rows {
        match query {
            ChannelQuery::Keys {
                mesh,
                channel,
                ids,
                member,
            } => {
                let held = self.channels.get(&(mesh.clone(), channel.clone()));
                let find = |id: &KeyId| held?.keys.iter().find(|key| key.id == *id);
                let rows = ids.iter().filter_map(find).map(|key| {
                    let copy = key.copies.iter().find(|(of, _)| of == member);
                    KeyRow {
                        statement: key.statement.clone(),
                        copy: copy.map(|(_, copy)| *copy),
                    }
                });
                Rows::Keys(rows.collect())
            }
            ChannelQuery::History {
                mesh,
                channel,
                before,
                limit,
                bytes,
            } => {
                let held = self.channels.get(&(mesh.clone(), channel.clone()));
                let all = held.into_iter().flat_map(|it| it.history.range(..before));
                let mut page = HistoryRows::default();
                let mut size = 0;
                for (_, row) in all.rev() {
                    size += row.tail.len() as u64;
                    let full = page.rows.len() as u64 >= u64::from(*limit);
                    if full || (size > *bytes && !page.rows.is_empty()) {
                        page.more = true;
                        break;
                    }
                    page.rows.push(row.clone());
                }
                Rows::History(page)
            }
        }
    }
}
