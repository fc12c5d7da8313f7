//! Topics, groups and everybody: who reads what, and what is said when something is refused.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::{Broker, Person, Said, link, pair};
use crate::streams::stop;

/// Ana, who owns the mesh, Bob and Cleo.
fn three(broker: &Broker) -> (Person, Person, Person) {
    let (ana, bob) = pair(broker);
    let cleo = Person::new();
    cleo.json(0, &["join", &link(&ana, &[]), "--name", "cleo"]);
    (ana, bob, cleo)
}

fn names(list: &Value) -> Vec<&str> {
    let all = list.as_array().unwrap().iter();
    all.map(|one| one["name"].as_str().unwrap()).collect()
}

/// The texts of a list of messages; null where one cannot be read.
fn bodies(list: &Value) -> Vec<&Value> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| &one["body"])
        .collect()
}

fn error<'a>(answer: &'a Value, code: &str) -> &'a str {
    assert_eq!(answer["error"]["code"], code, "{answer}");
    answer["error"]["message"].as_str().unwrap()
}

#[test]
fn a_topic_is_made_joined_talked_in_and_left() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    let made = ana.json(0, &["topic", "create", "deploys"]);
    assert_eq!(
        made,
        json!({ "channel": "#deploys", "public": true, "created": true })
    );
    let twice = ana.json(6, &["topic", "create", "#deploys"]);
    assert!(error(&twice, "exists").contains("claudemesh topic join '#deploys'"));

    let joined = bob.json(0, &["topic", "join", "#deploys"]);
    assert_eq!(joined, json!({ "channel": "#deploys", "joined": true }));
    assert_eq!(bob.json(0, &["topic", "join", "deploys"])["joined"], false);
    let members = cleo.json(0, &["topic", "members", "deploys"]);
    assert_eq!(names(&members), ["ana", "bob"]);
    let ana_key = &ana.json(0, &["whoami"])["pubkey"];
    assert_eq!(
        members[0],
        json!({ "name": "ana", "pubkey": ana_key, "lead": true })
    );
    assert_eq!(members[1]["lead"], false);

    let sent = ana.json(0, &["send", "#deploys", "v2 is out"]);
    assert_eq!(sent["to"], json!({ "channel": "#deploys" }));
    assert_eq!(
        (&sent["state"], &sent["recipients"]),
        (&json!("accepted"), &json!(1))
    );
    let got = bob.json(0, &["inbox", "--wait", "5s"]);
    assert_eq!(got[0]["body"], "v2 is out");
    assert_eq!(
        (&got[0]["channel"], &got[0]["kind"]),
        (&json!("#deploys"), &json!("channel"))
    );
    assert_eq!(
        (&got[0]["from_name"], &got[0]["verified"]),
        (&json!("ana"), &json!(true))
    );
    assert!(cleo.inbox(&[]).is_empty());
    bob.json(
        0,
        &[
            "send",
            "#deploys",
            "--wait",
            "accepted",
            "seen",
            "--reply-to",
            sent["message_id"].as_str().unwrap(),
        ],
    );
    let shown = ana.run(&["inbox", "--wait", "5s"]);
    assert!(shown.out.starts_with("#deploys  bob ("), "{shown:?}");
    let history = bob.json(0, &["topic", "history", "deploys"]);
    assert_eq!(bodies(&history), ["v2 is out", "seen"]);
    assert_eq!(history[0]["message_id"], sent["message_id"]);
    assert_eq!(history[1]["reply_to"], sent["message_id"]);

    assert_eq!(bob.json(0, &["topic", "leave", "deploys"])["left"], true);
    bob.json(5, &["topic", "leave", "deploys"]);
    let refused = bob.json(7, &["send", "#deploys", "one more"]);
    assert!(error(&refused, "permission").contains("claudemesh topic join '#deploys'"));
    assert_eq!(
        names(&ana.json(0, &["topic", "members", "deploys"])),
        ["ana"]
    );
    let alone = ana.json(0, &["send", "#deploys", "anybody?"]);
    assert_eq!(alone["recipients"], 0);
    // A message to one has no channel.
    ana.json(0, &["send", "bob", "just you"]);
    assert_eq!(bob.json(0, &["inbox"])[0]["channel"], Value::Null);
}

