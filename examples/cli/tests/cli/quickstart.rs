//! The way that the help describes, from nothing to an answered message.

use crate::common::{Broker, Person, create, link, pair};

#[test]
fn two_people_meet_and_talk() {
    let broker = Broker::start();
    let (ana, bob) = (Person::new(), Person::new());
    let made = ana.run(&["create", "team", "--broker", &broker.url(), "--name", "ana"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.contains("Recovery key:"), "{made:?}");
    let invite = ana.run(&["invite"]);
    assert_eq!(invite.code, 0, "{invite:?}");
    assert!(invite.err.contains("on this machine only"), "{invite:?}");
    let joined = bob.run(&["join", invite.out.trim(), "--name", "bob"]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let again = bob.run(&["join", invite.out.trim()]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again.out.contains("joined team by this link before"),
        "{again:?}"
    );

    let sent = bob.json(0, &["send", "ana", "hello"]);
    assert_eq!(sent["to"]["name"], "ana");
    assert_eq!(sent["state"], "accepted");
    let peeked = ana.json(0, &["inbox", "--peek"]);
    let inbox = ana.json(0, &["inbox"]);
    assert_eq!(peeked, inbox);
    assert_eq!(inbox[0]["body"], "hello");
    assert_eq!(inbox[0]["from_name"], "bob");
    assert_eq!(inbox[0]["verified"], true);
    assert_eq!(inbox[0]["kind"], "direct");
    assert_eq!(inbox[0]["again"], false);
    assert_eq!(inbox[0]["message_id"], sent["message_id"]);
    assert!(ana.inbox(&[]).is_empty());
    assert_eq!(ana.inbox(&["--all"]), ["hello"]);

    let id = sent["message_id"].as_str().unwrap();
    ana.json(0, &["send", "bob", "hello yourself", "--reply-to", id]);
    let answer = bob.json(0, &["inbox"]);
    assert_eq!(answer[0]["reply_to"], sent["message_id"]);
    assert_eq!(answer[0]["priority"], "next");
}

#[test]
fn everybody_is_listed_and_both_sides_see_the_same_number() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let peers = ana.json(0, &["peers"]);
    let names: Vec<_> = peers
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(names, ["ana", "bob"]);
    assert_eq!(peers[1]["online"], false);
    assert_eq!(peers[1]["role"], "member");
    let mine = ana.json(0, &["verify", "bob"]);
    let theirs = bob.json(0, &["verify", "ana"]);
    assert_eq!(mine[0]["safety_number"], theirs[0]["safety_number"]);
    let me = bob.json(0, &["whoami"]);
    assert_eq!(me["display_name"], "bob");
    assert_eq!(me["role"], "member");
    assert_eq!(me["verified"], true);
    assert_eq!(me["pubkey"], mine[0]["pubkey"]);
    let checks = ana.json(0, &["doctor"]);
    let checks = checks.as_array().unwrap();
    let warned: Vec<_> = checks.iter().filter(|row| row["level"] != "ok").collect();
    // Ana owns the mesh, and has no second copy of her key yet.
    assert!(
        warned.len() == 1 && warned[0]["check"] == "backup",
        "{warned:?}"
    );
}

#[test]
fn texts_come_from_stdin_whole() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let text = "first line\n\n  third line é\n";
    let sent = ana.run_with_stdin(&["send", "bob", "-"], text);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(bob.inbox(&[]), ["first line\n\n  third line é"]);
    let empty = ana.run_with_stdin(&["send", "bob", "-"], "");
    assert_eq!(empty.code, 3, "{empty:?}");
}

#[test]
fn who_leaves_is_gone_for_all() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    assert_eq!(bob.run(&["leave"]).code, 3, "nobody was there to be asked");
    let data = bob.dir().join("peers");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    let left = bob.json(0, &["leave", "--yes", "--purge"]);
    assert_eq!(left["removed_from_log"], true);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    assert_eq!(bob.json(0, &["list"]).as_array().unwrap().len(), 0);
    assert_eq!(ana.json(0, &["peers"]).as_array().unwrap().len(), 1);
    assert_eq!(ana.run(&["send", "bob", "still there?"]).code, 5);
    // An owner is not removed, and forgets only here.
    assert_eq!(ana.json(0, &["leave", "--yes"])["removed_from_log"], false);
    assert_eq!(ana.json(0, &["list"]).as_array().unwrap().len(), 0);
}

#[test]
fn an_admin_invites_and_a_member_does_not() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let refused = bob.json(7, &["invite"]);
    assert_eq!(refused["error"]["code"], "permission");
    let cleo = Person::new();
    cleo.json(
        0,
        &["join", &link(&ana, &["--role", "admin"]), "--name", "cleo"],
    );
    link(&cleo, &[]);
    let other = Person::new();
    create(&broker, &other, "elsewhere", "dora");
}

/// Runs what the guide says in one of its sections, line by line, as a shell reads it; gives how
/// many lines that were.
#[cfg(unix)]
fn run_guide(title: &str, ana: &Person, bo: &Person) -> usize {
    use crate::common::{PROGRAM, said};

    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/quickstart.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let section = guide.split("\n## ").find(|s| s.starts_with(title));
    let (mut who, mut is_command, mut count) = (ana, false, 0);
    for line in section.unwrap().lines() {
        match line {
            "In the second:" => who = bo,
            "In the first terminal:" | "And in the first:" => who = ana,
            line if line.starts_with("```") => is_command = line == "```sh",
            line if is_command => {
                let program = std::path::Path::new(PROGRAM).parent().unwrap();
                let mut shell = std::process::Command::new("/bin/sh");
                shell.args(["-c", line]).env_clear().env("PATH", program);
                shell.env("CLAUDEMESH_CONFIG_DIR", who.dir());
                let ran = said(shell.output().unwrap());
                assert_eq!(ran.code, 0, "{line}: {ran:?}");
                count += 1;
            }
            _ => {}
        }
    }
    count
}

#[cfg(unix)]
fn ana_and_bo(broker: &Broker) -> (Person, Person) {
    let (ana, bo) = (Person::new(), Person::new());
    create(broker, &ana, "team", "ana");
    bo.json(0, &["join", &link(&ana, &[]), "--name", "bo"]);
    (ana, bo)
}

#[cfg(unix)]
#[test]
fn the_guide_to_channels_works_as_it_stands() {
    let broker = Broker::start();
    let (ana, bo) = ana_and_bo(&broker);
    assert_eq!(run_guide("Topics, groups", &ana, &bo), 13);
    // Of two channels, in the order in which their keys come.
    let mut texts = bo.inbox(&["--wait", "5s"]);
    texts.extend(bo.inbox(&[]));
    texts.sort();
    assert_eq!(texts, ["hello everybody", "the build is red"]);
    assert_eq!(ana.inbox(&[]), ["seen"]);
}

#[cfg(unix)]
#[test]
fn the_guide_to_what_is_kept_works_as_it_stands() {
    let broker = Broker::start();
    let (ana, bo) = ana_and_bo(&broker);
    assert_eq!(run_guide("What the mesh keeps", &ana, &bo), 12);
    let read = ana.json(0, &["state", "get", "deploy.lock"]);
    assert_eq!(
        (&read["version"], &read["writer"]),
        (&2.into(), &"bo".into())
    );
    assert_eq!(
        ana.json(0, &["schedule", "list"]).as_array().unwrap().len(),
        2
    );
    assert_eq!(bo.json(0, &["recall"]).as_array().unwrap().len(), 1);
}
