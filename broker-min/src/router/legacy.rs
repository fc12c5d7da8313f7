//! What clients of the existing system do besides sending: topics, tasks, keys and moderation in
//! the open, in the forms that they know.

pub(super) mod api_keys;
pub(super) mod audit;
mod by_key;
pub(super) mod items;
mod moderation;
pub(super) mod people;
mod plain;
pub(super) mod profile;
mod tasks;
mod topics;

use claudemesh_core::wire::{ClientFrame, errors::code};

pub(super) use by_key::no_key;

use super::Router;
use super::text;
use super::types::ConnId;

impl Router {
    /// Serves a frame that only existing clients send; any other is refused by its name.
    pub(super) fn open_frame(&mut self, id: ConnId, frame: ClientFrame) {
        match frame {
            ClientFrame::SetVisible(it) => self.set_visible(id, &it),
            ClientFrame::SetProfile(it) => self.set_profile(id, it),
            ClientFrame::SetStats(it) => self.set_stats(id, &it),
            ClientFrame::JoinGroup(it) => self.join_group(id, &it),
            ClientFrame::LeaveGroup(it) => self.leave_group(id, &it),
            ClientFrame::MeshInfo(it) => self.mesh_info(id, it),
            ClientFrame::MessageStatus(it) => self.message_status(id, it),
            ClientFrame::TopicCreate(it) => self.topic_create(id, it),
            ClientFrame::TopicList(it) => self.topic_list(id, it),
            ClientFrame::TopicJoin(it) => self.topic_join(id, it),
            ClientFrame::TopicLeave(it) => self.topic_leave(id, it),
            ClientFrame::TopicMembers(it) => self.topic_members(id, it),
            ClientFrame::TopicHistory(it) => self.topic_history(id, it),
            ClientFrame::TopicMarkRead(it) => self.topic_mark_read(id, it),
            ClientFrame::AuditQuery(it) => self.audit_query(id, it),
            ClientFrame::AuditVerify(it) => self.audit_verify(id, it),
            ClientFrame::Disconnect(it) => self.disconnect(id, it),
            ClientFrame::Kick(it) => self.kick(id, it),
            ClientFrame::Ban(it) => self.ban(id, it),
            ClientFrame::Unban(it) => self.unban(id, it),
            ClientFrame::ListBans(it) => self.list_bans(id, it),
            ClientFrame::ApiKeyCreate(it) => self.apikey_create(id, it),
            ClientFrame::ApiKeyList(it) => self.apikey_list(id, it),
            ClientFrame::ApiKeyRevoke(it) => self.apikey_revoke(id, it),
            ClientFrame::CreateTask(it) => self.create_task(id, it),
            ClientFrame::ClaimTask(it) => self.claim_task(id, &it),
            ClientFrame::CompleteTask(it) => self.complete_task(id, it),
            ClientFrame::ListTasks(it) => self.list_tasks(id, it),
            ClientFrame::ShareContext(it) => self.share_context(id, it),
            ClientFrame::GetContext(it) => self.get_context(id, it),
            ClientFrame::ListContexts(it) => self.list_contexts(id, it),
            ClientFrame::CreateStream(it) => self.create_stream(id, &it),
            ClientFrame::Subscribe(it) => self.subscribe(id, it),
            ClientFrame::Unsubscribe(it) => self.unsubscribe(id, &it),
            ClientFrame::Publish(it) => self.publish(id, it),
            ClientFrame::ListStreams(it) => self.list_streams(id, it),
            ClientFrame::Unknown(frame) => {
                let kind = frame.short_kind();
                let message = format!("this broker does not serve `{kind}` frames");
                let req_id = frame.object.get("_reqId").and_then(|id| id.as_str());
                let req_id = req_id.map(|id| text::shown(id, 256));
                self.error(id, code::UNSUPPORTED, &message, req_id);
            }
            other => {
                let message = format!("this broker does not serve `{}` frames", other.kind());
                self.error(id, code::UNSUPPORTED, &message, None);
            }
        }
    }
}
