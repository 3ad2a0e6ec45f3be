//! Metrics of a state folder: the free space of its disk and the age of its snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use citycode_service_kit::clock::Clock;

/// Period of the measurement: a disk takes at least minutes to fill up.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Snapshots, by their file names in `projections/`.
const SNAPSHOTS: [&str; 2] = ["register", "status"];

/// Measures the folder forever. Drop the future to stop.
pub(crate) async fn keep_measuring(folder: PathBuf, clock: Arc<dyn Clock>) {
    let mut tick = tokio::time::interval(MEASURE_EVERY);
    loop {
        tick.tick().await;
        let (folder, now_ms) = (folder.clone(), clock.now_millis());
        // A hanging disk blocks only a thread of the blocking pool.
        if tokio::task::spawn_blocking(move || measure(&folder, now_ms))
            .await
            .is_err()
        {
            tracing::error!("measuring the state folder panicked");
        }
    }
}

fn measure(folder: &Path, now_ms: i64) {
    if let Ok(disk) = rustix::fs::statvfs(folder) {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) as f64;
        metrics::gauge!("citycode_state_disk_free_bytes").set(bytes(disk.f_bavail));
        metrics::gauge!("citycode_state_disk_size_bytes").set(bytes(disk.f_blocks));
    }
    for snapshot in SNAPSHOTS {
        let written = std::fs::metadata(folder.join("projections").join(snapshot)).and_then(|file| file.modified());
        let written = written.ok().and_then(|written| written.duration_since(UNIX_EPOCH).ok());
        if let Some(written) = written {
            let age_ms = i128::from(now_ms) - i128::try_from(written.as_millis()).unwrap_or(i128::MAX);
            metrics::gauge!("citycode_snapshot_age_seconds", "snapshot" => snapshot).set(age_ms.max(0) as f64 / 1000.0);
        }
    }
}
