//! What is counted. Each broker has a registry of its own.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use claudemesh_core::wire::CloseCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::store::{Op, Outcome, StoreError};

/// One label: its name and one of a few fixed values, never text from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Label(&'static str, &'static str);

impl EncodeLabelSet for Label {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        (self.0, self.1).encode(encoder.encode_label())
    }
}

/// A broker's numbers. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    connections: Counter,
    connections_rejected: Family<Label, Counter>,
    messages_routed: Family<Label, Counter>,
    messages_rejected: Family<Label, Counter>,
    create_refused: Family<Label, Counter>,
    connections_active: Gauge,
    queue_depth: Gauge,
    db_healthy: Gauge,
    store_writable: Gauge,
    store_failures: Family<Label, Counter>,
    frames: Family<Label, Counter>,
    bytes: Family<Label, Counter>,
    http: Family<Label, Counter>,
    operations: Counter,
    commit_seconds: Histogram,
    meshes: Gauge,
    meshes_loaded: Gauge,
    members: Gauge,
    unsettled: Gauge,
    sockets: Gauge,
    uptime: Gauge<f64, AtomicU64>,
}

/// Numbers that are asked for when someone looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) queue: u64,
    pub(crate) meshes: u64,
    pub(crate) members: u64,
    pub(crate) loaded: u64,
    pub(crate) unsettled: u64,
    pub(crate) sockets: usize,
    pub(crate) uptime: f64,
    pub(crate) healthy: bool,
    pub(crate) writable: bool,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let inner = Inner {
            connections: add(r, "broker_connections", "Connections that said hello"),
            connections_rejected: add(r, "broker_connections_rejected", "Refused, by reason"),
            messages_routed: add(
                r,
                "broker_messages_routed",
                "Messages accepted, by priority",
            ),
            messages_rejected: add(r, "broker_messages_rejected", "Refused, by reason"),
            create_refused: add(
                r,
                "broker_mesh_creations_refused",
                "Requests to make a mesh that were refused, by reason",
            ),
            connections_active: add(r, "broker_connections_active", "Connections after hello"),
            queue_depth: add(r, "broker_queue_depth", "Deliveries that wait"),
            db_healthy: add(r, "broker_db_healthy", "Whether the store answers"),
            store_writable: add(r, "broker_store_writable", "Whether the store takes writes"),
            store_failures: add(
                r,
                "broker_store_failures",
                "Transactions that were not written, by reason",
            ),
            frames: add(r, "broker_frames", "Frames, by direction"),
            bytes: add(r, "broker_frame_bytes", "Bytes of frames, by direction"),
            http: add(
                r,
                "broker_http_requests",
                "HTTP requests, by class of status",
            ),
            operations: add(r, "broker_store_operations", "Operations written"),
            commit_seconds: Histogram::new(BUCKETS),
            meshes: add(r, "broker_meshes", "Meshes in the store"),
            meshes_loaded: add(r, "broker_meshes_loaded", "Meshes in memory"),
            members: add(r, "broker_members", "Members in the store"),
            unsettled: add(r, "broker_pushes_unsettled", "Pushes that wait for an ack"),
            sockets: add(r, "broker_sockets", "TCP connections"),
            uptime: add(r, "broker_uptime_seconds", "Time since the start"),
            registry: Registry::default(),
        };
        registry.register_with_unit(
            "broker_commit",
            "Time of one transaction",
            Unit::Seconds,
            inner.commit_seconds.clone(),
        );
        Self(Arc::new(Inner { registry, ..inner }))
    }

    pub(crate) fn opened(&self) {
        self.0.connections.inc();
        self.0.connections_active.inc();
    }

    pub(crate) fn closed(&self) {
        self.0.connections_active.dec();
    }

    /// A hello or a connection was refused.
    pub(crate) fn refused(&self, reason: &'static str) {
        let label = Label("reason", reason);
        self.0.connections_rejected.get_or_create(&label).inc();
    }

    /// The router closes a connection; some of its reasons are refusals.
    pub(crate) fn refused_or_closed(&self, code: CloseCode, reason: &str) {
        const REASONS: [&str; 9] = [
            "capacity",
            "unauthorized",
            "parent_member_id_mismatch",
            "bad_signature",
            "bad_session_pubkey",
            "slow_consumer",
            "ack_timeout",
            "mesh_suspended",
            "mesh_deleted",
        ];
        if code == CloseCode::BANNED {
            self.refused("revoked");
        } else if let Some(known) = REASONS.iter().find(|known| **known == reason) {
            self.refused(known);
        }
    }

    /// Somebody may not make a mesh.
    pub(crate) fn create_refused(&self, reason: &'static str) {
        let label = Label("reason", reason);
        self.0.create_refused.get_or_create(&label).inc();
    }

    /// A frame was refused.
    pub(crate) fn rejected(&self, reason: &'static str) {
        let label = Label("reason", reason);
        self.0.messages_rejected.get_or_create(&label).inc();
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.frame("in", bytes);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.frame("out", bytes);
    }

    fn frame(&self, direction: &'static str, bytes: usize) {
        let label = Label("direction", direction);
        self.0.frames.get_or_create(&label).inc();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.bytes.get_or_create(&label).inc_by(bytes);
    }

    pub(crate) fn http(&self, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.0.http.get_or_create(&Label("status", class)).inc();
    }

    /// A transaction came to its end.
    pub(crate) fn committed(
        &self,
        ops: &[Op],
        result: &Result<Vec<Outcome>, StoreError>,
        took: Duration,
    ) {
        let outcomes = match result {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let reason = match error {
                    StoreError::Full { .. } => "disk_full",
                    StoreError::ReadOnly { .. } => "read_only",
                    StoreError::Unknown { .. } => "unknown",
                    StoreError::Away { .. } => "away",
                    _ => "io",
                };
                let label = Label("reason", reason);
                self.0.store_failures.get_or_create(&label).inc();
                return;
            }
        };
        self.0.commit_seconds.observe(took.as_secs_f64());
        self.0.operations.inc_by(ops.len() as u64);
        for (op, outcome) in ops.iter().zip(outcomes) {
            match (op, outcome) {
                (Op::Accept(accept), Outcome::Accepted { .. }) => {
                    let label = Label("priority", accept.class.as_str());
                    self.0.messages_routed.get_or_create(&label).inc();
                }
                (_, Outcome::Full) => self.rejected("queue_full"),
                (_, Outcome::Reused) => self.rejected("invalid"),
                _ => {}
            }
        }
    }

    /// The whole as text.
    pub(crate) fn text(&self, sample: Sample) -> String {
        let inner = &*self.0;
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        inner.queue_depth.set(int(sample.queue));
        inner.meshes.set(int(sample.meshes));
        inner.members.set(int(sample.members));
        inner.meshes_loaded.set(int(sample.loaded));
        inner.unsettled.set(int(sample.unsettled));
        inner.sockets.set(int(sample.sockets as u64));
        inner.uptime.set(sample.uptime);
        inner.db_healthy.set(i64::from(sample.healthy));
        inner.store_writable.set(i64::from(sample.writable));
        let mut text = String::new();
        if encode(&mut text, &inner.registry).is_err() {
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}

/// Seconds; a commit takes from a fraction of a millisecond to, on a bad disk, seconds.
const BUCKETS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Default + Clone,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_know() {
        let metrics = Metrics::new();
        metrics.opened();
        metrics.refused("capacity");
        metrics.rejected("malformed");
        let text = metrics.text(Sample {
            queue: 7,
            healthy: true,
            ..Sample::default()
        });
        for line in [
            "broker_connections_total 1",
            "broker_connections_active 1",
            "broker_connections_rejected_total{reason=\"capacity\"} 1",
            "broker_messages_rejected_total{reason=\"malformed\"} 1",
            "broker_queue_depth 7",
            "broker_db_healthy 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
