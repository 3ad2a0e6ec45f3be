//! Randomness as a value: `main` creates the source and passes it in, so that a seeded simulation is reproducible.

use aws_lc_rs::digest;
use parking_lot::Mutex;

/// A source of random bytes. `fill` never blocks for long and never fails: a process whose operating system provides no
/// randomness must not create secrets, so the OS source panics.
pub trait Entropy: Send + Sync {
    /// Overwrites all of `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);
}

impl<E: Entropy + ?Sized> Entropy for std::sync::Arc<E> {
    fn fill(&self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

/// Typed draws from any [`Entropy`], trait objects included.
pub trait Draw: Entropy {
    /// `N` random bytes.
    fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random `u64`.
    fn u64(&self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A uniform number in `0..bound`; 0 for a bound of 0. No modulo bias (Lemire 2019, "Fast Random
    /// Integer Generation in an Interval", §4).
    fn below(&self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(u32::from_le_bytes(self.array())) * u64::from(bound);
            let (high, low) = ((product >> 32) as u32, product as u32);
            if low >= threshold {
                return high;
            }
        }
    }
}

impl<E: Entropy + ?Sized> Draw for E {}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that may ask the operating system for randomness"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes)
            .expect("the operating system provides randomness once booted; without it no secret may be created");
    }
}

/// Deterministic bytes from a seed, for tests and simulations only: SHA-256 over (seed, counter). Two
/// sources with the same seed and the same calls give the same bytes. Never use it for real keys.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    state: Mutex<Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    counter: u64,
    rest: Vec<u8>,
}

impl SeededEntropy {
    /// The stream of this seed, from its start.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            state: Mutex::new(Stream::default()),
        }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock();
        for byte in bytes {
            if state.rest.is_empty() {
                let mut block = [0; 16];
                block[..8].copy_from_slice(&self.seed.to_le_bytes());
                block[8..].copy_from_slice(&state.counter.to_le_bytes());
                state.counter += 1;
                state.rest = digest::digest(&digest::SHA256, &block).as_ref().to_vec();
            }
            *byte = state.rest.pop().expect("just filled with 32 bytes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_twice_is_identical_and_another_differs() {
        let (a, b, c) = (SeededEntropy::new(7), SeededEntropy::new(7), SeededEntropy::new(8));
        let first: [u8; 100] = a.array();
        assert_eq!(first, b.array::<100>());
        assert_ne!(first, c.array::<100>());
        assert_ne!(first, a.array::<100>(), "the stream advances");
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let entropy: &dyn Entropy = &SeededEntropy::new(1);
        let mut seen = [0_u32; 6];
        for _ in 0..6_000 {
            seen[entropy.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|n| (800..1_200).contains(n)), "{seen:?}");
        assert_eq!(entropy.below(0), 0);
        assert_eq!(entropy.below(1), 0);
    }

    #[test]
    fn os_entropy_differs_from_call_to_call() {
        assert_ne!(OsEntropy.array::<16>(), OsEntropy.array::<16>());
    }
}
