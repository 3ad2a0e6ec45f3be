//! The streams on the servers: whether all were provisioned, and the number of their messages.
//!
//! The servers cannot restrict the content of a request to create a stream. The existing streams are therefore compared
//! with those that `citycode provision` and the audit services create: by account and name, and by the settings that
//! can copy messages from one stream to another (mirror, sources, republishing, subjects).

use std::collections::BTreeMap;

use citycode_access_records::Table;
use citycode_access_records::jetstream as pages;
use citycode_assertion_uses::jetstream as uses;
use citycode_query_stream::jetstream as queries;
use serde_json::{Value, json};

/// A group of a city's streams; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Log,
    Snapshots,
    Segments,
    Assertions,
    Vault,
    Scans,
    Queries,
    Pages,
}

impl Group {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Snapshots => "snapshots",
            Self::Segments => "segments",
            Self::Assertions => "assertions",
            Self::Vault => "vault",
            Self::Scans => "scans",
            Self::Queries => "queries",
            Self::Pages => "pages",
        }
    }

    /// The account of the group in the configuration by `citycode secrets`.
    const fn account(self) -> &'static str {
        match self {
            Self::Log | Self::Snapshots | Self::Segments | Self::Assertions => "LOG",
            Self::Vault => "VAULT",
            Self::Scans => "SCANS",
            Self::Queries => "QUERIES",
            Self::Pages => "PAGES",
        }
    }
}

/// The streams that the servers report.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Messages of each provisioned stream, the maximum over the servers.
    messages: BTreeMap<String, (Group, f64)>,
    /// Streams that were not provisioned, and the reason for this classification.
    pub(super) foreign: BTreeMap<String, &'static str>,
}

impl Streams {
    /// Adds the report of a server, `/jsz` with accounts, streams and settings.
    pub(super) fn add(&mut self, report: &Value, today: i64) {
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        for account in list(report, "account_details") {
            let name = account["name"].as_str().unwrap_or_default();
            for stream in list(&account, "stream_detail") {
                self.add_stream(name, &stream, today);
            }
        }
    }

    fn add_stream(&mut self, account: &str, stream: &Value, today: i64) {
        let name = stream["name"].as_str().unwrap_or_default();
        match classify(account, name, &stream["config"], today) {
            Ok(group) => {
                let messages = stream["state"]["messages"].as_f64().unwrap_or_default();
                let known = self.messages.entry(name.to_owned()).or_insert((group, 0.0));
                known.1 = known.1.max(messages);
            }
            Err(why) => {
                self.foreign.insert(format!("{account}/{name}"), why);
            }
        }
    }

    /// Messages of each group.
    pub(super) fn messages(&self) -> BTreeMap<Group, f64> {
        let mut sums = BTreeMap::new();
        for (group, messages) in self.messages.values() {
            *sums.entry(*group).or_insert(0.0) += messages;
        }
        sums
    }
}

/// The group of a provisioned stream, or the reason why a stream is foreign.
fn classify(account: &str, name: &str, config: &Value, today: i64) -> Result<Group, &'static str> {
    let (group, subjects) = provisioned(name, config, today).ok_or("its name is not one of a provisioned stream")?;
    let has_accounts = [Group::Log, Group::Vault, Group::Scans, Group::Queries, Group::Pages]
        .iter()
        .any(|group| group.account() == account);
    if has_accounts && group.account() != account {
        return Err("it is in the wrong account for its name");
    }
    if !config["mirror"].is_null() || config["sources"].as_array().is_some_and(|sources| !sources.is_empty()) {
        return Err("it copies another stream");
    }
    if !config["subject_transform"].is_null() || config["subjects"] != subjects {
        return Err("it has the wrong subjects for its name");
    }
    let tail = name.strip_prefix("CC_EV_").map(
        |partition| json!({ "src": format!("cc.ev.v1.{partition}.*"), "dest": format!("cc.tail.v1.{partition}") }),
    );
    // The tail may be missing: see docs/operations.md.
    if !config["republish"].is_null() && Some(&config["republish"]) != tail.as_ref() {
        return Err("it republishes to other subjects");
    }
    Ok(group)
}

