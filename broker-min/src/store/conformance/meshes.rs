//! Meshes, members, logs, invites, and what the store says of itself.

use claudemesh_core::id::{Hash, MemberId, Name, PublicKey, Signature};
use claudemesh_core::membership::{Role, SignedEntry};

use super::{Bench, Check, key, mesh, sample};
use crate::store::{
    AuditRow, InviteRow, LogChange, MemberRow, MeshRow, MeshRows, Op, Outcome, Query, Rows,
};

pub(super) const CHECKS: &[Check] = &[
    a_mesh_is_made_once,
    a_mesh_without_a_log_is_kept,
    a_log_has_one_next_place,
    members_come_and_go,
    invites_count_their_uses,
    members_without_an_entry,
    the_store_stays_itself,
];

pub(super) fn entry(number: u8, cosigned: bool) -> Box<SignedEntry> {
    Box::new(SignedEntry {
        bytes: vec![number; 40],
        signature: Signature([number; 64]),
        cosignature: cosigned.then_some(Signature([number + 1; 64])),
    })
}

fn mesh_row(name: &str) -> Box<MeshRow> {
    Box::new(MeshRow {
        id: mesh(name),
        slug: "team".into(),
        owner: key(1),
        owner_name: Name::new("Ana María").unwrap(),
        owner_member: MemberId::new("m1").unwrap(),
        created_at: 1_000,
    })
}

/// A mesh and its first entry.
pub(super) fn first(name: &str) -> (Box<MeshRow>, Box<SignedEntry>) {
    (mesh_row(name), entry(0, false))
}

fn member(number: u8) -> Box<MemberRow> {
    Box::new(MemberRow {
        mesh: mesh("one"),
        key: key(number),
        id: MemberId::new(format!("m{number}")).unwrap(),
        name: Name::new("Bo").unwrap(),
        role: Role::Member,
        logged: true,
        joined_at: 2_000,
        last_seen: 0,
        removed_at: 0,
    })
}

fn invite(token: &str) -> Box<InviteRow> {
    Box::new(InviteRow {
        mesh: mesh("one"),
        token: token.into(),
        invite: Hash([9; 32]),
        legacy_uses: 0,
    })
}

fn audit() -> AuditRow {
    AuditRow {
        mesh: mesh("one"),
        event: "member_joined",
        actor: Some(key(1).short()),
        target: None,
        size: None,
        priority: None,
        at: 2_000,
    }
}

pub(super) fn create(bench: &mut Bench, name: &str) -> Outcome {
    bench.one(Op::CreateMesh {
        mesh: mesh_row(name),
        entry: entry(0, false),
    })
}

fn append(bench: &mut Bench, seq: u64, changes: Vec<LogChange>) -> Outcome {
    bench.one(Op::AppendLog {
        mesh: mesh("one"),
        seq,
        entry: entry(u8::try_from(seq).unwrap(), true),
        changes,
    })
}

pub(super) fn load(bench: &Bench) -> MeshRows {
    match bench.load(&Query::Mesh(mesh("one"))) {
        Rows::Mesh(Some(mesh)) => *mesh,
        other => panic!("no mesh: {other:?}"),
    }
}

fn find(bench: &Bench, key: PublicKey) -> MemberRow {
    let (_, members, _, _, _) = load(bench);
    let found: Vec<_> = members.into_iter().filter(|it| it.key == key).collect();
    assert_eq!(found.len(), 1, "one row per member");
    found[0].clone()
}

/// A mesh of the existing system has no log, and who is in it follows row by row.
fn a_mesh_without_a_log_is_kept(bench: &mut Bench) {
    assert_eq!(bench.one(Op::ImportMesh(mesh_row("one"))), Outcome::Done);
    assert_eq!(
        bench.one(Op::ImportMesh(mesh_row("one"))),
        Outcome::NotThere
    );
    assert_eq!(create(bench, "one"), Outcome::NotThere);
    let (row, members, invites, log, channels) = load(bench);
    assert_eq!(row, *mesh_row("one"));
    assert!(members.is_empty() && invites.is_empty() && log.is_empty() && channels.is_empty());
    let owner = MemberRow {
        logged: false,
        ..row.first_member()
    };
    assert_eq!(
        bench.one(Op::PutMember(Box::new(owner.clone()))),
        Outcome::Done
    );
    assert_eq!(load(bench).1, [owner]);
}

fn a_mesh_is_made_once(bench: &mut Bench) {
    assert_eq!(bench.load(&Query::Mesh(mesh("one"))), Rows::Mesh(None));
    assert_eq!(create(bench, "one"), Outcome::Done);
    let other = bench.one(Op::CreateMesh {
        mesh: Box::new(MeshRow {
            slug: "other".into(),
            ..*mesh_row("one")
        }),
        entry: entry(5, false),
    });
    assert_eq!(other, Outcome::NotThere);
    let (row, members, invites, log, _) = load(bench);
    assert_eq!(row, *mesh_row("one"));
    assert_eq!(log, [*entry(0, false)]);
    assert!(invites.is_empty());
    let owner = MemberRow {
        name: row.owner_name.clone(),
        role: Role::Owner,
        joined_at: 1_000,
        ..*member(1)
    };
    assert_eq!(members, [owner]);
    assert_eq!(create(bench, "two"), Outcome::Done);
    assert_eq!(bench.totals(), [0, 2, 2]);
}

