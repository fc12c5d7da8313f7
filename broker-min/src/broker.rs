//! The broker as a value: built, serving, going down.

mod builder;
pub(crate) mod counted;
pub(crate) mod door;
mod handle;
pub(crate) mod shell;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use tokio::sync::{mpsc, oneshot};

pub use builder::BrokerBuilder;
pub use handle::BrokerHandle;

use crate::clock::Clock;
use crate::create::{CreatePolicy, Tokens};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::router::{HttpCall, HttpReply};
use crate::rules::{RulesError, RulesFile};
use crate::store::{PostgresUrlError, StoreError};
use crate::tls::TlsError;
use crate::writer::{Commits, Loads, Writing};
use counted::PerAddress;
use door::Door;
use shell::Input;

/// A broker. Begin with [`Broker::builder`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Broker;

impl Broker {
    /// A builder with default limits; it needs a store.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::new()
    }
}

/// Why a broker did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What shall be the store's URL is none.
    #[error(transparent)]
    StoreUrl(#[from] PostgresUrlError),
    /// This broker was built without PostgreSQL.
    #[error(
        "--store: this broker was built without PostgreSQL; build it with the feature `postgres`, \
         or leave --store out"
    )]
    NoPostgres,
    /// Neither a store nor a folder for one was given.
    #[error("a broker needs a store: give it a data folder")]
    NoStore,
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was said of single meshes cannot be read.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// It was not known whether a write was kept; the broker ended rather than guess.
    #[error("the store failed and the broker stopped; see its log, then start it again")]
    Failed,
    /// The broker did not get everything done in the time that it had to stop.
    #[error("the broker was stopped before everyone was told; nothing that it accepted is lost")]
    Late,
}

/// What sockets and HTTP share.
pub(crate) struct Shared {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) public_urls: Vec<BrokerUrl>,
    pub(crate) metrics: Metrics,
    pub(crate) door: Arc<Door>,
    pub(crate) loads: Loads,
    pub(crate) commits: Commits,
    pub(crate) failed: Arc<AtomicBool>,
    pub(crate) create: CreatePolicy,
    /// The operator's tokens, where there is a folder for them.
    pub(crate) tokens: Option<Tokens>,
    /// What is said of single meshes, where there is a folder for it.
    pub(crate) rules: Option<RulesFile>,
    /// Meshes that were made, or wanted.
    made: PerAddress,
    /// Requests that were refused.
    pub(crate) refusals: PerAddress,
    /// Statuses that were told by HTTP.
    pub(crate) hooks: PerAddress,
    pub(crate) writing: Arc<Writing>,
}

impl Shared {
    /// Asks the router something by HTTP. None: it did not answer in time.
    pub(crate) async fn call(&self, call: HttpCall) -> Option<HttpReply> {
        let (answer, reply) = oneshot::channel();
        let asked = async {
            self.inputs.send(Input::Http(call, answer)).await.ok()?;
            reply.await.ok()
        };
        tokio::time::timeout(Duration::from_secs(10), asked)
            .await
            .ok()?
    }

    /// Counts a mesh that an address wants to make; if it made enough, when to try again.
    pub(crate) fn may_make_mesh(&self, address: IpAddr) -> Result<(), u64> {
        let now = self.clock.now().mono;
        if let Some(ms) = self.made.spent(address, now, self.limits.meshes_per_hour) {
            return Err(ms);
        }
        self.made.count(address, now);
        Ok(())
    }

    /// What keeps the store from taking anything, if something does. Tries it.
    pub(crate) async fn trouble(&self) -> Option<&'static str> {
        if !self.healthy().await {
            return Some("db_down");
        }
        let now = self.clock.now().mono;
        if self.writing.look_again(now) {
            self.commits.probe().await;
        }
        self.writing.trouble()
    }

    /// Whether the store answers.
    pub(crate) async fn healthy(&self) -> bool {
        let answer = self.loads.ask(crate::store::Query::Info).await;
        answer.is_some() && !self.failed.load(Ordering::Acquire)
    }
}
