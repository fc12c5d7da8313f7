//! `claudemesh install` and `claudemesh uninstall`.

use serde_json::{Value, json};

use crate::agent::client::Client;
use crate::cli::{Install, Uninstall};
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean;
use crate::install::{self, Edit, Places, Wanted};

pub(super) fn run(context: &Context, args: Install) -> Result<Code, Failure> {
    let places = Places::new()?;
    let clients = chosen(&args.client, &places)?;
    let mut wanted = wanted(context)?;
    let mut edits = Vec::new();
    for client in &clients {
        wanted.status_line = args.status_line && *client == Client::ClaudeCode;
        for edit in install::install(*client, &places, &wanted)? {
            edits.push((*client, edit));
        }
    }
    let changed = carry_out(context, &edits, args.dry_run)?;
    if changed && !args.dry_run {
        for client in &clients {
            context.out.note(next(*client));
        }
    }
    if context.config.meshes().is_empty() {
        context.out.note(
            "There is no mesh here yet: `claudemesh join 'LINK'`, or `claudemesh create NAME`.",
        );
    }
    Ok(Code::Ok)
}

pub(super) fn undo(context: &Context, args: Uninstall) -> Result<Code, Failure> {
    let places = Places::new()?;
    let mut edits = Vec::new();
    for client in chosen(&args.client, &places)? {
        for edit in install::uninstall(client, &places)? {
            edits.push((client, edit));
        }
    }
    carry_out(context, &edits, args.dry_run)?;
    Ok(Code::Ok)
}

/// What `install` writes for this program, now.
pub(super) fn wanted(context: &Context) -> Result<Wanted, Failure> {
    Ok(Wanted {
        program: install::program()?,
        mesh: context.wanted().map(str::to_owned),
        status_line: false,
    })
}

fn chosen(clients: &[Client], places: &Places) -> Result<Vec<Client>, Failure> {
    let mut all = clients.to_vec();
    all.dedup();
    if all.is_empty() {
        all = places.found();
    }
    if all.is_empty() {
        let names = Client::ALL.map(Client::as_str).join(", ");
        return Err(Failure::new(
            Code::NotFound,
            format!("no client that is known was used here; name one with --client: {names}"),
        ));
    }
    Ok(all)
}

/// Shows each change and carries it out; whether there was any.
fn carry_out(context: &Context, edits: &[(Client, Edit)], dry_run: bool) -> Result<bool, Failure> {
    let mut rows: Vec<Value> = Vec::new();
    let mut texts = Vec::new();
    let mut failed = None;
    for (client, edit) in edits {
        let path = edit.path().display().to_string();
        let change = match (edit.changes(), edit.removes(), dry_run) {
            (false, ..) => "none",
            (true, false, false) => "written",
            (true, true, false) => "removed",
            (true, false, true) => "would_write",
            (true, true, true) => "would_remove",
        };
        let diff = if edit.changes() {
            edit.diff()
        } else {
            String::new()
        };
        let backup = match edit.changes() && !dry_run {
            true => match edit.write() {
                Ok(backup) => backup,
                // What is done already is told all the same.
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            },
            false => None,
        };
        let backup = backup.map(|path| path.display().to_string());
        if edit.changes() {
            let what = change.replace('_', " ");
            texts.push(format!(
                "{}, {path}: {what}\n{}",
                client.title(),
                clean(&diff)
            ));
            if let Some(backup) = &backup {
                texts.push(format!("The old one is {backup}\n"));
            }
        }
        rows.push(json!({
            "client": client.as_str(),
            "path": path,
            "change": change,
            "diff": diff,
            "backup": backup,
        }));
    }
    context.out.answer(&rows, || match texts.is_empty() {
        true => "Nothing to change.\n".to_owned(),
        false => texts.join("\n"),
    })?;
    match failed {
        Some(failure) => Err(failure),
        None => Ok(!texts.is_empty()),
    }
}

/// What a person has to do for a client to see it.
const fn next(client: Client) -> &'static str {
    match client {
        Client::ClaudeCode => {
            "Claude Code: restart it. Messages come with prompts and turn ends; `claudemesh launch` \
             also shows them while it is idle."
        }
        Client::Codex => {
            "Codex: restart it and let the hooks through once, with /hooks. Before 0.130 they need \
             `codex_hooks = true` under [features]."
        }
        Client::Gemini => "Gemini CLI: restart it; /hooks shows the hooks.",
        Client::Cursor => "Cursor: switch the server on under Settings, MCP.",
    }
}
