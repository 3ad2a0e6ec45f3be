//! A checked policy together with its text and digest, as services adopt it.

use std::path::Path;
use std::sync::Arc;

use citycode_domain::event::PolicyAdopted;
use citycode_domain::ids::PolicyDigest;
use citycode_domain::policy::Policy;
use sha2::{Digest as _, Sha256};

use crate::{PolicyFileError, SHANGHAI, parse, read_text};

/// A checked policy and the text that it was parsed from.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The text, without a byte order mark.
    pub text: Arc<str>,
    /// SHA-256 of the text.
    pub digest: PolicyDigest,
}

impl PolicyFile {
    /// Parses and checks a text.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(text: &str) -> Result<Self, PolicyFileError> {
        Ok(Self {
            policy: Arc::new(parse(text)?),
            text: text.into(),
            digest: PolicyDigest(Sha256::digest(text.as_bytes()).into()),
        })
    }

    /// Reads a file, or takes Shanghai's policy if there is no path.
    ///
    /// # Errors
    /// As [`crate::read`].
    pub fn open(path: Option<&Path>) -> Result<Self, PolicyFileError> {
        match path {
            Some(path) => Self::parse(&read_text(path)?),
            None => Self::parse(SHANGHAI),
        }
    }

    /// The event that puts the policy into the log.
    #[must_use]
    pub fn adopted(&self) -> PolicyAdopted {
        PolicyAdopted {
            digest: self.digest,
            text: self.text.to_string(),
        }
    }

    /// The policy of an event, if its text has the event's digest and is a policy.
    ///
    /// # Errors
    /// Why the text is not the policy of the event, in one sentence.
    pub fn of(event: &PolicyAdopted) -> Result<Self, String> {
        let file = Self::parse(&event.text).map_err(|error| error.to_string())?;
        if file.digest != event.digest {
            return Err(format!("the text of policy {} has another digest", event.digest));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CAMPUS;

    #[test]
    fn the_digest_depends_only_on_the_content_of_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.toml");
        let shanghai = PolicyFile::open(None).expect("a policy");
        std::fs::write(&path, format!("\u{feff}{SHANGHAI}")).expect("written");
        let same = PolicyFile::open(Some(&path)).expect("a policy");
        assert_eq!((&same.policy.name[..], same.digest), ("shanghai", shanghai.digest));
        let campus = PolicyFile::parse(CAMPUS).expect("a policy");
        assert_ne!(campus.digest, shanghai.digest);
        // `sha256sum` of the file.
        let digest = Sha256::digest(SHANGHAI.as_bytes());
        assert_eq!(shanghai.digest.0, <[u8; 32]>::from(digest));
    }

    #[test]
    fn an_event_whose_text_was_changed_is_refused() {
        let adopted = PolicyFile::parse(CAMPUS).expect("a policy").adopted();
        assert!(PolicyFile::of(&adopted).is_ok());
        let changed = PolicyAdopted {
            text: format!("{} ", adopted.text),
            ..adopted.clone()
        };
        assert!(PolicyFile::of(&changed).is_err_and(|error| error.contains("another digest")));
        let broken = PolicyAdopted {
            text: "name =".into(),
            ..adopted
        };
        assert!(PolicyFile::of(&broken).is_err());
    }
}
