//! The command line, for the binary and for other programs that offer a broker as a command.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use claudemesh_core::broker_url::BrokerUrl;
use tokio::net::{TcpListener, TcpSocket};

use crate::broker::{Broker, BrokerError, BrokerHandle};
use crate::config::LimitFlags;
use crate::limits::Limits;
use crate::store::{Durability, StoreError};

/// For how long a port or folder that is still held is waited for: a broker that is restarted
/// meets the end of the one before.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted. After a restart all peers come back at once; who does
/// not fit is dropped by the system and tries again a second later.
const BACKLOG: u32 = 4_096;
/// For how long the broker may take to stop.
const DEADLINE: Duration = Duration::from_secs(10);

/// Route end-to-end encrypted messages between claudemesh peers
#[derive(Debug, Clone, Parser)]
#[command(
    name = "broker-min",
    version,
    after_help = "broker-min audit verify --data DIR: check the audit table of a stopped broker"
)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub listen: SocketAddr,
    /// Folder for everything that is kept; made if it is not there
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_BROKER_DATA")]
    pub data: PathBuf,
    /// Address by which peers dial this broker, such as wss://broker.example/ws; may be repeated
    #[arg(long = "public-url", value_name = "URL")]
    pub public_urls: Vec<BrokerUrl>,
    /// Which numbers the limits begin with
    #[arg(long, value_name = "SET", default_value = "default")]
    pub limits: LimitSet,
    /// What an accepted message survives
    #[arg(long, value_name = "WHAT", default_value = "power")]
    pub durability: Survives,
    /// What to log to stderr: a level, or a filter as in RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    #[command(flatten)]
    flags: LimitFlags,
}

/// Sets of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LimitSet {
    /// For meshes of any size
    Default,
    /// Those of the existing broker
    Reference,
}

/// What an accepted message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Survives {
    /// A power cut: every commit waits for the disk
    Power,
    /// The end of the process, not a power cut
    Process,
}

/// Why the command ended badly. Its text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The port is taken.
    #[error(
        "{addr} is in use; stop what listens there, or choose another --listen (port 0 takes a \
         free one)"
    )]
    PortInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; choose another --listen")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The broker did not start, or failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Runs a broker until SIGINT or SIGTERM. When it is ready it prints the one line
/// `listening on <address>` to stdout.
///
/// # Errors
/// [`RunError`].
pub async fn run(args: Args) -> Result<(), RunError> {
    let filter = tracing_subscriber::EnvFilter::new(&args.log);
    // A program that embeds this may have a subscriber of its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
    let mut stop = Signals::new().map_err(|source| RunError::Io {
        what: "signals",
        source,
    })?;
    let broker = start(&args).await?;
    let url = if args.public_urls.is_empty() {
        broker.url().to_string()
    } else {
        format!("ws://{}/ws", broker.local_addr())
    };
    let mut stdout = std::io::stdout();
    // Whoever started it may not listen any more; that is no reason to stop.
    let _ = writeln!(stdout, "listening on {url}").and_then(|()| stdout.flush());
    tokio::select! {
        () = stop.next() => {}
        () = broker.failed() => {
            broker.kill().await;
            return Err(BrokerError::Failed.into());
        }
    }
    tokio::select! {
        stopped = broker.shutdown(DEADLINE) => Ok(stopped?),
        // Asked twice: the store still closes, nobody is told.
        () = stop.next() => Ok(()),
    }
}

/// Starts, waiting a little for a port or a folder that another one still holds.
async fn start(args: &Args) -> Result<BrokerHandle, RunError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let result = try_start(args).await;
        let held = matches!(
            result,
            Err(RunError::PortInUse { .. }
                | RunError::Broker(BrokerError::Store(StoreError::InUse { .. })))
        );
        if !held || Instant::now() >= until {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn try_start(args: &Args) -> Result<BrokerHandle, RunError> {
    let addr = args.listen;
    let listener = listen(addr).map_err(|source| {
        if source.kind() == std::io::ErrorKind::AddrInUse {
            RunError::PortInUse { addr }
        } else {
            RunError::Listen { addr, source }
        }
    })?;
    let mut limits = match args.limits {
        LimitSet::Default => Limits::default(),
        LimitSet::Reference => Limits::reference(),
    };
    args.flags.apply(&mut limits);
    let mut builder = Broker::builder()
        .data_dir(&args.data)
        .limits(limits)
        .durability(match args.durability {
            Survives::Power => Durability::Power,
            Survives::Process => Durability::Process,
        });
    for url in &args.public_urls {
        builder = builder.public_url(url.clone());
    }
    Ok(builder.serve(listener).await?)
}

/// As [`TcpListener::bind`], which lets only 128 connections wait.
fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminate = signal(SignalKind::terminate())?;
            Ok(Self { terminate })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
