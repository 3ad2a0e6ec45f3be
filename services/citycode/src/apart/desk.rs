//! What both writers stand on: a register that follows the log, and the desk where acts are checked.

use std::sync::Arc;

use citycode_acts::Desk;
use citycode_event_store::follow::Progress;
use citycode_holder_log::{HolderLog, SystemFold};
use citycode_service_kit::health::HealthRegistry;
use citycode_vault::Vault;
use tokio::task::JoinHandle;

use super::ground::Ground;
use super::settings::ServiceSettings;
use crate::compose::following::{FollowedRegister, follow_register};
use crate::compose::snapshots::RegisterSnapshot;
use crate::compose::writing::open_desk;
use crate::compose::{StartError, Surroundings};

/// A desk and what keeps it true.
pub(super) struct OpenDesk {
    pub(super) desk: Arc<Desk>,
    pub(super) progress: Progress,
    pub(super) snapshot: RegisterSnapshot,
    pub(super) follower: JoinHandle<()>,
}

/// What follows the log beside the register.
pub(super) struct Folds {
    /// The register as this instance left it.
    pub(super) register: RegisterSnapshot,
    /// What a snapshot does not hold.
    pub(super) refolded: Vec<Arc<dyn SystemFold>>,
    /// What is not folded twice.
    pub(super) erasures: Option<Arc<dyn SystemFold>>,
}

/// The register as this instance left it.
pub(super) fn register(ground: &Ground) -> RegisterSnapshot {
    RegisterSnapshot::open(ground.state.join("projections/register"), ground.identity)
}

/// Follows the log with the register, from its snapshot on, and with what else folds it.
pub(super) async fn open(
    ground: &Ground,
    folds: Folds,
    settings: &ServiceSettings,
    surroundings: &Surroundings,
    health: &HealthRegistry,
    vault: &Arc<dyn Vault>,
) -> Result<OpenDesk, StartError> {
    let Folds {
        register: snapshot,
        refolded,
        erasures,
    } = folds;
    let component = health.component("register");
    let FollowedRegister {
        register,
        progress,
        follower,
    } = follow_register(&ground.log, &snapshot, refolded, erasures, component).await?;
    // No verifier stands in this process: what is acknowledged is in the log, and verifiers say how far they are.
    let log = HolderLog::new(Arc::clone(&ground.log), register, progress.clone(), Vec::new());
    let provider = settings.assertion_provider.as_ref();
    let desk = open_desk(&ground.policy, vault, log, provider, surroundings)?;
    Ok(OpenDesk {
        desk,
        progress,
        snapshot,
        follower,
    })
}
