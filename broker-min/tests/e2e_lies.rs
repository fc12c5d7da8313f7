//! Real peers, a real broker, and a liar in between that has a broker's power: what it can do, and
//! what comes of it.
//!
//! A lie is *named* where the peer tells of it ([`Event`] or an error), and *harmless* where nothing
//! is opened for the wrong one, taken as another's word, or lost without a word. What is neither is
//! a limit, and stands here as one.
//!
//! | lie | what comes of it |
//! |---|---|
//! | a ghost among those who are here | shown, as not verified; nothing is sent to it, save bare text by one who says so (*limit*) |
//! | a session's statement is stripped | the session counts as unverified. *Limit*: so does one whose client makes none |
//! | another member's or session's statement, one of another mesh, a changed one, one that is over | `BadStatement`; the session counts as unverified |
//! | a statement shown twice | one session counts |
//! | a statement of a session that is gone, within its 24 h | *limit*: it counts as here, as presence is the broker's word |
//! | a stripped statement of one who has no log entry | who was seen to understand envelopes gets nothing else |
//! | an address of a session with another key or name, by others than its member and itself | not believed: nobody writes to it, it is not shown |
//! | an address beside another session's record | each session is known by its own; neither counts as here |
//! | an earlier address of a session | the newest one that was seen counts. *Limit*: not for who has seen none |
//! | an address is withheld | *limit*: who has never seen it cannot write to that session, and to its member as before |
//! | a message for one session, handed to another | `Rejected` |
//! | entries are withheld, and another's statement names them | `LogWithheld`, before anybody writes |
//! | a removed member is let in, with its old key or by a link that is closed | `BadStatement` or `BadEntry`; its messages are set apart, or shown as not verified |
//! | a ghost, or a removal, in the log by a forged entry | `BadEntry`; the log stays as it is |
//! | a removal is withheld | `LogWithheld` as soon as a member who knows it writes. *Limit*: until then, what is sent to the removed one goes out, sealed for it |
//! | the hidden removal is shown after all | `MemberRemoved`; nothing more is sent to that member |
//! | two peers are shown different logs | `HeadMismatch` as soon as one writes to the other. *Limit*: it takes two entries that someone with the right signed for one place |
//! | another entry at a place that is held | `LogFork`; nothing is appended any more |
//! | a shorter log | `LogRollback`; the own log counts, and what is missing is brought back |
//! | pages of one entry | no harm: the rest is asked for |
//! | pages that end before the head they name | who asked for the log gets an error; the log as held counts |
//! | reordered pages, other people's entries | `BadEntry`; the right ones are taken later |
//! | no log for a mesh that has one | `LogMissing`; the own log counts |
//! | no challenge | `ChallengeMissing`, no hello. *Limit*: at first contact the hello goes without a proof |
//! | another challenge, a relayed hello | the real broker refuses the proof, and the signature without it. *Limit*: a hello that was kept from the broker opens one connection without a proof, as existing clients have; it is pushed boxes that it cannot open, and can settle them |
//! | another sender on a push | `Rejected`; never taken as that one's. *Limit*: the real one's message is lost, and the receiver says so |
//! | a push again, by the same or a new broker id | taken once |
//! | someone else's box | `Rejected` |
//! | a changed ciphertext, id or mesh | `Rejected` |
//! | bare text of a member with an entry | `Rejected`, even if the box opens |
//! | bare text of an invented key | *limit*: shown, as not verified |
//! | pushes late, or in another order | all taken, each once. *Limit*: the order is the liar's |
//! | no acknowledgement of the receiver | pushed again, taken once |
//! | somebody comes online who does not exist | *limit*: told, as the broker's word; nobody joins by it |
//! | closed as banned, kicked, or refused as revoked | *limit*: the peer ends and says so; its log says otherwise, and the next start goes on |
//! | an ack for what was dropped | *limit* while it goes on; an honest answer about outcomes sends it again |
//! | a false receipt | *limit*: the sender believes it; what is said stays sealed |
//! | false outcomes: failed | *limit*: told as failed, though it arrives |
//! | false outcomes: unknown | sent again, taken once |
//! | acks twice, acks for nothing | no effect |
//! | a key of a channel by who is not in it, for a ghost, without a member, in another's name, of another channel, with a number that leaves none, with heads that run back | `BadChannelKey`; the key that is held counts |
//! | a key whose author is said to hold another log | `HeadMismatch` |
//! | a key made for an entry that is withheld | not taken, `LogWithheld` after the patience |
//! | an old key as the current one, after somebody left | nothing is sealed under it; what is to be sent waits (`ChannelContention`), at a bounded rate |
//! | a substituted copy of a key | `KeyWithheld`, which names the author, since who changed it cannot be told; the victim makes the next key |
//! | a withheld copy | `Locked`, `CopyWithheld` before it sends; the victim makes the next key |
//! | two valid keys of one number | `ChannelFork`; each opens what was sealed under it, the first is sealed under |
//! | a channel's log that is shorter, reordered, forked | `ChannelRollback`, `BadChannelEntry`, `ChannelLogFork`: after a fork nothing is sent there |
//! | a page of it that ends too early | asked for again, not for ever. *Limit*: who left and is not shown to have left gets what is sealed under the old key, until a key made for the newer log is shown |
//! | a late entry of a removed lead | not taken, `ChannelEntryRefused` |
//! | an entry of the own that was not taken, said to be | *limit*: believed, until the log is read again: `ChannelRollback` |
//! | a channel's message again, under another broker id, as of another topic, as another's | taken once, in the channel that its key is of, as who signed it |
//! | the same under another id, of another mesh, as a direct one, in plain text | `Rejected` |
//! | pushed to somebody who is not in the channel | `Locked`, never opened |
//! | what a removed member seals under an old key | `sender_removed`. *Limit*: who only left the topic and works with the broker can go on to speak there under the last key it has |
//! | `stale_epoch`, `key_conflict` for ever | *limit* while it goes on: held with pauses up to 16 s, told (`ChannelContention`); sent afterwards |
//! | a key that was confirmed and not kept | the next one is made; what was to be sent goes out |
//! | no channels, no sealed values | an error for the caller; nothing in the clear |
//! | an older value; none where one was | `ValueRollback`. *Limit*: not for a first reader, nor for what is left out of a list |
//! | a value of another name, use or mesh; memories exchanged | does not open, and says why |
//! | a value by a removed writer, or by a stranger who was given the key | shown, as not verified; its number counts for nothing |
//! | a plain value or memory instead of a sealed one | shown, as not protected and not verified |
//! | other tags on a memory | *limit*: tags are the broker's word |
//! | another's summary; a plain one | none is shown; *limit*: shown, as not protected. An older one of the same member is shown as if it were new |
//! | a schedule handed over twice, at other times, as another one, another author's, changed, given up | sent once or `Rejected`; given up: not sent |
//! | with another target | goes to the one that its author chose |
//! | a message for later, more than 10 minutes early or to another | `Rejected`. *Limit*: one that is to go out once and was given up can still be pushed when it is due |
//! | frames over 16 MiB | the connection is given up and made anew, nothing is lost |
//! | an earlier audit head, or another of the same number | `AuditRollback`; the head that was seen stays pinned until a person takes the table as it is |
//! | an audit head by another key, by nobody, or none | `AuditKeyChanged`, `BadAuditHead`, `AuditMissing` |
//! | another store's name | `AuditBegins`: told, and the audit table is followed from there. *Limit*: that is no lie by itself |
//! | changed, missing or moved audit rows | `AuditAltered`, for the owner and admins who check them |
//! | garbage | passed over |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lying;
mod support;

