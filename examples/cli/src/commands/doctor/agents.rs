//! What agents need: the MCP server's greeting, and the clients that are set up.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::{Level, Report};
use crate::agent::client::{Client, Moment};
use crate::commands::hook::MODE;
use crate::commands::install::wanted;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::install::{self, Places, State, Wanted};

/// How long the server, or a hook, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The server's greeting and its tools, as a client asks for them. It has a folder of its own: it is
/// not to be a session of a mesh for that.
pub(super) async fn server(report: &mut Report) {
    let start = Instant::now();
    match tokio::time::timeout(PATIENCE, greeted()).await {
        Ok(Ok(tools)) => {
            let took = start.elapsed().as_millis();
            let message = format!("the server answers, tools: {tools}, in {took} ms");
            report.add("mcp", None, Level::Ok, message);
        }
        Ok(Err(failure)) => {
            let message = format!("`claudemesh mcp` does not work: {failure}");
            report.add("mcp", None, Level::Fail, message);
        }
        Err(_) => report.add("mcp", None, Level::Fail, "`claudemesh mcp` does not answer"),
    }
}

async fn greeted() -> Result<usize, Failure> {
    let io = |error: std::io::Error| Failure::new(Code::Io, error.to_string());
    let dir = tempfile::tempdir().map_err(io)?;
    let mut server = Command::new(install::program()?)
        .arg("mcp")
        .env("CLAUDEMESH_CONFIG_DIR", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(io)?;
    let no_pipe = || Failure::new(Code::Internal, "no pipe");
    let mut stdin = server.stdin.take().ok_or_else(no_pipe)?;
    let stdout = server.stdout.take().ok_or_else(no_pipe)?;
    let mut lines = BufReader::new(stdout).lines();
    let hello = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "claudemesh doctor", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    let asked = format!("{hello}\n{ready}\n{list}\n");
    stdin.write_all(asked.as_bytes()).await.map_err(io)?;
    stdin.flush().await.map_err(io)?;
    while let Some(line) = lines.next_line().await.map_err(io)? {
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        if answer.get("id") == Some(&json!(2)) {
            let tools = answer.pointer("/result/tools").and_then(Value::as_array);
            let wrong = || Failure::new(Code::Internal, "it lists no tools");
            return tools.map(Vec::len).ok_or_else(wrong);
        }
    }
    Err(Failure::new(Code::Failed, "it ended without an answer"))
}

/// The clients that were used here: is each set up, do its hooks run, what wakes an agent in it.
pub(super) async fn clients(context: &Context, report: &mut Report) {
    let (Ok(places), Ok(wanted)) = (Places::new(), wanted(context)) else {
        return;
    };
    for client in places.found() {
        let (title, name) = (client.title(), client.as_str());
        let (level, message) = match install::state(client, &places, &wanted) {
            Ok(State::Complete) => match hook_runs(client, &wanted).await {
                Ok(()) => (Level::Ok, format!("{title}: {}", client.woken_by())),
                Err(why) => (
                    Level::Fail,
                    format!("{title}: its hook does not run: {why}"),
                ),
            },
            Ok(State::Partial) => (
                Level::Warn,
                format!(
                    "{title}: what is set up is not all, or for another program; `claudemesh \
                     install --client {name}` puts it right"
                ),
            ),
            Ok(State::Absent) => (
                Level::Ok,
                format!("{title}: not set up; `claudemesh install --client {name}` does it"),
            ),
            Err(failure) => (Level::Warn, format!("{title}: {failure}")),
        };
        report.add("client", None, level, message);
    }
}

/// Runs a hook as the client does, switched off.
async fn hook_runs(client: Client, wanted: &Wanted) -> Result<(), String> {
    let line = wanted.hook(client, Moment::Stop);
    let mut command = match cfg!(windows) {
        true => Command::new("cmd"),
        false => Command::new("sh"),
    };
    command
        .arg(if cfg!(windows) { "/C" } else { "-c" })
        .arg(line);
    command.env(MODE, "off").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).status()).await;
    match status {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not done within {} s", PATIENCE.as_secs())),
    }
}
