//! Whose messages are wanted: rules, and what waits for the owner's answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Peer, PeerError, Sender, SessionError};
use crate::id::{MessageId, PublicKey};
use crate::message::sender_session;
use crate::store::{InboxRow, KeptRule, Outcome, PeerOp, Query, Rows, Rule, Who};

/// A message that waits for the owner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageRequest {
    /// The message's id, unique per sender.
    pub id: MessageId,
    /// Who sent it.
    pub from: Sender,
    /// What was said.
    pub body: Vec<u8>,
    /// MIME type of the body.
    pub content_type: String,
    /// By this machine's clock.
    pub received_at: SystemTime,
    seq: u64,
}

impl MessageRequest {
    fn of(row: InboxRow) -> Self {
        let message = row.message;
        Self {
            id: message.id,
            from: Sender {
                key: message.sender,
                name: message.sender_name,
                verified: message.verified,
                session: sender_session(&message.attributes)
                    .filter(|_| message.delivery.dedupe.starts_with("id:")),
            },
            body: message.body,
            content_type: message.content_type,
            received_at: UNIX_EPOCH + Duration::from_millis(message.received_at),
            seq: row.seq,
        }
    }

    /// What was said, as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Peer {
    /// The rules that were set for single peers, for verified members and for everybody else.
    /// Where none is, messages are allowed. They are this member's on this store, and count for
    /// every process on it from the next message on.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn rules(&self) -> Result<Vec<KeptRule>, PeerError> {
        match self.with_store(|store| store.read(&Query::Rules)).await? {
            Rows::Rules(rules) => Ok(rules),
            _ => Ok(Vec::new()),
        }
    }

    /// What becomes of the messages of this sender now.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn rule_for(&self, sender: &PublicKey) -> Result<Rule, PeerError> {
        let log = self.inner.shared.log();
        let roster = log.as_ref().map(|log| log.roster());
        let device_of = roster.and_then(|roster| roster.device_of(sender));
        let member = roster.and_then(|roster| roster.member(sender));
        let general = match member {
            Some(member) if member.is_verified() => Who::Verified,
            _ => Who::Unverified,
        };
        let rules = self.rules().await?;
        let wanted = [
            Some(Who::Peer(*sender)),
            device_of.map(Who::Peer),
            Some(general),
        ];
        let found = |who: Who| rules.iter().find(|kept| kept.who == who);
        let rule = wanted.into_iter().flatten().find_map(found);
        Ok(rule.map_or(Rule::Allow, |kept| kept.rule))
    }

    /// Sets a rule, or takes it back. What waits for an answer already goes on waiting.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`]; [`PeerError::System`] if 10,000 are kept.
    pub async fn set_rule(&self, who: Who, rule: Option<Rule>) -> Result<(), PeerError> {
        let op = PeerOp::SetRule { who, rule };
        let outcomes = self.with_store(move |store| store.apply(&[op])).await?;
        let full = rule.is_some() && outcomes.first() == Some(&Outcome::NotThere);
        if full {
            let why = "10,000 rules are kept already; take some back";
            return Err(PeerError::System(why.to_owned()));
        }
        Ok(())
    }

    /// The messages that wait for the owner's answer, oldest first, 1,000 at most; after 31 days
    /// they are dropped.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn requests(&self) -> Result<Vec<MessageRequest>, PeerError> {
        let query = Query::Held { limit: 1_000 };
        match self.with_store(move |store| store.read(&query)).await? {
            Rows::Inbox(rows) => Ok(rows.into_iter().map(MessageRequest::of).collect()),
            _ => Ok(Vec::new()),
        }
    }

    /// Answers about a message: it becomes unread now, or it is refused, of which the sender is not
    /// told. False if it did not wait any more.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn answer_request(
        &self,
        request: &MessageRequest,
        accept: bool,
    ) -> Result<bool, PeerError> {
        let op = PeerOp::Answer {
            seq: request.seq,
            accept,
        };
        let outcomes = self.with_store(move |store| store.apply(&[op])).await?;
        self.inner.shared.inbox_changed();
        match outcomes.first() {
            Some(Outcome::Row(_) | Outcome::Done) => Ok(true),
            Some(_) => Ok(false),
            None => Err(SessionError::Timeout.into()),
        }
    }
}
