//! The statement about a snapshot that revocation signs.
//!
//! ```text
//! statement = COSE_Sign1 of media type "application/vnd.citycode.snapshot" over
//!   { 1: version (1), 2: projection, 3: log-id: bstr .size 16, 4: [ * point ], 5: format of the snapshot file,
//!     6: salt: bstr .size 16, 7: length of the file, 8: SHA-256 of the sealed object: bstr .size 32, 9: made at }
//! point     = the last commit folded, by partition
//! made at   = seconds since 1970, by the publisher's clock: for people to read, no decision depends on it
//! ```

use citycode_projection::LogIdentity;
use citycode_projection::snapshot::{FORMAT_VERSION, FORMAT_WITHOUT_TREES, ProjectionKind};
use citycode_token::{SigningKey, StatementError, read_statement, sign_statement};
use minicbor::{Decoder, Encoder};

const MEDIA_TYPE: &str = "application/vnd.citycode.snapshot";
const VERSION: u64 = 1;
/// Most partitions of a statement; partition numbers have 16 bits.
const MAX_POINTS: u64 = 65_535;

/// The content of a signed statement about a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The number of the projection, which this version may not know.
    pub projection: u8,
    /// The id of the log.
    pub log_id: [u8; 16],
    /// The last commit folded, by partition.
    pub points: Vec<u64>,
    /// Format of the snapshot file.
    pub format: u16,
    /// The salt from which the object's key is derived.
    pub salt: [u8; 16],
    /// Length of the snapshot file.
    pub length: u64,
    /// SHA-256 of the sealed object.
    pub digest: [u8; 32],
    /// The time of publication in seconds since 1970.
    pub made_at: i64,
}

/// Why a shared snapshot is not used. The log is read instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It has no statement, or an invalid one.
    #[error("it has no valid statement")]
    Unreadable,
    /// Revocation did not sign it.
    #[error("revocation did not sign it")]
    NotSigned,
    /// It is of another projection.
    #[error("it is of another projection")]
    OtherProjection,
    /// It is of another log.
    #[error("it belongs to another log")]
    OtherLog,
    /// It is of a log with another layout.
    #[error("it belongs to a log of {found} partitions")]
    OtherLayout {
        /// The number of partitions in the statement.
        found: usize,
    },
    /// Another version of this program published it.
    #[error("it has format {found}, and this version reads {FORMAT_WITHOUT_TREES} to {FORMAT_VERSION}")]
    OtherFormat {
        /// The format in the statement.
        found: u16,
    },
    /// It is ahead of the log: the log was rolled back, or is an older copy.
    #[error("it includes partition {partition} up to {point}, but the log ends at {head}")]
    AheadOfLog {
        /// The partition.
        partition: usize,
        /// The sequence in the statement.
        point: u64,
        /// The partition's head.
        head: u64,
    },
    /// The object is shorter than the signed length.
    #[error("the object is truncated")]
    Truncated,
    /// The object is not the one that was signed.
    #[error("the object is not the one that was signed")]
    OtherBytes,
    /// The object cannot be opened with this city's key.
    #[error("the object cannot be opened with this city's key")]
    Sealed,
    /// The sealed file is not a snapshot of this log, or it has another position.
    #[error("the sealed file is not the snapshot that was signed: {0}")]
    OtherContent(String),
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
    /// [`Refusal::Unreadable`], [`Refusal::NotSigned`].
    pub fn read(bytes: &[u8], signers: &[[u8; 32]]) -> Result<Self, Refusal> {
        let payload = read_statement(bytes, MEDIA_TYPE, signers).map_err(|error| match error {
            StatementError::Unreadable => Refusal::Unreadable,
            StatementError::BadSignature => Refusal::NotSigned,
        })?;
        let statement = decode(payload).ok_or(Refusal::Unreadable)?;
        // Only the canonical encoding is accepted.
        (statement.encode() == payload)
            .then_some(statement)
            .ok_or(Refusal::Unreadable)
    }

    /// Checks that it is of this projection, of this log with these heads, and of a format that this version reads.
    ///
    /// # Errors
    /// The first mismatch.
    pub fn check(&self, kind: ProjectionKind, identity: &LogIdentity, heads: &[u64]) -> Result<(), Refusal> {
        if self.projection != kind as u8 {
            return Err(Refusal::OtherProjection);
        }
        if self.log_id != identity.log_id {
            return Err(Refusal::OtherLog);
        }
        if !(FORMAT_WITHOUT_TREES..=FORMAT_VERSION).contains(&self.format) {
            return Err(Refusal::OtherFormat { found: self.format });
        }
        let found = self.points.len();
        if found != usize::from(identity.partitions) || found != heads.len() {
            return Err(Refusal::OtherLayout { found });
        }
        let mut pairs = self.points.iter().zip(heads).enumerate();
        let ahead = pairs.find(|(_, (point, head))| point > head);
        ahead.map_or(Ok(()), |(partition, (point, head))| {
            let (point, head) = (*point, *head);
            Err(Refusal::AheadOfLog { partition, point, head })
        })
    }

    /// Whether the snapshot contains the trees of the log.
    #[must_use]
    pub const fn has_trees(&self) -> bool {
        self.format > FORMAT_WITHOUT_TREES
    }

    /// The number of folded commits in all partitions.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.points.iter().fold(0, |sum, point| sum.saturating_add(*point))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(Vec::with_capacity(128 + self.points.len() * 9));
        self.write(&mut out).expect("a Vec takes every byte that is written");
        out.into_writer()
    }

    fn write(&self, out: &mut Encoder<Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        out.map(9)?.u8(1)?.u64(VERSION)?;
        out.u8(2)?.u8(self.projection)?.u8(3)?.bytes(&self.log_id)?;
        out.u8(4)?.array(self.points.len() as u64)?;
        for point in &self.points {
            out.u64(*point)?;
        }
        out.u8(5)?.u16(self.format)?.u8(6)?.bytes(&self.salt)?;
        out.u8(7)?.u64(self.length)?.u8(8)?.bytes(&self.digest)?;
        out.u8(9)?.i64(self.made_at)?;
        Ok(())
    }
}

