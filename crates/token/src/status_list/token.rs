//! A signed status list.
//!
//! ```text
//! CWT      = COSE_Sign1, tag 18, protected { 1: −19, 4: kid, 16: "application/statuslist+cwt" }
//!            { 2: sub, ? 4: exp, 6: iat, 65533: { "lst": bstr, "bits": uint, ? "aggregation_uri": tstr }, ? 65534: ttl }
//! JWT      = header { "alg": "Ed25519", "kid", "typ": "statuslist+jwt" }, the same claims by name, lst in Base64url
//! ```

use citycode_domain::ids::KeyId;
use citycode_domain::time::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use minicbor::Encoder;

use super::{Bits, CompressedStatusList, StatusList, StatusListError};
use crate::cbor::{Strict, VEC_GROWS};
use crate::sign::SigningKey;
use crate::sign1::{self, ALG_ED25519, Header};
use crate::statement;

/// Media type of the CWT form, in its protected header.
pub const MEDIA_TYPE_CWT: &str = "application/statuslist+cwt";
/// Media type of the JWT form.
pub const MEDIA_TYPE_JWT: &str = "application/statuslist+jwt";
/// Media type of the JWT form, without the `application/` that JWT leaves out.
const TYP_JWT: &str = "statuslist+jwt";

/// The claims of a status list token, except the list itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusListClaims<'a> {
    /// The list's URI, exactly as codes refer to it.
    pub uri: &'a str,
    /// When the list was made.
    pub issued_at: Timestamp,
    /// When the list expires.
    pub expires_at: Option<Timestamp>,
    /// How long the list may be cached before a new one is fetched, in seconds.
    pub ttl_seconds: Option<u32>,
    /// The URI of the list of all lists.
    pub aggregation_uri: Option<&'a str>,
}

/// Signs the list as a CWT.
#[must_use]
pub fn sign_cwt(list: &CompressedStatusList, claims: &StatusListClaims<'_>, key: &SigningKey) -> Vec<u8> {
    let mut payload = Encoder::new(Vec::new());
    write_claims(&mut payload, list, claims).expect(VEC_GROWS);
    let key_id = key.key_id();
    sign1::write_signed(header(&key_id), b"", &payload.into_writer(), |bytes| key.sign(bytes))
}

fn header(key_id: &KeyId) -> Header<'_> {
    Header {
        alg: ALG_ED25519,
        kid: Some(&key_id.0),
        media_type: Some(MEDIA_TYPE_CWT),
    }
}

fn write_claims(
    out: &mut Encoder<Vec<u8>>,
    list: &CompressedStatusList,
    claims: &StatusListClaims<'_>,
) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
    out.map(3 + u64::from(claims.expires_at.is_some()) + u64::from(claims.ttl_seconds.is_some()))?;
    out.u8(2)?.str(claims.uri)?;
    if let Some(expires_at) = claims.expires_at {
        out.u8(4)?.i64(expires_at.0)?;
    }
    out.u8(6)?.i64(claims.issued_at.0)?;
    out.u16(65_533)?.map(2 + u64::from(claims.aggregation_uri.is_some()))?;
    out.str("lst")?.bytes(&list.zlib)?.str("bits")?.u8(list.bits.number())?;
    if let Some(uri) = claims.aggregation_uri {
        out.str("aggregation_uri")?.str(uri)?;
    }
    if let Some(ttl) = claims.ttl_seconds {
        out.u16(65_534)?.u32(ttl)?;
    }
    Ok(())
}

