//! A whole mesh in one process, for the tests of applications: feature `testing`.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use broker_min::testing::TestMesh;
//!
//! let mesh = TestMesh::start().await?;
//! let (alice, bob) = (mesh.peer("alice").await?, mesh.peer("bob").await?);
//! let receipt = alice.send("bob", "hello").await?;
//! receipt.accepted().await?;
//! mesh.kill_broker().await?; // and starts it again: nothing accepted is lost
//! let message = bob.incoming().await?.next().await;
//! assert_eq!(message.ok_or("no message")?.text(), "hello");
//! # Ok(())
//! # }
//! ```
//!
//! The broker keeps its data in SQLite in a folder of its own, which goes when the mesh is
//! dropped. It listens on a free port of this machine.

mod http;
mod peers;
mod port;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{Hash, MeshId, MeshSlug, Name};
use claudemesh_core::membership::{Body, Draft, SignedEntry};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub use http::{HttpAnswer, http};
pub use port::HeldPort;

use crate::broker::{Broker, BrokerError, BrokerHandle};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::store::{Durability, PostgresUrl, StoreError};

/// Why a test mesh could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// The broker did not start.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The broker did not make the mesh.
    #[error("the broker answered {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// A peer could not join.
    #[error(transparent)]
    Join(#[from] claudemesh_core::JoinError),
    /// A peer could not be made.
    #[error(transparent)]
    Connect(#[from] claudemesh_core::peer::ConnectError),
    /// A peer could not do what it was asked.
    #[error(transparent)]
    Peer(#[from] claudemesh_core::PeerError),
    /// A peer's configuration could not be used.
    #[error(transparent)]
    Config(#[from] claudemesh_core::ConfigError),
    /// Something here is not what this module takes it for.
    #[error("unexpected: {0}")]
    Unexpected(&'static str),
}

/// A broker with one mesh. Dropping it ends everything.
#[derive(Debug)]
pub struct TestMesh {
    // Dropped first: the folder goes after the broker has let go of it.
    broker: Mutex<Option<BrokerHandle>>,
    dir: TempDir,
    peers: TempDir,
    port: HeldPort,
    url: BrokerUrl,
    clock: Clock,
    limits: Limits,
    owner: OwnerKey,
    first: SignedEntry,
    /// Where the store is, if not in the folder.
    store: Option<PostgresUrl>,
}

/// Keys have no Debug; this one says whose it is.
struct OwnerKey(KeyPair);

impl std::fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnerKey({:?})", self.0.public())
    }
}

impl TestMesh {
    /// Starts a broker with default limits and makes a mesh.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn start() -> Result<Self, TestError> {
        Self::start_with(Limits::default()).await
    }

    /// Starts a broker with these limits and makes a mesh.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn start_with(limits: Limits) -> Result<Self, TestError> {
        let dir = tempfile::tempdir()?;
        let port = HeldPort::take()?;
        let listener = port.listen().await?;
        let clock = Clock::system();
        let store = store_for_tests()?;
        let broker = serve(dir.path(), store.as_ref(), listener, &limits, &clock).await?;
        let owner = KeyPair::from_seed(&random()?);
        let first = first_entry(&owner, clock.now().wall)?;
        let mesh = Self {
            url: broker.url(),
            broker: Mutex::new(Some(broker)),
            dir,
            peers: tempfile::tempdir()?,
            port,
            clock,
            limits,
            owner: OwnerKey(owner),
            first,
            store,
        };
        mesh.create().await?;
        Ok(mesh)
    }

    async fn create(&self) -> Result<(), TestError> {
        let entry = json!({"e": self.first.to_base64url(), "sig": self.first.signature.to_hex()});
        let body = json!({"log_entry": entry}).to_string();
        let answer = http(self.addr(), "POST", "/mesh/create", &[], &body).await?;
        if answer.status == 200 {
            return Ok(());
        }
        Err(TestError::Refused {
            status: answer.status,
            body: answer.body,
        })
    }

    /// The broker's WebSocket address; it stays the same when the broker is started again.
    pub fn url(&self) -> BrokerUrl {
        self.url.clone()
    }

    /// Where the broker listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The mesh's id.
    pub fn id(&self) -> MeshId {
        self.first.mesh_id()
    }

    /// The key of the mesh's owner.
    pub fn owner(&self) -> &KeyPair {
        &self.owner.0
    }

    /// The entry that made the mesh.
    pub fn first_entry(&self) -> &SignedEntry {
        &self.first
    }

    /// The broker's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Moves the broker's clock forward.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Ends the broker as SIGKILL does and starts it again in the same folder, on the same port.
    ///
    /// # Errors
    /// [`TestError`] if it does not start again.
    pub async fn kill_broker(&self) -> Result<(), TestError> {
        if let Some(broker) = self.broker.lock().await.take() {
            broker.kill().await;
        }
        self.start_broker().await
    }

    /// Stops the broker properly. Peers find nobody until [`TestMesh::start_broker`].
    ///
    /// # Errors
    /// [`TestError`] if it could not tell everyone in 5 seconds.
    pub async fn stop_broker(&self) -> Result<(), TestError> {
        if let Some(broker) = self.broker.lock().await.take() {
            broker.shutdown(Duration::from_secs(5)).await?;
        }
        Ok(())
    }

    /// Starts the broker again, if it does not run.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn start_broker(&self) -> Result<(), TestError> {
        let mut broker = self.broker.lock().await;
        if broker.is_some() {
            return Ok(());
        }
        // Whoever had the store may not be gone entirely, and not every system holds ports.
        let mut tries = 0;
        let started = loop {
            let result = self.try_start().await;
            tries += 1;
            let held = matches!(
                result,
                Err(TestError::Io(_)
                    | TestError::Broker(BrokerError::Store(
                        StoreError::InUse { .. } | StoreError::Held { .. }
                    )))
            );
            if !held || tries == 100 {
                break result?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        *broker = Some(started);
        Ok(())
    }

    async fn try_start(&self) -> Result<BrokerHandle, TestError> {
        let listener = self.port.listen().await?;
        let (dir, store) = (self.dir.path(), self.store.as_ref());
        Ok(serve(dir, store, listener, &self.limits, &self.clock).await?)
    }

    /// Cuts every connection without a close frame, as a broken network does.
    pub async fn drop_connection(&self) {
        if let Some(broker) = &*self.broker.lock().await {
            broker.drop_connections();
        }
    }

    /// The broker's folder.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Every file that the broker keeps, to look for what must not be in them.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn data_files(&self) -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }
}

/// The PostgreSQL that `CLAUDEMESH_TEST_STORE` names, with a schema of its own; none: the folder.
fn store_for_tests() -> Result<Option<PostgresUrl>, TestError> {
    let Some(url) = std::env::var("CLAUDEMESH_TEST_STORE")
        .ok()
        .filter(|url| !url.is_empty())
    else {
        return Ok(None);
    };
    let name = claudemesh_core::encoding::hex(&random()?);
    let name = name.get(..16).unwrap_or_default();
    let sign = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{sign}schema=m{name}").parse();
    url.map(Some)
        .map_err(|_| TestError::Unexpected("CLAUDEMESH_TEST_STORE is no URL of PostgreSQL"))
}

async fn serve(
    dir: &Path,
    store: Option<&PostgresUrl>,
    listener: TcpListener,
    limits: &Limits,
    clock: &Clock,
) -> Result<BrokerHandle, BrokerError> {
    let mut builder = Broker::builder().data_dir(dir);
    if let Some(store) = store {
        builder = builder.postgres(store.clone());
    }
    builder
        // What is tested ends processes, not machines.
        .durability(Durability::Process)
        .limits(limits.clone())
        .clock(clock.clone())
        .silent(Duration::ZERO)
        .serve(listener)
        .await
}

fn first_entry(owner: &KeyPair, now: u64) -> Result<SignedEntry, TestError> {
    let bad = |_| TestError::Unexpected("a name is not one");
    let draft = Draft {
        mesh: None,
        seq: 0,
        prev: Hash::ZERO,
        at: now,
        body: Body::MeshCreated {
            slug: MeshSlug::new("test").map_err(bad)?,
            salt: random()?,
            recovery: None,
            name: Name::new("owner").map_err(bad)?,
        },
    };
    Ok(draft.sign(owner, None))
}

fn random() -> Result<[u8; 32], TestError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| TestError::Unexpected("no random bytes"))?;
    Ok(bytes)
}
