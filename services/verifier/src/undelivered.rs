//! Tokens with a good signature that the log does not know: a forgery, or a code that this verifier has not heard of yet.
//!
//! An issuer gives a token away only after the log has taken its birth. So a token that was shown here, and that the log
//! still does not know by a proof that began later, was never born: no clock is needed for that. Before such a proof a
//! token is taken for forged only if it says that it was issued long before the knowledge ends, longer than the clock of
//! an issuer may be behind ([`CLOCK_TOLERANCE_SECONDS`]); otherwise nothing can be said (R24).

use std::collections::{HashMap, HashSet};

use citycode_auth::CallerId;
use citycode_domain::ids::ClaimsDigest;
use citycode_domain::time::Timestamp;
use parking_lot::Mutex;

use crate::freshness::Known;

/// How far the clock of an issuer may be behind that of a verifier: each may be wrong by an hour, as by a time zone.
const CLOCK_TOLERANCE_SECONDS: i64 = 2 * 3_600;
/// Tokens in one generation, of two. Whoever shows more has stolen a signing key; what is forgotten is not admitted either.
const GENERATION: usize = 4_096;

/// When each such token was shown first, and whose scan waits for a proof.
#[derive(Default)]
pub(crate) struct Undelivered {
    shown: Mutex<Generations>,
    waiting: Mutex<HashSet<CallerId>>,
}

/// The one scan of a caller that waits.
pub(crate) struct Waits<'a> {
    waiting: &'a Mutex<HashSet<CallerId>>,
    caller: &'a CallerId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(self.caller);
    }
}

#[derive(Default)]
struct Generations {
    young: HashMap<ClaimsDigest, u64>,
    old: HashMap<ClaimsDigest, u64>,
}

impl Undelivered {
    /// Begins to wait, unless another scan of this caller does.
    pub(crate) fn wait<'a>(&'a self, caller: &'a CallerId) -> Option<Waits<'a>> {
        let begins = self.waiting.lock().insert(caller.clone());
        begins.then_some(Waits {
            waiting: &self.waiting,
            caller,
        })
    }

    /// Every code of these claims that was issued before this instant would be known. `shown_ms` is when the token was
    /// shown, on the monotonic clock.
    pub(crate) fn reaches(
        &self,
        digest: &ClaimsDigest,
        issued_at: Timestamp,
        known: Known,
        shown_ms: u64,
    ) -> Timestamp {
        let reaches = known.reaches.plus_seconds(-CLOCK_TOLERANCE_SECONDS);
        if issued_at < reaches {
            return reaches;
        }
        // Whole milliseconds: a proof that began in the same one may have begun before.
        if self.first_shown_ms(digest, shown_ms) < known.proof_began_ms {
            Timestamp(i64::MAX)
        } else {
            reaches
        }
    }

    fn first_shown_ms(&self, digest: &ClaimsDigest, shown_ms: u64) -> u64 {
        let mut generations = self.shown.lock();
        let Generations { young, old } = &mut *generations;
        if let Some(first) = young.get(digest) {
            return *first;
        }
        let first = old.get(digest).copied().unwrap_or(shown_ms);
        if young.len() >= GENERATION {
            *old = std::mem::take(young);
        }
        young.insert(*digest, first);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACHES: Timestamp = Timestamp(1_000_000);

    fn known(proof_began_ms: u64) -> Known {
        Known {
            age_ms: 0,
            reaches: REACHES,
            proof_began_ms,
        }
    }

    #[test]
    fn a_proof_that_began_after_a_token_was_shown_reaches_it_whatever_the_clocks_say() {
        let (undelivered, digest) = (Undelivered::default(), ClaimsDigest([1; 32]));
        let issued_at = REACHES.plus_seconds(-600);
        for (proof_began_ms, shown_ms, reached) in [(5, 5, false), (5, 9, false), (6, 9, true), (3, 9, false)] {
            let reaches = undelivered.reaches(&digest, issued_at, known(proof_began_ms), shown_ms);
            assert_eq!(issued_at < reaches, reached, "{proof_began_ms} {shown_ms}");
        }
        let long_ago = REACHES.plus_seconds(-CLOCK_TOLERANCE_SECONDS - 1);
        let another = ClaimsDigest([2; 32]);
        assert!(long_ago < undelivered.reaches(&another, long_ago, known(0), 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let undelivered = Undelivered::default();
        for number in 0..3 * u64::try_from(GENERATION).unwrap() {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(undelivered.first_shown_ms(&ClaimsDigest(digest), number), number);
        }
        let generations = undelivered.shown.lock();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }
}
