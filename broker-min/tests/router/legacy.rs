//! Existing clients among themselves: what is in the open reaches them, and only them.

use broker_min::router::HttpReply;
use broker_min::store::{BrokerStore, ItemRow, Op, ValueOp};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::Hello;
use serde_json::{Value, json};

use crate::channel_world::Chan;
use crate::world::{START, World, hello, hex, message};

/// A mesh of the owner 1, whose client is ours, and of the members 2, 3, … `last`, whose clients
/// are existing ones and no log entry vouches for.
fn of_existing(last: u8) -> World {
    let mut world = World::new();
    let (token, _) = world.invite(90, Role::Member, 50);
    for n in 2..=last {
        let reply = world.join(&token, n, None);
        assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
    }
    world
}

fn legacy_hello(world: &mut World, member: u8, change: impl FnOnce(&mut Hello)) -> u64 {
    let nonce = world.fresh();
    let mut hello = hello(&world.mesh(), member, nonce);
    hello.capabilities = None;
    hello.session_id = Some(format!("s{nonce}"));
    change(&mut hello);
    world.enter(hello, |verified| verified.proven = false)
}

fn asked(world: &mut World, conn: u64, frame: Value) -> Value {
    world.got(conn);
    world.frame(conn, frame);
    world.last(conn)
}

fn error_code(world: &mut World, conn: u64, frame: Value) -> String {
    let answer = asked(world, conn, frame);
    assert_eq!(answer["type"], "error", "{answer}");
    answer["code"].as_str().unwrap().to_owned()
}

fn pushes(world: &mut World, conn: u64) -> Vec<Value> {
    let all = world.got_of(conn, "push");
    all.into_iter()
        .filter(|push| push["subtype"] != "system")
        .collect()
}

#[test]
fn text_in_the_open_reaches_existing_clients_and_nobody_else() {
    let mut world = of_existing(4);
    let ours = world.connect(1);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    for target in ["*", "@all"] {
        let ack = world.say(two, target, &format!("to {target}"), "now");
        assert_eq!(
            (&ack["queued"], ack.get("recipients")),
            (&json!(true), None),
            "{ack}"
        );
        let pushed = pushes(&mut world, three);
        assert_eq!(pushed.len(), 1, "{pushed:?}");
        assert_eq!(pushed[0]["ciphertext"], format!("to {target}"));
        assert_eq!(
            (&pushed[0]["plain"], pushed[0].get("form")),
            (&json!(true), None)
        );
        assert_eq!(pushed[0]["senderMemberPubkey"], hex(2));
        assert_eq!(pushed[0]["senderName"], "m2");
    }
    assert!(
        pushes(&mut world, ours).is_empty(),
        "ours get nothing in the open"
    );
    assert!(pushes(&mut world, two).is_empty(), "nor does the sender");
    // Who was away has it when it comes.
    let four = world.connect_legacy(4);
    assert_eq!(world.texts(four), ["to *", "to @all"]);
    // And a later connection of ours under the same key does not.
    world.close(four);
    let four = world.connect(4);
    assert!(pushes(&mut world, four).is_empty());
    // A client of ours cannot send in the open.
    let ack = world.say(ours, "*", "plain", "now");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("unsupported"))
    );
}

#[test]
fn text_in_the_open_never_enters_a_sealed_channel() {
    let mut world = World::of(3);
    let chan = Chan::of(&mut world, "#t", &[2, 3]);
    let ours = world.connect(3);
    let old = world.connect_legacy(2);
    world.got(ours);
    let ack = world.say(old, "#t", "plain", "now");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("not_found")),
        "{ack}"
    );
    let made = asked(
        &mut world,
        old,
        json!({"type": "topic_create", "name": "t", "_reqId": "c"}),
    );
    assert_eq!(
        (&made["created"], &made["_reqId"]),
        (&json!(true), &json!("c"))
    );
    assert_eq!(world.say(old, "#t", "in the open", "now")["queued"], true);
    assert!(pushes(&mut world, ours).is_empty());
    let sealed = asked(
        &mut world,
        ours,
        json!({"type": "channel_history", "channel": "#t"}),
    );
    assert_eq!(sealed["messages"], json!([]));
    assert_eq!(chan.post(&mut world, ours, "sealed")["queued"], true);
    let open = asked(
        &mut world,
        old,
        json!({"type": "topic_history", "topic": "t"}),
    );
    let texts: Vec<_> = open["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["ciphertext"])
        .collect();
    assert_eq!(texts, ["in the open"]);
}

