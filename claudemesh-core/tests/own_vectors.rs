//! Our own encodings, byte for byte: `testdata/vectors/claudemesh.json`.
//!
//! One test makes every case anew and compares, so that no encoding changes by accident; the
//! others read the file as a foreign implementation would. After a change that is meant, write
//! the file anew with
//!
//! ```sh
//! CLAUDEMESH_WRITE_VECTORS=1 cargo test -p claudemesh-core --test own_vectors the_file_is
//! ```
//!
//! and say in the commit why the bytes had to change: every other implementation has to follow.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

#[path = "own_vectors/channels.rs"]
mod channels;
#[path = "own_vectors/kept.rs"]
mod kept;
#[path = "own_vectors/requests.rs"]
mod requests;
#[path = "own_vectors/sessions.rs"]
mod sessions;
#[path = "own_vectors/without_log.rs"]
mod without_log;

use std::path::PathBuf;

use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret, sha256, verify};
use claudemesh_core::encoding::{base64, base64url, hex, unbase64, unbase64url, unhex};
use claudemesh_core::id::{Hash, MeshId, MeshSlug, MessageId, Name, PublicKey, Signature};
use claudemesh_core::identity::{
    hello_proof_bytes, log_read_bytes, log_read_proof, prove_hello, split_proof,
    verify_hello_proof, verify_log_read_proof,
};
use claudemesh_core::invite::{
    InviteError, InviteToken, IssuedInvite, Link, LinkParts, Offer, parse_link,
};
use claudemesh_core::membership::{
    Body, Draft, Entry, EntryError, Head, Log, LogError, Role, SignedEntry,
};
use claudemesh_core::message::{
    Content, Expected, MessageError, SealedText, TEXT, open_direct, seal_direct,
};
use serde_json::{Value, json};

const AT: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400_000;
/// The members of the cases: the seed is this byte 32 times.
const KEYS: [(&str, u8); 12] = [
    ("owner", 0x01),
    ("recovery", 0x02),
    ("invite", 0x03),
    ("member", 0x04),
    ("second_invite", 0x05),
    ("admin", 0x06),
    ("stranger", 0x07),
    ("latecomer", 0x08),
    ("device", 0x09),
    ("device_invite", 0x0a),
    ("heir", 0x0b),
    ("spare", 0x0c),
];
const CHALLENGE: [u8; 32] = [0xc4; 32];
const HOST: &str = "broker.example:443";
const HELLO: &str = r#"{"type":"hello","meshId":"m","displayName":"Zoë \"Z\""}"#;
const DOC: &str = "Test vectors of claudemesh's own encodings, for implementations in other \
    languages: whoever accepts and refuses these cases, with these bytes, interoperates. Data \
    only. Conventions: *_hex is lower-case hex, *_b64 standard base64 with padding, *_b64url \
    URL-safe base64 without; `at`, `now`, `ms` and `sent_at` are unix milliseconds; a key is \
    named in `keys`, its ed25519 seed is given. Ed25519 signatures are deterministic (RFC 8032), \
    so signatures too must come out the same. Every section has `accept` and `reject`; `reason` \
    names the check that fails and is no part of the protocol.";

fn pair(name: &str) -> KeyPair {
    let found = KEYS.iter().find(|(known, _)| *known == name);
    KeyPair::from_seed(&[found.unwrap().1; 32])
}

fn public(name: &str) -> PublicKey {
    pair(name).public()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/vectors/claudemesh.json")
}

// --- making -----------------------------------------------------------------------------------

