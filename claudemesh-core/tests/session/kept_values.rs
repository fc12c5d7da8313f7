//! State and memories, by the session alone: compared and swapped, sealed, and held against what was seen
//! before.

use claudemesh_core::session::{Command, Lie, Reply, SessionError};
use claudemesh_core::wire::{
    Ack, CAP_CHANNELS, CAP_VALUES, ClientFrame, Forget, GetState, ListState, MemoryRecord,
    MemoryResults, MemoryStored, Recall, Remember, SetState, StateEntry, StateList, StateResult,
    StateSaved, errors::code,
};
use serde_json::Value;

use super::keys;
use crate::support::*;

/// Ana on a broker that keeps values; nothing noted so far.
pub(crate) fn begin() -> Rig {
    let mut rig = Rig::new(&Mesh::new(&[BEN, CEM]), ANA);
    hello(&mut rig);
    rig
}

pub(crate) fn hello(rig: &mut Rig) {
    rig.connect_to(&[CAP_CHANNELS, CAP_VALUES]);
    // The key of `$state` is looked for at once, and the log before it.
    let mesh = rig.mesh.clone();
    rig.show_log(&mesh);
    rig.events.clear();
}

fn asked(rig: &mut Rig) -> Option<GetState> {
    rig.take(|frame| match frame {
        ClientFrame::GetState(get) => Some(get.clone()),
        _ => None,
    })
}

fn written(rig: &mut Rig) -> Option<SetState> {
    rig.take(|frame| match frame {
        ClientFrame::SetState(set) => Some(set.clone()),
        _ => None,
    })
}

fn listed(rig: &mut Rig) -> Option<ListState> {
    rig.take(|frame| match frame {
        ClientFrame::ListState(list) => Some(list.clone()),
        _ => None,
    })
}

fn entry(key: &str, value: Value, version: u64) -> StateEntry {
    StateEntry {
        key: key.to_owned(),
        value,
        updated_by: String::new(),
        updated_at: String::new(),
        version: Some(version),
    }
}

fn shows(rig: &mut Rig, get: GetState, value: Value, version: u64) {
    rig.frame(StateResult {
        entry: entry(&get.key, value, version),
        req_id: get.req_id,
    });
}

fn set(rig: &mut Rig, text: &str, if_version: Option<u64>) -> u64 {
    rig.command(Command::SetState {
        key: "k".to_owned(),
        body: text.as_bytes().to_vec(),
        if_version,
    })
}

/// The broker has no key of `$state`, and takes the one that is made.
pub(crate) fn keyed(rig: &mut Rig) {
    for get in keys::gets(rig, "$state") {
        keys::show(rig, &get, ANA, None);
    }
    if let Some(made) = keys::made(rig) {
        keys::published(rig, "$state", &made);
    }
}

fn saved(rig: &mut Rig, set: &SetState) {
    rig.frame(StateSaved {
        key: set.key.clone(),
        req_id: set.req_id.clone(),
    });
}

/// Ana has written `one`; what the broker keeps of it.
fn one() -> (Rig, Value) {
    let mut rig = begin();
    let command = set(&mut rig, "one", None);
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 0);
    keyed(&mut rig);
    let write = written(&mut rig).unwrap();
    saved(&mut rig, &write);
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Kept(1))));
    (rig, write.value)
}

fn read(rig: &Rig, command: u64) -> (Result<String, String>, bool, u64) {
    match rig.answer(command) {
        Some(Ok(Reply::Values(values))) => {
            let value = &values[0];
            (value.body.clone(), value.newest, value.version)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_is_sealed_for_the_version_after_the_one_that_is_kept() {
    let mut rig = begin();
    let command = set(&mut rig, "one", None);
    let get = asked(&mut rig).unwrap();
    assert!(written(&mut rig).is_none());
    shows(&mut rig, get, Value::Null, 7);
    assert!(written(&mut rig).is_none(), "not before there is a key");
    keyed(&mut rig);
    let write = written(&mut rig).unwrap();
    assert_eq!((write.version, write.if_version), (Some(8), Some(7)));
    assert!(!write.value.to_string().contains("one"));
    assert_eq!(rig.answer(command), None);
    saved(&mut rig, &write);
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Kept(8))));
    // A broker that forgets the number gets one above what was seen all the same.
    set(&mut rig, "two", None);
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 0);
    let write = written(&mut rig).unwrap();
    assert_eq!((write.version, write.if_version), (Some(9), Some(0)));
}

