//! What a broker does at the wish of owners and admins beside the membership log: ending connections,
//! shutting out who is in no log, keys for HTTP. Its answers are its own word, and are taken as
//! nothing else.

use super::requests::Asked;
use super::{CommandId, Reply, Served, Service, Session, SessionError};
use crate::wire::{
    ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyListResponse, ApiKeyRevoke,
    ApiKeyRevokeResponse, Ban, BanAck, Frame, Kick, KickAck, ListBans, ListBansResult, Unban,
    UnbanAck, WireError,
};

impl Session {
    pub(super) fn serve(&mut self, command: CommandId, wish: Service) {
        if !self.link.is_ready() {
            let why = "waiting for the connection".to_owned();
            return self.done(command, Err(SessionError::NotConnected(why)));
        }
        let req_id = Some(self.ask(Asked::Service(command)));
        match wish {
            Service::Kick(key) => self.transmit(Kick {
                target: Some(key.to_hex()),
                req_id,
                ..Kick::default()
            }),
            Service::Ban(key) => self.transmit(Ban {
                target: key.to_hex(),
                reason: None,
                req_id,
            }),
            Service::Unban(key) => self.transmit(Unban {
                target: key.to_hex(),
                req_id,
            }),
            Service::Bans => self.transmit(ListBans { req_id }),
            Service::CreateApiKey {
                label,
                capabilities,
                topics,
                expires_at,
            } => self.transmit(ApiKeyCreate {
                label,
                capabilities: Some(capabilities),
                topic_scopes: topics.map(Some),
                expires_at: expires_at.map(crate::time::iso),
                req_id,
            }),
            Service::ApiKeys => self.transmit(ApiKeyList { req_id }),
            Service::RevokeApiKey(id) => self.transmit(ApiKeyRevoke { id, req_id }),
        }
    }

    /// Takes an answer to one of these wishes; false if it is another frame.
    pub(super) fn served(&mut self, kind: &str, text: &str) -> Result<bool, WireError> {
        let (req_id, served) = match kind {
            KickAck::TYPE => {
                let ack = KickAck::read(text)?;
                (ack.req_id, Served::Kicked(ack.kicked))
            }
            BanAck::TYPE => {
                let ack = BanAck::read(text)?;
                (ack.req_id, Served::Banned(ack.banned))
            }
            UnbanAck::TYPE => {
                let ack = UnbanAck::read(text)?;
                (ack.req_id, Served::Unbanned(ack.unbanned))
            }
            ListBansResult::TYPE => {
                let list = ListBansResult::read(text)?;
                (list.req_id, Served::Bans(list.bans))
            }
            ApiKeyCreated::TYPE => {
                let mut made = ApiKeyCreated::read(text)?;
                (made.req_id.take(), Served::ApiKey(Box::new(made)))
            }
            ApiKeyListResponse::TYPE => {
                let list = ApiKeyListResponse::read(text)?;
                (list.req_id, Served::ApiKeys(list.keys))
            }
            ApiKeyRevokeResponse::TYPE => {
                let answer = ApiKeyRevokeResponse::read(text)?;
                (answer.req_id, Served::ApiKeyRevoked(answer.status))
            }
            _ => return Ok(false),
        };
        if let Some(Asked::Service(command)) = self.requests.take(req_id.as_deref()) {
            self.done(command, Ok(Reply::Served(served)));
        }
        Ok(true)
    }
}
