//! Cases of sessions: their addresses, and the attributes that messages name them by.

use claudemesh_core::encoding::Encoder;
use claudemesh_core::id::{SessionName, Wake};
use claudemesh_core::identity::{AddressError, SessionAddress, SignedAddress};
use claudemesh_core::message::{expects_reply, hops, sender_session};
use claudemesh_core::wire::SignedBlob;

use super::*;

fn address() -> SessionAddress {
    SessionAddress {
        mesh: MeshId::new("mesh").unwrap(),
        member: public("member"),
        session: public("spare"),
        name: SessionName::new("Ärger-2").unwrap(),
        wake: Wake::Hook,
        since: AT - DAY,
        made_at: AT,
        expires_at: AT + 30 * DAY,
    }
}

/// The fields as they are, so that wrong ones can be signed too.
fn raw(name: &str, wake: &str, lasts: u64) -> Encoder {
    Encoder::new("session-address/1")
        .text("mesh")
        .bytes(&public("member").0)
        .bytes(&public("spare").0)
        .text(name)
        .text(wake)
        .int(AT - DAY)
        .int(AT)
        .int(AT.saturating_add(lasts))
}

fn signed(bytes: &[u8]) -> SignedBlob {
    let (member, session) = (pair("member").sign(bytes), pair("spare").sign(bytes));
    SignedBlob::new(bytes, &member, Some(&session))
}

fn case(name: &str, blob: &SignedBlob, now: u64) -> Value {
    json!({ "id": name, "mesh_id": "mesh", "now": now, "address": blob })
}

fn open(case: &Value) -> Result<SessionAddress, String> {
    let blob: SignedBlob = serde_json::from_value(case["address"].clone()).unwrap();
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    SignedAddress::try_from(&blob)
        .and_then(|signed| SessionAddress::open(&signed, &mesh, number(case, "now")))
        .map_err(|error| match error {
            AddressError::Malformed(_) => "Malformed".to_owned(),
            other => format!("{other:?}"),
        })
}

fn fields(address: &SessionAddress) -> Value {
    json!({
        "member_key_hex": address.member,
        "session_key_hex": address.session,
        "name": address.name.as_str(),
        "wake": address.wake.as_str(),
        "since": address.since,
        "made_at": address.made_at,
        "expires_at": address.expires_at,
    })
}