fn entry_fields(entry: &Entry) -> Value {
    match &entry.body {
        Body::MeshCreated {
            slug,
            salt,
            recovery,
            name,
        } => json!({
            "slug": slug, "salt_hex": hex(salt), "recovery_key_hex": recovery, "name": name,
        }),
        Body::InviteIssued {
            key,
            role,
            expires_at,
            max_uses,
        } => json!({
            "invite_key_hex": key, "role": role, "expires_at": expires_at, "max_uses": max_uses,
        }),
        Body::InviteClosed { invite } => json!({ "invite_id_hex": invite }),
        Body::MemberJoined { key, name, invite } => json!({
            "member_key_hex": key, "name": name, "invite_id_hex": invite,
        }),
        Body::DeviceLinked { key, name, invite } => json!({
            "device_key_hex": key, "name": name, "invite_id_hex": invite,
        }),
        Body::MemberAdmitted { key, name, role } => json!({
            "member_key_hex": key, "name": name, "role": role,
        }),
        Body::RoleChanged { key, role } => json!({ "member_key_hex": key, "role": role }),
        Body::OwnerChanged {
            key,
            recovery,
            name,
        } => json!({ "owner_key_hex": key, "recovery_key_hex": recovery, "name": name }),
        Body::ChannelCreated { channel, public } => json!({
            "channel": channel, "public": u64::from(*public),
        }),
        Body::MemberRemoved { key, close_all } => json!({
            "member_key_hex": key, "all": u64::from(*close_all),
        }),
        other => panic!("no case for {}", other.kind()),
    }
}

fn signed_json(signed: &SignedEntry) -> Value {
    json!({
        "entry_hex": hex(&signed.bytes),
        "sig_hex": signed.signature,
        "cosig_hex": signed.cosignature,
    })
}

fn with(mut case: Value, more: Value) -> Value {
    let (Some(object), Value::Object(more)) = (case.as_object_mut(), more) else {
        panic!("not objects");
    };
    object.extend(more);
    case
}

/// A log in which each kind occurs, and the entries that make it.
fn log() -> (Log, Vec<SignedEntry>) {
    let first = Draft {
        mesh: None,
        seq: 0,
        prev: Hash::ZERO,
        at: AT,
        body: Body::MeshCreated {
            slug: MeshSlug::new("team").unwrap(),
            salt: [0x5a; 32],
            recovery: Some(public("recovery")),
            name: Name::new("Olga").unwrap(),
        },
    }
    .sign(&pair("owner"), None);
    let mut log = Log::begin(&first).unwrap();
    let mut entries = vec![first];
    let mut say = |signer: &str, cosigner: Option<&str>, body: Body| {
        let cosigner = cosigner.map(pair);
        let draft = log.draft(AT + 1_000 * entries.len() as u64, body);
        let signed = draft.sign(&pair(signer), cosigner.as_ref());
        log.append(&signed).unwrap();
        entries.push(signed.clone());
        signed.hash()
    };
    let invite = say("owner", None, issued("invite", Role::Member));
    say("invite", Some("member"), joined("member", invite));
    let second = say("owner", None, issued("second_invite", Role::Admin));
    say("second_invite", Some("admin"), joined("admin", second));
    say("admin", None, Body::InviteClosed { invite });
    say("owner", None, removed("member", false));
    say("admin", None, removed("admin", true));
    (log, entries)
}

fn issued(key: &str, role: Role) -> Body {
    Body::InviteIssued {
        key: public(key),
        role,
        expires_at: AT + DAY,
        max_uses: 2,
    }
}

fn joined(key: &str, invite: Hash) -> Body {
    Body::MemberJoined {
        key: public(key),
        name: Name::new(if key == "member" { "Zoë" } else { "Ann" }).unwrap(),
        invite,
    }
}

fn removed(key: &str, close_all: bool) -> Body {
    Body::MemberRemoved {
        key: public(key),
        close_all,
    }
}

fn entry_case(signed: &SignedEntry) -> Value {
    let entry = signed.open().unwrap();
    let more = json!({
        "kind": entry.body.kind(),
        "seq": entry.seq,
        "at": entry.at,
        "prev_hex": entry.prev,
        "signer_hex": entry.signer,
        "cosigner_hex": entry.cosigner,
        "fields": entry_fields(&entry),
        "hash_hex": signed.hash(),
    });
    with(signed_json(signed), more)
}

