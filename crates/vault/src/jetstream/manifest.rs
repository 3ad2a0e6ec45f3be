//! What a vault is, as it stands in the metadata of its stream, and how the stream is set up.
//!
//! ```text
//! citycode.vault.format   2
//! citycode.vault.id       <32 hex digits>
//! citycode.vault.log_id   <32 hex digits: whose people these are>
//! citycode.vault.pages    <decimal: pages of each table, a power of two>
//! citycode.vault.origin   begun-anew | import      absent where it was made together with its log
//! ```
//! Format 1 had one more, `citycode.vault.check`: HMAC-SHA-256(master key, "citycode-vault-check-v1" ‖ id), the first
//! half. Since then the pages of keys say whose they are.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use super::STREAM;

const FORMAT: &str = "2";
const FIRST_FORMAT: &str = "1";
/// Largest page: below the megabyte that servers take by default, with room for what stands around it.
pub(super) const MAX_PAGE_BYTES: usize = 900 * 1024;
/// Around the page: the version, the wrapped key, the seal, and the headers.
const AROUND_BYTES: usize = 4 * 1024;

/// A vault to make where there is none yet.
#[derive(Debug, Clone, Copy)]
pub struct NewVault {
    /// Its identity: 16 random bytes.
    pub vault_id: [u8; 16],
    /// The log whose people it holds.
    pub log_id: [u8; 16],
    /// Pages of each of its two tables, a power of two from 1 to 65,536, fixed for ever. A page is read and written
    /// whole: 25 million people on 65,536 pages are 380 a page, 70 kB.
    pub pages: u32,
    /// What it is made for.
    pub origin: Origin,
}

/// What an empty vault was made for. The log may have holders whom it does not know, and who would register again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// A new log: nobody is registered yet.
    #[default]
    NewLog,
    /// The log's vault is lost: the first issuer suspends every living code before it serves anybody.
    BegunAnew,
    /// The people of another vault of the log are imported next.
    Import,
}

impl Origin {
    /// Its name in the metadata; none where nothing is noted.
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
        found.ok_or_else(|| "`citycode.vault.origin` is of a later release".into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) vault_id: [u8; 16],
    pub(super) log_id: [u8; 16],
    pub(super) pages: u32,
    pub(super) origin: Origin,
    /// Of format 1 alone.
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

    /// Whether it was made by a program of format 1, under this master key.
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
                "its format is {}, and this program knows {FORMAT}",
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

    /// The body of a request that makes the stream.
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
    *tag.as_ref().first_chunk().expect("HMAC-SHA-256 gives 32 bytes")
}

/// Every version of a page stays until it is overwritten by name: what the server drops by itself it does not
/// overwrite.
pub(super) fn settings(replicas: u8) -> Map<String, Value> {
    let settings = json!({
        "name": STREAM,
        "subjects": [super::pages::ALL_SUBJECTS],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": MAX_PAGE_BYTES + AROUND_BYTES,
        "duplicate_window": 120_000_000_000_u64,
        "compression": "none",
        "allow_direct": true,
        "deny_delete": false,
        "deny_purge": true,
    });
    let Value::Object(settings) = settings else {
        unreachable!("json! of braces is an object")
    };
    settings
}
