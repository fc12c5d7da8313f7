//! What a broker does at the wish of owners and admins beside the membership log: ending connections,
//! shutting out who is in no log, keys for HTTP. Its answers are its own word, and are taken as
//! nothing else.

use super::requests::Asked;
use super::{CommandId, Reply, Served, Service, Session, SessionError};
use crate::wire::{
    ApiKeyCreate, ApiKeyList, ApiKeyRevoke, Ban, BrokerFrame, ClientFrame, Kick, ListBans, Unban,
};

impl Session {
    pub(super) fn serve(&mut self, command: CommandId, wish: Service) {
        if !self.link.is_ready() {
            let why = "waiting for the connection".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        let req_id = Some(self.ask(Asked::Service(command)));
        let frame: ClientFrame = match wish {
            Service::Kick(key) => Kick {
                target: Some(key.to_hex()),
                req_id,
                ..Kick::default()
            }
            .into(),
            Service::Ban(key) => Ban {
                target: key.to_hex(),
                reason: None,
                req_id,
            }
            .into(),
            Service::Unban(key) => Unban {
                target: key.to_hex(),
                req_id,
            }
            .into(),
            Service::Bans => ListBans { req_id }.into(),
            Service::CreateApiKey {
                label,
                capabilities,
                topics,
                expires_at,
            } => ApiKeyCreate {
                label,
                capabilities: Some(capabilities),
                topic_scopes: topics.map(Some),
                expires_at: expires_at.map(crate::time::iso),
                req_id,
            }
            .into(),
            Service::ApiKeys => ApiKeyList { req_id }.into(),
            Service::RevokeApiKey(id) => ApiKeyRevoke { id, req_id }.into(),
        };
        self.transmit(frame);
    }

    /// Takes an answer to one of these wishes; gives back any other frame.
    pub(super) fn served(&mut self, frame: BrokerFrame) -> Option<BrokerFrame> {
        let (req_id, served) = match frame {
            BrokerFrame::KickAck(ack) => (ack.req_id, Served::Kicked(ack.kicked)),
            BrokerFrame::BanAck(ack) => (ack.req_id, Served::Banned(ack.banned)),
            BrokerFrame::UnbanAck(ack) => (ack.req_id, Served::Unbanned(ack.unbanned)),
            BrokerFrame::ListBansResult(list) => (list.req_id, Served::Bans(list.bans)),
            BrokerFrame::ApiKeyCreated(mut made) => {
                (made.req_id.take(), Served::ApiKey(Box::new(made)))
            }
            BrokerFrame::ApiKeyListResponse(list) => (list.req_id, Served::ApiKeys(list.keys)),
            BrokerFrame::ApiKeyRevokeResponse(answer) => {
                (answer.req_id, Served::ApiKeyRevoked(answer.status))
            }
            other => return Some(other),
        };
        if let Some(Asked::Service(command)) = self.requests.take(req_id.as_deref()) {
            self.done(command, Ok(Reply::Served(served)));
        }
        None
    }
}
