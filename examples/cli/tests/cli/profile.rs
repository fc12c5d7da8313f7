//! What the broker keeps of a member, on ours and on one of the existing system.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use claudemesh_core::MeshEntry;
use claudemesh_core::config::Config;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{MemberId, MeshId};
use serde_json::{Value, json};

use crate::common::{Broker, Person, pair};

fn message(refused: &Value) -> String {
    refused["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_profile_is_shown_and_changed_by_its_member_and_by_the_owner() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let shown = bob.json(0, &["profile"]);
    assert_eq!(
        (&shown["name"], &shown["role_tag"], &shown["changed"]),
        (&json!("bob"), &Value::Null, &json!(false))
    );
    assert_eq!(shown["pubkey"], bob.json(0, &["whoami"])["pubkey"]);
    let change = [
        "profile",
        "--role-tag",
        "reviewer",
        "--groups",
        "ops:lead, docs",
        "--message-mode",
        "inbox",
    ];
    let changed = bob.json(0, &change);
    assert_eq!(changed["changed"], true);
    let seen = ana.json(0, &["profile", "--member", "bob"]);
    for (field, value) in [
        ("role_tag", json!("reviewer")),
        ("message_mode", json!("inbox")),
        ("permission", json!("member")),
        (
            "groups",
            json!([{"name": "ops", "role": "lead"}, {"name": "docs", "role": null}]),
        ),
    ] {
        assert_eq!((&changed[field], &seen[field]), (&value, &value), "{field}");
    }
    // The owner changes that of others, and what is empty is taken away; nobody else does.
    let key = seen["pubkey"].as_str().unwrap();
    let cleared = ana.json(
        0,
        &[
            "profile",
            "--member",
            &key[..8],
            "--role-tag",
            "",
            "--groups",
            "",
        ],
    );
    assert_eq!(
        (&cleared["role_tag"], &cleared["groups"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(cleared["message_mode"], "inbox");
    let refused = bob.json(7, &["profile", "--member", "ana", "--role-tag", "x"]);
    assert!(message(&refused).contains("changes itself"), "{refused}");
    let text = bob.run(&["profile"]);
    assert!(
        text.out.starts_with("bob\n") && text.out.contains("inbox"),
        "{text:?}"
    );
}

#[test]
fn what_a_profile_cannot_be_is_refused_with_what_to_do() {
    let mut broker = Broker::start();
    let (_ana, bob) = pair(&broker);
    let refused = message(&bob.json(7, &["profile", "--name", "robert", "--role-tag", "x"]));
    assert!(
        refused.contains("claudemesh join LINK --name") && refused.contains("nothing was changed"),
        "{refused}"
    );
    assert_eq!(bob.json(0, &["profile"])["role_tag"], Value::Null);
    let nobody = bob.json(5, &["profile", "--member", "nobody"]);
    assert!(message(&nobody).contains("claudemesh members"), "{nobody}");
    for wrong in [
        &["--groups", "ops:"][..],
        &["--groups", ":lead"],
        &["--message-mode", "loud"],
    ] {
        bob.json(3, &[&["profile"], wrong].concat());
    }
    broker.kill();
    bob.json(4, &["profile"]);
}

/// Who came by the broker's word alone is named by the broker, too.
#[test]
fn a_name_that_no_log_has_is_changed_by_the_broker() {
    let broker = Broker::start();
    let (ana, eve) = (Person::new(), Person::new());
    crate::common::create(&broker, &ana, "team", "ana");
    let link = ana.json(0, &["invite"])["legacy_link"].clone();
    eve.json(0, &["join", link.as_str().unwrap(), "--name", "eve"]);
    let changed = eve.json(0, &["profile", "--name", "evelyn"]);
    assert_eq!(changed["name"], "evelyn");
    let seen = ana.json(0, &["profile", "--member", "evelyn"]);
    assert_eq!(seen["pubkey"], eve.json(0, &["whoami"])["pubkey"]);
}

/// Answers requests one after the other as the existing system does: members without keys, and a
/// change by the member id alone. Gives the changes that it was asked for.
fn existing(listener: TcpListener, requests: usize) -> JoinHandle<Vec<Value>> {
    std::thread::spawn(move || {
        let mut changes = Vec::new();
        for _ in 0..requests {
            let (mut socket, _) = listener.accept().unwrap();
            let (head, body) = request(&mut socket);
            let row = json!({"id": "MEMB1", "displayName": "ana", "roleTag": null, "groups": [],
                "messageMode": "push", "permission": "member", "dashboardUserId": null,
                "joinedAt": "2026-11-23T06:22:46.299Z"});
            let (status, answer) = if head.starts_with("GET /mesh/MESH1/members ") {
                let mut row = row;
                row["online"] = false.into();
                row["sessionCount"] = 0.into();
                (200, json!({"ok": true, "members": [row]}))
            } else if !head.contains("\r\nx-member-id: MEMB1\r\n") {
                (
                    401,
                    json!({"ok": false, "error": "X-Member-Id header required"}),
                )
            } else {
                assert!(
                    head.starts_with("PATCH /mesh/MESH1/member/MEMB1 "),
                    "{head}"
                );
                let change: Value = serde_json::from_str(&body).unwrap();
                let mut row = row;
                row["displayName"] = change["displayName"].clone();
                changes.push(change.clone());
                (200, json!({"ok": true, "member": row, "changes": change}))
            };
            let answer = answer.to_string();
            write!(
                socket,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
        changes
    })
}

fn request(socket: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    let mut bytes = [0; 4_096];
    loop {
        let read = socket.read(&mut bytes).unwrap();
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return (format!("{head}\r\n"), body.to_owned());
        }
    }
}

#[test]
fn a_broker_of_the_existing_system_is_asked_in_its_own_way() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let broker = existing(listener, 3);
    let ana = Person::new();
    let mut config = Config::load(ana.dir()).unwrap();
    let entry = MeshEntry::new(
        MeshId::new("MESH1").unwrap(),
        MemberId::new("MEMB1").unwrap(),
        "team",
        Arc::new(KeyPair::from_seed(&[1; 32])),
        url,
        "2026-11-23T06:22:46.299Z",
    );
    config.put_mesh(entry).unwrap();
    let shown = ana.json(0, &["profile"]);
    assert_eq!(
        (&shown["name"], &shown["pubkey"]),
        (&json!("ana"), &Value::Null)
    );
    let changed = ana.json(0, &["profile", "--name", "anna", "--message-mode", "off"]);
    assert_eq!(
        (&changed["name"], &changed["changed"]),
        (&json!("anna"), &json!(true))
    );
    assert_eq!(
        broker.join().unwrap(),
        [json!({"displayName": "anna", "messageMode": "off"})]
    );
}
