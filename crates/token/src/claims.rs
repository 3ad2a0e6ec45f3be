//! The claims of a code as a CWT payload (RFC 8392), in deterministic CBOR:
//!
//! ```text
//! claims     = { 4: exp, 6: iat, 7: cti (bstr .size 8), ? 8: cnf,
//!                65535: { "idx": uint, "uri": tstr }, -65537: [ kind, ? commitment ] }
//! cnf        = { 1: { 1: 1, -1: 6, -2: x }                        RFC 8747; OKP, Ed25519
//!                 / { 1: 2, -1: 1, -2: x, -3: bool } }            EC2, P-256, y as its sign
//! uri        = base URI of the city + 8 lower-case hex digits of the list
//! commitment = bstr .size 3
//! ```
//! The private claim −65537 is in the range that RFC 8392 §9.1.1 reserves for private use; short texts such as
//! "k" would save a byte or two, but are reserved for standards. The keys are in the order that RFC 8949 §4.2.1
//! requires. No other claim is accepted: a verifier that skipped claims it does not understand could miss a
//! restriction that the issuer intended.

use citycode_domain::claims::{CodeClaims, DeviceKey, ID_COMMITMENT_LEN};
use citycode_domain::ids::{CodeId, CodeKind, ListId, StatusRef};
use citycode_domain::time::Timestamp;
use minicbor::Encoder;

use crate::cbor::{Strict, VEC_GROWS};

/// The private claim of this system.
const CLAIM_CODE: i64 = -65_537;
/// IETF Token Status List.
const CLAIM_STATUS: i64 = 65_535;
/// Last second of the year 9999, the last that RFC 3339 can represent.
const MAX_TIME: u64 = 253_402_300_799;

/// The claims that an issuer signs for a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeClaimsToSign {
    /// The code.
    pub code_id: CodeId,
    /// Its kind.
    pub kind: CodeKind,
    /// Start of validity, inclusive; not before 1970.
    pub issued_at: Timestamp,
    /// Expiry, exclusive; after `issued_at`, not after the year 9999.
    pub expires_at: Timestamp,
    /// The status list that contains the code, and its index there.
    pub status: StatusRef,
    /// Commitment to the ID number, for kinds that some place admits after an ID check.
    pub id_commitment: Option<[u8; ID_COMMITMENT_LEN]>,
    /// The phone's key, for kinds that need a proof.
    pub device_key: Option<DeviceKey>,
}

impl From<&CodeClaims> for CodeClaimsToSign {
    /// The signed part of verified claims.
    fn from(claims: &CodeClaims) -> Self {
        Self {
            code_id: claims.code_id,
            kind: claims.kind,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            status: claims.status,
            id_commitment: claims.id_commitment,
            device_key: claims.device_key,
        }
    }
}

impl CodeClaimsToSign {
    /// Whether the times are in order and in range. Whether the list contains codes of this kind cannot be
    /// checked here; a verifier compares all claims with those that the log recorded at issue (R25).
    pub(crate) fn is_coherent(&self) -> bool {
        let in_range = |time: Timestamp| u64::try_from(time.0).is_ok_and(|time| time <= MAX_TIME);
        in_range(self.issued_at) && in_range(self.expires_at) && self.issued_at < self.expires_at
    }

