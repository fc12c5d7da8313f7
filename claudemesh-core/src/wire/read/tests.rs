use super::read;
use crate::wire::{
    BrokerFrame, Frame, HelloAck, Outcome, OutcomesResult, PeersList, Push, Receipt, WireError,
};

const OUTCOME: &str = r#"{"messageId":"a","state":"delivered"}"#;

fn outcomes(item: &str) -> Result<OutcomesResult, WireError> {
    OutcomesResult::decode(&format!(
        r#"{{"type":"outcomes_result","outcomes":[{item}]}}"#
    ))
}

fn why(error: WireError) -> String {
    match error {
        WireError::Field { why, .. } => why,
        other => other.to_string(),
    }
}

/// What serde_json alone makes of a text, and what is made of it here.
fn same<T>(text: &str)
where
    T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let whole = serde_json::from_str::<T>(text);
    assert_eq!(read::<T>(text).ok(), whole.ok(), "{text}");
}

#[test]
fn values_of_every_kind_are_read_as_by_serde_json() {
    let values = [
        "null",
        "true",
        "0",
        "-0",
        "7",
        "-7",
        "1.0",
        "1.5",
        "1e3",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "1e999",
        r#""""#,
        r#""a\u00e9\n\ud83d\ude00""#,
        r#""\ud800""#,
        "[]",
        "[1,2]",
        "[1,null]",
        r#"["a"]"#,
        "{}",
        r#"{"a":1}"#,
        r#"{"a":[{"b":null}]}"#,
    ];
    for value in values {
        same::<bool>(value);
        same::<u8>(value);
        same::<u64>(value);
        same::<i64>(value);
        same::<String>(value);
        same::<Option<u32>>(value);
        same::<Option<String>>(value);
        same::<Vec<u16>>(value);
        same::<Vec<Option<u64>>>(value);
        same::<serde_json::Number>(value);
        same::<serde_json::Value>(value);
        same::<serde_json::Map<String, serde_json::Value>>(value);
        same::<std::collections::BTreeMap<String, u64>>(value);
        same::<(u64, u64)>(value);
    }
}

#[test]
fn every_field_of_a_frame_may_hold_anything() {
    let push = r#"{"type":"push","messageId":"m","meshId":"h","senderPubkey":"s","priority":"next","nonce":"n","ciphertext":"c","createdAt":"t","online":true,"expires_at":5,"eventData":{"a":[1]},"address":{"e":"x","sig":"y"},"more":{"b":2}}"#;
    same::<Push>(push);
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(push).unwrap();
    for name in fields.keys() {
        for value in [
            "null",
            "1",
            "-1.5",
            "true",
            r#""a""#,
            r#"[1]"#,
            r#"{"e":"x"}"#,
        ] {
            let mut other = fields.clone();
            other.insert(name.clone(), serde_json::from_str(value).unwrap());
            let text = serde_json::Value::Object(other).to_string();
            same::<Push>(&text);
        }
        let mut without = fields.clone();
        without.remove(name);
        same::<Push>(&serde_json::Value::Object(without).to_string());
    }
}

#[test]
fn a_list_is_no_struct() {
    assert!(outcomes(OUTCOME).is_ok());
    let list = r#"["a","delivered",null]"#;
    assert!(serde_json::from_str::<Outcome>(list).is_ok());
    let error = why(outcomes(list).unwrap_err());
    assert!(
        error.starts_with("wrong type or value, expected struct Outcome"),
        "{error}"
    );
}

#[test]
fn errors_say_what_was_expected_and_nothing_that_came() {
    let secret = "palaver, expected caviar at line 3";
    let text = serde_json::to_string(secret).unwrap();
    let state = format!(r#"{{"messageId":"a","state":{text}}}"#);
    let id = format!(r#"{{"messageId":[{text}],"state":"delivered"}}"#);
    for (bad, expected) in [
        (
            state,
            "wrong type or value, expected one of `queued`, `delivered`",
        ),
        (id, "wrong type or value, expected a string"),
        (text.clone(), "wrong type or value, expected struct Outcome"),
        (format!("{{{text}:{text}}}"), "missing field `messageId`"),
    ] {
        let error = why(outcomes(&bad).unwrap_err());
        assert!(error.starts_with(expected), "{error}");
        assert!(
            !error.contains("palaver") && !error.contains("caviar"),
            "{error}"
        );
    }
    let error = why(Receipt::decode(r#"{"type":"receipt","id":"1","id":"2"}"#).unwrap_err());
    assert!(error.contains("field"), "{error}");
    let error = why(PeersList::decode(r#"{"type":"peers_list","peers":5}"#).unwrap_err());
    assert_eq!(error, "wrong type or value, expected a sequence");
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let error = outcomes(r#"{"state":"delivered","state":"failed","messageId":"a"}"#);
    assert_eq!(why(error.unwrap_err()), "duplicate field `state`");
}

#[test]
fn nesting_without_end_is_refused_or_passed_over() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let field = format!(r#"{{"type":"hello_ack","groups":{deep}}}"#);
    let list = format!(r#"{{"type":"peers_list","peers":{deep}}}"#);
    assert!(HelloAck::decode(&field).is_err());
    assert!(PeersList::decode(&list).is_err());
    assert!(BrokerFrame::decode(&list).is_err());
}
