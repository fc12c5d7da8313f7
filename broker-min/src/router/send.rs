//! Taking messages: checked, committed, and only then acked and pushed.

use std::sync::Arc;

use claudemesh_core::crypto::sha256;
use claudemesh_core::encoding::base64url;
use claudemesh_core::id::{ChannelName, MemberId, MeshId, MessageId, Priority, PublicKey};
use claudemesh_core::identity::AddressError;
use claudemesh_core::wire::{
    Ack, Acks, CloseCode, MAX_FRAME, MAX_IDS_PER_FRAME, Push, Send, SignedBlob, errors,
    errors::code, push_tail, reason,
};

use serde_json::{Map, Value};

use super::Router;
use super::bucket::Bucket;
use super::mesh::Mesh;
use super::multicast::{Recipients, key_id};
use super::push::Needs;
use super::text::{iso, shown};
use super::types::{Address, ConnId, Out};
use super::writer::Then;
use crate::store::{Accept, Fire, Op, Outcome, StoreError, ValueOp};

/// Characters of a text that a send only passes on.
const PASSED_ON: usize = 256;
/// A connection that was told to wait and still has so many times the limit unanswered is closed.
const OVERRUN: usize = 8;

/// A send that is being committed.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) conn: ConnId,
    /// Its place among the connection's sends.
    pub(super) number: u64,
    pub(super) mesh: Arc<MeshId>,
    pub(super) sender: PublicKey,
    pub(super) ack_id: String,
    pub(super) client_id: Option<Arc<str>>,
    pub(super) recipients: Vec<PublicKey>,
    pub(super) class: Priority,
    pub(super) expires_at: u64,
    /// The push text, if someone may be sent it at once.
    pub(super) tail: Option<String>,
    /// What a connection must be able to do to get it.
    pub(super) needs: Needs,
    /// The channel it is for.
    pub(super) channel: Option<ChannelName>,
    /// Readers of the channel who were not seen for long.
    dormant: usize,
    /// How it is refused, if it was not taken before.
    pub(super) refusal: Option<Ack>,
    /// The schedule that it comes of; then there is no connection.
    pub(super) schedule: Option<String>,
    /// And the schedule goes on after it.
    pub(super) repeats: bool,
    /// The request by HTTP that it came of; then there is no connection.
    pub(super) posted: Option<Box<Posted>>,
    /// The target as it was sent to, if it was in the open or came of an existing client.
    pub(super) open_target: Option<String>,
}

/// A message that came by HTTP.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) request: u64,
    /// What is told of it once it is taken, besides its id.
    pub(super) told: Value,
}

/// Stands for the connection of a message that a schedule sends.
const NO_CONN: ConnId = ConnId::MAX;

/// A refusal of a send.
pub(super) fn refused(code: &str, error: impl Into<String>) -> Ack {
    Ack {
        error: Some(error.into()),
        code: Some(code.to_owned()),
        ..Ack::default()
    }
}

impl Router {
    pub(super) fn send(&mut self, id: ConnId, send: &Send) {
        let limit = self.limits.unanswered_sends;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let number = conn.first_send + conn.sends.len() as u64;
        conn.sends.push_back(None);
        let unanswered = conn.sends.len();
        if unanswered > limit.saturating_mul(OVERRUN) {
            self.close(id, CloseCode::OVERLOAD, reason::OVERLOAD);
            return;
        }
        if unanswered > limit && conn.reading {
            conn.reading = false;
            self.outs.push_back(Out::Reading {
                conn: id,
                on: false,
            });
        }
        let (shared, member) = (Arc::clone(&conn.mesh), conn.member);
        let plain = !conn.envelope;
        let target = self.check(&shared, member, send, plain);
        let sent = Sent {
            conn: id,
            number,
            open_target: plain.then(|| shown(&send.target_spec, PASSED_ON)),
            ..self.checked(&shared, member, send, target)
        };
        if send.online == Some(true) {
            return self.send_online(sent, send);
        }
        // What was taken once is acked again, also when it would be refused now.
        if sent.refusal.is_some() && sent.client_id.is_none() {
            self.answer_sent(&sent, Ok(&Outcome::Refused));
            self.flush_acks(id);
            return;
        }
        self.accept(sent, send);
    }

