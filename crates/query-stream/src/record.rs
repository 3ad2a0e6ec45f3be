//! A query and the bytes of its record.
//!
//! ```text
//! {"format":1,"asked_at":1764403200,"asker":"ISSUER SUBJECT","roles":["auditor"],"kind":"explain","rows":1,"sealed":"base64"}
//! ```
//! `sealed` is `{"purpose":"…","person":"16 hex digits"}` under the key of the day, with all other fields as associated
//! data, so that none of them can be changed unnoticed while the day's key exists.

use citycode_domain::ids::HolderId;
use citycode_vault::HolderKey;
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::{DAY_SECONDS, QueriesError, Secret};

const FORMAT: u32 = 1;
const CONTEXT: &[u8] = b"citycode-query-v1 ";

/// The kind of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueryKind {
    /// Why a verdict was given.
    Explain,
    /// The recomputation of a period.
    AuditRun,
    /// A period under another policy.
    WhatIf,
    /// The life of a code as of a time.
    History,
    /// A holder's codes as of a time.
    Codes,
    /// The whole city's counts as of a time.
    State,
    /// A proof that an event of a code is in the log.
    LogProof,
    /// An export of a period.
    Export,
    /// The stream of queries itself.
    Queries,
    /// Who looked at one person, asked on the person's behalf.
    QueriesAbout,
    /// Who looked at one person, asked by that person.
    OwnQueries,
}

impl QueryKind {
    /// Its name in records and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::AuditRun => "audit_run",
            Self::WhatIf => "what_if",
            Self::History => "history",
            Self::Codes => "codes",
            Self::State => "audit_state",
            Self::LogProof => "log_proof",
            Self::Export => "export",
            Self::Queries => "queries",
            Self::QueriesAbout => "queries_about",
            Self::OwnQueries => "own_queries",
        }
    }
}

/// A query that is recorded before it is answered.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// When it was asked, in Unix seconds.
    pub asked_at: i64,
    /// Identifies the caller: `ISSUER SUBJECT` of the access token.
    pub asker: &'a str,
    /// The caller's roles, in their text form.
    pub roles: &'a [String],
    /// The kind of the question.
    pub kind: QueryKind,
    /// The number of rows of the answer: records, events or codes; 0 if nothing was found.
    pub rows: u64,
    /// Why it was asked; empty if the question needs no purpose.
    pub purpose: &'a str,
    /// The person who was looked at, if it is one known person who is not erased.
    pub holder: Option<HolderId>,
}

/// The number of a person in the stream. It is random, and is the same in every query about the person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PersonNumber(pub [u8; 8]);

impl PersonNumber {
    pub(crate) fn of(secret: &Secret) -> Self {
        Self(*secret.first_chunk().expect("a secret has 32 bytes"))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for PersonNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A query as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedQuery {
    /// Its place in the stream, from 1.
    pub sequence: u64,
    /// When it was asked, in Unix seconds.
    pub asked_at: i64,
    /// Who asked: `ISSUER SUBJECT`.
    pub asker: String,
    /// The caller's roles.
    pub roles: Vec<String>,
    /// The kind of the question, see [`QueryKind::name`]; a later release may have other kinds.
    pub kind: String,
    /// The number of rows of the answer.
    pub rows: u64,
    /// Why it was asked; `None` if the day's key is destroyed.
    pub purpose: Option<String>,
    /// The person's number; `None` if nobody was looked at, the person is erased, or the day's key is destroyed.
    pub person: Option<PersonNumber>,
}

/// The fields that are not sealed.
#[derive(Serialize, Deserialize)]
struct Open {
    format: u32,
    asked_at: i64,
    asker: String,
    roles: Vec<String>,
    kind: String,
    rows: u64,
}

impl Open {
    fn context(&self) -> Vec<u8> {
        let fields = serde_json::to_vec(self).expect("texts and numbers are JSON");
        [CONTEXT, &fields].concat()
    }
}

#[derive(Serialize, Deserialize)]
struct Whole {
    #[serde(flatten)]
    open: Open,
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
}

/// The day of an instant.
pub(crate) fn day_of(at: i64) -> Result<u32, QueriesError> {
    u32::try_from(at.div_euclid(DAY_SECONDS)).map_err(QueriesError::new)
}

/// The bytes of a record, sealed under the key of its day.
pub(crate) fn write(query: &Query<'_>, person: Option<PersonNumber>, day: &Secret, nonce: [u8; 12]) -> Vec<u8> {
    let open = Open {
        format: FORMAT,
        asked_at: query.asked_at,
        asker: query.asker.to_owned(),
        roles: query.roles.to_vec(),
        kind: query.kind.name().to_owned(),
        rows: query.rows,
    };
    let sealed = Sealed {
        purpose: query.purpose.to_owned(),
        person: person.map(|number| number.to_string()),
    };
    let sealed = zeroize::Zeroizing::new(serde_json::to_vec(&sealed).expect("texts are JSON"));
    let sealed = HolderKey::new(**day).seal(&open.context(), nonce, &sealed);
    let sealed = BASE64.encode(&sealed);
    serde_json::to_vec(&Whole { open, sealed }).expect("texts and numbers are JSON")
}

/// Reads a record. `day_key` yields the key of a day, unless it is destroyed.
pub(crate) fn read(
    sequence: u64,
    bytes: &[u8],
    day_key: impl Fn(u32) -> Option<Secret>,
) -> Result<RecordedQuery, QueriesError> {
    let unreadable = |why: &str| QueriesError::new(format_args!("the record {sequence} {why}"));
    let Whole { open, sealed } = serde_json::from_slice(bytes).map_err(|_| unreadable("is damaged"))?;
    if open.format != FORMAT {
        return Err(unreadable("has a later format"));
    }
    let sealed = match day_key(day_of(open.asked_at)?) {
        None => None,
        Some(key) => {
            let changed = || unreadable("was changed");
            let bytes = BASE64.decode(sealed.as_bytes()).map_err(|_| changed())?;
            let plain = HolderKey::new(*key)
                .open(&open.context(), &bytes)
                .map_err(|_| changed())?;
            Some(serde_json::from_slice::<Sealed>(&plain).map_err(|_| changed())?)
        }
    };
    let person = sealed.as_ref().and_then(|sealed| sealed.person.as_deref());
    Ok(RecordedQuery {
        sequence,
        asked_at: open.asked_at,
        asker: open.asker,
        kind: open.kind,
        rows: open.rows,
        person: person.and_then(PersonNumber::parse),
        purpose: sealed.map(|sealed| sealed.purpose),
        roles: open.roles,
    })
}
