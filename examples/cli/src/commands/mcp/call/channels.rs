//! `list_topics`, `join_topic` and `read_topic`.

use claudemesh_core::id::ChannelName;
use claudemesh_core::membership::ChannelLogError;
use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::{Said, SessionError};
use claudemesh_core::time::iso;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Nothing};
use crate::agent::frame::{self, NOTICE, quoted};
use crate::agent::unread::PIECE;
use crate::commands::channel;
use crate::exit::{Code, Failure};
use crate::format::human_time;

/// Topics in one answer at most.
const MOST: usize = 200;
/// Messages of a topic, if nothing else is said, and at most.
const SOME: u32 = 20;
const MANY: u32 = 100;

pub(super) async fn list(peer: &Peer, _: Nothing) -> Result<Answer, Failure> {
    let fresh = peer.sync().await;
    let all = peer.channels();
    let rows = all
        .iter()
        .take(MOST)
        .map(|channel| json!({ "name": channel.name, "public": channel.public }));
    let mut answer = json!({ "topics": rows.collect::<Vec<_>>() });
    let names = all.iter().take(MOST).map(|channel| match channel.public {
        true => channel.name.to_string(),
        false => format!("{} (private)", channel.name),
    });
    let mut lines: Vec<String> = names.collect();
    if lines.is_empty() {
        lines.push("No topics yet; join_topic with create makes one.".to_owned());
    }
    if let (Err(error), Some(fields)) = (&fresh, answer.as_object_mut()) {
        lines.push(format!("This is what is known here: {error}"));
        fields.insert("away".to_owned(), json!(error.to_string()));
    }
    Ok(Answer::new(lines.join("\n"), answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    topic: String,
    #[serde(default)]
    create: bool,
}

pub(super) async fn join(peer: &Peer, args: Join) -> Result<Answer, Failure> {
    let name = named(&args.topic)?;
    peer.sync().await?;
    let known = peer.channels().iter().any(|channel| channel.name == name);
    let done = if !known && args.create {
        let created = peer.create_channel(&name, true).await;
        created.map_err(|error| channel::refused(peer, &name, error))?;
        "created"
    } else {
        match peer.join_channel(&name).await {
            Ok(()) => "joined",
            Err(PeerError::Session(SessionError::ChannelLog(ChannelLogError::AlreadyIn))) => {
                "already in"
            }
            Err(PeerError::Session(
                SessionError::NoSuchChannel(_)
                | SessionError::ChannelLog(ChannelLogError::UnknownChannel),
            )) => {
                let message = format!("there is no {name}; with create=true it is made");
                return Err(Failure::new(Code::NotFound, message));
            }
            Err(error) => return Err(channel::refused(peer, &name, error)),
        }
    };
    let json = json!({ "topic": name, "done": done });
    Ok(Answer::new(format!("{done}: {name}"), json))
}

/// `#name`, `@name`, or a topic without its mark.
fn named(text: &str) -> Result<ChannelName, Failure> {
    match text.trim().starts_with('@') {
        true => channel::group(text),
        false => channel::topic(text),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    topic: String,
    limit: Option<u32>,
    before: Option<String>,
}

pub(super) async fn read(peer: &Peer, args: Read) -> Result<Answer, Failure> {
    let name = channel::topic(&args.topic)?;
    let limit = args.limit.unwrap_or(SOME).clamp(1, MANY);
    peer.sync().await?;
    let page = peer.channel_history(&name, args.before, limit).await;
    let (mut said, more) = page.map_err(|error| channel::refused(peer, &name, error))?;
    let oldest = said.last().map(|said| said.broker_id.clone());
    said.reverse();
    let mut parts = vec![NOTICE.to_owned()];
    parts.extend(said.iter().map(text));
    if said.is_empty() {
        parts = vec![format!("Nothing was said in {name}.")];
    }
    let mut answer = json!({
        "topic": name,
        "messages": said.iter().map(json).collect::<Vec<_>>(),
    });
    if let (true, Some(oldest), Some(fields)) = (more, oldest, answer.as_object_mut()) {
        parts.push(format!("Older ones: before={}", quoted(&oldest)));
        fields.insert("before".to_owned(), json!(oldest));
    }
    Ok(Answer::new(parts.join("\n\n"), answer))
}

fn text(said: &Said) -> String {
    let message = match &said.message {
        Ok(message) => message,
        Err(why) => return format!("(one cannot be read: {})", quoted(why)),
    };
    let name = message.sender_name.as_ref();
    let name = name.map_or_else(String::new, |name| format!("{} ", quoted(name.as_str())));
    let sure = if message.verified {
        "verified"
    } else {
        "UNVERIFIED"
    };
    let body = String::from_utf8_lossy(&message.body);
    let shown = frame::piece(&body, 0, PIECE);
    let cut = if shown.next.is_some() {
        "\n(cut here)"
    } else {
        ""
    };
    format!(
        "from {name}({}), {sure}, {}, id {}\n{}{cut}",
        message.sender.short(),
        human_time(message.sent_at),
        message.id,
        frame::marked(shown.text)
    )
}

fn json(said: &Said) -> Value {
    let message = match &said.message {
        Ok(message) => message,
        Err(why) => return json!({ "unreadable": why }),
    };
    let body = String::from_utf8_lossy(&message.body);
    let shown = frame::piece(&body, 0, PIECE);
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(message.id));
    fields.insert("from".to_owned(), json!(message.sender_name));
    fields.insert("from_key".to_owned(), json!(message.sender.short()));
    fields.insert("verified".to_owned(), json!(message.verified));
    fields.insert("sent_at".to_owned(), json!(iso(message.sent_at)));
    if let Some(id) = &message.reply_to {
        fields.insert("reply_to".to_owned(), json!(id));
    }
    fields.insert("body".to_owned(), json!(shown.text));
    if shown.next.is_some() {
        fields.insert("cut".to_owned(), json!(true));
    }
    Value::Object(fields)
}
