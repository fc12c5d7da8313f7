//! Following a message that was sent.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::MessageId;
use crate::store::SendState;

/// How far a message has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) state: SendState,
    pub(super) reason: Option<String>,
    pub(super) recipients: Option<u32>,
    pub(super) skipped: Option<Skipped>,
}

/// Why a message did not come as far as was waited for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It will not be delivered.
    #[error("the message will not be delivered: {0}")]
    Failed(String),
    /// The peer was closed before; the message stays in the outbox if the store is durable.
    #[error(
        "the peer was closed before this was known; what is in the outbox is sent by the next one"
    )]
    Closed,
}

/// The broker has a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// In how many mailboxes it is; none if that was not told. In a mesh without a membership log,
    /// for a channel: for how many members it is sealed.
    pub recipients: Option<u32>,
    /// In a mesh without a membership log, for a channel: who is in it and cannot read it. None if
    /// there is nobody.
    pub skipped: Option<Skipped>,
}

/// How many of those in a channel a message was not sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Skipped {
    /// They are not trusted.
    pub untrusted: u32,
    /// They are trusted, and have never shown that they understand encrypted messages.
    pub legacy: u32,
}

/// Follows one message. Dropping it changes nothing about the message.
#[derive(Debug, Clone)]
pub struct Receipt {
    id: MessageId,
    protected: bool,
    progress: watch::Receiver<Progress>,
}

impl Receipt {
    /// The message's id.
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// Whether it went in the form that its sender signs. Where this is false it went as bare
    /// text, to a member without a log entry, or in plain, to a channel of the existing system:
    /// its recipients have the broker's word for who sent it.
    pub fn is_protected(&self) -> bool {
        self.protected
    }

    /// How far the message has come, as far as is known now.
    pub fn state(&self) -> SendState {
        self.progress.borrow().state
    }

    /// Why the message failed; none if it did not.
    pub fn reason(&self) -> Option<String> {
        self.progress.borrow().reason.clone()
    }

    /// Waits until the broker has committed the message, and its copies for devices. From then on it survives any crash.
    ///
    /// Dropping the future changes nothing; it can be asked for again. There is no limit but the
    /// message's own: it waits while the broker is away, until the message expires.
    ///
    /// # Errors
    /// [`ReceiptError::Failed`] if the broker refused it, or it was cancelled or expired before;
    /// [`ReceiptError::Closed`].
    pub async fn accepted(&self) -> Result<Accepted, ReceiptError> {
        let progress = self.wait(|state| state != SendState::Queued).await?;
        Ok(Accepted {
            recipients: progress.recipients,
            skipped: progress.skipped,
        })
    }

    /// Waits until the recipient's client, and each of its devices, has stored the message. This is the broker's word.
    ///
    /// Dropping the future changes nothing; it can be asked for again. A message that expires before,
    /// after 7 days unless its sender said otherwise, has failed.
    ///
    /// # Errors
    /// [`ReceiptError::Failed`] also if it expired, or the recipient was removed;
    /// [`ReceiptError::Closed`].
    pub async fn delivered(&self) -> Result<(), ReceiptError> {
        self.wait(SendState::is_final).await.map(|_| ())
    }

    async fn wait(&self, far: impl Fn(SendState) -> bool) -> Result<Progress, ReceiptError> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| far(progress.state)).await;
        match reached.map(|progress| progress.clone()) {
            Ok(Progress {
                state: SendState::Failed,
                reason,
                ..
            }) => Err(ReceiptError::Failed(
                reason.unwrap_or_else(|| "refused".to_owned()),
            )),
            Ok(progress) => Ok(progress),
            Err(_) => Err(ReceiptError::Closed),
        }
    }
}

/// A message that is followed.
struct Followed {
    sender: watch::Sender<Progress>,
    /// How far it is for its recipient, and for each of its devices.
    parts: Vec<(MessageId, Progress)>,
    /// Kept until the one who sent the message takes it, so that no step is missed.
    first: Option<watch::Receiver<Progress>>,
}

