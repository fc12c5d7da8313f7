//! What a broker has lost of a channel's log: who brings it back, in which order, and when not.

use claudemesh_core::id::Hash;
use claudemesh_core::session::{Command, Event, In, Lie, Out};
use claudemesh_core::wire::{CAP_CHANNELS, LogAppended, LogHead, errors::code};

use super::topic::*;
use crate::support::*;

/// `#ops` with Ben as a lead, Cem, and some changes.
fn topic() -> Topic {
    let mut topic = Topic::new(Mesh::new(&[BEN, CEM]));
    topic.add(BEN, true);
    topic.add(CEM, false);
    topic.add(CEM, true);
    topic.add(CEM, false);
    topic
}

/// A member who holds all of the log, on a new connection to a broker that has lost its end.
fn lost(topic: &Topic, member: u8, known: usize) -> Rig {
    let mut rig = online(&topic.mesh, member);
    sync(&mut rig, topic);
    rig.broken();
    hello(&mut rig);
    sync(&mut rig, &topic.cut(known));
    rig
}

fn reposted(rig: &Rig) -> Vec<u64> {
    let told = rig.events.iter().filter_map(|event| match event {
        Event::Reposted {
            channel: Some(channel),
            entries,
        } if *channel == ops() => Some(*entries),
        _ => None,
    });
    told.collect()
}

fn given_up(rig: &Rig) -> usize {
    let told = rig.events.iter().filter(|event| {
        matches!(event, Event::RepostRefused { channel: Some(channel), .. } if *channel == ops())
    });
    told.count()
}

fn give_all(rig: &mut Rig, topic: &Topic, from: u64) {
    let end = topic.entries.len() as u64;
    for seq in from..=end {
        let open = added(rig);
        assert_eq!(open.len(), 1, "one at a time, {seq}");
        assert_eq!(open[0].entry, blob(&topic.entries[seq as usize - 1]));
        assert_eq!(open[0].invite_token, None);
        rig.frame(topic.taken(&open[0], seq));
    }
    assert!(added(rig).is_empty());
}

#[test]
fn what_the_broker_lost_of_a_channel_is_given_back_one_after_the_other() {
    let topic = topic();
    let mut rig = lost(&topic, ANA, 1);
    assert_eq!(reposted(&rig), [0_u64; 0]);
    give_all(&mut rig, &topic, 2);
    assert_eq!(reposted(&rig), [3]);
    let (channel, held, shown) = (ops(), 4, 1);
    let told = Lie::ChannelRollback {
        channel,
        held,
        shown,
    };
    assert_eq!(rig.lies(), [told]);
    assert_eq!(given_up(&rig), 0);
}

#[test]
fn owner_and_leads_bring_it_back_and_nobody_else() {
    let topic = topic();
    for (member, gives) in [(ANA, true), (BEN, true), (CEM, false)] {
        let mut rig = lost(&topic, member, 2);
        assert_eq!(added(&mut rig).len(), usize::from(gives), "{member}");
        assert_eq!(rig.lies().len(), 1);
    }
}

#[test]
fn nothing_of_a_channel_is_given_to_a_broker_that_shows_another_log_of_it() {
    let topic = topic();
    let mut rig = online(&topic.mesh, ANA);
    sync(&mut rig, &topic);
    rig.lies();
    rig.command(Command::SyncChannel(ops()));
    let get = gets(&mut rig).pop().unwrap();
    let mut page = topic.cut(2).page(&get);
    page.head = LogHead::new(2, &Hash([5; 32]));
    rig.frame(page);
    assert!(added(&mut rig).is_empty());
    let (channel, seq) = (ops(), 2);
    let fork = Lie::ChannelLogFork { channel, seq };
    assert!(rig.lies().contains(&fork));
}

#[test]
fn a_loss_is_told_once_a_connection() {
    let topic = topic();
    let mut rig = lost(&topic, CEM, 2);
    sync(&mut rig, &topic.cut(2));
    assert_eq!(rig.lies().len(), 1);
    rig.broken();
    hello(&mut rig);
    sync(&mut rig, &topic.cut(2));
    assert_eq!(rig.lies().len(), 1);
}

#[test]
fn a_channels_entry_that_is_refused_for_now_is_given_when_the_broker_says() {
    let topic = topic();
    for (code, after, least) in [
        (code::BUSY, Some(20_000), 20_000),
        (code::RATE_LIMIT, Some(7_000), 7_000),
        (code::STORE_UNAVAILABLE, None, 5_000),
    ] {
        let mut rig = lost(&topic, ANA, 3);
        let open = added(&mut rig).pop().unwrap();
        rig.refuse(open.req_id.as_ref(), code, after);
        rig.pass(least - 1);
        assert!(added(&mut rig).is_empty());
        rig.pass(least / 4 + 1);
        give_all(&mut rig, &topic, 4);
        assert_eq!((reposted(&rig), given_up(&rig)), (vec![1], 0));
    }
}

