//! Independent implementations verify what this crate writes, and this crate verifies what they write.
//!
//! The implementations are PyPI packages, which `cargo xtask test` installs; `tests/outsiders/_transparency.py` calls
//! them. They cover notes, checkpoints, cosignatures, tiles, bundles and both proofs (`aics-tlog`), the rules of a witness
//! (`aics-witness`), and proof files (`proofbundle`).

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::process::Command;

use citycode_transparency::leaf::{CommitSecret, LeafPosition, Opening, parts};
use citycode_transparency::note::SignedNote;
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::tile::{
    BundleId, DirectoryTiles, TileId, TileReader, TileSource, TileStore, TileWriter, encode_bundle, parse_bundle,
};
use citycode_transparency::tree::{verify_consistency, verify_inclusion};
use citycode_transparency::witness::{AddCheckpointRequest, Answer, MemoryOfOneProcess, Witness};
use citycode_transparency::{
    Checkpoint, Hash, KeyKind, LogProof, NoteSigner, SignedCheckpoint, TreeHead, TrustPolicy, leaf_hash,
};
use serde_json::{Value, json};

const ORIGIN: &str = "city.example/log/00";
const NOW: NonZeroU64 = NonZeroU64::new(1_790_000_000).unwrap();
/// A full tile of level 1, and tiles of three levels.
const LEAVES: u64 = 66_000;
const PROVED: [u64; 6] = [0, 1, 255, 256, 40_000, LEAVES - 1];
const SIZES: [u64; 11] = [0, 1, 2, 3, 255, 256, 257, 1000, 65_536, 65_537, LEAVES];

/// Runs the script with the packages; it fails with a traceback.
fn outsider(what: &str, folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders/_transparency.py");
    let ended = Command::new("python").arg(script).arg(what).arg(folder).output();
    let ended = ended.expect("python with the packages on the path: run `cargo xtask test --only nextest`");
    assert!(
        ended.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn log() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, KeyKind::Log, &[21; 32]).unwrap()
}

fn texts(proof: &[Hash]) -> Vec<String> {
    proof.iter().map(Hash::to_base64).collect()
}

fn hashes(texts: &Value) -> Vec<Hash> {
    let texts = texts.as_array().unwrap().iter();
    texts
        .map(|text| Hash::from_base64(text.as_str().unwrap()).unwrap())
        .collect()
}

/// The tree over the first entries.
fn head(size: u64) -> TreeHead {
    let mut tree = citycode_transparency::CompactRange::default();
    (0..size).for_each(|number| tree.append(leaf_hash(&entry(number))));
    tree.head().unwrap()
}

/// A death whose leaf is number 40,000 of our tree.
fn opening() -> Opening {
    let death = CodeStatement {
        code_id: [5; 8],
        act: Act::Died {
            cause: Cause::ReportedLost,
            at: 1_790_000_000,
        },
    };
    let position = LeafPosition {
        partition: 0,
        sequence: 40_001,
        event: 0,
        events: 1,
    };
    let parts = parts("CodeReportedLost", 1, b"payload", vec![death.to_bytes()]);
    Opening::new(&CommitSecret([9; 32]), &position, &parts, 1).unwrap()
}

/// Tiles and entry bundles of a tree over these entries, written in several steps.
fn write_tiles(folder: &Path, entries: &[Vec<u8>]) -> TileWriter<DirectoryTiles> {
    let mut writer = TileWriter::open(DirectoryTiles::open(folder).unwrap()).unwrap();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    for run in leaves.chunks(10_007) {
        writer.append(run).unwrap();
        writer.commit().unwrap();
    }
    let mut store = DirectoryTiles::open(folder).unwrap();
    for (number, run) in (0..).zip(entries.chunks(256)) {
        let bundle = TileId::in_tree(0, number, LEAVES).unwrap().bundle().unwrap();
        let bytes = encode_bundle(run.iter().map(Vec::as_slice)).unwrap();
        store.put(&bundle.to_string(), &bytes).unwrap();
    }
    store.flush().unwrap();
    writer
}

fn signed(head: TreeHead, witness: &NoteSigner) -> SignedCheckpoint {
    let mut signed = Checkpoint::new(ORIGIN, head).unwrap().sign(&log()).unwrap();
    let cosignature = witness.sign(signed.note().text(), NOW.get());
    signed.add([cosignature]).unwrap();
    signed
}

