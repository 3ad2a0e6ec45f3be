//! Tests of the commitment to the ID number (R19), compared with the HMAC of another library.

use citycode_domain::ids::CodeId;
use citycode_token::{IdCheckKey, id_commitment, id_commitment_matches};

const NUMBER: &[u8] = b"11010519491231002X";
const CODE: CodeId = CodeId([1, 2, 3, 4, 5, 6, 7, 8]);

#[test]
fn r19_only_the_holders_card_matches() {
    let key = IdCheckKey::from_bytes([5; 32]);
    let commitment = id_commitment(&key, CODE, NUMBER);
    assert!(id_commitment_matches(commitment, &key, CODE, NUMBER));
    assert!(!id_commitment_matches(commitment, &key, CODE, b"110105194912310038"));
    assert!(!id_commitment_matches(commitment, &key, CodeId([0; 8]), NUMBER));
    assert!(!id_commitment_matches(
        commitment,
        &IdCheckKey::from_bytes([6; 32]),
        CODE,
        NUMBER
    ));
}

#[test]
fn it_is_the_hmac_that_another_library_computes() {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[5; 32]);
    let message = [&b"citycode-id-check-v1"[..], &CODE.0, NUMBER].concat();
    let theirs = aws_lc_rs::hmac::sign(&key, &message);
    assert_eq!(
        id_commitment(&IdCheckKey::from_bytes([5; 32]), CODE, NUMBER),
        theirs.as_ref()[..3]
    );
}

#[test]
fn r28_debug_shows_no_secret() {
    let shown = format!("{:?}", IdCheckKey::from_bytes([0xAB; 32]));
    assert_eq!(shown, "IdCheckKey(…)");
    let key = citycode_token::SigningKey::from_seed([0xAB; 32]);
    assert!(!format!("{key:?}").contains("171"));
    assert!(!format!("{key:?}").contains("abab"));
}
