//! A verifier that reads the published log from a hostile HTTP server: nothing that it sends covers a code or raises an
//! alarm unless the log's key and the witnesses have signed it, and neither memory nor time are its to use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use citycode_log_tree::leaves::leaf_hashes;
use citycode_log_tree::publish::origin;
use citycode_log_tree::{CompareError, Compared, FoldedTrees, WitnessedLog};
use citycode_testkit::commit_of;
use citycode_transparency::tile::{MemoryTiles, TileSource as _, TileWriter};
use citycode_transparency::{Checkpoint, KeyKind, NoteSigner, TrustPolicy};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use citycode_domain::event::{Event, HolderRegistered};
use citycode_domain::ids::HolderId;
use citycode_event_store::{BucketId, CommitHash, Position, RecordedCommit, Revision};
use citycode_log_folds::holder_stream;

use super::*;

const HOST: &str = "city.example";
const PARTITION: Partition = Partition(0);
const LEAVES: u64 = 700;
/// No answer that is expected to be sound is given this limit.
const PATIENCE: Duration = Duration::from_secs(60);
const IMPATIENCE: Duration = Duration::from_millis(300);
/// More than a reader may take of one answer: its limit, and what sockets buffer on the way.
const MUCH: usize = 24 << 20;

/// What the server does with a request for a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// It answers with the file.
    Sound,
    /// It has no file.
    Missing,
    /// It answers with other bytes.
    Garbage,
    /// It answers with the first half.
    Truncated,
    /// It announces the whole file, sends half of it and closes the connection.
    CutOff,
    /// It never stops sending.
    Endless,
    /// It announces a size that nobody can keep, and sends.
    Announced,
    /// It sends half of the file, and then nothing.
    Slow,
    /// It reads the request and says nothing.
    Silent,
    /// It sends the reader to another address.
    Redirect,
    /// It fails.
    Failing,
}

struct Server {
    url: String,
    /// The files, and how they are served: checkpoints, and tiles.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    manners: Mutex<(Manner, Manner)>,
    /// Bytes that the sockets took.
    sent: AtomicUsize,
}

impl Server {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/log/", listener.local_addr().expect("an address"));
        let server = Arc::new(Self {
            url,
            files: Mutex::default(),
            manners: Mutex::new((Manner::Sound, Manner::Sound)),
            sent: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&serving);
                // A reader that leaves ends the answer.
                tokio::spawn(async move { drop(serving.answer(stream).await) });
            }
        });
        server
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).and_then(|path| path.strip_prefix("/log/00/"));
        let path = path.unwrap_or_default().to_owned();
        let (of_checkpoints, of_tiles) = *self.manners.lock();
        let manner = if path.starts_with("tile/") {
            of_tiles
        } else {
            of_checkpoints
        };
        let file = self.files.lock().get(&path).cloned();
        let Some(file) = file.filter(|_| manner != Manner::Missing) else {
            return self
                .send(
                    &mut stream,
                    b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                )
                .await;
        };
        let head = |length: usize| {
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").into_bytes()
        };
        let half = &file[..file.len() / 2];
        let whole = match manner {
            Manner::Sound | Manner::Missing => [&head(file.len())[..], &file].concat(),
            Manner::Garbage => [head(file.len()), vec![0xA5; file.len()]].concat(),
            Manner::Truncated => [&head(half.len())[..], half].concat(),
            Manner::CutOff => [&head(file.len())[..], half].concat(),
            Manner::Redirect => {
                let line = "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: http://127.0.0.1:9/\r\n\r\n";
                line.as_bytes().to_vec()
            }
            Manner::Failing => b"HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Manner::Silent => return std::future::pending().await,
            Manner::Slow => {
                self.send(&mut stream, &[&head(file.len())[..], half].concat()).await?;
                return std::future::pending().await;
            }
            Manner::Endless | Manner::Announced => {
                let head = match manner {
                    Manner::Endless => b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
                    _ => head(usize::MAX >> 1),
                };
                self.send(&mut stream, &head).await?;
                loop {
                    self.send(&mut stream, &[0xA5; 16 << 10]).await?;
                }
            }
        };
        self.send(&mut stream, &whole).await
    }

    async fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        stream.write_all(bytes).await?;
        self.sent.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    }
}

/// A commit of a log; `past` tells one log from another.
fn commit(sequence: u64, past: u8) -> RecordedCommit {
    let holder = HolderId([past; 16]);
    let event = Event::HolderRegistered(HolderRegistered { holder });
    let mut hash = [past; 32];
    hash[..8].copy_from_slice(&sequence.to_be_bytes());
    RecordedCommit {
        position: Position::new(PARTITION.0, sequence),
        bucket: BucketId {
            partition: PARTITION,
            bucket: 5,
        },
        revision: Revision::from_raw(sequence),
        previous_hash: CommitHash::NONE,
        hash: CommitHash(hash),
        commit: commit_of(holder_stream(holder), &event, sequence, 1_000),
        foreign: None,
    }
}

fn signers() -> (NoteSigner, NoteSigner) {
    let log = NoteSigner::from_seed(&origin(HOST, PARTITION), KeyKind::Log, &[1; 32]);
    let witness = NoteSigner::from_seed("witness.example", KeyKind::Witness, &[2; 32]);
    (log.expect("a name"), witness.expect("a name"))
}

