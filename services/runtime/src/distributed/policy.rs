//! The policy of a distributed service: the configured file, or Shanghai's policy.
//!
//! All services of a city must have the same policy, but each reads its own copy: a verifier with another policy would
//! be ready and answer by other rules. Each service therefore exports a digest of its policy as a metric, and an alert
//! fires if digests differ.

use citycode_policy_file::{PolicyFile, PolicyFileError};
use data_encoding::HEXLOWER;

use super::settings::ServiceSettings;
use crate::wiring::StartError;

/// Bytes of the exported digest, enough to distinguish files.
const DIGEST_BYTES: usize = 8;

/// The checked policy.
///
/// # Errors
/// It cannot be read, or is invalid.
pub(super) fn read(settings: &ServiceSettings) -> Result<PolicyFile, PolicyFileError> {
    PolicyFile::open(settings.policy.as_deref())
}

/// Reads the policy, and reports its name and digest in the log and as a metric.
///
/// # Errors
/// As [`read`].
pub(super) fn open(settings: &ServiceSettings) -> Result<PolicyFile, StartError> {
    let file = read(settings)?;
    let digest = HEXLOWER.encode(file.digest.0.get(..DIGEST_BYTES).expect("a digest has 32 bytes"));
    let policy = file.policy.name.clone();
    tracing::info!(
        policy,
        digest,
        "policy loaded; every service of a city must have the same"
    );
    metrics::gauge!("citycode_policy_info", "policy" => policy, "digest" => digest).set(1.0);
    Ok(file)
}
