//! Accounts and users of the NATS servers, and what each user may: as little as its work needs.
//!
//! | user | account | publishes | listens to |
//! |---|---|---|---|
//! | provision | LOG | makes and inspects streams | its answers |
//! | issuer, revocation | LOG | commits, `cc.ev.v1.>`; reads the log | its answers, `cc.echo.v1`, the tail |
//! | restore | LOG | makes streams, reads the log, commits: moves a whole log here; no service's | its answers, the tail |
//! | verifier, audit, archive | one each | what LOG gives to readers, under `cc.log`; `cc.echo.v1` | its answers, the tail |
//! | vault-provision | VAULT | makes and inspects its stream | its answers |
//! | vault-issuer | VAULT | reads, writes and overwrites pages | its answers |
//! | vault-backup | VAULT | takes the vault as it is, brings it back where there is none; no service's | its answers |
//! | vault-revocation, vault-verifier | one each | asks for pages of the index, under `cc.vault` | its answers |
//! | scans-provision | SCANS | makes and inspects streams, makes a day's key | its answers |
//! | scans-verifier | SCANS | records, `cc.scan.v1.>` and `cc.reg.v1.>`; reads them | its answers |
//! | scans-keeper | SCANS | makes, reads and deletes streams, makes and overwrites keys; no record | its answers |
//! | sys | SYS | the servers' own account, for `nats` on the command line | everything there |
//!
//! `restore` and `vault-backup` move whole streams. Both can break what they move (a commit that is none; a snapshot that is
//! delivered onto a page, as nobody can say where a server may send its chunks), so no service has them.
//!
//! Revocation also publishes shared snapshots ([`citycode_shared_snapshot`]), which stand in LOG. Who reads streams there
//! may read any; those of snapshots are denied by name to everybody but those who start from them: of the status,
//! verifier and revocation; of the register, issuer and revocation.
//!
//! `answers` arrive under a prefix that the user's public key is part of
//! ([`citycode_jetstream::inbox_prefix`]), so that no user can listen to another's.
//!
//! **Why readers live in accounts of their own:** the servers send the answer to a question wherever the question says,
//! and a consumer delivers wherever its maker says, whatever the user may publish. In the account that keeps the streams
//! that place could be the log. A reader's account has no streams; its few questions cross into the other account by
//! imports, the answers come back by a way that the servers choose, and end in the reader's own account, where nothing
//! is kept. See docs/decisions/0014.

use std::fmt::Write as _;

use citycode_jetstream::inbox_prefix;
use citycode_projection::snapshot::ProjectionKind;
use citycode_shared_snapshot::bucket;

use crate::apart::{LOG_READERS_API, VAULT_READERS_API};

pub(super) const USERS: [&str; 16] = [
    "provision",
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

const INSPECT: &str = "$JS.API.STREAM.INFO.*";
const COMMITS: &str = "cc.ev.v1.>";
const MAKE: [&str; 3] = ["$JS.API.STREAM.CREATE.*", INSPECT, "$JS.API.INFO"];
const READ: [&str; 3] = [INSPECT, "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.*"];
const ECHO: &str = "cc.echo.v1";
const TAIL: &str = "cc.tail.v1.*";
const SHARE_SNAPSHOTS: [&str; 4] = [
    "$O.CC_STATUS_SNAPSHOTS.>",
    "$O.CC_REGISTER_SNAPSHOTS.>",
    "$JS.API.STREAM.PURGE.OBJ_CC_STATUS_SNAPSHOTS",
    "$JS.API.STREAM.PURGE.OBJ_CC_REGISTER_SNAPSHOTS",
];
/// The vault's stream as a whole: the server's chunks are acknowledged, and sent to a place that it names.
const BACK_UP_VAULT: [&str; 5] = [
    "$JS.API.STREAM.INFO.KV_CC_VAULT",
    "$JS.API.STREAM.SNAPSHOT.KV_CC_VAULT",
    "$JS.SNAPSHOT.ACK.KV_CC_VAULT.>",
    "$JS.API.STREAM.RESTORE.KV_CC_VAULT",
    "$JS.SNAPSHOT.RESTORE.KV_CC_VAULT.*",
];
/// Lists streams and keys, makes a key where there is none.
const KEEP_DAYS: [&str; 2] = ["$JS.API.STREAM.NAMES", "cc.scankey.v1.*"];
/// Reading a stream by its name, as far as anybody may.
const READ_VERBS: [&str; 2] = ["STREAM.MSG.GET", "DIRECT.GET"];

/// Shared snapshots that a user who reads the log may not read.
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
    let api = match account(user).as_str() {
        "LOG" => citycode_jetstream::OWN_API,
        reader if reader.starts_with("LOG_") => LOG_READERS_API,
        _ => return Vec::new(),
    };
    let streams = denied_snapshots(user)
        .into_iter()
        .map(|kind| format!("OBJ_{}", bucket(kind)));
    let verbs = |stream: String| READ_VERBS.map(|verb| format!("{api}.{verb}.{stream}"));
    let exact: Vec<String> = streams.flat_map(verbs).collect();
    let deeper = exact.iter().map(|subject| format!("{subject}.>"));
    exact.iter().cloned().chain(deeper).collect()
}

