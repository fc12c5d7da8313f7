//! Random bytes for a machine that has no randomness of its own.

use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A generator of random bytes from one seed: the same seed gives the same bytes, so a simulation
/// can be replayed; a seed from the system's random source gives unpredictable ones.
///
/// Each block is SHA-256 over a domain, the state and a counter; after each request the state is
/// replaced, so what was given out cannot be computed from a later state.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Drbg {
    state: [u8; 32],
}

impl Drbg {
    /// Starts from a seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { state: seed }
    }

    /// Fills an array.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0u8; N];
        for (counter, chunk) in out.chunks_mut(32).enumerate() {
            let block = self.block(b"claudemesh/drbg-out/1", counter as u64);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        self.state = self.block(b"claudemesh/drbg-next/1", 0);
        out
    }

    /// A number below `bound` (0 if the bound is 0). The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            u64::from_be_bytes(self.bytes()) % bound
        }
    }

    fn block(&self, domain: &[u8], counter: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(domain);
        hash.update(self.state);
        hash.update(counter.to_be_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_blocks_differ() {
        let (mut a, mut b) = (Drbg::new([1; 32]), Drbg::new([1; 32]));
        let first: [u8; 80] = a.bytes();
        assert_eq!(first, b.bytes());
        assert_ne!(first[..32], first[32..64]);
        assert_ne!(first, a.bytes());
        assert_ne!(
            Drbg::new([2; 32]).bytes::<16>(),
            Drbg::new([1; 32]).bytes::<16>()
        );
        assert!((0..1000).all(|_| a.below(7) < 7));
        assert_eq!(a.below(0), 0);
    }
}
