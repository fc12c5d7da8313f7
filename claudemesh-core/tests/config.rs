//! The shared `config.json`: nothing lost, nothing leaked, nothing half written.
#![cfg(feature = "config")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy does not take helpers of tests for tests"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use claudemesh_core::config::{Config, ConfigError, MeshEntry, Place};
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{MemberId, MeshId};
use serde_json::{Value, json};

const ROOT_KEY: &str = "cm9vdC1rZXktb2YtMzItYnl0ZXMtcm9vdC1rZXkhISE";

fn key(seed: u8) -> Arc<KeyPair> {
    Arc::new(KeyPair::from_seed(&[seed; 32]))
}

fn entry(mesh: &str, slug: &str, seed: u8) -> MeshEntry {
    MeshEntry::new(
        MeshId::new(mesh).unwrap(),
        MemberId::new("member").unwrap(),
        slug,
        key(seed),
        "wss://broker.example/ws",
        "2026-05-04T09:00:00.000Z",
    )
}

/// A file as the TypeScript client makes it, with fields that nobody knows.
fn theirs() -> Value {
    json!({
        "version": 1,
        "meshes": [
            {
                "meshId": "9f3c1d2e-7a41-4c55-8b0e-6f1a2b3c4d5e",
                "memberId": "Vq0kX3mZ_a",
                "slug": "Team Rocket!",
                "name": "Team Rocket 🚀",
                "pubkey": key(1).public().to_hex(),
                "secretKey": key(1).expose_secret_hex().as_str(),
                "brokerUrl": "wss://ic.claudemesh.com/ws",
                "joinedAt": "2026-05-04T09:00:00.000Z",
                "rootKey": ROOT_KEY,
                "inviteVersion": 2,
                "futureField": { "z": [1, null, "ü"], "a": 1.5 },
                "other": null
            },
            {
                "meshId": "plain",
                "memberId": "m2",
                "slug": "plain",
                "name": "plain",
                "pubkey": key(2).public().to_hex(),
                "secretKey": key(2).expose_secret_hex().as_str(),
                "brokerUrl": "ws://localhost:7900/ws",
                "joinedAt": "2026-05-05T09:00:00.000Z"
            }
        ],
        "displayName": "Ana",
        "role": "lead",
        "groups": [{ "name": "core", "role": "dev" }, { "name": "all" }],
        "messageMode": "push",
        "accountId": "acc_1",
        "somethingNew": { "keep": [true, { "me": 12345678901u64 }] }
    })
}

fn put(dir: &Path, value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    fs::write(dir.join("config.json"), &text).unwrap();
    text.into_bytes()
}

fn on_disk(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_file_of_the_reference_round_trips() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &theirs());
    let mut config = Config::load(dir.path()).unwrap();
    assert_eq!(config.display_name(), Some("Ana"));
    let mesh = config.mesh("Team Rocket!").unwrap();
    assert_eq!(mesh.pubkey(), key(1).public());
    assert_eq!(mesh.name, "Team Rocket 🚀");
    assert_eq!(mesh.root_key.as_deref(), Some(ROOT_KEY));
    assert_eq!(mesh.invite_version, Some(2));
    assert_eq!(config.mesh("plain").unwrap().mesh_id.as_str(), "plain");

    config.update(|_| ()).unwrap();
    assert_eq!(on_disk(dir.path()), theirs());
    let text = fs::read_to_string(dir.path().join("config.json")).unwrap();
    assert!(text.starts_with("{\n  \"version\": 1,\n  \"meshes\": [\n    {\n      \"meshId\": "));
    assert!(text.ends_with("\n}\n"));

    config.set_display_name(None).unwrap();
    config.remove_mesh("plain").unwrap().unwrap();
    let mut expected = theirs();
    expected.as_object_mut().unwrap().remove("displayName");
    expected["meshes"].as_array_mut().unwrap().pop();
    assert_eq!(on_disk(dir.path()), expected);
}

