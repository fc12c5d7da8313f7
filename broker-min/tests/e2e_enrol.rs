//! Links, joining, leaving: by HTTP and over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::time::Duration;

use broker_min::testing::{TestMesh, http};
use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::Body;
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn a_link_makes_a_member_once() {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 1, 60_000).await;
    let joined = join(&mesh, &link, &key(1), "alice").await;
    assert_eq!(joined.status, 200, "{}", joined.body);
    assert_eq!(body(&joined)["log_head"]["seq"], 2);
    online(&mesh, &key(1)).await;

    // Whose answer was lost asks again and is told the same.
    let again = join_legacy(&mesh, &link.token, &key(1), "alice").await;
    assert_eq!(
        (again.status, &body(&again)["alreadyMember"]),
        (200, &json!(true))
    );
    // The link lets nobody else in, and does not show the log any more.
    let refused = join(&mesh, &link, &key(2), "bob").await;
    assert_eq!(
        (refused.status, &body(&refused)["error"]),
        (400, &json!("invite_exhausted"))
    );
    let other = join_legacy(&mesh, &link.token, &key(2), "bob").await;
    assert_eq!(
        (other.status, &body(&other)["error"]),
        (400, &json!("invite_exhausted"))
    );
    let mut raw = Raw::connect(&mesh).await;
    raw.prove(&full_hello(&mesh, &key(2)), &key(2)).await;
    assert_eq!(raw.refused().await.0["code"], "unauthorized");
}

#[tokio::test]
async fn existing_clients_join_by_the_token_alone() {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 2, 60_000).await;
    let joined = join_legacy(&mesh, &link.token, &key(1), "old").await;
    assert_eq!(joined.status, 200, "{}", joined.body);
    assert!(body(&joined)["memberId"].is_string());
    legacy(&mesh, &key(1)).await;
    let again = join_legacy(&mesh, &link.token, &key(1), "old").await;
    assert_eq!(body(&again)["alreadyMember"], true);
    assert_eq!(
        join_legacy(&mesh, &link.token, &key(2), "b").await.status,
        200
    );
    let third = join_legacy(&mesh, &link.token, &key(3), "c").await;
    assert_eq!(
        (third.status, &body(&third)["error"]),
        (400, &json!("invite_exhausted"))
    );
}

#[tokio::test]
async fn an_invite_ends_and_can_be_taken_back() {
    let mesh = TestMesh::start().await.unwrap();
    let short = invite(&mesh, 5, 60_000).await;
    mesh.advance(Duration::from_secs(120));
    let late = join_legacy(&mesh, &short.token, &key(1), "late").await;
    assert_eq!(
        (late.status, &body(&late)["error"]),
        (400, &json!("invite_expired"))
    );

    let link = invite(&mesh, 5, 600_000).await;
    let closed = Body::InviteClosed {
        invite: link.fragment.invite(),
    };
    append(&mesh, closed, None).await;
    let refused = join_legacy(&mesh, &link.token, &key(1), "no").await;
    assert_eq!(
        (refused.status, &body(&refused)["error"]),
        (400, &json!("invite_revoked"))
    );
}

#[tokio::test]
async fn a_token_that_was_changed_is_refused() {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 5, 60_000).await;
    let mut payload: Value = serde_json::from_slice(&unbase64url(&link.token).unwrap()).unwrap();
    payload["role"] = "admin".into();
    let forged = base64url(payload.to_string().as_bytes());
    InviteToken::parse(&forged).unwrap();
    let answer = join_legacy(&mesh, &forged, &key(1), "admin").await;
    assert_eq!(
        (answer.status, &body(&answer)["error"]),
        (400, &json!("invite_bad_signature"))
    );
    // Nor may the two copies of it differ.
    let request = json!({"invite_token": link.token, "invite_payload": payload,
                         "peer_pubkey": key(1).public().to_hex(), "display_name": "x"});
    let answer = http(mesh.addr(), "POST", "/join", &[], &request.to_string())
        .await
        .unwrap();
    assert_eq!(body(&answer)["error"], "invite_bad_signature");
}

