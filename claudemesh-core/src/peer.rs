//! The async handle of a peer.
//!
//! A [`Peer`] is one identity in one mesh. It is cheap to clone, may be used from any task, and
//! works on any tokio runtime, also a current-thread one. A task for the connection, one that
//! writes to its socket, and a thread for the store belong to it; they end with the last handle,
//! the tasks also by [`Peer::close`]. Nothing is global: many peers live in one process.

mod audit;
mod builder;
mod channel;
mod driver;
mod events;
mod handover;
mod incoming;
mod info;
mod lanes;
mod lies;
mod listens;
mod membership;
mod message;
mod online;
mod policy;
mod reading;
mod receipt;
mod service;
mod sessions;
mod shared;
mod store_thread;
mod trust;
mod values;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use builder::{ConnectError, PeerBuilder};
pub use channel::ChannelInfo;
pub use events::Events;
pub use handover::OWNER_TRANSFER;
pub use incoming::{Incoming, Received, Sender};
pub use info::{MemberInfo, PeerInfo, ResolveError};
pub use lies::Caught;
pub use membership::{InviteOptions, NewInvite};
pub use message::{Outgoing, Recipient};
pub use online::Reached;
pub use policy::MessageRequest;
pub use receipt::{Accepted, Receipt, ReceiptError, Skipped};
pub use service::NewApiKey;
pub use sessions::{Reach, SessionInfo};
pub use trust::Pinned;

