//! The independent COSE library coset and this crate must agree on every byte, in both directions.

use crate::fixture::*;
use citycode_token::verify_cwt;
use coset::cbor::Value;
use coset::{
    AsCborValue, CborSerializable, CoseKey, CoseSign1, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana,
};
use ed25519_dalek::{Signature, Signer, SigningKey};

#[test]
fn coset_verifies_tokens_of_this_crate() {
    let key = SigningKey::from_bytes(&SEED).verifying_key();
    for (name, claims) in every_shape() {
        let token = sign(&claims);
        let message = CoseSign1::from_tagged_slice(&token.cwt).expect(name);
        assert_eq!(
            message.protected.header.alg,
            Some(coset::Algorithm::Assigned(iana::Algorithm::Ed25519))
        );
        assert_eq!(message.protected.header.key_id, signing_key().key_id().0);
        assert!(message.unprotected.is_empty());
        message
            .verify_signature(b"", |signature, signed| {
                key.verify_strict(signed, &Signature::from_slice(signature).expect("64 bytes"))
            })
            .expect(name);
        // coset's `ClaimsSet` is not used: it does not support claim 65535, which was registered later.
        let payload = Value::from_slice(message.payload.as_deref().expect("attached")).expect(name);
        let entries = payload.as_map().expect("a map");
        let said = |key: i64| {
            entries
                .iter()
                .find(|(label, _)| *label == Value::from(key))
                .map(|(_, value)| value)
        };
        assert_eq!(said(4), Some(&Value::from(claims.expires_at.0)));
        assert_eq!(said(6), Some(&Value::from(claims.issued_at.0)));
        assert_eq!(said(7), Some(&Value::from(&claims.code_id.0[..])));
        assert!(said(65_535).is_some_and(Value::is_map));
        if claims.device_key.is_some() {
            let confirmation = said(8).and_then(Value::as_map).expect("cnf");
            CoseKey::from_cbor_value(confirmation[0].1.clone()).expect("a COSE key");
        }
    }
}

#[test]
fn this_crate_verifies_tokens_of_coset() {
    for (name, claims) in every_shape() {
        let token = sign(&claims);
        let ours = CoseSign1::from_tagged_slice(&token.cwt).expect(name);
        let header = HeaderBuilder::new()
            .algorithm(iana::Algorithm::Ed25519)
            .key_id(signing_key().key_id().0.to_vec())
            .build();
        let theirs = CoseSign1Builder::new()
            .protected(header)
            .payload(ours.payload.expect("attached"))
            .create_signature(b"", |signed| SigningKey::from_bytes(&SEED).sign(signed).to_vec())
            .build()
            .to_tagged_vec()
            .expect("encodes");
        assert_eq!(to_hex(&theirs), to_hex(&token.cwt), "{name}");
        assert!(verify_cwt(&theirs, &keyring(), BASE_URI, ISSUED_AT).is_ok());
    }
}
