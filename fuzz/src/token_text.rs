//! The text of a code: every accepted token has exactly one spelling and is within the limits of its format.

use citycode_token::{
    MAX_CWT_LEN, MAX_PROOF_LEN, MAX_SCAN_LEN, PRESENTATION_PREFIX, Scan, TOKEN_PREFIX, canonical_scan,
};

/// Reads any text as a gate does, up to the signature check.
///
/// The expected text is encoded by the crate `base45`, which the product's decoder does not use: the decoder of that
/// crate accepts a last pair above 0xFF and truncates it, so that two texts would be one token (the seed
/// `pair_over_a_byte`).
///
/// # Panics
/// If a text is accepted that is not the spelling of its bytes, or that exceeds a limit.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(scan) = Scan::read(text) else {
        return;
    };
    assert!(scan.cwt().len() <= MAX_CWT_LEN, "the token is longer than its limit");
    let proof = scan.proof().unwrap_or_default();
    assert!(proof.len() <= MAX_PROOF_LEN, "the proof is longer than its limit");
    let prefix = match scan.proof() {
        Some(_) => PRESENTATION_PREFIX,
        None => TOKEN_PREFIX,
    };
    let spelling = format!("{prefix}{}", base45::encode([scan.cwt(), proof].concat()));
    let mut buffer = [0; MAX_SCAN_LEN];
    assert_eq!(
        canonical_scan(text, &mut buffer),
        Some(spelling.as_bytes()),
        "one token has two spellings"
    );
}
