//! The audit chain, as peers see it.

use claudemesh_core::audit::{Place, Record, check, walk};
use claudemesh_core::wire::{AuditHead, AuditRows};
use serde_json::{Value, json};

use crate::world::{World, hex};

fn head(ack: &Value) -> claudemesh_core::audit::Head {
    let head: AuditHead = serde_json::from_value(ack["audit_head"].clone()).unwrap();
    head.head().unwrap()
}

/// All rows after a place, page by page; gives the base of the first page too.
fn rows(world: &mut World, conn: u64, from: u64) -> (Place, Vec<Record>, AuditHead) {
    let (mut base, mut all) = (None, Vec::new());
    loop {
        let from = base.map_or(from, |base: Place| base.n + all.len() as u64);
        world.got(conn);
        world.frame(
            conn,
            json!({"type": "audit_get", "from": from, "_reqId": "a"}),
        );
        let frame = world.last(conn);
        assert_eq!(frame["type"], "audit_rows", "{frame}");
        assert!(frame.to_string().len() < 262_144);
        let page: AuditRows = serde_json::from_value(frame).unwrap();
        assert_eq!(page.req_id.as_deref(), Some("a"));
        let first = page.base.place().unwrap();
        let base = *base.get_or_insert(first);
        assert_eq!(first.n, base.n + all.len() as u64);
        all.extend(page.rows.into_iter().map(Record::from));
        if base.n + all.len() as u64 >= page.head.n {
            return (base, all, page.head);
        }
    }
}

#[test]
fn the_chain_leads_from_the_head_that_was_pinned_to_the_newest() {
    let mut world = World::of(2);
    let mesh = world.mesh();
    let (owner, member) = (world.connect(1), world.connect(2));
    let pinned = head(&world.got(owner)[0]);
    pinned.check(&mesh, None).unwrap();
    for n in 0..3 {
        world.say(member, &hex(1), &n.to_string(), "next");
    }
    let (base, rows, newest) = rows(&mut world, owner, pinned.place.n);
    assert_eq!(base, pinned.place);
    let newest = newest.head().unwrap();
    let (known, key) = (Some(&pinned.place), Some(&pinned.key));
    check(&mesh, known, base, &rows, &newest, key).unwrap();
    let events: Vec<&str> = rows.iter().map(|row| row.event.as_str()).collect();
    assert_eq!(events[events.len() - 3..], ["message_sent"; 3]);
    // The next hello shows the same head, and another broker on the same store the same key.
    let mut again = world.restart();
    let conn = again.connect(1);
    let next = head(&again.got(conn)[0]);
    assert_eq!((next.place, next.key), (newest.place, pinned.key));
}

#[test]
fn all_of_it_comes_in_pages() {
    let mut world = World::of(2);
    let mesh = world.mesh();
    let (owner, member) = (world.connect(1), world.connect(2));
    for n in 0..1_200 {
        world.say(member, &hex(1), &n.to_string(), "low");
    }
    let (base, rows, newest) = rows(&mut world, owner, 0);
    assert_eq!(base, Place::START);
    assert!(rows.len() > 1_200);
    let head = newest.head().unwrap();
    check(&mesh, None, base, &rows, &head, None).unwrap();
    // From every place on, and from far behind the end.
    let place = walk(&mesh, base, &rows[..1_000]).unwrap();
    let (from, rest, _) = self::rows(&mut world, owner, 1_000);
    assert_eq!((from, &rest[..]), (place, &rows[1_000..]));
    let (end, none, _) = self::rows(&mut world, owner, u64::MAX);
    assert!(none.is_empty() && end == head.place);
}

#[test]
fn only_the_owner_and_admins_see_rows() {
    let mut world = World::of(2);
    for conn in [world.connect(2), world.connect_legacy(2)] {
        world.got(conn);
        world.frame(conn, json!({"type": "audit_get", "from": 0, "_reqId": "a"}));
        let error = world.last(conn);
        assert_eq!(error["code"], "forbidden");
        assert_eq!(error["_reqId"], "a");
    }
}

#[test]
fn existing_clients_see_no_head() {
    let mut world = World::of(2);
    let old = world.connect_legacy(2);
    assert_eq!(world.got(old)[0]["audit_head"], Value::Null);
}

#[test]
fn what_members_do_is_written_down_without_content() {
    let mut world = World::new();
    let conn = world.connect_legacy(1);
    world.frame(
        conn,
        json!({"type": "set_state", "key": "secret-key", "value": "secret-value"}),
    );
    world.frame(
        conn,
        json!({"type": "remember", "content": "secret-memory"}),
    );
    let id = world.got_of(conn, "memory_stored")[0]["id"].clone();
    world.frame(conn, json!({"type": "forget", "memoryId": id}));
    let owner = world.connect(1);
    let (_, rows, _) = rows(&mut world, owner, 0);
    for event in ["state_set", "memory_stored", "memory_forgotten"] {
        let row = rows.iter().find(|row| row.event == event).unwrap();
        assert_eq!(row.actor.as_deref(), Some(&hex(1)[..16]));
    }
    assert!(!format!("{rows:?}").contains("secret"));
}
