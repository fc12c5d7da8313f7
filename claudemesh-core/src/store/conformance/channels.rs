//! Channels: what is sent to them and received in them, locked messages, logs, keys, values.

use super::{
    Case, accepted, apply, by_id, cancel, enqueue, final_, fresh, incoming, insert, key, names,
    offer, open, outgoing, place, queue, received, seal, sending, take, unread,
};
use crate::id::Priority::{Next, Now};
use crate::id::{ChannelName, Hash, KeyId, Signature, Target};
use crate::membership::SignedEntry;
use crate::store::{
    FORGET_MS, KEEP_MS, KeptRoot, Kind, LockedRow, MAX_LOCKED, NewInbox, NewLocked, NewOutbox,
    Outcome, PRUNE_STEP, PeerOp, PeerStore, Query, ReaderStart, Rows, SeenValue, SendState,
    StoredChannelEntry, StoredKey,
};

pub(super) const CASES: &[Case] = &[
    a_channel_is_no_peer,
    held_channels_are_left_out,
    a_queued_frame_is_replaced,
    only_queued_frames_are_replaced,
    rows_of_channels_are_read,
    read_rows_of_channels_are_pruned,
    locked_messages_come_in_order,
    a_message_is_locked_once,
    locked_messages_are_taken_out,
    locked_messages_are_opened_into_the_inbox,
    locked_messages_are_bounded,
    old_locked_messages_are_pruned,
    a_prune_is_one_step,
    channel_logs_grow_in_order,
    keys_come_by_channel_and_epoch,
    a_root_is_added_and_never_replaced,
    the_same_key_may_stand_in_two_channels,
    values_are_replaced,
    nothing_of_channels_is_there_at_first,
];

const NOW: u64 = 10 * FORGET_MS;

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

pub(super) fn to_channel(id: &str, name: &str) -> NewOutbox {
    NewOutbox {
        to: channel(name).into(),
        ..outgoing(id, 1, 0)
    }
}

pub(super) fn in_channel(dedupe: &str, name: &str) -> NewInbox {
    NewInbox {
        kind: Kind::Channel,
        channel: Some(channel(name)),
        ..incoming(dedupe, 1, Next)
    }
}

pub(super) fn locked(broker_id: &str, key: u8, received_at: u64) -> NewLocked {
    NewLocked {
        broker_id: broker_id.into(),
        key_id: KeyId([key; 16]),
        channel: channel("#topic"),
        frame: format!("{{\"type\":\"push\",\"messageId\":\"{broker_id}\",\"text\":\"é\"}}"),
        received_at,
    }
}

pub(super) fn lock(message: NewLocked) -> PeerOp {
    PeerOp::Lock(Box::new(message))
}

pub(super) fn entry(name: &str, seq: u64, byte: u8) -> StoredChannelEntry {
    StoredChannelEntry {
        channel: channel(name),
        seq,
        entry: SignedEntry {
            bytes: vec![byte; 40],
            signature: Signature([byte; 64]),
            cosignature: seq.is_multiple_of(2).then_some(Signature([!byte; 64])),
        },
    }
}

pub(super) fn log(entry: StoredChannelEntry) -> PeerOp {
    PeerOp::ChannelLog(Box::new(entry))
}

pub(super) fn stored_key(name: &str, id: u8, epoch: u64, root: Option<u8>) -> StoredKey {
    StoredKey {
        channel: channel(name),
        key_id: KeyId([id; 16]),
        epoch,
        statement: vec![id, 0, 255],
        signature: Signature([id; 64]),
        root: root.map(|byte| KeptRoot::new([byte; 32])),
    }
}

pub(super) fn keep(key: StoredKey) -> PeerOp {
    PeerOp::ChannelKey(Box::new(key))
}

pub(super) fn seen(what: &str, name: &str, version: u64) -> SeenValue {
    SeenValue {
        what: what.into(),
        name: name.into(),
        version,
        hash: Hash([version as u8; 32]),
    }
}

pub(super) fn value(value: SeenValue) -> PeerOp {
    PeerOp::Value(Box::new(value))
}

#[track_caller]
fn waiting(store: &dyn PeerStore, key: Option<u8>, limit: u32) -> Vec<LockedRow> {
    let key_id = key.map(|key| KeyId([key; 16]));
    match store.read(&Query::Locked { key_id, limit }).unwrap() {
        Rows::Locked(rows) => rows,
        other => panic!("expected locked rows, got {other:?}"),
    }
}