#[test]
fn a_write_that_names_another_version_is_refused_with_the_one_that_is_kept() {
    let mut rig = begin();
    let command = set(&mut rig, "one", Some(3));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 5);
    let conflict = Err(SessionError::StateConflict { current: 5 });
    assert_eq!(rig.answer(command), Some(&conflict));
    assert!(written(&mut rig).is_none());
    // The right one, and somebody who is faster meanwhile.
    let command = set(&mut rig, "one", Some(5));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 5);
    keyed(&mut rig);
    let write = written(&mut rig).unwrap();
    rig.refuse(write.req_id.as_ref(), code::STATE_CONFLICT, None);
    assert_eq!(rig.answer(command), Some(&conflict));
    assert!(asked(&mut rig).is_none());
}

#[test]
fn a_write_without_a_version_is_tried_after_others_five_times() {
    let mut rig = begin();
    let command = set(&mut rig, "one", None);
    for version in 0..6 {
        assert_eq!(rig.answer(command), None);
        let get = asked(&mut rig).unwrap();
        shows(&mut rig, get, Value::Null, version);
        keyed(&mut rig);
        let write = written(&mut rig).unwrap();
        assert_eq!(write.if_version, Some(version));
        rig.refuse(write.req_id.as_ref(), code::STATE_CONFLICT, None);
    }
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Contention)));
    assert!(asked(&mut rig).is_none());
    // Another refusal is the answer.
    let command = set(&mut rig, "one", None);
    let get = asked(&mut rig).unwrap();
    rig.refuse(get.req_id.as_ref(), code::RATE_LIMIT, None);
    let answer = rig.answer(command);
    assert!(
        matches!(answer, Some(Err(SessionError::Refused { code, .. })) if code == "rate_limit")
    );
}

#[test]
fn a_value_reads_as_it_was_written_and_not_under_another_name() {
    let (mut rig, value) = one();
    let command = rig.command(Command::GetState("k".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, value.clone(), 1);
    assert_eq!(read(&rig, command), (Ok("one".to_owned()), true, 1));
    let command = rig.command(Command::GetState("other".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, value.clone(), 1);
    assert!(read(&rig, command).0.is_err());
    // What nobody sealed is shown as that.
    let command = rig.command(Command::GetState("plain".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::from("said by the broker"), 1);
    let Some(Ok(Reply::Values(values))) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    assert!(!values[0].protected && values[0].writer.is_none());
    assert!(rig.lies().is_empty());
}

#[test]
fn an_earlier_value_shown_again_is_told_and_marked() {
    let (mut rig, first) = one();
    set(&mut rig, "two", None);
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 1);
    let write = written(&mut rig).unwrap();
    saved(&mut rig, &write);
    rig.events.clear();
    let command = rig.command(Command::GetState("k".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, write.value.clone(), 2);
    assert_eq!(read(&rig, command), (Ok("two".to_owned()), true, 2));
    assert!(rig.lies().is_empty());
    let command = rig.command(Command::GetState("k".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, first, 1);
    assert_eq!(read(&rig, command), (Ok("one".to_owned()), false, 1));
    let rollback = |shown| Lie::ValueRollback {
        what: "state",
        name: "k".to_owned(),
        held: 2,
        shown,
    };
    assert_eq!(rig.lies(), [rollback(1)]);
    // Nothing at all is what was before it, too.
    rig.command(Command::GetState("k".to_owned()));
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 0);
    assert_eq!(rig.lies(), [rollback(0)]);
}

#[test]
fn a_list_is_read_to_its_end() {
    let (mut rig, value) = one();
    let command = rig.command(Command::ListState);
    let first = listed(&mut rig).unwrap();
    assert_eq!(first.after, None);
    rig.frame(StateList {
        entries: vec![entry("k", value, 1), entry("l", Value::from(1), 1)],
        more: Some(true),
        req_id: first.req_id,
    });
    assert_eq!(rig.answer(command), None);
    let second = listed(&mut rig).unwrap();
    assert_eq!(second.after.as_deref(), Some("l"));
    rig.frame(StateList {
        entries: vec![entry("m", Value::from(2), 1)],
        more: None,
        req_id: second.req_id,
    });
    let Some(Ok(Reply::Values(values))) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    let names: Vec<_> = values.iter().map(|value| value.name.as_str()).collect();
    assert_eq!(names, ["k", "l", "m"]);
    assert!(listed(&mut rig).is_none());
    // A broker that says there is more and shows nothing is not asked for ever.
    let command = rig.command(Command::ListState);
    let list = listed(&mut rig).unwrap();
    rig.frame(StateList {
        entries: Vec::new(),
        more: Some(true),
        req_id: list.req_id,
    });
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Values(Vec::new()))));
    assert!(listed(&mut rig).is_none());
}

