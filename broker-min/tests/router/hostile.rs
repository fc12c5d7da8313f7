//! Whatever comes, in whatever order: no panic, bounds hold, and every accepted message is told
//! once.

use std::collections::{HashMap, HashSet};

use broker_min::router::In;
use broker_min::store::StoreError;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::channel_world::Chan;
use crate::world::{START, World, blob, hello, hex, message};

/// What each connection sent: its id, and to whom.
type Sends = HashMap<u64, Vec<(String, u8)>>;

/// To whom a post to the channel of all goes, in the books.
const ALL: u8 = 99;

#[derive(Debug, Clone)]
enum Step {
    Connect {
        member: u8,
        legacy: bool,
        session: Option<u8>,
        proven: bool,
        sid: Option<u8>,
    },
    Close(usize),
    Send {
        from: usize,
        to: u8,
        priority: u8,
        id: u8,
    },
    Post {
        from: usize,
        id: u8,
    },
    Frame(usize, Value),
    AckAll(usize),
    AckWrong(usize),
    Waiting(usize, usize),
    Pong(usize),
    Hold(bool, bool),
    Fail(bool),
    Pass(u64),
    Remove(u8),
    Pump,
    Early(bool),
    Stray(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let connect = (
        1..5u8,
        any::<bool>(),
        prop::option::of(50..52u8),
        any::<bool>(),
        prop::option::of(0..2u8),
    );
    prop_oneof![
        4 => connect.prop_map(|(member, legacy, session, proven, sid)| Step::Connect {
            member, legacy, session, proven, sid,
        }),
        1 => (0..9usize).prop_map(Step::Close),
        8 => (0..9usize, 1..6u8, 0..4u8, 0..40u8)
            .prop_map(|(from, to, priority, id)| Step::Send { from, to, priority, id }),
        3 => (0..9usize, 0..40u8).prop_map(|(from, id)| Step::Post { from, id }),
        4 => (0..9usize, frame()).prop_map(|(conn, frame)| Step::Frame(conn, frame)),
        3 => (0..9usize).prop_map(Step::AckAll),
        1 => (0..9usize).prop_map(Step::AckWrong),
        1 => (0..9usize, 0..3_000_000usize).prop_map(|(conn, n)| Step::Waiting(conn, n)),
        1 => (0..9usize).prop_map(Step::Pong),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(c, l)| Step::Hold(c, l)),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => (0..200_000u64).prop_map(Step::Pass),
        1 => (1..5u8).prop_map(Step::Remove),
        2 => Just(Step::Pump),
        1 => any::<bool>().prop_map(Step::Early),
        1 => any::<u64>().prop_map(Step::Stray),
    ]
}

