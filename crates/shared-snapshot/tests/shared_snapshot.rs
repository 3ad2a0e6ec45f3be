//! Sharing snapshots over real servers: a fetched snapshot is identical to the published one, and any other is refused.

mod publishing;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_domain::event::{CodeIssued, Event};
use citycode_domain::ids::{ClaimsDigest, CodeKind, HolderId, Position};
use citycode_domain::time::Timestamp;
use citycode_event_store::{BucketTail, CommitHash, Revision};
use citycode_jetstream::Connection;
use citycode_jetstream::object_store::{CHUNK_BYTES, Committed};
use citycode_projection::snapshot::ProjectionKind;
use citycode_projection::status::{self, FingerprintKey};
use citycode_projection::{Commit, LogIdentity};
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{
    FetchError, NewSnapshot, Published, Refusal, SharedSnapshots, SnapshotKeys, Statement, provision,
};
use citycode_testkit::{NatsCluster, NatsServer, code_at, code_issued, eventually_some};
use citycode_token::SigningKey;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const KIND: ProjectionKind = ProjectionKind::Status;
const IDENTITY: LogIdentity = LogIdentity {
    log_id: [5; 16],
    partitions: 1,
    buckets_per_partition: 16,
    hash_version: 1,
};
/// Enough commits with codes for a snapshot of several chunks.
const FULL_COMMITS: u64 = 100;
/// Codes of each of these commits.
const CODES: u32 = 1_000;

fn signing() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn keys() -> SnapshotKeys {
    SnapshotKeys {
        seal: SealKey::new([2; 32]),
        signers: vec![signing().public_key()],
    }
}

fn issued(index: u32) -> Event {
    let kind = CodeKind::new(4).expect("4 is a kind");
    let expires_at = Timestamp(1_790_000_000);
    let code = code_at(0, kind, expires_at, index);
    Event::CodeIssued(CodeIssued {
        claims_digest: ClaimsDigest([index as u8; 32]),
        ..code_issued(code, Timestamp(1_780_000_000), expires_at)
    })
}

/// The file of a snapshot of this log with `more` commits after [`FULL_COMMITS`].
fn snapshot(folder: &Path, more: u64) -> PathBuf {
    let (mut writer, _) = status::new(1, FingerprintKey([7; 16]));
    for sequence in 1..=FULL_COMMITS + more {
        let first = u32::try_from(sequence - 1).expect("few") * CODES;
        let codes = if sequence <= FULL_COMMITS { CODES } else { 0 };
        let events: Vec<Event> = (first..first + codes).map(issued).collect();
        let commit = Commit {
            position: Position::new(0, sequence),
            decided_at: Timestamp(1_780_000_000),
            holder: Some(HolderId([2; 16])),
            bucket: 1,
            tail: BucketTail {
                revision: Revision::from_raw(sequence),
                hash: CommitHash([3; 32]),
            },
            message_id_prefix: 4,
            events: &events,
        };
        assert_eq!(writer.apply(&commit), Ok(Vec::new()));
    }
    let path = folder.join(format!("snapshot-{more}"));
    let file = File::create(&path).expect("a file");
    writer.save(&IDENTITY, file).expect("it is written");
    path
}

struct Bucket {
    folder: TempDir,
    shared: SharedSnapshots,
    client: async_nats::Client,
}

impl Bucket {
    async fn at(urls: Vec<String>, replicas: u8) -> Self {
        let connection = Connection::new(urls.clone(), "test");
        // A server of a cluster that has just started may not be available for placement yet.
        eventually_some("the bucket is created", PATIENCE, || async {
            provision(&connection, KIND, replicas).await.ok()
        })
        .await;
        provision(&connection, KIND, replicas)
            .await
            .expect("the existing one is accepted");
        Self {
            folder: TempDir::new().expect("a folder"),
            shared: SharedSnapshots::connect(&connection, KIND, keys())
                .await
                .expect("a connection"),
            client: async_nats::connect(urls).await.expect("a connection"),
        }
    }

