//! Revocation: loss reports, officers' holds and revocations, the health authority's standing, and the public
//! status lists, signed with a key of its own. It knows no code-signing key.

pub mod grpc;
mod officer;
mod report_loss;
mod revoke_code;
mod set_standing;
pub mod status_lists;

use std::sync::Arc;

use citycode_acts::{Desk, RequestMeaning};
use citycode_domain::event::Sealed;
use citycode_domain::reason::ActReason;
use citycode_service_kit::entropy::Draw;
use citycode_service_kit::problem::{Code, Problem};
use citycode_vault::HolderKey;

pub use status_lists::{CutError, Followed, StatusLists};

/// The revocation service of one process.
pub struct Revocation {
    /// Who may act for whom.
    pub desk: Arc<Desk>,
    /// The public status lists.
    pub lists: Arc<StatusLists>,
}

/// What a reason is sealed for: nothing else that is sealed under the same key opens as one.
const REASON_CONTEXT: &[u8] = b"citycode-reason-v1";

impl Revocation {
    /// A reason, sealed under a key that goes with the person, and its digest for telling a repeated request from
    /// another.
    fn seal_reason(&self, reason: &str, key: &HolderKey) -> Result<(Sealed, [u8; 32]), Problem> {
        let reason =
            ActReason::parse(reason).map_err(|invalid| Problem::new(Code::InvalidRequest, invalid.to_string()))?;
        let words = reason.as_str().as_bytes();
        let sealed = key.seal(REASON_CONTEXT, self.desk.entropy.array(), words);
        Ok((Sealed(sealed), key.digest(words)))
    }
}

/// The meaning of an officer's act.
fn meaning(
    method: &str,
    kind: &str,
    holders: [Option<citycode_domain::ids::HolderId>; 2],
    reason: &[u8; 32],
) -> RequestMeaning {
    RequestMeaning::of(method)
        .word(kind)
        .holder(holders[0])
        .holder(holders[1])
        .bytes(reason)
}