fn roster_case(log: &Log) -> Vec<Value> {
    let members = log.roster().members_and_former();
    let members = members.map(|member| {
        json!({
            "key_hex": member.key,
            "name": member.name,
            "role": member.role,
            "removed_at": member.removed_at,
        })
    });
    members.collect()
}

fn log_cases() -> Value {
    let (log, entries) = log();
    let (first, second) = (entries[1].hash(), entries[3].hash());
    let at = |length: usize| Log::verify(log.mesh(), &entries[..length]).unwrap();
    let reject = |id: &str, after: usize, signed: SignedEntry| {
        let mut log = at(after);
        let reason = log_reason(&log.append(&signed).unwrap_err());
        let more = json!({ "id": id, "after": after, "reason": reason });
        with(signed_json(&signed), more)
    };
    let said = |after: usize, signer: &str, cosigner: Option<&str>, body: Body| {
        let (log, cosigner) = (at(after), cosigner.map(pair));
        log.draft(AT + 9_000, body)
            .sign(&pair(signer), cosigner.as_ref())
    };
    let mut flipped = entries[2].clone();
    flipped.bytes[100] ^= 1;
    let mut unsigned = entries[2].clone();
    unsigned.cosignature = None;
    let mut rest = entries[1].clone();
    rest.bytes.push(0);
    rest.signature = pair("owner").sign(&rest.bytes);
    let mut long = entries[1].clone();
    long.bytes.resize(1_025, 0);
    long.signature = pair("owner").sign(&long.bytes);
    let held = at(2);
    let mut early = held.draft(AT, joined("member", first));
    early.at = AT + 999;
    let early = early.sign(&pair("invite"), Some(&pair("member")));
    let stranger = joined("stranger", first);
    let cases = vec![
        reject("one bit changed", 2, flipped),
        reject("cosignature missing", 2, unsigned),
        reject("a byte behind the last field", 1, rest),
        reject("1,025 bytes", 1, long),
        reject("again", 2, entries[1].clone()),
        reject("a place left out", 2, entries[3].clone()),
        reject("before the head's time", 2, early),
        reject(
            "signed by a stranger",
            1,
            said(1, "stranger", None, issued("invite", Role::Member)),
        ),
        reject(
            "an admin invites an admin",
            5,
            said(5, "admin", None, issued("stranger", Role::Admin)),
        ),
        reject(
            "an invite for an owner",
            1,
            said(1, "owner", None, issued("invite", Role::Owner)),
        ),
        reject(
            "the recovery key as invite key",
            1,
            said(1, "owner", None, issued("recovery", Role::Member)),
        ),
        reject(
            "cosigned by another",
            3,
            said(3, "invite", Some("latecomer"), stranger.clone()),
        ),
        reject(
            "signed by another invite's key",
            4,
            said(4, "second_invite", Some("stranger"), stranger.clone()),
        ),
        reject(
            "by a closed invite",
            6,
            said(6, "invite", Some("stranger"), stranger),
        ),
        reject(
            "a removed key joins again",
            7,
            said(7, "second_invite", Some("member"), joined("member", second)),
        ),
        reject(
            "a member closes an invite",
            3,
            said(3, "member", None, Body::InviteClosed { invite: first }),
        ),
        reject(
            "an admin removes the owner",
            5,
            said(5, "admin", None, removed("owner", false)),
        ),
        reject("all is 2", 5, {
            let mut signed = said(5, "owner", None, removed("member", true));
            *signed.bytes.last_mut().unwrap() = 2;
            signed.signature = pair("owner").sign(&signed.bytes);
            signed
        }),
    ];
    json!({
        "_doc": "`accept` is one log, in order; each of `reject` is offered to a log that holds \
                 the first `after` entries.",
        "mesh_id": log.mesh(),
        "accept": entries.iter().map(entry_case).collect::<Vec<_>>(),
        "roster": roster_case(&log),
        "reject": cases,
    })
}

