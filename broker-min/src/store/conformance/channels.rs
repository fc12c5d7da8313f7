//! Channels: logs, keys and copies, history, and how messages to many end.

use std::sync::Arc;

use claudemesh_core::channel::SignedKeyStatement;
use claudemesh_core::id::{ChannelName, KeyId, Priority, PublicKey, Signature};
use claudemesh_core::membership::SignedEntry;

use super::meshes::{create, entry, load};
use super::{Bench, Check, key, mesh, sample};
use crate::store::{
    Accept, ChannelOp, ChannelQuery, ChannelRow, HistoryRows, KeyCopy, KeyRow, Many, Op, Outcome,
    Query, Rows, SendOutcome,
};

const DAY: u64 = 86_400_000;

pub(super) const CHECKS: &[Check] = &[
    a_channels_log_has_one_next_place,
    a_key_follows_the_current_one_only,
    copies_go_when_nothing_needs_them,
    a_topic_remembers_what_was_said,
    a_page_of_history_is_bounded_in_bytes,
    history_is_bounded_in_time_and_in_rows,
    a_message_to_many_is_counted,
];

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn signed(number: u8) -> SignedEntry {
    *entry(number, false)
}

fn append(bench: &mut Bench, name: &str, seq: u64) -> Outcome {
    bench.one(Op::Channel(ChannelOp::Append {
        mesh: mesh("one"),
        channel: channel(name),
        seq,
        entry: signed(u8::try_from(seq).unwrap()),
    }))
}

fn statement(number: u8) -> SignedKeyStatement {
    SignedKeyStatement {
        bytes: vec![number; 300],
        signature: Signature([number; 64]),
    }
}

fn id(number: u8) -> KeyId {
    statement(number).key_id()
}

fn put_at(bench: &mut Bench, name: &str, number: u8, after: Option<u8>, now: u64) -> Outcome {
    let copies: Vec<KeyCopy> = vec![(key(1), [number; 48]), (key(2), [number + 1; 48])];
    bench.one(Op::Channel(ChannelOp::PutKey {
        mesh: mesh("one"),
        channel: channel(name),
        after: after.map(id),
        statement: statement(number),
        epoch: number.into(),
        copies: Arc::from(copies),
        now,
    }))
}

fn put(bench: &mut Bench, name: &str, number: u8, after: Option<u8>) -> Outcome {
    put_at(bench, name, number, after, 1_000)
}

fn keys(bench: &Bench, name: &str, ids: &[u8], member: u8) -> Vec<KeyRow> {
    let query = Query::Channel(ChannelQuery::Keys {
        mesh: mesh("one"),
        channel: channel(name),
        ids: ids.iter().map(|number| id(*number)).collect(),
        member: key(member),
    });
    match bench.load(&query) {
        Rows::Keys(rows) => rows,
        other => panic!("not keys: {other:?}"),
    }
}

fn history(bench: &Bench, name: &str, before: u64, limit: u32, bytes: u64) -> HistoryRows {
    let query = Query::Channel(ChannelQuery::History {
        mesh: mesh("one"),
        channel: channel(name),
        before,
        limit,
        bytes,
    });
    match bench.load(&query) {
        Rows::History(rows) => rows,
        other => panic!("no history: {other:?}"),
    }
}

fn seqs(rows: &HistoryRows) -> Vec<u64> {
    rows.rows.iter().map(|row| row.seq).collect()
}

fn post(text: &str, to: &str, recipients: &[u8]) -> Box<Accept> {
    let mut accept = sample(text, text);
    accept.channel = Some(channel(to));
    accept.recipients = recipients.iter().map(|n| key(*n)).collect();
    accept
}

fn a_channels_log_has_one_next_place(bench: &mut Bench) {
    assert_eq!(append(bench, "#a", 1), Outcome::NotThere);
    create(bench, "one");
    assert_eq!(append(bench, "#a", 2), Outcome::Conflict { head: 0 });
    assert_eq!(append(bench, "#a", 0), Outcome::Conflict { head: 0 });
    assert_eq!(append(bench, "#a", 1), Outcome::Done);
    assert_eq!(append(bench, "#a", 1), Outcome::Conflict { head: 1 });
    assert_eq!(append(bench, "#a", 2), Outcome::Done);
    assert_eq!(append(bench, "@b", 1), Outcome::Done);
    let row = |name, entries| ChannelRow {
        channel: channel(name),
        entries,
        current: None,
    };
    let rows = [
        row("#a", vec![signed(1), signed(2)]),
        row("@b", vec![signed(1)]),
    ];
    assert_eq!(load(bench).4, rows);
}

