//! Every number that a process of the city shows at `/metrics`: one list, which the documentation and the sources are
//! compared with by tests.
//!
//! Counters and histograms are there from the start, at nought: a rate over a series that begins with its first event
//! misses that event, and an alarm on it never rings. Gauges appear with their first value, since nought would lie.
//! No label names a person or a code; all values of a label are few and known.

use citycode_service_kit::metrics_endpoint;

use crate::distributed::Role;

/// What Prometheus calls a number's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Which part of the city shows a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Whoever takes calls with access tokens.
    Every,
    /// Whoever listens on a port.
    Serving,
    /// Whoever follows the log.
    Follower,
    /// Followers on NATS servers.
    OnServers,
    /// Whoever has snapshots of projections to start from.
    Snapshots,
    /// The same on NATS servers.
    Starting,
    /// Every service of a city on NATS.
    OfACity,
    /// Whoever appends what people ask for.
    Writer,
    Issuer,
    Revocation,
    Verifier,
    Portal,
    /// `citycode archive`.
    Archive,
}

/// A number: its name, its type, its label with the values that are there from the start, who shows it, and what it
/// says.
pub(crate) struct Number {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    known: &'static [&'static str],
    pub(crate) of: Part,
    pub(crate) says: &'static str,
}

const fn number(name: &'static str, kind: Kind, of: Part, says: &'static str) -> Number {
    Number {
        name,
        kind,
        labels: &[],
        known: &[],
        of,
        says,
    }
}

impl Number {
    const fn by(self, labels: &'static [&'static str], known: &'static [&'static str]) -> Self {
        Self { labels, known, ..self }
    }
}

use Kind::{Counter, Gauge, Histogram};

