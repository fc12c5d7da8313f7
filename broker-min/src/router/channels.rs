//! A mesh's channels: who may read them, by the logs as they are now, and which key is current.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use claudemesh_core::channel::{KeyStatement, SignedKeyStatement, audience};
use claudemesh_core::id::{ChannelName, Hash, KeyId, MeshId, PublicKey};
use claudemesh_core::membership::{ChannelLog, Log, Role, SignedEntry};
use claudemesh_core::wire::errors::code;

use super::bucket::Bucket;
use super::channel_log::{ChannelAppend, Pending};
use super::entry::{No, no};
use super::mesh::Mesh;
use crate::store::ChannelRow;

/// The key under which a channel's messages are sealed.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) id: KeyId,
    pub(super) statement: KeyStatement,
    /// Who got a copy, in ascending order.
    pub(super) audience: Arc<[PublicKey]>,
}

impl Current {
    /// A key whose statement was verified when it was taken.
    fn of(
        signed: &SignedKeyStatement,
        log: &Log,
        channel_log: Option<&ChannelLog>,
    ) -> Option<Self> {
        let statement = KeyStatement::parse(&signed.bytes).ok()?;
        let audience = statement.audience_at_heads(log, channel_log).ok()?;
        Some(Self {
            id: signed.key_id(),
            statement,
            audience: audience.into(),
        })
    }
}

/// By what a view was made: the heads of both logs, and the key.
type At = (Hash, Option<Hash>, Option<KeyId>);

/// What the logs say of a channel now.
#[derive(Debug, Clone)]
pub(super) struct View {
    at: At,
    /// Who may read it, in ascending order.
    pub(super) audience: Arc<[PublicKey]>,
    /// Everybody who got a copy of the current key is in the audience still.
    pub(super) fresh: bool,
    /// The audience is that of the current key.
    pub(super) unchanged: bool,
}

impl View {
    /// Whether somebody may read the channel.
    pub(super) fn has(&self, key: &PublicKey) -> bool {
        self.audience.binary_search(key).is_ok()
    }
}

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Its log as the store has it; none for `*` and `$state`.
    pub(super) log: Option<ChannelLog>,
    pub(super) entries: Vec<SignedEntry>,
    /// The entry that is being committed.
    pub(super) pending: Option<Box<Pending>>,
    /// Entries that wait for it.
    pub(super) appends: VecDeque<ChannelAppend>,
    pub(super) current: Option<Current>,
    view: Option<View>,
    pub(super) entry_buckets: HashMap<PublicKey, Bucket>,
    pub(super) epoch_buckets: HashMap<PublicKey, Bucket>,
}

impl Channel {
    /// What the logs say now. It is worked out anew only when a log or the key is another.
    pub(super) fn view(&mut self, name: &ChannelName, log: &Log) -> View {
        let at: At = (
            log.head().hash,
            self.log.as_ref().map(|log| log.head().hash),
            self.current.as_ref().map(|current| current.id),
        );
        if let Some(view) = self.view.as_ref().filter(|view| view.at == at) {
            return view.clone();
        }
        let now = audience(name, log, self.log.as_ref()).unwrap_or_default();
        let key = self.current.as_ref().map(|current| &*current.audience);
        let view = View {
            at,
            fresh: key.is_some_and(|key| includes(&now, key)),
            unchanged: key.is_some_and(|key| *key == *now),
            audience: now.into(),
        };
        self.view = Some(view.clone());
        view
    }
}

/// Whether all of `some` are among `all`; both ascend.
fn includes(all: &[PublicKey], some: &[PublicKey]) -> bool {
    let mut all = all.iter();
    some.iter().all(|key| all.any(|other| other == key))
}

