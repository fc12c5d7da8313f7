//! Cases of the log's kinds that came with channels, of channels' logs, keys and messages.

use claudemesh_core::channel::{
    ExpectedInChannel, KeyStatement, Keyring, Rotation, SignedKeyStatement, StatementError,
    audience_hash, key_id_of, open_in_channel, seal_to_channel,
};
use claudemesh_core::crypto::{Drbg, SecretKey};
use claudemesh_core::id::{ChannelName, KeyId};
use claudemesh_core::membership::{ChannelBody, ChannelLog, ChannelLogError};

use super::*;

/// Entries of the mesh's log that the channels' cases stand on.
const HELD: usize = 10;

fn place(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn admitted(key: &str, role: Role) -> Body {
    Body::MemberAdmitted {
        key: public(key),
        name: Name::new("Lee").unwrap(),
        role,
    }
}

fn owned(key: &str, recovery: Option<&str>, name: Option<&str>) -> Body {
    Body::OwnerChanged {
        key: public(key),
        recovery: recovery.map(public),
        name: name.map(|name| Name::new(name).unwrap()),
    }
}

fn linked(key: &str, invite: Hash) -> Body {
    Body::DeviceLinked {
        key: public(key),
        name: Name::new("phone").unwrap(),
        invite,
    }
}

fn link_issued(key: &str, lasts: u64) -> Body {
    Body::InviteIssued {
        key: public(key),
        role: Role::Device,
        expires_at: AT + 10_000 + lasts,
        max_uses: 1,
    }
}

fn created(channel: &str, public: bool) -> Body {
    let channel = place(channel);
    Body::ChannelCreated { channel, public }
}

/// A log with the kinds that [`log`] does not have.
fn kinds_log() -> (Log, Vec<SignedEntry>) {
    let (_, mut entries) = log();
    entries.truncate(1);
    let mut log = Log::begin(&entries[0]).unwrap();
    let mut say = |signer: &str, cosigner: Option<&str>, body: Body| {
        let cosigner = cosigner.map(pair);
        let draft = log.draft(AT + 1_000 * entries.len() as u64, body);
        let signed = draft.sign(&pair(signer), cosigner.as_ref());
        log.append(&signed).unwrap();
        entries.push(signed.clone());
        signed.hash()
    };
    let changed = Body::RoleChanged {
        key: public("member"),
        role: Role::Admin,
    };
    let invite = say("owner", None, issued("invite", Role::Pending));
    say("invite", Some("member"), joined("member", invite));
    say("owner", None, admitted("member", Role::Member));
    say("owner", None, admitted("latecomer", Role::Admin));
    let link = say("member", None, link_issued("device_invite", 60_000));
    say("device_invite", Some("device"), linked("device", link));
    say("owner", None, changed);
    say("device", None, created("#deploys", false));
    say("latecomer", None, created("@team", true));
    say("owner", Some("member"), owned("member", None, None));
    let heir = owned("heir", Some("spare"), Some("Hal"));
    say("recovery", Some("heir"), heir);
    say("heir", None, removed("latecomer", true));
    (log, entries)
}

pub(super) fn kinds_cases() -> Value {
    let (log, entries) = kinds_log();
    let at = |length: usize| Log::verify(log.mesh(), &entries[..length]).unwrap();
    let link = entries[5].hash();
    let role = |key: &str, role: Role| Body::RoleChanged {
        key: public(key),
        role,
    };
    let reject: Vec<_> = [
        (
            "an admin admits an admin",
            5,
            "latecomer",
            None,
            admitted("stranger", Role::Admin),
        ),
        (
            "a member admits",
            4,
            "member",
            None,
            admitted("stranger", Role::Member),
        ),
        (
            "admitted as owner",
            5,
            "owner",
            None,
            admitted("stranger", Role::Owner),
        ),
        (
            "admitted again",
            5,
            "owner",
            None,
            admitted("member", Role::Member),
        ),
        (
            "a pending member links a device",
            3,
            "member",
            None,
            link_issued("device_invite", 1),
        ),
        (
            "a device's link of over 10 min",
            5,
            "member",
            None,
            link_issued("device_invite", 600_001),
        ),
        (
            "a member comes by a device's link",
            6,
            "device_invite",
            Some("stranger"),
            joined("stranger", link),
        ),
        (
            "a device did not agree",
            6,
            "device_invite",
            Some("member"),
            linked("device", link),
        ),
        (
            "a second device by one link",
            7,
            "device_invite",
            Some("stranger"),
            linked("stranger", link),
        ),
        (
            "a device links a device",
            7,
            "device",
            None,
            link_issued("stranger", 1),
        ),
        (
            "an admin changes a role",
            7,
            "latecomer",
            None,
            role("member", Role::Admin),
        ),
        (
            "a device's role",
            7,
            "owner",
            None,
            role("device", Role::Admin),
        ),
        (
            "the role there is",
            7,
            "owner",
            None,
            role("member", Role::Member),
        ),
        (
            "the owner replaces the recovery key",
            8,
            "owner",
            Some("member"),
            owned("member", Some("spare"), None),
        ),
        (
            "the new owner did not agree",
            8,
            "owner",
            None,
            owned("member", None, None),
        ),
        (
            "an unknown owner without a name",
            8,
            "owner",
            Some("heir"),
            owned("heir", None, None),
        ),
        (
            "an owner that is a device",
            8,
            "owner",
            Some("device"),
            owned("device", None, None),
        ),
        (
            "an admin takes the mesh",
            8,
            "latecomer",
            Some("latecomer"),
            owned("latecomer", None, None),
        ),
        (
            "the old recovery key again",
            12,
            "recovery",
            Some("latecomer"),
            owned("latecomer", None, None),
        ),
        (
            "a device of a removed owner",
            12,
            "device",
            None,
            created("#new", true),
        ),
        (
            "a channel of that name",
            9,
            "owner",
            None,
            created("#deploys", true),
        ),
        (
            "a group that is not public",
            9,
            "owner",
            None,
            created("@ops", false),
        ),
        (
            "a member leaves and closes all",
            4,
            "member",
            None,
            removed("member", true),
        ),
    ]
    .into_iter()
    .map(
        |(id, after, signer, cosigner, body): (&str, usize, &str, Option<&str>, Body)| {
            let mut log = at(after);
            let cosigner = cosigner.map(pair);
            let signed = log
                .draft(AT + 20_000, body)
                .sign(&pair(signer), cosigner.as_ref());
            // The links' times count from the head; all others do not look at it.
            let signed = if id.contains("links a device") || id.contains("10 min") {
                let mut draft = log.draft(0, signed.decode().unwrap().body);
                draft.at = AT + 10_000;
                draft.sign(&pair(signer), None)
            } else {
                signed
            };
            let reason = log_reason(&log.append(&signed).unwrap_err());
            let more = json!({ "id": id, "after": after, "reason": reason });
            with(signed_json(&signed), more)
        },
    )
    .collect();
    json!({
        "_doc": "As `log`, for the kinds that are not in it.",
        "mesh_id": log.mesh(),
        "accept": entries.iter().map(entry_case).collect::<Vec<_>>(),
        "roster": roster_case(&log),
        "reject": reject,
    })
}

// --- channels' logs ---------------------------------------------------------------------------

fn held() -> Log {
    let (log, entries) = kinds_log();
    Log::verify(log.mesh(), &entries[..HELD]).unwrap()
}

fn channel_reason(error: &ChannelLogError) -> String {
    match error {
        ChannelLogError::Entry { .. } => "Malformed".to_owned(),
        ChannelLogError::NotNext { .. } => "NotNext".to_owned(),
        ChannelLogError::Ahead { .. } => "Ahead".to_owned(),
        other => format!("{other:?}"),
    }
}

fn added(key: &str, lead: bool) -> ChannelBody {
    let key = public(key);
    ChannelBody::Added { key, lead }
}

/// The log of `#deploys`, led by `member`, and its entries.
fn deploys(mesh: &Log) -> (ChannelLog, Vec<SignedEntry>) {
    let owner = public("owner");
    make_channel(
        mesh,
        "#deploys",
        &[
            ("member", added("latecomer", false)),
            ("device", added("latecomer", true)),
            ("latecomer", added("owner", false)),
            ("owner", ChannelBody::Left { key: owner }),
        ],
    )
}

fn make_channel(
    mesh: &Log,
    channel: &str,
    says: &[(&str, ChannelBody)],
) -> (ChannelLog, Vec<SignedEntry>) {
    let mut log = ChannelLog::begin(mesh, &place(channel)).unwrap();
    let says = says.iter().map(|(signer, body)| {
        let signed = log.draft(AT + 30_000, mesh, *body).sign(&pair(signer));
        log.append(&signed, mesh).unwrap();
        signed
    });
    let entries = says.collect();
    (log, entries)
}

pub(super) fn channel_log_cases() -> Value {
    let mesh = held();
    let team = [(
        "device",
        ChannelBody::Joined {
            key: public("member"),
        },
    )];
    let channels: Vec<_> = [deploys(&mesh), make_channel(&mesh, "@team", &team)]
        .into_iter()
        .map(|(log, entries)| {
            let accept: Vec<_> = entries
                .iter()
                .map(|signed| {
                    let entry = signed.open_channel().unwrap();
                    let lead = match entry.body {
                        ChannelBody::Added { lead, .. } => Some(lead),
                        _ => None,
                    };
                    let more = json!({
                        "kind": entry.body.kind(),
                        "seq": entry.seq,
                        "standing": entry.standing,
                        "signer_hex": entry.signer,
                        "member_key_hex": entry.body.key(),
                        "lead": lead,
                        "hash_hex": signed.hash(),
                    });
                    with(signed_json(signed), more)
                })
                .collect();
            json!({
                "channel": log.channel(),
                "accept": accept,
                "audience_hex": log.audience(mesh.roster()),
            })
        })
        .collect();
    let (full, entries) = deploys(&mesh);
    let reject: Vec<_> = [
        (
            "a stranger adds",
            1,
            "stranger",
            added("stranger", false),
            None,
        ),
        ("an admin adds", 0, "latecomer", added("owner", false), None),
        (
            "a device is added",
            0,
            "member",
            added("device", false),
            None,
        ),
        ("added again", 1, "member", added("latecomer", false), None),
        (
            "joining what is not public",
            0,
            "owner",
            ChannelBody::Joined {
                key: public("owner"),
            },
            None,
        ),
        (
            "taking out who is not in",
            4,
            "owner",
            ChannelBody::Left {
                key: public("owner"),
            },
            None,
        ),
        (
            "ahead of the mesh's log",
            4,
            "member",
            added("owner", false),
            Some(HELD as u64),
        ),
        (
            "before the channel was made",
            4,
            "member",
            added("owner", false),
            Some(7),
        ),
    ]
    .into_iter()
    .map(|(id, after, signer, body, standing)| {
        let mut log = ChannelLog::begin(&mesh, full.channel()).unwrap();
        log.merge(1, &entries[..after], &mesh).unwrap();
        let mut draft = log.draft(AT + 30_000, &mesh, body);
        draft.standing = standing.unwrap_or(draft.standing);
        let signed = draft.sign(&pair(signer));
        let reason = channel_reason(&log.append(&signed, &mesh).unwrap_err());
        let more = json!({ "id": id, "after": after, "reason": reason });
        with(signed_json(&signed), more)
    })
    .collect();
    json!({
        "_doc": "The verifier holds the first `mesh_after` entries of `log_kinds`. Each of \
                 `reject` is offered to the first of `accept` channels after `after` entries.",
        "mesh_after": HELD,
        "accept": channels,
        "reject": reject,
    })
}

// --- channels' keys ---------------------------------------------------------------------------

fn statement_json(signed: &SignedKeyStatement) -> Value {
    json!({ "statement_hex": hex(&signed.bytes), "sig_hex": signed.signature })
}

/// The first epoch of `#deploys`, and two of `$state`, each with the keyring that made it.
fn epochs(mesh: &Log) -> Vec<(Rotation, Keyring)> {
    let (deploys, _) = deploys(mesh);
    let mut random = Drbg::new([0x5e; 32]);
    let mut made = Vec::new();
    for (channel, author, log) in [
        ("#deploys", "member", Some(&deploys)),
        ("$state", "owner", None),
    ] {
        let mut ring = Keyring::new(mesh.mesh().clone(), place(channel), public(author));
        let rotation = ring.rotate(&mut random, &pair(author), mesh, log).unwrap();
        take(&mut ring, &rotation, author, mesh, log);
        made.push((rotation, ring));
    }
    let author = "owner";
    let mut ring = Keyring::new(mesh.mesh().clone(), place("$state"), public(author));
    take(&mut ring, &made[1].0, author, mesh, None);
    let rotation = ring.rotate(&mut random, &pair(author), mesh, None).unwrap();
    take(&mut ring, &rotation, author, mesh, None);
    made.push((rotation, ring));
    made
}

fn take(ring: &mut Keyring, made: &Rotation, me: &str, mesh: &Log, log: Option<&ChannelLog>) {
    ring.take(&made.statement, mesh, log);
    let copy = made.copies.iter().find(|copy| copy.0 == public(me));
    let id = made.statement.key_id();
    ring.take_copy(&id, &pair(me), &copy.unwrap().1).unwrap();
}

fn statement_reason(error: &StatementError) -> String {
    let name = format!("{error:?}");
    let end = name.find([' ', '(']).unwrap_or(name.len());
    name[..end].to_owned()
}

fn verify_statement(signed: &SignedKeyStatement, previous: Option<&KeyStatement>) -> String {
    let mesh = held();
    let (log, _) = deploys(&mesh);
    let checked = signed.open().and_then(|statement| {
        let log = statement.channel.has_log().then_some(&log);
        statement.verify(&mesh, log, previous)
    });
    checked.map_or_else(|error| statement_reason(&error), |_| "ok".to_owned())
}

pub(super) fn channel_key_cases() -> Value {
    let mesh = held();
    let made = epochs(&mesh);
    let accept: Vec<_> = made
        .iter()
        .map(|(rotation, ring)| {
            let (signed, id) = (&rotation.statement, rotation.statement.key_id());
            let statement = signed.open().unwrap();
            let copies: Vec<_> = (rotation.copies.iter())
                .map(|(key, copy)| json!({ "member_key_hex": key, "copy_hex": hex(copy) }))
                .collect();
            let head = |head: Head| json!({ "seq": head.seq, "hash_hex": head.hash });
            let more = json!({
                "channel": statement.channel,
                "epoch": statement.epoch,
                "previous_hex": statement.previous,
                "log_head": statement.log.map(head),
                "channel_head": statement.channel_log.map(head),
                "author_hex": statement.author,
                "audience_hash_hex": statement.audience,
                "commitment_hex": statement.commitment,
                "link_hex": statement.link.map(|link| hex(&link)),
                "key_id_hex": id,
                "root_hex": hex(ring.root(&id).unwrap().expose()),
                "message_key_hex": hex(ring.key(&id).unwrap().expose()),
                "copies": copies,
            });
            with(statement_json(signed), more)
        })
        .collect();
    let first = made[0].0.statement.open().unwrap();
    let changed = |change: &dyn Fn(&mut KeyStatement), author: &str| {
        let mut statement = first.clone();
        statement.author = public(author);
        change(&mut statement);
        statement.make(&pair(author))
    };
    let ghost = audience_hash(&first.mesh, &first.channel, &[public("stranger")]);
    let mut forged = made[0].0.statement.clone();
    forged.signature = pair("owner").sign(&forged.bytes);
    let mut rest = made[0].0.statement.clone();
    rest.bytes.push(0);
    rest.signature = pair("member").sign(&rest.bytes);
    let linked = made[2].0.statement.open().unwrap().link;
    let cases = [
        ("signed by another", None, forged),
        ("a byte behind the last field", None, rest),
        (
            "another audience",
            None,
            changed(&|s| s.audience = ghost, "member"),
        ),
        ("an author outside", None, changed(&|_| (), "owner")),
        (
            "ahead of the log",
            None,
            changed(&|s| s.log.as_mut().unwrap().seq += 1, "member"),
        ),
        (
            "another log",
            None,
            changed(&|s| s.log.as_mut().unwrap().hash.0[0] ^= 1, "member"),
        ),
        (
            "ahead of the channel",
            None,
            changed(&|s| s.channel_log.as_mut().unwrap().seq += 1, "member"),
        ),
        ("no head", None, changed(&|s| s.log = None, "member")),
        ("a link", None, changed(&|s| s.link = linked, "member")),
        ("epoch 0", None, changed(&|s| s.epoch = 0, "member")),
        (
            "the epoch before",
            Some(0),
            changed(&|s| s.audience = ghost, "member"),
        ),
        (
            "too far above",
            Some(0),
            changed(&|s| s.epoch = (1 << 20) + 2, "member"),
        ),
    ];
    let reject: Vec<_> = cases
        .into_iter()
        .map(|(id, previous, signed): (&str, Option<usize>, _)| {
            let before = previous.map(|at| made[at].0.statement.open().unwrap());
            let reason = verify_statement(&signed, before.as_ref());
            assert_ne!(reason, "ok", "{id}");
            let more = json!({ "id": id, "previous": previous, "reason": reason });
            with(statement_json(&signed), more)
        })
        .collect();
    json!({
        "_doc": "The verifier holds what `channel_log` makes. `previous`, where it is given, is \
                 the place in `accept` of the statement that is held already. The third of \
                 `accept` links to the second.",
        "accept": accept,
        "reject": reject,
    })
}

// --- channels' messages -----------------------------------------------------------------------

fn open_message(case: &Value) -> String {
    let mesh = MeshId::new(text(case, "mesh_id")).unwrap();
    let channel = place(text(case, "channel"));
    let key_id = KeyId::from_hex(text(case, "key_id_hex")).unwrap();
    let secret = unhex(text(case, "message_key_hex")).unwrap();
    let expected = ExpectedInChannel {
        mesh: &mesh,
        channel: &channel,
        key_id: &key_id,
        frame_id: case["frame_id"].as_str(),
        now: number(case, "now"),
    };
    let sealed = SealedText {
        nonce: text(case, "nonce_b64").to_owned(),
        ciphertext: text(case, "ciphertext_b64").to_owned(),
    };
    let key = SecretKey::new(secret.try_into().unwrap());
    match open_in_channel(expected, &key, &sealed) {
        Ok(opened) => {
            assert_eq!(key_id_of(&sealed), Ok(key_id));
            assert_eq!(opened.sender, public(text(case, "sender")));
            "ok".to_owned()
        }
        Err(MessageError::Malformed(_)) => "Malformed".to_owned(),
        Err(MessageError::Box(_)) => "Box".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

pub(super) fn channel_message_cases() -> Value {
    let mesh = held();
    let (rotation, ring) = &epochs(&mesh)[0];
    let id = rotation.statement.key_id();
    let key = ring.key(&id).unwrap();
    let content = Content {
        id: MessageId::new("018cc251-f400-7000-8000-000000000002").unwrap(),
        sent_at: AT,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: "ship it, Zoë".into(),
    };
    let seal = |channel: &str, id: &KeyId| {
        let head = Some(mesh.head());
        let (sender, channel) = (pair("latecomer"), place(channel));
        let nonce = [0x26; 24];
        seal_to_channel(
            mesh.mesh(),
            &sender,
            &channel,
            id,
            key,
            head,
            &content,
            nonce,
        )
        .unwrap()
    };
    let case = |name: &str, sealed: &SealedText, id: &KeyId, frame_id: &str, now: u64| {
        json!({
            "id": name,
            "mesh_id": mesh.mesh(),
            "channel": "#deploys",
            "sender": "latecomer",
            "key_id_hex": id,
            "message_key_hex": hex(key.expose()),
            "frame_id": frame_id,
            "now": now,
            "nonce_b64": sealed.nonce,
            "ciphertext_b64": sealed.ciphertext,
        })
    };
    let good = seal("#deploys", &id);
    let sent = content.id.as_str();
    let padded = key
        .open(&[0x26; 24], &unbase64(&good.ciphertext).unwrap()[18..])
        .unwrap();
    let length = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
    let accept = with(
        case("text", &good, &id, sent, AT),
        json!({
            "message_id": content.id,
            "sent_at": content.sent_at,
            "body_hex": hex(&content.body),
            "envelope_hex": hex(&padded[4..4 + length]),
            "sig_hex": hex(&padded[4 + length..4 + length + 64]),
            "padded_length": padded.len(),
        }),
    );
    let other = KeyId([0xee; 16]);
    let mut bent = unbase64(&good.ciphertext).unwrap();
    let mark = base64(&bent[2..]);
    bent[30] ^= 1;
    let with_text = |ciphertext: String| SealedText {
        ciphertext,
        ..good.clone()
    };
    let reject: Vec<_> = [
        case("for another channel", &seal("#other", &id), &id, sent, AT),
        case("under another key's id", &good, &other, sent, AT),
        case("another id", &good, &id, "x", AT),
        case("over 31 days old", &good, &id, sent, AT + 31 * DAY + 1),
        case("changed", &with_text(base64(&bent)), &id, sent, AT),
        case("without its mark", &with_text(mark), &id, sent, AT),
    ]
    .into_iter()
    .map(|case| {
        let reason = open_message(&case);
        assert_ne!(reason, "ok", "{case}");
        with(case, json!({ "reason": reason }))
    })
    .collect();
    json!({
        "_doc": "Messages to `#deploys`, under the first key of `channel_key`.",
        "accept": [accept],
        "reject": reject,
    })
}

// --- checking ---------------------------------------------------------------------------------

#[test]
fn channels_logs_come_out_of_the_file() {
    let file = file();
    let (mesh, cases) = (held(), &file["channel_log"]);
    let channels = list(cases, "accept");
    for case in channels {
        let mut log = ChannelLog::begin(&mesh, &place(text(case, "channel"))).unwrap();
        for entry in list(case, "accept") {
            let taken = log.append(&signed(entry), &mesh).unwrap();
            assert_eq!(taken.body.kind(), text(entry, "kind"));
            assert_eq!(log.head().hash.to_hex(), text(entry, "hash_hex"));
        }
        assert_eq!(json!(log.audience(mesh.roster())), case["audience_hex"]);
    }
    let entries: Vec<_> = list(&channels[0], "accept").iter().map(signed).collect();
    for case in list(cases, "reject") {
        let mut log = ChannelLog::begin(&mesh, &place("#deploys")).unwrap();
        let after = number(case, "after") as usize;
        log.merge(1, &entries[..after], &mesh).unwrap();
        let error = log.append(&signed(case), &mesh).unwrap_err();
        assert_eq!(channel_reason(&error), text(case, "reason"), "{case}");
    }
}

#[test]
fn channels_keys_come_out_of_the_file() {
    let file = file();
    let cases = &file["channel_key"];
    let read = |case: &Value| SignedKeyStatement {
        bytes: unhex(text(case, "statement_hex")).unwrap(),
        signature: Signature::from_hex(text(case, "sig_hex")).unwrap(),
    };
    let accept = list(cases, "accept");
    for case in accept {
        let statement = read(case);
        assert_eq!(verify_statement(&statement, None), "ok");
        assert_eq!(statement.key_id().to_hex(), text(case, "key_id_hex"));
        let (id, opened) = (statement.key_id(), statement.open().unwrap());
        for copy in list(case, "copies") {
            let names = KEYS.iter().map(|(name, _)| *name);
            let mut names =
                names.filter(|name| public(name).to_hex() == text(copy, "member_key_hex"));
            let member = pair(names.next().unwrap());
            let sealed = unhex(text(copy, "copy_hex")).unwrap();
            let root = opened.open_copy(&id, &member, &sealed).unwrap();
            assert_eq!(hex(root.expose()), text(case, "root_hex"));
            assert_eq!(
                hex(root.message_key(&id).expose()),
                text(case, "message_key_hex")
            );
        }
    }
    let root = unhex(text(&accept[2], "root_hex")).unwrap();
    let root = claudemesh_core::channel::Root::new(root.try_into().unwrap());
    let (last, before) = (
        read(&accept[2]).open().unwrap(),
        read(&accept[1]).open().unwrap(),
    );
    let found = last.follow_link(&root, &before).unwrap();
    assert_eq!(hex(found.expose()), text(&accept[1], "root_hex"));
    for case in list(cases, "reject") {
        let previous = case["previous"].as_u64();
        let previous = previous.map(|at| read(&accept[at as usize]).open().unwrap());
        let reason = verify_statement(&read(case), previous.as_ref());
        assert_eq!(reason, text(case, "reason"), "{case}");
    }
}

#[test]
fn channels_messages_open_or_fail_as_the_file_says() {
    let file = file();
    for case in list(&file["channel_message"], "accept") {
        assert_eq!(open_message(case), "ok");
    }
    for case in list(&file["channel_message"], "reject") {
        assert_eq!(open_message(case), text(case, "reason"), "{}", case["id"]);
    }
}
