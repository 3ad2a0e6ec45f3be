//! Signed statements: only the key, the purpose and the bytes that were signed are taken.

use citycode_token::{SigningKey, StatementError, read_statement, sign_statement};

const TYPE: &str = "application/vnd.example.a";

#[test]
fn a_statement_is_read_under_its_key_and_purpose_alone() {
    let (ours, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
    let signed = sign_statement(&ours, TYPE, b"what is so");
    let both = [other.public_key(), ours.public_key()];
    assert_eq!(read_statement(&signed, TYPE, &both), Ok(b"what is so".as_slice()));
    let refused = Err(StatementError::BadSignature);
    assert_eq!(read_statement(&signed, "application/vnd.example.b", &both), refused);
    assert_eq!(read_statement(&signed, TYPE, &[other.public_key()]), refused);
    assert_eq!(read_statement(&signed, TYPE, &[]), refused);
}

#[test]
fn no_changed_cut_or_longer_statement_is_taken() {
    let key = SigningKey::from_seed([1; 32]);
    let signed = sign_statement(&key, TYPE, b"what is so");
    let read = |bytes: &[u8]| read_statement(bytes, TYPE, &[key.public_key()]).is_ok();
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(!read(&changed), "byte {at}");
        assert!(!read(&signed[..at]), "cut at {at}");
    }
    assert!(!read(&[&signed[..], b"x"].concat()));
}

#[test]
fn it_is_a_cose_sign1_that_others_read() {
    use coset::TaggedCborSerializable as _;
    let key = SigningKey::from_seed([1; 32]);
    let signed = sign_statement(&key, TYPE, b"what is so");
    let read = coset::CoseSign1::from_tagged_slice(&signed).unwrap();
    assert_eq!(read.payload.as_deref(), Some(b"what is so".as_slice()));
    assert_eq!(read.protected.header.key_id, key.key_id().0);
}
