//! The frames of a connection between a peer and a broker, for both ends.
//!
//! Every frame is one WebSocket text message that holds one JSON object with a `type`. A peer
//! sends [`ClientFrame`]s, the first of them a [`Hello`] or [`SessionHello`]; a broker answers and
//! pushes [`BrokerFrame`]s. Nothing here does I/O, verifies a signature or opens a box.
//!
//! Fields that older clients fill freely stay text or JSON values, so that such a frame decodes
//! and can be refused with a reason by whoever checks it. A frame of an unknown type is kept whole
//! in [`UnknownFrame`]. Where a struct has `extra`, unknown fields are kept too; elsewhere they are
//! dropped. An optional field that is `null` is read as absent.
//!
//! ```
//! use claudemesh_core::wire::{ClientFrame, ListPeers};
//!
//! let text = r#"{"type":"list_peers","_reqId":"r1"}"#;
//! let frame = ClientFrame::decode(text)?;
//! assert_eq!(frame, ClientFrame::ListPeers(ListPeers { req_id: Some("r1".into()) }));
//! assert_eq!(frame.encode(), text);
//! # Ok::<(), claudemesh_core::wire::WireError>(())
//! ```

mod about;
mod api_keys;
mod audit;
mod channel;
mod close;
mod codec;
mod delivery;
pub mod errors;
mod hello;
mod limits;
mod log;
mod moderation;
mod presence;
mod push;
mod read;
mod schedule;
mod send;
mod tasks;
mod topics;
mod values;

pub use about::{
    JoinGroup, LeaveGroup, MeshInfo, MeshInfoResult, MessageRecipient, MessageStatus,
    MessageStatusResult, SetProfile, SetStats, SetVisible, TaskCounts,
};
pub use api_keys::{
    ApiKeyCreate, ApiKeyCreated, ApiKeyList, ApiKeyListResponse, ApiKeyRecord, ApiKeyRevoke,
    ApiKeyRevokeResponse,
};
pub use audit::{
    AuditEntry, AuditGet, AuditHead, AuditPlace, AuditQuery, AuditRecord, AuditResult, AuditRows,
    AuditVerify, AuditVerifyResult,
};
pub use channel::{
    HistoryGet, HistoryPage, KeyCopies, KeyPublished, KeyRecord, Keys, KeysGet, NewKey, PublishKey,
};
pub use close::{CloseCode, reason};
pub use codec::{Extra, Frame, UnknownFrame, WireError, check_size, frame_type};
pub use delivery::{
    CaughtUp, ClientAck, Fetch, Outcome, OutcomeState, Outcomes, OutcomesResult, Receipt,
    ReceiptState,
};
pub use errors::ErrorFrame;
pub use hello::{Attestation, BrokerInfo, Hello, HelloAck, SessionHello, Waiting};
pub use limits::*;
pub use log::{LogAppend, LogAppended, LogEntries, LogGet, LogHead, SignedBlob};
pub use moderation::{
    Ban, BanAck, BanRecord, Disconnect, DisconnectAck, Kick, KickAck, ListBans, ListBansResult,
    Unban, UnbanAck,
};
pub use presence::{ListPeers, MemberRecord, PeerRecord, PeersList, SetStatus};
pub use push::{Push, SUBTYPE_SYSTEM, SUBTYPE_WEBHOOK, join_push, push_tail};
pub(crate) use read::read;
pub use schedule::{
    CancelScheduled, CancelScheduledAck, ListScheduled, Schedule, ScheduleDue, ScheduleTaken,
    ScheduledAck, ScheduledList, ScheduledRecord,
};
pub use send::{Ack, Acks, Send, SendRef, decode_send};
pub use tasks::{
    ClaimTask, CompleteTask, ContextList, ContextRecord, ContextResults, ContextShared,
    CreateStream, CreateTask, GetContext, ListContexts, ListStreams, ListTasks, Publish,
    ShareContext, StreamCreated, StreamData, StreamList, StreamRecord, Subscribe, Subscribed,
    TaskCreated, TaskList, TaskRecord, Unsubscribe,
};
pub use topics::{
    TopicCreate, TopicCreated, TopicHistory, TopicHistoryResponse, TopicJoin, TopicLeave,
    TopicList, TopicListResponse, TopicMarkRead, TopicMember, TopicMembers, TopicMembersResponse,
    TopicMessage, TopicRecord, TopicRef,
};
pub use values::{
    Forget, GetState, ListState, MemoryRecallResult, MemoryRecord, MemoryResults, MemoryStored,
    Recall, Remember, SetState, SetSummary, StateChange, StateEntry, StateList, StateResult,
    StateSaved, StateValue,
};

