//! The settings of a partition's stream, requested at creation and checked later.
//!
//! [`citycode_jetstream::settings`] defines the comparison.

use citycode_event_store::{MAX_COMMIT_BYTES, Partition};
use citycode_jetstream::{SettingMismatch, settings};
use serde_json::{Map, Value, json};

use crate::manifest::Manifest;
use crate::names;

/// The server's deduplication window in seconds, which the contract of an engine requires.
pub(crate) const DEDUP_WINDOW_SECONDS: i64 = 120;
/// Most bytes of a message's headers; message id and expectation take 130.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// The setting that republishes stored messages.
pub(crate) const TAIL: &str = "republish";

/// The settings of a partition's stream, by their names in the JetStream API.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// The settings that the log requires: file storage without limits, with this number of replicas. Messages cannot
    /// be deleted, purged, rolled up, expired or rewritten, and a full stream refuses new ones.
    #[must_use]
    pub fn of(partition: Partition, replicas: u8) -> Self {
        let nanos = DEDUP_WINDOW_SECONDS * 1_000_000_000;
        let (name, subjects) = (names::stream(partition), names::subjects(partition));
        let max_msg_size = MAX_COMMIT_BYTES + MAX_HEADER_BYTES;
        let mut settings = settings::keeping_all(&name, &subjects, replicas, max_msg_size, true);
        settings.insert("duplicate_window".into(), json!(nanos));
        // The tail.
        settings.insert(TAIL.into(), json!({ "src": subjects, "dest": names::tail(partition) }));
        // Group commit.
        settings.insert("allow_atomic".into(), json!(true));
        Self(settings)
    }

    /// The body of the request that creates the stream.
    pub(crate) fn request(&self, manifest: &Manifest, partition: Partition) -> Value {
        let mut request = self.0.clone();
        request.insert("metadata".into(), json!(manifest.to_metadata(partition)));
        Value::Object(request)
    }

    /// The settings of `found` that differ from these.
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
    fn the_required_settings_pass_also_with_unset_other_settings() {
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
