//! Accounts and users of the NATS servers, with the least permissions that each user needs.
//!
//! | user | account | publishes | subscribes to |
//! |---|---|---|---|
//! | provision | LOG | creates and inspects the streams of partitions, snapshots, segments and used assertions, by name | its answers |
//! | upgrade | LOG | inspects and changes the streams of partitions; not used by services | its answers |
//! | issuer, revocation | LOG | commits, `cc.ev.v1.>`; lists of nonces; used assertions, `cc.assertion.v1.*.*`; reads the log | its answers, nonces, their lists, the tail |
//! | restore | LOG | creates the streams of partitions, reads the log, commits: copies a whole log; not used by services | its answers, the tail |
//! | verifier, audit, archive | one each | the exports of LOG for readers, under `cc.log`; nonces | its answers, their lists, the tail |
//! | vault-provision | VAULT | creates and inspects its stream | its answers |
//! | vault-issuer | VAULT | reads, writes and overwrites pages | its answers |
//! | vault-backup | VAULT | backs up the vault, restores it if there is none; not used by services | its answers |
//! | vault-revocation, vault-verifier | one each | reads pages of the index, under `cc.vault` | its answers |
//! | scans-provision | SCANS | creates and inspects the stream of the days' keys | its answers |
//! | scans-verifier | SCANS | records, `cc.scan.v1.>` and `cc.reg.v1.>`; reads them | its answers |
//! | scans-keeper | SCANS | creates, reads and deletes streams, creates and overwrites keys; no records | its answers |
//! | scans-revocation | its own | reads the sealed records of all days, under `cc.scans`; no keys | its answers |
//! | queries-provision | QUERIES | creates and inspects the streams of queries and of their secrets | its answers |
//! | queries-audit, queries-issuer | QUERIES | appends queries, `cc.query.v1`; creates, reads and overwrites secrets, `cc.querykey.v1.*` | its answers |
//! | pages-provision | PAGES | creates and inspects the streams of the pages' records, by name | its answers |
//! | pages-portal | PAGES | writes records, `cc.access.v1.*.*.*`; reads them at the leader | its answers |
//! | sys | SYS | reads the servers' monitoring, for the command line tool `nats` | its answers |
//!
//! Permissions name each stream. The exceptions are the days of scan records: a NATS wildcard matches a whole token,
//! and a day's number is only a part of one. The servers cannot restrict the content of a request, so each account with
//! streams is limited to the number of provisioned ones (`max_streams`). docs/operations/city.md lists the remaining
//! risks of each seed.
//!
//! `restore` and `vault-backup` transfer whole streams. Both can destroy data (by a message that is not a commit, or by
//! a stream snapshot whose chunks are delivered to a page's subject, because the target of chunks cannot be
//! restricted), so no service uses them. A user with permission to change a stream's settings can make it drop its
//! messages, so no service uses `upgrade` either.
//!
//! Revocation services also publish shared snapshots ([`citycode_shared_snapshot`]) and segments of the log's history
//! ([`citycode_log_segments`]) in the account LOG. Verifiers and revocation services read the snapshots of the status;
//! issuers and revocation services read those of the register; all three read segments.
//!
//! `answers` arrive under a prefix that contains the user's public key ([`citycode_jetstream::inbox_prefix`]), so that
//! no user can subscribe to another's answers.
//!
//! **Nonces** (docs/decisions/0009 and what supersedes it) are published to `cc.echo.v2.ROLE.INSTANCE`, where INSTANCE
//! is the user's public key: writers divide their capacity for nonces fairly between roles and instances, and no user
//! can publish in another's name. Programs of earlier releases use `cc.echo.v1`.
//!
//! **Why readers have separate accounts:** a server sends the answer to a request to any reply subject, and a consumer
//! delivers to any subject, regardless of the user's permissions to publish. In the account with the streams, such a
//! subject could be one of the log. A reader's account has no streams. Its requests reach the other account through
//! imports, and the answers return on subjects that the servers choose and end in the reader's own account, where
//! nothing is stored. See docs/decisions/0014.
//!
//! A permission cannot name the streams of days, so `scans-revocation` may read any stream of SCANS except the one that is
//! named as refused: that of the days' keys.

mod conf;
mod shape;
#[cfg(test)]
mod tests;

use citycode_event_store::Partition;
use citycode_event_store_jetstream::subjects::{NONCE_LISTS, PROBES_V1, probes};
use citycode_log_segments::BUCKET as SEGMENTS;
use citycode_projection::snapshot::ProjectionKind;
use citycode_shared_snapshot::bucket;

