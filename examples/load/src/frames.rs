//! Send frames, sealed beforehand.

use claudemesh_core::PublicKey;
use claudemesh_core::crypto::{DirectKey, X25519Secret};
use claudemesh_core::encoding::{base64, unbase64};
use claudemesh_core::id::{KeyId, MessageId};
use claudemesh_core::message::{Content, FORM, TEXT, seal_direct};
use claudemesh_core::wire::{ClientFrame, Send};

use crate::error::{During as _, LoadError};
use crate::members::{Member, Mesh, random, unix_ms};

/// With what a ciphertext for a channel begins, before the key's id.
const MARK: [u8; 2] = [0xce, 0x01];
/// Messages are padded to multiples of this at least.
const BLOCK: usize = 256;

/// The key under which a message for a channel is sealed.
pub(crate) fn key_of(ciphertext: &str) -> Option<KeyId> {
    let bytes = unbase64(ciphertext).ok()?;
    let id = bytes.strip_prefix(&MARK)?.get(..16)?;
    id.try_into().ok().map(KeyId)
}

/// Stands where the id goes.
const ID: &str = "ID.OF.THE.MESSAGE";

/// A frame without its id: one box is sent again and again under fresh ids. The broker cannot
/// tell, and no time of the run is spent on sealing.
pub(crate) struct Template(Vec<String>);

impl Template {
    /// Seals a message of `size` bytes.
    pub(crate) fn seal(
        mesh: &Mesh,
        from: &Member,
        to: &PublicKey,
        size: usize,
    ) -> Result<Self, LoadError> {
        let frame = Sealer::new(mesh, from, to)?.frame(ID, size)?;
        Ok(Self(frame.split(ID).map(str::to_owned).collect()))
    }

    /// A message to everyone, of the size that a sealed one would have. Nobody opens it: a broker
    /// cannot either, it looks at the key that is named.
    pub(crate) fn to_everyone(key: &KeyId, size: usize, online: bool) -> Result<Self, LoadError> {
        let padded = size.next_multiple_of(BLOCK).max(2 * BLOCK);
        let mut sealed = MARK.to_vec();
        sealed.extend_from_slice(&key.0);
        sealed.extend(std::iter::repeat_n(random::<1>()?, padded).flatten());
        let send = Send {
            id: Some(ID.to_owned()),
            target_spec: "*".to_owned(),
            priority: Some("next".to_owned()),
            nonce: base64(&random::<24>()?),
            ciphertext: base64(&sealed),
            client_message_id: Some(ID.to_owned()),
            form: Some(FORM.to_owned()),
            online: online.then_some(true),
            ..Send::default()
        };
        let frame = ClientFrame::from(send).encode();
        Ok(Self(frame.split(ID).map(str::to_owned).collect()))
    }

    /// The same, for who is connected.
    pub(crate) fn online(mut self) -> Self {
        if let Some(last) = self.0.last_mut()
            && last.ends_with('}')
        {
            last.pop();
            last.push_str(",\"online\":true}");
        }
        self
    }

    /// The frame of an id.
    pub(crate) fn frame(&self, id: &str) -> String {
        self.0.join(id)
    }
}

/// Seals messages from one member to another.
pub(crate) struct Sealer<'a> {
    mesh: &'a Mesh,
    from: &'a Member,
    to: PublicKey,
    key: DirectKey,
}

impl<'a> Sealer<'a> {
    pub(crate) fn new(mesh: &'a Mesh, from: &'a Member, to: &PublicKey) -> Result<Self, LoadError> {
        let key = DirectKey::agree(&X25519Secret::of(&from.key), to).during("a key agreement")?;
        Ok(Self {
            mesh,
            from,
            to: *to,
            key,
        })
    }

    /// The frame of a message that a real peer opens.
    pub(crate) fn frame(&self, id: &str, size: usize) -> Result<String, LoadError> {
        let content = Content {
            id: MessageId::new(id).during("an own message id")?,
            sent_at: unix_ms(),
            due: None,
            reply_to: None,
            content_type: TEXT.to_owned(),
            attributes: Vec::new(),
            body: vec![b'x'; size],
        };
        let (mesh, from) = (&self.mesh.id, &self.from.key);
        let sealed = seal_direct(mesh, from, &self.to, None, &content, &self.key, random()?);
        let sealed = sealed.during("sealing")?;
        let send = Send {
            id: Some(id.to_owned()),
            target_spec: self.to.to_hex(),
            priority: Some("next".to_owned()),
            nonce: sealed.nonce,
            ciphertext: sealed.ciphertext,
            client_message_id: Some(id.to_owned()),
            form: Some(FORM.to_owned()),
            ..Send::default()
        };
        Ok(ClientFrame::from(send).encode())
    }
}
