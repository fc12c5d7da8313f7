//! The logs of channels: fetched when they are wanted, added to, never taken back.

use claudemesh_core::membership::ChannelBody;
use claudemesh_core::session::{Command, Event, Lie, Reply, SessionError};
use claudemesh_core::wire::errors::code;

use super::topic::*;
use crate::support::*;

fn members(rig: &Rig, command: u64) -> Vec<(claudemesh_core::id::PublicKey, bool)> {
    match rig.answer(command) {
        Some(Ok(Reply::Channel(view))) => view.members.clone(),
        other => panic!("{other:?}"),
    }
}

fn listed(of: &[(u8, bool)]) -> Vec<(claudemesh_core::id::PublicKey, bool)> {
    let mut listed: Vec<_> = of.iter().map(|(seed, lead)| (key(*seed), *lead)).collect();
    listed.sort();
    listed
}

fn changed(rig: &mut Rig) -> usize {
    let channel = ops();
    let changed = Event::ChannelChanged { channel };
    let count = rig.events.iter().filter(|event| **event == changed).count();
    rig.events.clear();
    count
}

/// Ben is in `#ops` and was shown its log.
fn begin() -> (Rig, Topic) {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, false);
    let mut rig = online(&topic.mesh, BEN);
    sync(&mut rig, &topic);
    (rig, topic)
}

fn append(rig: &mut Rig, body: ChannelBody) -> u64 {
    let channel = ops();
    rig.command(Command::AppendChannel { channel, body })
}

#[test]
fn a_channel_is_shown_and_kept_as_its_log_has_it() {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, false);
    let mut rig = online(&topic.mesh, BEN);
    let command = rig.command(Command::SyncChannel(ops()));
    let asked = gets(&mut rig);
    assert_eq!((asked.len(), asked[0].from), (1, 1));
    assert_eq!(rig.answer(command), None, "not before the newest is here");
    rig.frame(topic.page(&asked[0]));
    assert_eq!(members(&rig, command), listed(&[(ANA, true), (BEN, false)]));
    assert_eq!(kept(&rig), [1]);
    assert_eq!(changed(&mut rig), 1);
    // The newest entry held is shown again, and nothing is kept or told twice.
    topic.add(CEM, true);
    let command = rig.command(Command::SyncChannel(ops()));
    let asked = gets(&mut rig);
    assert_eq!((asked.len(), asked[0].from), (1, 1));
    rig.frame(topic.page(&asked[0]));
    let all = listed(&[(ANA, true), (BEN, false), (CEM, true)]);
    assert_eq!(members(&rig, command), all);
    assert_eq!(kept(&rig), [1, 2]);
    assert_eq!(changed(&mut rig), 1);
    let command = sync(&mut rig, &topic);
    assert_eq!(members(&rig, command), all);
    assert_eq!((kept(&rig).len(), changed(&mut rig)), (2, 0));
    // Without the broker what is held is told.
    rig.broken();
    let command = rig.command(Command::SyncChannel(ops()));
    assert_eq!(members(&rig, command), all);
    assert!(gets(&mut rig).is_empty());
}

#[test]
fn a_channel_nobody_made_is_said_not_to_be_there() {
    let mut rig = online(&Mesh::new(&[BEN]), BEN);
    let command = rig.command(Command::SyncChannel(ops()));
    let missing = Err(SessionError::NoSuchChannel(ops()));
    assert_eq!(rig.answer(command), Some(&missing));
    assert!(gets(&mut rig).is_empty());
}

