//! The log as replay sees it: the timeline of the whole log, or of one code.

use citycode_domain::event::Event;
use citycode_domain::ids::CodeId;
use citycode_domain::time::Timestamp;
use citycode_event_store::{LogPosition, RecordedCommit, Revision, SubscriptionBatch};
use citycode_log_folds::{events_of, folded_events, keys_stream, policies_stream, projected};
use citycode_replay::{Timeline, TimelineError};
use citycode_service_kit::problem::Problem;
use citycode_wire::proto::audit::v1::AuditProgress;

use crate::history::{Audit, unavailable};
use crate::run::Observer;

/// Commits between two reports of progress.
const REPORT_EVERY: u64 = 50_000;

impl Audit {
    /// The whole log up to its present end, which is returned with it.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read or folded, or the observer ends the reading.
    pub(crate) async fn whole_timeline(&self, observer: &mut dyn Observer) -> Result<(Timeline, LogPosition), Problem> {
        let heads = self.store.heads().await.map_err(|error| unavailable(&error))?;
        let mut timeline = Timeline::new();
        self.add_losses(&mut timeline).await?;
        let start = LogPosition::start(self.store.layout().partitions());
        let subscribed = self.store.subscribe_to_all(start).await;
        let mut subscription = subscribed.map_err(|error| unavailable(&error))?;
        let (mut read, mut reported) = (0, 0);
        while !reaches(subscription.position(), &heads) {
            let batch = subscription.next_batch().await.map_err(|error| unavailable(&error))?;
            let SubscriptionBatch::Commits(commits) = batch else {
                continue;
            };
            for commit in &commits {
                fold(&mut timeline, commit)?;
            }
            read += commits.len() as u64;
            if read - reported >= REPORT_EVERY {
                reported = read;
                report(observer, read)?;
            }
        }
        report(observer, read)?;
        Ok((timeline, heads))
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

    /// Notes the accepted losses of changes, so that a timeline learns where the log continues after each.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read.
    pub(crate) async fn add_losses(&self, timeline: &mut Timeline) -> Result<(), Problem> {
        for commit in self.losses().await? {
            timeline.losses_mut().accepted(Timestamp(commit.commit.decided_at));
        }
        Ok(())
    }

    /// The commits by which losses of changes were made safe. They are in the streams of leases, which are few and short
    /// compared with the log.
    async fn losses(&self) -> Result<Vec<RecordedCommit>, Problem> {
        let layout = self.store.layout();
        let mut losses = Vec::new();
        for partition in layout.all_partitions() {
            let leases = self
                .store
                .read_bucket(layout.lease_bucket(partition), Revision::EMPTY)
                .await;
            let mut leases = leases.map_err(|error| unavailable(&error))?;
            leases.retain(|commit| {
                let events = events_of(commit).unwrap_or_default();
                events.iter().any(|event| matches!(event, Event::IndexRangeRevoked(_)))
            });
            losses.append(&mut leases);
        }
        Ok(losses)
    }
}

fn report(observer: &mut dyn Observer, commits: u64) -> Result<(), Problem> {
    let progress = AuditProgress {
        commits,
        ..AuditProgress::default()
    };
    observer.report(progress)
}

fn reaches(position: &LogPosition, heads: &LogPosition) -> bool {
    position
        .iter()
        .zip(heads.iter())
        .all(|((_, read), (_, head))| read >= head)
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
