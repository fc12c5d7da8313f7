//! Puts a broker together and starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve;
use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::encoding::hex;
use claudemesh_core::id::MeshId;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::counted::PerAddress;
use super::door::{Door, DoorListener, Source};
use super::handle::{BrokerHandle, Running};
use super::shell::{Input, Shell, State};
use super::{BrokerError, Shared};
use crate::clock::Clock;
use crate::create::{CreatePolicy, Tokens};
use crate::http;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::proxied::Cidr;
use crate::router::{In, Router, RouterConfig};
use crate::rules::{MeshState, Rules, RulesFile};
use crate::store::{
    BrokerStore, Durability, PostgresUrl, Query, Rows, SqliteStore, StoreError, StoreInfo,
};
use crate::tls::{Tls, TlsFiles};
use crate::writer::StoreThreads;

/// Inputs that may wait for the router; then sockets wait.
const INPUTS: usize = 1_024;
/// Threads that read the store.
const READERS: usize = 2;
/// How often the rules for meshes are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// For how long joins are not announced after a start: everyone comes back then.
const SILENT: Duration = Duration::from_secs(90);

/// Says how a broker shall be; [`BrokerBuilder::serve`] starts it.
#[must_use]
pub struct BrokerBuilder {
    store: Option<Box<dyn BrokerStore>>,
    data_dir: Option<PathBuf>,
    postgres: Option<PostgresUrl>,
    durability: Durability,
    limits: Limits,
    public_urls: Vec<BrokerUrl>,
    tls: Option<TlsFiles>,
    trusted: Vec<Cidr>,
    create: CreatePolicy,
    clock: Clock,
    silent: Duration,
}

impl std::fmt::Debug for BrokerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerBuilder")
            .field("data_dir", &self.data_dir)
            .field("postgres", &self.postgres)
            .field("durability", &self.durability)
            .field("limits", &self.limits)
            .field("public_urls", &self.public_urls)
            .finish_non_exhaustive()
    }
}

impl BrokerBuilder {
    pub(super) fn new() -> Self {
        Self {
            store: None,
            data_dir: None,
            postgres: None,
            durability: Durability::default(),
            limits: Limits::default(),
            public_urls: Vec::new(),
            tls: None,
            trusted: Vec::new(),
            create: CreatePolicy::Open,
            clock: Clock::system(),
            silent: SILENT,
        }
    }

    /// Keeps everything in `store`.
    pub fn store(mut self, store: impl BrokerStore) -> Self {
        self.store = Some(Box::new(store));
        self
    }

    /// Keeps everything in SQLite in this folder, which is made if it is not there.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Keeps meshes and messages in PostgreSQL. What is said of single meshes stays in the folder of
    /// [`BrokerBuilder::data_dir`], if there is one. Needs the feature `postgres`.
    pub fn postgres(mut self, url: PostgresUrl) -> Self {
        self.postgres = Some(url);
        self
    }

    /// What an accepted message survives, in the folder of [`BrokerBuilder::data_dir`]
    /// or in PostgreSQL.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The bounds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// An address by which peers dial this broker; may be given many times. Without any, the
    /// request's Host header is believed, so that a man in the middle can pass a hello on.
    pub fn public_url(mut self, url: BrokerUrl) -> Self {
        self.public_urls.push(url);
        self
    }

    /// Speaks TLS with this certificate, and nothing else. Changed files are taken within a few
    /// seconds; if the new pair cannot be used, the old one stays and the log says why.
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Proxies whose `X-Forwarded-For` or `Forwarded` says which address a connection counts for;
    /// may be called many times. From anyone else these headers are not looked at.
    pub fn trusted_proxy(mut self, network: Cidr) -> Self {
        self.trusted.push(network);
        self
    }

    /// Who may make meshes: anybody, unless this is called.
    pub fn create(mut self, policy: CreatePolicy) -> Self {
        self.create = policy;
        self
    }

    /// The clock, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// For how long joins are not announced after the start: 90 s unless this is called.
    pub fn silent(mut self, time: Duration) -> Self {
        self.silent = time;
        self
    }