use citycode_runtime::distributed::{LOG_READERS_API, SCANS_READERS_API, VAULT_READERS_API};

pub(super) use conf::conf;
pub(super) use shape::Shape;

/// The users that every city has.
const USERS: [&str; 23] = [
    "provision",
    "upgrade",
    "issuer",
    "revocation",
    "restore",
    "verifier",
    "audit",
    "archive",
    "vault-provision",
    "vault-issuer",
    "vault-backup",
    "vault-revocation",
    "vault-verifier",
    "scans-provision",
    "scans-verifier",
    "scans-keeper",
    "queries-provision",
    "queries-audit",
    "queries-issuer",
    "scans-revocation",
    "pages-provision",
    "pages-portal",
    "sys",
];

const OWN_API: &str = citycode_jetstream::OWN_API;
const COMMITS: &str = "cc.ev.v1.>";
const TAIL: &str = "cc.tail.v1.*";
const VAULT: &str = "KV_CC_VAULT";
const SCAN_KEYS: &str = "CC_SCAN_KEYS";

/// Uses of assertions, written by the services that accept assertions.
const ASSERTIONS: &str = citycode_assertion_uses::jetstream::SUBJECTS;
/// Their stream.
const ASSERTION_USES: &str = citycode_assertion_uses::jetstream::STREAM;

/// Requests that read a stream: its state, a message from its leader, messages from any replica.
const READ: [&str; 3] = ["STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET"];
const MAKE: [&str; 2] = ["STREAM.CREATE", "STREAM.INFO"];
/// Monitoring endpoints that reveal no subjects and no subscriptions of clients, and change nothing.
const MONITORING: [&str; 9] = [
    "IDZ", "STATSZ", "VARZ", "CONNZ", "ROUTEZ", "JSZ", "HEALTHZ", "RAFTZ", "ACCOUNTZ",
];

/// A user: its role, and its name, which differs from the role if instances have their own seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    role: &'static str,
}

/// The subjects that a user may publish, exceptions of them, and the subjects to which it may subscribe in addition to its
/// answers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Permissions {
    publish: Vec<String>,
    refused: Vec<String>,
    subscribe: Vec<String>,
}

/// All users of a city.
pub(super) fn users(shape: &Shape) -> Vec<User> {
    let of_city = USERS.map(|role| User {
        name: role.to_owned(),
        role,
    });
    let instances = (1..=shape.instances).map(|instance| User {
        name: format!("verifier-{instance}"),
        role: "verifier",
    });
    of_city.into_iter().chain(instances).collect()
}

/// The account of a role.
fn account(role: &str) -> String {
    match role {
        "provision" | "upgrade" | "issuer" | "revocation" | "restore" => "LOG".to_owned(),
        "vault-provision" | "vault-issuer" | "vault-backup" => "VAULT".to_owned(),
        "scans-provision" | "scans-verifier" | "scans-keeper" => "SCANS".to_owned(),
        "queries-provision" | "queries-audit" | "queries-issuer" => "QUERIES".to_owned(),
        "pages-provision" | "pages-portal" => "PAGES".to_owned(),
        "sys" => "SYS".to_owned(),
        reader => match reader.split_once('-') {
            Some((owner, reader)) => format!("{}_{}", owner.to_uppercase(), reader.to_uppercase()),
            None => format!("LOG_{}", reader.to_uppercase()),
        },
    }
}

/// The subjects of each of these requests for each of these streams.
fn requests(api: &str, verbs: &[&str], streams: &[String]) -> Vec<String> {
    let each = |stream: &String| {
        verbs
            .iter()
            .map(|verb| format!("{api}.{verb}.{stream}"))
            .collect::<Vec<_>>()
    };
    streams.iter().flat_map(each).collect()
}

fn log_streams(shape: &Shape) -> Vec<String> {
    (0..shape.partitions)
        .map(|partition| format!("CC_EV_{}", Partition(partition)))
        .collect()
}

fn snapshot_stream(kind: ProjectionKind) -> String {
    format!("OBJ_{}", bucket(kind))
}

fn segment_stream() -> String {
    format!("OBJ_{SEGMENTS}")
}

/// The streams of shared snapshots and of log segments that a role uses.
fn snapshots(role: &str) -> Vec<String> {
    let kinds: &[ProjectionKind] = match role {
        "revocation" | "provision" | "upgrade" => &[ProjectionKind::Status, ProjectionKind::Register],
        "verifier" => &[ProjectionKind::Status],
        "issuer" => &[ProjectionKind::Register],
        _ => &[],
    };
    let segments = (!kinds.is_empty()).then(segment_stream);
    kinds
        .iter()
        .map(|kind| snapshot_stream(*kind))
        .chain(segments)
        .collect()
}

