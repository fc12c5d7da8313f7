//! Channels' keys that direct messages bring, in a mesh without a log: whose they are, how many are
//! kept, and what is opened under them. The broker, and everybody else, is hostile here.

use claudemesh_core::channel::{
    CHANNEL_KEY, Root, SignedKeyStatement, key_for_reader, seal_to_channel, state_without_log,
};
use claudemesh_core::crypto::{DirectKey, Drbg, X25519Secret};
use claudemesh_core::id::{ChannelName, Hash, MessageId};
use claudemesh_core::membership::Head;
use claudemesh_core::message::{Content, SealedText, TEXT, seal_direct};
use claudemesh_core::session::{Command, Event, Reply, SessionError};
use claudemesh_core::store::{Kind, PeerStore as _, Query, Rows};
use claudemesh_core::wire::{HelloAck, Push};

use crate::legacy::rig;
use crate::statements::EVE;
use crate::support::*;

/// What others say, each under a number of its own.
struct Others {
    count: u64,
}

impl Others {
    fn content(&mut self, rig: &Rig, content_type: &str, body: Vec<u8>) -> Content {
        self.count += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.count.to_be_bytes());
        Content {
            id: MessageId::from_parts(rig.now.wall, random),
            sent_at: rig.now.wall,
            due: None,
            reply_to: None,
            content_type: content_type.to_owned(),
            attributes: Vec::new(),
            body,
        }
    }

    fn nonce(&self) -> [u8; 24] {
        let mut nonce = [0x31; 24];
        nonce[..8].copy_from_slice(&self.count.to_be_bytes());
        nonce
    }

    fn push(&self, rig: &Rig, from: u8, id: &MessageId, sealed: SealedText) -> Push {
        Push {
            message_id: format!("row-{}", self.count),
            mesh_id: rig.mesh.id().as_str().to_owned(),
            sender_pubkey: key(from).to_hex(),
            priority: "next".into(),
            nonce: sealed.nonce,
            ciphertext: sealed.ciphertext,
            created_at: "2026-01-01T00:00:00.000Z".into(),
            client_message_id: Some(id.as_str().to_owned()),
            ..Push::default()
        }
    }

    /// A direct message to Ana that says it brings a key.
    fn brings(&mut self, rig: &mut Rig, from: u8, body: Vec<u8>) {
        let content = self.content(rig, CHANNEL_KEY, body);
        let (me, ana) = (pair(from), key(ANA));
        let box_key = DirectKey::agree(&X25519Secret::of(&me), &ana).unwrap();
        let mesh = rig.mesh.id();
        let sealed = seal_direct(&mesh, &me, &ana, None, &content, &box_key, self.nonce()).unwrap();
        let push = self.push(rig, from, &content.id, sealed);
        rig.frame(push);
    }

    /// A message to `*` under a key, signed by somebody who has it, as that broker multicasts it.
    fn says(
        &mut self,
        rig: &mut Rig,
        from: u8,
        (signed, root): &(SignedKeyStatement, Root),
        head: Option<Head>,
        text: &str,
    ) {
        let content = self.content(rig, TEXT, text.into());
        let id = signed.key_id();
        let (mesh, all) = (rig.mesh.id(), ChannelName::everyone());
        let secret = root.message_key(&id);
        let nonce = self.nonce();
        let sealed = seal_to_channel(
            &mesh,
            &pair(from),
            &all,
            &id,
            &secret,
            head,
            &content,
            nonce,
        )
        .unwrap();
        let mut push = self.push(rig, from, &content.id, sealed);
        push.client_message_id = None;
        push.sender_member_pubkey = Some(key(from).to_hex());
        rig.frame(push);
    }
}

/// A key of this author for Ana, for `*`.
fn made(rig: &Rig, author: u8, epoch: u64, seed: u8) -> (SignedKeyStatement, Root) {
    let root = Root::random(&mut Drbg::new([seed; 32]));
    let mut readers = [key(ANA), key(author)];
    readers.sort_unstable();
    let all = ChannelName::everyone();
    let author = pair(author);
    let signed = state_without_log(
        &rig.mesh.id(),
        &all,
        &author,
        (epoch, None),
        &readers,
        &root,
    );
    (signed, root)
}

fn body(key_of: u8, (signed, root): &(SignedKeyStatement, Root)) -> Vec<u8> {
    key_for_reader(signed, root, &pair(key_of), &key(ANA)).unwrap()
}

fn trust(rig: &mut Rig, whom: u8) {
    let command = rig.command(Command::Trust(key(whom)));
    assert!(matches!(rig.answer(command), Some(Ok(Reply::Trusted(_)))));
}

fn texts(rig: &Rig) -> Vec<String> {
    let rows = rig.inbox().into_iter().map(|row| row.message);
    rows.filter(|message| message.kind == Kind::Channel)
        .map(|message| String::from_utf8(message.body).unwrap())
        .collect()
}

fn rejections(rig: &Rig) -> Vec<String> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Rejected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    told.collect()
}

