//! Session statements: made at each connect; of others, only what their members signed is believed.

use claudemesh_core::id::{Hash, MeshId, Name, PublicKey};
use claudemesh_core::identity::{SessionStatement, SessionStatementError, SignedSession};
use claudemesh_core::session::{
    Command, Event, In, Lie, Reply, SessionHere, StatementFault, WhoIsHere,
};
use claudemesh_core::time::iso;
use claudemesh_core::wire::{
    ClientFrame, Hello, MemberRecord, PeerRecord, PeersList, Push, SignedBlob,
};
use serde_json::json;

use crate::support::*;

const HOUR: u64 = 3_600_000;
/// Nobody's in the log.
pub(crate) const EVE: u8 = 50;

/// What `member` says of a session that began now, with changes.
pub(crate) fn statement(
    mesh: &Mesh,
    member: u8,
    change: impl Fn(&mut SessionStatement),
) -> SignedBlob {
    let head = mesh.log.head();
    let mut statement = SessionStatement {
        mesh: mesh.id(),
        member: key(member),
        session: None,
        name: Name::new("at work").unwrap(),
        capabilities: vec!["delivery/1".to_owned(), "envelope/1".to_owned()],
        head: Some((head.seq, head.hash)),
        not_before: NOW - 300_000,
        expires_at: NOW + HOUR,
    };
    change(&mut statement);
    SignedBlob::from(&statement.make(&pair(member)).unwrap())
}

/// A session as the broker shows it.
pub(crate) fn record(member: u8, statement: Option<SignedBlob>) -> PeerRecord {
    PeerRecord {
        pubkey: key(member).to_hex(),
        member_pubkey: Some(key(member).to_hex()),
        display_name: "the broker's word".to_owned(),
        status: "idle".to_owned(),
        connected_at: Some(iso(NOW)),
        statement,
        ..PeerRecord::default()
    }
}

/// Asks who is here, and answers so.
pub(crate) fn list(rig: &mut Rig, peers: Vec<PeerRecord>) -> WhoIsHere {
    let members = None;
    answer(
        rig,
        PeersList {
            peers,
            members,
            ..PeersList::default()
        },
    )
}

fn answer(rig: &mut Rig, mut list: PeersList) -> WhoIsHere {
    let command = rig.command(Command::ListPeers);
    let asked = rig.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::ListPeers(ask) => ask.req_id.clone(),
        _ => None,
    });
    list.req_id = asked;
    rig.frame(list);
    match rig.answer(command) {
        Some(Ok(Reply::Peers(here))) => (**here).clone(),
        other => panic!("{other:?}"),
    }
}

fn lies(rig: &Rig) -> Vec<Lie> {
    let lies = rig.events.iter().filter_map(|event| match event {
        Event::LiedTo(lie) => Some(lie.clone()),
        _ => None,
    });
    lies.collect()
}

fn bad(peer: PublicKey, error: impl Into<StatementFault>) -> Lie {
    let error = error.into();
    Lie::BadStatement { peer, error }
}

/// What the sessions are called whose statements are believed.
fn believed(here: &WhoIsHere) -> Vec<Option<&str>> {
    fn name(session: &SessionHere) -> Option<&str> {
        Some(session.statement.as_ref()?.name.as_str())
    }
    here.sessions.iter().map(name).collect()
}

fn rig() -> Rig {
    Rig::connected(&Mesh::new(&[BEN, CEM]), ANA)
}

/// The hello of a fresh connection.
fn hello(rig: &mut Rig, date: Option<u64>) -> Hello {
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date,
    });
    let hello = rig.sent.iter().rev().find_map(|frame| match frame {
        ClientFrame::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    hello.unwrap()
}

#[test]
fn each_hello_carries_a_statement_of_this_session() {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::new(&mesh, BEN);
    // By the own clock, whatever the broker says: else it would choose when the statement holds.
    let clock = NOW;
    let hello = hello(&mut rig, Some(NOW + 10 * HOUR));
    let signed = SignedSession::try_from(hello.statement.as_ref().unwrap()).unwrap();
    let said = SessionStatement::open(&signed, &mesh.id(), clock).unwrap();
    assert_eq!((said.member, said.session), (key(BEN), None));
    assert_eq!(Some(&said.capabilities), hello.capabilities.as_ref());
    assert!(said.can("envelope/1"));
    let head = mesh.log.head();
    assert_eq!(said.head, Some((head.seq, head.hash)));
    assert_eq!(said.name.as_str(), "somebody", "as the log calls it");
    assert_eq!(said.not_before, clock - 600_000);
    assert_eq!(said.expires_at - said.not_before, 24 * HOUR);
    // In a mesh without a log nobody could tell whose word it is.
    let mut config = config(&mesh, BEN, true);
    config.has_log = false;
    let mut rig = Rig::over(&mesh, config, claudemesh_core::store::MemoryStore::new());
    assert_eq!(self::hello(&mut rig, None).statement, None);
}

#[test]
fn what_holds_is_believed_and_nothing_else_is() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let (ben, cem) = (
        statement(&mesh, BEN, |_| {}),
        statement(&mesh, CEM, |s| s.session = Some(key(77))),
    );
    let by_session = PeerRecord {
        pubkey: key(77).to_hex(),
        ..record(CEM, Some(cem))
    };
    let shown = [
        record(BEN, Some(ben.clone())),
        by_session,
        // Without one, shown twice, and of a key that the log does not have.
        record(BEN, None),
        record(BEN, Some(ben)),
        record(EVE, Some(statement(&mesh, EVE, |_| {}))),
    ];
    let here = list(&mut rig, shown.to_vec());
    let believes = [Some("at work"), Some("at work"), None, None, None];
    assert_eq!(believed(&here), believes);
    assert_eq!(lies(&rig), []);
}

