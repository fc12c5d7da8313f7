//! The broker's ids of messages: provably its own, and findable by primary key.
//!
//! An id is 32 letters and digits: 8 for the message's place in the broker's one order, 24 of a MAC
//! over the store, the place and the sender. Who did not get an id cannot make one up, and the
//! broker needs no index to find what an id names.

use claudemesh_core::id::PublicKey;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SEQ_DIGITS: usize = 8;
const MAC_DIGITS: usize = 24;
/// Digits taken from each 8 bytes of the MAC: 62⁶ is so far below 2⁶⁴ that no digit is likelier.
const DIGITS_PER_WORD: usize = 6;

/// Makes and checks message ids of one store.
#[derive(Clone)]
pub(crate) struct MessageIds {
    store: String,
    secret: [u8; 32],
}

impl std::fmt::Debug for MessageIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MessageIds({})", self.store)
    }
}

impl MessageIds {
    /// The ids of the store `store`, whose secret is `secret`.
    pub(crate) fn new(store: impl Into<String>, secret: [u8; 32]) -> Self {
        Self {
            store: store.into(),
            secret,
        }
    }

    /// The id of the message at `seq` that the member `sender` sent.
    pub(crate) fn mint(&self, seq: u64, sender: &PublicKey) -> String {
        let mut id = base62(seq, SEQ_DIGITS);
        // A key of any length makes an HMAC.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) {
            mac.update(b"claudemesh/message-id/1\0");
            mac.update(&(self.store.len() as u64).to_be_bytes());
            mac.update(self.store.as_bytes());
            mac.update(&seq.to_be_bytes());
            mac.update(&sender.0);
            for word in mac.finalize().into_bytes().chunks_exact(8) {
                let word = word.iter().fold(0, |n: u64, b| (n << 8) | u64::from(*b));
                id.push_str(&base62(word, DIGITS_PER_WORD));
            }
        }
        id
    }

    /// The place of the message that `id` names, if this store minted it for `sender`. Takes as
    /// long for a wrong id as for a right one of its shape.
    pub(crate) fn check(&self, id: &str, sender: &PublicKey) -> Option<u64> {
        let seq = seq_of(id)?;
        let minted = self.mint(seq, sender);
        let differs = minted
            .bytes()
            .zip(id.bytes())
            .fold(0u8, |sum, (a, b)| sum | (a ^ b));
        (differs == 0 && minted.len() == id.len()).then_some(seq)
    }
}

/// The place that a text of an id's shape claims, unproven.
pub(crate) fn seq_of(id: &str) -> Option<u64> {
    if id.len() != SEQ_DIGITS + MAC_DIGITS {
        return None;
    }
    id.bytes().take(SEQ_DIGITS).try_fold(0u64, |n, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        Some(n * 62 + u64::from(digit))
    })
}

/// The lowest `digits` digits of a number, highest first.
pub(crate) fn base62(mut number: u64, digits: usize) -> String {
    let mut text = vec![b'0'; digits];
    for place in text.iter_mut().rev() {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        *place = DIGITS.get(digit).copied().unwrap_or(b'0');
        number /= 62;
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_its_sender_and_store_only() {
        let ids = MessageIds::new("a", [7; 32]);
        let (ana, bo) = (PublicKey([1; 32]), PublicKey([2; 32]));
        for seq in [0, 1, 61, 62, 1 << 40] {
            let id = ids.mint(seq, &ana);
            assert_eq!(id.len(), 32);
            assert_eq!(ids.check(&id, &ana), Some(seq));
            assert_eq!(ids.check(&id, &bo), None);
            assert_eq!(MessageIds::new("b", [7; 32]).check(&id, &ana), None);
            assert_eq!(MessageIds::new("a", [8; 32]).check(&id, &ana), None);
        }
    }

    #[test]
    fn ids_sort_as_their_places_do() {
        let ids = MessageIds::new("a", [7; 32]);
        let key = PublicKey([1; 32]);
        assert!(ids.mint(61, &key) < ids.mint(62, &key));
        assert!(ids.mint(99, &key) < ids.mint(100_000, &key));
    }

    #[test]
    fn other_texts_are_none() {
        let ids = MessageIds::new("a", [7; 32]);
        let key = PublicKey([1; 32]);
        for bad in ["", "x", &"é".repeat(16), &"-".repeat(32), &"z".repeat(33)] {
            assert_eq!(ids.check(bad, &key), None);
        }
    }
}
