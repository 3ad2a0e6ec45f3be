//! The log as replay sees it: the timeline of the whole log, or of one code.

mod whole;

use citycode_domain::event::Event;
use citycode_domain::ids::CodeId;
use citycode_domain::time::Timestamp;
use citycode_event_store::{LogPosition, Partition, ReadError, RecordedCommit, Revision, SubscriptionBatch};
use citycode_log_folds::{events_of, folded_events, keys_stream, policies_stream, projected};
use citycode_replay::{Timeline, TimelineError};
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::audit::v1::AuditProgress;

use crate::history::{Audit, unavailable};
use crate::run::Observer;

pub(crate) use whole::{Unsound, WholeLog};

/// Commits between two reports of progress.
const REPORT_EVERY: u64 = 50_000;

impl Audit {
    /// The whole log up to its present end. Where it is damaged, the rest is read nevertheless; the damage is among the
    /// timeline's faults, and in [`WholeLog::unsound`].
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read now, or the observer ends the reading.
    pub(crate) async fn whole_timeline(&self, observer: &mut dyn Observer) -> Result<WholeLog, Problem> {
        let heads = self.store.heads().await.map_err(|error| unavailable(&error))?;
        let mut whole = WholeLog::new(heads);
        self.add_losses(&mut whole.timeline).await?;
        let mut position = LogPosition::start(self.store.layout().partitions());
        let (mut read, mut reported) = (0, 0);
        'subscribe: while !position.reaches(&whole.heads) {
            let mut subscription = match self.store.subscribe_to_all(position.clone()).await {
                Ok(subscription) => subscription,
                Err(error) => {
                    whole.pass(&mut position, error)?;
                    continue;
                }
            };
            while !subscription.position().reaches(&whole.heads) {
                let commits = match subscription.next_batch().await {
                    Ok(SubscriptionBatch::Commits(commits)) => commits,
                    Ok(_) => continue,
                    Err(error) => {
                        position = subscription.position().clone();
                        whole.pass(&mut position, error)?;
                        continue 'subscribe;
                    }
                };
                for commit in &commits {
                    if whole.follows(&*self.store, commit).await? {
                        fold(&mut whole.timeline, commit)?;
                    }
                }
                read += commits.len() as u64;
                if read - reported >= REPORT_EVERY {
                    reported = read;
                    report(observer, read)?;
                }
            }
            position = subscription.position().clone();
        }
        report(observer, read)?;
        Ok(whole)
    }

    /// The signing keys and the policies.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read or folded.
    pub(crate) async fn keys_and_policies(&self) -> Result<Timeline, Problem> {
        let mut timeline = Timeline::new();
        for stream in [keys_stream(), policies_stream()] {
            let commits = self.store.read_stream(&stream, Revision::EMPTY).await;
            for commit in commits.map_err(|error| unavailable(&error))? {
                fold(&mut timeline, &commit)?;
            }
        }
        Ok(timeline)
    }

    /// Adds a code to a timeline without codes. If the log does not have the code, adds the places of status lists that were
    /// revoked because changes of the log were lost: the code may be one of them.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read.
    pub(crate) async fn add_code(&self, timeline: &mut Timeline, code_id: CodeId) -> Result<(), Problem> {
        let Some(commits) = self.commits_about(code_id).await? else {
            for commit in self.losses().await? {
                fold(timeline, &commit)?;
            }
            return Ok(());
        };
        commits.iter().try_for_each(|commit| fold(timeline, commit))
    }

    /// Notes the accepted losses of changes, so that a timeline learns where the log continues after each. Those of a
    /// bucket that is damaged are not known; whoever reads the whole log finds the damage.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read.
    pub(crate) async fn add_losses(&self, timeline: &mut Timeline) -> Result<(), Problem> {
        for partition in self.store.layout().all_partitions() {
            let losses = match self.losses_in(partition).await {
                Err(ReadError::Damaged { .. }) => continue,
                losses => losses.map_err(|error| unavailable(&error))?,
            };
            for commit in losses {
                timeline.losses_mut().accepted(Timestamp(commit.commit.decided_at));
            }
        }
        Ok(())
    }

    /// The commits by which losses of changes were made safe.
    async fn losses(&self) -> Result<Vec<RecordedCommit>, Problem> {
        let mut losses = Vec::new();
        for partition in self.store.layout().all_partitions() {
            let found = self.losses_in(partition).await;
            losses.append(&mut found.map_err(|error| unavailable(&error))?);
        }
        Ok(losses)
    }

    /// The same of one partition. They are in its stream of leases, which is short compared with the log.
    async fn losses_in(&self, partition: Partition) -> Result<Vec<RecordedCommit>, ReadError> {
        let bucket = self.store.layout().lease_bucket(partition);
        let mut leases = self.store.read_bucket(bucket, Revision::EMPTY).await?;
        leases.retain(|commit| {
            let events = events_of(commit).unwrap_or_default();
            events.iter().any(|event| matches!(event, Event::IndexRangeRevoked(_)))
        });
        Ok(leases)
    }
}

fn report(observer: &mut dyn Observer, commits: u64) -> Result<(), Problem> {
    let progress = AuditProgress {
        commits,
        ..AuditProgress::default()
    };
    observer.report(progress)
}

/// Folds a commit. One that cannot be read or folded is a fault of the timeline.
///
/// # Errors
/// `unavailable` if the log is too large for a timeline.
fn fold(timeline: &mut Timeline, commit: &RecordedCommit) -> Result<(), Problem> {
    if commit.foreign.is_some() {
        return Ok(());
    }
    match folded_events(commit) {
        Ok(events) => match timeline.fold(&projected(commit, &events)) {
            Err(error @ TimelineError::TooLarge(_)) => Err(unavailable(&error)),
            // The timeline keeps other faults.
            Err(_) | Ok(()) => Ok(()),
        },
        Err(error) => {
            timeline.note_fault(commit.position, error.to_string());
            Ok(())
        }
    }
}
