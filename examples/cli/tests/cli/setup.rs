//! Setting clients up: what `install` writes and takes out again, `launch`, a link alone, `doctor`.

use std::path::{Path, PathBuf};

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::CstRootNode;
use serde_json::{Value, json};

use crate::common::{Broker, PROGRAM, Person, Said, create, link, pair, said};

const CLIENTS: [&str; 4] = ["claude-code", "codex", "gemini", "cursor"];

const CLAUDE: &str = r#"{
  "numStartups": 12, // counts
  "mcpServers": {
    "other": {"command": "npx", "env": {"KEY": "secret-of-another"}},
  },
  "z": [1,2]
}
"#;
const SETTINGS: &str = r#"{
    // mine
    "model": "opus",
    "hooks": {
        "Stop": [
            { "hooks": [ { "type": "command", "command": "say done" } ] }
        ]
    }
}
"#;
const CODEX: &str =
    "model = \"o5\" # the big one\n\n[mcp_servers.docs]\ncommand = \"npx\"  # keep\n";

/// Somebody who has used all clients.
fn user() -> Person {
    let person = Person::new();
    for folder in [".claude", ".codex", ".gemini", ".cursor"] {
        std::fs::create_dir(person.home().join(folder)).unwrap();
    }
    for (file, text) in [
        (".claude.json", CLAUDE),
        (".claude/settings.json", SETTINGS),
        (".codex/config.toml", CODEX),
    ] {
        std::fs::write(person.home().join(file), text).unwrap();
    }
    person
}

fn read(person: &Person, file: &str) -> String {
    std::fs::read_to_string(person.home().join(file)).unwrap()
}

/// A file as its client reads it, comments and all.
fn json_of(person: &Person, file: &str) -> Value {
    let text = read(person, file);
    let root = CstRootNode::parse(&text, &ParseOptions::default());
    root.unwrap().to_serde_value().unwrap()
}

