//! An identity provider's word that a person has just been authenticated: a short-lived JWT, good for one act
//! for one ID number, which a channel hands in together with the request.
//!
//! Its `typ` is `citycode-person+jwt`; claims: `iss`, `aud`, `iat`, `exp` (at most 300 s later), `jti`, `method`
//! (how: a word such as `face`, `pin`, `id_card`), `person`: unpadded base64url of
//! SHA-256("citycode-person-v1" ‖ jti ‖ ID number). The ID number itself is not in it.
//!
//! Single use is kept in memory until the expiry. An assertion made before this process started is refused, so
//! a restart forgets nothing that could still be used. Several instances of a service do not share the memory:
//! a channel's calls must reach one of them, or the policy's limits must bear a second use.

use std::collections::{BTreeSet, HashSet};

use aws_lc_rs::{constant_time, digest};
use data_encoding::BASE64URL_NOPAD;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::auth::{AccessAudience, EnvelopeError, LEEWAY_SECONDS, TrustedKeys};
use crate::clock::UnixSeconds;
use crate::problem::{Code, Outcome, Problem};

/// Longest time between `iat` and `exp`.
pub const MAX_LIFETIME_SECONDS: i64 = 300;
/// The `typ` of these tokens.
pub const TYPE: &str = "citycode-person+jwt";
/// What is hashed before `jti` and ID number.
const DOMAIN: &[u8] = b"citycode-person-v1";
/// Redeemed assertions remembered, 40 bytes each twice: 650 acts a second for 310 s. Above it new ones are
/// refused rather than old ones forgotten.
pub const MAX_REMEMBERED: usize = 200_000;
/// When to try again where too many are remembered: some of them expire every second.
const RETRY_WHEN_BUSY_SECONDS: u64 = 5;
/// Longest `jti` and `method`, in bytes.
const MAX_WORD_BYTES: usize = 128;

/// Why an assertion is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Not one of ours, not for us, or badly signed.
    #[error("the person's assertion is not valid here")]
    Invalid,
    /// Past its time.
    #[error("the person's assertion has expired")]
    Expired,
    /// From the future, or made before this service started.
    #[error("the person's assertion is not from the time this service can vouch for")]
    OutsideWindow,
    /// For somebody else.
    #[error("the person's assertion is not for this person")]
    AnotherPerson,
    /// Used before.
    #[error("the person's assertion was used before")]
    Replayed,
    /// Too many are remembered already.
    #[error("too many assertions at once")]
    Busy,
}

impl From<AssertionError> for Problem {
    fn from(error: AssertionError) -> Self {
        if error == AssertionError::Busy {
            // Of this service and not of the caller: the assertion is good, and was not used up.
            return Self::new(Code::Unavailable, error.to_string())
                .with_fix("Send the same request with the same assertion again in a few seconds.")
                .with_retry_after(RETRY_WHEN_BUSY_SECONDS)
                .with_outcome(Outcome::NotDone);
        }
        Self::new(Code::NotAllowed, error.to_string())
            .with_fix("Authenticate the person again and send the new assertion.")
    }
}

/// That a person was authenticated, by whom and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonProof {
    /// The identity provider.
    pub issuer: String,
    /// How the person was authenticated.
    pub method: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: AccessAudience,
    iat: i64,
    exp: i64,
    jti: String,
    person: String,
    method: String,
}

type UseDigest = [u8; 32];

#[derive(Debug, Default)]
struct Redeemed {
    /// The latest time seen: a clock set back must not revive what was forgotten.
    latest: i64,
    used: HashSet<UseDigest>,
    by_expiry: BTreeSet<(i64, UseDigest)>,
}

/// Redeems assertions. One per process; callable from any thread.
#[derive(Debug)]
pub struct Assertions {
    audience: String,
    keys: TrustedKeys,
    started_at: UnixSeconds,
    capacity: usize,
    redeemed: Mutex<Redeemed>,
}

impl Assertions {
    /// Accepts assertions for `audience` under these keys, made [`LEEWAY_SECONDS`] after `started_at` or later.
    #[must_use]
    pub fn new(audience: &str, keys: TrustedKeys, started_at: UnixSeconds) -> Self {
        Self::with_capacity(audience, keys, started_at, MAX_REMEMBERED)
    }

