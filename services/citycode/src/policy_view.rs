//! The part of the server's policy that the client uses: texts, time zone, which kinds are printed on paper.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// A text in Chinese and English.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Words {
    /// Chinese.
    #[serde(default)]
    pub zh: String,
    /// English.
    #[serde(default)]
    pub en: String,
}

/// A kind of code, as in `GET /api/v1/policy`.
#[derive(Debug, Clone, Deserialize)]
pub struct KindView {
    /// Its name, e.g. `sampling`.
    pub name: String,
    /// Its label for people.
    #[serde(default)]
    pub label: Words,
    /// Whether it is bound to a phone's key.
    #[serde(default)]
    pub device_bound: bool,
    /// Whether it is printed on paper.
    #[serde(default)]
    pub on_paper: bool,
}

/// The policy; unknown fields are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct PolicyView {
    /// The system's label for people.
    #[serde(default)]
    pub label: Words,
    /// Name of its time zone in the IANA database.
    #[serde(default)]
    pub time_zone: String,
    /// Its kinds.
    #[serde(default)]
    pub kinds: Vec<KindView>,
}

impl PolicyView {
    /// The kind of this name; an unknown kind is treated as fixed and not on paper.
    #[must_use]
    pub fn kind(&self, name: &str) -> KindView {
        let known = self.kinds.iter().find(|kind| kind.name == name).cloned();
        known.unwrap_or_else(|| KindView {
            name: name.to_owned(),
            label: Words {
                zh: String::new(),
                en: name.to_owned(),
            },
            device_bound: false,
            on_paper: false,
        })
    }

    /// The policy's time zone; UTC if it is unknown.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC)
    }

    /// `2022-08-31 10:30:05 CST`: a time of the JSON API for people; an unparsable text is returned unchanged.
    #[must_use]
    pub fn local_time(&self, time: &str) -> String {
        self.local(time, "%Y-%m-%d %H:%M:%S %Z")
    }

    /// A time of the JSON API in the policy's zone, by jiff's strftime; an unparsable text is returned unchanged.
    #[must_use]
    pub fn local(&self, time: &str, format: &str) -> String {
        time.parse::<Timestamp>().map_or_else(
            |_| time.to_owned(),
            |time| time.to_zoned_datetime(self.zone()).strftime(format).to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_the_policys_zone_not_the_hosts() {
        let policy = PolicyView {
            time_zone: "Asia/Shanghai".into(),
            ..PolicyView::default()
        };
        assert_eq!(policy.local_time("2022-08-31T20:30:05Z"), "2022-09-01 04:30:05 CST");
        assert_eq!(
            PolicyView::default().local_time("2022-08-31T20:30:05Z"),
            "2022-08-31 20:30:05 UTC"
        );
        assert_eq!(policy.local_time("soon"), "soon");
    }

    #[test]
    fn unknown_fields_of_a_policy_are_ignored() {
        let policy: PolicyView = serde_json::from_str(
            r#"{"name":"x","time_zone":"Europe/Zurich","kinds":[{"name":"bus","label":{"zh":"车","en":"bus"},"validity_seconds":5,"device_bound":true,"on_paper":false}],"new":1}"#,
        )
        .unwrap();
        assert!(policy.kind("bus").device_bound);
        assert_eq!(policy.kind("none").label.en, "none");
    }
}