fn log_reason(error: &LogError) -> String {
    match error {
        LogError::Entry { source, .. } => match source {
            EntryError::Decode(_) => "Malformed".to_owned(),
            EntryError::TooLong(_) => "TooLong".to_owned(),
            EntryError::UnknownKind(_) => "UnknownKind".to_owned(),
            other => format!("{other:?}"),
        },
        LogError::Rule { source, .. } => format!("{source:?}"),
        LogError::NotNext { .. } => "NotNext".to_owned(),
        other => format!("{other:?}"),
    }
}

fn agreed(ours: &str, theirs: &str) -> DirectKey {
    DirectKey::agree(&X25519Secret::of(&pair(ours)), &public(theirs)).unwrap()
}

fn message_cases() -> Value {
    let (log, _) = log();
    let key = agreed("owner", "admin");
    let seal = |head: Option<Head>, content: &Content| {
        let to = public("admin");
        seal_direct(
            log.mesh(),
            &pair("owner"),
            &to,
            head,
            content,
            &key,
            [0x24; 24],
        )
        .unwrap()
    };
    let plain = Content {
        id: MessageId::new("018cc251-f400-7000-8000-000000000001").unwrap(),
        sent_at: AT,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: "hello, Zoë".into(),
    };
    let full = Content {
        reply_to: Some(MessageId::new("018cc251-f400-7000-8000-000000000000").unwrap()),
        content_type: "application/octet-stream".to_owned(),
        attributes: vec!["hops=1".to_owned(), "expects_reply=1".to_owned()],
        body: (0..=255).collect(),
        ..plain.clone()
    };
    let accept: Vec<_> = [
        ("text", None, &plain),
        ("all fields", Some(log.head()), &full),
    ]
    .into_iter()
    .map(|(id, head, content)| {
        let sealed = seal(head, content);
        let ciphertext = unbase64(&sealed.ciphertext).unwrap();
        let padded = key.open(&[0x24; 24], &ciphertext).unwrap();
        let length = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
        json!({
            "id": id,
            "mesh_id": log.mesh(),
            "sender": "owner",
            "recipient": "admin",
            "message_id": content.id,
            "sent_at": content.sent_at,
            "head": head.map(|head| json!({ "seq": head.seq, "hash_hex": head.hash })),
            "reply_to": content.reply_to,
            "content_type": content.content_type,
            "attributes": content.attributes,
            "body_hex": hex(&content.body),
            "envelope_hex": hex(&padded[4..4 + length]),
            "sig_hex": hex(&padded[4 + length..4 + length + 64]),
            "padded_length": padded.len(),
            "nonce_b64": sealed.nonce,
            "ciphertext_b64": sealed.ciphertext,
            "now": AT,
        })
    })
    .collect();

    let good = seal(None, &plain);
    let padded = key
        .open(&[0x24; 24], &unbase64(&good.ciphertext).unwrap())
        .unwrap();
    let reseal = |padded: &[u8]| SealedText {
        nonce: good.nonce.clone(),
        ciphertext: base64(&key.seal(&[0x24; 24], padded).unwrap()),
    };
    let length = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
    let (mut body, mut noise, mut class) = (padded.clone(), padded.clone(), padded.clone());
    body[3 + length] ^= 1;
    *noise.last_mut().unwrap() = 1;
    class.resize(1_024, 0);
    let mut ciphertext = unbase64(&good.ciphertext).unwrap();
    ciphertext[40] ^= 1;
    let changed = SealedText {
        ciphertext: base64(&ciphertext),
        ..good.clone()
    };
    let (mesh, frame, id) = (log.mesh().as_str(), json!(null), json!(plain.id));
    let device = json!(format!("{}/0123456789abcdef", plain.id));
    let (soon, late) = (AT - 600_000, AT + 31 * DAY);
    let mut rejected = Vec::new();
    let mut also = Vec::new();
    for (id, sealed, mesh, sender, frame_id, now) in [
        ("the frame names the id", &good, mesh, "owner", &id, AT),
        (
            "the frame names the id and a device",
            &good,
            mesh,
            "owner",
            &device,
            AT,
        ),
        ("10 min ahead", &good, mesh, "owner", &frame, soon),
        ("31 days old", &good, mesh, "owner", &frame, late),
        ("another mesh", &good, "other", "owner", &frame, AT),
        ("another sender", &good, mesh, "member", &frame, AT),
        ("another id", &good, mesh, "owner", &json!("x"), AT),
        ("over 10 min ahead", &good, mesh, "owner", &frame, soon - 1),
        ("over 31 days old", &good, mesh, "owner", &frame, late + 1),
        ("box changed", &changed, mesh, "owner", &frame, AT),
        (
            "body changed by the recipient",
            &reseal(&body),
            mesh,
            "owner",
            &frame,
            AT,
        ),
        (
            "padding not zero",
            &reseal(&noise),
            mesh,
            "owner",
            &frame,
            AT,
        ),
        ("larger class", &reseal(&class), mesh, "owner", &frame, AT),
        ("bare text", &reseal(b"hello"), mesh, "owner", &frame, AT),
    ] {
        let case = json!({
            "id": id,
            "mesh_id": mesh,
            "sender": sender,
            "recipient": "admin",
            "opened_with": "owner",
            "frame_id": frame_id,
            "now": now,
            "nonce_b64": sealed.nonce,
            "ciphertext_b64": sealed.ciphertext,
        });
        match open_case(&case) {
            Ok(()) => also.push(case),
            Err(reason) => rejected.push(with(case, json!({ "reason": reason }))),
        }
    }
    assert_eq!((also.len(), rejected.len()), (4, 10));
    json!({
        "_doc": "Direct messages. `opened_with` is the key whose box it is, `sender` the one the \
                 receiver takes for the sender.",
        "accept": accept,
        "accept_also": also,
        "reject": rejected,
    })
}

