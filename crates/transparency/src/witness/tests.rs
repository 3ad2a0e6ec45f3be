use std::convert::Infallible;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::hash::{Hash, leaf_hash};
use crate::policy::TrustPolicy;
use crate::tree::naive;

const ORIGIN: &str = "city.example/log/00";
const NOW: NonZeroU64 = NonZeroU64::new(1_790_000_000).unwrap();

fn log() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, KeyKind::Log, &[1; 32]).unwrap()
}

fn witness() -> Witness {
    let signer = NoteSigner::from_seed("witness.example/w1", KeyKind::Witness, &[2; 32]).unwrap();
    Witness::new(signer, vec![log().verifier().clone()]).unwrap()
}

fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead {
        size: leaves.len() as u64,
        root: naive::root(leaves),
    }
}

fn signed_by(log: &NoteSigner, origin: &str, head: TreeHead) -> SignedCheckpoint {
    Checkpoint::new(origin, head).unwrap().sign(log).unwrap()
}

fn request(old: usize, leaves: &[Hash]) -> AddCheckpointRequest {
    AddCheckpointRequest {
        old_size: old as u64,
        proof: naive::consistency(old.min(leaves.len()), leaves),
        checkpoint: signed_by(&log(), ORIGIN, head(leaves)),
    }
}

fn answer<M: WitnessMemory<Error: std::fmt::Debug>>(memory: &M, request: &AddCheckpointRequest) -> Answer {
    witness().add_checkpoint(memory, &request.to_bytes(), NOW).unwrap()
}

/// A memory of a witness that cosigned the tree over these leaves.
fn having_cosigned(leaves: &[Hash]) -> MemoryOfOneProcess {
    let memory = MemoryOfOneProcess::default();
    assert_eq!(answer(&memory, &request(0, leaves)).status(), 200);
    memory
}

#[test]
fn a_tree_that_grows_is_cosigned_and_remembered() {
    let leaves = naive::leaves(40);
    let memory = MemoryOfOneProcess::default();
    let policy = TrustPolicy::new(vec![log().verifier().clone()], vec![witness().verifier().clone()], 1).unwrap();
    let mut old = 0;
    for size in [1, 7, 8, 8, 33, 40] {
        let request = request(old, &leaves[..size]);
        let answer = answer(&memory, &request);
        let Answer::Cosigned(line) = &answer else {
            panic!("{answer:?}")
        };
        assert_eq!((answer.status(), answer.body()), (200, line.clone()));
        let mut checkpoint = request.checkpoint.clone();
        checkpoint
            .add(SignedNote::parse_signatures(line.as_bytes()).unwrap())
            .unwrap();
        let trusted = policy.verify(&checkpoint).unwrap();
        assert_eq!(trusted.cosignatures[0].unix_seconds, NOW.get());
        let remembered = memory.last(ORIGIN).unwrap().unwrap();
        assert_eq!(remembered.head, head(&leaves[..size]));
        assert_eq!(remembered.checkpoint, checkpoint.to_bytes());
        old = size;
    }
}

use crate::note::SignedNote;

#[test]
fn an_empty_tree_is_cosigned_only_with_the_root_of_an_empty_tree() {
    let memory = MemoryOfOneProcess::default();
    assert_eq!(answer(&memory, &request(0, &[])).status(), 200);
    let mut forged = request(0, &[]);
    let root = leaf_hash(b"x");
    forged.checkpoint = signed_by(&log(), ORIGIN, TreeHead { size: 0, root });
    assert_eq!(answer(&memory, &forged).status(), 422);
}