    /// Sends for a member whose schedule is due, by all the rules of this moment. Says for how
    /// long to wait, in ms, if it is only too early.
    pub(super) fn send_scheduled(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        schedule: &str,
        send: &Send,
    ) -> Result<(), u64> {
        let plain = is_open(schedule);
        let target = self.check(shared, member, send, plain);
        if let Err(ack) = &target
            && ack.code.as_deref() == Some(code::RATE_LIMIT)
        {
            return Err(ack.retry_after_ms.unwrap_or(1_000));
        }
        let sent = Sent {
            schedule: Some(schedule.to_owned()),
            ..self.checked(shared, member, send, target)
        };
        self.accept(sent, send);
        Ok(())
    }

    /// Sends for a program without a connection, by all the rules of this moment.
    pub(super) fn send_posted(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        send: &Send,
        plain: bool,
        posted: Posted,
    ) {
        let target = self.check(shared, member, send, plain);
        let sent = Sent {
            posted: Some(Box::new(posted)),
            ..self.checked(shared, member, send, target)
        };
        if sent.refusal.is_some() && sent.client_id.is_none() {
            return self.answer_sent(&sent, Ok(&Outcome::Refused));
        }
        self.accept(sent, send);
    }

    /// As [`Self::send_scheduled`], for a schedule that goes on.
    pub(super) fn send_again(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        schedule: &str,
        send: &Send,
    ) -> Result<(), u64> {
        let target = self.check(shared, member, send, true);
        if let Err(ack) = &target
            && ack.code.as_deref() == Some(code::RATE_LIMIT)
        {
            return Err(ack.retry_after_ms.unwrap_or(1_000));
        }
        let sent = Sent {
            schedule: Some(schedule.to_owned()),
            repeats: true,
            ..self.checked(shared, member, send, target)
        };
        self.accept(sent, send);
        Ok(())
    }

    /// A send whose target was looked up, before it is known who waits for its answer.
    fn checked(
        &self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        send: &Send,
        target: Result<(To, Priority), Box<Ack>>,
    ) -> Sent {
        let now = self.now.wall;
        let expires_at = send
            .expires_at
            .unwrap_or(now.saturating_add(self.limits.expires_ms))
            .min(now.saturating_add(self.longest_wait(shared)));
        let mut open = false;
        let (recipients, channel, dormant, class, refusal) = match target {
            Ok((To::Peer(key), class)) => (vec![key], None, 0, class, None),
            Ok((To::Channel(to), class)) => (to.keys, Some(to.channel), to.dormant, class, None),
            Ok((To::Open(to), class)) => {
                open = true;
                (to.keys, Some(to.channel), to.dormant, class, None)
            }
            Err(ack) => (Vec::new(), None, 0, Priority::Next, Some(*ack)),
        };
        let needs = match (&channel, &send.form) {
            (Some(_), _) if open => Needs::Open,
            (Some(_), _) => Needs::Channels,
            (None, Some(_)) => Needs::Envelope,
            (None, None) => Needs::Nothing,
        };
        let text = |text: &str| shown(text, PASSED_ON);
        let client_id = send.client_message_id.as_deref();
        let client_id = client_id.filter(|id| !id.is_empty());
        Sent {
            conn: NO_CONN,
            number: 0,
            mesh: Arc::clone(shared),
            sender: member,
            ack_id: send.id.as_deref().map(text).unwrap_or_default(),
            client_id: client_id.map(|id| text(id).into()),
            recipients,
            class,
            expires_at,
            tail: None,
            needs,
            channel,
            dormant,
            refusal,
            schedule: None,
            repeats: false,
            posted: None,
            open_target: None,
        }
    }

