//! State, memory, schedules and the audit chain.

use claudemesh_core::audit::{Place, walk};
use claudemesh_core::id::PublicKey;

use super::{Bench, Check, key, mesh, sample};
use crate::store::{
    AuditPage, AuditRow, Fire, ItemRow, LogChange, MemoryRow, Op, Outcome, Query, Rows,
    ScheduleRow, SetState, StateRow, ValueOp, ValueQuery, ValueRows,
};

pub(super) const CHECKS: &[Check] = &[
    a_value_has_a_version,
    values_come_by_key,
    keys_are_counted,
    memories_come_newest_first,
    memories_are_searched,
    schedules_are_their_members,
    what_is_due_comes_by_time,
    a_one_shot_is_sent_with_its_end,
    a_one_shot_that_is_refused_stays,
    a_cron_waits_for_its_author,
    a_removed_member_has_no_schedules,
    items_are_kept_by_kind_and_key,
    audit_rows_are_a_chain,
];

fn state(name: &str, version: u64) -> SetState {
    SetState {
        mesh: mesh("one"),
        row: StateRow {
            key: name.into(),
            value: format!("{version}"),
            version,
            writer: key(2),
            name: "Bo".into(),
            at: 1_000,
        },
        if_version: None,
        request: None,
        max: 100,
    }
}

fn memory(id: &str, content: &str) -> MemoryRow {
    MemoryRow {
        id: id.into(),
        content: content.into(),
        tags: vec!["Infra".into()],
        sealed: content.starts_with("$sealed:"),
        writer: key(2),
        name: "Bo".into(),
        at: 1_000,
    }
}

fn schedule(id: &str, member: u8, due: u64) -> ScheduleRow {
    ScheduleRow {
        mesh: mesh("one"),
        id: id.into(),
        member: key(member),
        to: "#ops".into(),
        due: Some(due),
        created_at: 1_000,
        cron: None,
        body: format!("body {id}"),
        fired: 0,
        pending: None,
        failed: None,
    }
}

fn of_cron(id: &str, due: u64) -> ScheduleRow {
    ScheduleRow {
        cron: Some("* * * * *".into()),
        ..schedule(id, 2, due)
    }
}

fn remember(id: &str, content: &str, max: u64) -> ValueOp {
    ValueOp::Remember {
        mesh: mesh("one"),
        row: memory(id, content),
        max,
    }
}

fn put(row: ScheduleRow) -> ValueOp {
    ValueOp::Schedule { row, max: 3 }
}

fn taken(id: &str, due: u64) -> ValueOp {
    ValueOp::Taken {
        mesh: mesh("one"),
        member: key(2),
        id: id.into(),
        due,
    }
}

fn cancel(id: &str, member: u8) -> ValueOp {
    ValueOp::Cancel {
        mesh: mesh("one"),
        member: key(member),
        id: id.into(),
        at: 1_000,
    }
}

impl Bench {
    fn with_mesh(&mut self) {
        let (mesh, entry) = super::meshes::first("one");
        assert_eq!(self.one(Op::CreateMesh { mesh, entry }), Outcome::Done);
    }

    fn value(&mut self, op: ValueOp) -> Outcome {
        self.one(Op::Value(op))
    }

    fn set(&mut self, set: SetState) -> Outcome {
        self.value(ValueOp::SetState(set))
    }

    fn values(&self, query: ValueQuery) -> ValueRows {
        match self.load(&Query::Value(query)) {
            Rows::Value(rows) => rows,
            other => panic!("not values: {other:?}"),
        }
    }

    fn memories(&self, query: ValueQuery) -> (Vec<String>, bool) {
        match self.values(query) {
            ValueRows::Memory(rows, more) => (rows.into_iter().map(|row| row.id).collect(), more),
            other => panic!("not memories: {other:?}"),
        }
    }

    fn schedules(&self, pending: bool) -> Vec<ScheduleRow> {
        let (mesh, member) = (mesh("one"), key(2));
        match self.values(if pending {
            ValueQuery::Pending { mesh, member }
        } else {
            ValueQuery::Schedules {
                mesh,
                member,
                bodies: false,
            }
        }) {
            ValueRows::Schedules(rows) => rows,
            other => panic!("not schedules: {other:?}"),
        }
    }

    fn due(
        &self,
        until: u64,
        after: (u64, u64),
        limit: usize,
    ) -> (Vec<(u64, String)>, Option<u64>) {
        let query = ValueQuery::Due {
            until,
            after,
            limit,
        };
        match self.values(query) {
            ValueRows::Due(rows, next) => {
                (rows.into_iter().map(|(n, row)| (n, row.id)).collect(), next)
            }
            other => panic!("not what is due: {other:?}"),
        }
    }

