//! Tests of tokens: round trip, sizes, golden bytes, and texts that must not verify.

use crate::fixture::*;
use citycode_domain::claims::DeviceKey;
use citycode_domain::ids::{ClaimsDigest, CodeId, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use citycode_token::{
    CodeClaimsToSign, MAX_BASE_URI_LEN, MAX_CWT_LEN, MAX_PAPER_CWT_LEN, MAX_SCAN_LEN, Scan, SignError, SigningKey,
    TokenError, VerifiedClaims, canonical_scan, present, sign_code, verify, verify_cwt,
};
use proptest::prelude::*;
use sha2::Digest;

fn check(cwt: &[u8]) -> Result<VerifiedClaims, TokenError> {
    verify_cwt(cwt, &keyring(), BASE_URI, ISSUED_AT)
}

#[test]
fn a_token_contains_the_signed_claims() {
    for (name, claims) in every_shape() {
        let token = sign(&claims);
        let verified = verify(&token.text, &keyring(), BASE_URI, ISSUED_AT).expect(name);
        assert_eq!(CodeClaimsToSign::from(&*verified), claims, "{name}");
        assert_eq!(verified.key_id, signing_key().key_id());
        assert_eq!(verified.digest, token.digest);
        assert_eq!(
            verified.cwt_digest().0,
            <[u8; 32]>::from(sha2::Sha256::digest(&token.cwt))
        );
        let payload = coset::TaggedCborSerializable::from_tagged_slice(&token.cwt)
            .map(|message: coset::CoseSign1| message.payload.expect("attached"))
            .expect("COSE_Sign1");
        assert_eq!(token.digest, ClaimsDigest(sha2::Sha256::digest(&payload).into()));
    }
}

#[test]
fn a_paper_token_fits_its_symbol() {
    let mut claims = paper();
    claims.status.index = u32::MAX;
    let token = sign(&claims);
    eprintln!(
        "paper token: {} bytes of CWT, {} characters",
        token.cwt.len(),
        token.text.len()
    );
    assert!(token.cwt.len() <= MAX_PAPER_CWT_LEN);
    // Alphanumeric capacity of QR version 11 at level Q (ISO/IEC 18004 table 7).
    assert!(token.text.len() <= 259);
    assert_eq!(token.cwt.len(), 160);
}

#[test]
fn a_presentation_fits_a_screen() {
    for base_uri in [
        BASE_URI.to_owned(),
        format!("https://{}/", "s".repeat(MAX_BASE_URI_LEN - 9)),
    ] {
        let mut claims = live();
        claims.device_key = Some(p256_key());
        claims.status.index = u32::MAX;
        claims.id_commitment = Some([1; 3]);
        let token = sign_code(&claims, &base_uri, &signing_key()).expect("fits");
        let shown = present(&token.text, &device(), ISSUED_AT, Some("gate-0123456789")).expect("presents");
        eprintln!(
            "{} bytes of CWT, presentation of {} characters",
            token.cwt.len(),
            shown.len()
        );
        // Alphanumeric capacity of QR version 20 at level M.
        assert!(shown.len() <= 970);
        assert!(shown.len() <= MAX_SCAN_LEN);
    }
}

#[test]
fn the_longest_token_fits_the_limit() {
    let last = Timestamp(253_402_300_799);
    let claims = CodeClaimsToSign {
        code_id: CodeId([0xFF; 8]),
        kind: kind(15),
        issued_at: last.plus_seconds(-1),
        expires_at: last,
        status: StatusRef {
            list: ListId(0xFFFF_FFFF),
            index: u32::MAX,
        },
        id_commitment: Some([0xFF; 3]),
        device_key: Some(p256_key()),
    };
    let base_uri = "h".repeat(MAX_BASE_URI_LEN);
    let token = sign_code(&claims, &base_uri, &signing_key()).expect("fits");
    eprintln!("longest token: {} bytes", token.cwt.len());
    assert!(token.cwt.len() <= MAX_CWT_LEN);
    let verified = verify(&token.text, &keyring(), &base_uri, last).expect("verifies");
    assert_eq!(CodeClaimsToSign::from(&*verified), claims);
}

#[test]
fn golden_bytes_of_every_shape_are_unchanged() {
    // These bytes are never edited: codes that were printed on paper must stay readable.
    let golden = [
        include_str!("golden/paper.hex"),
        include_str!("golden/sampling.hex"),
        include_str!("golden/live_ed25519.hex"),
        include_str!("golden/family_p256.hex"),
    ];
    for ((name, claims), golden) in every_shape().into_iter().zip(golden) {
        let bytes = hex(golden.trim());
        assert_eq!(to_hex(&sign(&claims).cwt), golden.trim(), "{name}");
        assert_eq!(CodeClaimsToSign::from(&*check(&bytes).expect(name)), claims, "{name}");
    }
}

#[test]
fn surrounding_white_space_and_letter_case_are_ignored() {
    let text = sign(&paper()).text;
    let expected = verify(&text, &keyring(), BASE_URI, ISSUED_AT);
    assert!(expected.is_ok());
    for variant in [
        text.to_lowercase(),
        format!("  {text}\r\n"),
        format!("\u{feff}\t{text}\u{3000}\u{a0}"),
        format!("Cc1{}", &text[3..]),
    ] {
        assert_eq!(
            verify(&variant, &keyring(), BASE_URI, ISSUED_AT),
            expected,
            "{variant:?}"
        );
        let mut buffer = [0; MAX_SCAN_LEN];
        assert_eq!(canonical_scan(&variant, &mut buffer), Some(text.as_bytes()));
    }
}

#[test]
fn a_text_that_is_not_a_token_is_unreadable() {
    let text = sign(&paper()).text;
    let long = format!("CC1:{}", "0".repeat(100_000));
    let full = format!("CC1:{}", "0".repeat(MAX_SCAN_LEN - 4));
    let twice = format!("{text}{text}");
    let presentation = text.replacen("CC1:", "CC1P:", 1);
    for bad in [
        "",
        " ",
        "CC1:",
        "CC1P:",
        "CC1",
        "HC1:6BF",
        "https://example.com/",
        "CC1:%",
        "CC1:::",
        "CC1::::",
        "CC1:é",
        "二维码",
        "\0",
        &text[4..],
        &text[..text.len() - 1],
        &long,
        &full,
        &twice,
        &presentation,
    ] {
        assert_eq!(
            verify(bad, &keyring(), BASE_URI, ISSUED_AT),
            Err(TokenError::Unreadable),
            "{bad:?}"
        );
    }
}

#[test]
fn no_truncation_verifies() {
    for (name, claims) in every_shape() {
        let token = sign(&claims);
        for len in 0..token.cwt.len() {
            assert!(check(&token.cwt[..len]).is_err(), "{name} cut to {len}");
        }
        for len in 0..token.text.len() {
            assert!(
                verify(&token.text[..len], &keyring(), BASE_URI, ISSUED_AT).is_err(),
                "{name} text cut to {len}"
            );
        }
    }
}

#[test]
fn no_flipped_bit_verifies() {
    for (name, claims) in every_shape() {
        let cwt = sign(&claims).cwt;
        for bit in 0..cwt.len() * 8 {
            let mut flipped = cwt.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped).is_err(), "{name} bit {bit}");
        }
    }
}

