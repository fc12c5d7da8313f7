//! A channel as its members' peers see it, for tests.

use claudemesh_core::channel::{KeyStatement, Keyring, Rotation, SignedKeyStatement};
use claudemesh_core::crypto::Drbg;
use claudemesh_core::encoding::{base64, base64url};
use claudemesh_core::id::{ChannelName, KeyId};
use claudemesh_core::membership::{Body, ChannelBody, ChannelLog, SignedEntry};
use claudemesh_core::wire::MAX_COPIES_PER_FRAME;
use serde_json::{Value, json};

use crate::world::{World, hello, key, pair};

pub(crate) struct Chan {
    pub(crate) name: ChannelName,
    pub(crate) log: Option<ChannelLog>,
    /// Statements that the broker took.
    pub(crate) taken: Vec<SignedKeyStatement>,
    random: Drbg,
}

pub(crate) fn joined(n: u8) -> ChannelBody {
    ChannelBody::Joined { key: key(n) }
}

pub(crate) fn added(n: u8) -> ChannelBody {
    let lead = false;
    ChannelBody::Added { key: key(n), lead }
}

pub(crate) fn left(n: u8) -> ChannelBody {
    ChannelBody::Left { key: key(n) }
}

impl Chan {
    /// `*` or `$state`.
    pub(crate) fn open(name: &str) -> Self {
        Self {
            name: ChannelName::new(name).unwrap(),
            log: None,
            taken: Vec::new(),
            random: Drbg::new([8; 32]),
        }
    }

    /// A channel that a member makes.
    pub(crate) fn make(world: &mut World, signer: u8, name: &str, public: bool) -> Self {
        let mut chan = Self::open(name);
        let channel = chan.name.clone();
        let entry = world.sign(signer, None, Body::ChannelCreated { channel, public });
        world.taken(&entry);
        chan.log = Some(ChannelLog::begin(&world.log, &chan.name).unwrap());
        chan
    }

    /// A public channel of these members, the first of whom made it; with a key.
    pub(crate) fn of(world: &mut World, name: &str, members: &[u8]) -> Self {
        let mut chan = Self::make(world, members[0], name, true);
        for n in &members[1..] {
            chan.joins(world, *n);
        }
        chan.keyed(world, members[0]);
        chan
    }

    pub(crate) fn sign(&self, world: &World, signer: u8, body: ChannelBody) -> SignedEntry {
        let log = self.log.as_ref().unwrap();
        log.draft(world.now.wall, &world.log, body)
            .sign(&pair(signer))
    }

    /// Signs and appends an entry; gives the answer.
    pub(crate) fn say(
        &mut self,
        world: &mut World,
        conn: u64,
        signer: u8,
        body: ChannelBody,
    ) -> Value {
        let entry = self.sign(world, signer, body);
        world.append(conn, &entry, None);
        let answer = world.last(conn);
        if answer["type"] == "log_appended" {
            assert_eq!(answer["channel"], self.name.as_str());
            let log = self.log.as_mut().unwrap();
            log.append(&entry, &world.log).unwrap();
            assert_eq!(answer["head"]["seq"], log.head().seq);
            assert_eq!(answer["head"]["hash"], log.head().hash.to_hex());
        }
        answer
    }

    pub(crate) fn joins(&mut self, world: &mut World, n: u8) {
        let conn = quiet(world, n);
        let answer = self.say(world, conn, n, joined(n));
        assert_eq!(answer["type"], "log_appended", "{answer}");
        world.close(conn);
    }

    pub(crate) fn rotation(&mut self, world: &World, author: u8) -> Rotation {
        let mut ring = Keyring::new(world.mesh(), self.name.clone(), key(author));
        for statement in &self.taken {
            ring.take(statement, &world.log, self.log.as_ref());
        }
        let (random, log) = (&mut self.random, self.log.as_ref());
        ring.rotate(random, &pair(author), &world.log, log).unwrap()
    }

    /// The statement of a rotation, changed and signed again.
    pub(crate) fn changed(
        rotation: &Rotation,
        author: u8,
        change: impl FnOnce(&mut KeyStatement),
    ) -> SignedKeyStatement {
        let mut statement = KeyStatement::parse(&rotation.statement.bytes).unwrap();
        change(&mut statement);
        statement.make(&pair(author))
    }

