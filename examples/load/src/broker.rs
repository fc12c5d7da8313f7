//! The broker under load: a child of this process, or one that runs elsewhere.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use claudemesh_core::BrokerUrl;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};

use crate::cli::{BrokerArgs, Durability};
use crate::error::{During as _, LoadError};
use crate::report::{Report, rounded};

/// Limits that a load run raises, because all of its load comes from one machine and few members.
const RAISED: &[(&str, &str)] = &[
    ("--deliveries-per-s", "1000000000"),
    ("--delivery-burst", "1000000000"),
    ("--mailbox-rows", "10000000"),
    ("--mailbox-rows-per-sender", "10000000"),
    ("--mailbox-bytes", "17179869184"),
    ("--connections-per-mesh", "100000"),
    ("--connections", "100000"),
    ("--pending-per-address", "100000"),
    ("--meshes-per-hour", "1000000"),
];
/// For how long a broker may take to say where it listens.
const START: Duration = Duration::from_secs(20);

/// A broker.
pub(crate) struct Broker {
    url: BrokerUrl,
    own: Option<Own>,
}

/// A broker that is our own child.
struct Own {
    program: PathBuf,
    dir: TempDir,
    durability: Durability,
    child: Child,
    // Bound and never listening: nobody else is given the port while the broker is away.
    _port: Option<TcpSocket>,
    // Its stdout stays open, for it may write there.
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    /// Starts one, unless the command line names one that runs.
    pub(crate) async fn start(args: &BrokerArgs, report: &Report) -> Result<Self, LoadError> {
        if let Some(url) = &args.url {
            if url.is_tls() {
                let text = "this program speaks no TLS; name the broker by ws://";
                return Err(LoadError::Usage(text.to_owned()));
            }
            report.note("limits are those of the running broker; raise --deliveries-per-s there");
            let url = url.clone();
            return Ok(Self { url, own: None });
        }
        let program = find()?;
        let dir = tempfile::Builder::new().prefix("claudemesh-load").tempdir();
        let dir = dir.during("a folder for the broker")?;
        let durability = args.durability;
        let (port, address) = held_port().during("a port for the broker")?;
        let (child, stdout, url) = spawn(&program, &dir, durability, &address).await?;
        let raised: Vec<_> = RAISED
            .iter()
            .map(|(flag, n)| format!("{flag} {n}"))
            .collect();
        report.note(&format!(
            "broker at {url}, limits raised: {}",
            raised.join(" ")
        ));
        let own = Own {
            program,
            dir,
            durability,
            child,
            _port: port,
            _stdout: stdout,
        };
        Ok(Self {
            url,
            own: Some(own),
        })
    }

    /// Its WebSocket address; it stays the same over restarts.
    pub(crate) fn url(&self) -> &BrokerUrl {
        &self.url
    }

    /// The file that it keeps everything in, if it is our own.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        self.own
            .as_ref()
            .map(|own| own.dir.path().join("broker.db"))
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), LoadError> {
        let own = self.own_mut()?;
        own.child.kill().await.during("killing the broker")
    }

    /// Starts it again on its port, in its folder.
    pub(crate) async fn restart(&mut self) -> Result<(), LoadError> {
        let address = self.url.authority();
        let own = self.own_mut()?;
        let (child, stdout, _) = spawn(&own.program, &own.dir, own.durability, &address).await?;
        own.child = child;
        own._stdout = stdout;
        Ok(())
    }

    fn own_mut(&mut self) -> Result<&mut Own, LoadError> {
        let text = "only a broker that this program started can be killed; leave --url out";
        self.own.as_mut().ok_or(LoadError::Usage(text.to_owned()))
    }

    /// Whether our own broker's process still runs; of another one nothing is known here.
    pub(crate) fn runs(&mut self) -> Option<bool> {
        let own = self.own.as_mut()?;
        Some(matches!(own.child.try_wait(), Ok(None)))
    }

    /// Its resident memory in KiB: now, and at its highest.
    pub(crate) fn memory_kib(&self) -> Option<(u64, u64)> {
        let pid = self.own.as_ref()?.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// The same in MiB, for an answer.
    pub(crate) fn memory_mib(&self) -> serde_json::Value {
        let mib = |kib: u64| rounded(f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1_024.0);
        match self.memory_kib() {
            Some((now, most)) => serde_json::json!({"now": mib(now), "most": mib(most)}),
            None => serde_json::Value::Null,
        }
    }

    /// The size of its files in MiB, if they are our own: the journal of the database too.
    pub(crate) fn file_mib(&self) -> Option<f64> {
        let own = self.own.as_ref()?;
        let files = std::fs::read_dir(own.dir.path()).ok()?;
        let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len() >> 10));
        let kib: u64 = sizes.sum();
        Some(rounded(
            f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1_024.0,
        ))
    }

    /// The processor time that it has used, in seconds.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        let pid = self.own.as_ref()?.child.id()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
        // A tick is a hundredth of a second wherever Linux runs.
        Some(rounded(f64::from(ticks(11)? + ticks(12)?) / 100.0))
    }
}

/// `broker-min` in the folder of this program.
fn find() -> Result<PathBuf, LoadError> {
    let own = std::env::current_exe().during("where this program lies")?;
    let name = format!("broker-min{}", std::env::consts::EXE_SUFFIX);
    let program = own.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    let looked = program.display().to_string();
    Err(LoadError::NoBroker { looked })
}

/// A free port, held for the broker where the system can do that, which Linux can.
fn held_port() -> std::io::Result<(Option<TcpSocket>, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
    let address = socket.local_addr()?.to_string();
    Ok((cfg!(target_os = "linux").then_some(socket), address))
}

async fn spawn(
    program: &PathBuf,
    dir: &TempDir,
    durability: Durability,
    address: &str,
) -> Result<(Child, BufReader<ChildStdout>, BrokerUrl), LoadError> {
    let mut command = Command::new(program);
    command.arg("--data").arg(dir.path());
    command.args([
        "--listen",
        address,
        "--log",
        "warn",
        "--durability",
        durability.as_str(),
    ]);
    for (flag, value) in RAISED {
        command.args([flag, value]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().during("starting the broker")?;
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| LoadError::step("the broker", "it has no stdout"))?;
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    let read = tokio::time::timeout(START, stdout.read_line(&mut line)).await;
    read.during("the broker did not say where it listens")?
        .during("the broker's stdout")?;
    let Some(url) = line.trim().strip_prefix("listening on ") else {
        return Err(LoadError::step(
            "the broker did not start",
            "see its words above",
        ));
    };
    Ok((child, stdout, url.parse().during("the broker's address")?))
}
