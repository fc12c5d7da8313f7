//! What other members know of the log: each message names the newest entry its sender held.
//!
//! A broker that shows its peers different logs, or keeps an entry from one of them, is noticed
//! as soon as two of them talk. A claim alone stops nothing: it is told, and people judge.

use std::collections::{BTreeMap, HashSet};

use super::{Event, Lie, Session};
use crate::id::PublicKey;
use crate::membership::Head;

/// Milliseconds after which the broker is asked again for what a member knows already, and after
/// which, once more, it is said that it does not show it: 30 s in all.
const PATIENCE_MS: u64 = 15_000;
/// Members whose newest claim is remembered at most.
const MAX_CLAIMS: usize = 256;
/// A head beyond the one held.
struct Claim {
    head: Head,
    /// Until when it is waited for, in ms of the clock.
    until: u64,
    asked_again: bool,
}

/// What members claim about entries that are not held here.
pub(super) struct Gossip {
    /// Milliseconds for which the broker is waited for, twice.
    patience: u64,
    ahead: BTreeMap<PublicKey, Claim>,
    /// Of whom something was told on this connection; nobody can fill a log with claims.
    told: HashSet<PublicKey>,
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            patience: PATIENCE_MS,
            ahead: BTreeMap::new(),
            told: HashSet::new(),
        }
    }
}

impl Gossip {
    pub(super) fn connection_closed(&mut self) {
        self.told.clear();
        // Without a connection the broker holds nothing back: the next one begins anew.
        self.ahead.clear();
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.ahead.values().map(|claim| claim.until).min()
    }
}

impl Session {
    /// How long the broker has to show entries of the log that a member knows, before it is said
    /// that it does not ([`Lie::LogWithheld`]): 30 s by default. Half of it after the broker is
    /// asked once more.
    pub fn log_patience(&mut self, ms: u64) {
        self.gossip.patience = ms / 2;
    }

    /// A verified member's message named this head.
    pub(super) fn head_claimed(&mut self, peer: PublicKey, head: Head) {
        let Some(held) = self.log.held() else { return };
        if head.seq <= held.head().seq {
            return self.compare_head(peer, head);
        }
        let until = self.now.mono.saturating_add(self.gossip.patience);
        let ahead = &mut self.gossip.ahead;
        let asked_again = false;
        let room = ahead.len() < MAX_CLAIMS;
        match ahead.get_mut(&peer) {
            // The clock runs from the first claim: who says more each second changes nothing.
            Some(claim) if head.seq > claim.head.seq => claim.head = head,
            Some(_) => return,
            None if room => {
                let claim = Claim {
                    head,
                    until,
                    asked_again,
                };
                ahead.insert(peer, claim);
            }
            None => return,
        }
        self.sync_log(None);
    }

    /// The log has grown: claims about entries held by now are compared.
    pub(super) fn compare_claims(&mut self) {
        let Some(held) = self.log.held().map(|log| log.head().seq) else {
            return;
        };
        let reached: Vec<(PublicKey, Head)> = (self.gossip.ahead.iter())
            .filter(|(_, claim)| claim.head.seq <= held)
            .map(|(peer, claim)| (*peer, claim.head))
            .collect();
        for (peer, head) in reached {
            self.gossip.ahead.remove(&peer);
            self.compare_head(peer, head);
        }
    }

    pub(super) fn tick_gossip(&mut self) {
        let (mono, patience) = (self.now.mono, self.gossip.patience);
        let (mut late, mut again) = (Vec::new(), false);
        self.gossip.ahead.retain(|peer, claim| {
            if mono < claim.until {
                return true;
            }
            if claim.asked_again {
                late.push((*peer, claim.head.seq));
                return false;
            }
            claim.asked_again = true;
            claim.until = mono.saturating_add(patience);
            again = true;
            true
        });
        for (peer, seq) in late {
            self.tell_once(peer, Lie::LogWithheld { peer, seq });
        }
        if again {
            self.sync_log(None);
        }
    }

    fn compare_head(&mut self, peer: PublicKey, head: Head) {
        let held = self.log.held().and_then(|log| log.hash_at(head.seq));
        if held.is_some_and(|held| held != head.hash) {
            let seq = head.seq;
            self.tell_once(peer, Lie::HeadMismatch { peer, seq });
        }
    }

    fn tell_once(&mut self, peer: PublicKey, lie: Lie) {
        if self.gossip.told.insert(peer) {
            self.event(Event::LiedTo(lie));
        }
    }
}
