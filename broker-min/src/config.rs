//! One flag per limit.

use clap::Args;

use crate::limits::Limits;

macro_rules! limit_flags {
    ($( $(#[$doc:meta])* $name:ident: $kind:ty, )*) => {
        /// One flag per limit; each stands in docs/limits.md.
        #[derive(Debug, Clone, Default, Args)]
        #[command(next_help_heading = "Limits")]
        pub(crate) struct LimitFlags {
            $( $(#[$doc])* #[arg(long, value_name = "N")] $name: Option<$kind>, )*
        }

        impl LimitFlags {
            /// Puts the flags that were given over `limits`.
            pub(crate) fn apply(&self, limits: &mut Limits) {
                $( if let Some(value) = self.$name { limits.$name = value; } )*
            }
        }
    };
}

limit_flags! {
    /// Connections of one mesh
    connections_per_mesh: usize,
    /// Deliveries a second of one member
    deliveries_per_s: u32,
    /// Deliveries of one member in a burst
    delivery_burst: u32,
    /// Bytes of a frame to the broker
    frame_bytes: usize,
    /// Deliveries in one mailbox
    mailbox_rows: u64,
    /// Bytes in one mailbox
    mailbox_bytes: u64,
    /// Deliveries of one sender in one mailbox
    mailbox_rows_per_sender: u64,
    /// Deliveries in all mailboxes of one mesh
    mesh_rows: u64,
    /// Bytes in all mailboxes of one mesh
    mesh_bytes: u64,
    /// Milliseconds until a socket has said hello
    hello_ms: u64,
    /// Sends of one connection that wait for their ack
    unanswered_sends: usize,
    /// Pushes of one connection that wait for their ack
    window: usize,
    /// Milliseconds for which a presence outlives its connection
    lease_ms: u64,
    /// Milliseconds between pings
    ping_ms: u64,
    /// Milliseconds of silence after which a connection is dropped
    stale_ms: u64,
    /// Milliseconds without progress after which a slow socket is closed
    slow_ms: u64,
    /// Milliseconds after which a durable peer that does not ack is closed
    ack_ms: u64,
    /// Milliseconds for which a message waits if its sender does not say
    expires_ms: u64,
    /// Milliseconds for which a message waits at most
    max_expires_ms: u64,
    /// Log entries of one member an hour
    log_entries_per_hour: u32,
    /// Entries of one channel's log of one member an hour
    channel_entries_per_hour: u32,
    /// Keys of one channel of one member an hour while its readers stay the same
    epochs_per_hour: u32,
    /// Readers of one channel
    audience: usize,
    /// Keys of state of one mesh
    state_keys: u64,
    /// Memories of one mesh
    memories: u64,
    /// Bytes of one value or memory
    value_bytes: usize,
    /// Schedules of one member
    schedules_per_member: u64,
    /// Milliseconds that a schedule may be ahead
    schedule_ahead_ms: u64,
    /// Meshes made from one address an hour
    meshes_per_hour: u32,
    /// Connections of one address that have not said hello
    pending_per_address: usize,
    /// Milliseconds that an HTTP request may take, its connection included
    http_ms: u64,
    /// Requests of one address an hour that are refused before all are
    refusals_per_hour: u32,
    /// Connections of one address
    connections_per_address: usize,
    /// Connections in all
    connections: usize,
}
