//! A canary wherever the command line takes a text, with every verb there is; and it is in no file
//! of the broker, no line of its log at the finest level and no page it serves. Nor is it where
//! a command says something about what it does: on stderr, or on stdout of what shows no messages.
//!
//! In the open by design, and looked for as such at the end: names of meshes, members, devices,
//! topics and groups, keys of the state, tags. What a link or a recovery key keeps secret is looked
//! for elsewhere.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Broker, Person, program, said};
use crate::walk::{CANARY, Running, SHOW, SOON, Walk, holds, is_not_in};

/// In what the broker sees by design.
const OPEN: &str = "open-5e2a";

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap()
}

/// The broker's answer to a request as a browser makes it.
fn page(broker: &Broker, path: &str) -> String {
    let url = broker.url();
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Who is in the mesh, and the links that they had.
struct Mesh {
    ana: Person,
    bob: Person,
    cleo: Person,
    phone: Person,
    /// In the mesh by the broker's word only.
    eve: Person,
    recovery_key: String,
    links: Vec<String>,
}

/// Everybody comes in.
fn gather(walk: &mut Walk, broker: &Broker) -> Mesh {
    let [ana, bob, cleo, phone, eve] = std::array::from_fn(|_| Person::new());
    let create = ["create", OPEN, "--broker", &broker.url(), "--name", "ana"];
    let recovery_key = text(&walk.json(&ana, &create), "recovery_key").to_owned();
    let mut links = Vec::new();
    for (person, name, args) in [
        (&bob, "bob", &["invite"][..]),
        (&cleo, "cleo", &["invite", "--role", "pending"]),
        (&phone, OPEN, &["device", "add", "--name", OPEN]),
        (&eve, "eve", &["invite"]),
    ] {
        let made = walk.json(&ana, args);
        let which = if name == "eve" { "legacy_link" } else { "link" };
        let link = text(&made, which).to_owned();
        walk.run(person, &["join", &link, "--name", name]);
        links.push(link);
    }
    walk.run(&ana, &["admit", "cleo", "--yes"]);
    let spare = walk.json(&ana, &["invite", "--uses", "2"]);
    walk.run(&ana, &["invite", "list"]);
    walk.run(&ana, &["invite", "close", text(&spare, "invite_id")]);
    links.push(text(&spare, "link").to_owned());
    for role in ["admin", "member"] {
        walk.run(&ana, &["role", "bob", role]);
    }
    for verb in ["list", "members", "whoami", "verify", "trust", "doctor"] {
        walk.run(&bob, &[verb]);
    }
    walk.run(&bob, &["set-url", OPEN, &broker.url()]);
    walk.run(&ana, &["device", "list"]);
    walk.run(&bob, &["status", "set", "working"]);
    walk.run(&bob, &["status", "show"]);
    walk.run(&bob, &["status", "set", "idle"]);
    // In the open by design; and refused where the log has it.
    let profile = ["profile", "--role-tag", OPEN, "--groups", OPEN];
    walk.run(&bob, &profile);
    walk.run(&ana, &["profile", "--member", "bob"]);
    walk.ends(7, &bob, &["profile", "--name", CANARY]);
    walk.run(&ana, &["topic", "create", OPEN]);
    walk.run(&ana, &["topic", "invite", OPEN, "bob"]);
    walk.run(&cleo, &["topic", "join", OPEN]);
    for person in [&ana, &bob] {
        walk.run(person, &["group", "join", OPEN]);
    }
    for of in ["topic", "group"] {
        walk.run(&ana, &[of, "list"]);
        walk.run(&ana, &[of, "members", OPEN]);
    }
    Mesh {
        ana,
        bob,
        cleo,
        phone,
        eve,
        recovery_key,
        links,
    }
}

/// What goes out at once, and later.
fn talk(walk: &mut Walk, mesh: &Mesh) {
    let Mesh { ana, bob, .. } = mesh;
    let (topic, group) = (format!("#{OPEN}"), format!("@{OPEN}"));
    for when in [
        &["--in", "1s", "--to", "bob"][..],
        &["--in", "2h"],
        &["--in", "2h", "--to", &topic],
        &["--in", "2h", "--to", "*"],
        &["--at", "00:00+12:00"],
        &["--cron", "0 0 1 1 *", "--to", &group],
    ] {
        walk.run(ana, &[&["remind", CANARY], when].concat());
    }
    walk.run_with_stdin(ana, &["remind", "-", "--in", "3h"], CANARY);
    let kept = walk.json(ana, &["schedule", "list"]);
    let id = text(kept.as_array().unwrap().last().unwrap(), "schedule_id");
    walk.run(ana, &["schedule", "cancel", id]);

    let tail = Running::start(bob, &["topic", "tail", OPEN]);
    let first = walk.json(ana, &["send", &topic, CANARY]);
    tail.until(CANARY);
    tail.stop(walk);
    let first = text(&first, "message_id");
    walk.run(ana, &["send", &topic, CANARY, "--reply-to", first]);
    walk.run(bob, &["topic", "read", OPEN]);
    walk.run(bob, &["topic", "history", OPEN]);
    for to in ["bob", &group, "*"] {
        walk.run(ana, &["send", to, CANARY]);
    }
    let sent = walk.json(ana, &["send", "bob", CANARY, "--priority", "now"]);
    walk.run(ana, &["msg-status", text(&sent, "message_id")]);
    walk.run_with_stdin(ana, &["send", "bob", "-"], CANARY);
    walk.ends(5, ana, &["send", "nobody", CANARY]);
    // The five, and the reminder.
    let mut came = Vec::new();
    while came.len() < 6 {
        let new = walk.json(bob, &["inbox", "--wait", "10s"]);
        let new = new.as_array().unwrap();
        assert!(!new.is_empty(), "{came:?}");
        came.extend(new.iter().cloned());
    }
    assert!(came.iter().all(|message| message["body"] == CANARY));
    assert!(came.iter().any(|message| message["subtype"] == "reminder"));
    let (answers, all) = (text(&came[0], "message_id"), ["inbox", "--all"]);
    walk.run(bob, &["send", "ana", CANARY, "--reply-to", answers]);
    assert!(walk.run(ana, &all).out.contains(CANARY));
    assert!(walk.run(&mesh.phone, &["inbox"]).out.contains(CANARY));
    // Bare text is sealed, too. It is for clients of the existing system: Eve's program does not
    // take it from who is in the log.
    let eve = walk.json(&mesh.eve, &["whoami"]);
    let eve = text(&eve, "pubkey");
    walk.ends(7, bob, &["send", eve, CANARY]);
    walk.run(bob, &["send", "--unverified", eve, CANARY]);
    walk.run(&mesh.eve, &["inbox"]);
}

/// Sessions with an address of their own, and whose messages are wanted.
fn choose(walk: &mut Walk, mesh: &Mesh) {
    let Mesh { ana, bob, .. } = mesh;
    walk.run(bob, &["inbox", "--as", OPEN]);
    walk.run(bob, &["policy", "set", "ana", "ask"]);
    walk.run(bob, &["policy", "list"]);
    let to = format!("bob/{OPEN}");
    for _ in 0..2 {
        walk.run(ana, &["send", &to, CANARY, "--as", OPEN]);
    }
    walk.run(bob, &["inbox", "--as", OPEN]);
    let held = walk.json(bob, &["requests", "list"]);
    assert_eq!(held.as_array().unwrap().len(), 2, "{held}");
    walk.run(bob, &["requests", "accept", text(&held[0], "message_id")]);
    walk.run(bob, &["requests", "deny", text(&held[1], "message_id")]);
    let came = walk.json(bob, &["inbox", "--as", OPEN]);
    assert_eq!(came.as_array().unwrap().len(), 1, "{came}");
    walk.run(bob, &["policy", "clear", "ana"]);
    walk.run(bob, &["block", "ana"]);
    walk.run(bob, &["grants"]);
    walk.run(bob, &["grant", "ana", "all"]);
    walk.run(bob, &["revoke", "ana", "dm"]);
    walk.run(bob, &["grant", "ana", "dm"]);
}

/// State, memories, and what one does.
fn keep(walk: &mut Walk, mesh: &Mesh) {
    let Mesh { ana, bob, .. } = mesh;
    let object = format!("{{\"by\":\"{CANARY}\"}}");
    walk.run(ana, &["state", "set", "open-first", &object]);
    let watch = Running::start(bob, &["state", "watch"]);
    watch.until("Watching");
    walk.run(ana, &["state", "set", OPEN, CANARY, "--text"]);
    watch.until(CANARY);
    watch.stop(walk);
    walk.run_with_stdin(bob, &["state", "set", OPEN, "-"], CANARY);
    let late = ["state", "set", OPEN, CANARY, "--if-version", "1"];
    walk.ends(6, ana, &late);
    walk.run(bob, &["state", "get", OPEN]);
    walk.run(bob, &["state", "list"]);

    let task = walk.json(ana, &["task", "create", CANARY, "--for", "bob"]);
    let id = text(&task, "id");
    walk.run(bob, &["task", "list"]);
    walk.run(bob, &["task", "claim", id]);
    walk.ends(6, ana, &["task", "claim", id]);
    walk.run(bob, &["task", "complete", id, CANARY]);

    let memory = walk.json(ana, &["remember", CANARY, "--tag", OPEN]);
    walk.run_with_stdin(bob, &["remember", "-"], CANARY);
    walk.run(bob, &["recall", CANARY]);
    walk.run(bob, &["recall"]);
    let id = text(&memory, "memory_id");
    walk.ends(7, bob, &["forget", id]);
    walk.run(ana, &["forget", id]);

    let listen = Running::start(bob, &["listen", "--summary", CANARY]);
    let until = Instant::now() + SOON;
    while !walk.run(ana, &["peers"]).out.contains(CANARY) {
        assert!(Instant::now() < until, "no summary");
    }
    walk.run(ana, &["send", "bob", CANARY, "--wait", "delivered"]);
    listen.until(CANARY);
    listen.stop(walk);
}

/// What agents do with the same.
fn be_agents(walk: &mut Walk, mesh: &Mesh) {
    let Mesh { ana, bob, .. } = mesh;
    let session = ["mcp", "--as", OPEN, "--summary", CANARY];
    walk.run(ana, &["send", "bob", CANARY]);
    let mut lines = vec![
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"canary","version":"1"}}}"#.to_owned(),
    ];
    let calls = [
        format!(
            r#"{{"name":"send_message","arguments":{{"to":["ana","*"],"message":"{CANARY}"}}}}"#
        ),
        format!(r#"{{"name":"set_summary","arguments":{{"summary":"{CANARY}"}}}}"#),
        format!(r#"{{"name":"remember","arguments":{{"text":"{CANARY}"}}}}"#),
        r#"{"name":"check_messages","arguments":{}}"#.to_owned(),
    ];
    for (id, call) in calls.into_iter().enumerate() {
        let id = id + 1;
        lines.push(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{call}}}"#
        ));
    }
    walk.run_with_stdin(bob, &session, &format!("{}\n", lines.join("\n")));
    assert!(walk.run(ana, &["inbox"]).out.contains(CANARY));
    for moment in ["prompt", "stop"] {
        walk.run(ana, &["send", "bob", CANARY]);
        walk.run(bob, &["wait", "--as", OPEN, "--timeout", "10s"]);
        walk.run_with_stdin(bob, &["hook", moment, "--as", OPEN], "{}");
    }
    walk.run(ana, &["send", "bob", CANARY]);
    let serve = ["serve", "--as", OPEN, "--once", "--reply", "--", "/bin/cat"];
    walk.run(bob, &serve);
    walk.run(bob, &["serve", "--parked"]);
    walk.run(bob, &["status-line", "--as", OPEN]);
    for verb in ["install", "uninstall"] {
        walk.run(bob, &[verb, "--client", "codex"]);
    }
    // It is not set up, so nothing is started; and one that is found on the way.
    walk.ends(5, bob, &["launch", "gemini", "--role", CANARY]);
    let launch = ["launch", "codex", "--role", CANARY];
    #[cfg(unix)]
    walk.note(0, &launch, crate::setup::launched_quietly(bob, &launch));
    #[cfg(not(unix))]
    walk.called.insert(launch[0].to_owned());
    assert!(walk.run(ana, &["inbox"]).out.contains(CANARY));
}

