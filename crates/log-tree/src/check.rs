//! Reads a whole log and names what is wrong with it.
//!
//! | fault | what it means | found by |
//! |---|---|---|
//! | `unreadable` | a message cannot be read | the engine |
//! | `gap` | a message is missing | sequences |
//! | `foreign` | a message is not a commit, or is a copy of one, and no operator declared it | codec, chain |
//! | `chain` | the commit before this one in its bucket was changed or is missing | hashes of commits |
//! | `event` | an event cannot be decoded | codec |
//! | `leaf` | the message is not the one of which the published tree was made | tiles |
//! | `rolled_back` | the log ends before the signed checkpoint | checkpoint |
//! | `root` | the log is not the one of which the signed checkpoint was made | checkpoint |
//! | `tile` | a tile does not belong to the signed checkpoint | tiles |
//! | `checkpoint` | the signed checkpoint cannot be used, or publishing has stopped | signature |
//!
//! A changed message that is not the last of its bucket breaks the chain of the next one; whatever is changed, with or
//! without recomputed hashes, changes a leaf. Memory: a hash for each bucket, and at most [`MAX_FAULTS`] faults.

mod partitions;

use std::sync::Arc;

use citycode_event_store::{
    EventStore, Partition, Position, ReadError, RecordedCommit, SubscriptionBatch, SubscriptionError,
};
use citycode_transparency::TreeHead;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::publish::LogTrees;
use partitions::Checking;

/// Most faults that are listed: the first of each kind in each partition.
pub const MAX_FAULTS: usize = 100;
/// Undeclared foreign messages that are remembered; more are one fault in any case.
const MAX_FOREIGN: usize = 10_000;
/// Commits between two reports of progress.
const REPORT_EVERY: u64 = 50_000;

/// A kind of fault; see the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the module's documentation has a table of them")]
pub enum FaultKind {
    Unreadable,
    Gap,
    Foreign,
    Chain,
    Event,
    Leaf,
    RolledBack,
    Root,
    Tile,
    Checkpoint,
}

impl FaultKind {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::Foreign => "foreign",
            Self::Chain => "chain",
            Self::Event => "event",
            Self::Leaf => "leaf",
            Self::RolledBack => "rolled_back",
            Self::Root => "root",
            Self::Tile => "tile",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// Whether messages of the log are missing or are not what they were, so that data that is derived from the log
    /// cannot be compared with it.
    #[must_use]
    pub const fn is_of_messages(self) -> bool {
        !matches!(self, Self::Tile | Self::Checkpoint)
    }
}

/// The faults of one kind in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// The position of the first one.
    pub first: Position,
    /// How many there are, as far as they were counted.
    pub count: u64,
    /// What is wrong with the first one; contains no content of the log.
    pub what: String,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Messages that were read.
    pub commits: u64,
    /// Leaves that were compared with the published trees.
    pub compared: u64,
    /// Sizes of the signed checkpoints that were compared, by partition; a partition without one is missing.
    pub checkpoints: Vec<(Partition, TreeHead)>,
    /// The faults, by partition and kind.
    pub faults: Vec<Fault>,
}

/// Why a log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The log cannot be read now.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// Another error of the subscription.
    #[error(transparent)]
    Subscription(SubscriptionError),
    /// The observer ended the check.
    #[error("the check was cancelled")]
    Cancelled,
    /// A task of the check panicked, or the runtime is shutting down.
    #[error("the check ended early")]
    Ended,
}

/// Checks a log against its hashes, its chains and its published trees.
///
/// Partitions share nothing that is checked, so that each core reads and checks some of them. `from` limits the check to
/// the messages of one partition from that position on; chains that begin before it are then not checked at their first
/// message. `report` receives the number of messages that were read, and returns whether to go on.
///
/// # Errors
/// [`CheckError`]. A damaged log is no error: its faults are listed.
pub async fn check(
    store: Arc<dyn EventStore>,
    trees: Option<Arc<LogTrees>>,
    from: Option<Position>,
    report: impl FnMut(u64) -> bool + Send,
) -> Result<Checked, CheckError> {
    check_with(store, trees, from, Arc::new(|_: &RecordedCommit| ()), report).await
}

