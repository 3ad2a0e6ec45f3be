//! Assertions: an identity provider's signed statement that a person was authenticated just now. It is a short-lived
//! JWT for one act for one ID number, which a channel sends with the request.
//!
//! Its `typ` is `citycode-person+jwt`; claims: `iss`, `aud`, `iat`, `exp` (at most 300 s later), `jti`, `method` (a
//! word such as `face`, `pin`, `id_card`), `person`: unpadded base64url of SHA-256("citycode-person-v1" ‖ jti ‖ ID
//! number). The ID number itself is not in it.
//!
//! Single use is not enforced here: the check returns the assertion's digest and the time until which its use must be
//! recorded.

use aws_lc_rs::{constant_time, digest};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::{AccessAudience, EnvelopeError, LEEWAY_SECONDS, TrustedKeys};
use citycode_service_kit::clock::UnixSeconds;
use citycode_service_kit::problem::{Code, Problem};

/// Longest time between `iat` and `exp`.
pub const MAX_LIFETIME_SECONDS: i64 = 300;
/// The `typ` of these tokens.
pub const TYPE: &str = "citycode-person+jwt";
/// Domain separator of the hash, before `jti` and ID number.
const DOMAIN: &[u8] = b"citycode-person-v1";
/// Longest `jti` and `method`, in bytes.
const MAX_WORD_BYTES: usize = 128;

/// Why an assertion is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Malformed, for another audience, or with an invalid signature.
    #[error("the person's assertion is not valid here")]
    Invalid,
    /// It has expired.
    #[error("the person's assertion has expired")]
    Expired,
    /// It was issued in the future, or before the time from which uses are recorded.
    #[error("the person's assertion was issued outside the time for which this service can check its use")]
    OutsideWindow,
    /// It is for another person.
    #[error("the person's assertion is not for this person")]
    AnotherPerson,
    /// It was used before.
    #[error("the person's assertion was used before")]
    Replayed,
}

impl From<AssertionError> for Problem {
    fn from(error: AssertionError) -> Self {
        Self::new(Code::NotAllowed, error.to_string())
            .with_fix("Authenticate the person again and send the new assertion.")
    }
}

/// The proof that a person was authenticated by an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonProof {
    /// The identity provider.
    pub issuer: String,
    /// How the person was authenticated.
    pub method: String,
    /// Identifies the assertion: SHA-256(`iss` ‖ 0 ‖ `jti`).
    pub assertion: [u8; 32],
    /// The time of issue.
    pub made_at: UnixSeconds,
    /// The time from which it is refused as expired.
    pub refused_from: UnixSeconds,
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

/// Checks assertions. It may be used from any thread.
#[derive(Debug)]
pub struct Assertions {
    audience: String,
    keys: TrustedKeys,
}

impl Assertions {
    /// Accepts assertions for `audience` under these keys.
    #[must_use]
    pub fn new(audience: &str, keys: TrustedKeys) -> Self {
        Self {
            audience: audience.to_owned(),
            keys,
        }
    }

    /// Checks `token` for the person with this ID number (its 18 characters as ASCII, `X` in upper case). It does not
    /// check whether the assertion was used before.
    ///
    /// # Errors
    /// [`AssertionError`].
    pub fn check(&self, token: &str, id_number: &[u8], now: UnixSeconds) -> Result<PersonProof, AssertionError> {
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
        let refused_from = check_window(claims.iat, claims.exp, now)?;
        check_person(&claims, id_number)?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(claims.iss.as_bytes());
        context.update(&[0]);
        context.update(claims.jti.as_bytes());
        Ok(PersonProof {
            issuer: claims.iss,
            method: claims.method,
            assertion: finished(context),
            made_at: UnixSeconds(claims.iat),
            refused_from,
        })
    }
}

/// Checks the times; returns the time from which the assertion is refused as expired.
fn check_window(iat: i64, exp: i64, now: UnixSeconds) -> Result<UnixSeconds, AssertionError> {
    match exp.checked_sub(iat) {
        Some(1..=MAX_LIFETIME_SECONDS) => {}
        _ => return Err(AssertionError::Invalid),
    }
    let refused_from = exp.saturating_add(LEEWAY_SECONDS);
    if now.0 >= refused_from {
        return Err(AssertionError::Expired);
    }
    if iat > now.0.saturating_add(LEEWAY_SECONDS) {
        return Err(AssertionError::OutsideWindow);
    }
    Ok(UnixSeconds(refused_from))
}

/// The claim `person` for an ID number, as an identity provider writes it.
#[must_use]
pub fn person_claim(jti: &str, id_number: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&person_digest(jti, id_number))
}

fn person_digest(jti: &str, id_number: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(jti.as_bytes());
    context.update(id_number);
    finished(context)
}

fn finished(context: digest::Context) -> [u8; 32] {
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
