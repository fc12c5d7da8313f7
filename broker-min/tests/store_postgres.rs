//! The store in PostgreSQL: the suite for every store, and what only a server brings with it.
//! Skipped, visibly, without a server (tests/support/postgres.rs).
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/rows.rs"]
mod rows;

use broker_min::store::conformance::{self, sample};
use broker_min::store::{
    BrokerStore, Durability, Op, Outcome, PostgresStore, PostgresUrl, StoreError,
};

use rows::{accept, info, settle, waiting};

fn open(url: &PostgresUrl) -> PostgresStore {
    PostgresStore::open(url, Durability::Power).unwrap()
}

#[test]
fn postgres_conforms() {
    let Some(server) = postgres::server("postgres_conforms") else {
        return;
    };
    let mut schemas = Vec::new();
    conformance::run(|| {
        schemas.push(server.schema());
        Box::new(open(schemas.last().unwrap().url()))
    });
}

#[test]
fn everything_is_there_after_reopening() {
    let Some(server) = postgres::server("everything_is_there_after_reopening") else {
        return;
    };
    let schema = server.schema();
    let mut store = open(schema.url());
    let seqs: Vec<u64> = ["a", "b", "c"].map(|id| accept(&mut store, id)).into();
    store.commit(&[settle(seqs[2])]).unwrap();
    let before = info(&store);
    drop(store);

    let mut store = open(schema.url());
    assert_eq!(info(&store), before);
    assert_eq!(waiting(&store), seqs[..2]);
    let again = store.commit(&[Op::Accept(sample("c", "text"))]).unwrap();
    let seq = seqs[2];
    assert_eq!(again, [Outcome::Duplicate { seq, recipients: 1 }]);
    assert_eq!(accept(&mut store, "d"), seq + 1);
    let mut full = sample("e", "text");
    full.caps.rows = 3;
    assert_eq!(store.commit(&[Op::Accept(full)]).unwrap(), [Outcome::Full]);
}

#[test]
fn a_second_broker_is_refused_until_the_first_is_gone() {
    let Some(server) = postgres::server("a_second_broker_is_refused_until_the_first_is_gone")
    else {
        return;
    };
    let schema = server.schema();
    let store = open(schema.url());
    match PostgresStore::open(schema.url(), Durability::Power) {
        Err(error @ StoreError::Held { .. }) => {
            let text = error.to_string();
            assert!(text.contains("in use by another broker"), "{text}");
        }
        other => panic!("not refused: {other:?}"),
    }
    // Another schema of the database is another store.
    let beside = server.schema();
    drop(open(beside.url()));
    drop(store);
    drop(open(schema.url()));
}

/// Ends the server's processes of all connections to a schema, as a server does that goes down.
fn cut(schema: &postgres::Schema) {
    schema.sql(&format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name = 'broker-min {}'",
        schema.name
    ));
}

#[test]
fn a_connection_that_is_cut_is_made_anew() {
    let Some(server) = postgres::server("a_connection_that_is_cut_is_made_anew") else {
        return;
    };
    let schema = server.schema();
    let mut store = open(schema.url());
    let first = accept(&mut store, "a");
    for round in 0..3 {
        cut(&schema);
        assert_eq!(accept(&mut store, &format!("b{round}")), first + 1 + round);
    }
    assert_eq!(waiting(&store).len(), 4);
    assert!(store.goes_on());
}

#[test]
fn who_lost_the_schema_to_another_does_not_go_on() {
    let Some(server) = postgres::server("who_lost_the_schema_to_another_does_not_go_on") else {
        return;
    };
    let schema = server.schema();
    let mut store = open(schema.url());
    accept(&mut store, "a");
    cut(&schema);
    let mut other = open(schema.url());
    accept(&mut other, "b");
    for _ in 0..2 {
        let lost = store.commit(&[Op::Accept(sample("c", "text"))]);
        assert!(matches!(lost, Err(StoreError::Unknown { .. })), "{lost:?}");
        assert!(!store.goes_on());
    }
    accept(&mut other, "c");
}

