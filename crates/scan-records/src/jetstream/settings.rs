//! The settings and metadata of the streams.
//!
//! ```text
//! CC_SCAN_KEYS:  citycode.scans.format   1
//!                citycode.scans.log_id   <32 hex digits: the log of the scanned codes>
//!                citycode.scans.buckets  <decimal: buckets of each day's registrations, a power of two>
//!                citycode.scans.check    <32 hex digits: HMAC-SHA-256(verifiers' secret, "citycode scans check v1" ‖
//!                                        log id), the first half>
//!                citycode.scans.archive  <32 hex digits: the same under the archive's secret>
//! each day's:    citycode.scans.day      <decimal: days since 1970, UTC>
//! ```

use std::collections::BTreeMap;

use citycode_jetstream::{SettingMismatch, settings};
use citycode_vault::HolderKey;
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};

use super::names;

const FORMAT: &str = "1";
/// Maximum size of a chunk of ordinary scans; the servers' default limit is one megabyte.
pub(crate) const MAX_CHUNK_BYTES: usize = 512 * 1024;
/// Maximum size of a registration, whose longest texts are three of 128 bytes.
const MAX_REGISTRATION_BYTES: usize = 4 * 1024;
/// Overhead of a message: seal and headers.
const AROUND_BYTES: usize = 4 * 1024;
/// Limit of buckets per day.
const MAX_BUCKETS: u32 = 1 << 16;

/// The manifest of a city's scan records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: [u8; 16],
    pub(crate) buckets: u32,
    check: [u8; 16],
    archive: [u8; 16],
}

impl Manifest {
    pub(crate) fn new(log_id: [u8; 16], buckets: u32, secret: &HolderKey, archive: &HolderKey) -> Self {
        Self {
            log_id,
            buckets: buckets.clamp(1, MAX_BUCKETS).next_power_of_two(),
            check: check(secret, &log_id),
            archive: check(archive, &log_id),
        }
    }

    /// Whether it was created under this secret of verifiers.
    pub(crate) fn is_under(&self, secret: &HolderKey) -> bool {
        are_equal(&check(secret, &self.log_id), &self.check)
    }

    /// Whether it was created under this secret of the archive.
    pub(crate) fn is_archived_under(&self, archive: &HolderKey) -> bool {
        are_equal(&check(archive, &self.log_id), &self.archive)
    }

    pub(crate) fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |name: &str| {
            let found = metadata.get(&format!("citycode.scans.{name}"));
            found.ok_or_else(|| format!("`citycode.scans.{name}` is missing"))
        };
        let bytes = |name: &str| {
            let decoded = HEXLOWER.decode(text(name)?.as_bytes()).ok();
            let decoded: Option<[u8; 16]> = decoded.and_then(|bytes| bytes.try_into().ok());
            decoded.ok_or_else(|| format!("`citycode.scans.{name}` is not 32 hex digits"))
        };
        let format = text("format")?;
        if format != FORMAT {
            return Err(format!("its format is {format}, and this program supports {FORMAT}"));
        }
        let buckets = text("buckets")?.parse::<u32>().ok();
        let buckets = buckets.filter(|buckets| buckets.is_power_of_two() && *buckets <= MAX_BUCKETS);
        Ok(Self {
            log_id: bytes("log_id")?,
            buckets: buckets.ok_or("`citycode.scans.buckets` is not a power of two up to 65536")?,
            check: bytes("check")?,
            archive: bytes("archive")?,
        })
    }

    /// The body of the request that creates the stream of keys.
    pub(crate) fn request(&self, replicas: u8) -> Value {
        let mut request = of_keys(replicas);
        let metadata = json!({
            "citycode.scans.format": FORMAT,
            "citycode.scans.log_id": HEXLOWER.encode(&self.log_id),
            "citycode.scans.buckets": self.buckets.to_string(),
            "citycode.scans.check": HEXLOWER.encode(&self.check),
            "citycode.scans.archive": HEXLOWER.encode(&self.archive),
        });
        request.insert("metadata".into(), metadata);
        Value::Object(request)
    }
}

fn are_equal(one: &[u8; 16], other: &[u8; 16]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

fn check(secret: &HolderKey, log_id: &[u8; 16]) -> [u8; 16] {
    let digest = secret.digest(&[b"citycode scans check v1 ", log_id.as_slice()].concat());
    *digest.first_chunk().expect("HMAC-SHA-256 has 32 bytes")
}

/// The stream of keys. Messages can be deleted, and the server overwrites their bytes.
pub(crate) fn of_keys(replicas: u8) -> Map<String, Value> {
    settings::keeping_all(names::KEYS, names::ALL_KEYS, replicas, AROUND_BYTES, false)
}

/// The stream of a day's ordinary scans.
pub(crate) fn of_scans(day: u32, replicas: u8) -> Map<String, Value> {
    let most = MAX_CHUNK_BYTES + AROUND_BYTES;
    settings::keeping_all(&names::scans(day), &names::scans_subjects(day), replicas, most, true)
}

/// The stream of a day's registrations. Only the whole stream can be deleted, not single messages.
pub(crate) fn of_registered(day: u32, replicas: u8) -> Map<String, Value> {
    let most = MAX_REGISTRATION_BYTES + AROUND_BYTES;
    settings::keeping_all(
        &names::registered(day),
        &names::registered_subjects(day),
        replicas,
        most,
        true,
    )
}

/// The body of the request that creates a day's stream.
pub(crate) fn request(mut settings: Map<String, Value>, day: u32) -> Value {
    settings.insert("metadata".into(), json!({ "citycode.scans.day": day.to_string() }));
    Value::Object(settings)
}

/// The settings of an existing stream that differ from the required ones.
pub(crate) fn compare(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<SettingMismatch> {
    settings::compare(wanted, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_round_trips_and_checks_its_secrets() {
        let secret = HolderKey::new([1; 32]);
        let manifest = Manifest::new([2; 16], 4_000, &secret, &HolderKey::new([4; 32]));
        assert_eq!(manifest.buckets, 4_096);
        let request = manifest.request(3);
        let metadata = request["metadata"].as_object().expect("an object").iter();
        let metadata = metadata.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()));
        let mut metadata: BTreeMap<String, String> = metadata.collect();
        assert_eq!(Manifest::from_metadata(&metadata), Ok(manifest));
        assert!(manifest.is_under(&secret) && !manifest.is_under(&HolderKey::new([3; 32])));
        assert!(manifest.is_archived_under(&HolderKey::new([4; 32])) && !manifest.is_archived_under(&secret));
        metadata.insert("citycode.scans.buckets".into(), "1000".into());
        assert!(Manifest::from_metadata(&metadata).is_err());
    }
}
