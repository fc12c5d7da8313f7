//! Files in the broker's folder: put in place as a whole, changed by one at a time, and its user's
//! also if root made them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Gives what root made to whom its folder belongs: an operator may be root, the broker is not.
pub(crate) fn give_to_folder(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let Some(Ok(dir)) = path.parent().map(fs::metadata) else {
            return;
        };
        let made_by_root = fs::metadata(path).is_ok_and(|meta| meta.uid() == 0);
        if made_by_root && dir.uid() != 0 {
            // Who may not, is told by the broker that it cannot read the file.
            let _ = chown(path, Some(dir.uid()), Some(dir.gid()));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Puts a file in place as a whole, readable by its owner alone.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_dir(path)?;
    let part = beside(path, ".part");
    let mut file = private().truncate(true).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    give_to_folder(&part);
    fs::rename(&part, path)?;
    #[cfg(unix)]
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Waits until nobody else changes this file; until the answer is dropped nobody else does.
pub(crate) fn exclusively(path: &Path) -> io::Result<File> {
    make_dir(path)?;
    let lock = beside(path, ".lock");
    let file = private().truncate(false).open(&lock)?;
    give_to_folder(&lock);
    file.lock()?;
    Ok(file)
}

fn make_dir(path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder that is its owner's alone, if it is not there.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Copies a file to the disk, if it is there.
pub(crate) fn copy_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::copy(from, to) {
        Ok(_) => File::open(to)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_root_makes_belongs_to_the_brokers_user() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
        let dir = tempfile::tempdir().unwrap();
        // Only root can show it.
        if chown(dir.path(), Some(12_345), Some(12_345)).is_err() {
            return;
        }
        let file = dir.path().join("file");
        replace(&file, b"x").unwrap();
        let meta = fs::metadata(&file).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (12_345, 12_345));
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }
}
