//! Frames recorded from another broker and its clients pass through our types unchanged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are not seen as tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use claudemesh_core::wire::{BrokerFrame, ClientFrame, WireError, decode_send};
use serde_json::Value;

/// Types that no broker or client but ours has; every other built type must have been recorded.
const OURS: &[&str] = &[
    "fetch",
    "outcomes",
    "log_get",
    "log_append",
    "acks",
    "receipt",
    "outcomes_result",
    "log_entries",
    "log_appended",
    "caught_up",
    "channel_key_copies",
    "channel_key",
    "channel_get",
    "channel_history",
    "channel_key_ok",
    "channel_keys",
    "channel_messages",
    "state_saved",
    "schedule_due",
    "schedule_taken",
    "audit_get",
    "audit_rows",
    "state_value",
    "memory_recall_result",
];

/// Types of the existing system that nobody recorded; `what_was_not_recorded_has_its_known_form`
/// has their forms.
const NOT_RECORDED: &[&str] = &[
    "disconnect",
    "kick",
    "ban",
    "unban",
    "list_bans",
    "disconnect_ack",
    "kick_ack",
    "ban_ack",
    "unban_ack",
    "list_bans_result",
];

/// Types of the existing system's platform, which are kept whole: what clients send.
const PLATFORM_REQUESTS: &[&str] = &[
    "get_file",
    "list_files",
    "file_status",
    "delete_file",
    "grant_file_access",
    "peer_file_request",
    "peer_file_response",
    "peer_dir_request",
    "peer_dir_response",
    "share_skill",
    "get_skill",
    "list_skills",
    "remove_skill",
    "skill_deploy",
    "mcp_register",
    "mcp_unregister",
    "mcp_list",
    "mcp_call",
    "mcp_call_response",
    "mcp_deploy",
    "mcp_undeploy",
    "mcp_update",
    "mcp_logs",
    "mcp_scope",
    "mcp_schema",
    "mcp_catalog",
    "vault_set",
    "vault_list",
    "vault_get",
    "vault_delete",
    "vector_store",
    "vector_search",
    "vector_delete",
    "list_collections",
    "graph_query",
    "graph_execute",
    "mesh_query",
    "mesh_execute",
    "mesh_schema",
    "set_clock",
    "pause_clock",
    "resume_clock",
    "get_clock",
    "watch",
    "unwatch",
    "watch_list",
    "create_webhook",
    "list_webhooks",
    "delete_webhook",
];

/// And what a broker sends.
const PLATFORM_ANSWERS: &[&str] = &[
    "file_url",
    "file_list",
    "file_status_result",
    "grant_file_access_ok",
    "peer_file_request_forward",
    "peer_file_response_forward",
    "peer_dir_request_forward",
    "peer_dir_response_forward",
    "skill_ack",
    "skill_data",
    "skill_list",
    "skill_deploy_ack",
    "mcp_register_ack",
    "mcp_list_result",
    "mcp_call_forward",
    "mcp_call_result",
    "mcp_deploy_status",
    "mcp_logs_result",
    "mcp_scope_result",
    "mcp_schema_result",
    "mcp_catalog_result",
    "vault_ack",
    "vault_list_result",
    "vault_get_result",
    "vector_stored",
    "vector_results",
    "collection_list",
    "graph_result",
    "mesh_query_result",
    "mesh_schema_result",
    "clock_status",
    "watch_ack",
    "watch_list_result",
    "webhook_ack",
    "webhook_list",
];

/// A type that was invented to see what becomes of it.
const INVENTED: &str = "made_up_type";

/// A folder of somebody else's, which need not have every frame.
fn other_folder() -> Option<PathBuf> {
    let dir = std::env::var_os("CLAUDEMESH_TRANSCRIPTS").filter(|dir| !dir.is_empty());
    dir.map(PathBuf::from)
}

fn records() -> Vec<Value> {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/transcripts");
    let dir = other_folder().unwrap_or_else(ours);
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .expect("the folder of the transcripts")
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<Value>>()
        })
        .filter(|record: &Value| record["proto"] == "ws")
        .collect()
}