/// The same; `visit` receives each commit of a chain in the order of its partition, so that other data can be compared
/// with the log in the same reading. It is called for several partitions at the same time.
///
/// # Errors
/// As [`check`].
pub async fn check_with(
    store: Arc<dyn EventStore>,
    trees: Option<Arc<LogTrees>>,
    from: Option<Position>,
    visit: Arc<impl Fn(&RecordedCommit) + Send + Sync + 'static>,
    report: impl FnMut(u64) -> bool + Send,
) -> Result<Checked, CheckError> {
    let (read, progress) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for partitions in shares(&*store, from) {
        let share = Share {
            store: Arc::clone(&store),
            trees: trees.clone(),
            partitions,
            from,
        };
        tasks.spawn(share.check(Arc::clone(&visit), read.clone()));
    }
    drop(read);
    gather(tasks, progress, report).await
}

/// Adds up what the tasks of a check find, and reports their progress. The first error ends the check at once.
///
/// # Errors
/// The first error of a task, or [`CheckError::Cancelled`]. Dropping the tasks aborts the others.
async fn gather(
    mut tasks: JoinSet<Result<Checked, CheckError>>,
    mut progress: mpsc::UnboundedReceiver<u64>,
    mut report: impl FnMut(u64) -> bool + Send,
) -> Result<Checked, CheckError> {
    let (mut messages, mut reported) = (0, 0);
    let mut count = |more: u64| {
        messages += more;
        if messages - reported >= REPORT_EVERY {
            reported = messages;
            if !report(reported) {
                return Err(CheckError::Cancelled);
            }
        }
        Ok(())
    };
    let mut all = Checked::default();
    loop {
        tokio::select! {
            biased;
            ended = tasks.join_next() => {
                let Some(ended) = ended else { break };
                let share = ended.map_err(|_| CheckError::Ended)??;
                all.commits += share.commits;
                all.compared += share.compared;
                all.checkpoints.extend(share.checkpoints);
                all.faults.extend(share.faults);
            }
            Some(more) = progress.recv() => count(more)?,
        }
    }
    // What the tasks sent last; all of them have ended.
    while let Some(more) = progress.recv().await {
        count(more)?;
    }
    all.checkpoints.sort_by_key(|(partition, _)| *partition);
    all.faults.sort_by_key(|fault| (fault.first.partition, fault.kind));
    all.faults.truncate(MAX_FAULTS);
    Ok(all)
}

/// The partitions that each task checks, each at least one.
fn shares(store: &dyn EventStore, from: Option<Position>) -> Vec<Vec<Partition>> {
    if let Some(from) = from {
        return vec![vec![from.partition]];
    }
    let partitions: Vec<Partition> = store.layout().all_partitions().collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = partitions.len().div_ceil(cores).max(1);
    partitions.chunks(share).map(<[Partition]>::to_vec).collect()
}

/// The partitions of one task.
struct Share {
    store: Arc<dyn EventStore>,
    trees: Option<Arc<LogTrees>>,
    partitions: Vec<Partition>,
    from: Option<Position>,
}

impl Share {
    /// Checks the partitions; sends the number of messages that were read since the last time.
    async fn check(
        self,
        visit: Arc<impl Fn(&RecordedCommit) + Send + Sync>,
        read: mpsc::UnboundedSender<u64>,
    ) -> Result<Checked, CheckError> {
        let Self {
            store,
            trees,
            partitions,
            from,
        } = self;
        // The checkpoints are read before the heads, so that a sound log includes them.
        let mut checking = Checking::new(&*store, trees.as_deref(), &partitions, from);
        let heads = store.heads().await?;
        let mut position = heads.clone();
        for partition in partitions {
            position.set(partition, checking.begin(partition, heads.sequence(partition)));
        }
        'subscribe: while !position.reaches(&heads) {
            let mut subscription = match store.subscribe_to_all(position.clone()).await {
                Ok(subscription) => subscription,
                Err(error) => {
                    checking.broken(&mut position, error)?;
                    continue;
                }
            };
            while !subscription.position().reaches(&heads) {
                match subscription.next_batch().await {
                    Ok(SubscriptionBatch::Commits(commits)) => {
                        let before = checking.found.commits;
                        for commit in commits.iter().filter(|commit| heads.includes(commit.position)) {
                            if checking.message(commit).await? {
                                visit(commit);
                            }
                        }
                        // The receiver ends when the check is cancelled.
                        let _ = read.send(checking.found.commits - before);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        position = subscription.position().clone();
                        checking.broken(&mut position, error)?;
                        continue 'subscribe;
                    }
                }
            }
            position = subscription.position().clone();
        }
        Ok(checking.end(&heads))
    }
}

#[cfg(test)]
mod tests;
