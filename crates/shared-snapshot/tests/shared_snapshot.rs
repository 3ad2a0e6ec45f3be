//! Sharing snapshots over real servers: what comes back is what was given, and nothing else is ever taken.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use citycode_domain::event::{CodeIssued, CodeRef, EligibilityGround, Event, Sealed, Slot};
use citycode_domain::ids::{ClaimsDigest, CodeId, CodeKind, CommitPosition, HolderId, KeyId, ListId, StatusRef};
use citycode_domain::standing::Standing as Colour;
use citycode_domain::time::Timestamp;
use citycode_jetstream::Connection;
use citycode_jetstream::object_store::{CHUNK_BYTES, Committed};
use citycode_projection::snapshot::ProjectionKind;
use citycode_projection::status::{self, FingerprintKey};
use citycode_projection::{BucketTail, Commit, LogIdentity};
use citycode_shared_snapshot::seal::SealKey;
use citycode_shared_snapshot::{
    FetchError, NewSnapshot, Published, Refusal, SharedSnapshots, SnapshotKeys, Statement, provision,
};
use citycode_testkit::{NatsCluster, NatsServer};
use citycode_token::SigningKey;
use data_encoding::BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

const KIND: ProjectionKind = ProjectionKind::Status;
const IDENTITY: LogIdentity = LogIdentity {
    log_id: [5; 16],
    partitions: 1,
    buckets_per_partition: 16,
    hash_version: 1,
};
/// A snapshot of several chunks has so many commits with so many codes each.
const FULL_COMMITS: u64 = 100;
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
    Event::CodeIssued(CodeIssued {
        code: CodeRef {
            slot: Slot { kind, guardian: None },
            code_id: CodeId(u64::from(index).to_le_bytes()),
            status: StatusRef {
                list: ListId::new(0, kind, expires_at, 0).expect("the expiry fits"),
                index,
            },
        },
        issued_at: Timestamp(1_780_000_000),
        expires_at,
        supersedes: None,
        standing: Colour::Green,
        ground: EligibilityGround::Everyone,
        acting_guardian: None,
        key_id: KeyId([1; 4]),
        claims_digest: ClaimsDigest([index as u8; 32]),
        sealed_token: Sealed::default(),
    })
}

