//! The policy of a distributed service: the configured file, or Shanghai's policy.
//!
//! All services of a city must have the same policy, but each reads its own copy: a verifier with another policy would
//! be ready and answer by other rules. Each service therefore exports a digest of its policy as a metric, and an alert
//! fires if digests differ.

use std::sync::Arc;

use citycode_domain::policy::Policy;
use citycode_policy_file::PolicyFileError;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::settings::ServiceSettings;
use crate::wiring::StartError;

/// Bytes of the exported digest, enough to distinguish files.
const DIGEST_BYTES: usize = 8;

/// The validated policy and the digest of its text (a prefix of its SHA-256 in hexadecimal digits).
///
/// # Errors
/// It cannot be read, or is invalid.
pub(super) fn read(settings: &ServiceSettings) -> Result<(Policy, String), PolicyFileError> {
    let text = match &settings.policy {
        Some(path) => citycode_policy_file::read_text(path)?,
        None => citycode_policy_file::SHANGHAI.to_owned(),
    };
    let digest = Sha256::digest(text.as_bytes());
    let digest = HEXLOWER.encode(digest.get(..DIGEST_BYTES).expect("a digest has 32 bytes"));
    Ok((citycode_policy_file::parse(&text)?, digest))
}

/// Reads the policy, and reports its name and digest in the log and as a metric.
///
/// # Errors
/// As [`read`].
pub(super) fn open(settings: &ServiceSettings) -> Result<Arc<Policy>, StartError> {
    let (policy, digest) = read(settings)?;
    tracing::info!(
        policy = policy.name,
        digest,
        "policy loaded; every service of a city must have the same"
    );
    metrics::gauge!("citycode_policy_info", "policy" => policy.name.clone(), "digest" => digest).set(1.0);
    Ok(Arc::new(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_only_on_the_content_of_the_file() {
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
