//! Cases of session statements and of sealed values.

use claudemesh_core::channel::{
    ExpectedValue, MAX_VALUE_BODY, MAX_VALUE_VERSION, SealedValue, Verdict, What, newer,
    open_value, seal_value,
};
use claudemesh_core::channel::{Value as Kept, ValueError};
use claudemesh_core::crypto::SecretKey;
use claudemesh_core::encoding::Encoder;
use claudemesh_core::id::KeyId;
use claudemesh_core::identity::{SessionStatement, SessionStatementError, SignedSession};
use claudemesh_core::wire::SignedBlob;

use super::*;

const SECRET: [u8; 32] = [0x5c; 32];
const KEY_ID: KeyId = KeyId([0x1d; 16]);
const NONCE: [u8; 24] = [0x27; 24];

fn mesh() -> MeshId {
    MeshId::new("mesh").unwrap()
}

fn with_reason(cases: Vec<Value>, reason: impl Fn(&Value) -> String) -> Vec<Value> {
    let cases = cases.into_iter().map(|case| {
        let reason = reason(&case);
        assert_ne!(reason, "ok", "{case}");
        with(case, json!({ "reason": reason }))
    });
    cases.collect()
}

// --- session statements -----------------------------------------------------------------------

fn statement() -> SessionStatement {
    SessionStatement {
        mesh: mesh(),
        member: public("member"),
        session: Some(public("spare")),
        name: Name::new("Zoë").unwrap(),
        capabilities: vec!["envelope/1".to_owned(), "log/1".to_owned()],
        head: Some((7, Hash([0x77; 32]))),
        not_before: AT,
        expires_at: AT + DAY,
    }
}

/// The fields as they are, so that wrong ones can be signed too.
fn raw_statement(capabilities: &[&[u8]], head: (u64, Option<[u8; 32]>), lasts: u64) -> Encoder {
    Encoder::new("session/1")
        .text("mesh")
        .bytes(&public("member").0)
        .optional(None)
        .text("Zoë")
        .list(capabilities.iter().copied())
        .int(head.0)
        .optional(head.1.as_ref().map(<[u8; 32]>::as_slice))
        .int(AT)
        .int(AT.saturating_add(lasts))
}

fn statement_case(name: &str, blob: &SignedBlob, now: u64) -> Value {
    json!({ "id": name, "mesh_id": "mesh", "now": now, "statement": blob })
}

fn open_statement(case: &Value) -> Result<SessionStatement, String> {
    let blob: SignedBlob = serde_json::from_value(case["statement"].clone()).unwrap();
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    SignedSession::try_from(&blob)
        .and_then(|signed| SessionStatement::open(&signed, &mesh, number(case, "now")))
        .map_err(|error| match error {
            SessionStatementError::Malformed(_) => "Malformed".to_owned(),
            other => format!("{other:?}"),
        })
}

fn statement_fields(statement: &SessionStatement) -> Value {
    json!({
        "member_key_hex": statement.member,
        "session_key_hex": statement.session,
        "name": statement.name,
        "capabilities": statement.capabilities,
        "head_seq": statement.head.map(|(seq, _)| seq),
        "head_hash_hex": statement.head.map(|(_, hash)| hash),
        "not_before": statement.not_before,
        "expires_at": statement.expires_at,
    })
}

