//! The HTTP routes of the existing system: who may ask, what is answered, what is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use broker_min::Tokens;
use broker_min::testing::{HttpAnswer, TestMesh, http};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{Hash, MeshSlug, Name};
use claudemesh_core::identity::{HttpRequest, sign_request};
use claudemesh_core::membership::{Body, Draft, SignedEntry};
use serde_json::{Value, json};
use support::*;

/// A request as it is signed by a key now.
struct Signed {
    method: &'static str,
    target: String,
    body: String,
    header: String,
}

impl Signed {
    fn new(mesh: &TestMesh, key: &KeyPair, method: &'static str, target: &str, body: &str) -> Self {
        let host = mesh.addr().to_string();
        let request = HttpRequest {
            method,
            host: &host,
            target,
            body: body.as_bytes(),
        };
        Self {
            method,
            target: target.to_owned(),
            body: body.to_owned(),
            header: sign_request(&request, key, now(mesh)),
        }
    }

    async fn ask(&self, mesh: &TestMesh) -> HttpAnswer {
        let headers = [("claudemesh-signature", self.header.as_str())];
        let asked = http(mesh.addr(), self.method, &self.target, &headers, &self.body);
        asked.await.unwrap()
    }
}

async fn signed(
    mesh: &TestMesh,
    key: &KeyPair,
    method: &'static str,
    target: &str,
    body: &str,
) -> HttpAnswer {
    Signed::new(mesh, key, method, target, body).ask(mesh).await
}

async fn with(mesh: &TestMesh, method: &str, path: &str, bearer: &str, body: &str) -> HttpAnswer {
    let bearer = format!("Bearer {bearer}");
    let headers = [("authorization", bearer.as_str())];
    http(mesh.addr(), method, path, &headers, body)
        .await
        .unwrap()
}

async fn plain(mesh: &TestMesh, method: &str, path: &str, body: &str) -> HttpAnswer {
    http(mesh.addr(), method, path, &[], body).await.unwrap()
}

/// The first entry of another mesh.
fn first_entry(mesh: &TestMesh, owner: &KeyPair, slug: &str) -> SignedEntry {
    let draft = Draft {
        mesh: None,
        seq: 0,
        prev: Hash::ZERO,
        at: now(mesh),
        body: Body::MeshCreated {
            slug: MeshSlug::new(slug).unwrap(),
            salt: [7; 32],
            recovery: None,
            name: Name::new("owner").unwrap(),
        },
    };
    draft.sign(owner, None)
}

/// Refused with this status and code, and a text that says what to do.
fn refused(answer: &HttpAnswer, status: u16, error: &str) {
    let said = body(answer);
    assert_eq!(
        (answer.status, &said["error"]),
        (status, &json!(error)),
        "{said}"
    );
    assert_eq!(said["ok"], false, "{said}");
    assert!(said["message"].as_str().unwrap().len() > 20, "{said}");
}

fn members_of(mesh: &TestMesh) -> String {
    format!("/mesh/{}/members", mesh.id())
}