/// Something that an account gives to readers in other accounts.
struct Given {
    /// As the account that has it knows it.
    subject: &'static str,
    /// As its readers ask for it.
    asked: String,
    /// What stands behind it in the exporting account's list.
    how: &'static str,
}

/// What LOG gives: questions that change nothing, and the readers' numbers for the writers.
fn given_of_log() -> Vec<Given> {
    let api = |verb: &'static str, how| Given {
        subject: verb,
        asked: verb.replacen(citycode_jetstream::OWN_API, LOG_READERS_API, 1),
        how,
    };
    vec![
        api(READ[0], ""),
        api(READ[1], ""),
        // Many commits answer one question.
        api(READ[2], ", response_type: stream"),
        Given {
            subject: ECHO,
            asked: ECHO.to_owned(),
            how: "",
        },
    ]
}

/// What VAULT gives: what it is, and pages of the index alone; to revocation services, the page of keys that reasons are
/// sealed with. Only questions that name their page in the subject: of the others nobody could say which page they ask
/// for.
fn given_of_vault(reader: Option<&str>) -> Vec<Given> {
    let api = |verb: &'static str| Given {
        subject: verb,
        asked: verb.replacen(citycode_jetstream::OWN_API, VAULT_READERS_API, 1),
        how: "",
    };
    let mut given = vec![
        api("$JS.API.STREAM.INFO.KV_CC_VAULT"),
        api("$JS.API.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.i.*"),
    ];
    if reader.is_none_or(|reader| reader.ends_with("REVOCATION")) {
        given.push(api("$JS.API.DIRECT.GET.KV_CC_VAULT.$KV.CC_VAULT.r.keys"));
    }
    given
}

/// The account of a user.
fn account(user: &str) -> String {
    match user {
        "provision" | "issuer" | "revocation" | "restore" => "LOG".to_owned(),
        "vault-provision" | "vault-issuer" | "vault-backup" => "VAULT".to_owned(),
        "scans-provision" | "scans-verifier" | "scans-keeper" => "SCANS".to_owned(),
        "sys" => "SYS".to_owned(),
        reader => match reader.strip_prefix("vault-") {
            Some(reader) => format!("VAULT_{}", reader.to_uppercase()),
            None => format!("LOG_{}", reader.to_uppercase()),
        },
    }
}

/// What a user may publish, and what it may listen to beside its answers.
fn permissions(user: &str) -> (Vec<String>, Vec<&'static str>) {
    let own = |subjects: &[&str]| subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let asked = |given: Vec<Given>| given.into_iter().map(|given| given.asked).collect();
    match user {
        "provision" | "vault-provision" => (own(&MAKE), vec![]),
        "issuer" => (own(&[&READ[..], &[COMMITS]].concat()), vec![ECHO, TAIL]),
        "restore" => (own(&[&MAKE[..], &READ[1..], &[COMMITS]].concat()), vec![TAIL]),
        "revocation" => {
            let write = [COMMITS, ECHO];
            (own(&[&READ[..], &write, &SHARE_SNAPSHOTS].concat()), vec![ECHO, TAIL])
        }
        "vault-issuer" => {
            let write = ["$KV.CC_VAULT.>", "$JS.API.STREAM.MSG.DELETE.KV_CC_VAULT"];
            (own(&[&READ[..], &write].concat()), vec![])
        }
        "vault-backup" => (own(&BACK_UP_VAULT), vec![]),
        "scans-provision" => (own(&[&MAKE[..], &READ[1..], &KEEP_DAYS].concat()), vec![]),
        "scans-verifier" => (own(&[&READ[..], &["cc.scan.v1.>", "cc.reg.v1.>"]].concat()), vec![]),
        "scans-keeper" => {
            let destroy = ["$JS.API.STREAM.DELETE.*", "$JS.API.STREAM.MSG.DELETE.CC_SCAN_KEYS"];
            (own(&[&MAKE[..], &READ[1..], &KEEP_DAYS, &destroy].concat()), vec![])
        }
        "vault-revocation" | "vault-verifier" => (asked(given_of_vault(Some(&account(user)))), vec![]),
        _ => (asked(given_of_log()), vec![TAIL]),
    }
}

/// One account: its users, what it gives to which others, what it has of others.
#[derive(Default)]
struct Account {
    users: String,
    readers: Vec<String>,
}