/// Whether the frame got a type of its own, and what it is encoded back to.
fn pass(from_client: bool, text: &str) -> Result<(bool, String), WireError> {
    Ok(if from_client {
        let frame = ClientFrame::decode(text)?;
        (!matches!(frame, ClientFrame::Unknown(_)), frame.encode())
    } else {
        let frame = BrokerFrame::decode(text)?;
        (!matches!(frame, BrokerFrame::Unknown(_)), frame.encode())
    })
}

#[test]
fn recorded_frames_pass_unchanged() {
    let mut seen: BTreeMap<(bool, String), (bool, usize)> = BTreeMap::new();
    for record in records() {
        let from_client = record["dir"] == "c2s";
        let frame = &record["frame"];
        let text = frame.to_string();
        if !frame.is_object() {
            assert_eq!(pass(from_client, &text), Err(WireError::NotAnObject));
            continue;
        }
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        let (typed, back) = pass(from_client, &text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(&serde_json::from_str::<Value>(&back).unwrap(), frame);
        let built = if from_client {
            ClientFrame::TYPES
        } else {
            BrokerFrame::TYPES
        };
        assert_eq!(typed, built.contains(&kind.as_str()), "{kind}");
        let platform = if from_client {
            kind == INVENTED || PLATFORM_REQUESTS.contains(&kind.as_str())
        } else {
            PLATFORM_ANSWERS.contains(&kind.as_str())
        };
        assert_ne!(typed, platform, "{kind}");
        let entry = seen.entry((from_client, kind)).or_insert((typed, 0));
        entry.1 += 1;
    }
    for ((from_client, kind), (typed, count)) in &seen {
        let from = if *from_client { "client" } else { "broker" };
        println!(
            "{from} {kind}: {count}{}",
            if *typed { "" } else { " (kept whole)" }
        );
    }
    assert!(!seen.is_empty(), "no frame was found");
    if other_folder().is_some() {
        return;
    }
    for (from_client, types) in [(true, ClientFrame::TYPES), (false, BrokerFrame::TYPES)] {
        for kind in types {
            if OURS.contains(kind) || NOT_RECORDED.contains(kind) {
                continue;
            }
            assert!(
                seen.contains_key(&(from_client, (*kind).to_owned())),
                "{kind} was never seen"
            );
        }
    }
}

#[test]
fn recorded_sends_are_the_same_borrowed() {
    let mut count = 0;
    for record in records() {
        let Value::Object(mut frame) = record["frame"].clone() else {
            continue;
        };
        if record["dir"] != "c2s" || frame.get("type") != Some(&Value::from("send")) {
            continue;
        }
        let owned = ClientFrame::decode(&Value::from(frame.clone()).to_string()).unwrap();
        frame.remove("type");
        let rest = Value::from(frame).to_string();
        let text = rest.replacen('{', "{\"type\":\"send\",", 1);
        let borrowed = decode_send(&text).unwrap().unwrap();
        assert_eq!(ClientFrame::Send(borrowed.into_owned()), owned);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn what_was_not_recorded_has_its_known_form() {
    let frames = [
        (true, r#"{"type":"kick","target":"bob","_reqId":"k1"}"#),
        (true, r#"{"type":"kick","all":true}"#),
        (
            true,
            r#"{"type":"disconnect","stale":600000,"_reqId":"k2"}"#,
        ),
        (
            true,
            r#"{"type":"ban","target":"77ab","reason":"left","_reqId":"k3"}"#,
        ),
        (true, r#"{"type":"unban","target":"bob","_reqId":"k4"}"#),
        (true, r#"{"type":"list_bans","_reqId":"k5"}"#),
        (
            false,
            r#"{"type":"kick_ack","kicked":["bob"],"affected":["bob"],"skipped_control_plane":["bob-daemon"],"_reqId":"k1"}"#,
        ),
        (
            false,
            r#"{"type":"disconnect_ack","kicked":[],"affected":[],"_reqId":"k2"}"#,
        ),
        (false, r#"{"type":"ban_ack","banned":"bob","_reqId":"k3"}"#),
        (
            false,
            r#"{"type":"unban_ack","unbanned":"bob","_reqId":"k4"}"#,
        ),
        (
            false,
            r#"{"type":"list_bans_result","bans":[{"name":"bob","pubkey":"77ab","revokedAt":"2025-11-24T16:10:00.000Z"}],"_reqId":"k5"}"#,
        ),
    ];
    for (from_client, text) in frames {
        assert_eq!(pass(from_client, text), Ok((true, text.to_owned())));
    }
}