fn broker_ids(rows: &[LockedRow]) -> Vec<&str> {
    let ids = rows.iter().map(|row| row.message.broker_id.as_str());
    ids.collect()
}

#[track_caller]
fn keys(store: &dyn PeerStore) -> Vec<StoredKey> {
    match store.read(&Query::ChannelKeys).unwrap() {
        Rows::ChannelKeys(keys) => keys,
        other => panic!("expected keys, got {other:?}"),
    }
}

#[track_caller]
fn logs(store: &dyn PeerStore) -> Vec<StoredChannelEntry> {
    match store.read(&Query::ChannelLogs).unwrap() {
        Rows::ChannelLogs(entries) => entries,
        other => panic!("expected entries, got {other:?}"),
    }
}

fn a_channel_is_no_peer(store: &mut dyn PeerStore) {
    // As many bytes as a key, and the very bytes of one.
    let long = format!("@{}", "a".repeat(31));
    let mut bytes = [b'a'; 32];
    bytes[0] = b'@';
    let peer = NewOutbox {
        to: crate::id::PublicKey(bytes).into(),
        ..outgoing("peer", 1, 0)
    };
    let longest = format!("#{}", "z".repeat(64));
    let messages = [
        to_channel("all", "*"),
        to_channel("group", &long),
        peer,
        to_channel("topic", &longest),
        to_channel("state", "$state"),
    ];
    for message in messages.clone() {
        place(store, enqueue(message));
    }
    let rows = sending(store, &queue(0));
    let rows: Vec<_> = rows.into_iter().map(|row| row.message).collect();
    assert_eq!(rows, messages);
    let without = |to: Target| Query::Outbox {
        lane: 0,
        after: 0,
        except: vec![to],
        limit: 9,
    };
    let rows = sending(store, &without(channel(&long).into()));
    assert_eq!(names(&rows), ["all", "peer", "topic", "state"]);
    let rows = sending(store, &without(messages[2].to.clone()));
    assert_eq!(names(&rows), ["all", "group", "topic", "state"]);
}

fn held_channels_are_left_out(store: &mut dyn PeerStore) {
    for message in [
        to_channel("a", "#one"),
        outgoing("b", 1, 0),
        to_channel("c", "#two"),
        to_channel("d", "#one"),
        outgoing("e", 2, 0),
    ] {
        place(store, enqueue(message));
    }
    let rows = |except: &[Target], limit| {
        let query = Query::Outbox {
            lane: 0,
            after: 0,
            except: except.to_vec(),
            limit,
        };
        sending(store, &query)
    };
    let (one, two) = (channel("#one").into(), channel("#two").into());
    let (first, other) = (key(1).into(), channel("#none").into());
    assert_eq!(names(&rows(&[Target::clone(&one)], 2)), ["b", "c"]);
    assert_eq!(names(&rows(&[one, first], 9)), ["c", "e"]);
    assert_eq!(names(&rows(&[two, other], 9)), ["a", "b", "d", "e"]);
}

fn a_queued_frame_is_replaced(store: &mut dyn PeerStore) {
    let message = to_channel("a", "#topic");
    for message in [message.clone(), to_channel("b", "#topic")] {
        place(store, enqueue(message));
    }
    assert_eq!(apply(store, seal("a", "sealed é")), Outcome::Done);
    let row = by_id(store, "a");
    let mut sealed = message;
    sealed.frame = "sealed é".into();
    assert_eq!((row.place, row.message), (1, sealed));
    assert_eq!(names(&sending(store, &queue(0))), ["a", "b"]);
    // Sent, and refused: the new one was not sent, so that it may be cancelled.
    apply(store, PeerOp::Sent(vec![super::id("a")]));
    assert_eq!(apply(store, seal("a", "anew")), Outcome::Done);
    let row = by_id(store, "a");
    assert_eq!(
        (row.message.frame.as_str(), row.message.sent),
        ("anew", false)
    );
    assert_eq!(row.state, SendState::Queued);
    assert_eq!(apply(store, cancel("a")), Outcome::Done);
}

