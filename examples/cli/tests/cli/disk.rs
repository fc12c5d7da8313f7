//! Backups as a person makes them, what is shown of a mesh, and ending one.

use std::process::Stdio;

use serde_json::json;

use crate::common::{Broker, Person, create, link, pair, said};

fn secret(person: &Person, text: &str) -> String {
    let path = person.home().join("secret.txt");
    std::fs::write(&path, format!("{text}\nmore\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_lost_machine_is_put_back_and_goes_on() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["send", "bob", "before"]);
    assert_eq!(bob.inbox(&[]), ["before"]);
    // The session shows itself, and is written to.
    bob.json(0, &["inbox", "--as", "api"]);
    ana.json(0, &["send", "bob/api", "to the session"]);
    bob.json(0, &["inbox", "--as", "api", "--peek"]);

    let warned = ana.json(0, &["doctor"]);
    let backup = |report: &serde_json::Value| {
        let mut rows = report.as_array().unwrap().iter();
        rows.find(|row| row["check"] == "backup").cloned()
    };
    assert_eq!(backup(&warned).unwrap()["level"], "warn");
    assert_eq!(backup(&bob.json(0, &["doctor"])), None, "bob owns nothing");

    let file = bob.home().join("bob.cmb");
    let to = file.to_str().unwrap();
    let from = secret(&bob, "correct horse battery");
    let made = bob.json(0, &["backup", to, "--full", "--passphrase-file", &from]);
    assert_eq!((&made["meshes"], &made["stores"]), (&json!(1), &json!(1)));
    // `doctor` has one of its own.
    assert!(made["sessions"].as_u64().unwrap() >= 1, "{made}");
    // Bob's machine is gone; what comes meanwhile waits at the broker.
    std::fs::remove_dir_all(bob.dir()).unwrap();
    ana.json(0, &["send", "bob", "meanwhile"]);
    let restored = bob.json(0, &["restore", to, "--passphrase-file", &from]);
    assert_eq!(restored["meshes"], json!(["team"]));
    assert_eq!(restored["set_aside"], json!([]));
    assert_eq!(bob.inbox(&[]), ["meanwhile"]);
    let mut all = bob.inbox(&["--all"]);
    all.sort_unstable();
    assert_eq!(all, ["before", "meanwhile"]);
    assert_eq!(bob.inbox(&["--as", "api"]), ["to the session", "meanwhile"]);
    bob.json(0, &["send", "ana", "I am back"]);
    assert_eq!(ana.inbox(&[]), ["I am back"]);

    // The owner's, by the environment; the word is nowhere in the arguments or the file.
    let file = ana.home().join("ana.cmb");
    let mut command = ana.command(&["backup", file.to_str().unwrap()]);
    command.env("CLAUDEMESH_BACKUP_PASSPHRASE", "correct horse battery");
    let output = said(command.output().unwrap());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!output.out.contains("correct") && !output.err.contains("correct"));
    assert_eq!(backup(&ana.json(0, &["doctor"])).unwrap()["level"], "ok");
}

#[test]
fn a_backup_is_neither_made_nor_put_back_by_chance() {
    let broker = Broker::start();
    let (ana, _) = pair(&broker);
    let file = ana.home().join("a.cmb");
    let to = file.to_str().unwrap();
    // Nobody is there to ask.
    assert_eq!(
        ana.json(3, &["backup", to])["error"]["code"],
        "invalid_arguments"
    );
    let short = secret(&ana, "elevenchars");
    ana.json(3, &["backup", to, "--passphrase-file", &short]);
    assert!(!file.exists());
    ana.json(10, &["backup", to, "--passphrase-file", "/not/there"]);
    let from = secret(&ana, "correct horse battery");
    ana.json(0, &["backup", to, "--passphrase-file", &from]);
    let before = std::fs::read(&file).unwrap();
    ana.json(6, &["backup", to, "--passphrase-file", &from]);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    ana.json(0, &["backup", to, "--passphrase-file", &from, "--force"]);
    assert_ne!(std::fs::read(&file).unwrap(), before);

    let other = Person::new();
    create(&broker, &other, "mine", "other");
    let config = other.dir().join("config.json");
    let mine = std::fs::read(&config).unwrap();
    let wrong = secret(&other, "wrong horse battery");
    other.json(2, &["restore", to, "--passphrase-file", &wrong]);
    other.json(6, &["restore", to, "--passphrase-file", &from]);
    other.json(5, &["restore", "nothing.cmb", "--passphrase-file", &from]);
    other.json(1, &["restore", &from, "--passphrase-file", &from]);
    // What is seen to be cut off is a bad file, and no wrong passphrase.
    let bad = ana.home().join("bad.cmb");
    let bad = bad.to_str().unwrap();
    for length in [0, 3] {
        std::fs::write(bad, &before[..length]).unwrap();
        let refused = other.json(10, &["restore", bad, "--passphrase-file", &from, "--yes"]);
        assert_eq!(refused["error"]["code"], "io", "{refused}");
    }
    assert_eq!(std::fs::read(&config).unwrap(), mine);
    let done = other.json(0, &["restore", to, "--passphrase-file", &from, "--yes"]);
    let kept = done["set_aside"][0].as_str().unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), mine);
    assert_eq!(other.json(0, &["whoami"])["display_name"], "ana");
    // A configuration that nobody can read is put right as well.
    std::fs::write(&config, b"{").unwrap();
    other.json(10, &["list"]);
    other.json(0, &["restore", to, "--passphrase-file", &from, "--yes"]);
    other.json(0, &["list"]);

    // From stdin, too.
    let mut command = ana.command(&["restore", to, "--passphrase-file", "-", "--yes"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct horse battery").unwrap();
    let output = said(child.wait_with_output().unwrap());
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn grants_are_the_rules_of_policy_in_other_words() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let key = ana.json(0, &["whoami"])["pubkey"]
        .as_str()
        .unwrap()
        .to_owned();
    let rule = |bob: &Person| bob.json(0, &["policy", "list"])[0]["rule"].clone();
    assert_eq!(bob.json(0, &["block", "ana"])["capabilities"], json!([]));
    assert_eq!(rule(&bob), "block");
    assert_eq!(bob.json(0, &["grants"])["grants"][&key], json!([]));
    ana.json(0, &["send", "bob", "dropped"]);
    assert_eq!(bob.inbox(&[]), [""; 0]);

    let granted = bob.json(0, &["grant", "ana", "broadcast"]);
    assert_eq!(granted["capabilities"], json!(["broadcast"]));
    assert_eq!(rule(&bob), "ask");
    ana.json(0, &["send", "bob", "waits"]);
    assert_eq!(bob.inbox(&[]), [""; 0]);
    assert_eq!(bob.json(0, &["requests", "list"])[0]["body"], "waits");
    let all = bob.json(0, &["grant", "ana", "dm"]);
    assert_eq!(all["capabilities"], json!(["dm", "broadcast"]));
    assert_eq!(bob.json(0, &["policy", "list"]), json!([]));
    ana.json(0, &["send", "bob", "comes"]);
    assert_eq!(bob.inbox(&[]), ["comes"]);

    bob.json(3, &["revoke", "ana", "broadcast"]);
    bob.json(3, &["grant", "ana", "state-write"]);
    bob.json(3, &["block", "verified"]);
    // A mute is not lifted by granting what there is.
    bob.json(0, &["policy", "set", "ana", "mute"]);
    bob.json(0, &["revoke", "ana", "dm", "broadcast"]);
    assert_eq!(rule(&bob), "block");
}

#[test]
fn a_message_is_followed_to_where_it_went() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let sent = ana.json(0, &["send", "bob", "hello"]);
    let id = sent["message_id"].as_str().unwrap();
    assert_eq!(ana.json(0, &["msg-status", id])["state"], "accepted");
    assert_eq!(bob.inbox(&[]), ["hello"]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let status = ana.json(0, &["msg-status", &id[..12]]);
        if status["state"] == "delivered" {
            assert_eq!(status["recipients"][0]["to"]["name"], "bob");
            break;
        }
        assert!(std::time::Instant::now() < until, "{status}");
    }
    ana.json(5, &["msg-status", "zzzz"]);
    let online = ana.run(&["send", "bob", "now?", "--online"]);
    assert_eq!(online.code, 1, "{online:?}");
    assert!(online.err.contains("Without --online"), "{online:?}");
}

