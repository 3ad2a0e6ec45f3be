//! A parsed table with line numbers: the values of its keys, and errors that name the line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::duration;
use crate::error::{PolicyFileError, Problem, quoted};

/// Limit of characters that are compared when searching for the nearest word; it bounds the work.
const MAX_COMPARED_CHARS: usize = 40;
/// Minimum similarity (Jaro-Winkler, 0 to 1) for a suggestion.
const LEAST_LIKENESS: f64 = 0.75;

/// One table of the file, with its entries in the order of the file.
pub(crate) struct Section<'a> {
    text: &'a str,
    path: String,
    at: usize,
    entries: Vec<(&'a str, Value<'a>)>,
}

/// One value of the file.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    text: &'a str,
    path: String,
    key_at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Section<'a> {
    /// Reads a table; if `known` is given, every other key is refused.
    pub(crate) fn new(
        text: &'a str,
        path: &str,
        at: usize,
        table: &'a DeTable<'a>,
        known: Option<&[&str]>,
    ) -> Result<Self, PolicyFileError> {
        let mut entries: Vec<(&str, Value<'_>)> = table
            .iter()
            .map(|(key, value)| {
                let name: &str = key.get_ref();
                let value = Value {
                    text,
                    path: join(path, name),
                    key_at: key.span().start,
                    value,
                };
                (name, value)
            })
            .collect();
        entries.sort_by_key(|(_, value)| value.key_at);
        let section = Self {
            text,
            path: path.to_owned(),
            at,
            entries,
        };
        match known {
            Some(known) => section.only(known),
            None => Ok(section),
        }
    }

    fn only(self, known: &[&str]) -> Result<Self, PolicyFileError> {
        match self.entries.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(self),
            Some((key, value)) => Err(value.at_key(Problem::UnknownKey {
                nearest: nearest(key, known.iter().copied()),
                known: known.join(", "),
            })),
        }
    }

    /// Every entry, in the order of the file; more than `most` are refused.
    pub(crate) fn entries(&self, most: usize) -> Result<&[(&'a str, Value<'a>)], PolicyFileError> {
        if self.entries.len() > most {
            return Err(self.problem(Problem::TooMany { most }));
        }
        Ok(&self.entries)
    }

    pub(crate) fn optional(&self, key: &str) -> Option<&Value<'a>> {
        self.entries
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    pub(crate) fn required(&self, key: &str) -> Result<&Value<'a>, PolicyFileError> {
        self.optional(key)
            .ok_or_else(|| PolicyFileError::invalid(self.text, self.at, &join(&self.path, key), Problem::Missing))
    }

    /// A boolean that defaults to false.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, PolicyFileError> {
        self.optional(key).map_or(Ok(false), Value::boolean)
    }

    pub(crate) fn problem(&self, problem: Problem) -> PolicyFileError {
        PolicyFileError::invalid(self.text, self.at, &self.path, problem)
    }
}

impl<'a> Value<'a> {
    pub(crate) fn problem(&self, problem: Problem) -> PolicyFileError {
        PolicyFileError::invalid(self.text, self.value.span().start, &self.path, problem)
    }

    pub(crate) fn at_key(&self, problem: Problem) -> PolicyFileError {
        PolicyFileError::invalid(self.text, self.key_at, &self.path, problem)
    }

    fn wrong_type(&self, expected: &'static str) -> PolicyFileError {
        self.problem(Problem::WrongType {
            expected,
            found: self.value.get_ref().type_str(),
        })
    }

    pub(crate) fn string(&self) -> Result<&'a str, PolicyFileError> {
        self.value
            .get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type("a text in quotes"))
    }

    pub(crate) fn boolean(&self) -> Result<bool, PolicyFileError> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.wrong_type("true or false"))
    }

    /// A whole number within inclusive bounds.
    pub(crate) fn number(&self, least: i64, greatest: i64) -> Result<i64, PolicyFileError> {
        let integer = self
            .value
            .get_ref()
            .as_integer()
            .ok_or_else(|| self.wrong_type("a whole number"))?;
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (least..=greatest).contains(number))
            .ok_or_else(|| self.problem(Problem::NumberBounds { least, greatest }))
    }

    /// A duration in milliseconds within bounds, which are in text form too.
    pub(crate) fn duration_ms(&self, least: &'static str, greatest: &'static str) -> Result<i64, PolicyFileError> {
        let expected = "a duration in quotes, e.g. \"30d\"";
        let text = self.value.get_ref().as_str().ok_or_else(|| self.wrong_type(expected))?;
        let ms = duration::parse_ms(text).ok_or_else(|| self.problem(Problem::NotADuration { text: quoted(text) }))?;
        let bound = |text| duration::parse_ms(text).expect("bounds are written as durations");
        if (bound(least)..=bound(greatest)).contains(&ms) {
            Ok(ms)
        } else {
            Err(self.problem(Problem::DurationBounds { least, greatest }))
        }
    }

    /// Like [`Self::duration_ms`], in seconds; a fraction of a second is refused, not truncated.
    pub(crate) fn duration_seconds(&self, least: &'static str, greatest: &'static str) -> Result<i64, PolicyFileError> {
        let ms = self.duration_ms(least, greatest)?;
        if ms % 1_000 == 0 {
            Ok(ms / 1_000)
        } else {
            Err(self.problem(Problem::NotWholeSeconds))
        }
    }

    /// A list of at most `most` values.
    pub(crate) fn list(&self, most: usize) -> Result<Vec<Self>, PolicyFileError> {
        let array = self
            .value
            .get_ref()
            .as_array()
            .ok_or_else(|| self.wrong_type("a list in square brackets"))?;
        if array.len() > most {
            return Err(self.problem(Problem::TooMany { most }));
        }
        Ok(array
            .iter()
            .map(|value| Self {
                text: self.text,
                path: self.path.clone(),
                key_at: self.key_at,
                value,
            })
            .collect())
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Reads a table; if `known` is given, every other key is refused.
    pub(crate) fn section(&self, known: Option<&[&str]>) -> Result<Section<'a>, PolicyFileError> {
        let table = self
            .value
            .get_ref()
            .as_table()
            .ok_or_else(|| self.wrong_type("a table"))?;
        Section::new(self.text, &self.path, self.key_at, table, known)
    }

    /// Reads one of the given words and returns its meaning.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, PolicyFileError> {
        let word = self.string()?;
        if let Some((_, meaning)) = words.iter().find(|(known, _)| *known == word) {
            return Ok(*meaning);
        }
        Err(self.unknown_word(word, &words.iter().map(|(known, _)| *known).collect::<Vec<_>>()))
    }

    pub(crate) fn unknown_word(&self, word: &str, known: &[&str]) -> PolicyFileError {
        self.problem(Problem::UnknownWord {
            word: quoted(word),
            nearest: nearest(word, known.iter().copied()),
            known: known.join(", "),
        })
    }
}

/// The most similar known word, if any is similar enough.
pub(crate) fn nearest<S: AsRef<str>>(word: &str, known: impl IntoIterator<Item = S>) -> Option<String> {
    let word: String = word
        .chars()
        .take(MAX_COMPARED_CHARS)
        .flat_map(char::to_lowercase)
        .collect();
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&word, &known.as_ref().to_lowercase()), known))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.as_ref().to_owned())
}

fn join(path: &str, key: &str) -> String {
    let key = quoted(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
