//! The queue: accepting, settling, failing, forgetting.

use claudemesh_core::id::Priority::{Low, Next, Now};

use super::{Bench, Check, key, mesh, sample};
use crate::store::{Accept, Delivery, Op, Outcome, PageRow, SendOutcome};

pub(super) const CHECKS: &[Check] = &[
    a_message_is_queued_once,
    an_id_is_good_for_one_content,
    one_message_has_many_recipients,
    each_cap_is_kept,
    the_caps_of_a_mesh_count_all_its_mailboxes,
    a_full_mailbox_is_left_out,
    settling_is_final,
    pages_are_ordered_and_bounded,
    expired_rows_are_left_out_and_told,
    an_address_that_is_gone_fails,
    outcomes_are_the_senders_alone,
    old_records_are_forgotten,
    a_commit_keeps_order,
    a_seq_is_never_used_again,
];

fn with(id: &str, change: impl FnOnce(&mut Accept)) -> Box<Accept> {
    let mut accept = sample(id, "text");
    change(&mut accept);
    accept
}

fn a_message_is_queued_once(bench: &mut Bench) {
    let seq = bench.accepted(sample("a", "text"));
    let again = bench.one(Op::Accept(sample("a", "text")));
    assert_eq!(again, Outcome::Duplicate { seq, recipients: 1 });
    let row = PageRow {
        seq,
        sender: key(1),
        tail: "text".into(),
        expires_at: 10_000,
    };
    assert_eq!(bench.page(key(2), Next, 0, 10), [row]);
    assert_eq!(bench.counts(key(2)), [0, 1, 0]);
    assert_eq!(bench.totals()[0], 1);
    bench.settle(key(2), Next, seq);
    let later = bench.one(Op::Accept(sample("a", "text")));
    assert_eq!(later, Outcome::Duplicate { seq, recipients: 1 });
    assert_eq!(bench.totals()[0], 0);
}

fn an_id_is_good_for_one_content(bench: &mut Bench) {
    let asked = bench.one(Op::Accept(with("a", |it| it.lookup_only = true)));
    assert_eq!(asked, Outcome::Refused);
    let nameless = with("a", |it| {
        it.lookup_only = true;
        it.id = None;
    });
    assert_eq!(bench.one(Op::Accept(nameless)), Outcome::Refused);
    let seq = bench.accepted(sample("a", "text"));
    let other = bench.one(Op::Accept(with("a", |it| it.content = u64::MAX)));
    assert_eq!(other, Outcome::Reused);
    let asked = bench.one(Op::Accept(with("a", |it| it.lookup_only = true)));
    assert_eq!(asked, Outcome::Duplicate { seq, recipients: 1 });
    // A full mailbox does not hide that a message was taken.
    let full = bench.one(Op::Accept(with("a", |it| it.caps.rows = 0)));
    assert_eq!(full, Outcome::Duplicate { seq, recipients: 1 });
    // Ids are per mesh and sender; without an id nothing is a duplicate.
    bench.accepted(with("a", |it| it.sender = key(3)));
    bench.accepted(with("a", |it| it.mesh = mesh("two")));
    bench.accepted(with("b", |it| it.id = None));
    bench.accepted(with("b", |it| it.id = None));
    let large = bench.accepted(with("max", |it| it.content = u64::MAX));
    let again = bench.one(Op::Accept(with("max", |it| it.content = u64::MAX)));
    let seen = Outcome::Duplicate {
        seq: large,
        recipients: 1,
    };
    assert_eq!(again, seen);
}

fn one_message_has_many_recipients(bench: &mut Bench) {
    let all = vec![key(2), key(3), key(2), key(4)];
    let seq = bench.accepted(with("a", |it| it.recipients = all.clone()));
    let again = bench.one(Op::Accept(with("a", |it| it.recipients = all)));
    assert_eq!(again, Outcome::Duplicate { seq, recipients: 3 });
    for (address, left) in [(key(3), 2), (key(2), 1), (key(4), 0)] {
        assert_eq!(bench.outcomes(key(1), &[seq]), [SendOutcome::Queued]);
        assert_eq!(bench.page(address, Next, 0, 9).len(), 1);
        let settled = bench.settle(address, Next, seq);
        let sender = key(1);
        let many = None;
        assert_eq!(settled, Outcome::Settled { sender, left, many });
    }
    assert_eq!(bench.outcomes(key(1), &[seq]), [SendOutcome::Delivered]);
    let none = bench.accepted(with("none", |it| it.recipients.clear()));
    assert_eq!(bench.outcomes(key(1), &[none]), [SendOutcome::Delivered]);
    let again = bench.one(Op::Accept(with("none", |it| it.recipients.clear())));
    let seen = Outcome::Duplicate {
        seq: none,
        recipients: 0,
    };
    assert_eq!(again, seen);
}