    /// Routing key, member id and name of who sends.
    fn speaker(&self, sent: &Sent) -> Option<(PublicKey, MemberId, String)> {
        if sent.schedule.is_some() || sent.posted.is_some() {
            let row = self.mesh(&sent.mesh)?.member(&sent.sender)?;
            return Some((row.key, row.id.clone(), row.name.as_str().to_owned()));
        }
        let conn = self.conns.get(&sent.conn)?;
        // By this key existing clients open what they get. A session with an address seals with
        // its member's.
        let key = match conn.address {
            Some(_) => conn.member,
            None => conn.routing_key(),
        };
        Some((key, conn.member_id.clone(), conn.name.clone()))
    }

    /// Where the session that sends is reached, for an answer to it alone.
    fn sender_address(&self, sent: &Sent) -> Option<SignedBlob> {
        let conn = self.conns.get(&sent.conn)?;
        Some(conn.address.as_ref()?.blob.clone())
    }

    /// The push of a message, without its id.
    pub(super) fn push_of(&self, sent: &Sent, send: &Send) -> Option<Push> {
        let (routing_key, member_id, name) = self.speaker(sent)?;
        let text = |text: &Option<String>| text.as_deref().map(|text| shown(text, PASSED_ON));
        let open = sent.needs == Needs::Open;
        Some(Push {
            mesh_id: sent.mesh.as_str().to_owned(),
            sender_pubkey: routing_key.to_hex(),
            priority: sent.class.as_str().to_owned(),
            nonce: send.nonce.clone(),
            ciphertext: send.ciphertext.clone(),
            created_at: iso(self.now.wall),
            sender_member_pubkey: Some(sent.sender.to_hex()),
            sender_member_id: Some(member_id.as_str().to_owned()),
            sender_name: Some(name),
            client_message_id: sent.client_id.as_deref().map(str::to_owned),
            request_fingerprint: text(&send.request_fingerprint),
            reply_to_id: text(&send.reply_to_id),
            // The broker's own words are marked by the subtype; nobody else may use them.
            subtype: text(&send.subtype).filter(|s| s != "system" && s != "webhook"),
            target: Some(target_of(sent, send)),
            form: text(&send.form).filter(|_| !open),
            plain: open.then_some(true),
            body_version: send.body_version.filter(|_| open),
            topic: send
                .target_spec
                .strip_prefix('#')
                .filter(|_| open)
                .map(|_| topic_of(sent)),
            expires_at: send.expires_at.map(|_| sent.expires_at),
            address: self.sender_address(sent),
            ..Push::default()
        })
    }

    fn accept(&mut self, mut sent: Sent, send: &Send) {
        let Some(push) = self.push_of(&sent, send) else {
            return;
        };
        let now = self.now.wall;
        let lookup_only = sent.refusal.is_some();
        let tail = if lookup_only {
            String::new()
        } else {
            push_tail(&push)
        };
        let listening = self.mesh(&sent.mesh).is_some_and(|mesh| {
            sent.recipients
                .iter()
                .any(|key| mesh.drains.contains_key(key))
        });
        let op = Accept {
            mesh: MeshId::clone(&sent.mesh),
            sender: sent.sender,
            id: sent.client_id.as_deref().and_then(dedupe_id),
            content: content(send),
            recipients: sent.recipients.clone(),
            class: sent.class,
            tail: tail.clone(),
            now,
            expires_at: sent.expires_at,
            caps: self.caps(&sent.mesh),
            lookup_only,
            channel: sent.channel.clone(),
        };
        sent.tail = listening.then_some(tail);
        let op = match &sent.schedule {
            None => Op::Accept(Box::new(op)),
            Some(_) if sent.repeats => Op::Accept(Box::new(op)),
            Some(id) => {
                let refusal = sent.refusal.as_ref().and_then(|ack| ack.code.clone());
                Op::Value(ValueOp::Fire(Box::new(Fire {
                    id: id.clone(),
                    refusal,
                    accept: op,
                })))
            }
        };
        self.writer.push(vec![op], Then::Sent(Box::new(sent)));
    }

