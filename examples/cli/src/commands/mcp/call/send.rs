//! `send_message` and `message_status`.

use std::time::Duration;

use claudemesh_core::id::{MessageId, Priority, Target};
use claudemesh_core::peer::{Outgoing, Peer, Receipt, Received, SendError};
use claudemesh_core::replies::Question;
use claudemesh_core::store::{OutboxRow, SendState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::link::Joined;
use super::Answer;
use crate::agent::frame::quoted;
use crate::agent::replies::next_hop;
use crate::commands::{channel, send};
use crate::context::{name_of, target_name};
use crate::exit::{Code, Failure, refused_code};

/// Recipients of one call at most.
const MOST: usize = 32;
/// Received messages among which the one that is answered is looked for.
const LOOK_AT: u32 = 500;
/// How long the broker's answer is waited for.
const WAIT: Duration = Duration::from_secs(3);
/// How long a connection is waited for.
const AWAY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    to: To,
    message: String,
    priority: Option<String>,
    reply_to: Option<String>,
    expect_reply: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`to` is a text, or a list of texts")]
enum To {
    One(String),
    Several(Vec<String>),
}

pub(super) async fn send(joined: &Joined, args: Send) -> Result<Answer, Failure> {
    let to = match args.to {
        To::One(one) => vec![one],
        To::Several(all) => all,
    };
    if to.is_empty() || to.len() > MOST {
        return Err(Failure::usage(format!("`to` names 1 to {MOST} recipients")));
    }
    if args.message.trim().is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    let priority: Priority = match &args.priority {
        Some(text) => text.parse()?,
        None => Priority::default(),
    };
    let mut message = Outgoing::text(args.message).priority(priority);
    let mut answered = None;
    if let Some(id) = &args.reply_to {
        let id = MessageId::new(id.trim())?;
        let all = joined.peer.history(LOOK_AT).await?;
        answered = all
            .iter()
            .rev()
            .find(|m| m.id == id)
            .map(Received::question);
        message = message.reply_to(id);
    }
    if let Some(expected) = args.expect_reply {
        message = message.expects_reply(expected);
    }
    let peer = &joined.peer;
    let mut sent = Vec::new();
    for to in &to {
        sent.push((to, one(joined, to, message.clone(), answered).await));
    }
    if let [(_, Err(_))] = sent.as_slice()
        && let Some((_, Err(failure))) = sent.pop()
    {
        return Err(failure);
    }
    let mut results: Vec<(String, Value)> = Vec::new();
    for (to, sent) in &sent {
        results.push(match sent {
            Ok(sent) => sent.tell(peer, priority).await,
            Err(failure) => refused(to, failure),
        });
    }
    let lines: Vec<&str> = results.iter().map(|(line, _)| line.as_str()).collect();
    let text = lines.join("\n");
    let all: Vec<Value> = results.iter().map(|(_, json)| json.clone()).collect();
    Ok(Answer::new(text, json!({ "sent": all })))
}

/// What was sent to one.
struct Sent {
    to: Target,
    receipt: Receipt,
    recipients: Option<u32>,
}

async fn one(
    joined: &Joined,
    to: &str,
    message: Outgoing,
    answered: Option<Question>,
) -> Result<Sent, Failure> {
    let peer = &joined.peer;
    let to = send::target(peer, to).await?;
    let message = match (&to, answered) {
        (Target::Channel(_), None) => message.hops(next_hop()),
        (Target::Peer(key), None) => {
            let (from, hops, expects_reply) = (*key, 0, true);
            message.hops(hops_of(
                joined,
                Question {
                    from,
                    hops,
                    expects_reply,
                },
                false,
            )?)
        }
        (_, Some(question)) => message.hops(hops_of(joined, question, true)?),
    };
    let receipt = match (peer.send_message(to.clone(), message).await, &to) {
        (Err(SendError::Peer(error)), Target::Channel(name)) => {
            return Err(channel::refused(peer, name, error));
        }
        (sent, _) => sent?,
    };
    let answered = async {
        tokio::select! {
            accepted = receipt.accepted() => accepted.ok().and_then(|accepted| accepted.recipients),
            () = away(peer) => None,
        }
    };
    let recipients = tokio::time::timeout(WAIT, answered)
        .await
        .unwrap_or_default();
    if receipt.state() == SendState::Failed {
        return Err(failed(peer, &to, &receipt).await);
    }
    Ok(Sent {
        to,
        receipt,
        recipients,
    })
}

/// How many hops a message carries, if it may go now.
fn hops_of(joined: &Joined, question: Question, is_answer: bool) -> Result<u8, Failure> {
    match joined.replies.ask(question) {
        // What answers nothing begins a chain of its own.
        Ok(_) if !is_answer => Ok(next_hop()),
        Ok(hops) => Ok(hops),
        Err(why) => Err(Failure::new(Code::Failed, format!("not sent: {why}"))),
    }
}

/// Why the broker did not take it.
async fn failed(peer: &Peer, to: &Target, receipt: &Receipt) -> Failure {
    if let Target::Channel(name) = to
        && let Some(refused) = channel::not_in_now(peer, name).await
    {
        return refused;
    }
    let reason = receipt.reason().unwrap_or_else(|| "refused".to_owned());
    let code = refused_code(reason.split(':').next().unwrap_or_default());
    Failure::new(code, format!("it will not arrive: {reason}"))
}

/// Ends when there is nothing to wait for.
async fn away(peer: &Peer) {
    if peer.connected_within(AWAY).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

impl Sent {
    /// How far it came, in words that are true.
    async fn tell(&self, peer: &Peer, priority: Priority) -> (String, Value) {
        let (id, state) = (self.receipt.id(), self.receipt.state());
        let name = self.name(peer).await;
        let when = self.when(peer, priority).await;
        let mut fields = Map::new();
        fields.insert("to".to_owned(), json!(name));
        if let Target::Peer(key) = &self.to {
            fields.insert("key".to_owned(), json!(key.short()));
        }
        fields.insert("id".to_owned(), json!(id));
        fields.insert("state".to_owned(), json!(state.as_str()));
        if let Some(recipients) = self.recipients {
            fields.insert("recipients".to_owned(), json!(recipients));
        }
        if !self.receipt.is_protected() {
            fields.insert("protected".to_owned(), json!(false));
        }
        let note = match state {
            SendState::Queued => "kept here, goes out when the broker is reached".to_owned(),
            SendState::Accepted => when,
            SendState::Delivered => format!("their client has it; {when}"),
            SendState::Failed => {
                let why = self.receipt.reason();
                format!("will not arrive: {}", why.as_deref().unwrap_or("refused"))
            }
        };
        fields.insert("note".to_owned(), json!(note));
        let line = format!("{} to {}, id {id}: {note}", state.as_str(), quoted(&name));
        (line, Value::Object(fields))
    }

    async fn name(&self, peer: &Peer) -> String {
        if let Target::Peer(key) = &self.to
            && name_of(&peer.members_and_former(), key).is_none()
            && let Ok(session) = peer.resolve_session(&key.to_hex()).await
        {
            return session.shown;
        }
        target_name(peer, &self.to)
    }

    /// When it will be seen, as far as anybody knows.
    async fn when(&self, peer: &Peer, priority: Priority) -> String {
        match (&self.to, self.recipients) {
            (Target::Channel(_), Some(0)) => "nobody else is there".to_owned(),
            (Target::Channel(_), Some(many)) => {
                format!("in {many} mailboxes; each sees it when it looks")
            }
            (Target::Channel(_), None) => "each sees it when it looks".to_owned(),
            (Target::Peer(_), _) => match peer.reach(&self.to).await {
                Ok(Some(reach)) => reach.told(priority),
                _ => "when it is seen is not known".to_owned(),
            },
        }
    }
}

fn refused(to: &str, failure: &Failure) -> (String, Value) {
    let code = failure.code().as_str();
    let error = json!({ "code": code, "message": failure.to_string() });
    let json = json!({ "to": to, "state": "not_sent", "error": error });
    (
        format!("not sent to {}: {code}: {failure}", quoted(to)),
        json,
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    id: String,
}

pub(super) async fn status(peer: &Peer, args: Which) -> Result<Answer, Failure> {
    let wanted = args.id.trim();
    let all = peer.outbox(true).await?;
    let fits = |row: &&OutboxRow| wanted.len() >= 4 && row.message.id.as_str().starts_with(wanted);
    // A message to a member with devices is several rows: it is as far as the last of them.
    let rows: Vec<&OutboxRow> = all.iter().filter(fits).collect();
    let Some(first) = rows.first() else {
        return Err(Failure::new(
            Code::NotFound,
            format!(
                "no message that was sent here has the id {}",
                quoted(wanted)
            ),
        ));
    };
    let base = first.message.id.base();
    if rows.iter().any(|row| row.message.id.base() != base) {
        return Err(Failure::usage(
            "several messages have an id that begins so; write more of it",
        ));
    }
    let rank = |state: SendState| match state {
        SendState::Failed => 0,
        SendState::Queued => 1,
        SendState::Accepted => 2,
        SendState::Delivered => 3,
    };
    let last = rows
        .iter()
        .min_by_key(|row| rank(row.state))
        .unwrap_or(first);
    let to = match &last.message.to {
        Target::Peer(key) => name_of(&peer.members_and_former(), key),
        Target::Channel(name) => Some(name.to_string()),
    };
    let state = last.state.as_str();
    let meaning = match last.state {
        SendState::Queued => "kept here until the broker is reached",
        SendState::Accepted => "the broker keeps it for them",
        SendState::Delivered => "their client has it; whether it was read, nobody says",
        SendState::Failed => "it will not arrive",
    };
    let json = json!({
        "id": base,
        "to": to,
        "state": state,
        "meaning": meaning,
        "reason": last.reason,
    });
    let reason = last.reason.as_deref().map(|why| format!(" ({why})"));
    let text = format!("{state}: {meaning}{}", reason.unwrap_or_default());
    Ok(Answer::new(text, json))
}