codec::frames! {
    /// What a peer sends. A broker with many sends to read tries [`decode_send`] first.
    ClientFrame by quick {
        /// Opens the connection with the member key.
        Hello(Hello) = "hello",
        /// Opens the connection with a session key.
        SessionHello(SessionHello) = "session_hello",
        /// Sends a message.
        Send(Send) = "send",
        /// Settles what was pushed.
        ClientAck(ClientAck) = "client_ack",
        /// Says whether the session may be disturbed.
        SetStatus(SetStatus) = "set_status",
        /// Asks who is here.
        ListPeers(ListPeers) = "list_peers",
        /// Asks for waiting messages.
        Fetch(Fetch) = "fetch",
        /// Asks what became of own messages.
        Outcomes(Outcomes) = "outcomes",
        /// Asks for a log.
        LogGet(LogGet) = "log_get",
        /// Adds to a log.
        LogAppend(LogAppend) = "log_append",
        /// Brings copies of a channel's new key.
        KeyCopies(KeyCopies) = "channel_key_copies",
        /// Makes a channel's new key.
        PublishKey(PublishKey) = "channel_key",
        /// Asks for keys of a channel.
        KeysGet(KeysGet) = "channel_get",
        /// Asks for what was said in a topic.
        HistoryGet(HistoryGet) = "channel_history",
        /// Keeps a value.
        SetState(SetState) = "set_state",
        /// Asks for a value.
        GetState(GetState) = "get_state",
        /// Asks for all values.
        ListState(ListState) = "list_state",
        /// Keeps a memory.
        Remember(Remember) = "remember",
        /// Asks for memories.
        Recall(Recall) = "recall",
        /// Forgets a memory.
        Forget(Forget) = "forget",
        /// Says what the session does.
        SetSummary(SetSummary) = "set_summary",
        /// Sends later.
        Schedule(Schedule) = "schedule",
        /// Asks for own schedules.
        ListScheduled(ListScheduled) = "list_scheduled",
        /// Gives up a schedule.
        CancelScheduled(CancelScheduled) = "cancel_scheduled",
        /// A due message was taken over.
        ScheduleTaken(ScheduleTaken) = "schedule_taken",
        /// Asks for the audit table.
        AuditGet(AuditGet) = "audit_get",
        /// Says whether others see the session.
        SetVisible(SetVisible) = "set_visible",
        /// Says what the session shows of itself.
        SetProfile(SetProfile) = "set_profile",
        /// Reports counters.
        SetStats(SetStats) = "set_stats",
        /// Is in a group.
        JoinGroup(JoinGroup) = "join_group",
        /// Is in a group no longer.
        LeaveGroup(LeaveGroup) = "leave_group",
        /// Asks how much of everything there is.
        MeshInfo(MeshInfo) = "mesh_info",
        /// Asks how far a message is.
        MessageStatus(MessageStatus) = "message_status",
        /// Makes a topic in the open.
        TopicCreate(TopicCreate) = "topic_create",
        /// Asks for topics.
        TopicList(TopicList) = "topic_list",
        /// Is in a topic.
        TopicJoin(TopicJoin) = "topic_join",
        /// Is in a topic no longer.
        TopicLeave(TopicLeave) = "topic_leave",
        /// Asks who is in a topic.
        TopicMembers(TopicMembers) = "topic_members",
        /// Asks what was said in the open in a topic.
        TopicHistory(TopicHistory) = "topic_history",
        /// Has read a topic.
        TopicMarkRead(TopicMarkRead) = "topic_mark_read",
        /// Asks for rows of the audit table.
        AuditQuery(AuditQuery) = "audit_query",
        /// Asks whether the audit table holds.
        AuditVerify(AuditVerify) = "audit_verify",
        /// Ends connections.
        Disconnect(Disconnect) = "disconnect",
        /// Ends connections for good.
        Kick(Kick) = "kick",
        /// Shuts a member out.
        Ban(Ban) = "ban",
        /// Lets a member in again.
        Unban(Unban) = "unban",
        /// Asks who is shut out.
        ListBans(ListBans) = "list_bans",
        /// Makes a key for HTTP.
        ApiKeyCreate(ApiKeyCreate) = "apikey_create",
        /// Asks for the keys.
        ApiKeyList(ApiKeyList) = "apikey_list",
        /// Takes a key back.
        ApiKeyRevoke(ApiKeyRevoke) = "apikey_revoke",
        /// Wants something done.
        CreateTask(CreateTask) = "create_task",
        /// Takes a task.
        ClaimTask(ClaimTask) = "claim_task",
        /// Has done a task.
        CompleteTask(CompleteTask) = "complete_task",
        /// Asks for tasks.
        ListTasks(ListTasks) = "list_tasks",
        /// Tells what it found out.
        ShareContext(ShareContext) = "share_context",
        /// Asks what others found out.
        GetContext(GetContext) = "get_context",
        /// Asks for all contexts.
        ListContexts(ListContexts) = "list_contexts",
        /// Makes a stream.
        CreateStream(CreateStream) = "create_stream",
        /// Wants what is published.
        Subscribe(Subscribe) = "subscribe",
        /// Wants it no more.
        Unsubscribe(Unsubscribe) = "unsubscribe",
        /// Publishes.
        Publish(Publish) = "publish",
        /// Asks for streams.
        ListStreams(ListStreams) = "list_streams",
    }
}

