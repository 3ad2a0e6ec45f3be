//! Tests of the phone's proof (R16): which proofs are fresh, and which must be refused.

use crate::fixture::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use citycode_domain::admission::ProofState;
use citycode_domain::policy::ProofPolicy;
use citycode_domain::time::Timestamp;
use citycode_token::{
    CwtDigest, DeviceSigner, PresentError, Scan, VerifiedClaims, check_proof, make_proof, present, verify,
};
use coset::{CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};

const POLICY: ProofPolicy = ProofPolicy {
    max_age_seconds: 60,
    max_ahead_seconds: 5,
};

fn verified(text: &str) -> VerifiedClaims {
    verify(text, &keyring(), BASE_URI, ISSUED_AT).expect("verifies")
}

fn state(text: &str, now: Timestamp) -> ProofState {
    let scan = Scan::read(text).expect("reads");
    check_proof(&verified(text), scan.proof(), now, &POLICY, None)
}

#[test]
fn r16_a_proof_is_fresh_for_60_seconds_and_5_ahead() {
    let token = sign(&live()).text;
    let shown = present(&token, &device(), ISSUED_AT, None).expect("presents");
    assert!(shown.starts_with("CC1P:"));
    for (after, expected) in [
        (0, ProofState::Fresh),
        (60, ProofState::Fresh),
        (61, ProofState::Stale),
        (i64::MAX - ISSUED_AT.0, ProofState::Stale),
        (-5, ProofState::Fresh),
        (-6, ProofState::Stale),
    ] {
        assert_eq!(state(&shown, ISSUED_AT.plus_seconds(after)), expected, "{after} s");
        assert_eq!(state(&shown.to_lowercase(), ISSUED_AT.plus_seconds(after)), expected);
    }
    // Presenting a presentation again only renews the proof.
    let later = ISSUED_AT.plus_seconds(3_600);
    let again = present(&shown, &device(), later, None).expect("presents");
    assert_eq!(state(&again, later), ProofState::Fresh);
    assert_eq!(
        Scan::read(&again).expect("reads").cwt(),
        Scan::read(&token).expect("reads").cwt()
    );
}

#[test]
fn r16_the_proof_is_absent_without_a_proof_or_a_key() {
    assert_eq!(state(&sign(&live()).text, ISSUED_AT), ProofState::Absent);
    let paper = present(&sign(&paper()).text, &device(), ISSUED_AT, None).expect("presents");
    assert_eq!(state(&paper, ISSUED_AT), ProofState::Absent);
}

#[test]
fn r16_a_proof_by_another_phone_or_for_another_token_is_a_bad_signature() {
    let token = sign(&live());
    let other = DeviceSigner::from_seed([10; 32]);
    let stolen = present(&token.text, &other, ISSUED_AT, None).expect("presents");
    assert_eq!(state(&stolen, ISSUED_AT), ProofState::BadSignature);
    let mut second = live();
    second.code_id.0[0] ^= 1;
    let proof = make_proof(CwtDigest::of(&sign(&second).cwt), &device(), ISSUED_AT, None).expect("signs");
    let claims = verified(&token.text);
    assert_eq!(
        check_proof(&claims, Some(&proof), ISSUED_AT, &POLICY, None),
        ProofState::BadSignature
    );
    // A proof that is both wrongly signed and old counts as wrongly signed.
    assert_eq!(state(&stolen, ISSUED_AT.plus_seconds(1_000)), ProofState::BadSignature);
}

#[test]
fn r16_a_proof_for_one_audience_is_refused_by_others() {
    let token = sign(&live());
    let claims = verified(&token.text);
    let for_gate = make_proof(claims.cwt_digest(), &device(), ISSUED_AT, Some("gate-1")).expect("signs");
    let for_all = make_proof(claims.cwt_digest(), &device(), ISSUED_AT, None).expect("signs");
    let check = |proof: &[u8], audience| check_proof(&claims, Some(proof), ISSUED_AT, &POLICY, audience);
    assert_eq!(check(&for_gate, Some("gate-1")), ProofState::Fresh);
    assert_eq!(check(&for_gate, Some("gate-2")), ProofState::BadSignature);
    assert_eq!(check(&for_gate, None), ProofState::BadSignature);
    assert_eq!(check(&for_all, Some("gate-2")), ProofState::Fresh);
    let longest = "a".repeat(64);
    let for_longest = make_proof(claims.cwt_digest(), &device(), ISSUED_AT, Some(&longest)).expect("signs");
    assert_eq!(check(&for_longest, Some(&longest)), ProofState::Fresh);
    let long = "a".repeat(65);
    let refused = make_proof(claims.cwt_digest(), &device(), ISSUED_AT, Some(&long));
    assert_eq!(refused, Err(PresentError::AudienceTooLong));
    assert_eq!(
        make_proof(claims.cwt_digest(), &device(), Timestamp(-1), None),
        Err(PresentError::Time)
    );
}