#[test]
fn groups_are_those_that_clients_name() {
    let mut world = of_existing(4);
    let two = world.connect_legacy(2);
    let three = legacy_hello(&mut world, 3, |it| {
        it.groups = Some(json!([{"name": "backend/api", "role": "lead"}]));
    });
    let four = world.connect_legacy(4);
    world.frame(
        four,
        json!({"type": "join_group", "name": "@front", "role": "dev"}),
    );
    world.say(two, "@backend", "b", "now");
    world.say(two, "@front", "f", "now");
    world.say(two, "@nobody", "n", "now");
    assert_eq!(world.texts(three), ["b"], "a group is in the one above it");
    assert_eq!(world.texts(four), ["f"]);
    // It is remembered for those who are away.
    world.close(three);
    world.close(four);
    world.pass(100_000);
    world.say(two, "@front", "f2", "now");
    let four = world.connect_legacy(4);
    assert_eq!(
        world.texts(four),
        ["f", "f2"],
        "who was away; the first was not acked"
    );
    world.close(four);
    world.pass(100_000);
    let four = world.connect_legacy(4);
    let frames = world.got(four);
    assert_eq!(frames[0]["restored"], true, "{}", frames[0]);
    assert_eq!(
        frames[0]["restoredGroups"],
        json!([{"name": "front", "role": "dev"}])
    );
    world.frame(four, json!({"type": "leave_group", "name": "front"}));
    world.got(four);
    world.say(two, "@front", "f3", "now");
    assert!(pushes(&mut world, four).is_empty());
}

#[test]
fn topics_are_pushed_live_and_reach_those_who_are_away() {
    let mut world = of_existing(4);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let made = asked(
        &mut world,
        two,
        json!({"type": "topic_create", "name": "builds", "description": "CI", "_reqId": "1"}),
    );
    let id = made["topic"]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (id.len(), &made["topic"]["visibility"]),
        (32, &json!("public"))
    );
    let again = asked(
        &mut world,
        three,
        json!({"type": "topic_create", "name": "builds"}),
    );
    assert_eq!(
        (&again["created"], &again["topic"]["id"]),
        (&json!(false), &json!(id))
    );
    world.frame(
        three,
        json!({"type": "topic_join", "topic": "builds", "role": "lead"}),
    );
    let four = world.connect_legacy(4);
    world.frame(four, json!({"type": "topic_join", "topic": id}));
    world.close(four);
    world.got(three);
    let target = format!("#{id}");
    let mut first = message(&target, "a", "now");
    first["bodyVersion"] = 1.into();
    first["mentions"] = json!(["m3"]);
    assert_eq!(world.say_frame(two, first)["queued"], true);
    let pushed = pushes(&mut world, three);
    assert_eq!(
        (&pushed[0]["topic"], &pushed[0]["plain"]),
        (&json!(id), &json!(true))
    );
    assert_eq!(
        world.say(three, "#builds", "b", "now")["queued"],
        true,
        "by its name too"
    );
    let four = world.connect_legacy(4);
    assert_eq!(world.texts(four), ["a", "b"], "who was away");
    let members = asked(
        &mut world,
        two,
        json!({"type": "topic_members", "topic": "builds"}),
    );
    let of = |members: &Value, name: &str| {
        let all = members["members"].as_array().unwrap();
        let it = all.iter().find(|it| it["displayName"] == name).unwrap();
        (it["role"].clone(), it["lastReadAt"].clone())
    };
    assert_eq!(of(&members, "m2"), (json!("lead"), Value::Null));
    assert_eq!(
        of(&members, "m3"),
        (json!("member"), Value::Null),
        "nobody makes itself lead"
    );
    world.frame(three, json!({"type": "topic_mark_read", "topic": "builds"}));
    let members = asked(
        &mut world,
        two,
        json!({"type": "topic_members", "topic": id}),
    );
    assert!(of(&members, "m3").1.is_string());
    let page = asked(
        &mut world,
        two,
        json!({"type": "topic_history", "topic": "builds", "limit": 1}),
    );
    assert_eq!(page["messages"][0]["ciphertext"], "b");
    let before = &page["messages"][0]["id"];
    let ask = json!({"type": "topic_history", "topic": "builds", "beforeId": before});
    let page = asked(&mut world, two, ask);
    assert_eq!(page["messages"].as_array().unwrap().len(), 1);
    let message = &page["messages"][0];
    assert_eq!(
        (&message["ciphertext"], &message["bodyVersion"]),
        (&json!("a"), &json!(1))
    );
    assert_eq!(
        (&message["senderPubkey"], &message["senderName"]),
        (&json!(hex(2)), &json!("m2"))
    );
    world.frame(three, json!({"type": "topic_leave", "topic": "builds"}));
    world.got(three);
    world.say(two, &target, "c", "now");
    assert!(pushes(&mut world, three).is_empty());
    let list = asked(
        &mut world,
        two,
        json!({"type": "topic_list", "_reqId": "l"}),
    );
    assert_eq!(list["topics"][0]["memberCount"], 2);
    assert_eq!(
        (&list["topics"][0]["description"], &list["_reqId"]),
        (&json!("CI"), &json!("l"))
    );
}