#[test]
fn our_own_fields_round_trip_in_memory() {
    let mut config = Config::in_memory();
    let mut mine = entry("mesh", "team", 3);
    mine.invite_id = Some("ab".repeat(32));
    mine.display_name = Some("Ana at work".into());
    mine.log = Some(true);
    mine.extra.set("secretKey", "not twice");
    config.put_mesh(mine).unwrap();
    let bytes = config.to_bytes().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(text.matches("secretKey").count(), 1);
    let again = Config::from_bytes(&bytes).unwrap();
    let mesh = again.mesh("mesh").unwrap();
    assert_eq!(mesh.invite_id, Some("ab".repeat(32)));
    assert_eq!(mesh.display_name.as_deref(), Some("Ana at work"));
    assert_eq!(mesh.log, Some(true));
    assert_eq!(again.path(), None);
    assert_eq!(mesh.data_dir(), None);
    assert_eq!(*again.to_bytes().unwrap(), *bytes);
}

#[test]
fn a_missing_file_is_empty_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("a/b");
    let config = Config::load(&missing).unwrap();
    assert!(config.meshes().is_empty());
    assert_eq!(config.dir(), Some(missing.as_path()));
    assert!(!dir.path().join("a").exists());
}

#[cfg(unix)]
mod modes {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn chmod(path: impl AsRef<Path>, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let mut config = Config::load(&dir).unwrap();
        config.put_mesh(entry("mesh", "team", 1)).unwrap();
        assert_eq!(mode(root.path().join("a")), 0o700);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(dir.join("config.json")), 0o600);
        assert_eq!(mode(dir.join("config.json.lock")), 0o600);

        let mesh = config.mesh("team").unwrap();
        let data = mesh.ensure_data_dir().unwrap().unwrap();
        assert_eq!(data, dir.join("peers").join(key(1).public().to_hex()));
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(dir.join("peers")), 0o700);
    }

    #[test]
    fn a_write_tightens_what_was_open() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &theirs());
        chmod(dir.path(), 0o755);
        chmod(dir.path().join("config.json"), 0o644);
        let mut config = Config::load(dir.path()).unwrap();
        let warning = config.permissions_warning().unwrap();
        assert!(warning.contains("0644") && warning.contains("chmod 600"));
        assert_eq!(mode(dir.path()), 0o755, "reading changes nothing");
        config.set_display_name(Some("Eva")).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(dir.path().join("config.json")), 0o600);
        assert_eq!(config.permissions_warning(), None);
        chmod(dir.path(), 0o777);
        assert!(config.permissions_warning().unwrap().contains("chmod 700"));
    }

    #[test]
    fn a_linked_directory_is_followed_and_its_target_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        fs::create_dir(&real).unwrap();
        chmod(&real, 0o750);
        symlink(&real, root.path().join("link")).unwrap();
        let mut config = Config::load(root.path().join("link")).unwrap();
        config.put_mesh(entry("mesh", "team", 1)).unwrap();
        assert_eq!(Config::load(&real).unwrap().meshes().len(), 1);
        assert_eq!(mode(&real), 0o750);
    }

    #[test]
    fn a_linked_file_is_read_and_then_replaced() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = root.path().join("elsewhere");
        let dir = root.path().join("dir");
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir(&dir).unwrap();
        let before = put(&elsewhere, &theirs());
        symlink(elsewhere.join("config.json"), dir.join("config.json")).unwrap();
        let mut config = Config::load(&dir).unwrap();
        config.set_display_name(Some("Eva")).unwrap();
        assert!(!dir.join("config.json").is_symlink());
        assert_eq!(Config::load(&dir).unwrap().meshes().len(), 2);
        assert_eq!(fs::read(elsewhere.join("config.json")).unwrap(), before);
    }
}

