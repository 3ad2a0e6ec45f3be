//! What revocation signs of a snapshot.
//!
//! ```text
//! statement = COSE_Sign1 of media type "application/vnd.citycode.snapshot" over
//!   { 1: version (1), 2: projection, 3: log-id: bstr .size 16, 4: [ * point ], 5: format of the snapshot file,
//!     6: salt: bstr .size 16, 7: length of the file, 8: SHA-256 of the sealed object: bstr .size 32, 9: made at }
//! point     = the last commit folded, by partition
//! made at   = seconds since 1970, by the maker's clock: for people to read, nothing is decided on it
//! ```

use citycode_projection::LogIdentity;
use citycode_projection::snapshot::{FORMAT_VERSION, ProjectionKind};
use citycode_token::{SigningKey, StatementError, read_statement, sign_statement};
use minicbor::{Decoder, Encoder};

const MEDIA_TYPE: &str = "application/vnd.citycode.snapshot";
const VERSION: u64 = 1;
/// Most partitions of a statement: they are counted in 16 bits.
const MAX_POINTS: u64 = 65_535;

/// What a snapshot is, as revocation says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Of which projection; a number that this version may not know.
    pub projection: u8,
    /// Of which log.
    pub log_id: [u8; 16],
    /// The last commit folded, by partition.
    pub points: Vec<u64>,
    /// Format of the snapshot file.
    pub format: u16,
    /// Leads to the object's key.
    pub salt: [u8; 16],
    /// Length of the snapshot file.
    pub length: u64,
    /// SHA-256 of the sealed object.
    pub digest: [u8; 32],
    /// When it was made, in seconds since 1970.
    pub made_at: i64,
}

/// Why a shared snapshot is not used. The log is read instead.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no statement with it, or none in the form that is written.
    #[error("it has no statement that can be read")]
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
    /// It is of a log of another layout.
    #[error("it belongs to a log of {found} partitions")]
    OtherLayout {
        /// As it says.
        found: usize,
    },
    /// Another version of this program made it.
    #[error("it has format {found}, and this version reads {FORMAT_VERSION}")]
    OtherFormat {
        /// As it says.
        found: u16,
    },
    /// It knows more than the log has: the log went back, or is an older copy.
    #[error("it knows partition {partition} up to {point}, and the log ends at {head}")]
    AheadOfLog {
        /// Which partition.
        partition: usize,
        /// As it says.
        point: u64,
        /// Where the log ends.
        head: u64,
    },
    /// The object is shorter than what was signed.
    #[error("the object is cut short")]
    Truncated,
    /// The object is not the one that was signed.
    #[error("the object is not the one that was signed")]
    OtherBytes,
    /// The object does not open under this city's key.
    #[error("the object does not open under this city's key")]
    Sealed,
    /// What was sealed is no snapshot of this log, or of another point.
    #[error("what was sealed is not the snapshot that was signed for: {0}")]
    OtherContent(String),
}

impl Statement {
    /// Signed, as the object's metadata has it.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        sign_statement(key, MEDIA_TYPE, &self.encode())
    }

    /// What one of these keys signed.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], [`Refusal::NotSigned`].
    pub fn read(bytes: &[u8], signers: &[[u8; 32]]) -> Result<Self, Refusal> {
        let payload = read_statement(bytes, MEDIA_TYPE, signers).map_err(|error| match error {
            StatementError::Unreadable => Refusal::Unreadable,
            StatementError::BadSignature => Refusal::NotSigned,
        })?;
        let statement = decode(payload).ok_or(Refusal::Unreadable)?;
        // One form of each: what was signed is what would be written.
        (statement.encode() == payload)
            .then_some(statement)
            .ok_or(Refusal::Unreadable)
    }

    /// Whether it is of this projection of this very log, which ends at `heads`, in a form that this version reads.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self, kind: ProjectionKind, identity: &LogIdentity, heads: &[u64]) -> Result<(), Refusal> {
        if self.projection != kind as u8 {
            return Err(Refusal::OtherProjection);
        }
        if self.log_id != identity.log_id {
            return Err(Refusal::OtherLog);
        }
        if self.format != FORMAT_VERSION {
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

    /// Commits in it, over all partitions.
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
    fn a_statement_is_read_as_it_was_signed_and_by_its_keys_alone() {
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
    fn its_payload_has_one_form_and_no_cut_of_it_is_read() {
        let payload = statement().encode();
        assert_eq!(decode(&payload), Some(statement()));
        for end in 0..payload.len() {
            assert_eq!(decode(&payload[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn another_projection_log_layout_format_or_a_log_that_went_back_is_refused() {
        let heads = [7, 0, u64::MAX];
        let check = |change: &dyn Fn(&mut Statement)| {
            let mut statement = statement();
            change(&mut statement);
            statement.check(ProjectionKind::Status, &IDENTITY, &heads)
        };
        assert_eq!(check(&|_| ()), Ok(()));
        assert_eq!(check(&|it| it.projection = 2), Err(Refusal::OtherProjection));
        assert_eq!(check(&|it| it.log_id = [6; 16]), Err(Refusal::OtherLog));
        assert_eq!(
            check(&|it| it.format -= 1),
            Err(Refusal::OtherFormat {
                found: FORMAT_VERSION - 1
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
