//! Keys of channels between a session that is driven by hand and its broker.

use claudemesh_core::encoding::{base64url, unbase64url};
use claudemesh_core::wire::{ClientFrame, KeyPublished, KeyRecord, Keys, KeysGet, PublishKey};

use crate::support::*;

/// A key as a peer gave it to the broker.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) publish: PublishKey,
    pub(crate) key_id: String,
    /// For whom, and what.
    pub(crate) copies: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Made {
    pub(crate) fn record(&self, member: u8) -> KeyRecord {
        let of = |(to, _): &&(Vec<u8>, Vec<u8>)| *to == key(member).0;
        let copy = self.copies.iter().find(of);
        KeyRecord {
            statement: self.publish.statement.clone(),
            copy: copy.map(|(_, copy)| base64url(copy)),
        }
    }

    pub(crate) fn readers(&self) -> Vec<Vec<u8>> {
        self.copies.iter().map(|(to, _)| to.clone()).collect()
    }
}

/// The key that was given since the last look.
pub(crate) fn made(rig: &mut Rig) -> Option<Made> {
    let mut copies = Vec::new();
    let mut made = None;
    rig.sent.retain(|frame| match frame {
        ClientFrame::KeyCopies(part) => {
            let bytes = unbase64url(&part.copies).unwrap();
            let size = 80;
            copies.extend(
                bytes
                    .chunks(size)
                    .map(|copy| (copy[..32].to_vec(), copy[32..].to_vec())),
            );
            made = Some(part.key_id.clone());
            false
        }
        _ => true,
    });
    let publish = rig.sent.iter().find_map(|frame| match frame {
        ClientFrame::PublishKey(publish) => Some(publish.clone()),
        _ => None,
    })?;
    rig.sent
        .retain(|frame| !matches!(frame, ClientFrame::PublishKey(_)));
    let key_id = made.unwrap();
    Some(Made {
        publish,
        key_id,
        copies,
    })
}

pub(crate) fn published(rig: &mut Rig, channel: &str, made: &Made) {
    rig.frame(KeyPublished {
        channel: channel.to_owned(),
        key_id: made.key_id.clone(),
        req_id: made.publish.req_id.clone(),
    });
}

/// The questions for keys of a channel since the last look.
pub(crate) fn gets(rig: &mut Rig, channel: &str) -> Vec<KeysGet> {
    let mut gets = Vec::new();
    rig.sent.retain(|frame| match frame {
        ClientFrame::KeysGet(get) if get.channel == channel => {
            gets.push(get.clone());
            false
        }
        _ => true,
    });
    gets
}

/// Answers with the newest key, or that there is none.
pub(crate) fn show(rig: &mut Rig, get: &KeysGet, member: u8, current: Option<&Made>) {
    rig.frame(Keys {
        channel: get.channel.clone(),
        current: current.map(|made| made.key_id.clone()),
        keys: current
            .map(|made| made.record(member))
            .into_iter()
            .collect(),
        req_id: get.req_id.clone(),
    });
}
