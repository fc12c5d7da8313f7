//! The demo works, and leaves nothing behind, however it ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{program, said};

fn demo(tmp: &Path, args: &[&str]) -> Command {
    let mut command = program();
    // Nobody's home: the demo must do without.
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", tmp)
        .env("TEMP", tmp)
        .env("TMP", tmp);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn it_succeeds_and_cleans_up() {
    let tmp = tempfile::tempdir().unwrap();
    let shown = said(demo(tmp.path(), &[]).output().unwrap());
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.out.contains("9. Cleo comes back"), "{shown:?}");
    assert!(shown.out.contains("nothing lost"), "{shown:?}");
    assert_eq!(shown.err, "");
    assert!(is_empty(tmp.path()));
}

#[test]
fn it_answers_in_json_and_keeps_its_folder_if_asked() {
    let tmp = tempfile::tempdir().unwrap();
    let shown = said(demo(tmp.path(), &["--json", "--keep"]).output().unwrap());
    assert_eq!(shown.code, 0, "{shown:?}");
    let answer: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(answer["steps"].as_array().unwrap().len(), 9);
    let folder = Path::new(answer["folder"].as_str().unwrap());
    for part in ["ana", "bob", "cleo", "broker"] {
        assert!(folder.join(part).is_dir(), "{part}");
    }
}

#[cfg(unix)]
#[test]
fn interrupted_it_leaves_nothing() {
    use std::io::{BufRead as _, BufReader};
    for signal in ["-INT", "-TERM"] {
        let tmp = tempfile::tempdir().unwrap();
        let mut child = demo(tmp.path(), &[]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The line that names the broker's process: from now on there is something to leave.
        let line = lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains("process "))
            .unwrap();
        let broker = line.trim().trim_start_matches("process ");
        let broker = broker.split(',').next().unwrap().to_owned();
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let _ = lines.by_ref().count();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "it ended by itself");
        std::thread::sleep(Duration::from_millis(100));
        assert!(is_empty(tmp.path()), "{signal}");
        let there = Command::new("kill").args(["-0", &broker]).output().unwrap();
        assert!(!there.status.success(), "the broker {broker} lives");
    }
}
