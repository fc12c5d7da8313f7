//! Every frame decodes to what was encoded.

use claudemesh_core::wire::*;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

/// A strategy that fills every field of a struct. It names each of them, so a new field does not
/// compile until it is tested.
macro_rules! frame {
    ($name:ident() -> $body:ident { $($field:ident: $strategy:expr,)* }) => {
        fn $name() -> BoxedStrategy<$body> {
            let all = Just(()).boxed();
            $( let all = (all, $strategy).boxed(); )*
            all.prop_map(|all| {
                nest!(all, $($field)*);
                $body { $($field),* }
            })
            .boxed()
        }
    };
}

/// Takes `((((), a), b), c)` apart into `a b c`.
macro_rules! nest {
    ($all:ident, $($field:ident)*) => { nest!(@ $all (()) $($field)*) };
    (@ $all:ident ($inner:pat)) => { let $inner = $all; };
    (@ $all:ident ($inner:pat) $field:ident $($rest:ident)*) => {
        nest!(@ $all (($inner, $field)) $($rest)*)
    };
}

fn text() -> BoxedStrategy<String> {
    prop_oneof!["[a-zA-Z0-9+/=]{0,24}", ".{0,12}"].boxed()
}

fn number() -> BoxedStrategy<Number> {
    prop_oneof![
        any::<u64>().prop_map(Number::from),
        any::<i64>().prop_map(Number::from)
    ]
    .boxed()
}

/// Any JSON but `null`, which reads as absent where a field is optional.
fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(text(), inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
    .boxed()
}

/// Fields that no frame has: their names begin with `x`.
fn map() -> BoxedStrategy<Map<String, Value>> {
    btree_map("x[a-z]{0,6}", prop_oneof![value(), Just(Value::Null)], 0..3)
        .prop_map(|map| map.into_iter().collect())
        .boxed()
}

fn extra() -> BoxedStrategy<Extra> {
    map()
        .prop_map(|map| {
            let mut extra = Extra::default();
            for (name, value) in map {
                extra.insert(name, value);
            }
            extra
        })
        .boxed()
}

fn outcome_state() -> BoxedStrategy<OutcomeState> {
    use OutcomeState::*;
    prop::sample::select(&[Queued, Delivered, Failed, Unknown][..]).boxed()
}

fn receipt_state() -> BoxedStrategy<ReceiptState> {
    prop::sample::select(&[ReceiptState::Delivered, ReceiptState::Failed][..]).boxed()
}

frame!(hello() -> Hello {
    mesh_id: text(),
    member_id: text(),
    pubkey: text(),
    timestamp: number(),
    signature: text(),
    session_pubkey: of(text()),
    display_name: of(text()),
    session_id: of(text()),
    pid: of(any::<i64>()),
    cwd: of(text()),
    hostname: of(text()),
    peer_type: of(text()),
    channel: of(text()),
    model: of(text()),
    groups: of(value()),
    role: of(text()),
    protocol_version: of(number()),
    capabilities: of(vec(text(), 0..3)),
    statement: of(signed_blob()),
    address: of(signed_blob()),
    durable: of(any::<bool>()),
    receive: of(any::<bool>()),
    presence: of(any::<bool>()),
    extra: extra(),
    proof: of(text()),
});

frame!(session_hello() -> SessionHello {
    mesh_id: text(),
    parent_member_id: of(text()),
    parent_member_pubkey: text(),
    session_pubkey: text(),
    parent_attestation: attestation(),
    timestamp: number(),
    signature: text(),
    display_name: of(text()),
    session_id: of(text()),
    pid: of(any::<i64>()),
    cwd: of(text()),
    hostname: of(text()),
    peer_type: of(text()),
    channel: of(text()),
    model: of(text()),
    groups: of(value()),
    role: of(text()),
    capabilities: of(vec(text(), 0..3)),
    statement: of(signed_blob()),
    address: of(signed_blob()),
    durable: of(any::<bool>()),
    receive: of(any::<bool>()),
    presence: of(any::<bool>()),
    extra: extra(),
    proof: of(text()),
});