fn decode(payload: &[u8]) -> Option<Statement> {
    let mut input = Decoder::new(payload);
    let label = |input: &mut Decoder<'_>, wanted: u8| (input.u8().ok()? == wanted).then_some(());
    (input.map().ok()?? == 9).then_some(())?;
    label(&mut input, 1)?;
    (input.u64().ok()? == VERSION).then_some(())?;
    label(&mut input, 2)?;
    let projection = input.u8().ok()?;
    label(&mut input, 3)?;
    let log_id = input.bytes().ok()?.try_into().ok()?;
    label(&mut input, 4)?;
    let count = input.array().ok()?.filter(|count| *count <= MAX_POINTS)?;
    let points = (0..count).map(|_| input.u64().ok()).collect::<Option<_>>()?;
    label(&mut input, 5)?;
    let format = input.u16().ok()?;
    label(&mut input, 6)?;
    let salt = input.bytes().ok()?.try_into().ok()?;
    label(&mut input, 7)?;
    let length = input.u64().ok()?;
    label(&mut input, 8)?;
    let digest = input.bytes().ok()?.try_into().ok()?;
    label(&mut input, 9)?;
    let made_at = input.i64().ok()?;
    Some(Statement {
        projection,
        log_id,
        points,
        format,
        salt,
        length,
        digest,
        made_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: LogIdentity = LogIdentity {
        log_id: [5; 16],
        partitions: 3,
        buckets_per_partition: 16,
        hash_version: 1,
    };

    fn statement() -> Statement {
        Statement {
            projection: ProjectionKind::Status as u8,
            log_id: IDENTITY.log_id,
            points: vec![7, 0, u64::MAX],
            format: FORMAT_VERSION,
            salt: [1; 16],
            length: 1_000,
            digest: [2; 32],
            made_at: 1_790_000_000,
        }
    }

    #[test]
    fn a_statement_round_trips_and_is_read_only_with_its_key() {
        let (key, other) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
        let signed = statement().sign(&key);
        let read = |keys: &[[u8; 32]]| Statement::read(&signed, keys);
        assert_eq!(read(&[other.public_key(), key.public_key()]), Ok(statement()));
        assert_eq!(read(&[other.public_key()]), Err(Refusal::NotSigned));
        let of_nothing = sign_statement(&key, MEDIA_TYPE, b"nothing");
        assert_eq!(
            Statement::read(&of_nothing, &[key.public_key()]),
            Err(Refusal::Unreadable)
        );
        let of_else = sign_statement(&key, "application/statuslist+cwt", &statement().encode());
        assert_eq!(Statement::read(&of_else, &[key.public_key()]), Err(Refusal::NotSigned));
    }

    #[test]
    fn its_payload_round_trips_and_truncated_ones_are_refused() {
        let payload = statement().encode();
        assert_eq!(decode(&payload), Some(statement()));
        for end in 0..payload.len() {
            assert_eq!(decode(&payload[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn another_projection_log_layout_or_format_and_a_position_ahead_of_the_log_are_refused() {
        let heads = [7, 0, u64::MAX];
        let check = |change: &dyn Fn(&mut Statement)| {
            let mut statement = statement();
            change(&mut statement);
            statement.check(ProjectionKind::Status, &IDENTITY, &heads)
        };
        assert_eq!(check(&|_| ()), Ok(()));
        assert_eq!(check(&|it| it.projection = 2), Err(Refusal::OtherProjection));
        assert_eq!(check(&|it| it.log_id = [6; 16]), Err(Refusal::OtherLog));
        assert_eq!(check(&|it| it.format = FORMAT_WITHOUT_TREES), Ok(()));
        assert_eq!(
            check(&|it| it.format = FORMAT_WITHOUT_TREES - 1),
            Err(Refusal::OtherFormat {
                found: FORMAT_WITHOUT_TREES - 1
            })
        );
        assert_eq!(
            check(&|it| it.format += 1),
            Err(Refusal::OtherFormat {
                found: FORMAT_VERSION + 1
            })
        );
        assert_eq!(
            check(&|it| it.points.truncate(2)),
            Err(Refusal::OtherLayout { found: 2 })
        );
        let ahead = Refusal::AheadOfLog {
            partition: 1,
            point: 1,
            head: 0,
        };
        assert_eq!(check(&|it| it.points[1] = 1), Err(ahead));
    }
}