codec::frames! {
    /// What a broker sends.
    BrokerFrame by small {
        /// The connection is open.
        HelloAck(HelloAck) = "hello_ack",
        /// What became of a send.
        Ack(Ack) = "ack",
        /// What became of many sends.
        Acks(Acks) = "acks",
        /// A message or an event.
        Push(Push) = "push",
        /// Who is here.
        PeersList(PeersList) = "peers_list",
        /// A refusal.
        Error(ErrorFrame) = "error",
        /// An own message came to its end.
        Receipt(Receipt) = "receipt",
        /// What became of own messages.
        OutcomesResult(OutcomesResult) = "outcomes_result",
        /// A page of a log.
        LogEntries(LogEntries) = "log_entries",
        /// A log has grown.
        LogAppended(LogAppended) = "log_appended",
        /// All that waited for this connection was pushed.
        CaughtUp(CaughtUp) = "caught_up",
        /// A channel's key was taken.
        KeyPublished(KeyPublished) = "channel_key_ok",
        /// A channel has a new key.
        NewKey(NewKey) = "channel_key",
        /// Keys of a channel.
        Keys(Keys) = "channel_keys",
        /// What was said in a topic.
        HistoryPage(HistoryPage) = "channel_messages",
        /// A value is kept.
        StateSaved(StateSaved) = "state_saved",
        /// A value.
        StateResult(StateResult) = "state_result",
        /// All values.
        StateList(StateList) = "state_list",
        /// A value has changed.
        StateChange(StateChange) = "state_change",
        /// A memory is kept.
        MemoryStored(MemoryStored) = "memory_stored",
        /// Memories.
        MemoryResults(MemoryResults) = "memory_results",
        /// A schedule is kept.
        ScheduledAck(ScheduledAck) = "scheduled_ack",
        /// Own schedules.
        ScheduledList(ScheduledList) = "scheduled_list",
        /// Whether a schedule was given up.
        CancelScheduledAck(CancelScheduledAck) = "cancel_scheduled_ack",
        /// A schedule of the peer's own is due.
        ScheduleDue(ScheduleDue) = "schedule_due",
        /// Rows of the audit table.
        AuditRows(AuditRows) = "audit_rows",
        /// A value, for the daemon of the existing system.
        StateValue(StateValue) = "state_value",
        /// Memories, for the daemon of the existing system.
        MemoryRecallResult(MemoryRecallResult) = "memory_recall_result",
        /// How much of everything there is.
        MeshInfoResult(MeshInfoResult) = "mesh_info_result",
        /// How far a message is.
        MessageStatusResult(MessageStatusResult) = "message_status_result",
        /// A topic is there.
        TopicCreated(TopicCreated) = "topic_created",
        /// Topics.
        TopicListResponse(TopicListResponse) = "topic_list_response",
        /// Who is in a topic.
        TopicMembersResponse(TopicMembersResponse) = "topic_members_response",
        /// What was said in the open in a topic.
        TopicHistoryResponse(TopicHistoryResponse) = "topic_history_response",
        /// Rows of the audit table, for existing clients.
        AuditResult(AuditResult) = "audit_result",
        /// Whether the audit table holds.
        AuditVerifyResult(AuditVerifyResult) = "audit_verify_result",
        /// Connections were ended.
        DisconnectAck(DisconnectAck) = "disconnect_ack",
        /// Connections were ended for good.
        KickAck(KickAck) = "kick_ack",
        /// A member is shut out.
        BanAck(BanAck) = "ban_ack",
        /// A member may come again.
        UnbanAck(UnbanAck) = "unban_ack",
        /// Who is shut out.
        ListBansResult(ListBansResult) = "list_bans_result",
        /// A key for HTTP.
        ApiKeyCreated(ApiKeyCreated) = "apikey_created",
        /// Keys for HTTP.
        ApiKeyListResponse(ApiKeyListResponse) = "apikey_list_response",
        /// A key was taken back, or not.
        ApiKeyRevokeResponse(ApiKeyRevokeResponse) = "apikey_revoke_response",
        /// A task is kept.
        TaskCreated(TaskCreated) = "task_created",
        /// Tasks.
        TaskList(TaskList) = "task_list",
        /// A context is kept.
        ContextShared(ContextShared) = "context_shared",
        /// Contexts that fit.
        ContextResults(ContextResults) = "context_results",
        /// All contexts.
        ContextList(ContextList) = "context_list",
        /// A stream is there.
        StreamCreated(StreamCreated) = "stream_created",
        /// Gets what is published.
        Subscribed(Subscribed) = "subscribed",
        /// Something was published.
        StreamData(StreamData) = "stream_data",
        /// Streams.
        StreamList(StreamList) = "stream_list",
    }
}
