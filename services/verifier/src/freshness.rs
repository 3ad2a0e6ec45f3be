//! How old the verifier's knowledge surely is (R24): proved, not claimed.
//!
//! A probe asks the log for its heads and waits until the fold has reached them: then everything that was in the log
//! when the probe began is known, whatever any wall clock says. In one process the engine itself answers; over a
//! network the answer of a cut-off server would prove nothing, and a number sent through the log takes this place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::time::Timestamp;
use citycode_event_store::EventStore;
use citycode_event_store::follow::Progress;
use citycode_service_kit::clock::Clock;

/// Between two probes: a tenth of the tightest place's limit in Shanghai's policy, well below any other.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Nothing was proved yet.
const NEVER: u64 = u64::MAX;

/// What the last probe proved. Shared between the probing task and every scan.
#[derive(Debug)]
pub struct Freshness {
    proved_at_ms: AtomicU64,
    reaches: AtomicI64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            proved_at_ms: AtomicU64::new(NEVER),
            reaches: AtomicI64::new(0),
        }
    }
}

impl Freshness {
    /// Milliseconds since everything was surely known; the greatest number before the first proof.
    #[must_use]
    pub fn age_ms(&self, monotonic: Duration) -> u64 {
        match self.proved_at_ms.load(Ordering::Acquire) {
            NEVER => u64::MAX,
            proved => millis(monotonic).saturating_sub(proved),
        }
    }

    /// Every code issued before this instant is known.
    #[must_use]
    pub fn reaches(&self) -> Timestamp {
        Timestamp(self.reaches.load(Ordering::Acquire))
    }

    /// One probe: takes the time, asks for the heads, waits for the fold.
    ///
    /// # Errors
    /// A sentence, where the log or the follower does not answer; what was proved before stays.
    pub async fn probe(&self, store: &dyn EventStore, progress: &Progress, clock: &dyn Clock) -> Result<(), String> {
        let (monotonic, wall) = (clock.monotonic(), clock.now());
        let heads = store.heads().await.map_err(|error| error.to_string())?;
        let behind = heads.commits().saturating_sub(progress.position().commits());
        metrics::gauge!("citycode_verifier_lag_events").set(behind as f64);
        let age_ms = self.age_ms(monotonic);
        if age_ms != u64::MAX {
            metrics::gauge!("citycode_verifier_lag_seconds").set(Duration::from_millis(age_ms).as_secs_f64());
        }
        progress.wait_for_all(&heads).await.map_err(|error| error.to_string())?;
        self.reaches.fetch_max(wall.0, Ordering::AcqRel);
        self.proved_at_ms.store(millis(monotonic), Ordering::Release);
        Ok(())
    }

    /// Probes for ever. Drop the future to stop.
    pub async fn keep_probing(self: Arc<Self>, store: Arc<dyn EventStore>, progress: Progress, clock: Arc<dyn Clock>) {
        let mut tick = tokio::time::interval(PROBE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.probe(&*store, &progress, &*clock).await {
                tracing::error!(%error, "the verifier's knowledge could not be proved fresh");
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
