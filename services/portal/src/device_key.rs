//! A phone's public key: a JWK in JSON, raw bytes in gRPC.

use citycode_service_kit::problem::Problem;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::answer::invalid;

/// Bytes of a coordinate and of an Ed25519 key.
const COORDINATE_BYTES: usize = 32;

/// The public key of the phone as a JWK: `OKP`/`Ed25519` with `x` (RFC 8037) or `EC`/`P-256` with `x` and `y`
/// (RFC 7518 §6.2). A private key is refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}))]
pub(crate) struct DeviceKeyJwk {
    /// `OKP` or `EC`.
    kty: String,
    /// `Ed25519` or `P-256`.
    crv: String,
    /// Base64url without padding, 32 bytes.
    x: String,
    /// Base64url without padding, 32 bytes; only P-256.
    y: Option<String>,
    /// Ignored.
    #[serde(rename = "kid")]
    _kid: Option<String>,
    /// Ignored: the curve determines the algorithm.
    #[serde(rename = "alg")]
    _alg: Option<String>,
    /// Ignored.
    #[serde(rename = "use")]
    _use: Option<String>,
    /// Ignored.
    #[serde(rename = "key_ops")]
    _key_ops: Option<Vec<String>>,
    /// Ignored.
    #[serde(rename = "ext")]
    _ext: Option<bool>,
}

impl DeviceKeyJwk {
    /// 32 bytes of Ed25519, or the 33 bytes of a compressed P-256 point (SEC 1 §2.3.3).
    ///
    /// # Errors
    /// `invalid_request` for another type of key, or coordinates that are not 32 bytes. The issuer checks whether the
    /// point is valid.
    pub(crate) fn raw(&self) -> Result<Vec<u8>, Problem> {
        match (self.kty.as_str(), self.crv.as_str(), &self.y) {
            ("OKP", "Ed25519", None) => Ok(coordinate(&self.x)?.to_vec()),
            ("EC", "P-256", Some(y)) => {
                let (x, y) = (coordinate(&self.x)?, coordinate(y)?);
                let parity = 2 | (y[COORDINATE_BYTES - 1] & 1);
                Ok([&[parity][..], &x].concat())
            }
            _ => Err(invalid(
                "device_key is neither an Ed25519 key (OKP) nor a P-256 key (EC) as JWK",
            )),
        }
    }
}

fn coordinate(text: &str) -> Result<[u8; COORDINATE_BYTES], Problem> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| invalid("a coordinate of device_key is not 32 bytes in Base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Option<Vec<u8>> {
        serde_json::from_str::<DeviceKeyJwk>(json).ok()?.raw().ok()
    }

    #[test]
    fn an_ed25519_jwk_of_rfc_8037_is_its_32_bytes() {
        let key = raw(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
        let hex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.unwrap(), data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap());
    }

    #[test]
    fn a_p256_jwk_of_rfc_7517_is_its_compressed_point() {
        // RFC 7517 appendix A.1; y ends in an even byte.
        let x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
        let y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
        let key = raw(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#)).unwrap();
        let last = *BASE64URL_NOPAD.decode(y.as_bytes()).unwrap().last().unwrap();
        assert_eq!(key.len(), 33);
        assert_eq!(key[0], if last.is_multiple_of(2) { 2 } else { 3 });
        assert_eq!(key[1..], BASE64URL_NOPAD.decode(x.as_bytes()).unwrap());
    }

    #[test]
    fn other_keys_are_refused() {
        let x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
        for json in [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","y":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}="}}"#),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(),
            r#"{"kty":"oct","k":"AAAA"}"#.to_owned(),
        ] {
            assert_eq!(raw(&json), None, "{json}");
        }
    }
}
