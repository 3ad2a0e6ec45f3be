//! Tells health, log and metrics how fresh knowledge is.

use std::time::Duration;

use citycode_event_store::Partition;
use citycode_service_kit::clock::ClockReading;
use citycode_service_kit::health::Component;

use super::Freshness;

/// How long the same partitions are stale before that is said: proofs of partitions do not come at once, at a start
/// neither, and a proof of an idle log takes up to 4 s.
const SETTLES: Duration = Duration::from_secs(5);

/// Says aloud when knowledge gets too old for the place that asks the most, and when that is over.
pub struct FreshnessWatch {
    limit_ms: u64,
    health: Component,
    said: Option<Said>,
    /// Partitions that are stale, and since when just these are, on the monotonic clock.
    settling: Option<(Vec<Partition>, Duration)>,
    reason: Option<String>,
}

/// What was said last.
#[derive(Clone, PartialEq, Eq)]
enum Said {
    /// Everything is fresh.
    Fresh,
    /// Codes of these partitions answer `cannot_check`, the others are checked.
    Partly(Vec<Partition>),
    /// No code can be checked.
    Stale,
}

impl FreshnessWatch {
    /// For a city whose tightest place admits nobody on knowledge older than `limit_ms`.
    #[must_use]
    pub fn new(limit_ms: u64, health: Component) -> Self {
        Self {
            limit_ms,
            health,
            said: None,
            settling: None,
            reason: None,
        }
    }

    pub(super) fn hear(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    pub(super) fn look(&mut self, freshness: &Freshness, reading: &ClockReading) {
        let age_ms = freshness.oldest(reading).age_ms;
        if age_ms != u64::MAX {
            metrics::gauge!("citycode_verifier_knowledge_age_seconds").set(Duration::from_millis(age_ms).as_secs_f64());
        }
        let stale = freshness.stale(self.limit_ms, reading);
        metrics::gauge!("citycode_verifier_stale_partitions").set(u32::try_from(stale.len()).unwrap_or(u32::MAX));
        let says = if stale.is_empty() {
            Said::Fresh
        } else if freshness.nothing_left(&stale) {
            Said::Stale
        } else if self.settles(&stale, reading.monotonic) {
            Said::Partly(stale)
        } else {
            return;
        };
        if !matches!(says, Said::Partly(_)) {
            self.settling = None;
        }
        if self.said.as_ref() != Some(&says) {
            self.say(&says, age_ms);
            self.said = Some(says);
        }
    }

    /// Whether just these partitions have been stale for long enough.
    fn settles(&mut self, stale: &[Partition], now: Duration) -> bool {
        match &self.settling {
            Some((partitions, since)) if partitions == stale => now.saturating_sub(*since) >= SETTLES,
            _ => {
                self.settling = Some((stale.to_vec(), now));
                false
            }
        }
    }

    fn say(&mut self, says: &Said, age_ms: u64) {
        // Before the first proof nothing was lost yet.
        let first = self.said.is_none();
        if *says != Said::Fresh && self.said == Some(Said::Fresh) {
            metrics::counter!("citycode_verifier_stale_total").increment(1);
        }
        let reason = match says {
            Said::Fresh => None,
            _ => self.reason.take(),
        };
        let reason = reason.unwrap_or_else(|| "no proof came back through the log".into());
        match says {
            Said::Fresh => {
                self.health.ready();
                self.reason = None;
                tracing::info!(age_ms, "knowledge is proved fresh");
            }
            Said::Stale if first => {
                self.health.starting("knowledge is not yet proved fresh");
            }
            Said::Stale => {
                tracing::error!(
                    age_ms,
                    reason,
                    "KNOWLEDGE CANNOT BE PROVED FRESH: places that ask for it answer cannot_check"
                );
                let words = format!("knowledge cannot be proved fresh: {reason}");
                self.health.not_ready(words);
            }
            Said::Partly(partitions) => {
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