#[test]
fn a_topic_is_read_and_written_by_those_who_may() {
    let mut world = of_existing(3);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let ask = json!({"type": "topic_create", "name": "secret", "visibility": "private"});
    let id = asked(&mut world, two, ask)["topic"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(world.say(two, "#secret", "mine", "now")["queued"], true);
    for topic in ["secret", &id, "nope", "", "é", "*"] {
        for kind in [
            "topic_join",
            "topic_leave",
            "topic_members",
            "topic_history",
            "topic_mark_read",
        ] {
            let ask = json!({"type": kind, "topic": topic, "_reqId": "r"});
            let answer = asked(&mut world, three, ask);
            assert_eq!(answer["code"], "topic_not_found", "{kind} {topic}");
            assert_eq!(
                (&answer["id"], &answer["_reqId"]),
                (&json!("r"), &json!("r"))
            );
        }
    }
    for target in [format!("#{id}"), "#secret".into(), "#nope".into()] {
        let ack = world.say(three, &target, &format!("x{target}"), "now");
        assert_eq!(
            (&ack["queued"], &ack["code"]),
            (&json!(false), &json!("not_found"))
        );
    }
    let list = asked(&mut world, three, json!({"type": "topic_list"}));
    assert_eq!(list["topics"], json!([]), "it is not even listed");
    assert_eq!(
        error_code(&mut world, two, json!({"type": "topic_create"})),
        "invalid_args"
    );
    let odd = json!({"type": "topic_create", "name": "x", "visibility": "odd"});
    assert_eq!(error_code(&mut world, two, odd), "invalid_args");
    let odd = json!({"type": "topic_history", "topic": "secret", "beforeId": "?"});
    assert_eq!(error_code(&mut world, two, odd), "invalid_argument");
}

#[test]
fn what_is_kept_in_the_open_outlives_the_broker() {
    let mut world = of_existing(3);
    let two = world.connect_legacy(2);
    let made = asked(
        &mut world,
        two,
        json!({"type": "topic_create", "name": "t"}),
    );
    asked(
        &mut world,
        two,
        json!({"type": "create_task", "title": "fix", "tags": ["x"]}),
    );
    asked(
        &mut world,
        two,
        json!({"type": "create_stream", "name": "logs"}),
    );
    world.say(two, "#t", "said", "now");
    let mut world = world.restart();
    let two = world.connect_legacy(2);
    let list = asked(&mut world, two, json!({"type": "topic_list"}));
    assert_eq!(list["topics"][0]["id"], made["topic"]["id"]);
    let page = asked(
        &mut world,
        two,
        json!({"type": "topic_history", "topic": "t"}),
    );
    assert_eq!(page["messages"][0]["ciphertext"], "said");
    let tasks = asked(&mut world, two, json!({"type": "list_tasks"}));
    assert_eq!(tasks["tasks"][0]["title"], "fix");
    let streams = asked(&mut world, two, json!({"type": "list_streams"}));
    assert_eq!(streams["streams"][0]["name"], "logs");
}

#[test]
fn what_a_session_says_of_itself_is_shown() {
    let mut world = of_existing(3);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let ack = asked(
        &mut world,
        two,
        json!({"type": "set_profile", "title": "Engineer", "capabilities": ["rust"], "_reqId": "p"}),
    );
    assert_eq!(
        (&ack["type"], &ack["id"], &ack["_reqId"]),
        (&json!("ack"), &json!("p"), &json!("p"))
    );
    world.frame(two, json!({"type": "set_profile", "bio": "b"}));
    world.frame(
        two,
        json!({"type": "set_stats", "stats": {"toolCalls": 3, "x": 1, "errors": "no"}}),
    );
    let list = asked(&mut world, three, json!({"type": "list_peers"}));
    let shown = list["peers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["memberPubkey"] == hex(2));
    let shown = shown.unwrap();
    let profile = json!({"title": "Engineer", "bio": "b", "capabilities": ["rust"]});
    assert_eq!(
        (&shown["profile"], &shown["stats"]),
        (&profile, &json!({"toolCalls": 3}))
    );
    world.got(three);
    asked(
        &mut world,
        two,
        json!({"type": "set_visible", "visible": false, "_reqId": "v"}),
    );
    let hidden = world.got_of(three, "push").pop().unwrap();
    assert_eq!(hidden["event"], "peer_hidden");
    let list = asked(&mut world, three, json!({"type": "list_peers"}));
    assert_eq!(list["peers"].as_array().unwrap().len(), 1);
    let own = asked(&mut world, two, json!({"type": "list_peers"}));
    assert_eq!(own["peers"].as_array().unwrap().len(), 2);
    world.got(two);
    world.say(three, "*", "to all", "now");
    assert!(
        pushes(&mut world, two).is_empty(),
        "the hidden get nothing that is for many"
    );
    let info = asked(
        &mut world,
        three,
        json!({"type": "mesh_info", "_reqId": "i"}),
    );
    assert_eq!(
        (&info["peers"], &info["yourName"], &info["_reqId"]),
        (&json!(1), &json!("m3"), &json!("i"))
    );
}

#[test]
fn existing_clients_find_our_peers() {
    let mut world = of_existing(2);
    let ours = world.connect(1);
    let two = world.connect_legacy(2);
    let role = |world: &mut World| {
        let list = asked(world, two, json!({"type": "list_peers"}));
        let peers = list["peers"].as_array().unwrap().clone();
        let of = |n: u8| {
            peers
                .iter()
                .find(|it| it["memberPubkey"] == hex(n))
                .unwrap()["peerRole"]
                .clone()
        };
        (of(1), of(2))
    };
    assert_eq!(role(&mut world), (json!("session"), json!("control-plane")));
    world.close(ours);
    assert_eq!(
        role(&mut world).0,
        "session",
        "also for the time of its lease"
    );
}

#[test]
fn only_the_sender_learns_how_far_a_message_is() {
    let mut world = of_existing(3);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let ack = world.say(two, &hex(3), "a", "now");
    let id = ack["messageId"].as_str().unwrap().to_owned();
    let ask = |id: &str| json!({"type": "message_status", "messageId": id, "_reqId": "m"});
    let held = asked(&mut world, two, ask(&id[..10]));
    assert_eq!(
        (&held["delivered"], &held["targetSpec"]),
        (&json!(false), &json!(hex(3)))
    );
    assert_eq!(
        held["recipients"],
        json!([{"name": "m3", "pubkey": hex(3), "status": "held"}])
    );
    assert_eq!(error_code(&mut world, three, ask(&id)), "not_found");
    assert_eq!(error_code(&mut world, three, ask(&id[..8])), "not_found");
    assert_eq!(
        error_code(&mut world, two, ask("short")),
        "invalid_argument"
    );
    assert_eq!(
        error_code(&mut world, two, ask(&"A".repeat(32))),
        "not_found"
    );
    assert_eq!(
        error_code(&mut world, two, ask("éééééééé")),
        "invalid_argument"
    );
    world.frame(three, json!({"type": "client_ack", "brokerMessageId": id}));
    let done = asked(&mut world, two, ask(&id));
    assert_eq!(
        (&done["delivered"], &done["deliveredAt"]),
        (&json!(true), &Value::Null)
    );
}

#[test]
fn tasks_contexts_and_streams_are_shared() {
    let mut world = of_existing(3);
    let ours = world.connect(1);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let made = asked(
        &mut world,
        two,
        json!({"type": "create_task", "title": "fix", "_reqId": "t"}),
    );
    let id = made["id"].clone();
    let claim = json!({"type": "claim_task", "taskId": id});
    let list = asked(&mut world, three, claim.clone());
    let task = &list["tasks"][0];
    assert_eq!(
        (&task["status"], &task["claimedBy"]),
        (&json!("claimed"), &json!("m3"))
    );
    assert_eq!(
        (&task["assignee"], &task["priority"]),
        (&Value::Null, &json!("normal"))
    );
    assert_eq!(error_code(&mut world, two, claim), "task_not_claimable");
    let none = json!({"type": "complete_task", "taskId": "nope"});
    assert_eq!(error_code(&mut world, two, none), "task_not_found");
    let done = asked(
        &mut world,
        three,
        json!({"type": "complete_task", "taskId": id, "result": "r"}),
    );
    assert_eq!(done["tasks"][0]["status"], "done");
    let open = asked(
        &mut world,
        two,
        json!({"type": "list_tasks", "status": "open"}),
    );
    assert_eq!(open["tasks"], json!([]));
    assert_eq!(
        error_code(&mut world, two, json!({"type": "create_task"})),
        "invalid_argument"
    );

    world.got(three);
    world.got(ours);
    let share = json!({"type": "share_context", "summary": "Read auth.rs", "keyFindings": ["bug"], "tags": ["a"]});
    assert!(asked(&mut world, two, share)["id"].is_string());
    let told = world.got_of(three, "state_change").pop().unwrap();
    assert_eq!(told["key"], "_context:m2");
    assert!(world.got_of(ours, "state_change").is_empty());
    let found = asked(
        &mut world,
        three,
        json!({"type": "get_context", "query": "AUTH"}),
    );
    assert_eq!(found["contexts"][0]["keyFindings"], json!(["bug"]));
    let listed = asked(&mut world, three, json!({"type": "list_contexts"}));
    assert_eq!(listed["contexts"][0].get("keyFindings"), None);

    let stream = asked(
        &mut world,
        two,
        json!({"type": "create_stream", "name": "logs"}),
    );
    let again = asked(
        &mut world,
        three,
        json!({"type": "create_stream", "name": "logs"}),
    );
    assert_eq!(stream["id"], again["id"]);
    let subscribed = asked(
        &mut world,
        three,
        json!({"type": "subscribe", "stream": "logs", "_reqId": "s"}),
    );
    assert_eq!(
        (&subscribed["type"], &subscribed["_reqId"]),
        (&json!("subscribed"), &json!("s"))
    );
    assert_eq!(
        error_code(
            &mut world,
            three,
            json!({"type": "subscribe", "stream": "no"})
        ),
        "not_found"
    );
    assert_eq!(
        error_code(&mut world, three, json!({"type": "create_stream"})),
        "invalid_argument"
    );
    world.got(three);
    world.frame(
        two,
        json!({"type": "publish", "stream": "logs", "data": {"line": 1}}),
    );
    let data = world.last(three);
    assert_eq!(
        (&data["data"]["line"], &data["publishedBy"]),
        (&json!(1), &json!("m2"))
    );
    let list = asked(&mut world, two, json!({"type": "list_streams"}));
    assert_eq!(list["streams"][0]["subscriberCount"], 1);
    world.frame(three, json!({"type": "unsubscribe", "stream": "logs"}));
    world.got(three);
    world.frame(two, json!({"type": "publish", "stream": "logs", "data": 2}));
    assert!(world.got(three).is_empty());
}

#[test]
fn who_moderates_ends_connections_and_nobody_else_does() {
    let mut world = of_existing(4);
    let owner = world.connect(1);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    for kind in ["kick", "disconnect", "ban", "unban"] {
        let ask = json!({"type": kind, "target": "m3", "_reqId": "k"});
        let answer = asked(&mut world, two, ask);
        assert_eq!(
            (&answer["code"], &answer["_reqId"]),
            (&json!("forbidden"), &json!("k")),
            "{kind}"
        );
    }
    let all = json!({"type": "kick", "all": true});
    assert_eq!(error_code(&mut world, two, all), "forbidden");
    assert!(!world.closed.contains_key(&three));
    let ack = asked(
        &mut world,
        owner,
        json!({"type": "disconnect", "target": "m3", "_reqId": "d"}),
    );
    assert_eq!(
        (&ack["kicked"], &ack["_reqId"]),
        (&json!(["m3"]), &json!("d"))
    );
    assert_eq!(world.closed[&three], (1000, "disconnected".to_owned()));
    let three = legacy_hello(&mut world, 3, |_| {});
    let daemon = legacy_hello(&mut world, 3, |it| {
        it.channel = Some("claudemesh-daemon".into())
    });
    let ack = asked(
        &mut world,
        owner,
        json!({"type": "kick", "target": hex(3)[..8]}),
    );
    assert_eq!(
        (&ack["kicked"], &ack["skipped_control_plane"]),
        (&json!(["m3"]), &json!(["m3"]))
    );
    assert_eq!(world.closed[&three], (4001, "kicked".to_owned()));
    assert!(!world.closed.contains_key(&daemon));
    let ack = asked(&mut world, owner, json!({"type": "kick", "target": ""}));
    assert_eq!(ack["kicked"], json!([]), "no name is nobody's");
    let ack = asked(
        &mut world,
        owner,
        json!({"type": "kick", "stale": 10_000_000}),
    );
    assert_eq!(ack["kicked"], json!([]));
}

#[test]
fn who_is_shut_out_stays_out_until_let_in() {
    let mut world = of_existing(3);
    let owner = world.connect(1);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    world.say(two, &hex(3), "before", "low");
    for wrong in ["", "m", "nobody", "owner"] {
        let ask = json!({"type": "ban", "target": wrong});
        let code = error_code(&mut world, owner, ask);
        assert_eq!(
            code,
            if wrong == "owner" {
                "forbidden"
            } else {
                "not_found"
            },
            "{wrong}"
        );
    }
    let ack = asked(
        &mut world,
        owner,
        json!({"type": "ban", "target": "m3", "_reqId": "b"}),
    );
    assert_eq!(
        (&ack["type"], &ack["banned"]),
        (&json!("ban_ack"), &json!("m3"))
    );
    assert_eq!(world.closed[&three].0, 4002);
    let bans = asked(&mut world, two, json!({"type": "list_bans"}));
    assert_eq!(
        (&bans["bans"][0]["name"], &bans["bans"][0]["pubkey"]),
        (&json!("m3"), &json!(hex(3)))
    );
    let again = legacy_hello(&mut world, 3, |_| {});
    assert_eq!(world.closed[&again].0, 4002);
    let (token, _) = world.invite(91, Role::Member, 5);
    let reply = world.join(&token, 3, None);
    assert!(
        matches!(reply, HttpReply::Error { status: 403, .. }),
        "{reply:?}"
    );
    let ack = world.say(two, &hex(3), "after", "now");
    assert_eq!(ack["code"], "removed");
    let nobody = json!({"type": "unban", "target": "m2"});
    assert_eq!(error_code(&mut world, owner, nobody), "not_found");
    let ack = asked(
        &mut world,
        owner,
        json!({"type": "unban", "target": hex(3)}),
    );
    assert_eq!(ack["unbanned"], "m3");
    let three = legacy_hello(&mut world, 3, |_| {});
    assert!(!world.closed.contains_key(&three));
}

#[test]
fn keys_for_http_are_their_makers() {
    let mut world = of_existing(3);
    let owner = world.connect(1);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let ask = json!({"type": "apikey_create", "label": "ci", "capabilities": ["send", "read"],
        "topicScopes": null, "_reqId": "k"});
    let made = asked(&mut world, two, ask);
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("cm_") && secret.len() == 46, "{secret}");
    assert_eq!(made["prefix"], secret[..11]);
    assert_eq!(
        (&made["topicScopes"], &made["_reqId"]),
        (&Value::Null, &json!("k"))
    );
    for wrong in [
        json!({"type": "apikey_create", "_reqId": "w"}),
        json!({"type": "apikey_create", "label": "x", "capabilities": ["root"], "_reqId": "w"}),
        json!({"type": "apikey_create", "label": "x", "capabilities": ["admin"], "_reqId": "w"}),
        json!({"type": "apikey_create", "label": "x", "capabilities": ["read"], "expiresAt": "soon", "_reqId": "w"}),
    ] {
        let answer = asked(&mut world, two, wrong);
        assert_eq!(
            (&answer["code"], &answer["id"]),
            (&json!("invalid_args"), &json!("w"))
        );
    }
    let list = |world: &mut World, conn| {
        let list = asked(world, conn, json!({"type": "apikey_list"}));
        assert!(!list.to_string().contains(secret));
        list["keys"].as_array().unwrap().len()
    };
    let seen = (
        list(&mut world, two),
        list(&mut world, three),
        list(&mut world, owner),
    );
    assert_eq!(seen, (1, 0, 1), "one's own, and all for who moderates");
    let id = made["id"].as_str().unwrap();
    let ask = json!({"type": "apikey_revoke", "id": id[..8]});
    assert_eq!(asked(&mut world, three, ask.clone())["status"], "not_found");
    let done = asked(&mut world, two, ask);
    assert_eq!(
        (&done["status"], &done["id"]),
        (&json!("revoked"), &json!(id))
    );
    let list = asked(&mut world, two, json!({"type": "apikey_list"}));
    assert!(list["keys"][0]["revokedAt"].is_string());
}

#[test]
fn the_audit_table_is_shown_and_holds() {
    let mut world = of_existing(3);
    let owner = world.connect_legacy(1);
    let two = world.connect_legacy(2);
    // A send without a priority is as good as any.
    let mut odd = message(&hex(3), "x", "now");
    odd.as_object_mut().unwrap().remove("priority");
    assert_eq!(world.say_frame(two, odd)["queued"], true);
    world.say(two, &hex(3), "y", "now");
    let ask = json!({"type": "audit_query", "limit": 1, "_reqId": "a"});
    let page = asked(&mut world, owner, ask);
    let entry = &page["entries"][0];
    assert_eq!(
        (&entry["eventType"], &entry["actor"]),
        (&json!("message_sent"), &json!("m2"))
    );
    assert_eq!(entry["payload"]["priority"], "now");
    assert_eq!(entry["hash"].as_str().unwrap().len(), 64);
    let total = page["total"].as_u64().unwrap();
    let older = asked(
        &mut world,
        owner,
        json!({"type": "audit_query", "limit": 1, "offset": 1}),
    );
    assert_eq!(older["entries"][0]["id"], total - 1);
    let joins = json!({"type": "audit_query", "eventType": "member_joined"});
    assert_eq!(asked(&mut world, owner, joins)["total"], 2);
    let holds = asked(
        &mut world,
        owner,
        json!({"type": "audit_verify", "_reqId": "v"}),
    );
    assert_eq!(
        (&holds["valid"], &holds["entries"]),
        (&json!(true), &json!(total))
    );
    for kind in ["audit_query", "audit_verify"] {
        assert_eq!(
            error_code(&mut world, two, json!({"type": kind})),
            "forbidden"
        );
    }
}

#[test]
fn plain_text_is_sent_later_too() {
    let mut world = of_existing(3);
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let ask = |to: &str| {
        json!({"type": "schedule", "to": to, "message": "stand-up",
        "deliverAt": START + 60_000, "subtype": "reminder", "_reqId": "s"})
    };
    let ack = asked(&mut world, two, ask("*"));
    let id = ack["scheduledId"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &ack["deliverAt"]), (36, &json!(START + 60_000)));
    let list = asked(&mut world, two, json!({"type": "list_scheduled"}));
    assert_eq!(list["messages"][0]["message"], "stand-up");
    world.got(three);
    world.pass(70_000);
    let pushed = pushes(&mut world, three);
    assert_eq!(pushed[0]["ciphertext"], "c3RhbmQtdXA=");
    assert_eq!(
        (&pushed[0]["priority"], &pushed[0]["subtype"]),
        (&json!("now"), &json!("reminder"))
    );
    let list = asked(&mut world, two, json!({"type": "list_scheduled"}));
    assert_eq!(list["messages"], json!([]));
    // To one whose client is ours the broker sends nothing in the open.
    assert_eq!(error_code(&mut world, two, ask(&hex(1))), "unsupported");
    let wrong = json!({"type": "schedule", "to": "*", "message": "x", "cron": "bad"});
    assert_eq!(error_code(&mut world, two, wrong), "invalid_cron");
    let cron = json!({"type": "schedule", "to": hex(3), "message": "again", "cron": "* * * * *"});
    let id = asked(&mut world, two, cron)["scheduledId"].clone();
    world.got(three);
    world.pass(130_000);
    assert_eq!(world.texts(three), ["YWdhaW4=", "YWdhaW4="]);
    let gone = asked(
        &mut world,
        two,
        json!({"type": "cancel_scheduled", "scheduledId": id}),
    );
    assert_eq!(gone["ok"], true);
    world.pass(130_000);
    assert!(pushes(&mut world, three).is_empty());
}