    fn to_publish<'a>(&self, more: u64, salt: u8, signing: &'a SigningKey, replaces: u64) -> NewSnapshot<'a> {
        NewSnapshot {
            file: File::open(snapshot(self.folder.path(), more)).expect("a file"),
            identity: IDENTITY,
            signing,
            salt: [salt; 16],
            made_at: 1_790_000_000,
            replaces,
        }
    }

    /// Publishes and replaces the current object.
    async fn publish(&self, more: u64, salt: u8) -> (Committed, Statement) {
        let replaces = self.shared.current().await.expect("an answer").sequence();
        let signing = signing();
        let published = self.shared.publish(self.to_publish(more, salt, &signing, replaces));
        published.await.expect("it is published")
    }

    async fn ask(&self, subject: &str, body: &Value) -> Value {
        let answer = self.client.request(subject.to_owned(), body.to_string().into()).await;
        serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
    }

    async fn last(&self, subject: &str) -> (u64, Vec<u8>) {
        let asked = json!({ "last_by_subj": subject });
        let answer = self.ask("$JS.API.STREAM.MSG.GET.OBJ_CC_STATUS_SNAPSHOTS", &asked).await;
        let message = &answer["message"];
        let data = message["data"].as_str().expect("bytes");
        (
            message["seq"].as_u64().expect("a sequence"),
            BASE64.decode(data.as_bytes()).expect("base64"),
        )
    }

    /// The meta message, read with a plain client.
    async fn meta(&self) -> Value {
        let (_, bytes) = self.last("$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz").await;
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The number of chunks by the id of their object.
    async fn chunks(&self) -> Vec<(String, u64)> {
        let asked = json!({ "subjects_filter": "$O.CC_STATUS_SNAPSHOTS.C.>" });
        let info = self.ask("$JS.API.STREAM.INFO.OBJ_CC_STATUS_SNAPSHOTS", &asked).await;
        let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
        let chunks = subjects.into_iter().map(|(subject, count)| {
            let nuid = subject.rsplit('.').next().unwrap_or_default().to_owned();
            (nuid, count.as_u64().unwrap_or_default())
        });
        chunks.collect()
    }

    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let Published::Signed { found, .. } = self.shared.current().await? else {
            panic!("there is no signed snapshot");
        };
        let file = self.folder.path().join("fetched");
        std::fs::write(&file, b"before").expect("a file");
        let fetched = self.shared.fetch(&found, &IDENTITY, &file).await;
        let bytes = std::fs::read(&file).expect("a file");
        assert!(!file.with_extension("shared").exists(), "no temporary file remains");
        assert!(fetched.is_ok() || bytes == b"before", "the previous file is kept");
        fetched.map(|()| bytes)
    }

    async fn is_whole(&self) -> bool {
        match self.shared.current().await.expect("an answer") {
            Published::Signed { found, .. } => self.shared.is_whole(&found).await.expect("an answer"),
            other => panic!("{other:?}"),
        }
    }

    /// The reason why the current object is refused.
    async fn refusal(&self) -> Refusal {
        match self.fetch().await {
            Err(FetchError::Refused(why)) => why,
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }
}

