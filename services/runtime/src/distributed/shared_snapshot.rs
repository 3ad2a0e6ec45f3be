//! Shared snapshots and log segments of distributed services: where their keys and servers are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use citycode_projection::snapshot::ProjectionKind;
use citycode_service_kit::health::HealthRegistry;
use citycode_shared_snapshot::{Publisher, SnapshotFile, SnapshotKeys, Starting, key_files};
use tokio::task::JoinHandle;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use crate::wiring::{Environment, StartError};

/// Pause between two checks for segments of the log that are complete.
const SEGMENTS_EVERY: Duration = Duration::from_secs(60);

/// Begins the start of a projection: fetches a shared snapshot to `file` if that is worth it.
///
/// # Errors
/// The keys or the seed of this service cannot be read.
pub(super) async fn fetch(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
    kind: ProjectionKind,
    file: &Path,
) -> Result<Starting, StartError> {
    let needs_trees = kind == ProjectionKind::Status && settings.witnessed_log.is_some();
    let starting = Starting::begin(kind, Arc::clone(&environment.clock), health);
    let mut starting = starting.with_trees(needs_trees);
    if !settings.shared_snapshots.start_from {
        return Ok(starting);
    }
    if let Some(keys) = SnapshotKeys::read(dependencies.keys_folder(), kind)? {
        let servers = dependencies.role().servers_of_log(settings);
        let connection = servers.connection(dependencies.role().program())?;
        let (log, identity) = (&*dependencies.log, dependencies.identity);
        starting.fetch(&connection, keys, log, identity, file).await;
    }
    Ok(starting)
}

/// Spawns a publisher for each snapshot for which this service has the keys.
///
/// # Errors
/// An existing key cannot be read, or is invalid.
pub(super) fn spawn_publishers(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    environment: &Environment,
    snapshots: [(ProjectionKind, Arc<dyn SnapshotFile>); 2],
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut tasks = Vec::new();
    let folder = dependencies.keys_folder();
    let Some(signing) = key_files::read_signing(folder)? else {
        return Ok(tasks);
    };
    for (kind, snapshot) in snapshots {
        let Some(keys) = SnapshotKeys::read(folder, kind)? else {
            continue;
        };
        if !keys.signers.contains(&signing.public_key()) {
            tracing::error!(
                "{} IS NOT IN {}: readers would refuse its snapshots",
                key_files::SIGNING,
                key_files::SIGNERS
            );
            continue;
        }
        let publisher = Publisher {
            kind,
            connection: settings.log.connection(dependencies.role().program())?,
            keys,
            signing: signing.clone(),
            snapshot,
            identity: dependencies.identity,
            log: Arc::clone(&dependencies.log),
            clock: Arc::clone(&environment.clock),
            entropy: Arc::clone(&environment.entropy),
            every: settings.publish_every(),
        };
        tasks.push(tokio::spawn(publisher.run()));
    }
    Ok(tasks)
}

/// Spawns the task that writes segments of the log's history, if this service has the key that signs them.
///
/// # Errors
/// An existing key cannot be read, or is invalid.
pub(super) fn spawn_segments(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    environment: &Environment,
) -> Result<Option<JoinHandle<()>>, StartError> {
    let folder = dependencies.keys_folder();
    let signers = key_files::read_signers(folder)?;
    let Some(signing) = key_files::read_signing(folder)?.filter(|key| signers.contains(&key.public_key())) else {
        return Ok(None);
    };
    let publisher = citycode_log_segments::Publisher {
        connection: settings.log.connection(dependencies.role().program())?,
        signing,
        signers,
        log: dependencies.log_itself(),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        every: SEGMENTS_EVERY,
    };
    Ok(Some(tokio::spawn(publisher.run())))
}