#[test]
fn another_citys_token_has_a_bad_signature() {
    let other = SigningKey::from_seed([8; 32]);
    let token = sign_code(&paper(), BASE_URI, &other).expect("signs");
    assert_eq!(check(&token.cwt), Err(TokenError::BadSignature));
    // The same under this city's key id: the signature is still wrong.
    let mut relabelled = token.cwt.clone();
    relabelled[8..12].copy_from_slice(&signing_key().key_id().0);
    assert_eq!(relabelled[..12], sign(&paper()).cwt[..12]);
    assert_eq!(check(&relabelled), Err(TokenError::BadSignature));
}

#[test]
fn incoherent_claims_are_not_signed() {
    let refused = |claims: CodeClaimsToSign| sign_code(&claims, BASE_URI, &signing_key()).expect_err("refused");
    let before_1970 = Timestamp(-1);
    assert_eq!(
        refused(CodeClaimsToSign {
            expires_at: ISSUED_AT,
            ..paper()
        }),
        SignError::Incoherent
    );
    assert_eq!(
        refused(CodeClaimsToSign {
            issued_at: before_1970,
            ..paper()
        }),
        SignError::Incoherent
    );
    assert_eq!(
        refused(CodeClaimsToSign {
            expires_at: Timestamp(i64::MAX),
            ..paper()
        }),
        SignError::Incoherent
    );
    let weak = [
        DeviceKey::Ed25519([0; 32]),
        DeviceKey::Ed25519({
            let mut identity = [0; 32];
            identity[0] = 1;
            identity
        }),
        DeviceKey::P256([0; 33]),
        DeviceKey::P256([4; 33]),
        DeviceKey::P256([0xFF; 33]),
    ];
    for key in weak {
        let claims = CodeClaimsToSign {
            device_key: Some(key),
            ..live()
        };
        assert_eq!(refused(claims), SignError::UnsoundDeviceKey, "{key:?}");
    }
    let long = "h".repeat(MAX_BASE_URI_LEN + 1);
    assert_eq!(
        sign_code(&paper(), &long, &signing_key()),
        Err(SignError::BaseUriTooLong)
    );
}

proptest! {
    #[test]
    fn any_claims_round_trip(
        code_id: [u8; 8],
        number in 1u8..=15,
        issued_at in 1_661_904_000i64..200_000_000_000,
        validity in 1i64..1_000_000_000,
        partition: u8,
        index: u32,
        generation in 0u8..=15,
        id_commitment: Option<[u8; 3]>,
        device in prop_oneof![Just(None), Just(Some(live().device_key)), Just(Some(family().device_key))],
    ) {
        let expires_at = Timestamp(issued_at + validity);
        let list = ListId::new(partition, kind(number), Timestamp(expires_at.0 % 160_000_000_000), generation).expect("in range");
        let claims = CodeClaimsToSign {
            code_id: CodeId(code_id),
            kind: kind(number),
            issued_at: Timestamp(issued_at),
            expires_at,
            status: StatusRef { list, index },
            id_commitment,
            device_key: device.flatten(),
        };
        let token = sign(&claims);
        let verified = verify(&token.text, &keyring(), BASE_URI, expires_at).expect("verifies");
        prop_assert_eq!(CodeClaimsToSign::from(&*verified), claims);
        let scan = Scan::read(&token.text).expect("reads");
        prop_assert_eq!(scan.cwt(), &token.cwt[..]);
    }

    #[test]
    fn no_text_causes_a_panic(text in ".{0,200}", tail in "[0-9A-Z $%*+./:-]{0,900}") {
        prop_assert!(verify(&text, &keyring(), BASE_URI, ISSUED_AT).is_err());
        let token_like = format!("CC1:{tail}");
        let presentation_like = format!("CC1P:{tail}");
        prop_assert!(verify(&token_like, &keyring(), BASE_URI, ISSUED_AT).is_err());
        prop_assert!(verify(&presentation_like, &keyring(), BASE_URI, ISSUED_AT).is_err());
    }

    #[test]
    fn no_signed_payload_causes_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(check(&forge(&protected(), &[0xA0], &payload)).is_err());
    }
}
