//! Links that are changed, over, or used up.

use std::time::Duration;

use crate::common::{Broker, Person, create, link};

fn owner(broker: &Broker) -> Person {
    let ana = Person::new();
    create(broker, &ana, "team", "ana");
    ana
}

/// Tries to join as somebody new; says how that ended, and that nothing was kept.
fn refused(link: &str, code: i32, words: &str) {
    let person = Person::new();
    let said = person.run(&["join", link, "--name", "eve"]);
    assert_eq!(said.code, code, "{said:?}");
    assert!(said.err.contains(words), "{said:?}");
    assert_eq!(person.json(0, &["list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_changed_link_is_refused_and_nothing_is_written() {
    let broker = Broker::start();
    let ana = owner(&broker);
    let link = link(&ana, &[]);
    let (address, fragment) = link.split_once('#').unwrap();
    let token = address.rsplit('/').next().unwrap();
    // One character of the token's payload, of the secret part, and a part cut off.
    let middle = address.len() - token.len() / 2;
    let other = if &address[middle..=middle] == "A" {
        "B"
    } else {
        "A"
    };
    let changed = format!(
        "{}{other}{}#{fragment}",
        &address[..middle],
        &address[middle + 1..]
    );
    for (bad, codes) in [
        (changed, [2, 3]),
        (link[..link.len() - 3].to_owned(), [3, 3]),
        ("hello".to_owned(), [3, 3]),
        (format!("{address}#{}", "A".repeat(86)), [1, 2]),
    ] {
        let person = Person::new();
        let said = person.run(&["join", &bad, "--name", "eve"]);
        assert!(codes.contains(&said.code), "{bad}: {said:?}");
        assert!(!said.err.is_empty());
        // At most an empty configuration: neither a mesh nor a key for one.
        let kept = std::fs::read_to_string(person.dir().join("config.json"));
        assert!(!kept.unwrap_or_default().contains("ey"), "{bad}");
    }
}

#[test]
fn expired_links_say_so() {
    let broker = Broker::start();
    let ana = owner(&broker);
    let link = link(&ana, &["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(2_100));
    refused(&link, 1, "expired");
}

#[test]
fn used_up_links_say_so() {
    let broker = Broker::start();
    let ana = owner(&broker);
    let link = link(&ana, &["--uses", "2"]);
    for name in ["bob", "cleo"] {
        Person::new().json(0, &["join", &link, "--name", name]);
    }
    refused(&link, 1, "used up");
    ana.json(0, &["peers"]);
    assert_eq!(ana.json(0, &["invite", "list"])[0]["state"], "used up");
}

#[test]
fn closed_links_say_so() {
    let broker = Broker::start();
    let ana = owner(&broker);
    let made = ana.json(0, &["invite", "--expires", "2d"]);
    let id = made["invite_id"].as_str().unwrap();
    assert!(made["expires_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(ana.run(&["invite", "close", "ffffffffffffffff"]).code, 5);
    ana.json(0, &["invite", "close", &id[..12]]);
    refused(made["link"].as_str().unwrap(), 1, "closed");
    assert_eq!(ana.run(&["invite", "close", id]).code, 1);
}

#[test]
fn a_link_to_a_broker_that_is_away_says_so() {
    let mut broker = Broker::start();
    let ana = owner(&broker);
    let link = link(&ana, &[]);
    broker.kill();
    refused(&link, 4, "is the broker running");
}

#[test]
fn a_qr_code_is_drawn() {
    let broker = Broker::start();
    let ana = owner(&broker);
    let said = ana.run(&["invite", "--qr"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains('█') && said.out.contains('▀'));
}
