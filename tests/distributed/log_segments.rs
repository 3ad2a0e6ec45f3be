//! Segments of the log's history: revocation writes them, and a verifier without a snapshot starts from them.

use std::collections::HashMap;
use std::time::Duration;

use citycode_domain::event::{Event, HolderRegistered};
use citycode_domain::ids::HolderId;
use citycode_event_store::{
    AppendOutcome, BucketId, BucketTail, CommandId, EventData, EventStore, LogPosition, NewCommit, RequestDigest,
    SubscriptionMessage, message_id,
};
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_jetstream::Credentials;
use citycode_log_folds::holder_stream;
use citycode_testkit::eventually;

use crate::city::{City, audit, issuer, metric, revocation, verifier};

const PATIENCE: Duration = Duration::from_secs(120);
const NOT_FROM_SHARED: &str = "[shared_snapshots]\nstart_from = false\n";
/// Four partitions with a complete segment of 4,096 commits each, whatever the distribution of the streams.
const HOLDERS: u32 = 4 * 4_096 + 2_000;
/// Commits of one call.
const GROUP: usize = 1_000;

fn registered(number: u32) -> NewCommit {
    let mut holder = [0xEE; 16];
    holder[..4].copy_from_slice(&number.to_be_bytes());
    let holder = HolderId(holder);
    let stream = holder_stream(holder);
    let mut command_id = CommandId([0xEE; 16]);
    command_id.0[..4].copy_from_slice(&number.to_be_bytes());
    let event = Event::HolderRegistered(HolderRegistered { holder });
    let (event_type, version, payload) = citycode_wire::event::encode(&event);
    NewCommit {
        stream,
        events: vec![EventData {
            event_type: event_type.into(),
            version,
            payload: payload.into(),
        }],
        message_id: message_id("test", &stream, &command_id),
        request_digest: RequestDigest([1; 32]),
        command_id,
        actor: "channel:kiosk".into(),
        causation_id: None,
        correlation_id: None,
        decided_at: 1_780_000_000,
        trace_context: None,
    }
}

/// The tails of all buckets with commits.
async fn tails(log: &dyn EventStore) -> HashMap<BucketId, BucketTail> {
    let start = LogPosition::start(log.layout().partitions());
    let mut subscription = log.subscribe_to_all(start).await.expect("it starts");
    let mut tails = HashMap::new();
    loop {
        match subscription.next().await.expect("a message") {
            SubscriptionMessage::EventAppeared(commit) => {
                tails.insert(commit.bucket, commit.tail());
            }
            SubscriptionMessage::CaughtUp(_) => return tails,
            SubscriptionMessage::FellBehind(_) => {}
        }
    }
}

/// Registers many holders in the log, as the user that restores logs. No service may append to streams of holders
/// meanwhile.
async fn fill(city: &City) {
    let mut config = city.log();
    let seed = std::fs::read_to_string(city.secret("nats/restore.nk")).expect("a seed");
    config.connection.credentials = Credentials::NkeySeed(seed.trim().to_owned().into());
    config.connection.root_certificates = Some(city.secret("tls/ca.pem"));
    let log = JetStreamEventStore::open(&config).await.expect("the log opens");
    let mut tails = tails(&log).await;
    let mut waiting: Vec<NewCommit> = (0..HOLDERS).map(registered).collect();
    while !waiting.is_empty() {
        // One commit of each bucket at a time, because the next expects its tail.
        let (mut wave, mut later) = (HashMap::new(), Vec::new());
        for commit in waiting {
            let bucket = log.layout().bucket_of(&commit.stream);
            if wave.len() < GROUP && !wave.contains_key(&bucket) {
                wave.insert(bucket, commit);
            } else {
                later.push(commit);
            }
        }
        let (buckets, appends): (Vec<_>, Vec<_>) = wave
            .into_iter()
            .map(|(bucket, commit)| {
                let tail = tails.get(&bucket).copied().unwrap_or(BucketTail::EMPTY);
                (bucket, (commit, tail))
            })
            .unzip();
        for (bucket, answer) in buckets.into_iter().zip(log.append_many(appends).await) {
            let Ok(AppendOutcome::Appended { revision, hash, .. }) = answer else {
                panic!("{answer:?}");
            };
            tails.insert(bucket, BucketTail { revision, hash });
        }
        waiting = later;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_without_a_snapshot_starts_from_segments_that_revocation_wrote() {
    let city = City::secured().await;
    city.provision().await;
    // No verifier starts without the vault's keys, the day's streams of scan records, and a writer that answers probes.
    let issuer = city.start(&issuer(), "issuer", "").await;
    let audit = city.start(&audit(), "audit", "").await;
    // It reads the log itself: there are no segments yet.
    let from_log = city.start(&verifier(), "verifier-log", NOT_FROM_SHARED).await;
    fill(&city).await;
    assert_eq!(metric(&from_log, "citycode_log_segments_read_total").await, 0.0);
    let revocation = city.start(&revocation(), "revocation", "").await;
    eventually("a segment of each partition is written", PATIENCE, || async {
        metric(&revocation, "citycode_log_segments_written_total").await >= 4.0
    })
    .await;
    // It is ready only once it has folded the whole log, across the seams between segments and the log.
    let from_segments = city.start(&verifier(), "verifier-segments", NOT_FROM_SHARED).await;
    assert!(metric(&from_segments, "citycode_log_segments_read_total").await >= 4.0);
    assert_eq!(metric(&from_segments, "citycode_log_segments_refused_total").await, 0.0);
    for service in [&issuer, &revocation, &from_log, &from_segments, &audit] {
        let said = service.said();
        assert!(!said.contains("Permissions Violation"), "{said}");
    }
}
