//! State, memory and summaries: kept for members, sealed where they can seal.

use broker_min::limits::Limits;
use broker_min::store::StoreError;
use claudemesh_core::membership::{Body, Role};
use serde_json::{Value, json};

use crate::world::{World, blob, hex, key, pair};

fn sealed(content: u8) -> Value {
    json!({"$sealed": blob(content, 80)})
}

fn sealed_text(content: u8, len: usize) -> String {
    format!("$sealed:{}", blob(content, len))
}

fn set(world: &mut World, conn: u64, frame: Value) -> Value {
    let mut set = json!({"type": "set_state", "_reqId": "s"});
    let fields = frame.as_object().unwrap().clone();
    set.as_object_mut().unwrap().extend(fields);
    world.got(conn);
    world.frame(conn, set);
    world.last(conn)
}

fn get(world: &mut World, conn: u64, key: &str) -> Value {
    world.frame(
        conn,
        json!({"type": "get_state", "key": key, "_reqId": "g"}),
    );
    world.last(conn)
}

#[test]
fn a_value_is_kept_told_and_read_again() {
    let mut world = World::of(3);
    let (writer, other, old) = (
        world.connect_values(2),
        world.connect_values(3),
        world.connect_legacy(1),
    );
    world.got(other);
    world.got(old);
    let saved = set(
        &mut world,
        writer,
        json!({"key": "k", "value": sealed(1), "version": 1}),
    );
    assert_eq!(
        saved,
        json!({"type": "state_saved", "key": "k", "_reqId": "s"})
    );
    let change = json!({"type": "state_change", "key": "k", "value": sealed(1),
        "updatedBy": "m2", "version": 1});
    for conn in [other, old] {
        assert_eq!(world.last(conn), change);
    }
    assert!(world.got_of(writer, "state_change").is_empty());
    let kept = json!({"type": "state_result", "key": "k", "value": sealed(1), "updatedBy": "m2",
        "updatedAt": "2025-11-24T16:00:00.000Z", "version": 1, "_reqId": "g"});
    for conn in [writer, other, old] {
        assert_eq!(get(&mut world, conn, "k"), kept);
    }
    let none = json!({"type": "state_result", "key": "no", "value": null, "updatedBy": "",
        "updatedAt": "", "_reqId": "g"});
    assert_eq!(get(&mut world, old, "no"), none);
    let mut again = world.restart();
    let conn = again.connect(3);
    assert_eq!(get(&mut again, conn, "k"), kept);
}

#[test]
fn a_plain_value_of_an_existing_client_is_served_as_it_is_and_nothing_is_answered() {
    let mut world = World::of(2);
    let (old, new) = (world.connect_legacy(2), world.connect_values(1));
    world.got(old);
    world.got(new);
    let value = json!({"by": "alice", "until": [1.5, null]});
    world.frame(
        old,
        json!({"type": "set_state", "key": "deploy.lock", "value": value}),
    );
    assert!(world.got(old).is_empty());
    assert_eq!(world.last(new)["value"], value);
    world.frame(new, json!({"type": "list_state", "_reqId": "l"}));
    let list = world.last(new);
    assert_eq!(list["entries"][0]["value"], value);
    assert_eq!(list["entries"][0]["version"], 1);
    assert_eq!(list["more"], Value::Null);
    // What it writes over a sealed value has the next version, so that a compare fails.
    set(
        &mut world,
        new,
        json!({"key": "deploy.lock", "value": sealed(1), "version": 7}),
    );
    world.frame(
        old,
        json!({"type": "set_state", "key": "deploy.lock", "value": 1}),
    );
    assert_eq!(get(&mut world, new, "deploy.lock")["version"], 8);
}

