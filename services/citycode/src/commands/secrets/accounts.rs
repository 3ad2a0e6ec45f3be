//! Accounts and users of the NATS servers, and what each user may: as little as its work needs.
//!
//! | user | account | publishes | listens to |
//! |---|---|---|---|
//! | provision | LOG | makes and inspects streams | its answers |
//! | issuer, revocation | LOG | commits, `cc.ev.v1.>`; reads the log | its answers, `cc.echo.v1` |
//! | verifier, audit, archive | LOG | reads the log, `cc.echo.v1`; no commit | its answers |
//! | revocation | LOG | shared snapshots, and removes old ones | |
//! | vault-provision | VAULT | makes and inspects its stream | its answers |
//! | vault-issuer | VAULT | reads, writes and overwrites pages | its answers |
//! | vault-revocation, vault-verifier | VAULT | read pages | its answers |
//! | scans-provision | SCANS | makes and inspects streams, makes a day's key | its answers |
//! | scans-verifier | SCANS | records, `cc.scan.v1.>` and `cc.reg.v1.>`; reads them | its answers |
//! | scans-keeper | SCANS | makes, reads and deletes streams, makes and overwrites keys; no record | its answers |
//! | sys | SYS | the servers' own account, for `nats` on the command line | everything there |
//!
//! Who reads the log may read any stream of its account; shared snapshots ([`citycode_shared_snapshot`]) are denied by
//! name to everybody but those who start from them: of the status, verifier and revocation; of the register, issuer and
//! revocation.
//!
//! `answers` arrive under a prefix that the user's public key is part of
//! ([`citycode_jetstream::inbox_prefix`]), so that no user can listen to another's.

use std::fmt::Write as _;

use citycode_jetstream::inbox_prefix;
use citycode_projection::snapshot::ProjectionKind;
use citycode_shared_snapshot::bucket;

pub(super) const USERS: [&str; 14] = [
    "provision",
    "issuer",
    "revocation",
    "verifier",
    "audit",
    "archive",
    "vault-provision",
    "vault-issuer",
    "vault-revocation",
    "vault-verifier",
    "scans-provision",
    "scans-verifier",
    "scans-keeper",
    "sys",
];
const VAULT_PREFIX: &str = "vault-";
const SCANS_PREFIX: &str = "scans-";

const INSPECT: &str = "$JS.API.STREAM.INFO.*";
const MAKE: [&str; 3] = ["$JS.API.STREAM.CREATE.*", INSPECT, "$JS.API.INFO"];
const READ_LOG: [&str; 6] = [
    INSPECT,
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.DIRECT.GET.*",
    "$JS.API.CONSUMER.CREATE.*",
    "$JS.API.CONSUMER.DELETE.*.*",
    "$JS.FC.>",
];
const ECHO: &str = "cc.echo.v1";
const SHARE_SNAPSHOTS: [&str; 4] = [
    "$O.CC_STATUS_SNAPSHOTS.>",
    "$O.CC_REGISTER_SNAPSHOTS.>",
    "$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS",
    "$JS.API.STREAM.PURGE.OBJ_CC_REGISTER_SNAPSHOTS",
];
const READ_VAULT: [&str; 3] = [INSPECT, "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.*"];
const READ_SCANS: [&str; 3] = READ_VAULT;
/// Lists streams and keys, makes a key where there is none.
const KEEP_DAYS: [&str; 2] = ["$JS.API.STREAM.NAMES", "cc.scankey.v1.*"];

/// Reading a stream, by the name of its bucket.
const READ_VERBS: [&str; 5] = [
    "STREAM.MSG.GET",
    "DIRECT.GET",
    "CONSUMER.CREATE",
    "CONSUMER.DURABLE.CREATE",
    "CONSUMER.MSG.NEXT",
];

/// Shared snapshots that a user of the log's account may not read.
fn denied_snapshots(user: &str) -> Vec<ProjectionKind> {
    match user {
        "revocation" => vec![],
        "verifier" => vec![ProjectionKind::Register],
        "issuer" => vec![ProjectionKind::Status],
        _ => vec![ProjectionKind::Status, ProjectionKind::Register],
    }
}

/// What a user may not publish although a pattern of [`permissions`] has it.
fn denials(user: &str) -> Vec<String> {
    let streams = denied_snapshots(user)
        .into_iter()
        .map(|kind| format!("OBJ_{}", bucket(kind)));
    let verbs = |stream: String| READ_VERBS.map(|verb| format!("$JS.API.{verb}.{stream}"));
    let exact: Vec<String> = streams.flat_map(verbs).collect();
    let deeper = exact.iter().map(|subject| format!("{subject}.>"));
    exact.iter().cloned().chain(deeper).collect()
}

