//! A file used as a phone's key store, so that live and family codes can be tried without a phone.
//!
//! ```text
//! 0600 { "version": 1, "keys": [ { "command_id", "kind", "seed": base64url, "code_id"?, "token_sha256"? } ] }
//! ```
//! Each issue draws a new key (R29). The key is written before the code is requested, so that a crash in between loses
//! no code: the same command id finds the same key again. Keys of dead codes are kept; they give no access.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use citycode_domain::claims::DeviceKey;
use citycode_domain::time::Timestamp;
use citycode_service_kit::entropy::{Draw as _, Entropy};
use citycode_service_kit::files;
use citycode_token::{DeviceSigner, Scan, present};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use citycode_terminal::failure::Failure;

const VERSION: u32 = 1;
const ANOTHER_FILE: &str = "give another file, or a new one: it is created if absent";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    version: u32,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    command_id: Uuid,
    kind: String,
    seed: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
}

/// A key store in a file.
pub struct Phone {
    path: PathBuf,
}

impl Phone {
    /// The key store at `path`; [`Self::key_for`] creates the file.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The public key for the code that this command requests, as a JWK (RFC 8037): drawn and stored now, or the stored
    /// one if the command is repeated.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be used.
    pub fn key_for(&self, command_id: Uuid, kind: &str, entropy: &dyn Entropy) -> Result<Value, Failure> {
        let _lock = self.lock()?;
        let mut store = self.read(true)?;
        let at = store.keys.iter().position(|entry| entry.command_id == command_id);
        let entry = match at {
            Some(at) => &store.keys[at],
            None => {
                let seed = Zeroizing::new(entropy.array::<32>());
                store.keys.push(Entry {
                    command_id,
                    kind: kind.to_owned(),
                    seed: Zeroizing::new(BASE64URL_NOPAD.encode(&*seed)),
                    code_id: None,
                    token_sha256: None,
                });
                self.write(&store)?;
                store.keys.last().expect("just pushed")
            }
        };
        let DeviceKey::Ed25519(public) = self.signer(entry)?.device_key() else {
            unreachable!("every signer in this file is Ed25519");
        };
        Ok(json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(&public)}))
    }

    /// Records the code that the command issued, so that [`Self::present`] finds its key.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be used.
    pub fn record_code(&self, command_id: Uuid, code_id: &str, token: &str) -> Result<(), Failure> {
        let _lock = self.lock()?;
        let mut store = self.read(false)?;
        let digest = token_digest(token)?;
        for entry in store.keys.iter_mut().filter(|entry| entry.command_id == command_id) {
            entry.code_id = Some(code_id.to_owned());
            entry.token_sha256 = Some(digest.clone());
        }
        self.write(&store)
    }

    /// Removes the key of a refused command, which issued no code and never will.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be used.
    pub fn forget(&self, command_id: Uuid) -> Result<(), Failure> {
        let _lock = self.lock()?;
        let mut store = self.read(true)?;
        let unused = |entry: &Entry| entry.command_id == command_id && entry.code_id.is_none();
        if store.keys.iter().any(unused) {
            store.keys.retain(|entry| !unused(entry));
            self.write(&store)?;
        }
        Ok(())
    }

    /// The presentation that the phone displays at `time`.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be used or contains no key for this token, or if the token is invalid.
    pub fn present(&self, token: &str, time: Timestamp) -> Result<String, Failure> {
        let store = self.read(false)?;
        let digest = token_digest(token)?;
        let found = store
            .keys
            .iter()
            .find(|entry| entry.token_sha256.as_ref() == Some(&digest));
        let entry = found.ok_or_else(|| {
            Failure::local(
                "cannot present this code",
                format_args!("{} contains no key for it", self.path.display()),
                "give the file with which it was issued, or issue it again with --phone",
            )
        })?;
        present(token, &self.signer(entry)?, time, None)
            .map_err(|error| Failure::local("cannot present this code", error, "check --token and --at"))
    }

    fn signer(&self, entry: &Entry) -> Result<DeviceSigner, Failure> {
        let seed = BASE64URL_NOPAD.decode(entry.seed.as_bytes()).ok().map(Zeroizing::new);
        let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok());
        seed.map(DeviceSigner::from_seed)
            .ok_or_else(|| self.damaged("a key in it is damaged"))
    }

    fn read(&self, may_be_absent: bool) -> Result<Store, Failure> {
        if may_be_absent && !self.path.exists() {
            return Ok(Store {
                version: VERSION,
                keys: Vec::new(),
            });
        }
        let bytes = files::read_private(&self.path).map_err(|error| self.unusable(&error))?;
        let store: Store =
            serde_json::from_slice(&bytes).map_err(|_| self.damaged("it is not a key store of this program"))?;
        if store.version != VERSION {
            return Err(self.damaged("it was written by another version of this program"));
        }
        Ok(store)
    }

    fn write(&self, store: &Store) -> Result<(), Failure> {
        let bytes = Zeroizing::new(serde_json::to_vec_pretty(store).expect("texts and numbers are always JSON"));
        files::write_atomic(&self.path, &bytes, files::PRIVATE_FILE_MODE).map_err(|error| self.unusable(&error))
    }

    /// Locks the store, so that concurrent commands do not lose each other's keys. Blocks; the lock file is not
    /// removed.
    fn lock(&self) -> Result<File, Failure> {
        let mut name = self.path.clone().into_os_string();
        name.push(".lock");
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(files::PRIVATE_FILE_MODE)
            .open(name);
        opened
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| Failure::file("lock", &self.path, error))
    }

    fn unusable(&self, error: &files::FileError) -> Failure {
        Failure::local(
            format_args!("cannot use the key store {}", self.path.display()),
            citycode_terminal::failure::root_cause(error),
            ANOTHER_FILE,
        )
    }

    fn damaged(&self, why: &str) -> Failure {
        Failure::local(
            format_args!("cannot use the key store {}", self.path.display()),
            why,
            ANOTHER_FILE,
        )
    }
}

