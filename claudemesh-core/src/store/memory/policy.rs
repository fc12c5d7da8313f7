//! Rules about senders, in memory.

use std::collections::BTreeMap;

use crate::store::policy::{Keeping, asked_in_turn};
use crate::store::{KeptRule, MAX_RULES, NewInbox, Rule, Who};

#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<String, KeptRule>);

impl Rules {
    /// How a message is kept by the rules of now; `full`: no more can be held.
    pub(super) fn keeping(&mut self, message: &NewInbox, full: bool) -> Keeping {
        for who in asked_in_turn(message) {
            let Some(kept) = self.0.get_mut(&who.to_text()) else {
                continue;
            };
            let mut keeping = Keeping::by(kept.rule, message.kind);
            if keeping == Keeping::Held && full {
                keeping = Keeping::Dropped;
            }
            if keeping == Keeping::Dropped {
                kept.dropped += 1;
            }
            return keeping;
        }
        Keeping::Readable
    }

    pub(super) fn set(&mut self, who: Who, rule: Option<Rule>) -> bool {
        let text = who.to_text();
        let Some(rule) = rule else {
            return self.0.remove(&text).is_some();
        };
        if let Some(kept) = self.0.get_mut(&text) {
            kept.rule = rule;
            return true;
        }
        let room = (self.0.len() as u64) < MAX_RULES;
        if room {
            self.0.insert(text, KeptRule::new(who, rule, 0));
        }
        room
    }

    pub(super) fn all(&self) -> Vec<KeptRule> {
        self.0.values().copied().collect()
    }
}