fn only_queued_frames_are_replaced(store: &mut dyn PeerStore) {
    for name in ["accepted", "delivered", "failed", "cancelled"] {
        place(store, enqueue(to_channel(name, "#topic")));
    }
    apply(store, accepted("accepted"));
    apply(store, final_("delivered", SendState::Delivered, None));
    apply(store, final_("failed", SendState::Failed, Some("why")));
    apply(store, cancel("cancelled"));
    for name in ["accepted", "delivered", "failed", "cancelled"] {
        let before = by_id(store, name);
        assert_eq!(apply(store, seal(name, "anew")), Outcome::NotThere);
        assert_eq!(by_id(store, name), before);
    }
    assert_eq!(apply(store, seal("none", "anew")), Outcome::NotThere);
    // Once it is to be sent again, it can be sealed again.
    apply(store, PeerOp::Requeue);
    assert_eq!(apply(store, seal("accepted", "anew")), Outcome::Done);
    assert_eq!(by_id(store, "accepted").message.frame, "anew");
}

fn rows_of_channels_are_read(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    let mut urgent = in_channel("now", "*");
    urgent.priority = Now;
    let mut rejected = incoming("bad", 1, Next);
    rejected.kind = Kind::Rejected;
    let messages = [
        in_channel("c1", "#topic"),
        incoming("d1", 1, Next),
        rejected,
        in_channel("c2", "@group"),
        urgent,
    ];
    for message in messages.clone() {
        place(store, insert(message));
    }
    let rows = received(store, &Query::Inbox { limit: 9 });
    let rows: Vec<_> = rows.into_iter().map(|row| row.message).collect();
    assert_eq!(rows, messages);
    assert_eq!(unread(store, "r"), fresh(&["now", "c1", "d1", "c2"]));
    apply(store, offer("r", Next, 1));
    assert_eq!(unread(store, "r")[1], ("c1".into(), true));
    apply(store, take("r", Next, 2));
    assert_eq!(unread(store, "r"), fresh(&["now", "c2"]));
    assert_eq!(unread(store, "new"), fresh(&["now", "c2"]));
    // Known again, wherever it was said.
    assert_eq!(
        apply(store, insert(in_channel("d1", "*"))),
        Outcome::Duplicate
    );
}

fn read_rows_of_channels_are_pruned(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    for name in ["a", "b"] {
        place(store, insert(in_channel(name, "#topic")));
    }
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(0));
    apply(store, take("r", Next, 1));
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(1));
    let left = received(store, &Query::Inbox { limit: 9 });
    assert_eq!((left.len(), left[0].seq), (1, 2));
}

fn locked_messages_come_in_order(store: &mut dyn PeerStore) {
    // Neither by id, nor by key, nor by time.
    let mut messages = [
        locked("z", 2, 9),
        locked("a", 1, 5),
        locked("m", 2, 7),
        locked("far", 1, u64::MAX),
    ];
    messages[1].channel = channel("*");
    let places: Vec<u64> = (messages.iter().cloned())
        .map(|message| place(store, lock(message)))
        .collect();
    assert!(places.is_sorted_by(|a, b| a < b));
    messages[3].received_at = i64::MAX as u64;
    let rows: Vec<_> = (places.iter().zip(messages))
        .map(|(place, message)| LockedRow {
            place: *place,
            message,
        })
        .collect();
    assert_eq!(waiting(store, None, 9), rows);
    assert_eq!(broker_ids(&waiting(store, None, 2)), ["z", "a"]);
    assert_eq!(broker_ids(&waiting(store, Some(2), 9)), ["z", "m"]);
    assert_eq!(broker_ids(&waiting(store, Some(1), 1)), ["a"]);
    assert!(waiting(store, Some(3), 9).is_empty() && waiting(store, None, 0).is_empty());
    let inbox = received(store, &Query::Inbox { limit: 9 });
    assert!(inbox.is_empty() && unread(store, "r").is_empty());
}

fn a_message_is_locked_once(store: &mut dyn PeerStore) {
    let first = place(store, lock(locked("a", 1, 5)));
    assert_eq!(apply(store, lock(locked("a", 2, 6))), Outcome::Duplicate);
    assert_eq!(waiting(store, None, 9)[0].message, locked("a", 1, 5));
    let second = place(store, lock(locked("b", 1, 5)));
    assert_eq!(second, first + 1, "what was there used up no place");
}

fn locked_messages_are_taken_out(store: &mut dyn PeerStore) {
    let first = place(store, lock(locked("a", 1, 5)));
    let second = place(store, lock(locked("b", 1, 5)));
    assert_eq!(apply(store, PeerOp::Unlock(second)), Outcome::Done);
    for place in [second, 0, second + 1, u64::MAX] {
        assert_eq!(apply(store, PeerOp::Unlock(place)), Outcome::NotThere);
    }
    assert_eq!(waiting(store, None, 9)[0].place, first);
    // It may come again, at a place that was not given before.
    assert_eq!(place(store, lock(locked("b", 1, 5))), second + 1);
}

