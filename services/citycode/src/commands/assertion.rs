//! Assertions of an identity provider: that a person was authenticated, for channels of which the policy demands one.
//!
//! An assertion is a bearer credential, so it is never a value on the command line, which every user of the machine can
//! see: it is read from a file or from standard input. The server validates it, once.

use std::convert::Infallible;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::str::FromStr;

use citycode_terminal::failure::Failure;
use clap::Args;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Session;

/// Longest text that is read: an assertion with many claims takes two kilobytes.
const MAX_BYTES: u64 = 16 * 1024;
const FORMS: &str = "give - to read it from standard input, or @FILE";

/// The value of a flag for an assertion.
#[derive(Clone)]
pub(crate) enum AssertionArg {
    /// `-`: the next line of standard input.
    StandardInput,
    /// `@FILE`: the first line of a file.
    File(PathBuf),
    /// Anything else, which may be an assertion and is not kept: why it is refused. The parser of the command line must
    /// not refuse it, because its message repeats the value.
    Refused(&'static str),
}

impl FromStr for AssertionArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some("") => Self::Refused("has no file name after @"),
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::StandardInput,
            None => Self::Refused("takes no assertion itself: every user of this machine can see the command line"),
        })
    }
}

/// The flag of commands that a channel gives on behalf of one person.
#[derive(Args)]
pub(crate) struct Asserted {
    /// The identity provider's assertion about the acting person (the guardian, if one is named): read from standard
    /// input after the ID numbers, or from a file. Needed where the policy says so; each is accepted once.
    #[arg(long, value_name = "- or @FILE")]
    assertion: Option<AssertionArg>,
}

impl Asserted {
    /// The field `authentication` of a request. Read it after the ID numbers. Blocks.
    ///
    /// # Errors
    /// The assertion cannot be read.
    pub(crate) fn authentication(&self) -> Result<Option<Value>, Failure> {
        authentication("--assertion", self.assertion.as_ref())
    }

    /// The id of a question, if an assertion comes with it: a repetition after a lost answer must carry the same id,
    /// because the assertion is used up then.
    pub(crate) fn question_id(&self, session: &Session) -> Option<Uuid> {
        self.assertion.as_ref().map(|_| session.command_id())
    }
}

/// The `authentication` of a request by the assertion of an optional flag. Blocks.
///
/// # Errors
/// The assertion cannot be read.
pub(crate) fn authentication(flag: &str, given: Option<&AssertionArg>) -> Result<Option<Value>, Failure> {
    let Some(given) = given else {
        return Ok(None);
    };
    let text = match given {
        AssertionArg::StandardInput => {
            if std::io::stdin().is_terminal() {
                citycode_terminal::output::note(format_args!(
                    "{flag} is read from this terminal: paste it, then Enter"
                ));
            }
            let mut input = std::io::stdin().lock();
            let read = first_line(flag, "standard input", &mut input);
            read.map_err(|why| why.into_failure("standard input"))?
        }
        AssertionArg::File(path) => {
            let file = std::fs::File::open(path).map_err(|error| Failure::file("read", path, error))?;
            let name = path.display().to_string();
            let read = first_line(flag, &name, &mut std::io::BufReader::new(file));
            read.map_err(|why| why.into_failure(&name))?
        }
        AssertionArg::Refused(why) => return Err(Failure::usage(format_args!("{flag} {why}"), FORMS)),
    };
    Ok(Some(json!({ "assertion": *text })))
}

/// Why no assertion was read.
#[derive(Debug)]
enum NotRead {
    Io(std::io::Error),
    Text(String),
}

impl NotRead {
    fn into_failure(self, from: &str) -> Failure {
        match self {
            Self::Io(error) => Failure::local(
                format_args!("cannot read {from}"),
                error,
                "give it a pipe, a file or a terminal",
            ),
            Self::Text(why) => Failure::usage(why, FORMS),
        }
    }
}

/// The first line that is not empty, trimmed. Only that line is consumed, so that several flags can each read one.
fn first_line(flag: &str, from: &str, input: &mut impl std::io::BufRead) -> Result<Zeroizing<String>, NotRead> {
    loop {
        let mut line = Zeroizing::new(Vec::new());
        let read = input.by_ref().take(MAX_BYTES).read_until(b'\n', &mut line);
        if read.map_err(NotRead::Io)? == 0 {
            return Err(NotRead::Text(format!("{from} contains no assertion for {flag}")));
        }
        if line.len() as u64 >= MAX_BYTES {
            return Err(NotRead::Text(format!(
                "the text for {flag} is longer than any assertion"
            )));
        }
        let text = std::str::from_utf8(&line);
        let text = text.map_err(|_| NotRead::Text(format!("the text for {flag} is not UTF-8")))?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        if !text.is_empty() {
            return Ok(Zeroizing::new(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_never_a_value_on_the_command_line() {
        for (text, reason) in [("eyJhbGciOi.J9.x", "command line"), ("@", "no file name")] {
            let Ok(given) = AssertionArg::from_str(text);
            let failure = authentication("--assertion", Some(&given)).unwrap_err();
            assert_eq!(failure.exit(), 2);
            assert!(failure.why().contains(reason), "{}", failure.line());
            assert!(!failure.line().contains("eyJ"), "{}", failure.line());
        }
        assert!(matches!(AssertionArg::from_str("-"), Ok(AssertionArg::StandardInput)));
        assert!(matches!(AssertionArg::from_str("@a.jwt"), Ok(AssertionArg::File(_))));
    }

    #[test]
    fn two_flags_read_one_line_each_and_other_texts_are_refused() {
        let mut input = "\u{feff}a.b.c\r\n\n  d.e.f ".as_bytes();
        for expected in ["a.b.c", "d.e.f"] {
            let line = first_line("--assertion", "standard input", &mut input).unwrap();
            assert_eq!(*line, expected);
        }
        let endless = vec![b'a'; 20_000];
        for (bytes, reason) in [
            (&b""[..], "contains no assertion"),
            (b"\n \n", "contains no assertion"),
            (b"a\xFF.b", "not UTF-8"),
            (&endless, "longer than any assertion"),
        ] {
            let mut input = bytes;
            let failure = first_line("--assertion", "it", &mut input)
                .unwrap_err()
                .into_failure("it");
            assert!(failure.why().contains(reason), "{}", failure.line());
            assert_eq!(failure.exit(), 2);
        }
    }
}