#[tokio::test]
async fn who_is_a_member_is_told_to_members_who_sign() {
    let mesh = mesh_of(2).await;
    let _alice = online(&mesh, &key(1)).await;
    let path = members_of(&mesh);
    let answer = signed(&mesh, &key(2), "GET", &path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = body(&answer);
    let rows = told["members"].as_array().unwrap();
    assert_eq!((told["ok"].clone(), rows.len()), (json!(true), 3));
    let row = |name: &str| rows.iter().find(|row| row["displayName"] == name).unwrap();
    let alice = row("m1");
    assert_eq!(
        (
            &alice["online"],
            &alice["sessionCount"],
            &alice["permission"]
        ),
        (&json!(true), &json!(1), &json!("member"))
    );
    assert_eq!(row("m2")["online"], false);
    let owner = rows
        .iter()
        .find(|row| row["pubkey"] == json!(mesh.owner().public()));
    assert_eq!(owner.unwrap()["permission"], "admin");
    for field in ["id", "groups", "messageMode", "joinedAt"] {
        assert!(!alice[field].is_null(), "{field}");
    }

    // The member id alone is no credential, nor is anything else that is not signed for this.
    let id = alice["id"].as_str().unwrap();
    let claimed = http(mesh.addr(), "GET", &path, &[("x-member-id", id)], "").await;
    refused(&claimed.unwrap(), 401, "unauthorized");
    refused(&plain(&mesh, "GET", &path, "").await, 401, "unauthorized");
    let stranger = signed(&mesh, &key(9), "GET", &path, "").await;
    refused(&stranger, 403, "forbidden");
    let unknown = signed(&mesh, &key(1), "GET", "/mesh/nowhere/members", "").await;
    refused(&unknown, 404, "mesh_not_found");
}

#[tokio::test]
async fn a_signature_is_for_one_request_and_a_minute() {
    let mesh = mesh_of(1).await;
    let path = members_of(&mesh);
    let asked = Signed::new(&mesh, &key(1), "GET", &path, "");
    assert_eq!(asked.ask(&mesh).await.status, 200);
    let other = |change: &dyn Fn(&mut Signed)| {
        let mut other = Signed::new(&mesh, &key(1), "GET", &path, "");
        change(&mut other);
        other
    };
    let changed = [
        other(&|it| it.target.push_str("?x=1")),
        other(&|it| it.body = "{}".to_owned()),
    ];
    for changed in changed {
        refused(&changed.ask(&mesh).await, 401, "bad_signature");
    }
    let broken = other(&|it| it.header.truncate(70));
    refused(&broken.ask(&mesh).await, 401, "malformed");
    // What was signed for another broker is of no use here.
    let host = HttpRequest {
        method: "GET",
        host: "elsewhere:7900",
        target: &path,
        body: b"",
    };
    let mut elsewhere = Signed::new(&mesh, &key(1), "GET", &path, "");
    elsewhere.header = sign_request(&host, &key(1), now(&mesh));
    refused(&elsewhere.ask(&mesh).await, 401, "bad_signature");
    mesh.advance(std::time::Duration::from_millis(60_100));
    refused(&asked.ask(&mesh).await, 401, "timestamp_skew");
}

const STATUS: &str = "/hook/set-status";

async fn status_of(mesh: &TestMesh, who: &KeyPair) -> Value {
    let mut asker = online(mesh, mesh.owner()).await;
    asker.json(json!({"type": "list_peers"})).await;
    let list = asker.expect("peers_list").await;
    let own = list["peers"].as_array().unwrap().iter();
    let mut own = own.filter(|peer| peer["memberPubkey"] == json!(who.public()));
    own.next().unwrap()["status"].clone()
}

#[tokio::test]
async fn a_status_is_told_from_this_machine_or_signed() {
    let mesh = mesh_of(2).await;
    let mut hello_of_alice = full_hello(&mesh, &key(1));
    hello_of_alice["cwd"] = "/home/alice".into();
    hello_of_alice["pid"] = 4242.into();
    let mut alice = Raw::connect(&mesh).await;
    alice.prove(&hello_of_alice, &key(1)).await;
    alice.expect("hello_ack").await;
    let told = r#"{"cwd":"/home/alice","pid":4242,"status":"working","session_id":"x"}"#;
    let answer = plain(&mesh, "POST", STATUS, told).await;
    assert_eq!((answer.status, &body(&answer)["ok"]), (200, &json!(true)));
    assert!(body(&answer)["presence_id"].is_string());
    assert_eq!(status_of(&mesh, &key(1)).await, "working");

    // Another process in the folder, and another folder, are others.
    for other in [
        r#"{"cwd":"/home/alice","pid":1,"status":"dnd"}"#,
        r#"{"cwd":"/home/bob","status":"dnd"}"#,
    ] {
        let answer = plain(&mesh, "POST", STATUS, other).await;
        assert_eq!(body(&answer), json!({"ok": true, "pending": true}));
    }
    // As the existing system says it.
    let answer = plain(&mesh, "POST", STATUS, r#"{"status":"idle"}"#).await;
    let wrong = json!({"ok": false, "error": "cwd and status required"});
    assert_eq!((answer.status, body(&answer)), (200, wrong));
    refused(&plain(&mesh, "POST", STATUS, "x").await, 400, "malformed");

    // A page in a browser and a proxy are not this machine.
    for name in ["origin", "x-forwarded-for"] {
        let answer = http(mesh.addr(), "POST", STATUS, &[(name, "1.2.3.4")], told).await;
        refused(&answer.unwrap(), 401, "unauthorized");
    }
    // Who signs tells of its own sessions alone, and each request once.
    let idle = r#"{"cwd":"/home/alice","status":"idle"}"#;
    let others = signed(&mesh, &key(2), "POST", STATUS, idle).await;
    assert_eq!(body(&others)["pending"], true);
    assert_eq!(status_of(&mesh, &key(1)).await, "working");
    let own = Signed::new(&mesh, &key(1), "POST", STATUS, idle);
    assert_eq!(own.ask(&mesh).await.status, 200);
    assert_eq!(status_of(&mesh, &key(1)).await, "idle");
    refused(&own.ask(&mesh).await, 401, "bad_signature");
    refused(
        &with(&mesh, "POST", STATUS, "nope", idle).await,
        401,
        "invalid_or_revoked_token",
    );
}

#[tokio::test]
async fn a_status_that_is_told_first_waits_ten_seconds_for_its_session() {
    let mesh = mesh_of(2).await;
    let told = r#"{"cwd":"/w","status":"working"}"#;
    assert_eq!(
        body(&plain(&mesh, "POST", STATUS, told).await)["pending"],
        true
    );
    let come = async |who: u8| {
        let mut hello = full_hello(&mesh, &key(who));
        hello["cwd"] = "/w".into();
        let mut raw = Raw::connect(&mesh).await;
        raw.prove(&hello, &key(who)).await;
        raw.expect("hello_ack").await;
        raw
    };
    let _alice = come(1).await;
    assert_eq!(status_of(&mesh, &key(1)).await, "working");
    let told = r#"{"cwd":"/w","pid":7,"status":"working"}"#;
    assert_eq!(
        body(&plain(&mesh, "POST", STATUS, told).await)["pending"],
        true
    );
    mesh.advance(std::time::Duration::from_millis(10_100));
    let _bob = come(2).await;
    assert_eq!(status_of(&mesh, &key(2)).await, "idle");
}

#[tokio::test]
async fn a_token_opens_cli_and_the_meshes_that_were_made_with_it() {
    let mesh = mesh_of(1).await;
    let tokens = Tokens::new(mesh.data_dir());
    let ana = tokens.add("ana", now(&mesh), None).unwrap();
    let ben = tokens.add("ben", now(&mesh), None).unwrap();
    let gone = tokens.add("gone", now(&mesh), Some(1)).unwrap();
    let list = "/cli/meshes";
    refused(
        &plain(&mesh, "GET", list, "").await,
        401,
        "missing_bearer_token",
    );
    refused(
        &with(&mesh, "GET", list, "", "").await,
        401,
        "empty_bearer_token",
    );
    for bad in ["nope", gone.as_str(), "cm_x"] {
        refused(
            &with(&mesh, "GET", list, bad, "").await,
            401,
            "invalid_or_revoked_token",
        );
    }
    assert_eq!(
        body(&with(&mesh, "GET", list, &ana, "").await),
        json!({"meshes": []})
    );

    let create = "/cli/mesh/create";
    let theirs = json!({"name": "Team", "pubkey": key(5).public()}).to_string();
    refused(
        &plain(&mesh, "POST", create, &theirs).await,
        401,
        "missing_bearer_token",
    );
    // No broker of ours can sign for its owner.
    refused(
        &with(&mesh, "POST", create, &ana, &theirs).await,
        501,
        "unsupported",
    );
    let first = first_entry(&mesh, &key(5), "ops");
    let made = json!({"name": "ops", "log_entry": blob(&first)}).to_string();
    let answer = with(&mesh, "POST", create, &ana, &made).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let made_it = body(&answer);
    assert_eq!(
        (&made_it["slug"], &made_it["id"]),
        (&json!("ops"), &json!(first.mesh_id()))
    );
    let meshes = body(&with(&mesh, "GET", list, &ana, "").await)["meshes"].clone();
    assert_eq!(meshes.as_array().unwrap().len(), 1);
    assert_eq!(meshes[0]["id"], json!(first.mesh_id()));
    assert_eq!(meshes[0]["broker_url"], format!("ws://{}/ws", mesh.addr()));

    // The token speaks for this mesh and for no other; who posts its first entry again, for none.
    let members = format!("/mesh/{}/members", first.mesh_id());
    assert_eq!(with(&mesh, "GET", &members, &ana, "").await.status, 200);
    refused(
        &with(&mesh, "GET", &members_of(&mesh), &ana, "").await,
        403,
        "forbidden",
    );
    assert_eq!(with(&mesh, "POST", create, &ben, &made).await.status, 200);
    refused(
        &with(&mesh, "GET", &members, &ben, "").await,
        403,
        "forbidden",
    );
    refused(
        &with(&mesh, "GET", &members, "cm_x", "").await,
        403,
        "forbidden",
    );

    // Two of one name are told apart by their ids.
    let other = first_entry(&mesh, &key(6), "ops");
    let other = json!({"log_entry": blob(&other)}).to_string();
    assert_eq!(with(&mesh, "POST", create, &ana, &other).await.status, 200);
    let grants = "/cli/mesh/ops/grants";
    let none = r#"{"grants":{}}"#;
    refused(
        &with(&mesh, "POST", grants, &ana, none).await,
        409,
        "ambiguous",
    );
    let grants = format!("/cli/mesh/{}/grants", first.mesh_id());
    assert_eq!(with(&mesh, "POST", &grants, &ana, none).await.status, 200);

    // Deleting takes the owner's key.
    let named = with(&mesh, "DELETE", "/cli/mesh/ops", &ana, "").await;
    refused(&named, 409, "ambiguous");
    let delete = format!("/cli/mesh/{}", first.mesh_id());
    let delete = delete.as_str();
    refused(
        &plain(&mesh, "DELETE", delete, "").await,
        401,
        "unauthorized",
    );
    refused(
        &with(&mesh, "DELETE", delete, &ana, "").await,
        403,
        "forbidden",
    );
    refused(
        &with(&mesh, "DELETE", delete, &ben, "").await,
        404,
        "mesh_not_found",
    );
    let delete = format!("/cli/mesh/{}", first.mesh_id());
    refused(
        &signed(&mesh, &key(1), "DELETE", &delete, "").await,
        403,
        "forbidden",
    );
    let answer = signed(&mesh, &key(5), "DELETE", &delete, "").await;
    assert_eq!(body(&answer), json!({"ok": true, "deleted": "ops"}));
    tokens.revoke("ana").unwrap();
    refused(
        &with(&mesh, "GET", list, &ana, "").await,
        401,
        "invalid_or_revoked_token",
    );
}

/// A mesh with two members that no log entry vouches for, `key(1)` and `key(2)`.
async fn mesh_of_legacy() -> TestMesh {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 10, 60_000).await;
    for n in 1..=2 {
        let answer = join_legacy(&mesh, &link.token, &key(n), &format!("m{n}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    mesh
}

async fn member_row(mesh: &TestMesh, who: &KeyPair) -> Value {
    let told = signed(mesh, mesh.owner(), "GET", &members_of(mesh), "").await;
    let rows = body(&told)["members"].as_array().unwrap().clone();
    let mut rows = rows.into_iter();
    rows.find(|row| row["pubkey"] == json!(who.public()))
        .unwrap()
}

#[tokio::test]
async fn a_member_is_changed_by_itself_and_by_admins_who_sign() {
    let mesh = mesh_of_legacy().await;
    let mut bob = legacy(&mesh, &key(2)).await;
    let id = member_row(&mesh, &key(2)).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/mesh/{}/member/{id}", mesh.id());
    let change = r#"{"displayName":"bobby","roleTag":"reviewer","groups":[{"name":"ops"}],"messageMode":"inbox"}"#;
    // The member id is no credential, and another member's key is none for this.
    let claimed = [("x-member-id", id.as_str())];
    let claimed = http(mesh.addr(), "PATCH", &path, &claimed, change)
        .await
        .unwrap();
    refused(&claimed, 401, "unauthorized");
    refused(
        &signed(&mesh, &key(1), "PATCH", &path, change).await,
        403,
        "forbidden",
    );
    let own = Signed::new(&mesh, &key(2), "PATCH", &path, change);
    let answer = own.ask(&mesh).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = body(&answer);
    assert_eq!(told["changes"]["displayName"], "bobby");
    assert_eq!(told["member"]["messageMode"], "inbox");
    let event = bob.event("profile_updated").await;
    assert_eq!(event["eventData"]["roleTag"], "reviewer");
    // Signed once, done once.
    refused(&own.ask(&mesh).await, 401, "bad_signature");
    let row = member_row(&mesh, &key(2)).await;
    assert_eq!(
        (&row["displayName"], &row["roleTag"]),
        (&json!("bobby"), &json!("reviewer"))
    );

    let wrong = [
        ("{}", 400, "invalid_argument"),
        ("[]", 400, "malformed"),
        (r#"{"messageMode":"loud"}"#, 400, "invalid_argument"),
        (r#"{"displayName":""}"#, 400, "invalid_argument"),
        (r#"{"permission":"admin"}"#, 409, "in_log"),
        (r#"{"unheard":1}"#, 400, "invalid_argument"),
    ];
    for (text, status, error) in wrong {
        refused(
            &signed(&mesh, &key(2), "PATCH", &path, text).await,
            status,
            error,
        );
    }
    let nobody = format!("/mesh/{}/member/nobody", mesh.id());
    let answer = signed(&mesh, mesh.owner(), "PATCH", &nobody, change).await;
    refused(&answer, 404, "member_not_found");
    // Names of members in the log stand there.
    let owner = member_row(&mesh, mesh.owner()).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let owner = format!("/mesh/{}/member/{owner}", mesh.id());
    let answer = signed(
        &mesh,
        mesh.owner(),
        "PATCH",
        &owner,
        r#"{"displayName":"x"}"#,
    )
    .await;
    refused(&answer, 409, "in_log");

    // What members may change of themselves is for admins to say.
    let settings = format!("/mesh/{}/settings", mesh.id());
    let closed = r#"{"selfEditable":{"roleTag":false}}"#;
    refused(
        &plain(&mesh, "PATCH", &settings, closed).await,
        401,
        "unauthorized",
    );
    refused(
        &signed(&mesh, &key(2), "PATCH", &settings, closed).await,
        403,
        "forbidden",
    );
    let none = signed(&mesh, mesh.owner(), "PATCH", &settings, "{}").await;
    refused(&none, 400, "no settings to update");
    let bad = r#"{"selfEditable":{"roleTag":1}}"#;
    let bad = signed(&mesh, mesh.owner(), "PATCH", &settings, bad).await;
    refused(&bad, 400, "invalid_argument");
    let answer = signed(&mesh, mesh.owner(), "PATCH", &settings, closed).await;
    assert_eq!((answer.status, &body(&answer)["ok"]), (200, &json!(true)));
    let tag = r#"{"roleTag":"boss"}"#;
    refused(
        &signed(&mesh, &key(2), "PATCH", &path, tag).await,
        403,
        "forbidden",
    );
    assert_eq!(
        signed(&mesh, mesh.owner(), "PATCH", &path, tag)
            .await
            .status,
        200
    );

    // All of it outlives the broker, and is told to who connects.
    mesh.kill_broker().await.unwrap();
    assert_eq!(member_row(&mesh, &key(2)).await["displayName"], "bobby");
    let mut again = Raw::connect(&mesh).await;
    again.json(hello(&mesh, &key(2))).await;
    let ack = again.expect("hello_ack").await;
    assert_eq!(ack["memberProfile"]["roleTag"], "boss");
    assert_eq!(ack["memberProfile"]["groups"], json!([{"name": "ops"}]));
    assert_eq!(ack["meshPolicy"]["selfEditable"]["roleTag"], false);
}

#[tokio::test]
async fn what_is_too_much_is_refused() {
    let mut limits = broker_min::limits::Limits::default();
    (limits.deliveries_per_s, limits.delivery_burst) = (1, 2);
    let mesh = TestMesh::start_with(limits).await.unwrap();
    let settings = format!("/mesh/{}/settings", mesh.id());
    let big = format!("{{\"pad\":\"{}\"}}", "a".repeat(70_000));
    let paths = [
        ("PATCH", settings.as_str()),
        ("GET", &members_of(&mesh)),
        ("POST", "/cli/mesh/x/grants"),
        ("POST", STATUS),
    ];
    for (method, path) in paths {
        refused(
            &plain(&mesh, method, path, &big).await,
            413,
            "payload too large",
        );
    }
    for n in 0..3 {
        let text = format!("{{\"selfEditable\":{{\"groups\":{}}}}}", n % 2 == 0);
        let answer = signed(&mesh, mesh.owner(), "PATCH", &settings, &text).await;
        match n {
            2 => refused(&answer, 429, "rate_limit"),
            _ => assert_eq!(answer.status, 200, "{}", answer.body),
        }
    }
}

#[tokio::test]
async fn whom_a_member_lets_write_is_said_by_it_alone() {
    let mesh = mesh_of_legacy().await;
    let tokens = Tokens::new(mesh.data_dir());
    let ana = tokens.add("ana", now(&mesh), None).unwrap();
    let path = format!("/cli/mesh/{}/grants", mesh.id());
    let block = json!({"grants": {key(1).public().to_hex(): []}}).to_string();
    refused(
        &plain(&mesh, "POST", &path, &block).await,
        401,
        "missing_bearer_token",
    );
    refused(
        &with(&mesh, "POST", &path, &ana, &block).await,
        404,
        "mesh_not_found",
    );
    refused(
        &signed(&mesh, &key(9), "POST", &path, &block).await,
        403,
        "forbidden",
    );
    let cases = [
        ("{}", "grants required"),
        (r#"{"grants":{"zz":[]}}"#, "invalid_argument"),
    ];
    for (text, error) in cases {
        refused(
            &signed(&mesh, &key(2), "POST", &path, text).await,
            400,
            error,
        );
    }
    let _bob = legacy(&mesh, &key(2)).await;
    let mut alice = legacy(&mesh, &key(1)).await;
    alice.json(send(&key(2), "before")).await;
    assert_eq!(alice.expect("ack").await["queued"], true);
    let answer = signed(&mesh, &key(2), "POST", &path, &block).await;
    assert_eq!(body(&answer)["grants"][key(1).public().to_hex()], json!([]));
    alice.json(send(&key(2), "blocked")).await;
    let ack = alice.expect("ack").await;
    let error = "blocked by recipient grants (sender lacks dm capability)";
    assert_eq!(
        (&ack["queued"], &ack["error"]),
        (&json!(false), &json!(error))
    );
    let forget = json!({"grants": {key(1).public().to_hex(): null}}).to_string();
    let answer = signed(&mesh, &key(2), "POST", &path, &forget).await;
    assert_eq!(body(&answer), json!({"ok": true, "grants": {}}));
    alice.json(send(&key(2), "after")).await;
    assert_eq!(alice.expect("ack").await["queued"], true);
}

#[tokio::test]
async fn what_is_not_served_says_so_and_what_to_do() {
    let mesh = TestMesh::start().await.unwrap();
    let id = mesh.id();
    let cases = [
        ("POST", "/cli-sync", 501, "accounts_unsupported"),
        ("POST", "/cli/device-code", 501, "accounts_unsupported"),
        ("GET", "/cli/device-code/ABCD", 501, "accounts_unsupported"),
        (
            "POST",
            "/cli/device-code/ABCD/approve",
            501,
            "accounts_unsupported",
        ),
        ("POST", "/cli/token", 501, "accounts_unsupported"),
        (
            "GET",
            "/cli/sessions?user_id=u",
            501,
            "accounts_unsupported",
        ),
        ("POST", "/cli/session/revoke", 501, "accounts_unsupported"),
        ("POST", "/cli/mesh/acme/invite", 501, "unsupported"),
        ("GET", "/cli/mesh/acme/permissions", 501, "unsupported"),
        ("POST", "/cli/mesh/acme/permissions", 501, "unsupported"),
        ("POST", "/invites/AB12CD34/claim", 501, "invite_v2_disabled"),
        (
            "POST",
            "/api/public/invites/AB12CD34/claim",
            501,
            "invite_v2_disabled",
        ),
        ("GET", "/api/public/invite-code/AB12CD34", 404, "not_found"),
        ("POST", "/upload", 501, "unsupported"),
        ("GET", "/download/abc?mesh=x", 501, "unsupported"),
        ("POST", "/tg/token", 501, "unsupported"),
        ("GET", "/test/clock", 404, "not_found"),
        ("GET", "/nope", 404, "not_found"),
        ("DELETE", "/health", 404, "not_found"),
    ];
    for (method, path, status, error) in cases {
        let answer = plain(&mesh, method, path, "{}").await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path}"
        );
        refused(&answer, status, error);
        let said = body(&answer)["message"].as_str().unwrap().to_owned();
        assert!(!said.contains(id.as_str()), "{said}");
    }
}

#[tokio::test]
async fn an_address_that_is_refused_too_often_waits() {
    let mut limits = broker_min::limits::Limits::default();
    limits.refusals_per_hour = 2;
    let mesh = TestMesh::start_with(limits).await.unwrap();
    for _ in 0..2 {
        assert_eq!(plain(&mesh, "GET", "/cli/meshes", "").await.status, 401);
    }
    for path in ["/cli/meshes", &members_of(&mesh), STATUS] {
        let answer = plain(&mesh, "GET", path, "").await;
        refused(&answer, 429, "rate_limit");
        assert!(body(&answer)["retry_after_ms"].as_u64().unwrap() > 0);
    }
    // Peers that are in connect all the same.
    online(&mesh, mesh.owner()).await;
}