    /// Opens the store and serves on `listener` until the handle is dropped.
    ///
    /// # Errors
    /// [`BrokerError`]: the store cannot be used, or the system refused something.
    pub async fn serve(self, listener: TcpListener) -> Result<BrokerHandle, BrokerError> {
        let local_addr = listener
            .local_addr()
            .map_err(io("the address of the listener"))?;
        self.serve_from(Source::Tcp(listener), local_addr).await
    }

    /// The same over connections of a simulated network, as if it listened at `local_addr`. There
    /// is no TLS.
    ///
    /// # Errors
    /// As [`BrokerBuilder::serve`].
    #[cfg(feature = "testing")]
    pub async fn serve_streams(
        self,
        streams: mpsc::Receiver<(Box<dyn claudemesh_core::ByteStream>, SocketAddr)>,
        local_addr: SocketAddr,
    ) -> Result<BrokerHandle, BrokerError> {
        self.serve_from(Source::Given(streams), local_addr).await
    }

    async fn serve_from(
        mut self,
        source: Source,
        local_addr: SocketAddr,
    ) -> Result<BrokerHandle, BrokerError> {
        let url = match self.public_urls.first() {
            Some(url) => url.clone(),
            None => listening_on(local_addr, self.tls.is_some())?,
        };
        let tls = self.tls.take().map(Tls::open).transpose()?;
        let rules = self.data_dir.as_deref().map(RulesFile::new);
        let tokens = self.data_dir.as_deref().map(Tokens::new);
        let said = rules.as_ref().map(RulesFile::read).transpose()?;
        let gone: Vec<MeshId> = (said.iter().flat_map(Rules::iter))
            .filter(|(_, rule)| rule.state == MeshState::Deleted)
            .map(|(mesh, _)| mesh.clone())
            .collect();
        // Opening waits for the disk, and for a folder that another one still holds.
        let durability = self.durability;
        let place = match (
            self.store.take(),
            self.postgres.take(),
            self.data_dir.take(),
        ) {
            (Some(store), _, _) => Place::Given(store),
            (None, Some(url), dir) => Place::Postgres(url, dir),
            (None, None, Some(dir)) => Place::Folder(dir),
            (None, None, None) => return Err(BrokerError::NoStore),
        };
        let opening = tokio::task::spawn_blocking(move || open_store(place, durability, &gone));
        let (store, info) = opening
            .await
            .map_err(|error| io("opening the store")(std::io::Error::other(error)))??;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(store.reader()?);
        }
        let metrics = Metrics::new();
        let (to_answers, answers) = mpsc::unbounded_channel();
        let threads = StoreThreads::start(store, readers, &to_answers, &metrics)
            .map_err(io("the store's threads"))?;
        let (to_inputs, inputs) = mpsc::channel(INPUTS);
        let (to_control, control) = mpsc::unbounded_channel();
        let door = Door::new(&self.limits, self.trusted);
        let config = RouterConfig {
            limits: self.limits.clone(),
            store: info,
            broker_id: hex(&random::<16>()?),
            silent_ms: u64::try_from(self.silent.as_millis()).unwrap_or(u64::MAX),
        };
        let mut router = Router::new(config, random()?);
        if let Some(said) = said {
            router.handle(self.clock.now(), In::Rules(Arc::new(said)));
        }
        let shell = Shell {
            router,
            clock: self.clock.clone(),
            inputs,
            answers,
            control,
            commits: threads.commits(),
            loads: threads.loads(),
            door: door.clone(),
            metrics: metrics.clone(),
            state: State::default(),
        };
        if self.public_urls.is_empty() {
            tracing::warn!(
                "no public URL is set: hellos are bound to whatever the Host header says; \
                 set the address that peers dial"
            );
        }
        let shared = Arc::new(Shared {
            inputs: to_inputs,
            limits: self.limits,
            clock: self.clock,
            public_urls: self.public_urls,
            metrics,
            door: door.clone(),
            loads: threads.loads(),
            failed: threads.failure(),
            create: self.create,
            tokens,
            rules: rules.clone(),
            made: PerAddress::default(),
            refusals: PerAddress::default(),
            hooks: PerAddress::default(),
            writing: threads.writing(),
            commits: threads.commits(),
        });
        let service = http::service(shared.clone());
        let entrance = DoorListener {
            source,
            door: door.clone(),
            tls: tls.clone(),
            metrics: shared.metrics.clone(),
        };
        let ruling = rules.map(|file| tokio::spawn(follow(file, shared.inputs.clone())));
        tracing::info!(%local_addr, "broker started");
        Ok(BrokerHandle::new(Running {
            local_addr,
            url,
            shared,
            threads,
            control: to_control,
            accepting: tokio::spawn(async move {
                let _ = serve(entrance, service).await;
            }),
            shell: tokio::spawn(shell.run()),
            sweeping: tokio::spawn(async move { door.sweep().await }),
            ruling,
            watching: tls.clone().map(|tls| tokio::spawn(tls.watch())),
            tls,
        }))
    }
}

