//! What owners and admins ask of a broker beside the log: each answer goes to who asked for it.

use claudemesh_core::session::{Command, Reply, Served, Service, SessionError};
use claudemesh_core::wire::{
    ApiKeyCreated, ApiKeyListResponse, ApiKeyRevokeResponse, BanAck, BrokerFrame, ClientFrame,
    Kick, KickAck, ListBansResult, UnbanAck,
};

use super::kept_values::begin;
use crate::support::*;

#[test]
fn a_wish_of_the_owners_is_answered_by_its_own_answer_alone() {
    let mut rig = begin();
    let command = rig.command(Command::Service(Service::Kick(key(BEN))));
    let kick: Kick = rig
        .take(|frame| match frame {
            ClientFrame::Kick(kick) => Some(kick.clone()),
            _ => None,
        })
        .unwrap();
    assert_eq!(kick.target, Some(key(BEN).to_hex()));
    let ack = |req_id| KickAck {
        kicked: vec!["ben".to_owned()],
        req_id,
        ..KickAck::default()
    };
    rig.frame(ack(Some("r0".to_owned())));
    assert_eq!(rig.answer(command), None);
    rig.frame(ack(kick.req_id));
    let Some(Ok(Reply::Served(Served::Kicked(kicked)))) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    assert_eq!(kicked, &["ben"]);
    rig.broken();
    let command = rig.command(Command::Service(Service::Bans));
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::NotConnected(_)))
    ));
}

/// The id of the question that was asked last.
fn asked(rig: &Rig) -> Option<String> {
    let text = rig.texts.last().unwrap();
    let frame: serde_json::Value = serde_json::from_str(text).unwrap();
    Some(frame["_reqId"].as_str().unwrap().to_owned())
}

type Answer = fn(Option<String>) -> BrokerFrame;
type Fits = fn(&Served) -> bool;

#[test]
fn each_wish_has_its_answer() {
    let ben = key(BEN);
    let wishes: [(Service, Answer, Fits); 6] = [
        (
            Service::Ban(ben),
            |req_id| {
                let banned = "ben".to_owned();
                BanAck { banned, req_id }.into()
            },
            |served| matches!(served, Served::Banned(name) if name == "ben"),
        ),
        (
            Service::Unban(ben),
            |req_id| {
                let unbanned = "ben".to_owned();
                UnbanAck { unbanned, req_id }.into()
            },
            |served| matches!(served, Served::Unbanned(name) if name == "ben"),
        ),
        (
            Service::Bans,
            |req_id| {
                let bans = Vec::new();
                ListBansResult { bans, req_id }.into()
            },
            |served| matches!(served, Served::Bans(bans) if bans.is_empty()),
        ),
        (
            Service::CreateApiKey {
                label: "ci".to_owned(),
                capabilities: vec!["read".to_owned()],
                topics: None,
                expires_at: None,
            },
            |req_id| {
                ApiKeyCreated {
                    id: "k1".to_owned(),
                    req_id,
                    ..ApiKeyCreated::default()
                }
                .into()
            },
            |served| matches!(served, Served::ApiKey(made) if made.id == "k1"),
        ),
        (
            Service::ApiKeys,
            |req_id| {
                let keys = Vec::new();
                ApiKeyListResponse { keys, req_id }.into()
            },
            |served| matches!(served, Served::ApiKeys(keys) if keys.is_empty()),
        ),
        (
            Service::RevokeApiKey("k1".to_owned()),
            |req_id| {
                ApiKeyRevokeResponse {
                    status: "revoked".to_owned(),
                    req_id,
                    ..ApiKeyRevokeResponse::default()
                }
                .into()
            },
            |served| matches!(served, Served::ApiKeyRevoked(status) if status == "revoked"),
        ),
    ];
    let mut rig = begin();
    for (wish, answer, fits) in wishes {
        let text = format!("{wish:?}");
        let command = rig.command(Command::Service(wish));
        let req_id = asked(&rig);
        rig.frame(answer(req_id));
        match rig.answer(command) {
            Some(Ok(Reply::Served(served))) => assert!(fits(served), "{text}: {served:?}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}
