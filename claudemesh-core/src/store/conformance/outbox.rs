//! Sending.

use super::{
    Case, accepted, apply, by_id, cancel, enqueue, final_, id, key, names, outgoing, place, queue,
    sending,
};
use crate::store::{Outcome, PeerOp, PeerStore, Query, Rows, SendState};

pub(super) const CASES: &[Case] = &[
    rows_come_back_as_enqueued,
    an_id_is_enqueued_once,
    the_queue_is_in_order_and_paged,
    lanes_are_adopted,
    a_message_advances,
    final_is_final,
    only_what_was_never_sent_is_cancelled,
    accepted_rows_are_requeued,
    the_list_shows_the_newest,
];

fn rows_come_back_as_enqueued(store: &mut dyn PeerStore) {
    let mut message = outgoing("a", 1, 7);
    message.sent = true;
    let first = place(store, enqueue(message.clone()));
    let row = by_id(store, "a");
    assert_eq!(row.place, first);
    assert_eq!(row.message, message);
    assert_eq!(
        (row.state, row.broker_id, row.reason),
        (SendState::Queued, None, None)
    );
    assert!(sending(store, &Query::OutboxById(vec![id("none")])).is_empty());

    message.id = id("far");
    (message.created_at, message.expires_at) = (u64::MAX, u64::MAX);
    place(store, enqueue(message));
    assert_eq!(by_id(store, "far").message.expires_at, i64::MAX as u64);
}

fn an_id_is_enqueued_once(store: &mut dyn PeerStore) {
    place(store, enqueue(outgoing("a", 1, 0)));
    assert_eq!(
        apply(store, enqueue(outgoing("a", 2, 5))),
        Outcome::Duplicate
    );
    assert_eq!(by_id(store, "a").message, outgoing("a", 1, 0));
    apply(store, cancel("a"));
    assert_eq!(
        apply(store, enqueue(outgoing("a", 1, 0))),
        Outcome::Duplicate
    );
}

fn the_queue_is_in_order_and_paged(store: &mut dyn PeerStore) {
    // Not in the order of their ids, and the urgent one does not overtake: the broker sorts.
    let places: Vec<u64> = [("c", 1), ("a", 2), ("b", 1), ("d", 3)]
        .map(|(name, to)| place(store, enqueue(outgoing(name, to, 0))))
        .to_vec();
    assert!(places.is_sorted());
    place(store, enqueue(outgoing("other", 1, 1)));
    assert_eq!(names(&sending(store, &queue(0))), ["c", "a", "b", "d"]);
    let page = |after, except: &[u8], limit| Query::Outbox {
        lane: 0,
        after,
        except: except.iter().map(|n| key(*n).into()).collect(),
        limit,
    };
    assert_eq!(names(&sending(store, &page(0, &[], 2))), ["c", "a"]);
    assert_eq!(names(&sending(store, &page(places[1], &[], 2))), ["b", "d"]);
    assert_eq!(names(&sending(store, &page(0, &[1], 2))), ["a", "d"]);
    assert_eq!(
        names(&sending(store, &page(places[0], &[2, 3, 9], 9))),
        ["b"]
    );
    assert!(sending(store, &page(0, &[], 0)).is_empty());
    assert!(sending(store, &page(u64::MAX, &[], 9)).is_empty());
}

fn lanes_are_adopted(store: &mut dyn PeerStore) {
    for (name, lane) in [("a", 1), ("b", 2), ("c", 1), ("d", u32::MAX), ("gone", 1)] {
        place(store, enqueue(outgoing(name, 1, lane)));
    }
    apply(store, cancel("gone"));
    assert_eq!(
        store.read(&Query::Lanes).unwrap(),
        Rows::Lanes(vec![1, 2, u32::MAX])
    );
    assert_eq!(
        apply(store, PeerOp::Adopt { from: 1, to: 2 }),
        Outcome::Count(2)
    );
    assert_eq!(names(&sending(store, &queue(2))), ["a", "b", "c"]);
    assert_eq!(by_id(store, "a").message.lane, 2);
    assert_eq!(by_id(store, "gone").message.lane, 1);
    assert_eq!(
        store.read(&Query::Lanes).unwrap(),
        Rows::Lanes(vec![2, u32::MAX])
    );
    assert_eq!(
        apply(store, PeerOp::Adopt { from: 1, to: 2 }),
        Outcome::Count(0)
    );
    assert_eq!(
        apply(store, PeerOp::Adopt { from: 2, to: 2 }),
        Outcome::Count(0)
    );
}

