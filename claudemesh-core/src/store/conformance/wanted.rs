//! Messages for one session, and rules about whose messages are wanted.

use super::{
    Case, apply, fresh, incoming, insert, key, open, place, reader, received, take, unread,
};
use crate::id::Priority::{Next, Now};
use crate::id::PublicKey;
use crate::store::{
    KeptRule, Kind, MAX_HELD_OF_ONE, Outcome, PeerOp, PeerStore, Query, ReaderStart, Rows, Rule,
    Who,
};

pub(super) const CASES: &[Case] = &[
    a_session_is_shown_its_own,
    rules_are_kept_and_taken_back,
    the_nearest_rule_counts,
    what_is_blocked_is_counted,
    what_is_muted_wakes_nobody,
    what_is_held_waits_for_an_answer,
    held_ones_are_bounded,
    a_fact_is_forgotten,
];

fn unread_of(store: &dyn PeerStore, session: Option<u8>, waking: bool) -> Vec<String> {
    let query = Query::UnreadOf {
        reader: reader("r"),
        session: session.map(key),
        waking,
        limit: 100,
    };
    let rows = received(store, &query);
    rows.into_iter()
        .map(|row| row.message.delivery.dedupe)
        .collect()
}

fn to(name: &str, session: u8) -> PeerOp {
    let mut message = incoming(name, 1, Next);
    message.to = Some(key(session));
    insert(message)
}

fn rule(who: Who, rule: impl Into<Option<Rule>>) -> PeerOp {
    let rule = rule.into();
    PeerOp::SetRule { who, rule }
}

fn rules(store: &dyn PeerStore) -> Vec<KeptRule> {
    match store.read(&Query::Rules).unwrap() {
        Rows::Rules(rules) => rules,
        other => panic!("expected rules, got {other:?}"),
    }
}

fn held(store: &dyn PeerStore) -> Vec<(u64, String)> {
    let rows = received(store, &Query::Held { limit: 2_000 });
    rows.into_iter()
        .map(|row| (row.seq, row.message.delivery.dedupe))
        .collect()
}

fn a_session_is_shown_its_own(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    place(store, insert(incoming("all", 1, Next)));
    place(store, to("five", 5));
    place(store, to("six", 6));
    assert_eq!(unread_of(store, Some(5), false), ["all", "five"]);
    assert_eq!(unread_of(store, Some(6), true), ["all", "six"]);
    assert_eq!(unread_of(store, None, false), ["all"]);
    assert_eq!(unread(store, "r"), fresh(&["all"]));
    let rows = received(store, &Query::Inbox { limit: 9 });
    let told: Vec<Option<PublicKey>> = rows.iter().map(|row| row.message.to).collect();
    assert_eq!(told, [None, Some(key(5)), Some(key(6))]);
    // One reader that takes its own moves no other's past its own.
    apply(store, open("s", ReaderStart::Resume));
    apply(store, take("s", Next, 3));
    assert_eq!(unread_of(store, Some(5), false), ["all", "five"]);
}

fn rules_are_kept_and_taken_back(store: &mut dyn PeerStore) {
    assert!(rules(store).is_empty());
    let bob = Who::Peer(key(2));
    assert_eq!(apply(store, rule(bob, Rule::Mute)), Outcome::Done);
    assert_eq!(apply(store, rule(bob, Rule::Block)), Outcome::Done);
    assert_eq!(
        apply(store, rule(Who::Unverified, Rule::Ask)),
        Outcome::Done
    );
    let kept: Vec<_> = rules(store)
        .iter()
        .map(|kept| (kept.who, kept.rule))
        .collect();
    assert_eq!(kept, [(bob, Rule::Block), (Who::Unverified, Rule::Ask)]);
    assert_eq!(apply(store, rule(bob, None)), Outcome::Done);
    assert_eq!(apply(store, rule(bob, None)), Outcome::NotThere);
    assert_eq!(rules(store).len(), 1);
}

fn the_nearest_rule_counts(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    apply(store, rule(Who::Verified, Rule::Block));
    apply(store, rule(Who::Peer(key(1)), Rule::Mute));
    // A member's own rule, then that of the member whose device it is, then the general one.
    let mut device = incoming("device", 7, Next);
    device.device_of = Some(key(1));
    let muted = apply(store, insert(device));
    assert!(matches!(muted, Outcome::Muted(_)), "{muted:?}");
    assert_eq!(
        apply(store, insert(incoming("other", 3, Next))),
        Outcome::Dropped
    );
    let mut stranger = incoming("stranger", 3, Next);
    stranger.verified = false;
    place(store, insert(stranger));
    apply(store, rule(Who::Peer(key(7)), Rule::Allow));
    let mut device = incoming("device-again", 7, Next);
    device.device_of = Some(key(1));
    place(store, insert(device));
    // What was not taken says why, whatever the rule.
    let mut rejected = incoming("rejected", 3, Next);
    rejected.kind = Kind::Rejected;
    place(store, insert(rejected));
}

