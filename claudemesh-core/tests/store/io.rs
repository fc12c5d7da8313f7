//! A disk that fails: each call of a transaction to the disk fails once, then for good, in turn.
//! What was answered is true of what a program finds on the files as they are at that moment.

use std::path::Path;

use claudemesh_core::store::{PeerOp, PeerStore, StoreError};

use super::vfs::{self, CALLS, Call};
use super::{inbox, insert, integrity, open};

/// What one transaction that met a failure came to.
#[derive(Default, Debug)]
struct Tally {
    refused: u32,
    unknown: u32,
}

fn large(name: &str) -> PeerOp {
    // Several pages.
    insert(name, vec![b'x'; 9_000])
}

fn names(path: &Path) -> Vec<String> {
    let rows = inbox(&open(path)).into_iter();
    rows.map(|row| row.message.delivery.dedupe).collect()
}

/// Two messages in one transaction, of which a call fails. Whether that call was made.
fn attempt(call: Call, after: u32, lasting: bool, tally: &mut Tally) -> bool {
    let dir = vfs::folder();
    let path = dir.path().join("peer.db");
    let mut store = open(&path);
    store.apply(&[large("a")]).unwrap();
    vfs::fail(call, after, lasting);
    let answer = store.apply(&[large("b"), large("c")]);
    let fired = vfs::heal();
    let place = format!("{call:?} {after} lasting {lasting}: {answer:?}");

    // As a SIGKILL would leave the files now.
    let left = vfs::folder();
    for name in ["peer.db", "peer.db-wal"] {
        std::fs::copy(dir.path().join(name), left.path().join(name)).unwrap();
    }
    let copy = left.path().join("peer.db");
    let there = names(&copy);
    assert_eq!(integrity(&copy), "ok", "{place}");
    let (is_old, is_new) = (there == ["a"], there == ["a", "b", "c"]);
    assert!(is_old || is_new, "{place}: half a transaction: {there:?}");
    match &answer {
        Ok(_) => assert!(is_new, "{place}: confirmed and lost"),
        Err(StoreError::Unknown { .. }) => tally.unknown += 1,
        Err(_) => {
            tally.refused += 1;
            assert!(is_old, "{place}: refused and kept");
        }
    }
    assert!(fired || answer.is_ok(), "{place}: refused for no reason");

    // The same store goes on once the disk does.
    store.apply(&[large("b"), large("c"), large("d")]).unwrap();
    assert_eq!(names(&path), ["a", "b", "c", "d"], "{place}");
    fired
}

#[test]
fn no_failure_of_the_disk_confirms_what_is_not_kept() {
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
        calls > 20 && tally.refused + tally.unknown > 10 && tally.unknown > 2,
        "{calls} {tally:?}"
    );
}