/// Verifies a mesh's log and those of its channels, each entry of a channel as soon as the mesh's
/// log has the place that it stands on: what was good when it came is not judged by later removals.
/// None if something does not verify.
pub(super) fn replay(
    mesh: &MeshId,
    entries: &[SignedEntry],
    rows: Vec<ChannelRow>,
) -> Option<(Log, HashMap<ChannelName, Channel>)> {
    let (first, rest) = entries.split_first()?;
    if first.mesh_id() != *mesh {
        return None;
    }
    let mut log = Log::begin(first).ok()?;
    let mut logs: Vec<_> = rows.iter().map(|row| (row, None, 0)).collect();
    // Who stands on the place behind which row.
    let mut standing: HashMap<u64, Vec<usize>> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        for entry in &row.entries {
            let at = entry.decode_channel().ok()?.standing;
            standing.entry(at).or_default().push(place);
        }
    }
    for entry in std::iter::once(None).chain(rest.iter().map(Some)) {
        if let Some(entry) = entry {
            log.append(entry).ok()?;
        }
        for place in standing.remove(&log.head().seq).into_iter().flatten() {
            let (row, held, taken) = logs.get_mut(place)?;
            if held.is_none() {
                *held = ChannelLog::begin(&log, &row.channel).ok();
            }
            held.as_mut()?.append(row.entries.get(*taken)?, &log).ok()?;
            *taken += 1;
        }
    }
    if !standing.is_empty() {
        return None;
    }
    let mut channels = HashMap::new();
    for (row, held, _) in logs {
        let held = match held {
            None if row.channel.has_log() => Some(ChannelLog::begin(&log, &row.channel).ok()?),
            held => held,
        };
        let current = match &row.current {
            None => None,
            Some(signed) => Some(Current::of(signed, &log, held.as_ref())?),
        };
        let channel = Channel {
            log: held,
            entries: row.entries.clone(),
            current,
            ..Channel::default()
        };
        channels.insert(row.channel.clone(), channel);
    }
    Some((log, channels))
}

impl Mesh {
    /// A channel that the store's log of the mesh knows, or one that is always there.
    pub(super) fn channel(&mut self, name: &ChannelName) -> Result<(&mut Channel, &Log), No> {
        let head = self.head().seq;
        if name.has_log() {
            let made = self.log.roster().channel(name);
            if made.is_none_or(|made| made.seq > head) {
                return Err(no(404, code::NOT_FOUND, "not_found: no such channel"));
            }
        }
        if !self.channels.contains_key(name) {
            let mut channel = Channel::default();
            if name.has_log() {
                let begun = ChannelLog::begin(&self.log, name);
                channel.log = Some(begun.map_err(|_| no(404, code::NOT_FOUND, "not_found"))?);
            }
            self.channels.insert(name.clone(), channel);
        }
        match self.channels.get_mut(name) {
            Some(channel) => Ok((channel, &self.log)),
            None => Err(no(404, code::NOT_FOUND, "not_found: no such channel")),
        }
    }

    /// Whether somebody may see who is in a channel: of a public one every verified member, of a
    /// private one those who are in it, the owner and admins.
    pub(super) fn may_see(&mut self, name: &ChannelName, key: &PublicKey) -> Result<(), No> {
        let (channel, log) = self.channel(name)?;
        let roster = log.roster();
        let verified = roster.member(key).is_some_and(|it| it.is_verified());
        let public = roster.channel(name).is_some_and(|it| it.public);
        let rules = matches!(roster.standing(key), Ok(Role::Owner | Role::Admin));
        if verified && (public || rules || channel.view(name, log).has(key)) {
            Ok(())
        } else {
            Err(no(403, code::FORBIDDEN, NOT_IN))
        }
    }

    /// Whether something of a channel is being committed or waits for that.
    pub(super) fn channels_busy(&self) -> bool {
        let mut all = self.channels.values();
        all.any(|channel| channel.pending.is_some() || !channel.appends.is_empty())
    }

    /// Makes a key the current one, once the store has it.
    pub(super) fn key_made(&mut self, name: &ChannelName, signed: &SignedKeyStatement) -> bool {
        let Ok((channel, log)) = self.channel(name) else {
            return false;
        };
        let current = Current::of(signed, log, channel.log.as_ref());
        let known = current.is_some();
        channel.current = current.or(channel.current.take());
        known
    }
}

/// Who is not in a channel is told no more.
pub(super) const NOT_IN: &str = "forbidden: only who is in this channel may do that";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_includes_another() {
        let keys = |bytes: &[u8]| -> Vec<PublicKey> {
            bytes.iter().map(|byte| PublicKey([*byte; 32])).collect()
        };
        for (all, some, is) in [
            (&[][..], &[][..], true),
            (&[1], &[], true),
            (&[], &[1], false),
            (&[1, 2, 3], &[1, 3], true),
            (&[1, 2, 3], &[1, 4], false),
            (&[1, 2, 3], &[0, 1], false),
        ] {
            assert_eq!(includes(&keys(all), &keys(some)), is, "{all:?} {some:?}");
        }
    }
}
