//! The lag of each projection behind the log: in commits, in seconds to catch up, and as the time since it was last
//! complete.
//!
//! These metrics are for operators and rely on the heads that the log reports; they cover the projections without a
//! proof of freshness: register, status, audit index. Verdicts depend on the verifier's proof of freshness instead.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::EventStore;
use citycode_event_store::follow::Progress;
use citycode_service_kit::clock::Clock;

/// Period and time limit of a measurement: as frequent as Prometheus scrapes, and negligible compared with a city's
/// load.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// One projection's lag.
pub struct Lag {
    projection: &'static str,
    clock: Arc<dyn Clock>,
}

impl Lag {
    /// The lag of the projection with this name.
    pub(crate) fn of(projection: &'static str, clock: &Arc<dyn Clock>) -> Self {
        Self {
            projection,
            clock: Arc::clone(clock),
        }
    }

    /// The projection's name in metrics.
    pub(crate) fn projection(&self) -> &'static str {
        self.projection
    }

    /// Measures forever. Drop the future to stop.
    pub(crate) async fn keep_measuring(self, store: &dyn EventStore, progress: &Progress) -> Infallible {
        let events = metrics::histogram!("citycode_projection_lag_events", "projection" => self.projection);
        let seconds = metrics::histogram!("citycode_projection_lag_seconds", "projection" => self.projection);
        let age = metrics::gauge!("citycode_projection_age_seconds", "projection" => self.projection);
        let mut tick = tokio::time::interval(MEASURE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut complete_at = self.clock.monotonic();
        loop {
            tick.tick().await;
            let start = self.clock.monotonic();
            let measurement = async {
                let heads = store.heads().await.ok()?;
                let heads_at = self.clock.monotonic();
                let behind = heads.commits().saturating_sub(progress.position().commits());
                events.record(behind as f64);
                progress.wait_for_all(&heads).await.ok()?;
                seconds.record(self.since(heads_at));
                Some(())
            };
            if tokio::time::timeout(MEASURE_EVERY, measurement).await == Ok(Some(())) {
                complete_at = start;
            } else {
                // The time since it was last complete is the best available lower bound.
                seconds.record(self.since(complete_at));
            }
            age.set(self.since(complete_at));
        }
    }

    fn since(&self, instant: Duration) -> f64 {
        self.clock.monotonic().saturating_sub(instant).as_secs_f64()
    }
}
