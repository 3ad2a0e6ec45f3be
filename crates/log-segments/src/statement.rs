//! The statement about a segment that revocation signs.
//!
//! ```text
//! statement = COSE_Sign1 of media type "application/vnd.citycode.log-segment" over
//!   { 1: version (1), 2: log-id: bstr .size 16, 3: partition, 4: number of the segment, 5: length in bytes,
//!     6: BLAKE3 of the segment: bstr .size 32 }
//! ```

use citycode_event_store::{LogId, Partition};
use citycode_token::{SigningKey, read_statement, sign_statement};
use minicbor::{Decoder, Encoder};

use crate::segment::{MAX_SEGMENT_BYTES, SegmentUnreadable};

const MEDIA_TYPE: &str = "application/vnd.citycode.log-segment";
const VERSION: u64 = 1;

/// The content of a signed statement about a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The id of the log.
    pub log_id: LogId,
    /// The partition.
    pub partition: Partition,
    /// The number of the segment within its partition, from 0.
    pub number: u64,
    /// Length of the segment in bytes.
    pub length: u64,
    /// BLAKE3 of the segment.
    pub digest: [u8; 32],
}

/// Why a segment is not used. The log is read instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no statement that an accepted key signed.
    #[error("revocation did not sign it")]
    NotSigned,
    /// The statement is not of this version, or not in its canonical encoding.
    #[error("its statement is unreadable")]
    Unreadable,
    /// The statement is about another segment, or another log.
    #[error("it is another segment than the requested one")]
    OtherSegment,
    /// The statement's length is above [`MAX_SEGMENT_BYTES`].
    #[error("it has {0} bytes, more than a segment may have")]
    TooLong(u64),
    /// The object's bytes are not the signed ones.
    #[error("its bytes are not the ones that were signed")]
    OtherBytes,
    /// The signed bytes are not a segment of this log.
    #[error("the signed bytes are not a segment: {0}")]
    Content(#[from] SegmentUnreadable),
}

impl Statement {
    /// The signed statement for the object's metadata.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        sign_statement(key, MEDIA_TYPE, &self.encode())
    }

    /// Reads a statement that one of these keys signed.
    ///
    /// # Errors
    /// [`Refusal::NotSigned`], [`Refusal::Unreadable`], [`Refusal::TooLong`].
    pub fn read(bytes: &[u8], signers: &[[u8; 32]]) -> Result<Self, Refusal> {
        let payload = read_statement(bytes, MEDIA_TYPE, signers).map_err(|_| Refusal::NotSigned)?;
        let statement = decode(payload).ok_or(Refusal::Unreadable)?;
        if statement.encode() != payload {
            return Err(Refusal::Unreadable);
        }
        if statement.length > MAX_SEGMENT_BYTES as u64 {
            return Err(Refusal::TooLong(statement.length));
        }
        Ok(statement)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(96));
        self.write(&mut out).expect("a Vec takes every byte that is written");
        out.into_writer()
    }

    fn write(&self, out: &mut Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        out.map(6)?.u8(1)?.u64(VERSION)?;
        out.u8(2)?.bytes(&self.log_id.0)?.u8(3)?.u16(self.partition.0)?;
        out.u8(4)?.u64(self.number)?.u8(5)?.u64(self.length)?;
        out.u8(6)?.bytes(&self.digest)?;
        Ok(())
    }
}

fn decode(payload: &[u8]) -> Option<Statement> {
    let mut input = Decoder::new(payload);
    let label = |input: &mut Decoder<'_>, wanted: u8| (input.u8().ok()? == wanted).then_some(());
    (input.map().ok()?? == 6).then_some(())?;
    label(&mut input, 1)?;
    (input.u64().ok()? == VERSION).then_some(())?;
    label(&mut input, 2)?;
    let log_id = LogId(input.bytes().ok()?.try_into().ok()?);
    label(&mut input, 3)?;
    let partition = Partition(input.u16().ok()?);
    label(&mut input, 4)?;
    let number = input.u64().ok()?;
    label(&mut input, 5)?;
    let length = input.u64().ok()?;
    label(&mut input, 6)?;
    let digest = input.bytes().ok()?.try_into().ok()?;
    Some(Statement {
        log_id,
        partition,
        number,
        length,
        digest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            log_id: LogId([5; 16]),
            partition: Partition(3),
            number: 12,
            length: 2_000_000,
            digest: [7; 32],
        }
    }

    #[test]
    fn a_statement_round_trips_and_is_read_only_with_its_key() {
        let (key, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
        let signed = statement().sign(&key);
        let read = |keys: &[[u8; 32]]| Statement::read(&signed, keys);
        assert_eq!(read(&[other.public_key(), key.public_key()]), Ok(statement()));
        assert_eq!(read(&[other.public_key()]), Err(Refusal::NotSigned));
        // A shared snapshot is signed with the same key for another purpose.
        let of_else = sign_statement(&key, "application/vnd.citycode.snapshot", &statement().encode());
        assert_eq!(Statement::read(&of_else, &[key.public_key()]), Err(Refusal::NotSigned));
    }

    #[test]
    fn truncated_and_trailing_bytes_and_a_length_above_the_limit_are_refused() {
        let key = SigningKey::from_seed([1; 32]);
        let payload = statement().encode();
        for end in 0..payload.len() {
            let signed = sign_statement(&key, MEDIA_TYPE, &payload[..end]);
            assert_eq!(
                Statement::read(&signed, &[key.public_key()]),
                Err(Refusal::Unreadable),
                "cut at {end}"
            );
        }
        let trailing = [&payload[..], &[0]].concat();
        let signed = sign_statement(&key, MEDIA_TYPE, &trailing);
        assert_eq!(Statement::read(&signed, &[key.public_key()]), Err(Refusal::Unreadable));
        let length = MAX_SEGMENT_BYTES as u64 + 1;
        let long = Statement { length, ..statement() }.sign(&key);
        assert_eq!(
            Statement::read(&long, &[key.public_key()]),
            Err(Refusal::TooLong(length))
        );
    }
}
