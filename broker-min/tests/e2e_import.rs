//! Meshes of the existing system come over, from a dump and from its database, and its members go on
//! with the keys that they have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

#[cfg(feature = "postgres")]
#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use broker_min::testing::http;
use broker_min::{Broker, operator};
use claudemesh_core::encoding::{base64, base64url};
use claudemesh_core::id::{MemberId, MeshId, PublicKey};
use claudemesh_core::identity::hello_bytes;
use claudemesh_core::{MeshEntry, Peer, Retry};
use serde_json::{Value, json};
use support::{Got, Raw, key};
use tokio::net::TcpListener;

const MESH: &str = "q7Xb2kQmT0aZ9sLw4cVn8eRy1uIo5pGh";
const TOPIC: &str = "T0pic000000000000000000000000001";
/// What that system keeps and we never read.
const SECRET: &str = "5ec2e7ca0a2f";
const SOON: Duration = Duration::from_secs(10);

type Rows = (
    &'static str,
    &'static [&'static str],
    Vec<Vec<Option<String>>>,
);

fn owner() -> claudemesh_core::crypto::KeyPair {
    key(9)
}

fn hex(n: u8) -> String {
    key(n).public().to_hex()
}

/// A link as that system makes it.
fn token(role: &str) -> (String, Value) {
    let owner = owner();
    let (expires, root) = (4_102_444_800u64, base64url(&[7; 32]));
    let public = owner.public().to_hex();
    let broker = "wss://broker.example/ws";
    let canonical = format!("1|{MESH}|acme|{broker}|{expires}|{root}|{role}|{public}");
    let payload = json!({
        "v": 1, "mesh_id": MESH, "mesh_slug": "acme", "broker_url": broker,
        "expires_at": expires, "mesh_root_key": root, "role": role, "owner_pubkey": public,
        "signature": owner.sign(canonical.as_bytes()).to_hex(),
    });
    (base64url(payload.to_string().as_bytes()), payload)
}

/// The tables of a mesh with Ana, who owns it, Bob, and Cleo, who was removed.
fn tables() -> Vec<Rows> {
    let some = |texts: &[&str]| -> Vec<Option<String>> {
        let value = |text: &&str| (*text != "\\N").then(|| (*text).to_owned());
        texts.iter().map(value).collect()
    };
    let at = "2025-11-24 16:00:00.123";
    let grants = json!({ hex(1): ["read"] }).to_string();
    vec![
        (
            "mesh",
            &[
                "id",
                "name",
                "slug",
                "owner_user_id",
                "owner_pubkey",
                "owner_secret_key",
                "root_key",
                "created_at",
                "archived_at",
            ],
            vec![
                some(&[
                    MESH,
                    "Acme",
                    "acme",
                    "u1",
                    &hex(9),
                    SECRET,
                    SECRET,
                    at,
                    "\\N",
                ]),
                some(&[
                    "GONE",
                    "Gone",
                    "gone",
                    "u1",
                    &hex(9),
                    SECRET,
                    SECRET,
                    at,
                    at,
                ]),
                some(&[
                    "no id!",
                    "Odd",
                    "odd",
                    "u1",
                    &hex(9),
                    SECRET,
                    SECRET,
                    at,
                    "\\N",
                ]),
            ],
        ),
        (
            "member",
            &[
                "id",
                "mesh_id",
                "user_id",
                "peer_pubkey",
                "display_name",
                "role",
                "default_groups",
                "joined_at",
                "revoked_at",
                "peer_grants",
            ],
            vec![
                some(&[
                    "MEMB1",
                    MESH,
                    "u1",
                    &hex(1),
                    "ana",
                    "admin",
                    "[]",
                    at,
                    "\\N",
                    "{}",
                ]),
                some(&[
                    "MEMB2",
                    MESH,
                    "\\N",
                    &hex(2),
                    "bob\tthe\\first",
                    "member",
                    "[{\"name\": \"backend\"}]",
                    at,
                    "\\N",
                    &grants,
                ]),
                some(&[
                    "MEMB3",
                    MESH,
                    "\\N",
                    &hex(3),
                    "cleo",
                    "member",
                    "[]",
                    at,
                    at,
                    "{}",
                ]),
                some(&[
                    "MEMB4",
                    MESH,
                    "\\N",
                    "x25519-in-base64url",
                    "v2",
                    "member",
                    "[]",
                    at,
                    "\\N",
                    "{}",
                ]),
            ],
        ),
        (
            "invite",
            &[
                "id",
                "mesh_id",
                "token",
                "max_uses",
                "used_count",
                "role",
                "expires_at",
                "revoked_at",
                "version",
            ],
            vec![
                some(&[
                    "I1",
                    MESH,
                    &token("member").0,
                    "2",
                    "1",
                    "member",
                    "2100-01-01 00:00:00",
                    "\\N",
                    "1",
                ]),
                some(&[
                    "I2",
                    MESH,
                    &token("admin").0,
                    "1",
                    "1",
                    "admin",
                    "2100-01-01 00:00:00",
                    "\\N",
                    "1",
                ]),
            ],
        ),
        (
            "topic",
            &[
                "id",
                "mesh_id",
                "name",
                "description",
                "visibility",
                "created_at",
                "archived_at",
            ],
            vec![some(&[
                TOPIC,
                MESH,
                "deploys",
                "release chatter",
                "private",
                at,
                "\\N",
            ])],
        ),
        (
            "topic_member",
            &["topic_id", "member_id", "role", "joined_at", "last_read_at"],
            vec![some(&[TOPIC, "MEMB1", "lead", at, "\\N"])],
        ),
        (
            "topic_message",
            &["topic_id", "ciphertext"],
            vec![some(&[TOPIC, SECRET])],
        ),
        (
            "state",
            &["mesh_id", "key", "value", "updated_by_name", "updated_at"],
            vec![some(&[MESH, "deploy.lock", "{\"by\": \"ana\"}", "ana", at])],
        ),
        (
            "memory",
            &[
                "id",
                "mesh_id",
                "content",
                "tags",
                "remembered_by",
                "remembered_by_name",
                "remembered_at",
                "forgotten_at",
            ],
            vec![
                some(&[
                    "MEM1",
                    MESH,
                    "prod db is pg16\nsince May",
                    "{infra,\"two words\"}",
                    "MEMB1",
                    "ana",
                    at,
                    "\\N",
                ]),
                some(&["MEM2", MESH, "gone", "{}", "MEMB1", "ana", at, at]),
            ],
        ),
    ]
}

