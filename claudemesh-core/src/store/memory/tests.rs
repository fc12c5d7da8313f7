use super::*;
use crate::id::{ChannelName, Hash, KeyId};
use crate::store::{Delivery, NewLocked, ReaderName, conformance};

#[test]
fn conforms() {
    conformance::run(|| Box::new(MemoryStore::new()));
}

fn received(n: u64, kind: Kind, body: usize) -> PeerOp {
    PeerOp::Insert(Box::new(NewInbox {
        kind,
        channel: None,
        to: None,
        device_of: None,
        sender: PublicKey(Hash::ZERO.0),
        sender_name: None,
        verified: true,
        id: MessageId::from_parts(n, [0; 10]),
        delivery: Delivery {
            broker_id: n.to_string(),
            dedupe: n.to_string(),
        },
        priority: Priority::Next,
        content_type: "text/plain".into(),
        body: vec![b'x'; body],
        attributes: Vec::new(),
        reply_to: None,
        sent_at: n,
        received_at: n,
    }))
}

fn inbox(store: &MemoryStore) -> Vec<InboxRow> {
    match store.read(&Query::Inbox { limit: u32::MAX }) {
        Ok(Rows::Inbox(rows)) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn forgets_the_oldest_taken_rows_but_none_untaken() {
    let mut store = MemoryStore::new();
    let many = INBOX_ROWS as u64 + 100;
    let ops: Vec<PeerOp> = (0..many).map(|n| received(n, Kind::Direct, 1)).collect();
    store.apply(&ops).unwrap();
    assert_eq!(inbox(&store).len() as u64, many);
    let reader = ReaderName("r".into());
    store
        .apply(&[PeerOp::Take {
            reader,
            class: Priority::Next,
            seq: 60,
        }])
        .unwrap();
    assert_eq!(inbox(&store)[0].seq, 61);
    assert_eq!(
        store.apply(&[received(0, Kind::Direct, 1)]).unwrap(),
        [Outcome::Duplicate]
    );
}

#[test]
fn bodies_of_rejected_rows_are_bounded() {
    let mut store = MemoryStore::new();
    for n in 0..70 {
        store
            .apply(&[received(n, Kind::Rejected, 1 << 20)])
            .unwrap();
    }
    assert_eq!(inbox(&store).len(), 64);
    assert_eq!(store.inbox_bytes, 64 << 20);
}

#[test]
fn keys_and_final_rows_are_bounded() {
    let mut store = MemoryStore::new();
    let many = DEDUPE_KEYS as u64 + 5;
    let ops: Vec<PeerOp> = (0..many).map(|n| received(n, Kind::Rejected, 0)).collect();
    store.apply(&ops).unwrap();
    assert_eq!(
        (store.known.len(), store.known_order.len()),
        (DEDUPE_KEYS, DEDUPE_KEYS)
    );
    for n in 0..FINAL_ROWS as u64 + 5 {
        let id = MessageId::from_parts(n, [0; 10]);
        let message = NewOutbox {
            id: id.clone(),
            to: PublicKey([1; 32]).into(),
            frame: String::new(),
            priority: Priority::Next,
            created_at: 0,
            expires_at: 0,
            lane: 0,
            sent: false,
        };
        store
            .apply(&[
                PeerOp::Enqueue(Box::new(message)),
                PeerOp::Cancel { id, at: 0 },
            ])
            .unwrap();
    }
    assert_eq!(
        (store.outbox.len(), store.places.len()),
        (FINAL_ROWS, FINAL_ROWS)
    );
}

#[test]
fn frames_of_locked_messages_are_bounded() {
    let mut store = MemoryStore::new();
    let lock = |n: u64| {
        PeerOp::Lock(Box::new(NewLocked {
            broker_id: n.to_string(),
            key_id: KeyId([1; 16]),
            channel: ChannelName::new("*").unwrap(),
            frame: "x".repeat(1 << 20),
            received_at: n,
        }))
    };
    for n in 0..64 {
        assert_eq!(store.apply(&[lock(n)]).unwrap(), [Outcome::Row(n + 1)]);
    }
    assert_eq!(store.apply(&[lock(64)]).unwrap(), [Outcome::NotThere]);
    store.apply(&[PeerOp::Unlock(1)]).unwrap();
    assert_eq!(store.apply(&[lock(64)]).unwrap(), [Outcome::Row(65)]);
}
