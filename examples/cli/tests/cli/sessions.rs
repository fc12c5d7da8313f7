//! Sessions with an address of their own, and whose messages are wanted.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Broker, Person, pair};
use crate::streams::stop;

const ID: &str = "6f1d2c3b-4a59-4868-9786-a5b4c3d2e1f0";

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap()
}

#[test]
fn what_is_sent_to_a_session_waits_for_it_alone() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let api = bob.json(0, &["whoami", "--as", "api"])["session"].clone();
    assert_eq!(api["name"], "api");
    // It is the same the next time, by its name and by its id.
    let by_name = bob.json(0, &["whoami", "--as", "api"])["session"].clone();
    let by_id = bob.json(0, &["whoami", "--session", text(&api, "id")])["session"].clone();
    assert_eq!((&by_name, &by_id), (&api, &api));
    assert_eq!(bob.json(0, &["whoami"])["session"], Value::Null);
    for name in ["api", "web"] {
        assert!(bob.inbox(&["--as", name]).is_empty());
    }
    let sent = ana.json(0, &["send", "bob/api", "for api"]);
    assert_eq!(
        sent["to"],
        json!({ "name": "bob/api", "pubkey": api["pubkey"] })
    );
    assert_eq!(sent["reach"]["online"], false);
    ana.json(0, &["send", "bob", "for bob"]);
    assert_eq!(bob.inbox(&[]), ["for bob"]);
    assert_eq!(bob.inbox(&["--as", "web"]), ["for bob"]);
    let came = bob.json(0, &["inbox", "--as", "api"]);
    let found: Vec<_> = came.as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2, "{came}");
    for message in found {
        let own = message["body"] == "for api";
        let to = if own { &api["pubkey"] } else { &Value::Null };
        assert_eq!(&message["to_session"], to, "{message}");
    }
    for args in [&[][..], &["--as", "api"], &["--as", "web"]] {
        assert!(bob.inbox(args).is_empty());
    }
    // An answer names the session that gives it.
    bob.json(0, &["send", "ana", "from api", "--as", "api"]);
    let came = ana.json(0, &["inbox"]);
    let from = json!({ "name": "api", "pubkey": api["pubkey"] });
    assert_eq!(came[0]["from_session"], from, "{came}");
    let shown = ana.run(&["inbox", "--all"]).out;
    assert!(shown.contains("bob/api ("), "{shown}");
}

#[test]
fn a_session_that_listens_is_shown_with_what_wakes_it() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let mut listen = bob.command(&["listen", "--session", ID, "--as", "api"]);
    let listen = listen.stdout(Stdio::null()).stderr(Stdio::null());
    let mut listen = listen.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let sessions = loop {
        let peers = ana.json(0, &["peers"]);
        let bob = peers.as_array().unwrap().iter();
        let bob = bob.clone().find(|peer| peer["name"] == "bob").unwrap();
        if bob["named_sessions"][0]["status"] == "idle" {
            break bob["named_sessions"].clone();
        }
        assert!(Instant::now() < until, "{peers}");
    };
    assert_eq!(sessions[0]["name"], "bob/api");
    assert_eq!(sessions[0]["wake"], "push");
    let shown = ana.run(&["peers"]).out;
    assert!(shown.contains("bob/api") && shown.contains("woken by push"));
    let said = ana.run(&["send", "bob/api", "hello"]);
    assert_eq!(said.code, 0, "{said:?}");
    stop(&mut listen);
}

#[test]
fn a_session_that_cannot_be_is_an_error_that_says_why() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    for (args, words) in [
        (["inbox", "--session", "../../x"], "must be a UUID"),
        (["inbox", "--as", "a/b"], "letters, digits"),
        (["inbox", "--as", ".hidden"], "not beginning with '.'"),
    ] {
        let said = bob.run(&args);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
    let said = ana.run(&["send", "bob/nobody", "hello"]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(!said.err.is_empty());
    // A file that is no session's is not written over.
    let made = bob.json(0, &["whoami", "--session", ID, "--as", "api"]);
    assert_eq!(made["session"]["id"], ID);
    let file = bob
        .dir()
        .join("sessions")
        .join("team")
        .join(format!("{ID}.json"));
    std::fs::write(&file, "not a key").unwrap();
    let said = bob.run(&["inbox", "--session", ID]);
    assert_eq!(said.code, 10, "{said:?}");
    assert!(said.err.contains("move it aside"), "{said:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a key");
}

fn waiting(person: &Person) -> Vec<Value> {
    let answer = person.json(0, &["requests", "list"]);
    answer.as_array().unwrap().clone()
}

#[test]
fn rules_say_whose_messages_are_unread() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let none = bob.run(&["policy", "list"]);
    assert!(none.err.contains("every message is allowed"), "{none:?}");
    bob.json(0, &["policy", "set", "ana", "ask"]);
    for body in ["one", "two", "three"] {
        ana.json(0, &["send", "bob", body]);
    }
    assert!(bob.inbox(&[]).is_empty());
    let held = waiting(&bob);
    let bodies: Vec<&str> = held.iter().map(|request| text(request, "body")).collect();
    assert_eq!(bodies, ["one", "two", "three"]);
    assert_eq!(held[0]["from_name"], "ana");
    assert_eq!(held[0]["verified"], true);
    let shown = bob.run(&["requests", "list"]).out;
    assert!(shown.contains("ana (") && shown.contains("two"), "{shown}");
    let id = |n: usize| text(&held[n], "message_id");
    bob.json(0, &["requests", "accept", id(1)]);
    assert_eq!(bob.inbox(&[]), ["two"]);
    bob.json(0, &["requests", "deny", id(0), "--always"]);
    let said = bob.run(&["requests", "accept", id(0)]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("requests list"), "{said:?}");
    assert_eq!(waiting(&bob).len(), 1);
    // The sender is told what everybody is.
    let sent = ana.json(0, &["send", "bob", "four", "--wait", "accepted"]);
    assert_eq!(sent["state"], "accepted");
    assert!(bob.inbox(&[]).is_empty());
    let rules = bob.json(0, &["policy", "list"]);
    let (rule, dropped) = (&rules[0]["rule"], &rules[0]["dropped"]);
    assert_eq!((rule, dropped), (&json!("block"), &json!(1)), "{rules}");
    bob.json(0, &["policy", "set", "ana", "mute"]);
    ana.json(0, &["send", "bob", "five"]);
    let came = bob.json(0, &["inbox"]);
    assert_eq!(
        (&came[0]["body"], &came[0]["muted"]),
        (&json!("five"), &json!(true))
    );
    bob.json(0, &["policy", "clear", "ana"]);
    bob.json(0, &["requests", "accept", id(2)]);
    assert_eq!(bob.inbox(&[]), ["three"]);
    for (args, code) in [
        (["policy", "set", "ana", "deny"], 3),
        (["policy", "set", "nobody", "mute"], 5),
    ] {
        let said = bob.run(&args);
        assert_eq!(said.code, code, "{said:?}");
    }
}
