//! Configuration: one documented TOML file per service, overridden by the environment (`CITYCODE__A__B` for `a.b`),
//! which is overridden by flags. Unknown keys are refused, with the line and the nearest known key.
//!
//! A service's configuration is a plain serde struct with `#[serde(deny_unknown_fields)]` on every level; that
//! attribute causes the refusal. Secrets may be read from files: for a key in [`Sources::secrets`], for example
//! `vault.master_key`, `vault.master_key_file = "PATH"` or `CITYCODE__VAULT__MASTER_KEY_FILE=PATH` is allowed too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::files;

/// The prefix of environment variables; the rest is the path, joined by `__`.
const ENV_PREFIX: &str = "CITYCODE__";
/// Minimum similarity of a known key to an unknown one to be suggested (Jaro-Winkler, 0 to 1).
const NEAR: f64 = 0.75;

/// The sources of a configuration. Later fields override earlier ones.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one was named. A named file must exist.
    pub file: Option<PathBuf>,
    /// The environment; [`Sources::from_process`] uses the process's.
    pub env: BTreeMap<String, String>,
    /// Dotted key and text of each flag that was given.
    pub flags: Vec<(String, String)>,
    /// Dotted keys of secrets, which may be read from files.
    pub secrets: Vec<String>,
}

/// Why a configuration is refused. Texts name keys and locations, never values of secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file of a secret cannot be used.
    #[error(transparent)]
    Secret(#[from] files::FileError),
    /// The file is not TOML.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line and the error.
        message: String,
    },
    /// An unknown key.
    #[error("{place}: unknown key {key:?}{}", suggestion(.nearest))]
    UnknownKey {
        /// The file with its line, or the environment or flags.
        place: String,
        /// The key, without its path.
        key: String,
        /// The known key that resembles it most.
        nearest: Option<String>,
    },
    /// A value has a wrong type or shape, or is missing.
    #[error("configuration: {0}")]
    Value(String),
    /// A secret is given twice.
    #[error("both {0} and {0}_file are given; keep one")]
    SecretTwice(String),
    /// The values have the right types but are invalid.
    #[error("configuration: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(known) => format!("; did you mean {known:?}?"),
        None => String::new(),
    }
}

/// Validation of a configuration beyond the types of its values.
pub trait Validate {
    /// One sentence for each error, which names the key; empty if the configuration is valid.
    fn validate(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A secret text. It is zeroized on drop and never shown by `Debug`.
#[derive(Clone, serde::Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Sources {
    /// The file, and this process's environment.
    #[must_use]
    pub fn from_process(file: Option<PathBuf>) -> Self {
        Self {
            file,
            env: std::env::vars_os()
                .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
                .filter(|(key, _)| key.starts_with(ENV_PREFIX))
                .collect(),
            flags: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Adds a flag, if given.
    #[must_use]
    pub fn with_flag(mut self, key: &str, value: Option<impl ToString>) -> Self {
        self.flags
            .extend(value.map(|value| (key.to_owned(), value.to_string())));
        self
    }

    /// Names the keys that may be read from files.
    #[must_use]
    pub fn with_secrets(mut self, keys: &[&str]) -> Self {
        self.secrets.extend(keys.iter().map(|key| (*key).to_owned()));
        self
    }
}

/// Reads and validates the configuration. It performs blocking file I/O.
///
/// # Errors
/// [`ConfigError`].
pub fn load<T: DeserializeOwned + Validate>(sources: &Sources) -> Result<T, ConfigError> {
    let mut table = BTreeMap::new();
    if let Some(path) = &sources.file {
        table = read_file::<T>(path, &sources.secrets)?;
    }
    for (name, text) in &sources.env {
        if let Some(key) = name.strip_prefix(ENV_PREFIX) {
            table.insert(key.replace("__", ".").to_lowercase(), from_text(text));
        }
    }
    for (key, text) in &sources.flags {
        table.insert(key.clone(), from_text(text));
    }
    read_secrets(&mut table, &sources.secrets)?;
    let mut builder = Config::builder();
    for (key, value) in table {
        builder = builder.set_override(key, value).map_err(|error| wrong(&error))?;
    }
    let loaded: T = builder
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| wrong(&error))?;
    let errors = loaded.validate();
    if errors.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError::Invalid(errors))
    }
}