    /// As [`Assertions::new`], remembering at most so many redeemed assertions at once instead of [`MAX_REMEMBERED`].
    #[must_use]
    pub fn with_capacity(audience: &str, keys: TrustedKeys, started_at: UnixSeconds, capacity: usize) -> Self {
        Self {
            audience: audience.to_owned(),
            keys,
            started_at,
            capacity,
            redeemed: Mutex::new(Redeemed::default()),
        }
    }

    /// Redeems `token` for the person with this ID number (its 18 characters as ASCII, `X` large).
    ///
    /// A refused assertion is not used up; a redeemed one is, also if the act fails afterwards.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn redeem(&self, token: &str, id_number: &[u8], now: UnixSeconds) -> Result<PersonProof, AssertionError> {
        let (claims, key) = self
            .keys
            .open::<Claims>(token, &[TYPE], true)
            .map_err(|_: EnvelopeError| AssertionError::Invalid)?;
        let words_fit = [&claims.jti, &claims.method]
            .iter()
            .all(|word| (1..=MAX_WORD_BYTES).contains(&word.len()));
        if claims.iss != key.issuer || !claims.aud.names(&self.audience) || !words_fit {
            return Err(AssertionError::Invalid);
        }
        let now = {
            let mut redeemed = self.redeemed.lock();
            redeemed.latest = redeemed.latest.max(now.0);
            UnixSeconds(redeemed.latest)
        };
        self.check_window(claims.iat, claims.exp, now)?;
        check_person(&claims, id_number)?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(claims.iss.as_bytes());
        context.update(&[0]);
        context.update(claims.jti.as_bytes());
        self.use_up(finished(context), claims.exp, now)?;
        Ok(PersonProof {
            issuer: claims.iss,
            method: claims.method,
        })
    }

    fn check_window(&self, iat: i64, exp: i64, now: UnixSeconds) -> Result<(), AssertionError> {
        match exp.checked_sub(iat) {
            Some(1..=MAX_LIFETIME_SECONDS) => {}
            _ => return Err(AssertionError::Invalid),
        }
        if now.0 >= exp.saturating_add(LEEWAY_SECONDS) {
            return Err(AssertionError::Expired);
        }
        // An earlier process may have redeemed one that an issuer ahead of us dated into our life, so the
        // first seconds after a start accept none.
        if iat > now.0.saturating_add(LEEWAY_SECONDS) || iat < self.started_at.0.saturating_add(LEEWAY_SECONDS) {
            return Err(AssertionError::OutsideWindow);
        }
        Ok(())
    }

    fn use_up(&self, digest: UseDigest, exp: i64, now: UnixSeconds) -> Result<(), AssertionError> {
        let mut redeemed = self.redeemed.lock();
        while let Some(&(forget_at, oldest)) = redeemed.by_expiry.first() {
            if now.0 < forget_at {
                break;
            }
            redeemed.by_expiry.pop_first();
            redeemed.used.remove(&oldest);
        }
        if redeemed.used.contains(&digest) {
            return Err(AssertionError::Replayed);
        }
        if redeemed.used.len() >= self.capacity {
            return Err(AssertionError::Busy);
        }
        redeemed.used.insert(digest);
        redeemed.by_expiry.insert((exp.saturating_add(LEEWAY_SECONDS), digest));
        Ok(())
    }
}

/// The claim `person` for an ID number: what an identity provider writes.
#[must_use]
pub fn person_claim(jti: &str, id_number: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&person_digest(jti, id_number))
}

fn person_digest(jti: &str, id_number: &[u8]) -> UseDigest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(jti.as_bytes());
    context.update(id_number);
    finished(context)
}

fn finished(context: digest::Context) -> UseDigest {
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn check_person(claims: &Claims, id_number: &[u8]) -> Result<(), AssertionError> {
    let claimed = BASE64URL_NOPAD
        .decode(claims.person.as_bytes())
        .map_err(|_| AssertionError::Invalid)?;
    constant_time::verify_slices_are_equal(&claimed, &person_digest(&claims.jti, id_number))
        .map_err(|_| AssertionError::AnotherPerson)
}

#[cfg(test)]
mod tests;
