//! Lies about the audit table.

use claudemesh_core::audit::AuditError;

use super::*;

/// The newest head that a peer was told.
async fn head(liar: &LyingBroker, who: PublicKey, after: usize) -> Value {
    let ack = |seen: &lying::Seen| {
        (seen.who, seen.way) == (who, Way::ToPeer) && seen.frame["type"] == "hello_ack"
    };
    liar.seen(after, ack).await.frame["audit_head"].clone()
}

/// Makes the peer come again, and gives the next lie that is told.
async fn again(liar: &LyingBroker, peer: &Peer, events: &mut Events) -> Lie {
    liar.close(peer.key(), 1001, "");
    lie(events).await
}

#[tokio::test]
async fn a_table_that_is_not_the_one_that_was_shown_is_named() {
    let liar = LyingBroker::start().await;
    let (ana, _bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut events = ana.events();
    let first = head(&liar, ana.key(), 0).await;
    let after = liar.so_far();
    liar.close(ana.key(), 1001, "");
    back(&mut events).await;
    let newest = head(&liar, ana.key(), after).await;
    let (old, n) = (first["n"].as_u64().unwrap(), newest["n"].as_u64().unwrap());
    assert!(n > old, "bob joined in between");
    // An earlier head, validly signed.
    liar.change(ana.key(), "hello_ack", move |frame| {
        frame["audit_head"] = first.clone();
    });
    let shorter = Lie::AuditRollback {
        held: n,
        shown: old,
    };
    assert_eq!(again(&liar, &ana, &mut events).await, shorter);
    // None at all; another hash that nobody signed; another key that signed it.
    liar.change(ana.key(), "hello_ack", |frame| {
        frame.as_object_mut().unwrap().remove("audit_head");
    });
    assert_eq!(again(&liar, &ana, &mut events).await, Lie::AuditMissing);
    liar.change(ana.key(), "hello_ack", |frame| {
        frame["audit_head"]["hash"] = "00".repeat(32).into();
    });
    let bad = Lie::BadAuditHead(AuditError::BadSignature);
    assert_eq!(again(&liar, &ana, &mut events).await, bad);
    let forger = support::key(66);
    let mesh = liar.mesh.id();
    liar.change(ana.key(), "hello_ack", move |frame| {
        let place = claudemesh_core::audit::Place {
            n: n + 1,
            hash: claudemesh_core::id::Hash([7; 32]),
        };
        let head = claudemesh_core::audit::Head::sign(&mesh, place, 5, &forger);
        frame["audit_head"] = json!(claudemesh_core::wire::AuditHead::new(&head));
    });
    assert_eq!(again(&liar, &ana, &mut events).await, Lie::AuditKeyChanged);
    // Another broker has another table. It is told, and no lie by itself.
    let change = |frame: &mut Value| frame["broker"]["store"] = "another".into();
    liar.change(ana.key(), "hello_ack", change);
    liar.close(ana.key(), 1001, "");
    let begins = |event| match event {
        Event::AuditBegins { n } => Some(n),
        Event::LiedTo(lie) => panic!("{lie}"),
        _ => None,
    };
    assert!(told(&mut events, begins).await >= n);
}

#[tokio::test]
async fn rows_that_were_changed_are_found_by_who_may_read_them() {
    let liar = LyingBroker::start().await;
    let (owner, ana) = (liar.peer("owner").await, liar.peer("ana").await);
    let mut events = owner.events();
    let whole = owner.audit(false).await.unwrap();
    assert_eq!(whole.fault, None);
    let n = whole.to.n;
    assert!(n >= 3 && whole.from.n == 0 && whole.rows.len() as u64 == n);
    assert!(whole.rows.iter().any(|row| row.event == "member_joined"));
    let refused = ana.audit(false).await;
    assert!(matches!(
        refused,
        Err(PeerError::Session(SessionError::Refused { code, .. })) if code == "forbidden"
    ));
    liar.mesh.peer("bob").await.unwrap();
    // A row of another content, one that lacks, and the whole made to begin elsewhere.
    let lies: [fn(&mut Value); 3] = [
        |frame| frame["rows"][0]["actor"] = "somebody".into(),
        |frame| drop(frame["rows"].as_array_mut().unwrap().remove(0)),
        |frame| frame["base"]["hash"] = "07".repeat(32).into(),
    ];
    let mut faults = Vec::new();
    for change in lies {
        liar.change(owner.key(), "audit_rows", change);
        let report = owner.audit(false).await.unwrap();
        assert_eq!(report.from.n, n);
        let Lie::AuditAltered(told) = lie(&mut events).await else {
            panic!("another lie");
        };
        assert_eq!(report.fault.as_ref(), Some(&told));
        faults.push(told);
    }
    assert!(matches!(faults[0], AuditError::Altered { n: to } if to > n));
    assert_eq!(faults[2], AuditError::Rewritten { n });
    // The true rows hold, from where they were checked last, and all of them.
    liar.honest(owner.key());
    let rest = owner.audit(false).await.unwrap();
    assert_eq!((rest.fault, rest.from), (None, whole.to));
    assert!(rest.to.n > n);
    let all = owner.audit(true).await.unwrap();
    assert_eq!((all.fault, all.from.n), (None, 0));
    // The newest head that was checked is what the next one is held against.
    liar.change(owner.key(), "audit_rows", |frame| {
        frame["rows"][0]["event"] = "nothing".into();
    });
    let report = owner.audit(true).await.unwrap();
    assert!(report.fault.is_some(), "{report:?}");
}
