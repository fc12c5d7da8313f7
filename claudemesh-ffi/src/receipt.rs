//! Following a message that was sent.

use std::sync::Arc;

use claudemesh_core::Receipt;
use claudemesh_core::store::SendState;

use crate::error::NativeError;
use crate::runtime::{CancelToken, run};

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SendProgress {
    /// In the own outbox.
    Queued,
    /// Committed at the broker.
    Accepted,
    /// Every recipient's client has it.
    Delivered,
    /// It will not be delivered.
    Failed,
}

impl From<SendState> for SendProgress {
    fn from(state: SendState) -> Self {
        match state {
            SendState::Queued => Self::Queued,
            SendState::Accepted => Self::Accepted,
            SendState::Delivered => Self::Delivered,
            SendState::Failed => Self::Failed,
        }
    }
}

/// Follows one message. Releasing it changes nothing about the message.
#[derive(Debug, uniffi::Object)]
pub struct NativeReceipt {
    receipt: Receipt,
}

impl NativeReceipt {
    pub(crate) fn new(receipt: Receipt) -> Arc<Self> {
        Arc::new(Self { receipt })
    }
}

#[uniffi::export]
impl NativeReceipt {
    /// The message's id.
    pub fn id(&self) -> String {
        self.receipt.id().as_str().to_owned()
    }

    /// How far the message has come, as far as is known now.
    pub fn state(&self) -> SendProgress {
        self.receipt.state().into()
    }

    /// Why the message failed; none if it did not.
    pub fn reason(&self) -> Option<String> {
        self.receipt.reason()
    }

    /// Waits until the broker has committed the message; gives in how many mailboxes it is, if that
    /// was told. From then on it survives any crash.
    ///
    /// # Errors
    /// `not_delivered`, `closed`.
    #[uniffi::method(default(cancel = None))]
    pub async fn accepted(
        &self,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Option<u32>, NativeError> {
        let receipt = self.receipt.clone();
        run(
            cancel,
            async move { Ok(receipt.accepted().await?.recipients) },
        )
        .await
    }

    /// Waits until the recipient's client has stored the message. This is the broker's word.
    ///
    /// # Errors
    /// `not_delivered`, also if it expired; `closed`.
    #[uniffi::method(default(cancel = None))]
    pub async fn delivered(&self, cancel: Option<Arc<CancelToken>>) -> Result<(), NativeError> {
        let receipt = self.receipt.clone();
        run(cancel, async move { Ok(receipt.delivered().await?) }).await
    }
}