frame!(attestation() -> Attestation {
    session_pubkey: text(),
    parent_member_pubkey: text(),
    expires_at: number(),
    signature: text(),
    extra: map(),
});

frame!(hello_ack() -> HelloAck {
    presence_id: text(),
    member_display_name: text(),
    member_profile: of(value()),
    mesh_policy: of(value()),
    services: of(value()),
    capabilities: of(vec(text(), 0..3)),
    broker: of(broker_info()),
    waiting: of(waiting()),
    log_head: of(log_head()),
    audit_head: of(audit_head()),
    limits: of(map()),
    lease_ms: of(any::<u64>()),
    extra: extra(),
});

frame!(audit_head() -> AuditHead {
    n: any::<u64>(),
    hash: text(),
    time: any::<u64>(),
    key: text(),
    sig: text(),
});

frame!(audit_get() -> AuditGet {
    from: any::<u64>(),
    req_id: of(text()),
});

frame!(audit_place() -> AuditPlace {
    n: any::<u64>(),
    hash: text(),
});

frame!(audit_record() -> AuditRecord {
    id: any::<u64>(),
    event: text(),
    actor: of(text()),
    target: of(text()),
    metadata: text(),
    created_at: any::<u64>(),
});

frame!(audit_rows() -> AuditRows {
    rows: vec(audit_record(), 0..3),
    base: audit_place(),
    head: audit_head(),
    req_id: of(text()),
});

frame!(broker_info() -> BrokerInfo {
    id: text(),
    store: text(),
    head: any::<u64>(),
});

frame!(waiting() -> Waiting {
    now: any::<u64>(),
    next: any::<u64>(),
    low: any::<u64>(),
});

frame!(send() -> Send {
    id: of(text()),
    target_spec: text(),
    priority: of(text()),
    nonce: text(),
    ciphertext: text(),
    client_message_id: of(text()),
    request_fingerprint: of(text()),
    mentions: of(vec(text(), 0..3)),
    reply_to_id: of(text()),
    body_version: of(any::<u64>()),
    subtype: of(text()),
    expires_at: of(any::<u64>()),
    form: of(text()),
    online: of(any::<bool>()),
    address: of(signed_blob()),
});

frame!(ack() -> Ack {
    id: text(),
    message_id: text(),
    queued: any::<bool>(),
    error: of(text()),
    req_id: of(text()),
    client_message_id: of(text()),
    duplicate: of(any::<bool>()),
    recipients: of(any::<u32>()),
    skipped: of(map()),
    online: of(any::<bool>()),
    reached: of(any::<u32>()),
    code: of(text()),
    retry_after_ms: of(any::<u64>()),
    limit: of(any::<u64>()),
});

frame!(acks() -> Acks {
    items: vec(ack(), 0..3),
});

frame!(push() -> Push {
    message_id: text(),
    mesh_id: text(),
    sender_pubkey: text(),
    priority: text(),
    nonce: text(),
    ciphertext: text(),
    created_at: text(),
    sender_member_pubkey: of(text()),
    sender_member_id: of(text()),
    sender_name: of(text()),
    client_message_id: of(text()),
    request_fingerprint: of(text()),
    reply_to_id: of(text()),
    subtype: of(text()),
    event: of(text()),
    event_data: of(value()),
    topic: of(text()),
    target: of(text()),
    form: of(text()),
    online: of(any::<bool>()),
    plain: of(any::<bool>()),
    body_version: of(any::<u64>()),
    expires_at: of(any::<u64>()),
    address: of(signed_blob()),
    extra: extra(),
});

frame!(set_status() -> SetStatus {
    status: text(),
    ttl_ms: of(any::<u64>()),
    address: of(signed_blob()),
});

frame!(list_peers() -> ListPeers {
    req_id: of(text()),
});

frame!(peers_list() -> PeersList {
    peers: vec(peer_record(), 0..3),
    members: of(vec(member_record(), 0..3)),
    away: of(vec(signed_blob(), 0..3)),
    req_id: of(text()),
    extra: extra(),
});

