//! The proved age of the verifier's state (R24), for each partition of the log separately.
//!
//! A probe asks the log for positions that include every commit acknowledged before, and waits until the fold has reached
//! them ([`EventStore::prove_heads`]): then the state includes everything that was in a partition when the probe began,
//! independently of wall clocks. In one process the engine itself answers; over a network a nonce returns through the log,
//! and the answer of a server that is cut off from the others proves nothing.
//!
//! A verdict on a code is based on two partitions: that of its holder and that of the signing keys. A partition that cannot
//! be proved, for example because it has no leader, makes only its own codes `cannot_check`.

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

/// The interval of probes: a tenth of the strictest place's limit in Shanghai's policy, and well below any other.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// The time limit of a probe: twice the strictest place's limit. A later proof would be too old to admit anybody.
const PROBE_PATIENCE: Duration = Duration::from_secs(10);

/// How far the wall clock may run ahead of the monotonic clock after a proof began before the excess counts as age: as much
/// as a trusted clock may step back. Readings are in whole seconds, so the limit is exact to a second.
const LEAP_TOLERANCE_MS: u64 = STEP_BACK_TOLERANCE.as_secs() * 1000;

/// There is no proof yet.
const NEVER: u64 = u64::MAX;

/// The latest proof of each partition. It is shared between the probing task and all scans.
#[derive(Debug)]
pub struct Freshness {
    partitions: Box<[Proof]>,
    /// The partition of the signing keys.
    keys: Partition,
    /// Notified when a proof completes.
    proofs: Notify,
}

/// How fresh the state of the log, or of some of its partitions, is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Milliseconds since the state was proved to be complete; `u64::MAX` before the first proof.
    pub age_ms: u64,
    /// Start of the proof on this verifier's wall clock: the state includes what an issuer with the same clock wrote before.
    pub reaches: Timestamp,
    /// Start of the proof on this verifier's monotonic clock: the state includes everything that was acknowledged before.
    /// 0 before the first proof.
    pub proof_began_ms: u64,
}

impl Known {
    /// The freshness of both together, which is that of the older one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            age_ms: self.age_ms.max(other.age_ms),
            reaches: self.reaches.min(other.reaches),
            proof_began_ms: self.proof_began_ms.min(other.proof_began_ms),
        }
    }
}

/// The latest proof of one partition.
#[derive(Debug)]
struct Proof {
    proved_at_ms: AtomicU64,
    /// Wall clock minus monotonic clock when that proof began.
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
    /// The age by both clocks. If the wall clock has leapt ahead of the monotonic clock since the proof began, the machine
    /// may have been paused without counting the time, as a virtual machine is when it is moved; then the leap counts as
    /// age. The wall clock can only increase the age.
    fn known(&self, reading: &ClockReading) -> Known {
        // Read first: an offset that is stored after this belongs to a newer proof, whose age is less.
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

    /// If probes end in a different order than they began, the newest counts. One task writes, and many scans read.
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
    /// For a log with this layout, without any proof yet.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let partitions = std::iter::repeat_with(Proof::default).take(usize::from(layout.partitions()));
        Self {
            partitions: partitions.collect(),
            keys: layout.bucket_of(&keys_stream()).partition,
            proofs: Notify::new(),
        }
    }

    /// Waits for a proof that began after `shown_ms` of the monotonic clock and covers the partitions on which a verdict on a
    /// code of this partition is based; all partitions if the code's is unknown.
    pub(crate) async fn proved_after(&self, partition: Option<Partition>, shown_ms: u64, clock: &dyn Clock) {
        loop {
            // Registered before the check, so that no proof is missed.
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

    /// The freshness of one partition; that of the oldest if the log has no such partition.
    #[must_use]
    pub fn of(&self, partition: Partition, reading: &ClockReading) -> Known {
        match self.partitions.get(usize::from(partition.0)) {
            Some(proof) => proof.known(reading),
            None => self.oldest(reading),
        }
    }

    /// The freshness of the partition of the signing keys.
    #[must_use]
    pub fn of_keys(&self, reading: &ClockReading) -> Known {
        self.of(self.keys, reading)
    }

    /// The freshness of the whole log, for answers that depend on no particular partition or must not reveal theirs.
    #[must_use]
    pub fn oldest(&self, reading: &ClockReading) -> Known {
        let known = self.partitions.iter().map(|proof| proof.known(reading));
        known.reduce(Known::and).expect("a log has a partition")
    }

    /// The partitions whose state is older than this limit.
    fn stale(&self, limit_ms: u64, reading: &ClockReading) -> Vec<Partition> {
        let all = (0..).map(Partition).zip(&self.partitions);
        all.filter(|(_, proof)| proof.known(reading).age_ms > limit_ms)
            .map(|(partition, _)| partition)
            .collect()
    }

    /// Whether no code can be checked while these partitions are stale.
    fn no_code_can_be_checked(&self, stale: &[Partition]) -> bool {
        stale.len() == self.partitions.len() || stale.contains(&self.keys)
    }

    /// One probe: reads the clocks, asks for the heads, and waits until each is folded.
    ///
    /// # Errors
    /// A sentence if the log or the follower does not answer; earlier proofs remain.
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

    /// Probes forever; a probe begins every [`PROBE_INTERVAL`], whether or not the ones before have ended. Reports when the
    /// state becomes too old for the strictest place, and when it is fresh again. Drop the future to stop.
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
                    watch.check(&self, &clock.reading());
                    probes.push(async {
                        let probe = self.probe(&*store, &progress, &*clock);
                        tokio::time::timeout(PROBE_PATIENCE, probe).await
                    });
                }
                Some(ended) = probes.next() => {
                    if let Ok(Err(reason)) = ended {
                        watch.set_reason(reason);
                    }
                    watch.check(&self, &clock.reading());
                }
            }
        }
    }
}

fn offset_ms(reading: &ClockReading) -> i64 {
    let wall_ms = reading.now.0.saturating_mul(1000);
    wall_ms.saturating_sub(i64::try_from(millis(reading.monotonic)).unwrap_or(i64::MAX))
}

/// Whole milliseconds, the unit of proofs.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
