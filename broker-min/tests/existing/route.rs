//! What the broker does with frames.

use std::time::Instant;

use claudemesh_core::id::PublicKey;
use claudemesh_core::time::iso;
use serde_json::{Value, json};

use super::{MESH, Presence, Row, State};

const ABSENT: &str = "no connected peer for target (not online, or targetSpec is your own key \
    without another session)";
const LIMITED: &str = "rate_limit: max 60 msg/min (burst 10) \u{2014} slow down";

/// Milliseconds of a clock that this process has.
fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds for which a row that was pushed is not pushed again.
const LEASE_MS: u64 = 30_000;

impl State {
    /// A frame of a connection that said its hello. What it does not know it passes over.
    pub(super) fn frame(&mut self, from: u64, frame: &Value) {
        let Some(member) = self.presences.get(&from).map(|presence| presence.member) else {
            return;
        };
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "send" => self.send(from, member, frame),
            "client_ack" => self.settle(from, &text("clientMessageId"), &text("brokerMessageId")),
            "list_peers" => self.list(from, frame),
            "set_status" => self.with(from, |own| own.status = text("status")),
            "set_profile" => {
                let fields = frame.clone();
                self.with(from, |own| {
                    for name in ["avatar", "title", "bio", "capabilities"] {
                        if !fields[name].is_null() {
                            own.profile[name] = fields[name].clone();
                        }
                    }
                });
                let id = frame["_reqId"].as_str().unwrap_or_default();
                self.reply(
                    from,
                    frame,
                    json!({ "type": "ack", "id": id, "messageId": "", "queued": false }),
                );
            }
            "join_group" => {
                let group = json!({ "name": frame["name"] });
                self.with(from, |own| own.groups.push(group));
            }
            "leave_group" => {
                let name = frame["name"].clone();
                self.with(from, |own| own.groups.retain(|group| group["name"] != name));
            }
            "topic_join" | "topic_leave" | "topic_members" => self.topic(from, member, frame),
            "message_status" => self.message_status(from, frame),
            _ => {}
        }
    }

    fn with(&mut self, id: u64, change: impl FnOnce(&mut Presence)) {
        if let Some(presence) = self.presences.get_mut(&id) {
            change(presence);
        }
    }

    fn say(&self, to: u64, frame: Value) {
        if let Some(presence) = self.presences.get(&to) {
            let _ = presence.line.send(frame);
        }
    }

    fn reply(&self, to: u64, asked: &Value, mut frame: Value) {
        if !asked["_reqId"].is_null() {
            frame["_reqId"] = asked["_reqId"].clone();
        }
        self.say(to, frame);
    }

    fn send(&mut self, from: u64, member: PublicKey, frame: &Value) {
        let id = frame["id"].as_str().unwrap_or_default().to_owned();
        let refuse = |error: &str| json!({ "type": "ack", "id": id, "messageId": "", "queued": false, "error": error });
        if let Some(left) = self.tokens.as_mut().and_then(|all| all.get_mut(&member)) {
            if *left == 0 {
                return self.say(from, refuse(LIMITED));
            }
            *left -= 1;
        }
        let target = frame["targetSpec"].as_str().unwrap_or_default().to_owned();
        let direct = !target.starts_with(['*', '@', '#']);
        let is_target =
            |presence: &Presence| presence.member.to_hex() == target || presence.routing == target;
        let there = self
            .presences
            .iter()
            .any(|(id, p)| *id != from && is_target(p));
        if direct && !there {
            return self.say(from, refuse(ABSENT));
        }
        self.numbers += 1;
        let row = format!("{:032}", self.numbers);
        let sender = self.presences[&from].routing.clone();
        self.rows.push(Row {
            id: row.clone(),
            target: target.clone(),
            sender,
            frame: frame.clone(),
            claimed: None,
            delivered: false,
        });
        self.say(
            from,
            json!({ "type": "ack", "id": id, "messageId": row, "queued": true }),
        );
        if direct {
            let to: Vec<u64> = (self.presences.iter())
                .filter(|(id, presence)| **id != from && is_target(presence))
                .map(|(id, _)| *id)
                .collect();
            to.into_iter().for_each(|id| self.drain(id));
        } else if !target.starts_with('#') {
            self.multicast(from, member, &target, &row);
        }
    }

    /// To everybody who is there, once; nobody gets it later.
    fn multicast(&mut self, from: u64, member: PublicKey, target: &str, row: &str) {
        let Some(index) = self.rows.iter().position(|other| other.id == row) else {
            return;
        };
        self.rows[index].delivered = true;
        let (own, frame) = (&self.presences[&from], self.rows[index].frame.clone());
        let push = json!({ "type": "push", "messageId": row, "meshId": MESH,
            "senderPubkey": own.routing, "senderMemberPubkey": member, "senderMemberId": "M1",
            "senderName": own.name, "priority": frame["priority"], "nonce": frame["nonce"],
            "ciphertext": frame["ciphertext"], "createdAt": "2026-11-24T16:00:01.000Z" });
        let group = target.trim_start_matches('@');
        let to = self.presences.values().filter(|other| {
            let in_group = other.groups.iter().any(|named| named["name"] == group);
            other.member != member && (matches!(target, "*" | "@all") || in_group)
        });
        to.for_each(|other| {
            let _ = other.line.send(push.clone());
        });
    }

    /// Pushes what waits for a connection, and has not been pushed just now.
    pub(super) fn drain(&mut self, to: u64) {
        let Some(presence) = self.presences.get(&to) else {
            return;
        };
        let (member, routing) = (presence.member, presence.routing.clone());
        if self.held.contains(&member) {
            return;
        }
        let idle = presence.status == "idle";
        let topics = &self.topics;
        let now = now();
        for row in &mut self.rows {
            let topic = row.target.strip_prefix('#').and_then(|id| topics.get(id));
            let mine = row.target == member.to_hex()
                || row.target == routing
                || topic.is_some_and(|members| members.contains(&member));
            let leased = row
                .claimed
                .is_some_and(|at| now.saturating_sub(at) < LEASE_MS);
            let gate = idle || row.frame["priority"] == "now";
            if row.delivered || leased || !mine || !gate {
                continue;
            }
            row.claimed = Some(now);
            let mut push = json!({ "type": "push", "messageId": row.id, "meshId": MESH,
                "senderPubkey": row.sender, "priority": row.frame["priority"],
                "nonce": row.frame["nonce"], "ciphertext": row.frame["ciphertext"],
                "createdAt": "2026-11-24T16:00:00.123Z" });
            for name in ["client_message_id", "request_fingerprint"] {
                if !row.frame[name].is_null() {
                    push[name] = row.frame[name].clone();
                }
            }
            let _ = presence.line.send(push);
        }
    }

    fn settle(&mut self, from: u64, client: &str, broker: &str) {
        let Some(presence) = self.presences.get(&from) else {
            return;
        };
        let (member, routing) = (presence.member.to_hex(), presence.routing.clone());
        for row in &mut self.rows {
            let mine = row.target == member
                || row.target == routing
                || row.target.starts_with(['*', '@', '#']);
            let named = row.id == broker
                || (!client.is_empty() && row.frame["client_message_id"] == client);
            row.delivered |= mine && named;
        }
    }

    fn list(&self, to: u64, asked: &Value) {
        let records: Vec<Value> = (self.presences.values())
            .map(|presence| {
                json!({ "pubkey": presence.routing, "memberPubkey": presence.member,
                    "displayName": presence.name, "status": presence.status, "summary": null,
                    "groups": presence.groups, "sessionId": presence.session_id,
                    "connectedAt": iso(presence.since), "cwd": "/",
                    "peerRole": presence.role, "visible": true, "profile": presence.profile })
            })
            .collect();
        self.reply(to, asked, json!({ "type": "peers_list", "peers": records }));
    }

    fn topic(&mut self, from: u64, member: PublicKey, frame: &Value) {
        let name = frame["topic"].as_str().unwrap_or_default();
        let Some(members) = self.topics.get_mut(name) else {
            // The request's id stands where no other error has it.
            let message = format!("topic {name:?} not found");
            let error = json!({ "type": "error", "code": "topic_not_found", "message": message, "id": frame["_reqId"] });
            return self.say(from, error);
        };
        match frame["type"].as_str() {
            Some("topic_join") => {
                members.insert(member);
            }
            Some("topic_leave") => {
                members.remove(&member);
            }
            _ => {
                let all: Vec<Value> = (members.iter())
                    .map(|key| json!({ "memberId": "M1", "pubkey": key, "displayName": "x", "role": "member",
                        "joinedAt": "2025-11-24T15:00:00.000Z", "lastReadAt": null }))
                    .collect();
                self.reply(
                    from,
                    frame,
                    json!({ "type": "topic_members_response", "topic": name, "members": all }),
                );
            }
        }
    }

    fn message_status(&self, from: u64, frame: &Value) {
        let id = frame["messageId"].as_str().unwrap_or_default();
        let Some(row) = self.rows.iter().find(|row| row.id == id) else {
            let error =
                json!({ "type": "error", "code": "not_found", "message": "message not found" });
            return self.reply(from, frame, error);
        };
        let status = if row.delivered { "delivered" } else { "held" };
        self.reply(
            from,
            frame,
            json!({ "type": "message_status_result", "messageId": id,
            "targetSpec": row.target, "delivered": row.delivered, "deliveredAt": null,
            "recipients": [{ "name": "x", "pubkey": row.target, "status": status }] }),
        );
    }
}
