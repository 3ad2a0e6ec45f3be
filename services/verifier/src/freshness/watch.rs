//! Reports the freshness of the state in health, log lines and metrics.

use std::time::Duration;

use citycode_event_store::Partition;
use citycode_service_kit::clock::ClockReading;
use citycode_service_kit::health::Component;

use super::Freshness;

/// How long the same partitions must be stale before that is reported: the proofs of partitions do not complete together,
/// not even at startup, and a proof of an idle log takes up to 4 s.
const STABLE_FOR: Duration = Duration::from_secs(5);

/// Reports when the state becomes too old for the strictest place, and when it is fresh again.
pub struct FreshnessWatch {
    limit_ms: u64,
    health: Component,
    reported: Option<Report>,
    /// The partitions that are stale, and since when exactly these are, on the monotonic clock.
    stale_since: Option<(Vec<Partition>, Duration)>,
    reason: Option<String>,
}

/// The last report.
#[derive(Clone, PartialEq, Eq)]
enum Report {
    /// All partitions are fresh.
    Fresh,
    /// Codes of these partitions answer `cannot_check`; all others are checked.
    Partly(Vec<Partition>),
    /// No code can be checked.
    Stale,
}

impl FreshnessWatch {
    /// For a city whose strictest place admits nobody if the state is older than `limit_ms`.
    #[must_use]
    pub fn new(limit_ms: u64, health: Component) -> Self {
        Self {
            limit_ms,
            health,
            reported: None,
            stale_since: None,
            reason: None,
        }
    }

    pub(super) fn set_reason(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    pub(super) fn check(&mut self, freshness: &Freshness, reading: &ClockReading) {
        let age_ms = freshness.oldest(reading).age_ms;
        if age_ms != u64::MAX {
            metrics::gauge!("citycode_verifier_knowledge_age_seconds").set(Duration::from_millis(age_ms).as_secs_f64());
        }
        let stale = freshness.stale(self.limit_ms, reading);
        metrics::gauge!("citycode_verifier_stale_partitions").set(u32::try_from(stale.len()).unwrap_or(u32::MAX));
        let report = if stale.is_empty() {
            Report::Fresh
        } else if freshness.no_code_can_be_checked(&stale) {
            Report::Stale
        } else if self.is_stable(&stale, reading.monotonic) {
            Report::Partly(stale)
        } else {
            return;
        };
        if !matches!(report, Report::Partly(_)) {
            self.stale_since = None;
        }
        if self.reported.as_ref() != Some(&report) {
            self.report(&report, age_ms);
            self.reported = Some(report);
        }
    }

    /// Whether exactly these partitions have been stale for long enough.
    fn is_stable(&mut self, stale: &[Partition], now: Duration) -> bool {
        match &self.stale_since {
            Some((partitions, since)) if partitions == stale => now.saturating_sub(*since) >= STABLE_FOR,
            _ => {
                self.stale_since = Some((stale.to_vec(), now));
                false
            }
        }
    }

    fn report(&mut self, report: &Report, age_ms: u64) {
        // Before the first proof, freshness was not lost.
        let first = self.reported.is_none();
        if *report != Report::Fresh && self.reported == Some(Report::Fresh) {
            metrics::counter!("citycode_verifier_stale_total").increment(1);
        }
        let reason = match report {
            Report::Fresh => None,
            _ => self.reason.take(),
        };
        let reason = reason.unwrap_or_else(|| "no proof came back through the log".into());
        match report {
            Report::Fresh => {
                self.health.ready();
                self.reason = None;
                tracing::info!(age_ms, "knowledge is proved fresh");
            }
            Report::Stale if first => {
                self.health.starting("knowledge is not yet proved fresh");
            }
            Report::Stale => {
                tracing::error!(
                    age_ms,
                    reason,
                    "KNOWLEDGE CANNOT BE PROVED FRESH: places that ask for it answer cannot_check"
                );
                let words = format!("knowledge cannot be proved fresh: {reason}");
                self.health.not_ready(words);
            }
            Report::Partly(partitions) => {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                let names = names.join(", ");
                tracing::error!(
                    age_ms,
                    reason,
                    partitions = names,
                    "KNOWLEDGE OF SOME PARTITIONS CANNOT BE PROVED FRESH: their codes, and ID cards, answer cannot_check"
                );
                let words = format!("knowledge of the partitions {names} cannot be proved fresh: {reason}");
                self.health.ready_saying(words);
            }
        }
    }
}

#[cfg(test)]
mod tests;