fn a_key_follows_the_current_one_only(bench: &mut Bench) {
    assert_eq!(put(bench, "*", 1, None), Outcome::NotThere);
    create(bench, "one");
    let conflict = |current: Option<u8>| Outcome::KeyConflict {
        current: current.map(id),
    };
    assert_eq!(put(bench, "*", 1, Some(9)), conflict(None));
    assert_eq!(put(bench, "*", 1, None), Outcome::Done);
    assert_eq!(put(bench, "*", 3, None), conflict(Some(1)));
    assert_eq!(put(bench, "*", 3, Some(1)), Outcome::Done);
    // A key that was there once never comes back, here.
    assert_eq!(put(bench, "*", 1, Some(3)), conflict(Some(3)));
    assert_eq!(put(bench, "#a", 1, None), Outcome::Done);
    let current: Vec<_> = load(bench).4.into_iter().map(|row| row.current).collect();
    assert_eq!(current, [Some(statement(1)), Some(statement(3))]);
    let row = |number, copy: Option<u8>| KeyRow {
        statement: statement(number),
        copy: copy.map(|byte| [byte; 48]),
    };
    let rows = [row(3, Some(4)), row(1, Some(2))];
    assert_eq!(keys(bench, "*", &[3, 9, 1], 2), rows);
    assert_eq!(keys(bench, "*", &[3], 7), [row(3, None)]);
    assert!(keys(bench, "#a", &[3], 2).is_empty());
    assert!(keys(bench, "#none", &[3], 2).is_empty());
}

fn copies_go_when_nothing_needs_them(bench: &mut Bench) {
    create(bench, "one");
    for name in ["#a", "$state"] {
        put_at(bench, name, 1, None, 1_000);
        put_at(bench, name, 2, Some(1), 1_000 + DAY);
    }
    let limit = 100;
    let has_copy = |bench: &Bench, name: &str, number: u8| {
        let rows = keys(bench, name, &[number], 1);
        assert_eq!(rows[0].statement, statement(number));
        rows[0].copy.is_some()
    };
    let now = 1_000 + 92 * DAY;
    bench.one(Op::Prune { now, limit });
    assert!(has_copy(bench, "#a", 1));
    let now = now + 1;
    for _ in 0..3 {
        bench.one(Op::Prune { now, limit });
    }
    assert!(!has_copy(bench, "#a", 1));
    assert!(has_copy(bench, "#a", 2) && has_copy(bench, "$state", 1));
}

fn a_topic_remembers_what_was_said(bench: &mut Bench) {
    let first = bench.accepted(post("a", "#t", &[2, 3]));
    let second = bench.accepted(post("b", "#t", &[]));
    let other = bench.accepted(post("c", "#u", &[2]));
    bench.accepted(post("d", "@g", &[2]));
    bench.accepted(post("e", "*", &[2]));
    // A repeated one is there once.
    let again = bench.one(Op::Accept(post("a", "#t", &[2, 3])));
    assert!(matches!(again, Outcome::Duplicate { .. }));
    for address in [2, 3] {
        bench.settle(key(address), Priority::Next, first);
    }
    let all = history(bench, "#t", u64::MAX, 10, 1 << 20);
    assert_eq!((seqs(&all), all.more), (vec![second, first], false));
    assert_eq!((&*all.rows[1].tail, all.rows[1].sender), ("a", key(1)));
    assert_eq!(all.rows[1].at, 1_000);
    let page = history(bench, "#t", u64::MAX, 1, 1 << 20);
    assert_eq!((seqs(&page), page.more), (vec![second], true));
    let rest = history(bench, "#t", second, 1, 1 << 20);
    assert_eq!((seqs(&rest), rest.more), (vec![first], false));
    assert_eq!(seqs(&history(bench, "#u", u64::MAX, 9, 99)), [other]);
    assert!(history(bench, "@g", u64::MAX, 9, 99).rows.is_empty());
    // What only one topic's history holds makes no channel of the mesh.
    create(bench, "one");
    assert!(load(bench).4.is_empty());
}