fn locked_messages_are_opened_into_the_inbox(store: &mut dyn PeerStore) {
    let at = place(store, lock(locked("a", 1, 5)));
    let ops = [insert(in_channel("a", "#topic")), PeerOp::Unlock(at)];
    let outcomes = store.apply(&ops).unwrap();
    assert_eq!(outcomes, [Outcome::Row(1), Outcome::Done]);
    assert!(waiting(store, None, 9).is_empty());
    assert_eq!(unread(store, "r"), fresh(&["a"]));
    // Another process did the same at the same time.
    let outcomes = store.apply(&ops).unwrap();
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::NotThere]);
    // In one call, in order.
    let ops = [lock(locked("b", 1, 5)), PeerOp::Unlock(at + 1)];
    let outcomes = store.apply(&ops).unwrap();
    assert_eq!(outcomes, [Outcome::Row(at + 1), Outcome::Done]);
}

fn locked_messages_are_bounded(store: &mut dyn PeerStore) {
    let many = |n: u64| lock(locked(&n.to_string(), 1, 5));
    let ops: Vec<PeerOp> = (0..MAX_LOCKED).map(many).collect();
    let outcomes = store.apply(&ops).unwrap();
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Row(_))));
    assert_eq!(apply(store, many(MAX_LOCKED)), Outcome::NotThere);
    assert_eq!(
        apply(store, many(0)),
        Outcome::Duplicate,
        "it is there still"
    );
    assert_eq!(waiting(store, None, u32::MAX).len() as u64, MAX_LOCKED);
    apply(store, PeerOp::Unlock(1));
    place(store, many(MAX_LOCKED));
    assert_eq!(apply(store, many(0)), Outcome::NotThere);
}

fn old_locked_messages_are_pruned(store: &mut dyn PeerStore) {
    for (name, at) in [
        ("new", NOW - KEEP_MS),
        ("old", NOW - KEEP_MS - 1),
        ("young", NOW),
        ("older", 0),
    ] {
        place(store, lock(locked(name, 1, at)));
    }
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(2));
    assert_eq!(broker_ids(&waiting(store, None, 9)), ["new", "young"]);
    let again = place(store, lock(locked("older", 1, NOW)));
    assert_eq!(again, 5, "places are not given twice");
    assert_eq!(apply(store, PeerOp::Prune { now: NOW }), Outcome::Count(0));
}

/// All kinds of rows count towards the rows of one step.
fn a_prune_is_one_step(store: &mut dyn PeerStore) {
    let ops: Vec<PeerOp> = (0..PRUNE_STEP)
        .map(|n| lock(locked(&n.to_string(), 1, 0)))
        .collect();
    store.apply(&ops).unwrap();
    place(store, enqueue(outgoing("a", 1, 0)));
    apply(store, cancel("a"));
    let prune = PeerOp::Prune { now: NOW };
    assert_eq!(apply(store, prune.clone()), Outcome::Count(PRUNE_STEP));
    assert_eq!(waiting(store, None, 9).len(), 1);
    assert_eq!(apply(store, prune), Outcome::Count(1));
}

fn channel_logs_grow_in_order(store: &mut dyn PeerStore) {
    for seq in [0, 2, u64::MAX] {
        let outcome = apply(store, log(entry("#a", seq, 1)));
        assert_eq!(outcome, Outcome::NotThere, "{seq}: not the first");
    }
    assert!(logs(store).is_empty());
    // Each channel has a log of its own.
    for (name, seq) in [("#b", 1), ("#a", 1), ("#a", 2), ("@a", 1), ("#a", 3)] {
        let outcome = apply(store, log(entry(name, seq, 1)));
        assert_eq!(outcome, Outcome::Done);
    }
    for (name, seq) in [("#a", 5), ("#b", 3), ("#a", 0), ("@a", u64::MAX)] {
        let outcome = apply(store, log(entry(name, seq, 1)));
        assert_eq!(outcome, Outcome::NotThere, "{name} {seq}: a gap");
    }
    assert_eq!(
        apply(store, log(entry("#a", 2, 9))),
        Outcome::Done,
        "known, and not changed"
    );
    let kept = [("#a", 1), ("#a", 2), ("#a", 3), ("#b", 1), ("@a", 1)];
    assert_eq!(logs(store), kept.map(|(name, seq)| entry(name, seq, 1)));
    // Two of one call, of which one is needed for the other.
    let ops = [log(entry("#b", 2, 1)), log(entry("#b", 3, 1))];
    assert_eq!(store.apply(&ops).unwrap(), [Outcome::Done, Outcome::Done]);
    assert_eq!(logs(store).len(), 7);
}

