//! The numbers and names that both ends of a connection must agree on.

/// The longest frame a peer may send, in bytes of UTF-8. A longer one closes the connection with
/// [`CloseCode::TOO_BIG`](super::CloseCode::TOO_BIG).
pub const MAX_FRAME: usize = 65_536;

/// The longest frame a broker sends to a peer that speaks [`CAP_DELIVERY`], in bytes. Longer lists
/// travel in pages.
pub const MAX_FRAME_TO_PEER: usize = 262_144;

/// The longest frame a peer takes from a broker that does not page its lists, in bytes.
pub const MAX_FRAME_FROM_LEGACY_BROKER: usize = 16 * 1024 * 1024;

/// The most that one `log_entries` frame carries, in bytes of encoded entries.
pub const LOG_PAGE_BYTES: usize = 49_152;

/// The most ids or items in one `client_ack`, `acks`, `outcomes` or `outcomes_result`.
pub const MAX_IDS_PER_FRAME: usize = 256;

/// How many pushes may be unsettled on a connection, and how many sends may be unanswered.
pub const WINDOW: usize = 256;

/// How far the timestamp of a hello may be from the broker's clock, either way, in milliseconds.
pub const HELLO_SKEW_MS: u64 = 60_000;

/// How long a presence outlives its socket without being reported as gone, in milliseconds.
pub const LEASE_MS: u64 = 90_000;

/// How often either end sends a WebSocket ping, in milliseconds.
pub const PING_INTERVAL_MS: u64 = 30_000;

/// After how much silence a socket is dropped, in milliseconds.
pub const STALE_MS: u64 = 75_000;

/// How long a broker waits for the hello of a fresh socket, in milliseconds.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;

/// Durable delivery: per-mailbox settlement, deduplicated sends, receipts and outcomes.
pub const CAP_DELIVERY: &str = "delivery/1";

/// Signed and padded message envelopes.
pub const CAP_ENVELOPE: &str = "envelope/1";

/// The signed membership log (`log_get`, `log_append`).
pub const CAP_LOG: &str = "log/1";

/// Channels with logs and keys, and sends to them.
pub const CAP_CHANNELS: &str = "channels/1";

/// Sealed state, memory, summaries and schedules.
pub const CAP_VALUES: &str = "values/1";

/// Session statements, passed on as they are.
pub const CAP_STATEMENTS: &str = "session/1";

/// The most copies of a channel's key in one frame; 80 bytes each.
pub const MAX_COPIES_PER_FRAME: usize = 500;

/// The most keys that one `channel_get` asks for.
pub const MAX_KEYS_PER_FRAME: usize = 32;

/// The most messages that one `channel_history` asks for.
pub const MAX_HISTORY_PAGE: u32 = 200;

/// Header of the broker's upgrade response: the challenge that a hello's proof answers.
pub const HEADER_CHALLENGE: &str = "claudemesh-challenge";

/// Request header by which an invite key proves itself when it reads a log over HTTP.
pub const HEADER_PROOF: &str = "claudemesh-proof";

/// Request header by which a member's key signs a request over HTTP.
pub const HEADER_SIGNATURE: &str = "claudemesh-signature";
