//! `claudemesh policy` and `claudemesh requests`: whose messages are wanted.

use claudemesh_core::peer::{MessageRequest, Peer};
use claudemesh_core::{Rule, Who};
use serde_json::{Value, json};

use crate::cli::{PolicyCommand, RequestsCommand};
use crate::context::{Context, finish, name_of, resolve_any};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, indented, iso_time, table, unix_ms};

pub(super) async fn run(context: &Context, command: PolicyCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        PolicyCommand::List => list(context, &peer).await,
        PolicyCommand::Set { who, rule } => set(context, &peer, &who, Some(rule)).await,
        PolicyCommand::Clear { who } => set(context, &peer, &who, None).await,
    };
    finish(&peer).await;
    result
}

pub(super) async fn requests(context: &Context, command: RequestsCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        RequestsCommand::List => waiting(context, &peer).await,
        RequestsCommand::Accept { id, always } => answer(context, &peer, &id, true, always).await,
        RequestsCommand::Deny { id, always } => answer(context, &peer, &id, false, always).await,
    };
    finish(&peer).await;
    result
}

/// Whom a text means, and how they are shown.
pub(super) async fn whom(peer: &Peer, text: &str) -> Result<(Who, String), Failure> {
    match text {
        "verified" => Ok((Who::Verified, "every verified member".to_owned())),
        "unverified" => Ok((Who::Unverified, "everybody unverified".to_owned())),
        text => {
            let key = resolve_any(peer, text).await?;
            let name = name_of(&peer.members_and_former(), &key);
            Ok((Who::Peer(key), name.unwrap_or_else(|| key.short())))
        }
    }
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let rules = peer.rules().await?;
    let members = peer.members_and_former();
    let name = |who: &Who| match who {
        Who::Peer(key) => name_of(&members, key),
        _ => None,
    };
    let word = |who: &Who| match who {
        Who::Peer(key) => key.short(),
        Who::Verified => "verified".to_owned(),
        Who::Unverified => "unverified".to_owned(),
    };
    let answer: Vec<Value> = (rules.iter())
        .map(|kept| {
            let key = match kept.who {
                Who::Peer(key) => Some(key),
                _ => None,
            };
            json!({
                "who": key.map_or_else(|| word(&kept.who), |key| key.to_hex()),
                "name": name(&kept.who),
                "pubkey": key,
                "rule": kept.rule.as_str(),
                "dropped": kept.dropped,
            })
        })
        .collect();
    context.out.answer(&answer, || {
        let lines = rules.iter().map(|kept| {
            let shown = name(&kept.who).unwrap_or_else(|| word(&kept.who));
            vec![
                clean_line(&shown),
                kept.rule.to_string(),
                kept.dropped.to_string(),
            ]
        });
        table(&["WHO", "RULE", "DROPPED"], lines.collect())
    })?;
    if rules.is_empty() && !context.out.is_json() {
        context.out.note("No rules: every message is allowed.");
    }
    Ok(Code::Ok)
}

async fn set(
    context: &Context,
    peer: &Peer,
    text: &str,
    rule: Option<Rule>,
) -> Result<Code, Failure> {
    let (who, name) = whom(peer, text).await?;
    peer.set_rule(who, rule).await?;
    let answer = json!({ "who": text, "rule": rule.map(Rule::as_str) });
    context.out.answer(&answer, || {
        let name = clean_line(&name);
        match rule {
            Some(rule) => format!("Messages of {name}: {rule}\n"),
            None => format!("No rule for {name} any more\n"),
        }
    })?;
    Ok(Code::Ok)
}

async fn waiting(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let requests = peer.requests().await?;
    let answer: Vec<Value> = (requests.iter())
        .map(|request| {
            json!({
                "message_id": request.id,
                "from_name": request.from.name,
                "from_pubkey": request.from.key,
                "verified": request.from.verified,
                "body": request.text(),
                "received_at": iso_time(request.received_at),
            })
        })
        .collect();
    context.out.answer(&answer, || {
        let texts: Vec<String> = requests.iter().map(shown).collect();
        texts.join("\n")
    })?;
    if requests.is_empty() && !context.out.is_json() {
        context.out.note("Nothing waits for your answer.");
    }
    Ok(Code::Ok)
}

fn shown(request: &MessageRequest) -> String {
    let mark = if request.from.verified {
        ""
    } else {
        " [unverified]"
    };
    format!(
        "{} ({}){mark}, {}\n{}\n  id {}\n",
        clean_line(&request.from.shown()),
        request.from.key.short(),
        human_time(unix_ms(request.received_at)),
        indented(&request.text()),
        request.id
    )
}

async fn answer(
    context: &Context,
    peer: &Peer,
    id: &str,
    accept: bool,
    always: bool,
) -> Result<Code, Failure> {
    let requests = peer.requests().await?;
    let mut found = requests
        .iter()
        .filter(|request| request.id.as_str().starts_with(id));
    let request = match (found.next(), found.next()) {
        (Some(one), None) => one,
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format!(
                "several messages begin with {id:?}; write more of the id"
            )));
        }
        (None, _) => {
            let message = format!(
                "no message {id:?} waits for an answer; `claudemesh requests list` shows what does"
            );
            return Err(Failure::new(Code::NotFound, message));
        }
    };
    if always {
        let rule = if accept { Rule::Allow } else { Rule::Block };
        let who = Who::Peer(request.from.key);
        peer.set_rule(who, Some(rule)).await?;
    }
    let done = peer.answer_request(request, accept).await?;
    let state = match (done, accept) {
        (false, _) => "answered before",
        (true, true) => "accepted",
        (true, false) => "denied",
    };
    let answer = json!({ "message_id": request.id, "state": state });
    context.out.answer(&answer, || match (done, accept) {
        (true, true) => format!("Let through: {}\n", request.id),
        (true, false) => format!("Refused: {}\n", request.id),
        (false, _) => format!("Answered before: {}\n", request.id),
    })?;
    Ok(Code::Ok)
}
