//! Messages that go out later: once, as a ready sealed frame that the broker sends when it is due,
//! also while its author is away; or again and again, as something that the author sealed for
//! itself, which comes back when it is due and is sent like any other.

use super::Task;
use crate::cron::Cron;
use crate::crypto::sha256;
use crate::encoding::{base64, hex, unbase64};
use crate::id::{MessageId, PublicKey, Target};
use crate::message::{Content, Expected, SealedText, open_kept, seal_direct};
use crate::session::outbox::Framing;
use crate::session::requests::Asked;
use crate::session::types::Scheduled;
use crate::session::{CommandId, Outgoing, Protection, Reply, Session, SessionError};
use crate::store::{NewOutbox, SendState};
use crate::wire::{
    CancelScheduled, CancelScheduledAck, ListScheduled, Schedule, ScheduleDue, ScheduleTaken,
    ScheduledAck, ScheduledList, decode_send,
};

/// Bytes of a nonce in front of what is sealed for the author.
const NONCE: usize = 24;
/// The attributes by which what comes back names its target, its times and itself: the broker's
/// frame is not believed in this.
const TO: &str = "schedule-to=";
const CRON: &str = "schedule-cron=";
const ID: &str = "schedule-id=";
const PRIORITY: &str = "schedule-priority=";
/// Before its id: up to which time a schedule was sent.
const PIN: &str = "cron:";
/// A schedule may be handed over so late, in ms; after that it waits for its next time.
const LATE_MS: u64 = 31 * 86_400_000;

/// A message that goes out once.
pub(in crate::session) struct OneShot {
    pub(super) command: Option<CommandId>,
    id: String,
    at: u64,
    message: Outgoing,
    content: Content,
}

impl Session {
    /// Sends a message at a time.
    pub(in crate::session) fn schedule(&mut self, command: CommandId, message: Outgoing, at: u64) {
        if let Err(refused) = Self::sealed_only(&message) {
            return self.done(command, Err(refused));
        }
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        let id = hex(&self.rng.bytes::<16>());
        let content = Content {
            id: MessageId::from_parts(self.now.wall, self.rng.bytes()),
            sent_at: self.now.wall,
            due: Some(at),
            reply_to: message.reply_to.as_ref().map(MessageId::base),
            content_type: message.content_type.clone(),
            attributes: message.attributes.clone(),
            body: message.body.clone(),
        };
        let one_shot = OneShot {
            command: Some(command),
            id,
            at,
            message,
            content,
        };
        match one_shot.message.to.clone() {
            Target::Channel(name) => self.when_keyed(&name, Task::Schedule(one_shot)),
            Target::Peer(_) => self.save_schedule(one_shot),
        }
    }