fn the_caps_of_a_mesh_count_all_its_mailboxes(bench: &mut Bench) {
    type Set = fn(&mut Accept);
    let caps: [Set; 2] = [|it| it.caps.mesh_rows = 2, |it| it.caps.mesh_bytes = 11];
    for (number, set) in caps.into_iter().enumerate() {
        let mesh = mesh(&format!("capped-{number}"));
        let make = |id: u8| {
            with(&format!("mesh.{number}.{id}"), |it| {
                it.mesh = mesh.clone();
                it.recipients = vec![key(20 + id)];
                set(it);
            })
        };
        let first = bench.accepted(make(0));
        bench.accepted(make(1));
        assert_eq!(bench.one(Op::Accept(make(2))), Outcome::Full);
        let mut many = make(3);
        many.recipients = vec![key(20), key(21)];
        assert_eq!(bench.one(Op::Accept(many)), Outcome::Full);
        // Another mesh has room of its own.
        bench.accepted(with(&format!("beside.{number}"), set));
        let settled = bench.one(Op::Settle(Delivery {
            mesh: mesh.clone(),
            address: key(20),
            class: Next,
            seq: first,
        }));
        assert!(matches!(settled, Outcome::Settled { .. }));
        let mut many = make(4);
        many.recipients = vec![key(20), key(21)];
        match bench.one(Op::Accept(many)) {
            Outcome::Accepted { full, .. } => assert_eq!(full, [1]),
            other => panic!("not accepted: {other:?}"),
        }
    }
}

fn each_cap_is_kept(bench: &mut Bench) {
    type Set = fn(&mut Accept);
    // Room for two of four bytes each.
    let caps: [Set; 3] = [
        |it| it.caps.rows = 2,
        |it| it.caps.bytes = 11,
        |it| it.caps.rows_per_sender = 2,
    ];
    for (number, set) in caps.into_iter().enumerate() {
        let address = key(10 + u8::try_from(number).unwrap());
        let make = |id: usize| {
            with(&format!("{number}.{id}"), |it| {
                it.recipients = vec![address];
                set(it);
            })
        };
        let first = bench.accepted(make(0));
        bench.accepted(make(1));
        let head = bench.info().head;
        assert_eq!(bench.one(Op::Accept(make(2))), Outcome::Full);
        assert_eq!(bench.info().head, head);
        let mut other = make(3);
        other.sender = key(9);
        let other = bench.one(Op::Accept(other));
        assert_eq!(other == Outcome::Full, number != 2, "another sender");
        bench.settle(address, Next, first);
        // What was refused is not remembered as taken.
        bench.accepted(make(2));
        assert_eq!(bench.one(Op::Accept(make(4))), Outcome::Full);
    }
}

fn a_full_mailbox_is_left_out(bench: &mut Bench) {
    bench.accepted(sample("a", "text"));
    let all = vec![key(3), key(2), key(4)];
    let outcome = bench.one(Op::Accept(with("b", |it| {
        it.recipients = all.clone();
        it.caps.rows = 1;
    })));
    let Outcome::Accepted { seq, full } = outcome else {
        panic!("not accepted: {outcome:?}");
    };
    assert_eq!(full, [1]);
    assert_eq!(bench.counts(key(2)), [0, 1, 0]);
    assert_eq!(bench.seqs(key(4), Next), [seq]);
    let again = bench.one(Op::Accept(with("b", |it| it.recipients = all.clone())));
    assert_eq!(again, Outcome::Duplicate { seq, recipients: 2 });
    let none = bench.one(Op::Accept(with("c", |it| {
        it.recipients = all;
        it.caps.rows = 1;
    })));
    assert_eq!(none, Outcome::Full);
    let nowhere = bench.one(Op::Accept(with("d", |it| {
        it.recipients = vec![key(77)];
        it.caps.rows = 0;
    })));
    assert_eq!(nowhere, Outcome::Full);
}