#[test]
fn no_flipped_bit_and_no_truncation_of_a_proof_is_accepted() {
    let token = sign(&live());
    let claims = verified(&token.text);
    let proof = make_proof(claims.cwt_digest(), &device(), ISSUED_AT, None).expect("signs");
    assert_eq!(proof.len(), 116);
    let check = |proof: &[u8]| check_proof(&claims, Some(proof), ISSUED_AT, &POLICY, None);
    assert_eq!(check(&proof), ProofState::Fresh);
    for bit in 0..proof.len() * 8 {
        let mut flipped = proof.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(check(&flipped), ProofState::BadSignature, "bit {bit}");
    }
    for len in 0..proof.len() {
        assert_eq!(check(&proof[..len]), ProofState::BadSignature, "cut to {len}");
    }
    assert_eq!(check(&[&proof[..], &[0]].concat()), ProofState::BadSignature);
    assert_eq!(check(&vec![0; 10_000]), ProofState::BadSignature);
    let shown = present(&token.text, &device(), ISSUED_AT, None).expect("presents");
    for len in 0..shown.len() {
        if let Ok(scan) = Scan::read(&shown[..len]) {
            assert_ne!(
                check_proof(&claims, scan.proof(), ISSUED_AT, &POLICY, None),
                ProofState::Fresh,
                "cut to {len}"
            );
        }
    }
}

/// A proof as the COSE library of a phone may write it.
fn coset_proof(
    alg: iana::Algorithm,
    payload: Vec<u8>,
    external: &[u8],
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    CoseSign1Builder::new()
        .protected(HeaderBuilder::new().algorithm(alg).build())
        .payload(payload)
        .create_signature(external, sign)
        .build()
        .to_tagged_vec()
        .expect("encodes")
}

fn payload(token: CwtDigest, time: &str, audience: &str) -> Vec<u8> {
    [&hex("835820")[..], &token.0, &hex(time), &hex(audience)].concat()
}

fn p256_sign(bytes: &[u8]) -> Vec<u8> {
    let mut private = [0; 32];
    private[31] = 1;
    // The base point, uncompressed.
    let public = hex(concat!(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    ));
    let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &private, &public)
        .expect("the key 1 and the base point");
    #[expect(
        clippy::disallowed_methods,
        reason = "aws-lc-rs needs a random generator for the nonce of an ECDSA signature"
    )]
    let random = SystemRandom::new();
    pair.sign(&random, bytes).expect("signs").as_ref().to_vec()
}

fn ed25519_sign(bytes: &[u8]) -> Vec<u8> {
    use ed25519_dalek::Signer;
    ed25519_dalek::SigningKey::from_bytes(&[9; 32]).sign(bytes).to_vec()
}

const AAD: &[u8] = b"citycode-proof-v1";
/// [`ISSUED_AT`] in CBOR.
const TIME: &str = "1a630ea480";

type Sign = fn(&[u8]) -> Vec<u8>;

/// For each shape of phone: its code, algorithm and key, and those of the other phone.
fn phones() -> [(VerifiedClaims, iana::Algorithm, Sign, iana::Algorithm, Sign); 2] {
    use iana::Algorithm::{ESP256, Ed25519};
    let claims = |shape| verified(&sign(&shape).text);
    [
        (claims(family()), ESP256, p256_sign, Ed25519, ed25519_sign),
        (claims(live()), Ed25519, ed25519_sign, ESP256, p256_sign),
    ]
}

fn check(claims: &VerifiedClaims, proof: &[u8]) -> ProofState {
    check_proof(claims, Some(proof), ISSUED_AT, &POLICY, None)
}

#[test]
fn r16_proofs_by_p256_phones_and_by_coset_are_accepted() {
    for (claims, alg, sign_with, other_alg, other_sign) in phones() {
        let good = payload(claims.cwt_digest(), TIME, "f6");
        assert_eq!(
            check(&claims, &coset_proof(alg, good.clone(), AAD, sign_with)),
            ProofState::Fresh
        );
        for (what, bad) in [
            ("no external data", coset_proof(alg, good.clone(), b"", sign_with)),
            (
                "other external data",
                coset_proof(alg, good.clone(), b"citycode-proof-v2", sign_with),
            ),
            (
                "not fully specified",
                coset_proof(iana::Algorithm::ES256, good.clone(), AAD, sign_with),
            ),
            ("the other curve", coset_proof(other_alg, good.clone(), AAD, sign_with)),
            ("the other key", coset_proof(alg, good.clone(), AAD, other_sign)),
        ] {
            assert_eq!(check(&claims, &bad), ProofState::BadSignature, "{what}");
        }
    }
}

#[test]
fn r16_a_proofs_payload_has_one_form() {
    for (claims, alg, sign_with, ..) in phones() {
        let digest = claims.cwt_digest();
        for (what, bad) in [
            (
                "time in nine bytes",
                coset_proof(alg, payload(digest, "1b00000000630ea480", "f6"), AAD, sign_with),
            ),
            (
                "time negative",
                coset_proof(alg, payload(digest, "20", "f6"), AAD, sign_with),
            ),
            (
                "time as text",
                coset_proof(alg, payload(digest, "6130", "f6"), AAD, sign_with),
            ),
            (
                "audience undefined",
                coset_proof(alg, payload(digest, TIME, "f7"), AAD, sign_with),
            ),
            (
                "audience false",
                coset_proof(alg, payload(digest, TIME, "f4"), AAD, sign_with),
            ),
            (
                "a fourth item",
                coset_proof(alg, payload(digest, TIME, "f600"), AAD, sign_with),
            ),
            ("no payload", coset_proof(alg, Vec::new(), AAD, sign_with)),
        ] {
            assert_eq!(check(&claims, &bad), ProofState::BadSignature, "{what}");
        }
    }
}