fn token_digest(token: &str) -> Result<String, Failure> {
    let scan = Scan::read(token).map_err(|_| {
        Failure::usage(
            "the text is not a token",
            "give the text inside the QR, CC1:… or CC1P:…",
        )
    })?;
    Ok(HEXLOWER.encode(&scan.cwt_digest().0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use citycode_service_kit::entropy::SeededEntropy;

    use super::*;

    #[test]
    fn r29_each_command_has_its_own_key_and_a_repetition_finds_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phone.json");
        let (phone, entropy) = (Phone::at(&path), SeededEntropy::new(1));
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = phone.key_for(one, "live", &entropy).unwrap();
        let second = phone.key_for(two, "live", &entropy).unwrap();
        assert_ne!(first, second);
        assert_eq!(phone.key_for(one, "live", &entropy).unwrap(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_key_of_a_refused_command_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (phone, entropy) = (Phone::at(&dir.path().join("phone.json")), SeededEntropy::new(1));
        let (refused, unsure) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let key = phone.key_for(refused, "live", &entropy).unwrap();
        let kept = phone.key_for(unsure, "live", &entropy).unwrap();
        phone.forget(refused).unwrap();
        phone.forget(refused).unwrap();
        assert_eq!(phone.read(false).unwrap().keys.len(), 1);
        assert_eq!(phone.key_for(unsure, "live", &entropy).unwrap(), kept);
        assert_ne!(phone.key_for(refused, "live", &entropy).unwrap(), key);
    }

    #[test]
    fn a_file_that_is_no_key_store_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phone.json");
        files::create_private(&path, b"{\"precious\":1}").unwrap();
        let failure = Phone::at(&path)
            .key_for(Uuid::from_u128(1), "live", &SeededEntropy::new(1))
            .unwrap_err();
        assert_eq!(failure.exit(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"precious\":1}");
    }

    #[test]
    fn an_invalid_token_cannot_be_presented() {
        let dir = tempfile::tempdir().unwrap();
        let phone = Phone::at(&dir.path().join("phone.json"));
        phone
            .key_for(Uuid::from_u128(1), "live", &SeededEntropy::new(1))
            .unwrap();
        assert_eq!(phone.present("HELLO", Timestamp(1)).unwrap_err().exit(), 2);
    }
}
