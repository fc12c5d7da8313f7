//! What frames say about themselves, for brokers and for who passes them on.

use claudemesh_core::id::{Priority, PublicKey};
use claudemesh_core::membership::Role;
use claudemesh_core::wire::{
    Attestation, BrokerFrame, ClientFrame, CloseCode, Extra, Frame, Hello, KickAck, Push,
    SessionHello, WireError, errors, frame_type, join_push, push_tail,
};
use serde_json::{Map, Value, json};

fn attestation() -> Attestation {
    Attestation {
        session_pubkey: PublicKey([2; 32]).to_hex(),
        parent_member_pubkey: PublicKey([1; 32]).to_hex(),
        expires_at: 7_000.into(),
        signature: "s".into(),
        extra: Map::new(),
    }
}

#[test]
fn a_hello_says_what_its_peer_can() {
    let mut hello = Hello::new("m", "i", "k", 5, "s");
    assert_eq!((hello.session_key(), hello.has("log/1")), (None, false));
    hello.session_pubkey = Some(String::new());
    assert_eq!(hello.session_key(), None);
    hello.session_pubkey = Some("abc".into());
    hello.capabilities = Some(vec!["log/1".into()]);
    assert_eq!(hello.session_key(), Some("abc"));
    assert!(hello.has("log/1") && !hello.has("log/2"));

    let mut session = SessionHello::new("m", "k", "s", attestation(), 5, "s");
    assert_eq!(session.timestamp_ms(), Some(5));
    assert_eq!(session.parent_attestation.expires_at_ms(), Some(7_000));
    assert!(!session.has("log/1"));
    session.capabilities = Some(vec!["log/1".into()]);
    assert!(session.has("log/1") && !session.has("log/2"));
    // Times that are none are no times.
    let minus = || serde_json::Number::from(-1);
    (session.timestamp, session.parent_attestation.expires_at) = (minus(), minus());
    assert_eq!(session.timestamp_ms(), None);
    assert_eq!(session.parent_attestation.expires_at_ms(), None);
}

#[test]
fn fields_without_a_name_can_be_read_added_and_taken_out() {
    let mut extra = Extra::default();
    assert!(extra.is_empty());
    extra.insert("later", 3);
    extra.insert("type", "push");
    assert!(!extra.is_empty());
    assert_eq!(extra.get("later"), Some(&json!(3)));
    assert_eq!((extra.get("type"), extra.get("other")), (None, None));
    assert_eq!(extra.remove("later"), Some(json!(3)));
    assert_eq!(extra.remove("later"), None);
    assert!(extra.is_empty());
}

#[test]
fn a_push_is_joined_to_any_id() {
    let push = |id: &str, subtype: &str| Push {
        message_id: id.into(),
        priority: "low".into(),
        subtype: Some(subtype.into()),
        ..Push::default()
    };
    let tail = push_tail(&push("first", "x"));
    for id in ["0aZ-9", "", "q\"u\\o", "ü"] {
        let joined = join_push(id, &tail);
        assert_eq!(frame_type(&joined).unwrap(), "push");
        let Ok(BrokerFrame::Push(read)) = BrokerFrame::decode(&joined) else {
            panic!("{joined}");
        };
        assert_eq!(read.message_id, id);
        assert_eq!(read.priority().unwrap(), Priority::Low);
        assert!(!read.is_event());
    }
    assert!(push("e", "system").is_event());
    let mut other = push("e", "x");
    other.priority = "soon".into();
    other.priority().unwrap_err();
}

#[test]
fn a_type_is_a_text_and_a_frame_of_one_type_is_of_that() {
    for none in [r#"{"type":5}"#, r#"{"type":null}"#, "{}"] {
        assert_eq!(frame_type(none).unwrap(), "");
    }
    let kicked = KickAck::default();
    let text = Frame::encode(&kicked);
    assert_eq!(<KickAck as Frame>::decode(&text).unwrap(), kicked);
    let other = text.replace(KickAck::TYPE, "other");
    let error = <KickAck as Frame>::decode(&other).unwrap_err();
    assert!(matches!(error, WireError::Field { .. }), "{error}");
    // No comma where there is no field.
    let empty = ClientFrame::decode(r#"{"type":"whatever"}"#)
        .unwrap()
        .encode();
    assert_eq!(
        serde_json::from_str::<Value>(&empty).unwrap(),
        json!({"type": "whatever"})
    );
}

#[test]
fn what_refuses_says_why_with_the_numbers() {
    assert_eq!(errors::hello_rejected("c"), "hello rejected: c");
    assert_eq!(
        errors::session_hello_rejected("c"),
        "session_hello rejected: c"
    );
    assert_eq!(errors::attestation_rejected("c"), "attestation rejected: c");
    assert!(errors::capacity(17).contains("17"));
    assert_eq!(
        errors::rate_limit_deliveries(200, 5_000),
        "rate_limit: max 200 deliveries/s (burst 5000) — slow down"
    );
    assert_eq!(CloseCode::OVERLOAD.to_string(), "1013");
    assert_eq!(Role::Admin.to_string(), "admin");
}