#[path = "lying/audit.rs"]
mod audit;
#[path = "lying/channel_keys.rs"]
mod channel_keys;
#[path = "lying/channel_logs.rs"]
mod channel_logs;
#[path = "lying/channel_messages.rs"]
mod channel_messages;
#[path = "lying/channels.rs"]
mod channels;
#[path = "lying/connection.rs"]
mod connection;
#[path = "lying/delivery.rs"]
mod delivery;
#[path = "lying/log.rs"]
mod log;
#[path = "lying/messages.rs"]
mod messages;
#[path = "lying/removed.rs"]
mod removed;
#[path = "lying/sessions.rs"]
mod sessions;
#[path = "lying/statements.rs"]
mod statements;
#[path = "lying/values.rs"]
mod values;

use std::time::Duration;

use claudemesh_core::id::PublicKey;
use claudemesh_core::session::SessionError;
use claudemesh_core::{Event, Events, Incoming, Lie, Peer, PeerError, Received, SendError};
use lying::{LyingBroker, SOON, Way};
use serde_json::{Value, json};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

/// The first event that is so.
async fn told<T>(events: &mut Events, wanted: impl Fn(Event) -> Option<T>) -> T {
    soon(async {
        loop {
            let event = events.next().await.expect("the peer is there");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

async fn lie(events: &mut Events) -> Lie {
    told(events, |event| match event {
        Event::LiedTo(lie) => Some(lie),
        _ => None,
    })
    .await
}

/// Who the frame named, and why it was not taken.
async fn rejected(events: &mut Events) -> (PublicKey, String) {
    told(events, |event| match event {
        Event::Rejected { sender, reason } => Some((sender, reason)),
        _ => None,
    })
    .await
}

async fn next(incoming: &mut Incoming) -> Received {
    soon(incoming.next()).await.unwrap()
}

/// Nothing else comes: what is said now is the next message.
async fn only(incoming: &mut Incoming, from: &Peer, to: &Peer) {
    from.send(to.key(), "the end").await.unwrap();
    let message = next(incoming).await;
    assert_eq!(message.text(), "the end");
    assert!(message.from.verified && message.from.key == from.key());
}

/// Not a member, or one only by the broker's word: nothing is sealed for this key.
async fn refuses_to_write(peer: &Peer, ghost: PublicKey) {
    let sent = peer.send(ghost, "x").await.map(|_| ());
    let named = matches!(
        &sent,
        Err(SendError::Peer(PeerError::Session(
            SessionError::NotAMember(key) | SessionError::Unverified(key)
        ))) if *key == ghost
    );
    assert!(named, "{sent:?}");
}

/// Waits until a connection that was cut stands again.
async fn back(events: &mut Events) {
    told(events, |event| (event == Event::Connected).then_some(())).await;
}

#[tokio::test]
async fn without_a_lie_all_is_as_without_the_liar() {
    let liar = LyingBroker::start().await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let mut events = ana.events();
    let owner = liar.peer("owner").await;
    // The link leads to the liar, so the joiner's HTTP goes through it, too.
    let link = owner
        .invite(claudemesh_core::InviteOptions::default())
        .await;
    let link = link.unwrap().issued.link();
    let mut config = claudemesh_core::Config::in_memory();
    let entry = config.join(&link, "cem").await.unwrap();
    assert_eq!(entry.broker_url, liar.url());
    told(&mut events, |event| {
        matches!(event, Event::MemberJoined { name, .. } if name.as_str() == "cem").then_some(())
    })
    .await;
    let mut incoming = bob.incoming().await.unwrap();
    let receipt = ana.send("bob", "hello").await.unwrap();
    assert_eq!(next(&mut incoming).await.text(), "hello");
    soon(receipt.delivered()).await.unwrap();
    only(&mut incoming, &ana, &bob).await;
    // The hello was proven, and the proof held.
    let hello = liar.first(ana.key(), Way::ToBroker, "hello").await.frame;
    assert!(hello["proof"].is_string());
}
