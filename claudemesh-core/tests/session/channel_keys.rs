//! Keys of channels that the broker does not show at once: what waits for them is opened all the same.

use claudemesh_core::channel::{Keyring, Rotation, seal_to_channel};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{ChannelName, MessageId};
use claudemesh_core::message::{Content, FORM, TEXT};
use claudemesh_core::session::{Event, In};
use claudemesh_core::store::{MemoryStore, PeerStore, Query, Rows};
use claudemesh_core::wire::{
    CAP_CHANNELS, ClientFrame, ErrorFrame, KeyRecord, Keys, KeysGet, LogAppended, NewKey, Push,
    SignedBlob, errors::code,
};

use crate::support::*;

/// How long an answer is waited for, and then until the question is asked again at the latest, ms.
const ROUND_MS: u64 = 10_000 + 5_000 * 5 / 4;

/// Whoever writes to `*`, with the keys it made.
struct Author {
    seed: u8,
    ring: Keyring,
    random: Drbg,
}

impl Author {
    fn new(mesh: &Mesh, seed: u8) -> Self {
        let ring = Keyring::new(mesh.id(), ChannelName::everyone(), key(seed));
        let random = Drbg::new([seed; 32]);
        Self { seed, ring, random }
    }

    fn rotate(&mut self, mesh: &Mesh) -> Rotation {
        let me = pair(self.seed);
        let made = self.ring.rotate(&mut self.random, &me, &mesh.log, None);
        let made = made.unwrap();
        self.take(mesh, &made);
        made
    }

    fn take(&mut self, mesh: &Mesh, made: &Rotation) {
        let me = pair(self.seed);
        self.ring.take(&made.statement, &mesh.log, None);
        let own = made.copies.iter().find(|(key, _)| *key == me.public());
        let id = made.statement.key_id();
        self.ring.take_copy(&id, &me, &own.unwrap().1).unwrap();
    }

    /// A message to `*` as the broker would push it.
    fn says(&mut self, mesh: &Mesh, id: &str) -> Push {
        let me = pair(self.seed);
        let (key_id, key) = self.ring.current().unwrap();
        let content = Content {
            id: MessageId::new(id).unwrap(),
            sent_at: NOW,
            due: None,
            reply_to: None,
            content_type: TEXT.to_owned(),
            attributes: Vec::new(),
            body: id.as_bytes().to_vec(),
        };
        let (everyone, head) = (ChannelName::everyone(), Some(mesh.log.head()));
        let nonce = self.random.bytes();
        let sealed = seal_to_channel(
            &mesh.id(),
            &me,
            &everyone,
            key_id,
            key,
            head,
            &content,
            nonce,
        );
        let sealed = sealed.unwrap();
        Push {
            message_id: format!("broker-{id}"),
            mesh_id: mesh.id().as_str().to_owned(),
            sender_pubkey: me.public().to_hex(),
            sender_member_pubkey: Some(me.public().to_hex()),
            target: Some("*".to_owned()),
            priority: "next".into(),
            nonce: sealed.nonce,
            ciphertext: sealed.ciphertext,
            client_message_id: Some(id.into()),
            form: Some(FORM.into()),
            ..Push::default()
        }
    }
}

/// A key as the broker shows it to Ana.
fn record(made: &Rotation) -> KeyRecord {
    let copy = made.copies.iter().find(|(to, _)| *to == key(ANA));
    KeyRecord {
        statement: SignedBlob::new(&made.statement.bytes, &made.statement.signature, None),
        copy: copy.map(|(_, copy)| base64url(copy)),
    }
}

/// The questions for keys of `*` since the last look.
fn asked(rig: &mut Rig) -> Vec<KeysGet> {
    let gets = rig.sent.drain(..).filter_map(|frame| match frame {
        ClientFrame::KeysGet(get) if get.channel == "*" => Some(get),
        _ => None,
    });
    gets.collect()
}

fn shows(rig: &mut Rig, get: &KeysGet, made: &Rotation) {
    rig.frame(Keys {
        channel: "*".to_owned(),
        current: Some(made.statement.key_id().to_hex()),
        keys: vec![record(made)],
        req_id: get.req_id.clone(),
    });
}

fn locked(rig: &Rig) -> usize {
    let query = Query::Locked {
        key_id: None,
        limit: 100,
    };
    match rig.store.read(&query) {
        Ok(Rows::Locked(rows)) => rows.len(),
        other => panic!("{other:?}"),
    }
}

fn read(rig: &Rig) -> Vec<String> {
    let rows = rig.inbox().into_iter();
    rows.map(|row| String::from_utf8(row.message.body).unwrap())
        .collect()
}

/// Ana, connected to a broker with channels, and Ben, who has made the first key of `*`.
fn begin() -> (Rig, Author, Rotation) {
    let mesh = Mesh::new(&[BEN, CEM]);
    let mut rig = Rig::new(&mesh, ANA);
    rig.connect_to(&[CAP_CHANNELS]);
    rig.forget();
    let mut ben = Author::new(&mesh, BEN);
    let first = ben.rotate(&mesh);
    (rig, ben, first)
}

