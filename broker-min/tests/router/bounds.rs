//! What existing clients keep stays bounded, has room again once it is of no use, and is told to
//! nobody who is not let in.

use broker_min::router::{ApiAsk, ApiCall, HttpCall, HttpReply};
use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::hex as to_hex;
use claudemesh_core::membership::Role;
use serde_json::{Value, json};

use crate::world::{World, hex};

fn asked(world: &mut World, conn: u64, frame: Value) -> Value {
    world.got(conn);
    world.frame(conn, frame);
    world.last(conn)
}

/// A mesh of the owner 1, of 2 and of 3, whose clients are existing ones.
fn mesh() -> World {
    let mut world = World::new();
    let (token, _) = world.invite(90, Role::Member, 50);
    for n in [2, 3] {
        let reply = world.join(&token, n, None);
        assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
    }
    world
}

#[test]
fn an_api_key_is_small_whatever_was_asked_for() {
    let mut world = mesh();
    let two = world.connect_legacy(2);
    let long = format!("2030-01-31T12:00:00.000Z{}", "x".repeat(30_000));
    let many = vec!["send"; 200];
    let ask = json!({"type": "apikey_create", "label": "l", "capabilities": many,
        "expiresAt": long});
    assert_eq!(asked(&mut world, two, ask)["type"], "apikey_created");
    let list = asked(&mut world, two, json!({"type": "apikey_list"}));
    assert_eq!(list["keys"][0]["capabilities"], json!(["send"]));
    assert_eq!(list["keys"][0]["expiresAt"], "2030-01-31T12:00:00.000Z");
    assert!(list.to_string().len() < 1_000, "{list}");
}

#[test]
fn what_is_of_no_use_any_more_makes_room() {
    let mut world = mesh();
    let two = world.connect_legacy(2);
    let key = json!({"type": "apikey_create", "label": "l", "capabilities": ["read"]});
    let task = json!({"type": "create_task", "title": "t"});
    for (ask, made) in [(&key, "apikey_created"), (&task, "task_created")] {
        let first = asked(&mut world, two, ask.clone());
        for _ in 1..1_000 {
            world.pass(100);
            assert_eq!(asked(&mut world, two, ask.clone())["type"], made);
        }
        assert_eq!(asked(&mut world, two, ask.clone())["code"], "queue_full");
        let end = match made {
            "task_created" => json!({"type": "complete_task", "taskId": first["id"]}),
            _ => json!({"type": "apikey_revoke", "id": first["id"]}),
        };
        world.frame(two, end);
        assert_eq!(asked(&mut world, two, ask.clone())["type"], made, "{made}");
        assert_eq!(asked(&mut world, two, ask.clone())["code"], "queue_full");
    }
}

#[test]
fn who_is_not_admitted_hears_nothing_in_the_open() {
    let mut world = mesh();
    let (token, entry) = world.invite(61, Role::Pending, 1);
    let joined = world.join_entry(7, 61, entry);
    world.join(&token, 7, Some(joined.clone()));
    world.log.append(&joined).unwrap();
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let waiting = world.connect_legacy(7);
    let ask = json!({"type": "apikey_create", "label": "ci", "capabilities": ["send"]});
    let secret = asked(&mut world, two, ask)["secret"].clone();
    world.got(waiting);
    assert_eq!(world.say(two, "*", "to all", "now")["queued"], true);
    world.frame(two, json!({"type": "share_context", "summary": "secret"}));
    let call = ApiCall {
        mesh: Some(world.mesh()),
        hash: to_hex(&sha256(secret.as_str().unwrap().as_bytes()).0),
        ask: ApiAsk::Hook(json!({"a": 1})),
    };
    let reply = world.http(HttpCall::Api(Box::new(call)));
    let HttpReply::Json(reply) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(reply["delivered"], 2, "the one who made the key, and 3");
    let heard = world.got(three);
    assert!(heard.iter().any(|it| it["ciphertext"] == "to all"));
    assert!(heard.iter().any(|it| it["type"] == "state_change"));
    assert_eq!(world.got(waiting), Vec::<Value>::new());
}

#[test]
fn a_whole_key_names_its_member_and_nobody_who_calls_itself_so() {
    let mut world = mesh();
    let (token, _) = world.invite(91, Role::Member, 5);
    let reply = world.join_as(&token, 4, &hex(3), None);
    assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
    let owner = world.connect(1);
    let (three, four) = (world.connect_legacy(3), world.connect_legacy(4));
    let ack = asked(&mut world, owner, json!({"type": "ban", "target": hex(3)}));
    assert_eq!(
        (&ack["type"], &ack["banned"]),
        (&json!("ban_ack"), &json!("m3"))
    );
    assert!(world.closed.contains_key(&three) && !world.closed.contains_key(&four));
}

#[test]
fn a_profile_has_one_long_statement() {
    let mut world = mesh();
    let (two, three) = (world.connect_legacy(2), world.connect_legacy(3));
    let long = format!("claudemesh-session/1:{}", "x".repeat(1_900));
    let all = vec![long.clone(); 30];
    world.frame(two, json!({"type": "set_profile", "capabilities": all}));
    let list = asked(&mut world, three, json!({"type": "list_peers"}));
    let peers = list["peers"].as_array().unwrap();
    let own = peers.iter().find(|it| it["pubkey"] == hex(2)).unwrap();
    let shown = own["profile"]["capabilities"].as_array().unwrap();
    assert_eq!(shown[0], long);
    assert!(own.to_string().len() < 6_000, "{}", own.to_string().len());
}
