//! Past status lists from the audit index of the same process.

use std::sync::Arc;

use async_trait::async_trait;
use citycode_audit::Audit;
use citycode_domain::ids::ListId;
use citycode_domain::time::Timestamp;
use citycode_event_store::Partition;
use citycode_revocation::past_lists::PastLists;
use citycode_service_kit::problem::Problem;

/// The lists that the audit index knows.
pub(super) struct IndexedLists(pub(super) Arc<Audit>);

#[async_trait]
impl PastLists for IndexedLists {
    async fn packed(&self, list: ListId, partition: Partition, at: Timestamp) -> Result<Option<Vec<u8>>, Problem> {
        self.0.list_at(list, partition, at).await
    }
}