fn settling_is_final(bench: &mut Bench) {
    let seq = bench.accepted(sample("a", "text"));
    assert_eq!(bench.settle(key(3), Next, seq), Outcome::NotThere);
    assert_eq!(bench.settle(key(1), Next, seq), Outcome::NotThere);
    assert_eq!(bench.settle(key(2), Now, seq), Outcome::NotThere);
    assert_eq!(bench.settle(key(2), Next, seq + 1), Outcome::NotThere);
    let elsewhere = bench.one(Op::Settle(Delivery {
        mesh: mesh("two"),
        address: key(2),
        class: Next,
        seq,
    }));
    assert_eq!(elsewhere, Outcome::NotThere);
    let settled = Outcome::Settled {
        sender: key(1),
        left: 0,
        many: None,
    };
    assert_eq!(bench.settle(key(2), Next, seq), settled);
    assert_eq!(bench.settle(key(2), Next, seq), Outcome::NotThere);
    assert_eq!(bench.counts(key(2)), [0; 3]);
}

fn pages_are_ordered_and_bounded(bench: &mut Bench) {
    let classes = [Low, Next, Now, Next, Next, Low];
    let seqs: Vec<u64> = classes
        .iter()
        .enumerate()
        .map(|(id, class)| bench.accepted(with(&id.to_string(), |it| it.class = *class)))
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
    assert_eq!(bench.seqs(key(2), Now), [seqs[2]]);
    assert_eq!(bench.seqs(key(2), Next), [seqs[1], seqs[3], seqs[4]]);
    assert_eq!(bench.seqs(key(2), Low), [seqs[0], seqs[5]]);
    assert_eq!(bench.counts(key(2)), [1, 3, 2]);
    let page = bench.page(key(2), Next, 0, 2);
    assert_eq!(
        page.iter().map(|it| it.seq).collect::<Vec<_>>(),
        [seqs[1], seqs[3]]
    );
    let page = bench.page(key(2), Next, seqs[3], 2);
    assert_eq!(page.iter().map(|it| it.seq).collect::<Vec<_>>(), [seqs[4]]);
    assert!(bench.page(key(2), Next, seqs[4], 2).is_empty());
    assert!(bench.page(key(2), Next, 0, 0).is_empty());
    assert!(bench.page(key(99), Next, 0, 9).is_empty());
    assert_eq!(bench.counts(key(99)), [0; 3]);
}

fn expired_rows_are_left_out_and_told(bench: &mut Bench) {
    let short = bench.accepted(with("a", |it| it.expires_at = 5_000));
    let long = bench.accepted(sample("b", "text"));
    let both = bench.accepted(with("c", |it| {
        it.expires_at = 5_000;
        it.recipients = vec![key(2), key(3)];
    }));
    assert_eq!(bench.page_at(key(2), Next, (0, 9), 4_999).len(), 3);
    assert_eq!(bench.page_at(key(2), Next, (0, 9), 5_000).len(), 1);
    assert_eq!(bench.counts(key(2)), [0, 3, 0]);
    let expire = |limit| Op::Expire { now: 5_000, limit };
    let Outcome::Expired(none) = bench.one(Op::Expire {
        now: 4_999,
        limit: 9,
    }) else {
        panic!("no list");
    };
    assert!(none.is_empty());
    bench.settle(key(3), Next, both);
    let mut told = Vec::new();
    // At most `limit` each time, and all of them in the end.
    for expected in [1, 1, 0] {
        let Outcome::Expired(some) = bench.one(expire(1)) else {
            panic!("no list");
        };
        assert_eq!(some.len(), expected);
        for it in some {
            assert_eq!((it.sender, it.reason.as_str()), (key(1), "expired"));
            assert_eq!((it.delivery.address, it.delivery.class), (key(2), Next));
            told.push(it.delivery.seq);
        }
    }
    told.sort_unstable();
    assert_eq!(told, [short, both]);
    let failed = || SendOutcome::Failed("expired".into());
    assert_eq!(
        bench.outcomes(key(1), &[both, long, short]),
        [failed(), SendOutcome::Queued, failed()]
    );
    assert_eq!(bench.settle(key(2), Next, short), Outcome::NotThere);
    assert_eq!(bench.totals()[0], 1);
}

fn an_address_that_is_gone_fails(bench: &mut Bench) {
    let now = bench.accepted(with("a", |it| it.class = Now));
    let next = bench.accepted(sample("b", "text"));
    let both = bench.accepted(with("c", |it| it.recipients = vec![key(2), key(3)]));
    let fail = |limit| Op::FailMailbox {
        mesh: mesh("one"),
        address: key(2),
        reason: "removed".into(),
        now: 2_000,
        limit,
    };
    let mut gone = Vec::new();
    for limit in [1, 9, 9] {
        let Outcome::Expired(some) = bench.one(fail(limit)) else {
            panic!("no list");
        };
        assert!(some.iter().all(|it| it.reason == "removed"));
        gone.push(some.iter().map(|it| it.delivery.seq).collect::<Vec<_>>());
    }
    assert_eq!(gone, [vec![now], vec![next, both], vec![]]);
    assert_eq!(bench.counts(key(2)), [0; 3]);
    let failed = SendOutcome::Failed("removed".into());
    assert_eq!(
        bench.outcomes(key(1), &[now, both]),
        [failed.clone(), SendOutcome::Queued]
    );
    bench.settle(key(3), Next, both);
    assert_eq!(bench.outcomes(key(1), &[both]), [failed]);
    bench.accepted(with("d", |it| it.caps.rows = 1));
}

