use super::*;
use crate::checkpoint::Checkpoint;
use crate::leaf::{CommitSecret, LeafPosition, Opening, parts};
use crate::note::{KeyKind, NoteSigner, VerifierKey};
use crate::statement::{Act, Cause, CodeStatement};
use crate::tree::{TreeHead, naive};

const ORIGIN: &str = "city.example/log/00";

fn log() -> NoteSigner {
    NoteSigner::from_seed(ORIGIN, KeyKind::Log, &[1; 32]).unwrap()
}

fn witness() -> NoteSigner {
    NoteSigner::from_seed("witness.example/w1", KeyKind::Witness, &[2; 32]).unwrap()
}

fn policy(quorum: usize) -> TrustPolicy {
    let key = |signer: &NoteSigner| -> VerifierKey { signer.verifier().to_string().parse().unwrap() };
    TrustPolicy::new(vec![key(&log())], vec![key(&witness())], quorum).unwrap()
}

fn opening() -> Opening {
    let death = CodeStatement {
        code_id: [5; 8],
        act: Act::Died {
            cause: Cause::Revoked,
            at: 1_790_000_000,
        },
    };
    let position = LeafPosition {
        partition: 0,
        sequence: 7,
        event: 0,
        events: 1,
    };
    let parts = parts("CodeRevoked", 1, b"payload", vec![death.to_bytes()]);
    Opening::new(&CommitSecret([9; 32]), &position, &parts, 1).unwrap()
}

/// A proof of leaf 6 of 11, cosigned.
fn proof() -> LogProof {
    let mut leaves = naive::leaves(11);
    leaves[6] = opening().leaf_hash();
    let head = TreeHead {
        size: 11,
        root: naive::root(&leaves),
    };
    let checkpoint = Checkpoint::new(ORIGIN, head).unwrap();
    let mut checkpoint = checkpoint.sign(&log()).unwrap();
    let cosignature = witness().sign(checkpoint.note().text(), 1_790_000_100);
    checkpoint.add([cosignature]).unwrap();
    LogProof {
        extra: opening().to_bytes(),
        index: 6,
        hashes: naive::inclusion(6, &leaves),
        checkpoint,
    }
}

/// As somebody without access to the log verifies it: from the bytes and the keys alone.
fn verified(bytes: &[u8], policy: &TrustPolicy) -> Option<(CodeStatement, TrustedCheckpoint)> {
    let proof = LogProof::parse(bytes).ok()?;
    let opening = Opening::parse(&proof.extra).ok()?;
    let trusted = proof.verify(&opening.leaf_hash(), policy).ok()?;
    Some((CodeStatement::parse(opening.content()).ok()?, trusted))
}

#[test]
fn a_proof_round_trips_and_proves_its_statement_offline() {
    let bytes = proof().to_bytes();
    assert_eq!(LogProof::parse(&bytes).unwrap(), proof());
    let (statement, trusted) = verified(&bytes, &policy(1)).unwrap();
    assert_eq!(statement.code_id, [5; 8]);
    assert_eq!(trusted.cosignatures.len(), 1);
    assert!(verified(&bytes, &policy(0)).is_some());
}

#[test]
fn no_changed_byte_of_a_proof_proves_anything_else() {
    let bytes = proof().to_bytes();
    let good = verified(&bytes, &policy(1));
    for at in 0..bytes.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            // The position in the log is bound by the leaf, and the time of the cosignature by its signature.
            let result = verified(&changed, &policy(1));
            assert!(result.is_none() || result == good, "byte {at}");
            assert!(result.is_none(), "byte {at} does not matter");
        }
    }
    for length in 0..bytes.len() {
        assert_eq!(verified(&bytes[..length], &policy(1)), None, "{length} bytes");
    }
}

#[test]
fn an_unwitnessed_proof_does_not_satisfy_a_quorum() {
    let mut proof = proof();
    proof.checkpoint = proof.checkpoint.unverified().sign(&log()).unwrap();
    let leaf = opening().leaf_hash();
    assert!(proof.verify(&leaf, &policy(0)).unwrap().cosignatures.is_empty());
    let refused = proof.verify(&leaf, &policy(1));
    assert!(
        matches!(
            refused,
            Err(LogProofUntrusted::Checkpoint(CheckpointUntrusted::Quorum {
                cosigned: 0,
                quorum: 1
            }))
        ),
        "{refused:?}"
    );
}

#[test]
fn a_proof_of_another_leaf_is_refused() {
    let refused = proof().verify(&crate::leaf_hash(b"another"), &policy(1));
    assert_eq!(refused, Err(LogProofUntrusted::Inclusion(ProofInvalid::OtherRoot)));
}

#[test]
fn what_is_not_a_proof_is_refused_with_the_reason() {
    let text = String::from_utf8(proof().to_bytes()).unwrap();
    let refused = |text: &str| LogProof::parse(text.as_bytes()).unwrap_err();
    assert_eq!(refused(""), LogProofInvalid::Structure);
    assert_eq!(refused(&text.replace("@v1", "@v2")), LogProofInvalid::Title);
    assert_eq!(refused(&text.replace("extra ", "extra  ")), LogProofInvalid::Extra);
    assert_eq!(refused(&text.replace("extra ", "Extra ")), LogProofInvalid::Index);
    assert_eq!(refused(&text.replace("index 6", "index 06")), LogProofInvalid::Index);
    assert_eq!(refused(&text.replace("index 6\n", "")), LogProofInvalid::Index);
    assert_eq!(
        refused(&text.replace("index 6\n", "index 6\nx\n")),
        LogProofInvalid::Hash
    );
    let hash = format!("{}\n", proof().hashes[0]);
    let many = text.replace("index 6\n", &format!("index 6\n{}", hash.repeat(MAX_PROOF_HASHES)));
    assert_eq!(refused(&many), LogProofInvalid::Hash);
    let most = LogProof {
        hashes: vec![proof().hashes[0]; MAX_PROOF_HASHES],
        ..proof()
    };
    assert_eq!(LogProof::parse(&most.to_bytes()), Ok(most));
    assert_eq!(refused(&"a".repeat(MAX_PROOF_BYTES)), LogProofInvalid::Structure);
    assert!(matches!(
        refused(&text.replace("\n11\n", "\n011\n")),
        LogProofInvalid::Checkpoint(_)
    ));
    assert_eq!(refused(&"a".repeat(MAX_PROOF_BYTES + 1)), LogProofInvalid::TooLong);
    let no_extra = text.find("extra ").unwrap()..text.find("index ").unwrap();
    let mut empty = text.clone();
    empty.replace_range(no_extra, "extra \n");
    assert_eq!(refused(&empty), LogProofInvalid::Extra);
    let with = |extra| LogProof { extra, ..proof() };
    let large = with(vec![0; MAX_EXTRA_BYTES + 1]);
    assert_eq!(LogProof::parse(&large.to_bytes()), Err(LogProofInvalid::Extra));
    let without = with(Vec::new());
    assert_eq!(LogProof::parse(&without.to_bytes()), Ok(without));
}
