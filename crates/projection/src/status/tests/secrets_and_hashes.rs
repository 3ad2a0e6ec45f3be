//! Tests of the keyed fingerprint, of the ends of buckets, and of what keeps lookups fast.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use super::*;
use crate::status::lists::ListHasher;
use crate::status::standings::HolderIdHasher;

#[test]
fn r25_a_fingerprint_has_24_bits_that_depend_on_the_key() {
    let key = FingerprintKey([42; 16]);
    let fingerprints: Vec<u32> = (0..1_000).map(|number| key.fingerprint(&digest(number))).collect();
    assert!(fingerprints.iter().all(|fingerprint| *fingerprint < 1 << 24));
    let different: BTreeSet<u32> = fingerprints.iter().copied().collect();
    // Among 1,000 of 16.7 million two are equal with a probability of 3 %.
    assert!(different.len() >= 999, "{}", different.len());
    let other = FingerprintKey([43; 16]);
    let equal = (0..1_000).filter(|number| other.fingerprint(&digest(*number)) == fingerprints[*number as usize]);
    assert!(equal.count() <= 1);
}

#[test]
fn the_key_is_not_in_debug_output() {
    assert_eq!(format!("{:?}", FingerprintKey([0xAB; 16])), "FingerprintKey(…)");
}

#[test]
fn the_end_of_a_bucket_is_the_hash_of_its_last_commit() {
    let (mut writer, _) = projection();
    let (empty, first, second) = ([0; 32], [0xA1; 32], [0xB2; 32]);
    assert_eq!(writer.ends_with(0, 0, &empty), Some(true), "an empty bucket");
    assert_eq!(writer.ends_with(0, 0, &first), Some(false));
    for (sequence, hash) in [(1, first), (2, second)] {
        let mut commit = commit(sequence, &[]);
        commit.tail.hash = CommitHash(hash);
        assert_eq!(writer.apply(&commit), Ok(vec![]));
        assert_eq!(writer.ends_with(0, 0, &hash), Some(true));
        assert_eq!(writer.ends_with(0, 0, &empty), Some(false));
    }
    assert_eq!(writer.ends_with(0, 0, &first), Some(false), "an earlier commit");
    assert_eq!(writer.ends_with(0, 1, &second), Some(false), "another bucket");
    assert_eq!(writer.ends_with(2, 0, &second), None, "no partition of the log");
}

/// The number of different hashes of these values.
fn different<H: Hasher + Default, T: Hash>(values: impl Iterator<Item = T>) -> usize {
    let hasher = BuildHasherDefault::<H>::default();
    values
        .map(|value| hasher.hash_one(value))
        .collect::<BTreeSet<u64>>()
        .len()
}

/// Otherwise a lookup would compare many entries of the table.
#[test]
fn lists_buckets_and_holders_have_different_hashes() {
    assert_eq!(different::<ListHasher, _>((0..100_000u32).map(ListId)), 100_000);
    assert_eq!(different::<ListHasher, _>(0..=u16::MAX), 65_536);
    assert_eq!(different::<ListHasher, _>((0..=u16::MAX).map(u16::to_le_bytes)), 65_536);
    let holders = (0..=u16::MAX).map(|number| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_le_bytes());
        HolderId(id)
    });
    assert_eq!(different::<HolderIdHasher, _>(holders), 65_536);
}