#[test]
fn a_long_log_is_fetched_page_by_page_and_no_longer_than_it_grows() {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    for _ in 0..3 {
        topic.add(CEM, false);
        let key = key(CEM);
        topic.say(CEM, ChannelBody::Left { key });
    }
    let mut rig = online(&topic.mesh, ANA);
    let command = rig.command(Command::SyncChannel(ops()));
    for (from, shown) in [(1, 2), (2, 4), (4, 6)] {
        let get = gets(&mut rig).pop().unwrap();
        assert_eq!(get.from, from);
        assert_eq!(rig.answer(command), None);
        let mut page = topic.page(&get);
        page.entries.truncate(shown + 1 - from as usize);
        rig.frame(page);
        assert_eq!(kept(&rig).len(), shown);
    }
    assert_eq!(members(&rig, command), listed(&[(ANA, true)]));
    assert!(gets(&mut rig).is_empty());
    // A broker that names more than it shows is not asked for ever.
    let command = rig.command(Command::SyncChannel(ops()));
    let get = gets(&mut rig).pop().unwrap();
    let mut page = topic.page(&get);
    page.head.seq += 10;
    rig.frame(page);
    assert_eq!(members(&rig, command), listed(&[(ANA, true)]));
    assert!(gets(&mut rig).is_empty());
}

#[test]
fn what_others_add_is_taken_as_it_comes_and_gaps_are_asked_for() {
    let (mut rig, mut topic) = begin();
    changed(&mut rig);
    topic.add(CEM, false);
    rig.frame(topic.news());
    assert_eq!((kept(&rig).len(), changed(&mut rig)), (2, 1));
    assert!(gets(&mut rig).is_empty());
    // Told twice it is taken once.
    rig.frame(topic.news());
    assert_eq!((kept(&rig).len(), changed(&mut rig)), (2, 0));
    topic.add(CEM, true);
    topic.add(CEM, false);
    rig.frame(topic.news());
    let get = gets(&mut rig).pop().unwrap();
    assert_eq!(get.from, 2);
    rig.frame(topic.page(&get));
    assert_eq!((kept(&rig).len(), changed(&mut rig)), (4, 1));
    // An announcement without its entry is a gap, too.
    topic.add(CEM, true);
    let mut news = topic.news();
    news.entry = None;
    rig.frame(news);
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert_eq!(kept(&rig).len(), 5);
}

#[test]
fn of_channels_that_nobody_asked_about_only_what_concerns_this_member_is_looked_at() {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    let mut rig = online(&topic.mesh, BEN);
    topic.add(CEM, false);
    rig.frame(topic.news());
    assert!(gets(&mut rig).is_empty());
    topic.add(BEN, false);
    rig.frame(topic.news());
    let get = gets(&mut rig).pop().unwrap();
    assert_eq!(get.from, 1);
    rig.frame(topic.page(&get));
    assert_eq!(kept(&rig), [1, 2]);
}

#[test]
fn another_log_is_told_and_nothing_goes_on_in_that_channel() {
    let (mut rig, topic) = begin();
    let mut other = Topic {
        entries: Vec::new(),
        ..topic.cut(0)
    };
    other.add(CEM, false);
    other.add(BEN, false);
    rig.lies();
    let command = sync(&mut rig, &other);
    let unusable = |answer: Option<&Result<Reply, SessionError>>| {
        matches!(answer, Some(Err(SessionError::LogUnusable(_))))
    };
    assert!(unusable(rig.answer(command)), "{:?}", rig.done);
    let (channel, seq) = (ops(), 1);
    assert_eq!(rig.lies(), [Lie::ChannelLogFork { channel, seq }]);
    let key = key(BEN);
    let command = append(&mut rig, ChannelBody::Left { key });
    assert!(unusable(rig.answer(command)), "{:?}", rig.done);
    assert!(added(&mut rig).is_empty());
    assert_eq!(kept(&rig), [1]);
}

