//! How old the verifier's knowledge surely is (R24): proved, not claimed, and for each partition of the log on its own.
//!
//! A probe asks the log for points that surely include everything acknowledged before, and waits until the fold has
//! reached them ([`EventStore::prove_heads`]): then everything that was in a partition when the probe began is known,
//! whatever any wall clock says. In one process the engine itself answers; over a network a number comes back through
//! the log, and the answer of a server that was cut off proves nothing.
//!
//! A verdict on a code rests on two partitions: that of its holder, and that of the signing keys. A partition that
//! cannot be proved, as one without a leader, makes only its own codes `cannot_check`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use citycode_domain::time::Timestamp;
use citycode_event_store::follow::Progress;
use citycode_event_store::{EventStore, Layout, Partition};
use citycode_log_folds::keys_stream;
use citycode_service_kit::clock::{Clock, ClockReading, STEP_BACK_TOLERANCE};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;

pub use watch::FreshnessWatch;

mod watch;

/// Between two probes: a tenth of the tightest place's limit in Shanghai's policy, well below any other.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a probe may take: twice the tightest place's limit; what it proved after that would let nobody in.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How far wall time may run ahead of monotonic time after a proof began before the rest counts as age: as much as a
/// clock may step back and be believed. Readings are of whole seconds, so a second more or less.
const LEAP_TOLERANCE_MS: u64 = STEP_BACK_TOLERANCE.as_secs() * 1000;

/// Nothing was proved yet.
const NEVER: u64 = u64::MAX;

/// What the last probes proved, by partition. Shared between the probing task and every scan.
#[derive(Debug)]
pub struct Freshness {
    partitions: Box<[Proof]>,
    /// Of the stream of signing keys.
    keys: Partition,
    /// Told of every proof.
    proofs: Notify,
}

/// How much of the log, or of a part of it, is surely known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Milliseconds since everything in it was surely known; the greatest number before the first proof.
    pub age_ms: u64,
    /// When the proof began on this verifier's wall clock: what an issuer with the same clock wrote before is known.
    pub reaches: Timestamp,
    /// When the proof began on this verifier's monotonic clock: what was acknowledged to anybody before is known. 0
    /// before the first proof.
    pub proof_began_ms: u64,
}

impl Known {
    /// Of both parts: what is older counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            age_ms: self.age_ms.max(other.age_ms),
            reaches: self.reaches.min(other.reaches),
            proof_began_ms: self.proof_began_ms.min(other.proof_began_ms),
        }
    }
}

/// What the last probe proved of one partition.
#[derive(Debug)]
struct Proof {
    proved_at_ms: AtomicU64,
    /// Wall time less monotonic time when that proof began.
    offset_ms: AtomicI64,
    reaches: AtomicI64,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            proved_at_ms: AtomicU64::new(NEVER),
            offset_ms: AtomicI64::new(0),
            reaches: AtomicI64::new(0),
        }
    }
}

impl Proof {
    /// The age on both clocks. Where wall time has leapt ahead of monotonic time since the proof began, the machine may
    /// have stood still without counting, as a virtual one does that is moved; then the leap is age too. A wall clock
    /// makes knowledge older, never younger.
    fn known(&self, reading: &ClockReading) -> Known {
        // First: an offset that is newer than this is of a newer proof, by which knowledge is younger.
        let proved_at_ms = self.proved_at_ms.load(Ordering::Acquire);
        let age_ms = match proved_at_ms {
            NEVER => u64::MAX,
            proved => millis(reading.monotonic).saturating_sub(proved),
        };
        let leapt_ms = offset_ms(reading).saturating_sub(self.offset_ms.load(Ordering::Acquire));
        Known {
            age_ms: match u64::try_from(leapt_ms) {
                Ok(leapt_ms) if leapt_ms > LEAP_TOLERANCE_MS => age_ms.saturating_add(leapt_ms),
                _ => age_ms,
            },
            reaches: Timestamp(self.reaches.load(Ordering::Acquire)),
            proof_began_ms: if proved_at_ms == NEVER { 0 } else { proved_at_ms },
        }
    }

