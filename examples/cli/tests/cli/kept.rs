//! What a mesh keeps besides messages: state, memories, reminders, summaries; who reads it, and
//! what is said when something is refused.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use claudemesh_core::time::iso;
use serde_json::{Value, json};

use crate::common::{Broker, Person, link, pair};
use crate::streams::stop;

fn error<'a>(answer: &'a Value, code: &str) -> &'a str {
    assert_eq!(answer["error"]["code"], code, "{answer}");
    answer["error"]["message"].as_str().unwrap()
}

fn all<'a>(list: &'a Value, field: &str) -> Vec<&'a Value> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| &one[field]).collect()
}

fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object.as_object().unwrap().keys().collect();
    names.sort();
    names.into_iter().map(String::as_str).collect()
}

/// A mesh of Ana's and Bob's in which both hold the key to what it keeps: Ana wrote something since
/// Bob came.
fn keyed(broker: &Broker) -> (Person, Person) {
    let (ana, bob) = pair(broker);
    ana.json(0, &["state", "set", "first", "1"]);
    (ana, bob)
}

/// A program that runs until it is stopped, with what it says on either stream.
fn spawn(person: &Person, args: &[&str]) -> Child {
    let mut command = person.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads on stderr until this is said; what comes later is not read, and does not block.
fn until_said(child: &mut Child, wanted: &str) {
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(wanted)), "{wanted}");
    std::thread::spawn(move || said.for_each(drop));
}

#[test]
fn state_is_set_shown_and_listed() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let value = r#"{"by": "ana", "n": [1, 2.50]}"#;
    let set = ana.json(0, &["state", "set", "deploy.lock", value]);
    assert_eq!(set, json!({ "key": "deploy.lock", "version": 1 }));
    let read = bob.json(0, &["state", "get", "deploy.lock"]);
    assert_eq!(
        fields(&read),
        [
            "key",
            "newest",
            "protected",
            "value",
            "verified",
            "version",
            "writer",
            "writer_pubkey",
            "written_at"
        ]
    );
    assert_eq!(read["value"], json!({ "by": "ana", "n": [1, 2.5] }));
    let ana_key = &ana.json(0, &["whoami"])["pubkey"];
    assert_eq!(
        (&read["writer"], &read["writer_pubkey"]),
        (&json!("ana"), ana_key)
    );
    for mark in ["verified", "protected", "newest"] {
        assert_eq!(read[mark], true, "{mark}");
    }
    assert!(read["written_at"].as_str().unwrap().ends_with('Z'));
    // For people and shells: the value as it was written, everything else on stderr.
    let shown = bob.run(&["state", "get", "deploy.lock"]);
    assert_eq!(shown.out, format!("{value}\n"));
    assert!(shown.err.contains("version 1, by ana ("), "{shown:?}");
    let quiet = bob.run(&["state", "get", "deploy.lock", "-q"]);
    assert_eq!(quiet.err, "");
    // A text is a text, of whatever looks.
    for (args, value, text) in [
        (&["hello world"][..], json!("hello world"), "hello world\n"),
        (&["-5"], json!(-5), "-5\n"),
        (&["1.10"], json!(1.1), "1.10\n"),
        (&["1.10", "--text"], json!("1.10"), "1.10\n"),
    ] {
        let mut set = vec!["state", "set", "other"];
        set.extend(args);
        bob.json(0, &set);
        assert_eq!(ana.json(0, &["state", "get", "other"])["value"], value);
        assert_eq!(ana.run(&["state", "get", "other"]).out, text);
    }
    let piped = bob.run_with_stdin(&["state", "set", "a", "-"], "two\nlines\n");
    assert_eq!(piped.code, 0, "{piped:?}");
    assert_eq!(ana.run(&["state", "get", "a"]).out, "two\nlines\n");
    let list = ana.json(0, &["state", "list"]);
    assert_eq!(all(&list, "key"), ["a", "deploy.lock", "other"]);
    assert_eq!(all(&list, "writer"), ["bob", "ana", "bob"]);
    assert_eq!(list[1], read);
    let table = ana.run(&["state", "list"]).out;
    assert!(
        table.contains("\"two\\nlines\"  ") && table.contains("bob ("),
        "{table}"
    );
    let missing = bob.json(5, &["state", "get", "nothing"]);
    assert!(error(&missing, "not_found").contains("claudemesh state list"));
    assert_eq!(bob.run(&["state", "get", ""]).code, 3);
    assert_eq!(
        bob.run(&["state", "set", "big", &"x".repeat(40_000)]).code,
        3
    );
    assert_eq!(bob.run(&["state", "get", "big"]).code, 5);
}

