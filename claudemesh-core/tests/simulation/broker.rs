//! A broker as the protocol has it: accept once, keep, push by window, settle, tell the sender.

use std::collections::{BTreeMap, HashMap, HashSet};

use claudemesh_core::id::PublicKey;
use claudemesh_core::wire::{
    Ack, BrokerFrame, BrokerInfo, CAP_DELIVERY, CAP_LOG, ClientFrame, Outcome, OutcomeState,
    OutcomesResult, Push, Receipt, ReceiptState, errors::code,
};

use crate::support::Mesh;

pub type Conn = u64;

const WINDOW: usize = 8;

#[derive(Clone)]
pub struct Message {
    pub sender: PublicKey,
    pub to: PublicKey,
    pub client_id: String,
    push: Push,
}

struct Open {
    member: PublicKey,
    pushed: HashSet<u64>,
    told_caught_up: bool,
}

/// All of it survives: what is tested here are the peers.
pub struct Broker {
    mesh: Mesh,
    store: u64,
    pub accepted: BTreeMap<u64, Message>,
    by_id: HashMap<(PublicKey, String), u64>,
    pub waiting: BTreeMap<u64, PublicKey>,
    conns: BTreeMap<Conn, Open>,
    /// Refuses every second send, for a while.
    pub refuses: u32,
    pub outs: Vec<(Conn, String)>,
    pub duplicates: usize,
}

impl Broker {
    pub fn new(mesh: Mesh) -> Self {
        Self {
            mesh,
            store: 1,
            accepted: BTreeMap::new(),
            by_id: HashMap::new(),
            waiting: BTreeMap::new(),
            conns: BTreeMap::new(),
            refuses: 0,
            outs: Vec::new(),
            duplicates: 0,
        }
    }

    fn tell(&mut self, conn: Conn, frame: impl Into<BrokerFrame>) {
        self.outs.push((conn, frame.into().encode()));
    }

    pub fn close(&mut self, conn: Conn) {
        self.conns.remove(&conn);
    }