    /// The recipient and class of a send, or its refusal.
    fn check(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        send: &Send,
        plain: bool,
    ) -> Result<(To, Priority), Box<Ack>> {
        let refuse = |code: &str, error: String| Err(Box::new(refused(code, error)));
        let Ok(class) = send.priority() else {
            return refuse(
                code::INVALID,
                "invalid: a priority is now, next or low".into(),
            );
        };
        let target = send.target_spec.as_str();
        if send
            .client_message_id
            .as_deref()
            .is_some_and(|id| id.chars().count() > PASSED_ON)
        {
            return refuse(
                code::INVALID,
                "invalid: client_message_id is too long".into(),
            );
        }
        let size = send.ciphertext.len() + send.nonce.len() + target.len();
        if size > MAX_FRAME {
            return refuse(code::TOO_LARGE, errors::payload_too_large(size));
        }
        if send.expires_at.is_some_and(|at| at <= self.now.wall) {
            let why = "expired: expires_at is in the past by the broker's clock";
            return refuse(code::EXPIRED, why.into());
        }
        self.check_rate(shared, member, 1)?;
        if target.starts_with(['*', '@', '#', '$']) {
            if plain && key_id(send).is_none() && !target.starts_with('$') {
                let to = self.check_plain(shared, member, send)?;
                return Ok((To::Open(to), class));
            }
            let to = self.check_channel(shared, member, send)?;
            return Ok((To::Channel(to), class));
        }
        let lower = target
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let key = PublicKey::from_hex(target).ok().filter(|_| lower);
        let Some(key) = key else {
            let why = "invalid: a target is a key in 64 lower-case hex digits";
            return refuse(code::INVALID, why.into());
        };
        let wall = self.now.wall;
        let found = |router: &Self| {
            let mesh = router.mesh(shared);
            mesh.map_or(Recipient::Unknown, |mesh| recipient(mesh, &key, wall))
        };
        let mut known = found(self);
        if matches!(known, Recipient::Unknown | Recipient::Gone)
            && let Some(shown) = &send.address
        {
            self.address_given(shared, &key, shown)?;
            known = found(self);
        }
        match known {
            Recipient::Mailbox => {
                let granted = |mesh: &Mesh| mesh.grants(&mesh.owner_of(&key), &member, "dm");
                if self.mesh(shared).is_some_and(|mesh| !granted(mesh)) {
                    return refuse(code::BLOCKED, errors::BLOCKED_BY_GRANTS.into());
                }
                Ok((To::Peer(key), class))
            }
            Recipient::Gone => {
                let why = "session_gone: this session was not there for 30 days";
                refuse(code::SESSION_GONE, why.into())
            }
            Recipient::Removed => {
                let why = "removed: this member was removed from the mesh";
                refuse(code::REMOVED, why.into())
            }
            Recipient::Unknown => refuse(code::NOT_FOUND, "not_found: unknown target".into()),
        }
    }