fn frame() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"type": "list_peers", "_reqId": "l"}),
        json!({"type": "set_status", "status": "idle"}),
        json!({"type": "set_status", "status": "working", "ttl_ms": u64::MAX}),
        json!({"type": "set_status", "status": "dnd"}),
        json!({"type": "set_status", "status": "?"}),
        json!({"type": "fetch", "priority": "low"}),
        json!({"type": "fetch", "priority": "low", "max": u32::MAX}),
        json!({"type": "fetch", "priority": "now"}),
        json!({"type": "outcomes", "messageIds": ["", "x".repeat(32), "é".repeat(16)]}),
        json!({"type": "log_get", "channel": "", "from": u64::MAX}),
        json!({"type": "log_append", "entry": {"e": "", "sig": ""}}),
        json!({"type": "log_get", "channel": "#none", "from": 0}),
        json!({"type": "channel_get", "channel": "*"}),
        json!({"type": "channel_get", "channel": "?", "key_ids": ["x"]}),
        json!({"type": "channel_key_copies", "key_id": "0".repeat(32), "copies": "A".repeat(107)}),
        json!({"type": "channel_key_copies", "key_id": "0".repeat(32), "copies": "?"}),
        json!({"type": "channel_key", "e": "AA", "sig": "0".repeat(128)}),
        json!({"type": "channel_history", "channel": "#none", "before": "é"}),
        json!({"type": "send", "targetSpec": "*", "nonce": "", "ciphertext": "é".repeat(30),
            "form": "envelope/1"}),
        json!({"type": "client_ack"}),
        json!({"type": "send", "targetSpec": "", "nonce": "", "ciphertext": "", "online": true}),
        json!({"type": "send", "targetSpec": hex(2), "nonce": "", "ciphertext": "",
            "expires_at": u64::MAX}),
        json!({"type": "set_state", "key": "k", "value": {"a": 1}, "if_version": 0, "_reqId": "s"}),
        json!({"type": "set_state", "key": "k", "value": {"$sealed": blob(1, 60)}}),
        json!({"type": "set_state", "key": "k", "value": 1, "version": u64::MAX}),
        json!({"type": "set_state", "key": "k".repeat(300), "value": null}),
        json!({"type": "get_state", "key": "k"}),
        json!({"type": "list_state", "after": "\u{0}"}),
        json!({"type": "remember", "content": "x", "tags": ["a", ""], "id": "0".repeat(32)}),
        json!({"type": "remember", "content": format!("$sealed:{}", blob(2, 60))}),
        json!({"type": "recall", "query": "x"}),
        json!({"type": "recall", "all": true, "after": "?"}),
        json!({"type": "forget", "memoryId": "0".repeat(32)}),
        json!({"type": "set_summary", "summary": "x".repeat(5_000)}),
        json!({"type": "set_summary", "summary": "x"}),
        json!({"type": "schedule", "to": "", "message": "x", "deliverAt": 0}),
        json!({"type": "schedule", "to": hex(2), "deliverAt": START + 50_000, "_reqId": "z",
            "send": {"targetSpec": hex(2), "client_message_id": "later", "nonce": "n",
                "ciphertext": "c"}}),
        json!({"type": "schedule", "to": hex(9), "deliverAt": u64::MAX, "id": "z",
            "send": {"targetSpec": "", "client_message_id": "", "nonce": "", "ciphertext": ""}}),
        json!({"type": "schedule", "to": "", "sealed": "YQ==", "cron": "* * * * *"}),
        json!({"type": "schedule", "to": "", "sealed": "?", "cron": "70 * * * *"}),
        json!({"type": "list_scheduled"}),
        json!({"type": "cancel_scheduled", "scheduledId": ""}),
        json!({"type": "schedule_taken", "scheduledId": "\n", "due": u64::MAX}),
        json!({"type": "audit_get", "from": u64::MAX}),
        json!({"type": "audit_get", "from": 1}),
        json!({"type": "topic_create", "name": "t"}),
        json!({"type": "topic_join", "topic": "t", "role": "lead"}),
        json!({"type": "topic_leave", "topic": "t"}),
        json!({"type": "topic_history", "topic": "t", "beforeId": "é"}),
        json!({"type": "topic_members", "topic": ""}),
        json!({"type": "topic_mark_read", "topic": "t"}),
        json!({"type": "send", "targetSpec": "#t", "nonce": "", "ciphertext": "b3Blbg=="}),
        json!({"type": "send", "targetSpec": "@g", "nonce": "", "ciphertext": "b3Blbg=="}),
        json!({"type": "join_group", "name": "g"}),
        json!({"type": "leave_group", "name": "g"}),
        json!({"type": "set_visible", "visible": false}),
        json!({"type": "set_profile", "capabilities": ["x".repeat(500)]}),
        json!({"type": "set_stats", "stats": {"errors": 1, "more": [1]}}),
        json!({"type": "create_task", "title": "x", "tags": [""]}),
        json!({"type": "claim_task", "taskId": ""}),
        json!({"type": "list_tasks", "status": "open"}),
        json!({"type": "share_context", "summary": "x"}),
        json!({"type": "get_context", "query": "X"}),
        json!({"type": "create_stream", "name": "s"}),
        json!({"type": "subscribe", "stream": "s"}),
        json!({"type": "publish", "stream": "s", "data": {"a": [null]}}),
        json!({"type": "apikey_create", "label": "k", "capabilities": ["read"]}),
        json!({"type": "apikey_revoke", "id": "0"}),
        json!({"type": "message_status", "messageId": "0".repeat(8)}),
        json!({"type": "mesh_info"}),
        json!({"type": "audit_query", "limit": u64::MAX, "offset": u64::MAX}),
        json!({"type": "audit_verify"}),
        json!({"type": "schedule", "to": "*", "message": "x", "deliverAt": u64::MAX}),
        json!({"type": "nonsense", "_reqId": 5}),
        json!({}),
    ])
}

