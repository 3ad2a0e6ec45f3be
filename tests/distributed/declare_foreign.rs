//! The evidence that prevents an operator from declaring a damaged commit foreign, and foreign messages in archives.

use std::fs::File;
use std::path::Path;

use citycode_domain::time::Timestamp;
use citycode_event_store::conformance::sample_commit;
use citycode_event_store::{
    AppendOutcome, BucketTail, CommitHash, EventStore, NewCommit, Position, Revision, StreamName,
};
use citycode_event_store_embedded::{Config, EmbeddedEventStore};
use citycode_event_store_jetstream::JetStreamEventStore;
use citycode_projection::register::HolderRegister;
use citycode_projection::{Commit, LogIdentity};
use citycode_testkit::NatsServer;

use crate::city::{City, citycode};
use crate::foreign_messages::{declare_with, log_command, publish};

fn commit(number: u8) -> NewCommit {
    let stream = StreamName::new(&format!("holder-{:032x}", 7)).expect("a name");
    sample_commit(stream, number.into(), vec![number; 10])
}

async fn append(store: &dyn EventStore, number: u8, expected: BucketTail) -> (Position, BucketTail) {
    match store.append_at(commit(number), expected).await {
        Ok(AppendOutcome::Appended {
            position,
            revision,
            hash,
            ..
        }) => (position, BucketTail { revision, hash }),
        other => panic!("{other:?}"),
    }
}

async fn migrate(from: &str, to: &str) {
    let words = ["migrate", "--from", from, "--to", to, "--replicas", "1", "--unproven"];
    citycode(&words.map(AsRef::as_ref)).await;
}

fn genuine_before(position: Position) -> Position {
    let sequence = citycode_event_store::Sequence(position.sequence.0 - 1);
    Position { sequence, ..position }
}

/// A register that has folded every position up to and including `position`.
fn register_past(store: &dyn EventStore, position: Position, file: &Path) {
    let layout = store.layout();
    let identity = LogIdentity {
        log_id: store.log_id().0,
        partitions: layout.partitions(),
        buckets_per_partition: layout.buckets_per_partition(),
        hash_version: layout.hash_version(),
    };
    let register = HolderRegister::new(layout.partitions());
    for sequence in 1..=position.sequence.0 {
        let tail = BucketTail {
            revision: Revision::from_raw(sequence),
            hash: CommitHash([9; 32]),
        };
        let applied = register.apply(&Commit {
            position: Position::new(position.partition.0, sequence),
            decided_at: Timestamp(0),
            holder: None,
            bucket: 1,
            tail,
            message_id_prefix: 0,
            events: &[],
        });
        applied.expect("it is the next");
    }
    let saved = register.save(&identity, File::create(file).expect("a file"));
    saved.expect("it is saved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_is_refused_if_an_archive_or_snapshot_has_a_commit_and_archives_keep_the_position() {
    let city = City::on_one().await;
    city.provision().await;
    let store = JetStreamEventStore::open(&city.log()).await.expect("the log opens");
    let servers = city.urls()[0].clone();
    let place = |name: &str| city.folder.path().join(name).display().to_string();
    let bucket = store.layout().bucket_of(&commit(0).stream);
    let (_, tail) = append(&store, 1, BucketTail::EMPTY).await;

    // This archive has the commit, which was damaged on the servers afterwards.
    let (proof, honest) = (place("proof"), place("honest"));
    migrate(&servers, &proof).await;
    let short = place("short");
    migrate(&servers, &short).await;
    let archive = EmbeddedEventStore::open(proof.as_ref(), &Config::default()).expect("it opens");
    let (genuine, _) = append(&archive, 2, tail).await;
    archive.close();
    let foreign = publish(&city, bucket, b"damaged".to_vec()).await;
    assert_eq!(foreign, genuine);
    let refused = declare_with(&city, foreign, &["--archive", &proof]).await;
    assert!(
        refused.0 == 2 && refused.1.contains("the archive has a valid commit"),
        "{refused:?}"
    );
    let (exit, said) = log_command(&city, "inspect", foreign, &["--archive", &proof]).await;
    assert!(
        exit == 0 && said.contains("\"foreign\"") && said.contains("\"commit\""),
        "{said}"
    );
    let snapshot = place("register");
    register_past(&store, foreign, snapshot.as_ref());
    let refused = declare_with(&city, foreign, &["--no-archive", "--snapshot", &snapshot]).await;
    assert!(refused.0 == 2 && refused.1.contains("the snapshot"), "{refused:?}");
    let behind = place("behind");
    register_past(&store, genuine_before(foreign), behind.as_ref());
    let refused = declare_with(&city, foreign, &["--no-archive", "--snapshot", &behind]).await;
    assert!(
        refused.0 == 2 && refused.1.contains(&behind) && refused.1.contains("proves nothing"),
        "{refused:?}"
    );
    let refused = declare_with(&city, foreign, &["--archive", &short]).await;
    assert!(
        refused.0 == 2 && refused.1.contains("the archive ends at"),
        "{refused:?}"
    );
    let unproved = declare_with(&city, foreign, &[]).await;
    assert!(unproved.0 == 2 && unproved.1.contains("--no-archive"), "{unproved:?}");

    // This archive has the foreign message.
    migrate(&servers, &honest).await;
    let (exit, said) = declare_with(&city, foreign, &["--archive", &honest]).await;
    assert_eq!(exit, 0, "{said}");
    let end = store.bucket_tail(bucket).await.expect("a tail");
    let (last, tail) = append(&store, 3, end).await;
    migrate(&servers, &honest).await;
    let other = NatsServer::start().await;
    migrate(&honest, &other.url()).await;
    // The command compared the whole log; the restored log accepts appends like the original.
    let config = citycode_event_store_jetstream::Config {
        connection: citycode_event_store_jetstream::Connection {
            servers: vec![other.url()],
            ..city.log().connection
        },
        durability: citycode_event_store_jetstream::Durability::Unproven,
        ..city.log()
    };
    let restored = JetStreamEventStore::open(&config).await.expect("the log opens");
    let kept = restored
        .read_at(foreign)
        .await
        .expect("readable")
        .expect("its place is kept");
    assert!(kept.foreign.is_some_and(|kept| kept.length == 7));
    assert_eq!(restored.bucket_tail(bucket).await, Ok(tail));
    let (next, _) = append(&restored, 4, tail).await;
    assert_eq!(next.sequence, last.sequence.next());
}
