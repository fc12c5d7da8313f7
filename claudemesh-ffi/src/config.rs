//! The meshes of an app and its keys there.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use claudemesh_core::{BrokerUrl, Config, MeshEntry, MeshId, RecoveryKey, preview};
use tokio::sync::OwnedMutexGuard;

use crate::error::NativeError;
use crate::fetch::{Fetched, fetch_once};
use crate::peer::NativePeer;
use crate::runtime::{CancelToken, blocking, run};
use crate::types::{ConnectOptions, MeshInfo, builder, time};
use crate::verify::InvitePreview;

/// A mesh that was just made.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct CreatedMesh {
    /// The mesh.
    pub mesh: MeshInfo,
    /// The key that takes the mesh back if the owner's key is lost: 128 hex digits. It is kept
    /// nowhere else; show it once, to be kept in a safe place.
    pub recovery_key: String,
}

/// The meshes that an app has joined and its keys there: in a folder, in memory, or as bytes that
/// the app keeps in a Keychain or Keystore.
#[derive(Debug, uniffi::Object)]
pub struct NativeConfig {
    current: Arc<Mutex<Config>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

/// Opens the configuration in a folder of the app's own. Where there is none it is empty, and
/// nothing is written until something is to be kept.
///
/// # Errors
/// `config_invalid`, `config_unreachable`, `newer_format`.
#[uniffi::export]
pub async fn open_config(dir: String) -> Result<Arc<NativeConfig>, NativeError> {
    run(
        None,
        blocking(move || Ok(NativeConfig::new(Config::load(dir)?))),
    )
    .await
}

/// An empty configuration in memory; [`NativeConfig::to_bytes`] keeps it.
#[uniffi::export]
pub fn config_in_memory() -> Arc<NativeConfig> {
    NativeConfig::new(Config::in_memory())
}

/// The configuration that [`NativeConfig::to_bytes`] gave.
///
/// # Errors
/// `config_invalid`, `newer_format`.
#[uniffi::export]
pub fn config_from_bytes(bytes: Vec<u8>) -> Result<Arc<NativeConfig>, NativeError> {
    let bytes = zeroize::Zeroizing::new(bytes);
    Ok(NativeConfig::new(Config::from_bytes(&bytes)?))
}

/// Verifies a link and says what it offers, without joining. Only a short code needs the network.
///
/// # Errors
/// `invite_…`, `unreachable`, `refused`.
#[uniffi::export(default(cancel = None))]
pub async fn preview_invite(
    link: String,
    cancel: Option<Arc<CancelToken>>,
) -> Result<InvitePreview, NativeError> {
    run(cancel, async move {
        let offered = preview(&link).await?;
        Ok(InvitePreview {
            slug: offered.slug,
            mesh_id: offered.mesh.as_str().to_owned(),
            broker: offered.broker.to_string(),
            issuer: offered.issuer.to_hex(),
            admin: offered.admin,
            expires_at: time(offered.expires_at.saturating_mul(1_000)),
            verified: offered.verified,
        })
    })
    .await
}

#[uniffi::export]
impl NativeConfig {
    /// The meshes, in the order in which they were joined.
    ///
    /// # Errors
    /// `internal`.
    pub fn meshes(&self) -> Result<Vec<MeshInfo>, NativeError> {
        let config = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(config.meshes().iter().map(MeshInfo::of).collect())
    }

    /// The folder, if it is kept in one.
    pub fn dir(&self) -> Option<String> {
        let config = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        config.dir().map(|dir| dir.display().to_string())
    }

    /// Everything as bytes, secret keys included: for a Keychain or Keystore, after every join.
    ///
    /// # Errors
    /// `config_invalid` if there is more than 16 MiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, NativeError> {
        let config = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(config.to_bytes()?.to_vec())
    }

