//! The check of the whole log, and of what is compared with it: the published trees, the audit index, and the stream of
//! queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use citycode_domain::event::{Event, QueriesSealed};
use citycode_event_store::{Partition, Position, RecordedCommit, Sequence};
use citycode_log_folds::{events_of, query_digests_stream};
use citycode_log_tree::check::{CheckError, Checked, Fault, MAX_FAULTS, check, check_with};
use citycode_query_stream::Compared;
use citycode_service_kit::problem::{Code, Problem};
use citycode_wire::proto::audit::v1 as proto;
use parking_lot::Mutex;

use crate::history::{Audit, sent_position, unavailable};
use crate::index::ComparedIndex;
use crate::run::Observer;

/// The names of the checks that this service adds to those of the log.
const INDEX: &str = "index";
const QUERIES: &str = "queries";
/// What to do about a fault of the index. Of a damaged log, it may have what the log has lost.
const REBUILD: &str = "stop the service, delete the index, and start it: the index is rebuilt";
const REPAIR_FIRST: &str = "the log is damaged too: repair it first, and keep the index until then";
/// Digests of queries that are compared between two reports of progress.
const REPORT_EVERY: usize = 64;

/// A digest of queries, and where it is in the log.
type Sealed = (Position, QueriesSealed);

impl Audit {
    /// Checks the log, from a position of one partition on or the whole log. With the whole log, the audit index and the
    /// stream of queries are compared with it.
    ///
    /// # Errors
    /// `invalid_request` if the log has no such partition; `unavailable` if it cannot be read now, or the observer ends
    /// the check.
    pub async fn check_log(
        &self,
        from: Option<Position>,
        observer: &mut dyn Observer,
    ) -> Result<proto::CheckLogResult, Problem> {
        if from.is_some_and(|from| from.partition.0 >= self.store.layout().partitions()) {
            return Err(Problem::new(Code::InvalidRequest, "the log has no such partition"));
        }
        let report = |commits| observer.progress(having_read(commits));
        let (store, trees) = (Arc::clone(&self.store), self.trees.clone());
        if from.is_some() {
            return check(store, trees, from, report)
                .await
                .map(sent)
                .map_err(|error| failed(&error));
        }
        let visited = Arc::new(Visited {
            // The index is read as of now; the log, whose end is read later, reaches at least as far.
            index: self
                .index
                .compare(store.layout())
                .map_err(|error| unavailable(&error))?,
            sealed: Mutex::default(),
        });
        let visiting = Arc::clone(&visited);
        let visit = Arc::new(move |commit: &RecordedCommit| visiting.add(commit));
        let checked = check_with(store, trees, None, visit, report).await;
        let checked = checked.map_err(|error| failed(&error))?;
        let damage = Damage::of(&checked.faults);
        let mut result = sent(checked);
        // All tasks of the check have ended.
        let Visited { index, sealed } = Arc::into_inner(visited).ok_or_else(Problem::internal)?;
        let mut sealed = sealed.into_inner();
        sealed.sort_by_key(|(position, _)| *position);
        // The whole index is read, which takes as long as a part of the log.
        observer.report(having_read(result.commits))?;
        let faults = tokio::task::spawn_blocking(move || index.end()).await;
        observer.report(having_read(result.commits))?;
        let faults = faults.map_err(|_| Problem::internal())?;
        for fault in faults.map_err(|error| unavailable(&error))? {
            if damage.includes(fault.partition) {
                continue;
            }
            let what = format!("{}; {}", fault.what, damage.advice());
            result.faults.push(fault_of(INDEX, first_of(fault.partition), 1, what));
        }
        self.check_queries(&sealed, &mut result, observer).await?;
        Ok(result)
    }

    /// Compares the stream of queries with its digests in the log.
    async fn check_queries(
        &self,
        sealed: &[Sealed],
        result: &mut proto::CheckLogResult,
        observer: &mut dyn Observer,
    ) -> Result<(), Problem> {
        let Some(queries) = &self.queries else { return Ok(()) };
        let mut first: Option<proto::LogFault> = None;
        for (number, (position, digest)) in sealed.iter().enumerate() {
            if number % REPORT_EVERY == 0 {
                observer.report(having_read(result.commits))?;
            }
            let last = digest.first + u64::from(digest.count) - 1;
            let compared = queries.compare(digest).await.map_err(|error| unavailable(&error))?;
            let what = match compared {
                Compared::Same => {
                    result.queries += u64::from(digest.count);
                    continue;
                }
                Compared::Missing(missing) => format!("query {missing} is missing"),
                Compared::Changed => {
                    format!(
                        "the queries {} to {last} are not those whose digest is in the log",
                        digest.first
                    )
                }
            };
            // As for other checks, the first fault stands for all.
            first.get_or_insert_with(|| fault_of(QUERIES, *position, 0, what)).count += 1;
        }
        result.faults.extend(first);
        Ok(())
    }
}

/// Where messages of the log are missing or changed: a sound index differs there from what can be read.
struct Damage {
    partitions: BTreeSet<Partition>,
    /// Further partitions may have faults that are not listed.
    is_cut_off: bool,
}

impl Damage {
    fn of(faults: &[Fault]) -> Self {
        let of_messages = faults.iter().filter(|fault| fault.kind.is_of_messages());
        Self {
            partitions: of_messages.map(|fault| fault.first.partition).collect(),
            is_cut_off: faults.len() >= MAX_FAULTS,
        }
    }

    fn includes(&self, partition: Partition) -> bool {
        self.is_cut_off || self.partitions.contains(&partition)
    }

    fn advice(&self) -> &'static str {
        if self.partitions.is_empty() {
            REBUILD
        } else {
            REPAIR_FIRST
        }
    }
}

/// What is collected while the log is read.
struct Visited {
    index: ComparedIndex,
    sealed: Mutex<Vec<Sealed>>,
}

impl Visited {
    fn add(&self, commit: &RecordedCommit) {
        self.index.add(commit);
        if commit.commit.stream != query_digests_stream() {
            return;
        }
        for event in events_of(commit).unwrap_or_default() {
            if let Event::QueriesSealed(digest) = event {
                self.sealed.lock().push((commit.position, digest));
            }
        }
    }
}

fn failed(error: &CheckError) -> Problem {
    match error {
        CheckError::Cancelled => Problem::new(Code::Unavailable, "the check was cancelled"),
        error => unavailable(error),
    }
}

fn having_read(commits: u64) -> proto::AuditProgress {
    proto::AuditProgress {
        commits,
        ..proto::AuditProgress::default()
    }
}

fn first_of(partition: Partition) -> Position {
    Position {
        partition,
        sequence: Sequence(1),
    }
}

fn fault_of(check: &str, first: Position, count: u64, detail: String) -> proto::LogFault {
    proto::LogFault {
        check: check.to_owned(),
        position: Some(sent_position(first)),
        count,
        detail,
    }
}

fn sent(checked: Checked) -> proto::CheckLogResult {
    let checkpoints = checked.checkpoints.iter();
    let checkpoints = checkpoints.map(|(partition, head)| proto::ComparedCheckpoint {
        partition: u32::from(partition.0),
        size: head.size,
        root: head.root.to_string(),
    });
    let faults = checked.faults.iter();
    let faults = faults.map(|fault| fault_of(fault.kind.name(), fault.first, fault.count, fault.what.clone()));
    proto::CheckLogResult {
        commits: checked.commits,
        compared: checked.compared,
        checkpoints: checkpoints.collect(),
        faults: faults.collect(),
        queries: 0,
    }
}
