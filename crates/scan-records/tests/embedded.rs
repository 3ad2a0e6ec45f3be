//! The task of the embedded engine that destroys days past their retention.

use std::sync::Arc;
use std::time::Duration;

use citycode_domain::admission::Reason;
use citycode_domain::ids::Position;
use citycode_scan_records::embedded::EmbeddedScanRecords;
use citycode_scan_records::{DAY_SECONDS, Registered, ScanNote, ScanRecords as _, ShownBytes};
use citycode_service_kit::clock::{ManualClock, UnixSeconds};
use citycode_service_kit::entropy::OsEntropy;
use citycode_testkit::eventually;

const FIRST_DAY: u32 = 20_000;

#[tokio::test]
async fn r20_the_task_destroys_the_days_past_retention_and_no_later_one() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("scans");
    let records = Arc::new(EmbeddedScanRecords::open(&folder, Arc::new(OsEntropy)).unwrap());
    let register = async |day: u32, scan_id| {
        let note = ScanNote {
            at: i64::from(day) * DAY_SECONDS,
            place: "sampling_desk",
            device: "desk-1",
            scan_id,
            code_id: None,
            reason: Reason::Ok,
            position: Position::new(0, 1),
            age_ms: 0,
            basis: None,
        };
        records.register(&note, ShownBytes::default()).await.unwrap()
    };
    register(FIRST_DAY, "scan-1").await;
    register(FIRST_DAY + 1, "scan-2").await;
    let third_day_after = i64::from(FIRST_DAY + 3) * DAY_SECONDS;
    let clock = Arc::new(ManualClock::at(UnixSeconds(third_day_after)));
    let task = tokio::spawn(Arc::clone(&records).keep_retention(clock, 2));
    let key = |day: u32| folder.join(format!("keys/{day}.key"));
    eventually("the first day's key is destroyed", Duration::from_secs(60), || async {
        !key(FIRST_DAY).exists()
    })
    .await;
    let again = register(FIRST_DAY + 1, "scan-2").await;
    assert!(
        matches!(again, Registered::Before(_)),
        "the later day is kept: {again:?}"
    );
    let again = register(FIRST_DAY, "scan-1").await;
    assert_eq!(again, Registered::Now, "its record is destroyed, so it is a new scan");
    task.abort();
}
