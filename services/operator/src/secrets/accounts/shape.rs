//! What of a city its accounts name, and how it is remembered between two runs of `citycode secrets`.

use citycode_event_store::Layout;

/// The line of `accounts.conf` that says it begins so.
const LINE: &str = "# Of this city: ";
/// Streams of shared snapshots, beside those of partitions.
const SNAPSHOT_STREAMS: u32 = 2;
/// The stream of used assertions.
const ASSERTION_STREAMS: u32 = 1;
/// Streams of a day: scans, registrations.
const STREAMS_OF_DAY: u32 = 2;
/// Days that stand beside those that are kept: today, and the one that is made a day ahead.
const DAYS_BESIDE: u32 = 2;
/// More seeds than any city has verifiers, and few enough that every server reads them at its start.
const MOST_INSTANCES: u16 = 1_024;

/// What of a city its accounts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::secrets) struct Shape {
    /// Partitions of the log.
    pub(in crate::secrets) partitions: u16,
    /// Verifiers that have a seed of their own; 0 where all share one.
    pub(in crate::secrets) instances: u16,
    /// Days that scan records are kept.
    pub(in crate::secrets) scan_retention_days: u16,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            partitions: 16,
            instances: 0,
            scan_retention_days: 30,
        }
    }
}

impl Shape {
    /// As an `accounts.conf` says that was written before; the default where it says nothing.
    pub(in crate::secrets) fn remembered(conf: &str) -> Self {
        let mut shape = Self::default();
        let told = conf.lines().find_map(|line| line.strip_prefix(LINE));
        for (name, value) in told
            .into_iter()
            .flat_map(|told| told.split(", "))
            .filter_map(|one| one.split_once(' '))
        {
            let Ok(value) = value.parse() else {
                continue;
            };
            match name {
                "partitions" => shape.partitions = value,
                "instances" => shape.instances = value,
                "scan_retention_days" => shape.scan_retention_days = value,
                _ => {}
            }
        }
        shape
    }

    /// The line by which it is remembered.
    pub(super) fn line(&self) -> String {
        let Self {
            partitions,
            instances,
            scan_retention_days,
        } = self;
        format!("{LINE}partitions {partitions}, instances {instances}, scan_retention_days {scan_retention_days}")
    }

    /// What is wrong with it.
    pub(in crate::secrets) fn complaint(&self) -> Option<String> {
        if let Err(error) = Layout::new(self.partitions, Layout::default().buckets_per_partition()) {
            return Some(error.to_string());
        }
        if self.instances > MOST_INSTANCES {
            return Some(format!("--instances is at most {MOST_INSTANCES}"));
        }
        (self.scan_retention_days == 0).then(|| "--scan-retention-days is at least 1".to_owned())
    }

    /// Streams that stand in an account once everything is provisioned; none where the account keeps no streams.
    pub(super) fn max_streams(&self, account: &str) -> Option<u32> {
        match account {
            "LOG" => Some(u32::from(self.partitions) + SNAPSHOT_STREAMS + ASSERTION_STREAMS),
            "VAULT" => Some(1),
            // The days' keys, and the days.
            "SCANS" => Some(1 + STREAMS_OF_DAY * (u32::from(self.scan_retention_days) + DAYS_BESIDE)),
            _ => None,
        }
    }
}
