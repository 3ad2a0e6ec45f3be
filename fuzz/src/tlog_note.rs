//! Signed notes, checkpoints and verifier keys: each has exactly one encoding, and only signatures that were made are
//! accepted.

use citycode_transparency::note::SignedNote;
use citycode_transparency::{Checkpoint, SignedCheckpoint, VerifierKey};

use crate::tlog::{LOG, POLICY, SIZES, WITNESS, tiles};

/// Parses any bytes as a note, as a checkpoint, as lines of signatures, and as a verifier key.
///
/// # Panics
/// If something is parsed that is not written in the same bytes, or if a checkpoint is trusted that was not signed.
pub fn run(input: &[u8]) {
    if let Ok(note) = SignedNote::parse(input) {
        assert_eq!(note.to_bytes(), input, "a note in another form");
        let keys = [LOG.verifier().clone(), WITNESS.verifier().clone()];
        assert!(note.verify(&keys).is_err() || note.verify(&keys).is_ok_and(|verified| verified.len() <= 2));
    }
    if let Ok(lines) = SignedNote::parse_signatures(input) {
        let written: String = lines.iter().map(|line| line.to_line()).collect();
        assert_eq!(written.as_bytes(), input, "lines in another form");
    }
    if let Ok(signed) = SignedCheckpoint::parse(input) {
        assert_eq!(signed.to_bytes(), input, "a checkpoint in another form");
        if let Ok(trusted) = POLICY.verify(&signed) {
            let head = trusted.checkpoint.head();
            assert!(
                SIZES.contains(&head.size) && head == tiles(head.size).head(),
                "never signed"
            );
        }
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_text(), text, "a checkpoint in another form");
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text, "a key in another form");
    }
}