/// The order of the checks is that of C2SP tlog-witness.
#[test]
fn each_rule_of_the_specification_has_its_status() {
    let leaves = naive::leaves(20);
    let memory = having_cosigned(&leaves[..10]);
    let status = |request: &AddCheckpointRequest| answer(&memory, request).status();

    let mut unknown = request(10, &leaves);
    unknown.checkpoint = signed_by(&log(), "other.example/log", head(&leaves));
    assert_eq!(status(&unknown), 404);

    let stranger = NoteSigner::from_seed("stranger.example", KeyKind::Log, &[7; 32]).unwrap();
    let mut unsigned = request(10, &leaves);
    unsigned.checkpoint = signed_by(&stranger, ORIGIN, head(&leaves));
    assert_eq!(status(&unsigned), 403);

    // The log's own signature, but of another tree: the note is malformed, though another line would verify.
    let mut false_signature = request(10, &leaves);
    let other = signed_by(&log(), ORIGIN, head(&leaves[..12]));
    false_signature
        .checkpoint
        .add(other.note().signatures().to_vec())
        .unwrap();
    assert_eq!(status(&false_signature), 403);

    let mut beyond = request(10, &leaves[..5]);
    beyond.proof.clear();
    assert_eq!(status(&beyond), 400);

    for old in [0, 9, 11, 20] {
        let conflict = answer(&memory, &request(old, &leaves));
        assert_eq!(conflict, Answer::Conflict(10));
        assert_eq!((conflict.status(), conflict.content_type()), (409, "text/x.tlog.size"));
        assert_eq!(conflict.body(), "10\n");
    }

    let mut no_proof = request(10, &leaves);
    no_proof.proof.clear();
    assert_eq!(status(&no_proof), 422);
    let mut wrong_proof = request(10, &leaves);
    wrong_proof.proof[0].0[0] ^= 1;
    assert_eq!(status(&wrong_proof), 422);

    // A fork of the same size, and a fork that is longer, each with its own honest proof.
    let mut forked = leaves.clone();
    forked[3] = leaf_hash(b"another history");
    assert_eq!(status(&request(10, &forked[..10])), 422);
    assert_eq!(status(&request(10, &forked)), 422);

    assert_eq!(
        memory.last(ORIGIN).unwrap().unwrap().head,
        head(&leaves[..10]),
        "nothing was remembered"
    );
    assert_eq!(status(&request(10, &leaves)), 200);
    assert_eq!(status(&request(10, &leaves)), 409, "the same request again");
}

#[test]
fn a_malformed_request_is_a_bad_request() {
    let body = String::from_utf8(request(0, &naive::leaves(5)).to_bytes()).unwrap();
    let memory = MemoryOfOneProcess::default();
    for wrong in [
        String::new(),
        body.replace("old 0", "old 00"),
        body.replace("old 0", "old -1"),
        body.replace("old 0", "size 0"),
        body.replace("old 0\n", "old 0\nx\n"),
        body.replace(
            "old 0\n",
            &format!("old 0\n{}", format!("{}\n", Hash::EMPTY_TREE).repeat(64)),
        ),
        body.replace("\n\n", "\n"),
        body.replace('\n', "\r\n"),
        body.trim_end().to_owned(),
        format!("{body}{}", "x".repeat(MAX_REQUEST_BYTES)),
    ] {
        let answer = witness().add_checkpoint(&memory, wrong.as_bytes(), NOW).unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
    }
    assert_eq!(memory.last(ORIGIN), Ok(None));
    assert_eq!(
        AddCheckpointRequest::parse(body.as_bytes()).unwrap().to_bytes(),
        body.as_bytes()
    );
}

/// A memory in which another request is answered between reading and writing.
struct Racing {
    inner: MemoryOfOneProcess,
    meanwhile: AddCheckpointRequest,
}

impl WitnessMemory for Racing {
    type Error = Infallible;

    fn last(&self, origin: &str) -> Result<Option<Remembered>, Infallible> {
        let last = self.inner.last(origin);
        let other = witness().add_checkpoint(&self.inner, &self.meanwhile.to_bytes(), NOW)?;
        assert!(matches!(other, Answer::Cosigned(_) | Answer::Conflict(_)));
        last
    }

    fn replace(&self, origin: &str, expected: u64, next: Remembered) -> Result<Result<(), u64>, Infallible> {
        self.inner.replace(origin, expected, next)
    }
}

#[test]
fn of_two_concurrent_requests_one_is_refused_so_that_the_memory_never_goes_back() {
    let leaves = naive::leaves(20);
    let memory = Racing {
        inner: having_cosigned(&leaves[..5]),
        meanwhile: request(5, &leaves),
    };
    let mut fork = leaves[..7].to_vec();
    fork[6] = leaf_hash(b"another history");
    assert_eq!(answer(&memory, &request(5, &fork)), Answer::Conflict(20));
    assert_eq!(memory.inner.last(ORIGIN).unwrap().unwrap().head, head(&leaves));
}

/// A memory that cannot be written.
struct Broken;