fn run(steps: Vec<Step>) {
    let mut world = World::of(4);
    let mut all = Chan::open("*");
    all.keyed(&mut world, 1);
    let mut sends = Sends::new();
    let mut live = Vec::new();
    let mut gone = HashSet::new();
    let mut conns: Vec<u64> = Vec::new();
    let mut nonce = 10_000;
    let pick = |conns: &[u64], n: usize| conns.get(n % conns.len().max(1)).copied();
    for step in steps {
        match step {
            Step::Connect {
                member,
                legacy,
                session,
                proven,
                sid,
            } => {
                nonce += 1;
                let mut hello = hello(&world.mesh(), member, nonce);
                if legacy {
                    hello.capabilities = None;
                } else if nonce % 3 > 0 {
                    let all = hello.capabilities.get_or_insert_default();
                    all.push("values/1".into());
                }
                hello.session_pubkey = session.map(hex);
                hello.session_id = sid.map(|sid| sid.to_string());
                let conn = world.enter(hello, |v| {
                    v.proven = proven && !legacy;
                    v.session_proven = v.proven && v.session.is_some();
                });
                conns.push(conn);
                live.push((conn, member, legacy));
            }
            Step::Close(n) => {
                if let Some(conn) = pick(&conns, n) {
                    gone.insert(conn);
                    world.close(conn);
                }
            }
            Step::Send {
                from,
                to,
                priority,
                id,
            } => {
                let to = if to == 5 { 50 } else { to };
                let class = ["now", "next", "low", "?"][usize::from(priority)];
                if let Some(conn) = pick(&conns, from) {
                    if !world.closed.contains_key(&conn) && !gone.contains(&conn) {
                        let sent = sends.entry(conn).or_default();
                        sent.push((format!("{to}-{id}"), to));
                    }
                    world.frame(conn, message(&hex(to), &format!("{to}-{id}"), class));
                }
            }
            Step::Post { from, id } => {
                if let Some(conn) = pick(&conns, from) {
                    let id = format!("all-{id}");
                    if !world.closed.contains_key(&conn) && !gone.contains(&conn) {
                        let sent = sends.entry(conn).or_default();
                        sent.push((id.clone(), ALL));
                    }
                    world.frame(conn, all.message(&id));
                }
            }
            Step::Frame(n, frame) => {
                if let Some(conn) = pick(&conns, n) {
                    world.frame(conn, frame);
                }
            }
            Step::AckAll(n) => {
                if let Some(conn) = pick(&conns, n) {
                    let pushes = world.got_of(conn, "push");
                    for ids in pushes.chunks(200) {
                        let ids: Vec<_> = ids.iter().map(|p| p["messageId"].clone()).collect();
                        let ack = json!({"type": "client_ack", "brokerMessageIds": ids});
                        world.frame(conn, ack);
                    }
                }
            }
            Step::AckWrong(n) => {
                if let Some(conn) = pick(&conns, n) {
                    let ack = json!({"type": "client_ack", "clientMessageId": "2-1"});
                    world.frame(conn, ack);
                }
            }
            Step::Waiting(n, bytes) => {
                if let Some(conn) = pick(&conns, n) {
                    world.input(In::Waiting { conn, bytes });
                }
            }
            Step::Pong(n) => {
                if let Some(conn) = pick(&conns, n) {
                    world.input(In::Pong { conn });
                }
            }
            Step::Hold(commits, loads) => {
                world.hold_commits = commits;
                world.hold_loads = loads;
            }
            Step::Fail(unknown) => {
                let (path, why) = (String::new(), String::new());
                world.fail.push_back(if unknown {
                    StoreError::Unknown { path, why }
                } else {
                    StoreError::Full { path }
                });
            }
            Step::Pass(ms) => world.pass(ms),
            Step::Remove(member) => {
                let entry = world.remove(member);
                if let Some(conn) = conns.last().copied() {
                    world.append(conn, &entry, None);
                }
            }
            Step::Early(early) => world.early = early,
            Step::Pump => {
                let (commits, loads) = (world.hold_commits, world.hold_loads);
                world.hold_commits = false;
                world.hold_loads = false;
                world.pump();
                world.hold_commits = commits;
                world.hold_loads = loads;
            }
            Step::Stray(n) => {
                world.input(In::Committed {
                    batch: n,
                    result: Ok(Vec::new()),
                });
                let result = Ok(broker_min::store::Rows::Counts([1; 3]));
                world.input(In::Loaded {
                    token: n.max(1 << 40),
                    result,
                });
                world.input(In::Closed {
                    conn: n.max(1 << 40),
                });
            }
        }
    }
    // A fair end: everything is answered, and who reads on has no more than a window of it.
    world.fail.clear();
    world.hold_commits = false;
    world.hold_loads = false;
    world.pump();
    world.pass(10_000);
    let mut served = HashSet::new();
    let posted = |(_, to): &(String, u8)| *to == ALL;
    let posted = sends.values().flatten().any(posted);
    for (conn, member, legacy) in live {
        let frames = world.frames.get(&conn).into_iter().flatten();
        let pushes = frames.filter(|frame| frame["type"] == "push");
        let mut ids: Vec<_> = pushes.map(|push| push["messageId"].to_string()).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "pushed twice on one connection");
        if !gone.contains(&conn) && !world.closed.contains_key(&conn) {
            drain(&mut world, conn);
            // What is for a channel waits for a connection that knows channels.
            if !(legacy && posted) {
                served.insert(member);
            }
        }
    }
    check_books(&mut world, &sends, &served);
    world.input(In::Shutdown);
    world.pass(10_000);
}

