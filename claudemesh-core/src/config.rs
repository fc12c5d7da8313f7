//! `config.json`: the meshes of this machine and its keys there, shared with the other claudemesh
//! programs and written so that nothing of theirs is lost.
//!
//! The file is in `CLAUDEMESH_CONFIG_DIR`, or else `~/.claudemesh`. Every change is a
//! [`Config::update`]: it takes a lock, reads the file anew, and replaces it as a whole. Fields
//! that this program does not know stay. A file that cannot be understood is an error and stays
//! untouched; it is never taken for an empty one.
//!
//! A directory that is a link is followed. A `config.json` that is itself a link is read through
//! it, but replaced by a real file on the first write: the target may be in a place where others
//! can read.
//!
//! ```
//! use claudemesh_core::config::Config;
//!
//! let mut config = Config::in_memory();
//! config.set_display_name(Some("Ana"))?;
//! let kept = config.to_bytes()?;
//! assert_eq!(Config::from_bytes(&kept)?.display_name(), Some("Ana"));
//! # Ok::<(), claudemesh_core::config::ConfigError>(())
//! ```

mod backup;
mod data;
mod disk;
mod error;
mod fields;
mod format;
mod session_keys;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use backup::{
    BackedUp, BackupError, Contents, PASSPHRASE_MIN, Passphrase, Restored, open_backup,
};
pub use data::{ConfigData, MeshEntry};
pub use error::{ConfigError, Place};
pub use fields::Fields;
pub use session_keys::{
    SESSION_ID_ENV, SESSIONS_DIR_ENV, SessionIdentity, SessionKeyError, SessionKeys,
};

use crate::crypto::ExposedBytes;

/// The environment variable that names the directory of `config.json`.
pub const CONFIG_DIR_ENV: &str = "CLAUDEMESH_CONFIG_DIR";

/// A configuration as it was last read or written, and the way to change it.
#[derive(Debug, Clone)]
pub struct Config {
    dir: Option<PathBuf>,
    data: ConfigData,
    #[cfg(feature = "client")]
    network: crate::transport::Network,
}

impl Config {
    /// Reads the configuration of this user: in `CLAUDEMESH_CONFIG_DIR`, or else `~/.claudemesh`.
    ///
    /// A directory that is named but missing is not replaced by the default; it is made on the
    /// first write.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`], and as [`Config::load`].
    pub fn load_default() -> Result<Self, ConfigError> {
        Self::load(Self::default_dir()?)
    }

    /// Where [`Config::load_default`] reads; it need not be there.
    ///
    /// # Errors
    /// [`ConfigError::NoHome`].
    pub fn default_dir() -> Result<PathBuf, ConfigError> {
        default_dir(std::env::var_os(CONFIG_DIR_ENV), dirs::home_dir())
    }