/// All of them.
pub(crate) const ALL: &[Number] = &[
    number(
        "citycode_auth_refused_total",
        Counter,
        Part::Every,
        "calls with an access token that was refused",
    ),
    number("citycode_server_connections", Gauge, Part::Serving, "open connections").by(&["standing"], &[]),
    number(
        "citycode_server_connections_closed_total",
        Counter,
        Part::Serving,
        "connections that the server ended or refused before their client wanted it",
    )
    .by(
        &["reason"],
        &[
            "no_request",
            "handshake",
            "idle",
            "unread",
            "makes_room",
            "full",
            "stopping",
            "cut",
        ],
    ),
    number(
        "citycode_server_calls_refused_total",
        Counter,
        Part::Serving,
        "calls that the server refused or ended because of its limits",
    )
    .by(&["reason"], &["incomplete", "bytes", "calls", "unread", "makes_room"]),
    number(
        "citycode_server_accept_failures_total",
        Counter,
        Part::Serving,
        "times that the operating system had no descriptor or memory for a new connection",
    ),
    number(
        "citycode_policy_info",
        Gauge,
        Part::OfACity,
        "1, with the policy's name and the digest of its file: the same at every service of a city",
    )
    .by(&["policy", "digest"], &[]),
    number(
        "citycode_followers_stopped_total",
        Counter,
        Part::Follower,
        "projections that stopped following the log for good",
    ),
    number(
        "citycode_log_foreign_messages_total",
        Counter,
        Part::Follower,
        "messages in the log that are no commit, as a projection met them",
    )
    .by(&["projection"], &["audit", "register", "status", "verifier"]),
    number(
        "citycode_log_confined_buckets",
        Gauge,
        Part::Follower,
        "buckets of the log that a foreign message keeps from being checked and written",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_projection_lag_events",
        Histogram,
        Part::Follower,
        "commits that a projection was behind the log, each 5 s",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_projection_lag_seconds",
        Histogram,
        Part::Follower,
        "how long a projection took to have what the log had, each 5 s",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_projection_age_seconds",
        Gauge,
        Part::Follower,
        "since when a projection was not seen to have everything",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_snapshot_age_seconds",
        Gauge,
        Part::Snapshots,
        "age of a projection's snapshot on the disk",
    )
    .by(&["snapshot"], &[]),
    number(
        "citycode_state_disk_free_bytes",
        Gauge,
        Part::Follower,
        "room left on the disk of the service's state",
    ),
    number(
        "citycode_state_disk_size_bytes",
        Gauge,
        Part::Follower,
        "size of that disk",
    ),
    number(
        "citycode_nats_healthy",
        Gauge,
        Part::OnServers,
        "1 where a NATS server says that it is well and up with its peers, as this service sees it",
    )
    .by(&["server"], &[]),
    number(
        "citycode_nats_stored_bytes",
        Gauge,
        Part::OnServers,
        "bytes that JetStream keeps on a server",
    )
    .by(&["server"], &[]),
    number(
        "citycode_nats_store_limit_bytes",
        Gauge,
        Part::OnServers,
        "bytes that JetStream may keep there",
    )
    .by(&["server"], &[]),
    number(
        "citycode_nats_replica_lag_messages",
        Gauge,
        Part::OnServers,
        "messages that a server is behind the leader of a stream, the most of all streams",
    )
    .by(&["replica"], &[]),
    number(
        "citycode_nats_foreign_streams",
        Gauge,
        Part::OnServers,
        "streams on the servers that nobody provisioned, or that copy or republish what they must not",
    ),
    number(
        "citycode_nats_stored_messages",
        Gauge,
        Part::OnServers,
        "messages in the streams of the log, the shared snapshots, the register of used assertions, the vault, the scan records",
    )
    .by(&["streams"], &[]),
    number(
        "citycode_start_seconds",
        Gauge,
        Part::Starting,
        "how long a projection took from its start until it had what the log had",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_start_snapshot_commits",
        Gauge,
        Part::Starting,
        "commits that a projection had at its start, from a snapshot",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_start_tail_commits",
        Gauge,
        Part::Starting,
        "commits that it then read from the log",
    )
    .by(&["projection"], &[]),
    number(
        "citycode_shared_snapshots_refused_total",
        Counter,
        Part::Starting,
        "shared snapshots that were refused at a start; the log was read instead",
    )
    .by(&["projection"], &["register", "status"]),
    number(
        "citycode_shared_snapshots_published_total",
        Counter,
        Part::Revocation,
        "snapshots that this process shared",
    )
    .by(&["projection"], &["register", "status"]),
    number(
        "citycode_shared_snapshot_failures_total",
        Counter,
        Part::Revocation,
        "snapshots that could not be shared",
    )
    .by(&["projection"], &["register", "status"]),
    number(
        "citycode_log_append_seconds",
        Histogram,
        Part::Writer,
        "one append until the log answered, by outcome",
    )
    .by(&["outcome"], &["appended", "conflict", "unknown", "failed"]),
    number(
        "citycode_log_conflicts_total",
        Counter,
        Part::Writer,
        "decisions that another writer's commit came before",
    ),
    number(
        "citycode_log_unknown_outcomes_total",
        Counter,
        Part::Writer,
        "appends that were not answered in time",
    ),
    number(
        "citycode_log_grouped_commits_total",
        Counter,
        Part::Writer,
        "commits that were written in atomic batches, because many waited; on NATS",
    ),
    number(
        "citycode_log_nonces_forgotten_total",
        Counter,
        Part::Writer,
        "questions of readers for a proof of freshness that were crowded out by others of the same role; on NATS",
    )
    .by(
        &["role"],
        &["verifier", "revocation", "issuer", "audit", "archive", "reader"],
    ),
    number(
        "citycode_issuer_codes_issued_total",
        Counter,
        Part::Issuer,
        "codes issued, reissued ones among them",
    ),
    number(
        "citycode_issuer_names_corrected_total",
        Counter,
        Part::Issuer,
        "corrections of people's names",
    ),
    number(
        "citycode_revocation_losses_total",
        Counter,
        Part::Revocation,
        "codes reported lost",
    ),
    number(
        "citycode_revocation_standings_total",
        Counter,
        Part::Revocation,
        "changes of standing",
    ),
    number(
        "citycode_revocation_officer_acts_total",
        Counter,
        Part::Revocation,
        "officers' acts",
    )
    .by(&["act"], &["revoke", "suspend", "reinstate"]),
    number(
        "citycode_revocation_missed_cuts_total",
        Counter,
        Part::Revocation,
        "status lists that could not be cut in time",
    ),
    number(
        "citycode_revocation_alarms_total",
        Counter,
        Part::Revocation,
        "events in the log that no honest writer writes, seen in status lists",
    ),
    number(
        "citycode_verifier_scan_seconds",
        Histogram,
        Part::Verifier,
        "one scan, from text to verdict",
    ),
    number(
        "citycode_verifier_scans_total",
        Counter,
        Part::Verifier,
        "verdicts by decision",
    )
    .by(
        &["decision"],
        &["admit", "admit_after_id_check", "refuse", "cannot_check"],
    ),
    number(
        "citycode_verifier_unknown_codes_total",
        Counter,
        Part::Verifier,
        "codes with a good signature that the log does not know (R25)",
    ),
    number(
        "citycode_verifier_alarms_total",
        Counter,
        Part::Verifier,
        "those, and events in the log that no honest writer writes",
    ),
    number(
        "citycode_verifier_card_searches_total",
        Counter,
        Part::Verifier,
        "codes against which 30 wrong ID cards were held within an hour, at all places together (R19)",
    ),
    number(
        "citycode_verifier_folded_events_total",
        Counter,
        Part::Verifier,
        "events folded into the status of codes",
    ),
    number(
        "citycode_verifier_record_open_days",
        Gauge,
        Part::Verifier,
        "of today and tomorrow, how many days have streams for scan records, as the verifier sees it; on NATS",
    ),
    number(
        "citycode_verifier_scan_records_dropped_total",
        Counter,
        Part::Verifier,
        "records of scans dropped under overload",
    ),
    number(
        "citycode_verifier_knowledge_age_seconds",
        Gauge,
        Part::Verifier,
        "how old the verifier's knowledge is at most, proved (R24); none before the first proof",
    ),
    number(
        "citycode_verifier_stale_partitions",
        Gauge,
        Part::Verifier,
        "partitions of the log whose codes cannot be checked at the tightest place, because knowledge of them is too old",
    ),
    number(
        "citycode_verifier_stale_total",
        Counter,
        Part::Verifier,
        "times that knowledge got too old for the tightest place",
    ),
    number(
        "citycode_portal_request_seconds",
        Histogram,
        Part::Portal,
        "one request",
    )
    .by(&["method", "route", "status"], &[]),
    number(
        "citycode_portal_calls_tried_again_total",
        Counter,
        Part::Portal,
        "calls that went to another instance",
    ),
    number(
        "citycode_portal_panics_total",
        Counter,
        Part::Portal,
        "requests that ended in a panic",
    ),
    number(
        "citycode_archive_commits_total",
        Counter,
        Part::Archive,
        "commits archived by this process",
    ),
    number(
        "citycode_archive_age_seconds",
        Gauge,
        Part::Archive,
        "since when the archive was not seen to have everything",
    ),
];

