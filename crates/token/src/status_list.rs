//! Status lists as in the IETF Token Status List (draft-ietf-oauth-status-list), so that a third party's
//! verifier that supports only that standard can check the codes.
//!
//! ```text
//! entries  = 1, 2, 4 or 8 bits each, from the least significant bits of the first byte on
//! lst      = zlib (RFC 1950) of them
//! ```
//! This module does not decide when lists are published or how they are served.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::cbor::VEC_GROWS;

mod token;

pub use token::{MEDIA_TYPE_CWT, MEDIA_TYPE_JWT, StatusListClaims, read_cwt, sign_cwt, sign_jwt};

/// Valid (draft §7.1).
pub const VALID: u8 = 0;
/// Permanently invalid, or never issued.
pub const INVALID: u8 = 1;
/// Temporarily suspended.
pub const SUSPENDED: u8 = 2;

/// Maximum size of a list in bytes before compression: 64 million entries of two bits. It bounds a
/// decompression bomb.
pub const MAX_LIST_BYTES: usize = 16 << 20;

/// The width of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bits {
    /// One bit: valid or not.
    One,
    /// Two bits: public lists.
    Two,
    /// Four bits: lists that include standing.
    Four,
    /// Eight bits.
    Eight,
}

impl Bits {
    /// The number of bits.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        [Self::One, Self::Two, Self::Four, Self::Eight]
            .into_iter()
            .find(|bits| u64::from(bits.number()) == number)
    }

    const fn per_byte(self) -> usize {
        8 / self.number() as usize
    }

    const fn mask(self) -> u8 {
        0xFF >> (8 - self.number())
    }
}

/// Why a list could not be created, changed or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StatusListError {
    /// More than [`MAX_LIST_BYTES`].
    #[error("a status list has at most {MAX_LIST_BYTES} bytes")]
    TooLong,
    /// An index outside the list.
    #[error("the index is outside the list")]
    OutOfRange,
    /// A value that does not fit in the entry's bits.
    #[error("the value does not fit the list's bits")]
    ValueTooWide,
    /// Not zlib, or not a token of this form.
    #[error("this is not a status list")]
    Unreadable,
    /// Not signed by the key, or for another URI.
    #[error("the status list was not signed by this key, or is another list")]
    BadSignature,
    /// Past its expiry.
    #[error("the status list has expired")]
    Expired,
}

/// Packed statuses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusList {
    bits: Bits,
    packed: Vec<u8>,
}

/// Packed and compressed statuses: `bits` and `lst` of a status list token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompressedStatusList {
    bits: Bits,
    zlib: Vec<u8>,
}

impl CompressedStatusList {
    /// The zlib stream.
    #[must_use]
    pub fn zlib(&self) -> &[u8] {
        &self.zlib
    }
}

impl StatusList {
    /// A list in which every entry has this value, including the padding of its last byte.
    ///
    /// # Errors
    /// [`StatusListError::TooLong`], [`StatusListError::ValueTooWide`].
    pub fn filled(bits: Bits, entries: usize, value: u8) -> Result<Self, StatusListError> {
        if value > bits.mask() {
            return Err(StatusListError::ValueTooWide);
        }
        let bytes = entries.div_ceil(bits.per_byte());
        if bytes > MAX_LIST_BYTES {
            return Err(StatusListError::TooLong);
        }
        let byte = (0..bits.per_byte()).fold(0, |byte, at| byte | value << (at as u8 * bits.number()));
        Ok(Self {
            bits,
            packed: vec![byte; bytes],
        })
    }

    /// A list from its packed bytes.
    ///
    /// # Errors
    /// [`StatusListError::TooLong`].
    pub fn from_packed(bits: Bits, packed: Vec<u8>) -> Result<Self, StatusListError> {
        if packed.len() > MAX_LIST_BYTES {
            return Err(StatusListError::TooLong);
        }
        Ok(Self { bits, packed })
    }

    /// A list from its compressed bytes; decompresses at most [`MAX_LIST_BYTES`].
    ///
    /// # Errors
    /// [`StatusListError::Unreadable`] for anything but one whole zlib stream, [`StatusListError::TooLong`].
    pub fn from_compressed(bits: Bits, compressed: &[u8]) -> Result<Self, StatusListError> {
        let mut decoder = ZlibDecoder::new(compressed);
        let mut packed = Vec::new();
        let limit = MAX_LIST_BYTES as u64 + 1;
        decoder
            .by_ref()
            .take(limit)
            .read_to_end(&mut packed)
            .map_err(|_| StatusListError::Unreadable)?;
        let list = Self::from_packed(bits, packed)?;
        if decoder.total_in() != compressed.len() as u64 {
            return Err(StatusListError::Unreadable);
        }
        Ok(list)
    }

    /// The width of its entries.
    #[must_use]
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// The number of entries, including the padding of its last byte.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.packed.len() * self.bits.per_byte()
    }

    /// The packed bytes.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The status at an index; `None` outside the list, which a verifier must refuse.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<u8> {
        let (at, shift) = self.place(index);
        self.packed.get(at).map(|byte| byte >> shift & self.bits.mask())
    }

    /// Sets the status at an index.
    ///
    /// # Errors
    /// [`StatusListError::OutOfRange`], [`StatusListError::ValueTooWide`].
    pub fn set(&mut self, index: u32, value: u8) -> Result<(), StatusListError> {
        let mask = self.bits.mask();
        if value > mask {
            return Err(StatusListError::ValueTooWide);
        }
        let (at, shift) = self.place(index);
        let byte = self.packed.get_mut(at).ok_or(StatusListError::OutOfRange)?;
        *byte = *byte & !(mask << shift) | value << shift;
        Ok(())
    }

    /// Compresses the list with zlib at the best compression, which is the form that is signed. For a list of
    /// megabytes this costs as much as a thousand signatures, so a caller that signs an unchanged list again
    /// should reuse the result.
    #[must_use]
    pub fn compress(&self) -> CompressedStatusList {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&self.packed).expect(VEC_GROWS);
        CompressedStatusList {
            bits: self.bits,
            zlib: encoder.finish().expect(VEC_GROWS),
        }
    }

    /// Byte and shift of an index.
    fn place(&self, index: u32) -> (usize, u8) {
        let index = index as usize;
        let per_byte = self.bits.per_byte();
        (index / per_byte, (index % per_byte) as u8 * self.bits.number())
    }
}
