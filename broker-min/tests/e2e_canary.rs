//! A canary in everything that a peer can be told to say or keep, through every method of [`Peer`];
//! and it is in no file of the broker, no line of its log at the finest level, no page it serves
//! and no frame that passes it.
//!
//! In the open by design, and looked for as such at the end: state keys, tags, names of members and
//! channels.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lying;
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use broker_min::testing::http;
use claudemesh_core::config::SessionIdentity;
use claudemesh_core::crypto::KeyPair;
use claudemesh_core::encoding::{base64, hex};
use claudemesh_core::id::{ChannelName, Name, Target};
use claudemesh_core::membership::Role;
use claudemesh_core::peer::NewApiKey;
use claudemesh_core::{
    Config, InviteOptions, Outgoing, Peer, Priority, Rule, SessionId, SessionName, Status, Wake,
    Who,
};
use lying::{LyingBroker, SOON};
use tracing_subscriber::fmt::MakeWriter;

const CANARY: &str = "canary-9f2c61d8e07b";
/// In names that the broker sees.
const OPEN: &str = "open-7b31";

/// The log of the whole process: the broker's, and that of peers.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The methods of the type whose `impl` begins so, by the sources in a folder and its files.
fn methods(sources: &[&Path], begins: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(source).unwrap();
        let mut inside = false;
        for line in text.lines() {
            inside = line == begins || (inside && line != "}");
            let method = line
                .strip_prefix("    pub ")
                .map(|rest| {
                    rest.trim_start_matches("const ")
                        .trim_start_matches("async ")
                })
                .and_then(|rest| rest.strip_prefix("fn "));
            if let Some(rest) = method.filter(|_| inside) {
                let end = rest.find(['(', '<']).unwrap();
                found.insert(rest[..end].to_owned());
            }
        }
    }
    found
}

/// Calls a method and notes that it was.
macro_rules! call {
    ($done:ident, $peer:ident.$method:ident($($argument:expr),*)) => {{
        $done.insert(stringify!($method).to_owned());
        $peer.$method($($argument),*)
    }};
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("within 10 s")
}