/// Tells the router of changed rules, for as long as the broker runs.
async fn follow(file: RulesFile, inputs: mpsc::Sender<Input>) {
    let mut seen = None;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let found = file.bytes();
        let bytes = match found {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%error, "the rules for meshes cannot be read; the old ones stay");
                continue;
            }
        };
        if seen.as_ref() == Some(&bytes) {
            continue;
        }
        let rules = if bytes.is_empty() {
            Ok(Rules::default())
        } else {
            file.parse(&bytes)
        };
        match rules {
            Ok(rules) => {
                let input = Input::Router(In::Rules(Arc::new(rules)));
                if inputs.send(input).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "the old rules stay"),
        }
        seen = Some(bytes);
    }
}

/// Where everything is kept.
enum Place {
    Given(Box<dyn BrokerStore>),
    Folder(PathBuf),
    Postgres(PostgresUrl, Option<PathBuf>),
}

#[cfg(feature = "postgres")]
fn open_postgres(
    url: &PostgresUrl,
    dir: Option<PathBuf>,
    durability: Durability,
    gone: &[MeshId],
) -> Result<Box<dyn BrokerStore>, BrokerError> {
    if let Some(dir) = dir {
        crate::files::private_dir(&dir).map_err(io("the broker's folder"))?;
    }
    let mut store = crate::store::PostgresStore::open(url, durability)?;
    store.delete_meshes(gone)?;
    Ok(Box::new(store))
}

#[cfg(not(feature = "postgres"))]
fn open_postgres(
    _: &PostgresUrl,
    _: Option<PathBuf>,
    _: Durability,
    _: &[MeshId],
) -> Result<Box<dyn BrokerStore>, BrokerError> {
    Err(BrokerError::NoPostgres)
}

fn open_store(
    place: Place,
    durability: Durability,
    gone: &[MeshId],
) -> Result<(Box<dyn BrokerStore>, StoreInfo), BrokerError> {
    let store = match place {
        Place::Given(store) => store,
        Place::Folder(dir) => {
            let store = SqliteStore::open(&dir, durability)?;
            store.delete_meshes(gone)?;
            Box::new(store)
        }
        Place::Postgres(url, dir) => open_postgres(&url, dir, durability, gone)?,
    };
    match store.reader()?.load(&Query::Info)? {
        Rows::Info(info) => Ok((store, info)),
        _ => Err(BrokerError::Store(StoreError::Damaged {
            path: "store".to_owned(),
            why: "it does not say what it is".to_owned(),
        })),
    }
}

/// The address by which a listener is reached from its own machine.
fn listening_on(addr: SocketAddr, tls: bool) -> Result<BrokerUrl, BrokerError> {
    let scheme = if tls { "wss" } else { "ws" };
    let text = if addr.ip().is_unspecified() {
        format!("{scheme}://localhost:{}/ws", addr.port())
    } else {
        format!("{scheme}://{addr}/ws")
    };
    text.parse().map_err(|error| BrokerError::Io {
        what: "the address of the listener".to_owned(),
        source: std::io::Error::other(error),
    })
}

fn random<const N: usize>() -> Result<[u8; N], BrokerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| BrokerError::Io {
        what: "random bytes".to_owned(),
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> BrokerError {
    move |source| BrokerError::Io {
        what: what.to_owned(),
        source,
    }
}
