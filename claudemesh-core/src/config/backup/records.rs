//! What is inside `CMB2`: parts, each a kind (1 byte), what it is of, its length (u64be), its bytes.
//!
//! | kind | of | bytes |
//! |---|---|---|
//! | 1 | – | `config.json`; exactly one, the first |
//! | 2 | member key (32) | the store of messages of that member, an SQLite file |
//! | 3 | member key (32), session id (36) | the file of a session's key |
//! | 0 | – (no length) | the end |
//!
//! Files are named after keys and ids that were checked, never by a text from the backup.

use std::io::{Read, Write};

use super::BackupError;
use super::stream::{Opener, Sealer};
use crate::id::{PublicKey, SessionId};

/// Which part comes.
pub(super) enum Part {
    Config {
        length: u64,
    },
    Store {
        member: PublicKey,
        length: u64,
    },
    Session {
        member: PublicKey,
        id: SessionId,
        length: u64,
    },
    End,
}

const CONFIG: u8 = 1;
const STORE: u8 = 2;
const SESSION: u8 = 3;
const END: u8 = 0;

impl Part {
    /// Writes what stands before the bytes.
    pub(super) fn put<W: Write>(&self, to: &mut Sealer<W>) -> Result<(), BackupError> {
        let length = match self {
            Self::End => return to.put(&[END]),
            Self::Config { length } => {
                to.put(&[CONFIG])?;
                length
            }
            Self::Store { member, length } => {
                to.put(&[STORE])?;
                to.put(member.as_bytes())?;
                length
            }
            Self::Session { member, id, length } => {
                to.put(&[SESSION])?;
                to.put(member.as_bytes())?;
                to.put(id.as_str().as_bytes())?;
                length
            }
        };
        to.put(&length.to_be_bytes())
    }

    /// Reads what stands before the bytes.
    pub(super) fn next<R: Read>(from: &mut Opener<R>) -> Result<Self, BackupError> {
        let [kind] = from.array()?;
        let member = match kind {
            END => return Ok(Self::End),
            CONFIG => None,
            STORE | SESSION => Some(PublicKey(from.array()?)),
            _ => return Err(BackupError::Malformed("a part of an unknown kind")),
        };
        let id = match kind {
            SESSION => Some(session(&from.array::<36>()?)?),
            _ => None,
        };
        let length = u64::from_be_bytes(from.array()?);
        Ok(match (member, id) {
            (Some(member), Some(id)) => Self::Session { member, id, length },
            (Some(member), None) => Self::Store { member, length },
            _ => Self::Config { length },
        })
    }
}

fn session(bytes: &[u8]) -> Result<SessionId, BackupError> {
    let text = std::str::from_utf8(bytes).ok();
    let id = text.and_then(|text| SessionId::new(text).ok());
    id.ok_or(BackupError::Malformed("a session id that is none"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Passphrase};

    const CONFIG_TEXT: &[u8] = b"{\"version\":1,\"meshes\":[]}";

    fn written(fill: impl FnOnce(&mut Sealer<Vec<u8>>)) -> tempfile::NamedTempFile {
        let passphrase = Passphrase::new("correct horse battery");
        let mut sealer = Sealer::new(Vec::new(), &passphrase).unwrap();
        fill(&mut sealer);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), sealer.finish().unwrap()).unwrap();
        file
    }

    fn restored(file: &Path) -> BackupError {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::load(dir.path()).unwrap();
        let passphrase = Passphrase::new("correct horse battery");
        let error = config.restore(file, &passphrase, true).unwrap_err();
        assert!(!dir.path().join("config.json").exists());
        assert!(!dir.path().join("peers").exists());
        error
    }

    fn config(to: &mut Sealer<Vec<u8>>) {
        let length = CONFIG_TEXT.len() as u64;
        Part::Config { length }.put(to).unwrap();
        to.put(CONFIG_TEXT).unwrap();
    }

    #[test]
    fn parts_that_make_no_sense_change_nothing() {
        let (member, id) = (PublicKey([9; 32]), SessionId::from_random([1; 16]));
        type Case = (&'static str, Box<dyn FnOnce(&mut Sealer<Vec<u8>>)>);
        let cases: [Case; 8] = [
            ("nothing", Box::new(|_| {})),
            ("no end", Box::new(config)),
            ("end first", Box::new(|to| Part::End.put(to).unwrap())),
            (
                "twice",
                Box::new(|to| {
                    config(to);
                    config(to);
                }),
            ),
            (
                "unknown kind",
                Box::new(|to| {
                    config(to);
                    to.put(&[9]).unwrap();
                }),
            ),
            (
                "a stranger's store",
                Box::new(move |to| {
                    config(to);
                    Part::Store { member, length: 3 }.put(to).unwrap();
                    to.put(b"abc").unwrap();
                    Part::End.put(to).unwrap();
                }),
            ),
            (
                "a long session",
                Box::new(move |to| {
                    config(to);
                    let length = u64::MAX;
                    Part::Session { member, id, length }.put(to).unwrap();
                }),
            ),
            (
                "more behind the end",
                Box::new(|to| {
                    config(to);
                    Part::End.put(to).unwrap();
                    to.put(b"x").unwrap();
                }),
            ),
        ];
        for (name, fill) in cases {
            let error = restored(written(fill).path());
            assert!(
                matches!(error, BackupError::Malformed(_)),
                "{name}: {error:?}"
            );
        }
        let long = written(|to| Part::Config { length: u64::MAX }.put(to).unwrap());
        assert!(matches!(restored(long.path()), BackupError::Malformed(_)));
    }
}