/// A snapshot of this log after so many more commits, as a file.
fn snapshot(folder: &Path, more: u64) -> PathBuf {
    let (mut writer, _) = status::new(1, FingerprintKey([7; 16]));
    for sequence in 1..=FULL_COMMITS + more {
        let first = u32::try_from(sequence - 1).expect("few") * CODES;
        let codes = if sequence <= FULL_COMMITS { CODES } else { 0 };
        let events: Vec<Event> = (first..first + codes).map(issued).collect();
        let commit = Commit {
            position: CommitPosition { partition: 0, sequence },
            decided_at: Timestamp(1_780_000_000),
            holder: Some(HolderId([2; 16])),
            bucket: 1,
            tail: BucketTail {
                revision: sequence,
                hash: [3; 32],
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

struct Place {
    folder: TempDir,
    shared: SharedSnapshots,
    client: async_nats::Client,
}

impl Place {
    async fn at(urls: Vec<String>, replicas: u8) -> Self {
        let connection = Connection::new(urls.clone(), "test");
        provision(&connection, KIND, replicas).await.expect("it is made");
        provision(&connection, KIND, replicas)
            .await
            .expect("it stands and is kept");
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

    /// Publishes in the place of whatever stands there.
    async fn publish(&self, more: u64, salt: u8) -> (Committed, Statement) {
        let replaces = self.shared.standing().await.expect("an answer").sequence();
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

    /// The meta message, as a stranger reads it.
    async fn meta(&self) -> Value {
        let (_, bytes) = self.last("$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz").await;
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Chunks by the names of their objects.
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
        let Published::Signed { found, .. } = self.shared.standing().await? else {
            panic!("nothing that is signed stands there");
        };
        let file = self.folder.path().join("fetched");
        std::fs::write(&file, b"before").expect("a file");
        let fetched = self.shared.fetch(&found, &IDENTITY, &file).await;
        let bytes = std::fs::read(&file).expect("a file");
        assert!(!file.with_extension("shared").exists(), "nothing is left beside it");
        assert!(fetched.is_ok() || bytes == b"before", "what stood there stays");
        fetched.map(|()| bytes)
    }

    async fn is_whole(&self) -> bool {
        match self.shared.standing().await.expect("an answer") {
            Published::Signed { found, .. } => self.shared.is_whole(&found).await.expect("an answer"),
            other => panic!("{other:?}"),
        }
    }

    /// Why the object that stands there is not taken.
    async fn refusal(&self) -> Refusal {
        match self.fetch().await {
            Err(FetchError::Refused(why)) => why,
            other => panic!("{:?}", other.map(|bytes| bytes.len())),
        }
    }
}

async fn a_snapshot_comes_back_as_it_was(place: Place) {
    assert!(matches!(place.shared.standing().await, Ok(Published::Nothing)));
    let (committed, statement) = place.publish(1, 1).await;
    assert_eq!(
        (committed, &statement.points[..]),
        (Committed::Now, &[FULL_COMMITS + 1][..])
    );
    assert_eq!(statement.check(KIND, &IDENTITY, &[FULL_COMMITS + 1]), Ok(()));
    let bytes = std::fs::read(snapshot(place.folder.path(), 1)).expect("a file");
    assert!(bytes.len() > 2 * CHUNK_BYTES, "several chunks");
    assert_eq!(place.fetch().await.expect("it is taken"), bytes);
    assert!(place.is_whole().await);
    // The next one takes its place.
    let (committed, _) = place.publish(2, 2).await;
    assert_eq!(committed, Committed::Now);
    let bytes = std::fs::read(snapshot(place.folder.path(), 2)).expect("a file");
    assert_eq!(place.fetch().await.expect("it is taken"), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_from_one_server_as_it_was() {
    let server = NatsServer::start().await;
    a_snapshot_comes_back_as_it_was(Place::at(vec![server.url()], 1).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_from_three_servers_as_it_was() {
    let cluster = NatsCluster::start().await;
    a_snapshot_comes_back_as_it_was(Place::at(cluster.urls(), 3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lies_as_any_client_of_nats_expects_and_says_nothing() {
    let server = NatsServer::start().await;
    let place = Place::at(vec![server.url()], 1).await;
    place.publish(1, 1).await;
    let meta = place.meta().await;
    let chunks = place.chunks().await;
    assert_eq!(meta["name"], "status");
    assert_eq!(meta["bucket"], "CC_STATUS_SNAPSHOTS");
    assert_eq!(
        chunks,
        [(
            meta["nuid"].as_str().expect("a name").to_owned(),
            meta["chunks"].as_u64().expect("a number")
        )]
    );
    // The bytes in the order of the stream are the object, and have the digest that its meta says.
    let mut object = Vec::new();
    for sequence in 1..=chunks[0].1 {
        let answer = place
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
    // Sealed: nothing of the file stands in it, the fingerprints' key least of all.
    let plain = std::fs::read(snapshot(place.folder.path(), 1)).expect("a file");
    for part in plain.chunks(4_096).filter(|part| part.iter().any(|byte| *byte != 0)) {
        let part = &part[..part.len().min(32)];
        if part.iter().any(|byte| *byte != 0) {
            assert!(!object.windows(part.len()).any(|window| window == part));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_publish_at_once_one_wins_whole() {
    let server = NatsServer::start().await;
    let place = Place::at(vec![server.url()], 1).await;
    let signing = signing();
    let both = tokio::join!(
        place.shared.publish(place.to_publish(1, 1, &signing, 0)),
        place.shared.publish(place.to_publish(2, 2, &signing, 0)),
    );
    let [one, other] = [both.0.expect("an end").0, both.1.expect("an end").0];
    assert_eq!([one, other].iter().filter(|end| **end == Committed::Now).count(), 1);
    assert!(place.fetch().await.is_ok());
    assert_eq!(place.chunks().await.len(), 1, "the other's chunks are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_and_a_replacement_leave_is_swept_once_it_is_old() {
    let server = NatsServer::start().await;
    let place = Place::at(vec![server.url()], 1).await;
    place.publish(1, 1).await;
    // A writer that died amid its chunks.
    place
        .client
        .request("$O.CC_STATUS_SNAPSHOTS.C.dead", "half".into())
        .await
        .expect("an answer");
    place.publish(2, 2).await;
    assert_eq!(place.chunks().await.len(), 3);
    let hour = Duration::from_secs(3_600);
    assert_eq!(place.shared.sweep(hour).await.expect("an answer"), 0);
    assert_eq!(
        place.chunks().await.len(),
        3,
        "somebody may be reading the one, writing the other"
    );
    assert_eq!(place.shared.sweep(Duration::ZERO).await.expect("an answer"), 2);
    assert_eq!(place.chunks().await.len(), 1);
    assert!(place.fetch().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_what_was_signed_is_refused() {
    let server = NatsServer::start().await;
    let place = Place::at(vec![server.url()], 1).await;
    place.publish(1, 1).await;
    let meta = place.meta().await;
    let subject = format!("$O.CC_STATUS_SNAPSHOTS.C.{}", meta["nuid"].as_str().expect("a name"));
    let (last, bytes) = place.last(&subject).await;
    let delete = async |sequence: u64| {
        let verb = "$JS.API.STREAM.MSG.DELETE.OBJ_CC_STATUS_SNAPSHOTS";
        place.ask(verb, &json!({ "seq": sequence })).await
    };
    let store = async |bytes: Vec<u8>| {
        place
            .client
            .request(subject.clone(), bytes.into())
            .await
            .expect("an answer")
    };
    delete(last).await;
    assert_eq!(place.refusal().await, Refusal::Truncated);
    assert!(!place.is_whole().await);
    let mut changed = bytes.clone();
    changed[0] ^= 1;
    store(changed).await;
    assert_eq!(place.refusal().await, Refusal::Sealed);
    let (sequence, _) = place.last(&subject).await;
    delete(sequence).await;
    store(bytes).await;
    assert!(place.fetch().await.is_ok(), "as it was");
    // Another key of the city's.
    let other = SnapshotKeys {
        seal: SealKey::new([9; 32]),
        ..keys()
    };
    let connection = Connection::new(vec![server.url()], "other");
    let shared = SharedSnapshots::connect(&connection, KIND, other)
        .await
        .expect("a connection");
    let place = Place { shared, ..place };
    assert_eq!(place.refusal().await, Refusal::Sealed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_revocation_did_not_sign_is_refused_before_a_byte_is_asked_for() {
    let server = NatsServer::start().await;
    let place = Place::at(vec![server.url()], 1).await;
    let forger = SigningKey::from_seed([6; 32]);
    let forged = place.shared.publish(place.to_publish(1, 1, &forger, 0)).await;
    assert_eq!(forged.expect("anyone may write here").0, Committed::Now);
    let refused = async || match place.shared.standing().await {
        Ok(Published::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused().await, Refusal::NotSigned);
    let mut meta = place.meta().await;
    let put = async |meta: Value| {
        let subject = "$O.CC_STATUS_SNAPSHOTS.M.c3RhdHVz";
        place
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
    // A file that is damaged on the publisher's own disk is not signed for.
    let path = snapshot(place.folder.path(), 1);
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
    assert!(place.shared.publish(new).await.is_err());
}
