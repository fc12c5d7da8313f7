//! Handing the mesh to another owner. Both must agree: the owner signs the entry and sends it to
//! the candidate as a message; the candidate cosigns it, if it wants to, and appends it. The entry
//! names its place in the log, so an offer is good until the log grows.

use super::{Outgoing, Peer, PeerError, Receipt, Recipient, SendError, unix_ms};
use crate::enroll::JoinError;
use crate::enroll::http::{blob, post};
use crate::id::PublicKey;
use crate::membership::{Body, LogError, Role, RuleError, SignedEntry};
use crate::session::SessionError;
use crate::wire::SignedBlob;

/// The content type of an offer: JSON, an entry without its cosignature.
pub const OWNER_TRANSFER: &str = "application/x-claudemesh-owner-transfer";
/// Messages that are searched for an offer.
const LOOK_BACK: u32 = 1_000;

impl Peer {
    /// Offers the mesh to a verified member, which becomes its owner by
    /// [`Peer::accept_ownership`]; this member becomes an admin then. Until the log grows the
    /// offer stands and cannot be taken back. Needs the broker, and the role of owner.
    ///
    /// Dropping the future: as [`Peer::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn transfer_owner(&self, key: PublicKey) -> Result<Receipt, SendError> {
        self.sync().await?;
        let log = self.log().ok_or_else(|| unusable("this mesh has none"))?;
        let roster = log.roster();
        let seq = log.head().seq + 1;
        if roster.owner() != self.key() {
            return Err(broken(seq, RuleError::NotAllowed).into());
        }
        let member = roster.member(&key);
        let fits = member.is_some_and(|m| m.is_verified() && m.device_of.is_none());
        if !fits || member.is_some_and(|member| member.role == Role::Owner) {
            return Err(broken(seq, RuleError::OtherRole).into());
        }
        let body = Body::OwnerChanged {
            key,
            recovery: None,
            name: None,
        };
        let entry = log.draft(unix_ms(), body).propose(&self.inner.key, key);
        let offer = Outgoing::bytes(blob(&entry).to_string(), OWNER_TRANSFER);
        self.send_message(Recipient::Key(key), offer).await
    }

    /// Becomes the owner by the newest offer that the owner sent and that is in the inbox. Needs
    /// the broker.
    ///
    /// Dropping the future may or may not have made this peer the owner.
    ///
    /// # Errors
    /// [`PeerError`]: [`SessionError::Contention`] if the log has grown since; ask for a new offer.
    pub async fn accept_ownership(&self) -> Result<(), PeerError> {
        self.sync().await?;
        let log = self.log().ok_or_else(|| unusable("this mesh has none"))?;
        let owner = log.roster().owner();
        let none = || unusable("its owner has not offered it to you");
        let received = self.history(LOOK_BACK).await?;
        let offer = received.iter().rev().find(|message| {
            message.content_type == OWNER_TRANSFER
                && message.from.verified
                && message.from.key == owner
        });
        let text = offer.ok_or_else(none)?.text();
        let signed: SignedBlob = crate::wire::read(&text).map_err(|_| none())?;
        let signed = SignedEntry::from_text(&signed.e, &signed.sig, None).map_err(|_| none())?;
        let entry = signed.decode().map_err(|_| none())?;
        // Nothing else is signed that somebody sends.
        let own = self.key();
        let is_offer = entry.signer == owner
            && matches!(&entry.body, Body::OwnerChanged { key, .. } if *key == own);
        if !is_offer {
            return Err(none());
        }
        let signed = signed.cosign(&self.inner.key);
        match log.as_ref().clone().append(&signed) {
            Ok(_) => {}
            Err(LogError::NotNext { .. }) => return Err(SessionError::Contention.into()),
            Err(error) => return Err(SessionError::Log(error).into()),
        }
        let path = format!("/mesh/{}/log", self.inner.mesh.mesh_id);
        let body = serde_json::json!({ "log_entry": blob(&signed) });
        match post(&self.inner.network, &self.inner.broker, &path, &body).await {
            Ok(_) => self.sync().await,
            Err(JoinError::Refused { code, .. }) if code == "log_conflict" => {
                Err(SessionError::Contention.into())
            }
            Err(JoinError::Refused { code, message, .. }) => {
                Err(SessionError::Refused { code, message }.into())
            }
            Err(other) => Err(PeerError::NotConnected(other.to_string())),
        }
    }
}

fn unusable(why: &'static str) -> PeerError {
    SessionError::LogUnusable(why).into()
}

fn broken(seq: u64, source: RuleError) -> PeerError {
    SessionError::Log(LogError::Rule { seq, source }).into()
}