pub(super) fn session_cases() -> Value {
    let member = pair("member");
    let sign = |bytes: &[u8]| SignedBlob::new(bytes, &member.sign(bytes), None);
    let made = |statement: SessionStatement| SignedBlob::from(&statement.make(&member).unwrap());
    let full = statement();
    let bare = SessionStatement {
        session: None,
        capabilities: Vec::new(),
        head: None,
        expires_at: AT + 1,
        ..full.clone()
    };
    let most = SessionStatement {
        name: Name::new("n".repeat(64)).unwrap(),
        capabilities: vec!["c".repeat(64); 16],
        ..full.clone()
    };
    let accept: Vec<_> = [
        ("with a session key", &full, AT + DAY - 1),
        ("by the member key alone, for a millisecond", &bare, AT),
        ("the most that goes in", &most, AT),
    ]
    .map(|(name, statement, now)| {
        let case = statement_case(name, &made(statement.clone()), now);
        let bytes = statement.make(&member).unwrap().bytes;
        let more = json!({ "fields": statement_fields(statement), "statement_hex": hex(&bytes) });
        with(case, more)
    })
    .to_vec();

    let good = made(full.clone());
    let session_is_member = Encoder::new("session/1")
        .text("mesh")
        .bytes(&public("member").0)
        .bytes(&public("member").0)
        .text("Zoë")
        .list([])
        .int(0)
        .optional(None)
        .int(AT)
        .int(AT + 1);
    let mut cosigned = good.clone();
    cosigned.cosig = Some(good.sig.clone());
    let bytes = good.bytes().unwrap();
    let stranger = SignedBlob::new(&bytes, &pair("stranger").sign(&bytes), None);
    let other_bytes = made(bare).bytes().unwrap();
    let swapped = SignedBlob {
        sig: good.sig.clone(),
        ..sign(&other_bytes)
    };
    let raw = |capabilities: &[&[u8]], head, lasts| {
        sign(&raw_statement(capabilities, head, lasts).finish())
    };
    let long = "c".repeat(65);
    let cases = vec![
        statement_case("a millisecond too early", &good, AT - 1),
        statement_case("at its last millisecond", &good, AT + DAY),
        with(
            statement_case("of another mesh", &good, AT),
            json!({ "mesh_id": "other" }),
        ),
        statement_case("signed by another key", &stranger, AT),
        statement_case("another statement's signature", &swapped, AT),
        statement_case("for over 24 h", &raw(&[], (0, None), DAY + 1), AT),
        statement_case("for no time", &raw(&[], (0, None), 0), AT),
        statement_case("an empty capability", &raw(&[b""], (0, None), 1), AT),
        statement_case(
            "a long capability",
            &raw(&[long.as_bytes()], (0, None), 1),
            AT,
        ),
        statement_case(
            "17 capabilities",
            &raw(&[b"c".as_slice(); 17], (0, None), 1),
            AT,
        ),
        statement_case("a space in a capability", &raw(&[b"a b"], (0, None), 1), AT),
        statement_case("a place without a hash", &raw(&[], (1, None), 1), AT),
        statement_case(
            "a field more",
            &sign(&raw_statement(&[], (0, None), 1).int(1).finish()),
            AT,
        ),
        statement_case("a field less", &sign(&bytes[..bytes.len() - 12]), AT),
        statement_case(
            "the member's key as the session's",
            &sign(&session_is_member.finish()),
            AT,
        ),
        statement_case("with a cosignature", &cosigned, AT),
        statement_case("over 2,048 bytes", &sign(&[0; 2_049]), AT),
    ];
    json!({
        "_doc": "Session statements as they travel, and when they hold.",
        "accept": accept,
        "reject": with_reason(cases, |case| open_statement(case).err().unwrap_or("ok".to_owned())),
    })
}

// --- sealed values ----------------------------------------------------------------------------

