//! Status lists of earlier instants from an audit index in the same process.
//!
//! `citycode up` uses the audit service's index. On NATS a revocation service follows the log with an index of its own,
//! because no service may ask another one for bytes to sign.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use citycode_audit::Audit;
use citycode_domain::ids::ListId;
use citycode_domain::policy::Policy;
use citycode_domain::time::Timestamp;
use citycode_event_store::{EventStore, Partition};
use citycode_revocation::past_lists::PastLists;
use citycode_service_kit::clock::Clock;
use citycode_service_kit::files;
use citycode_service_kit::health::HealthRegistry;
use citycode_service_kit::problem::Problem;
use tokio::task::JoinHandle;

use super::StartError;
use super::following::follow_index;

/// The lists that an audit index knows.
pub(crate) struct IndexedLists(pub(crate) Arc<Audit>);

#[async_trait]
impl PastLists for IndexedLists {
    async fn packed(&self, list: ListId, partition: Partition, at: Timestamp) -> Result<Option<Vec<u8>>, Problem> {
        self.0.list_at(list, partition, at).await
    }
}

/// Follows the log with an index in a folder, for a service that has no other one. While the index is built, a past time
/// is answered with `unavailable`.
///
/// # Errors
/// [`StartError`], if the folder or its file cannot be used.
pub(crate) async fn follow_past_lists(
    log: &Arc<dyn EventStore>,
    folder: &Path,
    policy: &Arc<Policy>,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<dyn PastLists>, JoinHandle<()>), StartError> {
    files::create_private_dir(folder)?;
    // Not a component of the service's health: whoever reports a loss must not wait for the past.
    let health = HealthRegistry::new().component("past-lists");
    let (audit, follower) = follow_index(log, folder, policy, (None, None, None), health, clock).await?;
    Ok((Arc::new(IndexedLists(Arc::new(audit))), follower))
}
