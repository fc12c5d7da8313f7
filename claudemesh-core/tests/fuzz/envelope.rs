//! What stands inside a box: any bytes that a member could seal, to a peer and to a channel, and
//! bytes that nobody sealed.

use claudemesh_core::channel::key_id_of;
use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::encoding::base64;
use claudemesh_core::id::{MeshId, MessageId};
use claudemesh_core::message::{
    Content, Expected, SealedText, TEXT, open_bare, open_direct, seal_direct,
};

const NOW: u64 = 1_800_000_000_000;

pub fn run(data: &[u8]) {
    let (ana, ben) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let mesh = MeshId::new("a".repeat(32)).expect("an id");
    let own = DirectKey::agree(&X25519Secret::of(&ana), &ben.public()).expect("a key");
    let theirs = DirectKey::agree(&X25519Secret::of(&ben), &ana.public()).expect("a key");
    let (recipient, sender) = (ben.public(), ana.public());
    let expected = || Expected {
        mesh: &mesh,
        recipient: &recipient,
        sender: &sender,
        frame_id: None,
        now: NOW,
    };
    let nonce = [9; 24];
    let text = |sealed: &[u8]| SealedText {
        nonce: base64(&nonce),
        ciphertext: base64(sealed),
    };
    // Whatever a member puts into a box.
    if let Ok(sealed) = own.seal(&nonce, data) {
        let sealed = text(&sealed);
        let _ = open_direct(expected(), &theirs, &sealed);
        let _ = open_bare(&theirs, &sealed);
    }
    // What nobody sealed.
    let raw = text(data);
    assert!(open_direct(expected(), &theirs, &raw).is_err());
    let _ = key_id_of(&raw);
    // What is said comes out as it went in, or is refused before.
    let content = Content {
        id: MessageId::new("01").expect("an id"),
        sent_at: NOW,
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: std::str::from_utf8(data)
            .map(|text| text.split('\n').take(20).map(str::to_owned).collect())
            .unwrap_or_default(),
        body: data.to_vec(),
    };
    if let Ok(sealed) = seal_direct(&mesh, &ana, &recipient, None, &content, &own, nonce) {
        let opened = open_direct(expected(), &theirs, &sealed).expect("an own message opens");
        assert_eq!((opened.content, opened.sender), (content, sender));
    }
}