#[test]
fn after_a_conflict_the_log_says_how_far_it_is() {
    let topic = topic();
    let mut rig = lost(&topic, ANA, 1);
    let open = added(&mut rig).pop().unwrap();
    rig.refuse(open.req_id.as_ref(), code::LOG_CONFLICT, None);
    assert!(added(&mut rig).is_empty());
    // Somebody else gave an entry meanwhile.
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.cut(2).page(&get));
    give_all(&mut rig, &topic, 3);
    assert_eq!(reposted(&rig), [2]);
    // Or all of it.
    let mut rig = lost(&topic, ANA, 1);
    let open = added(&mut rig).pop().unwrap();
    rig.refuse(open.req_id.as_ref(), code::LOG_CONFLICT, None);
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.page(&get));
    assert!(added(&mut rig).is_empty());
    assert!(reposted(&rig).is_empty());
    assert_eq!(given_up(&rig), 0);
}

#[test]
fn a_channels_entry_without_an_answer_is_looked_for() {
    let topic = topic();
    let mut rig = lost(&topic, ANA, 2);
    added(&mut rig);
    rig.pass(10_000);
    let get = gets(&mut rig).pop().unwrap();
    rig.frame(topic.cut(3).page(&get));
    give_all(&mut rig, &topic, 4);
    assert_eq!(reposted(&rig), [1]);
}

#[test]
fn after_five_conflicts_in_a_row_a_channel_is_given_up_on_that_connection() {
    let topic = topic();
    let mut rig = lost(&topic, ANA, 1);
    for _ in 0..5 {
        let open = added(&mut rig).pop().unwrap();
        rig.refuse(open.req_id.as_ref(), code::LOG_CONFLICT, None);
        assert_eq!(given_up(&rig), 0);
        let get = gets(&mut rig).pop().unwrap();
        rig.frame(topic.cut(1).page(&get));
    }
    let open = added(&mut rig).pop().unwrap();
    rig.refuse(open.req_id.as_ref(), code::LOG_CONFLICT, None);
    assert_eq!(given_up(&rig), 1);
    sync(&mut rig, &topic.cut(1));
    assert!(added(&mut rig).is_empty());
    rig.broken();
    hello(&mut rig);
    sync(&mut rig, &topic.cut(1));
    give_all(&mut rig, &topic, 2);
}

#[test]
fn a_channels_entry_that_is_refused_for_good_ends_it() {
    let topic = topic();
    let mut rig = lost(&topic, ANA, 1);
    let open = added(&mut rig).pop().unwrap();
    rig.refuse(open.req_id.as_ref(), code::FORBIDDEN, None);
    assert_eq!(given_up(&rig), 1);
    rig.pass(60_000);
    assert!(added(&mut rig).is_empty() && gets(&mut rig).is_empty());
    assert!(reposted(&rig).is_empty());
}

#[test]
fn a_channels_entries_that_cannot_be_read_are_told_and_not_given() {
    let topic = topic();
    let mut rig = online(&topic.mesh, ANA);
    sync(&mut rig, &topic);
    rig.forget();
    rig.slow_store = true;
    sync(&mut rig, &topic.cut(1));
    let Some(Out::Load(token, _)) = rig.waiting.pop_front() else {
        panic!("nothing is loaded")
    };
    rig.slow_store = false;
    let failed = Err(disk_full());
    rig.put(In::Loaded(token, failed));
    assert!(rig.events.contains(&Event::StoreFailed(disk_full())));
    assert!(added(&mut rig).is_empty());
    // Asked about again, it is given.
    sync(&mut rig, &topic.cut(1));
    give_all(&mut rig, &topic, 2);
}

#[test]
fn after_the_meshs_log_was_lost_channels_are_looked_at_by_who_may_bring_them_back() {
    let topic = topic();
    for (member, looks) in [(ANA, 1), (BEN, 1), (CEM, 0)] {
        let mut rig = online(&topic.mesh, member);
        sync(&mut rig, &topic);
        rig.broken();
        rig.dial();
        let mut ack = rig.hello_ack();
        (ack.capabilities.as_mut().unwrap()).push(CAP_CHANNELS.to_owned());
        let entries = &topic.mesh.entries;
        let seq = entries.len() - 2;
        ack.log_head = Some(LogHead::new(seq as u64, &entries[seq].hash()));
        rig.frame(ack);
        // The owner gives the entry back; for the others somebody else does.
        match added(&mut rig).pop() {
            Some(append) => rig.frame(LogAppended {
                head: topic.mesh.head(),
                req_id: append.req_id,
                ..LogAppended::default()
            }),
            None => rig.frame(LogAppended {
                head: topic.mesh.head(),
                entry: entries.last().map(blob),
                ..LogAppended::default()
            }),
        }
        let asked = gets(&mut rig);
        assert_eq!(asked.len(), looks, "{member}");
        for get in asked {
            rig.frame(topic.cut(1).page(&get));
            give_all(&mut rig, &topic, 2);
        }
    }
}
