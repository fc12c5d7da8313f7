//! The tools as a client lists them. Every word of this is read by a model at each start, so there
//! are few.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// Name, what it does, whether it only reads, its arguments, and which of them are needed.
type Row = (
    &'static str,
    &'static str,
    bool,
    Value,
    &'static [&'static str],
);

fn rows() -> [Row; 14] {
    let text = || json!({ "type": "string" });
    let said = |what: &str| json!({ "type": "string", "description": what });
    let number = || json!({ "type": "integer", "minimum": 0 });
    let yes = |what: &str| json!({ "type": "boolean", "description": what });
    [
        (
            "list_peers",
            "Who is in the mesh, who is online, what they do",
            true,
            json!({}),
            &[],
        ),
        (
            "send_message",
            "Send a message; tells how far it came",
            false,
            json!({
                "to": {
                    "description": "Name, key (4+ digits), #topic, @group or *; or several",
                    "anyOf": [text(), { "type": "array", "items": text() }],
                },
                "message": text(),
                "priority": {
                    "enum": ["now", "next", "low"],
                    "description": "now: also while busy; next (default): when idle",
                },
                "reply_to": said("Id of the message this answers"),
                "expect_reply": yes("false: say that no answer is needed"),
            }),
            &["to", "message"],
        ),
        (
            "check_messages",
            "Read and take unread messages; with read, the rest of a long one",
            false,
            json!({ "read": said("Id of a long message"), "offset": number() }),
            &[],
        ),
        (
            "set_summary",
            "Say what you are working on",
            false,
            json!({ "summary": text() }),
            &["summary"],
        ),
        (
            "set_status",
            "idle: all comes; working, dnd: only priority now",
            false,
            json!({ "status": { "enum": ["idle", "working", "dnd"] } }),
            &["status"],
        ),
        (
            "message_status",
            "How far a sent message came",
            true,
            json!({ "id": text() }),
            &["id"],
        ),
        ("list_topics", "Topics and groups", true, json!({}), &[]),
        (
            "join_topic",
            "Join a #topic or @group",
            false,
            json!({ "topic": text(), "create": yes("Make it if there is none") }),
            &["topic"],
        ),
        (
            "read_topic",
            "What was said in a topic, newest last; takes nothing",
            true,
            json!({ "topic": text(), "limit": number(), "before": said("history_id") }),
            &["topic"],
        ),
        (
            "get_state",
            "A shared value; without key, all keys",
            true,
            json!({ "key": text() }),
            &[],
        ),
        (
            "set_state",
            "Keep a shared value (JSON)",
            false,
            json!({
                "key": text(),
                "value": {},
                "if_version": { "type": "integer", "description": "Only if unchanged; 0: new" },
            }),
            &["key", "value"],
        ),
        (
            "remember",
            "Keep a text for all members to find",
            false,
            json!({ "text": text(), "tags": { "type": "array", "items": text() } }),
            &["text"],
        ),
        (
            "recall",
            "Find what was remembered, by words",
            true,
            json!({ "query": text(), "limit": number() }),
            &[],
        ),
        (
            "mesh_info",
            "Who you are here, the connection, unread",
            true,
            json!({}),
            &[],
        ),
    ]
}

/// All tools.
pub(super) fn all() -> Vec<Tool> {
    let tool = |(name, what, reads, arguments, needed): Row| {
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), arguments);
        if !needed.is_empty() {
            schema.insert("required".to_owned(), json!(needed));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        let tool = Tool::new(name, what, schema);
        match reads {
            true => tool.with_annotations(ToolAnnotations::new().read_only(true)),
            false => tool,
        }
    };
    rows().into_iter().map(tool).collect()
}

/// Whether there is a tool of this name.
pub(super) fn is_one(name: &str) -> bool {
    rows().iter().any(|row| row.0 == name)
}
