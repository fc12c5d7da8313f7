//! Pushing: what is committed goes at once to who is ready for it, the rest by pages.
//!
//! A connection has a cursor per mailbox and class. Who has everything up to the cursor and room
//! in its window gets a new row with the commit that made it; whoever has not is *behind*, and
//! catches up by pages, one load at a time. So a mailbox's queue waits in the store, not here.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use claudemesh_core::id::{MeshId, Priority, PublicKey};
use claudemesh_core::wire::join_push;
use serde::Deserialize;

use super::Router;
use super::clock::{AGAIN_MS, Timer};
use super::conn::{Conn, Pushed};
use super::load::Asked;
use super::types::{ConnId, Kind, Out};
use crate::store::{PageRow, Query};

/// Rows of a page at most.
const PAGE_ROWS: usize = 128;
/// Pages that are asked for at a time, of all connections.
const PAGE_LOADS: usize = 64;

/// A row that was committed just now.
pub(super) struct Offer<'a> {
    pub(super) mesh: &'a MeshId,
    pub(super) class: Priority,
    pub(super) seq: u64,
    pub(super) sender: PublicKey,
    pub(super) expires_at: u64,
    pub(super) message_id: &'a str,
    /// The push text, if it was kept.
    pub(super) tail: Option<&'a str>,
    pub(super) client_id: Option<&'a Arc<str>>,
    pub(super) needs: Needs,
}

/// What a connection must be able to do to get a message; for others it stays in the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// It is sealed in a form that only some can open.
    Envelope,
    /// And it is for a channel.
    Channels,
    /// It is in the open, for clients of the existing system.
    Open,
}

impl Needs {
    pub(super) const fn has(self, conn: &Conn) -> bool {
        match self {
            Self::Nothing => true,
            Self::Envelope => conn.envelope,
            Self::Channels => conn.envelope && conn.channels,
            Self::Open => !conn.envelope,
        }
    }
}

/// What is read of a push text that comes from the store.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default, rename = "client_message_id")]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    form: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    target: Option<Cow<'a, str>>,
    #[serde(default)]
    plain: bool,
}

impl Peek<'_> {
    fn needs(&self) -> Needs {
        let target = self.target.as_deref().unwrap_or_default();
        match &self.form {
            None if self.plain => Needs::Open,
            None => Needs::Nothing,
            Some(_) if target.starts_with(['*', '@', '#']) => Needs::Channels,
            Some(_) => Needs::Envelope,
        }
    }
}