#[test]
fn who_was_removed_reads_nothing_that_is_said_later() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    ana.json(0, &["topic", "create", "plans"]);
    bob.json(0, &["topic", "join", "plans"]);
    cleo.json(0, &["topic", "join", "plans"]);
    ana.json(0, &["send", "#plans", "before"]);
    for person in [&bob, &cleo] {
        assert_eq!(person.inbox(&["--wait", "5s"]), ["before"]);
    }
    // Nobody but a lead does it.
    let refused = bob.json(7, &["topic", "remove", "plans", "cleo"]);
    assert!(error(&refused, "permission").contains("lead"));
    let removed = ana.json(0, &["topic", "remove", "plans", "bob"]);
    assert_eq!(removed["removed"]["name"], "bob");
    ana.json(5, &["topic", "remove", "plans", "bob"]);
    ana.json(0, &["send", "#plans", "without bob"]);
    assert_eq!(cleo.inbox(&["--wait", "5s"]), ["without bob"]);
    assert!(bob.inbox(&[]).is_empty());
    for args in [
        &["topic", "history", "plans"][..],
        &["topic", "read", "plans"],
        &["send", "#plans", "let me in"],
    ] {
        let refused = bob.json(7, args);
        assert!(
            error(&refused, "permission").contains("not in #plans"),
            "{refused}"
        );
    }
    // Back in, what was said meanwhile stays closed, and says why.
    bob.json(0, &["topic", "join", "plans"]);
    ana.json(0, &["send", "#plans", "welcome back"]);
    assert_eq!(bob.inbox(&["--wait", "5s"]), ["welcome back"]);
    let history = bob.json(0, &["topic", "history", "plans"]);
    assert_eq!(
        bodies(&history),
        [&json!("before"), &Value::Null, &json!("welcome back")]
    );
    let why = history[1]["unreadable"].as_str().unwrap();
    assert!(why.contains("not in the channel"), "{why}");
    let text = bob.run(&["topic", "history", "plans", "-n", "2"]);
    assert!(
        text.out.starts_with("#plans  (cannot be read: "),
        "{text:?}"
    );
    let before = history[1]["history_id"].as_str().unwrap();
    assert!(text.err.contains(&format!("--before {before}")), "{text:?}");
    let rest = bob.json(0, &["topic", "history", "plans", "--before", before]);
    assert_eq!(bodies(&rest), ["before"]);
}

#[test]
fn a_private_topic_is_for_those_who_were_invited() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    bob.json(0, &["topic", "create", "board", "--private"]);
    for args in [
        &["topic", "join", "board"][..],
        &["topic", "members", "board"],
        &["topic", "history", "board"],
        &["send", "#board", "hello?"],
    ] {
        let refused = cleo.json(7, args);
        let why = error(&refused, "permission");
        assert!(why.contains("private"), "{why}");
        assert!(
            why.contains("claudemesh topic invite '#board' cleo"),
            "{why}"
        );
    }
    let listed = cleo.json(0, &["topic", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["public"]),
        (&json!("#board"), &json!(false))
    );
    assert_eq!(
        (&listed[0]["members"], &listed[0]["joined"]),
        (&Value::Null, &json!(false))
    );
    let added = bob.json(0, &["topic", "invite", "board", "cleo"]);
    assert_eq!(
        (&added["added"]["name"], &added["lead"]),
        (&json!("cleo"), &json!(false))
    );
    bob.json(6, &["topic", "invite", "board", "cleo"]);
    cleo.json(7, &["topic", "invite", "board", "ana"]);
    bob.json(5, &["topic", "invite", "board", "nobody"]);
    bob.json(0, &["send", "#board", "welcome"]);
    assert_eq!(cleo.inbox(&["--wait", "5s"]), ["welcome"]);
    assert!(ana.inbox(&[]).is_empty(), "the mesh's owner is not in it");
    let listed = cleo.json(0, &["topic", "list"]);
    assert_eq!(
        (&listed[0]["members"], &listed[0]["joined"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(listed[0]["leads"], json!(["bob"]));
    // A lead takes others in, and keeps that when it is invited once more.
    bob.json(0, &["topic", "invite", "board", "cleo", "--lead"]);
    bob.json(6, &["topic", "invite", "board", "cleo"]);
    cleo.json(0, &["topic", "invite", "board", "ana"]);
    let leads = ana.run(&["topic", "leave", "board"]);
    assert!(!leads.err.contains("Nobody leads"), "{leads:?}");
    cleo.json(0, &["topic", "invite", "board", "ana"]);
    let members = ana.json(0, &["topic", "members", "board"]);
    assert_eq!(names(&members), ["ana", "bob", "cleo"]);
    assert_eq!(members[2]["lead"], true);
}

#[test]
fn who_comes_late_reads_from_then_on_and_who_is_away_gets_it_later() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    ana.json(0, &["topic", "create", "log"]);
    bob.json(0, &["topic", "join", "log"]);
    // Nobody of them runs: each command is gone when the next one comes.
    for text in ["one", "two"] {
        ana.json(0, &["send", "#log", text]);
    }
    cleo.json(0, &["topic", "join", "log"]);
    let sent = bob.json(0, &["send", "#log", "three"]);
    assert_eq!(sent["recipients"], 2);
    // Without --wait, too: what is here when its key is not yet is waited for.
    assert_eq!(cleo.inbox(&[]), ["three"]);
    assert_eq!(bob.inbox(&[]), ["one", "two"]);
    let history = cleo.json(0, &["topic", "history", "log"]);
    assert_eq!(
        bodies(&history),
        [&Value::Null, &Value::Null, &json!("three")]
    );
}

#[test]
fn what_was_written_without_a_broker_goes_out_later() {
    let mut broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["topic", "create", "away"]);
    bob.json(0, &["topic", "join", "away"]);
    // Ana knows who is in.
    ana.json(0, &["topic", "members", "away"]);
    broker.kill();
    let kept = ana.json(4, &["send", "#away", "kept"]);
    assert_eq!(
        (&kept["state"], &kept["recipients"]),
        (&json!("queued"), &Value::Null)
    );
    let outbox = ana.json(0, &["outbox", "list"]);
    assert_eq!(outbox[0]["to"], json!({ "channel": "#away" }));
    let offline = ana.json(4, &["topic", "list"]);
    assert_eq!(
        (&offline[0]["name"], &offline[0]["members"]),
        (&json!("#away"), &Value::Null)
    );
    ana.json(4, &["topic", "create", "other"]);
    broker.restart();
    ana.json(0, &["outbox", "flush"]);
    assert_eq!(bob.inbox(&["--wait", "5s"]), ["kept"]);
}