/// Without a broker, and when it is back.
fn be_alone(walk: &mut Walk, broker: &mut Broker, mesh: &Mesh) {
    let ana = &mesh.ana;
    broker.kill();
    // Each tries for a while: both at once.
    let sends = [["send", "bob", CANARY], ["send", "*", CANARY]];
    let spawned = sends.map(|args| {
        let mut command = ana.command(&args);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        (args, piped.spawn().unwrap())
    });
    for (args, child) in spawned {
        walk.note(4, &args, said(child.wait_with_output().unwrap()));
    }
    let waits = walk.json(ana, &["outbox", "list"]);
    walk.run(ana, &["outbox", "cancel", text(&waits[0], "message_id")]);
    broker.restart();
    walk.run(ana, &["outbox", "flush"]);
    walk.run(ana, &["outbox", "list", "--all"]);
    assert!(walk.run(&mesh.bob, &["inbox"]).out.contains(CANARY));
}

/// A backup with messages, in a file; and back on another machine.
fn put_away(walk: &mut Walk, person: &Person) {
    let secret = person.home().join("secret.txt");
    std::fs::write(&secret, format!("{CANARY} as a passphrase")).unwrap();
    let (file, secret) = (person.home().join("all.cmb"), secret.to_str().unwrap());
    let to = file.to_str().unwrap();
    let read = ["--passphrase-file", secret];
    walk.run(person, &[&["backup", to, "--full"][..], &read].concat());
    is_not_in("a backup", &std::fs::read(&file).unwrap());
    let other = Person::new();
    walk.run(&other, &[&["restore", to][..], &read].concat());
    // What came is there.
    assert!(walk.run(&other, &["inbox", "--all"]).out.contains(CANARY));
}

