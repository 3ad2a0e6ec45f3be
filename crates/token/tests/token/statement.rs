//! Tests of signed statements: only the right key, purpose and bytes are accepted.

use citycode_token::{SigningKey, StatementError, read_statement, sign_statement};

const TYPE: &str = "application/vnd.example.a";

#[test]
fn a_statement_is_read_only_under_its_key_and_purpose() {
    let (ours, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
    let signed = sign_statement(&ours, TYPE, b"a fact");
    let both = [other.public_key(), ours.public_key()];
    assert_eq!(read_statement(&signed, TYPE, &both), Ok(b"a fact".as_slice()));
    let refused = Err(StatementError::BadSignature);
    assert_eq!(read_statement(&signed, "application/vnd.example.b", &both), refused);
    assert_eq!(read_statement(&signed, TYPE, &[other.public_key()]), refused);
    assert_eq!(read_statement(&signed, TYPE, &[]), refused);
}

#[test]
fn changed_truncated_and_extended_statements_are_rejected() {
    let key = SigningKey::from_seed([1; 32]);
    let signed = sign_statement(&key, TYPE, b"a fact");
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
fn coset_reads_a_statement_as_a_cose_sign1() {
    use coset::TaggedCborSerializable as _;
    let key = SigningKey::from_seed([1; 32]);
    let signed = sign_statement(&key, TYPE, b"a fact");
    let read = coset::CoseSign1::from_tagged_slice(&signed).unwrap();
    assert_eq!(read.payload.as_deref(), Some(b"a fact".as_slice()));
    assert_eq!(read.protected.header.key_id, key.key_id().0);
}
