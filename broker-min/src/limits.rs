//! Every bound of the broker, in one place.

/// All bounds. Each is a flag of the binary and stands in docs/limits.md; each refusal says which
/// one it was and when to retry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of one mesh, leases included.
    pub connections_per_mesh: usize,
    /// Deliveries a second of one member.
    pub deliveries_per_s: u32,
    /// Deliveries of one member in a burst.
    pub delivery_burst: u32,
    /// Bytes of a frame to the broker.
    pub frame_bytes: usize,
    /// Deliveries in one mailbox.
    pub mailbox_rows: u64,
    /// Bytes in one mailbox.
    pub mailbox_bytes: u64,
    /// Deliveries of one sender in one mailbox.
    pub mailbox_rows_per_sender: u64,
    /// Deliveries in all mailboxes of one mesh.
    pub mesh_rows: u64,
    /// Bytes in all mailboxes of one mesh.
    pub mesh_bytes: u64,
    /// Milliseconds until a socket has said hello.
    pub hello_ms: u64,
    /// Sends of one connection that wait for their ack; then its socket is not read.
    pub unanswered_sends: usize,
    /// Pushes of one connection that wait for their client_ack.
    pub window: usize,
    /// Milliseconds for which a presence outlives its connection.
    pub lease_ms: u64,
    /// Milliseconds between pings.
    pub ping_ms: u64,
    /// Milliseconds without a pong after which a connection is dropped.
    pub stale_ms: u64,
    /// Milliseconds without progress after which a slow socket is closed.
    pub slow_ms: u64,
    /// Milliseconds after which a durable peer that does not ack is closed.
    pub ack_ms: u64,
    /// Milliseconds for which a message waits if its sender does not say.
    pub expires_ms: u64,
    /// Milliseconds for which a message waits at most.
    pub max_expires_ms: u64,
    /// Log entries of one member an hour.
    pub log_entries_per_hour: u32,
    /// Entries of one channel's log of one member an hour.
    pub channel_entries_per_hour: u32,
    /// Keys of one channel of one member an hour while its readers stay the same.
    pub epochs_per_hour: u32,
    /// Readers of one channel.
    pub audience: usize,
    /// Keys of state of one mesh.
    pub state_keys: u64,
    /// Memories of one mesh.
    pub memories: u64,
    /// Bytes of one value or memory.
    pub value_bytes: usize,
    /// Schedules of one member.
    pub schedules_per_member: u64,
    /// Milliseconds that a schedule may be ahead.
    pub schedule_ahead_ms: u64,
    /// Meshes made from one address an hour.
    pub meshes_per_hour: u32,
    /// Connections of one address that have not said hello.
    pub pending_per_address: usize,
    /// Milliseconds that an HTTP request may take, its connection included.
    pub http_ms: u64,
    /// Requests of one address an hour that are refused; then all are, until the hour is over.
    pub refusals_per_hour: u32,
    /// Connections of one address.
    pub connections_per_address: usize,
    /// Connections in all.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_mesh: 10_000,
            deliveries_per_s: 200,
            delivery_burst: 5_000,
            frame_bytes: 65_536,
            mailbox_rows: 10_000,
            mailbox_bytes: 64 << 20,
            mailbox_rows_per_sender: 2_000,
            mesh_rows: 10_000_000,
            mesh_bytes: 16 << 30,
            hello_ms: 10_000,
            unanswered_sends: 256,
            window: 256,
            lease_ms: 90_000,
            ping_ms: 30_000,
            stale_ms: 75_000,
            slow_ms: 30_000,
            ack_ms: 60_000,
            expires_ms: 7 * 86_400_000,
            max_expires_ms: 30 * 86_400_000,
            log_entries_per_hour: 600,
            channel_entries_per_hour: 60,
            epochs_per_hour: 1,
            audience: 5_000,
            state_keys: 10_000,
            memories: 10_000,
            value_bytes: 49_152,
            schedules_per_member: 100,
            schedule_ahead_ms: 366 * 86_400_000,
            meshes_per_hour: 60,
            pending_per_address: 256,
            http_ms: 30_000,
            refusals_per_hour: 1_000,
            connections_per_address: 20_000,
            connections: 50_000,
        }
    }
}

impl Limits {
    /// The numbers of the existing system: 100 connections a mesh, 60 messages a minute with a
    /// burst of 10.
    pub fn reference() -> Self {
        Self {
            connections_per_mesh: 100,
            deliveries_per_s: 1,
            delivery_burst: 10,
            ..Self::default()
        }
    }

    /// Whether a message counts once, whoever gets it, as in the existing system; else each of its
    /// deliveries counts.
    pub(crate) fn counts_messages(&self) -> bool {
        self.deliveries_per_s == 1 && self.delivery_burst == 10
    }
}
