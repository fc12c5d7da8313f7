//! The line to the client, and the moment in which an answer was handed over.
//!
//! A message stays unread until the answer that shows it was written out: only then is it taken. A
//! client that is gone by then, or has cancelled its question, leaves it unread.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use claudemesh_core::peer::{Peer, Received};
use rmcp::RoleServer;
use rmcp::model::{ClientRequest, ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{Stdin, Stdout};
use tokio::sync::watch;

/// Bytes of one line of the client at most; the longest message has 45,056.
const LONGEST_LINE: usize = 1 << 20;
/// How long an answer may take to be written before its messages are offered to another question.
const WRITING: Duration = Duration::from_secs(2);

/// Messages in answers that are on their way to the client.
#[derive(Default)]
pub(super) struct Handover {
    under_way: Mutex<HashMap<RequestId, (Peer, Vec<Received>)>>,
    changed: watch::Sender<()>,
}

impl Handover {
    /// These messages are in the answer to this question.
    pub(super) fn put(&self, question: RequestId, peer: Peer, messages: Vec<Received>) {
        if !messages.is_empty() {
            self.lock().insert(question, (peer, messages));
        }
    }

    /// Waits until no messages are under way, so that none are shown twice. What was under way for
    /// too long was not handed over: its question was cancelled.
    pub(super) async fn settled(&self) {
        let mut changed = self.changed.subscribe();
        let settled = async { while !self.lock().is_empty() && changed.changed().await.is_ok() {} };
        if tokio::time::timeout(WRITING, settled).await.is_err() {
            self.lock().clear();
        }
    }

    fn remove(&self, question: &RequestId) -> Option<(Peer, Vec<Received>)> {
        self.lock().remove(question)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, (Peer, Vec<Received>)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON-RPC, a line each, on stdin and stdout.
pub(super) struct Wire {
    inner: AsyncRwTransport<RoleServer, Stdin, Stdout>,
    handover: Arc<Handover>,
    /// Whether the client is to begin as clients did before 2026-07-28: those that began in the new
    /// way are not shown pushes.
    no_discovery: bool,
}

impl Wire {
    pub(super) fn stdio(handover: Arc<Handover>, no_discovery: bool) -> Self {
        let inner = AsyncRwTransport::new_server(tokio::io::stdin(), tokio::io::stdout());
        Self {
            inner: inner.with_max_line_length(LONGEST_LINE),
            handover,
            no_discovery,
        }
    }
}

impl Transport<RoleServer> for Wire {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let handed = match &item {
            JsonRpcMessage::Response(answer) => Some(answer.id.clone()),
            _ => None,
        };
        let written = self.inner.send(item);
        let handover = Arc::clone(&self.handover);
        async move {
            let written = written.await;
            let handed = handed.and_then(|question| handover.remove(&question));
            if let Some((peer, messages)) = handed {
                if written.is_ok() {
                    // If that is not kept they are shown once more, which loses nothing.
                    drop(peer.take(&messages).await);
                }
                handover.changed.send_replace(());
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let message = self.inner.receive().await?;
            let JsonRpcMessage::Request(question) = &message else {
                return Some(message);
            };
            if !(self.no_discovery && matches!(question.request, ClientRequest::DiscoverRequest(_)))
            {
                return Some(message);
            }
            let why = "with --channel a session begins with initialize";
            let error = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, why, None);
            let answer = JsonRpcMessage::error(error, Some(question.id.clone()));
            if self.inner.send(answer).await.is_err() {
                return None;
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