fn outcomes_are_the_senders_alone(bench: &mut Bench) {
    let queued = bench.accepted(sample("a", "text"));
    let failing = bench.accepted(with("b", |it| it.expires_at = 1));
    let settled = bench.accepted(sample("c", "text"));
    bench.settle(key(2), Next, settled);
    bench.one(Op::Expire { now: 2, limit: 9 });
    let seqs = [failing, 0, queued, settled, settled + 1, u64::MAX];
    use SendOutcome::{Delivered, Failed, Queued, Unknown};
    let failed = Failed("expired".into());
    assert_eq!(
        bench.outcomes(key(1), &seqs),
        [failed, Unknown, Queued, Delivered, Unknown, Unknown]
    );
    let others = bench.outcomes(key(5), &seqs);
    assert_eq!(others[..3], [Unknown, Unknown, Unknown]);
    assert!(bench.outcomes(key(1), &[]).is_empty());
}

fn old_records_are_forgotten(bench: &mut Bench) {
    const DAY: u64 = 86_400_000;
    let first = bench.accepted(with("a", |it| it.expires_at = 2_000));
    bench.one(Op::Expire {
        now: 2_000,
        limit: 9,
    });
    let failed = SendOutcome::Failed("expired".into());
    let mut prune = |now| assert_eq!(bench.one(Op::Prune { now, limit: 9 }), Outcome::Done);
    prune(30 * DAY + 2_000);
    assert_eq!(bench.outcomes(key(1), &[first]), [failed]);
    let mut prune = |now| assert_eq!(bench.one(Op::Prune { now, limit: 9 }), Outcome::Done);
    prune(31 * DAY + 1_000);
    assert_eq!(bench.outcomes(key(1), &[first]), [SendOutcome::Delivered]);
    let known = bench.one(Op::Accept(with("a", |it| it.lookup_only = true)));
    let seq = first;
    assert_eq!(known, Outcome::Duplicate { seq, recipients: 1 });
    let now = 31 * DAY + 1_001;
    bench.one(Op::Prune { now, limit: 9 });
    assert_eq!(bench.info().clock, now);
    let seq = bench.accepted(sample("a", "text"));
    assert!(seq > first);
}

fn a_commit_keeps_order(bench: &mut Bench) {
    let mut ops: Vec<Op> = (0..300)
        .map(|id| Op::Accept(with(&id.to_string(), |it| it.caps.rows = 1_000)))
        .collect();
    for op in &mut ops {
        if let Op::Accept(accept) = op {
            accept.caps.rows_per_sender = 1_000;
        }
    }
    let head = bench.info().head;
    ops.push(Op::Accept(sample("7", "text")));
    ops.push(Op::Settle(Delivery {
        mesh: mesh("one"),
        address: key(2),
        class: Next,
        seq: head + 1,
    }));
    ops.push(Op::Accept(with("full", |it| it.caps.rows = 299)));
    let outcomes = bench.commit(&ops);
    for (place, outcome) in (1..=300).zip(&outcomes) {
        let seq = head + place;
        assert_eq!(*outcome, Outcome::Accepted { seq, full: vec![] });
    }
    let seen = Outcome::Duplicate {
        seq: head + 8,
        recipients: 1,
    };
    assert_eq!(outcomes[300], seen);
    assert!(matches!(outcomes[301], Outcome::Settled { left: 0, .. }));
    assert_eq!(outcomes[302], Outcome::Full);
    let expected: Vec<u64> = (head + 2..=head + 300).collect();
    assert_eq!(bench.seqs(key(2), Next), expected);
    assert_eq!(bench.info().head, head + 300);
}

fn a_seq_is_never_used_again(bench: &mut Bench) {
    let mut last = 0;
    for id in 0..4 {
        let seq = bench.accepted(sample(&id.to_string(), "text"));
        assert!(seq > last);
        assert_eq!(bench.info().head, seq);
        bench.settle(key(2), Next, seq);
        last = seq;
    }
}
