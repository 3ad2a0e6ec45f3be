//! A log that is copied into this engine and out again is identical at every position.

mod fixture;

use std::sync::Arc;

use citycode_event_store::copy::{compare, copy};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, StreamState};
use citycode_event_store_embedded::{Config, EmbeddedEventStore, NewLog};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_through_a_file_that_is_closed_in_between_is_identical() {
    let (log_id, layout) = (LogId([3; 16]), Layout::new(4, 64).unwrap());
    let memory = || Arc::new(MemoryEventStore::new(log_id, layout)) as Arc<dyn EventStore>;
    let (source, back) = (memory(), memory());
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let create = Some(NewLog::new(log_id, layout));
        let config = Config {
            create,
            ..Config::default()
        };
        Arc::new(EmbeddedEventStore::open(folder.path(), &config).unwrap()) as Arc<dyn EventStore>
    };
    for part in [0..300, 300..700] {
        for number in part {
            let commit = fixture::commit(number, 50, vec![number as u8; 200]);
            source.append_to_stream(commit, StreamState::Any).await.unwrap();
        }
        // The target is closed after each part, so the second copy continues the first one on disk.
        copy(&source, &open(), |_| {}).await.unwrap();
    }
    let reached = copy(&open(), &back, |_| {}).await.unwrap();
    assert_eq!(reached.commits(), 700);
    compare(&*source, &*back, &reached).await.unwrap();
}
