//! Tokens with a valid signature that are not in the folded state: forgeries, or codes whose commit this verifier has
//! not read yet.
//!
//! An issuer returns a token only after its commit is acknowledged. So if a token was scanned here, and a freshness
//! proof that began later completes without its commit, the token is forged; this needs no clock. Before such a proof
//! a token counts as forged only if its time of issue is long before the end of the proved state, by more than an
//! issuer's clock may be behind ([`CLOCK_TOLERANCE_SECONDS`]); otherwise it cannot be decided (R24).

use std::collections::{HashMap, HashSet};

use citycode_auth::CallerId;
use citycode_domain::ids::ClaimsDigest;
use citycode_domain::time::Timestamp;
use parking_lot::Mutex;

use crate::freshness::Known;

/// How far the clock of an issuer may be behind that of a verifier: each may be wrong by an hour, for example by a
/// wrong time zone.
const CLOCK_TOLERANCE_SECONDS: i64 = 2 * 3_600;
/// Tokens in one of the two generations. More occur only if a signing key was stolen; evicted tokens are not admitted
/// either.
const GENERATION: usize = 4_096;

/// The time of the first scan of each such token, and the callers whose scan waits for a proof.
#[derive(Default)]
pub(crate) struct Undelivered {
    shown: Mutex<Generations>,
    waiting: Mutex<HashSet<CallerId>>,
}

/// The one waiting scan of a caller.
pub(crate) struct WaitingScan<'a> {
    waiting: &'a Mutex<HashSet<CallerId>>,
    caller: &'a CallerId,
}

impl Drop for WaitingScan<'_> {
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
    /// Begins to wait, unless another scan of this caller is waiting.
    pub(crate) fn wait<'a>(&'a self, caller: &'a CallerId) -> Option<WaitingScan<'a>> {
        let begins = self.waiting.lock().insert(caller.clone());
        begins.then_some(WaitingScan {
            waiting: &self.waiting,
            caller,
        })
    }

    /// The time such that a code with these claims would be in the state if it had been issued before it. `shown_ms` is
    /// the time of the scan, on the monotonic clock.
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
        // Times are whole milliseconds: a proof that began in the same one may have begun before the scan.
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
    fn a_proof_that_began_after_a_tokens_scan_decides_independently_of_clocks() {
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

    /// The limit of memory is for tokens that are undecided.
    #[test]
    fn only_a_token_that_its_time_of_issue_does_not_decide_is_stored() {
        let limit = REACHES.plus_seconds(-CLOCK_TOLERANCE_SECONDS);
        for (issued_at, stored) in [(limit.plus_seconds(-1), 0), (limit, 1), (limit.plus_seconds(1), 1)] {
            let undelivered = Undelivered::default();
            let reaches = undelivered.reaches(&ClaimsDigest([1; 32]), issued_at, known(0), 0);
            assert_eq!(
                (reaches, undelivered.shown.lock().young.len()),
                (limit, stored),
                "{issued_at:?}"
            );
        }
    }

    #[test]
    fn the_number_of_stored_tokens_is_bounded() {
        let undelivered = Undelivered::default();
        for number in 0..3 * u64::try_from(GENERATION).unwrap() {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(undelivered.first_shown_ms(&ClaimsDigest(digest), number), number);
        }
        let generations = undelivered.shown.lock();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }

    #[test]
    fn the_first_scan_of_a_token_is_remembered_for_a_generation() {
        let undelivered = Undelivered::default();
        let digest = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            ClaimsDigest(digest)
        };
        for number in 0..GENERATION {
            undelivered.first_shown_ms(&digest(number), 7);
        }
        assert_eq!(undelivered.first_shown_ms(&digest(0), 9), 7);
    }
}
