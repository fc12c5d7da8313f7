//! A broker-min, a mesh and Rust peers in one process, for the tests of apps in other languages.
//!
//! It reads commands from its standard input, one JSON object a line, and answers each with one
//! line: `{"ok": …}` or `{"error": "…"}`. It ends, with everything it made, when its input ends.
//! The first line that it writes says where it is: `{"ok": {"broker": "ws://…", "mesh": "…"}}`.
//!
//! | command | answer |
//! |---|---|
//! | `{"do":"invite","uses":1}` | a link, issued by the owner |
//! | `{"do":"send","from":NAME,"to":WHO,"text":…}` | the message's id, once the broker has it |
//! | `{"do":"receive","as":NAME,"seconds":10}` | the next message: `id`, `text`, `sender`, `sender_name`, `verified`, `channel`, `reply_to` |
//! | `{"do":"send_many","from":NAME,"to":WHO,"count":N}` | nothing; the texts are `number 0`, `number 1`, … |
//! | `{"do":"receive_many","as":NAME,"count":N}` | the texts of the next N messages |
//! | `{"do":"key","of":NAME}` | the member's key, who joins if need be |
//! | `{"do":"members","as":NAME}` | names of the members |
//! | `{"do":"await_member","as":NAME,"name":WHO}` | nothing, once WHO is in the log that NAME holds |
//! | `{"do":"remove","name":WHO}` | nothing; the owner has removed WHO |
//! | `{"do":"create_channel","as":NAME,"channel":…}`, `join_channel`, `leave_channel` | nothing |
//! | `{"do":"stop_broker"}`, `{"do":"start_broker"}`, `{"do":"kill_broker"}`, `{"do":"drop_connections"}` | nothing; started again on the same port with the same data |
//! | `{"do":"advance","seconds":N}` | nothing; the broker's clock goes forward |
//!
//! A peer called NAME joins by an invite of its own when it is named first; `owner` is the owner.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use commands::{Mesh, Problem};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("claudemesh-test-mesh: {error}\n");
            let _ = tokio::io::stderr().write_all(text.as_bytes()).await;
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Problem> {
    let mut mesh = Mesh::start().await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    answer(&serde_json::json!({ "ok": mesh.about() })).await?;
    while let Some(line) = lines.next_line().await? {
        let said = match mesh.command(&line).await {
            Ok(value) => serde_json::json!({ "ok": value }),
            Err(error) => serde_json::json!({ "error": error.to_string() }),
        };
        answer(&said).await?;
    }
    Ok(())
}

async fn answer(value: &serde_json::Value) -> std::io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{value}\n").as_bytes()).await?;
    out.flush().await
}
