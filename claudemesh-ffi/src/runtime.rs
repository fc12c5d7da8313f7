//! The runtime of this process, and running work on it so that it can be cancelled.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::error::NativeError;

/// One per process: every peer of an app shares it. One thread is enough, since what blocks has
/// threads of its own.
static RUNTIME: OnceLock<Result<Handle, String>> = OnceLock::new();

pub(crate) fn runtime() -> Result<&'static Handle, NativeError> {
    RUNTIME
        .get_or_init(|| start().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|why| NativeError::new("system", format!("no threads can be started: {why}")))
}

fn start() -> std::io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .thread_name("claudemesh")
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("claudemesh".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Ends calls that it was given to: for languages whose own cancel does not reach Rust.
#[derive(Debug, uniffi::Object)]
pub struct CancelToken {
    state: watch::Sender<bool>,
}

#[uniffi::export]
impl CancelToken {
    /// A token that is not cancelled.
    #[uniffi::constructor]
    #[allow(clippy::new_without_default, reason = "uniffi wants a constructor")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: watch::Sender::new(false),
        })
    }

    /// Ends the calls that have this token with the error `cancelled`; also those that begin later.
    pub fn cancel(&self) {
        self.state.send_replace(true);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.state.borrow()
    }
}

impl CancelToken {
    async fn cancelled(&self) {
        let mut state = self.state.subscribe();
        // The sender lives as long as this borrow.
        let _ = state.wait_for(|cancelled| *cancelled).await;
    }
}

/// A task that ends when this is dropped.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs work on the runtime. Dropping the future, or the token, stops it at its next pause; a panic
/// becomes an error.
///
/// Not generic in the work: with a state machine for each call the library would be half as large
/// again.
pub(crate) fn run<T: Send + 'static>(
    cancel: Option<Arc<CancelToken>>,
    work: impl Future<Output = Result<T, NativeError>> + Send + 'static,
) -> Work<T> {
    run_boxed(cancel, Box::pin(work))
}

/// Work under way.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Result<T, NativeError>> + Send>>;

fn run_boxed<T: Send + 'static>(cancel: Option<Arc<CancelToken>>, work: Work<T>) -> Work<T> {
    Box::pin(async move {
        let (tell, mut told) = oneshot::channel();
        let work = Box::pin(async move {
            // Nobody listening any more is no error.
            let _ = tell.send(work.await);
        });
        run_task(cancel, work).await?;
        // Sent, if the task has ended without being cancelled.
        told.try_recv()
            .unwrap_or_else(|_| Err(NativeError::cancelled()))
    })
}

/// The part that is the same for every type.
async fn run_task(
    cancel: Option<Arc<CancelToken>>,
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Result<(), NativeError> {
    let mut task = Owned(runtime()?.spawn(async move {
        match cancel {
            None => work.await,
            Some(token) => tokio::select! {
                biased;
                () = work => {}
                () = token.cancelled() => {}
            },
        }
    }));
    match (&mut task.0).await {
        Err(error) if error.is_panic() => Err(NativeError::internal()),
        // A task that was cancelled has sent nothing.
        _ => Ok(()),
    }
}

/// Runs what blocks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NativeError> + Send + 'static,
) -> Result<T, NativeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(NativeError::internal()),
    }
}
