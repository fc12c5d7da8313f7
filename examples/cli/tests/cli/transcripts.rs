//! What each verb says when it works and when it does not, as a person at a terminal sees it.
//!
//! What differs from run to run (keys, ids, times, addresses) stands there as a word in brackets.

use std::collections::{BTreeMap, BTreeSet};

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::common::{Broker, Person, Said};
use crate::verbs::verbs;

/// Verbs that run until they are stopped, or that other tests show at length.
const ELSEWHERE: [&str; 6] = [
    "broker",
    "demo",
    "listen",
    "mcp",
    "state watch",
    "topic tail",
];

/// Commands with all that they said.
struct Transcript {
    text: String,
    verbs: BTreeSet<String>,
    worked: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// What is known to differ, with the word for it.
    names: BTreeMap<String, &'static str>,
}

impl Transcript {
    fn new() -> Self {
        Self {
            text: String::new(),
            verbs: verbs(),
            worked: BTreeSet::new(),
            failed: BTreeSet::new(),
            names: BTreeMap::new(),
        }
    }

    fn begin(&mut self, title: &str) {
        self.text.push_str(&format!("\n# {title}\n"));
    }

    /// Runs it, and writes down what it said.
    fn run(&mut self, who: (&str, &Person), args: &[&str]) -> Said {
        let said = who.1.run(args);
        self.note(who.0, args, said)
    }

    fn run_with_stdin(&mut self, who: (&str, &Person), args: &[&str], stdin: &str) -> Said {
        let said = who.1.run_with_stdin(args, stdin);
        self.note(who.0, args, said)
    }

    /// The text of a field, asked for aside.
    fn field(&mut self, who: &Person, args: &[&str], field: &str, word: &'static str) -> String {
        let answer = who.json(0, args);
        let row = answer.as_array().map_or(&answer, |rows| &rows[0]);
        let text = row[field].as_str().unwrap().to_owned();
        self.names.insert(text.clone(), word);
        text
    }

    fn note(&mut self, who: &str, args: &[&str], said: Said) -> Said {
        let words = args.iter().filter(|word| !word.starts_with('-'));
        let words: Vec<&str> = words.copied().collect();
        let names = [words.get(..2), words.get(..1)].into_iter().flatten();
        let verb = names.map(|names| names.join(" "));
        let verb = verb.into_iter().find(|verb| self.verbs.contains(verb));
        if let Some(verb) = verb {
            match said.code {
                0 => self.worked.insert(verb),
                _ => self.failed.insert(verb),
            };
        }
        let shown: Vec<String> = args.iter().map(|word| quoted(word)).collect();
        let mut part = format!("\n{who}$ claudemesh {}\n{}", shown.join(" "), said.out);
        for line in said.err.lines() {
            part.push_str(&format!("! {line}\n"));
        }
        if said.code != 0 {
            part.push_str(&format!("= {}\n", said.code));
        }
        let part = self.settled(&part);
        self.text.push_str(&part);
        said
    }

    /// Without what differs from run to run.
    fn settled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // The longest first: one may be a part of another.
        let mut names: Vec<(&String, &&str)> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, word) in names {
            text = text.replace(name.as_str(), word);
        }
        let lines: Vec<String> = text.lines().map(line).collect();
        format!("{}\n", lines.join("\n"))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{word}'"),
    }
}

/// A line with its words settled and its columns drawn together.
fn line(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in line.chars().chain([' ']) {
        if c.is_alphanumeric() || matches!(c, '-' | ':' | '.') && !word.is_empty() {
            word.push(c);
            continue;
        }
        out.push_str(&settle(&word));
        word.clear();
        // Columns are as wide as what stands in them.
        if !(c == ' ' && out.ends_with("  ")) {
            out.push(c);
        }
    }
    let mut out = out.trim_end().to_owned();
    // Numbers that depend on the machine.
    for (before, after) in [(" in ", " ms"), ("(os error ", ")"), ("on the way: ", "")] {
        if let Some(at) = out.find(before).map(|at| at + before.len()) {
            let rest = &out[at..];
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            if end > 0 && rest[end..].starts_with(after) {
                out.replace_range(at..at + end, "[n]");
            }
        }
    }
    // They stand in the order of their keys.
    if let Some((before, members)) = out.split_once("; members: ") {
        let mut members: Vec<&str> = members.split(", ").collect();
        members.sort_unstable();
        out = format!("{before}; members: {}", members.join(", "));
    }
    out
}

