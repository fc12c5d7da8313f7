//! What a peer writes down: one line an event, written with one call, so that a SIGKILL leaves
//! whole lines.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::error::{During as _, LoadError};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// In the outbox.
    Sent { id: String },
    /// The broker has it.
    Accepted { id: String },
    /// It will not be delivered.
    Failed { id: String },
    /// Shown to the application, with its sender and what it says.
    Offered {
        id: String,
        from: String,
        again: bool,
        process: u64,
        number: u64,
    },
    /// Taken by the application.
    Taken { id: String },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { id } => write!(f, "sent {id}"),
            Self::Accepted { id } => write!(f, "accepted {id}"),
            Self::Failed { id } => write!(f, "failed {id}"),
            Self::Taken { id } => write!(f, "taken {id}"),
            Self::Offered {
                id,
                from,
                again,
                process,
                number,
            } => write!(f, "offered {id} {from} {again} {process} {number}"),
        }
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut parts = line.split(' ');
        let (kind, id) = (parts.next().ok_or(())?, parts.next().ok_or(())?.to_owned());
        let line = match kind {
            "sent" => Self::Sent { id },
            "accepted" => Self::Accepted { id },
            "failed" => Self::Failed { id },
            "taken" => Self::Taken { id },
            "offered" => {
                let mut next = || parts.next().ok_or(());
                Self::Offered {
                    id,
                    from: next()?.to_owned(),
                    again: next()?.parse().map_err(|_| ())?,
                    process: next()?.parse().map_err(|_| ())?,
                    number: next()?.parse().map_err(|_| ())?,
                }
            }
            _ => return Err(()),
        };
        if parts.next().is_none() {
            Ok(line)
        } else {
            Err(())
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Journal(Mutex<File>);

impl Journal {
    /// Goes on where an earlier process was cut off.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .during("the journal")?;
        file.write_all(b"\n").during("the journal")?;
        Ok(Self(Mutex::new(file)))
    }

    /// Writes a line. It is with the system when this returns: no SIGKILL takes it back.
    pub(super) fn write(&self, line: &Line) -> Result<(), LoadError> {
        let text = format!("{line}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).during("the journal")
    }
}

/// Everything that was written; half a line at a process's end is none.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, LoadError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(LoadError::step("a journal", error)),
    };
    let whole = text
        .rfind('\n')
        .map_or("", |end| text.get(..end).unwrap_or_default());
    Ok(whole.lines().filter_map(|line| line.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let id = "0190-7".to_owned();
        let lines = [
            Line::Sent { id: id.clone() },
            Line::Accepted { id: id.clone() },
            Line::Failed { id: id.clone() },
            Line::Offered {
                id: id.clone(),
                from: "ab".to_owned(),
                again: true,
                process: 7,
                number: 9,
            },
            Line::Taken { id },
        ];
        let journal = Journal::open(&path).unwrap();
        for line in &lines {
            journal.write(line).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"taken 01").unwrap();
        assert_eq!(read(&path).unwrap(), lines);
        Journal::open(&path).unwrap().write(&lines[0]).unwrap();
        let both = read(&path).unwrap();
        // What was cut off says nothing that is counted: no message has that id.
        assert_eq!(both.last(), Some(&lines[0]));
    }
}
