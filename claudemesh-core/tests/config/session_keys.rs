//! The keys of sessions on the disk.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use claudemesh_core::config::{SessionKeyError, SessionKeys};
use claudemesh_core::id::{SessionId, SessionName};
use serde_json::{Value, json};

use super::{entry, key};

const ONE: &str = "5c0e7c1e-0a1b-4c2d-8e3f-0123456789ab";
const TWO: &str = "5c0e7c1e-0a1b-4c2d-8e3f-0123456789ac";

fn id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

fn file(dir: &std::path::Path, slug: &str, id: &str) -> PathBuf {
    dir.join(slug).join(format!("{id}.json"))
}

#[test]
fn a_session_that_comes_back_has_its_key_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let keys = SessionKeys::in_dir(dir.path(), &entry("m", "team", 1)).unwrap();
    let first = keys.open(&id(ONE), &name("api"), false).unwrap();
    let again = keys.open(&id(ONE), &name("elsewhere"), false).unwrap();
    assert_eq!(again.public(), first.public());
    assert_eq!(again.name(), &name("api"));
    assert_eq!(again.made_at(), first.made_at());

    let found: Value =
        serde_json::from_slice(&std::fs::read(file(dir.path(), "team", ONE)).unwrap()).unwrap();
    assert_eq!(found["version"], 1);
    assert_eq!(found["meshSlug"], "team");
    assert_eq!(found["sessionId"], ONE);
    assert_eq!(found["publicKey"], first.public().to_hex());
    assert_eq!(found["secretKey"].as_str().unwrap().len(), 128);
    assert_eq!(found["createdAt"].as_str().unwrap().len(), 24);

    let renamed = keys.open(&id(ONE), &name("web"), true).unwrap();
    assert_eq!(renamed.name(), &name("web"));
    assert_eq!(renamed.public(), first.public());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let keys = SessionKeys::in_dir(&dir.path().join("s"), &entry("m", "team", 1)).unwrap();
    keys.open(&id(ONE), &name("api"), false).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file(&dir.path().join("s"), "team", ONE)), 0o600);
    assert_eq!(mode(dir.path().join("s/team")), 0o700);
    assert_eq!(mode(dir.path().join("s")), 0o700);
}

#[test]
fn what_the_existing_client_wrote_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = key(9);
    let path = file(dir.path(), "team", ONE);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = json!({
        "version": 1,
        "meshSlug": "team",
        "sessionId": ONE,
        "publicKey": theirs.public().to_hex(),
        "secretKey": theirs.expose_secret_hex().as_str(),
        "createdAt": "2026-01-01T00:00:00.000Z",
    });
    std::fs::write(&path, text.to_string()).unwrap();
    let keys = SessionKeys::in_dir(dir.path(), &entry("m", "team", 1)).unwrap();
    let session = keys.open(&id(ONE), &name("api"), false).unwrap();
    assert_eq!(session.public(), theirs.public());
    assert_eq!(session.name(), &name("api"));
    assert_eq!(session.made_at(), 1_767_225_600_000);
}

#[test]
fn two_sessions_in_one_folder_get_two_names() {
    let dir = tempfile::tempdir().unwrap();
    let keys = SessionKeys::in_dir(dir.path(), &entry("m", "team", 1)).unwrap();
    let one = keys.open(&id(ONE), &name("api"), false).unwrap();
    let two = keys.open(&id(TWO), &name("API"), false).unwrap();
    assert_ne!(one.public(), two.public());
    assert_eq!(two.name(), &name("API-2"));
    assert_eq!(keys.list().unwrap().len(), 2);
    // A session that was not there for long leaves its name.
    let old = SystemTime::now() - Duration::from_secs(31 * 86_400);
    let options = std::fs::File::options()
        .write(true)
        .open(file(dir.path(), "team", ONE));
    options.unwrap().set_modified(old).unwrap();
    let two = keys.open(&id(TWO), &name("api"), true).unwrap();
    assert_eq!(two.name(), &name("api"));
}

#[test]
fn a_name_alone_finds_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let keys = SessionKeys::in_dir(dir.path(), &entry("m", "team", 1)).unwrap();
    let first = keys.open_named(&name("builder")).unwrap();
    let again = keys.open_named(&name("Builder")).unwrap();
    assert_eq!((again.public(), again.id()), (first.public(), first.id()));
    assert_ne!(
        keys.open_named(&name("other")).unwrap().public(),
        first.public()
    );
}

#[test]
fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let keys = SessionKeys::in_dir(dir.path(), &entry("m", "team", 1)).unwrap();
    keys.open(&id(ONE), &name("api"), false).unwrap();
    let path = file(dir.path(), "team", ONE);
    let good: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        bad.to_string()
    };
    let upper = good["secretKey"].as_str().unwrap().to_uppercase();
    for bad in [
        String::new(),
        "[]".to_owned(),
        "x".repeat(20_000),
        with("version", json!(2)),
        with("sessionId", json!(TWO)),
        with("publicKey", json!(key(3).public().to_hex())),
        with("secretKey", json!(upper)),
        with("secretKey", json!("00")),
    ] {
        std::fs::write(&path, &bad).unwrap();
        let error = keys.open(&id(ONE), &name("api"), false).unwrap_err();
        assert!(
            matches!(error, SessionKeyError::Malformed { .. }),
            "{error}"
        );
        assert!(
            !error
                .to_string()
                .contains(good["secretKey"].as_str().unwrap())
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
    }
}

#[test]
fn another_member_or_mesh_of_the_same_name_gets_a_key_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let open = |mesh: &str, seed| {
        let keys = SessionKeys::in_dir(dir.path(), &entry(mesh, "team", seed)).unwrap();
        keys.open(&id(ONE), &name("api"), false).unwrap().public()
    };
    let first = open("m", 1);
    assert_eq!(open("m", 1), first);
    let joined_anew = open("m", 2);
    assert_ne!(joined_anew, first);
    assert_ne!(open("n", 2), joined_anew);
}

#[test]
fn no_name_of_a_mesh_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for slug in ["..", ".", "a/b", "/etc", "Team Rocket!", ""] {
        let keys = SessionKeys::in_dir(dir.path(), &entry("mesh-1", slug, 1)).unwrap();
        keys.open(&id(ONE), &name("api"), false).unwrap();
        assert!(file(dir.path(), "mesh-1", ONE).exists(), "{slug}");
    }
}

#[cfg(unix)]
#[test]
fn where_nothing_can_be_written_there_is_no_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let keys = SessionKeys::in_dir(&dir.path().join("file"), &entry("m", "team", 1)).unwrap();
    keys.open(&id(ONE), &name("api"), false).unwrap_err();
}