/// What a user may publish, and what it may listen to beside its answers.
fn permissions(user: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let log = |more: &[&'static str]| [&READ_LOG[..], more].concat();
    match user {
        "provision" => ([&MAKE[..], &READ_LOG[..]].concat(), vec![]),
        "issuer" => (log(&["cc.ev.v1.>"]), vec![ECHO]),
        "revocation" => (
            [&log(&["cc.ev.v1.>", ECHO])[..], &SHARE_SNAPSHOTS[..]].concat(),
            vec![ECHO],
        ),
        "verifier" | "audit" | "archive" => (log(&[ECHO]), vec![]),
        "vault-provision" => (MAKE.to_vec(), vec![]),
        "vault-issuer" => {
            let write = ["$KV.CC_VAULT.>", "$JS.API.STREAM.MSG.DELETE.KV_CC_VAULT"];
            ([&READ_VAULT[..], &write[..]].concat(), vec![])
        }
        "scans-provision" => ([&MAKE[..], &READ_SCANS[1..], &KEEP_DAYS[..]].concat(), vec![]),
        "scans-verifier" => ([&READ_SCANS[..], &["cc.scan.v1.>", "cc.reg.v1.>"]].concat(), vec![]),
        "scans-keeper" => {
            let destroy = ["$JS.API.STREAM.DELETE.*", "$JS.API.STREAM.MSG.DELETE.CC_SCAN_KEYS"];
            let read = &READ_SCANS[1..];
            ([&MAKE[..], read, &KEEP_DAYS[..], &destroy[..]].concat(), vec![])
        }
        _ => (READ_VAULT.to_vec(), vec![]),
    }
}

/// The file that servers include. Users and their public keys; nothing secret.
pub(super) fn conf(users: &[(&'static str, String)]) -> String {
    let mut accounts = [
        ("LOG", String::new()),
        ("VAULT", String::new()),
        ("SCANS", String::new()),
    ];
    let mut system = String::new();
    for (user, public_key) in users {
        if *user == "sys" {
            let _ = writeln!(system, "      # {user}\n      {{ nkey: {public_key} }}");
            continue;
        }
        let (publish, mut subscribe) = permissions(user);
        let inbox = format!("{}.>", inbox_prefix(public_key));
        subscribe.push(&inbox);
        let account = match user {
            user if user.starts_with(VAULT_PREFIX) => 1,
            user if user.starts_with(SCANS_PREFIX) => 2,
            _ => 0,
        };
        // Snapshots stand in the log's account.
        let denied = if account == 0 { denials(user) } else { Vec::new() };
        let account = &mut accounts[account].1;
        let _ = writeln!(
            account,
            "      # {user}\n      {{ nkey: {public_key}, permissions: {{\n          \
             publish: {{ allow: {publish:?}, deny: {denied:?} }}\n          \
             subscribe: {{ allow: {subscribe:?} }} }} }}"
        );
    }
    let mut text = "# Made by `citycode secrets`; nothing secret.\nsystem_account: SYS\naccounts {\n".to_owned();
    for (name, users) in accounts {
        let _ = writeln!(
            text,
            "  {name} {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}"
        );
    }
    let _ = writeln!(text, "  SYS {{\n    users: [\n{system}    ]\n  }}\n}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_revocation_may_write_are_the_buckets_of_shared_snapshots() {
        for kind in [ProjectionKind::Status, ProjectionKind::Register] {
            assert!(SHARE_SNAPSHOTS.contains(&format!("$O.{}.>", bucket(kind)).as_str()));
            assert!(SHARE_SNAPSHOTS.contains(&format!("$JS.API.STREAM.PURGE.OBJ_{}", bucket(kind)).as_str()));
        }
    }

    #[test]
    fn each_may_write_what_is_its_own_and_nothing_else() {
        for user in USERS {
            let (publish, _) = permissions(user);
            let commits = publish.iter().any(|subject| subject.starts_with("cc.ev"));
            assert_eq!(commits, ["issuer", "revocation"].contains(&user), "{user}");
            let pages = publish.iter().any(|subject| subject.starts_with("$KV"));
            assert_eq!(pages, user == "vault-issuer", "{user}");
            let shares = publish.iter().any(|subject| subject.starts_with("$O."));
            assert_eq!(shares, user == "revocation", "{user}");
            let makes = publish
                .iter()
                .any(|subject| subject.contains("CREATE.*") && subject.contains("STREAM"));
            assert_eq!(makes, user.ends_with("provision") || user == "scans-keeper", "{user}");
            let records = publish.iter().any(|subject| subject.starts_with("cc.reg"));
            assert_eq!(records, user == "scans-verifier", "{user}");
            let destroys = publish.iter().any(|subject| subject.contains("STREAM.DELETE"));
            assert_eq!(destroys, user == "scans-keeper", "{user}");
        }
    }
}
