//! Tests of status lists against the draft's test vectors, and of input that a reader must refuse.

use crate::fixture::*;
use citycode_domain::time::Timestamp;
use citycode_token::status_list::{
    Bits, INVALID, MEDIA_TYPE_CWT, SUSPENDED, StatusList, StatusListClaims, StatusListError, VALID, read_cwt, sign_cwt,
    sign_jwt,
};
use coset::{CoseSign1, TaggedCborSerializable};
use proptest::prelude::*;

const URI: &str = "https://s.example/03402870";
const ALL_BITS: [Bits; 4] = [Bits::One, Bits::Two, Bits::Four, Bits::Eight];

fn claims() -> StatusListClaims<'static> {
    StatusListClaims {
        uri: URI,
        issued_at: ISSUED_AT,
        expires_at: Some(ISSUED_AT.plus_seconds(86_400)),
        ttl_seconds: Some(60),
        aggregation_uri: None,
    }
}

fn list() -> StatusList {
    let mut list = StatusList::filled(Bits::Two, 4_096, INVALID).expect("fits");
    for (index, value) in [(0, VALID), (1, SUSPENDED), (4_095, VALID)] {
        list.set(index, value).expect("inside");
    }
    list
}

/// draft-ietf-oauth-status-list, "Compressed Byte Array": one and two bits.
#[test]
fn the_examples_of_the_draft_are_reproduced() {
    let one = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1];
    let two = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3];
    for (bits, statuses, packed, compressed) in [
        (Bits::One, &one[..], "b9a3", "78dadbb918000217015d"),
        (Bits::Two, &two[..], "c944f9", "78da3be9f2130003df0207"),
    ] {
        let mut list = StatusList::filled(bits, statuses.len(), 0).expect("fits");
        for (index, status) in statuses.iter().enumerate() {
            list.set(index as u32, *status).expect("inside");
        }
        assert_eq!(to_hex(list.packed()), packed);
        assert_eq!(to_hex(list.compress().zlib()), compressed);
        assert_eq!(StatusList::from_compressed(bits, &hex(compressed)), Ok(list));
    }
}

#[test]
fn an_index_that_was_never_issued_is_invalid_and_one_outside_is_an_error() {
    let list = StatusList::filled(Bits::Two, 5, INVALID).expect("fits");
    assert_eq!(
        (0..8).map(|index| list.get(index)).collect::<Vec<_>>(),
        vec![Some(INVALID); 8]
    );
    assert_eq!(list.get(8), None);
    assert_eq!(list.get(u32::MAX), None);
    let mut list = list;
    assert_eq!(list.set(8, VALID), Err(StatusListError::OutOfRange));
    assert_eq!(list.set(0, 4), Err(StatusListError::ValueTooWide));
    assert_eq!(StatusList::filled(Bits::One, 1, 2), Err(StatusListError::ValueTooWide));
    assert_eq!(
        StatusList::filled(Bits::Eight, (16 << 20) + 1, 0),
        Err(StatusListError::TooLong)
    );
}

#[test]
fn a_list_round_trips_through_its_token() {
    let key = signing_key();
    let cwt = sign_cwt(&list().compress(), &claims(), &key);
    let read = |cwt: &[u8], uri, now| read_cwt(cwt, &key.public_key(), uri, now);
    assert_eq!(read(&cwt, URI, ISSUED_AT), Ok((list(), ISSUED_AT)));
    assert_eq!(
        read(&cwt, "https://s.example/03402871", ISSUED_AT),
        Err(StatusListError::BadSignature)
    );
    assert_eq!(
        read(&cwt, URI, ISSUED_AT.plus_seconds(86_400)),
        Err(StatusListError::Expired)
    );
    assert_eq!(
        read_cwt(&cwt, &[3; 32], URI, ISSUED_AT),
        Err(StatusListError::BadSignature)
    );
    for (expires_at, ttl_seconds, aggregation_uri) in [
        (None, None, None),
        (None, Some(1), Some("https://s.example/all")),
        (claims().expires_at, None, None),
    ] {
        let claims = StatusListClaims {
            expires_at,
            ttl_seconds,
            aggregation_uri,
            ..claims()
        };
        assert_eq!(
            read(&sign_cwt(&list().compress(), &claims, &key), URI, ISSUED_AT),
            Ok((list(), ISSUED_AT))
        );
    }
    for bit in 0..cwt.len() * 8 {
        let mut flipped = cwt.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped, URI, ISSUED_AT).is_err(), "bit {bit}");
    }
    for len in 0..cwt.len() {
        assert!(read(&cwt[..len], URI, ISSUED_AT).is_err(), "cut to {len}");
    }
}