    /// Of probes that end in another order than they began the newest counts. One task probes, and many scans read.
    fn prove(&self, began: &ClockReading) {
        self.reaches.fetch_max(began.now.0, Ordering::AcqRel);
        let at_ms = millis(began.monotonic);
        let proved = self.proved_at_ms.load(Ordering::Acquire);
        if proved == NEVER || proved < at_ms {
            self.offset_ms.store(offset_ms(began), Ordering::Release);
            self.proved_at_ms.store(at_ms, Ordering::Release);
        }
    }
}

impl Freshness {
    /// Of a log with this layout, of which nothing is proved yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let partitions = std::iter::repeat_with(Proof::default).take(usize::from(layout.partitions()));
        Self {
            partitions: partitions.collect(),
            keys: layout.bucket_of(&keys_stream()).partition,
            proofs: Notify::new(),
        }
    }

    /// Waits until what a verdict on a code of this partition rests on, of the whole log where it is not known of which
    /// one, is proved by a proof that began after `shown_ms` of the monotonic clock.
    pub(crate) async fn proved_after(&self, partition: Option<Partition>, shown_ms: u64, clock: &dyn Clock) {
        loop {
            // Before the look, so that no proof is missed.
            let mut next = std::pin::pin!(self.proofs.notified());
            next.as_mut().enable();
            let reading = clock.reading();
            let of_code = partition.map_or_else(|| self.oldest(&reading), |partition| self.of(partition, &reading));
            if of_code.and(self.of_keys(&reading)).proof_began_ms > shown_ms {
                return;
            }
            next.await;
        }
    }

    /// Of one partition; what is known of the oldest where the log has no such one.
    #[must_use]
    pub fn of(&self, partition: Partition, reading: &ClockReading) -> Known {
        match self.partitions.get(usize::from(partition.0)) {
            Some(proof) => proof.known(reading),
            None => self.oldest(reading),
        }
    }

    /// Of the partition of the signing keys.
    #[must_use]
    pub fn of_keys(&self, reading: &ClockReading) -> Known {
        self.of(self.keys, reading)
    }

    /// Of the whole log, for what rests on no partition in particular, or must not show on which it rests.
    #[must_use]
    pub fn oldest(&self, reading: &ClockReading) -> Known {
        let known = self.partitions.iter().map(|proof| proof.known(reading));
        known.reduce(Known::and).expect("a log has a partition")
    }

    /// The partitions of which what is known is older than this.
    fn stale(&self, limit_ms: u64, reading: &ClockReading) -> Vec<Partition> {
        let all = (0..).map(Partition).zip(&self.partitions);
        all.filter(|(_, proof)| proof.known(reading).age_ms > limit_ms)
            .map(|(partition, _)| partition)
            .collect()
    }

    /// Whether no code at all can be checked while these are stale.
    fn nothing_left(&self, stale: &[Partition]) -> bool {
        stale.len() == self.partitions.len() || stale.contains(&self.keys)
    }

    /// One probe: takes the time, asks for the heads, waits for the fold of each.
    ///
    /// # Errors
    /// A sentence, where the log or the follower does not answer; what was proved before stays.
    pub async fn probe(&self, store: &dyn EventStore, progress: &Progress, clock: &dyn Clock) -> Result<(), String> {
        let began = clock.reading();
        let prove = |partition: Partition| {
            if let Some(proof) = self.partitions.get(usize::from(partition.0)) {
                proof.prove(&began);
                self.proofs.notify_waiters();
            }
        };
        let caught_up = progress.catch_up_each(store, prove).await;
        caught_up.map_err(|error| error.to_string())
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
                    watch.look(&self, &clock.reading());
                    probes.push(async {
                        let probe = self.probe(&*store, &progress, &*clock);
                        tokio::time::timeout(PROBE_PATIENCE, probe).await
                    });
                }
                Some(ended) = probes.next() => {
                    if let Ok(Err(reason)) = ended {
                        watch.hear(reason);
                    }
                    watch.look(&self, &clock.reading());
                }
            }
        }
    }
}

fn offset_ms(reading: &ClockReading) -> i64 {
    let wall_ms = reading.now.0.saturating_mul(1000);
    wall_ms.saturating_sub(i64::try_from(millis(reading.monotonic)).unwrap_or(i64::MAX))
}

/// Whole milliseconds, as proofs are dated.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
