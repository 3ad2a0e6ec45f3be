//! Names of event streams: short, printable and of fixed size, so that a copy needs no allocation.

use std::fmt;

/// Longest name of a stream in bytes: a prefix, 32 hex digits of a random id, and a suffix.
pub const MAX_STREAM_NAME_BYTES: usize = 64;

/// The name of a stream: 1 to [`MAX_STREAM_NAME_BYTES`] bytes of `a-z`, `0-9`, `-`, `_` and `.`,
/// for example `holder-<32 hex digits>`, `lease-07-<list>`, `watermark-07`, `keys`.
///
/// A name contains no personal data: a holder's id is a random number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName {
    bytes: [u8; MAX_STREAM_NAME_BYTES],
    length: u8,
}

/// Why a text is not the name of a stream. The error does not contain the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamNameInvalid {
    /// The text is empty.
    #[error("a stream name has at least one byte")]
    Empty,
    /// More than [`MAX_STREAM_NAME_BYTES`].
    #[error("a stream name has at most {MAX_STREAM_NAME_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A byte outside the alphabet, at this offset.
    #[error("byte {0} of a stream name is not one of a-z 0-9 - _ .")]
    Byte(usize),
}

impl StreamName {
    /// A stream name, if `name` is valid.
    pub fn new(name: &str) -> Result<Self, StreamNameInvalid> {
        Self::from_bytes(name.as_bytes())
    }

    /// As [`StreamName::new`], from the bytes in a commit.
    pub fn from_bytes(name: &[u8]) -> Result<Self, StreamNameInvalid> {
        if name.is_empty() {
            return Err(StreamNameInvalid::Empty);
        }
        if name.len() > MAX_STREAM_NAME_BYTES {
            return Err(StreamNameInvalid::TooLong(name.len()));
        }
        let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if let Some(offset) = name.iter().position(|byte| !allowed(byte)) {
            return Err(StreamNameInvalid::Byte(offset));
        }
        let mut bytes = [0; MAX_STREAM_NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name);
        let length = u8::try_from(name.len()).map_err(|_| StreamNameInvalid::TooLong(name.len()))?;
        Ok(Self { bytes, length })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ASCII passes the constructor")
    }

    /// The name as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamName({})", self.as_str())
    }
}

impl std::str::FromStr for StreamName {
    type Err = StreamNameInvalid;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_alphabet_or_length_are_refused() {
        assert_eq!(StreamName::new("keys").unwrap().as_str(), "keys");
        assert_eq!(StreamName::new(""), Err(StreamNameInvalid::Empty));
        assert_eq!(StreamName::new(&"a".repeat(65)), Err(StreamNameInvalid::TooLong(65)));
        assert!(StreamName::new(&"a".repeat(64)).is_ok());
        assert_eq!(StreamName::new("ab C"), Err(StreamNameInvalid::Byte(2)));
        assert_eq!(StreamName::new("持"), Err(StreamNameInvalid::Byte(0)));
        assert_eq!(StreamName::new("a*"), Err(StreamNameInvalid::Byte(1)));
    }
}