#[test]
fn a_code_is_not_accepted_as_a_list_nor_a_list_as_a_code() {
    let key = signing_key();
    let code = sign(&paper()).cwt;
    assert_eq!(
        read_cwt(&code, &key.public_key(), URI, ISSUED_AT),
        Err(StatusListError::BadSignature)
    );
    let list = sign_cwt(
        &StatusList::filled(Bits::Two, 4, 0).expect("fits").compress(),
        &claims(),
        &key,
    );
    assert!(citycode_token::verify_cwt(&list, &keyring(), BASE_URI, ISSUED_AT).is_err());
}

#[test]
fn coset_reads_the_token() {
    let message =
        CoseSign1::from_tagged_slice(&sign_cwt(&list().compress(), &claims(), &signing_key())).expect("reads");
    let typ = message
        .protected
        .header
        .rest
        .iter()
        .find(|(label, _)| *label == coset::Label::Int(16));
    assert_eq!(typ.and_then(|(_, value)| value.as_text()), Some(MEDIA_TYPE_CWT));
}

#[test]
fn the_jwt_contains_the_same_claims() {
    let jwt = sign_jwt(
        &list().compress(),
        &StatusListClaims {
            uri: "https://s.example/\"\\\n",
            ..claims()
        },
        &signing_key(),
    );
    let parts: Vec<&str> = jwt.split('.').collect();
    let decode = |part: &str| {
        data_encoding::BASE64URL_NOPAD
            .decode(part.as_bytes())
            .expect("Base64url")
    };
    let header = String::from_utf8(decode(parts[0])).expect("text");
    assert_eq!(header, r#"{"alg":"Ed25519","kid":"fe812c12","typ":"statuslist+jwt"}"#);
    let payload = String::from_utf8(decode(parts[1])).expect("text");
    let lst = data_encoding::BASE64URL_NOPAD.encode(list().compress().zlib());
    let expected = format!(
        r#"{{"sub":"https://s.example/\"\\\u000a","iat":1661904000,"exp":1661990400,"ttl":60,"status_list":{{"bits":2,"lst":"{lst}"}}}}"#
    );
    assert_eq!(payload, expected);
    let key = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
    let signature = ed25519_dalek::Signature::from_slice(&decode(parts[2])).expect("64 bytes");
    key.verify_strict(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature)
        .expect("verifies");
}

#[test]
fn a_list_has_at_most_16_mib() {
    let limit = 16 << 20;
    let refused = Some(StatusListError::TooLong);
    assert!(StatusList::from_packed(Bits::One, vec![0; limit]).is_ok());
    assert_eq!(StatusList::from_packed(Bits::One, vec![0; limit + 1]).err(), refused);
    for (bits, entries) in [(Bits::Eight, limit), (Bits::Two, limit * 4)] {
        assert_eq!(
            StatusList::filled(bits, entries, 0).map(|list| list.entries()),
            Ok(entries)
        );
        assert_eq!(StatusList::filled(bits, entries + 1, 0).err(), refused);
    }
}

#[test]
fn a_decompression_bomb_and_trailing_bytes_are_refused() {
    use std::io::Write;
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![0; (16 << 20) + 1]).expect("writes");
    let bomb = bomb.finish().expect("finishes");
    assert_eq!(
        StatusList::from_compressed(Bits::One, &bomb),
        Err(StatusListError::TooLong)
    );
    let good = list().compress().zlib().to_vec();
    assert_eq!(
        StatusList::from_compressed(Bits::Two, &[&good[..], &[0]].concat()),
        Err(StatusListError::Unreadable)
    );
    assert_eq!(
        StatusList::from_compressed(Bits::Two, &good[..good.len() - 1]),
        Err(StatusListError::Unreadable)
    );
    assert_eq!(
        StatusList::from_compressed(Bits::Two, b""),
        Err(StatusListError::Unreadable)
    );
}

proptest! {
    #[test]
    fn values_that_were_set_are_read(bits in 0usize..4, sets in proptest::collection::vec((0u32..2_000, any::<u8>()), 0..200)) {
        let bits = ALL_BITS[bits];
        let mut list = StatusList::filled(bits, 2_000, 1).expect("fits");
        let mut model = vec![1; list.entries()];
        for (index, value) in sets {
            let value = value >> (8 - bits.number());
            list.set(index, value).expect("inside");
            model[index as usize] = value;
        }
        for (index, value) in model.iter().enumerate() {
            prop_assert_eq!(list.get(index as u32), Some(*value));
        }
        let cwt = sign_cwt(&list.compress(), &claims(), &signing_key());
        let back = read_cwt(&cwt, &signing_key().public_key(), URI, Timestamp(0)).expect("reads");
        prop_assert_eq!(back.0, list);
    }
}