pub(super) fn address_cases() -> Value {
    let (member, session) = (pair("member"), pair("spare"));
    let made = |address: &SessionAddress| {
        let signed = address.make(&member, &session).unwrap();
        (SignedBlob::from(&signed), signed.bytes)
    };
    let full = address();
    let least = SessionAddress {
        name: SessionName::new("a").unwrap(),
        wake: Wake::None,
        since: 0,
        expires_at: AT + 1,
        ..full.clone()
    };
    let longest = SessionAddress {
        name: SessionName::new("n".repeat(48)).unwrap(),
        ..full.clone()
    };
    let accept: Vec<_> = [
        ("until its last millisecond", &full, AT + 30 * DAY - 1),
        ("made up to 10 minutes ahead", &least, AT - 600_000),
        ("the longest name", &longest, AT),
    ]
    .into_iter()
    .map(|(name, address, now)| {
        let (blob, bytes) = made(address);
        let more = json!({ "fields": fields(address), "address_hex": hex(&bytes) });
        with(case(name, &blob, now), more)
    })
    .chain([with(
        case(
            "a way to wake that a later version has",
            &signed(&raw("a", "bell", 1).finish()),
            AT,
        ),
        json!({ "fields": fields(&SessionAddress { since: AT - DAY, ..least.clone() }) }),
    )])
    .collect();

    let (good, bytes) = made(&full);
    let mut alone = good.clone();
    alone.cosig = None;
    let mut swapped = good.clone();
    swapped.cosig = Some(good.sig.clone());
    swapped.sig = good.cosig.clone().unwrap();
    let mut other_session = good.clone();
    other_session.cosig = Some(pair("stranger").sign(&bytes).to_hex());
    let mut other_member = good.clone();
    other_member.sig = pair("stranger").sign(&bytes).to_hex();
    let same = Encoder::new("session-address/1")
        .text("mesh")
        .bytes(&public("member").0)
        .bytes(&public("member").0)
        .text("a")
        .text("none")
        .int(AT)
        .int(AT)
        .int(AT + 1)
        .finish();
    let by_member = pair("member").sign(&same);
    let same = SignedBlob::new(&same, &by_member, Some(&by_member));
    let mut reject = vec![
        case("made over 10 minutes ahead", &good, AT - 600_001),
        case("at its last millisecond", &good, AT + 30 * DAY),
        with(
            case("of another mesh", &good, AT),
            json!({ "mesh_id": "other" }),
        ),
        case("without the session's signature", &alone, AT),
        case("signatures exchanged", &swapped, AT),
        case("another session's signature", &other_session, AT),
        case("another member's signature", &other_member, AT),
        case("the member's key as the session's", &same, AT),
        case(
            "for over 30 days",
            &signed(&raw("a", "none", 30 * DAY + 1).finish()),
            AT,
        ),
        case("for no time", &signed(&raw("a", "none", 0).finish()), AT),
        case(
            "a field more",
            &signed(&raw("a", "none", 1).int(1).finish()),
            AT,
        ),
        case("a field less", &signed(&bytes[..bytes.len() - 12]), AT),
        case("over 512 bytes", &signed(&[0; 513]), AT),
    ];
    for name in [
        "",
        "a/b",
        "a b",
        ".hidden",
        "a\n",
        "a\u{200b}",
        &"n".repeat(49),
    ] {
        let blob = signed(&raw(name, "none", 1).finish());
        reject.push(case(&format!("the name {name:?}"), &blob, AT));
    }
    let reject = reject.into_iter().map(|case| {
        let reason = open(&case).err().unwrap_or_else(|| panic!("{case}"));
        with(case, json!({ "reason": reason }))
    });
    json!({
        "_doc": "Addresses of sessions as they travel, and when they hold.",
        "accept": accept,
        "reject": reject.collect::<Vec<_>>(),
    })
}

fn read(case: &Value) -> Value {
    let attributes: Vec<String> = serde_json::from_value(case["attributes"].clone()).unwrap();
    let session = sender_session(&attributes);
    json!({
        "session": session.map(|s| json!({ "key_hex": s.key, "name": s.name.as_str() })),
        "hops": hops(&attributes),
        "expects_reply": expects_reply(&attributes),
    })
}

/// Attributes with what is read of them; what does not read as it should is in `reject`, read as
/// what stops a loop.
pub(super) fn attribute_cases() -> Value {
    let key = public("spare");
    let session = format!("session={key}/api");
    let upper = format!("session={}/api", key.to_hex().to_uppercase());
    let cases = |all: &[&[&str]]| -> Vec<Value> {
        let cases = all
            .iter()
            .map(|attributes| json!({ "attributes": attributes }));
        cases
            .map(|case| with(case.clone(), json!({ "read": read(&case) })))
            .collect()
    };
    json!({
        "_doc": "What is read of a message's attributes.",
        "accept": cases(&[
            &[],
            &["x=y", "hops=1"],
            &["hops=15", "expects_reply=0"],
            &["expects_reply=1", &session],
        ]),
        "reject": cases(&[
            &["hops=16"],
            &["hops=01"],
            &["hops="],
            &["hops=1", "hops=1"],
            &["expects_reply=false"],
            &["expects_reply=1", "expects_reply=1"],
            &[&upper],
            &[&session, &session],
            &["session=api"],
        ]),
    })
}

#[test]
fn addresses_and_attributes_read_as_the_file_says() {
    let file = file();
    for case in list(&file["session_address"], "accept") {
        let opened = open(case).unwrap_or_else(|error| panic!("{error}: {case}"));
        assert_eq!(fields(&opened), case["fields"], "{}", case["id"]);
    }
    for case in list(&file["session_address"], "reject") {
        assert_eq!(
            open(case).unwrap_err(),
            text(case, "reason"),
            "{}",
            case["id"]
        );
    }
    for which in ["accept", "reject"] {
        for case in list(&file["attributes"], which) {
            assert_eq!(read(case), case["read"], "{case}");
        }
    }
}