fn permissions(role: &str, public_key: &str, shape: &Shape) -> Permissions {
    match role {
        "provision" | "upgrade" | "issuer" | "revocation" | "restore" => of_log(role, public_key, shape),
        "vault-provision" | "vault-issuer" | "vault-backup" => of_vault(role),
        "scans-provision" | "scans-verifier" | "scans-keeper" => of_scans(role),
        "vault-revocation" | "vault-verifier" => Permissions {
            publish: vault_pages(VAULT_READERS_API, role == "vault-revocation"),
            ..Permissions::default()
        },
        "scans-revocation" => of_scans_reader(),
        "queries-provision" | "queries-audit" | "queries-issuer" => of_queries(role),
        "pages-provision" | "pages-portal" => of_pages(role),
        "sys" => of_system(),
        reader => of_reader(reader, public_key, shape),
    }
}

fn of_log(role: &str, public_key: &str, shape: &Shape) -> Permissions {
    let partitions = log_streams(shape);
    let streams = [partitions.clone(), snapshots(role)].concat();
    let made = |verbs: &[&str]| requests(OWN_API, verbs, &streams);
    let (publish, subscribe) = match role {
        "provision" => {
            let uses = requests(OWN_API, &MAKE, &[ASSERTION_USES.to_owned()]);
            ([made(&MAKE), uses].concat(), vec![])
        }
        "upgrade" => {
            let change = requests(OWN_API, &["STREAM.UPDATE"], &partitions);
            ([made(&READ[..1]), change].concat(), vec![])
        }
        "restore" => {
            let read = requests(OWN_API, &READ[1..], &partitions);
            (
                [made(&MAKE), read, vec![COMMITS.into()]].concat(),
                vec![TAIL.to_owned()],
            )
        }
        _ => {
            // Uses are read only from the leader, because a lagging replica lacks the latest ones.
            let uses = requests(OWN_API, &READ[..2], &[ASSERTION_USES.to_owned()]);
            let written = [COMMITS, NONCE_LISTS, ASSERTIONS].map(str::to_owned).to_vec();
            let mut publish = [made(&READ), uses, written].concat();
            if role == "revocation" {
                publish.extend([probes(role, public_key), PROBES_V1.into()]);
                for kind in [ProjectionKind::Status, ProjectionKind::Register] {
                    publish.push(format!("$O.{}.>", bucket(kind)));
                    publish.push(format!("{OWN_API}.STREAM.PURGE.{}", snapshot_stream(kind)));
                }
                publish.push(format!("$O.{SEGMENTS}.>"));
                publish.push(format!("{OWN_API}.STREAM.PURGE.{}", segment_stream()));
            }
            (
                publish,
                [TAIL, PROBES_V1, &probes("*", "*"), NONCE_LISTS]
                    .map(str::to_owned)
                    .to_vec(),
            )
        }
    };
    Permissions {
        publish,
        subscribe,
        ..Permissions::default()
    }
}

fn of_reader(role: &str, public_key: &str, shape: &Shape) -> Permissions {
    let streams = [log_streams(shape), snapshots(role)].concat();
    let mut publish = requests(LOG_READERS_API, &READ, &streams);
    if role == "archive" {
        // Operators may inspect that the streams exist and their size, but not their content.
        let kinds = [ProjectionKind::Status, ProjectionKind::Register].map(snapshot_stream);
        publish.extend(requests(LOG_READERS_API, &READ[..1], &kinds));
        publish.extend(requests(LOG_READERS_API, &READ[..1], &[segment_stream()]));
    }
    publish.extend([probes(role, public_key), PROBES_V1.to_owned()]);
    Permissions {
        publish,
        subscribe: [TAIL, NONCE_LISTS].map(str::to_owned).to_vec(),
        ..Permissions::default()
    }
}

/// Requests for the vault's stream info and for pages of the index; for revocation services also for the page of keys
/// that seal reasons. Only requests with the page in the subject are allowed, because permissions cannot restrict
/// others.
fn vault_pages(api: &str, with_reasons: bool) -> Vec<String> {
    let mut subjects = vec![
        format!("{api}.STREAM.INFO.{VAULT}"),
        format!("{api}.DIRECT.GET.{VAULT}.$KV.CC_VAULT.i.*"),
    ];
    if with_reasons {
        subjects.push(format!("{api}.DIRECT.GET.{VAULT}.$KV.CC_VAULT.r.keys"));
    }
    subjects
}

