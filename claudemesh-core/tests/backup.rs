//! Backups: what is put back is what was there, nothing is replaced unasked, nothing is half done.
#![cfg(all(feature = "config", feature = "sqlite"))]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy does not take helpers of tests for tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claudemesh_core::config::{
    BackupError, Config, Contents, MeshEntry, Passphrase, SessionKeys, open_backup,
};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{MemberId, MeshId, SessionName};
use claudemesh_core::store::{PeerOp, PeerStore, Pin, Query, Rows, SqliteStore};
use tempfile::TempDir;

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery")
}

/// A folder with a mesh, a store and a session.
struct Machine {
    dir: TempDir,
    config: Config,
}

impl Machine {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::load(dir.path().join("c")).unwrap();
        Self { dir, config }
    }

    fn with_mesh(seed: u8) -> Self {
        let mut machine = Self::empty();
        let mut entry = MeshEntry::new(
            MeshId::new(format!("mesh-{seed}")).unwrap(),
            MemberId::new("m").unwrap(),
            "team",
            Arc::new(KeyPair::from_seed(&[seed; 32])),
            "wss://broker.example/ws",
            "2026-05-04T09:00:00.000Z",
        );
        entry.extra.set("theirs", "kept");
        machine.config.put_mesh(entry).unwrap();
        let extra = |data: &mut claudemesh_core::config::ConfigData| {
            data.extra.set("groups", &["a"]);
        };
        machine.config.update(extra).unwrap();
        machine.store().apply(&[pin("seen", "here")]).unwrap();
        machine.session();
        machine
    }

    fn entry(&self) -> &MeshEntry {
        self.config.mesh("team").unwrap()
    }

    fn db(&self) -> PathBuf {
        self.entry()
            .ensure_data_dir()
            .unwrap()
            .unwrap()
            .join("peer.db")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.db()).unwrap()
    }

    fn session(&self) -> String {
        let dir = self.entry().sessions_dir().unwrap();
        let keys = SessionKeys::in_dir(dir, self.entry()).unwrap();
        let name = SessionName::new("api").unwrap();
        keys.open_named(&name).unwrap().public().to_hex()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn on_disk(&self) -> Vec<u8> {
        fs::read(self.config.path().unwrap()).unwrap()
    }
}

