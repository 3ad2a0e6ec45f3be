//! The revocation service: loss reports, officers' holds and revocations, the health authority's standing, and the
//! public status lists, which it signs with a separate key. It has no code-signing key.

pub mod grpc;
mod officer;
pub mod past_lists;
mod report_loss;
mod revoke_code;
mod set_standing;
pub mod status_lists;

use std::sync::Arc;

use citycode_command_auth::{Authorizer, RequestDigest};

pub use status_lists::{Followed, StatusLists, UpdateError};

/// The revocation service of one process.
pub struct Revocation {
    /// Authorises commands on behalf of persons.
    pub authorizer: Arc<Authorizer>,
    /// The public status lists.
    pub lists: Arc<StatusLists>,
}

/// The digest of an officer's request.
fn request_digest(
    method: &str,
    kind: &str,
    holders: [Option<citycode_domain::ids::HolderId>; 2],
    reason: &[u8; 32],
) -> RequestDigest {
    RequestDigest::of(method)
        .word(kind)
        .holder(holders[0])
        .holder(holders[1])
        .bytes(reason)
}
