//! Accounts and users of the NATS servers, and what each user may: as little as its work needs.
//!
//! | user | account | publishes | listens to |
//! |---|---|---|---|
//! | provision | LOG | makes and inspects the streams of partitions, snapshots and used assertions, by name | its answers |
//! | upgrade | LOG | inspects and changes the streams of partitions; no service's | its answers |
//! | issuer, revocation | LOG | commits, `cc.ev.v1.>`; lists of nonces; used assertions, `cc.assertion.v1.*.*`; reads the log | its answers, nonces, their lists, the tail |
//! | restore | LOG | makes the streams of partitions, reads the log, commits: moves a whole log here; no service's | its answers, the tail |
//! | verifier, audit, archive | one each | what LOG gives to readers, under `cc.log`; nonces | its answers, their lists, the tail |
//! | vault-provision | VAULT | makes and inspects its stream | its answers |
//! | vault-issuer | VAULT | reads, writes and overwrites pages | its answers |
//! | vault-backup | VAULT | takes the vault as it is, brings it back where there is none; no service's | its answers |
//! | vault-revocation, vault-verifier | one each | asks for pages of the index, under `cc.vault` | its answers |
//! | scans-provision | SCANS | makes and inspects the stream of the days' keys | its answers |
//! | scans-verifier | SCANS | records, `cc.scan.v1.>` and `cc.reg.v1.>`; reads them | its answers |
//! | scans-keeper | SCANS | makes, reads and deletes streams, makes and overwrites keys; no record | its answers |
//! | sys | SYS | asks for the servers' monitoring, for `nats` on the command line | its answers |
//!
//! Streams are named one by one. The exceptions are the days of scan records: a wildcard stands for a whole token, and a
//! day's number is a part of one. The servers cannot restrict what a request says, so each account that keeps streams may
//! have as many as are provisioned (`max_streams`), and what is left is in docs/operations/city.md, seed by seed.
//!
//! `restore` and `vault-backup` move whole streams. Both can break what they move (a commit that is none; a snapshot that is
//! delivered onto a page, as nobody can say where a server may send its chunks), so no service has them. Whoever may
//! change a stream's settings can have it forget its messages, so `upgrade` is no service's either.
//!
//! Revocation also publishes shared snapshots ([`citycode_shared_snapshot`]), which stand in LOG. Those of the status are
//! read by verifier and revocation; those of the register by issuer and revocation.
//!
//! `answers` arrive under a prefix that the user's public key is part of
//! ([`citycode_jetstream::inbox_prefix`]), so that no user can listen to another's.
//!
//! **Nonces** (docs/decisions/0009 and what supersedes it) are published to `cc.echo.v2.ROLE.INSTANCE`, where INSTANCE is
//! the user's public key: writers share their room for nonces fairly between roles and instances, and nobody speaks for
//! another's. `cc.echo.v1` is that of programs before this release.
//!
//! **Why readers live in accounts of their own:** the servers send the answer to a question wherever the question says,
//! and a consumer delivers wherever its maker says, whatever the user may publish. In the account that keeps the streams
//! that place could be the log. A reader's account has no streams; its few questions cross into the other account by
//! imports, the answers come back by a way that the servers choose, and end in the reader's own account, where nothing
//! is kept. See docs/decisions/0014.

mod conf;
mod shape;
#[cfg(test)]
mod tests;

use citycode_event_store::Partition;
use citycode_event_store_jetstream::subjects::{NONCE_LISTS, PROBES_V1, probes};
use citycode_projection::snapshot::ProjectionKind;
use citycode_shared_snapshot::bucket;

use citycode_runtime::distributed::{LOG_READERS_API, VAULT_READERS_API};

pub(super) use conf::conf;
pub(super) use shape::Shape;

/// The users that every city has.
const USERS: [&str; 17] = [
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
    "sys",
];

const OWN_API: &str = citycode_jetstream::OWN_API;
const COMMITS: &str = "cc.ev.v1.>";
const TAIL: &str = "cc.tail.v1.*";
const VAULT: &str = "KV_CC_VAULT";
const SCAN_KEYS: &str = "CC_SCAN_KEYS";

/// Uses of assertions, written by those who take assertions.
const ASSERTIONS: &str = citycode_assertion_uses::jetstream::SUBJECTS;
/// Their stream.
const ASSERTION_USES: &str = citycode_assertion_uses::jetstream::STREAM;

/// Reading a stream: where it stands, a message from its leader, messages from whoever is near.
const READ: [&str; 3] = ["STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET"];
const MAKE: [&str; 2] = ["STREAM.CREATE", "STREAM.INFO"];
/// Monitoring of the servers that tells no subject and no client's questions, and changes nothing.
const MONITORING: [&str; 9] = [
    "IDZ", "STATSZ", "VARZ", "CONNZ", "ROUTEZ", "JSZ", "HEALTHZ", "RAFTZ", "ACCOUNTZ",
];

/// A user: whose work it does, and its name, which is another where instances have seeds of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    role: &'static str,
}

