//! The fold of the log into the state that scans read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use citycode_domain::event::Event;
use citycode_domain::ids::PolicyDigest;
use citycode_event_store::follow::{Continuity, Fold};
use citycode_event_store::{BucketId, EventStore, LogPosition, RecordedCommit, Revision};
use citycode_log_folds::{FoldedStatus, events_of, folded_events, keys_stream, policies_stream, projected};
use citycode_service_kit::telemetry::set_parent_from;
use citycode_token::Keyring;

use crate::memory::Memory;

/// The state that the fold writes and scans read.
pub(crate) struct Folded {
    pub(crate) status: FoldedStatus,
    pub(crate) memory: Memory,
    keyring: ArcSwap<Keyring>,
    /// The policy of this verifier, and whether it is in the log.
    policy: PolicyDigest,
    policy_in_log: AtomicBool,
}

impl Folded {
    /// A state without signing keys and policies, which a snapshot does not contain. `secret` is random for each
    /// process.
    pub(crate) fn new(status: FoldedStatus, policy: PolicyDigest, secret: &[u8; 16]) -> Self {
        Self {
            status,
            memory: Memory::new(secret),
            keyring: ArcSwap::from_pointee(Keyring::new()),
            policy,
            policy_in_log: AtomicBool::new(false),
        }
    }

    /// Folds an event of a system stream at a sequence of its partition.
    pub(crate) fn fold_system_event(&self, event: &Event, sequence: u64) -> Result<(), String> {
        if let Event::PolicyAdopted(adopted) = event {
            if adopted.digest == self.policy {
                self.policy_in_log.store(true, Ordering::Release);
            }
            return Ok(());
        }
        let keyring = self.keyring.load();
        let next = keyring.apply(event).map_err(|error| error.to_string())?;
        if !next.is_same(&keyring) {
            self.memory.change_keyring(next.clone(), sequence);
            self.keyring.store(Arc::new(next));
        }
        Ok(())
    }

    /// Folds the signing keys and policies of the log up to the position of a snapshot, which does not contain them.
    ///
    /// # Errors
    /// The log cannot be read, or its keys cannot be folded.
    pub(crate) async fn fold_system_streams(&self, store: &dyn EventStore, from: &LogPosition) -> Result<(), String> {
        for stream in [keys_stream(), policies_stream()] {
            let commits = store.read_stream(&stream, Revision::EMPTY).await;
            let commits = commits.map_err(|error| error.to_string())?;
            for commit in commits.iter().filter(|commit| from.includes(commit.position)) {
                for event in events_of(commit).map_err(|error| error.to_string())? {
                    self.fold_system_event(&event, commit.position.sequence.0)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the policy of this verifier is in the log, so that its verdicts can be recomputed.
    pub(crate) fn has_policy_in_log(&self) -> bool {
        self.policy_in_log.load(Ordering::Acquire)
    }
}

/// Folds commits into a verifier's projection.
pub struct VerifierFold {
    folded: Arc<Folded>,
    /// Whether the head of the log was reached: a commit that is folded after that was just appended, and its fold
    /// belongs to the trace of the request that appended it.
    live: bool,
}

impl VerifierFold {
    pub(crate) fn new(folded: Arc<Folded>) -> Self {
        Self { folded, live: false }
    }
}

impl Fold for VerifierFold {
    fn received(&mut self, message: &RecordedCommit) -> Result<(), String> {
        self.folded.status.received(message)
    }

    fn continuity(&self, commit: &RecordedCommit) -> Continuity {
        self.folded.status.continuity(commit)
    }

    fn confined(&self) -> Vec<BucketId> {
        self.folded.status.confined_buckets()
    }

    fn confine(&mut self, bucket: BucketId, commits: &[RecordedCommit]) -> Result<(), String> {
        self.folded.status.confine(bucket, commits)
    }

    fn caught_up(&mut self, _position: &LogPosition) {
        self.live = true;
    }

    fn fold(&mut self, commit: &RecordedCommit) -> Result<(), String> {
        if commit.foreign.is_some() {
            return self.folded.status.fold_foreign(commit);
        }
        let trace = commit.commit.trace_context.as_deref().filter(|_| self.live);
        let _traced = trace.map(|parent| {
            let span = tracing::info_span!("fold", position = %commit.position).entered();
            set_parent_from(parent);
            span
        });
        let events = folded_events(commit).map_err(|error| error.to_string())?;
        let projected = projected(commit, &events);
        if projected.holder.is_none() {
            let sequence = commit.position.sequence.0;
            let mut events = events.iter();
            events.try_for_each(|event| self.folded.fold_system_event(event, sequence))?;
        }
        if let Some(alarms) = self.folded.status.fold(commit, &projected)? {
            for alarm in alarms {
                metrics::counter!("citycode_verifier_alarms_total").increment(1);
                tracing::error!(?alarm, position = %commit.position, "ALARM: protocol violation in the event log");
            }
            metrics::counter!("citycode_verifier_folded_events_total").increment(events.len() as u64);
        }
        Ok(())
    }
}
