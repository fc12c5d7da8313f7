//! Who may make meshes at a broker, and the tokens that say so.
//!
//! Tokens stand in `create-tokens.json` in the broker's folder, as SHA-256: whoever reads the file
//! or a backup of it can make no mesh. A running broker sees a change at the next request.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::{base64url, hex};
use claudemesh_core::id::MeshId;
use serde::{Deserialize, Serialize};

use crate::files::{exclusively, replace};

const FILE: &str = "create-tokens.json";
/// Tokens of one broker at most.
const MAX: usize = 10_000;
/// Bytes of the file at most.
const MAX_FILE: u64 = 8 << 20;
/// Meshes that are noted for one token at most.
const MESHES: usize = 1_000;

/// Who may make meshes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CreatePolicy {
    /// Anybody who reaches the broker.
    #[default]
    Open,
    /// Who shows a token of this file.
    Token(Tokens),
    /// Nobody.
    Closed,
}

/// One token, without the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenRow {
    /// What its operator calls it.
    pub name: String,
    /// SHA-256, in hex.
    pub sha256: String,
    /// Unix ms.
    pub made_at: u64,
    /// Unix ms; none: until it is revoked.
    #[serde(default)]
    pub expires_at: Option<u64>,
    /// The meshes that were made with it, 1,000 at most: it speaks for them over HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meshes: Vec<MeshId>,
}

/// Why the tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: it is not a file of tokens; move it aside and make new tokens")]
    Malformed {
        /// The file.
        path: String,
    },
    /// A token of that name is there.
    #[error("a token is called {0:?} already; choose another name, or revoke that one first")]
    Exists(String),
    /// There is none of that name.
    #[error("no token is called {0:?}; `token list` shows which there are")]
    Unknown(String),
    /// A name is 1–64 bytes without control characters.
    #[error("a token's name is 1–64 bytes without control characters")]
    Name,
    /// There are as many as there may be.
    #[error("there are {MAX} tokens; revoke some first")]
    Many,
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// The tokens of one broker's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    path: PathBuf,
}

impl Tokens {
    /// Those in the folder `dir`; the file need not be there.
    pub fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(FILE),
        }
    }

    /// All of them.
    ///
    /// # Errors
    /// [`TokenError::Io`], [`TokenError::Malformed`].
    pub fn list(&self) -> Result<Vec<TokenRow>, TokenError> {
        use std::io::Read as _;
        let file = match fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.io(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io(error))?;
        serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed {
            path: self.path.display().to_string(),
        })
    }

    /// Makes a token and gives it: it is shown nowhere again.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn add(&self, name: &str, now: u64, expires_at: Option<u64>) -> Result<String, TokenError> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            return Err(TokenError::Name);
        }
        let _alone = exclusively(&self.path).map_err(|error| self.io(error))?;
        let mut rows = self.list()?;
        if rows.iter().any(|row| row.name == name) {
            return Err(TokenError::Exists(name.to_owned()));
        }
        if rows.len() >= MAX {
            return Err(TokenError::Many);
        }
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|_| TokenError::Random)?;
        let token = format!("cmt_{}", base64url(&secret));
        rows.push(TokenRow {
            name: name.to_owned(),
            sha256: hex(&sha256(token.as_bytes()).0),
            made_at: now,
            expires_at,
            meshes: Vec::new(),
        });
        self.write(&rows)?;
        Ok(token)
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        let _alone = exclusively(&self.path).map_err(|error| self.io(error))?;
        let mut rows = self.list()?;
        let before = rows.len();
        rows.retain(|row| row.name != name);
        if rows.len() == before {
            return Err(TokenError::Unknown(name.to_owned()));
        }
        self.write(&rows)
    }

    /// The name of the token, if it is good at `now`. What it is compared by is its hash, so the
    /// time that this takes tells nothing of it.
    pub(crate) fn check(&self, token: &str, now: u64) -> Result<Option<String>, TokenError> {
        Ok(self.row(token, now)?.map(|row| row.name))
    }

    /// As [`Tokens::check`], with all that is kept of it.
    pub(crate) fn row(&self, token: &str, now: u64) -> Result<Option<TokenRow>, TokenError> {
        let hash = hex(&sha256(token.as_bytes()).0);
        let rows = self.list()?;
        let row = rows.into_iter().find(|row| row.sha256 == hash);
        Ok(row.filter(|row| row.expires_at.is_none_or(|at| now < at)))
    }

    /// Notes that a mesh was made with the token called `name`. One that was revoked since, or has
    /// made 1,000, notes nothing.
    pub(crate) fn made(&self, name: &str, mesh: &MeshId) -> Result<(), TokenError> {
        let _alone = exclusively(&self.path).map_err(|error| self.io(error))?;
        let mut rows = self.list()?;
        let row = rows.iter_mut().find(|row| row.name == name);
        match row {
            Some(row) if row.meshes.len() < MESHES && !row.meshes.contains(mesh) => {
                row.meshes.push(mesh.clone());
                // A file that is too long is read no more: what is noted must not get it there.
                let long = serde_json::to_vec_pretty(&rows)
                    .is_ok_and(|text| u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_FILE / 2);
                if long { Ok(()) } else { self.write(&rows) }
            }
            _ => Ok(()),
        }
    }

    fn write(&self, rows: &[TokenRow]) -> Result<(), TokenError> {
        let text = serde_json::to_vec_pretty(rows).map_err(|error| self.io(error.into()))?;
        replace(&self.path, &text).map_err(|error| self.io(error))
    }

    fn io(&self, source: std::io::Error) -> TokenError {
        TokenError::Io {
            path: self.path.display().to_string(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_kept_as_hashes_and_can_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(dir.path());
        assert_eq!(tokens.list().unwrap(), []);
        let token = tokens.add("ana", 1, None).unwrap();
        let brief = tokens.add("brief", 1, Some(10)).unwrap();
        let file = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(!file.contains(&token));
        assert_eq!(tokens.check(&token, 99).unwrap().as_deref(), Some("ana"));
        assert_eq!(tokens.check(&brief, 9).unwrap().as_deref(), Some("brief"));
        assert_eq!(tokens.check(&brief, 10).unwrap(), None);
        assert_eq!(tokens.check("cmt_x", 1).unwrap(), None);
        assert!(matches!(
            tokens.add("ana", 1, None),
            Err(TokenError::Exists(_))
        ));
        assert!(matches!(tokens.add("", 1, None), Err(TokenError::Name)));
        let mesh = MeshId::new("m1").unwrap();
        for _ in 0..2 {
            tokens.made("ana", &mesh).unwrap();
            tokens.made("nobody", &mesh).unwrap();
        }
        let row = tokens.row(&token, 99).unwrap().unwrap();
        assert_eq!(row.meshes, [mesh]);
        tokens.revoke("ana").unwrap();
        assert!(matches!(tokens.revoke("ana"), Err(TokenError::Unknown(_))));
        assert_eq!(tokens.check(&token, 99).unwrap(), None);
        fs::write(dir.path().join(FILE), "x").unwrap();
        assert!(matches!(tokens.list(), Err(TokenError::Malformed { .. })));
    }
}
