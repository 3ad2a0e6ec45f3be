use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::statement::{Act, Cause, CodeStatement};

const SECRET: CommitSecret = CommitSecret([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
]);
const POSITION: LeafPosition = LeafPosition {
    partition: 3,
    sequence: 1_234_567,
    event: 1,
    events: 2,
};

fn death() -> CodeStatement {
    CodeStatement {
        code_id: [0xc0; 8],
        act: Act::Died {
            cause: Cause::ReportedLost,
            at: 1_791_000_000,
        },
    }
}

fn example() -> Vec<Vec<u8>> {
    parts("CodeIssued", 1, b"payload", vec![death().to_bytes()])
}

/// Computed with Python's hashlib from the grammar in the module's documentation. Readers of old logs depend on it.
#[test]
fn the_leaf_of_version_1_never_changes() {
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let entry = entry(&SECRET, &POSITION, &example()).unwrap();
    assert_eq!(
        hex(&entry),
        "63697479636f64652d6c6561662d76310003000000000012d6870001000200038289c0bf34b34ca277bd8863\
         07628efa178d33a5766319aa418236bfe71ee500925667b01f1f039080d50b473cabc4f50b722b2ca7330712\
         5ee6d7fadad43f3da0cfc27237f0c7409a1e7e0c58106ce5c722a8f096193e0becf89206cdd4ba98"
    );
    assert_eq!(
        hex(&leaf_hash(&entry).0),
        "ffea8a4967906743b05302be0c60be993948120570f9a28024489663f97499a3"
    );
    assert_eq!(
        hex(&salt(&SECRET, &POSITION, 1)),
        "714bf7a7a61557d944470000a085e7b412c3f15b34d8ef155fc71bbc9daad489"
    );
}

#[test]
fn an_opening_contains_one_part_and_nothing_of_the_others() {
    let parts = parts(
        "CodeIssued",
        1,
        b"holder 4711 supersedes code 0815",
        vec![death().to_bytes()],
    );
    let opening = Opening::new(&SECRET, &POSITION, &parts, 1).unwrap();
    let bytes = opening.to_bytes();
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(contains(&[0xc0; 8]) && !contains(b"4711") && !contains(b"0815"));
    assert!(!contains(&SECRET.0) && !contains(&salt(&SECRET, &POSITION, 0)));
    let opened = Opening::parse(&bytes).unwrap();
    assert_eq!(CodeStatement::parse(opened.content()), Ok(death()));
    assert_eq!(opened.position(), POSITION);
    assert_eq!(
        opened.leaf_hash(),
        leaf_hash(&entry(&SECRET, &POSITION, &parts).unwrap())
    );
}

#[test]
fn the_number_of_parts_does_not_tell_how_many_codes_an_event_names() {
    let count = |statements: usize| parts("T", 1, b"", vec![death().to_bytes(); statements]).len();
    assert_eq!([0, 1, 2].map(count), [3, 3, 3]);
    assert_eq!([3, 4, 5, 8].map(count), [5, 5, 9, 9]);
}

#[test]
fn equal_parts_of_one_event_have_different_commitments() {
    let entry = entry(&SECRET, &POSITION, &[[]; 4]).unwrap();
    let (_, commitments) = parse_entry(&entry).unwrap();
    assert!(commitments.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn no_change_of_the_commit_or_its_place_leaves_the_leaf_as_it_was() {
    let leaf = |secret: &CommitSecret, position: &LeafPosition, parts: &[Vec<u8>]| {
        leaf_hash(&entry(secret, position, parts).unwrap())
    };
    let original = leaf(&SECRET, &POSITION, &example());
    let mut changed = Vec::new();
    // The hash of a commit stands for each byte of it, and for the commit before it in its bucket.
    for byte in 0..32 {
        let mut secret = SECRET;
        secret.0[byte] ^= 1;
        changed.push(leaf(&secret, &POSITION, &example()));
    }
    for position in [
        LeafPosition {
            partition: 4,
            ..POSITION
        },
        LeafPosition {
            sequence: 1_234_568,
            ..POSITION
        },
        LeafPosition { event: 0, ..POSITION },
        LeafPosition { events: 3, ..POSITION },
    ] {
        changed.push(leaf(&SECRET, &position, &example()));
    }
    changed.push(leaf(
        &SECRET,
        &POSITION,
        &parts("CodeIssued", 2, b"payload", vec![death().to_bytes()]),
    ));
    changed.push(leaf(
        &SECRET,
        &POSITION,
        &parts("CodeIssue", 1, b"dpayload", vec![death().to_bytes()]),
    ));
    changed.push(leaf(&SECRET, &POSITION, &parts("CodeIssued", 1, b"payload", vec![])));
    let mut reordered = example();
    reordered.swap(1, 2);
    changed.push(leaf(&SECRET, &POSITION, &reordered));
    assert!(changed.iter().all(|leaf| *leaf != original));
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed.len(), 32 + 4 + 4);
}

#[test]
fn every_changed_byte_of_an_opening_is_refused_or_is_another_leaf() {
    let opening = Opening::new(&SECRET, &POSITION, &example(), 1).unwrap();
    let bytes = opening.to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        // A changed entry is an entry too, but not the one whose leaf is in the tree.
        let accepted = Opening::parse(&changed).is_ok_and(|opened| opened.leaf_hash() == opening.leaf_hash());
        assert!(!accepted, "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(Opening::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn an_entry_has_one_form() {
    let good = entry(&SECRET, &POSITION, &example()).unwrap();
    assert!(parse_entry(&good).is_some());
    let mut unsorted = good.clone();
    unsorted[32..96].rotate_left(32);
    let mut other_version = good.clone();
    other_version[15] = b'2';
    let mut beyond = good.clone();
    // Event 2 of 2.
    beyond[27] = 2;
    let mut fewer = good.clone();
    fewer[31] = 2;
    for wrong in [
        unsorted,
        other_version,
        beyond,
        fewer,
        good[..95].to_vec(),
        [good, vec![0]].concat(),
    ] {
        assert_eq!(parse_entry(&wrong), None);
    }
    let many = vec![[]; MAX_PARTS + 1];
    assert_eq!(entry(&SECRET, &POSITION, &many), Err(TooManyParts(MAX_PARTS + 1)));
    let longest = entry(&SECRET, &POSITION, &many[1..]).unwrap();
    assert_eq!(parse_entry(&longest).unwrap().1.len(), MAX_PARTS);
}

#[test]
fn the_secret_is_not_shown() {
    assert_eq!(format!("{SECRET:?}"), "CommitSecret");
}

proptest! {
    #[test]
    fn every_part_of_every_event_opens(
        contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..12),
        secret in any::<[u8; 32]>(),
        (partition, sequence, event) in (any::<u16>(), any::<u64>(), 0..u16::MAX),
    ) {
        let position = LeafPosition { partition, sequence, event, events: event + 1 };
        let secret = CommitSecret(secret);
        let leaf = leaf_hash(&entry(&secret, &position, &contents).unwrap());
        for (part, content) in contents.iter().enumerate() {
            let opening = Opening::new(&secret, &position, &contents, part).unwrap();
            let opened = Opening::parse(&opening.to_bytes()).unwrap();
            prop_assert_eq!((opened.content(), opened.leaf_hash()), (content.as_slice(), leaf));
            prop_assert_eq!(&opened, &opening);
        }
        prop_assert_eq!(Opening::new(&secret, &position, &contents, contents.len()), None);
    }
}