    pub(super) fn save_schedule(&mut self, one_shot: OneShot) {
        let OneShot {
            command,
            id,
            at,
            message,
            content,
        } = one_shot;
        let framing = Framing::of(&message, at);
        let rows = match &message.to {
            Target::Peer(to) => {
                (self.seal_for_peer(&message, &framing, *to, &content)).map(|(rows, _)| rows)
            }
            Target::Channel(name) => {
                (self.row_for_channel(&framing, name, &content)).map(|row| vec![row])
            }
        };
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.fail(command, error),
        };
        for (place, row) in rows.iter().enumerate() {
            let (schedule, command) = match &row.to {
                Target::Peer(key) if place > 0 => (copy_id(&id, key), None),
                _ => (id.clone(), command),
            };
            self.transmit_schedule(schedule, at, row, command);
        }
    }

    fn transmit_schedule(
        &mut self,
        id: String,
        at: u64,
        row: &NewOutbox,
        command: Option<CommandId>,
    ) {
        let Some(Ok(send)) = decode_send(&row.frame) else {
            return;
        };
        let send = send.into_owned();
        let req_id = Some(self.ask(Asked::Schedule(command)));
        self.transmit(Schedule {
            to: send.target_spec.clone(),
            deliver_at: Some(at),
            send: Some(Box::new(send)),
            id: Some(id),
            req_id,
            ..Schedule::default()
        });
    }

    fn fail(&mut self, command: Option<CommandId>, error: SessionError) {
        if let Some(command) = command {
            self.done(command, Err(error));
        }
    }

    /// Sends a message at each time that `cron` names, while a session of this peer is there.
    pub(in crate::session) fn schedule_cron(
        &mut self,
        command: CommandId,
        message: &Outgoing,
        cron: &str,
    ) {
        if let Err(refused) = Self::sealed_only(message) {
            return self.done(command, Err(refused));
        }
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        if let Err(error) = cron.parse::<Cron>() {
            return self.done(command, Err(SessionError::Cron(error)));
        }
        let id = hex(&self.rng.bytes::<16>());
        let mut attributes = message.attributes.clone();
        attributes.push(format!("{TO}{}", message.to));
        attributes.push(format!("{CRON}{cron}"));
        attributes.push(format!("{ID}{id}"));
        attributes.push(format!("{PRIORITY}{}", message.priority));
        let content = Content {
            id: MessageId::from_parts(self.now.wall, self.rng.bytes()),
            sent_at: self.now.wall,
            due: None,
            reply_to: None,
            content_type: message.content_type.clone(),
            attributes,
            body: message.body.clone(),
        };
        let sealed = match self.seal_for_self(&content) {
            Ok(sealed) => sealed,
            Err(error) => return self.done(command, Err(error)),
        };
        let req_id = Some(self.ask(Asked::Schedule(Some(command))));
        self.transmit(Schedule {
            to: message.to.to_string(),
            cron: Some(cron.to_owned()),
            sealed: Some(sealed),
            id: Some(id),
            req_id,
            ..Schedule::default()
        });
    }

    fn seal_for_self(&mut self, content: &Content) -> Result<String, SessionError> {
        let (mesh, me) = (
            self.config.mesh.clone(),
            std::sync::Arc::clone(&self.config.key),
        );
        let (own, nonce) = (me.public(), self.rng.bytes());
        let key = self.direct_key(&own);
        let key = key.map_err(|_| SessionError::NotAMember(own))?;
        let sealed = seal_direct(&mesh, &me, &own, None, content, key, nonce)?;
        let mut bytes = nonce.to_vec();
        bytes.extend(unbase64(&sealed.ciphertext).unwrap_or_default());
        Ok(base64(&bytes))
    }

    pub(in crate::session) fn scheduled(&mut self, ack: ScheduledAck) {
        let asked = self.requests.take(ack.req_id.as_deref());
        if let Some(Asked::Schedule(Some(command))) = asked {
            let id = super::super::clean(&ack.scheduled_id, 64);
            let due = ack.deliver_at;
            self.done(command, Ok(Reply::Scheduled { id, due }));
        }
    }

    pub(in crate::session) fn list_scheduled(&mut self, command: CommandId) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        let req_id = Some(self.ask(Asked::Schedules(command)));
        self.transmit(ListScheduled { req_id });
    }

    pub(in crate::session) fn scheduled_list(&mut self, list: ScheduledList) {
        let asked = self.requests.take(list.req_id.as_deref());
        let Some(Asked::Schedules(command)) = asked else {
            return;
        };
        let text = |text: &str| super::super::clean(text, 128);
        let all: Vec<Scheduled> = (list.messages.iter())
            .map(|record| Scheduled {
                id: text(&record.id),
                to: text(&record.to),
                due: record.deliver_at,
                cron: record.cron.as_deref().map(text),
                failed: record.failed.as_deref().map(text),
            })
            .collect();
        // The copies for devices stand behind the one for their member.
        let copies: Vec<String> = (all.iter())
            .flat_map(|one| {
                let keys = all
                    .iter()
                    .filter_map(|other| PublicKey::from_hex(&other.to).ok());
                keys.map(|key| copy_id(&one.id, &key)).collect::<Vec<_>>()
            })
            .collect();
        let shown = all.into_iter().filter(|one| !copies.contains(&one.id));
        let shown = shown.collect();
        self.done(command, Ok(Reply::Schedules(shown)));
    }

    pub(in crate::session) fn cancel_scheduled(&mut self, command: CommandId, id: String) {
        if let Some(refused) = self.values_refused() {
            return self.done(command, Err(refused));
        }
        // A broker that hands it over all the same is not obeyed.
        if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            self.pin(&format!("{PIN}{id}"), &u64::MAX.to_string());
        }
        let devices: Vec<PublicKey> = (self.log.roster().into_iter())
            .flat_map(|roster| roster.members_and_former())
            .filter(|member| member.device_of.is_some())
            .map(|member| member.key)
            .collect();
        for device in devices {
            let scheduled_id = copy_id(&id, &device);
            self.transmit(CancelScheduled {
                scheduled_id,
                req_id: None,
            });
        }
        let req_id = Some(self.ask(Asked::CancelScheduled(command)));
        self.transmit(CancelScheduled {
            scheduled_id: id,
            req_id,
        });
    }

    pub(in crate::session) fn schedule_cancelled(&mut self, ack: &CancelScheduledAck) {
        let asked = self.requests.take(ack.req_id.as_deref());
        if let Some(Asked::CancelScheduled(command)) = asked {
            self.done(command, Ok(Reply::Cancelled(ack.ok)));
        }
    }

    /// What this peer sealed for itself has come back: it is sent, once for each time.
    pub(in crate::session) fn schedule_due(&mut self, due: &ScheduleDue) {
        let taken = ScheduleTaken {
            scheduled_id: due.scheduled_id.clone(),
            due: due.due,
        };
        match self.due_message(due) {
            Ok(Some((id, message))) => self.send_due(id, &message, taken),
            // It was sent already.
            Ok(None) => self.transmit(taken),
            Err(reason) => {
                let sender = self.config.key.public();
                self.event(super::Event::Rejected { sender, reason });
                self.transmit(taken);
            }
        }
    }

    fn due_message(&mut self, due: &ScheduleDue) -> Result<Option<(MessageId, Outgoing)>, String> {
        let content = self.open_for_self(&due.sealed)?;
        let told = |name: &str| {
            let mut all = content.attributes.iter();
            all.find_map(|text| text.strip_prefix(name))
                .map(str::to_owned)
        };
        let damaged = || "a schedule came back that this peer did not make".to_owned();
        let (Some(to), Some(cron), Some(id)) = (told(TO), told(CRON), told(ID)) else {
            return Err(damaged());
        };
        let to: Target = to.parse().map_err(|_| damaged())?;
        let cron: Cron = cron.parse().map_err(|_| damaged())?;
        // The broker may hand it over late; it may not choose other times, nor one twice.
        let wall = self.now.wall;
        let in_time = due.due <= wall.saturating_add(600_000)
            && due.due >= wall.saturating_sub(LATE_MS)
            && due.due.checked_sub(1).and_then(|before| cron.next(before)) == Some(due.due);
        if id != due.scheduled_id || !in_time {
            return Err("a schedule came back at a time that is not its own".to_owned());
        }
        let pin = format!("{PIN}{id}");
        let last = self
            .pins
            .get(&pin)
            .and_then(|text| text.parse::<u64>().ok());
        if last.is_some_and(|last| due.due <= last) {
            return Ok(None);
        }
        self.pin(&pin, &due.due.to_string());
        let message_id = format!("{id}.{}", due.due / 60_000);
        let priority = told(PRIORITY).and_then(|text| text.parse().ok());
        let ours = [TO, CRON, ID, PRIORITY];
        let attributes = content.attributes.iter();
        let attributes = attributes.filter(|text| !ours.iter().any(|name| text.starts_with(name)));
        let message = Outgoing {
            to,
            attributes: attributes.cloned().collect(),
            body: content.body,
            content_type: content.content_type,
            priority: priority.unwrap_or_default(),
            reply_to: None,
            expires_in: None,
            to_unverified: false,
            protection: Protection::Sealed,
        };
        let message_id = MessageId::new(message_id).map_err(|_| damaged())?;
        Ok(Some((message_id, message)))
    }

    fn open_for_self(&mut self, sealed: &str) -> Result<Content, String> {
        let bytes = unbase64(sealed).map_err(|error| error.to_string())?;
        let Some((nonce, rest)) = bytes.split_at_checked(NONCE) else {
            return Err("what came back is cut off".to_owned());
        };
        let sealed = SealedText {
            nonce: base64(nonce),
            ciphertext: base64(rest),
        };
        let (mesh, me) = (self.config.mesh.clone(), self.config.key.public());
        let key = self.direct_key(&me).map_err(|error| error.to_string())?;
        let expected = Expected {
            mesh: &mesh,
            recipient: &me,
            sender: &me,
            frame_id: None,
            now: u64::MAX,
        };
        let opened = open_kept(expected, key, &sealed);
        opened
            .map(|opened| opened.content)
            .map_err(|error| error.to_string())
    }

    fn send_due(&mut self, id: MessageId, message: &Outgoing, taken: ScheduleTaken) {
        match self.seal_all_as(message, id.clone()) {
            Ok((rows, _)) => self.enqueue_due(rows, taken),
            Err(error) => {
                let reason = Some(error.to_string());
                self.event(super::Event::Sent {
                    id,
                    state: SendState::Failed,
                    reason,
                    recipients: None,
                });
                self.transmit(taken);
            }
        }
    }
}

/// The schedule of the copy for a device.
fn copy_id(id: &str, device: &PublicKey) -> String {
    let hash = sha256(format!("{id}/{}", device.to_hex()).as_bytes());
    hex(hash.0.get(..16).unwrap_or_default())
}