#[test]
fn versions_are_compared_in_the_commit() {
    let mut world = World::of(2);
    let conn = world.connect_values(2);
    let mut ask = |fields: Value| {
        let mut frame = json!({"key": "k", "value": sealed(1)});
        let fields = fields.as_object().unwrap().clone();
        frame.as_object_mut().unwrap().extend(fields);
        let answer = set(&mut world, conn, frame);
        match answer["type"].as_str().unwrap() {
            "state_saved" => "saved".to_owned(),
            _ => answer["code"].as_str().unwrap().to_owned(),
        }
    };
    assert_eq!(
        ask(json!({"if_version": 1, "version": 2})),
        "state_conflict"
    );
    assert_eq!(ask(json!({"if_version": 0, "version": 5})), "saved");
    assert_eq!(
        ask(json!({"if_version": 0, "version": 1})),
        "state_conflict"
    );
    assert_eq!(ask(json!({"version": 4})), "state_conflict");
    assert_eq!(ask(json!({"version": 5})), "saved");
    assert_eq!(ask(json!({"if_version": 5, "version": 6})), "saved");
    assert_eq!(ask(json!({"if_version": 6})), "saved");
    assert_eq!(
        ask(json!({"if_version": 7, "version": 9, "client_message_id": "x"})),
        "saved"
    );
    // A retry of the newest request is answered as the first was.
    assert_eq!(
        ask(json!({"if_version": 7, "version": 9, "client_message_id": "x"})),
        "saved"
    );
    assert_eq!(
        ask(json!({"if_version": 7, "version": 9, "client_message_id": "y"})),
        "state_conflict"
    );
}

#[test]
fn two_that_compare_at_once_do_not_both_win() {
    let mut world = World::of(3);
    let (one, two) = (world.connect_values(2), world.connect_values(3));
    world.got(one);
    world.got(two);
    world.hold_commits = true;
    for (conn, n) in [(one, 1), (two, 2)] {
        let value = sealed(n);
        world.frame(
            conn,
            json!({"type": "set_state", "key": "k", "value": value,
            "version": 1, "if_version": 0, "_reqId": "s"}),
        );
    }
    assert!(
        world.got(one).is_empty(),
        "nothing is told before the commit"
    );
    world.release_commits();
    world.hold_commits = false;
    assert_eq!(world.got(one)[0]["type"], "state_saved");
    let answers = world.got(two);
    assert!(
        answers.iter().any(|it| it["code"] == "state_conflict"),
        "{answers:?}"
    );
}

#[test]
fn who_reads_after_writing_reads_what_it_wrote() {
    let mut world = World::of(2);
    let conn = world.connect_legacy(2);
    world.got(conn);
    world.hold_commits = true;
    world.frame(conn, json!({"type": "set_state", "key": "k", "value": 7}));
    world.frame(
        conn,
        json!({"type": "get_state", "key": "k", "_reqId": "g"}),
    );
    assert!(world.got(conn).is_empty());
    world.release_commits();
    assert_eq!(world.last(conn)["value"], 7);
}

