//! Names of secrets.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// The name of a secret. Its text form (`names`, `day-20417`, `person-<32 hex digits>`) is the name of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SecretName {
    /// The key of persons' names.
    Names,
    /// The key of a day (days since 1970, UTC).
    Day(u32),
    /// The number of a person, by a digest of the holder id under [`SecretName::Names`].
    Person([u8; 16]),
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names => f.write_str("names"),
            Self::Day(day) => write!(f, "day-{day}"),
            Self::Person(digest) => write!(f, "person-{}", HEXLOWER.encode(digest)),
        }
    }
}

/// The text names no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this names no secret of the stream of queries")]
pub struct NotASecret;

impl FromStr for SecretName {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        if text == "names" {
            return Ok(Self::Names);
        }
        if let Some(day) = text.strip_prefix("day-") {
            return day.parse().map(Self::Day).map_err(|_| NotASecret);
        }
        let digest = text.strip_prefix("person-").ok_or(NotASecret)?;
        let digest = HEXLOWER.decode(digest.as_bytes()).map_err(|_| NotASecret)?;
        digest.try_into().map(Self::Person).map_err(|_| NotASecret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in [
            SecretName::Names,
            SecretName::Day(20_417),
            SecretName::Person([0xa7; 16]),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for text in [
            "",
            "day-",
            "day--1",
            "day-4294967296",
            "person-",
            "person-A7",
            "names-1",
        ] {
            assert_eq!(text.parse::<SecretName>(), Err(NotASecret), "{text}");
        }
    }
}
