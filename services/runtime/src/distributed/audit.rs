//! `citycode-audit`.

use std::sync::Arc;

use citycode_log_tree::LogTrees;
use citycode_service_kit::health::HealthRegistry;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use zeroize::Zeroizing;

use super::dependencies::Dependencies;
use super::settings::ServiceSettings;
use super::{Role, Service, grpc_router};
use crate::wiring::following::follow_index;
use crate::wiring::log_trees::{LOG_SIGNING_KEY, publish_trees};
use crate::wiring::{Environment, StartError, endpoints};

pub(super) async fn open(
    settings: &ServiceSettings,
    environment: &Environment,
    health: &HealthRegistry,
) -> Result<Service, StartError> {
    let dependencies = Dependencies::open(Role::Audit, settings, environment, health).await?;
    let folder = dependencies.state.join("audit");
    let queries = dependencies.queries(settings, environment)?;
    let published = trees(&dependencies, settings, health).await?;
    let (trees, publishing) = published.unzip();
    let (audit, follower) = follow_index(
        &dependencies.log,
        &folder,
        &dependencies.policy.policy,
        (Some(dependencies.scan_archive(settings)?), queries.clone(), trees),
        health.component("audit"),
        &environment.clock,
    )
    .await?;
    let audit = Arc::new(audit);
    let authenticate = endpoints::authenticate(&dependencies.tokens, &environment.clock);
    let mut tasks = vec![follower, dependencies.keep_scans(settings, environment, health)?];
    tasks.extend(publishing);
    if let Some(queries) = queries {
        let days = dependencies.policy.policy.retention.query_days;
        let days = days.unwrap_or(settings.query_retention_days);
        let clock = Arc::clone(&environment.clock);
        tasks.push(tokio::spawn(queries.keep_retention(clock, days)));
    }
    Ok(Service {
        router: grpc_router(Routes::new(endpoints::audit(&audit, &authenticate)))?,
        snapshots: Vec::new(),
        tasks,
        state_lock: Some(Box::new(dependencies.state)),
        ended: None,
    })
}

/// The log's trees and the task that publishes them; nothing if this instance has no key for them, as before an upgrade.
async fn trees(
    dependencies: &Dependencies,
    settings: &ServiceSettings,
    health: &HealthRegistry,
) -> Result<Option<(Arc<LogTrees>, JoinHandle<()>)>, StartError> {
    if !dependencies.keys_folder().join(LOG_SIGNING_KEY).exists() {
        tracing::warn!(
            key = LOG_SIGNING_KEY,
            "the log's trees are not published: run `citycode secrets` and distribute the key"
        );
        return Ok(None);
    }
    let key = dependencies.secret(LOG_SIGNING_KEY)?;
    let key = match dependencies.replacement() {
        Some(log_id) => key_of_replacement(&key, &log_id),
        None => key,
    };
    let folder = dependencies.state.join("log-trees");
    let host = &dependencies.policy.policy.status_base_uri;
    let reporting = (health.component("log-trees"), &settings.witnesses[..]);
    Ok(Some(
        publish_trees(&dependencies.log, &folder, host, &key, reporting).await?,
    ))
}

/// The key for the checkpoints of a log that was created in place of a lost one. Under the lost log's key they would
/// prove that the signer has altered that log.
fn key_of_replacement(key: &[u8; 32], log_id: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    let digest = Sha256::new()
        .chain_update(b"citycode log signing of a replacement v1")
        .chain_update(key)
        .chain_update(log_id)
        .finalize();
    Zeroizing::new(digest.into())
}
