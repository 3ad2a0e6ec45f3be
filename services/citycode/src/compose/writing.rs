//! What writers are put together from: the desk where acts are checked, and the status lists that follow from them.

use std::sync::Arc;

use citycode_acts::{Desk, DeskLimits};
use citycode_domain::policy::Policy;
use citycode_holder_log::HolderLog;
use citycode_revocation::{Followed, StatusLists};
use citycode_service_kit::clock::Clock;
use citycode_token::SigningKey;
use citycode_vault::Vault;
use tokio::task::JoinHandle;

use super::{IdentityProvider, StartError, Surroundings, assertions};

/// The desk of one process.
pub(crate) fn open_desk(
    policy: &Arc<Policy>,
    vault: &Arc<dyn Vault>,
    log: HolderLog,
    provider: Option<&IdentityProvider>,
    surroundings: &Surroundings,
) -> Result<Arc<Desk>, StartError> {
    let Surroundings { clock, entropy } = surroundings.clone();
    Ok(Arc::new(Desk {
        policy: Arc::clone(policy),
        vault: Arc::clone(vault),
        log: Arc::new(log),
        limits: DeskLimits::new(&*entropy),
        assertions: assertions(provider, &*clock)?,
        clock,
        entropy,
    }))
}

/// Makes the first cut of the status lists and goes on cutting in a task of its own.
pub(crate) async fn publish_lists(
    followed: Followed,
    key: SigningKey,
    policy: &Policy,
    clock: &Arc<dyn Clock>,
) -> (Arc<StatusLists>, JoinHandle<()>) {
    let lists = StatusLists::new(followed, key, policy.status_base_uri.clone(), Arc::clone(clock));
    let lists = Arc::new(lists);
    if let Err(error) = lists.cut().await {
        tracing::error!(%error, "no status lists were cut at the start; the next tick tries again");
    }
    let cutting = tokio::spawn(Arc::clone(&lists).keep_cutting());
    (lists, cutting)
}
