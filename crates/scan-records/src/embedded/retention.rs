//! The task that destroys records past their retention.

use std::sync::Arc;
use std::time::Duration;

use citycode_service_kit::clock::Clock;

use super::EmbeddedScanRecords;
use crate::DAY_SECONDS;

/// Period of the check for records past their retention.
const CHECK_EVERY: Duration = Duration::from_secs(3_600);

impl EmbeddedScanRecords {
    /// Destroys records and keys of days that are more than `retention_days` before today (UTC), at once and then every
    /// hour. Runs forever.
    pub async fn keep_retention(self: Arc<Self>, clock: Arc<dyn Clock>, retention_days: u16) {
        let mut tick = tokio::time::interval(CHECK_EVERY);
        loop {
            tick.tick().await;
            let today = clock.now().0.div_euclid(DAY_SECONDS);
            let first_kept = u32::try_from(today - i64::from(retention_days)).unwrap_or(0);
            let records = Arc::clone(&self);
            let forgotten = tokio::task::spawn_blocking(move || records.forget_before(first_kept)).await;
            if !matches!(forgotten, Ok(Ok(()))) {
                tracing::error!("scan records past their retention could not be destroyed");
            }
        }
    }
}
