//! When one client raises a log's minimum reader version, the others notice without a restart.

use citycode_event_store::{BucketTail, EventStore as _, Layout, LogId, RaiseError, ReaderVersion};
use citycode_event_store_jetstream::{JetStreamEventStore, NewLog, OpenError, provision};
use citycode_testkit::{NatsServer, eventually};
use serde_json::json;

use crate::fixture::{PATIENCE, alone, ask, client, commit};

fn old_log() -> NewLog {
    NewLog {
        minimum_reader: ReaderVersion::FIRST,
        ..NewLog::new(LogId([1; 16]), Layout::new(2, 64).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn open_clients_notice_a_raise_and_the_streams_are_otherwise_unchanged() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    provision(&config, &old_log()).await.unwrap();
    let writer = JetStreamEventStore::open(&config).await.unwrap();
    let operator = JetStreamEventStore::open(&config).await.unwrap();
    assert_eq!(writer.minimum_reader(), ReaderVersion::FIRST);
    let client = client(&config).await;
    let before = ask(&client, "STREAM.INFO.CC_EV_01", "").await;

    let raised = operator.raise_minimum_reader(ReaderVersion::CURRENT).await;
    assert_eq!(raised, Ok(ReaderVersion::CURRENT));
    eventually("the writer notices", PATIENCE, || async {
        writer.minimum_reader() == ReaderVersion::CURRENT
    })
    .await;
    writer
        .append_at(commit("holder-1", 1), BucketTail::EMPTY)
        .await
        .unwrap();

    let mut expected = before["config"].clone();
    expected["metadata"]["citycode.minimum_reader"] = json!(ReaderVersion::CURRENT.to_string());
    let after = ask(&client, "STREAM.INFO.CC_EV_01", "").await;
    assert_eq!(after["config"], expected);
    let again = provision(&config, &NewLog::new(LogId([9; 16]), old_log().layout)).await;
    assert_eq!(again.unwrap(), LogId([1; 16]), "it is the same log");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_raise_has_no_effect_and_a_repeated_one_completes_it() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    provision(&config, &old_log()).await.unwrap();
    let client = client(&config).await;
    let mut half = ask(&client, "STREAM.INFO.CC_EV_01", "").await["config"].clone();
    half["metadata"]["citycode.minimum_reader"] = json!("2");
    let answer = ask(&client, "STREAM.UPDATE.CC_EV_01", &half.to_string()).await;
    assert!(answer.get("error").is_none(), "{answer}");

    let store = JetStreamEventStore::open(&config).await.unwrap();
    assert_eq!(
        store.minimum_reader(),
        ReaderVersion::FIRST,
        "the version of partition 0 counts"
    );
    let raised = store.raise_minimum_reader(ReaderVersion::CURRENT).await;
    assert_eq!(raised, Ok(ReaderVersion::CURRENT));
    let opened = JetStreamEventStore::open(&config).await.unwrap();
    assert_eq!(opened.minimum_reader(), ReaderVersion::CURRENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_raised_by_a_later_release_is_refused_and_stops_open_clients() {
    let server = NatsServer::start().await;
    let config = alone(&server);
    provision(&config, &old_log()).await.unwrap();
    let open = JetStreamEventStore::open(&config).await.unwrap();
    let client = client(&config).await;
    for stream in ["CC_EV_00", "CC_EV_01"] {
        let mut later = ask(&client, &format!("STREAM.INFO.{stream}"), "").await["config"].clone();
        later["metadata"]["citycode.minimum_reader"] = json!("9");
        let answer = ask(&client, &format!("STREAM.UPDATE.{stream}"), &later.to_string()).await;
        assert!(answer.get("error").is_none(), "{answer}");
    }
    let refused = JetStreamEventStore::open(&config).await.err().expect("it is refused");
    assert!(
        matches!(
            refused,
            OpenError::OtherVersion {
                minimum_reader: ReaderVersion(9),
                ..
            }
        ),
        "{refused}"
    );
    let raised = open.raise_minimum_reader(ReaderVersion::CURRENT).await;
    assert!(
        matches!(&raised, Err(RaiseError::Refused(why)) if why.contains("version 9")),
        "{raised:?}"
    );
    assert!(open.heads().await.is_err());
    let stopped = open.stopped().expect("it stops");
    assert!(stopped.contains("version 9"), "{stopped}");
}
