//! Direct messages: what is sealed opens, and each check fails as its own error.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

use claudemesh_core::crypto::{BoxError, DirectKey, KeyPair, TAG_LEN, X25519Secret};
use claudemesh_core::encoding::{DecodeError, Decoder, Encoder, base64, unbase64};
use claudemesh_core::id::{Hash, MeshId, MessageId, PublicKey, Signature};
use claudemesh_core::membership::Head;
use claudemesh_core::message::{
    Content, Expected, MAX_AGE_MS, MAX_AHEAD_MS, MAX_BODY, MAX_PADDED, MessageError, Opened,
    SealedText, TEXT, open_bare, open_direct, seal_direct,
};

const NOW: u64 = 1_800_000_000_000;
const NONCE: [u8; 24] = [5; 24];

fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

fn agreed(ours: &KeyPair, theirs: &PublicKey) -> DirectKey {
    DirectKey::agree(&X25519Secret::of(ours), theirs).unwrap()
}

/// Ana writes to Ben.
struct Two {
    mesh: MeshId,
    ana: KeyPair,
    ben: KeyPair,
    ana_key: DirectKey,
    ben_key: DirectKey,
}

fn two() -> Two {
    let (ana, ben) = (pair(1), pair(2));
    Two {
        mesh: MeshId::new("mesh").unwrap(),
        ana_key: agreed(&ana, &ben.public()),
        ben_key: agreed(&ben, &ana.public()),
        ana,
        ben,
    }
}

fn content(body: Vec<u8>) -> Content {
    Content {
        id: MessageId::new("id-1").unwrap(),
        sent_at: NOW,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body,
    }
}

impl Two {
    fn seal(&self, content: &Content) -> Result<SealedText, MessageError> {
        let to = self.ben.public();
        seal_direct(
            &self.mesh,
            &self.ana,
            &to,
            None,
            content,
            &self.ana_key,
            NONCE,
        )
    }

