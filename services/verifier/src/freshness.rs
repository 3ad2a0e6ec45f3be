//! How old the verifier's knowledge surely is (R24): proved, not claimed.
//!
//! A probe asks the log for a point that surely includes everything acknowledged before, and waits until the fold has
//! reached it ([`EventStore::proved_heads`]): then everything that was in the log when the probe began is known,
//! whatever any wall clock says. In one process the engine itself answers; over a network a number comes back through
//! the log, and the answer of a server that was cut off proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::time::Timestamp;
use citycode_event_store::EventStore;
use citycode_event_store::follow::Progress;
use citycode_service_kit::clock::{Clock, ClockReading, STEP_BACK_TOLERANCE};
use citycode_service_kit::health::Component;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

/// Between two probes: a tenth of the tightest place's limit in Shanghai's policy, well below any other.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a probe may take: twice the tightest place's limit; what it proved after that would let nobody in.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How far wall time may run ahead of monotonic time after a proof began before the rest counts as age: as much as a
/// clock may step back and be believed. Readings are of whole seconds, so a second more or less.
const LEAP_TOLERANCE_MS: u64 = STEP_BACK_TOLERANCE.as_secs() * 1000;

/// Nothing was proved yet.
const NEVER: u64 = u64::MAX;

/// What the last probe proved. Shared between the probing task and every scan.
#[derive(Debug)]
pub struct Freshness {
    proved_at_ms: AtomicU64,
    /// Wall time less monotonic time when that proof began.
    offset_ms: AtomicI64,
    reaches: AtomicI64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            proved_at_ms: AtomicU64::new(NEVER),
            offset_ms: AtomicI64::new(0),
            reaches: AtomicI64::new(0),
        }
    }
}

impl Freshness {
    /// The age on both clocks. Where wall time has leapt ahead of monotonic time since the proof began, the machine may
    /// have stood still without counting, as a virtual one does that is moved; then the leap is age too. A wall clock
    /// makes knowledge older, never younger.
    #[must_use]
    pub fn age_at_ms(&self, reading: &ClockReading) -> u64 {
        // First: an offset that is newer than this is of a newer proof, by which knowledge is younger.
        let age_ms = self.age_ms(reading.monotonic);
        let leapt_ms = offset_ms(reading).saturating_sub(self.offset_ms.load(Ordering::Acquire));
        match u64::try_from(leapt_ms) {
            Ok(leapt_ms) if leapt_ms > LEAP_TOLERANCE_MS => age_ms.saturating_add(leapt_ms),
            _ => age_ms,
        }
    }

    /// Milliseconds since everything was surely known, on the monotonic clock alone; the greatest number before the
    /// first proof.
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
        let began = clock.reading();
        let heads = store.proved_heads().await.map_err(|error| error.to_string())?;
        progress.wait_for_all(&heads).await.map_err(|error| error.to_string())?;
        self.reaches.fetch_max(began.now.0, Ordering::AcqRel);
        self.prove(&began);
        Ok(())
    }

    /// Of probes that end in another order than they began the newest counts. One task probes, and many scans read.
    fn prove(&self, began: &ClockReading) {
        let at_ms = millis(began.monotonic);
        let proved = self.proved_at_ms.load(Ordering::Acquire);
        if proved == NEVER || proved < at_ms {
            self.offset_ms.store(offset_ms(began), Ordering::Release);
            self.proved_at_ms.store(at_ms, Ordering::Release);
        }
    }

    /// Probes for ever, one beginning each [`PROBE_INTERVAL`] whether or not those before have ended, and says when
    /// knowledge is no longer fresh enough for the place that asks the most (`limit`), and when it is again. Drop the
    /// future to stop.
    pub async fn keep_probing(
        self: Arc<Self>,
        store: Arc<dyn EventStore>,
        progress: Progress,
        clock: Arc<dyn Clock>,
        mut watch: FreshnessWatch,
    ) {
        let mut tick = tokio::time::interval(PROBE_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut probes = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    watch.look(self.age_at_ms(&clock.reading()));
                    probes.push(async {
                        let probe = self.probe(&*store, &progress, &*clock);
                        tokio::time::timeout(PROBE_PATIENCE, probe).await
                    });
                }
                Some(ended) = probes.next() => {
                    if let Ok(Err(reason)) = ended {
                        watch.hear(reason);
                    }
                    watch.look(self.age_at_ms(&clock.reading()));
                }
            }
        }
    }
}

/// Says aloud when knowledge gets too old for the place that asks the most, and when that is over.
pub struct FreshnessWatch {
    limit_ms: u64,
    health: Component,
    stale: Option<bool>,
    reason: Option<String>,
}

impl FreshnessWatch {
    /// For a city whose tightest place admits nobody on knowledge older than `limit_ms`.
    #[must_use]
    pub fn new(limit_ms: u64, health: Component) -> Self {
        Self {
            limit_ms,
            health,
            stale: None,
            reason: None,
        }
    }

    fn hear(&mut self, reason: String) {
        self.reason = Some(reason);
    }

    fn look(&mut self, age_ms: u64) {
        if age_ms != u64::MAX {
            metrics::gauge!("citycode_verifier_knowledge_age_seconds").set(Duration::from_millis(age_ms).as_secs_f64());
        }
        let stale = age_ms > self.limit_ms;
        if self.stale == Some(stale) {
            return;
        }
        // Before the first proof nothing was lost yet.
        let first = self.stale.is_none();
        self.stale = Some(stale);
        if !stale {
            self.health.ready();
            self.reason = None;
            tracing::info!(age_ms, "knowledge is proved fresh");
            return;
        }
        let reason = self.reason.take();
        let reason = reason.unwrap_or_else(|| "no proof came back through the log".into());
        if first {
            self.health.starting("knowledge is not yet proved fresh");
        } else {
            metrics::counter!("citycode_verifier_stale_total").increment(1);
            tracing::error!(
                age_ms,
                reason,
                "KNOWLEDGE CANNOT BE PROVED FRESH: places that ask for it answer cannot_check"
            );
            self.health
                .not_ready(format!("knowledge cannot be proved fresh: {reason}"));
        }
    }
}

fn offset_ms(reading: &ClockReading) -> i64 {
    let wall_ms = reading.now.0.saturating_mul(1000);
    wall_ms.saturating_sub(i64::try_from(millis(reading.monotonic)).unwrap_or(i64::MAX))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
