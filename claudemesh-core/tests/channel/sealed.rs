//! Messages to a channel: sealed, opened, and never taken for something else.

use claudemesh_core::channel::{
    ExpectedInChannel, SealedValue, key_id_of, open_in_channel, seal_to_channel,
};
use claudemesh_core::crypto::{BoxError, DirectKey, SecretKey, X25519Secret};
use claudemesh_core::encoding::{DecodeError, base64, base64url, unbase64};
use claudemesh_core::id::{ChannelName, KeyId, MeshId, MessageId};
use claudemesh_core::membership::Head;
use claudemesh_core::message::{
    Content, Expected, MAX_AGE_MS, MAX_AHEAD_MS, MAX_BODY, MAX_PADDED, MessageError, Opened,
    SealedText, TEXT, open_bare, open_direct, seal_direct,
};

use crate::mesh::{NOW, pair};
use crate::world::{channel, key};

const ID: KeyId = KeyId([7; 16]);

fn mesh() -> MeshId {
    MeshId::new("m").unwrap()
}

fn secret() -> SecretKey {
    SecretKey::new([5; 32])
}

fn content(body: &[u8]) -> Content {
    Content {
        id: MessageId::new("id").unwrap(),
        sent_at: NOW,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: vec!["hops=1".to_owned()],
        body: body.to_vec(),
    }
}

fn seal(place: &ChannelName, body: &[u8]) -> SealedText {
    let (mesh, sender) = (mesh(), pair(20));
    let head = Some(Head {
        seq: 3,
        hash: claudemesh_core::id::Hash([3; 32]),
    });
    let nonce = [9; 24];
    seal_to_channel(
        &mesh,
        &sender,
        place,
        &ID,
        &secret(),
        head,
        &content(body),
        nonce,
    )
    .unwrap()
}

fn open(
    change: impl FnOnce(&mut ExpectedInChannel<'_>),
    sealed: &SealedText,
) -> Result<Opened, MessageError> {
    let (mesh, channel) = (mesh(), channel("#deploys"));
    let mut expected = ExpectedInChannel {
        mesh: &mesh,
        channel: &channel,
        key_id: &ID,
        frame_id: Some("id"),
        now: NOW,
    };
    change(&mut expected);
    open_in_channel(expected, &secret(), sealed)
}

#[test]
fn who_holds_the_key_reads_what_was_said_and_who_signed_it() {
    let sealed = seal(&channel("#deploys"), b"ship it");
    assert_eq!(key_id_of(&sealed), Ok(ID));
    let opened = open(|_| (), &sealed).unwrap();
    assert_eq!(
        (opened.sender, opened.content),
        (key(20), content(b"ship it"))
    );
    assert_eq!(opened.head.unwrap().seq, 3);
    let ciphertext = unbase64(&sealed.ciphertext).unwrap();
    assert_eq!(ciphertext[..2], [0xce, 0x01]);
    assert_eq!(ciphertext.len(), 2 + 16 + 16 + 512);
}

#[test]
fn every_check_has_its_error() {
    use MessageError::{Misdirected, OtherId, Time};
    let sealed = seal(&channel("#deploys"), b"ship it");
    let (elsewhere, place, other) = (
        MeshId::new("n").unwrap(),
        channel("#deploys"),
        channel("#other"),
    );
    let expected = ExpectedInChannel {
        mesh: &elsewhere,
        channel: &place,
        key_id: &ID,
        frame_id: None,
        now: NOW,
    };
    let opened = open_in_channel(expected, &secret(), &sealed);
    assert_eq!(opened, Err(Misdirected));
    let moved = seal(&other, b"ship it");
    assert_eq!(open(|_| (), &moved), Err(Misdirected));
    assert_eq!(
        open(|e| e.key_id = &KeyId([8; 16]), &sealed),
        Err(Misdirected)
    );
    assert_eq!(open(|e| e.frame_id = Some("other"), &sealed), Err(OtherId));
    open(|e| e.frame_id = Some("id/device"), &sealed).unwrap();
    open(|e| e.frame_id = None, &sealed).unwrap();
    open(|e| e.now = NOW - MAX_AHEAD_MS, &sealed).unwrap();
    open(|e| e.now = NOW + MAX_AGE_MS, &sealed).unwrap();
    assert_eq!(open(|e| e.now = NOW - MAX_AHEAD_MS - 1, &sealed), Err(Time));
    assert_eq!(open(|e| e.now = NOW + MAX_AGE_MS + 1, &sealed), Err(Time));

    let ciphertext = unbase64(&sealed.ciphertext).unwrap();
    let with = |ciphertext: &[u8]| SealedText {
        ciphertext: base64(ciphertext),
        ..sealed.clone()
    };
    let malformed = |error| Err(MessageError::Malformed(error));
    assert_eq!(open(|_| (), &with(b"")), malformed(DecodeError::WrongName));
    assert_eq!(
        open(|_| (), &with(&ciphertext[1..])),
        malformed(DecodeError::WrongName)
    );
    assert_eq!(
        open(|_| (), &with(&ciphertext[..17])),
        malformed(DecodeError::Truncated)
    );
    let cut = open(|_| (), &with(&ciphertext[..20]));
    assert_eq!(cut, Err(MessageError::Box(BoxError::Truncated)));
    let mut bent = ciphertext.clone();
    bent[40] ^= 1;
    assert_eq!(
        open(|_| (), &with(&bent)),
        Err(MessageError::Box(BoxError::Open))
    );
    let short = SealedText {
        nonce: base64(&[9; 23]),
        ..sealed.clone()
    };
    assert_eq!(open(|_| (), &short), malformed(DecodeError::Field("nonce")));

    // A holder of the key changes what another signed.
    let padded = secret().open(&[9; 24], &ciphertext[18..]).unwrap();
    let length = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
    let reseal = |padded: &[u8], id: KeyId| {
        let mut bytes = ciphertext[..2].to_vec();
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&secret().seal(&[9; 24], padded).unwrap());
        with(&bytes)
    };
    let mut forged = padded.clone();
    forged[3 + length] ^= 1;
    assert_eq!(
        open(|_| (), &reseal(&forged, ID)),
        Err(MessageError::BadSignature)
    );
    // Or says it again under another key: an old message in a new epoch.
    let moved = reseal(&padded, KeyId([8; 16]));
    assert_eq!(
        open(|e| e.key_id = &KeyId([8; 16]), &moved),
        Err(Misdirected)
    );
    let mut class = padded.clone();
    class.resize(1_024, 0);
    let noise = malformed(DecodeError::Field("padding"));
    assert_eq!(open(|_| (), &reseal(&class, ID)), noise);
    let bare = malformed(DecodeError::Truncated);
    assert_eq!(open(|_| (), &reseal(b"ship it", ID)), bare, "bare text");
}