#[test]
fn the_daemon_is_answered_in_its_own_words() {
    let mut world = of_existing(2);
    let daemon = legacy_hello(&mut world, 2, |it| {
        it.channel = Some("claudemesh-daemon".into())
    });
    let stored = asked(
        &mut world,
        daemon,
        json!({"type": "remember", "content": "pg16", "_reqId": "r"}),
    );
    assert_eq!(stored["memoryId"], stored["id"]);
    world.frame(daemon, json!({"type": "set_state", "key": "k", "value": 1}));
    world.got(daemon);
    world.frame(
        daemon,
        json!({"type": "get_state", "key": "k", "_reqId": "g"}),
    );
    let frames = world.got(daemon);
    assert_eq!(
        (&frames[0]["type"], &frames[0]["state"]["value"]),
        (&json!("state_value"), &json!(1))
    );
    assert_eq!(
        (&frames[1]["type"], &frames[1]["value"]),
        (&json!("state_result"), &json!(1))
    );
    world.frame(
        daemon,
        json!({"type": "recall", "query": "pg16", "_reqId": "c"}),
    );
    let frames = world.got(daemon);
    assert_eq!(
        (&frames[0]["type"], &frames[1]["type"]),
        (&json!("memory_recall_result"), &json!("memory_results"))
    );
    assert_eq!(frames[0]["matches"], frames[1]["memories"]);
}