/// Signs the list as a JWT (RFC 7519) in compact form.
#[must_use]
pub fn sign_jwt(list: &CompressedStatusList, claims: &StatusListClaims<'_>, key: &SigningKey) -> String {
    let header = format!(r#"{{"alg":"Ed25519","kid":"{}","typ":"{TYP_JWT}"}}"#, key.key_id());
    let optional =
        |name: &str, value: Option<String>| value.map_or_else(String::new, |value| format!(r#","{name}":{value}"#));
    let payload = format!(
        r#"{{"sub":{},"iat":{}{}{},"status_list":{{"bits":{},"lst":"{}"{}}}}}"#,
        json_string(claims.uri),
        claims.issued_at.0,
        optional("exp", claims.expires_at.map(|time| time.0.to_string())),
        optional("ttl", claims.ttl_seconds.map(|ttl| ttl.to_string())),
        list.bits.number(),
        BASE64URL_NOPAD.encode(&list.zlib),
        optional("aggregation_uri", claims.aggregation_uri.map(json_string)),
    );
    let signed = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(payload.as_bytes())
    );
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A JSON string (RFC 8259 §7).
fn json_string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|character| match character {
            '"' | '\\' => format!("\\{character}"),
            control if u32::from(control) < 0x20 => format!("\\u{:04x}", u32::from(control)),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
#[test]
fn only_what_rfc_8259_requires_is_escaped_in_a_json_string() {
    assert_eq!(json_string(" !~/é"), r#"" !~/é""#);
    assert_eq!(json_string("\u{0}\u{1f}\u{7f}\"\\"), "\"\\u0000\\u001f\u{7f}\\\"\\\\\"");
}

/// Verifies a CWT written by [`sign_cwt`] and returns its list and the time at which it was made.
///
/// # Errors
/// [`StatusListError`] if it is not signed by `public_key`, is for another `uri`, expired at `now`, or
/// malformed.
pub fn read_cwt(
    cwt: &[u8],
    public_key: &[u8; 32],
    uri: &str,
    now: Timestamp,
) -> Result<(StatusList, Timestamp), StatusListError> {
    let message = statement::read(cwt).ok_or(StatusListError::Unreadable)?;
    let key_id = crate::key_id_of(public_key);
    let raw_protected = header(&key_id).write();
    if message.protected != raw_protected {
        return Err(StatusListError::BadSignature);
    }
    let signed = sign1::signed_bytes(message.protected, b"", message.payload);
    VerifyingKey::from_bytes(public_key)
        .and_then(|key| key.verify_strict(&signed, &Signature::from_bytes(message.signature)))
        .map_err(|_| StatusListError::BadSignature)?;
    let claims = read_claims(message.payload).ok_or(StatusListError::Unreadable)?;
    if claims.uri != uri {
        return Err(StatusListError::BadSignature);
    }
    if claims.expires_at.is_some_and(|until| now >= until) {
        return Err(StatusListError::Expired);
    }
    Ok((StatusList::from_compressed(claims.bits, claims.lst)?, claims.issued_at))
}

struct ListClaims<'a> {
    uri: &'a str,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    bits: Bits,
    lst: &'a [u8],
}

fn read_claims(payload: &[u8]) -> Option<ListClaims<'_>> {
    let mut reader = Strict::new(payload);
    let time = |reader: &mut Strict<'_>| i64::try_from(reader.uint()?).ok().map(Timestamp);
    let entries = reader.map()?;
    reader.label(2)?;
    let uri = reader.text()?;
    let mut expires_at = None;
    if reader.next_is(4) {
        reader.label(4)?;
        expires_at = Some(time(&mut reader)?);
    }
    reader.label(6)?;
    let issued_at = time(&mut reader)?;
    reader.label(65_533)?;
    let parts = reader.map()?;
    reader.exact_text("lst")?;
    let lst = reader.bytes()?;
    reader.exact_text("bits")?;
    let bits = Bits::from_number(reader.uint()?)?;
    match parts {
        2 => {}
        3 => {
            reader.exact_text("aggregation_uri")?;
            reader.text()?;
        }
        _ => return None,
    }
    let has_ttl = match entries.checked_sub(3 + u64::from(expires_at.is_some()))? {
        0 => false,
        1 => true,
        _ => return None,
    };
    if has_ttl {
        reader.label(65_534)?;
        u32::try_from(reader.uint()?).ok()?;
    }
    reader.end()?;
    Some(ListClaims {
        uri,
        issued_at,
        expires_at,
        bits,
        lst,
    })
}
