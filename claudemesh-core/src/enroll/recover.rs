//! Taking a mesh back with its recovery key, after the owner's key was lost or stolen.

use std::sync::Arc;

use serde_json::json;
use zeroize::Zeroizing;

use super::http::{blob, fetch_log, member_id, post};
use super::{JoinError, MAX_TRIES, RecoveryKey, now_iso, unix_ms};
use crate::broker_url::BrokerUrl;
use crate::config::{Config, MeshEntry};
use crate::crypto::KeyPair;
use crate::id::{MeshId, Name};
use crate::membership::{Body, Log, LogError, SignedEntry};
use crate::peer::random;

impl Config {
    /// Makes a fresh owner key for a mesh by its recovery key, and keeps the entry in place of
    /// one that is here. The old owner is removed for good, and every open invite is closed. The
    /// recovery key stays good: nothing is lost if this is cut off, and it can be done again.
    ///
    /// Dropping the future may leave the mesh with an owner whose key nobody has; the same call
    /// again ends that.
    ///
    /// # Errors
    /// [`JoinError`]; [`JoinError::Rule`] if it is not this mesh's recovery key.
    pub async fn recover(
        &mut self,
        mesh: &MeshId,
        broker: &BrokerUrl,
        recovery: &RecoveryKey,
        name: &str,
    ) -> Result<MeshEntry, JoinError> {
        let name = Name::new(name)?;
        let recovery = &recovery.0;
        let held = self.held_log(mesh)?;
        let network = self.network_for(mesh);
        let mut entries = Vec::new();
        for _ in 0..MAX_TRIES {
            fetch_log(&network, mesh, broker, recovery, &mut entries).await?;
            let log = Log::verify(mesh, &entries)?;
            // What this machine has seen of the mesh is not taken back here either.
            if !entries.starts_with(&held) {
                return Err(JoinError::DoesNotFit(
                    "it is not the one that this machine holds",
                ));
            }
            let owner = KeyPair::from_seed(&Zeroizing::new(random::<32>()?));
            let body = Body::OwnerChanged {
                key: owner.public(),
                recovery: None,
                name: Some(name.clone()),
            };
            let entry = log.draft(unix_ms(), body).sign(recovery, Some(&owner));
            log.clone().append(&entry).map_err(|error| match error {
                LogError::Rule { source, .. } => JoinError::Rule(source),
                other => JoinError::Log(other),
            })?;
            let path = format!("/mesh/{mesh}/log");
            let body = json!({ "log_entry": blob(&entry) });
            match post(&network, broker, &path, &body).await {
                Ok(answer) => {
                    entries.push(entry);
                    let slug = log.roster().slug().as_str();
                    let member = member_id(&answer, "memberId")?;
                    let broker = broker.to_string();
                    let mut kept = MeshEntry::new(
                        mesh.clone(),
                        member,
                        slug,
                        Arc::new(owner),
                        broker,
                        now_iso(),
                    );
                    kept.display_name = Some(name.as_str().to_owned());
                    kept.log = Some(true);
                    return self.keep(kept, &entries);
                }
                Err(JoinError::Refused { code, .. }) if code == "log_conflict" => {}
                Err(error) => return Err(error),
            }
        }
        Err(JoinError::Contention)
    }

    /// The log of a mesh that an entry here has kept.
    #[cfg(feature = "sqlite")]
    fn held_log(&self, mesh: &MeshId) -> Result<Vec<SignedEntry>, JoinError> {
        use crate::store::{PeerStore, Query, Rows, SqliteStore};
        let known = self.meshes().iter().find(|known| known.mesh_id == *mesh);
        let file = known.and_then(|known| Some(known.data_dir()?.join("peer.db")));
        let Some(file) = file.filter(|file| file.exists()) else {
            return Ok(Vec::new());
        };
        let store = SqliteStore::open(&file)?;
        let mut held: Vec<SignedEntry> = Vec::new();
        loop {
            let query = Query::Log {
                from: held.len() as u64,
                limit: 1_000,
            };
            match store.read(&query)? {
                Rows::Log(rows) if !rows.is_empty() => {
                    held.extend(rows.into_iter().map(|row| row.entry));
                }
                _ => return Ok(held),
            }
        }
    }

    #[cfg(not(feature = "sqlite"))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as with a store on disk"
    )]
    fn held_log(&self, _: &MeshId) -> Result<Vec<SignedEntry>, JoinError> {
        Ok(Vec::new())
    }
}