/// The files of a published and cosigned log of this many commits.
fn published(commits: u64, past: u8) -> BTreeMap<String, Vec<u8>> {
    let leaves = (1..=commits).flat_map(|sequence| leaf_hashes(&commit(sequence, past)).expect("leaves"));
    let mut writer = TileWriter::open(MemoryTiles::default()).expect("an empty store");
    writer
        .append(&leaves.collect::<Vec<_>>())
        .expect("memory takes everything");
    let head = writer.commit().expect("memory takes everything");
    let (log, witness) = signers();
    let checkpoint = Checkpoint::new(log.verifier().name(), head).expect("a checkpoint");
    let mut signed = checkpoint.sign(&log).expect("signed");
    signed.add([witness.sign(&checkpoint.to_text(), 1)]).expect("few");
    let mut files = BTreeMap::from([("witnessed".to_owned(), signed.to_bytes())]);
    for level in 0..2 {
        for index in 0..3 {
            let Some(tile) = citycode_transparency::tile::TileId::in_tree(level, index, head.size) else {
                continue;
            };
            let name = tile.to_string();
            let bytes = writer.store().get(&name).expect("memory").expect("a tile");
            files.insert(name, bytes);
        }
    }
    files
}

/// What a verifier makes of the server that has folded this many commits: the comparison, and whether codes are covered.
async fn compared(server: &Server, folded: u64, limit: Duration) -> (Result<Compared, CompareError>, bool, bool) {
    let trees = FoldedTrees::new(1);
    for sequence in 1..=folded {
        let commit = commit(sequence, 6);
        trees.receive(&commit).expect("it has leaves");
        trees.fold(commit.position, Some(1_000)).expect("it is the next");
    }
    let (log, witness) = signers();
    let policy = TrustPolicy::new(vec![log.verifier().clone()], vec![witness.verifier().clone()], 1);
    let log = WitnessedLog::new(HOST, policy.expect("a policy"));
    let source = Source::There(PublishedLog::within(&server.url, limit).expect("a client"));
    let task = tokio::task::spawn_blocking(move || {
        let compared = log.compare(&trees, PARTITION, &source);
        let covers = trees.covers(Some(PARTITION), 1_000);
        (compared, covers, trees.is_refuted(PARTITION))
    });
    task.await.expect("no panic")
}

/// The error of a comparison in which nothing is covered and no alarm is raised.
async fn refused(server: &Server, limit: Duration) -> String {
    let (compared, covers, refuted) = compared(server, LEAVES - 300, limit).await;
    assert!(!covers && !refuted, "{compared:?}");
    compared.expect_err("nothing can be compared").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_server_of_the_published_log_proves_nothing_and_takes_no_memory() {
    let server = Server::start().await;
    *server.files.lock() = published(LEAVES, 6);
    let (sound, covers, refuted) = compared(&server, LEAVES - 300, PATIENCE).await;
    assert!(
        matches!(sound, Ok(Compared::Covered(head)) if head.size == LEAVES - 300),
        "{sound:?}"
    );
    assert!(covers && !refuted);

    use Manner::{Announced, CutOff, Endless, Failing, Garbage, Missing, Redirect, Silent, Slow, Sound, Truncated};
    let unreadable = "the published log cannot be read";
    for (of_checkpoints, of_tiles, said) in [
        (Missing, Sound, "no witnessed checkpoint of partition 00 is published"),
        (Garbage, Sound, ""),
        (Truncated, Sound, ""),
        (CutOff, Sound, unreadable),
        (Endless, Sound, "a file of the log is too long"),
        (Announced, Sound, "a file of the log is too long"),
        (Redirect, Sound, "it answered 302"),
        (Failing, Sound, "it answered 500"),
        (Slow, Sound, unreadable),
        (Silent, Sound, unreadable),
        (Sound, Missing, ""),
        (Sound, Garbage, ""),
        (Sound, Truncated, ""),
        (Sound, CutOff, unreadable),
        (Sound, Endless, "a file of the log is too long"),
        (Sound, Announced, "a file of the log is too long"),
        (Sound, Redirect, "it answered 302"),
        (Sound, Slow, unreadable),
    ] {
        *server.manners.lock() = (of_checkpoints, of_tiles);
        server.sent.store(0, Ordering::SeqCst);
        let waits = [of_checkpoints, of_tiles]
            .iter()
            .any(|manner| matches!(manner, Slow | Silent));
        let error = refused(&server, if waits { IMPATIENCE } else { PATIENCE }).await;
        assert!(
            error.contains(said) && !error.is_empty(),
            "{of_checkpoints:?} {of_tiles:?}: {error}"
        );
        let sent = server.sent.load(Ordering::SeqCst);
        assert!(sent < MUCH, "{of_checkpoints:?} {of_tiles:?}: {sent} bytes were taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_and_forked_logs_are_told_apart() {
    let server = Server::start().await;
    // An old checkpoint, which was true: it covers nothing, and is no alarm.
    *server.files.lock() = published(100, 6);
    let (stale, covers, refuted) = compared(&server, LEAVES, PATIENCE).await;
    assert!(
        matches!(
            stale,
            Ok(Compared::Behind {
                witnessed: 100,
                own: LEAVES
            })
        ),
        "{stale:?}"
    );
    assert!(!covers && !refuted);
    // The tiles of another log below a true checkpoint are not of its tree.
    let (mut files, other) = (published(LEAVES, 6), published(LEAVES, 7));
    let checkpoint = files.remove("witnessed").expect("a checkpoint");
    *server.files.lock() = other.clone();
    server.files.lock().insert("witnessed".to_owned(), checkpoint);
    let error = refused(&server, PATIENCE).await;
    assert!(error.contains("tile"), "{error}");
    // Another log that the log's key and the witness have signed is an alarm.
    *server.files.lock() = other;
    let (forked, covers, refuted) = compared(&server, LEAVES - 300, PATIENCE).await;
    assert!(matches!(forked, Ok(Compared::Differs { .. })), "{forked:?}");
    assert!(!covers && refuted);
}
