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

mod audit;
mod channel;
mod close;
mod codec;
mod delivery;
pub mod errors;
mod hello;
mod limits;
mod log;
mod presence;
mod push;
mod schedule;
mod send;
mod values;

pub use audit::{AuditGet, AuditHead, AuditPlace, AuditRecord, AuditRows};
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
pub use presence::{ListPeers, MemberRecord, PeerRecord, PeersList, SetStatus};
pub use push::{Push, SUBTYPE_SYSTEM, SUBTYPE_WEBHOOK, join_push, push_tail};
pub use schedule::{
    CancelScheduled, CancelScheduledAck, ListScheduled, Schedule, ScheduleDue, ScheduleTaken,
    ScheduledAck, ScheduledList, ScheduledRecord,
};
pub use send::{Ack, Acks, Send, SendRef, decode_send};
pub use values::{
    Forget, GetState, ListState, MemoryRecord, MemoryResults, MemoryStored, Recall, Remember,
    SetState, SetSummary, StateChange, StateEntry, StateList, StateResult, StateSaved,
};

codec::frames! {
    /// What a peer sends. A broker with many sends to read tries [`decode_send`] first.
    ClientFrame {
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
    }
}

codec::frames! {
    /// What a broker sends.
    BrokerFrame {
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
    }
}
