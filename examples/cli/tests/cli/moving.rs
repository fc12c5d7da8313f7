//! From the existing system to ours: its database comes over, only the address changes, and then the
//! mesh gets a log.

use std::sync::Arc;

use claudemesh_core::MeshEntry;
use claudemesh_core::config::Config;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{MemberId, MeshId};
use serde_json::json;
use tempfile::TempDir;

use crate::common::{Broker, Person, program, said};
use crate::walk::Running;

const MESH: &str = "q7Xb2kQmT0aZ9sLw4cVn8eRy1uIo5pGh";

fn key(n: u8) -> Arc<KeyPair> {
    Arc::new(KeyPair::from_seed(&[n; 32]))
}

/// What pg_dump writes of a mesh with these members.
fn dump(names: &[&str]) -> String {
    let at = "2025-11-24 16:00:00.123";
    let mut out = format!(
        "COPY mesh.mesh (id, name, slug, owner_user_id, owner_pubkey, created_at, archived_at) FROM stdin;\n\
         {MESH}\tTeam\tteam\tu1\t\\N\t{at}\t\\N\n\\.\n\
         COPY mesh.member (id, mesh_id, user_id, peer_pubkey, display_name, role, joined_at, revoked_at) FROM stdin;\n"
    );
    for (n, name) in (1..).zip(names) {
        let public = key(n).public().to_hex();
        out.push_str(&format!(
            "MEMB{n}\t{MESH}\tu{n}\t{public}\t{name}\tmember\t{at}\t\\N\n"
        ));
    }
    out.push_str("\\.\n-- PostgreSQL database dump complete\n");
    out
}

/// Somebody as the existing client left it: an address of the old broker in config.json.
fn member(n: u8) -> Person {
    let person = Person::new();
    let mut config = Config::load(person.dir()).unwrap();
    let entry = MeshEntry::new(
        MeshId::new(MESH).unwrap(),
        MemberId::new(format!("MEMB{n}")).unwrap(),
        "team",
        key(n),
        "ws://127.0.0.1:1/ws",
        "2025-11-24T16:00:00.123Z",
    );
    config.put_mesh(entry).unwrap();
    person
}

#[test]
fn a_mesh_comes_over_and_gets_a_log_and_the_old_one_can_be_read() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dump.sql");
    std::fs::write(&file, dump(&["ana", "bob", "cleo"])).unwrap();
    let mut broker = Broker::start();
    broker.kill();
    let mut import = program();
    import
        .args(["broker", "import"])
        .arg(&file)
        .args(["--data", &broker.data()]);
    let imported = said(import.output().unwrap());
    assert_eq!(imported.code, 0, "{imported:?}");
    assert!(imported.out.contains("members: 3"), "{imported:?}");
    broker.restart();

    let [ana, bob, cleo] = [1, 2, 3].map(member);
    for person in [&ana, &bob, &cleo] {
        person.json(0, &["set-url", "team", &broker.url()]);
    }
    let keys = [1, 2, 3].map(|n| key(n).public().to_hex());
    // Bob and Cleo are there, and show what they understand; Ana compares with Bob alone.
    let listen = Running::start(&bob, &["listen"]);
    let other = Running::start(&cleo, &["listen"]);
    for running in [&listen, &other] {
        running.until("Connected");
    }
    ana.json(0, &["peers"]);
    ana.json(0, &["trust", &keys[1]]);
    bob.json(0, &["trust", &keys[0]]);
    ana.json(0, &["send", &keys[1], "before"]);
    listen.until("before");
    drop((listen, other));

    assert_eq!(
        ana.json(3, &["upgrade", "team"])["error"]["code"],
        "invalid_arguments"
    );
    assert_eq!(
        cleo.json(7, &["upgrade", "team", "--yes"])["error"]["code"],
        "permission"
    );
    let made = ana.json(0, &["upgrade", "team", "--yes", "--name", "ana"]);
    assert_eq!(
        (&made["mesh"], &made["from"]),
        (&json!("team-2"), &json!("team"))
    );
    assert_eq!(made["invited"].as_array().unwrap().len(), 1, "{made}");
    assert_eq!(made["invited"][0]["pubkey"], keys[1]);
    assert_eq!(made["invited"][0]["error"], json!(null));
    assert!(made["recovery_key"].as_str().unwrap().len() > 60);

    let came = bob.inbox(&["--mesh", "team"]);
    let link = came[0].split_whitespace().last().unwrap();
    bob.json(0, &["join", link, "--name", "bob"]);
    let members = ana.json(0, &["members", "--mesh", "team-2"]);
    let names: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names.len(), 2, "{members}");
    bob.json(0, &["send", "--mesh", "team-2", "ana", "in the new one"]);
    assert_eq!(ana.inbox(&["--mesh", "team-2"]), ["in the new one"]);
    let again = ana.json(6, &["upgrade", "team-2", "--yes"]);
    assert!(
        again["error"]["message"]
            .as_str()
            .unwrap()
            .contains("already")
    );
    // What was said in the old one is there, and it goes on.
    assert!(
        bob.inbox(&["--mesh", "team", "--all"])
            .contains(&"before".to_owned())
    );
    ana.json(0, &["send", "--mesh", "team", &keys[1], "still here"]);
    assert_eq!(bob.inbox(&["--mesh", "team"]), ["still here"]);
    assert!(cleo.inbox(&[]).is_empty());
}