frame!(peer_record() -> PeerRecord {
    pubkey: text(),
    member_pubkey: of(text()),
    display_name: text(),
    status: text(),
    summary: of(of(text())),
    groups: of(value()),
    session_id: of(text()),
    connected_at: of(text()),
    cwd: of(text()),
    peer_role: of(text()),
    hostname: of(text()),
    peer_type: of(text()),
    channel: of(text()),
    model: of(text()),
    stats: of(value()),
    visible: of(any::<bool>()),
    profile: of(value()),
    statement: of(signed_blob()),
    address: of(signed_blob()),
    leased: of(any::<bool>()),
    extra: map(),
});

frame!(member_record() -> MemberRecord {
    member_pubkey: text(),
    online: any::<bool>(),
    last_seen: of(any::<u64>()),
    status: of(text()),
});

frame!(client_ack() -> ClientAck {
    client_message_id: of(text()),
    broker_message_id: of(text()),
    broker_message_ids: of(vec(text(), 0..3)),
});

frame!(fetch() -> Fetch {
    priority: text(),
    max: of(any::<u32>()),
});

frame!(outcomes() -> Outcomes {
    message_ids: vec(text(), 0..3),
    req_id: of(text()),
});

frame!(outcomes_result() -> OutcomesResult {
    outcomes: vec(outcome(), 0..3),
    req_id: of(text()),
});

frame!(outcome() -> Outcome {
    message_id: text(),
    state: outcome_state(),
    reason: of(text()),
});

frame!(receipt() -> Receipt {
    message_id: text(),
    client_message_id: of(text()),
    state: receipt_state(),
    reason: of(text()),
    delivered: of(any::<u32>()),
    failed: of(any::<u32>()),
    of: of(any::<u32>()),
});

frame!(signed_blob() -> SignedBlob {
    e: text(),
    sig: text(),
    cosig: of(text()),
});

frame!(log_head() -> LogHead {
    seq: any::<u64>(),
    hash: text(),
});

frame!(log_get() -> LogGet {
    channel: text(),
    from: any::<u64>(),
    req_id: of(text()),
});

frame!(log_entries() -> LogEntries {
    channel: text(),
    from: any::<u64>(),
    entries: vec(signed_blob(), 0..3),
    head: log_head(),
    req_id: of(text()),
});

frame!(log_append() -> LogAppend {
    entry: signed_blob(),
    invite_token: of(text()),
    req_id: of(text()),
});

frame!(log_appended() -> LogAppended {
    channel: text(),
    head: log_head(),
    entry: of(signed_blob()),
    req_id: of(text()),
});

frame!(key_copies() -> KeyCopies {
    key_id: text(),
    copies: text(),
    req_id: of(text()),
});

frame!(publish_key() -> PublishKey {
    statement: signed_blob(),
    after: of(text()),
    req_id: of(text()),
});

frame!(key_published() -> KeyPublished {
    channel: text(),
    key_id: text(),
    req_id: of(text()),
});

frame!(key_record() -> KeyRecord {
    statement: signed_blob(),
    copy: of(text()),
});

frame!(new_key() -> NewKey {
    channel: text(),
    key: key_record(),
});

frame!(keys_get() -> KeysGet {
    channel: text(),
    key_ids: of(vec(text(), 0..3)),
    req_id: of(text()),
});

frame!(keys() -> Keys {
    channel: text(),
    current: of(text()),
    keys: vec(key_record(), 0..3),
    req_id: of(text()),
});

frame!(history_get() -> HistoryGet {
    channel: text(),
    before: of(text()),
    limit: of(any::<u32>()),
    req_id: of(text()),
});

frame!(history_page() -> HistoryPage {
    channel: text(),
    messages: vec(push(), 0..3),
    more: any::<bool>(),
    req_id: of(text()),
});

frame!(set_state() -> SetState {
    key: text(),
    value: value(),
    version: of(any::<u64>()),
    if_version: of(any::<u64>()),
    client_message_id: of(text()),
    req_id: of(text()),
});

