//! Copies between logs are exact, an interrupted copy can be completed, and a target that is not a prefix of the source
//! is refused and left unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use citycode_event_store::copy::{CopyError, compare, copy};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{
    CommandId, EventData, EventStore, Layout, LogId, LogPosition, NewCommit, Position, ReaderVersion, RequestDigest,
    StreamName, StreamState, message_id,
};

fn log(id: u8) -> Arc<dyn EventStore> {
    Arc::new(MemoryEventStore::new(
        LogId([id; 16]),
        Layout::new(4, 64).expect("a layout"),
    ))
}

/// Appends a commit for each number to one of twenty streams, some of which share a bucket.
async fn append(store: &Arc<dyn EventStore>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let stream = StreamName::new(&format!("holder-{}", number % 20)).expect("a name");
        let command_id = CommandId(u128::from(number).to_be_bytes());
        let commit = NewCommit {
            message_id: message_id("test", &stream, &command_id),
            stream,
            events: vec![EventData {
                event_type: "Tested".into(),
                version: 1,
                payload: vec![number as u8; 100].into(),
            }],
            request_digest: RequestDigest([1; 32]),
            command_id,
            actor: "test".into(),
            causation_id: None,
            correlation_id: None,
            decided_at: number as i64,
            trace_context: None,
        };
        store
            .append_to_stream(commit, StreamState::Any)
            .await
            .expect("appended");
    }
}

fn ignore_progress(_: Position) {}

/// Copies; returns the position that both logs then reach, and the number of commits that were reported as copied.
async fn copy_counted(source: &Arc<dyn EventStore>, target: &Arc<dyn EventStore>) -> (LogPosition, u64) {
    let copied = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&copied);
    let count = move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let reached = copy(source, target, count).await.expect("copied");
    (reached, copied.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_copy_has_every_position_and_hash_and_reports_each_commit() {
    let (source, target) = (log(1), log(1));
    append(&source, 0..2_500).await;
    let (reached, copied) = copy_counted(&source, &target).await;
    assert_eq!(copied, 2_500);
    assert_eq!(target.heads().await, source.heads().await);
    compare(&*source, &*target, &reached).await.expect("equal");
}

#[tokio::test]
async fn a_copy_continues_where_the_last_one_ended() {
    let (source, target) = (log(1), log(1));
    append(&source, 0..500).await;
    copy(&source, &target, ignore_progress).await.expect("copied");
    append(&source, 500..900).await;
    let (reached, copied) = copy_counted(&source, &target).await;
    assert_eq!(copied, 400, "only the new commits are copied");
    compare(&*source, &*target, &reached).await.expect("equal");
    copy(&source, &target, |position| {
        panic!("nothing is left to copy, but {position} was copied")
    })
    .await
    .expect("copied");
}

#[tokio::test]
async fn a_target_that_is_not_a_prefix_of_the_source_is_refused_and_left_unchanged() {
    let source = log(1);
    append(&source, 0..100).await;
    let refused = copy(&source, &log(2), ignore_progress).await;
    assert!(matches!(refused, Err(CopyError::OtherLog { .. })), "{refused:?}");

    let layout = Layout::new(2, 64).expect("a layout");
    let narrow: Arc<dyn EventStore> = Arc::new(MemoryEventStore::new(LogId([1; 16]), layout));
    let refused = copy(&source, &narrow, ignore_progress).await;
    assert!(matches!(refused, Err(CopyError::OtherLayout { .. })), "{refused:?}");

    let ahead = log(1);
    append(&ahead, 0..300).await;
    let refused = copy(&source, &ahead, ignore_progress).await;
    assert!(matches!(refused, Err(CopyError::Ahead(_))), "{refused:?}");

    let other = log(1);
    append(&other, 1_000..1_020).await;
    let before = other.heads().await;
    let refused = copy(&source, &other, ignore_progress).await;
    assert!(matches!(refused, Err(CopyError::Differs(_))), "{refused:?}");
    assert_eq!(other.heads().await, before);
    let up_to = before.expect("heads");
    let differs = compare(&*source, &*other, &up_to).await;
    assert!(matches!(differs, Err(CopyError::Differs(_))), "{differs:?}");
}

#[tokio::test]
async fn comparing_past_the_end_of_a_log_fails_immediately() {
    let (short, long) = (log(1), log(1));
    append(&short, 0..100).await;
    append(&long, 0..300).await;
    let up_to = long.heads().await.expect("heads");
    // A comparison that waited for the missing commits would never end.
    let patience = std::time::Duration::from_secs(30);
    let ahead = tokio::time::timeout(patience, compare(&*short, &*long, &up_to)).await;
    assert!(matches!(ahead, Ok(Err(CopyError::Ahead(_)))), "{ahead:?}");
    let behind = tokio::time::timeout(patience, compare(&*long, &*short, &up_to)).await;
    assert!(matches!(behind, Ok(Err(CopyError::Short(_)))), "{behind:?}");
}

#[tokio::test]
async fn a_copy_raises_the_targets_minimum_reader_version_to_that_of_the_source() {
    let at = |version| {
        let layout = Layout::new(4, 64).expect("a layout");
        Arc::new(MemoryEventStore::with_minimum_reader(LogId([1; 16]), layout, version)) as Arc<dyn EventStore>
    };
    let (source, target, newer) = (
        at(ReaderVersion::FIRST),
        at(ReaderVersion::FIRST),
        at(ReaderVersion::CURRENT),
    );
    append(&source, 0..10).await;
    copy(&source, &target, ignore_progress).await.expect("copied");
    assert_eq!(target.minimum_reader(), ReaderVersion::FIRST);
    copy(&source, &newer, ignore_progress).await.expect("copied");
    assert_eq!(newer.minimum_reader(), ReaderVersion::CURRENT, "it never decreases");

    source
        .raise_minimum_reader(ReaderVersion::CURRENT)
        .await
        .expect("raised");
    append(&source, 10..20).await;
    copy(&source, &target, ignore_progress).await.expect("copied");
    assert_eq!(target.minimum_reader(), ReaderVersion::CURRENT);
}
