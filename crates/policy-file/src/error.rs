//! What can be wrong with a policy file, in words that name the line and the way out.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Most characters of the file's own text that an error repeats, so that a hostile file cannot flood a log line.
const MAX_QUOTED_CHARS: usize = 40;
/// Most characters of the TOML parser's message.
const MAX_MESSAGE_CHARS: usize = 200;

/// Why a policy file was not taken.
#[derive(Debug, Error)]
pub enum PolicyFileError {
    /// The file could not be read.
    #[error("cannot read the policy file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Over [`crate::MAX_FILE_BYTES`].
    #[error("the policy file is over {} bytes", crate::MAX_FILE_BYTES)]
    TooLarge,
    /// Not UTF-8.
    #[error("the policy file is not UTF-8 text; save it as UTF-8")]
    NotUtf8,
    /// Not TOML. A key that stands twice is found here.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// TOML, but no policy.
    #[error("line {line}: {key}: {problem}")]
    Invalid {
        /// Line of the key or value, from 1.
        line: usize,
        /// The key's whole path, e.g. `places.sentinel.accepts`; empty path parts never occur.
        key: String,
        /// What is wrong there.
        problem: Problem,
    },
}

/// What is wrong with one key or value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// No such key here.
    UnknownKey {
        /// The known key that was probably meant.
        nearest: Option<String>,
        /// Every key that may stand here.
        known: String,
    },
    /// The key must stand here and does not.
    Missing,
    /// Another type than needed.
    WrongType {
        /// What is needed, e.g. `a text`.
        expected: &'static str,
        /// What stands there, in TOML's word.
        found: &'static str,
    },
    /// A kind that the policy does not have.
    UnknownKind {
        /// What stands there.
        name: String,
        /// The kind that was probably meant.
        nearest: Option<String>,
    },
    /// None of the words that may stand here.
    UnknownWord {
        /// What stands there.
        word: String,
        /// The word that was probably meant.
        nearest: Option<String>,
        /// Every word that may stand here.
        known: String,
    },
    /// No duration.
    NotADuration {
        /// What stands there.
        text: String,
    },
    /// A duration out of its bounds.
    DurationBounds {
        /// The least.
        least: &'static str,
        /// The greatest.
        greatest: &'static str,
    },
    /// A duration with a part of a second, where the rules count whole ones.
    NotWholeSeconds,
    /// A number out of its bounds.
    NumberBounds {
        /// The least.
        least: i64,
        /// The greatest.
        greatest: i64,
    },
    /// The kind number is another kind's already.
    NumberTaken {
        /// That kind.
        by: String,
    },
    /// It stands in the list already.
    Twice {
        /// What.
        word: String,
    },
    /// No IANA time zone.
    UnknownTimeZone {
        /// What stands there.
        name: String,
        /// The zone that was probably meant.
        nearest: Option<String>,
    },
    /// No name: names are in requests, files and metrics.
    NotAName,
    /// The name has a meaning of its own.
    ReservedName,
    /// Empty, too long, or with characters that people cannot see.
    NotALabel,
    /// No base for status list URIs.
    NotABaseUri,
    /// More entries than a policy may have.
    TooMany {
        /// The most.
        most: usize,
    },
    /// None, where at least one is needed.
    Empty,
    /// `reissue` without `issue`: it could never be done.
    ReissueWithoutIssue,
    /// `valid_code` names a kind that is not per guardian, so no guardian could ever hold one.
    NotPerGuardian {
        /// That kind.
        kind: String,
    },
    /// Eligibility by group, and the policy has no groups.
    NoGroups,
    /// Eligibility by attestation, and no channel attests.
    NobodyAttests,
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
                "`{text}` is no duration; write a whole number and ms, s, min, h or d, e.g. \"30d\""
            ),
            Self::DurationBounds { least, greatest } => {
                write!(f, "must be from {least} to {greatest}")
            }
            Self::NotWholeSeconds => f.write_str("must be whole seconds"),
            Self::NumberBounds { least, greatest } => {
                write!(f, "must be from {least} to {greatest}")
            }
            Self::NumberTaken { by } => write!(f, "the number is taken by the kind `{by}`"),
            Self::Twice { word } => write!(f, "`{word}` stands here twice"),
            Self::UnknownTimeZone { name, nearest } => {
                write!(f, "there is no time zone `{name}`")?;
                meant(f, nearest.as_deref())
            }
            Self::NotAName => {
                f.write_str("a name is 1 to 32 characters: small letters, digits and _, with a letter first")
            }
            Self::ReservedName => f.write_str("this name means the resident ID card and is given to no kind"),
            Self::NotALabel => f.write_str("a label is 1 to 64 characters, without control characters"),
            Self::NotABaseUri => {
                f.write_str("needs an https:// or http:// address of at most 40 plain characters, with a / at its end")
            }
            Self::TooMany { most } => write!(f, "at most {most} may stand here"),
            Self::Empty => f.write_str("at least one is needed"),
            Self::ReissueWithoutIssue => {
                f.write_str("`reissue` needs `issue` beside it: reissuing is a way of issuing")
            }
            Self::NotPerGuardian { kind } => write!(
                f,
                "the kind `{kind}` is not per_guardian, so that no family member could hold one"
            ),
            Self::NoGroups => f.write_str("\"group\" is a ground here, but `groups` is empty"),
            Self::NobodyAttests => {
                f.write_str("\"disability\" or \"group\" is a ground here, but no channel has `attests = true`")
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

/// A piece of the file's text, short and without control characters.
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
