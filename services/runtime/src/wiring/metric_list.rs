//! The list of every metric that a process exports at `/metrics`. Tests compare it with the documentation and the
//! sources.
//!
//! Counters and histograms are initialised to zero, because a rate over a series that starts with its first event
//! misses that event, so that an alert on it does not fire. Gauges appear with their first value, because zero would be
//! wrong. No label identifies a person or a code; labels have few values, which are known in advance.

use citycode_service_kit::metrics_endpoint;

use crate::distributed::Role;

/// The Prometheus type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Which processes export a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every service that authenticates calls.
    Every,
    /// Every process that listens on a port.
    Serving,
    /// Every process that follows the log.
    Follower,
    /// Followers on NATS servers.
    OnServers,
    /// Processes that start from snapshots of projections.
    Snapshots,
    /// Processes on NATS servers that start from snapshots.
    Starting,
    /// Every service of a city on NATS.
    OfACity,
    /// Services that append to the log: issuer and revocation.
    Writer,
    /// The issuer.
    Issuer,
    /// Revocation.
    Revocation,
    /// The verifier.
    Verifier,
    /// Audit services.
    Audit,
    /// The portal.
    Portal,
    /// `citycode archive`.
    Archive,
}

/// A metric: its name, its type, its label with the values that are initialised to zero at start, which processes
/// export it, and its help text.
pub(crate) struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    known: &'static [&'static str],
    pub of: Part,
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, of: Part, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels: &[],
        known: &[],
        of,
        help,
    }
}

impl Metric {
    const fn by(self, labels: &'static [&'static str], known: &'static [&'static str]) -> Self {
        Self { labels, known, ..self }
    }
}

use Kind::{Counter, Gauge, Histogram};