    /// Joins the mesh of a link under a name (1–64 bytes). The same link again gives the same mesh,
    /// also after a crash in between.
    ///
    /// A cancelled join may be done at the broker; the same call finishes it.
    ///
    /// # Errors
    /// `invite_…`, `invalid_argument`, `unreachable`, `refused`, `config_…`.
    #[uniffi::method(default(cancel = None))]
    pub async fn join(
        &self,
        link: String,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<MeshInfo, NativeError> {
        let editing = self.edit();
        run(cancel, async move {
            let mut config = editing.await;
            Ok(MeshInfo::of(&config.join(&link, &name).await?))
        })
        .await
    }

    /// Makes a mesh at a broker (`wss://…`), with a fresh owner key. `slug` is 1–64 of `a–z 0–9 . _
    /// -`, the first a letter or digit.
    ///
    /// # Errors
    /// `invalid_argument`, `unreachable`, `refused`, `config_…`.
    #[uniffi::method(default(cancel = None))]
    pub async fn create_mesh(
        &self,
        slug: String,
        broker: String,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<CreatedMesh, NativeError> {
        let editing = self.edit();
        run(cancel, async move {
            let broker: BrokerUrl = broker.parse()?;
            let created = editing.await.create(&slug, &broker, &name).await?;
            Ok(CreatedMesh {
                mesh: MeshInfo::of(&created.mesh),
                recovery_key: created.recovery_key.expose().as_str().to_owned(),
            })
        })
        .await
    }

    /// Takes a mesh back with its recovery key, under a fresh owner key. The old owner is out, and
    /// every open invite is closed.
    ///
    /// # Errors
    /// `invalid_argument`, `not_allowed` for another mesh's key, `unreachable`, `refused`.
    #[uniffi::method(default(cancel = None))]
    pub async fn recover(
        &self,
        mesh_id: String,
        broker: String,
        recovery_key: String,
        name: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<MeshInfo, NativeError> {
        let recovery_key = zeroize::Zeroizing::new(recovery_key);
        let editing = self.edit();
        run(cancel, async move {
            let (mesh, broker) = (MeshId::new(&mesh_id)?, broker.parse::<BrokerUrl>()?);
            let recovery = RecoveryKey::parse(&recovery_key)?;
            let mut config = editing.await;
            let entry = config.recover(&mesh, &broker, &recovery, &name).await?;
            Ok(MeshInfo::of(&entry))
        })
        .await
    }

    /// Forgets a mesh, by its short name or id, with the key in it; false if there is none. The
    /// member stays one: leave by removing yourself first.
    ///
    /// # Errors
    /// `config_…`.
    pub async fn forget_mesh(&self, mesh: String) -> Result<bool, NativeError> {
        let editing = self.edit();
        run(None, async move {
            let mut config = editing.await;
            blocking(move || Ok(config.remove_mesh(&mesh)?.is_some())).await
        })
        .await
    }

    /// Opens a mesh, by its short name or id, and begins to connect; does not wait for the broker.
    ///
    /// # Errors
    /// `no_such_mesh`, `invalid_argument`, `store_…`, `newer_format`.
    pub async fn connect(
        &self,
        mesh: String,
        options: ConnectOptions,
    ) -> Result<Arc<NativePeer>, NativeError> {
        let entry = self.entry(&mesh)?;
        run(None, async move {
            let peer = builder(&entry, options).connect().await?;
            Ok(NativePeer::new(peer))
        })
        .await
    }

    /// Connects, receives what waits, sends what waits, and disconnects, all within `deadline`: for
    /// a background task. Nothing is taken; the app's reader shows it again. Without a connection
    /// it says so in its answer. Not while the same mesh is connected in this process: there,
    /// everything comes by itself.
    ///
    /// # Errors
    /// `no_such_mesh`, `store_…`, `cancelled`.
    #[uniffi::method(default(cancel = None))]
    pub async fn fetch_once(
        &self,
        mesh: String,
        options: ConnectOptions,
        deadline: Duration,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Fetched, NativeError> {
        let entry = self.entry(&mesh)?;
        run(cancel, fetch_once(entry, options, deadline)).await
    }
}

impl NativeConfig {
    fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            current: Arc::new(Mutex::new(config)),
            writer: Arc::default(),
        })
    }

    fn entry(&self, mesh: &str) -> Result<MeshEntry, NativeError> {
        let config = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = || NativeError::new("no_such_mesh", "this app is not in a mesh called so");
        config.mesh(mesh).cloned().ok_or_else(missing)
    }

    /// The right to change the configuration, once nobody else has it.
    fn edit(&self) -> impl Future<Output = Editing> + Send + 'static {
        let (current, writer) = (Arc::clone(&self.current), Arc::clone(&self.writer));
        async move {
            let guard = writer.lock_owned().await;
            let config = current
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Editing {
                config,
                current,
                _guard: guard,
            }
        }
    }
}

/// A configuration that is being changed: readers see it before, or after. What a change that was
/// cut off has kept so far is kept, the key of a join that began for one.
struct Editing {
    config: Config,
    current: Arc<Mutex<Config>>,
    _guard: OwnedMutexGuard<()>,
}

impl Deref for Editing {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for Editing {
    fn deref_mut(&mut self) -> &mut Config {
        &mut self.config
    }
}

impl Drop for Editing {
    fn drop(&mut self) {
        let config = std::mem::replace(&mut self.config, Config::in_memory());
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
}
