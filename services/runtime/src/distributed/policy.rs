//! The policy of a service apart: the file of its settings, or Shanghai's.
//!
//! Every service of a city must have the same, and nothing carries it from one to the other: a verifier with another
//! one is ready and answers by other rules. So each tells which it has, and an alert rings where two are told.

use std::sync::Arc;

use citycode_domain::policy::Policy;
use citycode_policy_file::PolicyFileError;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::settings::ServiceSettings;
use crate::wiring::StartError;

/// Bytes of the digest that are told: enough to tell two files apart.
const TOLD_BYTES: usize = 8;

/// The checked policy and the digest of its text (SHA-256, the beginning of it in hexadecimal digits).
///
/// # Errors
/// It cannot be read, or is refused.
pub(super) fn read(settings: &ServiceSettings) -> Result<(Policy, String), PolicyFileError> {
    let text = match &settings.policy {
        Some(path) => citycode_policy_file::read_text(path)?,
        None => citycode_policy_file::SHANGHAI.to_owned(),
    };
    let digest = Sha256::digest(text.as_bytes());
    let told = HEXLOWER.encode(digest.get(..TOLD_BYTES).expect("a digest has 32 bytes"));
    Ok((citycode_policy_file::parse(&text)?, told))
}

/// The policy, told in the log and as a number.
///
/// # Errors
/// As [`read`].
pub(super) fn open(settings: &ServiceSettings) -> Result<Arc<Policy>, StartError> {
    let (policy, digest) = read(settings)?;
    tracing::info!(
        policy = policy.name,
        digest,
        "the policy: every service of a city has the same"
    );
    metrics::gauge!("citycode_policy_info", "policy" => policy.name.clone(), "digest" => digest).set(1.0);
    Ok(Arc::new(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_has_the_same_digest_wherever_it_lies_and_another_has_another() {
        let folder = tempfile::tempdir().unwrap();
        let digest = |text: Option<&str>| {
            let policy = text.map(|text| {
                let path = folder.path().join("policy.toml");
                std::fs::write(&path, text).unwrap();
                path
            });
            let settings = ServiceSettings {
                policy,
                ..ServiceSettings::default()
            };
            let (policy, digest) = read(&settings).unwrap();
            (policy.name, digest)
        };
        let shanghai = digest(None);
        assert_eq!(shanghai.0, "shanghai");
        assert_eq!(digest(Some(citycode_policy_file::SHANGHAI)), shanghai);
        assert_ne!(digest(Some(citycode_policy_file::CAMPUS)).1, shanghai.1);
    }
}
