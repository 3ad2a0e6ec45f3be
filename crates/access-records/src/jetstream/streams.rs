//! The streams of the records: their names, settings and metadata.

use citycode_jetstream::api::{self, ApiError, code};
use citycode_jetstream::{Client, ConnectError, SettingMismatch, settings};
use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::RecordsConfig;
use super::message::HEAD_BYTES;
use crate::{MAX_VALUE_BYTES, Table};

/// The subjects of all records, for permissions.
pub const SUBJECTS: &str = "cc.access.v1.*.*.*";
const SUBJECT: &str = "cc.access.v1";
const FORMAT: &str = "1";
/// Room of a stream above the limit of its table, for portals that create records at the same moment, for records that
/// expired within the last minute, and for the proof of freshness.
const SPARE_MESSAGES: u64 = 10_000;
/// Room for headers.
const HEADER_BYTES: usize = 1_024;

/// Why the records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A stream does not exist.
    #[error("the servers have no stream {0} for the pages' sessions and devices: run `citycode provision`")]
    NoStream(String),
    /// The metadata is not a manifest, or has a newer format.
    #[error("the manifest of the pages' records cannot be read: `citycode.access.{0}`")]
    Manifest(&'static str),
    /// The records were created under another key.
    #[error("the pages' records were created under another `session.key`")]
    OtherKey,
    /// The streams belong to different records.
    #[error(
        "the stream {0} of the pages' records was created at another time than the others: see docs/operations/city.md"
    )]
    Mixed(String),
    /// The settings of a stream allow a record to be lost.
    #[error("the stream {stream} has wrong settings: {}", settings::list(mismatches))]
    WrongSettings {
        /// The stream.
        stream: String,
        /// What differs.
        mismatches: Vec<SettingMismatch>,
    },
    /// A request was not answered.
    #[error("the pages' records cannot be inspected: {0}")]
    Unanswered(ApiError),
}

impl OpenError {
    /// Whether the error is transient.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !matches!(error, ConnectError::Seed),
            Self::Unanswered(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// The stream of a table.
#[must_use]
pub fn stream_name(table: Table) -> String {
    format!("CC_ACCESS_{}", table.name().to_ascii_uppercase())
}

/// Whether these are the subjects of this table's stream, for any records.
#[must_use]
pub fn is_subjects_of(table: Table, subjects: &[&str]) -> bool {
    let [subject] = subjects else { return false };
    let id = subject
        .strip_prefix(SUBJECT)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.strip_suffix(&format!(".{}.*", table.name())));
    let id = id.and_then(|id| HEXLOWER.decode(id.as_bytes()).ok());
    id.is_some_and(|id| id.len() == 16)
}

pub(super) fn subject(id: &[u8; 16], table: Table, last: &str) -> String {
    format!("{SUBJECT}.{}.{}.{last}", HEXLOWER.encode(id), table.name())
}

/// A key for a purpose.
pub(super) fn derived(key: &[u8; 32], purpose: &[u8], of: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(purpose);
    hasher.update(of);
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// Identifies a session key: portals with another one would not find each other's records.
fn check_of(session_key: &[u8; 32], id: &[u8; 16]) -> String {
    let derived = derived(session_key, b"citycode page records check v1 ", id);
    HEXLOWER.encode(&derived[..16])
}

/// Creates the streams that do not exist. `new_id` is the id of new records: 16 random bytes. If some streams exist, as
/// after an interrupted run, the others get their id.
///
/// # Errors
/// [`OpenError`].
pub async fn provision(config: &RecordsConfig, session_key: &[u8; 32], new_id: [u8; 16]) -> Result<(), OpenError> {
    let client = citycode_jetstream::connect(&config.connection, |_| ()).await?;
    let mut id = None;
    let mut missing = Vec::new();
    for table in Table::ALL {
        match api::stream_info(&client, &stream_name(table)).await {
            Ok(info) => id = Some(id.map_or_else(|| id_in(&info.metadata()), Ok)?),
            Err(error) if error.has_code(code::STREAM_NOT_FOUND) => missing.push(table),
            Err(error) => return Err(OpenError::Unanswered(error)),
        }
    }
    let id = id.unwrap_or(new_id);
    for table in missing {
        let mut request = settings_of(table, config.replicas, &id);
        let metadata = json!({
            "citycode.access.format": FORMAT,
            "citycode.access.id": HEXLOWER.encode(&id),
            "citycode.access.check": check_of(session_key, &id),
        });
        request.insert("metadata".into(), metadata);
        let made = api::create_stream(&client, &stream_name(table), &Value::Object(request)).await;
        made.map_err(OpenError::Unanswered)?;
    }
    inspect(&client, config, session_key).await.map(drop)
}

fn id_in(metadata: &std::collections::BTreeMap<String, String>) -> Result<[u8; 16], OpenError> {
    if metadata.get("citycode.access.format").map(String::as_str) != Some(FORMAT) {
        return Err(OpenError::Manifest("format"));
    }
    let id = metadata
        .get("citycode.access.id")
        .and_then(|id| HEXLOWER.decode(id.as_bytes()).ok());
    let id = id.and_then(|id| id.try_into().ok());
    id.ok_or(OpenError::Manifest("id"))
}

/// The id of the records, if all streams belong to them, and none can lose a record.
pub(super) async fn inspect(
    client: &Client,
    config: &RecordsConfig,
    session_key: &[u8; 32],
) -> Result<[u8; 16], OpenError> {
    let mut known = None;
    for table in Table::ALL {
        let name = stream_name(table);
        let info = api::stream_info(client, &name).await.map_err(|error| {
            if error.has_code(code::STREAM_NOT_FOUND) {
                OpenError::NoStream(name.clone())
            } else {
                OpenError::Unanswered(error)
            }
        })?;
        let metadata = info.metadata();
        let id = id_in(&metadata)?;
        if *known.get_or_insert(id) != id {
            return Err(OpenError::Mixed(name));
        }
        if metadata.get("citycode.access.check") != Some(&check_of(session_key, &id)) {
            return Err(OpenError::OtherKey);
        }
        let mismatches = settings::compare(&settings_of(table, config.replicas, &id), &info.config);
        if !mismatches.is_empty() {
            return Err(OpenError::WrongSettings {
                stream: name,
                mismatches,
            });
        }
    }
    known.ok_or(OpenError::Manifest("id"))
}

/// One message per subject, which a later one replaces, or which its own lifetime ends.
fn settings_of(table: Table, replicas: u8, id: &[u8; 16]) -> Map<String, Value> {
    let settings = json!({
        "name": stream_name(table),
        "subjects": [subject(id, table, "*")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": table.most_in_city() + SPARE_MESSAGES,
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": HEAD_BYTES + MAX_VALUE_BYTES + HEADER_BYTES,
        "duplicate_window": 120_000_000_000_u64,
        "compression": "none",
        "allow_direct": false,
        "allow_msg_ttl": true,
        "deny_delete": true,
        "deny_purge": true,
    });
    let Value::Object(settings) = settings else {
        unreachable!("json! of braces is an object")
    };
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_sign_outs_of_a_city_has_room() {
        for table in [Table::EndedSession, Table::EndedPerson] {
            let settings = settings_of(table, 3, &[1; 16]);
            let most = settings["max_msgs"].as_u64().unwrap();
            assert!(
                most > table.most_in_city() && table.most_in_city() >= 10_000_000,
                "{most}"
            );
        }
        let pairings = settings_of(Table::Pairing, 3, &[1; 16]);
        assert_eq!(pairings["max_msgs"], Table::Pairing.most() + SPARE_MESSAGES);
    }
}
