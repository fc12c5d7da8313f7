//! The threads that touch the store: one that writes, two that read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;
use crate::router::In;
use crate::store::{BrokerStore, Op, Outcome, Query, Rows, StoreError, StoreReader};

/// Milliseconds between two tries whether the store writes.
const PROBE_EVERY: u64 = 2_000;
/// Operations of one transaction at most.
const BATCH_OPS: usize = 512;
/// Bytes of one transaction at most, about.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes after which the write-ahead log is moved into the file at the next quiet moment.
const CHECKPOINT_BYTES: usize = 16 << 20;

enum Write {
    Commit {
        batch: u64,
        ops: Vec<Op>,
    },
    /// Try whether it writes.
    Probe(oneshot::Sender<()>),
    Stop,
}

enum Read {
    Load { query: Query, answer: Answer },
    Stop,
}

/// To whom a load is answered.
pub(crate) enum Answer {
    /// To the router, under its token.
    Router(u64),
    /// To the shell itself.
    Shell(oneshot::Sender<Result<Rows, StoreError>>),
}

/// The store's threads.
pub(crate) struct StoreThreads {
    writes: Sender<Write>,
    loads: Loads,
    killed: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    writing: Arc<Writing>,
    threads: Vec<JoinHandle<()>>,
}

/// Where loads are asked for.
#[derive(Clone)]
pub(crate) struct Loads {
    readers: Arc<[Sender<Read>]>,
    next: Arc<std::sync::atomic::AtomicUsize>,
}

/// Where commits are handed over, in order.
#[derive(Clone)]
pub(crate) struct Commits(Sender<Write>);

impl Commits {
    pub(crate) fn commit(&self, batch: u64, ops: Vec<Op>) {
        // Without a thread the broker is going down, and nothing is acknowledged.
        let _ = self.0.send(Write::Commit { batch, ops });
    }
}

impl Commits {
    /// Tries whether the store writes; returns when [`Writing`] knows, or after 5 s.
    pub(crate) async fn probe(&self) {
        let (done, tried) = oneshot::channel();
        if self.0.send(Write::Probe(done)).is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(5), tried).await;
        }
    }
}

/// Whether the store writes, as its last writes went.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    trouble: Mutex<Option<&'static str>>,
    looked: AtomicU64,
}

