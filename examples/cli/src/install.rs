//! What `claudemesh install` writes into the configuration of the programs that agents run in, and
//! `claudemesh uninstall` takes out again.
//!
//! First everything is read and the new texts are made; only if all of them could be made is the
//! first file written. What is not ours in a file stays as it is, comments too.

mod edit;
mod json;
mod place;
mod skill;
mod toml;

use serde_json::{Value, json};

pub(crate) use edit::Edit;
pub(crate) use place::{Places, program};
pub(crate) use toml::VARIABLES;

use place::command_line;

use crate::agent::client::{Client, Moment};
use crate::exit::Failure;

/// The server's name in a client's configuration.
pub(crate) const SERVER: &str = "claudemesh";
/// Seconds that a client lets a hook run.
const PATIENCE: u32 = 10;
/// Turns in a row that Cursor lets a hook begin; the hook counts for itself, too.
const LOOPS: u32 = 3;

/// What to write.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The program, as an absolute path.
    pub(crate) program: String,
    /// The mesh, if one was named.
    pub(crate) mesh: Option<String>,
    /// Whether a client without a status line is given one.
    pub(crate) status_line: bool,
}

impl Wanted {
    /// The arguments of the MCP server.
    pub(crate) fn server_args(&self) -> Vec<String> {
        let mut args = vec!["mcp".to_owned(), "--wake".to_owned(), "hook".to_owned()];
        args.extend(self.of_mesh());
        args
    }

    fn of_mesh(&self) -> Vec<String> {
        let mesh = self.mesh.as_ref();
        mesh.map_or_else(Vec::new, |mesh| vec!["--mesh".to_owned(), mesh.clone()])
    }

    /// The command of a hook, for a shell.
    pub(crate) fn hook(&self, client: Client, moment: Moment) -> String {
        let mut words = vec![self.program.clone(), "hook".to_owned()];
        words.push(moment.as_str().to_owned());
        words.extend(["--client".to_owned(), client.as_str().to_owned()]);
        words.extend(self.of_mesh());
        command_line(&words)
    }

    fn status_line(&self) -> Value {
        let mut words = vec![self.program.clone(), "status-line".to_owned()];
        words.extend(self.of_mesh());
        json!({ "type": "command", "command": command_line(&words) })
    }

    /// All hooks of a client, as Claude Code has them; Codex and Gemini took that over.
    pub(crate) fn hooks(&self, client: Client) -> Vec<(&'static str, Value)> {
        let moments = Moment::ALL.into_iter();
        let events = moments.filter_map(|moment| Some((client.event(moment)?, moment)));
        let hooks = events.map(|(event, moment)| {
            let command = self.hook(client, moment);
            let hook = match client {
                Client::Cursor if moment == Moment::Stop => {
                    json!({ "command": command, "loop_limit": LOOPS })
                }
                Client::Cursor => json!({ "command": command }),
                // It counts in milliseconds, and shows a name.
                Client::Gemini => json!({
                    "name": SERVER, "type": "command", "command": command,
                    "timeout": PATIENCE * 1_000,
                }),
                Client::ClaudeCode | Client::Codex => {
                    json!({ "type": "command", "command": command, "timeout": PATIENCE })
                }
            };
            (event, hook)
        });
        hooks.collect()
    }
}

/// The changes that set a client up.
pub(crate) fn install(
    client: Client,
    places: &Places,
    wanted: &Wanted,
) -> Result<Vec<Edit>, Failure> {
    let server = |kind: Option<&str>| {
        let mut server = json!({ "command": wanted.program, "args": wanted.server_args() });
        if let (Some(kind), Some(fields)) = (kind, server.as_object_mut()) {
            fields.insert("type".to_owned(), json!(kind));
        }
        server
    };
    let hooks = wanted.hooks(client);
    let mut edits = Vec::new();
    match client {
        Client::ClaudeCode => {
            edits.push(json::edit(&places.claude_json(), |root| {
                json::put_server(root, &server(Some("stdio")))
            })?);
            edits.push(json::edit(&places.claude_settings(), |root| {
                json::put_hooks(root, &hooks)?;
                match wanted.status_line {
                    true => json::put_status_line(root, &wanted.status_line()),
                    false => Ok(()),
                }
            })?);
        }
        Client::Codex => {
            edits.push(toml::edit(&places.codex_config(), |document| {
                toml::put_server(document, wanted)
            })?);
            edits.push(json::edit(&places.codex_hooks(), |root| {
                json::put_hooks(root, &hooks)
            })?);
        }
        Client::Gemini => edits.push(json::edit(&places.gemini_settings(), |root| {
            json::put_server(root, &server(None))?;
            json::put_hooks(root, &hooks)
        })?),
        Client::Cursor => {
            edits.push(json::edit(&places.cursor_mcp(), |root| {
                json::put_server(root, &server(None))
            })?);
            edits.push(json::edit(&places.cursor_hooks(), |root| {
                json::put_flat_hooks(root, &hooks)
            })?);
        }
    }
    edits.push(skill::put(&places.skill(client))?);
    Ok(edits)
}

/// The changes that take everything of ours out of a client's configuration.
pub(crate) fn uninstall(client: Client, places: &Places) -> Result<Vec<Edit>, Failure> {
    let mut edits = match client {
        Client::ClaudeCode => vec![
            json::edit(&places.claude_json(), json::remove_server)?,
            json::edit(&places.claude_settings(), |root| {
                json::remove_hooks(root)?;
                json::remove_status_line(root);
                Ok(())
            })?,
        ],
        Client::Codex => vec![
            toml::edit(&places.codex_config(), toml::remove_server)?,
            json::edit(&places.codex_hooks(), json::remove_hooks)?,
        ],
        Client::Gemini => vec![json::edit(&places.gemini_settings(), |root| {
            json::remove_server(root)?;
            json::remove_hooks(root)
        })?],
        Client::Cursor => vec![
            json::edit(&places.cursor_mcp(), json::remove_server)?,
            json::edit(&places.cursor_hooks(), json::remove_hooks)?,
        ],
    };
    edits.push(skill::remove(&places.skill(client))?);
    Ok(edits)
}

/// What a client has of what `install` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Absent,
    /// All of it, for this program.
    Complete,
    /// A part, or for another program.
    Partial,
}

/// How far a client is set up.
pub(crate) fn state(client: Client, places: &Places, wanted: &Wanted) -> Result<State, Failure> {
    let missing = install(client, places, wanted)?;
    if !missing.iter().any(Edit::changes) {
        return Ok(State::Complete);
    }
    let ours = uninstall(client, places)?;
    Ok(match ours.iter().any(Edit::changes) {
        true => State::Partial,
        false => State::Absent,
    })
}