impl Router {
    /// Offers a new row to those who drain its mailboxes: one text for all.
    pub(super) fn offer<'k>(
        &mut self,
        offer: &Offer<'_>,
        addresses: impl Iterator<Item = &'k PublicKey>,
    ) {
        let Some(mesh) = self.mesh(offer.mesh) else {
            return;
        };
        let mut drains = Vec::new();
        for address in addresses {
            let ids = mesh.drains.get(address).into_iter().flatten();
            drains.extend(ids.map(|id| (*id, address)));
        }
        let window = self.limits.window;
        let (now, wall) = (self.now.mono, self.now.wall);
        let (mut at_once, mut later) = (Vec::new(), Vec::new());
        for (id, address) in drains {
            let Some(conn) = self.conns.get_mut(&id) else {
                continue;
            };
            let ready = conn.open(offer.class) && conn.room(window) > 0;
            let able = offer.needs.has(conn);
            let Some((number, drain)) = conn
                .drains
                .iter_mut()
                .enumerate()
                .find(|(_, drain)| drain.address == *address)
            else {
                continue;
            };
            let skipped = !able || !(drain.proven || offer.needs == Needs::Nothing);
            let cursor = drain.cursor(offer.class);
            if cursor.after >= offer.seq {
                // A page had it already.
                continue;
            }
            if cursor.behind || !ready || offer.tail.is_none() {
                cursor.behind = true;
                cursor.overtaken = true;
                later.push(id);
                continue;
            }
            cursor.after = offer.seq;
            if skipped || offer.expires_at <= wall {
                continue;
            }
            let pushed = Pushed {
                class: offer.class,
                sender: offer.sender,
                client_id: offer.client_id.cloned(),
                at: now,
            };
            note(conn, offer.seq, number, pushed);
            at_once.push(id);
        }
        if let (Some(tail), false) = (offer.tail, at_once.is_empty()) {
            self.outs.push_back(Out::Write {
                conns: at_once.clone(),
                text: Bytes::from(join_push(offer.message_id, tail)),
                kind: Kind::Push,
            });
        }
        for id in at_once {
            self.watch(id);
        }
        for id in later {
            self.fill(id);
        }
    }

    /// There may be a new row in a mailbox that nobody here has seen: those who drain it look for
    /// themselves, before a later row passes it by.
    pub(super) fn look_again(&mut self, mesh: &MeshId, address: &PublicKey, class: Priority) {
        let Some(mesh) = self.mesh(mesh) else {
            return;
        };
        for id in mesh.drains.get(address).cloned().unwrap_or_default() {
            let drains = self.conns.get_mut(&id).map(|conn| conn.drains.iter_mut());
            for drain in drains.into_iter().flatten() {
                if drain.address == *address {
                    let cursor = drain.cursor(class);
                    cursor.behind = true;
                    cursor.overtaken = true;
                }
            }
            self.fill(id);
        }
    }

    /// Asks for what a connection lacks, if it may be sent anything; else it has caught up.
    pub(super) fn fill(&mut self, id: ConnId) {
        let limit = self.limits.window;
        let busy = self.page_loads >= PAGE_LOADS;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.counts_left > 0 || conn.load.is_some() {
            return;
        }
        let Some((number, class)) = lacks(conn) else {
            // What was asked for by number is handed over: what comes later was not asked for.
            conn.low_budget = 0;
            if conn.modern && !conn.told_caught_up {
                conn.told_caught_up = true;
                self.outs.push_back(Out::Write {
                    conns: vec![id],
                    text: Bytes::from_static(br#"{"type":"caught_up"}"#),
                    kind: Kind::Reply,
                });
            }
            return;
        };
        let mut room = conn.room(limit).min(PAGE_ROWS);
        if class == Priority::Low && !conn.low_at_will() {
            room = room.min(usize::try_from(conn.low_budget).unwrap_or(room));
        }
        if room == 0 {
            return;
        }
        if busy {
            if !conn.hungry {
                conn.hungry = true;
                self.hungry.push_back(id);
            }
            return;
        }
        let Some(drain) = conn.drains.get_mut(number) else {
            return;
        };
        let address = drain.address;
        let cursor = drain.cursor(class);
        cursor.overtaken = false;
        let after = cursor.after;
        let rows = u32::try_from(room).unwrap_or(1);
        let query = Query::Page {
            mesh: MeshId::clone(&conn.mesh),
            address,
            class,
            after,
            limit: rows,
            now: self.now.wall,
        };
        self.page_loads += 1;
        let asked = Asked::Page {
            conn: id,
            drain: number,
            class,
            limit: rows,
        };
        let token = self.load(query, asked);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.load = Some(token);
        }
    }

    /// Lets those load who waited for a slot.
    pub(super) fn feed(&mut self) {
        while self.page_loads < PAGE_LOADS {
            let Some(id) = self.hungry.pop_front() else {
                return;
            };
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.hungry = false;
                self.fill(id);
            }
        }
    }

    /// Pushes a page that came.
    pub(super) fn page(
        &mut self,
        id: ConnId,
        token: u64,
        (number, class, asked): (usize, Priority, u32),
        rows: Option<Vec<PageRow>>,
    ) {
        let window = self.limits.window;
        let (now, wall) = (self.now.mono, self.now.wall);
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.load != Some(token) {
            return;
        }
        conn.load = None;
        let Some(rows) = rows else {
            self.at(now + AGAIN_MS, Timer::Fill(id));
            return;
        };
        let mut complete = rows.len() < usize::try_from(asked).unwrap_or(usize::MAX);
        let mut texts = Vec::new();
        for row in rows {
            if conn.room(window) == 0 || !conn.open(class) {
                complete = false;
                break;
            }
            let Some(drain) = conn.drains.get_mut(number) else {
                break;
            };
            let proven = drain.proven;
            let cursor = drain.cursor(class);
            if row.seq <= cursor.after {
                continue;
            }
            cursor.after = row.seq;
            let text = join_push(&self.ids.mint(row.seq, &row.sender), &row.tail);
            let peek: Option<Peek<'_>> = serde_json::from_str(&text).ok();
            let needs = peek.as_ref().map_or(Needs::Nothing, Peek::needs);
            // What is sealed for a session key goes to who proved it, not to who names it.
            let meant = proven || needs == Needs::Nothing;
            if row.expires_at <= wall || !meant || !needs.has(conn) {
                continue;
            }
            let pushed = Pushed {
                class,
                sender: row.sender,
                client_id: peek.and_then(|peek| peek.client_id.map(Arc::from)),
                at: now,
            };
            note(conn, row.seq, number, pushed);
            texts.push(text);
        }
        if complete && let Some(drain) = conn.drains.get_mut(number) {
            let cursor = drain.cursor(class);
            cursor.behind = cursor.overtaken;
        }
        for text in texts {
            self.outs.push_back(Out::Write {
                conns: vec![id],
                text: Bytes::from(text),
                kind: Kind::Push,
            });
        }
        self.watch(id);
        self.fill(id);
    }
}

/// Notes a message as sent to a connection.
fn note(conn: &mut Conn, seq: u64, drain: usize, pushed: Pushed) {
    if pushed.class == Priority::Low && !conn.low_at_will() {
        conn.low_budget = conn.low_budget.saturating_sub(1);
    }
    let drain = u8::try_from(drain).unwrap_or(u8::MAX);
    conn.window.insert((seq, drain), pushed);
}

/// The first mailbox and class of which a connection lacks something that it may be sent.
fn lacks(conn: &Conn) -> Option<(usize, Priority)> {
    Priority::ALL
        .into_iter()
        .filter(|class| conn.open(*class))
        .find_map(|class| {
            let mut drains = conn.drains.iter().enumerate();
            drains
                .find(|(_, drain)| drain.is_behind(class))
                .map(|(number, _)| (number, class))
        })
}
