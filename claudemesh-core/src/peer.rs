//! The async handle of a peer.
//!
//! A [`Peer`] is one identity in one mesh. It is cheap to clone, may be used from any task, and
//! works on any tokio runtime, also a current-thread one. One task and one thread for the store
//! belong to it; both end with the last handle, the task also by [`Peer::close`]. Nothing is
//! global: many peers live in one process.

mod builder;
mod driver;
mod incoming;
mod info;
mod lanes;
mod receipt;
mod shared;
mod store_thread;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use builder::{ConnectError, PeerBuilder};
pub use incoming::{Incoming, Received, Sender};
pub use info::{MemberInfo, PeerInfo, ResolveError};
pub use receipt::{Accepted, Receipt, ReceiptError};

use crate::broker_url::BrokerUrl;
use crate::config::MeshEntry;
use crate::crypto::KeyPair;
use crate::id::{InviteId, MeshSlug, MessageId, Priority, PublicKey, Status};
use crate::identity::safety_number;
use crate::invite::{IssuedInvite, Offer};
use crate::membership::{Body, Invite, Log, Role};
use crate::message::TEXT;
use crate::session::{self, Command, Event, Reply, SessionError};
use crate::store::{
    InboxRow, OutboxRow, PeerOp, PeerStore, Query, ReaderName, ReaderStart, Rows, StoreError,
};
use driver::Request;
use shared::{Connection, Shared};

/// How long a question waits for the connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why something could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer was closed.
    #[error("this peer was closed")]
    Closed,
    /// There is no connection to the broker.
    #[error("not connected to the broker: {0}")]
    NotConnected(String),
    /// Somebody reads with this name already.
    #[error(
        "messages are being read already by this peer, or by another process with its session name"
    )]
    AlreadyReading,
    /// The session's answer.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Random bytes, a file or a lock could not be had.
    #[error("{0}")]
    System(String),
}

/// Why a message could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The recipient is not known, or not one.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Anything else.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// To whom: a member's key, or a name, key or unambiguous prefix of a key as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A member's key.
    Key(PublicKey),
    /// What a person wrote.
    Text(String),
}

impl From<PublicKey> for Recipient {
    fn from(key: PublicKey) -> Self {
        Self::Key(key)
    }
}

impl From<&str> for Recipient {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Recipient {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A message to be sent, with everything that can be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    body: Vec<u8>,
    content_type: String,
    priority: Priority,
    reply_to: Option<MessageId>,
    attributes: Vec<String>,
    expires_in: Option<Duration>,
}

impl Outgoing {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::bytes(text.into(), TEXT)
    }

    /// Bytes of a MIME type.
    pub fn bytes(body: impl Into<Vec<u8>>, content_type: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            content_type: content_type.into(),
            priority: Priority::default(),
            reply_to: None,
            attributes: Vec::new(),
            expires_in: None,
        }
    }

    /// How urgent; [`Priority::Next`] by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The message it answers.
    #[must_use]
    pub fn reply_to(mut self, id: MessageId) -> Self {
        self.reply_to = Some(id);
        self
    }

    /// For how long it waits for its recipient: 7 days by default, 30 days at most.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// A `name=value` text that travels inside the message, sealed.
    #[must_use]
    pub fn attribute(mut self, text: impl Into<String>) -> Self {
        self.attributes.push(text.into());
        self
    }
}

/// What an invite offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InviteOptions {
    /// What those who come by it become: [`Role::Member`] by default.
    pub role: Role,
    /// How often it may be used, 1 to 1,000: once by default.
    pub uses: u64,
    /// For how long it is good, 90 days at most: 7 days by default.
    pub expires_in: Duration,
}

impl Default for InviteOptions {
    fn default() -> Self {
        Self {
            role: Role::Member,
            uses: 1,
            expires_in: Duration::from_secs(7 * 86_400),
        }
    }
}

/// An invite that was just made.
pub struct NewInvite {
    /// Its id, by which it is closed.
    pub id: InviteId,
    /// Unix ms.
    pub expires_at: u64,
    /// Its token and secret.
    pub issued: IssuedInvite,
}