#[test]
fn who_decided_by_an_old_version_is_told_so() {
    let broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    let set = |person: &Person, code, value, version| {
        let args = ["state", "set", "lock", value, "--if-version", version];
        person.json(code, &args)
    };
    assert_eq!(set(&ana, 0, "ana", "0")["version"], 1);
    let late = set(&bob, 6, "bob", "0");
    let told = error(&late, "conflict");
    assert!(
        told.contains("version 1") && told.contains("--if-version 1"),
        "{told}"
    );
    assert_eq!(set(&bob, 0, "bob", "1")["version"], 2);
    assert!(error(&set(&ana, 6, "x", "1"), "conflict").contains("version 2"));
    assert_eq!(ana.json(0, &["state", "get", "lock"])["value"], "bob");
    let gone = ana.json(6, &["state", "set", "none", "1", "--if-version", "3"]);
    assert!(
        error(&gone, "conflict").contains("--if-version 0"),
        "{gone}"
    );
    // Of many who want it one gets it, and the others hear of it.
    let many: Vec<Child> = (0..6)
        .map(|n| {
            let value = n.to_string();
            let person = if n % 2 == 0 { &ana } else { &bob };
            let args = [
                "state",
                "set",
                "lock",
                &value,
                "--if-version",
                "2",
                "--json",
            ];
            spawn(person, &args)
        })
        .collect();
    let ended: Vec<_> = (many.into_iter())
        .map(|child| crate::common::said(child.wait_with_output().unwrap()))
        .collect();
    assert_eq!(
        ended.iter().filter(|said| said.code == 0).count(),
        1,
        "{ended:?}"
    );
    for lost in ended.iter().filter(|said| said.code != 0) {
        assert_eq!(lost.code, 6, "{lost:?}");
        assert!(lost.err.contains("version 3"), "{lost:?}");
    }
}

#[test]
fn changes_are_shown_as_they_come() {
    let broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    let mut one = spawn(&bob, &["state", "watch", "lock", "--json"]);
    let mut every = spawn(&bob, &["state", "watch"]);
    for child in [&mut one, &mut every] {
        until_said(child, "Watching");
    }
    let mut lines = BufReader::new(one.stdout.take().unwrap()).lines();
    let mut texts = BufReader::new(every.stdout.take().unwrap()).lines();
    ana.json(0, &["state", "set", "other", "true"]);
    let head = texts.next().unwrap().unwrap();
    assert!(head.starts_with("other, version 1, by ana ("), "{head}");
    assert_eq!(texts.next().unwrap().unwrap(), "  true");
    for value in ["held", "free"] {
        ana.json(0, &["state", "set", "lock", value]);
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(line, ana.json(0, &["state", "get", "lock"]));
        assert_eq!(line["value"], value);
    }
    stop(&mut one);
    stop(&mut every);
    // A message that came meanwhile is new still.
    assert!(bob.inbox(&[]).is_empty());
}

#[test]
fn who_comes_later_reads_what_was_there_once_a_member_was_online() {
    let broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    ana.json(0, &["remember", "we said so before"]);
    let cleo = Person::new();
    cleo.json(0, &["join", &link(&ana, &[]), "--name", "cleo"]);
    let closed = cleo.json(1, &["state", "get", "first"]);
    assert!(
        error(&closed, "failed").contains("claudemesh listen"),
        "{closed}"
    );
    let list = cleo.json(0, &["state", "list"]);
    assert_eq!(list[0]["value"], Value::Null);
    assert!(list[0]["unreadable"].is_string(), "{list}");
    let found = cleo.run(&["recall", "said"]);
    assert!(found.err.contains("1 more may fit"), "{found:?}");
    // Nobody but a member of before can help: Bob, who only listens.
    let mut listening = spawn(&bob, &["listen"]);
    let until = Instant::now() + Duration::from_secs(20);
    while cleo.run(&["state", "get", "first"]).code != 0 {
        assert!(Instant::now() < until, "the key does not come");
    }
    stop(&mut listening);
    assert_eq!(
        cleo.json(0, &["recall", "said"])[0]["text"],
        "we said so before"
    );
    // Who is out is marked, and what they wrote stays.
    cleo.json(0, &["state", "set", "by.cleo", "1"]);
    ana.json(0, &["remove", "cleo", "--yes"]);
    let marked = ana.json(0, &["state", "get", "by.cleo"]);
    assert_eq!(
        (&marked["value"], &marked["verified"]),
        (&json!(1), &json!(false))
    );
    let shown = ana.run(&["state", "get", "by.cleo"]);
    assert!(shown.err.contains("unverified"), "{shown:?}");
    assert!(ana.run(&["state", "list"]).out.contains("unverified"));
    assert_eq!(cleo.run(&["state", "get", "first"]).code, 2);
}