    /// Who writes to a session that is away shows by its address that there is such a one.
    fn address_given(
        &mut self,
        shared: &Arc<MeshId>,
        target: &PublicKey,
        shown: &SignedBlob,
    ) -> Result<(), Box<Ack>> {
        let refuse = |code: &str, error: String| Err(Box::new(refused(code, error)));
        let address = match Address::open(shown, shared, self.now.wall) {
            Ok(address) if address.session == *target => Arc::new(address),
            Ok(_) => {
                let why = "invalid: the address is of another session than the target";
                return refuse(code::INVALID, why.into());
            }
            Err(AddressError::Expired) => {
                let why = "session_gone: this session was not there for 30 days";
                return refuse(code::SESSION_GONE, why.into());
            }
            Err(error) => return refuse(code::INVALID, format!("invalid: {error}")),
        };
        let Some(mesh) = self.mesh_mut(shared) else {
            return Ok(());
        };
        let removed = mesh.members.get(&address.member).map(|row| row.removed_at);
        match removed {
            None => refuse(code::NOT_FOUND, "not_found: unknown target".into()),
            Some(at) if at != 0 => {
                let why = "removed: the member of this session was removed from the mesh";
                refuse(code::REMOVED, why.into())
            }
            Some(_) if mesh.members.contains_key(target) || mesh.address_shown(&address) => Ok(()),
            Some(_) => {
                let why = "queue_full: this member has too many sessions that are away";
                refuse(code::QUEUE_FULL, why.into())
            }
        }
    }

    /// Counts deliveries of a member.
    pub(super) fn check_rate(
        &mut self,
        shared: &Arc<MeshId>,
        member: PublicKey,
        count: u64,
    ) -> Result<(), Box<Ack>> {
        let (per_s, burst) = (self.limits.deliveries_per_s, self.limits.delivery_burst);
        let now = self.now.mono;
        let Some(mesh) = self.mesh_mut(shared) else {
            return Ok(());
        };
        let (rate, burst) = (u64::from(per_s), u64::from(burst));
        let bucket = mesh
            .buckets
            .entry(member)
            .or_insert_with(|| Bucket::full(burst, now));
        let Err(wait) = bucket.take_many(count, now, burst, rate, 1_000) else {
            return Ok(());
        };
        // The numbers of the existing system are told in its words.
        let (error, limit) = if self.limits.counts_messages() {
            (errors::rate_limit_messages(60, burst), 60)
        } else {
            (errors::rate_limit_deliveries(rate, burst), rate)
        };
        let mut ack = refused(code::RATE_LIMIT, error);
        ack.limit = Some(limit);
        ack.retry_after_ms = Some(wait);
        Err(Box::new(ack))
    }