/// Lets a connection take all there is, and ack it; gives the number of messages.
fn drain(world: &mut World, conn: u64) -> usize {
    world.input(In::Waiting { conn, bytes: 0 });
    world.frame(conn, json!({"type": "set_status", "status": "idle"}));
    world.frame(conn, json!({"type": "fetch", "priority": "low"}));
    let mut count = 0;
    loop {
        let mut pushes = world.got_of(conn, "push");
        pushes.retain(|push| push["subtype"] != "system");
        count += pushes.len();
        if pushes.is_empty() {
            return count;
        }
        for ids in pushes.chunks(200) {
            let ids: Vec<_> = ids.iter().map(|push| push["messageId"].clone()).collect();
            world.frame(conn, json!({"type": "client_ack", "brokerMessageIds": ids}));
        }
    }
}

/// Acks are those of the sends, in their order; what was accepted was pushed, or waits.
fn check_books(world: &mut World, sends: &Sends, served: &HashSet<u8>) {
    let mut accepted = Vec::new();
    for (conn, sends) in sends {
        let empty = Vec::new();
        let acks = world.acks.get(conn).unwrap_or(&empty);
        let acks: Vec<_> = acks.iter().filter(|ack| ack["id"] != "").cloned().collect();
        assert!(acks.len() <= sends.len());
        for (ack, (id, to)) in acks.iter().zip(sends) {
            assert_eq!(ack["id"], *id, "acks in order");
            if ack["queued"] == true && *to < 5 {
                accepted.push((*to, ack["messageId"].as_str().unwrap().to_owned()));
            }
        }
    }
    for member in 1..5u8 {
        let mut hello = hello(&world.mesh(), member, 99_999 + u64::from(member));
        hello.presence = Some(false);
        let conn = world.enter(hello, |_| {});
        if world.closed.contains_key(&conn) {
            // Removed: what waited for it failed.
            accepted.retain(|(to, _)| *to != member);
            continue;
        }
        let left = drain(world, conn);
        assert!(
            left == 0 || !served.contains(&member),
            "{left} messages were left to an idle peer that acks"
        );
    }
    for (to, id) in accepted {
        assert!(world.pushed.contains(&id), "a message to {to} is lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_input_breaks_it(steps in vec(step(), 0..120)) {
        run(steps);
    }
}
