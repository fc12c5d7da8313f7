//! Owners, admins, devices: who is in, who is out, and who says so.

use serde_json::{Value, json};

use crate::common::{Broker, Person, create, link, pair};

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut all = list.as_array().unwrap().iter();
    all.find(|member| member["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[test]
fn roles_are_given_and_taken() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let refused = bob.json(7, &["role", "ana", "admin"]);
    assert_eq!(refused["error"]["code"], "permission");
    assert_eq!(ana.json(0, &["role", "bob", "admin"])["role"], "admin");
    bob.json(0, &["invite"]);
    ana.json(0, &["role", "bob", "member"]);
    let members = ana.json(0, &["members"]);
    assert_eq!(named(&members, "bob")["role"], "member");
    assert_eq!(named(&members, "ana")["role"], "owner");
    assert_eq!(named(&members, "ana")["device_of"], Value::Null);
}

#[test]
fn who_waits_is_let_in_with_a_number_to_compare() {
    let broker = Broker::start();
    let ana = Person::new();
    create(&broker, &ana, "team", "ana");
    let cleo = Person::new();
    cleo.json(
        0,
        &[
            "join",
            &link(&ana, &["--role", "pending"]),
            "--name",
            "cleo",
        ],
    );
    let waiting = ana.json(0, &["members"]);
    let row = named(&waiting, "cleo");
    assert_eq!(
        (&row["role"], &row["verified"]),
        (&json!("pending"), &json!(false))
    );
    let said = ana.json(0, &["admit", "cleo"]);
    let number = said["safety_number"].as_str().unwrap();
    assert_eq!(cleo.json(0, &["verify", "ana"])[0]["safety_number"], number);
    assert_eq!(named(&ana.json(0, &["members"]), "cleo")["verified"], true);
    assert_eq!(ana.json(6, &["admit", "cleo"])["error"]["code"], "exists");
    ana.json(5, &["admit", "nobody"]);
}

#[test]
fn a_removal_is_final_and_says_what_it_closes() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let open = link(&ana, &[]);
    let asked = ana.run(&["remove", "bob"]);
    assert_eq!(asked.code, 3, "{asked:?}");
    assert!(
        asked.err.contains("for good") && asked.err.contains("open link"),
        "{asked:?}"
    );
    let said = ana.json(0, &["remove", "bob", "--yes"]);
    assert_eq!(said["closed_invites"].as_array().unwrap().len(), 1);
    assert_eq!(ana.json(0, &["members"]).as_array().unwrap().len(), 1);
    let all = ana.json(0, &["members", "--all"]);
    assert_eq!(named(&all, "bob")["removed"], true);
    let failed = Person::new().run(&["join", &open, "--name", "eve"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    let out = bob.run(&["send", "ana", "hello?"]);
    assert_ne!(out.code, 0, "{out:?}");
}

#[test]
fn a_second_device_reads_along_until_it_is_lost() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let phone = Person::new();
    let added = ana.json(0, &["device", "add", "--name", "phone"]);
    assert_eq!(
        (&added["uses"], &added["role"]),
        (&json!(1), &json!("device"))
    );
    let link = added["link"].as_str().unwrap();
    // Where the member's own key is, it would be lost.
    let here = ana.run(&["join", link, "--name", "phone"]);
    assert_eq!(here.code, 6, "{here:?}");
    phone.json(0, &["join", link, "--name", "phone"]);
    let devices = ana.json(0, &["device", "list"]);
    assert_eq!(named(&devices, "ana/phone")["role"], "device");
    // Bob fetches the log before he writes: then he knows of the phone.
    bob.json(0, &["members"]);
    bob.json(0, &["send", "ana", "to both"]);
    assert_eq!(ana.inbox(&["--wait", "5s"]), ["to both"]);
    assert_eq!(phone.inbox(&["--wait", "5s"]), ["to both"]);
    phone.json(0, &["send", "bob", "from my pocket"]);
    let got = bob.json(0, &["inbox", "--wait", "5s"]);
    assert_eq!(got[0]["from_name"], "ana/phone");
    assert_eq!(got[0]["verified"], true);
    ana.json(5, &["device", "remove", "tablet", "--yes"]);
    ana.json(0, &["device", "remove", "phone", "--yes"]);
    assert_eq!(ana.json(0, &["device", "list"]), json!([]));
    assert_ne!(phone.run(&["send", "bob", "lost"]).code, 0);
    ana.json(0, &["send", "bob", "still here"]);
}

#[test]
fn a_lost_owner_key_is_replaced_and_the_key_is_never_an_argument() {
    let broker = Broker::start();
    let ana = Person::new();
    let made = ana.json(
        0,
        &["create", "team", "--broker", &broker.url(), "--name", "ana"],
    );
    let key = made["recovery_key"].as_str().unwrap();
    let (id, url) = (made["mesh_id"].as_str().unwrap(), broker.url());
    let refused = ana.run(&["owner", "recover", "--key", key]);
    assert_eq!(refused.code, 3, "{refused:?}");
    let new = Person::new();
    let args = [
        "owner",
        "recover",
        "--key",
        "-",
        "--name",
        "ana",
        "--mesh-id",
        id,
        "--broker",
        &url,
    ];
    let wrong = new.run_with_stdin(&args, "12ab");
    assert_eq!(wrong.code, 3, "{wrong:?}");
    let said = new.run_with_stdin(&args, &format!("{key}\n"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains(key));
    let members = new.json(0, &["members", "--all"]);
    let members = members.as_array().unwrap();
    assert_eq!(members.len(), 2);
    assert_eq!(members[0]["role"], "owner");
    assert_eq!(members[1]["removed"], true);
    assert_eq!(members[1]["pubkey"], made["pubkey"]);
    let held = new.json(0, &["trust"]);
    assert_eq!(held["owner"], members[0]["pubkey"]);
    assert_eq!(
        (&held["log_entries"], &held["lies"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(
        (&held["challenge_pinned"], &held["recovery_key"]),
        (&json!(true), &json!(true))
    );
    new.json(0, &["invite"]);
    // Where the mesh is known, nothing else is to be said.
    let again = ana.run_with_stdin(&["owner", "recover", "--key", "-"], key);
    assert_eq!(again.code, 0, "{again:?}");
}

#[test]
fn a_mesh_is_handed_over() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    assert_eq!(bob.run(&["owner", "accept"]).code, 1);
    assert_eq!(
        ana.run(&["owner", "transfer", "bob"]).code,
        3,
        "not without --yes"
    );
    ana.json(0, &["owner", "transfer", "bob", "--yes"]);
    bob.json(0, &["owner", "accept"]);
    let members = ana.json(0, &["members"]);
    assert_eq!(named(&members, "bob")["role"], "owner");
    assert_eq!(named(&members, "ana")["role"], "admin");
}

#[test]
fn who_only_the_broker_names_is_written_to_where_that_is_said() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    let made = ana.json(0, &["invite"]);
    // The link without its secret part: she is let in as existing clients are.
    let bare_link = made["legacy_link"].as_str().unwrap();
    let eve = Person::new();
    let joined = eve.json(0, &["join", bare_link, "--name", "eve"]);
    assert_eq!(joined["verified"], false);
    let key = eve.json(0, &["whoami"])["pubkey"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = bob.json(7, &["send", &key, "hello"]);
    let text = refused["error"]["message"].as_str().unwrap();
    assert!(
        text.contains("claudemesh admit") && text.contains("--unverified"),
        "{text}"
    );
    assert!(
        bob.json(0, &["outbox", "list"])
            .as_array()
            .unwrap()
            .is_empty()
    );
    let sent = bob.json(0, &["send", "--unverified", &key, "hello"]);
    assert_eq!(sent["protected"], false);
    let said = bob.run(&["send", "--unverified", &key, "again"]);
    assert!(said.err.contains("bare text"), "{said:?}");
    let sent = bob.json(0, &["send", "--unverified", "ana", "to a member"]);
    assert_eq!(sent["protected"], true);
    let got = ana.json(0, &["inbox", "--wait", "5s"]);
    assert_eq!(
        (&got[0]["protected"], &got[0]["verified"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn nothing_goes_in_plain_where_channels_are_encrypted_whatever_is_asked() {
    let broker = Broker::start();
    let (ana, bob) = pair(&broker);
    for (to, why) in [
        ("*", "membership log"),
        ("#nowhere", "membership log"),
        ("bob", "is always sealed for it"),
    ] {
        let refused = ana.json(3, &["send", to, "canary", "--plaintext"]);
        assert_eq!(refused["error"]["code"], "invalid_arguments", "{to}");
        let said = refused["error"]["message"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
    }
    // Whose key is whose is in the log; nothing is to be trusted beside it.
    let refused = ana.json(3, &["trust", "bob"]);
    let said = refused["error"]["message"].as_str().unwrap();
    assert!(said.contains("membership log"), "{said}");
    assert_eq!(bob.json(0, &["inbox"]), json!([]));
    ana.json(0, &["send", "*", "sealed"]);
    let came = bob.json(0, &["inbox", "--wait", "10s"]);
    assert_eq!(
        (&came[0]["plaintext"], &came[0]["key_changed"]),
        (&json!(false), &json!(false))
    );
}
