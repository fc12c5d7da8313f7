//! One file that is to be changed: before, after, the difference, and the writing of it.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use crate::exit::{Code, Failure};

/// Bytes of a configuration file that are read.
const MAX_BYTES: u64 = 32 << 20;

/// A file, as it is and as it is to be; none means that there is no such file.
#[derive(Debug)]
pub(crate) struct Edit {
    path: PathBuf,
    before: Option<String>,
    after: Option<String>,
    /// Whether the whole file is ours: nobody misses it, and its text is known.
    is_ours: bool,
}

impl Edit {
    pub(super) const fn new(path: PathBuf, before: Option<String>, after: Option<String>) -> Self {
        Self {
            path,
            before,
            after,
            is_ours: false,
        }
    }

    /// A file that nobody else has written in.
    pub(super) const fn ours(path: PathBuf, before: Option<String>, after: Option<String>) -> Self {
        let mut edit = Self::new(path, before, after);
        edit.is_ours = true;
        edit
    }

    /// Which file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything to do.
    pub(crate) fn changes(&self) -> bool {
        self.before != self.after
    }

    /// Whether the file is to go.
    pub(crate) const fn removes(&self) -> bool {
        self.after.is_none()
    }

    /// The lines that go and come. Lines beside them are left out: they may hold secrets.
    pub(crate) fn diff(&self) -> String {
        let before = self.before.as_deref().unwrap_or_default();
        let after = self.after.as_deref().unwrap_or_default();
        if self.is_ours {
            let lines = |text: &str| text.lines().count();
            return format!("lines: {} before, {} after\n", lines(before), lines(after));
        }
        let diff = TextDiff::from_lines(before, after);
        let mut diff = diff.unified_diff();
        diff.context_radius(0).to_string()
    }

    /// Writes the file, whole or not at all; gives where the old one was put.
    ///
    /// # Errors
    /// [`Code::Conflict`] if it has changed since it was read; [`Code::Io`].
    pub(crate) fn write(&self) -> Result<Option<PathBuf>, Failure> {
        // What a link leads to is written, not the link.
        let path = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        if read(&path)? != self.before {
            return Err(Failure::new(
                Code::Conflict,
                format!("{} has just changed; run this again", path.display()),
            ));
        }
        let backup = match &self.before {
            Some(before) if !self.is_ours => Some(back_up(&path, before)?),
            _ => None,
        };
        match &self.after {
            Some(after) => replace(&path, after)?,
            None => {
                std::fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
                if let (true, Some(dir)) = (self.is_ours, path.parent()) {
                    // If something else is in it, it stays.
                    drop(std::fs::remove_dir(dir));
                }
            }
        }
        Ok(backup)
    }
}

/// The text of a file; none if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match path.metadata() {
        Ok(about) if about.len() > MAX_BYTES => {
            let why = format!("{} is longer than any configuration", path.display());
            return Err(Failure::new(Code::Io, why));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// Keeps the old text beside the file, under a name that nothing has yet.
fn back_up(path: &Path, text: &str) -> Result<PathBuf, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for number in 1.. {
        let copy = path.with_file_name(format!("{name}.before-claudemesh.{number}"));
        match write_new(&copy, text, path) {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 1_000 => {}
            Err(error) => return Err(failed(&copy, &error)),
        }
    }
    Err(Failure::new(Code::Io, "there are too many copies"))
}

/// As readable as the file that it is a copy of.
fn write_new(copy: &Path, text: &str, of: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(copy)?;
    file.set_permissions(of.metadata()?.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let write = || {
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        // A new one is for this user alone, as the temporary file is.
        if let Ok(about) = path.metadata() {
            file.as_file().set_permissions(about.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error: std::io::Error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::Io, format!("{}: {error}", path.display()))
}