/// The error for these bytes; also checks that neither loading nor updating touches the file, and
/// that the text gives nothing away.
fn refused(bytes: &[u8]) -> ConfigError {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let mut config = Config::load(dir.path()).unwrap();
    fs::write(&file, bytes).unwrap();
    config.set_display_name(Some("x")).unwrap_err();
    config.reload().unwrap_err();
    assert_eq!(config.display_name(), None);
    let error = Config::load(dir.path()).unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let text = format!("{error} {error:?}");
    assert!(text.contains(file.to_str().unwrap()), "{text}");
    for seed in [1, 2] {
        let secret = key(seed).expose_secret_hex();
        assert!(!text.contains(&secret[..16]), "{text}");
    }
    assert!(!text.contains(ROOT_KEY), "{text}");
    error
}

fn refused_with(change: impl FnOnce(&mut Value)) -> String {
    let mut value = theirs();
    change(&mut value);
    refused(&serde_json::to_vec(&value).unwrap()).to_string()
}

#[test]
fn broken_json_is_refused_with_its_place() {
    let text = serde_json::to_string_pretty(&theirs()).unwrap();
    let secret = key(1).expose_secret_hex();
    let broken = text.replacen(&format!("{}\"", secret.as_str()), &secret, 1);
    assert!(matches!(
        refused(broken.as_bytes()),
        ConfigError::Parse { .. }
    ));
    match refused(b"{\n  \"version\": 1,\n  oops\n}") {
        ConfigError::Parse {
            at, line, column, ..
        } => {
            assert!(matches!(at, Place::File(_)));
            assert_eq!((line, column), (3, 3));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(refused(b""), ConfigError::Parse { .. }));
    assert!(matches!(
        refused(b"{\"a\": \"\xff\"}"),
        ConfigError::Parse { .. }
    ));
    let deep = "[".repeat(100_000);
    assert!(matches!(
        refused(deep.as_bytes()),
        ConfigError::Parse { .. }
    ));
}

#[test]
fn what_does_not_fit_is_named_and_never_taken_for_empty() {
    let names = |text: String, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    };
    refused(b"[]");
    names(
        refused_with(|v| v["meshes"] = json!({})),
        &["meshes", "array"],
    );
    names(
        refused_with(|v| v["meshes"] = Value::Null),
        &["meshes", "array"],
    );
    names(refused_with(|v| v["meshes"][1] = json!("x")), &["entry 2"]);
    names(
        refused_with(|v| v["meshes"][1]["slug"] = json!("a\nb")),
        &["entry 2", "slug"],
    );
    names(
        refused_with(|v| v["meshes"][1]["slug"] = json!("")),
        &["entry 2", "slug"],
    );
    names(
        refused_with(|v| v["meshes"][1]["meshId"] = json!("../x")),
        &["plain", "meshId"],
    );
    names(
        refused_with(|v| v["meshes"][1]["log"] = json!("yes")),
        &["plain", "log"],
    );
    names(
        refused_with(|v| v["displayName"] = json!(7)),
        &["the file", "displayName"],
    );
    names(
        refused_with(|v| v["version"] = json!("1")),
        &["the file", "version"],
    );
    for field in [
        "memberId",
        "name",
        "pubkey",
        "secretKey",
        "brokerUrl",
        "joinedAt",
    ] {
        names(
            refused_with(|v| drop(v["meshes"][1].as_object_mut().unwrap().remove(field))),
            &["plain", field],
        );
    }
    let half = key(1).expose_secret_hex()[..100].to_owned();
    names(
        refused_with(|v| v["meshes"][0]["secretKey"] = json!(half)),
        &["Rocket", "secretKey"],
    );
    let number = json!([1]);
    names(
        refused_with(|v| v["meshes"][0]["secretKey"] = number),
        &["Rocket", "secretKey"],
    );
}