/// The group and the expected subjects of a stream, by its name.
fn provisioned(name: &str, config: &Value, today: i64) -> Option<(Group, Value)> {
    if let Some(partition) = name.strip_prefix("CC_EV_") {
        let number: u16 = partition.parse().ok()?;
        let partitions = config["metadata"]["citycode.partitions"]
            .as_str()?
            .parse::<u16>()
            .ok()?;
        let is_one = number < partitions && format!("{number:02}") == partition;
        return is_one.then(|| (Group::Log, json!([format!("cc.ev.v1.{partition}.*")])));
    }
    let day = |prefix: &str, subject: &str| {
        let day = name.strip_prefix(prefix)?;
        // A day is created a day in advance, by a service whose clock may be ahead.
        let is_one = day
            .parse::<i64>()
            .is_ok_and(|number| number <= today + 2 && number.to_string() == day);
        is_one.then(|| (Group::Scans, json!([format!("{subject}.{day}.*")])))
    };
    match name {
        "OBJ_CC_STATUS_SNAPSHOTS" | "OBJ_CC_REGISTER_SNAPSHOTS" | "OBJ_CC_LOG_SEGMENTS" => {
            let bucket = name.trim_start_matches("OBJ_");
            let group = if bucket == citycode_log_segments::BUCKET {
                Group::Segments
            } else {
                Group::Snapshots
            };
            let subjects = [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")];
            Some((group, json!(subjects)))
        }
        // The subject contains the id of the register, which is not known here.
        uses::STREAM => {
            let subjects = config["subjects"].as_array()?.iter().map(Value::as_str);
            uses::register_of(&subjects.collect::<Option<Vec<_>>>()?)?;
            Some((Group::Assertions, config["subjects"].clone()))
        }
        "KV_CC_VAULT" => Some((Group::Vault, json!(["$KV.CC_VAULT.>"]))),
        queries::STREAM => Some((Group::Queries, json!([queries::SUBJECT]))),
        queries::KEYS => Some((Group::Queries, json!([queries::KEY_SUBJECTS]))),
        "CC_SCAN_KEYS" => Some((Group::Scans, json!(["cc.scankey.v1.*"]))),
        // The subjects contain the id of the records, which is not known here.
        _ if name.starts_with("CC_ACCESS_") => {
            let table = Table::ALL
                .into_iter()
                .find(|table| pages::stream_name(*table) == name)?;
            let subjects = config["subjects"].as_array()?.iter().map(Value::as_str);
            let subjects = subjects.collect::<Option<Vec<_>>>()?;
            pages::is_subjects_of(table, &subjects).then(|| (Group::Pages, config["subjects"].clone()))
        }
        _ => day("CC_SCANS_", "cc.scan.v1").or_else(|| day("CC_REGISTERED_", "cc.reg.v1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_000;

    fn partition(number: &str) -> Value {
        json!({
            "subjects": [format!("cc.ev.v1.{number}.*")],
            "republish": { "src": format!("cc.ev.v1.{number}.*"), "dest": format!("cc.tail.v1.{number}") },
            "metadata": { "citycode.partitions": "4" },
        })
    }

    fn subjects(subjects: &[&str]) -> Value {
        json!({ "subjects": subjects })
    }

    #[test]
    fn provisioned_streams_are_recognised_with_and_without_accounts() {
        for (account, name, config, group) in [
            ("LOG", "CC_EV_03", partition("03"), Group::Log),
            ("$G", "CC_EV_00", partition("00"), Group::Log),
            (
                "LOG",
                "CC_EV_00",
                {
                    let mut old = partition("00");
                    old["republish"] = Value::Null;
                    old
                },
                Group::Log,
            ),
            (
                "LOG",
                "CC_ASSERTION_USES",
                subjects(&["cc.assertion.v1.0123456789abcdef0123456789abcdef.*"]),
                Group::Assertions,
            ),
            (
                "LOG",
                "OBJ_CC_LOG_SEGMENTS",
                subjects(&["$O.CC_LOG_SEGMENTS.C.>", "$O.CC_LOG_SEGMENTS.M.>"]),
                Group::Segments,
            ),
            (
                "PAGES",
                "CC_ACCESS_ENDED_SESSIONS",
                subjects(&["cc.access.v1.0123456789abcdef0123456789abcdef.ended_sessions.*"]),
                Group::Pages,
            ),
            ("VAULT", "KV_CC_VAULT", subjects(&["$KV.CC_VAULT.>"]), Group::Vault),
            ("SCANS", "CC_SCAN_KEYS", subjects(&["cc.scankey.v1.*"]), Group::Scans),
            (
                "SCANS",
                "CC_SCANS_20001",
                subjects(&["cc.scan.v1.20001.*"]),
                Group::Scans,
            ),
            (
                "SCANS",
                "CC_REGISTERED_19970",
                subjects(&["cc.reg.v1.19970.*"]),
                Group::Scans,
            ),
        ] {
            assert_eq!(classify(account, name, &config, TODAY), Ok(group), "{name}");
        }
    }

    #[test]
    fn streams_of_an_attacker_are_foreign() {
        let with = |mut config: Value, key: &str, value: Value| {
            config[key] = value;
            config
        };
        let injecting = json!({ "src": "cc.echo.v1", "dest": "cc.ev.v1.00.0000" });
        for (account, name, config) in [
            ("LOG", "THIEF", subjects(&["x"])),
            ("LOG", "CC_EV_04", partition("04")),
            ("LOG", "CC_EV_0", partition("0")),
            ("SCANS", "CC_EV_00", partition("00")),
            ("LOG", "CC_EV_00", with(partition("00"), "republish", injecting.clone())),
            (
                "LOG",
                "CC_ASSERTION_USES",
                with(
                    subjects(&["cc.assertion.v1.0123456789abcdef0123456789abcdef.*"]),
                    "republish",
                    injecting.clone(),
                ),
            ),
            ("LOG", "CC_ASSERTION_USES", subjects(&["cc.assertion.v1.*.*"])),
            ("PAGES", "CC_ACCESS_DEVICES", subjects(&["cc.access.v1.*.devices.*"])),
            (
                "PAGES",
                "CC_ACCESS_OTHER",
                subjects(&["cc.access.v1.0123456789abcdef0123456789abcdef.other.*"]),
            ),
            (
                "PAGES",
                "CC_ACCESS_DEVICES",
                subjects(&["cc.access.v1.0123456789abcdef0123456789abcdef.pairings.*"]),
            ),
            (
                "LOG",
                "CC_ACCESS_DEVICES",
                subjects(&["cc.access.v1.0123456789abcdef0123456789abcdef.devices.*"]),
            ),
            (
                "VAULT",
                "KV_CC_VAULT",
                with(subjects(&["$KV.CC_VAULT.>"]), "mirror", json!({ "name": "X" })),
            ),
            (
                "SCANS",
                "CC_SCAN_KEYS",
                with(subjects(&["cc.scankey.v1.*"]), "sources", json!([{ "name": "X" }])),
            ),
            (
                "SCANS",
                "CC_SCANS_20001",
                subjects(&["cc.scan.v1.20001.*", "cc.scan.v1.20005.*"]),
            ),
            (
                "SCANS",
                "CC_SCANS_20001",
                with(subjects(&["cc.scan.v1.20001.*"]), "republish", injecting),
            ),
            ("SCANS", "CC_SCANS_20400", subjects(&["cc.scan.v1.20400.*"])),
        ] {
            assert!(classify(account, name, &config, TODAY).is_err(), "{account} {name}");
        }
    }

    #[test]
    fn messages_of_a_stream_are_the_maximum_over_the_servers() {
        let report = |messages: u64| {
            let stream = json!({ "name": "CC_EV_00", "config": partition("00"), "state": { "messages": messages } });
            json!({ "account_details": [{ "name": "LOG", "stream_detail": [stream, { "name": "THIEF", "config": {} }] }] })
        };
        let mut streams = Streams::default();
        streams.add(&report(7), TODAY);
        streams.add(&report(5), TODAY);
        assert_eq!(streams.messages(), BTreeMap::from([(Group::Log, 7.0)]));
        assert_eq!(streams.foreign.keys().collect::<Vec<_>>(), ["LOG/THIEF"]);
    }
}
