//! ID numbers in flags: literal, from standard input, or from a file.
//!
//! Every user of the machine can see the command line of a process. Each flag for an ID number therefore also accepts
//! `-` (the next line of standard input) and `@FILE` (the first line of a file), and on a terminal a missing number is
//! prompted for. The server validates the number.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use citycode_terminal::failure::Failure;

/// Longest line that is read: an ID number has 18 characters, so a longer line is from another kind of file.
const MAX_LINE_BYTES: u64 = 1_024;
const FORMS: &str = "give the number, - to read it from standard input, or @FILE; on a terminal it is prompted for";

/// The value of a flag for an ID number.
#[derive(Clone)]
pub(crate) enum IdNumberArg {
    /// The number.
    Given(String),
    /// `-`.
    StandardInput,
    /// `@FILE`.
    File(PathBuf),
}

impl FromStr for IdNumberArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some("") => return Err("the file name after @ is missing"),
            Some(path) => Self::File(path.into()),
            None if text == "-" => Self::StandardInput,
            None => Self::Given(text.to_owned()),
        })
    }
}

impl IdNumberArg {
    /// Whether it is read from standard input.
    pub(crate) fn is_standard_input(&self) -> bool {
        matches!(self, Self::StandardInput)
    }

    fn read(&self, flag: &str) -> Result<String, Failure> {
        match self {
            Self::Given(number) => Ok(number.clone()),
            Self::StandardInput => from_standard_input(flag),
            Self::File(path) => from_file(flag, path),
        }
    }
}

/// The number of a required flag; on a terminal a missing one is prompted for. Blocks.
pub(crate) fn required(flag: &str, given: Option<&IdNumberArg>) -> Result<String, Failure> {
    match given {
        Some(given) => given.read(flag),
        None if std::io::stdin().is_terminal() => from_standard_input(flag),
        None => Err(Failure::usage(format_args!("{flag} is missing"), FORMS)),
    }
}

/// The number of an optional flag. Blocks.
pub(crate) fn optional(flag: &str, given: Option<&IdNumberArg>) -> Result<Option<String>, Failure> {
    given.map(|given| given.read(flag)).transpose()
}

/// Reads the next non-empty line, so that several flags can each read one.
fn from_standard_input(flag: &str) -> Result<String, Failure> {
    let mut input = std::io::stdin().lock();
    if std::io::stdin().is_terminal() {
        let _ = write!(std::io::stderr(), "ID number ({flag}): ");
    }
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|error| {
            Failure::local(
                "cannot read standard input",
                error,
                "give it a pipe, a file or a terminal",
            )
        })?;
        if read == 0 {
            return Err(Failure::usage(
                format_args!("standard input ended before the number of {flag}"),
                FORMS,
            ));
        }
        let number = text(flag, &line)?;
        if !number.is_empty() {
            return Ok(number);
        }
    }
}

fn from_file(flag: &str, path: &Path) -> Result<String, Failure> {
    let read = std::fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_LINE_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = read.map_err(|error| Failure::file("read", path, error))?;
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r'));
    for line in lines {
        let number = text(flag, line)?;
        if !number.is_empty() {
            return Ok(number);
        }
    }
    Err(Failure::usage(
        format_args!("{} for {flag} contains no number", path.display()),
        FORMS,
    ))
}

/// Trims a line. Refuses other encodings than UTF-8 here, where the error can name the cause.
fn text(flag: &str, line: &[u8]) -> Result<String, Failure> {
    let refuse = |why| {
        let why = format!("the text for {flag} {why}");
        Failure::usage(why, "save or send it as UTF-8, one number per line")
    };
    if line.starts_with(&[0xFF, 0xFE]) || line.starts_with(&[0xFE, 0xFF]) {
        return Err(refuse("is UTF-16"));
    }
    if line.len() as u64 >= MAX_LINE_BYTES {
        return Err(refuse("is longer than any ID number"));
    }
    let text = std::str::from_utf8(line).map_err(|_| refuse("is not UTF-8"))?;
    Ok(text
        .trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANG: &str = "11010519491231002X";

    #[test]
    fn a_file_yields_its_first_line_with_any_line_ending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        for text in [
            WANG.to_owned(),
            format!("{WANG}\n"),
            format!("\u{feff}{WANG}\r\nmore\n"),
            format!("\n  {WANG} \r"),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(from_file("--id-number", &path).unwrap(), WANG, "{text:?}");
        }
        let utf16: Vec<u8> = "\u{feff}1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, reason) in [
            (b"".to_vec(), "contains no number"),
            (b"\n\n".to_vec(), "contains no number"),
            (b"1\xFF".to_vec(), "not UTF-8"),
            (utf16, "UTF-16"),
            (vec![b'1'; 5_000], "longer than any ID number"),
        ] {
            std::fs::write(&path, &bytes).unwrap();
            let failure = from_file("--guardian", &path).unwrap_err();
            assert!(
                failure.why().contains(reason) && failure.why().contains("--guardian"),
                "{}",
                failure.line()
            );
            assert_eq!(failure.exit(), 2);
        }
        assert_eq!(
            from_file("--id-number", Path::new("/nonexistent")).unwrap_err().exit(),
            1
        );
    }

    #[test]
    fn a_lone_at_sign_names_no_file() {
        assert!(IdNumberArg::from_str("@").is_err());
        assert!(matches!(IdNumberArg::from_str("-"), Ok(IdNumberArg::StandardInput)));
        assert!(matches!(IdNumberArg::from_str("@-"), Ok(IdNumberArg::File(_))));
    }
}