fn hello_cases() -> Value {
    let sent = prove_hello(HELLO, &CHALLENGE, HOST, &pair("member"));
    let (text, _) = split_proof(&sent).unwrap();
    let case = |id: &str, text: &str, challenge: &[u8; 32], host: &str, key: &str| {
        json!({
            "id": id,
            "challenge_hex": hex(challenge),
            "host": host,
            "key_hex": public(key),
            "hello": text,
        })
    };
    let hash = sha256(text.as_bytes());
    let good = json!({
        "key": "member",
        "hello_without_proof": HELLO,
        "hashed": text,
        "signed_hex": hex(&hello_proof_bytes(&CHALLENGE, HOST, &hash)),
    });
    let renamed = sent.replacen("Zo", "Mo", 1);
    let spaced = sent.replacen(",\"proof\"", ", \"proof\"", 1);
    let short = sent.replacen("\"}", "0\"}", 2);
    json!({
        "accept": [with(case("as sent", &sent, &CHALLENGE, HOST, "member"), good)],
        "reject": [
            case("another challenge", &sent, &[0xc5; 32], HOST, "member"),
            case("another host", &sent, &CHALLENGE, "other.example:443", "member"),
            case("the host without its port", &sent, &CHALLENGE, "broker.example", "member"),
            case("another key", &sent, &CHALLENGE, HOST, "stranger"),
            case("the text changed", &renamed, &CHALLENGE, HOST, "member"),
            case("white space", &spaced, &CHALLENGE, HOST, "member"),
            case("a longer proof", &short, &CHALLENGE, HOST, "member"),
            case("no proof", HELLO, &CHALLENGE, HOST, "member"),
        ],
    })
}

