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
    let lies = held["lies"].as_array().unwrap();
    // The audit table went back with the log.
    assert!((1..=2).contains(&lies.len()), "{held}");
    let log = |lie: &&Value| lie["what"].as_str().unwrap().contains("log of 1 entries");
    let lie = lies.iter().find(log).unwrap_or_else(|| panic!("{held}"));
    let (at, what) = (&lie["at"], lie["what"].as_str().unwrap());
    assert!(at.as_str().unwrap().ends_with('Z'), "{held}");
    let report = ana.json(1, &["doctor"]);
    assert!(
        honesty(&report).iter().any(|told| told.contains(what)),
        "{report}"
    );
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

#[test]
fn the_audit_table_is_shown_and_checked() {
    let mut broker = Broker::start();
    let (ana, bob) = (Person::new(), Person::new());
    create(&broker, &ana, "team", "ana");
    let old = {
        broker.kill();
        let old = broker.back_up();
        broker.restart();
        old
    };
    bob.json(0, &["join", &link(&ana, &[]), "--name", "bob"]);
    let first = ana.json(0, &["audit"]);
    assert_eq!(
        (&first["holds"], &first["fault"]),
        (&json!(true), &Value::Null)
    );
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(first["to"].as_u64(), Some(rows.len() as u64), "{first}");
    assert!(rows.iter().any(|row| row["event"] == "member_joined"));
    // The next time only what came since.
    let next = ana.json(0, &["audit"]);
    assert_eq!(next["from"], first["to"]);
    assert!(ana.run(&["audit", "--all"]).out.contains("hold."));
    assert_eq!(bob.json(7, &["audit"])["error"]["code"], "permission");
    // The operator holds what she was told against the store.
    broker.kill();
    let told = format!("{first}\n{next}\n");
    let data = broker.data();
    let verify = ["broker", "audit", "verify", "--heads", "-", "--data", &data];
    let held = ana.run_with_stdin(&verify, &told);
    assert_eq!(held.code, 0, "{held:?}");
    assert!(
        held.out.contains("4 places that peers were told of"),
        "{held:?}"
    );
    // An old state is another table, until a person takes it.
    broker.put_back(old);
    let data = broker.data();
    let verify = ["broker", "audit", "verify", "--heads", "-", "--data", &data];
    let behind = ana.run_with_stdin(&verify, &told);
    assert_eq!(behind.code, 1, "{behind:?}");
    assert!(
        behind.out.contains("a peer was told of place"),
        "{behind:?}"
    );
    broker.restart();
    let report = ana.json(1, &["audit"]);
    assert_eq!(report["holds"], json!(false), "{report}");
    assert_eq!(ana.json(0, &["audit", "--accept"])["accepted"], json!(true));
    assert_eq!(ana.json(0, &["audit"])["holds"], json!(true));
}
