//! One run of the command for one message.
//!
//! The text is on its stdin, the rest in its environment. Nothing of a message is ever part of the
//! command line, and no shell reads it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use claudemesh_core::config::MeshEntry;
use claudemesh_core::peer::Received;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::longest;
use crate::agent::address::VARIABLE;
use crate::cli::Serve;
use crate::exit::{Code, Failure};
use crate::format::iso_time;

/// How a run ended.
pub(super) enum Ended {
    /// With code 0: what it said on stdout, if that is wanted, and whether it was cut.
    Well { said: String, cut: bool },
    /// In any other way, in words.
    Badly(String),
}

/// What is run.
pub(super) struct Program<'a> {
    args: &'a Serve,
    mesh: &'a MeshEntry,
    session: &'a str,
}

impl<'a> Program<'a> {
    pub(super) const fn new(args: &'a Serve, mesh: &'a MeshEntry, session: &'a str) -> Self {
        Self {
            args,
            mesh,
            session,
        }
    }

    /// Runs it for a message, for as long as it may take.
    ///
    /// Dropping the future ends the command, and all that it started.
    pub(super) async fn run(&self, message: &Received) -> Result<Ended, Failure> {
        let mut command = self.command(message)?;
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let name = self.args.command.first().map(String::as_str);
                let why = format!("{} cannot be started: {error}", name.unwrap_or_default());
                return Ok(Ended::Badly(why));
            }
        };
        let mut group = Group::of(&child);
        let limit = self.args.timeout;
        let ended = tokio::time::timeout(limit, talk(&mut child, message)).await;
        let ended = match ended {
            Ok(Ok((status, said, cut))) => ended_with(status, said, cut),
            Ok(Err(error)) => Ended::Badly(format!("the command cannot be talked to: {error}")),
            Err(_) => Ended::Badly(format!(
                "the command took longer than {} s",
                limit.as_secs()
            )),
        };
        // What it left running in the background holds nothing up, and ends with it.
        group.end();
        Ok(ended)
    }

    fn command(&self, message: &Received) -> Result<Command, Failure> {
        let Some((name, arguments)) = self.args.command.split_first() else {
            return Err(Failure::new(Code::Internal, "there is no command"));
        };
        let mut command = Command::new(name);
        command
            .args(arguments)
            .kill_on_drop(true)
            .stdin(Stdio::piped());
        // With --json stdout is this program's own.
        let said = if self.args.reply {
            Stdio::piped()
        } else {
            Stdio::from(std::io::stderr())
        };
        command.stdout(said);
        #[cfg(unix)]
        command.process_group(0);
        let name = message.from.name.as_ref();
        let optional = [
            ("CHANNEL", message.channel.as_ref().map(ToString::to_string)),
            (
                "REPLY_TO",
                message.reply_to.as_ref().map(ToString::to_string),
            ),
        ];
        let always = [
            ("ID", message.id.to_string()),
            (
                "FROM",
                name.map(|_| message.from.shown()).unwrap_or_default(),
            ),
            ("FROM_KEY", message.from.key.to_hex()),
            ("VERIFIED", u8::from(message.from.verified).to_string()),
            ("PROTECTED", u8::from(message.protected).to_string()),
            ("PRIORITY", message.priority.as_str().to_owned()),
            ("CONTENT_TYPE", message.content_type.clone()),
            ("SENT_AT", iso_time(message.sent_at)),
            (
                "EXPECTS_REPLY",
                u8::from(message.expects_reply()).to_string(),
            ),
            ("HOPS", message.hops().to_string()),
            ("MESH", self.mesh.slug.clone()),
        ];
        for (name, value) in always {
            command.env(format!("CLAUDEMESH_MSG_{name}"), value.replace('\0', ""));
        }
        for (name, value) in optional {
            let name = format!("CLAUDEMESH_MSG_{name}");
            match value {
                Some(value) => command.env(name, value.replace('\0', "")),
                None => command.env_remove(name),
            };
        }
        // What the command says to others, it says as this agent.
        command.env(VARIABLE, self.session);
        Ok(command)
    }
}

fn ended_with(status: ExitStatus, said: Vec<u8>, cut: bool) -> Ended {
    if status.success() {
        let said = String::from_utf8_lossy(&said).into_owned();
        return Ended::Well { said, cut };
    }
    Ended::Badly(match status.code() {
        Some(code) => format!("the command ended with code {code}"),
        None => "the command was killed".to_owned(),
    })
}

/// Gives it the text, and reads what it says; as much as fits in an answer.
async fn talk(
    child: &mut Child,
    message: &Received,
) -> std::io::Result<(ExitStatus, Vec<u8>, bool)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read is no reason to fail.
            drop(stdin.write_all(&message.body).await);
            drop(stdin.shutdown().await);
        }
    };
    let (mut said, mut cut) = (Vec::new(), false);
    let status = {
        let read = async {
            if let Some(mut stdout) = stdout {
                let most = longest() as u64;
                (&mut stdout).take(most).read_to_end(&mut said).await?;
                // It is not to stand still because nobody reads the rest.
                let mut rest = [0; 4_096];
                while stdout.read(&mut rest).await? > 0 {
                    cut = true;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let wait = async { tokio::join!(write, child.wait()).1 };
        let (mut read, mut wait) = (std::pin::pin!(read), std::pin::pin!(wait));
        tokio::select! {
            status = &mut wait => {
                // What it left in the background may hold stdout open for ever.
                if let Ok(read) = tokio::time::timeout(LINGER, read).await {
                    read?;
                }
                status?
            }
            done = &mut read => {
                done?;
                wait.await?
            }
        }
    };
    Ok((status, said, cut))
}

/// How long more is read after the command has ended.
const LINGER: Duration = Duration::from_millis(500);

/// All that a run started.
struct Group(Option<u32>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id())
    }

    fn end(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.0.take() {
            let mut kill = std::process::Command::new("kill");
            let kill = kill.args(["-KILL", "--", &format!("-{id}")]);
            // Nothing of it may be left, which `kill` says on stderr.
            drop(kill.stderr(Stdio::null()).stdout(Stdio::null()).status());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