#[test]
fn one_topic_is_read_and_the_rest_stays_new() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    for topic in ["one", "two"] {
        ana.json(0, &["topic", "create", topic]);
        bob.json(0, &["topic", "join", topic]);
    }
    ana.json(0, &["send", "bob", "to you"]);
    ana.json(0, &["send", "#one", "first"]);
    ana.json(0, &["send", "#two", "second"]);
    ana.json(0, &["send", "#one", "third"]);
    ana.json(0, &["send", "#one", "urgent", "--priority", "now"]);
    let peeked = bob.json(0, &["topic", "read", "one", "--peek"]);
    assert_eq!(bodies(&peeked), ["urgent", "first", "third"]);
    let some = bob.json(0, &["topic", "read", "one", "--limit", "1"]);
    assert_eq!(bodies(&some), ["urgent"]);
    let read = bob.json(0, &["topic", "read", "one"]);
    assert_eq!(bodies(&read), ["first", "third"]);
    assert_eq!(bob.json(0, &["topic", "read", "one"]), json!([]));
    // In between, with a limit that is reached.
    assert_eq!(bob.inbox(&["--peek", "--limit", "1"]), ["to you"]);
    assert_eq!(bob.inbox(&["--limit", "1"]), ["to you"]);
    ana.json(0, &["send", "#one", "fourth"]);
    assert_eq!(bob.inbox(&[]), ["second", "fourth"]);
    assert_eq!(bob.json(0, &["topic", "read", "one"]), json!([]));
    assert!(bob.inbox(&[]).is_empty());
    let data = bob.dir().join("peers");
    let mesh = std::fs::read_dir(data).unwrap().next().unwrap().unwrap();
    let noted = std::fs::read_to_string(mesh.path().join("read-ahead.json")).unwrap();
    assert_eq!(noted, "[]", "nothing is noted for longer than needed");
}

#[test]
fn one_topic_is_followed_as_it_goes() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["topic", "create", "live"]);
    let outsider = bob.run(&["topic", "tail", "live"]);
    assert_eq!(outsider.code, 7, "{outsider:?}");
    bob.json(0, &["topic", "join", "live"]);
    ana.json(0, &["send", "#live", "before"]);
    let mut command = bob.command(&["topic", "tail", "live", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["body"], "before");
    ana.json(0, &["send", "bob", "elsewhere"]);
    ana.json(0, &["send", "#live", "now"]);
    let shown = next();
    assert_eq!(
        (&shown["body"], &shown["channel"]),
        (&json!("now"), &json!("#live"))
    );
    stop(&mut child);
    assert_eq!(bob.inbox(&[]), ["elsewhere"]);
}

