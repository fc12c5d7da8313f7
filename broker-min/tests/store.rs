//! The stores: one suite for both, and what only a store on disk has to stand.
// The helpers here are test code as well, which the lints cannot tell.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/rows.rs"]
mod rows;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use broker_min::audit::{self, AuditArgs, AuditRunError};
use broker_min::store::conformance::{self, key, mesh, sample};
use broker_min::store::{
    AuditFault, BrokerStore, Delivery, Durability, MemoryStore, Op, Outcome, Query, Rows,
    SqliteStore, StoreError, verify_audit, verify_audit_pinned,
};
use claudemesh_core::id::Priority;
use tempfile::TempDir;

use rows::{accept, info, settle, waiting};

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Durability::Process).unwrap()
}

#[test]
fn memory_conforms() {
    conformance::run(|| Box::new(MemoryStore::new([1; 32])));
}

#[test]
fn sqlite_conforms() {
    let mut dirs = Vec::new();
    conformance::run(|| {
        dirs.push(TempDir::new().unwrap());
        Box::new(open(dirs.last().unwrap().path()))
    });
}

#[test]
fn a_fork_is_a_store_of_its_own() {
    let mut store = MemoryStore::new([1; 32]);
    let seq = accept(&mut store, "a");
    let mut fork = store.fork();
    accept(&mut store, "b");
    assert_eq!(waiting(&fork), [seq]);
    assert_eq!(info(&fork).store, info(&store).store);
    assert_eq!(accept(&mut fork, "c"), seq + 1);
}

#[test]
fn everything_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("made/for/it");
    let mut store = SqliteStore::open(&dir, Durability::Power).unwrap();
    let seqs: Vec<u64> = ["a", "b", "c"].map(|id| accept(&mut store, id)).into();
    store.commit(&[settle(seqs[2])]).unwrap();
    let before = info(&store);
    drop(store);

    let mut store = open(&dir);
    assert_eq!(info(&store), before);
    assert_eq!(waiting(&store), seqs[..2]);
    let again = store.commit(&[Op::Accept(sample("c", "text"))]).unwrap();
    let seq = seqs[2];
    assert_eq!(again, [Outcome::Duplicate { seq, recipients: 1 }]);
    // The newest seq was settled and its row is gone; it is not given again all the same.
    assert_eq!(accept(&mut store, "d"), seq + 1);
    // The caps know what was there before.
    let mut full = sample("e", "text");
    full.caps.rows = 3;
    assert_eq!(store.commit(&[Op::Accept(full)]).unwrap(), [Outcome::Full]);
}

#[cfg(unix)]
#[test]
fn others_on_the_machine_see_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("data");
    let mut store = open(&dir);
    accept(&mut store, "a");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in ["broker.db", "broker.db-wal", "broker.db-shm", "broker.lock"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
}