fn kept_keys(rig: &Rig) -> usize {
    match rig.store.read(&Query::ChannelKeys).unwrap() {
        Rows::ChannelKeys(keys) => keys.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn under_a_key_only_its_author_speaks() {
    let (mut rig, mut others) = (rig(), Others { count: 0 });
    trust(&mut rig, BEN);
    trust(&mut rig, CEM);
    let bens = made(&rig, BEN, 1, 1);
    others.brings(&mut rig, BEN, body(BEN, &bens));
    others.says(&mut rig, BEN, &bens, None, "by its author");
    assert_eq!(texts(&rig), ["by its author"]);
    // Cem is trusted and was given the key, too; it is not Cem's to speak under.
    rig.forget();
    others.says(&mut rig, CEM, &bens, None, "by another reader");
    assert_eq!(texts(&rig).len(), 1);
    assert!(rejections(&rig)[0].contains("another than who made its key"));
}

#[test]
fn a_key_is_brought_by_its_author_alone_and_what_is_damaged_is_told() {
    let (mut rig, mut others) = (rig(), Others { count: 0 });
    trust(&mut rig, BEN);
    trust(&mut rig, CEM);
    let bens = made(&rig, BEN, 1, 1);
    // Handed on by somebody else who is trusted, cut, and changed.
    others.brings(&mut rig, CEM, body(BEN, &bens));
    let whole = body(BEN, &bens);
    others.brings(&mut rig, BEN, whole[..60].to_vec());
    rig.pass(61_000);
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    others.brings(&mut rig, BEN, changed);
    assert_eq!(kept_keys(&rig), 0);
    others.says(&mut rig, BEN, &bens, None, "kept shut");
    assert!(texts(&rig).is_empty());
    // None of them is shown as a message.
    let shown = rig.inbox().into_iter();
    assert_eq!(
        shown
            .filter(|row| row.message.kind != Kind::Rejected)
            .count(),
        0
    );
    // The real one opens what waited.
    others.brings(&mut rig, BEN, whole);
    assert_eq!(
        (kept_keys(&rig), texts(&rig)),
        (1, vec!["kept shut".to_owned()])
    );
}

#[test]
fn keys_of_strangers_are_few_and_push_out_nobody_elses() {
    let (mut rig, mut others) = (rig(), Others { count: 0 });
    trust(&mut rig, BEN);
    let bens = made(&rig, BEN, 1, 1);
    others.brings(&mut rig, BEN, body(BEN, &bens));
    for epoch in 1..=20 {
        let eves = made(&rig, EVE, epoch, 100 + epoch as u8);
        others.brings(&mut rig, EVE, body(EVE, &eves));
    }
    assert_eq!(kept_keys(&rig), 1 + 8);
    others.says(&mut rig, BEN, &bens, None, "still read");
    assert_eq!(texts(&rig), ["still read"]);
}

#[test]
fn who_is_trusted_no_more_is_not_opened_any_more() {
    let (mut rig, mut others) = (rig(), Others { count: 0 });
    trust(&mut rig, BEN);
    let bens = made(&rig, BEN, 1, 1);
    others.brings(&mut rig, BEN, body(BEN, &bens));
    let command = rig.command(Command::Distrust(key(BEN)));
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Done)));
    rig.forget();
    others.says(&mut rig, BEN, &bens, None, "afterwards");
    assert!(texts(&rig).is_empty());
    let locked = |event: &Event| matches!(event, Event::Locked { .. });
    assert!(rig.events.iter().any(locked));
    // Said again, it is opened.
    trust(&mut rig, BEN);
    assert_eq!(texts(&rig), ["afterwards"]);
}

#[test]
fn a_head_in_a_message_says_nothing_where_there_is_no_log() {
    let (mut rig, mut others) = (rig(), Others { count: 0 });
    trust(&mut rig, BEN);
    let bens = made(&rig, BEN, 1, 1);
    others.brings(&mut rig, BEN, body(BEN, &bens));
    rig.forget();
    let head = Head {
        seq: 7,
        hash: Hash([7; 32]),
    };
    others.says(&mut rig, BEN, &bens, Some(head), "with a head");
    rig.pass(60_000);
    let lies = rig.events.iter().filter(|e| matches!(e, Event::LiedTo(_)));
    assert_eq!(lies.count(), 0);
}

#[test]
fn in_a_mesh_with_a_log_there_is_nothing_to_trust() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    for command in [Command::Trust(key(BEN)), Command::Distrust(key(BEN))] {
        let command = rig.command(command);
        assert_eq!(rig.answer(command), Some(&Err(SessionError::TrustedByLog)));
    }
    let known = rig.command(Command::KnownKeys);
    assert_eq!(rig.answer(known), Some(&Ok(Reply::KnownKeys(Vec::new()))));
    // Nor where the broker has forgotten it.
    rig.broken();
    rig.pass(31_000);
    rig.put(claudemesh_core::session::In::Opened {
        challenge: None,
        date: None,
    });
    rig.frame(HelloAck::default());
    let command = rig.command(Command::Trust(key(EVE)));
    assert_eq!(rig.answer(command), Some(&Err(SessionError::TrustedByLog)));
}