fn a_page_of_history_is_bounded_in_bytes(bench: &mut Bench) {
    for text in ["aaaaaaaa", "bbbbbbbb", "cccccccc"] {
        bench.accepted(post(text, "#t", &[2]));
    }
    let page = history(bench, "#t", u64::MAX, 10, 17);
    assert_eq!((page.rows.len(), page.more), (2, true));
    let page = history(bench, "#t", u64::MAX, 10, 1);
    assert_eq!((page.rows.len(), page.more), (1, true));
}

fn history_is_bounded_in_time_and_in_rows(bench: &mut Bench) {
    let first = bench.accepted(post("a", "#t", &[2]));
    let mut late = post("b", "#t", &[2]);
    late.now = 2_000;
    let second = bench.accepted(late);
    let limit = 100;
    let now = 1_000 + 90 * DAY;
    bench.one(Op::Prune { now, limit });
    let all = |bench: &Bench| seqs(&history(bench, "#t", u64::MAX, 10, 99));
    assert_eq!(all(bench), [second, first]);
    bench.one(Op::Prune {
        now: now + 1,
        limit,
    });
    assert_eq!(all(bench), [second]);
    let ops: Vec<Op> = (0..100_000)
        .map(|_| {
            let mut accept = post("x", "#t", &[]);
            (accept.id, accept.now) = (None, 3_000);
            Op::Accept(accept)
        })
        .collect();
    for ops in ops.chunks(10_000) {
        bench.commit(ops);
    }
    let oldest = history(bench, "#t", second + 2, 10, 99);
    assert_eq!((seqs(&oldest), oldest.more), (vec![second + 1], false));
}

fn a_message_to_many_is_counted(bench: &mut Bench) {
    let sender = key(1);
    let many = |of, failed, left, reason: Option<&str>| {
        Some(Many {
            of,
            failed,
            left,
            reason: reason.map(str::to_owned),
        })
    };
    let settled = |left, many| Outcome::Settled { sender, left, many };
    let settle = |bench: &mut Bench, n: u8, seq| bench.settle(key(n), Priority::Next, seq);
    let fail = |bench: &mut Bench, address: PublicKey| {
        let mesh = mesh("one");
        let (reason, limit) = ("removed".to_owned(), 9);
        let op = Op::FailMailbox {
            mesh,
            address,
            reason,
            now: 5_000,
            limit,
        };
        match bench.one(op) {
            Outcome::Expired(rows) => rows,
            other => panic!("{other:?}"),
        }
    };
    // All well.
    let seq = bench.accepted(post("a", "@g", &[2, 3]));
    assert_eq!(settle(bench, 2, seq), settled(1, many(2, 0, 1, None)));
    assert_eq!(settle(bench, 3, seq), settled(0, many(2, 0, 0, None)));
    assert_eq!(bench.outcomes(sender, &[seq]), [SendOutcome::Delivered]);
    // One fails, the last one settles; and the other way round.
    let failed = |of| SendOutcome::FailedOf {
        reason: "removed".into(),
        failed: 1,
        of,
    };
    let seq = bench.accepted(post("b", "*", &[2, 3, 4]));
    settle(bench, 2, seq);
    assert_eq!(fail(bench, key(3))[0].many, many(3, 1, 1, None));
    assert_eq!(bench.outcomes(sender, &[seq]), [SendOutcome::Queued]);
    let end = settled(0, many(3, 1, 0, Some("removed")));
    assert_eq!(settle(bench, 4, seq), end);
    assert_eq!(bench.outcomes(sender, &[seq]), [failed(3)]);
    let seq = bench.accepted(post("c", "#t", &[2, 3]));
    settle(bench, 2, seq);
    let ended = fail(bench, key(3)).remove(0).many;
    assert_eq!(ended, many(2, 1, 0, Some("removed")));
    assert_eq!(bench.outcomes(sender, &[seq]), [failed(2)]);
    // Nobody is there: it is delivered to all of them. And a direct one counts nothing.
    let none = bench.accepted(post("d", "#t", &[]));
    assert_eq!(bench.outcomes(sender, &[none]), [SendOutcome::Delivered]);
    let direct = bench.accepted(sample("e", "x"));
    assert_eq!(settle(bench, 2, direct), settled(0, None));
}
