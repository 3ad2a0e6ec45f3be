//! The properties of a city on which its accounts depend, and their record between two runs of `citycode secrets`.

use citycode_event_store::Layout;

/// Prefix of the line of `accounts.conf` that records them.
const LINE: &str = "# Of this city: ";
/// Streams of shared snapshots, in addition to those of partitions.
const SNAPSHOT_STREAMS: u32 = 2;
/// The stream of log segments.
const SEGMENT_STREAMS: u32 = 1;
/// The stream of used assertions.
const ASSERTION_STREAMS: u32 = 1;
/// Streams per day: scans and registrations.
const STREAMS_PER_DAY: u32 = 2;
/// Days with streams in addition to the retention period: today, and the next day, which is created in advance.
const EXTRA_DAYS: u32 = 2;
/// The streams of queries and of their secrets.
const QUERY_STREAMS: u32 = 2;
/// The streams of the pages' records, one for each table.
const PAGE_STREAMS: u32 = citycode_access_records::Table::ALL.len() as u32;
/// More seeds than any city has verifiers, and few enough for every server to load at startup.
const MAX_INSTANCES: u16 = 1_024;

/// The properties of a city on which its accounts depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::secrets) struct Shape {
    /// Partitions of the log.
    pub(in crate::secrets) partitions: u16,
    /// Verifiers with their own seed; 0 if all share one.
    pub(in crate::secrets) instances: u16,
    /// Retention of scan records in days.
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
    /// The shape recorded in an existing `accounts.conf`, with defaults for missing values.
    pub(in crate::secrets) fn recorded(conf: &str) -> Self {
        let mut shape = Self::default();
        let line = conf.lines().find_map(|line| line.strip_prefix(LINE));
        for (name, value) in line
            .into_iter()
            .flat_map(|line| line.split(", "))
            .filter_map(|property| property.split_once(' '))
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

    /// The line that records it.
    pub(super) fn line(&self) -> String {
        let Self {
            partitions,
            instances,
            scan_retention_days,
        } = self;
        format!("{LINE}partitions {partitions}, instances {instances}, scan_retention_days {scan_retention_days}")
    }

    /// Why it is invalid, if it is.
    pub(in crate::secrets) fn problem(&self) -> Option<String> {
        if let Err(error) = Layout::new(self.partitions, Layout::default().buckets_per_partition()) {
            return Some(error.to_string());
        }
        if self.instances > MAX_INSTANCES {
            return Some(format!("--instances is at most {MAX_INSTANCES}"));
        }
        (self.scan_retention_days == 0).then(|| "--scan-retention-days is at least 1".to_owned())
    }

    /// The number of streams in a completely provisioned account; none if the account has no streams.
    pub(super) fn max_streams(&self, account: &str) -> Option<u32> {
        match account {
            "LOG" => Some(u32::from(self.partitions) + SNAPSHOT_STREAMS + SEGMENT_STREAMS + ASSERTION_STREAMS),
            "VAULT" => Some(1),
            // One stream contains the days' keys.
            "SCANS" => Some(1 + STREAMS_PER_DAY * (u32::from(self.scan_retention_days) + EXTRA_DAYS)),
            "QUERIES" => Some(QUERY_STREAMS),
            "PAGES" => Some(PAGE_STREAMS),
            _ => None,
        }
    }
}
