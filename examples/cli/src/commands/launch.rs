//! `claudemesh launch`: starts a client whose agent is on the mesh.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::hook::MODE;
use super::install::wanted;
use crate::agent::address::VARIABLE;
use crate::agent::client::Client;
use crate::cli::{Launch, Messages};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::install::{self, Places, SERVER, State, Wanted};

pub(super) fn run(context: &Context, args: Launch) -> Result<Code, Failure> {
    // That there is a mesh, and one alone or a named one, is better known now than in the session.
    let mesh = context.mesh()?;
    let client = args.client;
    let messages = messages(client, args.messages)?;
    let wanted = wanted(context)?;
    let installed = install::state(client, &Places::new()?, &wanted)? == State::Complete;
    let mut arguments = match (client, installed) {
        (_, true) => Vec::new(),
        (Client::ClaudeCode, false) => claude(&wanted, messages),
        (Client::Codex, false) => codex(&wanted, &mesh.slug)?,
        (Client::Gemini | Client::Cursor, false) => {
            let (title, name) = (client.title(), client.as_str());
            return Err(Failure::new(
                Code::NotFound,
                format!("{title} is not set up: run `claudemesh install --client {name}` first"),
            ));
        }
    };
    if client == Client::Codex && !installed && messages == Messages::Hook {
        context.out.warn(
            "without `claudemesh install --client codex` there are no hooks: messages wait until \
             the agent checks",
        );
    }
    if messages == Messages::Push {
        arguments.push("--dangerously-load-development-channels".to_owned());
        arguments.push(format!("server:{SERVER}"));
    }
    arguments.extend(args.rest);
    let mut command = Command::new(client.program());
    command.args(arguments);
    command.env("CLAUDEMESH_MESH", mesh.mesh_id.as_str());
    if let Some(name) = &context.named().name {
        command.env(VARIABLE, name.as_str());
    }
    if let Some(role) = &args.role {
        command.env("CLAUDEMESH_SUMMARY", role);
    }
    if !args.groups.is_empty() {
        let groups: Vec<String> = args.groups.iter().map(ToString::to_string).collect();
        command.env("CLAUDEMESH_GROUPS", groups.join(","));
    }
    if messages == Messages::Push {
        command.env("CLAUDEMESH_CHANNEL", "true");
    }
    let mode = if messages == Messages::Off {
        "off"
    } else {
        "on"
    };
    command.env(MODE, mode);
    become_it(command, client)
}

fn messages(client: Client, wanted: Option<Messages>) -> Result<Messages, Failure> {
    match (client, wanted) {
        (Client::ClaudeCode, None) => Ok(Messages::Push),
        (_, None) => Ok(Messages::Hook),
        (Client::ClaudeCode, Some(messages)) => Ok(messages),
        (_, Some(Messages::Push)) => Err(Failure::usage(format!(
            "{} shows no pushes; take --messages hook",
            client.title()
        ))),
        (_, Some(messages)) => Ok(messages),
    }
}

/// The server and the hooks, for this session of Claude Code alone.
fn claude(wanted: &Wanted, messages: Messages) -> Vec<String> {
    let server = json!({
        "type": "stdio", "command": wanted.program, "args": wanted.server_args(),
    });
    let config = json!({ "mcpServers": { SERVER: server } });
    let mut arguments = vec!["--mcp-config".to_owned(), config.to_string()];
    if messages != Messages::Off {
        let hooks = wanted.hooks(Client::ClaudeCode).into_iter();
        let hooks = hooks.map(|(event, hook)| (event.to_owned(), json!([{ "hooks": [hook] }])));
        let hooks: Map<String, Value> = hooks.collect();
        arguments.push("--settings".to_owned());
        arguments.push(json!({ "hooks": hooks }).to_string());
    }
    arguments
}

/// The server, for this session of Codex alone. What it hands on by itself is little.
fn codex(wanted: &Wanted, mesh: &str) -> Result<Vec<String>, Failure> {
    let text = |value: &Value| {
        serde_json::to_string(value)
            .map_err(|error| Failure::new(Code::Internal, format!("{mesh}: {error}")))
    };
    // JSON texts and lists of them are TOML, too.
    let set = [
        ("command", text(&json!(wanted.program))?),
        ("args", text(&json!(wanted.server_args()))?),
        ("env_vars", text(&json!(install::VARIABLES))?),
    ];
    let set = set.into_iter();
    let set = set.flat_map(|(name, value)| {
        [
            "-c".to_owned(),
            format!("mcp_servers.{SERVER}.{name}={value}"),
        ]
    });
    Ok(set.collect())
}

/// Runs it in place of this process, or ends as it ends.
fn become_it(mut command: Command, client: Client) -> Result<Code, Failure> {
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    let (program, title) = (client.program(), client.title());
    Err(match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Code::NotFound,
            format!("there is no program {program} on your PATH: install {title} first"),
        ),
        _ => Failure::new(Code::Failed, format!("{program}: {error}")),
    })
}