fn pin(name: &str, value: &str) -> PeerOp {
    PeerOp::Pin(Pin {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

fn pinned(store: &SqliteStore) -> Vec<(String, String)> {
    match store.read(&Query::Pins).unwrap() {
        Rows::Pins(pins) => pins.into_iter().map(|pin| (pin.name, pin.value)).collect(),
        other => panic!("{other:?}"),
    }
}

fn files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_configuration_goes_into_a_file_and_comes_back_with_every_field() {
    let mut ours = Machine::with_mesh(1);
    let file = ours.file("a.cmb");
    assert_eq!(ours.entry().backed_up_at(), None);
    let made = ours
        .config
        .back_up(&file, &passphrase(), Contents::Config, false)
        .unwrap();
    assert_eq!((made.meshes, made.stores, made.sessions), (1, 0, 0));
    assert_eq!(made.bytes, fs::metadata(&file).unwrap().len());
    assert!(ours.entry().backed_up_at().is_some());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    let mut other = Machine::empty();
    let done = other.config.restore(&file, &passphrase(), false).unwrap();
    assert_eq!((done.full, done.meshes), (false, 1));
    assert!(done.set_aside.is_empty());
    // Byte for byte what the existing system would have put there.
    assert_eq!(other.on_disk(), ours.on_disk());
    assert_eq!(other.entry().pubkey(), ours.entry().pubkey());
    let bytes = fs::read(&file).unwrap();
    assert_eq!(
        *open_backup(&bytes, &passphrase()).unwrap(),
        *ours.on_disk()
    );
    assert!(bytes.starts_with(b"CMB1"));
    let secret = ours.entry().key_pair().expose_secret_hex();
    let found = bytes
        .windows(64)
        .any(|part| part == &secret.as_bytes()[..64]);
    assert!(!found);
}

#[test]
fn everything_goes_into_a_file_while_a_peer_runs_and_comes_back() {
    let mut ours = Machine::with_mesh(1);
    let mut running = ours.store();
    let body = "x".repeat(200_000);
    running.apply(&[pin("large", &body)]).unwrap();
    let file = ours.file("all.cmb");
    let made = ours
        .config
        .back_up(&file, &passphrase(), Contents::Everything, false)
        .unwrap();
    assert_eq!((made.meshes, made.stores, made.sessions), (1, 1, 1));
    // Nothing of the copy stays.
    let peers = ours.db().parent().unwrap().to_owned();
    assert!(!files(&peers).iter().any(|name| name.contains("backup")));
    let old = open_backup(&fs::read(&file).unwrap(), &passphrase());
    assert!(matches!(old, Err(BackupError::Everything)));

    let mut other = Machine::empty();
    let done = other.config.restore(&file, &passphrase(), false).unwrap();
    assert_eq!(
        (done.full, done.meshes, done.stores, done.sessions),
        (true, 1, 1, 1)
    );
    assert_eq!(pinned(&other.store()), pinned(&running));
    assert_eq!(other.session(), ours.session());
    assert!(
        !files(&other.dir.path().join("c"))
            .iter()
            .any(|name| name.starts_with(".restore"))
    );
}

#[test]
fn nothing_is_replaced_unless_that_was_said_and_then_it_is_kept() {
    let mut ours = Machine::with_mesh(1);
    let all = ours.file("all.cmb");
    let config = ours.file("config.cmb");
    for (file, contents) in [(&all, Contents::Everything), (&config, Contents::Config)] {
        let made = |machine: &mut Machine, replace| {
            machine
                .config
                .back_up(file, &passphrase(), contents, replace)
        };
        made(&mut ours, false).unwrap();
        let before = fs::read(file).unwrap();
        let again = made(&mut ours, false).unwrap_err();
        assert!(matches!(again, BackupError::Exists { .. }), "{again:?}");
        assert_eq!(fs::read(file).unwrap(), before);
        made(&mut ours, true).unwrap();
    }
    ours.store().apply(&[pin("seen", "later")]).unwrap();
    let before = ours.on_disk();
    for file in [&all, &config] {
        let error = ours.config.restore(file, &passphrase(), false).unwrap_err();
        assert!(matches!(error, BackupError::Exists { .. }), "{error:?}");
        assert_eq!(ours.on_disk(), before);
    }

    // Another mesh's machine: its key and its messages stay, under other names.
    let mut other = Machine::with_mesh(2);
    let theirs = other.on_disk();
    let done = other.config.restore(&config, &passphrase(), true).unwrap();
    assert_eq!(fs::read(&done.set_aside[0]).unwrap(), theirs);
    assert_eq!(other.entry().mesh_id.as_str(), "mesh-1");

    let running = ours.store();
    let error = ours.config.restore(&all, &passphrase(), true).unwrap_err();
    assert!(matches!(error, BackupError::InUse { .. }), "{error:?}");
    assert_eq!(pinned(&running), [("seen".to_owned(), "later".to_owned())]);
    drop(running);
    let done = ours.config.restore(&all, &passphrase(), true).unwrap();
    assert_eq!(
        pinned(&ours.store()),
        [("seen".to_owned(), "here".to_owned())]
    );
    let kept = done
        .set_aside
        .iter()
        .find(|path| path.to_string_lossy().contains("peer.db"));
    let kept = SqliteStore::open(kept.unwrap()).unwrap();
    assert_eq!(pinned(&kept), [("seen".to_owned(), "later".to_owned())]);
}

#[test]
fn what_was_left_of_a_store_that_is_gone_is_kept_and_not_taken_for_the_new_ones() {
    let mut ours = Machine::with_mesh(1);
    let all = ours.file("all.cmb");
    ours.config
        .back_up(&all, &passphrase(), Contents::Everything, false)
        .unwrap();
    let wal = PathBuf::from(format!("{}-wal", ours.db().display()));
    fs::remove_file(ours.db()).unwrap();
    fs::write(&wal, b"what was written last").unwrap();
    let done = ours.config.restore(&all, &passphrase(), true).unwrap();
    assert_eq!(
        pinned(&ours.store()),
        [("seen".to_owned(), "here".to_owned())]
    );
    let mut kept = done.set_aside.iter();
    let kept = kept.find(|path| path.to_string_lossy().ends_with("-wal"));
    assert_eq!(fs::read(kept.unwrap()).unwrap(), b"what was written last");
}

#[test]
fn what_is_not_right_is_told_apart_and_changes_nothing() {
    let mut ours = Machine::with_mesh(1);
    let (config, all) = (ours.file("config.cmb"), ours.file("all.cmb"));
    let short = Passphrase::new("elevenchars");
    let error = ours
        .config
        .back_up(&config, &short, Contents::Config, false);
    assert!(matches!(error, Err(BackupError::ShortPassphrase)));
    assert!(!config.exists());
    for (file, contents) in [(&config, Contents::Config), (&all, Contents::Everything)] {
        ours.config
            .back_up(file, &passphrase(), contents, false)
            .unwrap();
        let mut other = Machine::empty();
        let mut fails = |bytes: &[u8], with: &Passphrase| {
            let broken = other.file("broken.cmb");
            fs::write(&broken, bytes).unwrap();
            let error = other.config.restore(&broken, with, true).unwrap_err();
            assert!(!other.config.path().unwrap().exists());
            error
        };
        let good = fs::read(file).unwrap();
        let wrong = Passphrase::new("wrong horse battery");
        assert!(matches!(fails(&good, &wrong), BackupError::NotOpened));
        let cut = fails(&good[..50], &passphrase());
        assert!(
            matches!(cut, BackupError::Truncated | BackupError::NotOpened),
            "{cut:?}"
        );
        assert!(matches!(
            fails(&good[..3], &passphrase()),
            BackupError::Truncated
        ));
        assert!(matches!(fails(b"", &passphrase()), BackupError::Truncated));
        assert!(matches!(
            fails(b"SQLite format 3", &passphrase()),
            BackupError::NotABackup
        ));
        let mut newer = good.clone();
        newer[3] = b'7';
        let error = fails(&newer, &passphrase());
        assert!(matches!(error, BackupError::UnknownForm { form: '7' }));
        let mut changed = good.clone();
        *changed.last_mut().unwrap() ^= 1;
        let error = fails(&changed, &passphrase());
        assert!(matches!(
            error,
            BackupError::NotOpened | BackupError::Altered
        ));
    }
    let missing = ours
        .config
        .restore(Path::new("/not/there.cmb"), &passphrase(), true);
    assert!(matches!(missing, Err(BackupError::File { .. })));
    let memory = Config::in_memory().back_up(&config, &passphrase(), Contents::Config, true);
    assert!(matches!(memory, Err(BackupError::NoFolder)));
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_taken_for_none() {
    let bytes = Config::in_memory().to_backup(&passphrase()).unwrap();
    assert!(
        Config::from_backup(&bytes, &passphrase())
            .unwrap()
            .meshes()
            .is_empty()
    );
    let mut machine = Machine::empty();
    let file = machine.file("x.cmb");
    let mut config = Config::in_memory();
    config.set_display_name(Some("x")).unwrap();
    fs::write(&file, config.to_backup(&passphrase()).unwrap()).unwrap();
    machine.config.restore(&file, &passphrase(), false).unwrap();
    fs::write(machine.config.path().unwrap(), b"not json").unwrap();
    // What cannot be read is not taken for nothing.
    let error = machine
        .config
        .restore(&file, &passphrase(), false)
        .unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }), "{error:?}");
    let dir = machine.config.dir().unwrap().to_owned();
    let (config, restored) = Config::restore_into(dir, &file, &passphrase(), true).unwrap();
    assert_eq!(config.display_name(), Some("x"));
    assert_eq!(fs::read(&restored.set_aside[0]).unwrap(), b"not json");
}