#[test]
fn newer_and_foreign_tables_are_left_alone() {
    let Some(server) = postgres::server("newer_and_foreign_tables_are_left_alone") else {
        return;
    };
    let schema = server.schema();
    drop(open(schema.url()));
    schema.sql("UPDATE meta SET format = 99");
    match PostgresStore::open(schema.url(), Durability::Power) {
        Err(StoreError::Newer { found: 99, .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
    let foreign = server.schema();
    foreign.sql(&format!(
        "CREATE SCHEMA {0}; CREATE TABLE {0}.meta (a TEXT); CREATE TABLE {0}.message (a TEXT)",
        foreign.name
    ));
    match PostgresStore::open(foreign.url(), Durability::Power) {
        Err(StoreError::Damaged { .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(
        foreign.sql("SELECT count(*) FROM meta")[0][0].as_deref(),
        Some("0")
    );
}

#[test]
fn the_way_to_it_is_as_safe_as_the_url_says() {
    let test = "the_way_to_it_is_as_safe_as_the_url_says";
    let Some(server) = postgres::server(test) else {
        return;
    };
    let Ok(authority) = std::env::var("CLAUDEMESH_TEST_POSTGRES_CA") else {
        eprintln!("SKIPPED {test}: CLAUDEMESH_TEST_POSTGRES_CA is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap();
    std::fs::write(&other, params.self_signed(&key).unwrap().pem()).unwrap();
    let other = other.display();
    // The server's certificate is for `localhost`, by its own authority.
    for (host, parameters, good) in [
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={authority}"),
            true,
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={authority}"),
            false,
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={authority}"),
            true,
        ),
        (
            "127.0.0.1",
            format!("sslmode=require&sslrootcert={authority}"),
            true,
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={other}"),
            false,
        ),
        (
            "localhost",
            format!("sslmode=verify-ca&sslrootcert={other}"),
            false,
        ),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=/no/such.pem".to_owned(),
            false,
        ),
        ("localhost", "sslmode=require".to_owned(), true),
        ("localhost", "sslmode=prefer".to_owned(), true),
        ("localhost", "sslmode=disable".to_owned(), true),
    ] {
        let schema = server.schema();
        let url = server.with(host, &format!("{parameters}&schema={}", schema.name));
        let opened = PostgresStore::open(&url.parse().unwrap(), Durability::Power);
        assert_eq!(opened.is_ok(), good, "{host} {parameters}: {opened:?}");
        if good {
            let tls = schema.sql(&format!(
                "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = 'broker-min {}'",
                schema.name
            ));
            let wanted = if parameters.ends_with("disable") {
                "f"
            } else {
                "t"
            };
            assert_eq!(tls[0][0].as_deref(), Some(wanted), "{parameters}");
        }
        if let Err(error) = opened {
            assert!(!error.to_string().contains(server.password()), "{error}");
        }
    }
}

/// As compose.postgres.yaml does it.
#[cfg(unix)]
#[test]
fn a_socket_of_this_machine_leads_to_it() {
    let test = "a_socket_of_this_machine_leads_to_it";
    let Some(server) = postgres::server(test) else {
        return;
    };
    let rows = server.query("SHOW unix_socket_directories");
    let dirs = rows[0][0].clone().unwrap();
    let dir = dirs.split(',').next().unwrap().trim();
    if dir.is_empty() {
        eprintln!("SKIPPED {test}: the server has no socket");
        return;
    }
    let schema = server.schema();
    let host = dir.replace('/', "%2F");
    let url = server.with(&host, &format!("schema={}", schema.name));
    let url: PostgresUrl = url.parse().unwrap();
    assert!(!url.is_remote());
    let mut store = open(&url);
    accept(&mut store, "a");
    assert_eq!(waiting(&store).len(), 1);
}
