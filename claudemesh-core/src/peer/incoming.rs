//! Reading the inbox: one message at a time, taken when it is dealt with.

use std::fs::File;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::Stream;
use tokio::sync::watch;

use super::shared::{Connection, Reading};
use super::store_thread::Watch;
use super::{Peer, PeerError, Receipt, SendError};
use crate::id::{ChannelName, MessageId, Name, Priority, PublicKey};
use crate::message::{SenderSession, expects_reply, hops, sender_session};
use crate::replies::Question;
use crate::session::{Command, LEGACY_KEY_CHANGED, LEGACY_PLAINTEXT};
use crate::store::{InboxRow, Kind, PeerOp, Query, ReaderName, Rows, StoreError};

/// The pause after the store failed.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sender {
    /// The member's key.
    pub key: PublicKey,
    /// The member's name at the time of receipt.
    pub name: Option<Name>,
    /// Whether its signature held and it is a verified member. Where this is false, the sender is
    /// only who the broker says it is.
    pub verified: bool,
    /// The session by which the member said it, in its own signed words; none if it names none. An
    /// answer to this message goes there.
    pub session: Option<SenderSession>,
}

impl Sender {
    /// How the sender is shown: `member/session` where it names a session, with the beginning of the
    /// key where it has no name.
    pub fn shown(&self) -> String {
        let name = match &self.name {
            Some(name) => name.as_str().to_owned(),
            None => self.key.short(),
        };
        match &self.session {
            Some(session) => format!("{name}/{}", session.name),
            None => name,
        }
    }
}

/// A message that was received.
#[derive(Clone)]
#[non_exhaustive]
pub struct Received {
    /// The message's id, unique per sender.
    pub id: MessageId,
    /// Who sent it.
    pub from: Sender,
    /// What it is.
    pub kind: Kind,
    /// The channel it was said in; none for a message to this peer alone.
    pub channel: Option<ChannelName>,
    /// What was said.
    pub body: Vec<u8>,
    /// MIME type of the body; `text/plain` for text.
    pub content_type: String,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// `name=value` texts.
    pub attributes: Vec<String>,
    /// How urgent.
    pub priority: Priority,
    /// By the sender's clock.
    pub sent_at: std::time::SystemTime,
    /// By this machine's clock.
    pub received_at: std::time::SystemTime,
    /// Whether it came in the form that its sender signs. Where this is false it was bare text, of
    /// a member without a log entry, or plain text ([`Received::is_plaintext`]): who said it, and
    /// when, is the broker's word.
    pub protected: bool,
    /// It was shown before and not taken: a crash lay in between.
    pub again: bool,
    /// A rule says that it wakes nobody: see [`Rule::Mute`](crate::store::Rule::Mute).
    pub muted: bool,
    /// The session that it is for; none if it is for the member or a channel.
    pub to_session: Option<PublicKey>,
    pub(super) seq: u64,
    pub(super) broker_id: String,
    reader: ReaderName,
    peer: Peer,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What was said stays out of logs.
        f.debug_struct("Received")
            .field("id", &self.id)
            .field("from", &self.from)
            .field("bytes", &self.body.len())
            .field("again", &self.again)
            .finish_non_exhaustive()
    }
}

impl Received {
    pub(super) fn new(row: InboxRow, reader: ReaderName, peer: Peer) -> Self {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let message = row.message;
        let protected = message.is_protected();
        // Where nobody signed it, a session is somebody's claim.
        let session = sender_session(&message.attributes).filter(|_| protected);
        Self {
            protected,
            muted: row.muted,
            to_session: message.to,
            id: message.id,
            from: Sender {
                key: message.sender,
                name: message.sender_name,
                verified: message.verified,
                session,
            },
            kind: message.kind,
            channel: message.channel,
            body: message.body,
            content_type: message.content_type,
            reply_to: message.reply_to,
            attributes: message.attributes,
            priority: message.priority,
            sent_at: at(message.sent_at),
            received_at: at(message.received_at),
            again: row.again,
            seq: row.seq,
            broker_id: message.delivery.broker_id,
            reader,
            peer,
        }
    }

    /// What was said, as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it came in plain, to many, as clients of the existing system send: the broker, and
    /// whoever it shows it to, could read it, and could have written it. Only in meshes without a
    /// membership log. Who it was for is not known: an answer goes to the sender.
    pub fn is_plaintext(&self) -> bool {
        !self.protected && self.has_attribute(LEGACY_PLAINTEXT)
    }

    /// Whether it came under a name that is known with another key
    /// ([`Lie::KeyChanged`](crate::session::Lie::KeyChanged)). Only in meshes without a membership
    /// log.
    pub fn is_key_changed(&self) -> bool {
        !self.from.verified && self.has_attribute(LEGACY_KEY_CHANGED)
    }

