//! Whatever arrives is either a frame or an error, and the error gives nothing away.

use claudemesh_core::wire::{BrokerFrame, ClientFrame, WireError, check_size, decode_send};
use proptest::prelude::*;

const HELLO: &str = r#"{"type":"hello","meshId":"m","memberId":"i","pubkey":"k","timestamp":1,
    "signature":"s","groups":[{"name":"a"}],"later":{"x":[1,2]},"capabilities":["delivery/1"]}"#;

fn both(text: &str) -> [Result<(), WireError>; 2] {
    if let Some(Ok(send)) = decode_send(text) {
        let _ = send.into_owned();
    }
    [
        ClientFrame::decode(text).map(|_| ()),
        BrokerFrame::decode(text).map(|_| ()),
    ]
}

#[test]
fn what_is_not_an_object_is_refused() {
    for text in ["[]", "\"hello\"", "1", "null", " true ", r#"["hello","m"]"#] {
        assert_eq!(
            both(text),
            [const { Err(WireError::NotAnObject) }; 2],
            "{text}"
        );
    }
    for text in [
        "",
        " ",
        "not json",
        "{",
        "{]",
        r#"{"type":"hello"} x"#,
        "\u{feff}{}",
        "{'a':1}",
    ] {
        assert_eq!(both(text), [const { Err(WireError::NotJson) }; 2], "{text}");
    }
}

#[test]
fn every_truncation_is_refused() {
    ClientFrame::decode(HELLO).unwrap();
    for end in (0..HELLO.len()).filter(|end| HELLO.is_char_boundary(*end)) {
        assert_eq!(ClientFrame::decode(&HELLO[..end]), Err(WireError::NotJson));
    }
}