impl Followed {
    /// How far the whole message is: as far as the part that is furthest behind, or failed as
    /// soon as one of them has.
    fn whole(&self) -> Progress {
        let all = self.parts.iter().map(|(_, progress)| progress);
        if let Some(failed) = all.clone().find(|p| p.state == SendState::Failed) {
            return failed.clone();
        }
        let state = all.clone().map(|progress| progress.state);
        let state = state.min_by_key(|state| rank(*state));
        let told = all.filter_map(|progress| progress.recipients);
        Progress {
            state: state.unwrap_or(SendState::Queued),
            reason: None,
            recipients: told.reduce(u32::saturating_add),
            skipped: self.parts.iter().find_map(|(_, p)| p.skipped),
        }
    }
}

/// The messages that somebody follows, by their ids without a device.
#[derive(Default)]
pub(super) struct Receipts(Mutex<HashMap<MessageId, Followed>>);

impl Receipts {
    pub(super) fn register(&self, id: &MessageId, copies: &[MessageId]) {
        let progress = Progress {
            state: SendState::Queued,
            reason: None,
            recipients: None,
            skipped: None,
        };
        let parts = std::iter::once(id).chain(copies).cloned();
        let parts = parts.map(|part| (part, progress.clone())).collect();
        let (sender, first) = watch::channel(progress);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Receipts that nobody holds any more are forgotten now and then.
        if all.len() >= 1_024 && all.len().is_power_of_two() {
            all.retain(|_, followed| followed.sender.receiver_count() > 0);
        }
        all.insert(
            id.clone(),
            Followed {
                sender,
                parts,
                first: Some(first),
            },
        );
    }

    /// Nobody waits for the receipt: who sent the message stopped listening.
    pub(super) fn forget(&self, id: &MessageId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(id);
    }

    /// Takes the receipt of a message that was just registered.
    pub(super) fn take(&self, id: MessageId, protected: bool) -> Receipt {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = all.get_mut(&id).and_then(|followed| followed.first.take());
        if first
            .as_ref()
            .is_some_and(|progress| progress.borrow().state.is_final())
        {
            all.remove(&id);
        }
        let progress = first.unwrap_or_else(|| {
            // The peer was closed in between: the receipt says so.
            let queued = Progress {
                state: SendState::Queued,
                reason: None,
                recipients: None,
                skipped: None,
            };
            watch::channel(queued).1
        });
        Receipt {
            id,
            protected,
            progress,
        }
    }

    /// A message, or the copy for a device, has come further.
    pub(super) fn progressed(&self, id: &MessageId, progress: Progress) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let message = id.base();
        let Some(followed) = all.get_mut(&message) else {
            return;
        };
        let mut parts = followed.parts.iter_mut();
        let Some((_, held)) = parts.find(|(part, _)| part == id) else {
            return;
        };
        if rank(progress.state) <= rank(held.state) {
            return;
        }
        let recipients = progress.recipients.or(held.recipients);
        let skipped = progress.skipped.or(held.skipped);
        *held = Progress {
            recipients,
            skipped,
            ..progress
        };
        let whole = followed.whole();
        let done = whole.state.is_final() && followed.first.is_none();
        followed.sender.send_if_modified(|told| {
            let further = rank(whole.state) > rank(told.state);
            if further {
                *told = whole;
            }
            further
        });
        if done {
            all.remove(&message);
        }
    }

    /// For whom a message was not sealed; told before it was accepted.
    pub(super) fn skipped(&self, id: &MessageId, skipped: Skipped) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = all.get_mut(&id.base()).map(|followed| &mut followed.parts);
        let held = parts.and_then(|parts| parts.iter_mut().find(|(part, _)| part == id));
        if let Some((_, held)) = held {
            held.skipped = Some(skipped);
        }
    }

    /// Ids that are followed and whose fate is not known.
    pub(super) fn waiting(&self) -> Vec<MessageId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values()
            .filter(|followed| followed.sender.receiver_count() > 0)
            .flat_map(|followed| &followed.parts)
            .filter(|(_, progress)| !progress.state.is_final())
            .map(|(id, _)| id.clone())
            .take(256)
            .collect()
    }

    /// No more will be known.
    pub(super) fn ended(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

fn rank(state: SendState) -> u8 {
    match state {
        SendState::Queued => 0,
        SendState::Accepted => 1,
        SendState::Delivered | SendState::Failed => 2,
    }
}