/// A word, or what stands for it.
fn settle(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':', '-']);
    let end = &word[bare.len()..];
    let hex = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
    };
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let numeric = |c: char| c.is_ascii_digit();
    let parts: Vec<&str> = bare.split('-').collect();
    let clock = |text: &str| text.len() >= 5 && text.split(':').all(digits) && text.contains(':');
    let kind = match parts.as_slice() {
        [a, b, c, d, e]
            if [a.len(), b.len(), c.len(), d.len(), e.len()] == [8, 4, 4, 4, 12]
                && parts.iter().all(|part| hex(part)) =>
        {
            "[id]"
        }
        [y, m, d] if y.len() == 4 && digits(y) && digits(m) && d.starts_with(char::is_numeric) => {
            "[date]"
        }
        [one] if one.len() >= 8 && hex(one) && one.contains(numeric) => "[hex]",
        [one] if clock(one) => "[time]",
        [one] if digits(one) && one.len() == 5 => "[digits]",
        _ => bare,
    };
    format!("{kind}{end}")
}

#[test]
fn every_verb_says_what_it_did_and_why_it_did_not() {
    let broker = Broker::start();
    let people = [Person::new(), Person::new()];
    let (ana, bob) = (("ana", &people[0]), ("bob", &people[1]));
    let mut t = Transcript::new();
    t.names.insert(broker.url(), "ws://broker/ws");
    let address = broker.url().replace("ws://", "").replace("/ws", "");
    t.names.insert(address, "broker");
    for person in &people {
        let home = person.home().to_str().unwrap().to_owned();
        t.names.insert(home, "[home]");
    }
    t.names
        .insert(crate::common::PROGRAM.to_owned(), "[claudemesh]");

    t.begin("Without a mesh");
    for args in [
        &["list"][..],
        &["doctor"],
        &["send", "bob", "hello"],
        &["inbox"],
        &["peers"],
        &["whoami"],
        &["wait"],
        &["serve", "--", "cat"],
        &["launch"],
        &["install"],
        &["uninstall"],
        &["join", "https://example.com/join/x"],
        &["nonsense"],
        &["status-line"],
        &["hook", "later"],
        &["list", "--nonsense"],
    ] {
        t.run(bob, args);
    }

    t.begin("A mesh of two");
    let made = ana.1.json(
        0,
        &["create", "team", "--broker", &broker.url(), "--name", "ana"],
    );
    let recovery = made["recovery_key"].as_str().unwrap().to_owned();
    t.names.insert(recovery.clone(), "[recovery key]");
    t.names
        .insert(made["mesh_id"].as_str().unwrap().to_owned(), "[mesh]");
    t.worked.insert("create".to_owned());
    t.run(ana, &["create", "team", "--broker", "ws://127.0.0.1:1/ws"]);
    let link = t.field(ana.1, &["invite"], "link", "[link]");
    t.worked.insert("invite".to_owned());
    t.run(ana, &["invite", "--uses", "0"]);
    t.run(bob, &["join", &link, "--name", "bob", "--yes"]);
    t.run(ana, &["list"]);
    t.run(ana, &["members"]);
    t.run(ana, &["members", "--mesh", "other"]);
    t.run(ana, &["peers"]);
    t.run(ana, &["whoami"]);
    t.run(ana, &["invite", "list"]);
    t.run(ana, &["invite", "list", "--mesh", "other"]);
    let spare = t.field(ana.1, &["invite", "--uses", "2"], "invite_id", "[invite]");
    t.run(ana, &["invite", "close", &spare]);
    t.run(ana, &["invite", "close", "zzzz"]);
    t.run(ana, &["verify", "bob"]);
    t.run(ana, &["verify", "nobody"]);
    t.run(ana, &["trust"]);
    t.run(ana, &["trust", "nobody"]);
    t.run(ana, &["role", "bob", "admin"]);
    t.run(bob, &["role", "ana", "member"]);
    t.run(ana, &["role", "bob", "member"]);
    t.run(ana, &["admit", "bob", "--yes"]);
    let device = t.field(
        ana.1,
        &["device", "add", "--name", "phone"],
        "link",
        "[link]",
    );
    t.worked.insert("device add".to_owned());
    t.run(ana, &["device", "add", "--name", ""]);
    let phone = Person::new();
    phone.json(0, &["join", &device, "--name", "phone"]);
    t.run(ana, &["device", "list"]);
    t.run(ana, &["device", "list", "--mesh", "other"]);
    t.run(bob, &["device", "remove", "phone", "--yes"]);
    t.run(ana, &["device", "remove", "phone", "--yes"]);
    t.run(bob, &["set-url", "team", &broker.url()]);
    t.run(bob, &["set-url", "team", "ws://127.0.0.1:1/ws"]);
    t.run(ana, &["audit"]);
    t.run(bob, &["audit"]);

    t.begin("Messages");
    t.run(ana, &["send", "bob", "lunch?"]);
    t.run(ana, &["send", "bbo", "lunch?"]);
    t.run(bob, &["inbox"]);
    t.run(bob, &["inbox"]);
    t.run(bob, &["inbox", "--mesh", "other"]);
    t.run(ana, &["send", "bob/api", "hello"]);
    // That Bob has it is known a moment later.
    let sent = ana.1.json(0, &["outbox", "list", "--all"]);
    let sent = sent[0]["message_id"].as_str().unwrap().to_owned();
    while ana.1.json(0, &["msg-status", &sent])["state"] != "delivered" {}
    t.run(ana, &["outbox", "list"]);
    t.run(ana, &["outbox", "list", "--mesh", "other"]);
    t.run(ana, &["outbox", "flush"]);
    t.run(ana, &["outbox", "flush", "--timeout", "long"]);
    t.run(ana, &["outbox", "cancel", "zzzz"]);
    let id = t.field(ana.1, &["outbox", "list", "--all"], "message_id", "[id]");
    t.run(ana, &["msg-status", &id]);
    t.run(ana, &["msg-status", "zzzz"]);
    t.run(ana, &["send", "bob", "are you there?", "--online"]);
    t.run(bob, &["policy", "set", "ana", "ask"]);
    t.run(bob, &["policy", "set", "ana", "perhaps"]);
    t.run(bob, &["policy", "list"]);
    t.run(bob, &["policy", "list", "--mesh", "other"]);
    for _ in 0..2 {
        ana.1.json(0, &["send", "bob", "may I?"]);
    }
    t.run(bob, &["inbox"]);
    t.run(bob, &["requests", "list"]);
    t.run(bob, &["requests", "list", "--mesh", "other"]);
    let id = t.field(bob.1, &["requests", "list"], "message_id", "[id]");
    t.run(bob, &["requests", "accept", &id]);
    t.run(bob, &["requests", "accept", &id]);
    let id = t.field(bob.1, &["requests", "list"], "message_id", "[id]");
    t.run(bob, &["requests", "deny", &id]);
    t.run(bob, &["requests", "deny", "zzzz"]);
    t.run(bob, &["policy", "clear", "ana"]);
    t.run(bob, &["policy", "clear", "nobody"]);
    t.run(bob, &["grants"]);
    t.run(bob, &["block", "ana"]);
    t.run(bob, &["block", "nobody"]);
    t.run(bob, &["grants"]);
    t.run(bob, &["grants", "--mesh", "other"]);
    t.run(bob, &["grant", "ana", "all"]);
    t.run(bob, &["grant", "ana", "state-write"]);
    t.run(bob, &["revoke", "ana", "dm"]);
    t.run(bob, &["revoke", "ana", "nothing"]);
    t.run(bob, &["grant", "ana", "dm"]);
    t.run(bob, &["revoke", "ana", "broadcast"]);
    t.run(bob, &["status", "set", "working"]);
    t.run(bob, &["status", "set", "asleep"]);
    t.run(bob, &["status", "show"]);
    t.run(bob, &["status", "show", "--mesh", "other"]);
    t.run(bob, &["status", "set", "idle"]);
    t.run(bob, &["summary", "set", "reviews"]);
    t.run(bob, &["summary", "set", ""]);
    t.run(bob, &["summary", "show"]);
    t.run(bob, &["summary", "show", "--mesh", "other"]);
    t.field(bob.1, &["profile"], "member_id", "[id]");
    t.run(
        bob,
        &["profile", "--role-tag", "reviewer", "--groups", "ops:lead"],
    );
    t.run(bob, &["profile", "--name", "robert"]);
    t.run(bob, &["profile", "--member", "nobody"]);
    t.run(bob, &["summary", "clear"]);
    t.run(bob, &["summary", "clear", "--mesh", "other"]);

    t.begin("Topics and groups");
    t.run(ana, &["topic", "create", "deploys"]);
    t.run(ana, &["topic", "create", "deploys"]);
    t.run(bob, &["topic", "join", "deploys"]);
    t.run(bob, &["topic", "join", "depolys"]);
    t.run(ana, &["topic", "list"]);
    t.run(ana, &["topic", "list", "--mesh", "other"]);
    t.run(ana, &["topic", "members", "deploys"]);
    t.run(ana, &["topic", "members", "depolys"]);
    t.run(ana, &["send", "#deploys", "v2 is out"]);
    t.run(bob, &["topic", "read", "deploys"]);
    t.run(bob, &["topic", "read", "depolys"]);
    t.run(bob, &["topic", "history", "deploys"]);
    t.run(bob, &["topic", "history", "depolys"]);
    ana.1.json(0, &["topic", "create", "secrets", "--private"]);
    t.run(ana, &["topic", "invite", "secrets", "bob"]);
    t.run(ana, &["topic", "invite", "secrets", "nobody"]);
    t.run(ana, &["topic", "remove", "secrets", "bob"]);
    t.run(bob, &["topic", "remove", "deploys", "ana"]);
    t.run(bob, &["topic", "leave", "deploys"]);
    t.run(bob, &["topic", "leave", "deploys"]);
    t.run(ana, &["group", "join", "oncall"]);
    t.run(ana, &["group", "join", "on call"]);
    t.run(bob, &["group", "list"]);
    t.run(bob, &["group", "list", "--mesh", "other"]);
    t.run(bob, &["group", "members", "oncall"]);
    t.run(bob, &["group", "members", "noncall"]);
    t.run(ana, &["group", "leave", "oncall"]);
    t.run(ana, &["group", "leave", "oncall"]);

    t.begin("What is kept");
    t.run(ana, &["state", "set", "port", "7900"]);
    t.run(ana, &["state", "set", "port", "7901", "--if-version", "7"]);
    t.run(bob, &["state", "get", "port"]);
    t.run(bob, &["state", "get", "prot"]);
    t.run(bob, &["state", "list"]);
    t.run(bob, &["state", "list", "--mesh", "other"]);
    t.run(ana, &["task", "create", ""]);
    let id = t.field(
        ana.1,
        &["task", "create", "review the notes", "--for", "bob"],
        "id",
        "[task]",
    );
    t.worked.insert("task create".to_owned());
    t.run(bob, &["task", "list"]);
    t.run(bob, &["task", "list", "--mesh", "other"]);
    t.run(bob, &["task", "claim", &id]);
    t.run(ana, &["task", "claim", &id]);
    t.run(ana, &["task", "complete", &id]);
    t.run(bob, &["task", "complete", &id, "two remarks"]);
    let memory = t.field(
        ana.1,
        &["remember", "the port is 7900"],
        "memory_id",
        "[memory]",
    );
    t.run(ana, &["remember", "the port is 7900", "--tag", "net"]);
    t.run(ana, &["remember", ""]);
    t.run(bob, &["recall", "port"]);
    t.run(bob, &["recall", "--mesh", "other"]);
    t.run(bob, &["forget", &memory]);
    t.run(ana, &["forget", &memory]);
    t.run(ana, &["remind", "stand-up", "--in", "2h"]);
    t.run(ana, &["remind", "stand-up", "--in", "soon"]);
    let id = t.field(ana.1, &["schedule", "list"], "schedule_id", "[schedule]");
    t.run(ana, &["schedule", "list"]);
    t.run(ana, &["schedule", "list", "--mesh", "other"]);
    t.run(ana, &["schedule", "cancel", &id]);
    t.run(ana, &["schedule", "cancel", "zzzz"]);

    t.begin("Agents");
    for file in [".codex", ".cursor"] {
        std::fs::create_dir(bob.1.home().join(file)).unwrap();
    }
    t.run(bob, &["install", "--client", "codex", "--dry-run"]);
    t.run(bob, &["install", "--client", "cursor", "--quiet"]);
    t.run(bob, &["uninstall", "--client", "cursor"]);
    t.run(bob, &["launch", "gemini"]);
    t.run(bob, &["launch", "codex", "--messages", "push"]);
    ana.1.json(0, &["send", "bob", "which port?"]);
    // Of what came before, too.
    while bob.1.json(0, &["wait", "--as", "api"])["unread"] != 3 {}
    t.run(bob, &["wait", "--as", "api", "--timeout", "10s"]);
    t.run(bob, &["status-line", "--as", "api"]);
    t.run(bob, &["status-line", "--mesh", "other"]);
    t.run_with_stdin(bob, &["hook", "prompt", "--as", "api"], "{}");
    t.run_with_stdin(bob, &["hook", "prompt", "--as", "api"], "{}");
    t.run(bob, &["wait", "--as", "api", "--timeout", "0s"]);
    ana.1.json(0, &["send", "bob/api", "and the host?"]);
    t.run(bob, &["serve", "--as", "api", "--once", "--", "/bin/cat"]);
    t.run(bob, &["serve"]);
    t.run(bob, &["serve", "--parked"]);
    t.run(bob, &["doctor"]);
    let config = bob.1.dir().join("config.json");
    let mode = |mode| std::fs::set_permissions(&config, Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    t.run(bob, &["doctor"]);
    mode(0o600);

    t.begin("The broker's service");
    t.run(ana, &["kick", "bob"]);
    t.run(bob, &["kick", "ana"]);
    t.run(ana, &["ban", "bob"]);
    t.run(ana, &["bans"]);
    t.run(ana, &["bans", "--mesh", "other"]);
    t.run(ana, &["unban", "bob"]);
    // Nobody is here whom only the broker knows.
    for verb in ["ban", "unban"] {
        t.worked.insert(verb.to_owned());
    }
    let key = ana.1.json(0, &["apikey", "create", "ci", "--can", "read"]);
    t.worked.insert("apikey create".to_owned());
    t.run(ana, &["apikey", "create", "ci", "--can", "everything"]);
    let key = key["id"].as_str().unwrap().to_owned();
    t.names.insert(key.clone(), "[key]");
    let listed = ana.1.json(0, &["apikey", "list"]);
    let begins = listed[0]["prefix"].as_str().unwrap().to_owned();
    t.names.insert(begins, "[begins]");
    t.run(ana, &["apikey", "list"]);
    t.run(ana, &["apikey", "list", "--mesh", "other"]);
    t.run(ana, &["apikey", "revoke", &key]);
    t.run(ana, &["apikey", "revoke", "zzzz"]);

    t.begin("Files");
    let file = bob.1.home().join("bob.cmb");
    let (secret, wrong) = (bob.1.home().join("secret"), bob.1.home().join("wrong"));
    std::fs::write(&secret, "correct horse battery\n").unwrap();
    std::fs::write(&wrong, "wrong horse battery\n").unwrap();
    let [file, secret, wrong] = [&file, &secret, &wrong].map(|path| path.to_str().unwrap());
    t.run(bob, &["backup", file]);
    t.run(bob, &["backup", file, "--passphrase-file", secret]);
    t.run(bob, &["backup", file, "--passphrase-file", secret]);
    t.run(bob, &["restore", file, "--passphrase-file", wrong]);
    t.run(bob, &["restore", file, "--passphrase-file", secret]);
    let new = ("cleo", &Person::new());
    t.run(new, &["restore", file, "--passphrase-file", secret]);
    t.run(new, &["restore", "nothing.cmb"]);
    t.worked.insert("completions".to_owned());
    t.run(bob, &["completions", "nonsense"]);
    t.run(bob, &["requests"]);
    t.run(bob, &["info"]);
    t.run(bob, &["info", "--mesh", "other"]);
    t.run(ana, &["upgrade", "team"]);
    // It takes a mesh without a log.
    t.worked.insert("upgrade".to_owned());

    t.begin("The end");
    ana.1.json(0, &["send", "bob", "bye"]);
    let cleo = Person::new();
    let link = t.field(ana.1, &["invite", "--role", "pending"], "link", "[link]");
    cleo.json(0, &["join", &link, "--name", "cleo"]);
    t.run(ana, &["admit", "cleo", "--yes"]);
    t.run(bob, &["remove", "cleo", "--yes"]);
    t.run(ana, &["remove", "cleo", "--yes"]);
    t.run(bob, &["owner", "transfer", "ana", "--yes"]);
    t.run(ana, &["owner", "transfer", "bob", "--yes"]);
    t.run(bob, &["owner", "accept"]);
    t.run(bob, &["owner", "accept"]);
    t.run(ana, &["owner", "recover", "--key", "nonsense"]);
    t.run_with_stdin(ana, &["owner", "recover", "--key", "-"], &recovery);
    t.run(bob, &["inbox"]);
    t.run(ana, &["leave", "--mesh", "other"]);
    t.run(bob, &["delete", "team"]);
    t.run(bob, &["leave", "--purge", "--yes"]);
    t.run(ana, &["delete", "team"]);
    t.run(ana, &["delete", "team", "--yes"]);

    insta::assert_snapshot!(t.text.replace(".exe", ""));
    let missed = |done: &BTreeSet<String>, but: &[&str]| -> Vec<String> {
        let missed = t.verbs.difference(done).cloned();
        let missed = missed.filter(|verb| !ELSEWHERE.contains(&verb.as_str()));
        missed
            .filter(|verb| !but.contains(&verb.as_str()))
            .collect()
    };
    // A client that is not there is started elsewhere, and nothing is left to cancel here.
    assert_eq!(missed(&t.worked, &["launch", "outbox cancel"]), [""; 0]);
    assert_eq!(missed(&t.failed, &[]), [""; 0]);
}