#[test]
fn what_was_before_is_marked_and_told() {
    let mut broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    bob.json(0, &["state", "get", "first"]);
    broker.kill();
    let old = broker.back_up();
    broker.restart();
    ana.json(0, &["state", "set", "first", "2"]);
    assert_eq!(bob.json(0, &["state", "get", "first"])["version"], 2);
    broker.kill();
    broker.put_back(old);
    broker.restart();
    let read = bob.json(0, &["state", "get", "first"]);
    assert_eq!(
        (&read["value"], &read["newest"]),
        (&json!(1), &json!(false))
    );
    let shown = bob.run(&["state", "get", "first"]);
    assert!(shown.err.contains("not the newest"), "{shown:?}");
    assert!(bob.run(&["state", "list"]).out.contains("not the newest"));
    let lies = &bob.json(1, &["trust"])["lies"];
    let told = |lie: &Value| lie["what"].as_str().unwrap().contains("version 1 of state");
    assert!(lies.as_array().unwrap().iter().any(told), "{lies}");
    broker.kill();
    assert_eq!(bob.run(&["state", "get", "first"]).code, 4);
    assert_eq!(bob.run(&["remember", "x"]).code, 4);
    assert_eq!(bob.run(&["remind", "x", "--in", "1h"]).code, 4);
}

#[test]
fn memories_are_kept_found_and_forgotten() {
    let broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    let text = "The production database is PostgreSQL 16";
    let kept = ana.json(0, &["remember", "--tag", "infra", "--tag", "db", text]);
    assert_eq!(kept["tags"], json!(["infra", "db"]));
    let piped = bob.run_with_stdin(&["remember", "-"], "Deploys go out\non Tuesdays\n");
    assert_eq!(piped.code, 0, "{piped:?}");
    let found = bob.json(0, &["recall", "postgresql", "infra"]);
    assert_eq!(all(&found, "text"), [text]);
    assert_eq!(found[0]["memory_id"], kept["memory_id"]);
    assert_eq!(
        fields(&found[0]),
        [
            "memory_id",
            "newest",
            "protected",
            "tags",
            "text",
            "verified",
            "writer",
            "writer_pubkey",
            "written_at"
        ]
    );
    assert_eq!(
        (&found[0]["writer"], &found[0]["verified"]),
        (&json!("ana"), &json!(true))
    );
    assert_eq!(bob.json(0, &["recall", "nothing like it"]), json!([]));
    let newest = bob.json(0, &["recall", "-n", "1"]);
    assert_eq!(all(&newest, "text"), ["Deploys go out\non Tuesdays"]);
    let shown = ana.run(&["recall", "-n", "1"]);
    assert!(
        shown
            .out
            .contains("\n  Deploys go out\n  on Tuesdays\n  id "),
        "{shown:?}"
    );
    assert!(shown.err.contains("1 more"), "{shown:?}");
    // The own ones; the owner also those of others.
    let id = kept["memory_id"].as_str().unwrap();
    let refused = bob.json(7, &["forget", &id[..10]]);
    assert!(error(&refused, "permission").contains("ana"), "{refused}");
    assert_eq!(
        ana.json(3, &["forget", ""])["error"]["code"],
        "invalid_arguments"
    );
    assert_eq!(ana.json(0, &["forget", &id[..10]])["memory_id"], id);
    let gone = ana.json(5, &["forget", id]);
    assert!(error(&gone, "not_found").contains("recall"), "{gone}");
    let other = newest[0]["memory_id"].as_str().unwrap();
    ana.json(0, &["forget", other]);
    assert_eq!(bob.json(0, &["recall"]), json!([]));
    assert_eq!(ana.run(&["remember", " "]).code, 3);
}