#[test]
fn neither_form_passes_for_the_other() {
    let (mesh, place) = (mesh(), channel("#deploys"));
    let (ours, theirs) = (pair(20), pair(21));
    let shared = DirectKey::agree(&X25519Secret::of(&ours), &key(21)).unwrap();
    let direct = |sealed: &SealedText| {
        let recipient = theirs.public();
        let sender = ours.public();
        let expected = Expected {
            mesh: &mesh,
            recipient: &recipient,
            sender: &sender,
            frame_id: None,
            now: NOW,
        };
        open_direct(expected, &shared, sealed)
    };
    // What was said to a channel, given to one of its members as if it were for it alone.
    let sealed = seal(&place, b"ship it");
    let padded = secret()
        .open(&[9; 24], &unbase64(&sealed.ciphertext).unwrap()[18..])
        .unwrap();
    let boxed = SealedText {
        nonce: sealed.nonce.clone(),
        ciphertext: base64(&shared.seal(&[9; 24], &padded).unwrap()),
    };
    assert_eq!(direct(&boxed), Err(MessageError::Misdirected));
    open_bare(&shared, &boxed).unwrap_err();
    direct(&sealed).unwrap_err();

    // What was said to one member, given to a channel.
    let content = content(b"for you");
    let own = seal_direct(&mesh, &ours, &key(21), None, &content, &shared, [9; 24]).unwrap();
    direct(&own).unwrap();
    let padded = shared
        .open(&[9; 24], &unbase64(&own.ciphertext).unwrap())
        .unwrap();
    let mut bytes = vec![0xce, 0x01];
    bytes.extend_from_slice(&ID.0);
    bytes.extend_from_slice(&secret().seal(&[9; 24], &padded).unwrap());
    let shown = SealedText {
        nonce: own.nonce.clone(),
        ciphertext: base64(&bytes),
    };
    assert_eq!(open(|_| (), &shown), Err(MessageError::Misdirected));
    open(|_| (), &own).unwrap_err();
}

#[test]
fn a_message_has_its_bounds() {
    let place = channel("#deploys");
    let long = vec![b'x'; MAX_BODY];
    let opened = open(|_| (), &seal(&place, &long)).unwrap();
    assert_eq!(opened.content.body, long);
    let longer = content(&vec![b'x'; MAX_BODY + 1]);
    let (mesh, sender) = (mesh(), pair(20));
    let said = seal_to_channel(
        &mesh,
        &sender,
        &place,
        &ID,
        &secret(),
        None,
        &longer,
        [9; 24],
    );
    assert_eq!(said, Err(MessageError::TooLarge(MAX_BODY + 1)));
}

#[test]
fn a_sealed_value_is_measured_before_it_is_decoded() {
    // Mark, key id and nonce; then what is sealed, with its tag.
    let read = |sealed: usize| {
        let mut blob = vec![0xce, 0x02];
        blob.resize(2 + 16 + 24 + sealed, 7);
        SealedValue::from_text(&format!("$sealed:{}", base64url(&blob))).is_ok()
    };
    // Three bytes are four characters: a byte more than the longest is still within them.
    let longest = 16 + MAX_PADDED;
    for (sealed, taken) in [
        (15, false),
        (16, true),
        (longest, true),
        (longest + 1, true),
        (longest + 2, false),
        (longest + 3_000, false),
    ] {
        assert_eq!(read(sealed), taken, "{sealed}");
    }
}