/// Everybody goes; who stays says something under the keys that come of that.
fn part(walk: &mut Walk, mesh: &Mesh) {
    let Mesh { ana, bob, cleo, .. } = mesh;
    walk.run(ana, &["audit", "--all"]);
    walk.run(ana, &["info"]);
    walk.run(ana, &["kick", "cleo"]);
    walk.ends(7, ana, &["ban", "cleo"]);
    let eve = walk.json(&mesh.eve, &["whoami"]);
    let eve = text(&eve, "pubkey");
    walk.run(ana, &["ban", eve]);
    walk.run(ana, &["bans"]);
    walk.run(ana, &["unban", eve]);
    let key = walk.json(ana, &["apikey", "create", OPEN]);
    walk.run(ana, &["apikey", "list"]);
    walk.run(ana, &["apikey", "revoke", text(&key, "id")]);
    walk.run(ana, &["completions", "bash"]);
    walk.ends(6, ana, &["upgrade", OPEN]);
    // It takes a mesh without a log, in a test of its own.
    walk.called.insert("upgrade".to_owned());
    put_away(walk, bob);
    walk.run(ana, &["topic", "remove", OPEN, "bob"]);
    walk.run(ana, &["send", &format!("#{OPEN}"), CANARY]);
    assert!(walk.run(cleo, &["inbox"]).out.contains(CANARY));
    walk.run(cleo, &["topic", "leave", OPEN]);
    walk.run(bob, &["group", "leave", OPEN]);
    walk.run(ana, &["device", "remove", OPEN, "--yes"]);
    walk.run(ana, &["owner", "transfer", "bob", "--yes"]);
    walk.run(bob, &["owner", "accept"]);
    let recover = ["owner", "recover", "--key", "-"];
    walk.run_with_stdin(ana, &recover, &mesh.recovery_key);
    walk.run(cleo, &["state", "set", OPEN, CANARY]);
    walk.run(ana, &["send", "cleo", CANARY]);
    walk.run(ana, &["remove", "cleo", "--yes"]);
    walk.run(ana, &["send", "*", CANARY]);
    walk.run(&mesh.phone, &["leave", "--purge", "--yes"]);
    walk.run(ana, &["delete", OPEN, "--yes"]);
}