/// `citycode up` shows these: everything but what NATS servers and the archive have.
pub(crate) const OF_ONE_PROCESS: &[Part] = &[
    Part::Every,
    Part::Serving,
    Part::Follower,
    Part::Snapshots,
    Part::Writer,
    Part::Issuer,
    Part::Revocation,
    Part::Verifier,
    Part::Portal,
];

/// What the process of a service apart shows.
pub(crate) const fn of(role: Role) -> &'static [Part] {
    use Part::{Every, Follower, OfACity, OnServers, Serving, Snapshots, Starting, Writer};
    match role {
        Role::Issuer => &[
            Every,
            Serving,
            OfACity,
            Follower,
            OnServers,
            Snapshots,
            Starting,
            Writer,
            Part::Issuer,
        ],
        Role::Revocation => &[
            Every,
            Serving,
            OfACity,
            Follower,
            OnServers,
            Snapshots,
            Starting,
            Writer,
            Part::Revocation,
        ],
        Role::Verifier => &[
            Every,
            Serving,
            OfACity,
            Follower,
            OnServers,
            Snapshots,
            Starting,
            Part::Verifier,
        ],
        Role::Audit => &[Every, Serving, OfACity, Follower, OnServers],
        Role::Portal => &[Every, Serving, OfACity, Part::Portal],
    }
}

/// Says what the numbers of these parts are, and begins those that begin at nought. Installs the recorder where there
/// is none yet.
pub(crate) fn register(parts: &[Part]) {
    if let Err(error) = metrics_endpoint::install() {
        tracing::warn!(%error, "there are no metrics");
        return;
    }
    for number in ALL.iter().filter(|number| parts.contains(&number.of)) {
        let (name, says) = (number.name, number.says);
        match number.kind {
            Counter => metrics::describe_counter!(name, says),
            Gauge => metrics::describe_gauge!(name, says),
            Histogram => metrics::describe_histogram!(name, says),
        }
        begin(number);
    }
}

fn begin(number: &Number) {
    let name = number.name;
    match (number.kind, number.labels) {
        (Counter, []) => metrics::counter!(name).increment(0),
        (Histogram, []) => drop(metrics::histogram!(name)),
        (Counter, [label]) => {
            for value in number.known {
                metrics::counter!(name, *label => *value).increment(0);
            }
        }
        (Histogram, [label]) => {
            for value in number.known {
                drop(metrics::histogram!(name, *label => *value));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
