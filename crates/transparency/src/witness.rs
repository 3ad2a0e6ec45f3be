//! C2SP tlog-witness: cosigns checkpoints of logs that only grew.
//!
//! This module is the rule of `add-checkpoint` over bytes and a memory; it listens to nothing. A program that serves it
//! passes the body of a POST to [`Witness::add_checkpoint`] and sends what [`Answer`] says.
//!
//! A cosignature states that this witness never cosigned another tree than the beginnings of this one. That holds as long
//! as its memory is never rolled back, and as long as each answer is sent only after the memory is durable: the order
//! here is check, remember, cosign.

mod directory;
mod memory;
mod request;

pub use directory::{DirectoryMemory, MemoryError};
pub use memory::{MemoryOfOneProcess, WitnessMemory};
pub use request::{AddCheckpointInvalid, AddCheckpointRequest, MAX_REQUEST_BYTES};

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use crate::checkpoint::SignedCheckpoint;
use crate::note::{KeyKind, NoteSigner, VerifierKey};
use crate::tree::{ProofInvalid, TreeHead, verify_consistency};

/// A witness: its key and the logs that it watches.
#[derive(Debug)]
pub struct Witness {
    signer: NoteSigner,
    logs: BTreeMap<String, Vec<VerifierKey>>,
}

/// Why keys are not those of a witness.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessInvalid {
    /// The signer's key is not one of a witness.
    #[error("{0} is not the key of a witness")]
    NotAWitness(VerifierKey),
    /// A key is not one of a log.
    #[error("{0} is not the key of a log")]
    NotALog(VerifierKey),
}

/// What to answer to `add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: the line of the cosignature. The checkpoint is remembered.
    Cosigned(String),
    /// 400: the request is malformed, or its old size is greater than that of the checkpoint.
    BadRequest(AddCheckpointInvalid),
    /// 403: no known key of the log signed the checkpoint, or a signature of one does not verify.
    Forbidden,
    /// 404: the witness does not watch this log.
    NotFound,
    /// 409: the last checkpoint that was cosigned has another size, which is this one.
    Conflict(u64),
    /// 422: the tree is not one that grew from the last one.
    Unprocessable(ProofInvalid),
}

impl Answer {
    /// The HTTP status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::BadRequest(_) => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict(_) => 409,
            Self::Unprocessable(_) => 422,
        }
    }

    /// The content type of the body.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "text/x.tlog.size",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(line) => line.clone(),
            Self::Conflict(size) => format!("{size}\n"),
            Self::BadRequest(reason) => format!("{reason}\n"),
            Self::Unprocessable(reason) => format!("{reason}\n"),
            Self::Forbidden => "no known key of this log has signed the checkpoint\n".to_owned(),
            Self::NotFound => "this log is not known here\n".to_owned(),
        }
    }
}

/// What a witness remembers of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The tree that it cosigned last.
    pub head: TreeHead,
    /// The checkpoint of that tree, with the log's signatures and the cosignature; for monitors.
    pub checkpoint: Vec<u8>,
}

impl Witness {
    /// A witness that knows these keys of logs. The name of a key is the origin of its log.
    ///
    /// # Errors
    /// If a key is one of another role.
    pub fn new(signer: NoteSigner, logs: Vec<VerifierKey>) -> Result<Self, WitnessInvalid> {
        if signer.verifier().kind() != KeyKind::Witness {
            return Err(WitnessInvalid::NotAWitness(signer.verifier().clone()));
        }
        let mut of_origin: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
        for key in logs {
            if key.kind() != KeyKind::Log {
                return Err(WitnessInvalid::NotALog(key));
            }
            of_origin.entry(key.name().to_owned()).or_default().push(key);
        }
        Ok(Self {
            signer,
            logs: of_origin,
        })
    }

    /// Its public key.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// Answers a request at `unix_seconds`. No cosignature may state the time 0.
    ///
    /// # Errors
    /// If the memory failed: answer 500 then, and cosign nothing.
    pub fn add_checkpoint<M: WitnessMemory>(
        &self,
        memory: &M,
        body: &[u8],
        unix_seconds: NonZeroU64,
    ) -> Result<Answer, M::Error> {
        let request = match AddCheckpointRequest::parse(body) {
            Ok(request) => request,
            Err(invalid) => return Ok(Answer::BadRequest(invalid)),
        };
        let checkpoint = request.checkpoint.unverified();
        let (origin, head) = (checkpoint.origin(), checkpoint.head());
        let Some(keys) = self.logs.get(origin) else {
            return Ok(Answer::NotFound);
        };
        if !request
            .checkpoint
            .note()
            .verify(keys)
            .is_ok_and(|verified| !verified.is_empty())
        {
            return Ok(Answer::Forbidden);
        }
        if request.old_size > head.size {
            return Ok(Answer::BadRequest(AddCheckpointInvalid::OldSize));
        }
        let last = memory
            .last(origin)?
            .map_or(TreeHead::EMPTY, |remembered| remembered.head);
        if request.old_size != last.size {
            return Ok(Answer::Conflict(last.size));
        }
        if let Err(invalid) = verify_consistency(&last, &head, &request.proof) {
            return Ok(Answer::Unprocessable(invalid));
        }
        self.remember_and_cosign(memory, &request.checkpoint, last, unix_seconds)
    }

    /// The last step: nothing is answered before the memory is durable.
    fn remember_and_cosign<M: WitnessMemory>(
        &self,
        memory: &M,
        signed: &SignedCheckpoint,
        last: TreeHead,
        unix_seconds: NonZeroU64,
    ) -> Result<Answer, M::Error> {
        let checkpoint = signed.unverified();
        let cosignature = self.signer.sign(signed.note().text(), unix_seconds.get());
        let line = cosignature.to_line();
        // For monitors, only the signatures that were verified and the own one: others may be anything.
        let keys = &self.logs[checkpoint.origin()];
        let of_log = signed.note().signatures().iter().filter(|signature| {
            keys.iter()
                .any(|key| signature.key_id == key.id() && signature.name == key.name())
        });
        let lines: String = of_log.map(|signature| signature.to_line()).collect();
        let remembered = Remembered {
            head: checkpoint.head(),
            checkpoint: format!("{}\n{lines}{line}", signed.note().text()).into_bytes(),
        };
        // Another request may have been answered since the memory was read.
        match memory.replace(checkpoint.origin(), last.size, remembered)? {
            Ok(()) => Ok(Answer::Cosigned(line)),
            Err(current) => Ok(Answer::Conflict(current)),
        }
    }
}

#[cfg(test)]
mod tests;