#[test]
fn a_reminder_comes_to_whom_it_is_for() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let kept = ana.json(0, &["remind", "look at the build", "--in", "1s"]);
    assert_eq!(kept["to"]["name"], "ana");
    assert_eq!(kept["cron"], Value::Null);
    ana.json(0, &["remind", "stand-up", "--in", "1s", "--to", "bob"]);
    // Nobody of Ana's is there when they are due.
    let got = bob.json(0, &["inbox", "--wait", "10s"]);
    assert_eq!(
        (&got[0]["body"], &got[0]["from_name"]),
        (&json!("stand-up"), &json!("ana"))
    );
    assert_eq!(
        (&got[0]["subtype"], &got[0]["verified"]),
        (&json!("reminder"), &json!(true))
    );
    let own = ana.run(&["inbox", "--wait", "10s"]);
    assert!(own.out.contains("[reminder]"), "{own:?}");
    assert!(own.out.contains("\n  look at the build\n"), "{own:?}");
    assert_eq!(ana.json(0, &["schedule", "list"]), json!([]));
    // Others are no reminders.
    bob.json(0, &["send", "ana", "seen"]);
    assert_eq!(
        ana.json(0, &["inbox", "--wait", "5s"])[0]["subtype"],
        Value::Null
    );
}

#[test]
fn what_goes_out_later_is_listed_and_given_up() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["topic", "create", "team"]);
    // In about a month, to the minute.
    let minute = |hours: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let minute = now.as_secs() / 86_400 * 1_440 + 30 * 1_440 + hours * 60;
        let text = iso(minute * 60_000);
        (text[..16].to_owned(), text[..16].replace('T', " "), text)
    };
    let (_, shown, due) = minute(12);
    let there = format!("{}+02:00", minute(14).0);
    let at = ana.json(0, &["remind", "x", "--at", &there, "--to", "bob"]);
    assert_eq!(at["due_at"], due);
    let cron = ana.json(0, &["remind", "x", "--cron", "0 9 30 1 *", "--to", "#team"]);
    assert_eq!(
        (&cron["to"], &cron["cron"]),
        (&json!({ "channel": "#team" }), &json!("0 9 30 1 *"))
    );
    let list = ana.json(0, &["schedule", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert_eq!(
        fields(&list[0]),
        ["advice", "cron", "due_at", "failed", "schedule_id", "to"]
    );
    assert_eq!(bob.json(0, &["schedule", "list"]), json!([]));
    let table = ana.run(&["schedule", "list"]).out;
    assert!(table.contains(&format!("{shown} UTC")), "{table}");
    let id = at["schedule_id"].as_str().unwrap();
    bob.json(5, &["schedule", "cancel", id]);
    assert_eq!(
        ana.json(0, &["schedule", "cancel", &id[..8]])["schedule_id"],
        id
    );
    let gone = ana.json(5, &["schedule", "cancel", id]);
    assert!(error(&gone, "not_found").contains("claudemesh schedule list"));
    ana.json(
        0,
        &["schedule", "cancel", cron["schedule_id"].as_str().unwrap()],
    );
    // The clock of this machine is told beside UTC.
    let mut local = ana.command(&["remind", "x", "--at", &minute(12).0]);
    let local = crate::common::said(local.env("TZ", "XYZ-3").output().unwrap());
    let wanted = format!("{shown} UTC ({} +03:00 here)", minute(15).1);
    assert!(local.out.contains(&wanted), "{local:?}");
    for args in [
        &["remind", "x"][..],
        &["remind", "", "--in", "1h"],
        &["remind", "x", "--in", "1h", "--at", "10:00"],
        &["remind", "x", "--in", "soon"],
        &["remind", "x", "--at", "2020-01-01T10:00"],
        &["remind", "x", "--at", "tomorrow"],
        &["remind", "x", "--cron", "every day"],
        &["remind", "x", "--cron", "0 0 30 2 *"],
    ] {
        assert_eq!(ana.run(args).code, 3, "{args:?}");
    }
    assert_eq!(
        ana.run(&["remind", "x", "--in", "1h", "--to", "nobody"])
            .code,
        5
    );
    assert_eq!(
        ana.run(&["remind", "x", "--in", "1h", "--to", "#none"])
            .code,
        5
    );
    let far = ana.json(1, &["remind", "x", "--in", "500d"]);
    assert!(error(&far, "failed").contains("366 days"), "{far}");
}

#[test]
fn what_could_not_go_out_says_why() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["topic", "create", "team"]);
    bob.json(0, &["topic", "join", "team"]);
    let kept = ana.json(0, &["remind", "for us two", "--in", "4s", "--to", "#team"]);
    ana.json(0, &["topic", "remove", "team", "bob"]);
    let until = Instant::now() + Duration::from_secs(15);
    let failed = loop {
        let list = ana.json(0, &["schedule", "list"]);
        if list[0]["failed"].is_string() {
            break list;
        }
        assert!(Instant::now() < until, "{list}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(failed[0]["failed"], "stale_epoch");
    assert!(
        failed[0]["advice"]
            .as_str()
            .unwrap()
            .contains("write it anew")
    );
    let shown = ana.run(&["schedule", "list"]);
    assert!(shown.out.contains("failed: stale_epoch"), "{shown:?}");
    let id = kept["schedule_id"].as_str().unwrap();
    assert!(
        shown.err.contains(&format!("schedule cancel {}", &id[..8])),
        "{shown:?}"
    );
    ana.json(0, &["schedule", "cancel", &id[..8]]);
    assert_eq!(ana.json(0, &["schedule", "list"]), json!([]));
    assert!(bob.inbox(&[]).is_empty());
}

#[test]
fn a_summary_is_shown_as_long_as_somebody_listens() {
    let broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    let of_bob = |wanted: Option<&str>| {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let peers = ana.json(0, &["peers"]);
            let bob = peers
                .as_array()
                .unwrap()
                .iter()
                .find(|p| p["name"] == "bob");
            let bob = bob.unwrap().clone();
            if bob["summary"].as_str() == wanted {
                return bob;
            }
            assert!(Instant::now() < until, "{peers}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let mut listening = spawn(&bob, &["listen", "--summary", "reviewing"]);
    let shown = of_bob(Some("reviewing"));
    assert_eq!(shown["summary_protected"], true);
    let table = ana.run(&["peers"]).out;
    assert!(
        table.contains("reviewing") && !table.contains("unprotected"),
        "{table}"
    );
    stop(&mut listening);
    of_bob(None);
    // A wish is followed by what listens, also while it runs.
    let mut listening = spawn(&bob, &["listen"]);
    let set = bob.json(0, &["summary", "set", "on call"]);
    assert_eq!(set, json!({ "mesh": "team", "summary": "on call" }));
    of_bob(Some("on call"));
    assert_eq!(bob.run(&["summary", "show"]).out, "on call\n");
    bob.json(0, &["summary", "clear"]);
    of_bob(None);
    stop(&mut listening);
    assert_eq!(bob.json(0, &["summary", "show"])["summary"], Value::Null);
    for text in ["", "two\nlines", &"x".repeat(513)] {
        assert_eq!(bob.run(&["summary", "set", text]).code, 3);
    }
}

#[test]
fn the_broker_keeps_nothing_that_it_can_read() {
    let mut broker = Broker::start();
    let (ana, bob) = keyed(&broker);
    let mut listening = spawn(&bob, &["listen", "--summary", "canary-summary"]);
    ana.json(0, &["state", "set", "k", "canary-state"]);
    ana.json(0, &["remember", "canary-memory"]);
    ana.json(0, &["remind", "canary-later", "--in", "1h"]);
    ana.json(0, &["remind", "canary-again", "--cron", "0 0 1 1 *"]);
    assert_eq!(bob.json(0, &["state", "get", "k"])["value"], "canary-state");
    let until = Instant::now() + Duration::from_secs(15);
    while !ana.run(&["peers"]).out.contains("canary-summary") {
        assert!(Instant::now() < until);
    }
    stop(&mut listening);
    broker.kill();
    for (path, bytes) in broker.files() {
        let found = bytes.windows(7).any(|part| part == b"canary-");
        assert!(!found, "{}", path.display());
    }
}
