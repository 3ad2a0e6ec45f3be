//! The log as replay sees it: the timeline of the whole log, or of one code.

use citycode_domain::ids::CodeId;
use citycode_event_store::{LogPosition, Position, RecordedCommit, Revision, SubscriptionBatch};
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

    /// One code, with the signing keys and the policies; without the code if the log does not have it.
    ///
    /// # Errors
    /// `unavailable` if the log cannot be read or folded.
    pub(crate) async fn timeline_of(&self, code_id: Option<CodeId>) -> Result<Timeline, Problem> {
        let mut timeline = Timeline::new();
        for stream in [keys_stream(), policies_stream()] {
            let commits = self.store.read_stream(&stream, Revision::EMPTY).await;
            for commit in commits.map_err(|error| unavailable(&error))? {
                fold(&mut timeline, &commit)?;
            }
        }
        let Some(code_id) = code_id else {
            return Ok(timeline);
        };
        self.catch_up(None).await?;
        let holder = self.index.holder_of(code_id).map_err(|error| unavailable(&error))?;
        let Some(holder) = holder else {
            return Ok(timeline);
        };
        let partition = self.partition_of(holder);
        for sequence in self.index.commits_of(holder).map_err(|error| unavailable(&error))? {
            let commit = self.store.read_at(Position { partition, sequence }).await;
            let commit = commit.map_err(|error| unavailable(&error))?;
            let commit = commit.ok_or_else(|| unavailable(&"the index refers to a commit that is not in the log"))?;
            fold(&mut timeline, &commit)?;
        }
        Ok(timeline)
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