/// How the canary could stand in bytes that were encoded: as it is, in hex, in base64 at each of
/// three places.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![
        CANARY.as_bytes().to_vec(),
        hex(CANARY.as_bytes()).into_bytes(),
    ];
    for before in 0..3 {
        let text = format!("{}{CANARY}", "x".repeat(before));
        let encoded = base64(text.as_bytes());
        // Without the characters that what stands beside it has a part in.
        forms.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    forms
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A session with an address of its own, and whose messages it wants.
async fn sessions(liar: &LyingBroker, owner: &Peer, done: &mut BTreeSet<String>) {
    let session = SessionIdentity::new(
        SessionId::from_random([7; 16]),
        Arc::new(KeyPair::from_seed(&[7; 32])),
        SessionName::new(OPEN).unwrap(),
        1,
    );
    let bob = Peer::builder(&liar.member("bob").await).as_session(session);
    let bob = bob.connect().await.unwrap();
    bob.connected_within(SOON).await.unwrap();
    assert!(call!(done, bob.session()).is_some());
    let own = call!(done, bob.address());
    call!(done, bob.set_wake(Wake::Hook)).await.unwrap();
    assert_eq!(call!(done, owner.sessions()).await.unwrap().len(), 1);
    let name = format!("bob/{OPEN}");
    let found = call!(done, owner.resolve_session(&name)).await.unwrap();
    assert_eq!(found.key, own);
    let target = Target::Peer(own);
    let reach = call!(done, owner.reach(&target)).await.unwrap();
    assert!(reach.unwrap().online);
    let sender = owner.key();
    let who = Who::Peer(sender);
    call!(done, bob.set_rule(who, Some(Rule::Ask)))
        .await
        .unwrap();
    assert_eq!(call!(done, bob.rules()).await.unwrap().len(), 1);
    let rule = call!(done, bob.rule_for(&sender)).await.unwrap();
    assert_eq!(rule, Rule::Ask);
    let sent = owner.send(own, CANARY).await.unwrap();
    soon(sent.delivered()).await.unwrap();
    let waiting = call!(done, bob.requests()).await.unwrap();
    assert_eq!(waiting[0].text(), CANARY);
    let answer = call!(done, bob.answer_request(&waiting[0], true));
    assert!(answer.await.unwrap());
    let mut incoming = bob.incoming().await.unwrap();
    let message = soon(incoming.next()).await.unwrap();
    assert_eq!(message.text(), CANARY);
    let answer = message.reply_automatically(CANARY, 1).await.unwrap();
    soon(answer.accepted()).await.unwrap();
    bob.close(SOON).await;
}

/// Everything that can be said, by every method there is.
async fn walk(liar: &LyingBroker, done: &mut BTreeSet<String>) {
    let owner_entry = liar.member("owner").await;
    done.extend(["connect".to_owned(), "builder".to_owned()]);
    let owner = Peer::connect(&owner_entry).await.unwrap();
    let ana = Peer::builder(&liar.member("ana").await);
    let ana = ana.connect().await.unwrap();
    call!(done, owner.connected_within(SOON)).await.unwrap();
    ana.connected_within(SOON).await.unwrap();
    let mut events = call!(done, owner.events());
    call!(done, owner.sync()).await.unwrap();
    assert!(call!(done, owner.is_connected()));
    call!(done, owner.connection());
    call!(done, owner.broker_clock_ahead_ms());
    call!(done, owner.log()).unwrap();
    call!(done, owner.mesh());
    call!(done, owner.safety_number(&call!(done, ana.key())));
    call!(done, owner.resolve("ana")).await.unwrap();
    call!(done, owner.target("#none")).await.unwrap();
    call!(done, owner.pinned()).await.unwrap();
    // Here the log says whom to trust.
    call!(done, owner.trust(ana.key())).await.unwrap_err();
    call!(done, owner.distrust(ana.key())).await.unwrap_err();
    let known = call!(done, owner.known_keys()).await.unwrap();
    assert!(known.is_empty());
    call!(done, owner.set_status(Status::Idle)).await.unwrap();

    // Messages, with everything that can stand in one.
    let sent = call!(done, owner.send("ana", CANARY)).await.unwrap();
    let whole = Outgoing::bytes(CANARY, format!("text/{CANARY}"))
        .attribute(format!("k={CANARY}"))
        .reply_to(sent.id().clone())
        .priority(Priority::Now);
    let whole = call!(done, owner.send_message("ana", whole)).await.unwrap();
    soon(whole.accepted()).await.unwrap();
    let quick = Outgoing::text(CANARY).priority(Priority::Now);
    let quick = call!(done, owner.send_online("ana", quick)).await.unwrap();
    assert_eq!(quick.connections, 1);
    let mut incoming = call!(done, ana.incoming()).await.unwrap();
    let first = soon(incoming.next()).await.unwrap();
    assert_eq!(first.text(), CANARY);
    first.reply(CANARY).await.unwrap();
    first.reply_directly(CANARY).await.unwrap();
    first.taken().await.unwrap();
    drop(incoming);
    call!(done, ana.caught_up(SOON)).await.unwrap();
    let unread = call!(done, ana.unread(10)).await.unwrap();
    call!(done, ana.take(&unread)).await.unwrap();
    call!(done, ana.history(10)).await.unwrap();

    sessions(liar, &owner, done).await;

    // Channels.
    let topic = ChannelName::new(format!("#{OPEN}")).unwrap();
    call!(done, owner.create_channel(&topic, true))
        .await
        .unwrap();
    ana.sync().await.unwrap();
    call!(done, ana.join_channel(&topic)).await.unwrap();
    assert_eq!(call!(done, owner.channels()).len(), 1);
    call!(done, owner.channel(&topic)).await.unwrap();
    for to in [&topic, &ChannelName::everyone()] {
        let said = owner.send(to.clone(), CANARY).await.unwrap();
        soon(said.accepted()).await.unwrap();
    }
    let (said, _) = call!(done, ana.channel_history(&topic, None, 10))
        .await
        .unwrap();
    assert_eq!(said[0].message.as_ref().unwrap().body, CANARY.as_bytes());
    call!(done, ana.leave_channel(&topic)).await.unwrap();
    assert_eq!(owner.channel(&topic).await.unwrap().members.len(), 1);
    call!(done, owner.add_to_channel(&topic, ana.key(), false))
        .await
        .unwrap();
    call!(done, owner.remove_from_channel(&topic, ana.key()))
        .await
        .unwrap();

    // What is kept.
    let kept = call!(done, owner.set_state(OPEN, format!("\"{CANARY}\""), None));
    soon(kept).await.unwrap();
    let read = soon(call!(done, ana.state(OPEN))).await.unwrap().unwrap();
    assert!(read.body.unwrap().contains(CANARY));
    assert_eq!(call!(done, ana.list_state()).await.unwrap().len(), 1);
    let memory = call!(done, owner.remember(CANARY, vec![OPEN.to_owned()]));
    let memory = soon(memory).await.unwrap();
    assert_eq!(call!(done, ana.recall(CANARY)).await.unwrap().len(), 1);
    call!(done, ana.set_summary(CANARY)).await.unwrap();
    soon(async {
        loop {
            let peers = call!(done, owner.peers()).await.unwrap();
            if peers
                .iter()
                .any(|peer| peer.summary.as_deref() == Some(CANARY))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let later = SystemTime::now() + Duration::from_secs(3_600);
    for to in ["ana", topic.as_str()] {
        let reminder = call!(done, owner.schedule(to, Outgoing::text(CANARY), later));
        reminder.await.unwrap();
    }
    let again = Outgoing::text(CANARY);
    let again = call!(done, owner.schedule_cron("ana", again, "0 0 1 1 *"));
    let again = again.await.unwrap();
    assert!(
        call!(done, owner.audit(true))
            .await
            .unwrap()
            .fault
            .is_none()
    );
    call!(done, owner.accept_audit()).await.unwrap();
    let unknown = call!(done, owner.resolve_unverified("nobody-at-all")).await;
    assert_eq!(unknown.unwrap(), None);
    assert_eq!(call!(done, owner.schedules()).await.unwrap().len(), 3);

    // Members, devices, invites.
    let invite = InviteOptions::default();
    let invite = call!(done, owner.invite(invite)).await.unwrap();
    call!(done, owner.close_invite(invite.id)).await.unwrap();
    assert!(!call!(done, owner.invites()).is_empty());
    let link = call!(done, ana.link_device(Duration::from_secs(60)));
    let link = link.await.unwrap().issued.link();
    let device = Config::in_memory().join(&link, "phone").await.unwrap();
    owner.sync().await.unwrap();
    call!(done, ana.members());
    call!(done, owner.members_and_former());
    call!(done, owner.devices());
    let copied = owner.send("ana", CANARY).await.unwrap();
    soon(copied.accepted()).await.unwrap();
    let pending = InviteOptions {
        role: Role::Pending,
        ..InviteOptions::default()
    };
    let link = owner.invite(pending).await.unwrap().issued.link();
    let dan = Config::in_memory().join(&link, OPEN).await.unwrap();
    owner.sync().await.unwrap();
    let name = Name::new(OPEN).unwrap();
    call!(done, owner.admit(dan.pubkey(), name, Role::Member))
        .await
        .unwrap();
    call!(done, owner.set_role(dan.pubkey(), Role::Admin))
        .await
        .unwrap();
    call!(done, owner.remove(dan.pubkey(), true)).await.unwrap();
    owner.remove(device.pubkey(), false).await.unwrap();

    // A lie is told and kept, in words that name what was kept.
    liar.change(ana.key(), "state_result", |frame| {
        frame["value"] = serde_json::Value::Null;
        frame["version"] = 0.into();
    });
    ana.state(OPEN).await.unwrap();
    soon(async {
        while call!(done, ana.lies()).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    call!(done, ana.forget_lies()).await.unwrap();
    liar.honest(ana.key());

    // What waits without a connection, and what is given up.
    liar.mesh.stop_broker().await.unwrap();
    let waits = owner.send("ana", CANARY).await.unwrap();
    let gone = owner.send("ana", CANARY).await.unwrap();
    assert!(call!(done, owner.cancel(gone.id().clone())).await.unwrap());
    assert!(!call!(done, owner.outbox(true)).await.unwrap().is_empty());
    liar.mesh.start_broker().await.unwrap();
    soon(waits.accepted()).await.unwrap();
    call!(done, owner.flush(SOON)).await.unwrap();

    // The broker's own service: names and labels are in the open, and the log's members stay.
    assert!(
        call!(done, owner.kick(KeyPair::from_seed(&[0x2a; 32]).public()))
            .await
            .unwrap()
            .is_empty()
    );
    call!(done, owner.ban(ana.key())).await.unwrap_err();
    call!(done, owner.unban(ana.key())).await.unwrap_err();
    let bans = call!(done, owner.bans()).await.unwrap();
    assert!(bans.iter().all(|ban| ban.pubkey != ana.key().to_hex()));
    let wanted = NewApiKey {
        label: OPEN.to_owned(),
        capabilities: vec!["read".to_owned()],
        ..NewApiKey::default()
    };
    let key = call!(done, owner.create_api_key(wanted)).await.unwrap();
    assert_eq!(call!(done, owner.api_keys()).await.unwrap().len(), 1);
    let gone = call!(done, owner.revoke_api_key(&key.id)).await.unwrap();
    assert_eq!(gone, "revoked");

    assert!(call!(done, owner.cancel_schedule(&again.id)).await.unwrap());
    call!(done, ana.forget(&memory)).await.unwrap_err();
    let offer = call!(done, owner.transfer_owner(ana.key())).await.unwrap();
    soon(offer.delivered()).await.unwrap();
    call!(done, ana.accept_ownership()).await.unwrap();
    call!(done, ana.close(SOON)).await;
    drop(owner);
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await
    {
        let shown = format!("{event:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[tokio::test]
async fn a_canary_in_all_that_is_said_is_nowhere_at_the_broker() {
    let lines = Lines::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .init();
    let liar = LyingBroker::start().await;
    let mut done = BTreeSet::new();
    Box::pin(walk(&liar, &mut done)).await;

    // Every method was called; a new one has to be added above.
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../claudemesh-core/src");
    let mut sources = vec![core.join("peer.rs")];
    let files = std::fs::read_dir(core.join("peer")).unwrap();
    sources.extend(files.map(|file| file.unwrap().path()));
    let sources: Vec<&Path> = sources.iter().map(std::path::PathBuf::as_path).collect();
    let all = methods(&sources, "impl Peer {");
    assert!(all.len() > 50, "{all:?}");
    let missed: Vec<_> = all.symmetric_difference(&done).collect();
    assert!(missed.is_empty(), "not called, or not there: {missed:?}");

    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    let id = liar.mesh.id();
    for path in [
        "/metrics",
        "/health",
        "/health/ready",
        "/",
        "/join/x",
        &format!("/mesh/{id}/log"),
    ] {
        let answer = http(liar.mesh.addr(), "GET", path, &[], "").await.unwrap();
        places.push((path.to_owned(), format!("{answer:?}").into_bytes()));
    }
    for frame in liar.everything() {
        places.push(("a frame".to_owned(), frame.to_string().into_bytes()));
    }
    for running in [true, false] {
        for file in liar.mesh.data_files().unwrap() {
            let bytes = std::fs::read(&file).unwrap_or_default();
            places.push((format!("{} {running}", file.display()), bytes));
        }
        if running {
            liar.mesh.stop_broker().await.unwrap();
        }
    }
    let log = lines.0.lock().unwrap().clone();
    assert!(log.len() > 1_000, "the log was not captured");
    places.push(("the log".to_owned(), log));
    for (place, bytes) in &places {
        for form in forms() {
            assert!(!holds(bytes, &form), "it is in {place}");
        }
    }
    // By design: names, keys and tags are in the open.
    let open = places
        .iter()
        .any(|(_, bytes)| holds(bytes, OPEN.as_bytes()));
    assert!(open, "the search finds nothing at all");
}