#[test]
fn deep_nesting_does_not_overflow() {
    let deep = "[".repeat(100_000);
    let closed = format!("{deep}{}", "]".repeat(100_000));
    for kind in ["hello", "push", "peers_list", "hello_ack", "made_up", "ack"] {
        for nested in [&deep, &closed] {
            let _ = both(&format!(r#"{{"type":"{kind}","x":{nested}}}"#));
            let _ = both(&format!(r#"{{"type":{nested}}}"#));
        }
        let unknown = format!(r#"{{"type":"made_up","x":{closed}}}"#);
        assert_eq!(both(&unknown), [const { Err(WireError::NotJson) }; 2]);
    }
    let hello = HELLO.replace("[1,2]", &closed);
    ClientFrame::decode(&hello).unwrap_err();
}

#[test]
fn a_type_that_is_no_text_is_an_unknown_frame() {
    for kind in ["5", "null", "{}", "[\"hello\"]", "true"] {
        let text = format!(r#"{{"type":{kind}}}"#);
        let frame = ClientFrame::decode(&text).unwrap();
        assert_eq!((frame.kind(), frame.encode()), ("", text));
    }
    assert_eq!(ClientFrame::decode("{}").unwrap().encode(), "{}");
    assert_eq!(
        ClientFrame::decode(r#"{"type":"hel\u006co"}"#)
            .unwrap_err()
            .to_string(),
        "frame `hello`: missing field `meshId`"
    );
}

#[test]
fn keys_that_are_there_twice_are_refused() {
    let twice = [
        r#"{"type":"hello","type":"hello"}"#.to_owned(),
        r#"{"type":"set_status","status":"idle","status":"dnd"}"#.to_owned(),
        r#"{"type":"made_up","type":"made_up"}"#.to_owned(),
        HELLO.replace("\"later\"", "\"pubkey\":\"z\",\"later\""),
    ];
    for text in &twice {
        let error = ClientFrame::decode(text).unwrap_err().to_string();
        assert!(error.contains("duplicate field"), "{error}");
    }
}

#[test]
fn huge_numbers_are_errors_or_kept() {
    for number in ["1e999", "-1e999"] {
        let text = HELLO.replace(":1,", &format!(":{number},"));
        assert_eq!(ClientFrame::decode(&text), Err(WireError::NotJson));
    }
    let text = HELLO.replace(":1,", ":99999999999999999999999999,");
    let ClientFrame::Hello(hello) = ClientFrame::decode(&text).unwrap() else {
        panic!()
    };
    assert_eq!(hello.timestamp_ms(), None);
    let text = r#"{"type":"log_get","channel":"","from":18446744073709551616}"#;
    ClientFrame::decode(text).unwrap_err();
    ClientFrame::decode(&text.replace("18446744073709551616", "-1")).unwrap_err();
}

#[test]
fn long_lists_are_refused() {
    let ids = |n: usize| vec!["\"x\""; n].join(",");
    for (kind, field) in [
        ("outcomes", "messageIds"),
        ("client_ack", "brokerMessageIds"),
    ] {
        let text = |n| format!(r#"{{"type":"{kind}","{field}":[{}]}}"#, ids(n));
        ClientFrame::decode(&text(256)).unwrap();
        assert_eq!(
            ClientFrame::decode(&text(257)).unwrap_err().to_string(),
            format!("frame `{kind}`: too many items, at most 256")
        );
    }
    let ack = r#"{"id":"","messageId":"","queued":true}"#;
    let acks = format!(
        r#"{{"type":"acks","items":[{}]}}"#,
        vec![ack; 257].join(",")
    );
    BrokerFrame::decode(&acks).unwrap_err();
}

#[test]
fn errors_do_not_repeat_the_frame() {
    let frames = [
        r#"{"type":"set_status","status":{"SECRET":1}}"#,
        r#"{"type":"send","targetSpec":"*","nonce":"n","ciphertext":["SECRET"]}"#,
        r#"{"type":"send","targetSpec":"*","nonce":"n","ciphertext":"c","online":"SECRET"}"#,
        r#"{"type":"fetch","priority":"low","max":"SECRET, expected SECRET"}"#,
        r#"{"type":"receipt","messageId":"","state":"SECRET"}"#,
        r#"{"type":"hello","meshId":"m","memberId":"i","pubkey":"k","timestamp":"SECRET"}"#,
        r#"{"type":"SECRET","type":"SECRET"}"#,
        "SECRET",
    ];
    for text in frames {
        for error in both(text).into_iter().filter_map(Result::err) {
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
        if let Some(Err(error)) = decode_send(text) {
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }
    let long = format!(r#"{{"type":"{}","x":1}}"#, "x".repeat(1_000));
    let ClientFrame::Unknown(frame) = ClientFrame::decode(&long).unwrap() else {
        panic!()
    };
    assert_eq!(frame.short_kind().len(), 64);
}

#[test]
fn sizes_are_checked() {
    check_size("1234", 4).unwrap();
    assert_eq!(
        check_size("12345", 4),
        Err(WireError::TooLarge { limit: 4 })
    );
}

fn json_soup() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        prop::sample::select(ClientFrame::TYPES).prop_map(|t| format!("{t:?}")),
        prop::sample::select(BrokerFrame::TYPES).prop_map(|t| format!("{t:?}")),
        prop::sample::select(
            &[
                "\"type\"",
                "\"id\"",
                "\"items\"",
                "\"peers\"",
                "\"entry\"",
                "\"head\"",
                "\"state\"",
                "{",
                "}",
                "[",
                "]",
                ":",
                ",",
                "null",
                "true",
                "0",
                "-1",
                "1.5e3",
                "1e400",
                "\"",
                "\"\\ud83d\"",
                "\"\\u0000\"",
                "\u{7f}",
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const FIELDS: &[&str] = &[
    "id",
    "messageId",
    "targetSpec",
    "nonce",
    "ciphertext",
    "priority",
    "status",
    "items",
    "peers",
    "entry",
    "head",
    "channel",
    "from",
    "state",
    "queued",
    "meshId",
    "timestamp",
    "proof",
    "_reqId",
    "outcomes",
    "messageIds",
    "max",
    "online",
    "summary",
    "presenceId",
    "memberDisplayName",
];

proptest! {
    #[test]
    fn token_soup_never_panics(text in json_soup()) {
        let _ = both(&text);
        let _ = both(&format!("{{\"type\":\"send\"{text}"));
    }

    #[test]
    fn wrong_types_never_panic_and_what_decodes_is_stable(
        client in any::<bool>(),
        kind in any::<prop::sample::Index>(),
        fields in prop::collection::btree_map(prop::sample::select(FIELDS), any_json(), 0..8),
    ) {
        let kinds = if client { ClientFrame::TYPES } else { BrokerFrame::TYPES };
        let mut object: serde_json::Map<_, _> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        object.insert("type".into(), kinds[kind.index(kinds.len())].into());
        let text = serde_json::Value::Object(object).to_string();
        if let Ok(frame) = ClientFrame::decode(&text) {
            prop_assert_eq!(ClientFrame::decode(&frame.encode()), Ok(frame));
        }
        if let Ok(frame) = BrokerFrame::decode(&text) {
            prop_assert_eq!(BrokerFrame::decode(&frame.encode()), Ok(frame));
        }
    }
}