#[test]
fn a_poisoned_group_name_harms_nobody() {
    let mut world = of_existing(3);
    let two = world.connect_legacy(2);
    let three = legacy_hello(&mut world, 3, |it| {
        it.groups = Some(
            json!([null, 7, {"name": null}, {"name": "x'; DROP TABLE mesh; --"}, {"name": {"a": 1}}]),
        );
    });
    world.frame(three, json!({"type": "join_group", "name": "' OR 1=1 --"}));
    world.frame(three, json!({"type": "join_group", "name": ""}));
    world.got(three);
    assert_eq!(world.say(two, "@any", "a", "now")["queued"], true);
    assert_eq!(world.say(two, "@' OR 1=1 --", "b", "now")["queued"], true);
    assert_eq!(world.say(two, &hex(3), "c", "now")["queued"], true);
    assert_eq!(world.texts(three), ["b", "c"]);
}

#[test]
fn another_meshs_topic_is_no_topic() {
    let mut one = of_existing(2);
    let conn = one.connect_legacy(2);
    let made = asked(&mut one, conn, json!({"type": "topic_create", "name": "t"}));
    let target = format!("#{}", made["topic"]["id"].as_str().unwrap());
    let mut other = of_existing(3);
    let conn = other.connect_legacy(3);
    let ack = other.say(conn, &target, "x", "now");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("not_found"))
    );
}

