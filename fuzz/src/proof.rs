//! A phone's proof: it is accepted only if the phone's key signed it for this token, this verifier and this time.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use citycode_domain::admission::ProofState;
use citycode_domain::claims::DeviceKey;
use citycode_domain::policy::ProofPolicy;
use citycode_token::{CwtDigest, DeviceSigner, PRESENTATION_PREFIX, Scan, check_proof};
use coset::cbor::value::Value;
use coset::{CoseSign1, TaggedCborSerializable as _};

use crate::city::{BASE_URI, KEYRING, LIVE_CLAIMS, LIVE_CWT, NOW, PHONE_SEED, deterministic, signed};

/// The external data (RFC 9052 §4.3) of a proof's signature.
const EXTERNAL_DATA: &[u8] = b"citycode-proof-v1";
/// The protected header of proofs: `{ 1: -19 }`.
const PROTECTED: &[u8] = &[0xA1, 0x01, 0x32];
/// The name of the verifier, which a proof may contain.
const AUDIENCE: &str = "gate-1";
const POLICY: ProofPolicy = ProofPolicy {
    max_age_seconds: 60,
    max_ahead_seconds: 5,
};
/// Seed of a phone's key to which no code is bound.
const STRANGER_SEED: [u8; 32] = [11; 32];

/// Checks any bytes as a proof of the live code, as the payload of a proof (signed by its phone, by another phone, and
/// without the external data), and any text as a presentation.
///
/// # Panics
/// If a proof is accepted whose signature is not the phone's according to `aws-lc`, or whose payload according to
/// `ciborium` does not name this token, this verifier or none, and a time in the window.
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
            "a proof of another key or for another purpose was accepted"
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

/// Checks a text as a gate does.
fn presented(text: &str) {
    let Ok(scan) = Scan::read(text) else {
        return;
    };
    let Ok(claims) = scan.verify(&KEYRING, BASE_URI, NOW) else {
        return;
    };
    // No other token was ever signed.
    assert_eq!(
        scan.cwt(),
        LIVE_CWT.as_slice(),
        "a token that was never signed was verified"
    );
    let said = check_proof(&claims, scan.proof(), NOW, &POLICY, Some(AUDIENCE));
    let Some(proof) = scan.proof() else {
        assert_eq!(said, ProofState::Absent, "a proof that was not shown");
        return;
    };
    assert_eq!(said, judged(proof), "the same proof gave two different results");
}

/// The state of a proof, compared with what independent libraries find.
fn judged(proof: &[u8]) -> ProofState {
    let state = state(proof);
    match state {
        ProofState::Absent => panic!("a proof was shown and is reported as absent"),
        ProofState::BadSignature => {}
        ProofState::Fresh => assert!(in_window(signed_at(proof)), "accepted outside the window"),
        ProofState::Stale => assert!(!in_window(signed_at(proof)), "refused inside the window"),
    }
    state
}

fn in_window(signed_at: i128) -> bool {
    let age = i128::from(NOW.0) - signed_at;
    (-i128::from(POLICY.max_ahead_seconds)..=i128::from(POLICY.max_age_seconds)).contains(&age)
}

/// The time in an accepted proof, after independent libraries have confirmed everything else.
fn signed_at(proof: &[u8]) -> i128 {
    assert!(deterministic(proof).is_some(), "the envelope is not deterministic");
    let DeviceKey::Ed25519(key) = DeviceSigner::from_seed(PHONE_SEED).device_key() else {
        panic!("the phone's key is Ed25519");
    };
    let message = CoseSign1::from_tagged_slice(proof).expect("coset reads what we read");
    assert!(
        message.unprotected.is_empty(),
        "a header that the signature does not cover"
    );
    message
        .verify_signature(EXTERNAL_DATA, |signature, bytes| {
            UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature)
        })
        .expect("signed by the phone's key");
    let payload = message.payload.expect("a proof has its payload inside");
    let said = deterministic(&payload).expect("the payload is deterministic");
    let Some([Value::Bytes(token), Value::Integer(time), audience]) = said.as_array().map(Vec::as_slice) else {
        panic!("the payload is not that of a proof");
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
