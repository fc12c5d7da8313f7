//! The demo's broker: this same program, as a process of its own that can be killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::exit::{Code, Failure};

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

pub(super) struct Broker {
    child: Child,
    /// Kept open: the broker may have more to say.
    _stdout: BufReader<ChildStdout>,
    url: BrokerUrl,
    data: PathBuf,
}

impl Broker {
    /// Starts one on this port of this machine; 0 takes a free one.
    pub(super) async fn start(data: &Path, port: u16) -> Result<Self, Failure> {
        let failed =
            |why: String| Failure::new(Code::Internal, format!("the broker did not start: {why}"));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut child = Command::new(program)
            .args(["broker", "--log", "error", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| failed("no stdout".to_owned()))?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = tokio::time::timeout(START, stdout.read_line(&mut line)).await;
        match read {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("not ready within {} s", START.as_secs()))),
        }
        let url = line.trim().strip_prefix("listening on ");
        let url = url.ok_or_else(|| failed("it ended at once".to_owned()))?;
        let url = url.parse()?;
        Ok(Self {
            child,
            _stdout: stdout,
            url,
            data: data.to_owned(),
        })
    }

    pub(super) const fn url(&self) -> &BrokerUrl {
        &self.url
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Kills it the hard way (SIGKILL on unix): it gets no chance to write anything down.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(|error| {
            Failure::new(
                Code::Internal,
                format!("the broker cannot be killed: {error}"),
            )
        })
    }

    /// Starts again after [`Broker::kill`]: same port, same folder.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        let (data, port) = (self.data.clone(), self.url.port());
        *self = Self::start(&data, port).await?;
        Ok(())
    }
}
