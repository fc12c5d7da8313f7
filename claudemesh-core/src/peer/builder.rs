//! Making a peer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::driver::Driver;
use super::lanes::Lanes;
use super::listens;
use super::shared::Shared;
use super::store_thread::StoreHandle;
use super::{Inner, Peer, PeerError, random};
use crate::broker_url::{BrokerUrl, BrokerUrlError};
use crate::config::{ConfigError, MeshEntry, SessionIdentity, SessionKeyError};
use crate::encoding::hex;
use crate::id::{Name, Status, Wake};
use crate::membership::{Log, LogError, SignedEntry};
use crate::session::{About, OwnSession, Retry, Session, SessionConfig, Trust};
use crate::store::{
    PeerOp, PeerStore, Pin, Query, ReaderName, ReaderStart, Rows, SeenValue, StoreError,
    StoredChannelEntry, StoredKey,
};
use crate::transport::Network;

/// Requests that wait for the driver at most; more wait at their callers.
const QUEUE: usize = 256;
/// The pin that holds this store's own id.
const PIN_STORE_ID: &str = "store_id";

/// Why a peer could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The mesh's entry names no usable broker.
    #[error(transparent)]
    Broker(#[from] BrokerUrlError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store's folder cannot be made.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The membership log in the store is not valid: the file was changed.
    #[error(
        "the membership log kept for this mesh is not valid ({0}); move its store aside and connect again"
    )]
    Log(#[from] LogError),
    /// A session name is 1–64 bytes without control characters.
    #[error("a session name is 1–64 bytes without control characters")]
    SessionName,
    /// The key under which a listening peer is shown on a broker of the existing system cannot be
    /// kept.
    #[error(transparent)]
    ListeningKey(#[from] SessionKeyError),
    /// Anything that the system refused.
    #[error(transparent)]
    System(#[from] PeerError),
}

enum Kept {
    Default,
    Memory,
    #[cfg(feature = "sqlite")]
    Dir(PathBuf),
    Store(Box<dyn PeerStore>),
}

/// Choices for a [`Peer`].
#[must_use]
pub struct PeerBuilder {
    mesh: MeshEntry,
    kept: Kept,
    session: Option<String>,
    identity: Option<SessionIdentity>,
    wake: Wake,
    status: Status,
    receive: bool,
    presence: bool,
    retry: Retry,
    about: About,
    log_patience: Option<Duration>,
    network: Network,
    trust: Trust,
}

impl PeerBuilder {
    pub(super) fn new(mesh: &MeshEntry) -> Self {
        Self {
            mesh: mesh.clone(),
            kept: Kept::Default,
            session: None,
            identity: None,
            wake: Wake::None,
            status: Status::Idle,
            receive: true,
            presence: true,
            retry: Retry::Backoff,
            about: About::default(),
            log_patience: None,
            trust: Trust::default(),
            network: match mesh.ca_file() {
                Some(file) => Network::new().ca(file),
                None => Network::new(),
            },
        }
    }

    /// Keeps messages in a store of one's own, which no other peer uses at the same time.
    pub fn store(mut self, store: impl PeerStore + 'static) -> Self {
        self.kept = Kept::Store(Box::new(store));
        self
    }

    /// Keeps messages in memory: what was not taken when the process ends comes again from the
    /// broker, what was not accepted is lost.
    pub fn in_memory(mut self) -> Self {
        self.kept = Kept::Memory;
        self
    }

    /// Keeps messages in a folder of one's own instead of the configuration's. It is made if it is
    /// not there; several processes of the same member may share it.
    #[cfg(feature = "sqlite")]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.kept = Kept::Dir(dir.into());
        self
    }

    /// Gives the session a name of 1–64 bytes without control characters: its reading position is
    /// kept under it over restarts. Any other name is refused by [`PeerBuilder::connect`].
    pub fn session(mut self, name: impl Into<String>) -> Self {
        self.session = Some(name.into());
        self
    }

    /// Makes the peer a session of its member, with a key and an address of its own
    /// ([`SessionKeys`](crate::config::SessionKeys) keeps them): others write to it as
    /// `member/session`. What is sent there is for this session alone, and waits for it for up to 30
    /// days after it was last connected. It reads what is for the member, too, from where it stopped.
    ///
    /// Several processes may be one session at the same time: the mesh sees the first of them, the
    /// others receive all the same. Takes the place of [`PeerBuilder::session`].
    pub fn as_session(mut self, session: SessionIdentity) -> Self {
        self.identity = Some(session);
        self
    }

    /// How a message gets the attention of whoever is behind this session: [`Wake::None`] by
    /// default. Others are told. For a peer that is no session it says nothing.
    pub fn wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// How attentive the peer is at the start: [`Status::Idle`] by default.
    pub fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Whether messages are received: true by default. A program that only sends says false.
    pub fn receive(mut self, receive: bool) -> Self {
        self.receive = receive;
        self
    }

    /// Whether the mesh sees this session come and go: true by default.
    pub fn presence(mut self, presence: bool) -> Self {
        self.presence = presence;
        self
    }

    /// When to try again after the connection was lost: [`Retry::Backoff`] by default.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What the mesh is told about this peer: nothing by default.
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Which keys are trusted in a mesh without a membership log, as those of the existing system
    /// are: [`Trust::Named`] by default, so only those that [`Peer::trust`] named. With
    /// [`Trust::OnFirstUse`] also every first key that the broker shows under a name: messages go
    /// there without [`Outgoing::to_unverified`](super::Outgoing::to_unverified), and channels are
    /// sealed for them: its broker can then read those, by inventing a member. In a mesh with a log
    /// this changes nothing.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// How long the broker has to show entries of the membership log that another member knows of,
    /// before [`Lie::LogWithheld`](crate::session::Lie::LogWithheld) is told: 30 s by default.
    /// Shorter is for tests; over a slow network it tells of brokers that are only slow.
    pub fn log_patience(mut self, patience: Duration) -> Self {
        self.log_patience = Some(patience);
        self
    }

    /// Believes the certificate authorities in this PEM file, and no others: for a broker whose
    /// certificate comes from a private one. Without it, those of the mesh's entry, or of the
    /// environment, or of the system.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.network = self.network.ca(file);
        self
    }

    /// How the broker is reached: by default as the mesh's entry and the environment say.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Opens the store and starts the peer; does not wait for the broker.
    ///
    /// Must be called within a tokio runtime. Dropping the future starts nothing.
    ///
    /// # Errors
    /// [`ConnectError::Broker`] and [`ConnectError::SessionName`] for what was given;
    /// [`ConnectError::Store`], [`ConnectError::Config`], [`ConnectError::Log`] and
    /// [`ConnectError::System`] if what is kept cannot be opened, is damaged, or has no room.
    pub async fn connect(self) -> Result<Peer, ConnectError> {
        let broker: BrokerUrl = self.mesh.broker_url.parse()?;
        if let Some(name) = &self.session
            && (name.is_empty() || name.len() > 64 || name.contains(char::is_control))
        {
            return Err(ConnectError::SessionName);
        }
        let session_reader =
            (self.identity.as_ref()).map(|session| ReaderName(format!("session:{}", session.id())));
        let open = Open {
            kept: self.kept,
            mesh: self.mesh.clone(),
            reader: session_reader.clone(),
            listens: self.identity.is_none() && self.receive && self.presence,
        };
        let opened = match tokio::task::spawn_blocking(move || open.run()).await {
            Ok(opened) => opened?,
            Err(error) => return Err(PeerError::System(error.to_string()).into()),
        };
        let durable = opened.store.is_durable();
        let lane = match &opened.lanes {
            Some(lanes) => {
                let held = lanes.hold_free();
                Some(held.map_err(|error| PeerError::System(error.to_string()))?)
            }
            None => None,
        };
        let number = lane.as_ref().map_or(0, |lane| lane.number);
        let present = match (&self.identity, &opened.lanes) {
            (Some(session), Some(lanes)) if self.receive && self.presence => {
                let held = lanes.try_hold_reader(&format!("present:{}", session.public()));
                Some(held.map_err(|error| PeerError::System(error.to_string()))?)
            }
            _ => None,
        };
        // Of several processes that are one session the mesh sees one: two would push each other's
        // connection out for ever.
        let presence = self.presence && present.as_ref().is_none_or(Option::is_some);
        let (reader, session_id, resume) = match (&session_reader, &self.session) {
            (Some(reader), _) => (
                reader.0.clone(),
                format!("{}-{}-{number}", opened.id, reader.0),
                true,
            ),
            (None, Some(name)) => (
                format!("session:{name}"),
                // With the lane: of two processes with one session name, of which only one can
                // read, neither is to push the other's connection out.
                format!("{}-s-{name}-{number}", opened.id),
                true,
            ),
            (None, None) => (
                format!("lane:{number}"),
                format!("{}-{number}", opened.id),
                false,
            ),
        };
        let name = self
            .mesh
            .display_name
            .as_deref()
            .and_then(|name| Name::new(name).ok());
        let config = SessionConfig {
            mesh: self.mesh.mesh_id.clone(),
            member_id: self.mesh.member_id.clone(),
            key: Arc::clone(self.mesh.key_pair()),
            name,
            broker: broker.clone(),
            session_id,
            receive: self.receive,
            presence,
            durable,
            lane: number,
            retry: self.retry,
            has_log: self.mesh.log == Some(true),
            about: self.about,
            status: self.status,
        };
        let mut session = Session::new(config, random()?, opened.log.clone(), opened.pins);
        if let Some(own) = &self.identity {
            session.be_session(OwnSession {
                key: Arc::clone(own.key_pair()),
                name: own.name().clone(),
                wake: self.wake,
                made_at: own.made_at(),
            });
        }
        let listens = opened.listens.and_then(|listens| {
            session.listens_as(listens.key);
            listens.lock
        });
        session.trusts(self.trust);
        session.restore_channels(opened.channel_logs, opened.channel_keys);
        session.restore_values(opened.values);
        if let Some(patience) = self.log_patience {
            session.log_patience(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        }
        let (store, from_store) = StoreHandle::start(opened.store)
            .map_err(|error| PeerError::System(error.to_string()))?;
        let session_key = self.identity.as_ref().map(SessionIdentity::public);
        let shared = Arc::new(Shared::new(store, opened.log, self.identity));
        let (requests, queue) = mpsc::channel(QUEUE);
        let driver = Driver {
            session,
            shared: Arc::clone(&shared),
            broker: broker.clone(),
            network: self.network.clone(),
            requests: queue,
            from_store,
            lanes: opened.lanes.clone().zip(lane),
        };
        tokio::spawn(driver.run());
        let key = Arc::clone(self.mesh.key_pair());
        let (mesh, lanes) = (self.mesh, opened.lanes);
        let reader = ReaderName(reader);
        let inner = Inner {
            shared,
            requests,
            mesh,
            broker,
            network: self.network,
            key,
            reader,
            session_key,
            _present: present.flatten().or(listens),
            resume,
            lanes,
            durable,
        };
        Ok(Peer {
            inner: Arc::new(inner),
        })
    }
}

/// What is read from the store before the session starts.
struct Opened {
    store: Box<dyn PeerStore>,
    lanes: Option<Lanes>,
    log: Option<Log>,
    channel_logs: Vec<StoredChannelEntry>,
    channel_keys: Vec<StoredKey>,
    values: Vec<SeenValue>,
    pins: Vec<Pin>,
    /// This store's own id, by which the broker tells its sessions from others.
    id: String,
    /// The key under which this process is shown where only sessions are found, and its lock.
    listens: Option<listens::Listening>,
}

struct Open {
    kept: Kept,
    mesh: MeshEntry,
    /// A session's reader. It is there before anything is received, so that it misses nothing.
    reader: Option<ReaderName>,
    /// It is a member's own connection, and listens.
    listens: bool,
}

impl Open {
    fn run(self) -> Result<Opened, ConnectError> {
        #[cfg(feature = "sqlite")]
        let mut folder = None;
        let (mut store, lanes) = match self.kept {
            Kept::Store(store) => (store, None),
            Kept::Memory => memory()?,
            #[cfg(feature = "sqlite")]
            Kept::Dir(dir) => {
                std::fs::create_dir_all(&dir)
                    .map_err(|error| PeerError::System(format!("{}: {error}", dir.display())))?;
                let opened = durable(&dir)?;
                folder = Some(dir);
                opened
            }
            #[cfg(feature = "sqlite")]
            Kept::Default => match self.mesh.ensure_data_dir()? {
                Some(dir) => {
                    let opened = durable(&dir)?;
                    folder = Some(dir);
                    opened
                }
                None => memory()?,
            },
            // Without the feature there is nothing that could keep messages.
            #[cfg(not(feature = "sqlite"))]
            Kept::Default => memory()?,
        };
        let mut first = vec![PeerOp::Prune {
            now: super::driver::unix_ms(),
        }];
        first.extend(self.reader.map(|reader| PeerOp::OpenReader {
            reader,
            start: ReaderStart::Resume,
        }));
        store.apply(&first)?;
        let log = read_log(store.as_ref(), &self.mesh)?;
        let channel_logs = match store.read(&Query::ChannelLogs)? {
            Rows::ChannelLogs(entries) => entries,
            _ => Vec::new(),
        };
        let channel_keys = match store.read(&Query::ChannelKeys)? {
            Rows::ChannelKeys(keys) => keys,
            _ => Vec::new(),
        };
        let values = match store.read(&Query::Values)? {
            Rows::Values(values) => values,
            _ => Vec::new(),
        };
        let mut pins = match store.read(&Query::Pins)? {
            Rows::Pins(pins) => pins,
            _ => Vec::new(),
        };
        let id = match pins.iter().find(|pin| pin.name == PIN_STORE_ID) {
            Some(pin) => pin.value.clone(),
            None => {
                let value = hex(&random::<8>()?);
                let pin = Pin {
                    name: PIN_STORE_ID.to_owned(),
                    value: value.clone(),
                };
                store.apply(&[PeerOp::Pin(pin.clone())])?;
                pins.push(pin);
                value
            }
        };
        let listens = match self.listens && log.is_none() && self.mesh.log != Some(true) {
            #[cfg(feature = "sqlite")]
            true => listens::held(folder.as_deref(), lanes.as_ref(), &self.mesh)?,
            #[cfg(not(feature = "sqlite"))]
            true => Some(listens::fresh()?),
            false => None,
        };
        Ok(Opened {
            store,
            lanes,
            log,
            channel_logs,
            channel_keys,
            values,
            pins,
            id,
            listens,
        })
    }
}

#[cfg(any(feature = "memory", not(feature = "sqlite")))]
fn memory() -> Result<(Box<dyn PeerStore>, Option<Lanes>), ConnectError> {
    Ok((Box::new(crate::store::MemoryStore::new()), None))
}

#[cfg(all(feature = "sqlite", not(feature = "memory")))]
fn memory() -> Result<(Box<dyn PeerStore>, Option<Lanes>), ConnectError> {
    let store = crate::store::SqliteStore::open_in_memory()?;
    Ok((Box::new(store), None))
}

#[cfg(feature = "sqlite")]
fn durable(dir: &std::path::Path) -> Result<(Box<dyn PeerStore>, Option<Lanes>), ConnectError> {
    let store = crate::store::SqliteStore::open(&dir.join("peer.db"))?;
    let lanes = Lanes::new(dir)
        .map_err(|error| PeerError::System(format!("{}: {error}", dir.display())))?;
    Ok((Box::new(store), Some(lanes)))
}

/// Reads and verifies the log that is kept: a file that somebody changed is not believed.
fn read_log(store: &dyn PeerStore, mesh: &MeshEntry) -> Result<Option<Log>, ConnectError> {
    let mut entries: Vec<SignedEntry> = Vec::new();
    loop {
        let query = Query::Log {
            from: entries.len() as u64,
            limit: 1_000,
        };
        let Rows::Log(page) = store.read(&query)? else {
            break;
        };
        if page.is_empty() {
            break;
        }
        entries.extend(page.into_iter().map(|stored| stored.entry));
    }
    if entries.is_empty() {
        return Ok(None);
    }
    Ok(Some(Log::verify(&mesh.mesh_id, &entries)?))
}
