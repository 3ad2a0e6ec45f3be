//! Which keys a reader trusts, and how many witnesses it demands.

use std::collections::BTreeSet;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::{KeyKind, NoteUnverified, VerifierKey};

/// The keys of logs and witnesses, and the number of witnesses that must have cosigned.
#[derive(Debug, Clone)]
pub struct TrustPolicy {
    /// The keys of logs, then the keys of witnesses.
    keys: Vec<VerifierKey>,
    quorum: usize,
}

/// Why keys are not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustPolicyInvalid {
    /// No key of a log.
    #[error("the key of at least one log is needed")]
    NoLog,
    /// A key of a witness was given as a log's, or the opposite.
    #[error("{0} is the key of another role")]
    Role(VerifierKey),
    /// A witness has the same public key as another witness, which would count twice, or as a log.
    #[error("{0} occurs twice, perhaps under two names")]
    Twice(VerifierKey),
    /// More witnesses are demanded than are known.
    #[error("{quorum} witnesses are demanded but only {known} are known")]
    Quorum {
        /// Demanded.
        quorum: usize,
        /// Known.
        known: usize,
    },
}

/// Why a checkpoint is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointUntrusted {
    /// A signature of a known key does not verify.
    #[error(transparent)]
    Signature(#[from] NoteUnverified),
    /// No known log of that origin has signed it.
    #[error("no known log has signed this checkpoint of {origin}")]
    Log {
        /// The origin that the checkpoint states.
        origin: String,
    },
    /// Fewer known witnesses have cosigned than are demanded.
    #[error("{cosigned} known witnesses have cosigned, but {quorum} are demanded")]
    Quorum {
        /// Known witnesses that cosigned.
        cosigned: usize,
        /// Demanded.
        quorum: usize,
    },
}

/// The cosignature of a known witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The name of the witness.
    pub witness: String,
    /// When it cosigned by its clock, in Unix seconds.
    pub unix_seconds: u64,
}

/// A checkpoint that the policy trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedCheckpoint {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The known witnesses that cosigned it: as many as the policy demands, or more.
    pub cosignatures: Vec<Cosignature>,
}

impl TrustPolicy {
    /// A policy. A quorum of 0 demands no witness.
    ///
    /// # Errors
    /// If the keys are not those of at least one log and of `quorum` witnesses, each of them given once.
    pub fn new(logs: Vec<VerifierKey>, witnesses: Vec<VerifierKey>, quorum: usize) -> Result<Self, TrustPolicyInvalid> {
        if logs.is_empty() {
            return Err(TrustPolicyInvalid::NoLog);
        }
        let known = witnesses.len();
        if quorum > known {
            return Err(TrustPolicyInvalid::Quorum { quorum, known });
        }
        let roles = [(logs, KeyKind::Log), (witnesses, KeyKind::Witness)];
        let mut policy = Self {
            keys: Vec::new(),
            quorum,
        };
        let mut seen = BTreeSet::new();
        for (keys, role) in roles {
            for key in keys {
                if key.kind() != role {
                    return Err(TrustPolicyInvalid::Role(key));
                }
                // One key may sign several logs. But a witness must be somebody else than the logs and other witnesses.
                if !seen.insert(*key.public_key()) && role == KeyKind::Witness {
                    return Err(TrustPolicyInvalid::Twice(key));
                }
                policy.keys.push(key);
            }
        }
        Ok(policy)
    }

    /// Verifies a checkpoint: the signature of a known log whose name is the checkpoint's origin, and the cosignatures of
    /// all known witnesses.
    ///
    /// # Errors
    /// If the checkpoint is not trusted.
    pub fn verify(&self, signed: &SignedCheckpoint) -> Result<TrustedCheckpoint, CheckpointUntrusted> {
        let checkpoint = signed.unverified().clone();
        let verified = signed.note().verify(&self.keys)?;
        let of_log = |key: &VerifierKey| key.kind() == KeyKind::Log && key.name() == checkpoint.origin();
        if !verified.iter().any(|signature| of_log(signature.key)) {
            return Err(CheckpointUntrusted::Log {
                origin: checkpoint.origin().to_owned(),
            });
        }
        let cosignatures: Vec<Cosignature> = verified
            .iter()
            .filter_map(|signature| {
                Some(Cosignature {
                    witness: signature.key.name().to_owned(),
                    unix_seconds: signature.unix_seconds?,
                })
            })
            .collect();
        if cosignatures.len() < self.quorum {
            return Err(CheckpointUntrusted::Quorum {
                cosigned: cosignatures.len(),
                quorum: self.quorum,
            });
        }
        Ok(TrustedCheckpoint {
            checkpoint,
            cosignatures,
        })
    }
}

#[cfg(test)]
mod tests;
