//! A log that is not the expected one, or that could lose commits, is refused with an error that names the reason.

use citycode_event_store::{BucketTail, EventStore as _, Layout, LogId, LogPosition, Partition, Sequence};
use citycode_event_store_jetstream::{
    Config, Durability, DurabilityError, JetStreamEventStore, NewLog, OpenError, provision,
};
use citycode_testkit::{NatsServer, NatsSync};
use serde_json::json;

use crate::fixture::{self, alone, ask, client, commit};

fn new_log(id: u8) -> NewLog {
    NewLog::new(LogId([id; 16]), Layout::new(2, 64).unwrap())
}

async fn refused(config: &Config) -> OpenError {
    JetStreamEventStore::open(config).await.err().expect("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_log_and_another_log_are_refused() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    assert!(matches!(refused(&config).await, OpenError::NoLog));
    provision(&config, &new_log(1)).await.unwrap();
    assert_eq!(
        provision(&config, &new_log(1)).await.unwrap(),
        LogId([1; 16]),
        "a repeated call changes nothing"
    );
    let other = Config {
        expected_log_id: Some(LogId([2; 16])),
        ..config.clone()
    };
    assert!(matches!(refused(&other).await, OpenError::OtherLog { .. }));
    let layout = Layout::new(4, 64).unwrap();
    assert!(
        provision(&config, &NewLog { layout, ..new_log(1) }).await.is_err(),
        "the layout never changes"
    );

    let client = client(&config).await;
    ask(&client, "STREAM.DELETE.CC_EV_01", "").await;
    let missing = refused(&config).await;
    assert!(
        matches!(missing, OpenError::PartitionMissing(Partition(1))),
        "{missing}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_could_lose_commits_is_refused_with_the_name_of_the_setting() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    provision(&config, &new_log(1)).await.unwrap();
    let client = client(&config).await;
    let info = ask(&client, "STREAM.INFO.CC_EV_00", "").await;
    for (setting, value) in [
        ("max_age", json!(3_600_000_000_000u64)),
        ("max_msgs", json!(10)),
        ("discard", json!("old")),
    ] {
        let mut changed = info["config"].clone();
        changed[setting] = value;
        let answer = ask(&client, "STREAM.UPDATE.CC_EV_00", &changed.to_string()).await;
        assert!(answer.get("error").is_none(), "{answer}");
        let error = refused(&config).await;
        assert!(matches!(error, OpenError::WrongSettings { .. }), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
        let answer = ask(&client, "STREAM.UPDATE.CC_EV_00", &info["config"].to_string()).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }
    JetStreamEventStore::open(&config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_acknowledges_before_it_flushes_is_refused_unless_explicitly_allowed() {
    let server = NatsServer::start_with(NatsSync::EveryTwoMinutes).await;
    let proved = alone(&server);
    let unproven = Config {
        durability: Durability::Unproven,
        ..proved.clone()
    };
    provision(&unproven, &new_log(1)).await.unwrap();
    JetStreamEventStore::open(&unproven).await.unwrap();
    let error = refused(&proved).await;
    let expected = matches!(error, OpenError::Durability(DurabilityError::NotSyncAlways { .. }));
    assert!(expected, "{error}");
    let unmonitored = Config {
        durability: Durability::SyncAlways { monitors: Vec::new() },
        ..proved
    };
    let error = refused(&unmonitored).await;
    let expected = matches!(error, OpenError::Durability(DurabilityError::NotMonitored { .. }));
    assert!(expected, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rolled_back_is_refused_and_its_clients_stop() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    provision(&config, &new_log(1)).await.unwrap();
    let store = JetStreamEventStore::open(&config).await.unwrap();
    store.append_at(commit("holder-1", 1), BucketTail::EMPTY).await.unwrap();
    let seen = store.heads().await.unwrap();

    // A restore of an older copy has the same identity but fewer commits.
    fixture::delete_all_partitions(&config).await;
    provision(&config, &new_log(1)).await.unwrap();
    let behind = Config {
        seen: Some(seen.clone()),
        ..config.clone()
    };
    let (opened, read) = tokio::join!(JetStreamEventStore::open(&behind), store.heads());
    let error = opened.err().expect("it is refused");
    assert!(error.to_string().contains("seen"), "{error}");
    assert!(read.is_err(), "{read:?}");
    assert!(
        store.stopped().is_some(),
        "a client that has seen more stops permanently"
    );
    let later = store.append_at(commit("holder-1", 2), BucketTail::EMPTY).await;
    assert!(later.is_err(), "{later:?}");
    let fresh = JetStreamEventStore::open(&config).await.unwrap();
    assert_eq!(
        fresh.heads().await.unwrap(),
        LogPosition::from_sequences(vec![Sequence(0); 2])
    );
}