frame!(state_saved() -> StateSaved {
    key: text(),
    req_id: of(text()),
});

frame!(get_state() -> GetState {
    key: text(),
    req_id: of(text()),
});

frame!(state_entry() -> StateEntry {
    key: text(),
    value: value(),
    updated_by: text(),
    updated_at: text(),
    version: of(any::<u64>()),
});

frame!(state_result() -> StateResult {
    entry: state_entry(),
    req_id: of(text()),
});

frame!(list_state() -> ListState {
    after: of(text()),
    req_id: of(text()),
});

frame!(state_list() -> StateList {
    entries: vec(state_entry(), 0..3),
    more: of(any::<bool>()),
    req_id: of(text()),
});

frame!(state_change() -> StateChange {
    key: text(),
    value: value(),
    updated_by: text(),
    version: of(any::<u64>()),
});

frame!(remember() -> Remember {
    content: text(),
    tags: of(vec(text(), 0..3)),
    id: of(text()),
    req_id: of(text()),
});

frame!(memory_stored() -> MemoryStored {
    id: text(),
    memory_id: of(text()),
    req_id: of(text()),
});

frame!(recall() -> Recall {
    query: text(),
    all: of(any::<bool>()),
    after: of(text()),
    req_id: of(text()),
});

frame!(memory_record() -> MemoryRecord {
    id: text(),
    content: text(),
    tags: vec(text(), 0..3),
    remembered_by: text(),
    remembered_at: text(),
});

frame!(memory_results() -> MemoryResults {
    memories: vec(memory_record(), 0..3),
    more: of(any::<bool>()),
    req_id: of(text()),
});

frame!(forget() -> Forget {
    memory_id: text(),
    req_id: of(text()),
});

frame!(set_summary() -> SetSummary {
    summary: text(),
});

frame!(schedule() -> Schedule {
    to: text(),
    message: of(text()),
    deliver_at: of(any::<u64>()),
    subtype: of(text()),
    cron: of(text()),
    send: of(send().prop_map(Box::new)),
    sealed: of(text()),
    id: of(text()),
    req_id: of(text()),
});

frame!(scheduled_ack() -> ScheduledAck {
    scheduled_id: text(),
    deliver_at: any::<u64>(),
    cron: of(text()),
    req_id: of(text()),
});

frame!(list_scheduled() -> ListScheduled {
    req_id: of(text()),
});

frame!(scheduled_record() -> ScheduledRecord {
    id: text(),
    to: text(),
    message: text(),
    deliver_at: any::<u64>(),
    created_at: any::<u64>(),
    cron: of(text()),
    fired_count: of(any::<u64>()),
    failed: of(text()),
});

frame!(scheduled_list() -> ScheduledList {
    messages: vec(scheduled_record(), 0..3),
    req_id: of(text()),
});

frame!(cancel_scheduled() -> CancelScheduled {
    scheduled_id: text(),
    req_id: of(text()),
});

frame!(cancel_scheduled_ack() -> CancelScheduledAck {
    scheduled_id: text(),
    ok: any::<bool>(),
    req_id: of(text()),
});

frame!(schedule_due() -> ScheduleDue {
    scheduled_id: text(),
    to: text(),
    due: any::<u64>(),
    sealed: text(),
});

frame!(schedule_taken() -> ScheduleTaken {
    scheduled_id: text(),
    due: any::<u64>(),
});

frame!(error_frame() -> ErrorFrame {
    code: text(),
    message: text(),
    id: of(text()),
    req_id: of(text()),
    retry_after_ms: of(any::<u64>()),
    limit: of(any::<u64>()),
    extra: extra(),
});