    fn open_with(
        &self,
        sealed: &SealedText,
        change: impl FnOnce(&mut Expected<'_>),
    ) -> Result<Opened, MessageError> {
        let (recipient, sender) = (self.ben.public(), self.ana.public());
        let mut expected = Expected {
            mesh: &self.mesh,
            recipient: &recipient,
            sender: &sender,
            frame_id: Some("id-1"),
            now: NOW,
        };
        change(&mut expected);
        open_direct(expected, &self.ben_key, sealed)
    }

    fn open(&self, sealed: &SealedText) -> Result<Opened, MessageError> {
        self.open_with(sealed, |_| {})
    }

    /// Seals any bytes as the padded envelope, as a program that keeps no rule could.
    fn raw(&self, padded: &[u8]) -> SealedText {
        SealedText {
            nonce: base64(&NONCE),
            ciphertext: base64(&self.ana_key.seal(&NONCE, padded).unwrap()),
        }
    }

    /// The padded envelope of a sealed message.
    fn padded(&self, sealed: &SealedText) -> Vec<u8> {
        let ciphertext = unbase64(&sealed.ciphertext).unwrap();
        self.ben_key.open(&NONCE, &ciphertext).unwrap()
    }

    /// An envelope with one field replaced, signed by Ana.
    fn forged(&self, place: usize, field: &[u8]) -> SealedText {
        let fields = self.fields();
        let envelope = fields
            .iter()
            .enumerate()
            .fold(Encoder::new("message/1"), |encoder, (at, own)| {
                encoder.bytes(if at == place { field } else { own })
            });
        let envelope = envelope.finish();
        self.raw(&pad(&envelope, &self.ana.sign(&envelope)))
    }

    fn fields(&self) -> Vec<Vec<u8>> {
        let padded = self.padded(&self.seal(&content(b"hi".to_vec())).unwrap());
        let (envelope, _) = unpad(&padded);
        let mut decoder = Decoder::new("message/1", envelope).unwrap();
        let fields = (0..14).map(|_| decoder.bytes().unwrap().to_vec()).collect();
        decoder.end().unwrap();
        fields
    }
}

fn unpad(padded: &[u8]) -> (&[u8], Signature) {
    let len = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
    let signature = padded[4 + len..4 + len + 64].try_into().unwrap();
    (&padded[4..4 + len], Signature(signature))
}

const CLASSES: [usize; 9] = [256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 47_104];

fn pad(envelope: &[u8], signature: &Signature) -> Vec<u8> {
    let mut padded = (envelope.len() as u32).to_be_bytes().to_vec();
    padded.extend_from_slice(envelope);
    padded.extend_from_slice(&signature.0);
    let class = CLASSES.into_iter().find(|class| padded.len() <= *class);
    padded.resize(class.unwrap(), 0);
    padded
}

fn malformed(what: &'static str) -> Result<Opened, MessageError> {
    Err(MessageError::Malformed(DecodeError::Field(what)))
}

#[test]
fn every_size_opens_and_shows_only_its_class() {
    let two = two();
    let overhead = {
        let padded = two.padded(&two.seal(&content(Vec::new())).unwrap());
        4 + unpad(&padded).0.len() + 64
    };
    let mut sizes = vec![0, 1, MAX_BODY - 1, MAX_BODY];
    for class in CLASSES {
        let exact = class.saturating_sub(overhead);
        sizes.extend([exact.saturating_sub(1), exact, exact + 1]);
    }
    let mut seen = Vec::new();
    for size in sizes.into_iter().filter(|size| *size <= MAX_BODY) {
        let sent = content(vec![b'x'; size]);
        let sealed = two.seal(&sent).unwrap();
        let length = unbase64(&sealed.ciphertext).unwrap().len() - TAG_LEN;
        let class = CLASSES.into_iter().find(|class| size + overhead <= *class);
        assert_eq!(Some(length), class, "{size}");
        seen.push(length);
        let opened = two.open(&sealed).unwrap();
        assert_eq!(opened.content, sent);
        assert_eq!((opened.sender, opened.head), (two.ana.public(), None));
    }
    seen.sort_unstable();
    seen.dedup();
    // The smallest class holds no envelope: keys and ids alone are longer.
    assert_eq!(overhead > 256, !seen.contains(&256));
    assert_eq!(seen, CLASSES[usize::from(overhead > 256)..]);
    assert_eq!(*seen.last().unwrap(), MAX_PADDED);
    for size in [MAX_BODY + 1, 1 << 20] {
        let refused = two.seal(&content(vec![0; size]));
        assert_eq!(refused, Err(MessageError::TooLarge(size)));
    }
}

#[test]
fn everything_said_arrives() {
    let two = two();
    let sent = Content {
        id: MessageId::new("x".repeat(64)).unwrap(),
        sent_at: NOW - 1,
        due: None,
        reply_to: Some(MessageId::new("y".repeat(64)).unwrap()),
        content_type: "c".repeat(128),
        attributes: (0..16).map(|n| format!("name{n}=ü")).collect(),
        body: (0..=255).collect(),
    };
    let head = Head {
        seq: 7,
        hash: Hash([3; 32]),
    };
    let (ben, key) = (two.ben.public(), &two.ana_key);
    let seal =
        |sent: &Content| seal_direct(&two.mesh, &two.ana, &ben, Some(head), sent, key, NONCE);
    let sealed = seal(&sent).unwrap();
    let opened = two.open_with(&sealed, |e| e.frame_id = None).unwrap();
    assert_eq!(opened.content, sent);
    assert_eq!(opened.head, Some(head));
    // The largest body fits beside the longest ids and content type.
    let mut large = sent.clone();
    large.body = vec![0; MAX_BODY];
    seal(&large).unwrap();
    large.attributes[0] = "x".repeat(2_000);
    assert!(matches!(seal(&large), Err(MessageError::TooLarge(_))));

    let mut many = sent.clone();
    many.attributes.push("one=more".to_owned());
    let mut long = sent.clone();
    long.content_type.push('c');
    for bad in [many, long] {
        assert_eq!(seal(&bad), Err(MessageError::Attributes));
    }
}

#[test]
fn a_message_is_for_one_mesh_recipient_sender_and_id() {
    static OTHER: PublicKey = PublicKey([7; 32]);
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let with = |change: fn(&mut Expected<'_>)| two.open_with(&sealed, change).map(|_| ());
    let elsewhere = Two {
        mesh: MeshId::new("other").unwrap(),
        ..self::two()
    };
    assert_eq!(elsewhere.open(&sealed), Err(MessageError::Misdirected));
    assert_eq!(
        with(|e| e.recipient = &OTHER),
        Err(MessageError::Misdirected)
    );
    assert_eq!(with(|e| e.sender = &OTHER), Err(MessageError::OtherSender));
    for other in ["id-2", "", "id-1x", "/id-1", "id-2/id-1", "ID-1"] {
        let opened = two.open_with(&sealed, |e| e.frame_id = Some(other));
        assert_eq!(opened, Err(MessageError::OtherId), "{other}");
    }
    for same in ["id-1", "id-1/0123456789abcdef", "id-1/", "id-1/a/b"] {
        two.open_with(&sealed, |e| e.frame_id = Some(same)).unwrap();
    }
    two.open_with(&sealed, |e| e.frame_id = None).unwrap();
}

#[test]
fn another_peer_opens_nothing() {
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let eve = pair(3);
    let (ben, ana) = (two.ben.public(), two.ana.public());
    let expected = Expected {
        mesh: &two.mesh,
        recipient: &ben,
        sender: &ana,
        frame_id: None,
        now: NOW,
    };
    for key in [
        agreed(&eve, &ana),
        agreed(&eve, &ben),
        agreed(&two.ben, &eve.public()),
    ] {
        let opened = open_direct(expected, &key, &sealed);
        assert_eq!(opened, Err(MessageError::Box(BoxError::Open)));
    }
}

#[test]
fn the_recipient_can_make_no_message_of_the_senders() {
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let padded = two.padded(&sealed);
    let (envelope, signature) = unpad(&padded);
    // Both ends share the box's key: only the signature tells who wrote.
    let reseal = |padded: &[u8]| SealedText {
        nonce: base64(&NONCE),
        ciphertext: base64(&two.ben_key.seal(&NONCE, padded).unwrap()),
    };
    assert_eq!(reseal(&padded), sealed);
    let mut changed = envelope.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let bad = Err(MessageError::BadSignature);
    assert_eq!(two.open(&reseal(&pad(&changed, &signature))), bad);
    let own = two.ben.sign(&changed);
    assert_eq!(two.open(&reseal(&pad(&changed, &own))), bad);
    assert_eq!(two.open(&reseal(&pad(envelope, &Signature([0; 64])))), bad);

    // Nor can it be sent on to a third, or back to its writer as the recipient's.
    let eve = pair(3);
    let key = agreed(&two.ben, &eve.public());
    let onward = SealedText {
        nonce: base64(&NONCE),
        ciphertext: base64(&key.seal(&NONCE, &padded).unwrap()),
    };
    let (to_eve, to_ana, ben) = (eve.public(), two.ana.public(), two.ben.public());
    let expect = |recipient| Expected {
        mesh: &two.mesh,
        recipient,
        sender: &ben,
        frame_id: None,
        now: NOW,
    };
    assert_eq!(
        open_direct(expect(&to_eve), &agreed(&eve, &ben), &onward),
        Err(MessageError::Misdirected)
    );
    assert_eq!(
        open_direct(expect(&to_ana), &two.ana_key, &sealed),
        Err(MessageError::Misdirected)
    );
}

#[test]
fn time_is_bounded_to_the_millisecond() {
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let at = |now| two.open_with(&sealed, |e| e.now = now).map(|_| ());
    assert_eq!(at(NOW - MAX_AHEAD_MS), Ok(()));
    assert_eq!(at(NOW - MAX_AHEAD_MS - 1), Err(MessageError::Time));
    assert_eq!(at(NOW + MAX_AGE_MS), Ok(()));
    assert_eq!(at(NOW + MAX_AGE_MS + 1), Err(MessageError::Time));
    for now in [0, u64::MAX] {
        assert_eq!(at(now), Err(MessageError::Time));
    }
    // A due time stands for the time of sending, which still is no future one.
    let due = |due: u64| two.open(&two.forged(12, &due.to_be_bytes())).map(|_| ());
    assert_eq!(due(NOW + MAX_AHEAD_MS), Ok(()));
    assert_eq!(due(NOW + MAX_AHEAD_MS + 1), Err(MessageError::Time));
    assert_eq!(due(NOW - MAX_AGE_MS), Ok(()));
    assert_eq!(due(NOW - MAX_AGE_MS - 1), Err(MessageError::Time));
    let scheduled = two.forged(12, &(NOW + 5 * MAX_AGE_MS).to_be_bytes());
    let later = |now| two.open_with(&scheduled, |e| e.now = now).map(|_| ());
    assert_eq!(later(NOW), Err(MessageError::Time));
    assert_eq!(later(NOW + 5 * MAX_AGE_MS), Ok(()));
    let ahead = two.forged(12, &(NOW - MAX_AGE_MS).to_be_bytes());
    let early = two.open_with(&ahead, |e| e.now = NOW - MAX_AHEAD_MS - 1);
    assert_eq!(early, Err(MessageError::Time));
}

#[test]
fn each_field_is_decoded_strictly() {
    let two = two();
    assert_eq!(two.open(&two.forged(99, b"")).map(|_| ()), Ok(()));
    let list = |items: &[&[u8]]| {
        let whole = Encoder::new("").list(items.iter().copied()).finish();
        whole[Encoder::new("").finish().len() + 4..].to_vec()
    };
    let upper = two.ben.public().to_hex().to_uppercase();
    for (place, field, expected) in [
        (0, b"mesh2".to_vec(), Err(MessageError::Misdirected)),
        (0, vec![], Err(MessageError::Misdirected)),
        (1, upper.into_bytes(), Err(MessageError::Misdirected)),
        (1, vec![0xff], malformed("to")),
        (1, b"*".to_vec(), Err(MessageError::Misdirected)),
        (2, vec![0; 16], Err(MessageError::Misdirected)),
        (3, vec![1; 31], malformed("sender")),
        (3, pair(3).public().0.into(), Err(MessageError::OtherSender)),
        (4, vec![1], malformed("session statement")),
        (5, b"a/b".to_vec(), malformed("message id")),
        (5, vec![], malformed("message id")),
        (5, vec![b'a'; 65], malformed("message id")),
        (6, vec![0; 7], malformed("sent_at")),
        (7, vec![0; 9], malformed("head seq")),
        (7, 1u64.to_be_bytes().into(), malformed("head seq")),
        (8, vec![0; 31], malformed("head hash")),
        (9, b"a b".to_vec(), malformed("reply_to")),
        (10, vec![b'x'; 129], Err(MessageError::Attributes)),
        (10, vec![0xff], malformed("content type")),
        (
            11,
            list(&[b"a=b".as_slice(); 17]),
            Err(MessageError::Attributes),
        ),
        (11, vec![0; 4 * 9_000], Err(MessageError::Attributes)),
        (11, list(&[b"\xff".as_slice()]), malformed("attributes")),
        (
            11,
            vec![0, 0, 0, 9, b'a'],
            Err(MessageError::Malformed(DecodeError::Truncated)),
        ),
        (12, vec![0; 4], malformed("due")),
    ] {
        assert_eq!(two.open(&two.forged(place, &field)), expected, "{place}");
    }
    // One field more or less.
    let fields = two.fields();
    for count in [13, 15] {
        let envelope = (0..count)
            .fold(Encoder::new("message/1"), |encoder, at| {
                encoder.bytes(fields.get(at).map_or(b"", Vec::as_slice))
            })
            .finish();
        let sealed = two.raw(&pad(&envelope, &two.ana.sign(&envelope)));
        let count = Err(MessageError::Malformed(DecodeError::FieldCount));
        assert_eq!(two.open(&sealed), count);
    }
    // The same fields under another name.
    let envelope = fields
        .iter()
        .fold(Encoder::new("message/2"), |encoder, f| encoder.bytes(f))
        .finish();
    let sealed = two.raw(&pad(&envelope, &two.ana.sign(&envelope)));
    let name = Err(MessageError::Malformed(DecodeError::WrongName));
    assert_eq!(two.open(&sealed), name);
}

#[test]
fn padding_is_zeros_up_to_the_class_and_not_a_byte_else() {
    let two = two();
    let padded = two.padded(&two.seal(&content(b"hi".to_vec())).unwrap());
    let used = 4 + unpad(&padded).0.len() + 64;
    let padding = malformed("padding");
    for at in [used, padded.len() - 1] {
        let mut changed = padded.clone();
        changed[at] = 1;
        assert_eq!(two.open(&two.raw(&changed)), padding);
    }
    for length in [used, padded.len() - 1, padded.len() + 1, 2 * padded.len()] {
        let mut changed = padded.clone();
        changed.resize(length, 0);
        assert_eq!(two.open(&two.raw(&changed)), padding, "{length}");
    }
    let cut = Err(MessageError::Malformed(DecodeError::Truncated));
    for length in 0..used {
        assert_eq!(two.open(&two.raw(&padded[..length])), cut);
    }
    for claimed in [padded.len() as u32, u32::MAX, u32::MAX - 68] {
        let mut changed = padded.clone();
        changed[..4].copy_from_slice(&claimed.to_be_bytes());
        assert_eq!(two.open(&two.raw(&changed)), cut);
    }
    // Longer than the largest class.
    let body = vec![0; MAX_PADDED];
    let mut huge = padded[..4].to_vec();
    huge.extend_from_slice(&body);
    huge[..4].copy_from_slice(&(MAX_PADDED as u32 - 64).to_be_bytes());
    assert_eq!(two.open(&two.raw(&huge)), padding);
}

#[test]
fn no_changed_byte_opens() {
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let bytes = unbase64(&sealed.ciphertext).unwrap();
    let open = Err(MessageError::Box(BoxError::Open));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let ciphertext = base64(&changed);
        let nonce = sealed.nonce.clone();
        assert_eq!(two.open(&SealedText { nonce, ciphertext }), open);
    }
    for length in 0..bytes.len() {
        let ciphertext = base64(&bytes[..length]);
        let nonce = sealed.nonce.clone();
        let error = if length < TAG_LEN {
            Err(MessageError::Box(BoxError::Truncated))
        } else {
            open.clone()
        };
        assert_eq!(two.open(&SealedText { nonce, ciphertext }), error);
    }
    // Under the box: whoever has its key and changes any byte of the padded envelope.
    let padded = two.padded(&sealed);
    for at in 0..padded.len() {
        for bit in [1, 0x20, 0x80] {
            let mut changed = padded.clone();
            changed[at] ^= bit;
            two.open(&two.raw(&changed)).unwrap_err();
        }
    }
}

#[test]
fn the_text_of_a_box_is_strict() {
    let two = two();
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    let text = |nonce: &str, ciphertext: &str| {
        two.open(&SealedText {
            nonce: nonce.to_owned(),
            ciphertext: ciphertext.to_owned(),
        })
    };
    let (n, c) = (sealed.nonce.as_str(), sealed.ciphertext.as_str());
    text(n, c).unwrap();
    let base = Err(MessageError::Malformed(DecodeError::Text("base64")));
    assert_eq!(text(n, &format!("{c}\n")), base);
    assert_eq!(text(n, &c[..c.len() - 1]), base);
    assert_eq!(text(&format!(" {n}"), c), base);
    assert_eq!(text("_", c), base);
    for wrong in ["", "AAAA", &base64(&[5; 25])] {
        assert_eq!(text(wrong, c), malformed("nonce"));
    }
}

#[test]
fn bare_text_and_envelopes_are_never_taken_for_each_other() {
    let two = two();
    // Bare text does not open as an envelope, whatever it says.
    for bare in [
        "",
        "hi",
        "claudemesh/message/1\0",
        &"x".repeat(256),
        &"\0".repeat(256),
    ] {
        let sealed = two.raw(bare.as_bytes());
        assert!(matches!(two.open(&sealed), Err(MessageError::Malformed(_))));
        assert_eq!(open_bare(&two.ben_key, &sealed), Ok(bare.to_owned()));
    }
    // An envelope does not open as bare text, even one that happens to be UTF-8.
    let name = Err(MessageError::Malformed(DecodeError::WrongName));
    let sealed = two.seal(&content(b"hi".to_vec())).unwrap();
    assert_eq!(open_bare(&two.ben_key, &sealed), name);
    let envelope = Encoder::new("message/1").text("mesh").finish();
    let ascii = pad(&envelope, &Signature([b'a'; 64]));
    String::from_utf8(ascii.clone()).unwrap();
    assert_eq!(open_bare(&two.ben_key, &two.raw(&ascii)), name);
    let not_text = two.raw(b"\xff\xfe");
    let utf8 = Err(MessageError::Malformed(DecodeError::Text("UTF-8")));
    assert_eq!(open_bare(&two.ben_key, &not_text), utf8);
}