impl Writing {
    /// What keeps it from writing.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time for a try: each costs a write. `now` in ms.
    pub(crate) fn look_again(&self, now: u64) -> bool {
        let last = self.looked.load(Ordering::Acquire);
        let due = last == 0 || now.saturating_sub(last) >= PROBE_EVERY;
        due && (self.looked)
            .compare_exchange(last, now.max(1), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn note(&self, error: Option<&StoreError>) {
        let trouble = error.map(|error| match error {
            StoreError::Full { .. } => "disk_full",
            StoreError::ReadOnly { .. } => "store_read_only",
            StoreError::Away { .. } => "db_down",
            _ => "store_failed",
        });
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Loads {
    /// Asks; the readers take turns.
    pub(crate) fn load(&self, query: Query, answer: Answer) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(reader) = self.readers.get(turn % self.readers.len().max(1)) {
            let _ = reader.send(Read::Load { query, answer });
        }
    }

    /// Asks and waits for the answer, not for ever.
    pub(crate) async fn ask(&self, query: Query) -> Option<Rows> {
        let (answer, rows) = oneshot::channel();
        self.load(query, Answer::Shell(answer));
        let rows = tokio::time::timeout(Duration::from_secs(5), rows).await;
        rows.ok()?.ok()?.ok()
    }
}

impl StoreThreads {
    /// Starts the threads. What comes back goes to `answers` as inputs of the router.
    pub(crate) fn start(
        store: Box<dyn BrokerStore>,
        readers: Vec<Box<dyn StoreReader>>,
        answers: &mpsc::UnboundedSender<In>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        let killed = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(AtomicBool::new(false));
        let writing = Arc::new(Writing::default());
        let (writes, queue) = channel();
        let writer = Writer {
            store,
            queue,
            answers: answers.clone(),
            killed: killed.clone(),
            failed: failed.clone(),
            writing: writing.clone(),
            metrics: metrics.clone(),
            unmoved: 0,
        };
        let mut threads = vec![spawn("store-writer", move || writer.run())?];
        let mut senders = Vec::new();
        for reader in readers {
            let (sender, queue) = channel();
            let (answers, killed) = (answers.clone(), killed.clone());
            let run = move || read_loop(&*reader, &queue, &answers, &killed);
            threads.push(spawn("store-reader", run)?);
            senders.push(sender);
        }
        let loads = Loads {
            readers: senders.into(),
            next: Arc::default(),
        };
        Ok(Self {
            writes,
            loads,
            killed,
            failed,
            writing,
            threads,
        })
    }

    pub(crate) fn loads(&self) -> Loads {
        self.loads.clone()
    }

    pub(crate) fn commits(&self) -> Commits {
        Commits(self.writes.clone())
    }

    /// Whether a write ended in a way that allows no further one.
    pub(crate) fn failure(&self) -> Arc<AtomicBool> {
        self.failed.clone()
    }

    /// Whether the store writes.
    pub(crate) fn writing(&self) -> Arc<Writing> {
        self.writing.clone()
    }

    /// Writes what waits, checkpoints, and ends the threads. Returns when the store is closed.
    pub(crate) fn stop(&mut self) {
        let _ = self.writes.send(Write::Stop);
        for reader in &*self.loads.readers {
            let _ = reader.send(Read::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// Drops what waits and ends the threads. Returns when the store is closed.
    pub(crate) fn kill(&mut self) {
        self.killed.store(true, Ordering::Release);
        self.stop();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn read_loop(
    reader: &dyn StoreReader,
    queue: &Receiver<Read>,
    answers: &mpsc::UnboundedSender<In>,
    killed: &AtomicBool,
) {
    while let Ok(Read::Load { query, answer }) = queue.recv() {
        if killed.load(Ordering::Acquire) {
            return;
        }
        let result = reader.load(&query);
        if let Err(error) = &result {
            tracing::error!(%error, "the store did not answer");
        }
        match answer {
            Answer::Router(token) => {
                let _ = answers.send(In::Loaded { token, result });
            }
            Answer::Shell(sender) => {
                let _ = sender.send(result);
            }
        }
    }
}

struct Writer {
    store: Box<dyn BrokerStore>,
    queue: Receiver<Write>,
    answers: mpsc::UnboundedSender<In>,
    killed: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    writing: Arc<Writing>,
    metrics: Metrics,
    /// Bytes written since the last checkpoint, about.
    unmoved: usize,
}

impl Writer {
    fn run(mut self) {
        let mut going = true;
        while going {
            let Some(first) = self.wait() else { break };
            let mut batches = Vec::new();
            let mut probes = Vec::new();
            let (mut ops, mut bytes) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(write) = next {
                match write {
                    Write::Stop => {
                        going = false;
                        break;
                    }
                    Write::Probe(done) => probes.push(done),
                    Write::Commit { batch, ops: more } => {
                        bytes += more.iter().map(size).sum::<usize>();
                        batches.push((batch, more.len()));
                        ops.extend(more);
                    }
                }
                let full = ops.len() >= BATCH_OPS || bytes >= BATCH_BYTES;
                next = if full {
                    None
                } else {
                    self.queue.try_recv().ok()
                };
            }
            if self.killed.load(Ordering::Acquire) {
                return;
            }
            if !batches.is_empty() {
                self.commit(&batches, &ops, bytes);
            } else if !probes.is_empty() && !self.failed.load(Ordering::Acquire) {
                self.writing.note(self.store.probe().err().as_ref());
            }
            for done in probes {
                let _ = done.send(());
            }
        }
        self.checkpoint();
    }

    /// The next job. In a quiet moment after much was written the store is tidied up.
    fn wait(&mut self) -> Option<Write> {
        if self.unmoved >= CHECKPOINT_BYTES {
            match self.queue.recv_timeout(Duration::from_millis(200)) {
                Ok(write) => return Some(write),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.queue.recv().ok()
    }

    fn checkpoint(&mut self) {
        self.unmoved = 0;
        if let Err(error) = self.store.checkpoint() {
            tracing::warn!(%error, "the store was not tidied up");
        }
    }

    /// Commits many batches as one and answers each.
    fn commit(&mut self, batches: &[(u64, usize)], ops: &[Op], bytes: usize) {
        let started = Instant::now();
        let result = if self.failed.load(Ordering::Acquire) {
            Err(unknown("a write before it failed"))
        } else {
            self.store.commit(ops)
        };
        let result = match result {
            Ok(outcomes) if outcomes.len() == ops.len() => Ok(outcomes),
            Ok(_) => Err(unknown("the store answered another number of operations")),
            Err(error) => Err(error),
        };
        self.unmoved += bytes;
        self.metrics.committed(ops, &result, started.elapsed());
        self.writing.note(result.as_ref().err());
        match result {
            Ok(outcomes) => self.answer(batches, outcomes),
            Err(error) => {
                tracing::error!(%error, ops = ops.len(), "the store did not write");
                if matches!(error, StoreError::Unknown { .. }) && !self.store.goes_on() {
                    self.failed.store(true, Ordering::Release);
                }
                for (batch, _) in batches {
                    let result = Err(error.clone());
                    let _ = self.answers.send(In::Committed {
                        batch: *batch,
                        result,
                    });
                }
            }
        }
    }

    fn answer(&self, batches: &[(u64, usize)], outcomes: Vec<Outcome>) {
        let mut outcomes = outcomes.into_iter();
        for (batch, count) in batches {
            let result = Ok(outcomes.by_ref().take(*count).collect());
            let _ = self.answers.send(In::Committed {
                batch: *batch,
                result,
            });
        }
    }
}

fn unknown(why: &str) -> StoreError {
    StoreError::Unknown {
        path: "store".to_owned(),
        why: why.to_owned(),
    }
}

/// Bytes that an operation brings to the disk, about.
pub(crate) fn size(op: &Op) -> usize {
    match op {
        Op::Accept(accept) => 200 + accept.tail.len() + 40 * accept.recipients.len(),
        Op::AppendLog { entry, .. } | Op::CreateMesh { entry, .. } => 400 + entry.bytes.len(),
        Op::Value(op) => op.size(),
        _ => 128,
    }
}
