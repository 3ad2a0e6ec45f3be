//! Tests of strict parsing: every input here is signed correctly with the city's key, and refused for its form.

use citycode_token::{TokenError, VerifiedClaims, verify_cwt};

use crate::fixture::*;

fn check(cwt: &[u8]) -> Result<VerifiedClaims, TokenError> {
    verify_cwt(cwt, &keyring(), BASE_URI, ISSUED_AT)
}

#[test]
fn other_algorithms_and_key_ids_are_refused() {
    let payload = map(&paper_parts());
    let kid = to_hex(&signing_key().key_id().0);
    assert!(
        check(&forge(&protected(), &[0xA0], &payload)).is_ok(),
        "the fixture produces valid tokens"
    );
    let refused = [
        (format!("a201270444{kid}"), TokenError::BadSignature), // EdDSA, not fully specified
        (format!("a201260444{kid}"), TokenError::BadSignature), // ES256
        (format!("a201280444{kid}"), TokenError::BadSignature), // ESP256
        (format!("a201050444{kid}"), TokenError::BadSignature), // HMAC 256/256
        (format!("a201000444{kid}"), TokenError::BadSignature),
        (String::from("a10132"), TokenError::BadSignature), // no key id
        (format!("a201320443{}", &kid[2..]), TokenError::BadSignature), // a key id cut short
        (String::from("a20132044400000000"), TokenError::BadSignature), // an unknown key id
        (format!("a10444{kid}"), TokenError::Unreadable),   // no algorithm
        (format!("a301320281040444{kid}"), TokenError::Unreadable), // critical headers
        (format!("a301320444{kid}1863"), TokenError::Unreadable),
        (format!("a2044 4{kid}0132").replace(' ', ""), TokenError::Unreadable), // out of order
        (format!("a20132044 4{kid}00").replace(' ', ""), TokenError::Unreadable), // trailing byte
        (format!("a20138120444{kid}"), TokenError::Unreadable),                 // algorithm in two bytes
        (format!("bf01320444{kid}ff"), TokenError::Unreadable),
        (format!("a3013201320444{kid}"), TokenError::Unreadable), // twice
        (String::new(), TokenError::Unreadable),
    ];
    for (header, error) in refused {
        assert_eq!(check(&forge(&hex(&header), &[0xA0], &payload)), Err(error), "{header}");
    }
}

#[test]
fn the_outer_structure_has_one_form() {
    let (protected, payload) = (protected(), map(&paper_parts()));
    let good = forge(&protected, &[0xA0], &payload);
    assert_eq!(good, sign(&paper()).cwt);
    let raw_protected = byte_string(&protected);
    let raw_payload = byte_string(&payload);
    let parts = |raw_protected: &[u8], unprotected: &[u8], raw_payload: &[u8]| {
        forge_parts(raw_protected, unprotected, raw_payload, &protected, &payload)
    };
    let long_head = [&[0x58, protected.len() as u8][..], &protected].concat();
    let long_payload = [&[0x59, 0, payload.len() as u8][..], &payload].concat();
    let chunked = [&[0x5F][..], &raw_payload, &[0xFF]].concat();
    let refused = [
        parts(&raw_protected, &hex("a10440"), &raw_payload), // an unprotected header
        parts(&raw_protected, &hex("bfff"), &raw_payload),
        parts(&raw_protected, &hex("b800"), &raw_payload),
        parts(&long_head, &[0xA0], &raw_payload),
        parts(&raw_protected, &[0xA0], &long_payload),
        parts(&raw_protected, &[0xA0], &chunked),
        parts(&raw_protected, &[0xA0], &[0xF6]), // detached
        [&good[..], &[0]].concat(),
        [&good[..], &good].concat(),
        good[1..].to_vec(),                      // untagged
        [&hex("d83d")[..], &good].concat(),      // tagged as CWT too
        [&hex("d812")[..], &good[1..]].concat(), // tag in two bytes
        [&hex("d29f")[..], &good[2..], &[0xFF]].concat(),
        [&hex("d29804")[..], &good[2..]].concat(),
        [&hex("d1")[..], &good[1..]].concat(), // COSE_Mac0
    ];
    for (at, cwt) in refused.into_iter().enumerate() {
        assert_eq!(check(&cwt), Err(TokenError::Unreadable), "{at}: {}", to_hex(&cwt));
    }
}