#[test]
fn an_entry_that_is_not_valid_is_told_and_what_is_held_counts() {
    let (mut rig, topic) = begin();
    rig.lies();
    let mut grown = topic.clone();
    let key = key(CEM);
    grown.say(CEM, ChannelBody::Joined { key });
    let mut forged = grown.entries.pop().unwrap();
    forged.signature.0[0] ^= 1;
    grown.entries.push(forged);
    let command = sync(&mut rig, &grown);
    assert_eq!(members(&rig, command), listed(&[(ANA, true), (BEN, false)]));
    assert!(matches!(
        rig.lies().as_slice(),
        [Lie::BadChannelEntry { .. }]
    ));
    assert!(gets(&mut rig).is_empty());
    // Nor one that is no entry at all.
    let command = rig.command(Command::SyncChannel(ops()));
    let get = gets(&mut rig).pop().unwrap();
    let mut page = topic.page(&get);
    page.entries[0].e = "?".to_owned();
    rig.frame(page);
    assert_eq!(members(&rig, command), listed(&[(ANA, true), (BEN, false)]));
    assert_eq!(rig.lies().len(), 1);
    // Live ones are looked at again in the log.
    rig.frame(grown.news());
    assert_eq!(rig.lies().len(), 1);
    assert_eq!(gets(&mut rig).len(), 1);
    assert_eq!(kept(&rig), [1]);
}

#[test]
fn an_own_entry_is_answered_with_its_place_when_it_is_kept() {
    let (mut rig, mut topic) = begin();
    let key = key(BEN);
    let command = append(&mut rig, ChannelBody::Left { key });
    let entry = added(&mut rig).pop().unwrap();
    topic.say(BEN, ChannelBody::Left { key });
    assert_eq!(entry.entry, blob(&topic.entries[1]));
    assert_eq!(
        (entry.invite_token.clone(), rig.answer(command)),
        (None, None)
    );
    rig.slow_store = true;
    rig.frame(topic.taken(&entry, 2));
    assert_eq!(rig.answer(command), None);
    rig.store_all();
    let (seq, hash) = (2, topic.log.head().hash);
    let answer = Ok(Reply::Appended { seq, hash });
    assert_eq!(rig.answer(command), Some(&answer));
    assert_eq!(kept(&rig), [1, 2]);
}

#[test]
fn entries_go_one_at_a_time_in_order() {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    let mut rig = online(&topic.mesh, ANA);
    sync(&mut rig, &topic);
    for member in [BEN, CEM] {
        let (key, lead) = (key(member), false);
        append(&mut rig, ChannelBody::Added { key, lead });
    }
    for (member, seq) in [(BEN, 1), (CEM, 2)] {
        let open = added(&mut rig);
        let expected = topic.add(member, false);
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].entry, blob(&expected));
        rig.frame(topic.taken(&open[0], seq));
    }
    let appended = |(_, result): &&(u64, _)| matches!(result, Ok(Reply::Appended { .. }));
    assert_eq!(rig.done.iter().filter(appended).count(), 2);
}

#[test]
fn what_cannot_follow_is_refused_before_it_is_sent() {
    let (mut rig, _) = begin();
    let key = key(CEM);
    let command = append(&mut rig, ChannelBody::Left { key });
    assert!(matches!(rig.answer(command), Some(Err(_))));
    assert!(added(&mut rig).is_empty());
    rig.broken();
    let command = append(&mut rig, ChannelBody::Joined { key });
    let refused = rig.answer(command);
    assert!(matches!(refused, Some(Err(SessionError::NotConnected(_)))));
}

#[test]
fn an_entry_is_signed_anew_after_a_conflict_five_times() {
    let (mut rig, topic) = begin();
    let (key, lead) = (key(BEN), true);
    let command = append(&mut rig, ChannelBody::Left { key });
    let mut grown = topic;
    for turn in 0..5 {
        let open = added(&mut rig).pop().unwrap();
        assert_eq!(
            open.entry,
            blob(&grown.draft(BEN, ChannelBody::Left { key }))
        );
        assert_eq!(rig.answer(command), None);
        let lead = (turn % 2 == 0) == lead;
        grown.add(CEM, lead);
        rig.refuse(open.req_id.as_ref(), code::LOG_CONFLICT, None);
        for get in gets(&mut rig) {
            rig.frame(grown.page(&get));
        }
    }
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Contention)));
    assert!(added(&mut rig).is_empty());
}

