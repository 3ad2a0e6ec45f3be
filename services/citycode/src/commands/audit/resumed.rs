//! An audit that continues where an interrupted one ended: the result of the days that it finished is kept beside the file
//! of the result.
//!
//! ```text
//! FILE.partial = {"server": URL, "from": TIME, "to": TIME, "next": TIME, "result": RESULT of [from, next)}
//! ```

use std::path::{Path, PathBuf};

use citycode_service_kit::files;
use citycode_terminal::failure::Failure;
use serde_json::{Map, Value, json};

/// Differences that a result lists, as the server limits them.
const MAX_LISTED: usize = 100;
/// The counts of a result that add up over its days.
pub(super) const COUNTS: [&str; 7] = [
    "scans",
    "recomputed",
    "agree",
    "differ_total",
    "missing",
    "extra",
    "sealed_late",
];

/// What is kept of an unfinished audit.
pub(super) struct Unfinished {
    path: PathBuf,
    /// Server and period, which must be those of the command that continues.
    asked: Map<String, Value>,
    /// Where the rest begins, and the result of what is before it.
    done: Option<(String, Value)>,
}

impl Unfinished {
    /// What an earlier run of the same command left, if anything.
    pub(super) fn open(out: &Path, server: &str, from: &str, to: &str) -> Self {
        let mut name = out.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let asked = json!({ "server": server, "from": from, "to": to });
        let asked = asked.as_object().cloned().unwrap_or_default();
        let kept = std::fs::read(&path).ok();
        let kept: Option<Value> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let done = kept.and_then(|mut kept| {
            let is_same = asked.iter().all(|(name, value)| kept.get(name) == Some(value));
            let next = kept.get("next")?.as_str()?.to_owned();
            let result = kept.get_mut("result")?.take();
            (is_same && result.is_object()).then_some((next, result))
        });
        Self { path, asked, done }
    }

    /// Where the rest of the period begins; `None` if nothing is done yet.
    pub(super) fn next(&self) -> Option<&str> {
        self.done.as_ref().map(|(next, _)| next.as_str())
    }

    /// The result of what is done.
    pub(super) fn result(&self) -> Value {
        self.done.as_ref().map(|(_, done)| done.clone()).unwrap_or_default()
    }

    /// The result of the whole period up to the end of a part, of which the server answered the rest.
    pub(super) fn with(&self, rest: Value) -> Value {
        let mut whole = match &self.done {
            None => rest,
            Some((_, done)) => sum(done, &rest),
        };
        for name in ["from", "to"] {
            if let (Some(whole), Some(asked)) = (whole.as_object_mut(), self.asked.get(name)) {
                whole.insert(name.to_owned(), asked.clone());
            }
        }
        whole
    }

    /// Keeps the result of a part, in place of that of an earlier one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep(&self, part: &mut Value) -> Result<(), Failure> {
        let mut kept = self.asked.clone();
        kept.insert("next".into(), part.get("next").cloned().unwrap_or_default());
        let result = part.get_mut("result").map(Value::take).unwrap_or_default();
        kept.insert("result".into(), self.with(result));
        let bytes = serde_json::to_vec(&kept).expect("a JSON value");
        files::write_atomic(&self.path, &bytes, 0o600).map_err(|error| Failure::file("write", &self.path, error))
    }

    /// The result is written, so nothing needs to be kept.
    pub(super) fn finished(self) {
        // A file that stays is of the same period, and the next run of the command finishes at once.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The result of two adjacent periods together.
fn sum(first: &Value, second: &Value) -> Value {
    let number = |of: &Value, name: &str| of.get(name).and_then(Value::as_u64).unwrap_or_default();
    let list = |name: &str| {
        let of = |of: &Value| of.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        [of(first), of(second)].concat()
    };
    let mut sum = second.clone();
    for name in COUNTS {
        sum[name] = json!(number(first, name) + number(second, name));
    }
    sum["differ"] = list("differ").into_iter().take(MAX_LISTED).collect();
    sum["altered"] = list("altered").into();
    let reasons = first.get("not_recomputable").and_then(Value::as_object);
    for (why, count) in reasons.into_iter().flatten() {
        let together = count.as_u64().unwrap_or_default() + number(&second["not_recomputable"], why);
        sum["not_recomputable"][why] = json!(together);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(scans: u64, device: &str) -> Value {
        json!({
            "from": "a", "to": "b", "scans": scans, "recomputed": scans, "agree": scans - 1, "differ_total": 1,
            "missing": 0, "extra": 2, "sealed_late": 0, "differ": [{ "device": device }], "altered": [],
            "not_recomputable": { "nothing_read": scans },
        })
    }

    #[test]
    fn an_interrupted_audit_continues_after_the_last_day_that_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("may.json");
        let open = |to: &str| Unfinished::open(&out, "http://s", "day 1", to);
        let first = open("day 9");
        assert_eq!(first.next(), None);
        for (next, scans) in [("day 2", 3), ("day 3", 5)] {
            first
                .keep(&mut json!({ "next": next, "result": result(scans, "gate-1") }))
                .expect("kept");
        }
        assert_eq!(open("day 8").next(), None, "another period");
        let second = open("day 9");
        assert_eq!(second.next(), Some("day 3"));
        let whole = second.with(result(7, "gate-2"));
        assert_eq!((&whole["from"], &whole["to"]), (&json!("day 1"), &json!("day 9")));
        assert_eq!(
            (&whole["scans"], &whole["agree"], &whole["extra"]),
            (&json!(12), &json!(10), &json!(4))
        );
        assert_eq!(whole["not_recomputable"], json!({ "nothing_read": 12 }));
        let devices = json!([{ "device": "gate-1" }, { "device": "gate-2" }]);
        assert_eq!(whole["differ"], devices);
        second.finished();
        assert_eq!(open("day 9").next(), None);
        std::fs::write(folder.path().join("may.json.partial"), b"{").expect("written");
        assert_eq!(open("day 9").next(), None, "a damaged file");
    }
}