    fn audit(&self, name: &str, from: u64, bytes: usize) -> AuditPage {
        let mesh = mesh(name);
        match self.load(&Query::Audit { mesh, from, bytes }) {
            Rows::Audit(page) => page,
            other => panic!("not audit rows: {other:?}"),
        }
    }
}

fn a_value_has_a_version(bench: &mut Bench) {
    assert_eq!(bench.set(state("k", 1)), Outcome::NotThere);
    bench.with_mesh();
    let only_if = |version, wanted| SetState {
        if_version: Some(wanted),
        ..state("k", version)
    };
    assert_eq!(bench.set(only_if(4, 1)), Outcome::Conflict { head: 0 });
    assert_eq!(bench.set(only_if(4, 0)), Outcome::Kept(4));
    assert_eq!(bench.set(only_if(4, 0)), Outcome::Conflict { head: 4 });
    assert_eq!(bench.set(state("k", 3)), Outcome::Conflict { head: 4 });
    assert_eq!(bench.set(state("k", 4)), Outcome::Kept(4));
    assert_eq!(bench.set(state("k", 0)), Outcome::Kept(5));
    // Two in one commit see each other.
    let ops = [only_if(6, 5), only_if(6, 5)].map(|set| Op::Value(ValueOp::SetState(set)));
    assert_eq!(
        bench.commit(&ops),
        [Outcome::Kept(6), Outcome::Conflict { head: 6 }]
    );
    let named = |version, wanted, request| SetState {
        request: Some([request; 16]),
        ..only_if(version, wanted)
    };
    assert_eq!(bench.set(named(9, 6, 1)), Outcome::Kept(9));
    assert_eq!(bench.set(named(9, 6, 1)), Outcome::Kept(9));
    assert_eq!(bench.set(named(9, 6, 2)), Outcome::Conflict { head: 9 });
    let query = |name: &str| ValueQuery::State {
        mesh: mesh("one"),
        key: name.into(),
    };
    let row = state("k", 9).row;
    assert_eq!(bench.values(query("k")), ValueRows::State(vec![row], false));
    assert_eq!(bench.values(query("no")), ValueRows::State(vec![], false));
}

fn values_come_by_key(bench: &mut Bench) {
    bench.with_mesh();
    for name in ["b", "a", "ä", "c", "B"] {
        bench.set(state(name, 1));
    }
    let page = |after: Option<&str>, bytes| {
        let query = ValueQuery::States {
            mesh: mesh("one"),
            after: after.map(str::to_owned),
            bytes,
        };
        match bench.values(query) {
            ValueRows::State(rows, more) => {
                let keys: Vec<String> = rows.into_iter().map(|row| row.key).collect();
                (keys.concat(), more)
            }
            other => panic!("not values: {other:?}"),
        }
    };
    assert_eq!(page(None, 1 << 20), ("Babcä".to_owned(), false));
    assert_eq!(page(None, 0), ("B".to_owned(), true));
    assert_eq!(page(Some("a"), 600), ("bc".to_owned(), true));
    assert_eq!(page(Some("c"), 600), ("ä".to_owned(), false));
    assert_eq!(page(Some("ä"), 600), (String::new(), false));
}

fn keys_are_counted(bench: &mut Bench) {
    bench.with_mesh();
    let one = |name| SetState {
        max: 1,
        ..state(name, 0)
    };
    assert_eq!(bench.set(one("a")), Outcome::Kept(1));
    assert_eq!(bench.set(one("b")), Outcome::Full);
    assert_eq!(bench.set(one("a")), Outcome::Kept(2));
}

fn memories_come_newest_first(bench: &mut Bench) {
    assert_eq!(bench.value(remember("a", "x", 3)), Outcome::NotThere);
    bench.with_mesh();
    for id in ["a", "b", "c"] {
        assert_eq!(bench.value(remember(id, "x", 3)), Outcome::Done);
    }
    assert_eq!(bench.value(remember("d", "x", 3)), Outcome::Full);
    assert_eq!(bench.value(remember("a", "x", 3)), Outcome::Done);
    assert_eq!(bench.value(remember("a", "y", 3)), Outcome::Reused);
    let page = |after: Option<&str>, bytes| ValueQuery::Memories {
        mesh: mesh("one"),
        after: after.map(str::to_owned),
        bytes,
    };
    let ids = |ids: &[&str], more| (ids.iter().map(|id| (*id).to_owned()).collect(), more);
    assert_eq!(
        bench.memories(page(None, 1 << 20)),
        ids(&["c", "b", "a"], false)
    );
    assert_eq!(bench.memories(page(None, 0)), ids(&["c"], true));
    assert_eq!(bench.memories(page(Some("c"), 0)), ids(&["b"], true));
    assert_eq!(bench.memories(page(Some("b"), 0)), ids(&["a"], false));
    assert_eq!(bench.values(page(Some("z"), 0)), ValueRows::Unknown);
    let forget = |by: PublicKey, any| ValueOp::Forget {
        mesh: mesh("one"),
        id: "b".into(),
        by,
        any,
        at: 1_000,
    };
    assert_eq!(bench.value(forget(key(3), false)), Outcome::Refused);
    assert_eq!(bench.value(forget(key(3), true)), Outcome::Done);
    assert_eq!(bench.value(forget(key(2), false)), Outcome::NotThere);
    assert_eq!(bench.memories(page(None, 1 << 20)), ids(&["c", "a"], false));
}

