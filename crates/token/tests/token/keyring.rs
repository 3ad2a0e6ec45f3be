//! Tests of keys: windows, rotation, compromise, and keys that a keyring rejects.

use crate::fixture::*;
use citycode_domain::claims::DeviceKey;
use citycode_domain::event::{Event, SigningKeyAdded, SigningKeyCompromised, SigningKeyRetired};
use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use citycode_token::{
    Keyring, KeyringError, STATUS_LIST_USE, Scan, SigningKey, TokenError, is_sound_device_key, key_id_of,
    keys_cose_set, keys_jwks_json, present, status_keys_cose_set, verify,
};
use coset::{CborSerializable, CoseKeySet, Label, iana};

fn retired(key: &SigningKey, signs_until: Timestamp, verifies_until: Timestamp) -> Event {
    Event::SigningKeyRetired(SigningKeyRetired {
        key_id: key.key_id(),
        signs_until,
        verifies_until,
    })
}

fn result(keyring: &Keyring, now: Timestamp) -> Result<(), TokenError> {
    verify(&sign(&paper()).text, keyring, BASE_URI, now).map(|_| ())
}

#[test]
fn a_key_signs_only_within_its_window() {
    let key = signing_key();
    let with = |from: i64| {
        Keyring::new()
            .apply(&added(&key, ISSUED_AT.plus_seconds(from)))
            .expect("applies")
    };
    assert_eq!(result(&with(0), ISSUED_AT), Ok(()));
    assert_eq!(result(&with(1), ISSUED_AT), Err(TokenError::BadSignature));
    let far = ISSUED_AT.plus_seconds(1_000_000_000);
    let until = |until: i64| {
        with(-10)
            .apply(&retired(&key, ISSUED_AT.plus_seconds(until), far))
            .expect("applies")
    };
    assert_eq!(result(&until(1), ISSUED_AT), Ok(()));
    assert_eq!(result(&until(0), ISSUED_AT), Err(TokenError::BadSignature));
    assert_eq!(result(&until(1), far.plus_seconds(-1)), Ok(()));
    assert_eq!(result(&until(1), far), Err(TokenError::BadSignature));
    assert!(until(1).covers(key.key_id(), ISSUED_AT, ISSUED_AT));
    assert!(!until(1).covers(key.key_id(), ISSUED_AT, far));
}

#[test]
fn r25_a_compromised_key_still_verifies_and_is_marked() {
    let compromised = Event::SigningKeyCompromised(SigningKeyCompromised {
        key_id: signing_key().key_id(),
    });
    let keyring = keyring().apply(&compromised).expect("applies");
    assert!(keyring.is_compromised(signing_key().key_id()));
    assert!(!keyring.is_compromised(KeyId([0; 4])));
    assert_eq!(result(&keyring, ISSUED_AT), Ok(()));
}

#[test]
fn applying_an_event_again_returns_the_same_snapshot() {
    let key = signing_key();
    let first = keyring();
    assert!(first.is_same(&first.apply(&added(&key, ISSUED_AT)).expect("applies")));
    let close = retired(&key, ISSUED_AT.plus_seconds(9), ISSUED_AT.plus_seconds(99));
    let second = first.apply(&close).expect("applies");
    assert!(!first.is_same(&second));
    assert!(second.is_same(&second.apply(&close).expect("applies")));
    // The older snapshot is unchanged.
    assert_eq!(first.get(key.key_id()).expect("there").signs_until, None);
}

#[test]
fn weak_keys_and_wrong_key_ids_are_rejected() {
    let add = |public_key: [u8; 32], key_id| {
        let event = Event::SigningKeyAdded(SigningKeyAdded {
            key_id,
            public_key,
            signs_from: ISSUED_AT,
        });
        Keyring::new().apply(&event).map(|_| ())
    };
    // The points of small order (order 1, 2, 4, 8) and their other encodings, and a y that is not on the curve.
    for weak in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        let key: [u8; 32] = hex(weak).try_into().expect("32 bytes");
        let key_id = key_id_of(&key);
        assert_eq!(add(key, key_id), Err(KeyringError::UnsoundKey(key_id)), "{weak}");
    }
    let key = signing_key();
    assert_eq!(
        add(key.public_key(), KeyId([0; 4])),
        Err(KeyringError::WrongKeyId(KeyId([0; 4])))
    );
    assert_eq!(add(key.public_key(), key.key_id()), Ok(()));
    let unknown = retired(&key, ISSUED_AT, ISSUED_AT);
    assert_eq!(
        Keyring::new().apply(&unknown).map(|_| ()),
        Err(KeyringError::UnknownKey(key.key_id()))
    );
}

/// Encodings of a point by a `y` that is not below the modulus 2^255 - 19, and points of small order.
#[test]
fn a_key_has_one_encoding_and_is_no_point_of_small_order() {
    let mut unsound = vec![[0; 32]];
    unsound[0][0] = 1;
    for above in 0..19u8 {
        for sign in [0x7F, 0xFF] {
            let mut key = [0xFF; 32];
            key[0] = 0xED + above;
            key[31] = sign;
            unsound.push(key);
        }
    }
    for key in unsound {
        assert!(!is_sound_device_key(&DeviceKey::Ed25519(key)), "{}", to_hex(&key));
        let key_id = key_id_of(&key);
        let event = Event::SigningKeyAdded(SigningKeyAdded {
            key_id,
            public_key: key,
            signs_from: ISSUED_AT,
        });
        let refused = Keyring::new().apply(&event).map(|_| ());
        assert_eq!(refused, Err(KeyringError::UnsoundKey(key_id)), "{}", to_hex(&key));
    }
    assert!(is_sound_device_key(&device().device_key()));
}

