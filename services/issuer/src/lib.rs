//! The issuer: registers residents, records relationships, corrects names, issues and reprints codes, erases persons,
//! and manages signing keys.
//!
//! It holds the code-signing key, reads and writes the vault, and appends code events. It has no part in verification
//! and publishes no status. After a restore it brings the vault to the state of the log ([`vault_age`],
//! [`unknown_holders`]). There is one file per command; [`grpc`] is its API, which parses a request and passes the command
//! on to a method of [`Issuer`].

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
mod queries_about;
mod register;
mod relate;
mod rename;
mod reprint;
pub mod unknown_holders;
pub mod vault_age;

use std::sync::Arc;

use citycode_command_auth::{Actor, Authorizer, problem_of_catch_up};
use citycode_domain::ids::HolderId;
use citycode_domain::lifecycle::HolderState;
use citycode_query_stream::Queries;
use citycode_service_kit::problem::{Code, Problem};
use citycode_token::IdCheckKey;
use citycode_wire::request::Attestation;

pub use erase::{ErasureQueue, ErasureReceiver};
pub use keys::{KeyFolder, KeyFolderError, SigningKeys};
pub use leases::IndexLeases;
pub use list_names::ListNames;

/// The issuer of one process. Share it in an [`Arc`]; all methods may be called concurrently.
pub struct Issuer {
    /// Authorises commands, and holds policy, vault and log.
    pub authorizer: Arc<Authorizer>,
    /// The signing keys, folded from the log, and their private halves.
    pub keys: Arc<SigningKeys>,
    /// Leased indices of status lists.
    pub leases: Arc<IndexLeases>,
    /// The key of commitments to ID numbers (R19).
    pub id_check_key: IdCheckKey,
    /// Erasures that are in the log but possibly not yet in the vault.
    pub erasures: Arc<ErasureQueue>,
    /// The stream of queries; `None` where this process has none.
    pub queries: Option<Arc<Queries>>,
}

/// The checked attestation of a channel about a person.
#[derive(Clone, Default)]
pub(crate) struct Attested {
    pub(crate) disability: bool,
    pub(crate) group: Option<String>,
}

impl Issuer {
    /// A holder's state, including every commit that any issuer acknowledged before this call.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn current_state(&self, holder: HolderId) -> Result<HolderState, Problem> {
        let state = self.authorizer.log.current_state(holder).await;
        state.map_err(|error| problem_of_catch_up(&error))
    }

    /// Checks an attestation (R12): only channels to which the policy grants it may attest, and only the policy's
    /// groups. An admin without a channel may attest as well.
    pub(crate) fn attested(&self, actor: Actor<'_>, attestation: Attestation) -> Result<Attested, Problem> {
        let Attestation { disability, group } = attestation;
        if !disability && group.is_none() {
            return Ok(Attested::default());
        }
        if actor.channel.is_some_and(|channel| !channel.attests) {
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
        Ok(Attested { disability, group })
    }
}
