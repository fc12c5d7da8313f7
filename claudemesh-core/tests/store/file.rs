//! The file: who may read it, which files are refused, migration, a full disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use claudemesh_core::store::{Outcome, PeerStore, Query, SqliteStore, StoreError};
use rusqlite::Connection;

use super::{inbox, insert, integrity, open};

const APPLICATION_ID: u32 = 0x434d_5053;

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(ending);
    file.into()
}

#[cfg(unix)]
#[test]
fn only_the_owner_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    // An odd name, so that its path is seen to be taken as it is.
    let path = dir.path().join("file:peer?mode=memory#é.db");
    let mut store = open(&path);
    store.apply(&[insert("a", Vec::new())]).unwrap();
    for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_missing_directory_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none/peer.db");
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::Io { .. })
    ));
    assert!(!dir.path().join("none").exists());
    assert!(matches!(
        SqliteStore::open(dir.path()),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn a_newer_file_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    drop(open(&path));
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 7).unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    let name = path.display().to_string();
    assert_eq!(
        error,
        StoreError::Newer {
            path: name,
            found: 7,
            supported: 3
        }
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_ours_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    fs::write(
        &text,
        "not a database, but longer than the header of one: ".repeat(40),
    )
    .unwrap();
    let other = dir.path().join("other.db");
    let conn = Connection::open(&other).unwrap();
    conn.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    drop(conn);
    for path in [text, other] {
        let before = fs::read(&path).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(!beside(&path, "-wal").exists());
    }
}

#[test]
fn a_damaged_file_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    let mut store = open(&path);
    for n in 0..200 {
        store
            .apply(&[insert(&format!("m{n}"), vec![b'x'; 500])])
            .unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8_192..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let error = match SqliteStore::open(&path) {
        Ok(store) => store.read(&Query::Inbox { limit: 1_000 }).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
}

/// Format 0 was never released; it is an empty file with our mark. The stray table
/// shows what the copy holds.
#[test]
fn an_older_file_is_copied_and_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    conn.execute_batch("CREATE TABLE note (x); INSERT INTO note VALUES (5)")
        .unwrap();
    drop(conn);

    let mut store = open(&path);
    assert_eq!(
        store.apply(&[insert("a", Vec::new())]).unwrap(),
        [Outcome::Row(1)]
    );
    drop(store);
    let copy = beside(&path, ".v0.bak");
    let version = |path: &Path| -> (i64, i64, i64) {
        let conn = Connection::open(path).unwrap();
        let get = |sql| conn.query_row(sql, [], |row| row.get(0)).unwrap();
        (
            get("PRAGMA user_version"),
            get("PRAGMA application_id"),
            get("SELECT x FROM note"),
        )
    };
    assert_eq!(version(&copy), (0, i64::from(APPLICATION_ID), 5));
    assert_eq!(version(&path), (3, i64::from(APPLICATION_ID), 5));
    #[cfg(unix)]
    assert_eq!(mode(&copy), 0o600);
    assert!(!beside(&path, ".bak.part").exists());
    assert_eq!(inbox(&open(&path)).len(), 1);
}

#[test]
fn a_failed_migration_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    let conn = Connection::open(&path).unwrap();
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .unwrap();
    // In the way of a later statement of the step: those before it must go again.
    conn.execute_batch("CREATE TABLE pin (x)").unwrap();
    drop(conn);
    assert!(matches!(
        SqliteStore::open(&path),
        Err(StoreError::Damaged { .. })
    ));
    let conn = Connection::open(&path).unwrap();
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    let version: i64 = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!((tables, version), (1, 0));
}

#[test]
fn many_may_make_the_file_at_once() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peer.db");
        thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    open(path)
                        .apply(&[insert(&format!("m{n}"), Vec::new())])
                        .unwrap();
                });
            }
        });
        assert_eq!(inbox(&open(&path)).len(), 8);
        assert_eq!(integrity(&path), "ok");
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(
            files, 1,
            "a new file needs no copy, the last one out cleans up"
        );
    }
}

#[test]
fn a_full_disk_keeps_nothing_of_the_call_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peer.db");
    let mut store = open(&path);
    store.limit_size(256 << 10).unwrap();
    let mut kept = 0;
    let error = loop {
        // The first row would still fit where the second does not.
        let ops = [
            insert(&format!("small-{kept}"), Vec::new()),
            insert(&format!("large-{kept}"), vec![b'x'; 20_000]),
        ];
        match store.apply(&ops) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 50, "never full");
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(kept > 2);
    assert_eq!(inbox(&store).len(), 2 * kept);
    assert_eq!(inbox(&open(&path)).len(), 2 * kept);

    store.limit_size(u64::MAX).unwrap();
    let again = insert(&format!("small-{kept}"), Vec::new());
    let place = 2 * kept as u64 + 1;
    assert_eq!(store.apply(&[again]).unwrap(), [Outcome::Row(place)]);
    drop(store);
    assert_eq!(integrity(&path), "ok");
}
