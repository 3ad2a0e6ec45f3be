//! The manifest of a vault, in the metadata of its stream, and the stream's settings.
//!
//! ```text
//! citycode.vault.format   2
//! citycode.vault.id       <32 hex digits>
//! citycode.vault.log_id   <32 hex digits: the log of these people>
//! citycode.vault.pages    <decimal: pages of each table, a power of two>
//! citycode.vault.origin   begun-anew | import      absent if it was created together with its log
//! ```
//! Format 1 also had `citycode.vault.check`: the first half of HMAC-SHA-256(master key,
//! "citycode-vault-check-v1" ‖ id). Since then the pages of keys show whether a key is the right one.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use citycode_jetstream::settings::keeping_all;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use super::STREAM;

const FORMAT: &str = "2";
const FIRST_FORMAT: &str = "1";
/// Maximum size of a page: below the servers' default limit of one megabyte, minus the overhead.
pub(super) const MAX_PAGE_BYTES: usize = 900 * 1024;
/// Overhead of a page: the version, the wrapped key, the seal, and the headers.
const AROUND_BYTES: usize = 4 * 1024;

/// Parameters of a vault to create.
#[derive(Debug, Clone, Copy)]
pub struct NewVault {
    /// Its identity: 16 random bytes.
    pub vault_id: [u8; 16],
    /// The log of the people in it.
    pub log_id: [u8; 16],
    /// Pages of each of its two tables, a power of two from 1 to 65,536, which can never be changed. A page is
    /// read and written as a whole: 25 million people on 65,536 pages are 380 per page, 70 kB.
    pub pages: u32,
    /// The purpose for which it is created.
    pub origin: Origin,
}

/// The purpose of an empty vault. The log may have holders who are not in it and who would be registered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// A new log: nobody is registered yet.
    #[default]
    NewLog,
    /// The log's vault was lost: the first issuer suspends every valid code before it serves requests.
    BegunAnew,
    /// The people of another vault of the same log will be imported.
    Import,
}

impl Origin {
    /// The name in the metadata; `None` if the metadata has no entry.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::NewLog => None,
            Self::BegunAnew => Some("begun-anew"),
            Self::Import => Some("import"),
        }
    }

    fn from_name(name: Option<&str>) -> Result<Self, String> {
        let known = [Self::NewLog, Self::BegunAnew, Self::Import];
        let found = known.into_iter().find(|origin| origin.name() == name);
        found.ok_or_else(|| "`citycode.vault.origin` is of a newer release".into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) vault_id: [u8; 16],
    pub(super) log_id: [u8; 16],
    pub(super) pages: u32,
    pub(super) origin: Origin,
    /// Only in format 1.
    check: Option<[u8; 16]>,
}

impl Manifest {
    pub(super) fn new(new: &NewVault) -> Self {
        let NewVault {
            vault_id,
            log_id,
            pages,
            origin,
        } = *new;
        Self {
            vault_id,
            log_id,
            pages: pages.clamp(1, 1 << 16).next_power_of_two(),
            origin,
            check: None,
        }
    }

    /// Whether a program of format 1 created it under this master key.
    pub(super) fn is_of_first_format_under(&self, master: &[u8; 32]) -> bool {
        let expected = check(master, &self.vault_id);
        self.check
            .is_some_and(|check| aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &check).is_ok())
    }

    pub(super) fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |name: &str| {
            let found = metadata.get(&format!("citycode.vault.{name}"));
            found.ok_or_else(|| format!("`citycode.vault.{name}` is missing"))
        };
        let bytes = |name: &str| {
            let decoded = HEXLOWER.decode(text(name)?.as_bytes()).ok();
            let decoded: Option<[u8; 16]> = decoded.and_then(|bytes| bytes.try_into().ok());
            decoded.ok_or_else(|| format!("`citycode.vault.{name}` is not 32 hex digits"))
        };
        if ![FORMAT, FIRST_FORMAT].contains(&text("format")?.as_str()) {
            return Err(format!(
                "its format is {}, and this program supports {FORMAT}",
                text("format")?
            ));
        }
        let pages = text("pages")?.parse::<u32>().ok();
        let pages = pages.filter(|pages| pages.is_power_of_two() && *pages <= 1 << 16);
        Ok(Self {
            vault_id: bytes("id")?,
            log_id: bytes("log_id")?,
            pages: pages.ok_or("`citycode.vault.pages` is not a power of two up to 65536")?,
            origin: Origin::from_name(metadata.get("citycode.vault.origin").map(String::as_str))?,
            check: (text("format")? == FIRST_FORMAT).then(|| bytes("check")).transpose()?,
        })
    }

    /// The body of the request that creates the stream.
    pub(super) fn request(&self, replicas: u8) -> Value {
        let mut request = settings(replicas);
        let mut metadata = json!({
            "citycode.vault.format": FORMAT,
            "citycode.vault.id": HEXLOWER.encode(&self.vault_id),
            "citycode.vault.log_id": HEXLOWER.encode(&self.log_id),
            "citycode.vault.pages": self.pages.to_string(),
        });
        if let Some(name) = self.origin.name() {
            metadata["citycode.vault.origin"] = name.into();
        }
        request.insert("metadata".into(), metadata);
        Value::Object(request)
    }
}

fn check(master: &[u8; 32], vault_id: &[u8; 16]) -> [u8; 16] {
    let key = super::keys::first_format(master, b"citycode-vault-check-v1");
    let tag = hmac::sign(&key, vault_id);
    *tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes")
}

/// Every version of a page is retained until it is overwritten explicitly, because the server does not
/// overwrite messages that its limits remove.
pub(super) fn settings(replicas: u8) -> Map<String, Value> {
    let subjects = super::page_id::ALL_SUBJECTS;
    keeping_all(STREAM, subjects, replicas, MAX_PAGE_BYTES + AROUND_BYTES, false)
}