fn of_vault(role: &str) -> Permissions {
    let stream = [VAULT.to_owned()];
    let publish = match role {
        "vault-provision" => requests(OWN_API, &MAKE, &stream),
        "vault-issuer" => {
            let mut publish = requests(OWN_API, &[&READ[..], &["STREAM.MSG.DELETE"]].concat(), &stream);
            publish.push("$KV.CC_VAULT.>".into());
            publish
        }
        // A backup acknowledges the server's chunks; a restore sends chunks to a subject that the server names.
        _ => {
            let verbs = ["STREAM.INFO", "STREAM.SNAPSHOT", "STREAM.RESTORE"];
            let mut publish = requests(OWN_API, &verbs, &stream);
            publish.extend([
                format!("$JS.SNAPSHOT.ACK.{VAULT}.>"),
                format!("$JS.SNAPSHOT.RESTORE.{VAULT}.*"),
            ]);
            publish
        }
    };
    Permissions {
        publish,
        ..Permissions::default()
    }
}

fn of_scans(role: &str) -> Permissions {
    let (keys, any) = ([SCAN_KEYS.to_owned()], ["*".to_owned()]);
    let publish = match role {
        "scans-provision" => requests(OWN_API, &[&MAKE[..], &READ[1..]].concat(), &keys),
        "scans-verifier" => {
            let records = ["cc.scan.v1.>", "cc.reg.v1.>"].map(str::to_owned).to_vec();
            [requests(OWN_API, &READ, &any), records].concat()
        }
        // The keeper lists streams and keys, creates missing keys, and destroys days.
        _ => {
            let verbs = [&MAKE[..], &READ[1..], &["STREAM.DELETE"]].concat();
            let mut publish = requests(OWN_API, &verbs, &any);
            publish.extend([
                format!("{OWN_API}.STREAM.NAMES"),
                format!("{OWN_API}.STREAM.MSG.DELETE.{SCAN_KEYS}"),
                "cc.scankey.v1.*".into(),
            ]);
            publish
        }
    };
    Permissions {
        publish,
        ..Permissions::default()
    }
}

/// Requests that read the sealed records of any day, and the info of the stream of keys, which contains the manifest.
fn of_scans_reader() -> Permissions {
    Permissions {
        publish: requests(SCANS_READERS_API, &READ, &["*".to_owned()]),
        refused: requests(SCANS_READERS_API, &READ[1..], &[SCAN_KEYS.to_owned()]),
        ..Permissions::default()
    }
}

/// Queries can be appended and never removed; the messages of secrets can be overwritten.
fn of_queries(role: &str) -> Permissions {
    use citycode_query_stream::jetstream::{KEY_SUBJECTS, KEYS, STREAM, SUBJECT};
    let streams = [STREAM, KEYS].map(str::to_owned);
    let publish = if role == "queries-provision" {
        requests(OWN_API, &MAKE, &streams)
    } else {
        let mut publish = requests(OWN_API, &READ, &streams);
        publish.extend([
            format!("{OWN_API}.STREAM.MSG.DELETE.{KEYS}"),
            SUBJECT.to_owned(),
            KEY_SUBJECTS.to_owned(),
        ]);
        publish
    };
    Permissions {
        publish,
        ..Permissions::default()
    }
}

/// Records are read at the leader only, because a lagging replica does not know which sessions ended. Nobody can delete a
/// record or purge a stream.
fn of_pages(role: &str) -> Permissions {
    use citycode_access_records::Table;
    use citycode_access_records::jetstream::{SUBJECTS, stream_name};
    let streams = Table::ALL.map(stream_name);
    let publish = if role == "pages-provision" {
        requests(OWN_API, &MAKE, &streams)
    } else {
        let mut publish = requests(OWN_API, &READ[..2], &streams);
        publish.push(SUBJECTS.to_owned());
        publish
    };
    Permissions {
        publish,
        ..Permissions::default()
    }
}

/// Monitoring requests by name, because the same prefix includes requests that reload, disconnect clients and shut
/// down.
fn of_system() -> Permissions {
    let monitoring = MONITORING.map(|verb| format!("$SYS.REQ.SERVER.*.{verb}"));
    let mut publish = vec!["$SYS.REQ.SERVER.PING".to_owned()];
    publish.extend(monitoring);
    Permissions {
        publish,
        ..Permissions::default()
    }
}
