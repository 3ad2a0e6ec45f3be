//! The format of a record's message.
//!
//! ```text
//! message = version: u8, 1 ‖ write: 16 random bytes ‖ expiry: i64, little endian, Unix seconds ‖ value
//! ```
//! `write` identifies the write, so that its writer recognises it if the answer was lost.

const VERSION: u8 = 1;
const WRITE_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;
/// Bytes before the value.
pub(super) const HEAD_BYTES: usize = 1 + WRITE_BYTES + EXPIRY_BYTES;

/// A message.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Message {
    pub(super) write: [u8; WRITE_BYTES],
    pub(super) expires_at: i64,
    pub(super) value: Vec<u8>,
}

impl Message {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.value.len());
        bytes.push(VERSION);
        bytes.extend(self.write);
        bytes.extend(self.expires_at.to_le_bytes());
        bytes.extend(&self.value);
        bytes
    }

    /// `None` if it is too short, or of another version.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (write, rest) = rest.split_first_chunk()?;
        let (expires_at, value) = rest.split_first_chunk()?;
        (version == VERSION).then(|| Self {
            write: *write,
            expires_at: i64::from_le_bytes(*expires_at),
            value: value.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_round_trip_and_has_stable_bytes() {
        let message = Message {
            write: [7; 16],
            expires_at: -2,
            value: b"value".to_vec(),
        };
        let bytes = message.to_bytes();
        let golden = [&[1][..], &[7; 16], &[0xfe], &[0xff; 7], b"value"].concat();
        assert_eq!(bytes, golden);
        assert_eq!(Message::parse(&bytes), Some(message));
    }

    #[test]
    fn truncated_and_newer_messages_are_refused() {
        let bytes = Message {
            write: [0; 16],
            expires_at: 1,
            value: Vec::new(),
        }
        .to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..length]), None, "{length} bytes");
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(Message::parse(&newer), None);
    }
}
