//! The text of `accounts.conf`: what NATS servers include.

use std::fmt::Write as _;

use citycode_event_store_jetstream::subjects::{NONCE_LISTS, PROBES_V1, probes};
use citycode_jetstream::inbox_prefix;

use super::{
    LOG_READERS_API, OWN_API, Permissions, READ, Shape, TAIL, User, VAULT_READERS_API, account, permissions,
    vault_pages,
};

/// Something that an account gives to readers in other accounts: they ask, or listen.
struct Given {
    /// As the account that has it knows it.
    subject: String,
    /// As its readers ask for it.
    asked: String,
    what: What,
    /// To which reader alone; to all where nothing is said.
    to: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Service,
    /// Many messages answer one question.
    ServiceOfMany,
    Stream,
}

impl Given {
    fn new(subject: &str, what: What) -> Self {
        let asked = subject.replacen(OWN_API, LOG_READERS_API, 1);
        Self {
            subject: subject.to_owned(),
            asked,
            what,
            to: None,
        }
    }

    fn is_for(&self, reader: &str) -> bool {
        self.to.as_deref().is_none_or(|to| to == reader)
    }
}

/// What LOG gives: questions that change nothing, the tail, and the readers' nonces for the writers. Which streams a reader
/// may ask for stands in its user's permissions.
fn given_of_log() -> Vec<Given> {
    let mut given: Vec<Given> = READ
        .iter()
        .map(|verb| {
            let many = *verb == "DIRECT.GET";
            let what = if many { What::ServiceOfMany } else { What::Service };
            Given::new(&format!("{OWN_API}.{verb}.*"), what)
        })
        .collect();
    given.push(Given::new(PROBES_V1, What::Service));
    given.extend(["verifier", "audit", "archive"].map(|role| Given {
        to: Some(account(role)),
        ..Given::new(&probes(role, "*"), What::Service)
    }));
    given.extend([TAIL, NONCE_LISTS].map(|subject| Given::new(subject, What::Stream)));
    given
}

fn given_of_vault() -> Vec<Given> {
    let to_all = vault_pages(OWN_API, false);
    let pages = vault_pages(OWN_API, true).into_iter().map(|subject| Given {
        asked: subject.replacen(OWN_API, VAULT_READERS_API, 1),
        to: (!to_all.contains(&subject)).then(|| account("vault-revocation")),
        subject,
        what: What::Service,
    });
    pages.collect()
}

/// One account: its users, what it gives to which others, what it has of others.
struct Account {
    name: String,
    users: String,
    readers: Vec<String>,
}

/// The file that servers include. Users and their public keys; nothing secret.
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
                owner
                    .expect("owners stand before their readers")
                    .readers
                    .push(name.clone());
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
            format!("    # As many streams as are provisioned: whoever may make one makes no other.\n    jetstream: {{ max_streams: {most} }}\n")
        });
        let shared = match (name.as_str(), name.split_once('_')) {
            ("LOG", _) => gives(&given_of_log(), readers),
            ("VAULT", _) => gives(&given_of_vault(), readers),
            (reader, Some(("LOG", _))) => has(&given_of_log(), reader, "LOG"),
            (reader, Some((owner, _))) => has(&given_of_vault(), reader, owner),
            _ => String::new(),
        };
        let streams = streams.unwrap_or_default();
        let _ = writeln!(text, "  {name} {{\n    users: [\n{users}    ]\n{streams}{shared}  }}");
    }
    text.push_str("}\n");
    text
}

fn user_entry(user: &User, public_key: &str, shape: &Shape) -> String {
    let Permissions { publish, mut subscribe } = permissions(user.role, public_key, shape);
    subscribe.push(format!("{}.>", inbox_prefix(public_key)));
    format!(
        "      # {}\n      {{ nkey: {public_key}, permissions: {{\n          \
         publish: {{ allow: {publish:?} }}\n          \
         subscribe: {{ allow: {subscribe:?} }} }} }}\n",
        user.name
    )
}

/// The part of an account that keeps streams.
fn gives(given: &[Given], readers: &[String]) -> String {
    let mut text = "    exports: [\n".to_owned();
    for one in given {
        let to: Vec<&str> = readers
            .iter()
            .map(String::as_str)
            .filter(|reader| one.is_for(reader))
            .collect();
        let (kind, how) = match one.what {
            What::Service => ("service", ""),
            What::ServiceOfMany => ("service", ", response_type: stream"),
            What::Stream => ("stream", ""),
        };
        let (subject, to) = (&one.subject, to.join(", "));
        let _ = writeln!(text, "      {{ {kind}: {subject:?}{how}, accounts: [{to}] }}");
    }
    text + "    ]\n"
}

/// The part of an account that only reads.
fn has(given: &[Given], reader: &str, owner: &str) -> String {
    let mut text = "    imports: [\n".to_owned();
    for Given {
        subject, asked, what, ..
    } in given.iter().filter(|one| one.is_for(reader))
    {
        let _ = match what {
            What::Stream => writeln!(text, "      {{ stream: {{ account: {owner}, subject: {subject:?} }} }}"),
            What::Service | What::ServiceOfMany => writeln!(
                text,
                "      {{ service: {{ account: {owner}, subject: {subject:?} }}, to: {asked:?} }}"
            ),
        };
    }
    text + "    ]\n"
}