/// All files but copies, with their texts.
fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().contains(".before-claudemesh.") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// The commands of the hooks of an event, in either form.
fn commands(hooks: &Value) -> Vec<String> {
    let groups = hooks.as_array().unwrap().iter();
    let all = groups.flat_map(|group| match group["hooks"].as_array() {
        Some(inner) => inner.clone(),
        None => vec![group.clone()],
    });
    all.map(|hook| hook["command"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn install_writes_into_each_client_and_leaves_what_is_anothers() {
    let person = user();
    let done = person.json(0, &["install", "--status-line"]);
    assert!(
        done.as_array()
            .unwrap()
            .iter()
            .all(|row| row["change"] == "written"),
        "{done}"
    );

    let claude = json_of(&person, ".claude.json");
    let ours = &claude["mcpServers"]["claudemesh"];
    assert_eq!(ours["command"], PROGRAM);
    assert_eq!(ours["args"], json!(["mcp", "--wake", "hook"]));
    assert_eq!(
        claude["mcpServers"]["other"]["env"]["KEY"],
        "secret-of-another"
    );
    assert!(read(&person, ".claude.json").contains("12, // counts"));
    let settings = json_of(&person, ".claude/settings.json");
    assert!(read(&person, ".claude/settings.json").contains("    // mine\n"));
    for (event, moment) in [
        ("SessionStart", "session-start"),
        ("UserPromptSubmit", "prompt"),
        ("Stop", "stop"),
    ] {
        let hook = format!("{PROGRAM} hook {moment} --client claude-code");
        assert!(
            commands(&settings["hooks"][event]).contains(&hook),
            "{settings}"
        );
    }
    assert!(commands(&settings["hooks"]["Stop"]).contains(&"say done".to_owned()));
    assert_eq!(
        settings["statusLine"]["command"],
        format!("{PROGRAM} status-line")
    );

    let codex = read(&person, ".codex/config.toml");
    assert!(codex.starts_with(CODEX), "{codex}");
    assert!(codex.contains("[mcp_servers.claudemesh]\n"), "{codex}");
    let hooks = json_of(&person, ".codex/hooks.json");
    assert_eq!(
        commands(&hooks["hooks"]["Stop"]),
        [format!("{PROGRAM} hook stop --client codex")]
    );
    let gemini = json_of(&person, ".gemini/settings.json");
    assert_eq!(gemini["mcpServers"]["claudemesh"]["command"], PROGRAM);
    assert_eq!(commands(&gemini["hooks"]["AfterAgent"]).len(), 1);
    assert_eq!(
        json_of(&person, ".cursor/mcp.json")["mcpServers"]["claudemesh"]["command"],
        PROGRAM
    );
    let cursor = json_of(&person, ".cursor/hooks.json");
    assert_eq!(
        (&cursor["version"], commands(&cursor["hooks"]["stop"]).len()),
        (&json!(1), 1)
    );
    for skill in [".claude", ".agents", ".gemini", ".cursor"] {
        let text = read(&person, &format!("{skill}/skills/claudemesh/SKILL.md"));
        assert!(
            text.starts_with("---\nname: claudemesh\ndescription: "),
            "{text}"
        );
    }

    // Again, it has nothing to do.
    let before = files(person.home());
    let again = person.json(0, &["install", "--status-line"]);
    assert!(
        again
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["change"] == "none"),
        "{again}"
    );
    assert_eq!(files(person.home()), before);
    assert_eq!(person.run(&["install"]).out, "Nothing to change.\n");
}

#[test]
fn uninstall_puts_back_what_was_there() {
    let person = user();
    let before = files(person.home());
    person.json(0, &["install", "--status-line"]);
    let backups = person.json(0, &["uninstall"]);
    let now = files(person.home());
    let names = |files: &[(PathBuf, String)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(names(&now), names(&before));
    for file in [".claude.json", ".codex/config.toml"] {
        assert!(
            before.contains(&(person.home().join(file), read(&person, file))),
            "{file}"
        );
    }
    // Spaces may move where something was taken out; nothing else does.
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(
        bare(&read(&person, ".claude/settings.json")),
        bare(SETTINGS)
    );
    // What each file was before each change is beside it.
    let mut copies = backups
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["backup"].as_str());
    assert!(copies.all(|copy| {
        std::fs::read_to_string(copy)
            .unwrap()
            .contains("claudemesh")
    }));
    let first = person
        .home()
        .join(".claude/settings.json.before-claudemesh.1");
    assert_eq!(std::fs::read_to_string(first).unwrap(), SETTINGS);
    assert_eq!(person.run(&["uninstall"]).out, "Nothing to change.\n");
}

#[test]
fn a_dry_run_shows_all_and_touches_nothing() {
    let person = user();
    let before = files(person.home());
    let shown = person.run(&["install", "--dry-run"]);
    assert_eq!(shown.code, 0);
    for part in [
        "would write",
        "+    \"claudemesh\": {",
        "+[mcp_servers.claudemesh]",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    // A terminal, or a model, is not shown what stands beside.
    assert!(!shown.out.contains("secret-of-another"), "{}", shown.out);
    assert_eq!(files(person.home()), before);
    person.json(0, &["install"]);
    let full = files(person.home());
    let shown = person.json(0, &["uninstall", "--dry-run", "--client", "cursor"]);
    let changes: Vec<&str> = shown
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["change"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["would_remove"; 3], "{shown}");
    assert_eq!(files(person.home()), full);
}

#[test]
fn a_file_that_cannot_be_read_stops_all_of_it() {
    let person = user();
    for broken in ["{ \"hooks\": ", "[]", "{ \"hooks\": [] }"] {
        std::fs::write(person.home().join(".claude/settings.json"), broken).unwrap();
        let before = files(person.home());
        let error = person.run(&["install"]);
        assert_eq!(error.code, 10, "{error:?}");
        assert!(error.err.contains("settings.json") && error.err.contains("Nothing was changed"));
        assert_eq!(files(person.home()), before);
    }
    let nobody = Person::new();
    let error = nobody.run(&["install"]);
    assert_eq!(error.code, 5, "{error:?}");
    assert!(error.err.contains("--client"), "{error:?}");
    assert_eq!(nobody.run(&["install", "--client", "emacs"]).code, 3);
    // A status line of somebody else's is not replaced.
    let other = "{\"statusLine\":{\"type\":\"command\",\"command\":\"date\"}}";
    std::fs::write(person.home().join(".claude/settings.json"), other).unwrap();
    let error = person.run(&["install", "--status-line"]);
    assert_eq!(error.code, 10, "{error:?}");
    assert_eq!(person.run(&["install"]).code, 0);
    assert_eq!(
        json_of(&person, ".claude/settings.json")["statusLine"]["command"],
        "date"
    );
}

#[test]
fn what_an_older_program_wrote_is_replaced_and_not_doubled() {
    let person = user();
    let old = r#"{"mcpServers": {"claudemesh": {"command": "claudemesh", "args": ["mcp"], "env": {"A": "b"}}}}"#;
    std::fs::write(person.home().join(".claude.json"), old).unwrap();
    let old = r#"{"hooks": {"Stop": [
        {"hooks": [{"type": "command", "command": "/old/claudemesh hook idle"}, {"type": "command", "command": "x"}]},
        {"hooks": [{"type": "command", "command": "'/my tools/claudemesh' hook stop"}]}
    ]}}"#;
    std::fs::write(person.home().join(".claude/settings.json"), old).unwrap();
    person.json(0, &["install", "--client", "claude-code", "--mesh", "team"]);
    let server = &json_of(&person, ".claude.json")["mcpServers"]["claudemesh"];
    assert_eq!(server["env"]["A"], "b");
    assert_eq!(
        server["args"],
        json!(["mcp", "--wake", "hook", "--mesh", "team"])
    );
    let settings = json_of(&person, ".claude/settings.json");
    let stop = format!("{PROGRAM} hook stop --client claude-code --mesh team");
    assert_eq!(commands(&settings["hooks"]["Stop"]), [stop, "x".to_owned()]);
    // A skill that somebody made their own stays theirs.
    let skill = person.home().join(".claude/skills/claudemesh/SKILL.md");
    std::fs::write(&skill, "---\nname: claudemesh\ndescription: mine\n---\n").unwrap();
    let row = person.json(0, &["install", "--client", "claude-code", "--mesh", "team"]);
    assert_eq!(row[2]["change"], "none", "{row}");
    person.json(0, &["uninstall", "--client", "claude-code"]);
    assert!(std::fs::read_to_string(skill).unwrap().contains("mine"));
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_is_followed_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let person = user();
    let real = person.home().join("dotfiles.json");
    std::fs::write(&real, "{}\n").unwrap();
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    let file = person.home().join(".claude/settings.json");
    std::fs::remove_file(&file).unwrap();
    symlink(&real, &file).unwrap();
    person.json(0, &["install"]);
    assert!(file.is_symlink());
    assert!(
        std::fs::read_to_string(&real)
            .unwrap()
            .contains("UserPromptSubmit")
    );
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let new = person.home().join(".codex/hooks.json");
    assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// A client that writes down how it was started, under a name that `launch` looks for.
#[cfg(unix)]
fn stand_in(person: &Person, name: &str) {
    let script = "#!/bin/sh\nfor word in \"$@\"; do printf '%s\\n' \"$word\"; done\n\
        env | grep ^CLAUDEMESH_ | grep -v CONFIG_DIR | sort\nexit 7\n";
    client(person, name, script);
}

#[cfg(unix)]
fn client(person: &Person, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    let bin = person.home().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let path = bin.join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Starts a client that says nothing and is done.
#[cfg(unix)]
pub(crate) fn launched_quietly(person: &Person, args: &[&str]) -> Said {
    client(person, "codex", "#!/bin/sh\nexit 0\n");
    launch(person, &args[1..])
}

#[cfg(unix)]
fn launch(person: &Person, args: &[&str]) -> Said {
    let bin = person.home().join("bin");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let mut command = person.command(&[&["launch"], args].concat());
    said(command.env("PATH", path).output().unwrap())
}

#[cfg(unix)]
#[test]
fn launch_starts_a_client_with_the_mesh_attached_for_this_session_alone() {
    let broker = Broker::start();
    let person = Person::new();
    assert_eq!(launch(&person, &[]).code, 11, "there is no mesh");
    create(&broker, &person, "team", "ana");
    let error = launch(&person, &[]);
    assert_eq!(error.code, 5, "{error:?}");
    assert!(error.err.contains("no program claude"), "{error:?}");

    stand_in(&person, "claude");
    let args = [
        "--as",
        "web",
        "--role",
        "reviews; $(id)",
        "--group",
        "@front",
        "--group",
        "back",
    ];
    let said = launch(&person, &[&args[..], &["--", "--resume", "a b"]].concat());
    assert_eq!(said.code, 7, "it ends as its client ends: {said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    let after = |word: &str| lines[lines.iter().position(|line| *line == word).unwrap() + 1];
    let config: Value = serde_json::from_str(after("--mcp-config")).unwrap();
    assert_eq!(config["mcpServers"]["claudemesh"]["command"], PROGRAM);
    let settings: Value = serde_json::from_str(after("--settings")).unwrap();
    assert_eq!(commands(&settings["hooks"]["Stop"]).len(), 1);
    assert_eq!(
        after("--dangerously-load-development-channels"),
        "server:claudemesh"
    );
    assert_eq!(after("--resume"), "a b");
    for line in [
        "CLAUDEMESH_CHANNEL=true",
        "CLAUDEMESH_GROUPS=@front,@back",
        "CLAUDEMESH_MESSAGES=on",
        "CLAUDEMESH_SESSION=web",
        "CLAUDEMESH_SUMMARY=reviews; $(id)",
    ] {
        assert!(lines.contains(&line), "{line}: {said:?}");
    }

    // What is installed is not given a second time.
    person.json(0, &["install", "--client", "claude-code"]);
    let said = launch(&person, &["--messages", "off"]);
    assert!(!said.out.contains("--mcp-config") && !said.out.contains("development-channels"));
    assert!(said.out.contains("CLAUDEMESH_MESSAGES=off"), "{said:?}");

    stand_in(&person, "codex");
    let said = launch(&person, &["codex", "--messages", "off"]);
    assert!(
        said.out
            .contains("mcp_servers.claudemesh.args=[\"mcp\",\"--wake\",\"hook\"]")
    );
    assert_eq!(launch(&person, &["codex", "--messages", "push"]).code, 3);
    let error = launch(&person, &["gemini"]);
    assert_eq!(error.code, 5, "{error:?}");
    assert!(
        error.err.contains("claudemesh install --client gemini"),
        "{error:?}"
    );
}

#[test]
fn a_link_alone_joins() {
    let broker = Broker::start();
    let (ana, bob) = (Person::new(), Person::new());
    create(&broker, &ana, "team", "ana");
    let joined = bob.json(0, &[&link(&ana, &[]), "--name", "bob"]);
    assert_eq!(joined["mesh"], "team", "{joined}");
    assert_eq!(joined["display_name"], "bob");
    assert_eq!(bob.run(&["https://example.com/elsewhere"]).code, 3);
}

fn of<'a>(report: &'a Value, check: &str) -> Vec<&'a Value> {
    let all = report.as_array().unwrap().iter();
    all.filter(|row| row["check"] == check).collect()
}

#[test]
fn doctor_tests_the_whole_way_and_says_what_to_do() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let report = ana.json(0, &["doctor"]);
    for check in [
        "config",
        "permissions",
        "store",
        "log",
        "broker",
        "clock",
        "tls",
        "message",
        "mcp",
    ] {
        let rows = of(&report, check);
        assert!(
            !rows.is_empty() && rows.iter().all(|row| row["level"] == "ok"),
            "{check}: {report}"
        );
    }
    assert!(of(&report, "client").is_empty(), "{report}");
    // Its message is in nobody's inbox.
    assert!(ana.inbox(&[]).is_empty() && bob.inbox(&[]).is_empty());

    std::fs::create_dir(ana.home().join(".claude")).unwrap();
    let client = |level: &str, words: &str| {
        let report = ana.json(0, &["doctor"]);
        let row = of(&report, "client")[0];
        let message = row["message"].as_str().unwrap();
        assert!(
            row["level"] == level && message.contains(words),
            "{level} {words}: {row}"
        );
    };
    client("ok", "claudemesh install --client claude-code");
    ana.json(0, &["install"]);
    client("ok", "woken by a push");
    let settings = ana.home().join(".claude/settings.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text.replace(PROGRAM, "/gone/claudemesh")).unwrap();
    client("warn", "puts it right");
    for name in CLIENTS {
        assert!(ana.json(0, &["install", "--client", name]).is_array());
    }
    let report = ana.json(0, &["doctor"]);
    assert_eq!(of(&report, "client").len(), 4, "{report}");
    assert!(
        of(&report, "client").iter().all(|row| row["level"] == "ok"),
        "{report}"
    );
}
