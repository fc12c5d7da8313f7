//! What was said in a topic before.

use crate::channel::Missing;
use crate::id::{ChannelName, KeyId};
use crate::session::requests::Asked as Question;
use crate::session::types::Said;
use crate::session::{CommandId, Reply, Session, SessionError};
use crate::wire::{HistoryGet, HistoryPage, MAX_HISTORY_PAGE};

/// Why nothing said before is shown where there is no log.
const NO_HISTORY: &str = "its broker keeps no history of what is sealed for channels; what came while \
    this peer was there is in its own store";

/// A page that waits for its keys.
pub(super) struct Asked {
    pub(super) command: CommandId,
    page: HistoryPage,
}

/// Why a message cannot be opened.
pub(in crate::session) fn in_words(why: Missing) -> String {
    match why {
        Missing::NotAMemberThen => "sealed when you were not in the channel".to_owned(),
        Missing::Withheld { author } => {
            format!("{} gave you no good copy of the key", author.short())
        }
        Missing::NotYetHere => "its key is not here yet".to_owned(),
        Missing::Untrusted { author } => {
            format!(
                "{} is not trusted here, so no key of it is used",
                author.short()
            )
        }
        Missing::LogBehind => "its key needs more of a log than the broker has shown".to_owned(),
    }
}

impl Session {
    pub(in crate::session) fn history(
        &mut self,
        command: CommandId,
        channel: &ChannelName,
        before: Option<String>,
        limit: u32,
    ) {
        if !self.link.is_ready() {
            let why = "history is kept by the broker".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        if self.is_existing() {
            return self.done(command, Err(SessionError::NoLog(NO_HISTORY)));
        }
        if let Some(refused) = self.channel_refused(channel) {
            return self.done(command, Err(refused));
        }
        let req_id = Some(self.ask(Question::History(command, channel.clone())));
        self.transmit(HistoryGet {
            channel: channel.as_str().to_owned(),
            before,
            limit: Some(limit.clamp(1, MAX_HISTORY_PAGE)),
            req_id,
        });
    }

    pub(in crate::session) fn history_page(&mut self, page: HistoryPage) {
        let asked = self.requests.take(page.req_id.as_deref());
        let Some(Question::History(command, name)) = asked else {
            return;
        };
        let keys: Vec<KeyId> = (page.messages.iter())
            .filter_map(super::receive::key_of)
            .collect();
        let Some(channel) = self.open_channel(&name) else {
            return self.done(command, Err(SessionError::Contention));
        };
        channel.histories.push(Asked { command, page });
        for key in keys {
            self.want_key(&name, key);
        }
        self.finish_histories(&name);
    }

    /// Answers for the pages of which no key is under way any more.
    pub(super) fn finish_histories(&mut self, name: &ChannelName) {
        let Some(channel) = self.channels.held.get_mut(name) else {
            return;
        };
        // A key that came may need a log, which is fetched now.
        let waits = channel.busy || !channel.missing.is_empty() || channel.log_wanted;
        if waits && channel.pause.is_none() {
            return;
        }
        for Asked { command, page } in std::mem::take(&mut channel.histories) {
            let more = page.more;
            let mut messages = Vec::with_capacity(page.messages.len());
            for push in page.messages {
                messages.push(Said {
                    message: self.open_said(&push).map(Box::new),
                    broker_id: push.message_id,
                });
            }
            self.done(command, Ok(Reply::History { messages, more }));
        }
    }
}
