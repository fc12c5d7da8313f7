//! A mesh without a membership log, on a broker of the existing system.

use claudemesh_core::config::Config;
use claudemesh_core::{MeshEntry, Peer, Retry};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::common::Person;
use crate::existing::{Existing, SOON};

/// Somebody whose configuration has this mesh.
fn person(entry: &MeshEntry) -> Person {
    let person = Person::new();
    let mut config = Config::load(person.dir()).unwrap();
    config.put_mesh(entry.clone()).unwrap();
    person
}

/// A peer that stays, and whose statement its broker shows.
async fn stays(broker: &Existing, entry: &MeshEntry) -> Peer {
    let builder = Peer::builder(entry).in_memory().retry(Retry::Every(20));
    let peer = builder.connect().await.unwrap();
    peer.connected_within(SOON).await.unwrap();
    let key = peer.key();
    let said = |b: &Existing| !b.sent(key, "set_profile").is_empty();
    broker.until("a statement", said).await;
    peer
}

fn message(refused: &Value) -> String {
    refused["error"]["message"].as_str().unwrap().to_owned()
}

fn check<'a>(report: &'a Value, level: &str) -> Vec<&'a str> {
    let checks = report.as_array().unwrap().iter();
    let trust = checks.filter(|check| check["check"] == "trust" && check["level"] == level);
    trust.map(|c| c["message"].as_str().unwrap()).collect()
}

#[test]
fn people_are_trusted_by_name_and_shown_so() {
    let runtime = Runtime::new().unwrap();
    let broker = runtime.block_on(Existing::start());
    let ana = person(&broker.member("ana", 1));
    let entry = broker.member("ben", 2);
    let ben = runtime.block_on(stays(&broker, &entry));
    let key = ben.key();
    // Nobody is trusted: nothing goes out, and it is said what to do.
    for (to, what) in [("ben", "claudemesh trust"), ("*", "claudemesh trust")] {
        let refused = message(&ana.json(7, &["send", to, "canary-unsaid"]));
        assert!(
            refused.contains(what) && refused.contains("nothing was sent"),
            "{refused}"
        );
    }
    let report = ana.json(0, &["doctor"]);
    assert!(
        check(&report, "warn")[0].contains("nobody is trusted"),
        "{report}"
    );
    let digits = ana.json(0, &["verify", "ben"]);
    assert_eq!(digits[0]["pubkey"], json!(key), "{digits}");
    assert!(digits[0]["safety_number"].as_str().unwrap().len() > 20);
    let seen = ana.json(0, &["members"]);
    assert_eq!(
        (&seen[0]["name"], &seen[0]["trust"]),
        (&json!("ben"), &json!("pinned"))
    );
    assert_eq!(ana.json(0, &["trust", "ben"])["trusted"], json!(true));
    assert_eq!(ana.json(0, &["members"])[0]["trust"], "trusted");
    assert_eq!(ana.json(0, &["trust"])["keys"][0]["trust"], "trusted");
    assert_eq!(check(&ana.json(0, &["doctor"]), "ok").len(), 1);
    let sent = ana.json(0, &["send", "ben", "canary ben"]);
    assert_eq!(sent["protected"], json!(true), "{sent}");
    let sent = ana.json(0, &["send", "*", "canary all"]);
    assert_eq!(
        (&sent["recipients"], &sent["not_for"]),
        (&json!(1), &Value::Null)
    );
    runtime.block_on(async {
        ben.trust(ana_key(&ana)).await.unwrap();
        let mut texts = Vec::new();
        let mut incoming = ben.incoming().await.unwrap();
        while texts.len() < 2 {
            let came = tokio::time::timeout(SOON, incoming.next())
                .await
                .unwrap()
                .unwrap();
            assert!(came.protected);
            came.taken().await.unwrap();
            texts.push(came.text());
        }
        texts.sort();
        assert_eq!(texts, ["canary all", "canary ben"]);
    });
    assert!(!broker.shows("canary"));
    // Taken back.
    assert_eq!(
        ana.json(0, &["trust", "ben", "--distrust"])["trusted"],
        json!(false)
    );
    assert_eq!(ana.json(0, &["members"])[0]["trust"], "distrusted");
    ana.json(7, &["send", "ben", "x"]);
}

fn ana_key(ana: &Person) -> claudemesh_core::id::PublicKey {
    let key = ana.json(0, &["whoami"]);
    claudemesh_core::id::PublicKey::from_hex(key["pubkey"].as_str().unwrap()).unwrap()
}

#[test]
fn another_key_under_a_known_name_is_told_everywhere() {
    let runtime = Runtime::new().unwrap();
    let broker = runtime.block_on(Existing::start());
    let ana = person(&broker.member("ana", 1));
    let (ben, eve) = (broker.member("ben", 2), broker.member("ben", 3));
    let _ben = runtime.block_on(stays(&broker, &ben));
    ana.json(0, &["trust", "ben"]);
    let _eve = runtime.block_on(stays(&broker, &eve));
    let changed = eve.pubkey().to_hex();
    // By its name it could be either of them; by its key it is refused.
    let several = message(&ana.json(3, &["send", "ben", "canary"]));
    assert!(several.contains(&changed[..8]), "{several}");
    let refused = message(&ana.json(7, &["send", &changed, "canary", "--unverified"]));
    assert!(refused.contains("another key"), "{refused}");
    let members = ana.json(0, &["members"]);
    let trust = |key: &str| {
        let all = members.as_array().unwrap().iter();
        let mut found = all.filter(|one| one["pubkey"] == key);
        found.next().unwrap()["trust"].clone()
    };
    assert_eq!(trust(&changed), "changed");
    assert_eq!(trust(&ben.pubkey().to_hex()), "trusted");
    let report = ana.json(1, &["doctor"]);
    assert!(
        check(&report, "fail")[0].contains(&changed[..8]),
        "{report}"
    );
    let held = ana.json(1, &["trust"]);
    assert!(
        held["lies"][0]["what"].as_str().unwrap().contains(&changed),
        "{held}"
    );
    assert!(!broker.shows("canary"));
}

#[test]
fn what_the_broker_could_read_is_refused_with_what_to_do() {
    let runtime = Runtime::new().unwrap();
    let broker = runtime.block_on(Existing::start());
    let ana = person(&broker.member("ana", 1));
    for args in [
        &["state", "set", "k", "\"canary\""][..],
        &["remember", "canary"],
    ] {
        let refused = message(&ana.json(1, args));
        assert!(refused.contains("send a message instead"), "{refused}");
    }
    for args in [&["topic", "create", "canary"][..], &["invite"]] {
        let refused = message(&ana.json(1, args));
        assert!(refused.contains("no membership log"), "{refused}");
    }
    assert_eq!(
        ana.json(0, &["group", "join", "ops"])["joined"],
        json!(true)
    );
    assert!(!broker.shows("canary"));
}