#[test]
fn a_wrong_key_pair_is_refused() {
    let swapped = refused_with(|v| v["meshes"][1]["pubkey"] = json!(key(1).public().to_hex()));
    assert!(swapped.contains("mesh \"plain\""), "{swapped}");
    let mut halves = key(2).expose_seed().to_vec();
    halves.extend_from_slice(key(1).public().as_bytes());
    let hex: String = halves.iter().map(|b| format!("{b:02x}")).collect();
    let halves = refused_with(|v| v["meshes"][1]["secretKey"] = json!(hex));
    assert!(halves.contains("does not belong"), "{halves}");
    assert!(!halves.contains(&hex[..16]));
}

#[test]
fn a_newer_version_is_refused() {
    let error = refused(br#"{"version": 2, "meshes": "in a new way"}"#);
    assert!(matches!(
        error,
        ConfigError::NewerVersion {
            found: 2,
            supported: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("newer claudemesh"));
    Config::from_bytes(br#"{"meshes": []}"#).unwrap();
}

#[test]
fn a_huge_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("config.json")).unwrap();
    file.set_len(16 * 1024 * 1024 + 1).unwrap();
    let error = Config::load(dir.path()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }));
    let mut config = Config::in_memory();
    let error = config
        .set_display_name(Some(&"x".repeat(16 * 1024 * 1024)))
        .unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }));
    assert_eq!(config.display_name(), None);
}

#[test]
fn an_update_that_cannot_be_read_again_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let before = put(dir.path(), &theirs());
    let mut config = Config::load(dir.path()).unwrap();
    config.put_mesh(entry("mesh", "a\u{7}b", 3)).unwrap_err();
    assert_eq!(config.meshes().len(), 2);
    assert_eq!(fs::read(dir.path().join("config.json")).unwrap(), before);
}

fn fifty_updates(dir: &Path, who: u64) {
    let mut config = Config::load(dir).unwrap();
    for _ in 0..50 {
        config
            .update(|data| {
                let key = format!("count{who}");
                let count: u64 = data.extra.get(&key).unwrap_or(0);
                data.extra.set(&key, &(count + 1));
                let all: u64 = data.extra.get("all").unwrap_or(0);
                data.extra.set("all", &(all + 1));
            })
            .unwrap();
    }
}

#[test]
#[ignore = "run by `writers_lose_nothing` as a process of its own"]
fn child_writer() {
    if let Some(dir) = std::env::var_os("CLAUDEMESH_TEST_WRITER_DIR") {
        fifty_updates(Path::new(&dir), 1);
    }
}

#[test]
fn writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writer", "--ignored"])
        .env("CLAUDEMESH_TEST_WRITER_DIR", dir.path())
        .spawn()
        .unwrap();
    std::thread::scope(|scope| {
        for who in [2, 3] {
            let dir = dir.path();
            scope.spawn(move || fifty_updates(dir, who));
        }
    });
    assert!(child.wait().unwrap().success());
    let config = Config::load(dir.path()).unwrap();
    let extra = &config.data().extra;
    for (name, count) in [("count1", 50), ("count2", 50), ("count3", 50), ("all", 150)] {
        assert_eq!(extra.get::<u64>(name), Some(count), "{name}");
    }
}

#[test]
fn a_held_lock_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let lock = fs::File::create(dir.path().join("config.json.lock")).unwrap();
    lock.lock().unwrap();
    let mut config = Config::load(dir.path()).unwrap();
    let error = config.set_display_name(Some("x")).unwrap_err();
    assert!(matches!(error, ConfigError::Locked { .. }) && error.is_retryable());
    assert!(error.to_string().contains("another program is writing"));
    assert_eq!(config.display_name(), None);
    drop(lock);
    config.set_display_name(Some("x")).unwrap();
}

#[test]
fn a_crashed_writer_leaves_no_harm_and_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &theirs());
    let ours = dir.path().join(".config.json.a1B2c3.tmp");
    let reference = dir.path().join("config.json.tmp");
    fs::write(&ours, "{ \"version\": 1, \"mesh").unwrap();
    fs::write(&reference, "{").unwrap();
    let mut config = Config::load(dir.path()).unwrap();
    assert_eq!(config.meshes().len(), 2);
    config.set_display_name(Some("Eva")).unwrap();
    assert!(!ours.exists());
    assert!(reference.exists(), "not ours to remove");
    assert_eq!(
        Config::load(dir.path()).unwrap().display_name(),
        Some("Eva")
    );
}

