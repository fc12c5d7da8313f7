//! `claudemesh topic history`: what was said in a topic.

use claudemesh_core::id::ChannelName;
use claudemesh_core::peer::Peer;
use claudemesh_core::session::Said;
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use super::channel;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::{clean_line, human_time, indented};

pub(super) async fn show(
    context: &Context,
    peer: &Peer,
    name: &ChannelName,
    before: Option<String>,
    limit: u32,
) -> Result<Code, Failure> {
    peer.sync().await?;
    let (mut said, mut more) = (Vec::new(), true);
    let mut oldest = before;
    // A page of the broker holds less than that if the messages are long.
    while more && said.len() < limit as usize {
        let left = limit - u32::try_from(said.len()).unwrap_or(limit);
        let page = peer.channel_history(name, oldest.clone(), left).await;
        let (page, is_more) = page.map_err(|error| channel::refused(peer, name, error))?;
        let Some(last) = page.last() else {
            more = false;
            break;
        };
        oldest = Some(last.broker_id.clone());
        more = is_more;
        said.extend(page);
    }
    said.reverse();
    let answer: Vec<Value> = said.iter().map(|said| as_json(name, said)).collect();
    context.out.answer(&answer, || {
        let texts: Vec<String> = said.iter().map(|said| as_text(name, said)).collect();
        texts.join("\n")
    })?;
    if said.is_empty() && !context.out.is_json() {
        context.out.note(&format!("Nothing was said in {name}."));
    } else if let (true, Some(oldest)) = (more, oldest) {
        context.out.note(&format!(
            "There is more: claudemesh topic history {} --before {}",
            channel::typed(name),
            clean_line(&oldest)
        ));
    }
    Ok(Code::Ok)
}

fn as_json(name: &ChannelName, said: &Said) -> Value {
    match &said.message {
        Ok(message) => json!({
            "history_id": said.broker_id,
            "channel": name,
            "message_id": message.id,
            "from_name": message.sender_name,
            "from_pubkey": message.sender,
            "verified": message.verified,
            "body": String::from_utf8_lossy(&message.body),
            "content_type": message.content_type,
            "reply_to": message.reply_to,
            "sent_at": iso(message.sent_at),
        }),
        Err(reason) => json!({
            "history_id": said.broker_id,
            "channel": name,
            "unreadable": reason,
        }),
    }
}

fn as_text(name: &ChannelName, said: &Said) -> String {
    let message = match &said.message {
        Ok(message) => message,
        Err(reason) => return format!("{name}  (cannot be read: {})\n", clean_line(reason)),
    };
    let key = message.sender.short();
    let from = match &message.sender_name {
        Some(name) => format!("{} ({key})", clean_line(name.as_str())),
        None => key,
    };
    let body = if message.content_type.starts_with("text/") {
        indented(&String::from_utf8_lossy(&message.body))
    } else {
        let kind = clean_line(&message.content_type);
        format!("  ({} bytes of {kind})", message.body.len())
    };
    let reply = match &message.reply_to {
        Some(id) => format!(", answers {id}"),
        None => String::new(),
    };
    let time = human_time(message.sent_at);
    format!(
        "{name}  {from}, {time}\n{body}\n  id {}{reply}\n",
        message.id
    )
}
