//! The log as replay sees it: the timeline of the whole log, or of one code.

use citycode_domain::ids::CodeId;
use citycode_event_store::{LogPosition, RecordedCommit, Revision, SubscriptionBatch};
use citycode_log_folds::{folded_events, keys_stream, policies_stream, projected};
use citycode_replay::Timeline;
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
        let start = LogPosition::start(self.store.layout().partitions());
        let subscribed = self.store.subscribe_to_all(start).await;
        let mut subscription = subscribed.map_err(|error| unavailable(&error))?;
        let (mut timeline, mut read, mut reported) = (Timeline::new(), 0, 0);
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

    /// Adds a code to a timeline without codes; nothing if the log does not have the code.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read or folded.
    pub(crate) async fn add_code(&self, timeline: &mut Timeline, code_id: CodeId) -> Result<(), Problem> {
        let commits = self.commits_about(code_id).await?.unwrap_or_default();
        commits.iter().try_for_each(|commit| fold(timeline, commit))
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

fn fold(timeline: &mut Timeline, commit: &RecordedCommit) -> Result<(), Problem> {
    if commit.foreign.is_some() {
        return Ok(());
    }
    let events = folded_events(commit).map_err(|error| unavailable(&error))?;
    let folded = timeline.fold(&projected(commit, &events));
    folded.map_err(|error| unavailable(&format!("at {}: {error}", commit.position)))
}
