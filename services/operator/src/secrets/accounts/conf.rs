//! The text of `accounts.conf`, which NATS servers include.

use std::fmt::Write as _;

use citycode_event_store_jetstream::subjects::{NONCE_LISTS, PROBES_V1, probes};
use citycode_jetstream::inbox_prefix;

use super::{
    LOG_READERS_API, OWN_API, Permissions, READ, SCANS_READERS_API, Shape, TAIL, User, VAULT_READERS_API, account,
    permissions, vault_pages,
};

/// An export of an account to readers in other accounts: a service, or a stream of messages.
struct Export {
    /// The subject in the exporting account.
    subject: String,
    /// The subject in the importing account.
    local: String,
    kind: ExportKind,
    /// The only importing account; none if all may import it.
    to: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ExportKind {
    Service,
    /// A service that answers one request with several messages.
    StreamingService,
    Stream,
}

impl Export {
    fn new(subject: &str, kind: ExportKind) -> Self {
        let local = subject.replacen(OWN_API, LOG_READERS_API, 1);
        Self {
            subject: subject.to_owned(),
            local,
            kind,
            to: None,
        }
    }

    fn is_for(&self, reader: &str) -> bool {
        self.to.as_deref().is_none_or(|to| to == reader)
    }
}

/// Exports of requests that read streams. The permissions of a reader's user restrict the streams.
fn exports_of_reads() -> Vec<Export> {
    let reads = READ.iter().map(|verb| {
        let streaming = *verb == "DIRECT.GET";
        let kind = if streaming {
            ExportKind::StreamingService
        } else {
            ExportKind::Service
        };
        Export::new(&format!("{OWN_API}.{verb}.*"), kind)
    });
    reads.collect()
}

/// Exports of LOG: read requests, the tail, and the readers' nonces for the writers.
fn exports_of_log() -> Vec<Export> {
    let mut exports = exports_of_reads();
    exports.push(Export::new(PROBES_V1, ExportKind::Service));
    exports.extend(["verifier", "audit", "archive"].map(|role| Export {
        to: Some(account(role)),
        ..Export::new(&probes(role, "*"), ExportKind::Service)
    }));
    exports.extend([TAIL, NONCE_LISTS].map(|subject| Export::new(subject, ExportKind::Stream)));
    exports
}

fn exports_of_vault() -> Vec<Export> {
    let to_all = vault_pages(OWN_API, false);
    let pages = vault_pages(OWN_API, true).into_iter().map(|subject| Export {
        local: subject.replacen(OWN_API, VAULT_READERS_API, 1),
        to: (!to_all.contains(&subject)).then(|| account("vault-revocation")),
        subject,
        kind: ExportKind::Service,
    });
    pages.collect()
}

fn exports_of_scans() -> Vec<Export> {
    let reads = exports_of_reads().into_iter().map(|export| Export {
        local: export.subject.replacen(OWN_API, SCANS_READERS_API, 1),
        ..export
    });
    reads.collect()
}

/// An account: its users, and the accounts that import from it.
struct Account {
    name: String,
    users: String,
    readers: Vec<String>,
}

/// The text of the file for these users and their public keys. It contains no secret.
pub(in crate::secrets) fn conf(users: &[(User, String)], shape: &Shape) -> String {
    let mut accounts: Vec<Account> = Vec::new();
    for (user, public_key) in users {
        let name = account(user.role);
        let at = accounts.iter().position(|known| known.name == name).unwrap_or_else(|| {
            accounts.push(Account {
                name: name.clone(),
                users: String::new(),
                readers: Vec::new(),
            });
            if let Some((owner, _)) = name.split_once('_') {
                let owner = accounts.iter_mut().find(|known| known.name == owner);
                owner.expect("owners precede their readers").readers.push(name.clone());
            }
            accounts.len() - 1
        });
        accounts[at].users.push_str(&user_entry(user, public_key, shape));
    }
    let mut text = format!(
        "# Made by `citycode secrets`; nothing secret.\n{}\nsystem_account: SYS\naccounts {{\n",
        shape.line()
    );
    for Account { name, users, readers } in &accounts {
        let streams = shape.max_streams(name).map(|most| {
            format!("    # The number of provisioned streams: a thief of a seed cannot create others.\n    jetstream: {{ max_streams: {most} }}\n")
        });
        let shared = match (name.as_str(), name.split_once('_')) {
            ("LOG", _) => exporting(&exports_of_log(), readers),
            ("VAULT", _) => exporting(&exports_of_vault(), readers),
            ("SCANS", _) => exporting(&exports_of_scans(), readers),
            (reader, Some(("LOG", _))) => importing(&exports_of_log(), reader, "LOG"),
            (reader, Some(("SCANS", _))) => importing(&exports_of_scans(), reader, "SCANS"),
            (reader, Some((owner, _))) => importing(&exports_of_vault(), reader, owner),
            _ => String::new(),
        };
        let streams = streams.unwrap_or_default();
        let _ = writeln!(text, "  {name} {{\n    users: [\n{users}    ]\n{streams}{shared}  }}");
    }
    text.push_str("}\n");
    text
}

fn user_entry(user: &User, public_key: &str, shape: &Shape) -> String {
    let Permissions {
        publish,
        refused,
        mut subscribe,
    } = permissions(user.role, public_key, shape);
    subscribe.push(format!("{}.>", inbox_prefix(public_key)));
    let refused = if refused.is_empty() {
        String::new()
    } else {
        format!(", deny: {refused:?}")
    };
    format!(
        "      # {}\n      {{ nkey: {public_key}, permissions: {{\n          \
         publish: {{ allow: {publish:?}{refused} }}\n          \
         subscribe: {{ allow: {subscribe:?} }} }} }}\n",
        user.name
    )
}

/// The exports of an account with streams.
fn exporting(exports: &[Export], readers: &[String]) -> String {
    let mut text = "    exports: [\n".to_owned();
    for export in exports {
        let to: Vec<&str> = readers
            .iter()
            .map(String::as_str)
            .filter(|reader| export.is_for(reader))
            .collect();
        let (kind, response) = match export.kind {
            ExportKind::Service => ("service", ""),
            ExportKind::StreamingService => ("service", ", response_type: stream"),
            ExportKind::Stream => ("stream", ""),
        };
        let (subject, to) = (&export.subject, to.join(", "));
        let _ = writeln!(text, "      {{ {kind}: {subject:?}{response}, accounts: [{to}] }}");
    }
    text + "    ]\n"
}

/// The imports of a reader's account.
fn importing(exports: &[Export], reader: &str, owner: &str) -> String {
    let mut text = "    imports: [\n".to_owned();
    for Export {
        subject, local, kind, ..
    } in exports.iter().filter(|export| export.is_for(reader))
    {
        let _ = match kind {
            ExportKind::Stream => writeln!(text, "      {{ stream: {{ account: {owner}, subject: {subject:?} }} }}"),
            ExportKind::Service | ExportKind::StreamingService => writeln!(
                text,
                "      {{ service: {{ account: {owner}, subject: {subject:?} }}, to: {local:?} }}"
            ),
        };
    }
    text + "    ]\n"
}