#[test]
fn a_key_whose_answer_came_too_late_is_asked_for_again_on_the_same_connection() {
    let (mut rig, mut ben, first) = begin();
    let mesh = rig.mesh.clone();
    rig.frame(ben.says(&mesh, "a1"));
    assert_eq!(locked(&rig), 1);
    let gets = asked(&mut rig);
    let id = first.statement.key_id().to_hex();
    assert_eq!(gets.len(), 1);
    assert_eq!(gets[0].key_ids, Some(vec![id.clone()]));
    rig.pass(ROUND_MS);
    let again = asked(&mut rig);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].key_ids, Some(vec![id]));
    // The first question is over.
    shows(&mut rig, &gets[0], &first);
    assert_eq!(locked(&rig), 1);
    shows(&mut rig, &again[0], &first);
    assert_eq!((locked(&rig), read(&rig)), (0, vec!["a1".to_owned()]));
    rig.pass(60_000);
    assert!(asked(&mut rig).is_empty());
}

#[test]
fn a_key_that_is_refused_for_now_is_asked_for_again_when_the_broker_says() {
    let (mut rig, mut ben, first) = begin();
    let mesh = rig.mesh.clone();
    rig.frame(ben.says(&mesh, "a1"));
    let gets = asked(&mut rig);
    rig.frame(ErrorFrame {
        code: code::STORE_UNAVAILABLE.to_owned(),
        message: "later".to_owned(),
        req_id: gets[0].req_id.clone(),
        retry_after_ms: Some(20_000),
        ..ErrorFrame::default()
    });
    rig.pass(19_000);
    assert!(asked(&mut rig).is_empty());
    rig.pass(6_000);
    let again = asked(&mut rig);
    assert_eq!(again.len(), 1);
    shows(&mut rig, &again[0], &first);
    assert_eq!((locked(&rig), read(&rig)), (0, vec!["a1".to_owned()]));
}

#[test]
fn what_a_removal_locks_behind_an_unanswered_question_is_read_in_order() {
    let (mut rig, mut ben, first) = begin();
    let mut mesh = rig.mesh.clone();
    rig.frame(ben.says(&mesh, "a1"));
    asked(&mut rig);
    // Cem is removed before the first key is here, so the next key is made.
    let removed = mesh.remove(ANA, CEM);
    rig.frame(LogAppended {
        head: mesh.head(),
        entry: Some(blob(&removed)),
        ..LogAppended::default()
    });
    let second = ben.rotate(&mesh);
    rig.frame(NewKey {
        channel: "*".to_owned(),
        key: record(&second),
    });
    assert!((rig.events).contains(&Event::ChannelRekeyed {
        channel: ChannelName::everyone(),
        epoch: 2
    }));
    rig.frame(ben.says(&mesh, "a2"));
    // It could be opened; what was said before it could not yet.
    assert!(read(&rig).is_empty());
    rig.pass(ROUND_MS);
    assert!(read(&rig).is_empty());
    let again = asked(&mut rig);
    assert_eq!(again.len(), 1);
    shows(&mut rig, &again[0], &first);
    assert_eq!(locked(&rig), 0);
    assert_eq!(read(&rig), ["a1", "a2"]);
}

#[test]
fn a_key_that_nobody_shows_does_not_hold_up_the_rest_for_ever() {
    let (mut rig, mut ben, first) = begin();
    let mut mesh = rig.mesh.clone();
    rig.frame(ben.says(&mesh, "a1"));
    let removed = mesh.remove(ANA, CEM);
    rig.frame(LogAppended {
        head: mesh.head(),
        entry: Some(blob(&removed)),
        ..LogAppended::default()
    });
    let second = ben.rotate(&mesh);
    rig.frame(NewKey {
        channel: "*".to_owned(),
        key: record(&second),
    });
    rig.frame(ben.says(&mesh, "a2"));
    rig.pass(3 * ROUND_MS);
    assert!(read(&rig).is_empty());
    rig.pass(ROUND_MS);
    assert_eq!((locked(&rig), read(&rig)), (1, vec!["a2".to_owned()]));
    // It is asked for all the same, not too often, and opened when it comes.
    asked(&mut rig);
    for _ in 0..4 {
        rig.put(In::Alive);
        rig.pass(ROUND_MS);
    }
    let again = asked(&mut rig);
    assert!((4..=5).contains(&again.len()), "{}", again.len());
    shows(&mut rig, again.last().unwrap(), &first);
    assert_eq!(locked(&rig), 0);
    assert_eq!(read(&rig), ["a2", "a1"]);
}

#[test]
fn what_a_process_left_locked_is_read_before_what_comes_after_it() {
    let (mut rig, mut ben, first) = begin();
    let mesh = rig.mesh.clone();
    rig.frame(ben.says(&mesh, "a1"));
    let gets = asked(&mut rig);
    // It ends when the key is kept, and what waited for it is not opened yet.
    rig.slow_store = true;
    shows(&mut rig, &gets[0], &first);
    let keys = |store: &MemoryStore| match store.read(&Query::ChannelKeys) {
        Ok(Rows::ChannelKeys(keys)) => keys,
        other => panic!("{other:?}"),
    };
    while keys(&rig.store).is_empty() {
        assert!(rig.store_one());
    }
    assert_eq!(locked(&rig), 1);

    let mut rig = Rig::over(&mesh, config(&mesh, ANA, true), rig.store);
    rig.session.restore_channels(Vec::new(), keys(&rig.store));
    rig.slow_store = true;
    rig.put(In::Tick);
    rig.put(In::Opened {
        challenge: None,
        date: None,
    });
    let mut ack = rig.hello_ack();
    (ack.capabilities.as_mut().unwrap()).push(CAP_CHANNELS.to_owned());
    rig.frame(ack);
    // The broker is quicker than the disk.
    rig.frame(ben.says(&mesh, "a2"));
    assert!(read(&rig).is_empty());
    rig.store_all();
    assert_eq!(
        (locked(&rig), read(&rig)),
        (0, vec!["a1".to_owned(), "a2".to_owned()])
    );
}
