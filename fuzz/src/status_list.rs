//! A status list: no bytes make it larger than its limit, and what is read says what stands in the bytes.

use citycode_token::SigningKey;
use citycode_token::status_list::{Bits, MAX_LIST_BYTES, MEDIA_TYPE_CWT, StatusList, StatusListError, read_cwt};
use coset::cbor::value::Value;

use crate::city::{CITY_SEED, NOW, deterministic, signed};

/// The list that is asked for.
pub const URI: &str = "https://s.example/03133460";
const ALL_BITS: [Bits; 4] = [Bits::One, Bits::Two, Bits::Four, Bits::Eight];
/// Bytes of a list that are looked at entry by entry, and compressed again: the promise does not depend on the size.
const LOOKED_AT: usize = 2_048;

/// Takes any bytes for a compressed list, for a signed one, and for the claims of one, the last rightly signed.
///
/// # Panics
/// When a list is larger than its limit, damaged yet read, says another status than its bits, or is read from
/// claims that ciborium does not find deterministic, for this list and in force.
pub fn run(input: &[u8]) {
    for bits in ALL_BITS {
        match StatusList::from_compressed(bits, input) {
            Ok(list) => whole(&list, input),
            Err(error) => assert!(
                matches!(error, StatusListError::Unreadable | StatusListError::TooLong),
                "{error}"
            ),
        }
        // A bomb is the same at every width, and slow.
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

/// `{ 1: -19, 4: kid, 16: media type }`, written by hand.
fn protected(key: &SigningKey) -> Vec<u8> {
    let media_type = MEDIA_TYPE_CWT.as_bytes();
    let head = [0xA3, 0x01, 0x32, 0x04, 0x44];
    let length = u8::try_from(media_type.len()).expect("a short name");
    [&head, &key.key_id().0[..], &[0x10, 0x78, length], media_type].concat()
}

/// A list from one whole zlib stream: its size, its check sum (RFC 1950), its entries, and the way back.
fn whole(list: &StatusList, compressed: &[u8]) {
    let packed = list.packed();
    assert!(packed.len() <= MAX_LIST_BYTES, "a list over its limit");
    let (_, sum) = compressed.split_last_chunk().expect("zlib ends in a check sum");
    assert_eq!(u32::from_be_bytes(*sum), adler_32(packed), "read though damaged");
    let width = usize::from(list.bits().number());
    assert_eq!(list.entries() * width, packed.len() * 8);
    assert_eq!(
        list.get(u32::try_from(list.entries()).expect("16 MiB of bits")),
        None,
        "a status behind the end"
    );
    let some = &packed[..packed.len().min(LOOKED_AT)];
    for index in 0..some.len() * 8 / width {
        let status = (0..width).fold(0, |status, bit| {
            let at = index * width + bit;
            status | (some[at / 8] >> (at % 8) & 1) << bit
        });
        assert_eq!(list.get(index as u32), Some(status), "another status than the bits say");
    }
    if packed.len() <= LOOKED_AT {
        let again = StatusList::from_compressed(list.bits(), list.compress().zlib());
        assert_eq!(again.as_ref(), Ok(list), "our own zlib is not read");
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

/// The claims of a list that was taken, as an outsider reads them.
fn said(payload: &[u8], list: &StatusList, issued_at: i64) {
    let claims = deterministic(payload).expect("the claims are deterministic");
    let claim = |map: &Value, key: Value| {
        let entries = map.as_map().expect("a map");
        entries
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, item)| item.clone())
    };
    assert_eq!(claim(&claims, 2.into()), Some(URI.into()), "another list");
    assert_eq!(claim(&claims, 6.into()), Some(issued_at.into()), "another time");
    if let Some(expires_at) = claim(&claims, 4.into()) {
        let expires_at = i128::from(expires_at.as_integer().expect("a time is an integer"));
        assert!(expires_at > i128::from(NOW.0), "past its expiry");
    }
    let inner = claim(&claims, 65_533.into()).expect("the list's claim");
    assert_eq!(claim(&inner, "bits".into()), Some(list.bits().number().into()));
    let lst = claim(&inner, "lst".into()).expect("the list's bytes");
    whole(list, lst.as_bytes().expect("a byte string"));
}
