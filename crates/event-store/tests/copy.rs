//! Copying between logs: everything comes over as it was, a copy that was cut short is finished, and what is no
//! beginning of the source is refused and left alone.

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

/// Appends so many commits to twenty streams, some of which share a bucket.
async fn live(store: &Arc<dyn EventStore>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let stream = StreamName::new(&format!("holder-{}", number % 20)).expect("a name");
        let command_id = CommandId(u128::from(number).to_be_bytes());
        let commit = NewCommit {
            message_id: message_id("test", &stream, &command_id),
            stream,
            events: vec![EventData {
                event_type: "Told".into(),
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

fn silent(_: Position) {}

/// Copies; where both stand then, and of how many commits it told.
async fn counted(source: &Arc<dyn EventStore>, target: &Arc<dyn EventStore>) -> (LogPosition, u64) {
    let told = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&told);
    let count = move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let reached = copy(source, target, count).await.expect("copied");
    (reached, told.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_copy_has_every_position_and_hash_and_says_how_far_it_has_come() {
    let (source, target) = (log(1), log(1));
    live(&source, 0..2_500).await;
    let (reached, told) = counted(&source, &target).await;
    assert_eq!(told, 2_500);
    assert_eq!(target.heads().await, source.heads().await);
    compare(&*source, &*target, &reached).await.expect("alike");
}

#[tokio::test]
async fn a_copy_goes_on_where_the_last_one_ended() {
    let (source, target) = (log(1), log(1));
    live(&source, 0..500).await;
    copy(&source, &target, silent).await.expect("copied");
    live(&source, 500..900).await;
    let (reached, told) = counted(&source, &target).await;
    assert_eq!(told, 400, "only what was new");
    compare(&*source, &*target, &reached).await.expect("alike");
    copy(&source, &target, |position| panic!("nothing is left, but {position}"))
        .await
        .expect("copied");
}

#[tokio::test]
async fn what_is_no_beginning_of_the_source_is_refused_and_left_alone() {
    let source = log(1);
    live(&source, 0..100).await;
    let refused = copy(&source, &log(2), silent).await;
    assert!(matches!(refused, Err(CopyError::OtherLog { .. })), "{refused:?}");

    let layout = Layout::new(2, 64).expect("a layout");
    let narrow: Arc<dyn EventStore> = Arc::new(MemoryEventStore::new(LogId([1; 16]), layout));
    let refused = copy(&source, &narrow, silent).await;
    assert!(matches!(refused, Err(CopyError::OtherLayout { .. })), "{refused:?}");

    let ahead = log(1);
    live(&ahead, 0..300).await;
    let refused = copy(&source, &ahead, silent).await;
    assert!(matches!(refused, Err(CopyError::Ahead(_))), "{refused:?}");

    let other = log(1);
    live(&other, 1_000..1_020).await;
    let before = other.heads().await;
    let refused = copy(&source, &other, silent).await;
    assert!(matches!(refused, Err(CopyError::Differs(_))), "{refused:?}");
    assert_eq!(other.heads().await, before);
    let up_to = before.expect("heads");
    let differs = compare(&*source, &*other, &up_to).await;
    assert!(matches!(differs, Err(CopyError::Differs(_))), "{differs:?}");
}

#[tokio::test]
async fn a_log_that_ends_before_what_is_compared_is_told_at_once_and_not_waited_for() {
    let (short, long) = (log(1), log(1));
    live(&short, 0..100).await;
    live(&long, 0..300).await;
    let up_to = long.heads().await.expect("heads");
    // Who waits for commits that never come would wait here for ever.
    let patience = std::time::Duration::from_secs(30);
    let ahead = tokio::time::timeout(patience, compare(&*short, &*long, &up_to)).await;
    assert!(matches!(ahead, Ok(Err(CopyError::Ahead(_)))), "{ahead:?}");
    let behind = tokio::time::timeout(patience, compare(&*long, &*short, &up_to)).await;
    assert!(matches!(behind, Ok(Err(CopyError::Short(_)))), "{behind:?}");
}

#[tokio::test]
async fn a_copy_demands_at_least_the_reader_version_of_its_source_also_where_that_was_raised_later() {
    let at = |version| {
        let layout = Layout::new(4, 64).expect("a layout");
        Arc::new(MemoryEventStore::with_minimum_reader(LogId([1; 16]), layout, version)) as Arc<dyn EventStore>
    };
    let (source, target, newer) = (
        at(ReaderVersion::FIRST),
        at(ReaderVersion::FIRST),
        at(ReaderVersion::CURRENT),
    );
    live(&source, 0..10).await;
    copy(&source, &target, silent).await.expect("copied");
    assert_eq!(target.minimum_reader(), ReaderVersion::FIRST);
    copy(&source, &newer, silent).await.expect("copied");
    assert_eq!(newer.minimum_reader(), ReaderVersion::CURRENT, "it never goes down");

    source
        .raise_minimum_reader(ReaderVersion::CURRENT)
        .await
        .expect("raised");
    live(&source, 10..20).await;
    copy(&source, &target, silent).await.expect("copied");
    assert_eq!(target.minimum_reader(), ReaderVersion::CURRENT);
}