/// The paper code's payload with one claim replaced.
fn with(at: usize, part: &str) -> Vec<u8> {
    let mut parts = paper_parts();
    parts[at] = hex(part);
    map(&parts)
}

/// The paper code's payload with one additional claim.
fn added(at: usize, part: &str) -> Vec<u8> {
    let mut parts = paper_parts();
    parts.insert(at, hex(part));
    map(&parts)
}

fn refuse_all<const N: usize>(payloads: [(&str, Vec<u8>); N]) {
    for (what, payload) in payloads {
        assert_eq!(
            check(&forge(&protected(), &[0xA0], &payload)),
            Err(TokenError::Unreadable),
            "{what}"
        );
    }
}

#[test]
fn registered_claims_have_one_form() {
    let good = paper_parts();
    let body = good.concat();
    let exp = to_hex(&good[0][2..]);
    let iat = to_hex(&good[1][2..]);
    let reordered = {
        let mut parts = good.clone();
        parts.swap(0, 1);
        map(&parts)
    };
    refuse_all([
        ("exp twice", with_count(6, &[&good[0][..], &body].concat())),
        ("exp twice, apart", added(1, &format!("041a{exp}"))),
        ("exp last", reordered),
        ("exp in nine bytes", with(0, &format!("041b00000000{exp}"))),
        ("exp as float", with(0, "04fb41d8c3c000000000")),
        ("exp tagged", with(0, &format!("04c11a{exp}"))),
        ("exp negative", with(0, "0420")),
        ("exp as text", with(0, "046130")),
        ("exp too far", with(0, "041b7fffffffffffffff")),
        ("exp beyond i64", with(0, "041bffffffffffffffff")),
        ("exp at issue", with(0, &format!("041a{iat}"))),
        ("exp label in two bytes", with(0, &format!("18041a{exp}"))),
        ("iat missing", map(&[&good[..1], &good[2..]].concat())),
        ("cti of seven bytes", with(2, "074700000000000000")),
        ("cti of nine bytes", with(2, "0749000000000000000000")),
        ("cti with a long head", with(2, "0758080000000000000000")),
        ("cti indefinite", with(2, "075f480000000000000000ff")),
        ("cti as text", with(2, "07683030303030303030")),
    ]);
}

#[test]
fn unknown_claims_and_bad_device_keys_are_refused() {
    refuse_all([
        ("an issuer", added(0, "016130")),
        ("nbf", added(1, "051a00000000")),
        ("cnf null", added(3, "08f6")),
        ("cnf of nothing", added(3, "08a0")),
        ("cnf kid", added(3, "08a1034100")),
        (
            "cnf key of 31 bytes",
            added(3, &format!("08a101a30101200621581f{}", "00".repeat(31))),
        ),
        (
            "cnf X25519",
            added(3, &format!("08a101a301012004215820{}", "00".repeat(32))),
        ),
        (
            "cnf with a private key",
            added(3, &format!("08a101a401012006215820{0}235820{0}", "00".repeat(32))),
        ),
        (
            "cnf P-256 with y in full",
            added(3, &format!("08a101a401022001215820{0}225820{0}", "00".repeat(32))),
        ),
    ]);
}