/// As `pg_dump` writes them.
fn dump() -> String {
    let escape = |text: &Option<String>| match text {
        None => "\\N".to_owned(),
        Some(text) => {
            let text = text.replace('\\', "\\\\").replace('\t', "\\t");
            text.replace('\n', "\\n")
        }
    };
    let mut out =
        String::from("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n");
    for (table, columns, rows) in tables() {
        out.push_str(&format!(
            "COPY mesh.{table} ({}) FROM stdin;\n",
            columns.join(", ")
        ));
        for row in rows {
            let fields: Vec<_> = row.iter().map(escape).collect();
            out.push_str(&format!("{}\n", fields.join("\t")));
        }
        out.push_str("\\.\n\n");
    }
    out.push_str("--\n-- PostgreSQL database dump complete\n--\n");
    out
}

fn operate(arguments: &[&str], data: &Path) -> Result<String, String> {
    let mut arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    arguments.extend(["--data".into(), data.into()]);
    let mut out = Vec::new();
    operator::run(arguments, None, &mut out).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

/// A connection as existing clients make it.
async fn legacy(addr: SocketAddr, n: u8) -> (Raw, Got) {
    let (pair, at) = (key(n), SystemTime::now());
    let at = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    let public = pair.public().to_hex();
    let signature = pair.sign(hello_bytes(MESH, "member", &public, at).as_bytes());
    let mut raw = Raw::connect_to(addr).await;
    raw.json(json!({
        "type": "hello", "meshId": MESH, "memberId": "member", "pubkey": public,
        "sessionId": format!("s{n}"), "pid": 1, "cwd": "/", "timestamp": at,
        "signature": signature,
    }))
    .await;
    let first = raw.next().await;
    (raw, first)
}

async fn member(addr: SocketAddr, n: u8) -> Raw {
    match legacy(addr, n).await {
        (raw, Got::Frame(frame)) if frame["type"] == "hello_ack" => raw,
        (_, got) => panic!("{n}: {got:?}"),
    }
}

/// What the members of the mesh find at a broker that has it.
async fn go_on(addr: SocketAddr, url: &str) {
    let (mut ana, mut bob) = (member(addr, 1).await, member(addr, 2).await);
    let (_, cleo) = legacy(addr, 3).await;
    assert!(
        matches!(&cleo, Got::Frame(frame) if frame["code"] == "revoked"),
        "{cleo:?}"
    );

    ana.json(json!({"type": "get_state", "key": "deploy.lock", "_reqId": "r1"}))
        .await;
    let state = ana.expect("state_result").await;
    assert_eq!(
        (&state["value"], &state["updatedBy"]),
        (&json!({"by": "ana"}), &json!("ana"))
    );
    ana.json(json!({"type": "recall", "query": "pg16", "_reqId": "r2"}))
        .await;
    let found = ana.expect("memory_results").await;
    let memory = &found["memories"][0];
    assert_eq!(memory["content"], "prod db is pg16\nsince May");
    assert_eq!(memory["tags"], json!(["infra", "two words"]));
    ana.json(json!({"type": "topic_members", "topic": "deploys", "_reqId": "r3"}))
        .await;
    let members = ana.expect("topic_members_response").await;
    assert_eq!(members["members"][0]["role"], "lead");

    // Bob takes no direct messages of Ana, as he said there; she takes his.
    let to = |n: u8| {
        json!({"type": "send", "id": format!("c{n}"), "targetSpec": hex(n), "priority": "now",
               "nonce": base64(&[0; 24]), "ciphertext": "b3BhcXVl"})
    };
    ana.json(to(2)).await;
    assert_eq!(ana.expect("ack").await["queued"], false);
    bob.json(to(1)).await;
    assert_eq!(bob.expect("ack").await["queued"], true);
    assert_eq!(ana.expect("push").await["senderPubkey"], hex(2));
    // The owner moderates, a member does not.
    bob.json(json!({"type": "kick", "target": "ana", "_reqId": "k1"}))
        .await;
    let Got::Frame(refused) = bob.next().await else {
        panic!("no answer");
    };
    assert_eq!(refused["code"], "forbidden");

    // A link that was made there lets one more in, and no second.
    let join = |n: u8, role: &str| {
        let (token, payload) = token(role);
        json!({"invite_token": token, "invite_payload": payload, "peer_pubkey": hex(n),
               "display_name": format!("new{n}")})
        .to_string()
    };
    let page = format!("/join/{}", token("member").0);
    let shown = http(addr, "GET", &page, &[], "").await.unwrap();
    assert!(shown.body.contains("good for one more use"), "{shown:?}");
    let joined = http(addr, "POST", "/join", &[], &join(4, "member"))
        .await
        .unwrap();
    assert_eq!(joined.status, 200, "{joined:?}");
    member(addr, 4).await;
    let late = http(addr, "POST", "/join", &[], &join(5, "member"))
        .await
        .unwrap();
    assert!(
        late.status == 400 && late.body.contains("invite_exhausted"),
        "{late:?}"
    );
    let shown = http(addr, "GET", &page, &[], "").await.unwrap();
    assert!(shown.body.contains("used up"), "{shown:?}");
    let used = http(addr, "POST", "/join", &[], &join(5, "admin"))
        .await
        .unwrap();
    assert!(
        used.status == 400 && used.body.contains("invite_not_found"),
        "{used:?}"
    );
    drop((ana, bob));

    // Clients of ours with the same keys: sealed, for whom they trust.
    let peer = |n: u8| {
        let entry = MeshEntry::new(
            MeshId::new(MESH).unwrap(),
            MemberId::new(format!("MEMB{n}")).unwrap(),
            "acme",
            Arc::new(key(n)),
            url,
            "2025-11-24T16:00:00.123Z",
        );
        async move {
            let builder = Peer::builder(&entry).in_memory().retry(Retry::Every(50));
            let peer = builder.connect().await.unwrap();
            peer.connected_within(SOON).await.unwrap();
            peer
        }
    };
    let (ana, new) = (peer(1).await, peer(4).await);
    let trust = async |peer: &Peer, other: PublicKey| peer.trust(other).await.unwrap();
    trust(&ana, new.key()).await;
    trust(&new, ana.key()).await;
    // What she understands is known a moment after she said it; until then it is a bare box.
    let until = tokio::time::Instant::now() + SOON;
    loop {
        ana.peers().await.unwrap();
        let receipt = ana.send(&*hex(4), "sealed").await.unwrap();
        if receipt.is_protected() {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "never sealed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut incoming = new.incoming().await.unwrap();
    loop {
        let came = tokio::time::timeout(SOON, incoming.next()).await;
        let came = came.unwrap().unwrap();
        assert_eq!((came.text().as_str(), came.from.key), ("sealed", ana.key()));
        if came.protected {
            break;
        }
    }
    ana.close(SOON).await;
    new.close(SOON).await;
}

fn files(data: &Path) -> Vec<u8> {
    let entries = std::fs::read_dir(data).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_mesh_from_a_dump_goes_on_at_our_broker() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("dump.sql"));
    std::fs::write(&file, dump()).unwrap();
    let file = file.to_str().unwrap();

    let dry = operate(&["import", file, "--dry-run"], &data).unwrap();
    assert!(dry.contains("1 would come over") && !data.exists(), "{dry}");
    let none = operate(&["import", file, "--mesh", "other"], &data).unwrap();
    assert!(none.contains("meshes: 0 came over"), "{none}");
    let said = operate(&["import", file], &data).unwrap();
    for words in [
        "acme: came over, members: 2 (and 1 removed ones), open links: 1, topics: 1, values: 1, memories: 1",
        "left behind: 1 members without a usable key",
        "left behind: 1 messages that were said in topics",
        "left behind: 1 memories that were forgotten",
        "gone: deleted there",
        "odd: left out, its id is none",
        "meshes: 1 came over, 0 here already, 1 deleted there, 1 unusable",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let before = operate(&["mesh", "show", "acme"], &data).unwrap();
    let again = operate(&["import", file], &data).unwrap();
    assert!(again.contains("0 came over, 1 here already"), "{again}");
    assert_eq!(operate(&["mesh", "show", "acme"], &data).unwrap(), before);
    let kept = files(&data);
    assert!(holds(&kept, "deploy.lock") && !holds(&kept, SECRET));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(&data)
        .serve(listener)
        .await
        .unwrap();
    let error = operate(&["import", file], &data).unwrap_err();
    assert!(error.contains("in use"), "{error}");
    go_on(broker.local_addr(), &broker.url().to_string()).await;
    broker.shutdown(SOON).await.unwrap();
    // A restart finds it again.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(&data)
        .serve(listener)
        .await
        .unwrap();
    member(broker.local_addr(), 4).await;
    broker.shutdown(SOON).await.unwrap();
}

#[test]
fn what_is_no_dump_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("dump.sql"));
    let whole = dump();
    for (text, words) in [
        (&whole[..whole.find("COPY mesh.state").unwrap()], "cut off"),
        ("PGDMP\u{1}", "pg_restore"),
        (
            "nothing\n-- PostgreSQL database dump complete\n",
            "no table \"mesh\"",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = operate(&["import", file.to_str().unwrap()], &data).unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = operate(&["import", "/not/there.sql"], &data).unwrap_err();
    for words in ["/not/there.sql", "pg_dump", "postgres://"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = operate(&["import", "postgres://u:secret@localhost/x"], &data).unwrap_err();
    assert!(
        error.contains("password") && !error.contains("secret"),
        "{error}"
    );
    assert!(!data.exists());
}

/// From a real database, into a folder and into PostgreSQL.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_mesh_from_a_database_goes_on_at_our_broker() {
    let Some(server) = postgres::server("a_mesh_from_a_database_goes_on_at_our_broker") else {
        return;
    };
    let mut sql = String::from("DROP SCHEMA IF EXISTS mesh CASCADE; CREATE SCHEMA mesh;");
    for (table, columns, rows) in tables() {
        let kind = |column: &str| match column {
            "tags" => "text[]",
            "value" | "default_groups" | "peer_grants" => "jsonb",
            "max_uses" | "used_count" | "version" => "int",
            text if text.ends_with("_at") => "timestamp",
            _ => "text",
        };
        let defined: Vec<_> = columns
            .iter()
            .map(|it| format!("\"{it}\" {}", kind(it)))
            .collect();
        sql.push_str(&format!(
            "CREATE TABLE mesh.\"{table}\" ({});",
            defined.join(", ")
        ));
        for row in rows {
            let values: Vec<_> = row
                .iter()
                .map(|value| match value {
                    Some(text) => format!("'{}'", text.replace('\'', "''")),
                    None => "NULL".to_owned(),
                })
                .collect();
            sql.push_str(&format!(
                "INSERT INTO mesh.\"{table}\" VALUES ({});",
                values.join(", ")
            ));
        }
    }
    server.query(&sql);
    let dir = tempfile::tempdir().unwrap();
    let schema = server.schema();
    let from = schema.with_passfile(dir.path());

    let data = dir.path().join("folder");
    let (source, folder) = (from.clone(), data.clone());
    let run = move || operate(&["import", &source], &folder).unwrap();
    let said = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(said.contains("acme: came over, members: 2 (and 1 removed ones), open links: 1, topics: 1, values: 1, memories: 1"), "{said}");
    assert!(!holds(&files(&data), SECRET));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .data_dir(&data)
        .serve(listener)
        .await
        .unwrap();
    go_on(broker.local_addr(), &broker.url().to_string()).await;
    broker.shutdown(SOON).await.unwrap();

    let data = dir.path().join("beside");
    std::fs::create_dir(&data).unwrap();
    for (words, round) in [("1 came over", 1), ("1 here already", 2)] {
        let (store, from, data) = (from.clone(), from.clone(), data.clone());
        let run = move || operate(&["import", &from, "--store", &store], &data).unwrap();
        let said = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(said.contains(words), "{round}: {said}");
    }
    let kept = schema.sql("SELECT count(*) FROM member");
    assert_eq!(kept, [[Some("3".to_owned())]]);
    let url: broker_min::store::PostgresUrl = from.parse().unwrap();
    let open =
        move || broker_min::store::PostgresStore::open(&url, broker_min::store::Durability::Power);
    let store = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = Broker::builder()
        .store(store)
        .serve(listener)
        .await
        .unwrap();
    go_on(broker.local_addr(), &broker.url().to_string()).await;
    broker.shutdown(SOON).await.unwrap();
    server.query("DROP SCHEMA mesh CASCADE");
}
