//! One broker per folder: a lock that dies with its process.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{io_fault, schema};
use crate::files::give_to_folder;
use crate::store::StoreError;

/// A broker that was just stopped may need this long to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock of `dir`; it is held until the file is dropped.
pub(super) fn take(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("broker.lock");
    let io = |error: std::io::Error| io_fault(&path, &error);
    let mut file = schema::private_options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io)?;
    give_to_folder(&path);
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(io(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // A pid that cannot be read only makes the message poorer.
                let _ = file.read_to_string(&mut pid);
                return Err(StoreError::InUse {
                    path: dir.display().to_string(),
                    pid: pid.trim().parse().unwrap_or(0),
                });
            }
        }
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io)?;
    Ok(file)
}