#[test]
fn independent_implementations_verify_ours() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    let witness = NoteSigner::from_seed("witness.example/ours", KeyKind::Witness, &[22; 32]).unwrap();
    let entries: Vec<Vec<u8>> = (0..LEAVES).map(entry).collect();
    let writer = write_tiles(&ours, &entries);
    let tree = writer.compact_range().head().unwrap();
    let checkpoint = signed(tree, &witness);
    fs::write(ours.join("checkpoint"), checkpoint.to_bytes()).unwrap();

    let mut reader = TileReader::open(writer.store(), tree).unwrap();
    let mut inclusion = Vec::new();
    for index in PROVED {
        let proof = reader.inclusion_proof(index).unwrap();
        inclusion.push(json!({ "index": index, "hashes": texts(&proof) }));
    }
    let mut consistency = Vec::new();
    for old in SIZES {
        let proof = reader.consistency_proof(old).unwrap();
        consistency.push(json!({ "old": old, "root": head(old).root.to_base64(), "hashes": texts(&proof) }));
    }
    let opening = write_event_proof(folder.path(), &ours, entries, &witness);
    let said = json!({
        "log": log().verifier().to_string(),
        "witness": witness.verifier().to_string(),
        "inclusion": inclusion,
        "consistency": consistency,
        "leaf": opening.entry().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    fs::write(ours.join("said.json"), said.to_string()).unwrap();
    outsider("verify", &ours);
}

/// A proof file about a death, in a second tree that contains its leaf.
fn write_event_proof(folder: &Path, ours: &Path, mut entries: Vec<Vec<u8>>, witness: &NoteSigner) -> Opening {
    let opening = opening();
    entries[40_000] = opening.entry().to_vec();
    let writer = write_tiles(&folder.join("events"), &entries);
    let tree = writer.compact_range().head().unwrap();
    let mut reader = TileReader::open(writer.store(), tree).unwrap();
    let proof = LogProof {
        extra: opening.to_bytes(),
        index: 40_000,
        hashes: reader.inclusion_proof(40_000).unwrap(),
        checkpoint: signed(tree, witness),
    };
    fs::write(ours.join("event.tlog-proof"), proof.to_bytes()).unwrap();
    opening
}

#[test]
fn ours_verifies_what_an_independent_implementation_writes() {
    let folder = tempfile::tempdir().unwrap();
    outsider("write", folder.path());
    let said: Value = serde_json::from_slice(&fs::read(folder.path().join("said.json")).unwrap()).unwrap();
    let key = |role: &str| said[role].as_str().unwrap().parse().unwrap();
    let policy = TrustPolicy::new(vec![key("log")], vec![key("witness")], 1).unwrap();
    let bytes = fs::read(folder.path().join("checkpoint")).unwrap();
    let signed = SignedCheckpoint::parse(&bytes).unwrap();
    assert_eq!(signed.to_bytes(), bytes);
    let trusted = policy.verify(&signed).unwrap();
    assert_eq!(trusted.cosignatures[0].unix_seconds, NOW.get());
    let tree = trusted.checkpoint.head();
    assert_eq!(tree, head(LEAVES));

    let source = DirectoryTiles::open(folder.path()).unwrap();
    let mut reader = TileReader::open(&source, tree).unwrap();
    for index in 0..LEAVES / 256 {
        let bundle: BundleId = TileId::in_tree(0, index, LEAVES).unwrap().bundle().unwrap();
        let bytes = source.get(&bundle.to_string()).unwrap().unwrap();
        for (number, entry) in (index * 256..).zip(parse_bundle(&bytes, bundle.tile().width()).unwrap()) {
            assert_eq!(reader.leaf(number).unwrap(), leaf_hash(entry));
        }
    }
    for proof in said["inclusion"].as_array().unwrap() {
        let (index, path) = (proof["index"].as_u64().unwrap(), hashes(&proof["hashes"]));
        verify_inclusion(&leaf_hash(&entry(index)), index, &tree, &path).unwrap();
        assert_eq!(reader.inclusion_proof(index).unwrap(), path);
    }
    for proof in said["consistency"].as_array().unwrap() {
        let (size, path) = (proof["old"].as_u64().unwrap(), hashes(&proof["hashes"]));
        let root = Hash::from_base64(proof["root"].as_str().unwrap()).unwrap();
        verify_consistency(&TreeHead { size, root }, &tree, &path).unwrap();
        assert_eq!(reader.consistency_proof(size).unwrap(), path);
    }

    let bytes = fs::read(folder.path().join("event.tlog-proof")).unwrap();
    let proof = LogProof::parse(&bytes).unwrap();
    assert_eq!((proof.to_bytes(), proof.extra.as_slice()), (bytes, b"extra".as_slice()));
    assert_eq!(proof.verify(&leaf_hash(&entry(40_000)), &policy).unwrap(), trusted);

    // Our witness cosigns the requests of another log's software.
    let signer = NoteSigner::from_seed("witness.example/ours", KeyKind::Witness, &[22; 32]).unwrap();
    let (witness, memory) = (
        Witness::new(signer, vec![key("log")]).unwrap(),
        MemoryOfOneProcess::default(),
    );
    for name in said["requests"].as_array().unwrap() {
        let body = fs::read(folder.path().join(name.as_str().unwrap())).unwrap();
        let answer = witness.add_checkpoint(&memory, &body, NOW).unwrap();
        assert_eq!(answer.status(), 200, "{name}: {}", answer.body());
    }
}

/// The requests of a log and of its attackers, in order.
fn requests() -> Vec<Vec<u8>> {
    let log = log();
    let leaves: Vec<Hash> = (0..300).map(|number| leaf_hash(&entry(number))).collect();
    let mut fork = leaves.clone();
    fork[3] = leaf_hash(b"another history");
    let of = |leaves: &[Hash], old: u64, new: usize| AddCheckpointRequest {
        old_size: old,
        proof: proof(leaves, old, new),
        checkpoint: checkpoint(&log, ORIGIN, &leaves[..new]),
    };
    let body = |request: AddCheckpointRequest| request.to_bytes();
    let changed = |old, new, change: &dyn Fn(&mut AddCheckpointRequest)| {
        let mut request = of(&leaves, old, new);
        change(&mut request);
        request.to_bytes()
    };
    let stranger = NoteSigner::from_seed(ORIGIN, KeyKind::Log, &[99; 32]).unwrap();
    let text = String::from_utf8(body(of(&leaves, 0, 5))).unwrap();
    vec![
        body(of(&leaves, 3, 5)),
        body(of(&leaves, 0, 5)),
        body(of(&leaves, 0, 5)),
        body(of(&leaves, 5, 5)),
        body(of(&leaves, 5, 64)),
        body(of(&leaves, 5, 100)),
        body(of(&fork, 64, 100)),
        body(of(&fork, 64, 64)),
        changed(64, 100, &|request| request.proof.clear()),
        changed(64, 100, &|request| request.proof[0].0[0] ^= 1),
        changed(64, 100, &|request| request.old_size = 101),
        changed(64, 100, &|request| {
            request.checkpoint = checkpoint(&stranger, ORIGIN, &leaves[..100])
        }),
        changed(64, 100, &|request| {
            request.checkpoint = checkpoint(&log, "other.example", &leaves[..100])
        }),
        body(of(&leaves, 64, 50)),
        text.replace("old 0", "old 00").into_bytes(),
        text.replace("\n\n", "\n").into_bytes(),
        text.replace("old 0\n", "old 0\nx\n").into_bytes(),
        Vec::new(),
        body(of(&leaves, 64, 300)),
    ]
}

fn checkpoint(log: &NoteSigner, origin: &str, leaves: &[Hash]) -> SignedCheckpoint {
    let mut tree = citycode_transparency::CompactRange::default();
    tree.extend(leaves);
    Checkpoint::new(origin, tree.head().unwrap())
        .unwrap()
        .sign(log)
        .unwrap()
}

/// The consistency proof from tiles in memory; empty if the sizes are not in order.
fn proof(leaves: &[Hash], old: u64, new: usize) -> Vec<Hash> {
    let mut writer = TileWriter::open(citycode_transparency::tile::MemoryTiles::default()).unwrap();
    writer.append(&leaves[..new]).unwrap();
    let tree = writer.commit().unwrap();
    TileReader::open(writer.store(), tree)
        .unwrap()
        .consistency_proof(old)
        .unwrap_or_default()
}

#[test]
fn our_witness_and_an_independent_one_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("log.vkey"), log().verifier().to_string()).unwrap();
    let requests = requests();
    for (number, body) in requests.iter().enumerate() {
        fs::write(folder.path().join(format!("request-{number:02}")), body).unwrap();
    }
    outsider("witness", folder.path());

    let signer = NoteSigner::from_seed("witness.example/ours", KeyKind::Witness, &[22; 32]).unwrap();
    let witness = Witness::new(signer, vec![log().verifier().clone()]).unwrap();
    let memory = MemoryOfOneProcess::default();
    let peer = fs::read_to_string(folder.path().join("witness.vkey"))
        .unwrap()
        .parse()
        .unwrap();
    let policy = TrustPolicy::new(vec![log().verifier().clone()], vec![peer], 1).unwrap();
    let mut statuses = Vec::new();
    for (number, body) in requests.iter().enumerate() {
        let answer = witness.add_checkpoint(&memory, body, NOW).unwrap();
        let theirs = fs::read_to_string(folder.path().join(format!("answer-{number:02}"))).unwrap();
        let (status, their_body) = theirs.split_once('\n').unwrap();
        assert_eq!(answer.status().to_string(), status, "request {number}: {their_body}");
        match answer {
            Answer::Conflict(size) => assert_eq!(their_body, format!("{size}\n")),
            Answer::Cosigned(_) => {
                // Their cosignature counts for our reader.
                let mut signed = AddCheckpointRequest::parse(body).unwrap().checkpoint;
                signed
                    .add(SignedNote::parse_signatures(their_body.as_bytes()).unwrap())
                    .unwrap();
                assert_eq!(policy.verify(&signed).unwrap().cosignatures.len(), 1);
            }
            _ => {}
        }
        statuses.push(answer_status(status));
    }
    for expected in [200, 400, 403, 404, 409, 422] {
        assert!(statuses.contains(&expected), "no request was answered {expected}");
    }
}

fn answer_status(text: &str) -> u16 {
    text.parse().unwrap()
}
