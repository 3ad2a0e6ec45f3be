//! The settings of a partition's stream: what is asked for, and what of a stream that stands is refused.
//!
//! How they are compared stands in [`citycode_jetstream::settings`].

use citycode_event_store::{MAX_COMMIT_BYTES, Partition};
use citycode_jetstream::{SettingMismatch, settings};
use serde_json::{Map, Value, json};

use crate::manifest::Manifest;
use crate::names;

/// The window in which the server itself knows message ids, in seconds: what the contract asks of an engine.
pub(crate) const DEDUP_WINDOW_SECONDS: i64 = 120;
/// Room for the headers of a message beside its payload, in bytes: message id and expectation take 130.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// The server's word for telling everybody what a stream has stored.
pub(crate) const TAIL: &str = "republish";

/// The settings of a partition's stream, by the server's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Settings of the log contract: kept on files, for ever, by so many servers; nothing can be deleted, purged, rolled
    /// up, expired or rewritten; full means refused.
    #[must_use]
    pub fn of(partition: Partition, replicas: u8) -> Self {
        let nanos = DEDUP_WINDOW_SECONDS * 1_000_000_000;
        let settings = json!({
            "name": names::stream(partition),
            "subjects": [names::subjects(partition)],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": replicas,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msg_size": MAX_COMMIT_BYTES + MAX_HEADER_BYTES,
            "duplicate_window": nanos,
            "compression": "none",
            "deny_delete": true,
            "deny_purge": true,
            "allow_direct": true,
            // The tail.
            TAIL: { "src": names::subjects(partition), "dest": names::tail(partition) },
            // Group commit.
            "allow_atomic": true,
        });
        let Value::Object(settings) = settings else {
            unreachable!("json! of braces is an object")
        };
        Self(settings)
    }

    /// The body of a request that makes the stream.
    pub(crate) fn request(&self, manifest: &Manifest, partition: Partition) -> Value {
        let mut request = self.0.clone();
        request.insert("metadata".into(), json!(manifest.to_metadata(partition)));
        Value::Object(request)
    }

    /// Everything of `found` that is not as it must be.
    #[must_use]
    pub fn compare(&self, found: &Map<String, Value>) -> Vec<SettingMismatch> {
        settings::compare(&self.0, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Map<String, Value> {
        Settings::of(Partition(0), 3).0
    }

    #[test]
    fn settings_as_wanted_pass_also_with_words_at_rest() {
        let mut found = good();
        found.insert("sealed".into(), json!(false));
        found.insert("consumer_limits".into(), json!({}));
        found.remove("max_age");
        assert_eq!(Settings::of(Partition(0), 3).compare(&found), []);
    }

    #[test]
    fn every_wrong_setting_is_named_with_both_values() {
        for (setting, value) in [
            ("storage", json!("memory")),
            ("discard", json!("old")),
            ("num_replicas", json!(1)),
            ("max_age", json!(1)),
            ("max_msgs", json!(5)),
            ("deny_delete", json!(false)),
            ("deny_purge", json!(false)),
            ("compression", json!("s2")),
            ("persist_mode", json!("async")),
            ("allow_rollup_hdrs", json!(true)),
            ("allow_msg_ttl", json!(true)),
            ("mirror", json!({"name": "OTHER"})),
            ("a_word_of_a_later_server", json!(true)),
        ] {
            let mut found = good();
            found.insert(setting.into(), value.clone());
            let mismatches = Settings::of(Partition(0), 3).compare(&found);
            let named: Vec<_> = mismatches.iter().map(|one| (&*one.setting, &*one.found)).collect();
            assert_eq!(named, [(setting, &*value.to_string())]);
        }
    }
}