fn memories_are_searched(bench: &mut Bench) {
    bench.with_mesh();
    for (id, content) in [
        ("a", "Prod DB is PG16"),
        ("b", "staging db"),
        ("c", "$sealed:db"),
    ] {
        bench.value(remember(id, content, 10));
    }
    let search = |words: &[&str], limit| ValueQuery::Search {
        mesh: mesh("one"),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        limit,
    };
    let found = |words: &[&str], limit| bench.memories(search(words, limit)).0.concat();
    assert_eq!(found(&["db"], 9), "ba");
    assert_eq!(found(&["db"], 1), "b");
    assert_eq!(found(&["pg16", "prod", "infra"], 9), "a");
    assert_eq!(found(&["prod", "staging"], 9), "");
    assert_eq!(found(&["%"], 9), "");
    assert_eq!(found(&["db"], 0), "");
}

fn schedules_are_their_members(bench: &mut Bench) {
    assert_eq!(bench.value(put(schedule("a", 2, 9))), Outcome::NotThere);
    bench.with_mesh();
    for (id, due) in [("a", 50), ("b", 20), ("c", 30)] {
        assert_eq!(bench.value(put(schedule(id, 2, due))), Outcome::Kept(due));
    }
    assert_eq!(bench.value(put(schedule("d", 2, 40))), Outcome::Full);
    assert_eq!(bench.value(put(schedule("d", 3, 40))), Outcome::Kept(40));
    assert_eq!(bench.value(put(schedule("a", 2, 50))), Outcome::Kept(50));
    for other in [schedule("a", 2, 60), schedule("a", 3, 50)] {
        assert_eq!(bench.value(put(other)), Outcome::Reused);
    }
    let without = |row: ScheduleRow| ScheduleRow {
        body: String::new(),
        ..row
    };
    let rows = [("b", 20), ("c", 30), ("a", 50)];
    let rows = rows.map(|(id, due)| without(schedule(id, 2, due)));
    assert_eq!(bench.schedules(false), rows);
    assert!(bench.schedules(true).is_empty());
    assert_eq!(bench.value(cancel("b", 3)), Outcome::NotThere);
    assert_eq!(bench.value(cancel("b", 2)), Outcome::Done);
    assert_eq!(bench.value(cancel("b", 2)), Outcome::NotThere);
    assert_eq!(bench.schedules(false), rows[1..]);
}

fn what_is_due_comes_by_time(bench: &mut Bench) {
    bench.with_mesh();
    for (id, member, due) in [("a", 2, 30), ("b", 3, 10), ("c", 2, 10), ("d", 3, 40)] {
        bench.value(put(schedule(id, member, due)));
    }
    let (all, next) = bench.due(30, (0, 0), 9);
    let ids: Vec<&str> = all.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!((ids, next), (vec!["b", "c", "a"], Some(40)));
    // Piece by piece, also within one time.
    let (first, _) = bench.due(30, (0, 0), 1);
    let (rest, _) = bench.due(30, (10, first[0].0), 9);
    assert_eq!([first, rest].concat(), all);
    assert_eq!(bench.due(5, (0, 0), 9), (vec![], Some(10)));
    assert_eq!(bench.due(99, (40, u64::MAX), 9), (vec![], None));
}

fn fire(id: &str, message: &str, refusal: Option<&str>) -> ValueOp {
    let mut accept = *sample(message, "tail");
    accept.lookup_only = refusal.is_some();
    ValueOp::Fire(Box::new(Fire {
        id: id.into(),
        refusal: refusal.map(str::to_owned),
        accept,
    }))
}

