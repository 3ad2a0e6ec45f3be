//! A log that is copied to real servers and back is identical at every position, even if the server is killed during
//! the copy.

use std::sync::Arc;

use citycode_event_store::copy::{compare, copy};
use citycode_event_store::memory::MemoryEventStore;
use citycode_event_store::{EventStore, Layout, LogId, StreamState};
use citycode_event_store_jetstream::{Config, NewLog};
use citycode_testkit::NatsServer;

use crate::fixture::{alone, commit, opened};

fn log() -> NewLog {
    NewLog::new(LogId([6; 16]), Layout::new(2, 64).unwrap())
}

async fn on_servers(config: &Config) -> Arc<dyn EventStore> {
    opened(config, &log()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_can_be_copied_there_and_back_even_if_the_server_is_killed() {
    let memory = || Arc::new(MemoryEventStore::new(log().log_id, log().layout)) as Arc<dyn EventStore>;
    let (source, back) = (memory(), memory());
    for number in 0..2_000 {
        let commit = commit(&format!("holder-{}", number % 40), number);
        source.append_to_stream(commit, StreamState::Any).await.unwrap();
    }
    let mut server = NatsServer::start().await;
    let config = alone(&server);
    let target = on_servers(&config).await;
    let (half, reached_half) = tokio::sync::oneshot::channel();
    let half = Arc::new(std::sync::Mutex::new(Some(half)));
    let on_copied = move |position: citycode_event_store::Position| {
        if position.sequence.0 == 200 {
            half.lock().unwrap().take().map(|half| half.send(()));
        }
    };
    let (copying, ()) = tokio::join!(copy(&source, &target, on_copied), async {
        reached_half.await.unwrap();
        server.kill9().await;
        server.restart().await;
    });
    // If the copy failed because of the restart, a second run completes it.
    if copying.is_err() {
        copy(&source, &on_servers(&config).await, |_| {}).await.unwrap();
    }
    let moved = on_servers(&config).await;
    let reached = copy(&moved, &back, |_| {}).await.unwrap();
    assert_eq!(reached.commits(), 2_000);
    compare(&*source, &*back, &reached).await.unwrap();
}
