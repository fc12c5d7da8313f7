//! What the tools do.

mod channels;
mod messages;
mod people;
mod send;
mod values;

use claudemesh_core::peer::Received;
use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::link::Joined;
use crate::exit::{Code, Failure};

/// What a tool answers.
pub(super) struct Answer {
    /// For a client that shows its model the text alone; by itself complete.
    pub(super) text: String,
    /// For a client that shows its model the data alone; by itself complete.
    pub(super) json: Value,
    /// Messages in it, which are taken once it was handed over.
    pub(super) handed: Vec<Received>,
}

impl Answer {
    fn new(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
            handed: Vec::new(),
        }
    }
}

/// Does what a tool does.
pub(super) async fn call(
    joined: &Joined,
    channel: bool,
    name: &str,
    arguments: JsonObject,
) -> Result<Answer, Failure> {
    let peer = &joined.peer;
    match name {
        "list_peers" => people::list(peer, read(arguments)?).await,
        "send_message" => send::send(joined, read(arguments)?).await,
        "check_messages" => messages::check(joined, read(arguments)?).await,
        "set_summary" => people::set_summary(peer, read(arguments)?).await,
        "set_status" => people::set_status(joined, read(arguments)?).await,
        "message_status" => send::status(peer, read(arguments)?).await,
        "list_topics" => channels::list(peer, read(arguments)?).await,
        "join_topic" => channels::join(peer, read(arguments)?).await,
        "read_topic" => channels::read(peer, read(arguments)?).await,
        "get_state" => values::get(peer, read(arguments)?).await,
        "set_state" => values::set(peer, read(arguments)?).await,
        "remember" => values::remember(peer, read(arguments)?).await,
        "recall" => values::recall(peer, read(arguments)?).await,
        "mesh_info" => people::info(joined, channel, read(arguments)?).await,
        other => Err(Failure::new(
            Code::Internal,
            format!("{other} is not done by anything"),
        )),
    }
}

/// Arguments as the tool has them; a name that it does not know is an error, not passed over.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Failure> {
    let read = serde_json::from_value(Value::Object(arguments));
    read.map_err(|error| Failure::usage(error.to_string()))
}

/// For a tool that takes no arguments.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}
