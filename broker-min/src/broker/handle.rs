//! A running broker, in the hands of who started it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::shell::Control;
use super::{BrokerError, Shared};
use crate::tls::Tls;
use crate::writer::StoreThreads;

/// What belongs to a running broker.
pub(super) struct Running {
    pub(super) local_addr: SocketAddr,
    pub(super) url: BrokerUrl,
    pub(super) shared: Arc<Shared>,
    pub(super) threads: StoreThreads,
    pub(super) control: mpsc::UnboundedSender<Control>,
    pub(super) accepting: JoinHandle<()>,
    pub(super) shell: JoinHandle<()>,
    pub(super) sweeping: JoinHandle<()>,
    pub(super) ruling: Option<JoinHandle<()>>,
    pub(super) watching: Option<JoinHandle<()>>,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Running {
    fn unwatch(&mut self) {
        for task in self.watching.take().into_iter().chain(self.ruling.take()) {
            task.abort();
        }
    }
}

/// A running broker. Dropping it is [`BrokerHandle::kill`].
#[must_use = "a broker ends when its handle is dropped"]
pub struct BrokerHandle(Running);

impl std::fmt::Debug for BrokerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerHandle")
            .field("local_addr", &self.0.local_addr)
            .finish_non_exhaustive()
    }
}

impl BrokerHandle {
    pub(super) fn new(running: Running) -> Self {
        Self(running)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    /// The address to dial: the first public URL, or the one that it listens on.
    pub fn url(&self) -> BrokerUrl {
        self.0.url.clone()
    }

    /// Cuts every connection as a broken network does: no close frames. Peers come back.
    pub fn drop_connections(&self) {
        self.0.shared.door.cut_all();
    }

    /// Reads changed files of the certificate now, rather than within a few seconds.
    pub fn reload(&self) {
        if let Some(tls) = &self.0.tls {
            tls.reload();
        }
    }

    /// Returns when the broker cannot go on: its store failed.
    pub async fn failed(&self) {
        loop {
            if self.0.shared.failed.load(Ordering::Acquire) || self.0.shell.is_finished() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops properly within `deadline`: accepts and reads nothing more, commits and answers what
    /// was read, closes everyone with 1001, and leaves the store tidy.
    ///
    /// # Errors
    /// [`BrokerError::Late`] if the time was too short; nothing accepted is lost then either.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), BrokerError> {
        let by = Instant::now() + deadline;
        let running = &mut self.0;
        end(&mut running.accepting).await;
        let (done, told) = oneshot::channel();
        let _ = running.control.send(Control::Shutdown(done));
        let told = timeout_at(by, told).await.is_ok();
        let left = timeout_at(by, running.shared.door.emptied()).await.is_ok();
        running.shared.door.cut_all();
        end(&mut running.shell).await;
        end(&mut running.sweeping).await;
        running.unwatch();
        running.threads.stop();
        tracing::info!("broker stopped");
        if told && left {
            Ok(())
        } else {
            Err(BrokerError::Late)
        }
    }

    /// Ends at once, as if the process were killed: what waits to be written is dropped, nobody is
    /// told. Returns when the store is closed and the port is free.
    pub async fn kill(mut self) {
        let running = &mut self.0;
        running.threads.kill();
        running.shared.door.cut_all();
        end(&mut running.accepting).await;
        end(&mut running.shell).await;
        end(&mut running.sweeping).await;
        running.unwatch();
        running.shared.door.cut_all();
        // Each connection's task lets go of it when it is polled; none of them waits for anything.
        let by = Instant::now() + Duration::from_secs(2);
        let _ = timeout_at(by, running.shared.door.emptied()).await;
    }
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.0.accepting.abort();
        self.0.shell.abort();
        self.0.sweeping.abort();
        self.0.unwatch();
        self.0.shared.door.cut_all();
        self.0.threads.kill();
    }
}

/// Aborts a task and waits until it has let go of what it had.
async fn end(task: &mut JoinHandle<()>) {
    task.abort();
    if !task.is_finished() {
        let _ = task.await;
    }
}