#[test]
fn an_owner_ends_the_mesh_for_everybody_and_nobody_else_does() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let info = ana.json(0, &["info"]);
    assert_eq!(
        (&info["members"], &info["role"]),
        (&json!(2), &json!("owner"))
    );
    assert_eq!(
        (&info["connected"], &info["state_keys"]),
        (&json!(true), &json!(0))
    );
    let open = link(&ana, &["--uses", "3"]);
    assert_eq!(
        bob.json(7, &["delete", "team", "--yes"])["error"]["code"],
        "permission"
    );
    assert_eq!(
        ana.json(3, &["delete", "team"])["error"]["code"],
        "invalid_arguments"
    );
    ana.json(5, &["delete", "other", "--yes"]);
    let done = ana.json(0, &["delete", "team", "--yes"]);
    assert_eq!(done["removed"], json!(["bob"]));
    assert_eq!(done["closed_invites"], 1);
    ana.json(11, &["whoami"]);
    assert_eq!(
        std::fs::read_dir(ana.dir().join("peers")).unwrap().count(),
        0
    );
    bob.json(2, &["send", "*", "anybody?"]);
    Person::new().json(1, &["join", &open, "--name", "late"]);
}

#[test]
fn an_offer_of_the_mesh_is_read_as_one() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    ana.json(0, &["owner", "transfer", "bob", "--yes"]);
    let shown = bob.run(&["inbox"]);
    assert!(shown.out.contains("claudemesh owner accept"), "{shown:?}");
    assert!(!shown.out.contains("bytes of"), "{shown:?}");
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = Person::new().run(&["completions", shell]);
        assert_eq!(script.code, 0, "{script:?}");
        for verb in ["msg-status", "backup", "topic"] {
            assert!(script.out.contains(verb), "{shell} {verb}");
        }
    }
    Person::new().json(3, &["completions", "nonsense"]);
}