#[test]
fn what_the_store_does_not_take_is_not_told_as_kept() {
    let mut world = of_existing(3);
    let two = world.connect_legacy(2);
    world.got(two);
    world
        .fail
        .push_back(broker_min::store::StoreError::Full { path: "x".into() });
    let answer = asked(
        &mut world,
        two,
        json!({"type": "topic_create", "name": "t", "_reqId": "t"}),
    );
    assert_eq!(
        (&answer["type"], &answer["code"]),
        (&json!("error"), &json!("store_unavailable"))
    );
    let list = asked(&mut world, two, json!({"type": "topic_list"}));
    assert_eq!(list["topics"], json!([]));
}

#[test]
fn who_lets_a_member_send_nothing_gets_nothing_from_it() {
    let mut world = of_existing(4);
    let grants = json!({ (hex(2)): [], (hex(4)): ["broadcast"] });
    let op = Op::Value(ValueOp::Item {
        row: ItemRow {
            mesh: world.mesh(),
            kind: "grants".into(),
            key: hex(3),
            value: grants.to_string(),
            at: START,
        },
        max: 9,
        event: None,
    });
    world.store.commit(&[op]).unwrap();
    let mut world = world.restart();
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let four = world.connect_legacy(4);
    let ack = world.say(two, &hex(3), "dm of 2", "now");
    assert_eq!(
        (&ack["queued"], &ack["code"]),
        (&json!(false), &json!("blocked"))
    );
    let words = "blocked by recipient grants (sender lacks dm capability)";
    assert_eq!(ack["error"], words, "existing clients know these words");
    assert_eq!(
        world.say(four, &hex(3), "dm of 4", "now")["code"],
        "blocked"
    );
    assert_eq!(world.say(two, "*", "all of 2", "now")["queued"], true);
    assert_eq!(world.say(four, "*", "all of 4", "now")["queued"], true);
    assert_eq!(world.texts(three), ["all of 4"]);
    assert_eq!(world.say(three, &hex(2), "back", "now")["queued"], true);
}