/// Implements `--check-config`: reads and validates the configuration, and returns the line to print.
///
/// # Errors
/// [`ConfigError`], which is printed instead.
pub fn check<T: DeserializeOwned + Validate>(sources: &Sources) -> Result<String, ConfigError> {
    load::<T>(sources)?;
    Ok(match &sources.file {
        Some(path) => format!("{}: the configuration is good", path.display()),
        None => "the configuration is good".to_owned(),
    })
}

/// Checks the syntax and keys of the file, and reads it into dotted keys.
fn read_file<T: DeserializeOwned>(
    path: &Path,
    secrets: &[String],
) -> Result<BTreeMap<String, config::Value>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let whole: toml::Table = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_path_buf(),
        message: format!("line {}: {}", line_of(&text, error.span()), error.message()),
    })?;
    // Only the toml crate reports lines. It checks for unknown keys only, because missing keys may come from the
    // environment. A secret's `_file` key is not a field of the struct and is therefore blanked.
    let visible = without_secret_files(&text, secrets);
    if let Err(error) = toml::from_str::<T>(&visible)
        && let Some((key, known)) = unknown_field(error.message())
    {
        return Err(ConfigError::UnknownKey {
            place: format!("{} line {}", path.display(), line_of(&visible, error.span())),
            nearest: nearest(&key, &known),
            key,
        });
    }
    let mut leaves = BTreeMap::new();
    flatten("", whole, &mut leaves)?;
    Ok(leaves)
}

/// Blanks the lines of `…_file` keys of secrets, so that the other lines keep their numbers.
fn without_secret_files(text: &str, secrets: &[String]) -> String {
    let is_secret_file = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        secrets.iter().any(|secret| {
            let last = secret.rsplit('.').next().unwrap_or(secret);
            key.rsplit('.').next() == Some(&format!("{last}_file"))
        })
    };
    text.lines()
        .map(|line| if is_secret_file(line) { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Converts tables to dotted keys; everything else, including arrays of tables, is a leaf. An empty table has no
/// effect.
fn flatten(prefix: &str, table: toml::Table, leaves: &mut BTreeMap<String, config::Value>) -> Result<(), ConfigError> {
    for (key, value) in table {
        let dotted = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&dotted, inner, leaves)?,
            leaf => {
                let leaf = leaf_value(leaf).ok_or_else(|| ConfigError::Value(format!("{dotted} cannot be read")))?;
                leaves.insert(dotted, leaf);
            }
        }
    }
    Ok(())
}

/// Converts a TOML value to one of the `config` crate, through that crate's TOML reader.
fn leaf_value(value: toml::Value) -> Option<config::Value> {
    let mut table = toml::Table::new();
    table.insert("leaf".to_owned(), value);
    let text = toml::to_string(&table).ok()?;
    Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build()
        .and_then(|config| config.get("leaf"))
        .ok()
}

/// The value of a text from the environment or a flag: a list if it is written as a TOML list, else a string, which is
/// converted to the type of its field.
fn from_text(text: &str) -> config::Value {
    let list = text
        .trim_start()
        .starts_with('[')
        .then(|| toml::from_str::<toml::Table>(&format!("leaf = {text}")).ok())
        .flatten()
        .and_then(|mut table| table.remove("leaf"))
        .and_then(leaf_value);
    list.unwrap_or_else(|| config::Value::from(text))
}

fn read_secrets(table: &mut BTreeMap<String, config::Value>, secrets: &[String]) -> Result<(), ConfigError> {
    for key in secrets {
        let Some(path) = table.remove(&format!("{key}_file")) else {
            continue;
        };
        if table.contains_key(key) {
            return Err(ConfigError::SecretTwice(key.clone()));
        }
        let path = PathBuf::from(
            path.into_string()
                .map_err(|_| ConfigError::Value(format!("{key}_file is not a path")))?,
        );
        let bytes = files::read_private(&path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| ConfigError::Value(format!("{key}_file is not text")))?;
        // Editors and `echo` append a line end that is not part of the secret.
        let secret = text.strip_suffix('\n').unwrap_or(text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        table.insert(key.clone(), config::Value::from(secret));
    }
    Ok(())
}

fn wrong(error: &config::ConfigError) -> ConfigError {
    let message = error.to_string();
    match unknown_field(&message) {
        Some((key, known)) => ConfigError::UnknownKey {
            place: "environment or flags".to_owned(),
            nearest: nearest(&key, &known),
            key,
        },
        None => ConfigError::Value(message),
    }
}

/// Parses serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.split_once("unknown field `")?.1;
    let (key, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

fn nearest(key: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start).min(text.len());
    text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
