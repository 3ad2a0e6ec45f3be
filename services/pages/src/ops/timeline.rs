//! The events of a code's history as a timeline in words.

use citycode_wire::proto::audit::v1::HistoryEntry;

use super::numbers;
use crate::frame::Frame;

/// One event.
pub(super) struct Entry {
    pub(super) event: String,
    pub(super) icon: &'static str,
    pub(super) title: String,
    pub(super) time: String,
    /// RFC 3339.
    pub(super) datetime: String,
    pub(super) actor: String,
    /// Further sentences.
    pub(super) notes: Vec<String>,
    /// Whether it concerns the code that was asked for, not an earlier or later one of the same kind and holder.
    pub(super) is_own: bool,
    pub(super) position: String,
}

/// The entries in the order of the log.
pub(super) fn entries(f: &Frame<'_>, history: &[HistoryEntry], code_id: &str) -> Vec<Entry> {
    history.iter().map(|entry| told(f, entry, code_id)).collect()
}

fn told(f: &Frame<'_>, entry: &HistoryEntry, code_id: &str) -> Entry {
    let supersedes = entry.details.get("supersedes");
    let of = entry.code_id.as_deref();
    let replaces_own = supersedes.is_some_and(|old| old == code_id);
    let (icon, id) = match entry.event_type.as_str() {
        "CodeIssued" if replaces_own => ("swap", "ops-event-replaced"),
        "CodeIssued" if supersedes.is_some() => ("plus", "ops-event-reissued"),
        "CodeIssued" => ("plus", "ops-event-issued"),
        "CodeReportedLost" => ("lost", "ops-event-lost"),
        "CodeRevoked" => ("ban", "ops-event-revoked"),
        "CodeSuspended" => ("pause", "ops-event-suspended"),
        "CodeReinstated" => ("check", "ops-event-reinstated"),
        "StandingChanged" => ("person", "ops-event-standing"),
        "RelationshipEnded" => ("family", "ops-event-unrelated"),
        "HolderRenamed" => ("person", "ops-event-renamed"),
        "HolderErased" => ("erase", "ops-event-erased"),
        _ => ("info", "ops-event-other"),
    };
    let position = entry.position.as_ref();
    Entry {
        event: entry.event_type.clone(),
        icon,
        title: f.t(id),
        time: f.minute(&entry.decided_at),
        datetime: jiff::Timestamp::from_second(entry.decided_at)
            .unwrap_or_default()
            .to_string(),
        actor: numbers::actor(f, &entry.actor_role),
        notes: notes(f, entry, code_id),
        is_own: of.is_none_or(|of| of == code_id) || replaces_own,
        position: position
            .map(|at| format!("{}/{}", at.partition, at.sequence))
            .unwrap_or_default(),
    }
}

fn notes(f: &Frame<'_>, entry: &HistoryEntry, code_id: &str) -> Vec<String> {
    let detail = |name: &str| entry.details.get(name).map(String::as_str);
    let mut notes = Vec::new();
    if let Some(other) = entry.code_id.as_deref().filter(|of| *of != code_id) {
        notes.push(f.t1("ops-note-other-code", "serial", &numbers::serial(other)));
    }
    if let Some(time) = detail("expires_at").and_then(|time| time.parse().ok()) {
        notes.push(f.valid_until(&time));
    }
    if let Some(old) = detail("supersedes").filter(|old| *old != code_id) {
        notes.push(f.t1("ops-note-supersedes", "serial", &numbers::serial(old)));
    }
    if detail("through_guardian") == Some("true") {
        notes.push(f.t("ops-note-guardian"));
    }
    if entry.event_type == "StandingChanged"
        && let Some(standing) = detail("standing")
    {
        let known = f
            .site
            .words
            .find(f.language(), &format!("ops-standing-{standing}"), &[]);
        notes.push(known.unwrap_or_else(|| standing.to_owned()));
    }
    if detail("reason") == Some("sealed") {
        notes.push(f.t("ops-note-reason-sealed"));
    }
    notes
}