    /// Notes the answer of a send. It is told by [`Self::flush_acks`].
    pub(super) fn answer_sent(&mut self, sent: &Sent, outcome: Result<&Outcome, &StoreError>) {
        let modern = self.conns.get(&sent.conn).is_some_and(|conn| conn.modern);
        let accepted = |seq: u64, recipients: u32| Ack {
            message_id: self.ids.mint(seq, &sent.sender),
            queued: true,
            recipients: modern.then_some(recipients),
            ..Ack::default()
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut ack = match outcome {
            Ok(Outcome::Accepted { seq, full }) => {
                let taken = sent.recipients.len().saturating_sub(full.len());
                let mut ack = accepted(*seq, count(taken));
                let skipped: Map<String, Value> =
                    [(code::QUEUE_FULL, full.len()), (DORMANT, sent.dormant)]
                        .into_iter()
                        .filter(|(_, count)| *count > 0)
                        .map(|(why, count)| (why.to_owned(), count.into()))
                        .collect();
                ack.skipped = Some(skipped).filter(|skipped| modern && !skipped.is_empty());
                ack
            }
            Ok(Outcome::Duplicate { seq, recipients }) => {
                let mut ack = accepted(*seq, *recipients);
                ack.duplicate = modern.then_some(true);
                ack
            }
            Ok(Outcome::Reused) => refused(
                code::INVALID,
                "invalid: id reused (this client_message_id was used for another message)",
            ),
            Ok(Outcome::Full) => {
                let mut ack = refused(code::QUEUE_FULL, QUEUE_FULL);
                ack.retry_after_ms = Some(30_000);
                ack
            }
            Ok(_) => match &sent.refusal {
                Some(refusal) => refusal.clone(),
                None => refused(code::INVALID, "invalid: the broker cannot take this"),
            },
            Err(_) => {
                let mut ack = refused(code::STORE_UNAVAILABLE, STORE_UNAVAILABLE);
                ack.retry_after_ms = Some(1_000);
                ack
            }
        };
        ack.id.clone_from(&sent.ack_id);
        if modern {
            ack.client_message_id = sent.client_id.as_deref().map(str::to_owned);
        }
        if let Some(posted) = &sent.posted {
            self.posted(posted, &ack);
        } else if let Some(conn) = self.conns.get_mut(&sent.conn) {
            conn.answer(sent.number, ack);
        }
    }

    /// Tells the answers that are next in order, and reads on.
    pub(super) fn flush_acks(&mut self, id: ConnId) {
        let limit = self.limits.unanswered_sends;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let mut answers = conn.take_answers();
        let modern = conn.modern;
        let goes_on = !conn.reading && conn.sends.len() <= limit / 2;
        conn.reading |= goes_on;
        while !answers.is_empty() {
            let rest = answers.split_off(answers.len().min(MAX_IDS_PER_FRAME));
            if modern && answers.len() > 1 {
                self.reply(id, Acks { items: answers });
            } else {
                for ack in answers {
                    self.reply(id, ack);
                }
            }
            answers = rest;
        }
        if goes_on {
            self.outs.push_back(Out::Reading { conn: id, on: true });
        }
    }
}

/// To whom a send goes.
enum To {
    Peer(PublicKey),
    Channel(Recipients),
    /// In the open.
    Open(Recipients),
}

/// Whether a schedule is of a client that does not seal: the broker named it, in the form that
/// such clients know.
pub(super) fn is_open(schedule: &str) -> bool {
    schedule.contains('-')
}

/// The topic of a message in the open, by its id.
fn topic_of(sent: &Sent) -> String {
    let channel = sent.channel.as_ref();
    let id = channel.and_then(|channel| channel.as_str().strip_prefix('#'));
    id.unwrap_or_default().to_owned()
}

/// The target as it is told to who gets the message.
fn target_of(sent: &Sent, send: &Send) -> String {
    let channel = sent.channel.as_ref().filter(|_| sent.needs != Needs::Open);
    channel.map_or_else(
        || send.target_spec.clone(),
        |channel| channel.as_str().to_owned(),
    )
}

enum Recipient {
    Mailbox,
    Removed,
    /// A session whose time is over.
    Gone,
    Unknown,
}

fn recipient(mesh: &Mesh, key: &PublicKey, now: u64) -> Recipient {
    match mesh.members.get(key) {
        Some(row) if row.removed_at == 0 => return Recipient::Mailbox,
        Some(_) => return Recipient::Removed,
        None if mesh.by_session.contains_key(key) => return Recipient::Mailbox,
        None => {}
    }
    let address = mesh.session_key(key).and_then(|session| session.address);
    match address {
        None => Recipient::Unknown,
        Some(address) if mesh.member(&address.member).is_none() => Recipient::Removed,
        Some(address) if address.expires_at <= now => Recipient::Gone,
        Some(_) => Recipient::Mailbox,
    }
}

/// The id under which a send is remembered. Clients of the existing system may use any text.
fn dedupe_id(text: &str) -> Option<MessageId> {
    MessageId::new(text)
        .or_else(|_| MessageId::new(format!("sha256:{}", base64url(&sha256(text.as_bytes()).0))))
        .ok()
}

/// A hash of target and content: the first 8 bytes of a SHA-256.
fn content(send: &Send) -> u64 {
    let parts = [&send.target_spec, &send.nonce, &send.ciphertext];
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    let hash = sha256(&bytes);
    hash.0
        .iter()
        .take(8)
        .fold(0, |n, byte| (n << 8) | u64::from(*byte))
}

/// Of recipients who were not seen for long.
const DORMANT: &str = "dormant";
const QUEUE_FULL: &str = "queue_full: the recipient's mailbox is full; try again later";
const STORE_UNAVAILABLE: &str =
    "store_unavailable: the broker could not write to its store; try again";
