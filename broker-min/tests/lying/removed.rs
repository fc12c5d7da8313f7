//! A broker that lets a removed member in all the same: every peer refuses it.

use claudemesh_core::InviteOptions;
use claudemesh_core::crypto::{DirectKey, KeyPair, X25519Secret};
use claudemesh_core::id::{MessageId, Name};
use claudemesh_core::identity::SessionStatement;
use claudemesh_core::membership::{Body, Role};
use claudemesh_core::message::{Content, FORM, TEXT, seal_direct};
use claudemesh_core::session::StatementFault;
use claudemesh_core::wire::SignedBlob;

use super::log::{appended, held};
use super::*;
use support::{key, now};

/// A message as the broker pushes it.
fn push(liar: &LyingBroker, from: &KeyPair, to: PublicKey, id: &str) -> Value {
    let shared = DirectKey::agree(&X25519Secret::of(from), &to).unwrap();
    let content = Content {
        id: MessageId::new(id).unwrap(),
        sent_at: now(&liar.mesh),
        due: None,
        reply_to: None,
        content_type: TEXT.to_owned(),
        attributes: Vec::new(),
        body: b"I am back".to_vec(),
    };
    let sealed = seal_direct(&liar.mesh.id(), from, &to, None, &content, &shared, [4; 24]).unwrap();
    json!({ "type": "push", "messageId": format!("b-{id}"), "meshId": liar.mesh.id(),
            "senderPubkey": from.public(), "senderMemberPubkey": from.public(),
            "senderName": "bob", "priority": "next", "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext, "client_message_id": id, "form": FORM,
            "createdAt": "" })
}

#[tokio::test]
async fn who_was_removed_is_refused_by_every_peer_also_where_the_broker_lets_it_in() {
    let liar = LyingBroker::start().await;
    let (owner, ana) = (liar.peer("owner").await, liar.peer("ana").await);
    let cem = liar.peer("cem").await;
    // Bob comes by one link, saw another, and as an admin issues a third.
    let several = InviteOptions {
        uses: 5,
        ..InviteOptions::default()
    };
    let came_by = owner.invite(several).await.unwrap();
    let mut config = claudemesh_core::Config::in_memory();
    let entry = config.join(&came_by.issued.link(), "bob").await.unwrap();
    let saw = owner.invite(several).await.unwrap();
    owner.sync().await.unwrap();
    owner.set_role(entry.pubkey(), Role::Admin).await.unwrap();
    let bob = Peer::connect(&entry).await.unwrap();
    bob.connected_within(SOON).await.unwrap();
    let issued = bob.invite(several).await.unwrap();
    owner.sync().await.unwrap();
    owner.remove(bob.key(), true).await.unwrap();
    let old = KeyPair::from_seed(&bob.mesh().key_pair().expose_seed());
    let fresh = key(66);
    for peer in [&ana, &cem] {
        let mut events = peer.events();
        let mut incoming = peer.incoming().await.unwrap();
        let log = held(peer).await;
        let head = log.head();
        // In the log again, by each of the links, with either key.
        for link in [&came_by, &saw, &issued] {
            let fragment = &link.issued.fragment;
            for back in [&old, &fresh] {
                let body = Body::MemberJoined {
                    key: back.public(),
                    name: Name::new("bob").unwrap(),
                    invite: fragment.invite(),
                };
                let draft = log.draft(now(&liar.mesh), body);
                let entry = draft.sign(&fragment.key(), Some(back));
                liar.tell(peer.key(), &appended(head.seq + 1, &entry));
                assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
                assert_eq!(peer.log().unwrap().head(), head);
            }
        }
        // Among those who are here, with a statement that it really signed.
        let at = now(&liar.mesh);
        let statement = SessionStatement {
            mesh: liar.mesh.id(),
            member: old.public(),
            session: None,
            name: Name::new("bob").unwrap(),
            capabilities: Vec::new(),
            head: None,
            not_before: at - 1_000,
            expires_at: at + 60_000,
        };
        let blob = SignedBlob::from(&statement.make(&old).unwrap());
        let gone = old.public();
        liar.change(peer.key(), "peers_list", move |frame| {
            let mut record = frame["peers"][0].clone();
            record["pubkey"] = json!(gone);
            record["memberPubkey"] = json!(gone);
            record["statement"] = json!(blob);
            frame["peers"].as_array_mut().unwrap().push(record);
        });
        let here = peer.peers().await.unwrap();
        let shown = here.iter().find(|p| p.key == gone).unwrap();
        assert_eq!((shown.verified, shown.verified_sessions), (false, 0));
        let error = StatementFault::Removed;
        assert_eq!(
            lie(&mut events).await,
            Lie::BadStatement { peer: gone, error }
        );
        // Nothing is taken from the old key, and the new one is a stranger.
        liar.tell(peer.key(), &push(&liar, &old, peer.key(), "one"));
        let (sender, reason) = rejected(&mut events).await;
        assert_eq!((sender, reason.as_str()), (gone, "sender_removed"));
        liar.tell(peer.key(), &push(&liar, &fresh, peer.key(), "two"));
        let message = next(&mut incoming).await;
        assert!(!message.from.verified && message.from.key == fresh.public());
        // Nothing is written to either, whatever the caller says.
        for back in [&old, &fresh] {
            let text = claudemesh_core::Outgoing::text("x");
            let sent = peer.send_message(back.public(), text).await;
            assert!(sent.is_err());
        }
        let text = claudemesh_core::Outgoing::text("x").to_unverified(true);
        let sent = peer.send_message(gone, text).await;
        assert!(
            matches!(
                &sent,
                Err(SendError::Peer(PeerError::Session(
                    SessionError::RecipientRemoved(_)
                )))
            ),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn two_admins_who_remove_each_other_are_both_refused_in_either_order() {
    let liar = LyingBroker::start().await;
    let owner = liar.peer("owner").await;
    let (ana, bob) = (liar.peer("ana").await, liar.peer("bob").await);
    let cem = liar.peer("cem").await;
    owner.sync().await.unwrap();
    for key in [ana.key(), bob.key()] {
        owner.set_role(key, Role::Admin).await.unwrap();
    }
    let mut events = cem.events();
    let log = held(&cem).await;
    let head = log.head();
    for (by, whom) in [(&ana, &bob), (&bob, &ana), (&bob, &ana), (&ana, &bob)] {
        let body = Body::MemberRemoved {
            key: whom.key(),
            close_all: true,
        };
        let draft = log.draft(now(&liar.mesh), body);
        let entry = draft.sign(by.mesh().key_pair(), None);
        liar.tell(cem.key(), &appended(head.seq + 1, &entry));
        assert!(matches!(lie(&mut events).await, Lie::BadEntry(_)));
        assert_eq!(cem.log().unwrap().head(), head);
    }
}