fn client_frame() -> BoxedStrategy<ClientFrame> {
    prop_oneof![
        hello().prop_map(ClientFrame::from),
        session_hello().prop_map(ClientFrame::from),
        send().prop_map(ClientFrame::from),
        client_ack().prop_map(ClientFrame::from),
        set_status().prop_map(ClientFrame::from),
        list_peers().prop_map(ClientFrame::from),
        fetch().prop_map(ClientFrame::from),
        outcomes().prop_map(ClientFrame::from),
        log_get().prop_map(ClientFrame::from),
        log_append().prop_map(ClientFrame::from),
        key_copies().prop_map(ClientFrame::from),
        publish_key().prop_map(ClientFrame::from),
        keys_get().prop_map(ClientFrame::from),
        history_get().prop_map(ClientFrame::from),
        set_state().prop_map(ClientFrame::from),
        get_state().prop_map(ClientFrame::from),
        list_state().prop_map(ClientFrame::from),
        remember().prop_map(ClientFrame::from),
        recall().prop_map(ClientFrame::from),
        forget().prop_map(ClientFrame::from),
        set_summary().prop_map(ClientFrame::from),
        schedule().prop_map(ClientFrame::from),
        list_scheduled().prop_map(ClientFrame::from),
        cancel_scheduled().prop_map(ClientFrame::from),
        schedule_taken().prop_map(ClientFrame::from),
        audit_get().prop_map(ClientFrame::from),
    ]
    .boxed()
}

fn broker_frame() -> BoxedStrategy<BrokerFrame> {
    prop_oneof![
        hello_ack().prop_map(BrokerFrame::from),
        ack().prop_map(BrokerFrame::from),
        acks().prop_map(BrokerFrame::from),
        push().prop_map(BrokerFrame::from),
        peers_list().prop_map(BrokerFrame::from),
        error_frame().prop_map(BrokerFrame::from),
        receipt().prop_map(BrokerFrame::from),
        outcomes_result().prop_map(BrokerFrame::from),
        log_entries().prop_map(BrokerFrame::from),
        log_appended().prop_map(BrokerFrame::from),
        key_published().prop_map(BrokerFrame::from),
        new_key().prop_map(BrokerFrame::from),
        keys().prop_map(BrokerFrame::from),
        history_page().prop_map(BrokerFrame::from),
        state_saved().prop_map(BrokerFrame::from),
        state_result().prop_map(BrokerFrame::from),
        state_list().prop_map(BrokerFrame::from),
        state_change().prop_map(BrokerFrame::from),
        memory_stored().prop_map(BrokerFrame::from),
        memory_results().prop_map(BrokerFrame::from),
        scheduled_ack().prop_map(BrokerFrame::from),
        scheduled_list().prop_map(BrokerFrame::from),
        cancel_scheduled_ack().prop_map(BrokerFrame::from),
        schedule_due().prop_map(BrokerFrame::from),
        audit_rows().prop_map(BrokerFrame::from),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn client_frames_round_trip(frame in client_frame()) {
        let text = frame.encode();
        prop_assert_eq!(ClientFrame::decode(&text).unwrap(), frame.clone());
        if let ClientFrame::Send(send) = frame {
            prop_assert_eq!(decode_send(&text).unwrap().unwrap().into_owned(), send);
        }
    }

    #[test]
    fn broker_frames_round_trip(frame in broker_frame()) {
        let text = frame.encode();
        prop_assert_eq!(BrokerFrame::decode(&text).unwrap(), frame.clone());
        if let BrokerFrame::Push(push) = frame {
            prop_assert_eq!(join_push(&push.message_id, &push_tail(&push)), text);
        }
    }

    #[test]
    fn unknown_frames_are_kept(kind in "x[a-z_]{0,20}", mut object in map()) {
        object.insert("type".into(), kind.into());
        let text = Value::Object(object).to_string();
        prop_assert_eq!(ClientFrame::decode(&text).unwrap().encode(), text.clone());
        prop_assert_eq!(BrokerFrame::decode(&text).unwrap().encode(), text);
    }

    #[test]
    fn a_proof_stands_last(mut hello in hello()) {
        hello.proof = None;
        let text = ClientFrame::Hello(hello.clone()).encode();
        hello.proof = Some("ab".into());
        let proven = ClientFrame::Hello(hello).encode();
        prop_assert_eq!(proven, format!(r#"{},"proof":"ab"}}"#, &text[..text.len() - 1]));
    }
}
