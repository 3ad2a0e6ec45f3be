//! Tests of subscriptions that read history from segments.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::conformance::sample_commit;
use crate::memory::MemoryEventStore;
use crate::{StreamName, SubscriptionMessage};

const LENGTH: u64 = 4;

/// Segments of a log that are read from the log itself.
struct FromLog {
    log: Arc<MemoryEventStore>,
    /// Segments from this number on are missing.
    missing_from: u64,
    /// The first commit of each segment is left out.
    damaged: bool,
    delivered: AtomicU64,
}

#[async_trait]
impl HistorySource for FromLog {
    fn segment_length(&self) -> u64 {
        LENGTH
    }

    async fn segment(&self, partition: Partition, number: u64) -> Option<Vec<Arc<RecordedCommit>>> {
        if number >= self.missing_from {
            return None;
        }
        let first = number * LENGTH + 1 + u64::from(self.damaged);
        let mut commits = Vec::new();
        for sequence in first..=(number + 1) * LENGTH {
            let at = Position::new(partition.0, sequence);
            commits.push(Arc::new(self.log.read_at(at).await.unwrap().unwrap()));
        }
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Some(commits)
    }
}

/// A log of 40 commits in two partitions, and its history.
async fn city(missing_from: u64, damaged: bool) -> (Arc<MemoryEventStore>, Arc<FromLog>, LogWithHistory) {
    let log = Arc::new(MemoryEventStore::new(LogId([1; 16]), Layout::new(2, 64).unwrap()));
    for number in 0..40 {
        let stream = StreamName::new(&format!("stream-{number}")).unwrap();
        let tail = log.bucket_tail(log.layout().bucket_of(&stream)).await.unwrap();
        log.append_at(sample_commit(stream, number, "payload"), tail)
            .await
            .unwrap();
    }
    let history = Arc::new(FromLog {
        log: Arc::clone(&log),
        missing_from,
        damaged,
        delivered: AtomicU64::new(0),
    });
    let with_history = LogWithHistory::new(log.clone(), history.clone());
    (log, history, with_history)
}

/// Everything that a subscription delivers until it has caught up, sorted by position.
async fn read(log: &dyn EventStore, from: LogPosition) -> Result<Vec<RecordedCommit>, SubscriptionError> {
    let mut subscription = log.subscribe_to_all(from).await?;
    let mut commits = Vec::new();
    loop {
        match subscription.next().await? {
            SubscriptionMessage::EventAppeared(commit) => commits.push((*commit).clone()),
            SubscriptionMessage::CaughtUp(reached) => {
                assert_eq!(reached, log.heads().await.unwrap());
                commits.sort_by_key(|commit| commit.position);
                return Ok(commits);
            }
            SubscriptionMessage::FellBehind(_) => {}
        }
    }
}

#[tokio::test]
async fn segments_and_the_tail_deliver_what_the_log_delivers_from_any_position() {
    let (log, history, with_history) = city(u64::MAX, false).await;
    let heads = log.heads().await.unwrap();
    let (first, second) = (heads.sequence(Partition(0)).0, heads.sequence(Partition(1)).0);
    assert!(first > 2 * LENGTH && second > 2 * LENGTH, "{first} {second}");
    for start in [[0, 0], [1, 0], [LENGTH - 1, LENGTH], [first, 2], [first, second]] {
        let from = LogPosition::from_sequences(start.map(Sequence).to_vec());
        let before = history.delivered.load(Ordering::Relaxed);
        let expected = read(&*log, from.clone()).await.unwrap();
        assert_eq!(read(&with_history, from).await.unwrap(), expected, "from {start:?}");
        let complete = [(start[0], first), (start[1], second)].map(|(seen, head)| head / LENGTH - seen / LENGTH);
        let used = history.delivered.load(Ordering::Relaxed) - before;
        assert_eq!(used, complete.iter().sum::<u64>(), "from {start:?}");
    }
}

#[tokio::test]
async fn the_log_delivers_what_the_source_does_not_have() {
    let (log, history, with_history) = city(1, false).await;
    let from = LogPosition::start(2);
    assert_eq!(
        read(&with_history, from.clone()).await.unwrap(),
        read(&*log, from).await.unwrap()
    );
    assert_eq!(history.delivered.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_source_without_a_commit_is_a_gap() {
    let (_, _, with_history) = city(u64::MAX, true).await;
    let error = read(&with_history, LogPosition::start(2)).await.unwrap_err();
    assert!(matches!(error, SubscriptionError::Gap { .. }), "{error}");
}

#[tokio::test]
async fn a_position_of_another_layout_or_past_the_head_is_refused_as_by_the_log() {
    let (log, _, with_history) = city(u64::MAX, false).await;
    let mut past = log.heads().await.unwrap();
    past.set(Partition(0), Sequence(1_000));
    for from in [LogPosition::start(3), past] {
        let expected = log.subscribe_to_all(from.clone()).await.err().unwrap();
        assert_eq!(with_history.subscribe_to_all(from).await.err(), Some(expected));
    }
}
