//! Statements about one code: what a proof opens to somebody without access to the log.
//!
//! ```text
//! statement = "S" act:1 code id:8 rest
//! act 1, issued: rest = issued at:8 ‖ expires at:8 ‖ SHA-256 of the signed claims:32
//! act 2, died:   rest = cause:1 ‖ died at:8
//! ```
//! Numbers are big-endian; times are Unix seconds. A statement names neither a holder nor another code. The digest of the
//! claims connects a birth with the very token in a QR code; the code id connects a death with it.

/// The first byte of a statement; [`parts`](crate::leaf::parts) has another for the whole event.
const TITLE: u8 = b'S';
const ISSUED: u8 = 1;
const DIED: u8 = 2;
/// The length of a birth, the longest statement.
const MAX_BYTES: usize = 2 + 8 + 8 + 8 + 32;

/// Why a code died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cause {
    /// A later code took its place.
    Superseded = 1,
    /// It was reported lost.
    ReportedLost = 2,
    /// An officer revoked it.
    Revoked = 3,
    /// The relationship ended on which it depended.
    RelationshipEnded = 4,
    /// Its holder was erased.
    Erased = 5,
}

impl Cause {
    const ALL: [Self; 5] = [
        Self::Superseded,
        Self::ReportedLost,
        Self::Revoked,
        Self::RelationshipEnded,
        Self::Erased,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| *cause as u8 == byte)
    }
}

/// What happened to a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// It was issued.
    Issued {
        /// Valid from, in Unix seconds.
        issued_at: i64,
        /// Invalid from this instant on, in Unix seconds.
        expires_at: i64,
        /// SHA-256 of the exact signed claims of its token.
        claims_digest: [u8; 32],
    },
    /// It died before it expired.
    Died {
        /// Why.
        cause: Cause,
        /// When, in Unix seconds.
        at: i64,
    },
}

/// A statement about one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeStatement {
    /// The code's id, which its token contains.
    pub code_id: [u8; 8],
    /// What happened to it.
    pub act: Act,
}

/// The bytes are not a statement about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a statement about a code")]
pub struct StatementInvalid;

impl CodeStatement {
    /// The bytes of the statement.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let act = match self.act {
            Act::Issued { .. } => ISSUED,
            Act::Died { .. } => DIED,
        };
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        bytes.extend([TITLE, act]);
        bytes.extend(self.code_id);
        match self.act {
            Act::Issued {
                issued_at,
                expires_at,
                claims_digest,
            } => {
                bytes.extend(issued_at.to_be_bytes());
                bytes.extend(expires_at.to_be_bytes());
                bytes.extend(claims_digest);
            }
            Act::Died { cause, at } => {
                bytes.push(cause as u8);
                bytes.extend(at.to_be_bytes());
            }
        }
        bytes
    }

    /// Parses a statement.
    ///
    /// # Errors
    /// If the bytes are not a statement in its only form.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementInvalid> {
        parse(bytes).ok_or(StatementInvalid)
    }
}

fn parse(bytes: &[u8]) -> Option<CodeStatement> {
    let ([title, act], rest) = bytes.split_first_chunk()?;
    let (code_id, rest) = rest.split_first_chunk()?;
    let act = match *act {
        ISSUED => {
            let (issued_at, rest) = rest.split_first_chunk()?;
            let (expires_at, rest) = rest.split_first_chunk()?;
            Act::Issued {
                issued_at: i64::from_be_bytes(*issued_at),
                expires_at: i64::from_be_bytes(*expires_at),
                claims_digest: rest.try_into().ok()?,
            }
        }
        DIED => {
            let (cause, at) = rest.split_first()?;
            Act::Died {
                cause: Cause::from_byte(*cause)?,
                at: i64::from_be_bytes(at.try_into().ok()?),
            }
        }
        _ => return None,
    };
    (*title == TITLE).then_some(CodeStatement { code_id: *code_id, act })
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn statement() -> impl Strategy<Value = CodeStatement> {
        let issued =
            (any::<i64>(), any::<i64>(), any::<[u8; 32]>()).prop_map(|(issued_at, expires_at, claims_digest)| {
                Act::Issued {
                    issued_at,
                    expires_at,
                    claims_digest,
                }
            });
        let died = (proptest::sample::select(Cause::ALL.to_vec()), any::<i64>())
            .prop_map(|(cause, at)| Act::Died { cause, at });
        (any::<[u8; 8]>(), prop_oneof![issued, died]).prop_map(|(code_id, act)| CodeStatement { code_id, act })
    }

    #[test]
    fn the_bytes_of_version_1_never_change() {
        let issued = CodeStatement {
            code_id: [0xc0; 8],
            act: Act::Issued {
                issued_at: 1_790_000_000,
                expires_at: 1_792_592_000,
                claims_digest: [0xd1; 32],
            },
        };
        let died = CodeStatement {
            code_id: [0xc0; 8],
            act: Act::Died {
                cause: Cause::ReportedLost,
                at: 1_791_000_000,
            },
        };
        let hex = |statement: CodeStatement| HEXLOWER.encode(&statement.to_bytes());
        let digest = "d1".repeat(32);
        assert_eq!(
            hex(issued),
            format!("5301c0c0c0c0c0c0c0c0000000006ab13b80000000006ad8c880{digest}")
        );
        assert_eq!(hex(died), "5302c0c0c0c0c0c0c0c002000000006ac07dc0");
    }

    proptest! {
        #[test]
        fn statements_round_trip_and_no_other_length_is_one(statement in statement(), more in 1_usize..40) {
            let bytes = statement.to_bytes();
            prop_assert_eq!(CodeStatement::parse(&bytes), Ok(statement));
            prop_assert!(CodeStatement::parse(&bytes[..bytes.len().saturating_sub(more)]).is_err());
            prop_assert!(CodeStatement::parse(&[bytes, vec![0; more]].concat()).is_err());
        }

        #[test]
        fn what_is_parsed_is_in_its_only_form(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut bytes = bytes;
            if let [first, second, ..] = bytes.as_mut_slice() {
                (*first, *second) = (TITLE, *second % 4);
            }
            if let Ok(statement) = CodeStatement::parse(&bytes) {
                prop_assert_eq!(statement.to_bytes(), bytes);
            }
        }
    }
}
