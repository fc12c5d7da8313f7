//! Cases of what is said on a broker of the existing system: statements in profiles, and channels'
//! keys that a direct message brings.

use claudemesh_core::channel::{
    CHANNEL_KEY, KeyStatement, Root, SignedKeyStatement, StatementError, audience_hash,
    key_for_reader, open_brought, state_without_log,
};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::id::{ChannelName, KeyId};
use claudemesh_core::identity::{statement_of_profile, statement_to_profile};
use claudemesh_core::wire::SignedBlob;

use super::*;

const MESH: &str = "q7Xb2kQmT0aZ9sLw4cVn8eRy1uIo5pGh";
const TOPIC: &str = "#T0pic00000000000000000000000Abc1";

fn mesh() -> MeshId {
    MeshId::new(MESH).unwrap()
}

// --- statements in profiles -------------------------------------------------------------------

pub(super) fn profile_cases() -> Value {
    let statements = &kept::session_cases()["accept"];
    let accept: Vec<_> = (statements.as_array().unwrap().iter())
        .map(|case| {
            let blob: SignedBlob = serde_json::from_value(case["statement"].clone()).unwrap();
            json!({
                "id": case["id"],
                "text": statement_to_profile(&blob),
                "statement": blob,
            })
        })
        .collect();
    let good = accept[0]["text"].as_str().unwrap().to_owned();
    let long = format!("claudemesh-session/1:{}.00", "A".repeat(4_094));
    let reject: Vec<_> = [
        ("a capability", "envelope/1".to_owned(), "NoStatement"),
        ("another version", good.replace("/1:", "/2:"), "NoStatement"),
        (
            "upper case",
            good.replace("claudemesh", "Claudemesh"),
            "NoStatement",
        ),
        (
            "no signature",
            good.split('.').next().unwrap().to_owned(),
            "NoStatement",
        ),
        ("too long", long, "NoStatement"),
    ]
    .into_iter()
    .map(|(id, text, reason)| {
        assert!(statement_of_profile(&text).is_none(), "{id}");
        json!({ "id": id, "text": text, "reason": reason })
    })
    .collect();
    json!({
        "_doc": "A session statement as a text in the `capabilities` of a profile. Whether it \
                 holds is said by the rules of `session_statement`, whose cases these are.",
        "accept": accept,
        "reject": reject,
    })
}

// --- keys that a direct message brings --------------------------------------------------------

/// The next key of `member` for these readers; its root.
fn made(channel: &str, after: (u64, Option<KeyId>), seed: u8) -> (SignedKeyStatement, Root) {
    let root = Root::random(&mut Drbg::new([seed; 32]));
    let mut readers = ["member", "admin", "latecomer"].map(public);
    readers.sort_unstable();
    let channel = ChannelName::new(channel).unwrap();
    let author = pair("member");
    let signed = state_without_log(&mesh(), &channel, &author, after, &readers, &root);
    (signed, root)
}

fn reason(error: &StatementError) -> String {
    let name = format!("{error:?}");
    let end = name.find([' ', '(']).unwrap_or(name.len());
    name[..end].to_owned()
}

fn open(case: &Value) -> Result<KeyId, String> {
    let body = unhex(text(case, "body_hex")).unwrap();
    let (sender, reader) = (public(text(case, "sender")), pair(text(case, "reader")));
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    open_brought(&mesh, &sender, &reader, &body)
        .map(|brought| brought.signed.key_id())
        .map_err(|error| reason(&error))
}

