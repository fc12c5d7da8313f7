//! How a received message is shown: the same in `inbox` and `listen`.

use claudemesh_core::id::Priority;
use claudemesh_core::peer::{OWNER_TRANSFER, Received};
use claudemesh_core::store::Kind;
use serde_json::{Value, json};

use crate::format::{clean_line, human_time, indented, iso_time, unix_ms};

/// The attribute that says what sort of message it is, by the word of its sender.
const SUBTYPE: &str = "subtype=";
/// What goes out by `claudemesh remind`.
pub(super) const REMINDER: &str = "subtype=reminder";

fn subtype(message: &Received) -> Option<&str> {
    let mut all = message.attributes.iter();
    all.find_map(|text| text.strip_prefix(SUBTYPE))
}

/// As JSON has it.
pub(super) fn json(mesh: &str, message: &Received) -> Value {
    json!({
        "message_id": message.id,
        "mesh": mesh,
        "from_name": message.from.name,
        "from_pubkey": message.from.key,
        "verified": message.from.verified,
        "protected": message.protected,
        "plaintext": message.is_plaintext(),
        "key_changed": message.is_key_changed(),
        "kind": message.kind.as_str(),
        "channel": message.channel,
        "content_type": message.content_type,
        "body": message.text(),
        "reply_to": message.reply_to,
        "subtype": subtype(message),
        "priority": message.priority,
        "sent_at": iso_time(message.sent_at),
        "received_at": iso_time(message.received_at),
        "again": message.again,
        "from_session": message.from.session.as_ref().map(|session| {
            json!({ "name": session.name.as_str(), "pubkey": session.key })
        }),
        "to_session": message.to_session,
        "muted": message.muted,
        "hops": message.hops(),
        "expects_reply": message.expects_reply(),
    })
}

/// As people see it: a line that says who and when, and the text, moved in.
pub(super) fn text(message: &Received) -> String {
    let key = message.from.key.short();
    let from = match (&message.from.name, &message.from.session) {
        (None, None) => key,
        _ => format!("{} ({key})", clean_line(&message.from.shown())),
    };
    let mut head = match &message.channel {
        Some(channel) => format!("{channel}  {from}"),
        None => from,
    };
    if !message.from.verified {
        head.push_str(" [unverified]");
    }
    if message.is_plaintext() {
        head.push_str(" [plain text]");
    } else if !message.protected && message.kind != Kind::Rejected {
        head.push_str(" [bare text]");
    }
    if message.is_key_changed() {
        head.push_str(" [another key than before]");
    }
    if message.priority == Priority::Now {
        head.push_str(" [urgent]");
    }
    if subtype(message) == Some("reminder") {
        head.push_str(" [reminder]");
    }
    if message.muted {
        head.push_str(" [muted]");
    }
    if message.again {
        head.push_str(" [shown before]");
    }
    let time = human_time(unix_ms(message.received_at));
    let reply = match &message.reply_to {
        Some(id) => format!(", answers {id}"),
        None => String::new(),
    };
    let body = match message.kind {
        Kind::Rejected => format!("  (not taken: {})", clean_line(&message.text())),
        _ if message.content_type == OWNER_TRANSFER => {
            "  (offers you the mesh: `claudemesh owner accept` makes you its owner)".to_owned()
        }
        _ if !message.content_type.starts_with("text/") => format!(
            "  ({} bytes of {})",
            message.body.len(),
            clean_line(&message.content_type)
        ),
        Kind::Direct | Kind::Channel => indented(&message.text()),
    };
    format!("{head}, {time}\n{body}\n  id {}{reply}\n", message.id)
}