/// The file that servers include. Users and their public keys; nothing secret.
pub(super) fn conf(users: &[(&'static str, String)]) -> String {
    let mut accounts: Vec<(String, Account)> = Vec::new();
    for (user, public_key) in users {
        let name = account(user);
        let at = accounts
            .iter()
            .position(|(known, _)| *known == name)
            .unwrap_or_else(|| {
                accounts.push((name.clone(), Account::default()));
                accounts.len() - 1
            });
        accounts[at].1.users.push_str(&user_entry(user, public_key));
        if let Some((owner, _)) = name.split_once('_') {
            let owner = accounts.iter_mut().find(|(known, _)| known == owner);
            owner.expect("owners stand before their readers").1.readers.push(name);
        }
    }
    let mut text = "# Made by `citycode secrets`; nothing secret.\nsystem_account: SYS\naccounts {\n".to_owned();
    for (name, account) in &accounts {
        let shared = match (name.as_str(), name.split_once('_')) {
            ("LOG", _) => gives(&given_of_log(), Some(TAIL), &account.readers),
            ("SCANS", _) => "    jetstream: enabled\n".to_owned(),
            ("VAULT", _) => gives(&given_of_vault(None), None, &account.readers),
            (_, Some((owner @ "LOG", _))) => has(&given_of_log(), Some(TAIL), owner),
            (reader, Some((owner, _))) => has(&given_of_vault(Some(reader)), None, owner),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {name} {{\n    users: [\n{}    ]\n{shared}  }}", account.users);
    }
    text.push_str("}\n");
    text
}

fn user_entry(user: &str, public_key: &str) -> String {
    if user == "sys" {
        return format!("      # {user}\n      {{ nkey: {public_key} }}\n");
    }
    let (publish, mut subscribe) = permissions(user);
    let inbox = format!("{}.>", inbox_prefix(public_key));
    subscribe.push(&inbox);
    let denied = denials(user);
    format!(
        "      # {user}\n      {{ nkey: {public_key}, permissions: {{\n          \
         publish: {{ allow: {publish:?}, deny: {denied:?} }}\n          \
         subscribe: {{ allow: {subscribe:?} }} }} }}\n"
    )
}

/// The part of an account that keeps streams.
fn gives(given: &[Given], tail: Option<&str>, readers: &[String]) -> String {
    let readers = readers.join(", ");
    let mut text = "    jetstream: enabled\n    exports: [\n".to_owned();
    for Given { subject, how, .. } in given {
        let _ = writeln!(text, "      {{ service: {subject:?}{how}, accounts: [{readers}] }}");
    }
    if let Some(tail) = tail {
        let _ = writeln!(text, "      {{ stream: {tail:?}, accounts: [{readers}] }}");
    }
    text + "    ]\n"
}

/// The part of an account that only reads.
fn has(given: &[Given], tail: Option<&str>, owner: &str) -> String {
    let mut text = "    imports: [\n".to_owned();
    for Given { subject, asked, .. } in given {
        let _ = writeln!(
            text,
            "      {{ service: {{ account: {owner}, subject: {subject:?} }}, to: {asked:?} }}"
        );
    }
    if let Some(tail) = tail {
        let _ = writeln!(text, "      {{ stream: {{ account: {owner}, subject: {tail:?} }} }}");
    }
    text + "    ]\n"
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
            let may = |begins: &str| publish.iter().any(|subject| subject.starts_with(begins));
            let asks = |verb: &str| publish.iter().any(|subject| subject.contains(verb));
            assert_eq!(
                may("cc.ev"),
                ["issuer", "revocation", "restore"].contains(&user),
                "{user}"
            );
            assert_eq!(may("$KV"), user == "vault-issuer", "{user}");
            assert_eq!(may("$O."), user == "revocation", "{user}");
            assert_eq!(may("cc.reg"), user == "scans-verifier", "{user}");
            let makes = user.ends_with("provision") || ["restore", "scans-keeper"].contains(&user);
            assert_eq!(asks("STREAM.CREATE"), makes, "{user}");
            assert_eq!(asks("STREAM.SNAPSHOT"), user == "vault-backup", "{user}");
            assert_eq!(asks("STREAM.DELETE"), user == "scans-keeper", "{user}");
            assert!(!asks("CONSUMER"), "{user}");
        }
    }

    #[test]
    fn readers_share_no_account_with_a_stream_and_none_with_each_other() {
        let readers = ["verifier", "audit", "archive", "vault-revocation", "vault-verifier"];
        for reader in readers {
            assert_eq!(
                USERS.iter().filter(|user| account(user) == account(reader)).count(),
                1,
                "{reader}"
            );
            let (publish, _) = permissions(reader);
            assert!(!publish.iter().any(|subject| subject.starts_with('$')), "{publish:?}");
        }
        let keys = USERS.map(|user| (user, format!("U{}", user.to_uppercase())));
        let conf = conf(&keys);
        assert_eq!(conf.matches("jetstream: enabled").count(), 3, "{conf}");
    }
}
