//! A phone's proof: none is taken that the phone's key did not sign for this very token, here and now.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use citycode_domain::admission::ProofState;
use citycode_domain::claims::DeviceKey;
use citycode_domain::policy::ProofPolicy;
use citycode_token::{CwtDigest, DeviceSigner, PRESENTATION_PREFIX, Scan, check_proof};
use coset::cbor::value::Value;
use coset::{CoseSign1, TaggedCborSerializable as _};

use crate::city::{BASE_URI, KEYRING, LIVE_CLAIMS, LIVE_CWT, NOW, PHONE_SEED, deterministic, signed};

/// What a proof is signed along with.
const EXTERNAL_DATA: &[u8] = b"citycode-proof-v1";
/// `{ 1: -19 }`.
const PROTECTED: &[u8] = &[0xA1, 0x01, 0x32];
/// The verifier's own name.
const AUDIENCE: &str = "gate-1";
const POLICY: ProofPolicy = ProofPolicy {
    max_age_seconds: 60,
    max_ahead_seconds: 5,
};
/// Seed of a phone that holds no code.
const STRANGER_SEED: [u8; 32] = [11; 32];

/// Takes any bytes for a proof of the live code, for the payload of one (signed by its phone, by another, and along
/// with nothing), and any text for a presentation.
///
/// # Panics
/// When a proof is taken that aws-lc does not find signed by the phone's key, whose payload ciborium does not find to
/// name this token, this gate or none, and a time in the window; or when any other key's proof is taken.
pub fn run(input: &[u8]) {
    judged(input);
    judged(&signed(PHONE_SEED, PROTECTED, EXTERNAL_DATA, input));
    let refused = [
        signed(STRANGER_SEED, PROTECTED, EXTERNAL_DATA, input),
        signed(PHONE_SEED, PROTECTED, b"", input),
    ];
    for proof in refused {
        assert_eq!(
            state(&proof),
            ProofState::BadSignature,
            "a wrong key or another purpose"
        );
    }
    presented(&format!(
        "{PRESENTATION_PREFIX}{}",
        base45::encode([&LIVE_CWT, input].concat())
    ));
    if let Ok(text) = std::str::from_utf8(input) {
        presented(text);
    }
}

fn state(proof: &[u8]) -> ProofState {
    check_proof(&LIVE_CLAIMS, Some(proof), NOW, &POLICY, Some(AUDIENCE))
}

/// A scan's text as a gate takes it.
fn presented(text: &str) {
    let Ok(scan) = Scan::read(text) else {
        return;
    };
    let Ok(claims) = scan.verify(&KEYRING, BASE_URI, NOW) else {
        return;
    };
    // Only this code was ever signed, so its proof has to be one for it.
    assert_eq!(scan.cwt(), LIVE_CWT.as_slice(), "a token that nobody signed");
    let said = check_proof(&claims, scan.proof(), NOW, &POLICY, Some(AUDIENCE));
    let Some(proof) = scan.proof() else {
        assert_eq!(said, ProofState::Absent, "a proof out of nothing");
        return;
    };
    assert_eq!(said, judged(proof), "two answers to one proof");
}

/// The state of a proof, after an outsider has found the same.
fn judged(proof: &[u8]) -> ProofState {
    let state = state(proof);
    match state {
        ProofState::Absent => panic!("a proof was shown"),
        ProofState::BadSignature => {}
        ProofState::Fresh => assert!(in_window(signed_at(proof)), "taken outside the window"),
        ProofState::Stale => assert!(!in_window(signed_at(proof)), "refused inside the window"),
    }
    state
}

fn in_window(signed_at: i128) -> bool {
    let age = i128::from(NOW.0) - signed_at;
    (-i128::from(POLICY.max_ahead_seconds)..=i128::from(POLICY.max_age_seconds)).contains(&age)
}

/// The time in a proof that was taken, once outsiders have found everything else about it right.
fn signed_at(proof: &[u8]) -> i128 {
    assert!(deterministic(proof).is_some(), "the envelope is not deterministic");
    let DeviceKey::Ed25519(key) = DeviceSigner::from_seed(PHONE_SEED).device_key() else {
        panic!("the phone's key is Ed25519");
    };
    let message = CoseSign1::from_tagged_slice(proof).expect("coset reads what we read");
    assert!(message.unprotected.is_empty(), "a header that nobody signs");
    message
        .verify_signature(EXTERNAL_DATA, |signature, bytes| {
            UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature)
        })
        .expect("signed by the phone's key");
    let payload = message.payload.expect("a proof has its payload inside");
    let said = deterministic(&payload).expect("the payload is deterministic");
    let Some([Value::Bytes(token), Value::Integer(time), audience]) = said.as_array().map(Vec::as_slice) else {
        panic!("another payload than a proof has");
    };
    assert_eq!(
        token.as_slice(),
        CwtDigest::of(&LIVE_CWT).0,
        "a proof for another token"
    );
    assert!(
        matches!(audience, Value::Null) || audience.as_text() == Some(AUDIENCE),
        "a proof for another gate"
    );
    i128::from(*time)
}
