//! What the program says about itself: a change of it is to be seen in a review.

use crate::common::program;

const COMMANDS: [&[&str]; 106] = [
    &[],
    &["admit"],
    &["apikey"],
    &["apikey", "create"],
    &["apikey", "list"],
    &["apikey", "revoke"],
    &["backup"],
    &["ban"],
    &["bans"],
    &["block"],
    &["completions"],
    &["create"],
    &["delete"],
    &["demo"],
    &["device"],
    &["device", "add"],
    &["device", "list"],
    &["device", "remove"],
    &["doctor"],
    &["forget"],
    &["grant"],
    &["grants"],
    &["group"],
    &["group", "join"],
    &["group", "leave"],
    &["group", "list"],
    &["group", "members"],
    &["hook"],
    &["inbox"],
    &["info"],
    &["install"],
    &["invite"],
    &["invite", "close"],
    &["invite", "list"],
    &["join"],
    &["kick"],
    &["launch"],
    &["leave"],
    &["list"],
    &["listen"],
    &["mcp"],
    &["members"],
    &["msg-status"],
    &["outbox"],
    &["outbox", "cancel"],
    &["outbox", "flush"],
    &["outbox", "list"],
    &["owner"],
    &["owner", "accept"],
    &["owner", "recover"],
    &["owner", "transfer"],
    &["peers"],
    &["policy"],
    &["policy", "clear"],
    &["policy", "list"],
    &["policy", "set"],
    &["profile"],
    &["recall"],
    &["remember"],
    &["remind"],
    &["remove"],
    &["requests"],
    &["requests", "accept"],
    &["requests", "deny"],
    &["requests", "list"],
    &["restore"],
    &["revoke"],
    &["role"],
    &["schedule"],
    &["schedule", "cancel"],
    &["schedule", "list"],
    &["send"],
    &["serve"],
    &["state"],
    &["state", "get"],
    &["state", "list"],
    &["state", "set"],
    &["state", "watch"],
    &["status"],
    &["status-line"],
    &["status", "set"],
    &["summary"],
    &["summary", "set"],
    &["task"],
    &["task", "claim"],
    &["task", "complete"],
    &["task", "create"],
    &["task", "list"],
    &["topic"],
    &["topic", "create"],
    &["topic", "history"],
    &["topic", "invite"],
    &["topic", "join"],
    &["topic", "leave"],
    &["topic", "list"],
    &["topic", "members"],
    &["topic", "read"],
    &["topic", "remove"],
    &["topic", "tail"],
    &["trust"],
    &["unban"],
    &["uninstall"],
    &["upgrade"],
    &["verify"],
    &["wait"],
    &["whoami"],
];

#[test]
fn every_help_text_is_as_reviewed() {
    let mut all = String::new();
    for command in COMMANDS {
        let mut run = program();
        run.args(command).arg("--help").env("COLUMNS", "100");
        let output = run.output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        all.push_str(&format!(
            "$ claudemesh {} --help\n{text}\n",
            command.join(" ")
        ));
    }
    insta::assert_snapshot!(all.replace(".exe", ""));
}

#[test]
fn without_arguments_it_helps_and_with_version_it_says_which() {
    let bare = program().output().unwrap();
    assert!(bare.status.success());
    assert!(
        String::from_utf8(bare.stdout)
            .unwrap()
            .contains("claudemesh demo")
    );
    let version = program().arg("--version").output().unwrap();
    let wanted = format!("claudemesh {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), wanted);
}

#[test]
fn half_a_command_is_helped_without_calling_it_an_error() {
    for args in [&["requests"][..], &["topic"], &["owner"]] {
        let half = program().args(args).output().unwrap();
        let text = String::from_utf8(half.stderr).unwrap();
        assert_eq!(half.status.code(), Some(3), "{text}");
        assert!(text.contains("Usage: claudemesh"), "{text}");
        assert!(!text.contains("error:"), "{text}");
        let json = program().args(args).arg("--json").output().unwrap();
        assert_eq!(json.status.code(), Some(3));
        let text = String::from_utf8(json.stdout).unwrap();
        assert!(text.contains("invalid_arguments"), "{text}");
    }
}

#[test]
fn the_broker_is_explained_too() {
    let output = program().args(["broker", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in [
        "--listen",
        "--public-url",
        "~/.claudemesh/broker",
        "never what",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
