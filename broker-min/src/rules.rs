//! What an operator said of single meshes: suspended, deleted, how much they may keep.
//!
//! It stands in `mesh-rules.json` in the broker's folder. A running broker follows a change within
//! a second.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use claudemesh_core::id::MeshId;
use serde::{Deserialize, Serialize};

use crate::files::{exclusively, replace};

const FILE: &str = "mesh-rules.json";
/// Bytes of the file at most.
const MAX_FILE: u64 = 16 << 20;

/// Whether a mesh is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MeshState {
    /// It is.
    #[default]
    Active,
    /// Its members are turned away until it is resumed; what waits stays.
    Suspended,
    /// It is gone, or goes when the broker starts next.
    Deleted,
}

/// What is said of one mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MeshRule {
    /// Whether it is served.
    #[serde(default)]
    pub state: MeshState,
    /// Bytes that may wait in it, instead of the broker's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Deliveries that may wait in it, instead of the broker's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_rows: Option<u64>,
    /// Milliseconds that messages are kept at most: new ones expire no later, and `gc` deletes
    /// older ones of topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
}

/// What is said of all meshes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    meshes: BTreeMap<MeshId, MeshRule>,
}

impl Rules {
    /// What is said of one.
    pub fn of(&self, mesh: &MeshId) -> Option<&MeshRule> {
        self.meshes.get(mesh)
    }

    /// Whether it is served.
    pub fn state(&self, mesh: &MeshId) -> MeshState {
        self.of(mesh).map(|rule| rule.state).unwrap_or_default()
    }

    /// All of which something is said.
    pub fn iter(&self) -> impl Iterator<Item = (&MeshId, &MeshRule)> {
        self.meshes.iter()
    }

    /// Changes what is said of one.
    pub fn change(&mut self, mesh: &MeshId, change: impl FnOnce(&mut MeshRule)) {
        let rule = self.meshes.entry(mesh.clone()).or_default();
        change(rule);
        if *rule == MeshRule::default() {
            self.meshes.remove(mesh);
        }
    }
}

/// Why the rules cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is a rule for too many meshes.
    #[error(
        "{path}: it would be longer than 16 MiB; take out the lines of meshes that were deleted \
         long ago, while the broker does not run"
    )]
    TooLong {
        /// The file.
        path: String,
    },
    /// The file is not what it should be.
    #[error("{path}: it is not a file of rules for meshes; put a sound one in its place")]
    Malformed {
        /// The file.
        path: String,
    },
}

/// The rules of one broker's folder.
#[derive(Debug, Clone)]
pub struct RulesFile {
    path: PathBuf,
}

impl RulesFile {
    /// That of the folder `dir`; it need not be there.
    pub fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE),
        }
    }

    /// The rules.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn read(&self) -> Result<Rules, RulesError> {
        match self.bytes()? {
            Some(bytes) => self.parse(&bytes),
            None => Ok(Rules::default()),
        }
    }

    /// Changes what is said of one mesh; two that do so at once wait for each other.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn change(
        &self,
        mesh: &MeshId,
        change: impl FnOnce(&mut MeshRule),
    ) -> Result<(), RulesError> {
        let _alone = exclusively(&self.path).map_err(|error| self.io(error))?;
        let mut rules = self.read()?;
        rules.change(mesh, change);
        self.write(&rules)
    }

    fn write(&self, rules: &Rules) -> Result<(), RulesError> {
        let text = serde_json::to_vec_pretty(rules).map_err(|error| self.io(error.into()))?;
        // A file that is too long is read no more, and then the broker does not start.
        if u64::try_from(text.len()).unwrap_or(u64::MAX) >= MAX_FILE {
            return Err(RulesError::TooLong {
                path: self.path.display().to_string(),
            });
        }
        replace(&self.path, &text).map_err(|error| self.io(error))
    }

    /// The file as it is; none: there is none.
    pub(crate) fn bytes(&self) -> Result<Option<Vec<u8>>, RulesError> {
        use std::io::Read as _;
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io(error))?;
        Ok(Some(bytes))
    }

    pub(crate) fn parse(&self, bytes: &[u8]) -> Result<Rules, RulesError> {
        serde_json::from_slice(bytes).map_err(|_| RulesError::Malformed {
            path: self.path.display().to_string(),
        })
    }

    fn io(&self, source: std::io::Error) -> RulesError {
        RulesError::Io {
            path: self.path.display().to_string(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = RulesFile::new(dir.path());
        let mut rules = Rules::default();
        let name = |n: u32| MeshId::new(format!("{n:064}")).unwrap();
        for n in 0..200_000 {
            rules.change(&name(n), |rule| rule.state = MeshState::Deleted);
        }
        let error = file.write(&rules).unwrap_err();
        assert!(matches!(error, RulesError::TooLong { .. }), "{error}");
        assert!(error.to_string().contains("take out"), "{error}");
        assert_eq!(file.bytes().unwrap(), None, "nothing was written");
        file.change(&name(0), |rule| rule.state = MeshState::Suspended)
            .unwrap();
        assert_eq!(file.read().unwrap().state(&name(0)), MeshState::Suspended);
    }
}
