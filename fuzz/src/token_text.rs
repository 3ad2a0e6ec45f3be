//! A scan's text: whatever is taken for a token has one spelling and keeps the limits of its format.

use citycode_token::{
    MAX_CWT_LEN, MAX_PROOF_LEN, MAX_SCAN_LEN, PRESENTATION_PREFIX, Scan, TOKEN_PREFIX, canonical_scan,
};

/// Reads any text as a gate would, without a key: everything before the signature check.
///
/// The encoder is the crate `base45`, which our own decoder does not use. (That crate's decoder takes a last
/// pair over 0xFF and cuts it off, so that two texts would be one token: the seed `pair_over_a_byte`.)
///
/// # Panics
/// When a text is read that is not the spelling of the bytes it gave, or that breaks a limit.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(scan) = Scan::read(text) else {
        return;
    };
    assert!(scan.cwt().len() <= MAX_CWT_LEN, "a token over its limit");
    let proof = scan.proof().unwrap_or_default();
    assert!(proof.len() <= MAX_PROOF_LEN, "a proof over its limit");
    let prefix = match scan.proof() {
        Some(_) => PRESENTATION_PREFIX,
        None => TOKEN_PREFIX,
    };
    let spelling = format!("{prefix}{}", base45::encode([scan.cwt(), proof].concat()));
    let mut buffer = [0; MAX_SCAN_LEN];
    assert_eq!(
        canonical_scan(text, &mut buffer),
        Some(spelling.as_bytes()),
        "a second spelling of one token"
    );
}
