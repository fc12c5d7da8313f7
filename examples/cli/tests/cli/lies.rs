//! What a broker was caught at is known to whoever looks later.

use serde_json::{Value, json};

use crate::common::{Broker, Person, create, link};

fn honesty(report: &Value) -> Vec<&str> {
    let checks = report.as_array().unwrap().iter();
    checks
        .filter(|check| check["check"] == "honesty" && check["level"] == "fail")
        .map(|check| check["message"].as_str().unwrap())
        .collect()
}

#[test]
fn a_log_that_was_rolled_back_is_told_until_it_is_dismissed() {
    let mut broker = Broker::start();
    let (ana, bob) = (Person::new(), Person::new());
    create(&broker, &ana, "team", "ana");
    broker.kill();
    let old = broker.back_up();
    broker.restart();
    bob.json(0, &["join", &link(&ana, &[]), "--name", "bob"]);
    ana.json(0, &["peers"]);
    assert_eq!(ana.json(0, &["trust"])["lies"], json!([]));
    broker.kill();
    let new = broker.back_up();
    broker.put_back(old);
    broker.restart();
    // Any command finds it, whatever it is about.
    ana.run(&["peers"]);
    broker.kill();
    broker.put_back(new);
    broker.restart();
    // The broker shows everything again; what it did is known all the same.
    let held = ana.json(1, &["trust"]);
    let (at, what) = (&held["lies"][0]["at"], &held["lies"][0]["what"]);
    let what = what.as_str().unwrap();
    assert_eq!(held["lies"].as_array().unwrap().len(), 1, "{held}");
    assert!(what.contains("log of 1 entries"), "{held}");
    assert!(at.as_str().unwrap().ends_with('Z'), "{held}");
    let report = ana.json(1, &["doctor"]);
    assert!(honesty(&report)[0].contains(what), "{report}");
    assert!(
        honesty(&report)[0].contains("trust --forget-lies"),
        "{report}"
    );
    assert!(ana.run(&["trust"]).out.contains(what));
    // With the broker away, too.
    broker.kill();
    assert_eq!(ana.json(1, &["trust"])["lies"], held["lies"]);
    broker.restart();
    assert_eq!(ana.json(0, &["trust", "--forget-lies"])["lies"], json!([]));
    let report = ana.json(0, &["doctor"]);
    assert!(honesty(&report).is_empty(), "{report}");
}
