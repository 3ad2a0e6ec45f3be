//! How far each projection lies behind the log: in events, in the seconds it took to get there, and since when it was
//! not seen to have everything.
//!
//! What a verifier may rely on is proved elsewhere (its freshness); this is for the operator, from what the log says
//! of its heads, and covers the projections that prove nothing: registers, status, the auditors' index.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use citycode_event_store::EventStore;
use citycode_event_store::follow::Progress;
use citycode_service_kit::clock::Clock;

/// Between two looks, and the longest wait of one: as often as Prometheus asks, and nothing beside a city's load.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One projection's lag.
pub struct Lag {
    projection: &'static str,
    clock: Arc<dyn Clock>,
}

impl Lag {
    /// Of the projection of this name.
    pub(crate) fn of(projection: &'static str, clock: &Arc<dyn Clock>) -> Self {
        Self {
            projection,
            clock: Arc::clone(clock),
        }
    }

    /// The projection's name among the numbers.
    pub(crate) fn projection(&self) -> &'static str {
        self.projection
    }

    /// Measures for ever. Drop the future to stop.
    pub(crate) async fn keep_measuring(self, store: &dyn EventStore, progress: &Progress) -> Infallible {
        let events = metrics::histogram!("citycode_projection_lag_events", "projection" => self.projection);
        let seconds = metrics::histogram!("citycode_projection_lag_seconds", "projection" => self.projection);
        let age = metrics::gauge!("citycode_projection_age_seconds", "projection" => self.projection);
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut had_everything = self.clock.monotonic();
        loop {
            tick.tick().await;
            let asked = self.clock.monotonic();
            let look = async {
                let heads = store.heads().await.ok()?;
                let told = self.clock.monotonic();
                let behind = heads.commits().saturating_sub(progress.position().commits());
                events.record(behind as f64);
                progress.wait_for_all(&heads).await.ok()?;
                seconds.record(self.since(told));
                Some(())
            };
            if tokio::time::timeout(LOOK_EVERY, look).await == Ok(Some(())) {
                had_everything = asked;
            } else {
                // It is behind by at least as long as it was not seen to have everything.
                seconds.record(self.since(had_everything));
            }
            age.set(self.since(had_everything));
        }
    }

    fn since(&self, instant: Duration) -> f64 {
        self.clock.monotonic().saturating_sub(instant).as_secs_f64()
    }
}