fn a_message_advances(store: &mut dyn PeerStore) {
    place(store, enqueue(outgoing("a", 1, 0)));
    place(store, enqueue(outgoing("b", 1, 0)));
    assert_eq!(apply(store, PeerOp::Sent(vec![id("b")])), Outcome::Done);
    assert!(by_id(store, "b").message.sent && !by_id(store, "a").message.sent);
    assert_eq!(apply(store, accepted("a")), Outcome::Done);
    assert_eq!(apply(store, accepted("none")), Outcome::NotThere);
    let row = by_id(store, "a");
    assert_eq!(
        (row.state, row.broker_id.as_deref()),
        (SendState::Accepted, Some("b-a"))
    );
    assert!(row.message.sent, "what was accepted was sent");
    assert_eq!(names(&sending(store, &queue(0))), ["b"]);
    let again = PeerOp::Accepted {
        id: id("a"),
        broker_id: "other".into(),
    };
    assert_eq!(apply(store, again), Outcome::NotThere);
    assert_eq!(by_id(store, "a").broker_id.as_deref(), Some("b-a"));

    apply(store, accepted("b"));
    let open = |after, limit| Query::OutboxAccepted { after, limit };
    assert_eq!(names(&sending(store, &open(0, 9))), ["a", "b"]);
    assert_eq!(names(&sending(store, &open(0, 1))), ["a"]);
    assert_eq!(
        names(&sending(store, &open(by_id(store, "a").place, 9))),
        ["b"]
    );
    assert_eq!(
        apply(store, final_("a", SendState::Delivered, None)),
        Outcome::Done
    );
    assert_eq!(names(&sending(store, &open(0, 9))), ["b"]);
    let both = Query::OutboxById(vec![id("b"), id("none"), id("a")]);
    assert_eq!(
        names(&sending(store, &both)),
        ["b", "a"],
        "in the order asked"
    );
}

fn final_is_final(store: &mut dyn PeerStore) {
    place(store, enqueue(outgoing("a", 1, 0)));
    for state in [SendState::Queued, SendState::Accepted] {
        assert_eq!(apply(store, final_("a", state, None)), Outcome::NotThere);
    }
    assert_eq!(by_id(store, "a").state, SendState::Queued);
    assert_eq!(
        apply(store, final_("a", SendState::Failed, Some("expired"))),
        Outcome::Done
    );
    let before = by_id(store, "a");
    assert_eq!(
        (before.state, before.reason.as_deref()),
        (SendState::Failed, Some("expired"))
    );
    for op in [
        final_("a", SendState::Delivered, None),
        accepted("a"),
        cancel("a"),
        PeerOp::Sent(vec![id("a")]),
        final_("none", SendState::Delivered, None),
    ] {
        assert_eq!(apply(store, op), Outcome::NotThere);
    }
    assert_eq!(apply(store, PeerOp::Requeue), Outcome::Count(0));
    assert_eq!(by_id(store, "a"), before);
    assert!(sending(store, &queue(0)).is_empty());
}

fn only_what_was_never_sent_is_cancelled(store: &mut dyn PeerStore) {
    for name in ["a", "b", "c"] {
        place(store, enqueue(outgoing(name, 1, 0)));
    }
    let mut direct = outgoing("d", 1, 0);
    direct.sent = true;
    place(store, enqueue(direct));
    apply(store, PeerOp::Sent(vec![id("b")]));
    apply(store, accepted("c"));
    assert_eq!(apply(store, cancel("a")), Outcome::Done);
    let row = by_id(store, "a");
    assert_eq!(
        (row.state, row.reason.as_deref()),
        (SendState::Failed, Some("cancelled"))
    );
    for name in ["a", "b", "c", "d", "none"] {
        assert_eq!(apply(store, cancel(name)), Outcome::NotThere, "{name}");
    }
    // Cancelled meanwhile: who wants to send it is told, and the others are marked.
    place(store, enqueue(outgoing("e", 1, 0)));
    assert_eq!(
        apply(store, PeerOp::Sent(vec![id("a"), id("e")])),
        Outcome::NotThere
    );
    assert!(by_id(store, "e").message.sent && !by_id(store, "a").message.sent);
}

fn accepted_rows_are_requeued(store: &mut dyn PeerStore) {
    for name in ["a", "b", "c", "d"] {
        place(store, enqueue(outgoing(name, 1, 0)));
    }
    for name in ["a", "c", "d"] {
        apply(store, accepted(name));
    }
    apply(store, final_("d", SendState::Delivered, None));
    assert_eq!(apply(store, PeerOp::Requeue), Outcome::Count(2));
    let rows = sending(store, &queue(0));
    assert_eq!(names(&rows), ["a", "b", "c"], "they keep their places");
    assert!(rows.iter().all(|row| row.broker_id.is_none()));
    assert_eq!(
        apply(store, cancel("a")),
        Outcome::NotThere,
        "it was sent once"
    );
    assert_eq!(apply(store, accepted("a")), Outcome::Done);
}

fn the_list_shows_the_newest(store: &mut dyn PeerStore) {
    for name in ["a", "b", "c", "d"] {
        place(store, enqueue(outgoing(name, 1, 0)));
    }
    apply(store, accepted("b"));
    apply(store, cancel("c"));
    let list = |all, limit| Query::OutboxList { all, limit };
    assert_eq!(names(&sending(store, &list(false, 9))), ["a", "b", "d"]);
    assert_eq!(names(&sending(store, &list(false, 2))), ["b", "d"]);
    assert_eq!(names(&sending(store, &list(true, 9))), ["a", "b", "c", "d"]);
    assert_eq!(names(&sending(store, &list(true, 2))), ["c", "d"]);
    assert!(sending(store, &list(true, 0)).is_empty());
}
