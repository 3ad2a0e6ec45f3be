//! The common part of both writers (issuer and revocation): a register that follows the log, and the authorizer.

use std::sync::Arc;

use citycode_command_auth::Authorizer;
use citycode_event_store::follow::Progress;
use citycode_holder_log::HolderLog;
use citycode_log_folds::SystemFold;
use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::health::HealthRegistry;
use citycode_shared_snapshot::Starting;
use citycode_vault::Vault;
use tokio::task::JoinHandle;

use super::assertions;
use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::shared_snapshot;
use crate::wiring::following::{FollowedRegister, follow_register};
use crate::wiring::snapshots::RegisterSnapshot;
use crate::wiring::writing::open_authorizer;
use crate::wiring::{Environment, StartError};

/// The authorizer with the register that it reads, its follower and its snapshot.
pub(super) struct Writer {
    pub(super) authorizer: Arc<Authorizer>,
    pub(super) progress: Progress,
    pub(super) snapshot: RegisterSnapshot,
    pub(super) follower: JoinHandle<()>,
    pub(super) starting: Starting,
}

/// The projections that follow the log.
pub(super) struct Folds {
    /// The register, from its snapshot.
    pub(super) register: StartingRegister,
    /// Projections that are not in the snapshot and are folded from the start of the log.
    pub(super) refolded: Vec<Arc<dyn SystemFold>>,
    /// The queue of erasures, which is folded only from the snapshot on.
    pub(super) erasures: Option<Arc<dyn SystemFold>>,
}

/// The register from this instance's own snapshot or from a shared one.
pub(super) struct StartingRegister {
    pub(super) snapshot: RegisterSnapshot,
    starting: Starting,
}

/// Opens the register from its snapshot, or a shared one.
pub(super) async fn register(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
) -> Result<StartingRegister, StartError> {
    let (kind, file) = (
        ProjectionKind::Register,
        dependencies.state.join("projections/register"),
    );
    let mut starting = shared_snapshot::fetch(dependencies, settings, environment, health, kind, &file).await?;
    let snapshot = RegisterSnapshot::open(file, dependencies.identity);
    starting.loaded(&snapshot.reaches());
    Ok(StartingRegister { snapshot, starting })
}

/// Follows the log from the register's snapshot on, with all projections, and opens the authorizer.
pub(super) async fn open(
    dependencies: &Dependencies,
    folds: Folds,
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
    vault: &Arc<dyn Vault>,
) -> Result<Writer, StartError> {
    let Folds {
        register: StartingRegister { snapshot, starting },
        refolded,
        erasures,
    } = folds;
    let component = health.component("register");
    let FollowedRegister {
        register,
        progress,
        follower,
    } = follow_register(
        &dependencies.log,
        &snapshot,
        refolded,
        erasures,
        component,
        &environment.clock,
    )
    .await?;
    // There is no verifier in this process, so an acknowledgement needs only the log; verifiers prove their own
    // freshness.
    let log = HolderLog::new(Arc::clone(&dependencies.log), register, progress.clone(), Vec::new());
    let assertions = assertions::open(dependencies, settings)?;
    let authorizer = open_authorizer(&dependencies.policy.policy, vault, log, assertions, environment);
    Ok(Writer {
        authorizer,
        progress,
        snapshot,
        follower,
        starting,
    })
}