    /// Brings copies and statement; gives the answer.
    pub(crate) fn publish(&mut self, world: &mut World, conn: u64, rotation: &Rotation) -> Value {
        let key_id = rotation.statement.key_id();
        bring(world, conn, &key_id, &rotation.copies);
        publish(world, conn, &rotation.statement, rotation.after);
        let answer = world.last(conn);
        if answer["type"] == "channel_key_ok" {
            assert_eq!(answer["key_id"], key_id.to_hex());
            assert_eq!(answer["channel"], self.name.as_str());
            self.taken.push(rotation.statement.clone());
        }
        answer
    }

    /// Makes the next key.
    pub(crate) fn keyed(&mut self, world: &mut World, author: u8) {
        let conn = quiet(world, author);
        let rotation = self.rotation(world, author);
        let answer = self.publish(world, conn, &rotation);
        assert_eq!(answer["type"], "channel_key_ok", "{answer}");
        world.close(conn);
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.taken.last().unwrap().key_id()
    }

    /// A message to it under its newest key.
    pub(crate) fn message(&self, id: &str) -> Value {
        message_under(self.name.as_str(), &self.key_id(), id)
    }

    /// Sends one; gives the ack.
    pub(crate) fn post(&self, world: &mut World, conn: u64, id: &str) -> Value {
        world.say_frame(conn, self.message(id))
    }
}

/// A connection without a presence, which tells nobody anything.
fn quiet(world: &mut World, member: u8) -> u64 {
    let nonce = world.fresh() + 1_000_000;
    let mut hello = hello(&world.mesh(), member, nonce);
    (hello.presence, hello.receive) = (Some(false), Some(false));
    let conn = world.enter(hello, |_| {});
    world.got(conn);
    conn
}

pub(crate) fn bring(
    world: &mut World,
    conn: u64,
    key_id: &KeyId,
    copies: &[(claudemesh_core::id::PublicKey, [u8; 48])],
) {
    for copies in copies.chunks(MAX_COPIES_PER_FRAME) {
        let bytes: Vec<u8> = copies
            .iter()
            .flat_map(|(member, copy)| member.0.iter().chain(copy))
            .copied()
            .collect();
        let copies = base64url(&bytes);
        world.frame(
            conn,
            json!({"type": "channel_key_copies", "key_id": key_id.to_hex(), "copies": copies,
                "_reqId": "c"}),
        );
    }
}

pub(crate) fn publish(
    world: &mut World,
    conn: u64,
    statement: &SignedKeyStatement,
    after: Option<KeyId>,
) {
    let mut frame = json!({
        "type": "channel_key", "e": base64url(&statement.bytes),
        "sig": statement.signature.to_hex(), "_reqId": "k",
    });
    if let Some(after) = after {
        frame["after"] = after.to_hex().into();
    }
    world.frame(conn, frame);
}

pub(crate) fn message_under(to: &str, key_id: &KeyId, id: &str) -> Value {
    let mut sealed = vec![0xce, 0x01];
    sealed.extend(key_id.0);
    sealed.extend([7; 300]);
    json!({
        "type": "send", "id": id, "client_message_id": id, "targetSpec": to, "priority": "now",
        "nonce": "n", "ciphertext": base64(&sealed), "form": "envelope/1",
    })
}

/// The ids of the messages that a connection was pushed.
pub(crate) fn ids(world: &mut World, conn: u64) -> Vec<String> {
    let pushes = world.got_of(conn, "push");
    let messages = pushes.iter().filter(|push| push["subtype"] != "system");
    messages
        .map(|push| push["client_message_id"].as_str().unwrap().to_owned())
        .collect()
}

/// Settles all that a connection was pushed.
pub(crate) fn settle(world: &mut World, conn: u64) {
    let pushes = world.got_of(conn, "push");
    let messages = pushes.iter().filter(|push| push["subtype"] != "system");
    let ids: Vec<_> = messages.map(|push| push["messageId"].clone()).collect();
    world.frame(conn, json!({"type": "client_ack", "brokerMessageIds": ids}));
}

/// A connection that lists no `channels/1`.
pub(crate) fn without_channels(world: &mut World, member: u8) -> u64 {
    let nonce = world.fresh() + 2_000_000;
    let mut hello = hello(&world.mesh(), member, nonce);
    let capabilities = hello.capabilities.as_mut().unwrap();
    capabilities.retain(|it| it != "channels/1");
    world.enter(hello, |_| {})
}
