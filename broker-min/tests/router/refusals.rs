//! What existing clients ask for and do not get: each refusal is told, with its code, by the name
//! of what was asked for.

use broker_min::limits::Limits;
use broker_min::router::HttpReply;
use claudemesh_core::membership::Role;
use serde_json::{Value, json};

use crate::world::{World, hello, hex};

/// A mesh with the members 2 and 3, whose clients are existing ones.
fn mesh(limits: Limits) -> World {
    let mut world = World::with(limits);
    let (token, _) = world.invite(90, Role::Member, 50);
    for n in 2..=3 {
        let reply = world.join(&token, n, None);
        assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
    }
    world
}

fn asked(world: &mut World, conn: u64, frame: Value) -> Value {
    world.got(conn);
    world.frame(conn, frame);
    world.last(conn)
}

#[test]
fn every_refusal_has_its_code() {
    let mut world = mesh(Limits::default());
    let conn = world.connect_legacy(2);
    let cases = [
        (json!({"type": "topic_create", "name": ""}), "invalid_args"),
        (
            json!({"type": "topic_create", "name": "a", "visibility": "?"}),
            "invalid_args",
        ),
        (
            json!({"type": "topic_join", "topic": "no"}),
            "topic_not_found",
        ),
        (
            json!({"type": "topic_leave", "topic": "no"}),
            "topic_not_found",
        ),
        (
            json!({"type": "topic_members", "topic": "no"}),
            "topic_not_found",
        ),
        (
            json!({"type": "topic_history", "topic": "no"}),
            "topic_not_found",
        ),
        (
            json!({"type": "topic_mark_read", "topic": "no"}),
            "topic_not_found",
        ),
        (
            json!({"type": "message_status", "messageId": "x"}),
            "invalid_argument",
        ),
        (
            json!({"type": "message_status", "messageId": "x".repeat(32)}),
            "not_found",
        ),
        (json!({"type": "audit_query"}), "forbidden"),
        (json!({"type": "audit_verify"}), "forbidden"),
        (json!({"type": "kick", "target": "m3"}), "forbidden"),
        (json!({"type": "disconnect", "all": true}), "forbidden"),
        (json!({"type": "ban", "target": "m3"}), "forbidden"),
        (json!({"type": "unban", "target": "m3"}), "forbidden"),
        (
            json!({"type": "apikey_create", "label": "x"}),
            "invalid_args",
        ),
        (
            json!({"type": "apikey_create", "label": "x", "capabilities": ["fly"]}),
            "invalid_args",
        ),
        (
            json!({"type": "apikey_create", "label": "x", "capabilities": ["admin"]}),
            "invalid_args",
        ),
        (
            json!({"type": "apikey_create", "label": "x", "capabilities": ["read"],
                "expiresAt": "soon"}),
            "invalid_args",
        ),
        (
            json!({"type": "create_task", "title": ""}),
            "invalid_argument",
        ),
        (
            json!({"type": "claim_task", "taskId": "no"}),
            "task_not_claimable",
        ),
        (
            json!({"type": "complete_task", "taskId": "no"}),
            "task_not_found",
        ),
        (
            json!({"type": "create_stream", "name": " "}),
            "invalid_argument",
        ),
        (json!({"type": "subscribe", "stream": "no"}), "not_found"),
        (
            json!({"type": "schedule", "to": "*", "message": "x", "deliverAt": 0,
            "cron": "? * * * *"}),
            "invalid_cron",
        ),
    ];
    for (mut frame, code) in cases {
        frame["_reqId"] = "r".into();
        let answer = asked(&mut world, conn, frame.clone());
        assert_eq!(answer["type"], "error", "{frame}: {answer}");
        assert_eq!(answer["code"], code, "{frame}: {answer}");
        assert_eq!(answer["_reqId"], "r", "{frame}: {answer}");
    }
    let none = asked(
        &mut world,
        conn,
        json!({"type": "apikey_revoke", "id": "no"}),
    );
    assert_eq!(none["status"], "not_found");
    let none = asked(
        &mut world,
        conn,
        json!({"type": "cancel_scheduled", "scheduledId": "no"}),
    );
    assert_eq!(none["ok"], false);
    assert!(!world.closed.contains_key(&conn));
    // Who shows no session is in no group.
    let nonce = world.fresh();
    let mut silent = hello(&world.mesh(), 3, nonce);
    (silent.capabilities, silent.presence) = (None, Some(false));
    let silent = world.enter(silent, |verified| verified.proven = false);
    let answer = asked(
        &mut world,
        silent,
        json!({"type": "join_group", "name": "g"}),
    );
    assert_eq!(answer["code"], "invalid");
}