/// One identity in one mesh. See the module's text.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    mesh: MeshEntry,
    broker: BrokerUrl,
    key: Arc<KeyPair>,
    reader: ReaderName,
    resume: bool,
    lanes: Option<lanes::Lanes>,
    durable: bool,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("mesh", &self.inner.mesh.slug)
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Opens the mesh's store and begins to connect; does not wait for the broker. What is sent
    /// meanwhile waits in the outbox. For more choices see [`Peer::builder`].
    ///
    /// Dropping the future starts nothing.
    ///
    /// # Errors
    /// [`ConnectError`] if the entry cannot be used or the store not be opened.
    pub async fn connect(mesh: &MeshEntry) -> Result<Self, ConnectError> {
        Self::builder(mesh).connect().await
    }

    /// A peer with more choices.
    pub fn builder(mesh: &MeshEntry) -> PeerBuilder {
        PeerBuilder::new(mesh)
    }

    /// The mesh, as the configuration has it.
    pub fn mesh(&self) -> &MeshEntry {
        &self.inner.mesh
    }

    /// Who this peer is.
    pub fn key(&self) -> PublicKey {
        self.inner.key.public()
    }

    /// Sends a text. When it returns, the message is in the outbox: with a durable store it
    /// survives a crash of this process, and goes out as soon as the broker can be reached.
    ///
    /// Dropping the future before it returns may or may not have sent the message.
    ///
    /// # Errors
    /// [`SendError`]: nothing was sent.
    pub async fn send(
        &self,
        to: impl Into<Recipient>,
        text: impl Into<String>,
    ) -> Result<Receipt, SendError> {
        self.send_message(to, Outgoing::text(text)).await
    }

    /// As [`Peer::send`], with everything that can be said about a message.
    ///
    /// # Errors
    /// [`SendError`]: nothing was sent.
    pub async fn send_message(
        &self,
        to: impl Into<Recipient>,
        message: Outgoing,
    ) -> Result<Receipt, SendError> {
        let to = match to.into() {
            Recipient::Key(key) => key,
            Recipient::Text(text) => self.resolve(&text).await?,
        };
        let expires_in = message
            .expires_in
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let outgoing = session::Outgoing {
            to,
            body: message.body,
            content_type: message.content_type,
            priority: message.priority,
            reply_to: message.reply_to,
            attributes: message.attributes,
            expires_in,
        };
        let mut reply = self
            .command(Command::Send(Box::new(outgoing.clone())))
            .await;
        // Who is not in the log as held may be in what was added since.
        if matches!(&reply, Err(PeerError::Session(SessionError::NotAMember(_))))
            && self.sync().await.is_ok()
        {
            reply = self.command(Command::Send(Box::new(outgoing))).await;
        }
        match reply? {
            Reply::Queued(id) => Ok(self.inner.shared.receipts.take(id)),
            _ => Err(PeerError::Closed.into()),
        }
    }

    /// The key of who is called so: a name, a key, or an unambiguous prefix of a key (four digits
    /// or more). If nobody is, the newest log is fetched once.
    ///
    /// # Errors
    /// [`SendError::Resolve`] lists who could be meant.
    pub async fn resolve(&self, wanted: &str) -> Result<PublicKey, SendError> {
        let found = |peer: &Self| match peer.inner.shared.log() {
            Some(log) => info::resolve(log.roster(), wanted),
            None => {
                let wanted = wanted.chars().take(128).collect();
                Err(ResolveError::Unknown {
                    wanted,
                    candidates: Vec::new(),
                })
            }
        };
        match found(self) {
            Ok(key) => Ok(key),
            Err(ambiguous @ ResolveError::Ambiguous { .. }) => Err(ambiguous.into()),
            Err(unknown) => {
                // Somebody may have joined since; without a broker what is held decides.
                match self.sync().await {
                    Ok(()) => Ok(found(self)?),
                    Err(_) => Err(unknown.into()),
                }
            }
        }
    }

    /// Fetches the newest membership log, waiting up to 5 s for the connection.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn sync(&self) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::SyncLog).await.map(|_| ())
    }

    /// The messages for this peer as a stream. Asking for the next one takes the last one.
    ///
    /// A peer with a session name goes on where that name stopped; one without begins after the
    /// last message that anybody took.
    ///
    /// # Errors
    /// [`PeerError::AlreadyReading`]: one stream at a time per peer and session name.
    pub async fn incoming(&self) -> Result<Incoming, PeerError> {
        let shared = &self.inner.shared;
        // Let go again if this future is dropped.
        let reading = shared.begin_reading().ok_or(PeerError::AlreadyReading)?;
        let lock = self.open_reader().await?;
        let reader = self.inner.reader.clone();
        Ok(Incoming::new(self.clone(), reader, lock, reading))
    }

    async fn open_reader(&self) -> Result<Option<std::fs::File>, PeerError> {
        let inner = &self.inner;
        let lock = match (&inner.lanes, inner.resume) {
            (Some(lanes), true) => {
                let held = lanes.try_hold_reader(&inner.reader.0);
                let held = held.map_err(|error| PeerError::System(error.to_string()))?;
                Some(held.ok_or(PeerError::AlreadyReading)?)
            }
            _ => None,
        };
        let start = if inner.resume {
            ReaderStart::Resume
        } else {
            ReaderStart::AfterAny
        };
        let op = PeerOp::OpenReader {
            reader: inner.reader.clone(),
            start,
        };
        self.with_store(move |store| store.apply(&[op])).await?;
        Ok(lock)
    }

    /// What is unread now, in reading order, without taking it: at most `limit` messages.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn unread(&self, limit: u32) -> Result<Vec<Received>, PeerError> {
        let reader = self.inner.reader.clone();
        let start = if self.inner.resume {
            ReaderStart::Resume
        } else {
            ReaderStart::AfterAny
        };
        let open = PeerOp::OpenReader {
            reader: reader.clone(),
            start,
        };
        let query = Query::Unread { reader, limit };
        let rows = self
            .with_store(move |store| {
                store.apply(&[open])?;
                store.read(&query)
            })
            .await?;
        Ok(self.received(rows))
    }

    /// Takes messages that [`Peer::unread`] gave.
    ///
    /// # Errors
    /// [`PeerError`]: they are unread still.
    pub async fn take(&self, messages: &[Received]) -> Result<(), PeerError> {
        let messages: Vec<&Received> = messages.iter().collect();
        if messages.is_empty() {
            return Ok(());
        }
        incoming::take(self, &self.inner.reader, &messages).await
    }

    /// The newest received messages, read or not, rejected ones too, in the order they came.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn history(&self, limit: u32) -> Result<Vec<Received>, PeerError> {
        let rows = self
            .with_store(move |store| store.read(&Query::Inbox { limit }))
            .await?;
        Ok(self.received(rows))
    }

    fn received(&self, rows: Rows) -> Vec<Received> {
        let rows: Vec<InboxRow> = if let Rows::Inbox(rows) = rows {
            rows
        } else {
            Vec::new()
        };
        let reader = &self.inner.reader;
        rows.into_iter()
            .map(|row| Received::new(row, reader.clone(), self.clone()))
            .collect()
    }

    /// The outbox: what is not final, oldest first; with `all`, final messages too.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn outbox(&self, all: bool) -> Result<Vec<OutboxRow>, PeerError> {
        let query = Query::OutboxList { all, limit: 10_000 };
        match self.with_store(move |store| store.read(&query)).await? {
            Rows::Outbox(rows) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives up a message that was never handed to the network. False if it was, or is unknown.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn cancel(&self, id: MessageId) -> Result<bool, PeerError> {
        match self.command(Command::Cancel(id)).await? {
            Reply::Cancelled(done) => Ok(done),
            _ => Ok(false),
        }
    }

    /// Waits until every message in the outbox has the broker's answer, at most for `limit`.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] if there is no connection when the time is over, or
    /// [`SessionError::Timeout`] if the broker takes something not yet; nothing is lost.
    pub async fn flush(&self, limit: Duration) -> Result<(), PeerError> {
        match tokio::time::timeout(limit, self.command(Command::Settle)).await {
            Ok(result) => result.map(|_| ()),
            Err(_) if self.is_connected() => Err(SessionError::Timeout.into()),
            Err(_) => Err(PeerError::NotConnected(self.connection_text())),
        }
    }

    /// Waits until all that waited at the broker was received and stored, at most for `limit`.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] if that was not reached.
    pub async fn caught_up(&self, limit: Duration) -> Result<(), PeerError> {
        let mut caught_up = self.inner.shared.catching_up();
        let mut connection = self.inner.shared.connection();
        let ended = async {
            let found = connection
                .wait_for(|c| matches!(c, Connection::Ended(_)))
                .await;
            found.map(|_| ()).map_err(|_| ())
        };
        let reached = tokio::time::timeout(limit, async {
            tokio::select! {
                reached = caught_up.wait_for(|reached| *reached) => reached.is_ok(),
                _ = ended => false,
            }
        });
        match reached.await {
            Ok(true) => Ok(()),
            _ => Err(PeerError::NotConnected(self.connection_text())),
        }
    }

    /// Waits until the broker has taken this peer's hello, at most for `limit`.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] with the reason of the last failure.
    pub async fn connected_within(&self, limit: Duration) -> Result<(), PeerError> {
        let mut connection = self.inner.shared.connection();
        let done = |c: &Connection| matches!(c, Connection::Connected | Connection::Ended(_));
        let found = tokio::time::timeout(limit, connection.wait_for(done)).await;
        match found {
            Ok(Ok(now)) if *now == Connection::Connected => Ok(()),
            _ => Err(PeerError::NotConnected(self.connection_text())),
        }
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        *self.inner.shared.connection().borrow() == Connection::Connected
    }

    /// Why there is no connection, in words; empty if there is one.
    pub fn connection_text(&self) -> String {
        match &*self.inner.shared.connection().borrow() {
            Connection::Connected => String::new(),
            Connection::Starting => format!("connecting to {}", self.inner.broker),
            Connection::Waiting(reason) | Connection::Ended(reason) => reason.clone(),
        }
    }

    /// All members, with what the broker says about their presence. Waits up to 5 s for the
    /// connection.
    ///
    /// # Errors
    /// [`PeerError`]; [`Peer::members`] needs no connection.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, PeerError> {
        self.connected_within(PATIENCE).await?;
        let Reply::Peers(list) = self.command(Command::ListPeers).await? else {
            return Err(PeerError::Closed);
        };
        let members = self.members(false);
        let record = |key: &PublicKey| {
            let hex = key.to_hex();
            let told = list
                .members
                .iter()
                .flatten()
                .find(|m| m.member_pubkey == hex);
            let sessions: Vec<_> = list
                .peers
                .iter()
                .filter(|p| p.member_pubkey.as_deref() == Some(&hex))
                .collect();
            let online = told.map_or(!sessions.is_empty(), |told| told.online);
            let status = sessions.iter().find_map(|p| p.status.parse().ok());
            (
                online,
                told.and_then(|m| m.last_seen),
                status,
                sessions.len(),
            )
        };
        let mut all: Vec<PeerInfo> = (members.iter())
            .map(|member| {
                let (online, last_seen, status, sessions) = record(&member.key);
                PeerInfo {
                    key: member.key,
                    name: member.name.as_str().to_owned(),
                    role: Some(member.role),
                    verified: member.verified,
                    online,
                    last_seen,
                    status: status.filter(|_| online),
                    sessions,
                }
            })
            .collect();
        for peer in &list.peers {
            let text = peer.member_pubkey.as_deref().unwrap_or(&peer.pubkey);
            let Ok(key) = PublicKey::from_hex(text) else {
                continue;
            };
            if all.iter().any(|known| known.key == key) {
                continue;
            }
            let (online, last_seen, status, sessions) = record(&key);
            let name = peer
                .display_name
                .chars()
                .filter(|c| !c.is_control())
                .take(64)
                .collect();
            let (role, verified) = (None, false);
            all.push(PeerInfo {
                key,
                name,
                role,
                verified,
                online,
                last_seen,
                status,
                sessions,
            });
        }
        Ok(all)
    }

    /// The members, as the membership log has them; with `former`, those who were removed too.
    pub fn members(&self, former: bool) -> Vec<MemberInfo> {
        let Some(log) = self.inner.shared.log() else {
            return Vec::new();
        };
        let roster = log.roster();
        if former {
            roster.members_and_former().map(MemberInfo::from).collect()
        } else {
            roster.members().map(MemberInfo::from).collect()
        }
    }

    /// The membership log as held, verified.
    pub fn log(&self) -> Option<Arc<Log>> {
        self.inner.shared.log()
    }

    /// The safety number of this peer and another member: the same digits on both sides.
    pub fn safety_number(&self, other: &PublicKey) -> String {
        safety_number(&self.key(), other)
    }

    /// What happens from now on, as a stream. One that is not read for long misses events.
    pub fn events(&self) -> Events {
        let receiver = self.inner.shared.events();
        Events {
            work: Some(Box::pin(next_event(receiver))),
        }
    }

    /// Says how attentive this peer is: what is not urgent waits while it is not idle.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn set_status(&self, status: Status) -> Result<(), PeerError> {
        self.command(Command::SetStatus(status)).await.map(|_| ())
    }

    /// Makes an invite. Needs the broker, and the role of owner or admin.
    ///
    /// Dropping the future may leave an invite behind that nobody has the link of.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn invite(&self, options: InviteOptions) -> Result<NewInvite, PeerError> {
        let (seed, filler) = (random::<32>()?, random::<32>()?);
        let now = unix_ms();
        let lasts = u64::try_from(options.expires_in.as_millis()).unwrap_or(u64::MAX);
        // The token counts in seconds: both are to end at the same moment.
        let expires_at = now.saturating_add(lasts) / 1_000 * 1_000;
        self.connected_within(PATIENCE).await?;
        if self.log().is_none() {
            self.sync().await?;
        }
        let log = self
            .log()
            .ok_or(SessionError::LogUnusable("this mesh has none"))?;
        let slug: MeshSlug = log.roster().slug().clone();
        let offer = Offer {
            mesh: self.inner.mesh.mesh_id.clone(),
            slug,
            broker: self.inner.broker.clone(),
            expires_at,
            role: options.role,
        };
        let issued = |id| IssuedInvite::new(&offer, &self.inner.key, id, seed, &filler);
        // The token does not depend on the entry; only the fragment does.
        let token = issued(crate::id::Hash::ZERO).token;
        let body = Body::InviteIssued {
            key: KeyPair::from_seed(&seed).public(),
            role: options.role,
            expires_at,
            max_uses: options.uses,
        };
        let command = Command::Append {
            body,
            invite_token: Some(token),
        };
        match self.command(command).await? {
            Reply::Appended { hash, .. } => Ok(NewInvite {
                id: hash,
                expires_at,
                issued: issued(hash),
            }),
            _ => Err(PeerError::Closed),
        }
    }

    /// The invites of this mesh, as the log has them.
    pub fn invites(&self) -> Vec<Invite> {
        self.log()
            .map(|log| log.roster().invites().cloned().collect())
            .unwrap_or_default()
    }

    /// Takes an invite back. Needs the broker, and the role of owner or admin.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn close_invite(&self, invite: InviteId) -> Result<(), PeerError> {
        self.append(Body::InviteClosed { invite }).await
    }

    /// Removes a member: final for its key. `close_all` closes every open invite too. Needs the
    /// broker, and the right to do it.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn remove(&self, member: PublicKey, close_all: bool) -> Result<(), PeerError> {
        self.append(Body::MemberRemoved {
            key: member,
            close_all,
        })
        .await
    }

    async fn append(&self, body: Body) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::Append {
            body,
            invite_token: None,
        })
        .await
        .map(|_| ())
    }

    /// Ends this peer: sends what is on its way, at most for `limit`, and closes the connection.
    /// What is not answered by then stays in the outbox. Other handles of this peer end too.
    ///
    /// Dropping the future leaves the peer running until the last handle is gone.
    pub async fn close(&self, limit: Duration) {
        if self.is_connected() {
            let _ = self.flush(limit).await;
        }
        let (tell, told) = oneshot::channel();
        if self.inner.requests.send(Request::Close(tell)).await.is_ok() {
            let _ = told.await;
        }
    }

    async fn command(&self, command: Command) -> Result<Reply, PeerError> {
        let (tell, told) = oneshot::channel();
        let request = Request::Command(command, tell);
        self.inner
            .requests
            .send(request)
            .await
            .map_err(|_| PeerError::Closed)?;
        Ok(told.await.map_err(|_| PeerError::Closed)??)
    }

    async fn with_store<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn PeerStore) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, PeerError> {
        let done = self.inner.shared.store.with(work).await;
        Ok(done.map_err(|_| PeerError::Closed)??)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn is_durable(&self) -> bool {
        self.inner.durable
    }
}

/// Events as a stream; see [`Peer::events`].
pub struct Events {
    work: Option<EventWork>,
}

type EventWork = Pin<Box<dyn Future<Output = (broadcast::Receiver<Event>, Option<Event>)> + Send>>;

async fn next_event(
    mut receiver: broadcast::Receiver<Event>,
) -> (broadcast::Receiver<Event>, Option<Event>) {
    loop {
        match receiver.recv().await {
            Ok(event) => return (receiver, Some(event)),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return (receiver, None),
        }
    }
}

impl Events {
    /// The next event; none when the peer is gone.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        match work.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((receiver, event)) => {
                self.work = event.is_some().then(|| {
                    let next: EventWork = Box::pin(next_event(receiver));
                    next
                });
                Poll::Ready(event)
            }
        }
    }
}

pub(crate) use driver::unix_ms;

/// Bytes from the system's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], PeerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| PeerError::System(format!("no random bytes from the system: {error}")))?;
    Ok(bytes)
}
