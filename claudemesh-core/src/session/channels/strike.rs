//! What a peer does for channels by itself: striking off whom it removed, and keeping the key of
//! `$state` with those who are members now.

use super::ChannelAppend;
use crate::id::{ChannelName, PublicKey};
use crate::membership::{ChannelBody, Entry, Role};
use crate::session::Session;

/// Within so many milliseconds of a change one of those who are online renews the key of `$state`.
const STATE_WITHIN_MS: u64 = 5_000;

impl Session {
    /// An own entry is in the mesh's log: who is out by it is out of its channels, too.
    pub(in crate::session) fn strike_off_by(&mut self, entry: &Entry) {
        let Some(roster) = self.log.roster() else {
            return;
        };
        let gone: Vec<PublicKey> = roster
            .members_and_former()
            .filter(|member| member.removed_seq == Some(entry.seq) && member.device_of.is_none())
            .map(|member| member.key)
            .collect();
        if !gone.is_empty() && self.link.has_channels() {
            self.strike_off(&gone);
        }
    }

    /// This peer removed somebody from the mesh: it takes them off the lists of channels, too, so
    /// that nothing they could still sign follows, and makes the next keys.
    fn strike_off(&mut self, gone: &[PublicKey]) {
        let Some(roster) = self.log.roster() else {
            return;
        };
        let me = self.config.key.public();
        let manages = matches!(roster.standing(&me), Ok(Role::Owner | Role::Admin));
        let mut names: Vec<ChannelName> = roster
            .channels()
            .filter(|channel| {
                channel.public || manages || self.channels.get(&channel.name).is_some()
            })
            .map(|channel| channel.name.clone())
            .collect();
        names.push(ChannelName::everyone());
        for name in names {
            let Some(channel) = self.open_channel(&name) else {
                continue;
            };
            if name.has_log() {
                channel.strikes.extend(gone.iter().copied());
                channel.log_wanted = true;
            } else if channel.keys.newest_key().is_some() {
                channel.wanted = true;
            }
            self.drive_channel(&name);
        }
    }

    /// The log of a channel is here: who is to be struck off and stands there is.
    pub(super) fn strike_next(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        let Some(log) = &channel.log else {
            return channel.strikes.clear();
        };
        let listed: Vec<PublicKey> = (std::mem::take(&mut channel.strikes).into_iter())
            .filter(|key| log.lead(key).is_some())
            .collect();
        if listed.is_empty() {
            return;
        }
        // Whoever holds the key now is to make the next one; who is not in cannot.
        let roster = self.log.roster();
        let me = self.config.key.public();
        channel.wanted |= roster.is_some_and(|r| log.was_in(r, &me, u64::MAX));
        for key in listed {
            channel.appends.push_back(ChannelAppend {
                command: None,
                body: ChannelBody::Left { key },
                tries: 0,
                sent: None,
            });
        }
    }

    /// Members came or went: one of those who are online renews the key of `$state`, so that who
    /// came can read what is there, and who went nothing new.
    pub(in crate::session) fn state_audience_changed(&mut self) {
        let watches = self.config.presence && self.link.is_ready() && self.link.has_channels();
        if watches && self.channels.state_at.is_none() {
            let within = self.rng.below(STATE_WITHIN_MS);
            self.channels.state_at = Some(self.now.mono + within);
        }
    }

    /// On a new connection: whoever stays online holds the key of `$state`, so that it can renew it.
    pub(in crate::session) fn watch_state(&mut self) {
        if self.config.presence && self.link.has_values() {
            self.want_newest(&ChannelName::state());
        }
    }

    /// The newest key of `$state` is known: it may have been made for other members.
    pub(super) fn state_key_shown(&mut self) {
        let state = ChannelName::state();
        let held = self.channels.get(&state);
        let holds = held.is_some_and(|held| held.keys.current().is_some());
        if holds && self.good_key(&state).is_none() {
            self.state_audience_changed();
        }
    }

    pub(super) fn look_after_state(&mut self) {
        let state = ChannelName::state();
        let held = self.channels.get(&state);
        let holds = held.is_some_and(|held| held.keys.current().is_some());
        // Somebody else may have been faster; who has no key does not make one unasked.
        if holds && self.good_key(&state).is_none() {
            self.want_channel(&state);
        }
    }
}
