//! Real peers of a test mesh.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::MemberId;
use claudemesh_core::{Config, InviteOptions, MeshEntry, Peer};

use super::{TestError, TestMesh};

/// How long a peer may take to connect.
const SOON: Duration = Duration::from_secs(10);

impl TestMesh {
    /// A connected peer of the member called so, who joins by an invite of the owner if there is
    /// none yet. Asked again, it gives another peer of the same member on the same store, as
    /// another process of it would be. `owner` is the mesh's owner.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn peer(&self, name: &str) -> Result<Peer, TestError> {
        let peer = Peer::connect(&self.member(name).await?).await?;
        peer.connected_within(SOON).await?;
        Ok(peer)
    }

    /// The entry of the member called so, who joins if need be: for [`Peer::builder`].
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn member(&self, name: &str) -> Result<MeshEntry, TestError> {
        if name == "owner" {
            return self.owner_entry();
        }
        let mut config = Config::load(self.config_dir(name))?;
        if let Some(entry) = config.meshes().first() {
            return Ok(entry.clone());
        }
        let link = self.invite(InviteOptions::default()).await?;
        Ok(config.join(&link, name).await?)
    }

    /// A link, issued by the owner.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn invite(&self, options: InviteOptions) -> Result<String, TestError> {
        let entry = self.owner_entry()?;
        let owner = Peer::builder(&entry)
            .presence(false)
            .receive(false)
            .connect()
            .await?;
        let link = owner.invite(options).await?.issued.link();
        owner.close(SOON).await;
        Ok(link)
    }

    /// The folder of a member's configuration.
    pub fn config_dir(&self, name: &str) -> PathBuf {
        self.peers.path().join(name)
    }

    fn owner_entry(&self) -> Result<MeshEntry, TestError> {
        let mut config = Config::load(self.config_dir("owner"))?;
        if let Some(entry) = config.meshes().first() {
            return Ok(entry.clone());
        }
        let member =
            MemberId::new("owner").map_err(|_| TestError::Unexpected("a member id is not one"))?;
        let key = Arc::new(KeyPair::from_seed(&self.owner().expose_seed()));
        let joined = claudemesh_core::time::iso(self.clock().now().wall);
        let mut entry = MeshEntry::new(
            self.id(),
            member,
            "test",
            key,
            self.url().to_string(),
            joined,
        );
        entry.log = Some(true);
        entry.display_name = Some("owner".to_owned());
        config.put_mesh(entry)?;
        config
            .meshes()
            .first()
            .cloned()
            .ok_or(TestError::Unexpected("the entry is gone"))
    }
}
