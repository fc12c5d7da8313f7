//! What was said in a topic, page by page.

use claudemesh_core::id::{ChannelName, MeshId, PublicKey};
use claudemesh_core::wire::{
    ErrorFrame, HistoryGet, HistoryPage, MAX_HISTORY_PAGE, Push, errors::code, join_push,
};

use super::Router;
use super::channels::NOT_IN;
use super::entry::{No, no};
use super::keys::unreadable;
use super::load::Asked;
use super::mesh::Mesh;
use super::settle::ASKING_MAX;
use super::types::ConnId;
use crate::message_id::seq_of;
use crate::store::{ChannelQuery, HistoryRows, Query, is_topic};

/// Messages of a page if the asker does not say.
const PAGE: u32 = 50;
/// Bytes of push texts in a page, so that the frame fits.
const PAGE_BYTES: u64 = 192 << 10;

impl Router {
    /// Notes a question that waits for the store, or refuses it.
    pub(super) fn begin_asking(&mut self, id: ConnId, req_id: Option<&String>) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        if conn.asking < ASKING_MAX {
            conn.asking += 1;
            return true;
        }
        let why = "too many questions at a time; wait for their answers";
        let mut error = ErrorFrame::new(code::BUSY, why);
        error.req_id = req_id.cloned();
        self.reply(id, error);
        false
    }

    /// Whether who asked is still there.
    pub(super) fn end_asking(&mut self, id: ConnId) -> bool {
        let conn = self.conns.get_mut(&id);
        conn.map(|conn| conn.asking = conn.asking.saturating_sub(1))
            .is_some()
    }

    pub(super) fn history_get(&mut self, id: ConnId, ask: HistoryGet) {
        if !self.may_ask(id, ask.req_id.as_ref()) {
            return;
        }
        let Some((shared, member)) = self.who(id) else {
            return;
        };
        let Some(mesh) = self.mesh_mut(&shared) else {
            return;
        };
        match check(mesh, &member, &ask) {
            Err(no) => self.refuse_ask(id, no, ask.req_id),
            Ok((channel, before)) => {
                if !self.begin_asking(id, ask.req_id.as_ref()) {
                    return;
                }
                let query = Query::Channel(ChannelQuery::History {
                    mesh: MeshId::clone(&shared),
                    channel: channel.clone(),
                    before,
                    limit: ask.limit.unwrap_or(PAGE).clamp(1, MAX_HISTORY_PAGE),
                    bytes: PAGE_BYTES,
                });
                let asked = Asked::History {
                    conn: id,
                    channel,
                    req_id: ask.req_id,
                };
                self.load(query, asked);
            }
        }
    }

    pub(super) fn history_loaded(
        &mut self,
        id: ConnId,
        channel: &ChannelName,
        req_id: Option<String>,
        rows: Option<HistoryRows>,
    ) {
        if !self.end_asking(id) {
            return;
        }
        let Some(page) = rows else {
            return self.refuse_ask(id, unreadable(), req_id);
        };
        let messages = page.rows.iter().filter_map(|row| {
            let text = join_push(&self.ids.mint(row.seq, &row.sender), &row.tail);
            serde_json::from_str::<Push>(&text).ok()
        });
        let page = HistoryPage {
            channel: channel.as_str().to_owned(),
            messages: messages.collect(),
            more: page.more,
            req_id,
        };
        self.reply(id, page);
    }
}

/// The topic, and below which place its messages are wanted.
fn check(mesh: &mut Mesh, member: &PublicKey, ask: &HistoryGet) -> Result<(ChannelName, u64), No> {
    let bad = |why: &str| no(400, code::INVALID_ARGUMENT, why);
    let name = ChannelName::new(&ask.channel).ok().filter(is_topic);
    let name = name.ok_or_else(|| bad("channel: only a '#topic' has a history"))?;
    let before = match ask.before.as_deref() {
        None => u64::MAX,
        Some(text) => seq_of(text).ok_or_else(|| bad("before: the broker's id of a message"))?,
    };
    let (channel, log) = mesh.channel(&name)?;
    if channel.view(&name, log).has(member) {
        Ok((name, before))
    } else {
        Err(no(403, code::FORBIDDEN, NOT_IN))
    }
}