#[test]
fn what_does_not_hold_is_told_once() {
    use SessionStatementError::{BadSignature, Expired, Malformed, NotYet, OtherMesh, TooLong};
    let mesh = rig().mesh;
    let ben = |change: &dyn Fn(&mut SessionStatement)| statement(&mesh, BEN, change);
    let mut forged = ben(&|_| {});
    forged.sig = statement(&mesh, CEM, |_| {}).sig;
    let mut cut = ben(&|_| {});
    cut.e.truncate(40);
    let mut long = ben(&|s| s.expires_at = s.not_before + 24 * HOUR);
    // None can be made for over a day; so a byte is changed, and signed.
    let mut bytes = long.bytes().unwrap();
    *bytes.last_mut().unwrap() += 1;
    long = SignedBlob::new(&bytes, &pair(BEN).sign(&bytes), None);
    let cases: [(SignedBlob, StatementFault); 8] = [
        (
            ben(&|s| s.mesh = MeshId::new("other").unwrap()),
            OtherMesh.into(),
        ),
        (ben(&|s| s.not_before = NOW + 600_000), NotYet.into()),
        (ben(&|s| s.expires_at = NOW), Expired.into()),
        (forged, BadSignature.into()),
        (long, TooLong.into()),
        // Another member's, and one of another session of the same.
        (statement(&mesh, CEM, |_| {}), StatementFault::OtherSession),
        (statement(&mesh, EVE, |_| {}), StatementFault::OtherSession),
        (
            SignedBlob {
                cosig: Some(forged_sig()),
                ..ben(&|_| {})
            },
            Malformed(claudemesh_core::encoding::DecodeError::Field("cosignature")).into(),
        ),
    ];
    for (blob, fault) in cases {
        let mut rig = rig();
        let shown = record(BEN, Some(blob));
        let here = list(&mut rig, vec![shown.clone()]);
        assert_eq!(believed(&here), [None]);
        assert_eq!(lies(&rig), [bad(key(BEN), fault.clone())]);
        // Once for each connection, in whatever form.
        list(
            &mut rig,
            vec![shown.clone(), record(BEN, Some(cut.clone()))],
        );
        assert_eq!(lies(&rig).len(), 1, "{fault}");
        rig.broken();
        rig.reconnect();
        list(&mut rig, vec![shown]);
        assert_eq!(lies(&rig).len(), 2, "{fault}");
    }
    // Under another routing key than the member's or the session's own.
    let mut rig = rig();
    let elsewhere = PeerRecord {
        pubkey: key(66).to_hex(),
        ..record(BEN, Some(ben(&|_| {})))
    };
    assert_eq!(believed(&list(&mut rig, vec![elsewhere])), [None]);
    assert_eq!(lies(&rig), [bad(key(BEN), StatementFault::OtherSession)]);
}

fn forged_sig() -> String {
    pair(BEN).sign(b"x").to_hex()
}

fn rig_without(member: u8) -> Rig {
    let mut mesh = Mesh::new(&[BEN, CEM]);
    mesh.remove(ANA, member);
    Rig::connected(&mesh, ANA)
}

#[test]
fn who_was_removed_has_no_session() {
    let mut rig = rig_without(BEN);
    let blob = statement(&rig.mesh, BEN, |_| {});
    let here = list(&mut rig, vec![record(BEN, Some(blob))]);
    assert_eq!(believed(&here), [None]);
    assert_eq!(lies(&rig), [bad(key(BEN), StatementFault::Removed)]);
}