#[test]
fn an_entry_that_nobody_answers_for_is_looked_for_in_the_log() {
    let (mut rig, mut topic) = begin();
    let key = key(BEN);
    let command = append(&mut rig, ChannelBody::Left { key });
    added(&mut rig);
    rig.pass(10_000);
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Timeout)));
    topic.say(BEN, ChannelBody::Left { key });
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert_eq!(kept(&rig), [1, 2]);
    assert!(added(&mut rig).is_empty());
}

#[test]
fn a_refusal_is_the_answer_and_the_next_entry_goes_on() {
    let (mut rig, mut topic) = begin();
    let key = key(BEN);
    let first = append(&mut rig, ChannelBody::Left { key });
    let second = append(&mut rig, ChannelBody::Left { key });
    let open = added(&mut rig).pop().unwrap();
    rig.refuse(open.req_id.as_ref(), code::FORBIDDEN, None);
    assert!(
        matches!(rig.answer(first), Some(Err(SessionError::Refused { code: c, .. })) if c == "forbidden")
    );
    let open = added(&mut rig).pop().unwrap();
    topic.say(BEN, ChannelBody::Left { key });
    rig.frame(topic.taken(&open, 2));
    assert!(matches!(rig.answer(second), Some(Ok(_))));
    assert!(gets(&mut rig).is_empty());
}

#[test]
fn at_most_sixty_four_entries_wait_for_one_channel() {
    let (mut rig, _) = begin();
    let key = key(BEN);
    for _ in 0..64 {
        append(&mut rig, ChannelBody::Left { key });
    }
    assert!(
        rig.done
            .iter()
            .all(|(_, result)| !matches!(result, Err(SessionError::Contention)))
    );
    let command = append(&mut rig, ChannelBody::Left { key });
    assert_eq!(rig.answer(command), Some(&Err(SessionError::Contention)));
    // And with the connection all of them end.
    rig.done.clear();
    rig.broken();
    let gone = |(_, result): &&(u64, _)| matches!(result, Err(SessionError::NotConnected(_)));
    assert_eq!(rig.done.iter().filter(gone).count(), 64);
}

#[test]
fn a_log_that_cannot_be_had_is_said_with_its_reason() {
    for (code, error) in [
        (code::FORBIDDEN, SessionError::NotInChannel(ops())),
        (code::NOT_FOUND, SessionError::NoSuchChannel(ops())),
    ] {
        let (mut rig, _) = begin();
        let command = rig.command(Command::SyncChannel(ops()));
        let get = gets(&mut rig).pop().unwrap();
        rig.refuse(get.req_id.as_ref(), code, None);
        assert_eq!(rig.answer(command), Some(&Err(error)));
        rig.pass(60_000);
        assert!(gets(&mut rig).is_empty(), "it is an answer");
    }
}

#[test]
fn a_log_that_is_refused_for_now_is_asked_for_when_the_broker_says() {
    let (mut rig, mut topic) = begin();
    let command = rig.command(Command::SyncChannel(ops()));
    let get = gets(&mut rig).pop().unwrap();
    rig.refuse(get.req_id.as_ref(), code::BUSY, Some(20_000));
    assert!(matches!(
        rig.answer(command),
        Some(Err(SessionError::Refused { .. }))
    ));
    rig.pass(19_999);
    assert!(gets(&mut rig).is_empty());
    rig.pass(5_001);
    topic.add(CEM, false);
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert_eq!(kept(&rig), [1, 2]);
}

#[test]
fn an_entry_whose_signer_the_mesh_does_not_know_yet_waits_for_the_meshs_log() {
    let (mut rig, mut topic) = begin();
    rig.forget();
    topic.mesh.join(4);
    let key = key(4);
    topic.say(4, ChannelBody::Joined { key });
    rig.command(Command::SyncChannel(ops()));
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert!(rig.lies().is_empty(), "it is no lie");
    assert_eq!(rig.show_log(&topic.mesh), 1);
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert_eq!(kept(&rig), [1, 2]);
}
