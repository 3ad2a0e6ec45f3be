//! `transparency`: from events to leaves, from leaves to tiles in a folder, and proofs from those tiles.
//!
//! The references hash the same bytes with the same hash on the same core: the events, and two hashes of 32 bytes for
//! each leaf, which is what a tree hashes. A node of a tree needs two blocks of SHA-256 where the reference needs one,
//! because of the byte that precedes it, so no tree reaches more than half of that reference.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use citycode_transparency::leaf::{CommitSecret, LeafPosition, Opening, entry, parts};
use citycode_transparency::statement::{Act, Cause, CodeStatement};
use citycode_transparency::tile::{DirectoryTiles, TileReader, TileWriter};
use citycode_transparency::tree::verify_inclusion;
use citycode_transparency::{
    Checkpoint, CompactRange, Hash, KeyKind, LogProof, NoteSigner, TreeHead, TrustPolicy, leaf_hash,
};
use sha2::{Digest as _, Sha256};

use crate::report::{Figure, Goal, Report};
use crate::{Scale, folder};

const LEAVES: u64 = 10_000_000;
/// Leaves in one commit of the tiles: at 500,000 a second, a commit every 0.2 s.
const COMMIT: usize = 100_000;
const EVENTS: u64 = 1_000_000;
/// Payload of an issue with its sealed token.
const PAYLOAD_BYTES: usize = 280;
const PROOFS: u64 = 2_000;
const ROUNDS: usize = 5;

pub(crate) fn run(report: &mut Report, scale: Scale) -> Result<()> {
    events_to_leaves(report, scale)?;
    let leaves: Vec<Hash> = (0..scale.of(LEAVES))
        .map(|number| leaf_hash(&number.to_be_bytes()))
        .collect();
    tree_in_memory(report, &leaves);
    let folder = folder::temporary()?;
    let head = tiles_in_folder(report, folder.path(), &leaves)?;
    proofs(report, folder.path(), head, &leaves)
}

/// The middle of several runs, in units a second.
fn rate(units: u64, mut run: impl FnMut()) -> f64 {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            units as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[ROUNDS / 2]
}

fn position(sequence: u64) -> LeafPosition {
    LeafPosition {
        partition: 3,
        sequence,
        event: 0,
        events: 1,
    }
}

/// An issue: the whole event, one birth, and one part that is empty.
fn parts_of(payload: &[u8]) -> Vec<Vec<u8>> {
    let birth = CodeStatement {
        code_id: [7; 8],
        act: Act::Issued {
            issued_at: 1_790_000_000,
            expires_at: 1_792_592_000,
            claims_digest: [5; 32],
        },
    };
    parts("CodeIssued", 1, payload, vec![birth.to_bytes()])
}

fn events_to_leaves(report: &mut Report, scale: Scale) -> Result<()> {
    let events = scale.of(EVENTS);
    let payload = vec![0x5a; PAYLOAD_BYTES];
    let hashed = rate(events, || {
        for _ in 0..events {
            black_box(Sha256::digest(black_box(&payload)));
        }
    });
    let mut failed = false;
    let leaves = rate(events, || {
        for sequence in 0..events {
            let mut secret = CommitSecret([1; 32]);
            secret.0[..8].copy_from_slice(&sequence.to_be_bytes());
            match entry(&secret, &position(sequence), &parts_of(black_box(&payload))) {
                Ok(entry) => {
                    black_box(leaf_hash(&entry));
                }
                Err(_) => failed = true,
            }
        }
    });
    anyhow::ensure!(!failed, "an event has too many parts");
    report.push(
        Figure::new("leaves_from_events", leaves, "1/s")
            .reference(hashed)
            .goal(Goal::AtLeast(500_000.0)),
    );
    Ok(())
}

fn tree_in_memory(report: &mut Report, leaves: &[Hash]) {
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    let hashed = rate(leaves.len() as u64, || {
        let mut hasher = Sha256::new();
        hasher.update(&bytes);
        hasher.update(&bytes);
        black_box(hasher.finalize());
    });
    let appended = rate(leaves.len() as u64, || {
        let mut tree = CompactRange::default();
        tree.extend(leaves);
        black_box(tree.head());
    });
    report.push(
        Figure::new("tree_append", appended, "1/s")
            .reference(hashed)
            .goal(Goal::RatioAtLeast(0.35)),
    );
}