fn a_log_has_one_next_place(bench: &mut Bench) {
    assert_eq!(append(bench, 1, vec![]), Outcome::NotThere);
    create(bench, "one");
    let refused = || vec![LogChange::Join(member(2))];
    assert_eq!(append(bench, 0, refused()), Outcome::Conflict { head: 0 });
    assert_eq!(append(bench, 2, refused()), Outcome::Conflict { head: 0 });
    assert_eq!(load(bench).1.len(), 1, "a refused entry changes nothing");
    assert_eq!(append(bench, 1, vec![]), Outcome::Done);
    assert_eq!(append(bench, 1, refused()), Outcome::Conflict { head: 1 });
    assert_eq!(append(bench, 2, vec![]), Outcome::Done);
    assert_eq!(
        load(bench).3,
        [*entry(0, false), *entry(1, true), *entry(2, true)]
    );
}

fn members_come_and_go(bench: &mut Bench) {
    create(bench, "one");
    let changes = vec![LogChange::Join(member(2)), LogChange::Audit(audit())];
    assert_eq!(append(bench, 1, changes), Outcome::Done);
    assert_eq!(find(bench, key(2)), *member(2));
    assert_eq!(bench.totals(), [0, 1, 2]);
    let seen = |at| Op::Seen {
        mesh: mesh("one"),
        member: key(2),
        at,
    };
    assert_eq!(bench.one(seen(5_000)), Outcome::Done);
    assert_eq!(bench.one(seen(4_000)), Outcome::Done);
    assert_eq!(find(bench, key(2)).last_seen, 5_000);
    let nobody = Op::Seen {
        mesh: mesh("one"),
        member: key(8),
        at: 1,
    };
    assert_eq!(bench.one(nobody), Outcome::NotThere);
    let removal = |key| LogChange::Remove { key, at: 7_000 };
    assert_eq!(
        append(bench, 2, vec![removal(key(2)), removal(key(8))]),
        Outcome::Done
    );
    assert_eq!(find(bench, key(2)).removed_at, 7_000);
    assert_eq!(bench.totals(), [0, 1, 1]);
    // A removed member's row stays, and with it what it had sent.
    assert_eq!(load(bench).1.len(), 2);
}

fn invites_count_their_uses(bench: &mut Bench) {
    create(bench, "one");
    let changes = vec![
        LogChange::Token(invite("t1")),
        LogChange::Token(invite("t2")),
    ];
    append(bench, 1, changes);
    let used = |name: &str, token: &str| Op::UseInvite {
        mesh: mesh(name),
        token: token.into(),
    };
    assert_eq!(bench.one(used("one", "t2")), Outcome::Done);
    assert_eq!(bench.one(used("one", "t2")), Outcome::Done);
    assert_eq!(bench.one(used("one", "t3")), Outcome::NotThere);
    assert_eq!(bench.one(used("two", "t2")), Outcome::NotThere);
    let (_, _, invites, _, _) = load(bench);
    let twice = InviteRow {
        legacy_uses: 2,
        ..*invite("t2")
    };
    assert_eq!(invites, [*invite("t1"), twice]);
    append(bench, 2, vec![LogChange::Token(invite("t2"))]);
    assert_eq!(load(bench).2, [*invite("t1"), *invite("t2")]);
}

fn members_without_an_entry(bench: &mut Bench) {
    assert_eq!(bench.one(Op::PutMember(member(3))), Outcome::NotThere);
    create(bench, "one");
    let pending = MemberRow {
        logged: false,
        role: Role::Pending,
        ..*member(3)
    };
    assert_eq!(
        bench.one(Op::PutMember(Box::new(pending.clone()))),
        Outcome::Done
    );
    assert_eq!(find(bench, key(3)), pending);
    let admin = MemberRow {
        name: Name::new("Cy").unwrap(),
        role: Role::Admin,
        last_seen: 9,
        ..pending
    };
    assert_eq!(
        bench.one(Op::PutMember(Box::new(admin.clone()))),
        Outcome::Done
    );
    assert_eq!(find(bench, key(3)), admin);
    let named = |to: &str, member| Op::NameMember {
        mesh: mesh(to),
        member,
        name: Name::new("Cyd").unwrap(),
    };
    assert_eq!(bench.one(named("one", key(3))), Outcome::Done);
    let name = Name::new("Cyd").unwrap();
    assert_eq!(find(bench, key(3)), MemberRow { name, ..admin });
    assert_eq!(bench.one(named("one", key(4))), Outcome::NotThere);
    assert_eq!(bench.one(named("two", key(3))), Outcome::NotThere);
    let logged = bench.one(Op::PutMember(member(5)));
    assert_eq!(logged, Outcome::Done);
    assert_eq!(bench.one(named("one", key(5))), Outcome::NotThere);
    assert_eq!(find(bench, key(5)), *member(5));
    assert_eq!(bench.one(Op::Audit(audit())), Outcome::Done);
}

fn the_store_stays_itself(bench: &mut Bench) {
    let before = bench.info();
    assert_eq!(before.store.len(), 32);
    assert!(before.store.bytes().all(|it| it.is_ascii_hexdigit()));
    assert_ne!(before.id_secret, [0; 32]);
    assert_eq!((before.head, before.clock), (0, 0));
    let seq = bench.accepted(sample("a", "text"));
    bench.one(Op::Prune { now: 77, limit: 1 });
    let after = bench.info();
    assert_eq!(
        (after.store, after.id_secret),
        (before.store, before.id_secret)
    );
    assert_eq!((after.head, after.clock), (seq, 77));
    // A second reader sees the same.
    let second = bench.store.reader().expect("a reader");
    assert_eq!(second.load(&Query::Info), Ok(bench.load(&Query::Info)));
    bench.store.checkpoint().expect("a checkpoint");
    assert!(bench.commit(&[]).is_empty());
}