#[tokio::test]
async fn the_removed_are_closed_and_stay_out() {
    let mesh = mesh_of(2).await;
    let mut alice = online(&mesh, &key(1)).await;
    let removed = Body::MemberRemoved {
        key: key(1).public(),
        close_all: true,
    };
    append(&mesh, removed, None).await;
    assert_eq!(alice.closed().await, (4002, "banned".to_owned()));
    let mut again = Raw::connect(&mesh).await;
    again.prove(&full_hello(&mesh, &key(1)), &key(1)).await;
    let (error, close, _) = again.refused().await;
    assert_eq!((&error["code"], close), (&json!("revoked"), 4002));

    let mut bob = online(&mesh, &key(2)).await;
    bob.json(send(&key(1), "m-1")).await;
    assert_eq!(bob.expect("ack").await["queued"], false);
    let link = invite(&mesh, 5, 60_000).await;
    let back = join_legacy(&mesh, &link.token, &key(1), "back").await;
    assert!(back.status >= 400, "{back:?}");

    mesh.kill_broker().await.unwrap();
    let mut after = Raw::connect(&mesh).await;
    after.json(hello(&mesh, &key(1))).await;
    assert_eq!(after.refused().await.1, 4002);
}

#[tokio::test]
async fn a_log_is_read_by_who_may() {
    let mesh = mesh_of(1).await;
    assert!(read_log(&mesh, &key(1)).await.is_ok());
    let stranger = read_log(&mesh, &key(99)).await.unwrap_err();
    assert!((400..500).contains(&stranger.status), "{stranger:?}");
    let path = format!("/mesh/{}/log", mesh.id());
    let bare = http(mesh.addr(), "GET", &path, &[], "").await.unwrap();
    assert_eq!(bare.status, 401);
    let old = claudemesh_core::identity::log_read_proof(&mesh.id(), &key(1), 1_000);
    let late = http(mesh.addr(), "GET", &path, &[("claudemesh-proof", &old)], "").await;
    assert_eq!(body(&late.unwrap())["error"], "timestamp_skew");
}

#[tokio::test]
async fn neither_secrets_nor_links_are_kept() {
    let mesh = TestMesh::start().await.unwrap();
    let link = invite(&mesh, 5, 60_000).await;
    let page = format!("/join/{}", link.token);
    http(mesh.addr(), "GET", &page, &[], "").await.unwrap();
    for n in 1..=2 {
        assert_eq!(join(&mesh, &link, &key(n), "canary").await.status, 200);
    }
    let mut alice = online(&mesh, &key(1)).await;
    // What a peer would seal stands for itself: the broker is given its ciphertext only.
    let plain = b"CANARY-PLAINTEXT-7f3a";
    let sealed = claudemesh_core::crypto::KeyPair::from_seed(&[9; 32]).sign(plain);
    let mut frame = send(&key(2), "m-1");
    frame["ciphertext"] = sealed.to_hex().into();
    alice.json(frame).await;
    alice.expect("ack").await;
    drop(alice);
    mesh.stop_broker().await.unwrap();
    let fragment = link.fragment.expose();
    let seed = &unbase64url(&fragment).unwrap()[..32];
    let secrets: [(&str, &[u8]); 4] = [
        ("plaintext", plain),
        ("fragment", fragment.as_bytes()),
        ("invite seed", seed),
        ("member seed", &[1; 32]),
    ];
    let mut sealed_seen = false;
    for file in mesh.data_files().unwrap() {
        let bytes = std::fs::read(&file).unwrap();
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        for (what, secret) in secrets {
            assert!(!has(secret), "{what} is in {}", file.display());
        }
        sealed_seen |= has(sealed.to_hex().as_bytes());
    }
    assert!(sealed_seen, "the search finds what is there");
}
