//! COSE_Sign1 (RFC 9052 §4.2) in the one form that this crate writes:
//!
//! ```text
//! 18([ protected: bstr .cbor { 1: alg, ? 4: kid }, unprotected: {}, payload: bstr, signature: bstr .size 64 ])
//! Sig_structure = [ "Signature1", protected, external_aad, payload ]
//! ```
//! Anything else is refused: other headers including critical ones, any unprotected header, a detached payload.

use minicbor::Encoder;

use crate::cbor::{Strict, VEC_GROWS};
use crate::{MAX_AUDIENCE_LEN, MAX_CWT_LEN};

/// Ed25519, fully specified (RFC 9864).
pub(crate) const ALG_ED25519: i64 = -19;
/// ECDSA with P-256 and SHA-256, fully specified (RFC 9864).
pub(crate) const ALG_ESP256: i64 = -9;
/// COSE_Sign1's tag.
const TAG: u64 = 18;
/// The start of every Sig_structure: an array of four whose first item is its context (RFC 9052 §4.4).
const SIG_STRUCTURE: &[u8] = b"\x84\x6aSignature1";
/// Maximum length of the external data.
const MAX_EXTERNAL_LEN: usize = 32;

/// The parts of one COSE_Sign1, borrowed from its bytes; nothing is authenticated yet.
pub(crate) struct Sign1<'a> {
    pub(crate) alg: i64,
    pub(crate) kid: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
    /// Its length in bytes.
    pub(crate) len: usize,
    raw_protected: &'a [u8],
    raw_payload: &'a [u8],
}

/// The signed bytes, on the stack.
pub(crate) struct ToBeSigned {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl<'a> Sign1<'a> {
    /// Parses one at the start of `bytes`; more may follow (a CBOR sequence).
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Strict::new(bytes);
        reader.tag(TAG)?;
        (reader.array()? == 4).then_some(())?;
        let protected_from = reader.position();
        let protected = reader.bytes()?;
        let raw_protected = bytes.get(protected_from..reader.position())?;
        (reader.map()? == 0).then_some(())?;
        let payload_from = reader.position();
        let payload = reader.bytes()?;
        let raw_payload = bytes.get(payload_from..reader.position())?;
        let signature = reader.bytes()?.try_into().ok()?;
        let (alg, kid) = read_protected(protected)?;
        Some(Self {
            alg,
            kid,
            payload,
            signature,
            len: reader.position(),
            raw_protected,
            raw_payload,
        })
    }

    /// The bytes that its signature covers; `None` if they are longer than any valid message.
    pub(crate) fn to_be_signed(&self, external: &[u8]) -> Option<ToBeSigned> {
        ToBeSigned::new(self.raw_protected, external, self.raw_payload)
    }
}

impl ToBeSigned {
    const CAPACITY: usize = 16 + 16 + MAX_EXTERNAL_LEN + MAX_CWT_LEN + MAX_AUDIENCE_LEN;

    /// Builds it from the protected header and the payload as byte strings with their heads.
    fn new(raw_protected: &[u8], external: &[u8], raw_payload: &[u8]) -> Option<Self> {
        let mut this = Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        };
        this.push(SIG_STRUCTURE)?;
        this.push(raw_protected)?;
        // External data is short enough for a head of one or two bytes.
        match u8::try_from(external.len()).ok()? {
            len @ 0..=23 => this.push(&[0x40 | len])?,
            len => this.push(&[0x58, len])?,
        }
        this.push(external)?;
        this.push(raw_payload)?;
        Some(this)
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        let end = self.len.checked_add(part.len())?;
        self.bytes.get_mut(self.len..end)?.copy_from_slice(part);
        self.len = end;
        Some(())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn read_protected(bytes: &[u8]) -> Option<(i64, Option<&[u8]>)> {
    let mut reader = Strict::new(bytes);
    let entries = reader.map()?;
    reader.label(1)?;
    let alg = reader.int()?;
    let kid = match entries {
        1 => None,
        2 => {
            reader.label(4)?;
            Some(reader.bytes()?)
        }
        _ => return None,
    };
    reader.end()?;
    Some((alg, kid))
}

/// Writes and signs one. `sign` receives the bytes of the Sig_structure.
pub(crate) fn write_signed(
    header: Header<'_>,
    external: &[u8],
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let protected = header.write();
    let signature = sign(&signed_bytes(&protected, external, payload));
    assemble(&byte_string(&protected), &byte_string(payload), &signature)
}

/// The Sig_structure on the heap, for signing and for messages that are too long for [`ToBeSigned`].
pub(crate) fn signed_bytes(protected: &[u8], external: &[u8], payload: &[u8]) -> Vec<u8> {
    [
        SIG_STRUCTURE,
        &byte_string(protected),
        &byte_string(external),
        &byte_string(payload),
    ]
    .concat()
}

/// A protected header.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) alg: i64,
    pub(crate) kid: Option<&'a [u8]>,
    /// Media type of the content (RFC 9596); tokens omit it to stay short.
    pub(crate) media_type: Option<&'a str>,
}

impl Header<'_> {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(64));
        self.write_to(&mut out).expect(VEC_GROWS);
        out.into_writer()
    }

    fn write_to(&self, out: &mut Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        out.map(1 + u64::from(self.kid.is_some()) + u64::from(self.media_type.is_some()))?;
        out.u8(1)?.i64(self.alg)?;
        if let Some(kid) = self.kid {
            out.u8(4)?.bytes(kid)?;
        }
        if let Some(media_type) = self.media_type {
            out.u8(16)?.str(media_type)?;
        }
        Ok(())
    }
}

fn byte_string(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::with_capacity(bytes.len() + 9));
    encoder.bytes(bytes).expect(VEC_GROWS);
    encoder.into_writer()
}

fn assemble(raw_protected: &[u8], raw_payload: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw_protected.len() + raw_payload.len() + 70);
    out.extend_from_slice(&[0xD2, 0x84]);
    out.extend_from_slice(raw_protected);
    out.push(0xA0);
    out.extend_from_slice(raw_payload);
    out.extend_from_slice(&[0x58, 0x40]);
    out.extend_from_slice(signature);
    out
}