#[test]
fn frames_of_the_platform_are_refused_by_name() {
    const ALL: &str = "get_file list_files file_status delete_file grant_file_access \
        peer_file_request peer_file_response peer_dir_request peer_dir_response share_skill \
        get_skill list_skills remove_skill skill_deploy mcp_register mcp_unregister mcp_list \
        mcp_call mcp_call_response mcp_deploy mcp_undeploy mcp_update mcp_logs mcp_scope \
        mcp_schema mcp_catalog vault_set vault_list vault_get vault_delete vector_store \
        vector_search vector_delete list_collections graph_query graph_execute mesh_query \
        mesh_execute mesh_schema set_clock pause_clock resume_clock get_clock watch unwatch \
        watch_list create_webhook list_webhooks delete_webhook made_up_type";
    let mut world = mesh(Limits::default());
    let (conn, other) = (world.connect_legacy(2), world.connect_legacy(3));
    world.got(other);
    for kind in ALL.split_whitespace() {
        let ask = json!({"type": kind, "_reqId": kind, "targetPubkey": hex(3), "serverName": "s"});
        let answer = asked(&mut world, conn, ask);
        assert_eq!(answer["code"], "unsupported", "{answer}");
        assert_eq!(answer["_reqId"], kind);
        let text = answer["message"].as_str().unwrap();
        assert!(text.contains(&format!("`{kind}`")), "{text}");
    }
    assert!(world.got(other).is_empty(), "nothing of it goes to a peer");
}

#[test]
fn connections_that_are_ended_are_not_counted_on() {
    let mut limits = Limits::default();
    limits.connections_per_mesh = 3;
    let mut world = mesh(limits);
    let owner = world.connect(1);
    for round in 0..12 {
        let enter = |world: &mut World| {
            let nonce = world.fresh();
            let mut it = hello(&world.mesh(), 2, nonce);
            (it.capabilities, it.session_id) = (None, Some("s".into()));
            world.enter(it, |verified| verified.proven = false)
        };
        let two = enter(&mut world);
        assert!(!world.closed.contains_key(&two), "round {round}");
        match round % 4 {
            0 => world.frame(owner, json!({"type": "kick", "target": "m2"})),
            1 => {
                // It is leased for a while: it comes back to its own place.
                world.frame(owner, json!({"type": "disconnect", "target": "m2"}));
                world.pass(100_000);
            }
            2 => {
                let again = enter(&mut world);
                assert_eq!(world.closed[&two].1, "session_replaced", "round {round}");
                world.close(again);
                world.pass(100_000);
            }
            _ => {
                world.frame(owner, json!({"type": "ban", "target": "m2"}));
                world.frame(owner, json!({"type": "unban", "target": "m2"}));
            }
        }
        assert!(world.closed.contains_key(&two), "round {round}");
        world.input(broker_min::router::In::Pong { conn: owner });
    }
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    assert!(!world.closed.contains_key(&two) && !world.closed.contains_key(&three));
}

#[test]
fn a_send_without_a_priority_leaves_the_audit_chain_whole() {
    let mut world = mesh(Limits::default());
    let (owner, two) = (world.connect(1), world.connect_legacy(2));
    let send = json!({"type": "send", "id": "1", "targetSpec": hex(3), "nonce": "n",
        "ciphertext": "c"});
    assert_eq!(world.say_frame(two, send)["queued"], true);
    world.frame(two, json!({"type": "topic_create", "name": "t"}));
    let answer = asked(&mut world, owner, json!({"type": "audit_verify"}));
    assert_eq!(answer["valid"], true, "{answer}");
    assert!(answer["entries"].as_u64().unwrap() > 0, "{answer}");
}

#[test]
fn a_hello_without_a_folder_is_accepted() {
    let mut world = mesh(Limits::default());
    let nonce = world.fresh();
    let mut bare = hello(&world.mesh(), 2, nonce);
    bare.capabilities = None;
    (bare.cwd, bare.pid, bare.session_id) = (None, None, None);
    let conn = world.enter(bare, |verified| verified.proven = false);
    assert_eq!(world.got(conn)[0]["type"], "hello_ack");
    let list = asked(&mut world, conn, json!({"type": "list_peers"}));
    let own = list["peers"].as_array().unwrap().iter();
    let own: Vec<_> = own.filter(|it| it["pubkey"] == hex(2)).collect();
    assert_eq!((own.len(), &own[0]["cwd"]), (1, &json!("")));
}