    fn has_attribute(&self, wanted: &str) -> bool {
        self.attributes.iter().any(|text| text == wanted)
    }

    /// Says that this message is dealt with: it is not shown to this reader again. Asking for the
    /// next message says the same.
    ///
    /// Once the future was polled the message is taken even if the future is dropped.
    ///
    /// # Errors
    /// [`PeerError`] if the store did not keep it: then the message is shown again.
    pub async fn taken(&self) -> Result<(), PeerError> {
        take(&self.peer, &self.reader, &[self]).await
    }

    /// How many automatic answers led to this message, 0 to 15, in its sender's signed words.
    pub fn hops(&self) -> u8 {
        hops(&self.attributes)
    }

    /// Whether its sender may wait for an answer.
    pub fn expects_reply(&self) -> bool {
        expects_reply(&self.attributes)
    }

    /// What a [`ReplyGuard`](crate::replies::ReplyGuard) is asked about this message.
    pub fn question(&self) -> Question {
        Question {
            from: self.from.key,
            hops: self.hops(),
            expects_reply: self.expects_reply(),
        }
    }

    /// To whom an answer goes that is for its sender alone: the session that said it, if where that
    /// is reached is known, else its member.
    async fn sender_target(&self) -> PublicKey {
        let Some(session) = &self.from.session else {
            return self.from.key;
        };
        match self.peer.resolve_session(&session.key.to_hex()).await {
            Ok(found) if found.member == self.from.key => found.key,
            _ => self.from.key,
        }
    }

    /// Answers by a program, where it was said: counts the hop, and says so in the answer. Ask a
    /// [`ReplyGuard`](crate::replies::ReplyGuard) before; `hops` is what it gave.
    ///
    /// Dropping the future: as [`Peer::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply_automatically(
        &self,
        text: impl Into<String>,
        hops: u8,
    ) -> Result<Receipt, SendError> {
        let outgoing = super::Outgoing::text(text).reply_to(self.id.clone());
        self.reply_with(outgoing.hops(hops)).await
    }

    /// Answers with everything that can be said about a message, where it was said: in the channel,
    /// or to the session or member that sent it.
    ///
    /// Dropping the future: as [`Peer::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply_with(&self, outgoing: super::Outgoing) -> Result<Receipt, SendError> {
        match &self.channel {
            Some(channel) => self.peer.send_message(channel.clone(), outgoing).await,
            None => {
                let to = self.sender_target().await;
                self.peer.send_message(to, outgoing).await
            }
        }
    }

    /// Answers where it was said: in the channel, or to the sender. The answer names this message.
    /// Where the sender named its session, the answer is for that session.
    ///
    /// Dropping the future: as [`Peer::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply(&self, text: impl Into<String>) -> Result<Receipt, SendError> {
        let outgoing = super::Outgoing::text(text).reply_to(self.id.clone());
        self.reply_with(outgoing).await
    }

    /// Answers the sender alone, also if it was said in a channel. The answer names this message.
    ///
    /// Dropping the future: as [`Peer::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply_directly(&self, text: impl Into<String>) -> Result<Receipt, SendError> {
        let outgoing = super::Outgoing::text(text).reply_to(self.id.clone());
        let to = self.sender_target().await;
        self.peer.send_message(to, outgoing).await
    }
}

/// Marks messages as taken by a reader.
pub(super) async fn take(
    peer: &Peer,
    reader: &ReaderName,
    messages: &[&Received],
) -> Result<(), PeerError> {
    let ops: Vec<PeerOp> = (messages.iter())
        .map(|m| PeerOp::Take {
            reader: reader.clone(),
            class: m.priority,
            seq: m.seq,
        })
        .collect();
    let shared = peer.shared();
    shared
        .store
        .with(move |store| store.apply(&ops))
        .await
        .map_err(|_| PeerError::Closed)??;
    if !peer.is_durable() {
        let ids = messages.iter().map(|m| m.broker_id.clone()).collect();
        peer.command(Command::Taken(ids)).await?;
    }
    Ok(())
}

/// The messages for this peer, as a stream that goes on over reconnects.
///
/// Asking for the next message takes the last one. After a crash, what was not taken is shown
/// again, marked [`Received::again`], with the same id. It ends when the peer is closed or was
/// removed from the mesh. Dropping it loses nothing.
pub struct Incoming {
    state: State,
    _watch: Watch,
    _lock: Option<File>,
    _reading: Reading,
}

enum State {
    Idle(Box<Cursor>),
    Busy(Work),
    Ended,
}

