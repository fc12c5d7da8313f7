use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{SessionName, Wake};
use claudemesh_core::identity::{SessionAddress, attestation_bytes, prove_hello};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_795_414_968_000;
const HOST: &str = "localhost:7900";

fn check(text: &str, challenge: Option<&[u8; 32]>, now: u64) -> Result<Verified, HelloError> {
    let frame = ClientFrame::decode(text).unwrap();
    verify(text, &frame, challenge, &[HOST.to_owned()], now)
}

/// Every hello of a recording, at its own time, is answered as it was then. What needs a roster
/// is not for `verify` to refuse.
fn replay(recording: &str, at_least: usize) {
    let lines: Vec<Value> = recording
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut seen = 0;
    for (at, line) in lines.iter().enumerate() {
        let kind = line["frame"]["type"].as_str().unwrap_or_default();
        if line["dir"] != "c2s" || !kind.ends_with("hello") {
            continue;
        }
        let answer = lines[at + 1..]
            .iter()
            .find(|next| next["conn"] == line["conn"] && next["dir"] == "s2c");
        let Some(answer) = answer.filter(|answer| answer["frame"].is_object()) else {
            continue;
        };
        let text = line["frame"].to_string();
        let result = check(&text, None, millis(line["ts"].as_str().unwrap()));
        let code = answer["frame"]["code"].as_str().unwrap_or_default();
        if ["", "unauthorized", "revoked", "parent_member_id_mismatch"].contains(&code) {
            result.unwrap_or_else(|error| panic!("line {at}: {error}"));
        } else {
            let error = result.unwrap_err();
            assert_eq!(error.code, code, "line {at}");
            assert_eq!(error.message, answer["frame"]["message"], "line {at}");
        }
        seen += 1;
    }
    assert!(seen >= at_least, "{seen} hellos");
}

/// The time of day in a recording; all are of 2026-11-23.
fn millis(ts: &str) -> u64 {
    let digits = |from: usize, to: usize| ts[from..to].parse::<u64>().unwrap();
    assert!(ts.starts_with("2026-11-23T"), "{ts}");
    let midnight = 1_795_392_000_000;
    let seconds = digits(11, 13) * 3_600 + digits(14, 16) * 60 + digits(17, 19);
    midnight + seconds * 1_000 + digits(20, 23)
}

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!(
            "../../../claudemesh-core/testdata/transcripts/",
            $name
        ))
    };
}

#[test]
fn recorded_hellos_are_answered_as_they_were() {
    replay(recording!("04-hello.jsonl"), 2);
    replay(recording!("05-hello-errors.jsonl"), 6);
    replay(recording!("06-session-hello.jsonl"), 1);
    replay(recording!("07-session-hello-errors.jsonl"), 8);
    replay(recording!("42-cli-daemon.jsonl"), 1);
}

fn member() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn session() -> KeyPair {
    KeyPair::from_seed(&[2; 32])
}

fn hello() -> Value {
    let key = member().public().to_hex();
    let signature = member().sign(hello_bytes("mesh", "m1", &key, NOW).as_bytes());
    json!({"type": "hello", "meshId": "mesh", "memberId": "m1", "pubkey": key,
           "timestamp": NOW, "signature": signature})
}

fn attestation(by: &KeyPair) -> Value {
    let (parent, session) = (by.public().to_hex(), session().public().to_hex());
    let expires = NOW + 1_000;
    let signature = by.sign(attestation_bytes(&parent, &session, expires).as_bytes());
    json!({"sessionPubkey": session, "parentMemberPubkey": parent, "expiresAt": expires,
           "signature": signature})
}

fn session_hello() -> Value {
    let (parent, key) = (member().public().to_hex(), session().public().to_hex());
    let signed = session_hello_bytes("mesh", &parent, &key, NOW);
    json!({"type": "session_hello", "meshId": "mesh", "parentMemberPubkey": parent,
           "sessionPubkey": key, "parentAttestation": attestation(&member()),
           "timestamp": NOW, "signature": session().sign(signed.as_bytes())})
}

fn with(mut hello: Value, name: &str, value: impl Into<Value>) -> Value {
    hello[name] = value.into();
    hello
}

fn proven(hello: &Value, key: &KeyPair) -> String {
    prove_hello(&hello.to_string(), &[9; 32], HOST, key)
}

#[test]
fn a_hello_without_proof_is_what_it_is() {
    let verified = check(&hello().to_string(), Some(&[9; 32]), NOW).unwrap();
    assert_eq!(verified.member, member().public());
    assert!(!verified.proven && !verified.session_form && verified.session.is_none());
    let named = with(hello(), "sessionPubkey", session().public().to_hex());
    let verified = check(&named.to_string(), None, NOW).unwrap();
    assert_eq!(verified.session, Some(session().public()));
    assert!(!verified.session_proven);
}

#[test]
fn a_proof_is_by_the_key_that_is_attested_else_by_the_member() {
    let of = |text: &str| check(text, Some(&[9; 32]), NOW);
    assert!(of(&proven(&hello(), &member())).unwrap().proven);
    assert_eq!(
        of(&proven(&hello(), &session())).unwrap_err().code,
        "bad_signature"
    );

    let named = with(hello(), "sessionPubkey", session().public().to_hex());
    let claimed = of(&proven(&named, &member())).unwrap();
    assert!(claimed.proven && !claimed.session_proven);
    of(&proven(&named, &session())).unwrap_err();

    let attested = with(named, "parentAttestation", attestation(&member()));
    let verified = of(&proven(&attested, &session())).unwrap();
    assert!(verified.proven && verified.session_proven);
    of(&proven(&attested, &member())).unwrap_err();

    let verified = of(&proven(&session_hello(), &session())).unwrap();
    assert!(verified.proven && verified.session_proven && verified.session_form);
    of(&proven(&session_hello(), &member())).unwrap_err();
}

