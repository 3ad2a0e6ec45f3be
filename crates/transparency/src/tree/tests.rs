use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::naive;
use super::*;
use crate::leaf_hash;

fn hash(hex: &str) -> Hash {
    Hash(HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap())
}

/// The entries of the tests of the reference implementation of RFC 6962 (certificate-transparency, `merkletree`).
fn reference_leaves() -> Vec<Hash> {
    let entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    entries
        .iter()
        .map(|hex| leaf_hash(&HEXLOWER.decode(hex.as_bytes()).unwrap()))
        .collect()
}

/// The roots over the first 1 to 8 of these entries.
const REFERENCE_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn tree(leaves: &[Hash]) -> TreeHead {
    let mut range = CompactRange::default();
    range.extend(leaves);
    range.head().unwrap()
}

/// Every node of a tree over these leaves, computed from its leaves.
fn node(leaves: &[Hash], id: NodeId) -> Result<Hash, std::convert::Infallible> {
    let (width, index) = (1 << id.level, usize::try_from(id.index).unwrap());
    Ok(naive::root(&leaves[index * width..(index + 1) * width]))
}

fn inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    let plan = ProofPlan::inclusion(index as u64, leaves.len() as u64).unwrap();
    plan.assemble(|id| node(leaves, id)).unwrap()
}

fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    let plan = ProofPlan::consistency(old as u64, leaves.len() as u64).unwrap();
    plan.assemble(|id| node(leaves, id)).unwrap()
}

#[test]
fn the_roots_of_the_reference_implementation_are_computed() {
    let leaves = reference_leaves();
    for (size, root) in (1..).zip(REFERENCE_ROOTS) {
        assert_eq!(tree(&leaves[..size]).root, hash(root), "size {size}");
    }
    assert_eq!(tree(&[]), TreeHead::EMPTY);
}

#[test]
fn the_proofs_of_the_reference_implementation_are_generated() {
    let leaves = reference_leaves();
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    assert_eq!(inclusion(0, &leaves), expected.map(hash));
    let expected = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency(6, &leaves), expected.map(hash));
}

#[test]
fn every_proof_in_every_small_tree_is_the_naive_one_and_holds() {
    let leaves = naive::leaves(70);
    for size in 1..=leaves.len() {
        let leaves = &leaves[..size];
        let head = tree(leaves);
        assert_eq!(head.root, naive::root(leaves));
        for index in 0..size {
            let proof = inclusion(index, leaves);
            assert_eq!(proof, naive::inclusion(index, leaves), "leaf {index} of {size}");
            verify_inclusion(&leaves[index], index as u64, &head, &proof).unwrap();
        }
        for old in 0..=size {
            let proof = consistency(old, leaves);
            assert_eq!(proof, naive::consistency(old, leaves), "{old} of {size}");
            verify_consistency(&tree(&leaves[..old]), &head, &proof).unwrap();
        }
    }
}

#[test]
fn an_inclusion_proof_holds_for_no_other_leaf_place_size_or_proof() {
    let leaves = naive::leaves(21);
    let head = tree(&leaves);
    for index in 0..leaves.len() {
        let (leaf, proof) = (&leaves[index], inclusion(index, &leaves));
        for other in (0..leaves.len()).filter(|other| *other != index) {
            assert!(verify_inclusion(&leaves[other], index as u64, &head, &proof).is_err());
            assert!(verify_inclusion(leaf, other as u64, &head, &proof).is_err());
        }
        for changed in damaged(&proof) {
            assert!(verify_inclusion(leaf, index as u64, &head, &changed).is_err());
        }
        let beyond = verify_inclusion(leaf, head.size, &head, &proof);
        assert_eq!(beyond, Err(ProofInvalid::OutOfTree));
        let root = leaf_hash(b"another tree");
        let forked = TreeHead { root, ..head };
        assert_eq!(
            verify_inclusion(leaf, index as u64, &forked, &proof),
            Err(ProofInvalid::OtherRoot)
        );
    }
}