#[test]
fn a_keyring_has_at_most_1000_keys() {
    let key = |number: u64| {
        let mut seed = [0x55; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        SigningKey::from_seed(seed)
    };
    let add = |keyring: Keyring, number| keyring.apply(&added(&key(number), ISSUED_AT));
    let full = (0..1_000).try_fold(Keyring::new(), add).expect("a thousand keys");
    assert_eq!(add(full.clone(), 1_000).map(|_| ()), Err(KeyringError::Full));
    assert!(add(full.clone(), 999).expect("it is known").is_same(&full));
}

#[test]
fn a_phones_key_is_a_point_of_p_256_in_compressed_form() {
    let DeviceKey::P256(point) = p256_key() else {
        panic!("the fixture has a key of P-256");
    };
    assert!(is_sound_device_key(&DeviceKey::P256(point)));
    let mut not_on_the_curve = [0xFF; 33];
    not_on_the_curve[0] = point[0];
    let mut other_form = point;
    other_form[0] = 4;
    for unsound in [not_on_the_curve, other_form, [0; 33]] {
        assert!(!is_sound_device_key(&DeviceKey::P256(unsound)), "{}", to_hex(&unsound));
    }
}

/// An id has four bytes, so that two keys with the same one are found in a second.
#[test]
fn a_second_key_with_the_same_id_is_refused() {
    let [first, second] = [27_857u64, 84_242].map(|number| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        SigningKey::from_seed(seed)
    });
    assert_ne!(first.public_key(), second.public_key());
    assert_eq!(first.key_id(), second.key_id());
    let keyring = Keyring::new().apply(&added(&first, ISSUED_AT)).expect("applies");
    let refused = keyring.apply(&added(&second, ISSUED_AT)).map(|_| ());
    assert_eq!(refused, Err(KeyringError::KeyIdTaken(first.key_id())));
    let again = keyring.apply(&added(&first, ISSUED_AT)).expect("applied before");
    assert!(again.is_same(&keyring));
}

/// Whoever has a key or a code can use it.
#[test]
fn debug_output_contains_no_key_and_no_code() {
    let key = signing_key();
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.key_id()));
    assert_eq!(format!("{:?}", device()), "DeviceSigner(…)");
    let token = sign(&live());
    assert_eq!(format!("{token:?}"), format!("SignedToken({} bytes)", token.cwt.len()));
    let shown = present(&token.text, &device(), ISSUED_AT, None).expect("presents");
    let scan = Scan::read(&shown).expect("reads");
    let proof = scan.proof().expect("a proof").len();
    assert_eq!(
        format!("{scan:?}"),
        format!("Scan({} + {proof} bytes)", token.cwt.len())
    );
}

fn three_keys() -> Keyring {
    let old = SigningKey::from_seed([1; 32]);
    let stolen = SigningKey::from_seed([2; 32]);
    [
        added(&old, ISSUED_AT.plus_seconds(-1_000)),
        retired(&old, ISSUED_AT, ISSUED_AT.plus_seconds(31_536_000)),
        added(&stolen, ISSUED_AT),
        Event::SigningKeyCompromised(SigningKeyCompromised {
            key_id: stolen.key_id(),
        }),
        added(&signing_key(), ISSUED_AT),
    ]
    .iter()
    .try_fold(Keyring::new(), |keyring, event| keyring.apply(event))
    .expect("applies")
}

#[test]
fn coset_reads_the_cose_key_set() {
    let keyring = three_keys();
    let keys = CoseKeySet::from_slice(&keys_cose_set(&keyring))
        .expect("a COSE key set")
        .0;
    assert_eq!(keys.len(), 3);
    for (key, entry) in keys.iter().zip(keyring.entries()) {
        assert_eq!(key.key_id, entry.key_id.0);
        assert_eq!(key.kty, coset::KeyType::Assigned(iana::KeyType::OKP));
        assert_eq!(key.alg, Some(coset::Algorithm::Assigned(iana::Algorithm::Ed25519)));
        let x = key
            .params
            .iter()
            .find(|(label, _)| *label == Label::Int(-2))
            .expect("x");
        assert_eq!(x.1.as_bytes().expect("bytes")[..], entry.public_key());
    }
}

#[test]
fn the_cose_key_set_of_status_keys_names_their_use() {
    let key = signing_key();
    let keys = CoseKeySet::from_slice(&status_keys_cose_set(&[key.public_key()]))
        .expect("a COSE key set")
        .0;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key_id, key.key_id().0);
    let param = |wanted: i64| {
        let found = keys[0].params.iter().find(|(label, _)| *label == Label::Int(wanted));
        found.expect("there").1.clone()
    };
    assert_eq!(param(-2).as_bytes().expect("bytes")[..], key.public_key());
    assert_eq!(param(-65_538).as_text(), Some(STATUS_LIST_USE));
}

#[test]
fn the_jwks_contains_the_windows() {
    let json = keys_jwks_json(&three_keys());
    assert_eq!(json.matches(r#""kty":"OKP","crv":"Ed25519""#).count(), 3);
    assert!(json.contains(
        r#""signs_from":"2022-08-31T00:00:00Z","signs_until":null,"verifies_until":null,"compromised":true"#
    ));
    assert!(json.contains(r#""signs_from":"2022-08-30T23:43:20Z","signs_until":"2022-08-31T00:00:00Z","verifies_until":"2023-08-31T00:00:00Z","compromised":false"#));
}