fn keys_come_by_channel_and_epoch(store: &mut dyn PeerStore) {
    let kept = [
        stored_key("@b", 7, 1, None),
        stored_key("#a", 5, 10, Some(1)),
        stored_key("#a", 9, 2, None),
        // Two of one epoch: the first one comes first, whatever their ids are.
        stored_key("#a", 3, 2, Some(2)),
        stored_key("*", 1, 1, Some(3)),
        stored_key("#a", 4, 2, None),
        stored_key("#a", 2, 1, None),
    ];
    for key in kept.clone() {
        assert_eq!(apply(store, keep(key)), Outcome::Done);
    }
    let order = [6, 2, 3, 5, 1, 4, 0].map(|at: usize| kept[at].clone());
    assert_eq!(keys(store), order);
    apply(store, keep(stored_key("@b", 8, u64::MAX, None)));
    let last = keys(store).pop().unwrap();
    assert_eq!(last, stored_key("@b", 8, i64::MAX as u64, None));
}

fn a_root_is_added_and_never_replaced(store: &mut dyn PeerStore) {
    let bare = stored_key("#a", 1, 1, None);
    for key in [bare.clone(), bare.clone(), stored_key("#a", 2, 1, Some(2))] {
        assert_eq!(apply(store, keep(key)), Outcome::Done);
    }
    assert_eq!(keys(store)[0], bare);
    // The root is all that is taken of it, and the key keeps its place.
    let mut other = stored_key("#a", 1, 5, Some(3));
    other.statement = b"other".to_vec();
    other.signature = Signature([0; 64]);
    assert_eq!(apply(store, keep(other)), Outcome::Done);
    let mut full = bare.clone();
    full.root = Some(KeptRoot::new([3; 32]));
    let both = [full, stored_key("#a", 2, 1, Some(2))];
    assert_eq!(keys(store), both);
    for root in [Some(4), None] {
        let key = stored_key("#a", 1, 1, root);
        assert_eq!(apply(store, keep(key)), Outcome::Done);
        assert_eq!(keys(store), both);
    }
}

fn the_same_key_may_stand_in_two_channels(store: &mut dyn PeerStore) {
    let kept = ["#a", "#b"].map(|name| stored_key(name, 1, 1, None));
    for key in kept.clone() {
        apply(store, keep(key));
    }
    assert_eq!(keys(store), kept);
    apply(store, keep(stored_key("#b", 1, 1, Some(1))));
    assert_eq!(keys(store)[0], kept[0], "the other has no root yet");
}

fn values_are_replaced(store: &mut dyn PeerStore) {
    for (what, name, version) in [
        ("state", "b", 1),
        ("memory", "b", 7),
        ("state", "a", u64::MAX),
        ("state", "b", 5),
        ("summary", "", 0),
        ("memory", "b", 6),
    ] {
        let outcome = apply(store, value(seen(what, name, version)));
        assert_eq!(outcome, Outcome::Done);
    }
    let mut largest = seen("state", "a", u64::MAX);
    largest.version = i64::MAX as u64;
    let kept = vec![
        seen("memory", "b", 6),
        largest,
        seen("state", "b", 5),
        seen("summary", "", 0),
    ];
    assert_eq!(store.read(&Query::Values).unwrap(), Rows::Values(kept));
}

fn nothing_of_channels_is_there_at_first(store: &mut dyn PeerStore) {
    assert!(waiting(store, None, 9).is_empty());
    assert!(logs(store).is_empty() && keys(store).is_empty());
    let none = Rows::Values(Vec::new());
    assert_eq!(store.read(&Query::Values).unwrap(), none);
    // Roots, logs and values stay, however old they are.
    let ops = [
        log(entry("#a", 1, 1)),
        keep(stored_key("#a", 1, 1, Some(1))),
        value(seen("state", "a", 1)),
        PeerOp::Prune { now: u64::MAX },
    ];
    let outcomes = store.apply(&ops).unwrap();
    assert_eq!(outcomes[3], Outcome::Count(0));
    assert_eq!((logs(store).len(), keys(store).len()), (1, 1));
    assert_ne!(store.read(&Query::Values).unwrap(), none);
}
