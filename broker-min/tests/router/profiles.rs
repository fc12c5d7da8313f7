//! What is kept of a member beside the log: changed whole or not at all, whatever else is under way.

use broker_min::router::{Asker, HttpCall, HttpReply, In, MeshAsk, MeshCall};
use broker_min::store::{BrokerStore as _, ItemRow, Op, StoreError, ValueOp};
use claudemesh_core::id::Signature;
use claudemesh_core::membership::Role;
use serde_json::{Value, json};

use crate::world::{World, hex, key};

/// A mesh of the owner 1 and of 2, whose client is an existing one.
fn mesh() -> World {
    let mut world = World::new();
    let (token, _) = world.invite(90, Role::Member, 50);
    let reply = world.join(&token, 2, None);
    assert!(matches!(reply, HttpReply::Joined { .. }), "{reply:?}");
    world
}

fn call(world: &World, by: u8, signed: u8, ask: MeshAsk) -> HttpCall {
    HttpCall::Mesh(Box::new(MeshCall {
        mesh: world.mesh(),
        by: Asker::Member(key(by), Signature([signed; 64])),
        ask,
    }))
}

/// How the broker shows member 2.
fn shown(world: &mut World, signed: u8) -> Option<Value> {
    let call = call(world, 1, signed, MeshAsk::Members);
    let HttpReply::Json(reply) = world.http(call) else {
        panic!("no list");
    };
    let rows = reply["members"].as_array().unwrap();
    rows.iter().find(|row| row["pubkey"] == hex(2)).cloned()
}

fn rename(world: &mut World, signed: u8) -> HttpCall {
    let id = shown(world, signed).unwrap()["id"].clone();
    let fields = json!({"displayName": "bobby", "roleTag": "x"});
    let ask = MeshAsk::Edit {
        member: id.as_str().unwrap().to_owned(),
        fields: fields.as_object().unwrap().clone(),
    };
    call(world, 2, signed, ask)
}

#[test]
fn who_takes_another_name_while_it_is_banned_stays_banned() {
    let mut world = mesh();
    let owner = world.connect(1);
    let rename = rename(&mut world, 1);
    world.hold_commits = true;
    world.frame(owner, json!({"type": "ban", "target": hex(2)}));
    let request = world.fresh();
    world.input(In::Http {
        request,
        call: rename,
    });
    world.release_commits();
    assert_eq!(shown(&mut world, 2), None);
    let mut world = world.restart();
    assert_eq!(shown(&mut world, 2), None, "nor is it back after a restart");
}

#[test]
fn a_name_that_was_not_kept_is_not_shown() {
    let mut world = mesh();
    let bob = world.connect_legacy(2);
    let call = rename(&mut world, 1);
    world.got(bob);
    world.fail.push_back(StoreError::Full {
        path: "broker.db".into(),
    });
    let reply = world.http(call);
    assert!(matches!(reply, HttpReply::Error { status: 503, .. }));
    let row = shown(&mut world, 2).unwrap();
    assert_eq!(
        (&row["displayName"], &row["roleTag"]),
        (&json!("m2"), &Value::Null)
    );
    assert!(world.got(bob).is_empty(), "nobody is told");
    let call = rename(&mut world, 3);
    assert!(matches!(world.http(call), HttpReply::Json(_)));
    assert_eq!(world.got_of(bob, "push")[0]["event"], "profile_updated");
    let mut world = world.restart();
    let row = shown(&mut world, 4).unwrap();
    assert_eq!(
        (&row["displayName"], &row["roleTag"]),
        (&json!("bobby"), &json!("x"))
    );
}

#[test]
fn without_room_for_a_profile_nothing_is_changed() {
    let mut world = mesh();
    for n in 0..5_000 {
        let row = ItemRow {
            mesh: world.mesh(),
            kind: "profile".into(),
            key: format!("{n:064}"),
            value: "{}".into(),
            at: 0,
        };
        let op = ValueOp::Item {
            row,
            max: 5_000,
            event: None,
        };
        world.store.commit(&[Op::Value(op)]).unwrap();
    }
    let mut world = world.restart();
    let bob = world.connect_legacy(2);
    let call = rename(&mut world, 1);
    world.got(bob);
    let HttpReply::Error { status, code, .. } = world.http(call) else {
        panic!("there was room");
    };
    assert_eq!((status, code), (409, "queue_full"));
    assert_eq!(shown(&mut world, 2).unwrap()["displayName"], "m2");
    assert!(world.got(bob).is_empty(), "nobody is told");
    assert_eq!(shown(&mut world.restart(), 3).unwrap()["displayName"], "m2");
}
