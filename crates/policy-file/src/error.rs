//! Errors of a policy file, with the line and how to correct it.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Limit of characters of the file's text that an error repeats, so that a hostile file cannot flood a log
/// line.
const MAX_QUOTED_CHARS: usize = 40;
/// Limit of characters of the TOML parser's message.
const MAX_MESSAGE_CHARS: usize = 200;

/// Why a policy file was rejected.
#[derive(Debug, Error)]
pub enum PolicyFileError {
    /// The file could not be read.
    #[error("cannot read the policy file {}", path.display())]
    Read {
        /// The error of the operating system.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// Over [`crate::MAX_FILE_BYTES`].
    #[error("the policy file is over {} bytes", crate::MAX_FILE_BYTES)]
    TooLarge,
    /// Not UTF-8.
    #[error("the policy file is not UTF-8 text; save it as UTF-8")]
    NotUtf8,
    /// The file is not TOML; this includes duplicate keys.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// The file is TOML, but not a valid policy.
    #[error("line {line}: {key}: {problem}")]
    Invalid {
        /// Line of the key or value, from 1.
        line: usize,
        /// The key's whole path, e.g. `places.sentinel.accepts`; no part of the path is empty.
        key: String,
        /// What is wrong there.
        problem: Problem,
    },
}

/// What is wrong with one key or value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The key is unknown here.
    UnknownKey {
        /// The known key that was probably meant.
        nearest: Option<String>,
        /// The keys that are allowed here.
        known: String,
    },
    /// A required key is missing.
    Missing,
    /// The value has the wrong type.
    WrongType {
        /// The required type, e.g. `a text`.
        expected: &'static str,
        /// The actual type, as TOML calls it.
        found: &'static str,
    },
    /// The policy does not have this kind.
    UnknownKind {
        /// The name in the file.
        name: String,
        /// The kind that was probably meant.
        nearest: Option<String>,
    },
    /// The word is not one of the allowed words.
    UnknownWord {
        /// The word in the file.
        word: String,
        /// The word that was probably meant.
        nearest: Option<String>,
        /// The allowed words.
        known: String,
    },
    /// The text is not a duration.
    NotADuration {
        /// The text in the file.
        text: String,
    },
    /// The duration is out of bounds.
    DurationBounds {
        /// The minimum.
        least: &'static str,
        /// The maximum.
        greatest: &'static str,
    },
    /// The duration has a fraction of a second, but the rules count whole seconds.
    NotWholeSeconds,
    /// The number is out of bounds.
    NumberBounds {
        /// The minimum.
        least: i64,
        /// The maximum.
        greatest: i64,
    },
    /// Not a telephone number.
    Telephone,
    /// Another kind already has this number.
    NumberTaken {
        /// The other kind.
        by: String,
    },
    /// The list already contains the word.
    Twice {
        /// The repeated word.
        word: String,
    },
    /// The name is not an IANA time zone.
    UnknownTimeZone {
        /// The name in the file.
        name: String,
        /// The zone that was probably meant.
        nearest: Option<String>,
    },
    /// The text is not a valid name; names occur in requests, files and metrics.
    NotAName,
    /// The name is reserved.
    ReservedName,
    /// The label is empty, too long, or contains invisible characters.
    NotALabel,
    /// The text is not a valid base for status list URIs.
    NotABaseUri,
    /// There are too many entries.
    TooMany {
        /// The limit.
        most: usize,
    },
    /// The list is empty, but at least one entry is required.
    Empty,
    /// `reissue` without `issue`: it could never be allowed.
    ReissueWithoutIssue,
    /// `valid_code` names a kind that is not per guardian, so that no guardian could have such a code.
    NotPerGuardian {
        /// The named kind.
        kind: String,
    },
    /// A kind is for groups, but the policy has no groups.
    NoGroups,
    /// A kind needs an attestation, but no channel attests.
    NoChannelAttests,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { nearest, known } => {
                f.write_str("unknown key")?;
                meant(f, nearest.as_deref())?;
                write!(f, "; known here: {known}")
            }
            Self::Missing => f.write_str("is missing"),
            Self::WrongType { expected, found } => write!(f, "needs {expected}, and is a {found}"),
            Self::UnknownKind { name, nearest } => {
                write!(f, "the policy has no kind `{name}`")?;
                meant(f, nearest.as_deref())
            }
            Self::UnknownWord { word, nearest, known } => {
                write!(f, "unknown word `{word}`")?;
                meant(f, nearest.as_deref())?;
                write!(f, "; known here: {known}")
            }
            Self::NotADuration { text } => write!(
                f,
                "`{text}` is not a duration; write a whole number and ms, s, min, h or d, e.g. \"30d\""
            ),
            Self::DurationBounds { least, greatest } => {
                write!(f, "must be from {least} to {greatest}")
            }
            Self::NotWholeSeconds => f.write_str("must be whole seconds"),
            Self::NumberBounds { least, greatest } => {
                write!(f, "must be from {least} to {greatest}")
            }
            Self::Telephone => {
                f.write_str("a telephone number has 2 to 20 digits, with spaces, hyphens or a plus sign")
            }
            Self::NumberTaken { by } => write!(f, "the number already belongs to the kind `{by}`"),
            Self::Twice { word } => write!(f, "`{word}` appears here twice"),
            Self::UnknownTimeZone { name, nearest } => {
                write!(f, "there is no time zone `{name}`")?;
                meant(f, nearest.as_deref())
            }
            Self::NotAName => {
                f.write_str("a name is 1 to 32 characters: small letters, digits and _, with a letter first")
            }
            Self::ReservedName => {
                f.write_str("this name is reserved for the resident ID card and cannot be the name of a kind")
            }
            Self::NotALabel => f.write_str("a label is 1 to 64 characters, without control characters"),
            Self::NotABaseUri => {
                f.write_str("needs an https:// or http:// address of at most 40 plain characters, with a / at its end")
            }
            Self::TooMany { most } => write!(f, "at most {most} entries are allowed here"),
            Self::Empty => f.write_str("at least one is needed"),
            Self::ReissueWithoutIssue => f.write_str("`reissue` also needs `issue`"),
            Self::NotPerGuardian { kind } => write!(
                f,
                "the kind `{kind}` is not per_guardian, so that no family member could have a code of it"
            ),
            Self::NoGroups => f.write_str("eligibility includes \"group\", but `groups` is empty"),
            Self::NoChannelAttests => {
                f.write_str("eligibility includes \"disability\" or \"group\", but no channel has `attests = true`")
            }
        }
    }
}

fn meant(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
        None => Ok(()),
    }
}

impl PolicyFileError {
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = line_and_column(text, at);
        Self::Syntax {
            line,
            column,
            message: clip(error.message(), MAX_MESSAGE_CHARS),
        }
    }

    pub(crate) fn invalid(text: &str, at: usize, key: &str, problem: Problem) -> Self {
        Self::Invalid {
            line: line_and_column(text, at).0,
            key: clip(key, MAX_MESSAGE_CHARS),
            problem,
        }
    }
}

/// Shortens a text from the file and escapes control characters.
pub(crate) fn quoted(text: &str) -> String {
    clip(text, MAX_QUOTED_CHARS)
}

fn clip(text: &str, most: usize) -> String {
    let mut clipped: String = text
        .chars()
        .take(most)
        .flat_map(|c| {
            if c == '\n' {
                ' '.escape_debug()
            } else {
                c.escape_debug()
            }
        })
        .collect::<String>()
        .replace("\\'", "'")
        .replace("\\\"", "\"");
    if text.chars().nth(most).is_some() {
        clipped.push('…');
    }
    clipped
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[line_start..].chars().count() + 1)
}
