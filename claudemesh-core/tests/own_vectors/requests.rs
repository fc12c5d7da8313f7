//! Signed requests over HTTP.

use claudemesh_core::encoding::hex;
use claudemesh_core::id::PublicKey;
use claudemesh_core::identity::{HttpRequest, request_bytes, sign_request, verify_request};
use serde_json::{Value, json};

use super::{AT, HOST, file, list, number, pair, text, with};

const TARGET: &str = "/mesh/m/member/M1?why=Zo%C3%AB";
const BODY: &str = r#"{"displayName":"Zoë"}"#;

fn case(id: &str, request: [&str; 4], header: &str, now: u64) -> Value {
    let [method, host, target, body] = request;
    json!({ "id": id, "method": method, "host": host, "target": target, "body": body,
        "header": header, "now": now })
}

fn verified(case: &Value) -> Result<PublicKey, String> {
    let request = HttpRequest {
        method: text(case, "method"),
        host: "",
        target: text(case, "target"),
        body: text(case, "body").as_bytes(),
    };
    let hosts = [text(case, "host")];
    verify_request(&request, hosts, text(case, "header"), number(case, "now"))
        .map(|(key, _)| key)
        .map_err(|error| error.code().to_owned())
}

pub(super) fn cases() -> Value {
    let key = pair("member");
    let request = HttpRequest {
        method: "PATCH",
        host: HOST,
        target: TARGET,
        body: BODY.as_bytes(),
    };
    let value = sign_request(&request, &key, AT);
    let whole = ["PATCH", HOST, TARGET, BODY];
    let get = HttpRequest {
        method: "GET",
        target: "/mesh/m/members",
        body: b"",
        ..request
    };
    let got = sign_request(&get, &key, AT);
    let signed = |request: &HttpRequest<'_>| {
        let bytes = request_bytes(request, &key.public(), AT);
        json!({ "key": "member", "ms": AT, "signed_hex": hex(&bytes) })
    };
    let mut reject = vec![
        case("over 60 s old", whole, &value, AT + 60_001),
        case("over 60 s ahead", whole, &value, AT - 60_001),
        case("another method", ["POST", HOST, TARGET, BODY], &value, AT),
        case(
            "another host",
            ["PATCH", "other:443", TARGET, BODY],
            &value,
            AT,
        ),
        case(
            "no query",
            ["PATCH", HOST, "/mesh/m/member/M1", BODY],
            &value,
            AT,
        ),
        case("another body", ["PATCH", HOST, TARGET, "{}"], &value, AT),
        case("no body", ["PATCH", HOST, TARGET, ""], &value, AT),
        case("a plus", whole, &value.replacen('.', ".+", 1), AT),
        case("a part missing", whole, &value[..78], AT),
        case("a part more", whole, &format!("{value}.x"), AT),
    ];
    for case in &mut reject {
        let reason = verified(case).unwrap_err();
        *case = with(case.clone(), json!({ "reason": reason }));
    }
    json!({
        "_doc": "The header `claudemesh-signature` of requests over HTTP.",
        "accept": [
            with(case("with a body", whole, &value, AT), signed(&request)),
            with(case("without one", ["GET", HOST, get.target, ""], &got, AT), signed(&get)),
            case("60 s old", whole, &value, AT + 60_000),
            case("60 s ahead", whole, &value, AT - 60_000),
        ],
        "reject": reject,
    })
}

#[test]
fn signed_requests_are_taken_and_refused_as_the_file_says() {
    let cases = &file()["http_request"];
    for case in list(cases, "accept") {
        assert_eq!(
            verified(case),
            Ok(pair("member").public()),
            "{}",
            case["id"]
        );
    }
    for case in list(cases, "reject") {
        assert_eq!(
            verified(case).unwrap_err(),
            text(case, "reason"),
            "{}",
            case["id"]
        );
    }
}
