//! What SQLite said, as a [`StoreError`].

use rusqlite::{Error, ErrorCode};

use crate::store::StoreError;

/// Why a statement failed, before the file's name is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite refused.
    Sql(Error),
    /// A field that we would not have written.
    Field(&'static str),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl Fault {
    pub(super) fn at(self, path: &str) -> StoreError {
        match self {
            Self::Sql(error) => store_error(&error, path),
            Self::Field(field) => StoreError::Damaged {
                path: path.into(),
                why: format!("{field} is not readable"),
            },
        }
    }
}

/// What a failed statement that is not a COMMIT means.
pub(super) fn store_error(error: &Error, path: &str) -> StoreError {
    let (path, why) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        // A constraint or an unknown table or column (the general error) means that the file's
        // tables are not those that its format says.
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown,
        ) => StoreError::Damaged { path, why },
        Some(_) => StoreError::Io { path, why },
        // Values of another type than the column's.
        None => StoreError::Damaged { path, why },
    }
}

/// What a failed COMMIT means. A full disk and a lock held by someone else are found before the
/// commit is written; after anything else, such as a failed fsync, the commit may or may not be
/// found by who opens the file next.
pub(super) fn commit_error(error: &Error, path: &str) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => store_error(error, path),
        _ => StoreError::Unknown {
            path: path.into(),
            why: error.to_string(),
        },
    }
}

pub(super) fn is_busy(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn codes_become_errors() {
        let error = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        let of = |code| store_error(&error(code), "f");
        let commit = |code| commit_error(&error(code), "f");
        assert!(matches!(of(ffi::SQLITE_FULL), StoreError::Full { .. }));
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_BUSY,
        ] {
            assert!(matches!(of(code), StoreError::Io { .. }), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB] {
            assert!(matches!(of(code), StoreError::Damaged { .. }), "{code}");
        }
        assert!(matches!(
            commit(ffi::SQLITE_IOERR_FSYNC),
            StoreError::Unknown { .. }
        ));
        assert!(matches!(commit(ffi::SQLITE_FULL), StoreError::Full { .. }));
        assert!(matches!(commit(ffi::SQLITE_BUSY), StoreError::Io { .. }));
    }
}