fn a_one_shot_is_sent_with_its_end(bench: &mut Bench) {
    bench.with_mesh();
    bench.value(put(schedule("a", 2, 10)));
    // Given up in the same commit, it is not sent.
    bench.value(put(schedule("b", 2, 10)));
    let ops = [cancel("b", 2), fire("b", "m2", None), fire("a", "m1", None)].map(Op::Value);
    let outcomes = bench.commit(&ops);
    assert_eq!(outcomes[..2], [Outcome::Done, Outcome::NotThere]);
    assert!(matches!(outcomes[2], Outcome::Accepted { .. }));
    assert_eq!(bench.value(fire("a", "m1", None)), Outcome::NotThere);
    assert_eq!(bench.counts(key(2)), [0, 1, 0]);
    assert!(bench.schedules(false).is_empty());
    // What its author had sent itself under this id counts as sent.
    bench.value(put(schedule("c", 2, 10)));
    let again = bench.value(fire("c", "m1", Some("removed")));
    assert!(matches!(again, Outcome::Duplicate { recipients: 1, .. }));
    assert!(bench.schedules(false).is_empty());
}

fn a_one_shot_that_is_refused_stays(bench: &mut Bench) {
    bench.with_mesh();
    for id in ["a", "b", "c"] {
        bench.value(put(schedule(id, 2, 10)));
    }
    assert_eq!(
        bench.value(fire("a", "m1", Some("removed"))),
        Outcome::Refused
    );
    let mut full = fire("b", "m2", None);
    if let ValueOp::Fire(fire) = &mut full {
        fire.accept.caps.rows = 0;
    }
    assert_eq!(bench.value(full), Outcome::Full);
    let rows = bench.schedules(true);
    let codes: Vec<_> = rows.iter().map(|row| row.failed.as_deref()).collect();
    assert_eq!(codes, [Some("removed"), Some("queue_full")]);
    assert_eq!(rows[0].pending, Some(1_000));
    assert_eq!(rows[0].body, "body a");
    assert_eq!(bench.due(99, (0, 0), 9).0.len(), 1);
    assert_eq!(bench.value(fire("a", "m1", None)), Outcome::NotThere);
    assert_eq!(bench.value(taken("a", 0)), Outcome::Done);
    assert_eq!(bench.schedules(true).len(), 1);
    // A month later nobody asks any more.
    bench.one(Op::Prune {
        now: 1_000 + 31 * 86_400_000,
        limit: 10,
    });
    assert!(bench.schedules(true).is_empty());
    assert_eq!(bench.schedules(false).len(), 1);
}

fn a_cron_waits_for_its_author(bench: &mut Bench) {
    bench.with_mesh();
    assert_eq!(bench.value(put(of_cron("a", 60))), Outcome::Kept(60));
    let due = |due, pending, next| ValueOp::Due {
        mesh: mesh("one"),
        id: "a".into(),
        due,
        pending,
        next,
    };
    assert_eq!(bench.value(due(61, 61, Some(120))), Outcome::NotThere);
    assert_eq!(bench.value(due(60, 60, Some(120))), Outcome::Done);
    assert_eq!(bench.value(due(60, 60, Some(120))), Outcome::NotThere);
    // A repeated request is answered with the time that it is due now.
    assert_eq!(bench.value(put(of_cron("a", 90))), Outcome::Kept(120));
    assert_eq!(bench.due(60, (0, 0), 9), (vec![], Some(120)));
    let waits = bench.schedules(true);
    assert_eq!((waits[0].pending, waits[0].fired), (Some(60), 1));
    assert_eq!(bench.value(due(120, 180, Some(240))), Outcome::Done);
    assert_eq!(bench.value(taken("a", 60)), Outcome::Conflict { head: 180 });
    assert_eq!(bench.value(taken("a", 180)), Outcome::Done);
    assert_eq!(bench.value(taken("a", 180)), Outcome::NotThere);
    assert!(bench.schedules(true).is_empty());
    // Without a next time it ends when it is taken; it is never sent by the broker.
    assert_eq!(bench.value(fire("a", "m", None)), Outcome::NotThere);
    assert_eq!(bench.value(due(240, 240, None)), Outcome::Done);
    assert_eq!(bench.schedules(false).len(), 1);
    assert_eq!(bench.value(taken("a", 240)), Outcome::Done);
    assert!(bench.schedules(false).is_empty());
}

fn a_removed_member_has_no_schedules(bench: &mut Bench) {
    bench.with_mesh();
    bench.value(put(schedule("a", 2, 10)));
    bench.value(put(schedule("b", 3, 10)));
    let (_, entry) = super::meshes::first("one");
    let changes = vec![LogChange::Remove { key: key(2), at: 5 }];
    let outcome = bench.one(Op::AppendLog {
        mesh: mesh("one"),
        seq: 1,
        entry,
        changes,
    });
    assert_eq!(outcome, Outcome::Done);
    let (due, _) = bench.due(99, (0, 0), 9);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].1, "b");
}