fn log_read_cases() -> Value {
    let (log, _) = log();
    let (mesh, key) = (log.mesh(), pair("invite"));
    let value = log_read_proof(mesh, &key, AT);
    let case = |id: &str, mesh: &str, value: &str, now: u64| json!({ "id": id, "mesh_id": mesh, "header": value, "now": now });
    let good = json!({
        "key": "invite",
        "ms": AT,
        "signed_hex": hex(&log_read_bytes(mesh, &key.public(), AT)),
    });
    let mut reject = vec![
        case("over 60 s old", mesh.as_str(), &value, AT + 60_001),
        case("over 60 s ahead", mesh.as_str(), &value, AT - 60_001),
        case("another mesh", "other", &value, AT),
        case(
            "another time",
            mesh.as_str(),
            &value.replacen(".18", ".17", 1),
            AT - 100_000_000_000,
        ),
        case("a plus", mesh.as_str(), &value.replacen('.', ".+", 1), AT),
        case("a part missing", mesh.as_str(), &value[..78], AT),
        case("a part more", mesh.as_str(), &format!("{value}.x"), AT),
    ];
    for case in &mut reject {
        let reason = log_read_case(case).unwrap_err();
        *case = with(case.clone(), json!({ "reason": reason }));
    }
    json!({
        "_doc": "The header `claudemesh-proof` of GET /mesh/<mesh id>/log.",
        "accept": [
            with(case("as sent", mesh.as_str(), &value, AT), good),
            case("60 s old", mesh.as_str(), &value, AT + 60_000),
            case("60 s ahead", mesh.as_str(), &value, AT - 60_000),
        ],
        "reject": reject,
    })
}

fn invite_cases() -> Value {
    let (log, entries) = log();
    let offer = Offer {
        mesh: log.mesh().clone(),
        slug: log.roster().slug().clone(),
        broker: "wss://broker.example/ws".parse().unwrap(),
        expires_at: AT + DAY,
        role: Role::Member,
    };
    let id = entries[1].hash();
    let invite = IssuedInvite::new(&offer, &pair("owner"), id, [0x03; 32], &[0x77; 32]);
    let link = invite.link();
    let json = String::from_utf8(unbase64url(&invite.token).unwrap()).unwrap();
    let token = InviteToken::parse(&invite.token).unwrap();
    let fragment = link.split_once('#').unwrap().1;
    let admin = base64url(json.replace("\"member\"", "\"admin\"").as_bytes());
    let case = |id: &str, link: String, now: u64| json!({ "id": id, "link": link, "now_s": now });
    let now = AT / 1_000;
    let good = json!({
        "seed_hex": "03".repeat(32),
        "invite_id_hex": id,
        "issuer": "owner",
        "mesh_id": offer.mesh,
        "mesh_slug": offer.slug,
        "broker_url": offer.broker,
        "expires_at": offer.expires_at,
        "role": offer.role,
        "mesh_root_key_filler_hex": "77".repeat(32),
        "signed_utf8": token.canonical(),
        "token_json_utf8": json,
        "token": invite.token,
        "fragment": fragment,
        "legacy_link": invite.legacy_link(),
    });
    let mut reject = vec![
        case("expired", link.clone(), now + 86_401),
        case("cut off", link[..link.len() - 1].to_owned(), now),
        case("nothing behind the #", link.replace(fragment, ""), now),
        case("padded fragment", format!("{link}=="), now),
        case("role changed", link.replace(&invite.token, &admin), now),
        case(
            "token cut off",
            link.replace(&invite.token, &invite.token[..80]),
            now,
        ),
        case("not a link", link.replace("https", "ftp"), now),
    ];
    for case in &mut reject {
        let reason = invite_case(case).map(|_| ()).unwrap_err();
        *case = with(case.clone(), json!({ "reason": reason }));
    }
    json!({
        "accept": [
            with(case("as issued", link.clone(), now), good),
            case("in its last second", link.clone(), now + 86_400),
            case(
                "of the other scheme",
                link.replace("https://broker.example/", "claudemesh://"),
                now,
            ),
        ],
        "reject": reject,
    })
}