#[test]
fn an_update_sees_what_others_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = Config::load(dir.path()).unwrap();
    let mut two = Config::load(dir.path()).unwrap();
    assert_eq!(one.put_mesh(entry("a", "team", 1)).unwrap(), "team");
    assert_eq!(two.put_mesh(entry("b", "team", 2)).unwrap(), "team-2");
    assert_eq!(two.put_mesh(entry("a", "team", 3)).unwrap(), "team");
    one.reload().unwrap();
    assert_eq!(one.meshes().len(), 2);
    assert_eq!(one.mesh("a").unwrap().pubkey(), key(3).public());
}

#[test]
fn a_per_launch_directory_works_the_same() {
    let dir = tempfile::Builder::new()
        .prefix("claudemesh-")
        .tempdir()
        .unwrap();
    let mut value = theirs();
    value["meshes"].as_array_mut().unwrap().pop();
    put(dir.path(), &value);
    let mut config = Config::load(dir.path()).unwrap();
    config.set_display_name(Some("session")).unwrap();
    value["displayName"] = json!("session");
    assert_eq!(on_disk(dir.path()), value);
}

/// What the existing client makes of a file: it reads it, keeps entries as they are, knows these
/// fields at the top, drops all others, and writes version 1.
fn rewritten_by_the_reference(dir: &Path) {
    let before = on_disk(dir);
    let mut after = json!({ "version": 1, "meshes": before["meshes"] });
    for known in ["displayName", "role", "groups", "messageMode", "accountId"] {
        if let Some(value) = before.get(known) {
            after[known] = value.clone();
        }
    }
    put(dir, &after);
}

#[test]
fn what_we_need_survives_a_write_of_the_reference() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), &theirs());
    let mut config = Config::load(dir.path()).unwrap();
    let mut mine = entry("ours", "ours", 3);
    mine.invite_id = Some("ab".repeat(32));
    mine.display_name = Some("Ana at work".into());
    mine.log = Some(true);
    mine.set_ca_file(Some(Path::new("/etc/ca.pem")));
    config.put_mesh(mine).unwrap();
    config
        .update(|data| data.extra.set("ofOurs", "gone with their write"))
        .unwrap();
    rewritten_by_the_reference(dir.path());

    let mut again = Config::load(dir.path()).unwrap();
    let mesh = again.mesh("ours").unwrap().clone();
    assert_eq!(mesh.invite_id, Some("ab".repeat(32)));
    assert_eq!(mesh.display_name.as_deref(), Some("Ana at work"));
    assert_eq!(mesh.log, Some(true));
    assert_eq!(mesh.ca_file().unwrap(), Path::new("/etc/ca.pem"));
    assert_eq!(mesh.pubkey(), key(3).public());
    // Theirs are as they wrote them, also after a write of ours.
    again.set_display_name(Some("Ana")).unwrap();
    for at in [0, 1] {
        assert_eq!(on_disk(dir.path())["meshes"][at], theirs()["meshes"][at]);
    }
    for known in ["role", "groups", "messageMode", "accountId"] {
        assert_eq!(on_disk(dir.path())[known], theirs()[known]);
    }
}

#[test]
fn debug_shows_no_secret() {
    let bytes = serde_json::to_vec(&theirs()).unwrap();
    let mut config = Config::from_bytes(&bytes).unwrap();
    config
        .update(|data| data.extra.set("token", "hunter2"))
        .unwrap();
    let text = format!("{config:?} {config:#?}");
    assert!(text.contains("Team Rocket!"));
    for secret in [ROOT_KEY, "hunter2", &key(1).expose_secret_hex()[..16]] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[path = "config/session_keys.rs"]
mod session_keys;