#[test]
fn a_session_may_stand_for_longer_than_its_statement() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let old = record(BEN, Some(statement(&mesh, BEN, |_| {})));
    assert_eq!(
        believed(&list(&mut rig, vec![old.clone()])),
        [Some("at work")]
    );
    // It held when it was seen.
    rig.now.wall += 2 * HOUR;
    assert_eq!(
        believed(&list(&mut rig, vec![old.clone()])),
        [Some("at work")]
    );
    // Who comes later counts it as unverified; the broker did nothing wrong.
    rig.broken();
    rig.reconnect();
    assert_eq!(believed(&list(&mut rig, vec![old.clone()])), [None]);
    assert_eq!(lies(&rig), []);
    // Unless the session began after the statement had ended.
    let late = PeerRecord {
        connected_at: Some(iso(NOW + HOUR)),
        ..old
    };
    assert_eq!(believed(&list(&mut rig, vec![late])), [None]);
    let expired = bad(key(BEN), SessionStatementError::Expired);
    assert_eq!(lies(&rig), [expired]);
}

fn joined(rig: &mut Rig, member: u8, statement: Option<&SignedBlob>) -> Event {
    let mut data = json!({ "pubkey": key(member), "name": "the broker's word" });
    if let Some(statement) = statement {
        data["statement"] = json!(statement);
    }
    rig.forget();
    rig.frame(Push {
        message_id: "e1".into(),
        mesh_id: rig.mesh.id().as_str().to_owned(),
        sender_pubkey: "system".into(),
        subtype: Some("system".into()),
        event: Some("peer_joined".into()),
        event_data: Some(data),
        ..Push::default()
    });
    let online = |event: &&Event| matches!(event, Event::PeerOnline { .. });
    rig.events.iter().find(online).unwrap().clone()
}

#[test]
fn who_comes_online_is_called_as_its_member_says() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let online = |member: u8, name: &str, verified| Event::PeerOnline {
        key: key(member).to_hex(),
        name: name.to_owned(),
        verified,
    };
    let blob = statement(&mesh, BEN, |_| {});
    let event = joined(&mut rig, BEN, Some(&blob));
    assert_eq!(event, online(BEN, "at work", true));
    assert_eq!(joined(&mut rig, BEN, None), online(BEN, "somebody", false));
    // Another's word, and one that is over.
    let event = joined(&mut rig, CEM, Some(&blob));
    assert_eq!(event, online(CEM, "somebody", false));
    assert_eq!(lies(&rig), [bad(key(CEM), StatementFault::OtherSession)]);
    let over = statement(&mesh, BEN, |s| s.expires_at = NOW);
    let event = joined(&mut rig, BEN, Some(&over));
    assert_eq!(event, online(BEN, "somebody", false));
    let expired = bad(key(BEN), SessionStatementError::Expired);
    assert_eq!(lies(&rig), [expired]);
    // Whom the log does not have has no other name than the broker's.
    let event = joined(&mut rig, EVE, Some(&statement(&mesh, EVE, |_| {})));
    assert_eq!(event, online(EVE, "the broker's word", false));
}

#[test]
fn the_head_in_a_statement_is_a_claim_like_that_in_a_message() {
    let mut rig = rig();
    let mesh = rig.mesh.clone();
    let seq = mesh.log.head().seq;
    let other = statement(&mesh, BEN, |s| s.head = Some((seq, Hash([3; 32]))));
    let ahead = statement(&mesh, CEM, |s| s.head = Some((seq + 4, Hash([4; 32]))));
    list(
        &mut rig,
        vec![record(BEN, Some(other)), record(CEM, Some(ahead))],
    );
    assert_eq!(
        lies(&rig),
        [Lie::HeadMismatch {
            peer: key(BEN),
            seq
        }]
    );
    assert!(!rig.log_gets().is_empty(), "it is asked for");
    let get = rig.log_gets().pop().unwrap();
    rig.frame(claudemesh_core::wire::LogEntries {
        from: seq,
        entries: mesh.entries[seq as usize..].iter().map(blob).collect(),
        head: mesh.head(),
        req_id: get.req_id,
        ..Default::default()
    });
    rig.pass(40_000);
    let withheld = Lie::LogWithheld {
        peer: key(CEM),
        seq: seq + 4,
    };
    assert!(lies(&rig).contains(&withheld), "{:?}", lies(&rig));
}

#[test]
fn a_list_that_nobody_asked_for_changes_nothing() {
    let mut rig = rig();
    let over = statement(&rig.mesh, BEN, |s| s.expires_at = NOW);
    rig.frame(PeersList {
        peers: vec![record(BEN, Some(over))],
        members: Some(vec![MemberRecord::default()]),
        ..PeersList::default()
    });
    assert_eq!(rig.events, []);
}