#[test]
fn what_waits_for_a_key_waits_for_twenty_seconds() {
    let mut rig = begin();
    let command = set(&mut rig, "one", None);
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 0);
    // The broker has no answer for keys just now.
    let refused = |rig: &mut Rig| {
        for get in keys::gets(rig, "$state") {
            rig.refuse(get.req_id.as_ref(), code::BUSY, None);
        }
    };
    refused(&mut rig);
    for _ in 0..4 {
        rig.pass(4_999);
        refused(&mut rig);
        assert_eq!(rig.answer(command), None);
    }
    rig.pass(4);
    let answer = rig.answer(command);
    assert!(
        matches!(answer, Some(Err(SessionError::NoKeyYet(_)))),
        "{answer:?}"
    );
    assert!(written(&mut rig).is_none());
    // And no longer than the connection.
    let command = set(&mut rig, "one", None);
    let get = asked(&mut rig).unwrap();
    shows(&mut rig, get, Value::Null, 0);
    rig.broken();
    let answer = rig.answer(command);
    assert!(
        matches!(answer, Some(Err(SessionError::NotConnected(_)))),
        "{answer:?}"
    );
}

#[test]
fn without_a_broker_that_keeps_values_nothing_is_asked() {
    let mut rig = Rig::connected(&Mesh::new(&[BEN]), ANA);
    for command in [
        Command::GetState("k".to_owned()),
        Command::ListState,
        Command::ListMemories,
    ] {
        let command = rig.command(command);
        assert_eq!(
            rig.answer(command),
            Some(&Err(SessionError::ValuesUnserved))
        );
    }
    rig.broken();
    let command = set(&mut rig, "one", None);
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::NotConnected(_)))
    ));
    assert!(asked(&mut rig).is_none() && listed(&mut rig).is_none());
}

#[test]
fn a_memory_is_sealed_listed_to_the_end_and_forgotten() {
    let mut rig = begin();
    let command = rig.command(Command::Remember {
        body: b"the port is 7900".to_vec(),
        tags: vec!["ops".to_owned()],
    });
    keyed(&mut rig);
    let remember: Remember = rig
        .take(|frame| match frame {
            ClientFrame::Remember(remember) => Some(remember.clone()),
            _ => None,
        })
        .unwrap();
    assert!(!remember.content.contains("7900"));
    let id = remember.id.clone().unwrap();
    rig.frame(MemoryStored {
        id: id.clone(),
        memory_id: None,
        req_id: remember.req_id.clone(),
    });
    assert_eq!(
        rig.answer(command),
        Some(&Ok(Reply::Remembered(id.clone())))
    );

    let command = rig.command(Command::ListMemories);
    let recalled = |rig: &mut Rig| -> Option<Recall> {
        rig.take(|frame| match frame {
            ClientFrame::Recall(recall) => Some(recall.clone()),
            _ => None,
        })
    };
    let record = |id: &str, content: &str| MemoryRecord {
        id: id.to_owned(),
        content: content.to_owned(),
        tags: vec!["ops".to_owned()],
        remembered_by: "somebody".to_owned(),
        remembered_at: String::new(),
    };
    let first = recalled(&mut rig).unwrap();
    assert_eq!((first.after, first.all), (None, Some(true)));
    rig.frame(MemoryResults {
        memories: vec![record(&id, &remember.content)],
        more: Some(true),
        req_id: first.req_id,
    });
    let second = recalled(&mut rig).unwrap();
    assert_eq!(second.after.as_ref(), Some(&id));
    rig.frame(MemoryResults {
        memories: vec![record("moved", &remember.content)],
        more: Some(false),
        req_id: second.req_id,
    });
    let Some(Ok(Reply::Values(values))) = rig.answer(command) else {
        panic!("{:?}", rig.done)
    };
    assert_eq!(values[0].body.as_deref(), Ok("the port is 7900"));
    assert_eq!(values[0].writer, Some(key(ANA)));
    assert!(values[1].body.is_err(), "it was sealed for its own id");

    let command = rig.command(Command::Forget(id.clone()));
    let forget: Forget = rig
        .take(|frame| match frame {
            ClientFrame::Forget(forget) => Some(forget.clone()),
            _ => None,
        })
        .unwrap();
    assert_eq!(forget.memory_id, id);
    rig.frame(Ack {
        req_id: forget.req_id,
        ..Ack::default()
    });
    assert_eq!(rig.answer(command), Some(&Ok(Reply::Done)));
}
