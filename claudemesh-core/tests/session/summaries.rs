//! What others say they do: whether it is their word is found here, not told by the broker.

use claudemesh_core::session::{Command, Reply};
use claudemesh_core::wire::{ClientFrame, PeerRecord, PeersList};

use crate::support::*;

#[test]
fn a_broker_cannot_mark_a_summary_as_sealed() {
    let mesh = Mesh::new(&[BEN]);
    let mut rig = Rig::connected(&mesh, ANA);
    rig.forget();
    let command = rig.command(Command::ListPeers);
    let asked = rig.sent.iter().find_map(|frame| match frame {
        ClientFrame::ListPeers(asked) => Some(asked.req_id.clone()),
        _ => None,
    });
    let mut record = PeerRecord {
        pubkey: key(BEN).to_hex(),
        member_pubkey: Some(key(BEN).to_hex()),
        summary: Some(Some("written by the broker".into())),
        ..PeerRecord::default()
    };
    for mark in ["summaryProtected", "summaryLocked"] {
        record.extra.insert(mark.into(), true.into());
    }
    rig.frame(PeersList {
        peers: vec![record],
        req_id: asked.unwrap(),
        ..PeersList::default()
    });
    let Some(Ok(Reply::Peers(list))) = rig.answer(command) else {
        panic!("no answer");
    };
    let record = &list.sessions[0].record;
    assert_eq!(record.summary(), Some("written by the broker"));
    assert!(record.extra.is_empty(), "{:?}", record.extra);
}