pub(super) fn brought_cases() -> Value {
    let first = made("*", (1, None), 0x61);
    let then = (2, Some(first.0.key_id()));
    let epochs = [first, made("*", then, 0x62), made(TOPIC, (1, None), 0x63)];
    let accept: Vec<_> = epochs
        .iter()
        .map(|(signed, root)| {
            let statement = signed.open().unwrap();
            let body = key_for_reader(signed, root, &pair("member"), &public("admin")).unwrap();
            let case = json!({
                "mesh_id": MESH,
                "sender": "member",
                "reader": "admin",
                "content_type": CHANNEL_KEY,
                "body_hex": hex(&body),
                "statement_hex": hex(&signed.bytes),
                "sig_hex": signed.signature,
                "channel": statement.channel,
                "epoch": statement.epoch,
                "previous_hex": statement.previous,
                "audience_hash_hex": statement.audience,
                "commitment_hex": statement.commitment,
                "key_id_hex": signed.key_id(),
                "root_hex": hex(root.expose()),
                "message_key_hex": hex(root.message_key(&signed.key_id()).expose()),
            });
            assert_eq!(open(&case), Ok(signed.key_id()));
            case
        })
        .collect();
    let (signed, root) = &epochs[0];
    let good = key_for_reader(signed, root, &pair("member"), &public("admin")).unwrap();
    let changed = |change: &dyn Fn(&mut KeyStatement)| {
        let mut statement = signed.open().unwrap();
        change(&mut statement);
        let signed = statement.make(&pair("member"));
        key_for_reader(&signed, root, &pair("member"), &public("admin")).unwrap()
    };
    let flipped = |at: usize| {
        let mut body = good.clone();
        body[at] ^= 1;
        body
    };
    let stranger = key_for_reader(signed, root, &pair("member"), &public("stranger")).unwrap();
    let other_root = Root::random(&mut Drbg::new([0x6f; 32]));
    let other = key_for_reader(signed, &other_root, &pair("member"), &public("admin")).unwrap();
    let head = Some(Head {
        seq: 1,
        hash: Hash([0x77; 32]),
    });
    let state = audience_hash(&mesh(), &ChannelName::state(), &[public("member")]);
    let last = good.len() - 1;
    let reject: Vec<_> = [
        (
            "brought by another than its author",
            MESH,
            "stranger",
            good.clone(),
        ),
        ("another mesh", "other", "member", good.clone()),
        (
            "a byte of the statement changed",
            MESH,
            "member",
            flipped(good.len() - 200),
        ),
        (
            "a byte of the signature changed",
            MESH,
            "member",
            flipped(last - 60),
        ),
        ("a byte of the copy changed", MESH, "member", flipped(last)),
        ("a copy for another reader", MESH, "member", stranger),
        ("a copy of another root", MESH, "member", other),
        ("cut", MESH, "member", good[..100].to_vec()),
        ("nothing", MESH, "member", Vec::new()),
        (
            "a byte behind it",
            MESH,
            "member",
            [&good[..], &[0]].concat(),
        ),
        (
            "with a head of a log",
            MESH,
            "member",
            changed(&|s| s.log = head),
        ),
        (
            "with a head of a channel's log",
            MESH,
            "member",
            changed(&|s| s.channel_log = head),
        ),
        (
            "with a link",
            MESH,
            "member",
            changed(&|s| s.link = Some([0; 72])),
        ),
        ("epoch 0", MESH, "member", changed(&|s| s.epoch = 0)),
        (
            "for $state",
            MESH,
            "member",
            changed(&|s| {
                s.channel = ChannelName::state();
                s.audience = state;
            }),
        ),
    ]
    .into_iter()
    .map(|(id, mesh, sender, body)| {
        let case = json!({
            "id": id, "mesh_id": mesh, "sender": sender, "reader": "admin", "body_hex": hex(&body),
        });
        let Err(reason) = open(&case) else {
            panic!("{id} is taken");
        };
        with(case, json!({ "reason": reason }))
    })
    .collect();
    json!({
        "_doc": "Bodies of direct messages that bring a channel's key in a mesh without a \
                 membership log. `sender` signed the message; whether it is trusted is not said \
                 here.",
        "accept": accept,
        "reject": reject,
    })
}

#[test]
fn statements_in_profiles_are_read_as_the_file_says() {
    let file = file();
    let cases = &file["profile_statement"];
    for case in list(cases, "accept") {
        let blob = statement_of_profile(text(case, "text")).unwrap();
        assert_eq!(json!(blob), case["statement"], "{}", case["id"]);
    }
    for case in list(cases, "reject") {
        assert!(statement_of_profile(text(case, "text")).is_none(), "{case}");
    }
}

#[test]
fn keys_that_a_message_brings_open_or_fail_as_the_file_says() {
    let file = file();
    let cases = &file["channel_key_message"];
    for case in list(cases, "accept") {
        assert_eq!(open(case).unwrap().to_string(), text(case, "key_id_hex"));
    }
    for case in list(cases, "reject") {
        let reason = text(case, "reason").to_owned();
        assert_eq!(open(case), Err(reason), "{}", case["id"]);
    }
}
