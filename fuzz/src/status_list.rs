//! Status lists: no bytes make a list larger than its limit, and every list that is read has the entries of its bytes.

use citycode_token::SigningKey;
use citycode_token::status_list::{Bits, MAX_LIST_BYTES, MEDIA_TYPE_CWT, StatusList, StatusListError, read_cwt};
use coset::cbor::value::Value;

use crate::city::{CITY_SEED, NOW, deterministic, signed};

/// The URI of the requested list.
pub const URI: &str = "https://s.example/03133460";
const ALL_BITS: [Bits; 4] = [Bits::One, Bits::Two, Bits::Four, Bits::Eight];
/// The number of bytes of a list whose entries are compared, and up to which a list is compressed again. It only saves
/// time: the properties do not depend on the size.
const LOOKED_AT: usize = 2_048;

/// Reads any bytes as a compressed list, as a signed list, and as the claims of a list with a valid signature.
///
/// # Panics
/// If a list is read that is larger than its limit, is damaged, or has another status than its bits; or if claims are
/// accepted that according to `ciborium` are not deterministic, name another list, or are expired.
pub fn run(input: &[u8]) {
    for bits in ALL_BITS {
        match StatusList::from_compressed(bits, input) {
            Ok(list) => whole(&list, input),
            Err(error) => assert!(
                matches!(error, StatusListError::Unreadable | StatusListError::TooLong),
                "{error}"
            ),
        }
        // Decompressing a large input is slow, and the same for every width.
        if input.len() > LOOKED_AT {
            break;
        }
    }
    let key = SigningKey::from_seed(CITY_SEED);
    if read_cwt(input, &key.public_key(), URI, NOW).is_ok() {
        assert!(deterministic(input).is_some(), "the envelope is not deterministic");
    }
    let cwt = signed(CITY_SEED, &protected(&key), b"", input);
    if let Ok((list, issued_at)) = read_cwt(&cwt, &key.public_key(), URI, NOW) {
        said(input, &list, issued_at.0);
    }
}

/// The protected header of status lists, `{ 1: -19, 4: kid, 16: media type }`, encoded by hand.
fn protected(key: &SigningKey) -> Vec<u8> {
    let media_type = MEDIA_TYPE_CWT.as_bytes();
    let head = [0xA3, 0x01, 0x32, 0x04, 0x44];
    let length = u8::try_from(media_type.len()).expect("a short name");
    [&head, &key.key_id().0[..], &[0x10, 0x78, length], media_type].concat()
}

/// Checks a list that was read from a complete zlib stream (RFC 1950): its size, its checksum, its entries, and that it
/// can be compressed and read again.
fn whole(list: &StatusList, compressed: &[u8]) {
    let packed = list.packed();
    assert!(packed.len() <= MAX_LIST_BYTES, "the list is larger than its limit");
    let (_, sum) = compressed
        .split_last_chunk()
        .expect("a zlib stream ends with a checksum");
    assert_eq!(u32::from_be_bytes(*sum), adler_32(packed), "a damaged list was read");
    let width = usize::from(list.bits().number());
    assert_eq!(list.entries() * width, packed.len() * 8);
    assert_eq!(
        list.get(u32::try_from(list.entries()).expect("16 MiB of bits")),
        None,
        "there is a status after the end"
    );
    let some = &packed[..packed.len().min(LOOKED_AT)];
    for index in 0..some.len() * 8 / width {
        let status = (0..width).fold(0, |status, bit| {
            let at = index * width + bit;
            status | (some[at / 8] >> (at % 8) & 1) << bit
        });
        assert_eq!(list.get(index as u32), Some(status), "the status differs from the bits");
    }
    if packed.len() <= LOOKED_AT {
        let again = StatusList::from_compressed(list.bits(), list.compress().zlib());
        assert_eq!(again.as_ref(), Ok(list), "the list that was compressed again differs");
    }
}

fn adler_32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (low, high) = bytes.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % MODULUS;
        (low, (high + low) % MODULUS)
    });
    high << 16 | low
}

/// Compares the claims of an accepted list with what an independent library reads.
fn said(payload: &[u8], list: &StatusList, issued_at: i64) {
    let claims = deterministic(payload).expect("the claims are deterministic");
    let claim = |map: &Value, key: Value| {
        let entries = map.as_map().expect("a map");
        entries
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, item)| item.clone())
    };
    assert_eq!(
        claim(&claims, 2.into()),
        Some(URI.into()),
        "the claims name another list"
    );
    assert_eq!(
        claim(&claims, 6.into()),
        Some(issued_at.into()),
        "the time of issue differs"
    );
    if let Some(expires_at) = claim(&claims, 4.into()) {
        let expires_at = i128::from(expires_at.as_integer().expect("a time is an integer"));
        assert!(expires_at > i128::from(NOW.0), "an expired list was accepted");
    }
    let inner = claim(&claims, 65_533.into()).expect("the list's claim");
    assert_eq!(claim(&inner, "bits".into()), Some(list.bits().number().into()));
    let lst = claim(&inner, "lst".into()).expect("the list's bytes");
    whole(list, lst.as_bytes().expect("a byte string"));
}