async fn check_round_trip(bucket: Bucket) {
    assert!(matches!(bucket.shared.current().await, Ok(Published::Nothing)));
    let (committed, statement) = bucket.publish(1, 1).await;
    assert_eq!(
        (committed, &statement.points[..]),
        (Committed::Now, &[FULL_COMMITS + 1][..])
    );
    assert_eq!(statement.check(KIND, &IDENTITY, &[FULL_COMMITS + 1]), Ok(()));
    let bytes = std::fs::read(snapshot(bucket.folder.path(), 1)).expect("a file");
    assert!(bytes.len() > 2 * CHUNK_BYTES, "several chunks");
    assert_eq!(bucket.fetch().await.expect("it is fetched"), bytes);
    assert!(bucket.is_whole().await);
    // The next snapshot replaces it.
    let (committed, _) = bucket.publish(2, 2).await;
    assert_eq!(committed, Committed::Now);
    let bytes = std::fs::read(snapshot(bucket.folder.path(), 2)).expect("a file");
    assert_eq!(bucket.fetch().await.expect("it is fetched"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_round_trips_over_one_server() {
    let server = NatsServer::start().await;
    check_round_trip(Bucket::at(vec![server.url()], 1).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_round_trips_over_three_servers() {
    let cluster = NatsCluster::start().await;
    check_round_trip(Bucket::at(cluster.urls(), 3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_object_has_the_standard_layout_and_reveals_nothing() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    bucket.publish(1, 1).await;
    let meta = bucket.meta().await;
    let chunks = bucket.chunks().await;
    assert_eq!(meta["name"], "status");
    assert_eq!(meta["bucket"], "CC_STATUS_SNAPSHOTS");
    assert_eq!(
        chunks,
        [(
            meta["nuid"].as_str().expect("a name").to_owned(),
            meta["chunks"].as_u64().expect("a number")
        )]
    );
    // The chunks in the order of the stream are the object, and have the digest in its meta message.
    let mut object = Vec::new();
    for sequence in 1..=chunks[0].1 {
        let answer = bucket
            .ask(
                "$JS.API.STREAM.MSG.GET.OBJ_CC_STATUS_SNAPSHOTS",
                &json!({ "seq": sequence }),
            )
            .await;
        let data = answer["message"]["data"].as_str().expect("bytes");
        object.extend(BASE64.decode(data.as_bytes()).expect("base64"));
    }
    assert_eq!(meta["size"], object.len());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &object);
    let digest = data_encoding::BASE64URL.encode(digest.as_ref());
    assert_eq!(meta["digest"], format!("SHA-256={digest}"));
    // The sealed object contains no part of the file, in particular not the fingerprints' key.
    let plain = std::fs::read(snapshot(bucket.folder.path(), 1)).expect("a file");
    for part in plain.chunks(4_096).filter(|part| part.iter().any(|byte| *byte != 0)) {
        let part = &part[..part.len().min(32)];
        if part.iter().any(|byte| *byte != 0) {
            assert!(!object.windows(part.len()).any(|window| window == part));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_publishers_exactly_one_succeeds() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    let signing = signing();
    let both = tokio::join!(
        bucket.shared.publish(bucket.to_publish(1, 1, &signing, 0)),
        bucket.shared.publish(bucket.to_publish(2, 2, &signing, 0)),
    );
    let [one, other] = [both.0.expect("an end").0, both.1.expect("an end").0];
    assert_eq!([one, other].iter().filter(|end| **end == Committed::Now).count(), 1);
    assert!(bucket.fetch().await.is_ok());
    assert_eq!(bucket.chunks().await.len(), 1, "the other's chunks are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_chunks_of_crashes_and_replaced_objects_are_swept() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    bucket.publish(1, 1).await;
    // A writer crashed between its chunks.
    bucket
        .client
        .request("$O.CC_STATUS_SNAPSHOTS.C.dead", "half".into())
        .await
        .expect("an answer");
    bucket.publish(2, 2).await;
    assert_eq!(bucket.chunks().await.len(), 3);
    let hour = Duration::from_secs(3_600);
    assert_eq!(bucket.shared.sweep(hour).await.expect("an answer"), 0);
    assert_eq!(
        bucket.chunks().await.len(),
        3,
        "one may be in use by a reader, the other by a writer"
    );
    assert_eq!(bucket.shared.sweep(Duration::ZERO).await.expect("an answer"), 2);
    assert_eq!(bucket.chunks().await.len(), 1);
    assert!(bucket.fetch().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_differs_from_the_signed_one_is_refused() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    bucket.publish(1, 1).await;
    let meta = bucket.meta().await;
    let subject = format!("$O.CC_STATUS_SNAPSHOTS.C.{}", meta["nuid"].as_str().expect("a name"));
    let (last, bytes) = bucket.last(&subject).await;
    let delete = async |sequence: u64| {
        let verb = "$JS.API.STREAM.MSG.DELETE.OBJ_CC_STATUS_SNAPSHOTS";
        bucket.ask(verb, &json!({ "seq": sequence })).await
    };
    let store = async |bytes: Vec<u8>| {
        bucket
            .client
            .request(subject.clone(), bytes.into())
            .await
            .expect("an answer")
    };
    delete(last).await;
    assert_eq!(bucket.refusal().await, Refusal::Truncated);
    assert!(!bucket.is_whole().await);
    let mut changed = bytes.clone();
    changed[0] ^= 1;
    store(changed).await;
    assert_eq!(bucket.refusal().await, Refusal::Sealed);
    let (sequence, _) = bucket.last(&subject).await;
    delete(sequence).await;
    store(bytes).await;
    assert!(bucket.fetch().await.is_ok(), "the original is restored");
    // A reader with another key.
    let other = SnapshotKeys {
        seal: SealKey::new([9; 32]),
        ..keys()
    };
    let connection = Connection::new(vec![server.url()], "other");
    let shared = SharedSnapshots::connect(&connection, KIND, other)
        .await
        .expect("a connection");
    let bucket = Bucket { shared, ..bucket };
    assert_eq!(bucket.refusal().await, Refusal::Sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_a_valid_signature_is_refused_before_it_is_read() {
    let server = NatsServer::start().await;
    let bucket = Bucket::at(vec![server.url()], 1).await;
    let forger = SigningKey::from_seed([6; 32]);
    let forged = bucket.shared.publish(bucket.to_publish(1, 1, &forger, 0)).await;
    assert_eq!(forged.expect("any client may write here").0, Committed::Now);
    let refused = async || match bucket.shared.current().await {
        Ok(Published::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused().await, Refusal::NotSigned);
    let mut meta = bucket.meta().await;
    let put = async |meta: Value| {
        let subject = "$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz";
        bucket
            .client
            .request(subject, meta.to_string().into())
            .await
            .expect("an answer")
    };
    for metadata in [
        json!({}),
        json!({ "citycode-statement": "no base64" }),
        json!({ "citycode-statement": "AAAA" }),
    ] {
        meta["metadata"] = metadata;
        put(meta.clone()).await;
        assert_eq!(refused().await, Refusal::Unreadable);
    }
    put(json!("no object at all")).await;
    assert_eq!(refused().await, Refusal::Unreadable);
    // A file that is damaged on the publisher's disk is not signed.
    let path = snapshot(bucket.folder.path(), 1);
    let mut bytes = std::fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let signing = signing();
    let new = NewSnapshot {
        file: File::open(&path).expect("a file"),
        identity: IDENTITY,
        signing: &signing,
        salt: [3; 16],
        made_at: 0,
        replaces: 0,
    };
    assert!(bucket.shared.publish(new).await.is_err());
}