fn what_is_blocked_is_counted(store: &mut dyn PeerStore) {
    apply(store, rule(Who::Peer(key(2)), Rule::Block));
    for name in ["a", "b", "b"] {
        assert_eq!(
            apply(store, insert(incoming(name, 2, Now))),
            Outcome::Dropped
        );
    }
    let mut said = incoming("c", 2, Now);
    said.kind = Kind::Channel;
    said.channel = Some(crate::id::ChannelName::everyone());
    assert_eq!(apply(store, insert(said)), Outcome::Dropped);
    assert_eq!(rules(store)[0].dropped, 4);
    assert!(received(store, &Query::Inbox { limit: 9 }).is_empty());
    // Let through again it is a message like any other.
    apply(store, rule(Who::Peer(key(2)), Rule::Allow));
    place(store, insert(incoming("a", 2, Now)));
    assert_eq!(rules(store)[0].dropped, 4);
}

fn what_is_muted_wakes_nobody(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    apply(store, rule(Who::Peer(key(2)), Rule::Mute));
    let muted = apply(store, insert(incoming("quiet", 2, Now)));
    assert!(matches!(muted, Outcome::Muted(_)), "{muted:?}");
    assert_eq!(unread_of(store, None, false), ["quiet"]);
    assert!(unread_of(store, None, true).is_empty());
    let rows = received(store, &Query::Inbox { limit: 9 });
    assert!(rows[0].muted);
    place(store, insert(incoming("loud", 1, Next)));
    assert_eq!(unread_of(store, None, true), ["quiet", "loud"]);
    let one = Query::UnreadOf {
        reader: reader("r"),
        session: None,
        waking: true,
        limit: 1,
    };
    assert_eq!(received(store, &one).len(), 1);
    // What is for another session wakes not this one.
    apply(store, take("r", Next, 2));
    place(store, to("elsewhere", 5));
    assert!(unread_of(store, None, true).is_empty());
    assert_eq!(unread_of(store, Some(5), true), ["quiet", "elsewhere"]);
}

fn what_is_held_waits_for_an_answer(store: &mut dyn PeerStore) {
    apply(store, open("r", ReaderStart::Resume));
    apply(store, rule(Who::Verified, Rule::Ask));
    let outcome = apply(store, insert(incoming("first", 2, Next)));
    assert_eq!(outcome, Outcome::Held(1));
    assert_eq!(
        apply(store, insert(incoming("first", 2, Next))),
        Outcome::Duplicate
    );
    assert_eq!(
        apply(store, insert(incoming("second", 2, Next))),
        Outcome::Held(2)
    );
    let mut said = incoming("said", 2, Next);
    said.kind = Kind::Channel;
    said.channel = Some(crate::id::ChannelName::everyone());
    assert_eq!(apply(store, insert(said)), Outcome::Muted(3));
    assert_eq!(
        held(store),
        [(1, "first".to_owned()), (2, "second".to_owned())]
    );
    assert_eq!(unread(store, "r"), fresh(&["said"]));
    assert_eq!(received(store, &Query::Inbox { limit: 9 }).len(), 1);
    // Readers have gone past it: it comes as if it came now.
    apply(store, take("r", Next, 3));
    let accept = |seq, accept| PeerOp::Answer { seq, accept };
    assert_eq!(apply(store, accept(1, true)), Outcome::Row(4));
    assert_eq!(unread(store, "r"), fresh(&["first"]));
    apply(store, take("r", Next, 4));
    assert!(unread(store, "r").is_empty());
    assert_eq!(apply(store, accept(2, false)), Outcome::Done);
    for seq in [1, 2, 3, 9] {
        assert_eq!(apply(store, accept(seq, true)), Outcome::NotThere);
    }
    assert!(held(store).is_empty() && unread(store, "r").is_empty());
    let rows = received(store, &Query::Inbox { limit: 9 });
    let denied = rows.iter().find(|row| row.seq == 2).unwrap();
    assert_eq!(denied.message.kind, Kind::Rejected);
    // And places go on behind it.
    apply(store, rule(Who::Verified, None));
    assert_eq!(
        apply(store, insert(incoming("third", 2, Next))),
        Outcome::Row(5)
    );
    assert_eq!(
        apply(store, insert(incoming("second", 2, Next))),
        Outcome::Duplicate
    );
}

fn held_ones_are_bounded(store: &mut dyn PeerStore) {
    apply(store, rule(Who::Verified, Rule::Ask));
    for n in 0..MAX_HELD_OF_ONE {
        let outcome = apply(store, insert(incoming(&format!("m{n}"), 2, Next)));
        assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
    }
    assert_eq!(
        apply(store, insert(incoming("more", 2, Next))),
        Outcome::Dropped
    );
    let other = apply(store, insert(incoming("other", 3, Next)));
    assert!(matches!(other, Outcome::Held(_)), "{other:?}");
    assert_eq!(rules(store)[0].dropped, 1);
}

fn a_fact_is_forgotten(store: &mut dyn PeerStore) {
    let pin = |name: &str| {
        PeerOp::Pin(crate::store::Pin {
            name: name.to_owned(),
            value: "x".to_owned(),
        })
    };
    apply(store, pin("a"));
    apply(store, pin("b"));
    assert_eq!(apply(store, PeerOp::Unpin("a".to_owned())), Outcome::Done);
    assert_eq!(
        apply(store, PeerOp::Unpin("a".to_owned())),
        Outcome::NotThere
    );
    let Rows::Pins(pins) = store.read(&Query::Pins).unwrap() else {
        panic!("expected facts");
    };
    assert_eq!(pins.len(), 1);
}
