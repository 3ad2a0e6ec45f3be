//! The fixture of the targets: the keys of a city, one live code, a fixed clock, and a function that signs any bytes.
//!
//! Most decoders first check a signature, and a fuzzer cannot find a valid one. So the targets sign the fuzzer's input,
//! with code that shares nothing with the product's encoder (the values of `ciborium`, and `ed25519-dalek`).

use std::sync::LazyLock;

use citycode_domain::event::{Event, SigningKeyAdded};
use citycode_domain::ids::{CodeId, CodeKind, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_token::{CodeClaimsToSign, DeviceSigner, Keyring, SigningKey, VerifiedClaims, sign_code, verify_cwt};
use coset::cbor::value::Value;
use ed25519_dalek::Signer as _;

/// The base URI of the city's status lists.
pub const BASE_URI: &str = "https://s.example/";
/// 2022-08-31T00:00:00Z, the time from which the key signs.
pub const SIGNS_FROM: Timestamp = Timestamp(1_661_904_000);
/// One hour later: the time at which every target verifies.
pub const NOW: Timestamp = Timestamp(SIGNS_FROM.0 + 3_600);
/// Seed of the key that signs codes and lists.
pub const CITY_SEED: [u8; 32] = [7; 32];
/// Seed of the phone's key.
pub const PHONE_SEED: [u8; 32] = [9; 32];

/// The keyring, which contains the city's only key.
pub static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let key = SigningKey::from_seed(CITY_SEED);
    let added = SigningKeyAdded {
        key_id: key.key_id(),
        public_key: key.public_key(),
        signs_from: SIGNS_FROM,
    };
    Keyring::new()
        .apply(&Event::SigningKeyAdded(added))
        .expect("a seed gives a valid public key")
});

/// The CWT of a live code that is bound to the phone.
pub static LIVE_CWT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let kind = CodeKind::new(1).expect("within 1..=15");
    let expires_at = SIGNS_FROM.plus_seconds(86_400);
    let list = ListId::new(3, kind, expires_at, 0).expect("in range");
    let claims = CodeClaimsToSign {
        code_id: CodeId([1; 8]),
        kind,
        issued_at: SIGNS_FROM,
        expires_at,
        status: StatusRef { list, index: 1 },
        id_commitment: None,
        device_key: Some(DeviceSigner::from_seed(PHONE_SEED).device_key()),
    };
    sign_code(&claims, BASE_URI, &SigningKey::from_seed(CITY_SEED))
        .expect("these claims can be signed")
        .cwt
});

/// The live code's claims.
pub static LIVE_CLAIMS: LazyLock<VerifiedClaims> =
    LazyLock::new(|| verify_cwt(&LIVE_CWT, &KEYRING, BASE_URI, NOW).expect("the city's own code"));

/// A `COSE_Sign1` over any protected header, external data and payload, with a valid signature by the key of this seed.
#[must_use]
pub fn signed(seed: [u8; 32], protected: &[u8], external: &[u8], payload: &[u8]) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let to_be_signed = written(&Value::Array(vec![
        Value::Text("Signature1".into()),
        bytes(protected),
        bytes(external),
        bytes(payload),
    ]));
    let signature = ed25519_dalek::SigningKey::from_bytes(&seed).sign(&to_be_signed);
    written(&Value::Tag(
        18,
        Box::new(Value::Array(vec![
            bytes(protected),
            Value::Map(Vec::new()),
            bytes(payload),
            bytes(&signature.to_bytes()),
        ])),
    ))
}

/// The value that these bytes encode, if they are exactly one item of deterministic CBOR (RFC 8949 §4.2.1) according to
/// `ciborium`: in the shortest forms, with the keys of maps in the order of their bytes and without duplicates.
#[must_use]
pub fn deterministic(bytes: &[u8]) -> Option<Value> {
    let value: Value = coset::cbor::de::from_reader(bytes).ok()?;
    (written(&value) == bytes && keys_ascend(&value)).then_some(value)
}

fn keys_ascend(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(keys_ascend),
        Value::Tag(_, item) => keys_ascend(item),
        Value::Map(entries) => {
            let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| written(key)).collect();
            keys.is_sorted_by(|one, next| one < next) && entries.iter().all(|(_, item)| keys_ascend(item))
        }
        _ => true,
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    coset::cbor::ser::into_writer(value, &mut bytes).expect("writing to a Vec does not fail");
    bytes
}
