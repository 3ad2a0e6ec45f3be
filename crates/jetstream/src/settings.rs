//! Compares a stream's settings as the server reports them.
//!
//! A setting that this program does not know must be unset (absent, false, zero, empty, `none`, `default`). So a new
//! setting of a later server that could lose messages is refused.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

/// Settings that identify or place a stream and have no effect on its messages.
const NOT_COMPARED: [&str; 4] = ["name", "description", "metadata", "placement"];

/// A setting with a wrong value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingMismatch {
    /// Its name in the API.
    pub setting: String,
    /// The stream's value, as JSON.
    pub found: String,
    /// The required value, as JSON.
    pub wanted: String,
}

impl fmt::Display for SettingMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}, not {}", self.setting, self.found, self.wanted)
    }
}

/// Several mismatches as one sentence.
#[must_use]
pub fn list(mismatches: &[SettingMismatch]) -> String {
    let texts: Vec<String> = mismatches.iter().map(SettingMismatch::to_string).collect();
    texts.join("; ")
}

/// The settings of a stream in files that keeps every message: without limits of number, size or age; nothing can be
/// purged, and a message can be deleted only unless `deny_delete`.
#[must_use]
pub fn keeping_all(
    name: &str,
    subjects: &str,
    replicas: u8,
    max_msg_size: usize,
    deny_delete: bool,
) -> Map<String, Value> {
    let settings = json!({
        "name": name,
        "subjects": [subjects],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": max_msg_size,
        "duplicate_window": 120_000_000_000_u64,
        "compression": "none",
        "allow_direct": true,
        "deny_delete": deny_delete,
        "deny_purge": true,
    });
    let Value::Object(settings) = settings else {
        unreachable!("json! of braces is an object")
    };
    settings
}

/// The settings that differ between `wanted` and `found`.
#[must_use]
pub fn compare(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<SettingMismatch> {
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let compared = names.into_iter().filter(|name| !NOT_COMPARED.contains(&name.as_str()));
    compared
        .filter_map(|name| {
            let (wanted, found) = (wanted.get(name), found.get(name));
            let same = match (wanted, found) {
                (Some(wanted), Some(found)) => wanted == found || (is_unset(wanted) && is_unset(found)),
                (Some(one), None) | (None, Some(one)) => is_unset(one),
                (None, None) => true,
            };
            let shown = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
            (!same).then(|| SettingMismatch {
                setting: name.clone(),
                found: shown(found),
                wanted: shown(wanted),
            })
        })
        .collect()
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => matches!(text.as_str(), "" | "none" | "default"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_unset),
    }
}