#[test]
fn a_store_that_fails_is_told_and_keeps_nothing() {
    let mut world = World::of(2);
    let (conn, other) = (world.connect_values(2), world.connect_values(1));
    world.got(other);
    world.fail.push_back(StoreError::Full { path: "x".into() });
    let error = set(&mut world, conn, json!({"key": "k", "value": sealed(1)}));
    assert_eq!(error["code"], "store_unavailable");
    assert_eq!(error["retry_after_ms"], 1_000);
    assert!(world.got(other).is_empty());
    assert_eq!(get(&mut world, conn, "k")["value"], Value::Null);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut world = World::of(2);
    let conn = world.connect_values(2);
    let ok = sealed(1);
    let not_sealed = json!({"$sealed": "zgI"});
    let longer = json!({"$sealed": blob(1, 60), "x": 1});
    let cases = [
        (json!({"key": "", "value": ok}), "invalid"),
        (json!({"key": "k".repeat(257), "value": ok}), "invalid"),
        (json!({"key": "a\nb", "value": ok}), "invalid"),
        (json!({"key": "k", "value": null}), "invalid"),
        (json!({"key": "k", "value": "plain"}), "invalid"),
        (json!({"key": "k", "value": {"$sealed": 1}}), "invalid"),
        (
            json!({"key": "k", "value": {"$sealed": "not base64url!"}}),
            "invalid",
        ),
        (json!({"key": "k", "value": not_sealed}), "invalid"),
        (json!({"key": "k", "value": longer}), "invalid"),
        (json!({"key": "k", "value": ok, "version": 0}), "invalid"),
        (
            json!({"key": "k", "value": ok, "version": u64::MAX}),
            "invalid",
        ),
        (
            json!({"key": "k", "value": ok, "if_version": u64::MAX}),
            "invalid",
        ),
        (
            json!({"key": "k", "value": {"$sealed": blob(1, 36_900)}}),
            "too_large",
        ),
    ];
    for (frame, code) in cases {
        let answer = set(&mut world, conn, frame.clone());
        assert_eq!(answer["code"], code, "{frame}");
        assert_eq!(answer["_reqId"], "s");
    }
    set(
        &mut world,
        conn,
        json!({"key": "k".repeat(256), "value": {"$sealed": blob(1, 36_800)}}),
    );
    world.frame(conn, json!({"type": "list_state"}));
    assert_eq!(world.last(conn)["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn who_is_not_admitted_keeps_and_reads_nothing() {
    let mut world = World::new();
    let (token, _) = world.invite(60, Role::Pending, 1);
    let _ = token;
    let (token, entry) = world.invite(61, Role::Pending, 1);
    let joined = world.join_entry(7, 61, entry);
    world.join(&token, 7, Some(joined.clone()));
    world.log.append(&joined).unwrap();
    let (pending, owner) = (world.connect_values(7), world.connect_values(1));
    world.got(pending);
    let frames = [
        json!({"type": "set_state", "key": "k", "value": sealed(1)}),
        json!({"type": "get_state", "key": "k"}),
        json!({"type": "list_state"}),
        json!({"type": "remember", "content": sealed_text(1, 60)}),
        json!({"type": "recall", "all": true}),
        json!({"type": "forget", "memoryId": "x"}),
        json!({"type": "set_summary", "summary": ""}),
        json!({"type": "schedule", "to": hex(1), "message": "x"}),
        json!({"type": "list_scheduled"}),
        json!({"type": "cancel_scheduled", "scheduledId": "x"}),
        json!({"type": "schedule_taken", "scheduledId": "x", "due": 1}),
        json!({"type": "audit_get"}),
    ];
    for frame in frames {
        world.frame(pending, frame.clone());
        assert_eq!(world.last(pending)["code"], "forbidden", "{frame}");
    }
    set(&mut world, owner, json!({"key": "k", "value": sealed(1)}));
    assert!(
        world.got(pending).is_empty(),
        "nor is it told what others keep"
    );
}

#[test]
fn long_lists_come_in_pages_and_in_one_piece_to_existing_clients() {
    let mut world = World::of(2);
    let (conn, old) = (world.connect_values(2), world.connect_legacy(1));
    for n in 0..40 {
        let value = json!({"$sealed": blob(n, 15_000)});
        set(
            &mut world,
            conn,
            json!({"key": format!("k{n:02}"), "value": value}),
        );
    }
    let (mut keys, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        world.frame(
            conn,
            json!({"type": "list_state", "after": after, "_reqId": "l"}),
        );
        let page = world.last(conn);
        assert!(page.to_string().len() <= 196_608 + 100);
        let entries = page["entries"].as_array().unwrap();
        keys.extend(
            entries
                .iter()
                .map(|it| it["key"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        if page["more"] != true {
            break;
        }
        after = keys.last().cloned();
    }
    assert!(pages > 3);
    assert_eq!(
        keys,
        (0..40).map(|n| format!("k{n:02}")).collect::<Vec<_>>()
    );
    world.got(old);
    world.frame(old, json!({"type": "list_state", "_reqId": "l"}));
    assert_eq!(world.last(old)["entries"].as_array().unwrap().len(), 40);
}

#[test]
fn there_are_so_many_keys_memories_and_schedules_at_most() {
    let mut limits = Limits::default();
    (limits.state_keys, limits.memories) = (2, 2);
    let mut world = World::with(limits);
    let conn = world.connect_legacy(1);
    for (key, code) in [
        ("a", None),
        ("b", None),
        ("c", Some("queue_full")),
        ("a", None),
    ] {
        let answer = set(&mut world, conn, json!({"key": key, "value": 1}));
        assert_eq!(answer["code"].as_str(), code);
    }
    for code in [None, None, Some("queue_full")] {
        world.frame(
            conn,
            json!({"type": "remember", "content": "x", "_reqId": "m"}),
        );
        assert_eq!(world.last(conn)["code"].as_str(), code);
    }
}

// ---- memory

fn remember(world: &mut World, conn: u64, content: &str, id: Option<&str>) -> Value {
    world.got(conn);
    world.frame(
        conn,
        json!({"type": "remember", "content": content, "id": id, "tags": ["t"], "_reqId": "m"}),
    );
    world.last(conn)
}

fn recall(world: &mut World, conn: u64, ask: Value) -> Value {
    let mut frame = json!({"type": "recall", "_reqId": "q"});
    let fields = ask.as_object().unwrap().clone();
    frame.as_object_mut().unwrap().extend(fields);
    world.frame(conn, frame);
    world.last(conn)
}

#[test]
fn a_memory_is_kept_under_its_writers_id_and_recalled() {
    let mut world = World::of(3);
    let (one, two) = (world.connect_values(2), world.connect_values(3));
    let id = "0123456789abcdef0123456789abcdef";
    let stored = json!({"type": "memory_stored", "id": id, "_reqId": "m"});
    let content = sealed_text(1, 80);
    assert_eq!(remember(&mut world, one, &content, Some(id)), stored);
    // A retry has the same answer; another content under the id is refused, and so is another's.
    assert_eq!(remember(&mut world, one, &content, Some(id)), stored);
    let other = remember(&mut world, one, &sealed_text(2, 80), Some(id));
    assert_eq!(other["code"], "invalid");
    assert_eq!(
        remember(&mut world, two, &content, Some(id))["code"],
        "invalid"
    );
    let results = recall(&mut world, two, json!({"all": true}));
    let memory = json!({"id": id, "content": content, "tags": ["t"], "rememberedBy": "m2",
        "rememberedAt": "2025-11-24T16:00:00.000Z"});
    assert_eq!(
        results,
        json!({"type": "memory_results", "memories": [memory], "_reqId": "q"})
    );
    // Without an id the broker makes one.
    let made = remember(&mut world, two, &content, None)["id"].clone();
    assert_eq!(made.as_str().unwrap().len(), 32);
    // Newest first.
    let results = recall(&mut world, two, json!({"all": true}));
    assert_eq!(results["memories"][0]["id"], made);
    let rest = recall(&mut world, two, json!({"all": true, "after": made}));
    assert_eq!(rest["memories"].as_array().unwrap().len(), 1);
    assert_eq!(
        recall(&mut world, two, json!({"all": true, "after": "nothing"}))["code"],
        "not_found"
    );
}

#[test]
fn words_find_what_is_not_sealed() {
    let mut world = World::of(2);
    let (old, new) = (world.connect_legacy(2), world.connect_values(1));
    for n in 0..25 {
        remember(&mut world, old, &format!("Prod DB {n} is pg16"), None);
    }
    remember(&mut world, old, "something else", None);
    remember(&mut world, new, &sealed_text(1, 80), None);
    let found = |world: &mut World, query: &str| {
        let results = recall(world, old, json!({"query": query}));
        results["memories"].as_array().unwrap().len()
    };
    assert_eq!(found(&mut world, "prod pg16"), 20);
    assert_eq!(found(&mut world, "db 7 is"), 2);
    assert_eq!(found(&mut world, "T else"), 1);
    assert_eq!(found(&mut world, "sealed"), 0);
    assert_eq!(found(&mut world, "  "), 0);
    assert_eq!(found(&mut world, "%"), 0);
    let long = recall(&mut world, old, json!({"query": "x".repeat(1_025)}));
    assert_eq!(long["code"], "invalid");
}

#[test]
fn a_memory_is_forgotten_by_its_writer_and_by_admins() {
    let mut world = World::of(3);
    let role = Body::RoleChanged {
        key: key(3),
        role: Role::Admin,
    };
    let owner = world.connect_values(1);
    let entry = world.log.draft(world.now.wall, role).sign(&pair(1), None);
    world.append(owner, &entry, None);
    let (writer, admin, old) = (
        world.connect_values(2),
        world.connect_values(3),
        world.connect_legacy(2),
    );
    let forget = |world: &mut World, conn: u64, id: &str| {
        world.got(conn);
        world.frame(
            conn,
            json!({"type": "forget", "memoryId": id, "_reqId": "f"}),
        );
        world.last(conn)
    };
    let mine = remember(&mut world, owner, &sealed_text(1, 60), None)["id"].clone();
    let mine = mine.as_str().unwrap().to_owned();
    assert_eq!(forget(&mut world, writer, &mine)["code"], "forbidden");
    let ack = json!({"type": "ack", "id": mine, "messageId": mine, "queued": false, "_reqId": "f"});
    assert_eq!(forget(&mut world, admin, &mine), ack);
    // It is gone; that is said as before.
    assert_eq!(forget(&mut world, old, &mine), ack);
    let theirs = remember(&mut world, writer, &sealed_text(1, 60), None)["id"].clone();
    assert_eq!(
        forget(&mut world, old, theirs.as_str().unwrap())["type"],
        "ack"
    );
    let left = recall(&mut world, owner, json!({"all": true}));
    assert_eq!(left["memories"], json!([]));
}

#[test]
fn memories_that_do_not_fit_are_refused() {
    let mut world = World::of(2);
    let conn = world.connect_values(2);
    world.got(conn);
    let good = sealed_text(1, 60);
    let cases = [
        (json!({"content": ""}), "invalid"),
        (json!({"content": "plain"}), "invalid"),
        (json!({"content": "$sealed:"}), "invalid"),
        (json!({"content": good, "tags": vec!["t"; 17]}), "invalid"),
        (
            json!({"content": good, "tags": ["t".repeat(65)]}),
            "invalid",
        ),
        (json!({"content": good, "id": "short"}), "invalid"),
        (json!({"content": good, "id": "A".repeat(32)}), "invalid"),
        (json!({"content": sealed_text(1, 37_000)}), "too_large"),
    ];
    for (fields, code) in cases {
        let mut frame = json!({"type": "remember", "_reqId": "m"});
        let fields = fields.as_object().unwrap().clone();
        frame.as_object_mut().unwrap().extend(fields);
        world.frame(conn, frame);
        assert_eq!(world.last(conn)["code"], code);
    }
    let old = world.connect_legacy(1);
    let stored = remember(&mut world, old, &"\u{1}".repeat(49_152), None);
    assert_eq!(stored["type"], "memory_stored");
    // However its characters are written, a page fits a frame.
    for _ in 0..4 {
        remember(&mut world, old, &"\u{1}".repeat(10_000), None);
    }
    let page = recall(&mut world, conn, json!({"all": true}));
    assert!(page.to_string().len() < 262_144);
    assert_eq!(page["more"], true);
}

#[test]
fn writing_counts_as_messages_do() {
    let mut limits = Limits::default();
    (limits.deliveries_per_s, limits.delivery_burst) = (2, 2);
    let mut world = World::with(limits);
    let conn = world.connect_values(1);
    for code in [None, None, Some("rate_limit")] {
        let answer = set(&mut world, conn, json!({"key": "k", "value": sealed(1)}));
        assert_eq!(answer["code"].as_str(), code);
    }
    assert_eq!(world.acks.get(&conn).map_or(0, Vec::len), 0);
    world.pass(500);
    let answer = set(&mut world, conn, json!({"key": "k", "value": sealed(1)}));
    assert_eq!(answer["type"], "state_saved");
}

#[test]
fn questions_are_counted() {
    let mut world = World::of(2);
    let conn = world.connect_values(2);
    world.got(conn);
    for _ in 0..101 {
        world.frame(conn, json!({"type": "list_state", "_reqId": "l"}));
    }
    let answers = world.got(conn);
    assert_eq!(
        answers
            .iter()
            .filter(|it| it["code"] == "rate_limit")
            .count(),
        1
    );
    world.pass(5_000);
    world.hold_loads = true;
    for _ in 0..17 {
        world.frame(conn, json!({"type": "recall", "all": true}));
    }
    assert_eq!(world.last(conn)["code"], "busy");
}

#[test]
fn a_summary_is_shown_while_the_session_is_here() {
    let mut world = World::of(3);
    let (new, old) = (world.connect_values(2), world.connect_legacy(3));
    let summary = |world: &mut World, conn: u64, of: u8| {
        world.frame(conn, json!({"type": "list_peers", "_reqId": "p"}));
        let list = world.last(conn);
        let peers = list["peers"].as_array().unwrap();
        let peer = peers.iter().find(|it| it["memberPubkey"] == hex(of));
        peer.unwrap()["summary"].clone()
    };
    world.got(new);
    world.got(old);
    let text = sealed_text(1, 100);
    world.frame(new, json!({"type": "set_summary", "summary": text}));
    world.frame(
        old,
        json!({"type": "set_summary", "summary": "reviewing PR 42"}),
    );
    assert!(world.got(new).is_empty());
    assert_eq!(summary(&mut world, old, 2), text);
    assert_eq!(summary(&mut world, new, 3), "reviewing PR 42");
    world.frame(new, json!({"type": "set_summary", "summary": "plain"}));
    assert_eq!(world.last(new)["code"], "invalid");
    world.frame(
        old,
        json!({"type": "set_summary", "summary": "x".repeat(4_097)}),
    );
    assert_eq!(world.last(old)["code"], "invalid");
    assert_eq!(summary(&mut world, old, 2), text);
    world.frame(new, json!({"type": "set_summary", "summary": ""}));
    assert_eq!(summary(&mut world, old, 2), Value::Null);
}
