//! The thread that owns the store: its disk waits block nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::session::StoreToken;
use crate::store::{Outcome, PeerOp, PeerStore, Query, Rows, StoreError};

/// How often changes by other processes are looked for while somebody waits for them.
const POLL: Duration = Duration::from_millis(50);
/// Operations of one transaction.
const BATCH: usize = 512;

/// What the thread tells the driver.
pub(super) enum FromStore {
    Stored(StoreToken, Result<Vec<Outcome>, StoreError>),
    Loaded(StoreToken, Result<Rows, StoreError>),
    /// Another process has changed the store.
    Changed,
}

type Call = Box<dyn FnOnce(&mut dyn PeerStore) + Send>;

enum Job {
    Apply(StoreToken, Vec<PeerOp>),
    Load(StoreToken, Query),
    Call(Call),
    /// Somebody began to wait for changes.
    Nudge,
}

/// A handle to the thread; the thread ends with the last one.
#[derive(Clone)]
pub(super) struct StoreHandle {
    jobs: Sender<Job>,
    watchers: Arc<AtomicUsize>,
}

/// While it lives, changes by other processes are looked for.
pub(super) struct Watch(Arc<AtomicUsize>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why the store gave no answer: its thread is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone;

impl StoreHandle {
    pub(super) fn start(
        store: Box<dyn PeerStore>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<FromStore>), std::io::Error> {
        let (jobs, inbox) = channel();
        let (tell, told) = mpsc::unbounded_channel();
        let watchers = Arc::new(AtomicUsize::new(0));
        let watched = Arc::clone(&watchers);
        std::thread::Builder::new()
            .name("claudemesh-store".to_owned())
            .spawn(move || run(store, &inbox, &tell, &watched))?;
        Ok((Self { jobs, watchers }, told))
    }

    pub(super) fn apply(&self, token: StoreToken, ops: Vec<PeerOp>) {
        let _ = self.jobs.send(Job::Apply(token, ops));
    }

    pub(super) fn load(&self, token: StoreToken, query: Query) {
        let _ = self.jobs.send(Job::Load(token, query));
    }

    /// Has `work` done on the store's thread some time.
    pub(super) fn run(&self, work: impl FnOnce(&mut dyn PeerStore) + Send + 'static) {
        let _ = self.jobs.send(Job::Call(Box::new(work)));
    }

    /// Runs `work` on the store's thread. Dropping the future does not undo the work.
    pub(super) async fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn PeerStore) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (tell, told) = oneshot::channel();
        let call: Call = Box::new(move |store| {
            let _ = tell.send(work(store));
        });
        self.jobs.send(Job::Call(call)).map_err(|_| Gone)?;
        told.await.map_err(|_| Gone)
    }

    /// Looks for changes by other processes as long as the result lives.
    pub(super) fn watch(&self) -> Watch {
        if self.watchers.fetch_add(1, Ordering::Relaxed) == 0 {
            let _ = self.jobs.send(Job::Nudge);
        }
        Watch(Arc::clone(&self.watchers))
    }
}

fn run(
    mut store: Box<dyn PeerStore>,
    jobs: &Receiver<Job>,
    tell: &mpsc::UnboundedSender<FromStore>,
    watchers: &AtomicUsize,
) {
    let durable = store.is_durable();
    let mut version = store.version().ok();
    loop {
        let job = if durable && watchers.load(Ordering::Relaxed) > 0 {
            match jobs.recv_timeout(POLL) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match jobs.recv() {
                Ok(job) => Some(job),
                Err(_) => return,
            }
        };
        let mut next = job;
        while let Some(job) = next.take() {
            next = work(store.as_mut(), job, jobs, tell);
        }
        let now = store.version().ok();
        if now != version {
            version = now;
            let _ = tell.send(FromStore::Changed);
        }
    }
}

/// Does one job; writes that wait right behind it go into the same transaction. Gives back the
/// job that ended the batch.
fn work(
    store: &mut dyn PeerStore,
    job: Job,
    jobs: &Receiver<Job>,
    tell: &mpsc::UnboundedSender<FromStore>,
) -> Option<Job> {
    match job {
        Job::Nudge => None,
        Job::Call(call) => {
            call(store);
            None
        }
        Job::Load(token, query) => {
            let _ = tell.send(FromStore::Loaded(token, store.read(&query)));
            None
        }
        Job::Apply(token, ops) => {
            let mut parts = vec![(token, ops.len())];
            let mut all = ops;
            let mut after = None;
            while all.len() < BATCH {
                match jobs.try_recv() {
                    Ok(Job::Apply(token, ops)) => {
                        parts.push((token, ops.len()));
                        all.extend(ops);
                    }
                    Ok(other) => {
                        after = Some(other);
                        break;
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            let result = if all.is_empty() {
                Ok(Vec::new())
            } else {
                store.apply(&all)
            };
            match result {
                Ok(outcomes) => {
                    let mut outcomes = outcomes.into_iter();
                    for (token, count) in parts {
                        let own = outcomes.by_ref().take(count).collect();
                        let _ = tell.send(FromStore::Stored(token, Ok(own)));
                    }
                }
                Err(error) => {
                    for (token, _) in parts {
                        let _ = tell.send(FromStore::Stored(token, Err(error.clone())));
                    }
                }
            }
            after
        }
    }
}
