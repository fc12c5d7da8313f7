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
use crate::create::{CreatePolicy, Tokens};
use crate::limits::Limits;
use crate::proxied::Cidr;
use crate::store::{Durability, StoreError, StoreText};
use crate::tls::TlsFiles;

/// For how long a port or folder that is still held is waited for: a broker that is restarted
/// meets the end of the one before.
const PATIENCE: Duration = Duration::from_secs(2);
/// For how long a database that cannot be reached is waited for at the start.
const DATABASE_PATIENCE: Duration = Duration::from_secs(30);
/// Connections that may wait to be accepted. After a restart all peers come back at once; who does
/// not fit is dropped by the system and tries again a second later.
const BACKLOG: u32 = 4_096;
/// For how long the broker may take to stop.
const DEADLINE: Duration = Duration::from_secs(10);

const HELP: &str = "\
Begin on this machine:
  broker-min --data ./broker
For a team, with a certificate of its own (docs/self-host.md has every step):
  broker-min --data /var/lib/claudemesh --listen 0.0.0.0:443 \\
    --public-url wss://broker.example/ws --tls-cert cert.pem --tls-key key.pem
  broker-min token add ana --data /var/lib/claudemesh
Behind a proxy that speaks TLS:
  broker-min --data /var/lib/claudemesh --public-url wss://broker.example/ws \\
    --trusted-proxy 127.0.0.1

Other commands, each with its own --help:
  check            say what is wrong with the settings, and change nothing
  token            add, list and revoke the tokens by which meshes are made
  mesh             list, show, suspend, resume, delete and export meshes; their quota
  gc               delete what is no longer needed, and give the room back
  backup, restore  copy the store while the broker runs; put a copy in its place
  move             move the store from the folder into PostgreSQL
  audit verify     check the audit table, also against what peers were told

Each flag is also a variable (--hello-ms is CLAUDEMESH_BROKER_HELLO_MS; commas part many values)
and a line in the file of --config (hello-ms = 10000). A flag goes before the variable, the variable
before the file.

The broker sees who writes to whom and when, never what. SIGTERM or Ctrl-C stops it properly; SIGHUP
reads the certificate anew.";

/// Route end-to-end encrypted messages between claudemesh peers
#[derive(Debug, Clone, Parser)]
#[command(
    name = "broker-min",
    version,
    after_help = HELP,
    max_term_width = 100
)]
pub struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7900")]
    pub listen: SocketAddr,
    /// Folder for everything that is kept; made if it is not there
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_BROKER_DATA")]
    pub data: PathBuf,
    /// Keep meshes and messages in PostgreSQL: postgres://USER@HOST/DATABASE. Without it, in a file
    /// of the folder. Tokens and what is said of single meshes stay in the folder
    #[arg(
        long,
        value_name = "URL",
        env = "CLAUDEMESH_BROKER_STORE",
        hide_env_values = true
    )]
    pub store: Option<StoreText>,
    /// Address by which peers dial this broker, such as wss://broker.example/ws; may be repeated
    #[arg(long = "public-url", value_name = "URL")]
    pub public_urls: Vec<BrokerUrl>,
    /// Speak TLS with this certificate: PEM, the chain of it included; a changed file is taken
    /// within seconds
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert: PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Network of proxies whose X-Forwarded-For says which address limits count for, such as
    /// 10.0.0.0/8; may be repeated
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub trusted_proxies: Vec<Cidr>,
    /// Who may make meshes. Without it: open if this listens on this machine only and neither
    /// --public-url nor --trusted-proxy is given, else token
    #[arg(long, value_name = "WHO")]
    pub create: Option<WhoCreates>,
    /// Which numbers the limits begin with
    #[arg(long, value_name = "SET", default_value = "default")]
    pub limits: LimitSet,
    /// What an accepted message survives
    #[arg(long, value_name = "WHAT", default_value = "power")]
    pub durability: Survives,
    /// What to log to stderr: a level, or a filter as in RUST_LOG
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub log_format: LogFormat,
    /// File of settings, one `name = value` a line; the names are those of the flags
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    flags: LimitFlags,
}

impl Args {
    /// The certificate to speak TLS with.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { cert, key })
    }

    /// Who may make meshes, said or not.
    pub fn who_creates(&self) -> WhoCreates {
        let here = self.listen.ip().is_loopback()
            && self.public_urls.is_empty()
            && self.trusted_proxies.is_empty();
        self.create.unwrap_or(if here {
            WhoCreates::Open
        } else {
            WhoCreates::Token
        })
    }
}

