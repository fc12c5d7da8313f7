//! Which mesh, which peer, which file: choosing, and refusing to guess.

use crate::common::{Broker, Person, create, link, pair};

#[test]
fn without_a_mesh_the_next_step_is_told() {
    let person = Person::new();
    let said = person.run(&["peers"]);
    assert_eq!(said.code, 11, "{said:?}");
    assert!(said.err.contains("claudemesh create"), "{said:?}");
    let said = person.run(&["create", "team"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("claudemesh broker"), "{said:?}");
    assert!(!person.dir().exists(), "looking made a folder");
}

#[test]
fn of_several_meshes_one_must_be_named() {
    let broker = Broker::start();
    let ana = Person::new();
    create(&broker, &ana, "one", "ana");
    create(&broker, &ana, "two", "ana");
    let said = ana.run(&["peers"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("one, two"), "{said:?}");
    assert_eq!(ana.json(0, &["whoami", "--mesh", "two"])["mesh"], "two");
    let mut command = ana.command(&["whoami", "--json"]);
    let output = command.env("CLAUDEMESH_MESH", "one").output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("\"mesh\":\"one\"")
    );
    assert_eq!(
        ana.json(11, &["peers", "--mesh", "three"])["error"]["code"],
        "no_mesh"
    );
    let taken = ana.run(&["create", "one", "--broker", &broker.url()]);
    assert_eq!(taken.code, 6, "{taken:?}");
    let bad = ana.run(&["create", "Not A Name", "--broker", &broker.url()]);
    assert_eq!(bad.code, 3, "{bad:?}");
}

#[test]
fn names_that_mean_nobody_or_two_are_refused_with_candidates() {
    let broker = Broker::start();
    let (ana, _bob) = pair(&broker);
    let unknown = ana.run(&["send", "bib", "hi"]);
    assert_eq!(unknown.code, 5, "{unknown:?}");
    assert!(unknown.err.contains("bob ("), "{unknown:?}");
    Person::new().json(0, &["join", &link(&ana, &[]), "--name", "bob"]);
    // The second Bob is known after the log was fetched.
    ana.json(0, &["invite", "list"]);
    let two = ana.json(3, &["send", "bob", "hi"]);
    let message = two["error"]["message"].as_str().unwrap();
    assert_eq!(message.matches("bob (").count(), 2, "{message}");
    let peers = ana.json(0, &["peers"]);
    let key = peers[1]["pubkey"].as_str().unwrap();
    ana.json(0, &["send", &key[..12], "hi"]);
}

#[test]
fn a_broken_configuration_is_named_by_its_line_and_left_alone() {
    let person = Person::new();
    std::fs::create_dir(person.dir()).unwrap();
    let path = person.dir().join("config.json");
    let text = "{\n  \"meshes\": [\n    oops\n  ]\n}\n";
    std::fs::write(&path, text).unwrap();
    for args in [
        &["list"][..],
        &["doctor"],
        &["create", "team", "--broker", "ws://localhost:1"],
    ] {
        let said = person.run(args);
        assert_eq!(said.code, 10, "{said:?}");
        assert!(
            said.err.contains("config.json") && said.err.contains("line 3"),
            "{said:?}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn wrong_arguments_exit_with_3_and_tell_json_readers_too() {
    let person = Person::new();
    let said = person.run(&["send"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(
        said.out.is_empty() && said.err.starts_with("error: "),
        "{said:?}"
    );
    assert_eq!(
        person.json(3, &["frobnicate"])["error"]["code"],
        "invalid_arguments"
    );
    assert_eq!(person.run(&["invite", "--expires", "soon"]).code, 3);
}

#[test]
fn a_status_is_kept_for_those_who_listen() {
    let broker = Broker::start();
    let (ana, _bob) = pair(&broker);
    assert_eq!(ana.json(0, &["status", "show"])["status"], "idle");
    ana.json(0, &["status", "set", "dnd"]);
    assert_eq!(ana.json(0, &["status", "show"])["status"], "dnd");
    assert_eq!(ana.run(&["status", "set", "asleep"]).code, 3);
}