#[test]
fn a_group_is_made_by_who_joins_first() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    assert_eq!(ana.json(0, &["group", "list"]), json!([]));
    let made = ana.json(0, &["group", "join", "oncall"]);
    assert_eq!(
        made,
        json!({ "channel": "@oncall", "joined": true, "created": true })
    );
    bob.json(0, &["group", "join", "@oncall"]);
    let members = cleo.json(0, &["group", "members", "oncall"]);
    assert_eq!(names(&members), ["ana", "bob"]);
    ana.json(0, &["send", "@oncall", "page"]);
    let got = bob.json(0, &["inbox", "--wait", "5s"]);
    assert_eq!(
        (&got[0]["body"], &got[0]["channel"]),
        (&json!("page"), &json!("@oncall"))
    );
    let refused = cleo.json(7, &["send", "@oncall", "me too"]);
    assert!(error(&refused, "permission").contains("claudemesh group join @oncall"));
    bob.json(0, &["group", "leave", "oncall"]);
    assert_eq!(ana.json(0, &["send", "@oncall", "alone"])["recipients"], 0);
    assert!(bob.inbox(&[]).is_empty());
    let listed = bob.json(0, &["group", "list"]);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["joined"]),
        (&json!("@oncall"), &json!(false))
    );
    // Groups and topics are told apart, and from members.
    assert_eq!(ana.json(0, &["topic", "list"]), json!([]));
    assert_eq!(ana.run(&["topic", "join", "@oncall"]).code, 3);
    assert_eq!(ana.run(&["group", "join", "#oncall"]).code, 3);
    assert_eq!(ana.run(&["group", "join", "all"]).code, 3);
}

#[test]
fn everybody_is_reached() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    let sent = ana.run(&["send", "*", "hello all"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(
        sent.out.starts_with("Sent to * (2 mailboxes): "),
        "{sent:?}"
    );
    for person in [&bob, &cleo] {
        let got = person.json(0, &["inbox", "--wait", "5s"]);
        assert_eq!(
            (&got[0]["body"], &got[0]["channel"]),
            (&json!("hello all"), &json!("*"))
        );
    }
    bob.json(0, &["send", "@all", "--wait", "accepted", "hello you"]);
    assert_eq!(ana.inbox(&["--wait", "5s"]), ["hello you"]);
}

#[test]
fn what_is_refused_says_what_to_do() {
    let broker = Broker::start();
    let (ana, _bob) = pair(&broker);
    for args in [
        &["topic", "join", "nowhere"][..],
        &["topic", "leave", "nowhere"],
        &["topic", "members", "nowhere"],
        &["topic", "history", "nowhere"],
        &["topic", "read", "nowhere"],
        &["topic", "invite", "nowhere", "bob"],
        &["send", "#nowhere", "x"],
    ] {
        let refused = ana.json(5, args);
        let why = error(&refused, "not_found");
        assert!(
            why.contains("claudemesh topic create '#nowhere'"),
            "{args:?}: {why}"
        );
    }
    let group = ana.json(5, &["send", "@nowhere", "x"]);
    assert!(error(&group, "not_found").contains("claudemesh group join @nowhere"));
    for args in [
        &["topic", "create", "No Name"][..],
        &["topic", "create", "##x"],
        &["topic", "history", "x", "-n", "0"],
        &["send", "#No Name", "x"],
        &["send", "$state", "x"],
        // What a shell leaves of a bare #.
        &["send"],
    ] {
        let refused: Said = ana.run(args);
        assert_eq!(refused.code, 3, "{args:?}: {refused:?}");
    }
}

#[test]
fn who_listens_is_told_what_changes() {
    let broker = Broker::start();
    let (ana, bob, cleo) = three(&broker);
    ana.json(0, &["topic", "create", "news"]);
    bob.json(0, &["topic", "join", "news"]);
    ana.json(0, &["send", "#news", "first"]);
    let mut command = bob.command(&["listen"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut head = || lines.find_map(|line| line.ok().filter(|l| l.starts_with('#')));
    assert!(head().unwrap().starts_with("#news  ana ("));
    cleo.json(0, &["topic", "join", "news"]);
    ana.json(0, &["send", "#news", "second"]);
    assert!(head().unwrap().starts_with("#news  ana ("));
    stop(&mut child);
    let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(
        told.contains("#news: its members are others now."),
        "{told}"
    );
    assert!(told.contains("#news: sealed under its key 2"), "{told}");
}

#[test]
fn who_leaves_nobody_to_lead_is_told() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["topic", "create", "gone"]);
    bob.json(0, &["topic", "join", "gone"]);
    let left = ana.run(&["topic", "leave", "gone"]);
    assert!(
        left.err
            .contains("claudemesh topic invite '#gone' PEER --lead"),
        "{left:?}"
    );
}