    fn broker_id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.store)
    }

    fn seq(&self, broker_id: &str) -> Option<u64> {
        let (store, seq) = broker_id.split_once('-')?;
        (store.parse() == Ok(self.store)).then(|| seq.parse().ok())?
    }

    pub fn frame(&mut self, conn: Conn, member: PublicKey, text: &str) {
        match ClientFrame::decode(text).unwrap() {
            ClientFrame::Hello(_) => {
                self.conns.insert(
                    conn,
                    Open {
                        member,
                        pushed: HashSet::new(),
                        told_caught_up: false,
                    },
                );
                let ack = claudemesh_core::wire::HelloAck {
                    capabilities: Some(vec![CAP_DELIVERY.into(), CAP_LOG.into()]),
                    broker: Some(BrokerInfo {
                        id: "b".into(),
                        store: format!("store-{}", self.store),
                        head: 0,
                    }),
                    log_head: Some(self.mesh.head()),
                    ..Default::default()
                };
                self.tell(conn, ack);
                self.fill(conn);
            }
            ClientFrame::Send(send) => self.send(conn, member, send),
            ClientFrame::ClientAck(ack) => {
                for id in ack.broker_message_ids.into_iter().flatten() {
                    self.settle(conn, &id);
                }
                self.fill(conn);
            }
            ClientFrame::Outcomes(ask) => {
                let outcome = |id: String| {
                    let state = match self.seq(&id) {
                        Some(seq) if !self.accepted.contains_key(&seq) => OutcomeState::Unknown,
                        Some(seq) if self.waiting.contains_key(&seq) => OutcomeState::Queued,
                        Some(_) => OutcomeState::Delivered,
                        None => OutcomeState::Unknown,
                    };
                    Outcome {
                        message_id: id,
                        state,
                        reason: None,
                    }
                };
                let outcomes = ask.message_ids.into_iter().map(outcome).collect();
                self.tell(
                    conn,
                    OutcomesResult {
                        outcomes,
                        req_id: ask.req_id,
                    },
                );
            }
            _ => {}
        }
    }

    fn send(&mut self, conn: Conn, sender: PublicKey, send: claudemesh_core::wire::Send) {
        let client_id = send.client_message_id.unwrap();
        let key = (sender, client_id.clone());
        let mut ack = Ack {
            id: client_id.clone(),
            client_message_id: Some(client_id.clone()),
            ..Ack::default()
        };
        if let Some(seq) = self.by_id.get(&key) {
            self.duplicates += 1;
            assert_eq!(
                self.accepted[seq].push.ciphertext, send.ciphertext,
                "sealed anew"
            );
            ack.queued = true;
            ack.duplicate = Some(true);
            ack.message_id = self.broker_id(*seq);
            return self.tell(conn, ack);
        }
        if self.refuses > 0 {
            self.refuses -= 1;
            if self.refuses.is_multiple_of(2) {
                ack.code = Some(code::QUEUE_FULL.into());
                return self.tell(conn, ack);
            }
        }
        let seq = self.accepted.len() as u64 + 1;
        let to = PublicKey::from_hex(&send.target_spec).unwrap();
        let push = Push {
            message_id: self.broker_id(seq),
            mesh_id: self.mesh.id().as_str().into(),
            sender_pubkey: sender.to_hex(),
            sender_member_pubkey: Some(sender.to_hex()),
            priority: send.priority.unwrap(),
            nonce: send.nonce,
            ciphertext: send.ciphertext,
            client_message_id: Some(client_id.clone()),
            form: send.form,
            ..Push::default()
        };
        self.accepted.insert(
            seq,
            Message {
                sender,
                to,
                client_id,
                push,
            },
        );
        self.by_id.insert(key, seq);
        self.waiting.insert(seq, to);
        ack.queued = true;
        ack.message_id = self.broker_id(seq);
        self.tell(conn, ack);
        let drains: Vec<Conn> = self.conns_of(to);
        drains.into_iter().for_each(|conn| self.fill(conn));
    }

    fn conns_of(&self, member: PublicKey) -> Vec<Conn> {
        let own = self.conns.iter().filter(|(_, open)| open.member == member);
        own.map(|(conn, _)| *conn).collect()
    }

    fn settle(&mut self, conn: Conn, broker_id: &str) {
        let (Some(seq), Some(open)) = (self.seq(broker_id), self.conns.get(&conn)) else {
            return;
        };
        if !open.pushed.contains(&seq) || self.waiting.remove(&seq).is_none() {
            return;
        }
        let message = self.accepted[&seq].clone();
        for conn in self.conns_of(message.sender) {
            let receipt = Receipt {
                message_id: self.broker_id(seq),
                client_message_id: Some(message.client_id.clone()),
                state: ReceiptState::Delivered,
                reason: None,
                delivered: None,
                failed: None,
                of: None,
            };
            self.tell(conn, receipt);
        }
    }

    fn fill(&mut self, conn: Conn) {
        let Some(open) = self.conns.get_mut(&conn) else {
            return;
        };
        let unsettled = open
            .pushed
            .iter()
            .filter(|seq| self.waiting.contains_key(seq))
            .count();
        let mut room = WINDOW.saturating_sub(unsettled);
        let mut texts = Vec::new();
        let mut all = true;
        for (seq, to) in &self.waiting {
            if *to != open.member || open.pushed.contains(seq) {
                continue;
            }
            if room == 0 {
                all = false;
                break;
            }
            room -= 1;
            open.pushed.insert(*seq);
            texts.push(self.accepted[seq].push.encode());
        }
        if all && !open.told_caught_up {
            open.told_caught_up = true;
            texts.push(r#"{"type":"caught_up"}"#.to_owned());
        }
        self.outs.extend(texts.into_iter().map(|text| (conn, text)));
    }
}