fn make() -> Value {
    let keys = KEYS.map(|(name, byte)| {
        let case = json!({ "seed_hex": hex(&[byte; 32]), "public_hex": public(name) });
        (name.to_owned(), case)
    });
    json!({
        "_doc": DOC,
        "keys": serde_json::Map::from_iter(keys),
        "log": log_cases(),
        "log_kinds": channels::kinds_cases(),
        "channel_log": channels::channel_log_cases(),
        "channel_key": channels::channel_key_cases(),
        "channel_message": channels::channel_message_cases(),
        "channel_key_message": without_log::brought_cases(),
        "profile_statement": without_log::profile_cases(),
        "sealed_value": kept::value_cases(),
        "session_statement": kept::session_cases(),
        "session_address": sessions::address_cases(),
        "attributes": sessions::attribute_cases(),
        "message": message_cases(),
        "hello_proof": hello_cases(),
        "log_read_proof": log_read_cases(),
        "http_request": requests::cases(),
        "invite": invite_cases(),
    })
}

// --- checking ---------------------------------------------------------------------------------

fn file() -> Value {
    serde_json::from_slice(&std::fs::read(path()).unwrap()).unwrap()
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {case}"))
}

fn number(case: &Value, name: &str) -> u64 {
    case[name].as_u64().unwrap()
}

fn list<'a>(cases: &'a Value, name: &str) -> &'a [Value] {
    cases[name].as_array().unwrap()
}

fn signed(case: &Value) -> SignedEntry {
    SignedEntry {
        bytes: unhex(text(case, "entry_hex")).unwrap(),
        signature: Signature::from_hex(text(case, "sig_hex")).unwrap(),
        cosignature: case["cosig_hex"]
            .as_str()
            .map(|sig| Signature::from_hex(sig).unwrap()),
    }
}