/// Who may make meshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhoCreates {
    /// Anybody who reaches the broker
    Open,
    /// Who has a token (broker-min token add)
    Token,
    /// Nobody
    Closed,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = match args.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    let mut stop = Signals::new().map_err(|source| RunError::Io {
        what: "signals",
        source,
    })?;
    let broker = start(&args).await?;
    let url = if args.public_urls.is_empty() {
        broker.url().to_string()
    } else {
        let scheme = if args.tls_cert.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}/ws", broker.local_addr())
    };
    let mut stdout = std::io::stdout();
    // Whoever started it may not listen any more; that is no reason to stop.
    let _ = writeln!(stdout, "listening on {url}").and_then(|()| stdout.flush());
    loop {
        tokio::select! {
            told = stop.next() => match told {
                Told::Stop => break,
                Told::Reload => broker.reload(),
            },
            () = broker.failed() => {
                broker.kill().await;
                return Err(BrokerError::Failed.into());
            }
        }
    }
    tokio::select! {
        stopped = broker.shutdown(DEADLINE) => Ok(stopped?),
        // Asked twice: the store still closes, nobody is told.
        () = stop.stop() => Ok(()),
    }
}

/// Starts, waiting a little for a port or a folder that another one still holds.
async fn start(args: &Args) -> Result<BrokerHandle, RunError> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let result = try_start(args).await;
        let (patience, pause) = match &result {
            Err(
                RunError::PortInUse { .. }
                | RunError::Broker(BrokerError::Store(
                    StoreError::InUse { .. } | StoreError::Held { .. },
                )),
            ) => (PATIENCE, 50),
            Err(RunError::Broker(BrokerError::Store(error @ StoreError::Away { .. }))) => {
                if !told {
                    tracing::warn!(%error, "waiting for the store");
                    told = true;
                }
                (DATABASE_PATIENCE, 500)
            }
            _ => return result,
        };
        if begun.elapsed() >= patience {
            return result;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
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
    builder = builder.create(match args.who_creates() {
        WhoCreates::Open => CreatePolicy::Open,
        WhoCreates::Token => CreatePolicy::Token(Tokens::new(&args.data)),
        WhoCreates::Closed => CreatePolicy::Closed,
    });
    if let Some(store) = &args.store {
        builder = builder.postgres(store.url().map_err(BrokerError::from)?);
    }
    if let Some(files) = args.tls() {
        builder = builder.tls(files);
    }
    for network in &args.trusted_proxies {
        builder = builder.trusted_proxy(*network);
    }
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

/// SIGINT, SIGTERM and SIGHUP.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let terminate = signal(SignalKind::terminate())?;
            let hang_up = signal(SignalKind::hangup())?;
            Ok(Self { terminate, hang_up })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    async fn next(&mut self) -> Told {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            Told::Stop
        }
    }

    /// Waits until it is to stop.
    async fn stop(&mut self) {
        while self.next().await == Told::Reload {}
    }
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    #[cfg_attr(not(unix), allow(dead_code, reason = "there is no such signal"))]
    Reload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_meshes_depends_on_who_can_reach_it() {
        let who = |flags: &[&str]| {
            let all = ["broker-min", "--data", "d"].iter().chain(flags);
            Args::try_parse_from(all).unwrap().who_creates()
        };
        assert_eq!(who(&[]), WhoCreates::Open);
        assert_eq!(who(&["--listen", "[::1]:1"]), WhoCreates::Open);
        assert_eq!(who(&["--listen", "0.0.0.0:1"]), WhoCreates::Token);
        assert_eq!(
            who(&["--public-url", "wss://b.example/ws"]),
            WhoCreates::Token
        );
        assert_eq!(who(&["--trusted-proxy", "127.0.0.1"]), WhoCreates::Token);
        assert_eq!(who(&["--create", "closed"]), WhoCreates::Closed);
        let reached = ["--listen", "0.0.0.0:1", "--create", "open"];
        assert_eq!(who(&reached), WhoCreates::Open);
        let half = ["broker-min", "--data", "d", "--tls-cert", "c"];
        assert!(Args::try_parse_from(half).is_err());
    }
}
