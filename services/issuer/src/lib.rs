//! The issuer: registers residents, records relationships, corrects names, issues and reprints codes, erases people, keeps keys.
//!
//! It holds the code-signing key and reads and writes the vault; it appends code events. It knows nothing of gates
//! and publishes no status. One file per command; [`grpc`] is its face, and every command is also a plain method
//! of [`Issuer`], so that both APIs of the system call one function.

mod answer;
mod erase;
pub mod grpc;
mod import;
mod issue;
mod keys;
mod leases;
mod list_codes;
mod list_names;
mod manage_keys;
mod orphans;
mod register;
mod relate;
mod rename;
mod reprint;

use std::sync::Arc;

use citycode_command_auth::{Actor, Authorizer, problem_of_catch_up};
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::HolderState;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::IdCheckKey;
use citycode_wire::proto::issuer::v1::Attestation;

pub use erase::{Erased, ErasureQueue, apply_name};
pub use keys::{KeyFolder, KeyFolderError, SigningKeys};
pub use leases::IndexLeases;
pub use list_names::ListNames;

/// The issuer of one process. Cheap to share in an [`Arc`]; every method may be called at the same time.
pub struct Issuer {
    /// Who may act for whom.
    pub authorizer: Arc<Authorizer>,
    /// The signing keys, folded from the log, and their private halves.
    pub keys: Arc<SigningKeys>,
    /// Places in status lists.
    pub leases: Arc<IndexLeases>,
    /// Under which commitments to ID numbers are made (R19).
    pub id_check_key: IdCheckKey,
    /// Erasures that the log has and the vault may not have yet.
    pub erasures: Arc<ErasureQueue>,
}

/// What a channel attests of a person, checked.
#[derive(Clone, Default)]
pub(crate) struct Attested {
    pub(crate) disability: bool,
    pub(crate) group: Option<String>,
}

impl Issuer {
    /// A holder's state with everything in it that was acknowledged by any issuer before this was asked.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn current_state(&self, holder: HolderId) -> Result<HolderState, Problem> {
        let state = self.authorizer.log.current_state(holder).await;
        state.map_err(|error| problem_of_catch_up(&error))
    }

    /// Checks what a channel attests (R12): only channels that the policy names may, and only the policy's groups.
    /// An act of an admin's own, through no channel, may as well.
    pub(crate) fn attested(&self, acting: Actor<'_>, attestation: Option<&Attestation>) -> Result<Attested, Problem> {
        let Some(attestation) = attestation else {
            return Ok(Attested::default());
        };
        let group = (!attestation.group.is_empty()).then(|| attestation.group.clone());
        if !attestation.disability && group.is_none() {
            return Ok(Attested::default());
        }
        if acting.channel.is_some_and(|channel| !channel.attests) {
            let detail = "the policy does not let this channel attest a certificate or a special group";
            return Err(Problem::new(Code::ChannelNotAllowed, detail));
        }
        if group
            .as_ref()
            .is_some_and(|group| !self.authorizer.policy.groups.contains(group))
        {
            let detail = format!(
                "the policy has no such group; it has {}",
                self.authorizer.policy.groups.join(", ")
            );
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        Ok(Attested {
            disability: attestation.disability,
            group,
        })
    }
}