/// Writes the tiles once, durably, with a commit for every 100,000 leaves.
fn tiles_in_folder(report: &mut Report, folder: &Path, leaves: &[Hash]) -> Result<TreeHead> {
    let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
    let hashed = rate(leaves.len() as u64, || {
        let mut hasher = Sha256::new();
        hasher.update(&bytes);
        hasher.update(&bytes);
        black_box(hasher.finalize());
    });
    let mut writer = TileWriter::open(DirectoryTiles::open(folder)?)?;
    let mut head = TreeHead::EMPTY;
    let start = Instant::now();
    for run in leaves.chunks(COMMIT) {
        writer.append(run)?;
        head = writer.commit()?;
    }
    let written = leaves.len() as f64 / start.elapsed().as_secs_f64();
    report.push(
        Figure::new("tiles_durable", written, "1/s")
            .reference(hashed)
            .goal(Goal::AtLeast(500_000.0)),
    );
    Ok(head)
}

/// Milliseconds that a share of the runs does not exceed.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Each proof by a reader that has read nothing yet; the files are in the page cache.
fn proofs(report: &mut Report, folder: &Path, head: TreeHead, leaves: &[Hash]) -> Result<()> {
    let source = DirectoryTiles::open(folder)?;
    let (mut milliseconds, mut proved) = (Vec::new(), Vec::new());
    for number in 0..PROOFS {
        let index = (number * 7_919_317) % head.size;
        let start = Instant::now();
        let hashes = TileReader::open(&source, head)?.inclusion_proof(index)?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        proved.push((index, hashes));
    }
    milliseconds.sort_by(f64::total_cmp);
    report.push(Figure::new("proof_p50", quantile(&milliseconds, 0.5), "ms"));
    report.push(Figure::new("proof_p99", quantile(&milliseconds, 0.99), "ms").goal(Goal::AtMost(5.0)));

    let mut failed = 0;
    let verified = rate(PROOFS, || {
        for (index, hashes) in &proved {
            let leaf = usize::try_from(*index).map(|index| leaves[index]);
            let holds = leaf.is_ok_and(|leaf| verify_inclusion(&leaf, *index, &head, hashes).is_ok());
            failed += u32::from(!holds);
        }
    });
    anyhow::ensure!(failed == 0, "{failed} proofs do not hold");
    report.push(Figure::new("verify_inclusion", 1e6 / verified, "us"));
    verify_file(report)
}

/// A proof file of a death in a tree of one leaf, with the signatures of the log and of a witness.
fn verify_file(report: &mut Report) -> Result<()> {
    let death = CodeStatement {
        code_id: [7; 8],
        act: Act::Died {
            cause: Cause::Revoked,
            at: 1_790_000_000,
        },
    };
    let parts = parts("CodeRevoked", 1, &[0; PAYLOAD_BYTES], vec![death.to_bytes()]);
    let opening = Opening::new(&CommitSecret([1; 32]), &position(1), &parts, 1).context("it has that part")?;
    let log = NoteSigner::from_seed("city.example/log/03", KeyKind::Log, &[1; 32])?;
    let witness = NoteSigner::from_seed("witness.example/w1", KeyKind::Witness, &[2; 32])?;
    let root = opening.leaf_hash();
    let mut checkpoint = Checkpoint::new("city.example/log/03", TreeHead { size: 1, root })?.sign(&log)?;
    let cosignature = witness.sign(checkpoint.note().text(), 1_790_000_000);
    checkpoint.add([cosignature])?;
    let file = LogProof {
        extra: opening.to_bytes(),
        index: 0,
        hashes: Vec::new(),
        checkpoint,
    };
    let file = file.to_bytes();
    let policy = TrustPolicy::new(vec![log.verifier().clone()], vec![witness.verifier().clone()], 1)?;
    let verify = || -> Result<()> {
        let proof = LogProof::parse(black_box(&file))?;
        let opening = Opening::parse(&proof.extra)?;
        CodeStatement::parse(opening.content())?;
        proof.verify(&opening.leaf_hash(), &policy)?;
        Ok(())
    };
    verify()?;
    let rate = rate(PROOFS, || {
        let held = (0..PROOFS).filter(|_| verify().is_ok()).count();
        assert_eq!(held as u64, PROOFS, "a proof does not hold");
    });
    report.push(Figure::new("verify_proof_file", 1e6 / rate, "us"));
    Ok(())
}
