//! What was received: as a stream, as a list, as history.

use super::{Incoming, Peer, PeerError, Received, incoming};
use crate::store::{InboxRow, PeerOp, Query, ReaderStart, Rows};

impl Peer {
    /// The messages for this peer as a stream. Asking for the next one takes the last one.
    ///
    /// A peer with a session name goes on where that name stopped; one without begins after the
    /// last message that anybody took.
    ///
    /// # Errors
    /// [`PeerError::AlreadyReading`]: one stream at a time per peer and session name.
    /// [`PeerError::Store`], [`PeerError::System`] if the reading position cannot be opened.
    pub async fn incoming(&self) -> Result<Incoming, PeerError> {
        let shared = &self.inner.shared;
        // Let go again if this future is dropped.
        let reading = shared.begin_reading().ok_or(PeerError::AlreadyReading)?;
        let lock = self.open_reader().await?;
        let reader = self.inner.reader.clone();
        Ok(Incoming::new(self.clone(), reader, lock, reading))
    }

    async fn open_reader(&self) -> Result<Option<std::fs::File>, PeerError> {
        let inner = &self.inner;
        let lock = match (&inner.lanes, inner.resume) {
            (Some(lanes), true) => {
                let held = lanes.try_hold_reader(&inner.reader.0);
                let held = held.map_err(|error| PeerError::System(error.to_string()))?;
                Some(held.ok_or(PeerError::AlreadyReading)?)
            }
            _ => None,
        };
        let start = if inner.resume {
            ReaderStart::Resume
        } else {
            ReaderStart::AfterAny
        };
        let op = PeerOp::OpenReader {
            reader: inner.reader.clone(),
            start,
        };
        self.with_store(move |store| store.apply(&[op])).await?;
        Ok(lock)
    }

    /// What is unread now, in reading order, without taking it: at most `limit` messages. Needs no
    /// connection: what waits at the broker is not among them, see [`Peer::caught_up`].
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn unread(&self, limit: u32) -> Result<Vec<Received>, PeerError> {
        let reader = self.inner.reader.clone();
        let start = if self.inner.resume {
            ReaderStart::Resume
        } else {
            ReaderStart::AfterAny
        };
        let open = PeerOp::OpenReader {
            reader: reader.clone(),
            start,
        };
        let query = Query::UnreadOf {
            reader,
            session: self.inner.session_key,
            waking: false,
            limit,
        };
        let rows = self
            .with_store(move |store| {
                store.apply(&[open])?;
                store.read(&query)
            })
            .await?;
        Ok(self.received(rows))
    }

    /// Takes messages that [`Peer::unread`] gave.
    ///
    /// # Errors
    /// [`PeerError`]: they are unread still.
    pub async fn take(&self, messages: &[Received]) -> Result<(), PeerError> {
        let messages: Vec<&Received> = messages.iter().collect();
        if messages.is_empty() {
            return Ok(());
        }
        incoming::take(self, &self.inner.reader, &messages).await
    }

    /// The newest received messages, at most `limit`, read or not, rejected ones too, in the order
    /// they came. Takes nothing.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn history(&self, limit: u32) -> Result<Vec<Received>, PeerError> {
        let rows = self
            .with_store(move |store| store.read(&Query::Inbox { limit }))
            .await?;
        let mut all = self.received(rows);
        // What another session was told is its own.
        let own = self.inner.session_key;
        all.retain(|message| message.to_session.is_none() || message.to_session == own);
        Ok(all)
    }

    fn received(&self, rows: Rows) -> Vec<Received> {
        let rows: Vec<InboxRow> = if let Rows::Inbox(rows) = rows {
            rows
        } else {
            Vec::new()
        };
        let reader = &self.inner.reader;
        rows.into_iter()
            .map(|row| Received::new(row, reader.clone(), self.clone()))
            .collect()
    }
}