    /// Encodes the payload.
    pub(crate) fn write(&self, base_uri: &str) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(256));
        self.write_to(&mut out, base_uri).expect(VEC_GROWS);
        out.into_writer()
    }

    fn write_to(
        &self,
        out: &mut Encoder<Vec<u8>>,
        base_uri: &str,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        out.map(if self.device_key.is_some() { 6 } else { 5 })?;
        out.u8(4)?.i64(self.expires_at.0)?;
        out.u8(6)?.i64(self.issued_at.0)?;
        out.u8(7)?.bytes(&self.code_id.0)?;
        match &self.device_key {
            None => {}
            Some(DeviceKey::Ed25519(x)) => {
                out.u8(8)?.map(1)?.u8(1)?.map(3)?;
                out.u8(1)?.u8(1)?.i8(-1)?.u8(6)?.i8(-2)?.bytes(x)?;
            }
            Some(DeviceKey::P256(point)) => {
                out.u8(8)?.map(1)?.u8(1)?.map(4)?;
                out.u8(1)?.u8(2)?.i8(-1)?.u8(1)?.i8(-2)?.bytes(&point[1..])?;
                out.i8(-3)?.bool(point[0] == 3)?;
            }
        }
        let uri = format!("{base_uri}{}", self.status.list);
        out.i64(CLAIM_STATUS)?.map(2)?;
        out.str("idx")?.u32(self.status.index)?.str("uri")?.str(&uri)?;
        out.i64(CLAIM_CODE)?;
        match &self.id_commitment {
            None => out.array(1)?.u8(self.kind.number())?,
            Some(commitment) => out.array(2)?.u8(self.kind.number())?.bytes(commitment)?,
        };
        Ok(())
    }

    /// Parses a payload; `None` unless it is exactly what [`Self::write`] produces for coherent claims.
    pub(crate) fn read(payload: &[u8], base_uri: &str) -> Option<Self> {
        let mut reader = Strict::new(payload);
        let entries = reader.map()?;
        reader.label(4)?;
        let expires_at = read_time(&mut reader)?;
        reader.label(6)?;
        let issued_at = read_time(&mut reader)?;
        reader.label(7)?;
        let code_id = CodeId(reader.byte_array()?);
        let device_key = match entries {
            5 => None,
            6 => Some(read_confirmation(&mut reader)?),
            _ => return None,
        };
        reader.label(CLAIM_STATUS)?;
        let status = read_status(&mut reader, base_uri)?;
        reader.label(CLAIM_CODE)?;
        let parts = reader.array()?;
        let kind = CodeKind::new(u8::try_from(reader.uint()?).ok()?)?;
        let id_commitment = match parts {
            1 => None,
            2 => Some(reader.byte_array()?),
            _ => return None,
        };
        reader.end()?;
        let claims = Self {
            code_id,
            kind,
            issued_at,
            expires_at,
            status,
            id_commitment,
            device_key,
        };
        claims.is_coherent().then_some(claims)
    }
}

fn read_time(reader: &mut Strict<'_>) -> Option<Timestamp> {
    i64::try_from(reader.uint()?).ok().map(Timestamp)
}

fn read_confirmation(reader: &mut Strict<'_>) -> Option<DeviceKey> {
    reader.label(8)?;
    (reader.map()? == 1).then_some(())?;
    reader.label(1)?;
    let entries = reader.map()?;
    reader.label(1)?;
    match (entries, reader.uint()?) {
        (3, 1) => {
            reader.label(-1)?;
            reader.label(6)?;
            reader.label(-2)?;
            Some(DeviceKey::Ed25519(reader.byte_array()?))
        }
        (4, 2) => {
            reader.label(-1)?;
            reader.label(1)?;
            reader.label(-2)?;
            let x: [u8; 32] = reader.byte_array()?;
            reader.label(-3)?;
            let mut point = [0; 33];
            point[0] = if reader.boolean()? { 3 } else { 2 };
            point[1..].copy_from_slice(&x);
            Some(DeviceKey::P256(point))
        }
        _ => None,
    }
}

fn read_status(reader: &mut Strict<'_>, base_uri: &str) -> Option<StatusRef> {
    (reader.map()? == 2).then_some(())?;
    reader.exact_text("idx")?;
    let index = u32::try_from(reader.uint()?).ok()?;
    reader.exact_text("uri")?;
    let list = read_list(reader.text()?.strip_prefix(base_uri)?)?;
    Some(StatusRef { list, index })
}

/// Accepts exactly eight lower-case hex digits, so that a list has only one spelling.
fn read_list(digits: &str) -> Option<ListId> {
    let digits = digits.as_bytes();
    (digits.len() == 8).then_some(())?;
    digits
        .iter()
        .try_fold(0u32, |list, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            Some((list << 4) | u32::from(value))
        })
        .map(ListId)
}