#[test]
fn the_audit_table_has_metadata_alone() {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path());
    accept(&mut store, "a");
    let mut many = sample("b", "12345");
    many.recipients.push(key(3));
    store.commit(&[Op::Accept(many)]).unwrap();
    // A duplicate is no second event.
    store.commit(&[Op::Accept(sample("a", "text"))]).unwrap();
    drop(store);

    let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    let mut statement = conn.prepare("SELECT * FROM audit_log ORDER BY id").unwrap();
    let columns = "id meshId eventType actorPeerId targetPeerId metadata createdAt chain n hash";
    assert!(statement.column_names().eq(columns.split(' ')));
    type Row = (String, String, String, Option<String>, String, i64);
    let rows: Vec<Row> = statement
        .query_map([], |row| {
            Ok((
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
            ))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let row = |target: Option<String>, size: u64| -> Row {
        let times = r#""timestamps":{"accepted":1000,"expires":10000}"#;
        (
            "one".into(),
            "message_sent".into(),
            "01".repeat(8),
            target,
            format!(r#"{{"size":{size},"priority":"next",{times}}}"#),
            1_000,
        )
    };
    assert_eq!(rows, [row(Some("02".repeat(8)), 4), row(None, 5)]);
}

#[test]
fn a_folder_has_one_broker() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    match SqliteStore::open(dir.path(), Durability::Process) {
        Err(StoreError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("opened twice: {other:?}"),
    }
    drop(store);
    open(dir.path());
}

#[test]
fn what_is_no_brokers_file_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("broker.db");
    let refused = |content: &[u8]| {
        match SqliteStore::open(dir.path(), Durability::Process) {
            Err(StoreError::Damaged { .. }) => {}
            other => panic!("not refused: {other:?}"),
        }
        assert_eq!(fs::read(&file).unwrap(), content);
    };
    for content in [b"short".to_vec(), b"no database at all ".repeat(100)] {
        fs::write(&file, &content).unwrap();
        refused(&content);
    }
    fs::remove_file(&file).unwrap();
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(conn);
    refused(&fs::read(&file).unwrap());
}

#[test]
fn a_newer_file_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let file = dir.path().join("broker.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let before = fs::read(&file).unwrap();
    match SqliteStore::open(dir.path(), Durability::Process) {
        Err(StoreError::Newer { found: 99, .. }) => {}
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_long_queue_is_walked_piece_by_piece() {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path());
    let ops: Vec<Op> = (0..10_000)
        .map(|number: u64| {
            let mut accept = sample(&number.to_string(), "text");
            accept.recipients = vec![key((number % 7) as u8)];
            accept.expires_at = if number.is_multiple_of(100) {
                2_000
            } else {
                10_000
            };
            accept.caps.rows = u64::MAX;
            accept.caps.rows_per_sender = u64::MAX;
            Op::Accept(accept)
        })
        .collect();
    store.commit(&ops).unwrap();
    // Three calls are once around; settles in between do not make one miss a row.
    let mut failed = 0;
    for seq in 1..=3 {
        let (now, limit) = (2_000, 1_000);
        let settled = Op::Settle(Delivery {
            mesh: mesh("one"),
            address: key(seq),
            class: Priority::Next,
            seq: u64::from(seq) + 1,
        });
        let outcomes = store.commit(&[settled, Op::Expire { now, limit }]).unwrap();
        assert!(matches!(outcomes[0], Outcome::Settled { .. }));
        match &outcomes[1] {
            Outcome::Expired(rows) => failed += rows.len(),
            other => panic!("no list: {other:?}"),
        }
    }
    assert_eq!(failed, 100);
    let prune = Op::Prune {
        now: 40 * 86_400_000,
        limit: 5_000,
    };
    store
        .commit(&[prune.clone(), prune.clone(), prune])
        .unwrap();
    drop(store);
    let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    let sql = "SELECT (SELECT count(*) FROM accepted) + (SELECT count(*) FROM notice)";
    assert_eq!(conn.query_row(sql, [], |row| row.get::<_, i64>(0)), Ok(0));
}

/// This program once more, as a broker in a process of its own (see [`child`]).
fn start_child(dir: &Path, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--quiet"])
        .env("STORE_CHILD_DIR", dir)
        .env("STORE_CHILD_MODE", mode)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test of its own: the other process of two tests. It commits and says what it committed,
/// or holds the folder, until it is killed.
#[test]
#[ignore = "started by other tests"]
fn child() {
    let (Ok(dir), Ok(mode)) = (
        std::env::var("STORE_CHILD_DIR"),
        std::env::var("STORE_CHILD_MODE"),
    ) else {
        return;
    };
    let mut store = open(Path::new(&dir));
    let mut out = std::io::stdout();
    writeln!(out, "ready").unwrap();
    if mode == "hold" {
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    for round in 0..10_000 {
        let ops: Vec<Op> = (0..7)
            .map(|place| {
                let id = format!("{}.{round}.{place}", std::process::id());
                let mut accept = sample(&id, "text");
                accept.caps.rows = u64::MAX;
                accept.caps.bytes = u64::MAX;
                accept.caps.rows_per_sender = u64::MAX;
                Op::Accept(accept)
            })
            .collect();
        for outcome in store.commit(&ops).unwrap() {
            match outcome {
                Outcome::Accepted { seq, .. } => writeln!(out, "seq {seq}").unwrap(),
                other => panic!("not accepted: {other:?}"),
            }
        }
    }
}

#[test]
fn the_lock_dies_with_its_process() {
    let dir = TempDir::new().unwrap();
    let mut child = start_child(dir.path(), "hold");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")));
    match SqliteStore::open(dir.path(), Durability::Process) {
        Err(StoreError::InUse { pid, .. }) => assert_eq!(pid, child.id()),
        other => panic!("opened twice: {other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path());
}

#[test]
fn what_was_committed_survives_a_kill() {
    let dir = TempDir::new().unwrap();
    let mut said: Vec<u64> = Vec::new();
    for _ in 0..3 {
        let mut child = start_child(dir.path(), "commit");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = said.len() + 700;
        // All that it said before it died counts, also what was still in the pipe.
        for line in lines.map_while(Result::ok) {
            if let Some(seq) = line.strip_prefix("seq ") {
                said.push(seq.parse().unwrap());
            }
            if said.len() == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(said.len() >= enough);

        let store = open(dir.path());
        let there = waiting(&store);
        for seq in &said {
            there.binary_search(seq).unwrap();
        }
        assert_eq!(info(&store).head, *there.last().unwrap());
        drop(store);
        let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
        let ask = |sql| conn.query_row(sql, [], |row| row.get::<_, String>(0));
        assert_eq!(ask("PRAGMA integrity_check").as_deref(), Ok("ok"));
        // Whole commits only: every table tells the same.
        let counts = ask(
            "SELECT count(*) || ' ' || (SELECT count(*) FROM message) || ' ' ||
             (SELECT count(*) FROM accepted) || ' ' || (SELECT count(*) FROM audit_log) || ' ' ||
             (SELECT queued FROM meta) FROM delivery",
        );
        let each = there.len().to_string();
        assert_eq!(counts.unwrap(), [each.as_str(); 5].join(" "));
        assert_eq!(there.len() % 7, 0);
    }
}

/// A store with messages in two meshes, and its folder.
fn audited() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = open(dir.path());
    for n in 0..6 {
        accept(&mut store, &format!("m{n}"));
        let mut other = sample(&format!("m{n}"), "text");
        other.mesh = mesh("two");
        store.commit(&[Op::Accept(other)]).unwrap();
    }
    dir
}

/// What is wrong with mesh `one` after the file was altered; mesh `two` must hold.
fn after(sql: &str) -> Option<AuditFault> {
    let dir = audited();
    let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
    drop(conn);
    let reports = verify_audit(dir.path(), None).unwrap();
    let [one, two] = reports.as_slice() else {
        panic!("{reports:?}")
    };
    assert_eq!((two.rows, &two.fault), (6, &None), "{sql}");
    one.fault.clone()
}

#[test]
fn an_audit_table_that_was_altered_by_hand_is_found_out() {
    let altered = |id| Some(AuditFault::Altered { id });
    // The rows of mesh `one` have the odd ids.
    let cases = [
        (
            "UPDATE audit_log SET actorPeerId = 'ff' WHERE id = 5",
            altered(5),
        ),
        (
            "UPDATE audit_log SET targetPeerId = NULL WHERE id = 1",
            altered(1),
        ),
        (
            "UPDATE audit_log SET eventType = 'peer_left' WHERE id = 11",
            altered(11),
        ),
        (
            "UPDATE audit_log SET createdAt = 1 WHERE id = 3",
            altered(3),
        ),
        (
            "UPDATE audit_log SET metadata = '{}' WHERE id = 7",
            altered(7),
        ),
        (
            "UPDATE audit_log SET meshId = 'two' WHERE id = 7",
            altered(7),
        ),
        ("UPDATE audit_log SET hash = NULL WHERE id = 7", altered(7)),
        ("UPDATE audit_log SET id = 99 WHERE id = 7", altered(99)),
        (
            "DELETE FROM audit_log WHERE id IN (5, 7)",
            Some(AuditFault::Missing { id: 9, missing: 2 }),
        ),
        (
            "DELETE FROM audit_log WHERE id IN (9, 11)",
            Some(AuditFault::Cut { missing: 2 }),
        ),
        (
            "UPDATE audit_log SET chain = NULL WHERE id = 3",
            Some(AuditFault::Missing { id: 5, missing: 1 }),
        ),
        (
            "INSERT INTO audit_log (meshId, eventType, metadata, createdAt)
             VALUES ('one', 'message_sent', '{}', 1)",
            Some(AuditFault::Unchained { id: 13 }),
        ),
        (
            "INSERT INTO audit_log (meshId, eventType, metadata, createdAt, chain, n, hash)
             SELECT meshId, eventType, metadata, createdAt, chain, n + 1, hash
             FROM audit_log WHERE id = 11",
            altered(13),
        ),
        (
            "UPDATE audit_chain SET hash = zeroblob(32) WHERE mesh = 'one'",
            Some(AuditFault::End),
        ),
    ];
    for (sql, fault) in cases {
        assert_eq!(after(sql), fault, "{sql}");
    }
}

/// A chain that was made anew by hand fits itself: what peers were told finds it out.
#[test]
fn rows_that_were_rewritten_or_taken_away_are_found_out_by_what_peers_were_told() {
    use claudemesh_core::audit::Place;
    let dir = audited();
    let one = mesh("one");
    let place = |dir: &TempDir, n: u64| {
        let store = open(dir.path());
        let reader = store.reader().unwrap();
        let query = Query::Audit {
            mesh: mesh("one"),
            from: 0,
            bytes: 1 << 20,
        };
        let Rows::Audit(page) = reader.load(&query).unwrap() else {
            panic!("no audit rows")
        };
        let rows = page.rows.iter().take(usize::try_from(n).unwrap());
        rows.fold(page.base, |place, row| place.after(&mesh("one"), row))
    };
    let told: Vec<(_, Place)> = [2, 4, 6].map(|n| (one.clone(), place(&dir, n))).into();
    let reports = verify_audit_pinned(dir.path(), Some(&one), &told).unwrap();
    assert_eq!((reports[0].pinned, &reports[0].fault), (3, &None));

    // A store in which the same was said by other means: whole, and another.
    let other = TempDir::new().unwrap();
    let mut store = open(other.path());
    for n in 0..6 {
        accept(&mut store, &format!("m{n}"));
    }
    drop(store);
    let reports = verify_audit_pinned(other.path(), Some(&one), &told).unwrap();
    assert_eq!(verify_audit(other.path(), None).unwrap()[0].fault, None);
    assert_eq!(reports[0].fault, Some(AuditFault::Rewritten { n: 2 }));

    // The newest rows taken away, and the end of the chain with them.
    let end = place(&dir, 4);
    let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    conn.execute("DELETE FROM audit_log WHERE meshId = 'one' AND n > 4", [])
        .unwrap();
    conn.execute(
        "UPDATE audit_chain SET n = 4, hash = ? WHERE mesh = 'one'",
        [end.hash.as_bytes()],
    )
    .unwrap();
    drop(conn);
    assert_eq!(verify_audit(dir.path(), Some(&one)).unwrap()[0].fault, None);
    let reports = verify_audit_pinned(dir.path(), Some(&one), &told).unwrap();
    let behind = AuditFault::Behind { told: 6, n: 4 };
    assert_eq!((reports[0].pinned, &reports[0].fault), (2, &Some(behind)));
}

#[test]
fn the_command_takes_what_peers_were_told() {
    use clap::Parser;
    let dir = audited();
    let head = {
        let reports = verify_audit(dir.path(), Some(&mesh("one"))).unwrap();
        reports[0].head
    };
    let data = dir.path().to_str().unwrap();
    let run = |more: &[&str]| {
        let args = ["audit", "verify", "--data", data];
        let mut out = Vec::new();
        let args = AuditArgs::try_parse_from(args.iter().chain(more));
        let result = audit::run(&args.unwrap(), &mut out);
        (
            result.map_err(|error| error.to_string()),
            String::from_utf8(out).unwrap(),
        )
    };
    let good = format!("{}:{}", head.n, head.hash);
    let (result, out) = run(&["--mesh", "one", "--head", &good]);
    result.unwrap();
    assert!(
        out.contains("1 places that peers were told of are in it"),
        "{out}"
    );
    let bad = format!("5:{}", head.hash);
    let (result, out) = run(&["--mesh", "one", "--head", &bad, "--head", &good]);
    assert!(result.unwrap_err().contains("altered"));
    assert!(out.contains("up to place 5 are not those"), "{out}");

    let file = dir.path().join("heads.json");
    let said = |holds: bool, n: u64| {
        let zero = claudemesh_core::id::Hash::ZERO;
        serde_json::json!({
            "mesh": "team", "mesh_id": "one", "holds": holds, "from": 0, "from_hash": zero,
            "to": n, "hash": head.hash, "rows": [],
        })
    };
    let file_name = file.to_str().unwrap();
    // Two peers; the second one found something wrong, so its end is not held against the store.
    fs::write(&file, format!("{}\n{}\n", said(true, 6), said(false, 5))).unwrap();
    let (result, out) = run(&["--heads", file_name]);
    result.unwrap();
    assert!(out.contains("one: 3 places"), "{out}");
    fs::write(&file, said(true, 7).to_string()).unwrap();
    let (result, out) = run(&["--heads", file_name]);
    assert!(result.is_err());
    assert!(
        out.contains("a peer was told of place 7, but the chain ends at 6"),
        "{out}"
    );
    for (text, part) in [("", "empty"), ("x", "not JSON"), ("{}", "mesh_id")] {
        fs::write(&file, text).unwrap();
        let error = run(&["--heads", file_name]).0.unwrap_err();
        assert!(
            error.contains(part) && error.contains("audit --json"),
            "{error}"
        );
    }
    let (result, _) = run(&["--heads", "/no/such/file"]);
    assert!(result.unwrap_err().contains("/no/such/file"));
}

#[test]
fn the_command_says_which_row_was_altered() {
    use clap::Parser;
    let dir = audited();
    let data = dir.path().to_str().unwrap();
    let run = |more: &[&str]| {
        let args = ["audit", "verify", "--data", data];
        let args = args.iter().chain(more);
        let mut out = Vec::new();
        let result = audit::run(&AuditArgs::parse_from(args), &mut out);
        (result, String::from_utf8(out).unwrap())
    };
    let (result, out) = run(&[]);
    result.unwrap();
    assert!(
        out.starts_with("one: 6 rows hold, up to place 6, hash "),
        "{out}"
    );
    let (result, _) = run(&["--mesh", "none"]);
    assert!(matches!(result, Err(AuditRunError::NoMesh(_))));
    let conn = rusqlite::Connection::open(dir.path().join("broker.db")).unwrap();
    conn.execute("UPDATE audit_log SET createdAt = 7 WHERE id = 5", [])
        .unwrap();
    let (result, out) = run(&["--mesh", "one"]);
    assert!(matches!(result, Err(AuditRunError::Altered(1))));
    assert_eq!(out, "one: row 5 was altered (2 rows before it hold)\n");
    run(&["--mesh", "two"]).0.unwrap();
    // Not while a broker writes to it.
    drop(conn);
    let _broker = open(dir.path());
    let (result, _) = run(&[]);
    assert!(matches!(
        result,
        Err(AuditRunError::Store(StoreError::InUse { .. }))
    ));
}