#[test]
fn a_consistency_proof_holds_for_no_changed_dropped_inserted_or_reordered_leaf() {
    let leaves = naive::leaves(21);
    let head = tree(&leaves);
    for old in 1..leaves.len() {
        let old_head = tree(&leaves[..old]);
        let proof = consistency(old, &leaves);
        for changed in damaged(&proof) {
            assert!(verify_consistency(&old_head, &head, &changed).is_err(), "{old}");
        }
        // What an operator did to the beginning of the log; the proof is the honest one of the log that resulted.
        let mut changed = leaves.clone();
        changed[old - 1] = leaf_hash(b"changed");
        let mut dropped = leaves.clone();
        dropped.remove(old - 1);
        let mut inserted = leaves.clone();
        inserted.insert(old - 1, leaf_hash(b"inserted"));
        let mut reordered = leaves.clone();
        reordered.swap(old - 1, old);
        for (what, after) in [
            ("changed", changed),
            ("dropped", dropped),
            ("inserted", inserted),
            ("reordered", reordered),
        ] {
            let proof = consistency(old, &after);
            let checked = verify_consistency(&old_head, &tree(&after), &proof);
            assert!(checked.is_err(), "{what} before {old}");
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_whatever_the_proof() {
    let (small, large) = (tree(&naive::leaves(3)), tree(&naive::leaves(5)));
    assert_eq!(verify_consistency(&large, &small, &[]), Err(ProofInvalid::OutOfTree));
    assert_eq!(
        verify_consistency(
            &small,
            &TreeHead {
                root: large.root,
                ..small
            },
            &[]
        ),
        Err(ProofInvalid::OtherRoot)
    );
    let forged = TreeHead {
        root: large.root,
        size: 0,
    };
    assert_eq!(
        verify_consistency(&forged, &large, &[]),
        Err(ProofInvalid::OtherOldRoot)
    );
    assert_eq!(verify_consistency(&forged, &forged, &[]), Err(ProofInvalid::OtherRoot));
    assert_eq!(
        verify_consistency(&TreeHead::EMPTY, &large, &[large.root]),
        Err(ProofInvalid::Length)
    );
    let huge = TreeHead {
        size: u64::MAX,
        root: large.root,
    };
    assert_eq!(verify_consistency(&small, &huge, &[]), Err(ProofInvalid::OutOfTree));
    assert_eq!(
        verify_inclusion(&large.root, 0, &huge, &[]),
        Err(ProofInvalid::OutOfTree)
    );
    let largest = TreeHead {
        size: MAX_TREE_SIZE,
        root: large.root,
    };
    assert_eq!(verify_consistency(&small, &largest, &[]), Err(ProofInvalid::Length));
    assert_eq!(
        verify_inclusion(&large.root, 0, &largest, &[]),
        Err(ProofInvalid::Length)
    );
    let beyond = TreeHead {
        size: MAX_TREE_SIZE + 1,
        ..largest
    };
    assert_eq!(verify_consistency(&small, &beyond, &[]), Err(ProofInvalid::OutOfTree));
}

/// The proof with each hash changed, left out and repeated, with neighbours swapped, and with a hash more at both ends.
fn damaged(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..proof.len() {
        let mut changed = proof.to_vec();
        changed[at].0[31] ^= 1;
        let mut dropped = proof.to_vec();
        dropped.remove(at);
        let mut repeated = proof.to_vec();
        repeated.insert(at, proof[at]);
        all.extend([changed, dropped, repeated]);
        if at > 0 {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    let more = leaf_hash(b"more");
    all.push([proof, &[more]].concat());
    all.push([&[more], proof].concat());
    all
}

#[test]
fn a_range_at_the_largest_size_is_parsed_and_does_not_overflow() {
    let mut bytes = Vec::new();
    bytes.extend(0_u64.to_be_bytes());
    bytes.extend(MAX_TREE_SIZE.to_be_bytes());
    bytes.extend([7; 32]);
    let range = CompactRange::parse(&bytes).unwrap();
    assert_eq!(range.head().unwrap().root, Hash([7; 32]));
    let mut last = CompactRange::from_leaf(MAX_TREE_SIZE - 1);
    last.append(Hash([7; 32]));
    assert_eq!(last.end(), MAX_TREE_SIZE);
    assert_eq!(last.merge(&CompactRange::from_leaf(MAX_TREE_SIZE)), Ok(()));
    for (begin, end) in [(0, MAX_TREE_SIZE + 1), (2, 1), (u64::MAX, u64::MAX)] {
        let bytes = [begin.to_be_bytes(), end.to_be_bytes()].concat();
        let refused = CompactRange::parse(&bytes);
        assert_eq!(refused, Err(CompactRangeInvalid::Bounds { begin, end }));
    }
}

proptest! {
    /// However leaves are appended, split and merged, the range is the same, and its head is the naive root.
    #[test]
    fn ranges_are_the_same_however_they_are_built(
        count in 0_usize..1500,
        cuts in proptest::collection::vec(0_usize..1500, 0..4),
    ) {
        let leaves = naive::leaves(count);
        let mut one_by_one = CompactRange::default();
        leaves.iter().for_each(|leaf| one_by_one.append(*leaf));

        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(count)).chain([0, count]).collect();
        cuts.sort_unstable();
        let mut extended = CompactRange::default();
        let mut merged = CompactRange::default();
        for cut in cuts.windows(2) {
            let run = &leaves[cut[0]..cut[1]];
            extended.extend(run);
            let mut part = CompactRange::from_leaf(cut[0] as u64);
            part.extend(run);
            prop_assert_eq!(&CompactRange::parse(&part.to_bytes()).unwrap(), &part);
            merged.merge(&part).unwrap();
        }
        prop_assert_eq!(&extended, &one_by_one);
        prop_assert_eq!(&merged, &one_by_one);
        prop_assert_eq!(merged.head().unwrap(), TreeHead { size: count as u64, root: naive::root(&leaves) });
    }

    #[test]
    fn ranges_that_do_not_adjoin_are_not_merged(begin in 1_u64..1000, gap in 1_u64..1000) {
        let mut left = CompactRange::from_leaf(begin);
        let before = left.clone();
        for right in [begin + gap, begin.saturating_sub(gap)] {
            prop_assert_eq!(left.merge(&CompactRange::from_leaf(right)), Err(NotAdjacent { end: begin, begin: right }));
        }
        prop_assert_eq!(left, before);
    }

    #[test]
    fn a_serialised_range_of_another_length_is_refused(count in 0_usize..300, change in 1_usize..64) {
        let mut range = CompactRange::default();
        range.extend(&naive::leaves(count));
        let bytes = range.to_bytes();
        prop_assert!(CompactRange::parse(&bytes[..bytes.len().saturating_sub(change)]).is_err());
        prop_assert!(CompactRange::parse(&[bytes, vec![0; change]].concat()).is_err());
    }
}