fn items_are_kept_by_kind_and_key(bench: &mut Bench) {
    let item = |name: &str, kind: &str, id: &str, value: &str| ItemRow {
        mesh: mesh(name),
        kind: kind.into(),
        key: id.into(),
        value: value.into(),
        at: 7,
    };
    let put = |row: &ItemRow, max| ValueOp::Item {
        row: row.clone(),
        max,
        event: None,
    };
    let none = bench.value(put(&item("one", "task", "a", "1"), 9));
    assert_eq!(none, Outcome::NotThere, "there is no such mesh");
    bench.with_mesh();
    let (b, a) = (
        item("one", "task", "b", "{}"),
        item("one", "task", "a", "1"),
    );
    assert_eq!(bench.value(put(&b, 2)), Outcome::Done);
    assert_eq!(bench.value(put(&a, 2)), Outcome::Done);
    assert_eq!(
        bench.value(put(&item("one", "task", "c", "3"), 2)),
        Outcome::Full
    );
    let again = item("one", "task", "a", "2");
    assert_eq!(bench.value(put(&again, 2)), Outcome::Done, "in its place");
    let other = item("one", "stream", "a", "4");
    let named = ValueOp::Item {
        row: other.clone(),
        max: 1,
        event: Some(("stream_made", key(2))),
    };
    let rows = bench.audit("one", 0, 1 << 20).head.n;
    assert_eq!(bench.value(named), Outcome::Done);
    assert_eq!(bench.audit("one", 0, 1 << 20).head.n, rows + 1);
    let items = |bench: &Bench, query| match bench.load(&Query::Value(query)) {
        Rows::Value(ValueRows::Items(rows)) => rows,
        other => panic!("{other:?}"),
    };
    let all = ValueQuery::Items { mesh: mesh("one") };
    let sorted = vec![other.clone(), again.clone(), b.clone()];
    assert_eq!(items(bench, all.clone()), sorted);
    let of = ValueQuery::ItemsOf {
        kind: "task".into(),
        key: "a".into(),
    };
    assert_eq!(items(bench, of), [again]);
    assert_eq!(
        bench.value(put(&item("one", "task", "a", ""), 2)),
        Outcome::Done
    );
    assert_eq!(
        bench.value(put(&item("one", "task", "a", ""), 2)),
        Outcome::NotThere
    );
    assert_eq!(items(bench, all), [other, b]);
    let elsewhere = ValueQuery::Items { mesh: mesh("two") };
    assert_eq!(items(bench, elsewhere), []);
}

fn audit_rows_are_a_chain(bench: &mut Bench) {
    assert_eq!(bench.audit("one", 0, 1 << 20).head, Place::START);
    let row = |name: &str, at| {
        Op::Audit(AuditRow {
            mesh: mesh(name),
            event: "peer_joined",
            actor: Some("aa".into()),
            target: None,
            size: Some(at),
            priority: None,
            at,
        })
    };
    bench.commit(&[row("one", 1), row("two", 2), row("one", 3)]);
    bench.commit(&[Op::Accept(sample("m", "tail")), row("two", 4)]);
    bench.with_mesh();
    bench.set(state("k", 1));
    let whole = bench.audit("one", 0, 1 << 20);
    let events: Vec<&str> = whole.rows.iter().map(|row| row.event.as_str()).collect();
    let sent = ["peer_joined", "peer_joined", "message_sent", "state_set"];
    assert_eq!(events, sent);
    assert!(whole.rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    let end = walk(&mesh("one"), whole.base, &whole.rows);
    assert_eq!((whole.base, end), (Place::START, Ok(whole.head)));
    let two = bench.audit("two", 0, 1 << 20);
    assert_eq!(walk(&mesh("two"), Place::START, &two.rows), Ok(two.head));
    // From a place on; at least one row; none; past the end.
    let place = walk(&mesh("one"), Place::START, &whole.rows[..2]).expect("in order");
    let rest = bench.audit("one", 2, 1 << 20);
    assert_eq!((rest.base, &rest.rows[..]), (place, &whole.rows[2..]));
    assert_eq!(bench.audit("one", 1, 1).rows, whole.rows[1..2]);
    for (from, bytes) in [(0, 0), (4, 100), (u64::MAX, 100)] {
        let none = bench.audit("one", from, bytes);
        assert_eq!((none.base, none.rows.len()), (whole.head, 0));
    }
}
