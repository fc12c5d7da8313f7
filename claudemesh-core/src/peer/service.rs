//! What the broker does for owners and admins beside the membership log. It is its word alone: a ban
//! stops its service, and keys follow a signed removal ([`Peer::remove`]) only.

use super::{PATIENCE, Peer, PeerError};
use crate::id::PublicKey;
use crate::session::{Command, Reply, Served, Service};
use crate::wire::{ApiKeyCreated, ApiKeyRecord, BanRecord};

/// A key for HTTP that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is for.
    pub label: String,
    /// `send`, `read`, `state_write`, `admin`: at least one.
    pub capabilities: Vec<String>,
    /// Only these topics, by name.
    pub topics: Option<Vec<String>>,
    /// Unix ms.
    pub expires_at: Option<u64>,
}

impl Peer {
    /// Ends the connections of a member for good: its programs do not come back by themselves. Gives
    /// the names of what was ended. Needs the broker, and the role of owner or admin.
    ///
    /// Dropping the future may or may not have ended them.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn kick(&self, member: PublicKey) -> Result<Vec<String>, PeerError> {
        match self.service(Service::Kick(member)).await? {
            Served::Kicked(names) => Ok(names),
            _ => Err(PeerError::Closed),
        }
    }

    /// Shuts out a member that is in no membership log; gives its name. Who is in the log is taken
    /// out by [`Peer::remove`] alone, and the broker says so. Needs the broker, and the role of
    /// owner or admin.
    ///
    /// Dropping the future may or may not have shut it out.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn ban(&self, member: PublicKey) -> Result<String, PeerError> {
        match self.service(Service::Ban(member)).await? {
            Served::Banned(name) => Ok(name),
            _ => Err(PeerError::Closed),
        }
    }

    /// Lets in again whom [`Peer::ban`] shut out; gives its name. Needs the broker, and the role of
    /// owner or admin.
    ///
    /// Dropping the future may or may not have let it in.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn unban(&self, member: PublicKey) -> Result<String, PeerError> {
        match self.service(Service::Unban(member)).await? {
            Served::Unbanned(name) => Ok(name),
            _ => Err(PeerError::Closed),
        }
    }

    /// Who is out, as the broker has it. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn bans(&self) -> Result<Vec<BanRecord>, PeerError> {
        match self.service(Service::Bans).await? {
            Served::Bans(bans) => Ok(bans),
            _ => Err(PeerError::Closed),
        }
    }

    /// Has the broker make a key for its HTTP routes. The secret in the answer is told this once;
    /// what it opens are texts in the open and ciphertext, never what is sealed. Needs the broker.
    ///
    /// Dropping the future may leave a key that nobody knows; [`Peer::api_keys`] shows it.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn create_api_key(&self, wanted: NewApiKey) -> Result<ApiKeyCreated, PeerError> {
        let NewApiKey {
            label,
            capabilities,
            topics,
            expires_at,
        } = wanted;
        let wish = Service::CreateApiKey {
            label,
            capabilities,
            topics,
            expires_at,
        };
        match self.service(wish).await? {
            Served::ApiKey(key) => Ok(*key),
            _ => Err(PeerError::Closed),
        }
    }

    /// The keys for HTTP, without their secrets. Needs the broker.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRecord>, PeerError> {
        match self.service(Service::ApiKeys).await? {
            Served::ApiKeys(keys) => Ok(keys),
            _ => Err(PeerError::Closed),
        }
    }

    /// Takes a key for HTTP back, by its id or the beginning of it. The broker's word: `revoked`,
    /// `not_found` or `not_unique`. Needs the broker.
    ///
    /// Dropping the future may or may not have taken it back.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn revoke_api_key(&self, id: &str) -> Result<String, PeerError> {
        match self.service(Service::RevokeApiKey(id.to_owned())).await? {
            Served::ApiKeyRevoked(status) => Ok(status),
            _ => Err(PeerError::Closed),
        }
    }

    async fn service(&self, wish: Service) -> Result<Served, PeerError> {
        self.connected_within(PATIENCE).await?;
        match self.command(Command::Service(wish)).await? {
            Reply::Served(served) => Ok(served),
            _ => Err(PeerError::Closed),
        }
    }
}
