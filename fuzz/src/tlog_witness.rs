//! Requests to a witness: it cosigns only trees that the log signed, in the order in which they grew.

use std::num::NonZeroU64;

use citycode_transparency::KeyKind;
use citycode_transparency::note::NoteSigner;
use citycode_transparency::witness::{AddCheckpointRequest, Answer, MemoryOfOneProcess, Witness, WitnessMemory as _};

use crate::tlog::{LOG, NOW, ORIGIN, SIZES, checkpoint, tiles};

/// Sends any bytes to a witness that has cosigned the first trees, the number of which is the first byte.
///
/// # Panics
/// If a request is parsed that is not written in the same bytes; if another tree is cosigned; or if the memory changed
/// without a cosignature.
pub fn run(input: &[u8]) {
    let Some((cosigned, body)) = input.split_first() else {
        return;
    };
    if let Ok(request) = AddCheckpointRequest::parse(body) {
        assert_eq!(request.to_bytes(), body, "a request in another form");
    }
    let signer = NoteSigner::from_seed("witness.example/w1", KeyKind::Witness, &[2; 32]).expect("a sound name");
    let witness = Witness::new(signer, vec![LOG.verifier().clone()]).expect("keys of these roles");
    let memory = MemoryOfOneProcess::default();
    let now = NonZeroU64::new(NOW).expect("not 0");
    let count = usize::from(*cosigned) % SIZES.len();
    for sizes in SIZES[..=count].windows(2) {
        let Ok(answer) = witness.add_checkpoint(&memory, &growth(sizes[0], sizes[1]), now);
        assert_eq!(answer.status(), 200, "a correct request");
    }
    let Ok(before) = memory.last(ORIGIN);
    let Ok(answer) = witness.add_checkpoint(&memory, body, now);
    let Ok(after) = memory.last(ORIGIN);
    let size = before.as_ref().map_or(0, |remembered| remembered.head.size);
    if matches!(answer, Answer::Cosigned(_)) {
        let head = after.expect("it remembers what it cosigned").head;
        assert!(head.size >= size, "the memory went back");
        assert!(
            SIZES.contains(&head.size) && head == tiles(head.size).head(),
            "the log never signed this tree"
        );
    } else {
        assert_eq!(before, after, "it remembers what it did not cosign");
        assert!(answer != Answer::Conflict(u64::MAX) && (400..500).contains(&answer.status()));
    }
}

/// The correct request after one of these trees.
///
/// # Panics
/// If the trees are larger than those of the log.
#[must_use]
pub fn growth(old: u64, new: u64) -> Vec<u8> {
    let mut tiles = tiles(new);
    AddCheckpointRequest {
        old_size: old,
        proof: tiles.consistency_proof(old).expect("it is smaller"),
        checkpoint: checkpoint(tiles.head()),
    }
    .to_bytes()
}