/// What a user may publish, and what it may listen to beside its answers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Permissions {
    publish: Vec<String>,
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
        "sys" => "SYS".to_owned(),
        reader => match reader.strip_prefix("vault-") {
            Some(reader) => format!("VAULT_{}", reader.to_uppercase()),
            None => format!("LOG_{}", reader.to_uppercase()),
        },
    }
}

/// Each of these requests for each of these streams.
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

/// The streams of shared snapshots that a role starts from.
fn snapshots(role: &str) -> Vec<String> {
    let kinds: &[ProjectionKind] = match role {
        "revocation" | "provision" | "upgrade" => &[ProjectionKind::Status, ProjectionKind::Register],
        "verifier" => &[ProjectionKind::Status],
        "issuer" => &[ProjectionKind::Register],
        _ => &[],
    };
    kinds.iter().map(|kind| snapshot_stream(*kind)).collect()
}

fn permissions(role: &str, public_key: &str, shape: &Shape) -> Permissions {
    match role {
        "provision" | "upgrade" | "issuer" | "revocation" | "restore" => of_log(role, public_key, shape),
        "vault-provision" | "vault-issuer" | "vault-backup" => of_vault(role),
        "scans-provision" | "scans-verifier" | "scans-keeper" => of_scans(role),
        "vault-revocation" | "vault-verifier" => Permissions {
            publish: vault_pages(VAULT_READERS_API, role == "vault-revocation"),
            subscribe: Vec::new(),
        },
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
            // Uses are asked for at the leader alone: who lags knows too few.
            let uses = requests(OWN_API, &READ[..2], &[ASSERTION_USES.to_owned()]);
            let written = [COMMITS, NONCE_LISTS, ASSERTIONS].map(str::to_owned).to_vec();
            let mut publish = [made(&READ), uses, written].concat();
            if role == "revocation" {
                publish.extend([probes(role, public_key), PROBES_V1.into()]);
                for kind in [ProjectionKind::Status, ProjectionKind::Register] {
                    publish.push(format!("$O.{}.>", bucket(kind)));
                    publish.push(format!("{OWN_API}.STREAM.PURGE.{}", snapshot_stream(kind)));
                }
            }
            (
                publish,
                [TAIL, PROBES_V1, &probes("*", "*"), NONCE_LISTS]
                    .map(str::to_owned)
                    .to_vec(),
            )
        }
    };
    Permissions { publish, subscribe }
}

fn of_reader(role: &str, public_key: &str, shape: &Shape) -> Permissions {
    let streams = [log_streams(shape), snapshots(role)].concat();
    let mut publish = requests(LOG_READERS_API, &READ, &streams);
    if role == "archive" {
        // For operators who look: that they stand and how large they are, not what is in them.
        let kinds = [ProjectionKind::Status, ProjectionKind::Register].map(snapshot_stream);
        publish.extend(requests(LOG_READERS_API, &READ[..1], &kinds));
    }
    publish.extend([probes(role, public_key), PROBES_V1.to_owned()]);
    Permissions {
        publish,
        subscribe: [TAIL, NONCE_LISTS].map(str::to_owned).to_vec(),
    }
}

/// What the vault is, and pages of the index alone; to revocation services, the page of keys that reasons are sealed
/// with. Only questions that name their page in the subject: of the others nobody could say which page they ask for.
fn vault_pages(api: &str, with_reasons: bool) -> Vec<String> {
    let mut asked = vec![
        format!("{api}.STREAM.INFO.{VAULT}"),
        format!("{api}.DIRECT.GET.{VAULT}.$KV.CC_VAULT.i.*"),
    ];
    if with_reasons {
        asked.push(format!("{api}.DIRECT.GET.{VAULT}.$KV.CC_VAULT.r.keys"));
    }
    asked
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
        // The server's chunks are acknowledged, and sent to a place that it names.
        _ => {
            let asked = ["STREAM.INFO", "STREAM.SNAPSHOT", "STREAM.RESTORE"];
            let mut publish = requests(OWN_API, &asked, &stream);
            publish.extend([
                format!("$JS.SNAPSHOT.ACK.{VAULT}.>"),
                format!("$JS.SNAPSHOT.RESTORE.{VAULT}.*"),
            ]);
            publish
        }
    };
    Permissions {
        publish,
        subscribe: Vec::new(),
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
        // Lists streams and keys, makes a key where there is none, and destroys days.
        _ => {
            let asked = [&MAKE[..], &READ[1..], &["STREAM.DELETE"]].concat();
            let mut publish = requests(OWN_API, &asked, &any);
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
        subscribe: Vec::new(),
    }
}

/// By the verb: under the same beginning stand requests that reload, kick out and shut down.
fn of_system() -> Permissions {
    let asked = MONITORING.map(|verb| format!("$SYS.REQ.SERVER.*.{verb}"));
    let mut publish = vec!["$SYS.REQ.SERVER.PING".to_owned()];
    publish.extend(asked);
    Permissions {
        publish,
        subscribe: Vec::new(),
    }
}