#[test]
fn a_proof_that_does_not_fit_is_never_ignored() {
    let text = proven(&hello(), &member());
    for challenge in [None, Some(&[8; 32])] {
        let error = check(&text, challenge, NOW).unwrap_err();
        assert_eq!(error.code, "bad_signature");
    }
    let frame = ClientFrame::decode(&text).unwrap();
    let elsewhere = ["elsewhere:7900".to_owned()];
    verify(&text, &frame, Some(&[9; 32]), &elsewhere, NOW).unwrap_err();
    // Nothing may stand behind it, and nothing of what it covers may change.
    let moved = text.replacen("{", "{ ", 1);
    check(&moved, Some(&[9; 32]), NOW).unwrap_err();
    let spaced = text.replacen("\"}", "\" }", 1);
    assert_eq!(
        check(&spaced, Some(&[9; 32]), NOW).unwrap_err().code,
        "malformed"
    );
}

#[test]
fn an_attestation_by_another_or_for_another_is_refused() {
    let key = session().public().to_hex();
    let stranger = KeyPair::from_seed(&[3; 32]);
    let named = with(hello(), "sessionPubkey", key);
    let foreign = with(named.clone(), "parentAttestation", attestation(&stranger));
    let error = check(&foreign.to_string(), None, NOW).unwrap_err();
    assert_eq!(error.code, "attestation_mismatch");
    let junk = with(named, "parentAttestation", 7);
    assert_eq!(
        check(&junk.to_string(), None, NOW).unwrap_err().code,
        "malformed"
    );
    let error = check(&session_hello().to_string(), None, NOW + 1_000).unwrap_err();
    assert_eq!(error.message, "attestation rejected: expired");
}

#[test]
fn a_time_that_is_no_number_of_ms_is_malformed() {
    for at in [json!(-1), json!(1.5), json!(1e300)] {
        let text = with(hello(), "timestamp", at).to_string();
        assert_eq!(check(&text, None, NOW).unwrap_err().code, "malformed");
    }
}

#[test]
fn a_mesh_id_that_cannot_be_is_an_unknown_mesh() {
    let key = member().public().to_hex();
    let signature = member().sign(hello_bytes("no mesh!", "m1", &key, NOW).as_bytes());
    let text = with(
        with(hello(), "meshId", "no mesh!"),
        "signature",
        signature.to_hex(),
    );
    assert_eq!(
        check(&text.to_string(), None, NOW).unwrap_err().code,
        "unauthorized"
    );
}

#[test]
fn an_address_is_that_of_the_session_which_proves_its_key() {
    let address = |by: &KeyPair, of: &KeyPair, mesh: &str, made_at: u64| {
        let address = SessionAddress {
            mesh: MeshId::new(mesh).unwrap(),
            member: by.public(),
            session: of.public(),
            name: SessionName::new("api").unwrap(),
            wake: Wake::Hook,
            since: 1,
            made_at,
            expires_at: made_at + 1_000,
        };
        json!(SignedBlob::from(&address.make(by, of).unwrap()))
    };
    let good = address(&member(), &session(), "mesh", NOW);
    let check = |hello: &Value| check(&hello.to_string(), None, NOW);
    let shown = check(&with(session_hello(), "address", good.clone())).unwrap();
    let shown = shown.address.unwrap();
    assert_eq!(shown.member, member().public());
    assert_eq!(shown.session, session().public());
    assert_eq!(json!(shown.blob), good);
    let stranger = KeyPair::from_seed(&[3; 32]);
    let mut altered = good.clone();
    altered["cosig"] = altered["sig"].clone();
    for (what, other) in [
        (
            "another session's",
            address(&member(), &stranger, "mesh", NOW),
        ),
        (
            "another member's",
            address(&stranger, &session(), "mesh", NOW),
        ),
        (
            "another mesh's",
            address(&member(), &session(), "other", NOW),
        ),
        ("over", address(&member(), &session(), "mesh", NOW - 1_000)),
        (
            "not yet",
            address(&member(), &session(), "mesh", NOW + 600_001),
        ),
        ("altered", altered),
    ] {
        let error = check(&with(session_hello(), "address", other)).unwrap_err();
        assert_eq!(error.code, "malformed", "{what}: {error}");
    }
    // A hello that names the key proves nothing of it; one that is attested and proven does.
    let named = with(hello(), "sessionPubkey", session().public().to_hex());
    let named = with(named, "address", good);
    assert_eq!(check(&named).unwrap_err().code, "malformed");
    let attested = with(named, "parentAttestation", attestation(&member()));
    assert_eq!(check(&attested).unwrap_err().code, "malformed");
    let text = proven(&attested, &session());
    let frame = ClientFrame::decode(&text).unwrap();
    let hosts = [HOST.to_owned()];
    let shown = verify(&text, &frame, Some(&[9; 32]), &hosts, NOW).unwrap();
    assert!(shown.session_proven && shown.address.is_some());
}