#[test]
fn status_and_kind_have_one_form() {
    let status = to_hex(&paper_parts()[3]);
    refuse_all([
        (
            "status key in five bytes",
            with(3, &status.replacen("19ffff", "1a0000ffff", 1)),
        ),
        (
            "index over 32 bits",
            with(3, &status.replacen("1a0012d687", "1b0000000100000000", 1)),
        ),
        ("index negative", with(3, &status.replacen("1a0012d687", "20", 1))),
        (
            "status in another order",
            with(3, &{
                let uri = &status[status.find("63757269").expect("uri")..];
                format!("19ffffa2{uri}636964781a0012d687")
            }),
        ),
        ("unknown claim", added(4, "1a0001000001")),
        ("unknown private claim", added(5, "3a0001000101")),
        ("unknown text claim", added(5, "616b04")),
        ("kind 0", with(4, "3a00010000820043a1b2c3")),
        ("kind 16", with(4, "3a00010000821043a1b2c3")),
        ("kind in two bytes", with(4, "3a0001000082180443a1b2c3")),
        ("commitment of two bytes", with(4, "3a00010000820442a1b2")),
        ("commitment of four bytes", with(4, "3a00010000820444a1b2c3d4")),
        ("commitment null", with(4, "3a000100008204f6")),
        ("a third part", with(4, "3a00010000830443a1b2c300")),
        ("no kind", with(4, "3a0001000080")),
        ("parts indefinite", with(4, "3a000100009f0443a1b2c3ff")),
    ]);
}

#[test]
fn the_map_of_claims_has_one_form() {
    let good = paper_parts();
    let body = good.concat();
    refuse_all([
        ("trailing byte", [map(&good), vec![0]].concat()),
        ("one claim too many counted", [&[0xA6][..], &body].concat()),
        ("one claim too few counted", [&[0xA4][..], &body].concat()),
        ("count in two bytes", [&[0xB8, 5][..], &body].concat()),
        ("indefinite", [&[0xBF][..], &body, &[0xFF]].concat()),
        ("an array", [&[0x8A][..], &body].concat()),
        ("empty", Vec::new()),
        ("empty map", vec![0xA0]),
    ]);
}

fn with_count(count: u8, body: &[u8]) -> Vec<u8> {
    [&[0xA0 | count], body].concat()
}

#[test]
fn a_list_uri_has_one_spelling() {
    let good = paper_parts();
    let list = paper().status.list.to_string();
    for uri in [
        format!("{BASE_URI}{}", list.to_uppercase()),
        format!("{BASE_URI}{}", &list[1..]),
        format!("{BASE_URI}0{list}"),
        format!("{BASE_URI}+{}", &list[1..]),
        format!("{BASE_URI}/{list}"),
        format!("https://t.example/{list}"),
        format!("HTTPS://s.example/{list}"),
        list.clone(),
        BASE_URI.to_owned(),
    ] {
        let mut parts = good.clone();
        parts[3] = [
            &hex("19ffffa2636964781a0012d68763757269"),
            &head(3, uri.len())[..],
            uri.as_bytes(),
        ]
        .concat();
        let cwt = forge(&protected(), &[0xA0], &map(&parts));
        // The fixture fails only where the spelling differs.
        assert_eq!(check(&cwt).is_ok(), uri == format!("{BASE_URI}{list}"), "{uri}");
    }
}

/// Tokens of one byte less and one byte more than the limit, correctly signed, by the length of the list's URI.
#[test]
fn a_token_has_at_most_288_bytes() {
    let token_of = |base_uri: &str| {
        let mut parts = paper_parts();
        let uri = format!("{base_uri}{}", paper().status.list);
        let before_uri = parts[3].len() - 2 - BASE_URI.len() - 8;
        parts[3].truncate(before_uri);
        parts[3].extend([head(3, uri.len()), uri.into_bytes()].concat());
        forge(&protected(), &[0xA0], &map(&parts))
    };
    for (len, expected) in [(288, Ok(())), (289, Err(TokenError::Unreadable))] {
        let base_uri = (0..300)
            .map(|longer| format!("{BASE_URI}{}/", "x".repeat(longer)))
            .find(|base_uri| token_of(base_uri).len() == len)
            .expect("every length occurs");
        let verified = verify_cwt(&token_of(&base_uri), &keyring(), &base_uri, ISSUED_AT);
        assert_eq!(verified.map(|_| ()), expected, "{len} bytes");
    }
}