/// All metrics.
pub(crate) const ALL: &[Metric] = &[
    metric(
        "citycode_auth_refused_total",
        Counter,
        Part::Every,
        "calls whose access token was refused",
    ),
    metric("citycode_server_connections", Gauge, Part::Serving, "open connections").by(&["standing"], &[]),
    metric(
        "citycode_server_connections_closed_total",
        Counter,
        Part::Serving,
        "connections that the server closed or refused, not the client",
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
    metric(
        "citycode_server_calls_refused_total",
        Counter,
        Part::Serving,
        "calls that the server refused or ended because of its limits",
    )
    .by(&["reason"], &["incomplete", "bytes", "calls", "unread", "makes_room"]),
    metric(
        "citycode_server_accept_failures_total",
        Counter,
        Part::Serving,
        "times that the operating system had no descriptor or memory for a new connection",
    ),
    metric(
        "citycode_policy_info",
        Gauge,
        Part::OfACity,
        "1, with the policy's name and the digest of its file: the same at every service of a city",
    )
    .by(&["policy", "digest"], &[]),
    metric(
        "citycode_followers_stopped_total",
        Counter,
        Part::Follower,
        "projections that stopped following the log for good",
    ),
    metric(
        "citycode_log_foreign_messages_total",
        Counter,
        Part::Follower,
        "messages read from the log that are no valid commits",
    )
    .by(&["projection"], &["audit", "register", "status", "verifier"]),
    metric(
        "citycode_log_confined_buckets",
        Gauge,
        Part::Follower,
        "buckets that are confined by a foreign message: they cannot be checked or written",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_projection_lag_events",
        Histogram,
        Part::Follower,
        "commits by which a projection was behind the log, observed every 5 s",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_projection_lag_seconds",
        Histogram,
        Part::Follower,
        "time that a projection took to catch up with the log, observed every 5 s",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_projection_age_seconds",
        Gauge,
        Part::Follower,
        "time since a projection was last up to date with the log",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_snapshot_age_seconds",
        Gauge,
        Part::Snapshots,
        "age of a projection's snapshot on disk",
    )
    .by(&["snapshot"], &[]),
    metric(
        "citycode_state_disk_free_bytes",
        Gauge,
        Part::Follower,
        "free space on the disk of the service's state",
    ),
    metric(
        "citycode_state_disk_size_bytes",
        Gauge,
        Part::Follower,
        "size of that disk",
    ),
    metric(
        "citycode_nats_healthy",
        Gauge,
        Part::OnServers,
        "1 if a NATS server reports that it is healthy and up to date with its peers, as observed by this service",
    )
    .by(&["server"], &[]),
    metric(
        "citycode_nats_stored_bytes",
        Gauge,
        Part::OnServers,
        "bytes that JetStream stores on a server",
    )
    .by(&["server"], &[]),
    metric(
        "citycode_nats_store_limit_bytes",
        Gauge,
        Part::OnServers,
        "storage limit of JetStream on a server",
    )
    .by(&["server"], &[]),
    metric(
        "citycode_nats_replica_lag_messages",
        Gauge,
        Part::OnServers,
        "messages by which a server is behind the leader of a stream, maximum over all streams",
    )
    .by(&["replica"], &[]),
    metric(
        "citycode_nats_foreign_streams",
        Gauge,
        Part::OnServers,
        "streams on the servers that were not provisioned, or that copy or republish what they must not",
    ),
    metric(
        "citycode_nats_stored_messages",
        Gauge,
        Part::OnServers,
        "messages in the streams of the log, the shared snapshots, the used assertions, the vault, the scan records, the queries or the records of the web pages",
    )
    .by(&["streams"], &[]),
    metric(
        "citycode_start_seconds",
        Gauge,
        Part::Starting,
        "time from a projection's start until it had caught up with the log",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_start_snapshot_commits",
        Gauge,
        Part::Starting,
        "commits that a projection loaded from a snapshot at its start",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_start_tail_commits",
        Gauge,
        Part::Starting,
        "commits that a projection then read from the log until it had caught up",
    )
    .by(&["projection"], &[]),
    metric(
        "citycode_shared_snapshots_refused_total",
        Counter,
        Part::Starting,
        "shared snapshots that were refused at startup; the log was read instead",
    )
    .by(&["projection"], &["register", "status"]),
    metric(
        "citycode_shared_snapshots_published_total",
        Counter,
        Part::Revocation,
        "shared snapshots that this process published",
    )
    .by(&["projection"], &["register", "status"]),
    metric(
        "citycode_shared_snapshot_failures_total",
        Counter,
        Part::Revocation,
        "shared snapshots that could not be published",
    )
    .by(&["projection"], &["register", "status"]),
    metric(
        "citycode_log_segments_read_total",
        Counter,
        Part::Starting,
        "segments of the log's history that were read instead of single commits",
    ),
    metric(
        "citycode_log_segments_refused_total",
        Counter,
        Part::Starting,
        "segments of the log's history that were refused; the log was read instead",
    ),
    metric(
        "citycode_log_segments_written_total",
        Counter,
        Part::Revocation,
        "segments of the log's history that this process wrote; on NATS",
    ),
    metric(
        "citycode_log_segment_failures_total",
        Counter,
        Part::Revocation,
        "checks after which segments of the log's history were not written; on NATS",
    ),
    metric(
        "citycode_log_append_seconds",
        Histogram,
        Part::Writer,
        "duration of an append until the log answered, by outcome",
    )
    .by(&["outcome"], &["appended", "conflict", "unknown", "failed"]),
    metric(
        "citycode_audit_digests_healthy",
        Gauge,
        Part::Writer,
        "1 if the digests of scan records or of queries enter the log, 0 if they do not",
    )
    .by(&["records"], &["queries", "scans"]),
    metric(
        "citycode_log_conflicts_total",
        Counter,
        Part::Writer,
        "appends that failed because another writer's commit preceded them",
    ),
    metric(
        "citycode_log_unknown_outcomes_total",
        Counter,
        Part::Writer,
        "appends that were not answered in time",
    ),
    metric(
        "citycode_log_grouped_commits_total",
        Counter,
        Part::Writer,
        "commits that were written in atomic batches under contention; on NATS",
    ),
    metric(
        "citycode_log_nonces_forgotten_total",
        Counter,
        Part::Writer,
        "freshness probes that were dropped because their role's quota was exceeded; on NATS",
    )
    .by(
        &["role"],
        &["verifier", "revocation", "issuer", "audit", "archive", "reader"],
    ),
    metric(
        "citycode_issuer_codes_issued_total",
        Counter,
        Part::Issuer,
        "codes issued, including reissued ones",
    ),
    metric(
        "citycode_issuer_names_corrected_total",
        Counter,
        Part::Issuer,
        "corrections of people's names",
    ),
    metric(
        "citycode_revocation_losses_total",
        Counter,
        Part::Revocation,
        "codes reported lost",
    ),
    metric(
        "citycode_revocation_standings_total",
        Counter,
        Part::Revocation,
        "changes of standing",
    ),
    metric(
        "citycode_revocation_officer_acts_total",
        Counter,
        Part::Revocation,
        "officers' acts",
    )
    .by(&["act"], &["revoke", "suspend", "reinstate"]),
    metric(
        "citycode_revocation_missed_cuts_total",
        Counter,
        Part::Revocation,
        "status lists that could not be built in time",
    ),
    metric(
        "citycode_revocation_alarms_total",
        Counter,
        Part::Revocation,
        "protocol violations in the event log, found while building status lists",
    ),
    metric(
        "citycode_verifier_scan_seconds",
        Histogram,
        Part::Verifier,
        "duration of a scan, from text to verdict",
    ),
    metric(
        "citycode_verifier_scans_total",
        Counter,
        Part::Verifier,
        "verdicts by decision",
    )
    .by(
        &["decision"],
        &["admit", "admit_after_id_check", "refuse", "cannot_check"],
    ),
    metric(
        "citycode_verifier_unknown_codes_total",
        Counter,
        Part::Verifier,
        "codes with a valid signature that were never issued (R25)",
    ),
    metric(
        "citycode_verifier_alarms_total",
        Counter,
        Part::Verifier,
        "unknown codes, and protocol violations in the event log",
    ),
    metric(
        "citycode_verifier_card_searches_total",
        Counter,
        Part::Verifier,
        "codes against which 30 wrong ID cards were checked within an hour, at all places together (R19)",
    ),
    metric(
        "citycode_verifier_folded_events_total",
        Counter,
        Part::Verifier,
        "events folded into the status of codes",
    ),
    metric(
        "citycode_verifier_record_open_days",
        Gauge,
        Part::Verifier,
        "how many of the days today and tomorrow have streams for scan records, as observed by the verifier; on NATS",
    ),
    metric(
        "citycode_verifier_scan_records_dropped_total",
        Counter,
        Part::Verifier,
        "scan records dropped under overload",
    ),
    metric(
        "citycode_verifier_knowledge_age_seconds",
        Gauge,
        Part::Verifier,
        "proved upper bound of the age of the verifier's state (R24); absent before the first proof",
    ),
    metric(
        "citycode_verifier_stale_partitions",
        Gauge,
        Part::Verifier,
        "partitions whose codes cannot be checked at the place with the strictest limit, because their state is too old",
    ),
    metric(
        "citycode_verifier_stale_total",
        Counter,
        Part::Verifier,
        "times that the state became too old for the place with the strictest limit",
    ),
    metric(
        "citycode_portal_request_seconds",
        Histogram,
        Part::Portal,
        "duration of a request",
    )
    .by(&["method", "route", "status"], &[]),
    metric(
        "citycode_portal_calls_tried_again_total",
        Counter,
        Part::Portal,
        "calls that were retried at another instance",
    ),
    metric(
        "citycode_portal_panics_total",
        Counter,
        Part::Portal,
        "requests that ended in a panic",
    ),
    metric(
        "citycode_verifier_forked_partitions",
        Gauge,
        Part::Verifier,
        "partitions of which witnesses have cosigned another past than the one that this verifier has folded",
    ),
    metric(
        "citycode_verifier_unwitnessed_partitions",
        Gauge,
        Part::Verifier,
        "partitions for which no recent witnessed checkpoint vouches; 0 if the configuration demands none",
    ),
    metric(
        "citycode_log_tree_leaves",
        Gauge,
        Part::Audit,
        "leaves of the log's published trees",
    ),
    metric(
        "citycode_log_tree_stopped_partitions",
        Gauge,
        Part::Audit,
        "partitions whose checkpoints are not signed any more, because the log went back or its past was changed",
    ),
    metric(
        "citycode_log_tree_failures_total",
        Counter,
        Part::Audit,
        "times that the log's trees could not be written",
    ),
    metric(
        "citycode_log_witness_failures_total",
        Counter,
        Part::Audit,
        "times that a witness gave no cosignature",
    ),
    metric(
        "citycode_archive_commits_total",
        Counter,
        Part::Archive,
        "commits archived by this process",
    ),
    metric(
        "citycode_archive_age_seconds",
        Gauge,
        Part::Archive,
        "time since the archive was last up to date with the log",
    ),
];

/// The metrics of `citycode up`: all except those about NATS servers and the archive.
pub const OF_ONE_PROCESS: &[Part] = &[
    Part::Every,
    Part::Serving,
    Part::Follower,
    Part::Snapshots,
    Part::Writer,
    Part::Issuer,
    Part::Revocation,
    Part::Verifier,
    Part::Audit,
    Part::Portal,
];

/// The metrics of a distributed service.
pub const fn of(role: Role) -> &'static [Part] {
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
        Role::Audit => &[Every, Serving, OfACity, Follower, OnServers, Part::Audit],
        Role::Portal => &[Every, Serving, OfACity, Part::Portal],
    }
}

/// Describes the metrics of these parts, and initialises to zero those with known labels. Installs the recorder if
/// there is none yet.
pub fn register(parts: &[Part]) {
    if let Err(error) = metrics_endpoint::install() {
        tracing::warn!(%error, "there are no metrics");
        return;
    }
    for metric in ALL.iter().filter(|metric| parts.contains(&metric.of)) {
        let (name, help) = (metric.name, metric.help);
        match metric.kind {
            Counter => metrics::describe_counter!(name, help),
            Gauge => metrics::describe_gauge!(name, help),
            Histogram => metrics::describe_histogram!(name, help),
        }
        initialise(metric);
    }
}

fn initialise(metric: &Metric) {
    let name = metric.name;
    match (metric.kind, metric.labels) {
        (Counter, []) => metrics::counter!(name).increment(0),
        (Histogram, []) => drop(metrics::histogram!(name)),
        (Counter, [label]) => {
            for value in metric.known {
                metrics::counter!(name, *label => *value).increment(0);
            }
        }
        (Histogram, [label]) => {
            for value in metric.known {
                drop(metrics::histogram!(name, *label => *value));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
