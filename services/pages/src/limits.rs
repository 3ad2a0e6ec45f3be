//! Limits of guesses: how often a secret may be typed. They hold per process, as those of the services.

use std::time::Duration;

use citycode_service_kit::limits::{DistinctLimiter, Limited, Rate, RateLimiter};

/// Different invitations that a person may type within [`WINDOW`]. An invitation has eight digits and works for one
/// named person only; somebody who mistypes it needs two or three tries.
const INVITATIONS: u32 = 5;
const WINDOW: Duration = Duration::from_secs(3_600);
/// Persons whose tries are remembered.
const REMEMBERED: usize = 10_000;
/// Start secrets that this process accepts for a look-up. A secret has 80 random bits; the limit only keeps guesses
/// from using the records.
const START_SECRETS: Rate = Rate {
    burst: 20,
    per_minute: 20,
};

/// The limits of the pages.
pub(crate) struct Limits {
    invitations: DistinctLimiter<[u8; 16]>,
    start_secrets: RateLimiter<()>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            invitations: DistinctLimiter::new(INVITATIONS, WINDOW, REMEMBERED),
            start_secrets: RateLimiter::new(START_SECRETS, 1),
        }
    }

    /// Counts an invitation that a person typed; the same one again is free. `person` and `invitation` are keyed
    /// hashes; `now` is monotonic.
    ///
    /// # Errors
    /// [`Limited`]: the invitation must not be looked up.
    pub(crate) fn invitation(&self, person: [u8; 16], invitation: [u8; 16], now: Duration) -> Result<(), Limited> {
        let [a, b, c, d, e, f, g, h, ..] = invitation;
        self.invitations
            .admit(&person, u64::from_le_bytes([a, b, c, d, e, f, g, h]), now)
    }

    /// Counts a start secret that somebody typed.
    ///
    /// # Errors
    /// [`Limited`]: the secret must not be looked up.
    pub(crate) fn start_secret(&self, now: Duration) -> Result<(), Limited> {
        self.start_secrets.admit(&(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_may_type_five_different_invitations_an_hour_and_repeat_the_right_one() {
        let limits = Limits::new();
        let (person, other) = ([1; 16], [2; 16]);
        for code in 0..5 {
            limits
                .invitation(person, [code; 16], Duration::ZERO)
                .expect("one of five");
            limits
                .invitation(person, [code; 16], Duration::ZERO)
                .expect("the same again");
        }
        limits
            .invitation(person, [5; 16], Duration::ZERO)
            .expect_err("the sixth");
        limits
            .invitation(other, [5; 16], Duration::ZERO)
            .expect("another person");
        limits.invitation(person, [5; 16], WINDOW).expect("an hour later");
    }

    #[test]
    fn twenty_start_secrets_a_minute_are_looked_up() {
        let limits = Limits::new();
        for _ in 0..20 {
            limits.start_secret(Duration::ZERO).expect("one of twenty");
        }
        limits.start_secret(Duration::ZERO).expect_err("the next one");
        limits
            .start_secret(Duration::from_secs(3))
            .expect("after its share of a minute");
    }
}
