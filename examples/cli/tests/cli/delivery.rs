//! Brokers that are away, are killed, or come late; several processes on one store.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Broker, Person, create, link, pair, said};
use crate::walk::Running;

fn spawn(person: &Person, args: &[&str]) -> Child {
    let mut command = person.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn what_the_broker_missed_goes_out_with_a_later_command() {
    let mut broker = Broker::start();
    let (ana, bob) = pair(&broker);
    broker.kill();
    let kept = ana.json(4, &["send", "bob", "while you were away"]);
    assert_eq!(kept["state"], "queued");
    let peers = ana.json(4, &["peers"]);
    assert_eq!(peers[0]["online"], serde_json::Value::Null);
    let stored = ana.run(&["inbox"]);
    assert_eq!(stored.code, 0, "{stored:?}");
    assert!(stored.err.contains("stored here"), "{stored:?}");
    let waiting = ana.json(0, &["outbox", "list"]);
    assert_eq!(waiting[0]["message_id"], kept["message_id"]);
    assert_eq!(ana.json(1, &["doctor"]).as_array().unwrap().len(), 9);
    assert_eq!(
        ana.json(4, &["outbox", "flush", "--timeout", "300ms"])["waiting"],
        1
    );
    broker.restart();
    ana.json(0, &["peers"]);
    assert_eq!(bob.inbox(&[]), ["while you were away"]);
    assert_eq!(ana.json(0, &["outbox", "flush"])["waiting"], 0);
}

#[test]
fn who_began_while_the_broker_was_away_is_there_when_it_comes() {
    let mut broker = Broker::start();
    let (ana, bob) = pair(&broker);
    broker.kill();
    let listen = Running::start(&bob, &["listen"]);
    // It tries, and fails, before there is anybody to answer.
    sleep(Duration::from_millis(500));
    broker.restart();
    listen.until("Connected");
    let sent = ana.json(0, &["send", "bob", "early bird", "--wait", "delivered"]);
    assert_eq!(sent["state"], "delivered");
    listen.until("early bird");
}

#[test]
fn a_mesh_whose_broker_is_away_holds_up_no_other() {
    let (mut away, there) = (Broker::start(), Broker::start());
    let (ana, bob) = pair(&away);
    create(&there, &ana, "other", "ana");
    let link = link(&ana, &["--mesh", "other"]);
    bob.json(0, &["join", &link, "--name", "bob"]);
    ana.json(0, &["peers", "--mesh", "other"]);
    away.kill();
    let kept = ana.json(4, &["send", "bob", "kept", "--mesh", "team"]);
    assert_eq!(kept["state"], "queued");
    let sent = ana.json(0, &["send", "bob", "through", "--mesh", "other"]);
    assert_eq!(sent["state"], "accepted");
    assert_eq!(
        bob.inbox(&["--mesh", "other", "--wait", "10s"]),
        ["through"]
    );
    away.restart();
    assert_eq!(
        ana.json(0, &["outbox", "flush", "--mesh", "team"])["waiting"],
        0
    );
    assert_eq!(bob.inbox(&["--mesh", "team", "--wait", "10s"]), ["kept"]);
}

#[test]
fn what_has_not_left_can_be_cancelled() {
    let mut broker = Broker::start();
    let (ana, bob) = pair(&broker);
    broker.kill();
    let kept = ana.json(4, &["send", "bob", "no, wait"]);
    let id = kept["message_id"].as_str().unwrap();
    assert_eq!(ana.json(0, &["outbox", "cancel", id])["state"], "failed");
    assert_eq!(ana.run(&["outbox", "cancel", id]).code, 1);
    assert_eq!(ana.run(&["outbox", "cancel", "zzz"]).code, 5);
    broker.restart();
    ana.json(0, &["outbox", "flush"]);
    assert!(bob.inbox(&[]).is_empty());
}

#[test]
fn inbox_waits_for_a_message_and_not_longer() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let waiting = spawn(&bob, &["--json", "inbox", "--wait", "20s"]);
    sleep(Duration::from_millis(300));
    let began = Instant::now();
    // Somebody reads: the message is delivered, not only accepted.
    let sent = ana.json(0, &["send", "bob", "now", "--wait", "delivered"]);
    assert_eq!(sent["state"], "delivered");
    let got = said(waiting.wait_with_output().unwrap());
    assert!(got.out.contains("\"body\":\"now\""), "{got:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let began = Instant::now();
    assert!(bob.inbox(&["--wait", "500ms"]).is_empty());
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[test]
fn ten_processes_of_one_member_send_at_once() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let wanted: BTreeSet<String> = (0..10).map(|i| format!("number {i}")).collect();
    let senders: Vec<Child> = wanted
        .iter()
        .map(|text| spawn(&ana, &["send", "bob", text]))
        .collect();
    for sender in senders {
        let sent = said(sender.wait_with_output().unwrap());
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let got = bob.inbox(&[]);
    assert_eq!(got.len(), 10);
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn a_broker_killed_under_load_loses_and_doubles_nothing() {
    let mut broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let mut senders: Vec<Child> = Vec::new();
    for i in 0..12 {
        senders.push(spawn(
            &ana,
            &["-q", "--json", "send", "bob", &format!("m{i:02}")],
        ));
        if i == 5 {
            sleep(Duration::from_millis(30));
            broker.kill();
            broker.restart();
        }
    }
    let mut kept = 0;
    for sender in senders {
        let sent = said(sender.wait_with_output().unwrap());
        assert!(matches!(sent.code, 0 | 4), "{sent:?}");
        kept += i32::from(sent.code == 4);
    }
    let flushed = ana.json(0, &["outbox", "flush", "--timeout", "20s"]);
    assert_eq!(flushed["waiting"], 0, "{kept} were kept");
    let mut got = bob.inbox(&["--wait", "2s"]);
    got.sort();
    let wanted: Vec<String> = (0..12).map(|i| format!("m{i:02}")).collect();
    assert_eq!(got, wanted);
}

#[test]
fn what_is_for_those_who_are_online_waits_for_nobody() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let nobody = ana.run(&["send", "bob", "--online", "are you there?"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(
        nobody.err.contains("no recipient is connected"),
        "{nobody:?}"
    );
    assert!(bob.inbox(&[]).is_empty());
    let waiting = spawn(&bob, &["--json", "inbox", "--wait", "20s"]);
    let late = Instant::now() + Duration::from_secs(15);
    let reached = loop {
        let sent = ana.run(&["--json", "send", "bob", "--online", "now you are"]);
        if sent.code == 0 || Instant::now() > late {
            break sent;
        }
    };
    assert_eq!(reached.code, 0, "{reached:?}");
    assert!(reached.out.contains("\"reached\":1"), "{reached:?}");
    let read = said(waiting.wait_with_output().unwrap());
    assert!(read.out.contains("now you are"), "{read:?}");
    assert_eq!(
        ana.json(0, &["outbox", "list"]).as_array().unwrap().len(),
        0
    );
    let both = ana.run(&["send", "bob", "--online", "--expires", "1h", "x"]);
    assert_eq!(both.code, 3, "{both:?}");
}
