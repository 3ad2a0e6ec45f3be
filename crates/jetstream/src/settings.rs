//! Comparing a stream's settings as the server reports them.
//!
//! A setting that this program has no word for must be at rest (absent, false, zero, empty, `none`, `default`): a
//! later server's new way to lose a message is refused before it has a name here.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// Says what a stream is or where it stands, and nothing of what becomes of a message.
const NOT_COMPARED: [&str; 4] = ["name", "description", "metadata", "placement"];

/// A setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingMismatch {
    /// The server's word for it.
    pub setting: String,
    /// What the stream has, as JSON.
    pub found: String,
    /// What it needs, as JSON.
    pub wanted: String,
}

impl fmt::Display for SettingMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {}, not {}", self.setting, self.found, self.wanted)
    }
}

/// Several of them, as one sentence has them.
#[must_use]
pub fn list(mismatches: &[SettingMismatch]) -> String {
    let texts: Vec<String> = mismatches.iter().map(SettingMismatch::to_string).collect();
    texts.join("; ")
}

/// Everything of `found` that is not as `wanted`.
#[must_use]
pub fn compare(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Vec<SettingMismatch> {
    let names: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let compared = names.into_iter().filter(|name| !NOT_COMPARED.contains(&name.as_str()));
    compared
        .filter_map(|name| {
            let (wanted, found) = (wanted.get(name), found.get(name));
            let same = match (wanted, found) {
                (Some(wanted), Some(found)) => wanted == found || (is_at_rest(wanted) && is_at_rest(found)),
                (Some(one), None) | (None, Some(one)) => is_at_rest(one),
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

fn is_at_rest(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => matches!(text.as_str(), "" | "none" | "default"),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_at_rest),
    }
}
