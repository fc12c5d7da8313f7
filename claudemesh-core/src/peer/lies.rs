//! What a broker was caught at, kept until a person dismisses it.
//!
//! A lie is told when it is found ([`Event::LiedTo`](crate::session::Event::LiedTo)); whoever looks
//! later must find it still. They are kept as pins, 64 at most: the first 63 and the newest, so that
//! a flood of them pushes out no evidence.

use super::driver::unix_ms;
use super::shared::Shared;
use super::{Peer, PeerError};
use crate::session::Lie;
use crate::sorted::sorted_by;
use crate::store::{PeerOp, PeerStore, Pin, Query, Rows, StoreError};

/// Lies that are kept at most.
const MAX_LIES: usize = 64;
/// Characters of one.
const MAX_TEXT: usize = 512;
/// How the names of these pins begin; a number follows.
const PREFIX: &str = "lie:";

/// Something that the broker must not do, and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caught {
    /// Unix ms of when it was found, by this machine's clock.
    pub at: u64,
    /// What it was, in words: at most 512 characters. Names in it come from others.
    pub what: String,
}

impl Peer {
    /// What the broker of this mesh was caught at, oldest first, at most 64: the first 63 and the
    /// newest. Each is kept once, with the time it was found first, until [`Peer::forget_lies`].
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn lies(&self) -> Result<Vec<Caught>, PeerError> {
        let kept = self.with_store(|store| kept(store)).await?;
        let lies: Vec<Caught> = kept.into_iter().flatten().collect();
        Ok(sorted_by(lies, |a, b| a.at.cmp(&b.at)))
    }

    /// Dismisses what the broker was caught at so far: a person knows why, a backup that was put
    /// back for example. It is kept anew if it happens again.
    ///
    /// # Errors
    /// [`PeerError::Closed`], [`PeerError::Store`].
    pub async fn forget_lies(&self) -> Result<(), PeerError> {
        self.with_store(|store| {
            let slots = kept(store)?;
            let taken = (0..).zip(&slots).filter(|(_, slot)| slot.is_some());
            let ops: Vec<PeerOp> = taken.map(|(n, _)| pin(n, String::new())).collect();
            store.apply(&ops).map(|_| ())
        })
        .await
    }
}

/// Keeps a lie; nobody waits for it. If the store fails it is found again, as the broker goes on.
pub(super) fn keep(shared: &Shared, lie: &Lie) {
    let what: String = lie.to_string().chars().take(MAX_TEXT).collect();
    let at = unix_ms();
    shared.store.run(move |store| {
        let Ok(slots) = kept(store) else { return };
        if slots.iter().flatten().any(|lie| lie.what == what) {
            return;
        }
        let free = slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(MAX_LIES - 1);
        drop(store.apply(&[pin(slot, format!("{at} {what}"))]));
    });
}

fn pin(slot: usize, value: String) -> PeerOp {
    let name = format!("{PREFIX}{slot}");
    PeerOp::Pin(Pin { name, value })
}

/// All slots. One that was dismissed, or that somebody else wrote to, is empty.
fn kept(store: &mut dyn PeerStore) -> Result<Vec<Option<Caught>>, StoreError> {
    let mut slots = vec![None; MAX_LIES];
    let Rows::Pins(pins) = store.read(&Query::Pins)? else {
        return Ok(slots);
    };
    for pin in pins {
        let number = pin.name.strip_prefix(PREFIX).map(str::parse::<usize>);
        let Some(Ok(number)) = number else { continue };
        let Some((at, what)) = pin.value.split_once(' ') else {
            continue;
        };
        if let (Some(slot), Ok(at)) = (slots.get_mut(number), at.parse()) {
            let what = what.to_owned();
            *slot = Some(Caught { at, what });
        }
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::store_thread::StoreHandle;
    use crate::store::MemoryStore;

    fn lie(seq: u64) -> Lie {
        Lie::LogFork { seq }
    }

    async fn kept_in(shared: &Shared) -> Vec<Caught> {
        let slots = shared.store.with(|store| kept(store)).await;
        slots.unwrap().unwrap().into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn a_flood_pushes_out_no_evidence() {
        let (store, _told) = StoreHandle::start(Box::new(MemoryStore::new())).unwrap();
        let shared = Shared::new(store, None, None);
        for seq in 0..200 {
            keep(&shared, &lie(seq));
            keep(&shared, &lie(seq));
        }
        let lies = kept_in(&shared).await;
        assert_eq!(lies.len(), MAX_LIES);
        for (n, caught) in (0..63).zip(&lies) {
            assert_eq!(caught.what, lie(n).to_string());
            assert!(caught.at > 0);
        }
        assert_eq!(lies.last().unwrap().what, lie(199).to_string());
    }
}