type Work = Pin<Box<dyn Future<Output = (Box<Cursor>, Option<Received>)> + Send>>;

struct Cursor {
    peer: Peer,
    reader: ReaderName,
    shown: Option<Received>,
    inbox: watch::Receiver<u64>,
    ended: watch::Receiver<Connection>,
}

impl Incoming {
    pub(super) fn new(
        peer: Peer,
        reader: ReaderName,
        lock: Option<File>,
        reading: Reading,
    ) -> Self {
        let shared = peer.shared();
        let watch = shared.store.watch();
        let (inbox, ended) = (shared.inbox(), shared.connection());
        let cursor = Cursor {
            peer,
            reader,
            shown: None,
            inbox,
            ended,
        };
        let state = State::Idle(Box::new(cursor));
        Self {
            state,
            _watch: watch,
            _lock: lock,
            _reading: reading,
        }
    }

    /// The next message; takes the last one. None when the peer is closed.
    ///
    /// Dropping the future loses nothing: the next call goes on where this one was.
    pub async fn next(&mut self) -> Option<Received> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Incoming {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Idle(cursor) => self.state = State::Busy(Box::pin(cursor.advance())),
                State::Busy(mut work) => match work.as_mut().poll(context) {
                    Poll::Pending => {
                        self.state = State::Busy(work);
                        return Poll::Pending;
                    }
                    Poll::Ready((cursor, Some(message))) => {
                        self.state = State::Idle(cursor);
                        return Poll::Ready(Some(message));
                    }
                    Poll::Ready((_, None)) => return Poll::Ready(None),
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Cursor {
    async fn advance(mut self: Box<Self>) -> (Box<Self>, Option<Received>) {
        let ended = |c: &Connection| c.is_ended();
        loop {
            self.inbox.mark_unchanged();
            let failed = match self.step().await {
                Ok(Some(message)) => {
                    self.shown = Some(message.clone());
                    return (self, Some(message));
                }
                Ok(None) => false,
                Err(PeerError::Closed) => return (self, None),
                Err(_) => true,
            };
            if ended(&self.ended.borrow()) {
                return (self, None);
            }
            if failed {
                // The store is asked again, and what was shown stays untaken.
                tokio::time::sleep(STORE_RETRY).await;
                continue;
            }
            let goes_on = tokio::select! {
                changed = self.inbox.changed() => changed.is_ok(),
                _ = self.ended.wait_for(ended) => false,
            };
            if !goes_on {
                return (self, None);
            }
        }
    }

    /// In one transaction: takes what was shown, and notes that the next one is shown.
    async fn step(&mut self) -> Result<Option<Received>, PeerError> {
        let (reader, shown) = (
            self.reader.clone(),
            self.shown.as_ref().map(|m| (m.priority, m.seq)),
        );
        let session = self.peer.session_key();
        let work = move |store: &mut dyn crate::store::PeerStore| {
            let mut shown = shown;
            let unread = |waking| Query::UnreadOf {
                reader: reader.clone(),
                session,
                waking,
                limit: 2,
            };
            let Rows::Inbox(rows) = store.read(&unread(false))? else {
                return Ok(None);
            };
            let mut next = rows
                .into_iter()
                .find(|row| shown != Some((row.message.priority, row.seq)));
            if next.as_ref().is_some_and(|row| row.muted) {
                // It is shown only with something behind it that wakes: the one that was shown
                // says nothing about that.
                if let Some((class, seq)) = shown.take() {
                    let reader = reader.clone();
                    store.apply(&[PeerOp::Take { reader, class, seq }])?;
                }
                next = match store.read(&unread(true))? {
                    Rows::Inbox(rows) => rows.into_iter().next(),
                    _ => None,
                };
            }
            let mut ops = Vec::new();
            if let Some((class, seq)) = shown {
                ops.push(PeerOp::Take {
                    reader: reader.clone(),
                    class,
                    seq,
                });
            }
            if let Some(row) = &next {
                let class = row.message.priority;
                ops.push(PeerOp::Offer {
                    reader: reader.clone(),
                    class,
                    seq: row.seq,
                });
            }
            if !ops.is_empty() {
                store.apply(&ops)?;
            }
            Ok::<_, StoreError>(next)
        };
        let shared = self.peer.shared();
        let next = shared
            .store
            .with(work)
            .await
            .map_err(|_| PeerError::Closed)??;
        if let Some(taken) = self.shown.take()
            && !self.peer.is_durable()
        {
            self.peer
                .command(Command::Taken(vec![taken.broker_id]))
                .await?;
        }
        Ok(next.map(|row| Received::new(row, self.reader.clone(), self.peer.clone())))
    }
}