#[test]
fn a_canary_in_every_command_is_nowhere_at_the_broker() {
    // A broker of its own, and texts of its own.
    let tmp = TempDir::new().unwrap();
    let mut demo = program();
    for name in ["TMPDIR", "TEMP", "TMP"] {
        demo.env(name, tmp.path());
    }
    demo.arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let demo = demo.spawn().unwrap();

    let mut walk = Walk::new();
    let mut broker = Broker::traced();
    walk.called.insert("broker".to_owned());
    let mesh = gather(&mut walk, &broker);
    // What somebody does is a wish that is followed while they listen: the broker gets it then.
    walk.run(&mesh.cleo, &["summary", "set", CANARY]);
    walk.run(&mesh.cleo, &["summary", "show"]);
    let listen = Running::start(&mesh.cleo, &["listen"]);
    talk(&mut walk, &mesh);
    choose(&mut walk, &mesh);
    keep(&mut walk, &mesh);
    be_agents(&mut walk, &mesh);
    listen.stop(&mut walk);
    walk.run(&mesh.cleo, &["summary", "clear"]);
    be_alone(&mut walk, &mut broker, &mesh);
    part(&mut walk, &mesh);
    let shown = said(demo.wait_with_output().unwrap());
    walk.note(0, &["demo"], shown);

    // A new verb has to be added above.
    let missed: Vec<_> = walk.verbs.difference(&walk.called).collect();
    assert!(missed.is_empty(), "not called: {missed:?}");
    let silent = SHOW.iter().filter(|verb| !walk.showed.contains(**verb));
    let silent: Vec<_> = silent.collect();
    assert!(silent.is_empty(), "they did not show it: {silent:?}");

    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    let mut paths = vec!["/join/x".to_owned()];
    for path in ["/", "/health", "/health/ready", "/metrics"] {
        paths.push(path.to_owned());
    }
    for link in &mesh.links {
        let path = link.split_once("/join/").unwrap().1;
        let token = path.split('#').next().unwrap();
        paths.push(format!("/join/{token}"));
    }
    for path in paths {
        let answer = page(&broker, &path);
        let ok = answer.starts_with("HTTP/1.1 200 ");
        assert!(ok || path == "/" || path == "/join/x", "{path}: {answer}");
        places.push((path, answer.into_bytes()));
    }
    for state in ["runs", "is killed"] {
        if state == "is killed" {
            broker.kill();
        }
        for (path, bytes) in broker.files() {
            places.push((format!("{} while it {state}", path.display()), bytes));
        }
    }
    let log = broker.log();
    // Of both runs, and of every connection.
    let text = String::from_utf8_lossy(&log);
    assert_eq!(text.matches("broker started").count(), 2, "{text}");
    assert!(text.matches(" DEBUG ").count() > 100, "{text}");
    places.push(("the log".to_owned(), log));
    for (place, bytes) in &places {
        is_not_in(place, bytes);
    }
    // By design: names, keys and tags are in the open.
    let open = places
        .iter()
        .any(|(_, bytes)| holds(bytes, OPEN.as_bytes()));
    assert!(open, "the search finds nothing at all");
}