fn open_kept(case: &Value) -> String {
    let key = SecretKey::new(unhex(text(case, "key_hex")).unwrap().try_into().unwrap());
    let sealed = match case["json"].is_null() {
        true => SealedValue::from_text(text(case, "text")),
        false => SealedValue::from_json(&case["json"]),
    };
    let opened = sealed.and_then(|sealed| {
        open_value(
            ExpectedValue {
                mesh: &MeshId::new(text(case, "mesh_id")).unwrap(),
                what: match text(case, "what") {
                    "state" => What::State,
                    "memory" => What::Memory,
                    _ => What::Summary,
                },
                name: text(case, "name"),
                key_id: &KeyId::from_hex(text(case, "key_id_hex")).unwrap(),
                key: &key,
            },
            &sealed,
        )
    });
    match opened {
        Ok(opened) => {
            assert_eq!(opened.hash.to_hex(), text(case, "hash_hex"));
            assert_eq!(opened.writer, public(text(case, "writer")));
            assert_eq!(opened.version, number(case, "version"));
            assert_eq!(opened.written_at, AT);
            let length = case["body_length"].as_u64();
            match length {
                Some(length) => assert_eq!(opened.body, vec![b'x'; length as usize]),
                None => assert_eq!(hex(&opened.body), text(case, "body_hex")),
            }
            "ok".to_owned()
        }
        Err(ValueError::Malformed(_)) => "Malformed".to_owned(),
        Err(ValueError::Box(_)) => "Box".to_owned(),
        Err(ValueError::TooLarge(_)) => "TooLarge".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

fn kept(what: What, name: &str, version: u64, body: &[u8]) -> Kept {
    Kept {
        what,
        name: name.to_owned(),
        version,
        written_at: AT,
        body: body.to_vec(),
    }
}

fn kept_case(id: &str, what: What, name: &str) -> Value {
    json!({
        "id": id,
        "mesh_id": "mesh",
        "what": what.as_str(),
        "name": name,
        "key_id_hex": KEY_ID,
        "key_hex": hex(&SECRET),
    })
}

fn kept_bytes(mesh: &str, value: &Kept, key_id: &KeyId, writer: &str) -> Encoder {
    Encoder::new("value/1")
        .text(mesh)
        .text(value.what.as_str())
        .text(&value.name)
        .bytes(&key_id.0)
        .bytes(&public(writer).0)
        .int(value.version)
        .int(value.written_at)
        .bytes(&value.body)
}

/// Any bytes, padded to `class`, sealed by the text form's rules alone.
fn seal_raw(bytes: &[u8], writer: &str, class: usize) -> String {
    let mut padded = (bytes.len() as u32).to_be_bytes().to_vec();
    padded.extend_from_slice(bytes);
    padded.extend_from_slice(&pair(writer).sign(bytes).0);
    padded.resize(class, 0);
    seal_padded(&padded)
}

fn seal_padded(padded: &[u8]) -> String {
    let sealed = SecretKey::new(SECRET).seal(&NONCE, padded).unwrap();
    let blob = [&[0xce, 0x02], KEY_ID.0.as_slice(), &NONCE, &sealed].concat();
    format!("$sealed:{}", base64url(&blob))
}

pub(super) fn value_cases() -> Value {
    let key = SecretKey::new(SECRET);
    let memory = "0123456789abcdef0123456789abcdef";
    let summary = public("member").to_hex();
    let full = vec![b'x'; MAX_VALUE_BODY];
    let text_body = "blue, Zoë".as_bytes();
    let values = [
        ("state", kept(What::State, "deploy/colour", 1, text_body)),
        ("memory", kept(What::Memory, memory, 1, b"")),
        ("summary", kept(What::Summary, &summary, 5, text_body)),
        (
            "the most that goes in",
            kept(What::State, &"k".repeat(256), MAX_VALUE_VERSION, &full),
        ),
    ];
    let accept: Vec<_> = values
        .iter()
        .map(|(id, value)| {
            let sealed = seal_value(&mesh(), &pair("member"), &KEY_ID, &key, value, NONCE).unwrap();
            let bytes = kept_bytes("mesh", value, &KEY_ID, "member").finish();
            let form = match value.what {
                What::State => json!({ "json": sealed.to_json() }),
                _ => json!({ "text": sealed.to_text() }),
            };
            let more = json!({
                "writer": "member",
                "version": value.version,
                "written_at": AT,
                "nonce_hex": hex(&NONCE),
                "hash_hex": sha256(&bytes),
                "sig_hex": pair("member").sign(&bytes),
            });
            let body = match value.body.len() > 1_000 {
                true => json!({ "body_length": value.body.len(), "body_is": "x" }),
                false => json!({ "body_hex": hex(&value.body), "value_hex": hex(&bytes) }),
            };
            let case = kept_case(id, value.what, &value.name);
            with(with(with(case, form), more), body)
        })
        .collect();

    let state = |id: &str, text: String| {
        with(
            kept_case(id, What::State, "deploy/colour"),
            json!({ "text": text }),
        )
    };
    let good = values[0].1.clone();
    let sealed = seal_value(&mesh(), &pair("member"), &KEY_ID, &key, &good, NONCE).unwrap();
    let good_text = sealed.to_text();
    let blob = unbase64url(&good_text["$sealed:".len()..]).unwrap();
    let bent = |at: usize| {
        let mut blob = blob.clone();
        blob[at] ^= 1;
        format!("$sealed:{}", base64url(&blob))
    };
    let raw = |value: &Kept| {
        seal_raw(
            &kept_bytes("mesh", value, &KEY_ID, "member").finish(),
            "member",
            256,
        )
    };
    let bytes = kept_bytes("mesh", &good, &KEY_ID, "member");
    let other_id = KeyId([0xee; 16]);
    let elsewhere = kept_bytes("other", &good, &KEY_ID, "member").finish();
    let under_other = kept_bytes("mesh", &good, &other_id, "member").finish();
    let with_version = |version| Kept {
        version,
        ..good.clone()
    };
    let as_summary = kept(What::Summary, &summary, 1, b"");
    let foreign = kept_bytes("mesh", &as_summary, &KEY_ID, "stranger").finish();
    let upper = kept(What::Memory, &memory.to_uppercase(), 1, b"");
    let too_long = kept(What::State, "deploy/colour", 1, &[b'x'; 200]);
    let mut padded = key.open(&NONCE, &blob[42..]).unwrap();
    *padded.last_mut().unwrap() = 1;
    let cases = vec![
        state("plain text", "blue".to_owned()),
        with(
            kept_case("plain JSON", What::State, "deploy/colour"),
            json!({ "json": { "colour": "blue" } }),
        ),
        with(
            kept_case("something beside the blob", What::State, "deploy/colour"),
            json!({ "json": { "$sealed": &good_text["$sealed:".len()..], "more": 1 } }),
        ),
        with(
            kept_case(
                "the text form in the JSON form",
                What::State,
                "deploy/colour",
            ),
            json!({ "json": { "$sealed": good_text } }),
        ),
        state("padded base64", format!("{good_text}=")),
        state("the mark of a message", bent(1)),
        state("another key's id in front", bent(2)),
        state("another nonce", bent(18)),
        state("changed", bent(60)),
        state("cut off", good_text[..64].to_owned()),
        with(
            state("opened with another key", good_text.clone()),
            json!({ "key_hex": hex(&[0x5d; 32]) }),
        ),
        with(
            state("under another name", good_text.clone()),
            json!({ "name": "deploy/size" }),
        ),
        with(
            state("as a memory", good_text.clone()),
            json!({ "what": "memory" }),
        ),
        with(
            state("in another mesh", good_text.clone()),
            json!({ "mesh_id": "other" }),
        ),
        state("made in another mesh", seal_raw(&elsewhere, "member", 256)),
        state(
            "made under another key",
            seal_raw(&under_other, "member", 256),
        ),
        state(
            "signed by another",
            seal_raw(&bytes.clone().finish(), "stranger", 256),
        ),
        state("version 0", raw(&with_version(0))),
        state(
            "a version over 2^53 - 1",
            raw(&with_version(MAX_VALUE_VERSION + 1)),
        ),
        state(
            "a field more",
            seal_raw(&bytes.clone().int(1).finish(), "member", 256),
        ),
        state(
            "a size class too large",
            seal_raw(&bytes.finish(), "member", 512),
        ),
        state("something in the padding", seal_padded(&padded)),
        state(
            "a size class too small",
            seal_raw(
                &kept_bytes("mesh", &too_long, &KEY_ID, "member").finish(),
                "member",
                256,
            ),
        ),
        with(
            kept_case("a summary by another", What::Summary, &summary),
            json!({ "text": seal_raw(&foreign, "stranger", 256) }),
        ),
        with(
            kept_case("a memory's id in capitals", What::Memory, &upper.name),
            json!({ "text": raw(&upper) }),
        ),
    ];
    let (low, high) = (Hash([1; 32]), Hash([2; 32]));
    let order = [
        (None, (1, low)),
        (Some((1, low)), (2, low)),
        (Some((2, low)), (2, low)),
        (Some((2, high)), (1, high)),
        (Some((2, low)), (2, high)),
        (Some((2, high)), (2, low)),
    ]
    .map(|(held, got)| {
        let one = |(version, hash): (u64, Hash)| json!({ "version": version, "hash_hex": hash });
        json!({ "held": held.map(one), "got": one(got), "verdict": verdict(newer(held, got)) })
    });
    json!({
        "_doc": "Values sealed under a key of `$state`. `order` says what becomes of a value that \
                 comes (`got`) where another one is held under its name.",
        "accept": accept,
        "reject": with_reason(cases, open_kept),
        "order": order,
    })
}

fn verdict(verdict: Verdict) -> String {
    format!("{verdict:?}").to_lowercase()
}

// --- checking ---------------------------------------------------------------------------------

#[test]
fn session_statements_hold_or_fail_as_the_file_says() {
    let file = file();
    for case in list(&file["session_statement"], "accept") {
        let statement = open_statement(case).unwrap();
        assert_eq!(statement_fields(&statement), case["fields"]);
        let signed = statement.make(&pair("member")).unwrap();
        assert_eq!(hex(&signed.bytes), text(case, "statement_hex"));
        assert_eq!(json!(SignedBlob::from(&signed)), case["statement"]);
    }
    for case in list(&file["session_statement"], "reject") {
        let reason = text(case, "reason").to_owned();
        assert_eq!(open_statement(case), Err(reason), "{}", case["id"]);
    }
}

#[test]
fn sealed_values_open_or_fail_as_the_file_says() {
    let file = file();
    let cases = &file["sealed_value"];
    for case in list(cases, "accept") {
        assert_eq!(open_kept(case), "ok", "{}", case["id"]);
    }
    for case in list(cases, "reject") {
        assert_eq!(open_kept(case), text(case, "reason"), "{}", case["id"]);
    }
    let one = |case: &Value| {
        let hash = Hash::from_hex(text(case, "hash_hex")).unwrap();
        (number(case, "version"), hash)
    };
    for case in list(cases, "order") {
        let held = (!case["held"].is_null()).then(|| one(&case["held"]));
        let found = verdict(newer(held, one(&case["got"])));
        assert_eq!(found, text(case, "verdict"));
    }
}

#[test]
fn what_is_refused_is_not_made_either() {
    let key = SecretKey::new(SECRET);
    let seal = |value: &Kept| seal_value(&mesh(), &pair("member"), &KEY_ID, &key, value, NONCE);
    let stranger = public("stranger").to_hex();
    for (value, error) in [
        (
            kept(What::State, "k", 1, &vec![0; MAX_VALUE_BODY + 1]),
            ValueError::TooLarge(MAX_VALUE_BODY + 1),
        ),
        (kept(What::State, "", 1, b""), ValueError::Name),
        (
            kept(What::State, &"k".repeat(257), 1, b""),
            ValueError::Name,
        ),
        (kept(What::Memory, "0", 1, b""), ValueError::Name),
        (kept(What::Summary, "0", 1, b""), ValueError::Name),
        (
            kept(What::Summary, &stranger, 1, b""),
            ValueError::OtherWriter,
        ),
        (kept(What::State, "k", 0, b""), ValueError::Version),
        (
            kept(What::State, "k", MAX_VALUE_VERSION + 1, b""),
            ValueError::Version,
        ),
    ] {
        assert_eq!(seal(&value), Err(error), "{value:?}");
    }
    let make = |change: fn(&mut SessionStatement)| {
        let mut statement = statement();
        change(&mut statement);
        statement.make(&pair("member")).map(|_| ())
    };
    assert_eq!(make(|_| {}), Ok(()));
    assert_eq!(
        make(|s| s.expires_at += 1),
        Err(SessionStatementError::TooLong)
    );
    assert_eq!(
        make(|s| s.expires_at = AT),
        Err(SessionStatementError::NoTime)
    );
    assert_eq!(
        make(|s| s.not_before = u64::MAX),
        Err(SessionStatementError::NoTime)
    );
    assert_eq!(
        make(|s| s.member = public("owner")),
        Err(SessionStatementError::BadSignature)
    );
    assert_eq!(
        make(|s| s.capabilities = vec!["c".to_owned(); 17]),
        Err(SessionStatementError::Capabilities)
    );
    assert!(matches!(
        make(|s| s.session = Some(s.member)),
        Err(SessionStatementError::Malformed(_))
    ));
}
