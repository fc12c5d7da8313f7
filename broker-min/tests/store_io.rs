//! The broker's store on a disk that fails: each call of a commit to the disk fails once, then for
//! good, in turn. Whatever was answered is true of what a program finds that starts on the files as
//! they are at that moment, and a store that was not in doubt goes on.
#![cfg(unix)]
#![allow(
    unsafe_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "SQLite's file layer is C; helpers of tests are not seen as tests"
)]

#[path = "../../claudemesh-core/tests/vfs/mod.rs"]
mod vfs;

use std::collections::BTreeSet;
use std::path::Path;

use broker_min::store::conformance::{key, mesh, sample};
use broker_min::store::{
    BrokerStore, Delivery, Durability, Op, Outcome, Query, Rows, SqliteStore, StoreError,
    verify_audit,
};
use claudemesh_core::id::Priority;
use vfs::{CALLS, Call};

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, Durability::Power).unwrap()
}

fn accept(id: &str) -> Op {
    // Several pages each.
    Op::Accept(sample(id, &"x".repeat(9_000)))
}

fn waiting(store: &SqliteStore) -> Result<BTreeSet<u64>, StoreError> {
    let query = Query::Page {
        mesh: mesh("one"),
        address: key(2),
        class: Priority::Next,
        after: 0,
        limit: 1_000,
        now: 0,
    };
    match store.reader()?.load(&query)? {
        Rows::Page(rows) => Ok(rows.iter().map(|row| row.seq).collect()),
        other => panic!("not a page: {other:?}"),
    }
}

fn seq(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Accepted { seq, .. } | Outcome::Duplicate { seq, .. } => *seq,
        other => panic!("not accepted: {other:?}"),
    }
}

/// The files as a SIGKILL would leave them now.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = vfs::folder();
    for name in ["broker.db", "broker.db-wal"] {
        std::fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    copy
}

/// What one commit that met a failure came to.
#[derive(Default, Debug)]
struct Tally {
    kept: u32,
    refused: u32,
    unknown: u32,
}

/// A commit of two messages and a settle, of which a call fails. Whether that call was made.
fn attempt(call: Call, after: u32, lasting: bool, tally: &mut Tally) -> bool {
    let dir = vfs::folder();
    let mut store = open(dir.path());
    let before = store.commit(&[accept("a"), accept("b")]).unwrap();
    let (a, b) = (seq(&before[0]), seq(&before[1]));
    let settle = Op::Settle(Delivery {
        mesh: mesh("one"),
        address: key(2),
        class: Priority::Next,
        seq: a,
    });
    let ops = [accept("c"), settle, accept("d")];
    vfs::fail(call, after, lasting);
    let answer = store.commit(&ops);
    let again_while_it_fails = lasting.then(|| store.commit(&[accept("e")]));
    let fired = vfs::heal();
    let place = format!("{call:?} {after} lasting {lasting}: {answer:?}");

    let left = killed(dir.path());
    let audits = verify_audit(left.path(), None).unwrap();
    assert!(
        audits.iter().all(|audit| audit.fault.is_none()),
        "{audits:?}"
    );
    let found = open(left.path());
    let there = waiting(&found).unwrap();
    let is_old = there.contains(&a) && there.len() >= 2;
    let is_new = !there.contains(&a) && there.len() >= 3;
    assert!(there.contains(&b), "{place}: lost what was accepted before");
    assert!(is_old != is_new, "{place}: half a commit: {there:?}");
    match &answer {
        Ok(outcomes) => {
            tally.kept += u32::from(fired);
            assert!(is_new, "{place}: acked and lost");
            assert!(there.contains(&seq(&outcomes[0])) && there.contains(&seq(&outcomes[2])));
        }
        Err(StoreError::Unknown { .. }) => tally.unknown += 1,
        Err(_) => {
            tally.refused += 1;
            assert!(is_old, "{place}: refused and kept");
        }
    }
    drop(found);
    assert!(fired || answer.is_ok(), "{place}: refused for no reason");

    // A store in doubt is not used again; any other goes on, without a restart.
    let doubt = |answer: &Result<Vec<Outcome>, StoreError>| {
        matches!(answer, Err(StoreError::Unknown { .. }))
    };
    let in_doubt = doubt(&answer) || again_while_it_fails.as_ref().is_some_and(doubt);
    if in_doubt {
        drop(store);
        store = open(dir.path());
    }
    let again = store
        .commit(&[accept("c"), accept("d"), accept("f")])
        .unwrap();
    let now = waiting(&store).unwrap();
    let wanted: BTreeSet<u64> = again.iter().map(seq).chain([b]).collect();
    assert_eq!(wanted.len(), 4, "{place}: {again:?}");
    assert!(
        wanted.is_subset(&now),
        "{place}: {now:?} lacks of {wanted:?}"
    );
    if let Ok(outcomes) = &answer {
        assert_eq!(seq(&again[0]), seq(&outcomes[0]), "{place}: accepted twice");
    }
    fired
}

#[test]
fn no_failure_of_the_disk_makes_a_false_ack() {
    vfs::install();
    let mut tally = Tally::default();
    let mut calls = 0;
    for call in CALLS {
        for lasting in [false, true] {
            for after in 0..200 {
                if !attempt(call, after, lasting, &mut tally) {
                    break;
                }
                calls += 1;
            }
        }
    }
    // Else it showed nothing.
    assert!(
        calls > 20 && tally.refused > 5 && tally.unknown > 2,
        "{calls} {tally:?}"
    );
}

#[test]
fn a_store_that_cannot_be_opened_says_so_and_is_opened_later() {
    vfs::install();
    let dir = vfs::folder();
    let mut store = open(dir.path());
    let kept = seq(&store.commit(&[accept("a")]).unwrap()[0]);
    drop(store);
    let mut failed = 0;
    for call in CALLS {
        for after in 0..40 {
            vfs::fail(call, after, true);
            let opened = SqliteStore::open(dir.path(), Durability::Power);
            let fired = vfs::heal();
            failed += u32::from(opened.is_err());
            if let Err(error) = opened {
                assert!(fired, "{call:?} {after}: {error}");
                let text = error.to_string();
                assert!(text.contains("broker.db"), "it does not say where: {text}");
            }
            if !fired {
                break;
            }
        }
    }
    assert!(failed > 3, "{failed}");
    assert!(waiting(&open(dir.path())).unwrap().contains(&kept));
}
