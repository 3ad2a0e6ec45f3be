//! Page records whose component in the health tells whether they can be used.

use async_trait::async_trait;
use citycode_access_records::{AccessRecords, Entry, Record, Table, Unavailable};
use citycode_service_kit::health::Component;

/// Records that report the outcome of each call. The portal stays ready while they are unavailable: callers of its API
/// do not need them, and another portal of the city would not reach them either.
pub(super) struct ReportedRecords<R> {
    /// The records.
    pub(super) records: R,
    /// Their component.
    pub(super) component: Component,
}

impl<R> ReportedRecords<R> {
    fn reported<T>(&self, outcome: Result<T, Unavailable>) -> Result<T, Unavailable> {
        match &outcome {
            Ok(_) => self.component.ready(),
            Err(error) => self.component.ready_saying(error.to_string()),
        }
        outcome
    }
}

#[async_trait]
impl<R: AccessRecords> AccessRecords for ReportedRecords<R> {
    async fn create(&self, table: Table, key: &[u8], entry: Entry<'_>, now: i64) -> Result<bool, Unavailable> {
        self.reported(self.records.create(table, key, entry, now).await)
    }

    async fn get(&self, table: Table, key: &[u8], now: i64) -> Result<Option<Record>, Unavailable> {
        self.reported(self.records.get(table, key, now).await)
    }

    async fn replace(&self, table: Table, key: &[u8], revision: u64, entry: Entry<'_>) -> Result<bool, Unavailable> {
        self.reported(self.records.replace(table, key, revision, entry).await)
    }

    async fn list(&self, table: Table, now: i64) -> Result<Vec<(Vec<u8>, Record)>, Unavailable> {
        self.reported(self.records.list(table, now).await)
    }
}

#[cfg(test)]
mod tests {
    use citycode_access_records::embedded::EmbeddedRecords;
    use citycode_service_kit::health::{HealthRegistry, Probe};

    use super::*;

    #[tokio::test]
    async fn the_health_tells_whether_the_last_call_succeeded() {
        let folder = tempfile::tempdir().unwrap();
        let health = HealthRegistry::new();
        let records = ReportedRecords {
            records: EmbeddedRecords::with_capacity(&folder.path().join("records.redb"), 1).unwrap(),
            component: health.component("page-records"),
        };
        let entry = Entry {
            value: b"v",
            expires_at: 20,
        };
        let reason = || {
            let report = health.report(Probe::Ready);
            assert!(report.passes());
            report.components[0].reason.clone()
        };
        assert!(records.create(Table::Device, b"a", entry, 10).await.unwrap());
        assert_eq!(reason(), None);
        records.create(Table::Device, b"b", entry, 10).await.unwrap_err();
        assert!(reason().unwrap().contains("unavailable"));
        assert!(records.get(Table::Device, b"a", 10).await.unwrap().is_some());
        assert_eq!(reason(), None);
    }
}