#[derive(Debug, thiserror::Error)]
#[error("broken")]
struct BrokenError;

impl WitnessMemory for Broken {
    type Error = BrokenError;
    fn last(&self, _: &str) -> Result<Option<Remembered>, BrokenError> {
        Ok(None)
    }
    fn replace(&self, _: &str, _: u64, _: Remembered) -> Result<Result<(), u64>, BrokenError> {
        Err(BrokenError)
    }
}

#[test]
fn nothing_is_cosigned_that_could_not_be_remembered() {
    let body = request(0, &naive::leaves(5)).to_bytes();
    assert!(witness().add_checkpoint(&Broken, &body, NOW).is_err());
}

#[test]
fn what_is_remembered_for_monitors_contains_no_unverified_signature() {
    let leaves = naive::leaves(5);
    let memory = MemoryOfOneProcess::default();
    let stranger = NoteSigner::from_seed("stranger.example", KeyKind::Log, &[7; 32]).unwrap();
    let mut request = request(0, &leaves);
    // One with a name of its own, one with the name of the log, and one with its key id.
    let mut same_name = stranger.sign("anything\n", 0);
    same_name.name = ORIGIN.to_owned();
    let mut same_id = stranger.sign("anything\n", 0);
    same_id.key_id = log().verifier().id();
    let unknown = stranger.sign("anything\n", 0);
    request.checkpoint.add([unknown, same_name, same_id]).unwrap();
    assert_eq!(answer(&memory, &request).status(), 200);
    let remembered = memory.last(ORIGIN).unwrap().unwrap().checkpoint;
    let note = SignedNote::parse(&remembered).unwrap();
    let names: Vec<&str> = note.signatures().iter().map(|signature| signature.name()).collect();
    assert_eq!(names, [ORIGIN, "witness.example/w1"]);
}

#[test]
fn a_memory_in_a_folder_survives_and_has_one_user() {
    let folder = tempfile::tempdir().unwrap();
    let leaves = naive::leaves(20);
    let memory = DirectoryMemory::open(folder.path()).unwrap();
    assert_eq!(memory.last(ORIGIN).unwrap(), None);
    assert_eq!(answer(&memory, &request(0, &leaves[..7])).status(), 200);
    let second = DirectoryMemory::open(folder.path());
    assert!(matches!(second, Err(MemoryError::Locked)), "{second:?}");
    drop(memory);
    // A crash while the next checkpoint was written.
    std::fs::write(folder.path().join("draft"), "half").unwrap();
    let memory = DirectoryMemory::open(folder.path()).unwrap();
    assert_eq!(memory.last(ORIGIN).unwrap().unwrap().head, head(&leaves[..7]));
    assert_eq!(answer(&memory, &request(0, &leaves)), Answer::Conflict(7));
    assert_eq!(answer(&memory, &request(7, &leaves)).status(), 200);
    let current = memory
        .replace(ORIGIN, 7, memory.last(ORIGIN).unwrap().unwrap())
        .unwrap();
    assert_eq!(current, Err(20));
}

#[test]
fn a_witness_cosigns_nothing_if_its_memory_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let leaves = naive::leaves(20);
    let memory = DirectoryMemory::open(folder.path()).unwrap();
    assert_eq!(answer(&memory, &request(0, &leaves[..7])).status(), 200);
    let file = memory.file_of(ORIGIN);
    let good = std::fs::read(&file).unwrap();
    let other = signed_by(&log(), "other.example", head(&leaves)).to_bytes();
    for damaged in [&good[..good.len() - 1], &[], &other] {
        std::fs::write(&file, damaged).unwrap();
        let answered = witness().add_checkpoint(&memory, &request(0, &leaves).to_bytes(), NOW);
        assert!(matches!(answered, Err(MemoryError::Damaged(..))), "{answered:?}");
    }
}

#[test]
fn keys_of_another_role_are_refused() {
    let key = || NoteSigner::from_seed("w", KeyKind::Witness, &[2; 32]).unwrap();
    let refused = Witness::new(log(), vec![]).unwrap_err();
    assert_eq!(refused, WitnessInvalid::NotAWitness(log().verifier().clone()));
    let refused = Witness::new(key(), vec![key().verifier().clone()]).unwrap_err();
    assert_eq!(refused, WitnessInvalid::NotALog(key().verifier().clone()));
}