use crate::broker_url::BrokerUrl;
use crate::config::MeshEntry;
use crate::crypto::KeyPair;
use crate::id::{ChannelName, IdError, MessageId, PublicKey, Status, Target};
use crate::identity::safety_number;
use crate::membership::Log;
use crate::session::{self, Command, Reply, SessionError};
use crate::store::{OutboxRow, PeerStore, Query, ReaderName, Rows, StoreError};
use driver::Request;
pub use shared::Connection;
use shared::Shared;

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
    /// This member is out of the mesh.
    #[error("this member was removed from the mesh: {0}")]
    Removed(String),
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
    /// Not the name of a channel.
    #[error(transparent)]
    Channel(#[from] IdError),
    /// Anything else.
    #[error(transparent)]
    Peer(#[from] PeerError),
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
    network: crate::transport::Network,
    key: Arc<KeyPair>,
    reader: ReaderName,
    /// The key of the session that this peer is.
    session_key: Option<PublicKey>,
    /// Held while the mesh sees this session by this process.
    _present: Option<std::fs::File>,
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

    /// Sends a text; to a member's devices too, if it is for a member. When it returns, the message is in the outbox: with a durable store it
    /// survives a crash of this process, and goes out as soon as the broker can be reached.
    ///
    /// Dropping the future before it returns may or may not have sent the message.
    ///
    /// A text has at most [`MAX_BODY`](crate::message::MAX_BODY) bytes. No connection is needed, save
    /// to look up who is not in the log as held.
    ///
    /// # Errors
    /// [`SendError::Resolve`] if nobody, or more than one, is called so; [`SendError::Peer`] with
    /// [`SessionError::Message`] if it is too large, [`SessionError::NotAMember`],
    /// [`SessionError::Unverified`] (only the broker names the recipient: see
    /// [`Outgoing::to_unverified`]), [`SessionError::RecipientRemoved`] or
    /// [`SessionError::Removed`]. Nothing was sent then; after
    /// [`PeerError::Closed`] and [`StoreError::Unknown`] the message may be in the outbox all the
    /// same.
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
    /// As [`Peer::send`].
    pub async fn send_message(
        &self,
        to: impl Into<Recipient>,
        message: Outgoing,
    ) -> Result<Receipt, SendError> {
        let outgoing = self.addressed(to.into(), message).await?;
        let reply = self
            .submit(|| Command::Send(Box::new(outgoing.clone())))
            .await;
        let receipts = &self.inner.shared.receipts;
        match reply? {
            Reply::Queued(id, _) => Ok(receipts.take(id, true)),
            Reply::QueuedBare(id) => Ok(receipts.take(id, false)),
            _ => Err(PeerError::Closed.into()),
        }
    }

    /// A message and to whom it goes.
    async fn addressed(
        &self,
        to: Recipient,
        message: Outgoing,
    ) -> Result<session::Outgoing, SendError> {
        let to = self.recipient(to).await?;
        if let (true, Target::Peer(key)) = (message.may_go_to_unverified(), &to)
            && !self.is_in_log(key)
        {
            // Whether it is in the log by now, and what it understands, is asked for anew: nothing
            // goes out bare by what was known some time ago.
            self.sync().await?;
            self.command(Command::ListPeers).await?;
        }
        Ok(message.to(to))
    }

    /// Gives a command that sends, and once more after a look at who is there if its recipient is
    /// not known.
    async fn submit(&self, command: impl Fn() -> Command) -> Result<Reply, PeerError> {
        let send = || self.command(command());
        let mut reply = send().await;
        // Who is not in the log as held may be in what was added since.
        let unknown = matches!(
            &reply,
            Err(PeerError::Session(
                SessionError::NotAMember(_) | SessionError::NoSuchChannel(_)
            ))
        );
        if unknown && self.sync().await.is_ok() {
            reply = send().await;
        }
        let unlogged = matches!(&reply, Err(PeerError::Session(SessionError::NotAMember(_))));
        // The broker may know whom the log does not.
        if unlogged && self.command(Command::ListPeers).await.is_ok() {
            reply = send().await;
        }
        reply
    }

    async fn recipient(&self, to: Recipient) -> Result<Target, SendError> {
        match to {
            Recipient::Key(key) => Ok(Target::Peer(key)),
            Recipient::Channel(name) => Ok(Target::Channel(name)),
            Recipient::Text(text) => self.named(&text).await,
        }
    }

    fn is_in_log(&self, key: &PublicKey) -> bool {
        let log = self.inner.shared.log();
        log.is_some_and(|log| log.roster().member_or_former(key).is_some())
    }

    /// As [`Peer::target`]; whom the log does not have, the broker may name.
    async fn named(&self, wanted: &str) -> Result<Target, SendError> {
        match self.target(wanted).await {
            Err(SendError::Resolve(unknown @ ResolveError::Unknown { .. })) => {
                match self.resolve_unverified(wanted).await {
                    Ok(Some(key)) => Ok(Target::Peer(key)),
                    Err(ambiguous @ SendError::Resolve(_)) => Err(ambiguous),
                    _ => Err(unknown.into()),
                }
            }
            other => other,
        }
    }

    /// The key of one whom the broker names and no log entry vouches for: by name, key, or a prefix
    /// of the key; none if there is nobody. Needs the connection. Whose key it is, is the broker's
    /// word: compare safety numbers.
    ///
    /// # Errors
    /// [`SendError::Resolve`] if more than one is called so; [`SendError::Peer`].
    pub async fn resolve_unverified(&self, wanted: &str) -> Result<Option<PublicKey>, SendError> {
        let here = self.peers().await?;
        Ok(info::resolve_unverified(&here, wanted)?)
    }

    /// To whom a text sends: a channel, if it begins with `#`, `@` or is `*` (`@all` is `*`), else who
    /// is called so, as [`Peer::resolve`] finds it, or the session that is written so, as
    /// [`Peer::resolve_session`] does. A device of a member goes before a session of its name.
    ///
    /// # Errors
    /// As [`Peer::resolve`]; [`SendError::Channel`] if it is no name of a channel.
    pub async fn target(&self, wanted: &str) -> Result<Target, SendError> {
        let text = wanted.trim();
        if text == "@all" {
            return Ok(Target::Channel(ChannelName::everyone()));
        }
        if text.starts_with(['#', '@', '*', '$']) {
            return Ok(Target::Channel(ChannelName::new(text)?));
        }
        let held = self.inner.shared.log();
        let held = held.map(|log| info::resolve(log.roster(), text));
        let unheld = matches!(held, None | Some(Err(ResolveError::Unknown { .. })));
        if unheld && let Some(session) = self.known_session(text).await? {
            return Ok(Target::Peer(session));
        }
        match self.resolve(text).await {
            Err(SendError::Resolve(unknown @ ResolveError::Unknown { .. })) => {
                match self.resolve_session(text).await {
                    Ok(session) => Ok(Target::Peer(session.key)),
                    Err(ambiguous @ SendError::Resolve(ResolveError::AmbiguousSession { .. })) => {
                        Err(ambiguous)
                    }
                    Err(_) => Err(unknown.into()),
                }
            }
            found => found.map(Target::Peer),
        }
    }

    /// The key of who is called so: a name, a key, or an unambiguous prefix of a key (four digits
    /// or more). If nobody is, the newest log is fetched once, which takes as long as
    /// [`Peer::sync`] does.
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

    /// Fetches the newest membership log, waiting up to 5 s for the connection and up to 10 s for
    /// each answer.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`], [`PeerError::Removed`], [`PeerError::Closed`];
    /// [`PeerError::Session`] with [`SessionError::Timeout`], or [`SessionError::LogUnusable`] if
    /// what the broker shows is not this mesh's log.
    pub async fn sync(&self) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::SyncLog).await.map(|_| ())
    }

    /// The outbox: what is not final, oldest first, at most 10,000 messages; with `all`, final
    /// messages too.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn outbox(&self, all: bool) -> Result<Vec<OutboxRow>, PeerError> {
        let query = Query::OutboxList { all, limit: 10_000 };
        match self.with_store(move |store| store.read(&query)).await? {
            Rows::Outbox(rows) => Ok(rows),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives up a message that was never handed to the network, with its copies for devices. False
    /// if one of them was, or if it is unknown.
    ///
    /// # Errors
    /// [`PeerError::Closed`]; [`PeerError::Session`] with [`SessionError::Store`].
    pub async fn cancel(&self, id: MessageId) -> Result<bool, PeerError> {
        let copies = self
            .outbox(false)
            .await?
            .into_iter()
            .map(|row| row.message.id);
        let copies: Vec<MessageId> = copies.filter(|copy| copy.base() == id.base()).collect();
        let mut all = !copies.is_empty();
        for copy in copies {
            let reply = self.command(Command::Cancel(copy)).await?;
            all &= reply == Reply::Cancelled(true);
        }
        Ok(all)
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
            Err(_) => Err(self.not_connected()),
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
            let found = connection.wait_for(Connection::is_ended).await;
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
            _ => Err(self.not_connected()),
        }
    }

    /// Waits until the broker has taken this peer's hello, at most for `limit`.
    ///
    /// # Errors
    /// [`PeerError::NotConnected`] with the reason of the last failure.
    pub async fn connected_within(&self, limit: Duration) -> Result<(), PeerError> {
        let mut connection = self.inner.shared.connection();
        let done = |c: &Connection| *c == Connection::Connected || c.is_ended();
        let found = tokio::time::timeout(limit, connection.wait_for(done)).await;
        match found {
            Ok(Ok(now)) if *now == Connection::Connected => Ok(()),
            _ => Err(self.not_connected()),
        }
    }

    /// Whether the connection stands now.
    pub fn is_connected(&self) -> bool {
        *self.inner.shared.connection().borrow() == Connection::Connected
    }

    /// Where the connection stands now.
    pub fn connection(&self) -> Connection {
        self.inner.shared.connection().borrow().clone()
    }

    /// By how many milliseconds the broker's clock was ahead of this machine's when the connection
    /// was opened (negative: behind), as far as whole seconds tell; none if the broker did not say.
    pub fn broker_clock_ahead_ms(&self) -> Option<i64> {
        self.inner.shared.clock()
    }

    fn not_connected(&self) -> PeerError {
        match self.connection() {
            Connection::Removed(reason) => PeerError::Removed(reason),
            Connection::Closed => PeerError::Closed,
            Connection::Starting => {
                PeerError::NotConnected(format!("connecting to {}", self.inner.broker))
            }
            other => PeerError::NotConnected(other.to_string()),
        }
    }

    /// The membership log as held, verified. None in a mesh without one, and before it was fetched
    /// for the first time.
    pub fn log(&self) -> Option<Arc<Log>> {
        self.inner.shared.log()
    }

    /// The safety number of this peer and another member: six groups of five digits, the same on
    /// both sides.
    pub fn safety_number(&self, other: &PublicKey) -> String {
        safety_number(&self.key(), other)
    }

    /// What happens from now on, as a stream. One that is 1,024 events behind misses the oldest, and
    /// is not told so.
    pub fn events(&self) -> Events {
        Events::new(self.inner.shared.events())
    }

    /// Says how attentive this peer is: what is not urgent waits while it is not idle. Needs no
    /// connection: the broker is told now, or as soon as there is one.
    ///
    /// # Errors
    /// [`PeerError::Closed`].
    pub async fn set_status(&self, status: Status) -> Result<(), PeerError> {
        self.command(Command::SetStatus(status)).await.map(|_| ())
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

    fn session_key(&self) -> Option<PublicKey> {
        self.inner.session_key
    }

    fn is_durable(&self) -> bool {
        self.inner.durable
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