fn open_case(case: &Value) -> Result<(), String> {
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    let (sender, recipient) = (
        public(text(case, "sender")),
        public(text(case, "recipient")),
    );
    let expected = Expected {
        mesh: &mesh,
        recipient: &recipient,
        sender: &sender,
        frame_id: case["frame_id"].as_str(),
        now: number(case, "now"),
    };
    let key = agreed(
        text(case, "recipient"),
        case["opened_with"].as_str().unwrap_or("owner"),
    );
    let sealed = SealedText {
        nonce: text(case, "nonce_b64").to_owned(),
        ciphertext: text(case, "ciphertext_b64").to_owned(),
    };
    match open_direct(expected, &key, &sealed) {
        Ok(_) => Ok(()),
        Err(MessageError::Malformed(_)) => Err("Malformed".to_owned()),
        Err(MessageError::Box(_)) => Err("Box".to_owned()),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn log_read_case(case: &Value) -> Result<PublicKey, String> {
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    verify_log_read_proof(&mesh, text(case, "header"), number(case, "now"))
        .map_err(|error| error.code().to_owned())
}

fn invite_case(case: &Value) -> Result<(InviteToken, LinkParts), String> {
    let reason = |error: InviteError| {
        let name = format!("{error:?}");
        name.split([' ', '(']).next().unwrap_or_default().to_owned()
    };
    let parts = match parse_link(text(case, "link")).map_err(reason)? {
        Link::Token(parts) => parts,
        _ => return Err("Code".to_owned()),
    };
    let token = InviteToken::parse(&parts.text).map_err(reason)?;
    token.verify(number(case, "now_s")).map_err(reason)?;
    Ok((token, parts))
}

#[test]
fn the_file_is_what_this_code_makes() {
    let made = make();
    if std::env::var_os("CLAUDEMESH_WRITE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
        std::fs::write(path(), text).unwrap();
    }
    let held = file();
    for (section, cases) in made.as_object().unwrap() {
        assert_eq!(&held[section], cases, "an encoding changed: {section}");
    }
    assert_eq!(held, made);
}

#[test]
fn the_log_and_its_roster_come_out_of_the_file() {
    let file = file();
    for section in ["log", "log_kinds"] {
        let cases = &file[section];
        let mesh = MeshId::new(text(cases, "mesh_id")).unwrap();
        let accept = list(cases, "accept");
        let entries: Vec<_> = accept.iter().map(signed).collect();
        for (case, entry) in accept.iter().zip(&entries) {
            assert_eq!(entry.hash().to_hex(), text(case, "hash_hex"));
            let opened = entry.open().unwrap();
            assert_eq!(opened.body.kind(), text(case, "kind"));
            assert_eq!(entry_fields(&opened), case["fields"]);
        }
        let log = Log::verify(&mesh, &entries).unwrap();
        let members: Vec<_> = log.roster().members_and_former().collect();
        for (member, case) in members.iter().zip(list(cases, "roster")) {
            assert_eq!(member.key.to_hex(), text(case, "key_hex"));
            assert_eq!(member.removed_at, case["removed_at"].as_u64());
        }
        for case in list(cases, "reject") {
            let after = number(case, "after") as usize;
            let mut log = Log::verify(&mesh, &entries[..after]).unwrap();
            let error = log.append(&signed(case)).unwrap_err();
            assert_eq!(log_reason(&error), text(case, "reason"), "{case}");
        }
    }
}

#[test]
fn messages_open_or_fail_as_the_file_says() {
    let file = file();
    let cases = &file["message"];
    for case in list(cases, "accept")
        .iter()
        .chain(list(cases, "accept_also"))
    {
        assert_eq!(open_case(case), Ok(()), "{}", case["id"]);
    }
    for case in list(cases, "accept") {
        let envelope = unhex(text(case, "envelope_hex")).unwrap();
        let signature = Signature::from_hex(text(case, "sig_hex")).unwrap();
        assert!(verify(&public(text(case, "sender")), &envelope, &signature));
        let ciphertext = unbase64(text(case, "ciphertext_b64")).unwrap();
        assert_eq!(ciphertext.len() as u64, number(case, "padded_length") + 16);
    }
    for case in list(cases, "reject") {
        let reason = text(case, "reason").to_owned();
        assert_eq!(open_case(case), Err(reason), "{}", case["id"]);
    }
}

#[test]
fn proofs_hold_or_fail_as_the_file_says() {
    let file = file();
    let holds = |case: &Value| {
        let challenge = unhex(text(case, "challenge_hex")).unwrap();
        let key = PublicKey::from_hex(text(case, "key_hex")).unwrap();
        split_proof(text(case, "hello")).is_some_and(|(hashed, proof)| {
            let challenge = challenge.as_slice().try_into().unwrap();
            verify_hello_proof(hashed, &proof, challenge, [text(case, "host")], &key)
        })
    };
    assert!(list(&file["hello_proof"], "accept").iter().all(holds));
    for case in list(&file["hello_proof"], "reject") {
        assert!(!holds(case), "{}", case["id"]);
    }
    for case in list(&file["log_read_proof"], "accept") {
        assert_eq!(log_read_case(case), Ok(public("invite")));
    }
    for case in list(&file["log_read_proof"], "reject") {
        let reason = text(case, "reason").to_owned();
        assert_eq!(log_read_case(case), Err(reason), "{}", case["id"]);
    }
}

#[test]
fn links_read_or_fail_as_the_file_says() {
    let file = file();
    let cases = &file["invite"];
    let good = &list(cases, "accept")[0];
    for case in list(cases, "accept") {
        let (token, parts) = invite_case(case).unwrap();
        assert_eq!(token.canonical(), text(good, "signed_utf8"));
        let fragment = parts.fragment.unwrap();
        assert_eq!(fragment.invite().to_hex(), text(good, "invite_id_hex"));
        assert_eq!(fragment.key().public(), public("invite"));
        assert_eq!(fragment.expose(), text(good, "fragment"));
    }
    for case in list(cases, "reject") {
        let reason = invite_case(case).map(|_| ()).unwrap_err();
        assert_eq!(reason, text(case, "reason"), "{}", case["id"]);
    }
}