    /// Reads the configuration in `dir`. Where there is none it is empty, and nothing is created.
    ///
    /// # Errors
    /// Where the file is there: [`ConfigError::Read`], [`ConfigError::TooLarge`] (16 MiB),
    /// [`ConfigError::Parse`], [`ConfigError::Malformed`], [`ConfigError::KeyMismatch`],
    /// [`ConfigError::NewerVersion`].
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let dir = dir.as_ref();
        // A later change of the working directory must not move the file.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let data = read_data(&dir)?;
        let mut config = Self {
            dir: Some(dir),
            data,
            #[cfg(feature = "client")]
            network: crate::transport::Network::new(),
        };
        config.place_entries();
        Ok(config)
    }

    /// An empty configuration that is kept nowhere.
    pub fn in_memory() -> Self {
        Self {
            dir: None,
            data: ConfigData::default(),
            #[cfg(feature = "client")]
            network: crate::transport::Network::new(),
        }
    }

    /// Reads what [`Config::to_bytes`] gave, for applications that keep it in a keychain.
    ///
    /// # Errors
    /// As [`Config::load`], save [`ConfigError::Read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let data = format::parse(bytes, &Place::Memory)?;
        Ok(Self {
            dir: None,
            data,
            #[cfg(feature = "client")]
            network: crate::transport::Network::new(),
        })
    }

    /// The whole configuration as it would stand in the file, secret keys included.
    ///
    /// # Errors
    /// [`ConfigError::TooLarge`]: more than 16 MiB.
    pub fn to_bytes(&self) -> Result<ExposedBytes, ConfigError> {
        let mut bytes = format::write(&self.data, &self.place())?;
        Ok(ExposedBytes::new(std::mem::take(&mut *bytes)))
    }

    /// How brokers are reached by calls of this configuration; it is not kept. A mesh that is made
    /// or joined remembers the file of [`Network::ca`](crate::Network::ca), if there is one.
    #[cfg(feature = "client")]
    pub fn set_network(&mut self, network: crate::transport::Network) {
        self.network = network;
    }

    /// See [`Config::set_network`].
    #[cfg(feature = "client")]
    pub const fn network(&self) -> &crate::transport::Network {
        &self.network
    }

    /// How the broker of a mesh is reached: as was set, or with what its entry remembers.
    #[cfg(feature = "client")]
    pub(crate) fn network_for(&self, mesh: &crate::id::MeshId) -> crate::transport::Network {
        let known = self.meshes().iter().find(|known| known.mesh_id == *mesh);
        match known.and_then(MeshEntry::ca_file) {
            Some(file) if self.network.ca_file().is_none() => self.network.clone().ca(file),
            _ => self.network.clone(),
        }
    }

    /// The directory, if it is kept in one.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// The file, if it is kept in one; it need not be there yet.
    pub fn path(&self) -> Option<PathBuf> {
        self.dir().map(|dir| dir.join(disk::FILE))
    }

    /// Everything as it was last read or written.
    pub const fn data(&self) -> &ConfigData {
        &self.data
    }

    /// The meshes, in the order in which they were joined.
    pub fn meshes(&self) -> &[MeshEntry] {
        &self.data.meshes
    }

    /// The mesh of this short name, or else of this id.
    pub fn mesh(&self, slug_or_id: &str) -> Option<&MeshEntry> {
        self.data.mesh(slug_or_id)
    }

    /// The name that this machine shows where a mesh has no other.
    pub fn display_name(&self) -> Option<&str> {
        self.data.display_name.as_deref()
    }

    /// Reads the file anew; on an error, what was read before stays. In memory it does nothing.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn reload(&mut self) -> Result<(), ConfigError> {
        if let Some(dir) = &self.dir {
            self.data = read_data(dir)?;
            self.place_entries();
        }
        Ok(())
    }

    /// Changes the configuration: `f` sees what is in the file now, and no other program built on
    /// this crate writes before the change is on the disk. In memory it is just applied.
    ///
    /// Blocks for up to five seconds while another program writes, and for the disk.
    ///
    /// # Errors
    /// [`ConfigError::Locked`], [`ConfigError::Write`], and as [`Config::load`]; on any of them
    /// neither the file nor this value has changed.
    pub fn update<R>(&mut self, f: impl FnOnce(&mut ConfigData) -> R) -> Result<R, ConfigError> {
        let place = self.place();
        let Some(dir) = &self.dir else {
            let mut data = self.data.clone();
            let result = f(&mut data);
            format::write(&data, &place)?;
            self.data = data;
            return Ok(result);
        };
        let lock = disk::Lock::acquire(dir, disk::LOCK_WAIT)?;
        let mut data = read_data(lock.dir())?;
        let result = f(&mut data);
        lock.write(&format::write(&data, &place)?)?;
        self.data = data;
        self.place_entries();
        Ok(result)
    }

    /// Adds a mesh, or replaces the entry of the same mesh; says under which short name, which
    /// has a number at its end if another mesh has the wanted one.
    ///
    /// # Errors
    /// As [`Config::update`].
    pub fn put_mesh(&mut self, entry: MeshEntry) -> Result<String, ConfigError> {
        self.update(|data| data.put_mesh(entry))
    }

    /// Removes the mesh of this short name, or else of this id.
    ///
    /// # Errors
    /// As [`Config::update`].
    pub fn remove_mesh(&mut self, slug_or_id: &str) -> Result<Option<MeshEntry>, ConfigError> {
        self.update(|data| data.remove_mesh(slug_or_id))
    }

    /// Sets or clears the name that this machine shows.
    ///
    /// # Errors
    /// As [`Config::update`].
    pub fn set_display_name(&mut self, name: Option<&str>) -> Result<(), ConfigError> {
        self.update(|data| data.display_name = name.map(str::to_owned))
    }

    /// Tells each entry where its member's messages are kept: in a directory named after the key,
    /// since names of meshes change and come from others.
    fn place_entries(&mut self) {
        let peers = self.dir.as_ref().map(|dir| dir.join("peers"));
        let sessions = self.dir.as_ref().map(|dir| dir.join("sessions"));
        for entry in &mut self.data.meshes {
            entry.sessions_dir.clone_from(&sessions);
            entry.data_dir = peers
                .as_ref()
                .map(|peers| peers.join(entry.pubkey().to_hex()));
        }
    }

    /// What other users of this machine may do with the file that they should not, and how to
    /// end it. Every write ends it as well.
    pub fn permissions_warning(&self) -> Option<String> {
        disk::permissions_warning(self.dir()?)
    }

    fn place(&self) -> Place {
        self.path().map_or(Place::Memory, Place::File)
    }
}

fn read_data(dir: &Path) -> Result<ConfigData, ConfigError> {
    let Some(bytes) = disk::read(dir)? else {
        return Ok(ConfigData::default());
    };
    format::parse(&bytes, &Place::File(dir.join(disk::FILE)))
}

fn default_dir(named: Option<OsString>, home: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    match named {
        Some(dir) if !dir.is_empty() => Ok(dir.into()),
        _ => Ok(home.ok_or(ConfigError::NoHome)?.join(".claudemesh")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_directory_goes_first_even_if_it_is_missing() {
        let home = Some(PathBuf::from("home"));
        let dir = |named: Option<&str>| default_dir(named.map(Into::into), home.clone()).unwrap();
        assert_eq!(dir(Some("not/there")), PathBuf::from("not/there"));
        assert_eq!(dir(Some("")), PathBuf::from("home/.claudemesh"));
        assert_eq!(dir(None), PathBuf::from("home/.claudemesh"));
        assert!(matches!(default_dir(None, None), Err(ConfigError::NoHome)));
    }
}