#[test]
fn of_two_who_claim_a_task_one_gets_it() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let made = ana.json(0, &["task", "create", "review", "--for", "bob"]);
    let id = made["id"].as_str().unwrap();
    let both = [&ana, &bob].map(|person| {
        let mut command = person.command(&["task", "claim", id, "--json"]);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().unwrap()
    });
    let mut codes = both.map(|child| said(child.wait_with_output().unwrap()).code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 6]);
    let task = bob.json(0, &["task", "list"])[0].clone();
    let (winner, loser) = match task["claimed_by"].as_str().unwrap() {
        "ana" => (&ana, &bob),
        _ => (&bob, &ana),
    };
    loser.json(7, &["task", "complete", &id[..8]]);
    winner.json(0, &["task", "complete", &id[..8], "fine"]);
    let done = loser.json(0, &["task", "list"])[0].clone();
    assert_eq!(
        (&done["status"], &done["result"]),
        (&json!("done"), &json!("fine"))
    );
    assert_eq!(bob.json(0, &["task", "list", "--open"]), json!([]));
    loser.json(5, &["task", "claim", "zzzz"]);
}

#[test]
fn who_came_by_the_brokers_word_is_shut_out_by_it_and_the_others_are_not() {
    let broker = Broker::start();
    let (ana, _bob) = pair(&broker);
    let eve = Person::new();
    let legacy = ana.json(0, &["invite", "--uses", "2"])["legacy_link"]
        .as_str()
        .unwrap()
        .to_owned();
    eve.json(0, &["join", &legacy, "--name", "eve"]);
    let key = eve.json(0, &["whoami"])["pubkey"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(ana.json(7, &["ban", "bob"])["error"]["code"], "permission");
    assert_eq!(ana.json(0, &["ban", &key])["name"], "eve");
    assert_eq!(ana.json(0, &["bans"])[0]["pubkey"], key);
    eve.json(2, &["send", &key, "hello"]);
    ana.json(0, &["unban", "eve"]);
    assert_eq!(ana.json(0, &["bans"]), json!([]));
    ana.json(5, &["unban", "eve"]);
    let made = ana.json(0, &["apikey", "create", "ci", "--expires", "1d"]);
    assert!(made["secret"].as_str().unwrap().starts_with("cm_"));
    let id = made["id"].as_str().unwrap();
    assert_eq!(ana.json(0, &["apikey", "revoke", id])["status"], "revoked");
    assert!(ana.json(0, &["apikey", "list"])[0]["revoked_at"].is_string());
}
