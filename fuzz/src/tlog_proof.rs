//! Proof files and openings of leaves: only what the log contains can be proved.

use citycode_transparency::LogProof;
use citycode_transparency::leaf::Opening;
use citycode_transparency::statement::CodeStatement;
use citycode_transparency::tree::{verify_consistency, verify_inclusion};

use crate::tlog::{LEAVES, OPENING, POLICY, SIZES, proof, tiles};

/// Parses any bytes as a proof file, as an opening and as a statement, and uses them as the hashes of proofs.
///
/// # Panics
/// If something is parsed that is not written in the same bytes, or if a proof is accepted that differs from the
/// correct one.
pub fn run(input: &[u8]) {
    if let Ok(parsed) = LogProof::parse(input) {
        assert_eq!(parsed.to_bytes(), input, "a proof in another form");
        if let Ok(opening) = Opening::parse(&parsed.extra)
            && let Ok(trusted) = parsed.verify(&opening.leaf_hash(), &POLICY)
        {
            assert_eq!(trusted.checkpoint, *proof().checkpoint.unverified(), "never signed");
            assert_eq!(
                (parsed.index, &parsed.hashes),
                (proof().index, &proof().hashes),
                "another place"
            );
            assert_eq!(opening.entry(), OPENING.entry(), "another leaf");
            assert_eq!(opening.content(), OPENING.content(), "another content of the leaf");
        }
    }
    if let Ok(opening) = Opening::parse(input) {
        assert_eq!(opening.to_bytes(), input, "an opening in another form");
    }
    if let Ok(statement) = CodeStatement::parse(input) {
        assert_eq!(statement.to_bytes(), input, "a statement in another form");
    }
    as_hashes(input);
}

/// Replaces hashes of correct proofs. The first two bytes choose the leaf or old tree and the tree; the third chooses
/// the hashes that are replaced.
fn as_hashes(input: &[u8]) {
    let Some(([first, second, replaced], bytes)) = input.split_first_chunk() else {
        return;
    };
    let new = SIZES[1 + usize::from(*second) % 3];
    let old = u64::from(*first) % new;
    let mut tiles = tiles(new);
    let head = tiles.head();
    let of_leaf = tiles.inclusion_proof(old).expect("it is in the tree");
    let of_tree = tiles.consistency_proof(old).expect("it is smaller");
    let old_head = crate::tlog::tiles(old).head();
    let leaf = LEAVES[usize::try_from(old).expect("a small tree")];
    let mutate = |honest: &[citycode_transparency::Hash]| {
        let mut hashes = honest.to_vec();
        for (number, bytes) in bytes.chunks_exact(32).enumerate().take(8) {
            let hash = citycode_transparency::Hash(bytes.try_into().expect("32 bytes"));
            if usize::from(*replaced) & (1 << number) != 0 && number < hashes.len() {
                hashes[number] = hash;
            } else {
                hashes.push(hash);
            }
        }
        hashes
    };
    let proof = mutate(&of_leaf);
    let holds = verify_inclusion(&leaf, old, &head, &proof).is_ok();
    assert_eq!(holds, proof == of_leaf, "another inclusion proof holds");
    let proof = mutate(&of_tree);
    let holds = verify_consistency(&old_head, &head, &proof).is_ok();
    assert_eq!(holds, proof == of_tree, "another consistency proof holds");
}
